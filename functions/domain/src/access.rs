//! Who may do what, and how often: the gate that every action of a connected client passes.
//!
//! [`Action::allowed_roles`] is the only table of roles and actions. To add an action, add a line there and a use case.

use futures_util::future::join;

use crate::model::{Connection, ConnectionId, Session};
use crate::ports::{Clock, CountAction, Counted, PortError};

/// What a connected client may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Say something to a room.
    SendMessage,
    /// Move to another room.
    Join,
    /// Ask who is in the room.
    Who,
    /// Read what was said.
    History,
    /// Say something to everybody in a room, as the house and not as a member.
    Announce,
    /// End the connections of a user.
    Kick,
}

/// What a role in a token means here. Other texts in `roles` mean nothing to the chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Keeps a room in order.
    Moderator,
    /// Runs the house.
    Admin,
}

/// Whose roles an action asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// Everybody who is connected.
    Everybody,
    /// Who has one of these.
    Roles(&'static [Role]),
}

/// So many actions of one connection count within [`RATE_WINDOW_SECONDS`]: far above what people type, far below what
/// hurts others. Over the edge of two windows twice as many pass.
pub const RATE_ACTIONS_MAX: u64 = 100;

/// So many actions of one user count within [`RATE_WINDOW_SECONDS`], all connections together: a person with several
/// devices is not hindered, one with a hundred connections is.
pub const USER_RATE_ACTIONS_MAX: u64 = 200;

/// The length of a window, in seconds. Windows begin at multiples of it since 1970.
pub const RATE_WINDOW_SECONDS: u64 = 10;

/// Who asks: the connection, and who is behind it as the authorizer said.
#[derive(Clone, Debug)]
pub struct Caller {
    /// From where.
    pub connection: ConnectionId,
    /// Who, and until when.
    pub session: Session,
}

/// Why an action was not admitted. Nothing happened.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The token has expired since the client connected. It may connect again with a new one; this connection ends.
    #[error("token has expired; connect again with a new one")]
    TokenExpired,
    /// None of the user's roles may do that.
    #[error("none of your roles may do that")]
    Forbidden,
    /// More than [`RATE_ACTIONS_MAX`] actions of the connection or [`USER_RATE_ACTIONS_MAX`] of the user in one window.
    #[error(
        "more than {RATE_ACTIONS_MAX} actions of this connection, or {USER_RATE_ACTIONS_MAX} of yours, in {RATE_WINDOW_SECONDS} s; wait a little"
    )]
    TooFast,
    /// The connection was forgotten, so nothing would reach it any more; this connection ends.
    #[error("connection is not known any more; connect again")]
    NotConnected,
    /// The connection's row could not be updated; our fault.
    #[error("action could not be admitted")]
    Unavailable(#[source] PortError),
}

impl Action {
    /// Returns whose action it is: the table of roles and actions.
    pub fn allowed_roles(self) -> Allowed {
        match self {
            Self::SendMessage | Self::Join | Self::Who | Self::History => Allowed::Everybody,
            Self::Kick => Allowed::Roles(&[Role::Moderator, Role::Admin]),
            Self::Announce => Allowed::Roles(&[Role::Admin]),
        }
    }
}

impl Role {
    /// Returns the role's name in tokens.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Moderator => "moderator",
            Self::Admin => "admin",
        }
    }
}

impl Allowed {
    fn includes(self, roles: &[String]) -> bool {
        match self {
            Self::Everybody => true,
            Self::Roles(allowed) => allowed.iter().any(|role| roles.iter().any(|own| own == role.as_str())),
        }
    }
}

/// Admits an action: the token still counts, a role allows it, the rate is kept. Returns the caller's row, which says in
/// which room it is.
///
/// The cheap questions come first: an expired or unauthorised caller costs no write.
///
/// # Errors
///
/// The reason why not.
pub async fn admit(
    connections: &impl CountAction,
    clock: &impl Clock,
    caller: &Caller,
    action: Action,
) -> Result<Connection, Refusal> {
    let now = clock.now_seconds();
    if now >= caller.session.token_expires_at {
        return Err(Refusal::TokenExpired);
    }
    if !action.allowed_roles().includes(&caller.session.user.roles) {
        return Err(Refusal::Forbidden);
    }
    let window = now - now % RATE_WINDOW_SECONDS;
    // At once, as the client waits for both.
    let (of_connection, of_user) = join(
        connections.count(&caller.connection, window, RATE_ACTIONS_MAX),
        connections.count_user(
            &caller.session.user.sub,
            window,
            USER_RATE_ACTIONS_MAX,
            window + 2 * RATE_WINDOW_SECONDS,
        ),
    )
    .await;
    let within = of_user.map_err(Refusal::Unavailable)?;
    match of_connection.map_err(Refusal::Unavailable)? {
        Counted::Within(connection) if within => Ok(connection),
        Counted::Within(_) | Counted::Exceeded => Err(Refusal::TooFast),
        Counted::Unknown => Err(Refusal::NotConnected),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::testing::{FakeClock, FakeConnections, caller, connection};

    const NOW: u64 = 100_000;

    async fn ask(connections: &FakeConnections, now: u64, caller: &Caller, action: Action) -> Result<String, Refusal> {
        let row = admit(connections, &FakeClock::at_seconds(now), caller, action).await?;
        Ok(row.room.to_string())
    }

    #[tokio::test]
    async fn roles_gate_actions() {
        use Action::{Announce, History, Join, Kick, SendMessage, Who};
        for (roles, allowed) in [
            (&[] as &[&str], &[SendMessage, Join, Who, History] as &[Action]),
            (&["Admin", "administrator", "a"], &[SendMessage, Join, Who, History]),
            (&["moderator"], &[SendMessage, Join, Who, History, Kick]),
            (&["x", "admin"], &[SendMessage, Join, Who, History, Kick, Announce]),
        ] {
            for action in [SendMessage, Join, Who, History, Kick, Announce] {
                let connections = FakeConnections::of([connection("c", "red")]);
                let mut caller = caller("c", NOW + 1);
                caller.session.user.roles = roles.iter().map(ToString::to_string).collect();
                let answer = ask(&connections, NOW, &caller, action).await;
                if allowed.contains(&action) {
                    assert_eq!(answer.unwrap(), "red");
                } else {
                    assert!(
                        matches!(answer, Err(Refusal::Forbidden)),
                        "{roles:?} {action:?} {answer:?}"
                    );
                }
            }
        }
    }

    #[tokio::test]
    async fn an_expired_token_admits_nothing() {
        let connections = FakeConnections::of([connection("c", "red")]);
        let answer = ask(&connections, NOW, &caller("c", NOW), Action::Who).await;
        assert!(matches!(answer, Err(Refusal::TokenExpired)), "{answer:?}");
    }

    #[tokio::test]
    async fn a_window_holds_so_many_actions_for_each_connection() {
        let connections = FakeConnections::of([connection("c", "red"), connection("d", "red")]);
        let window = NOW - NOW % RATE_WINDOW_SECONDS;
        for _ in 0..RATE_ACTIONS_MAX {
            ask(&connections, window, &caller("c", u64::MAX), Action::Who)
                .await
                .unwrap();
        }
        let last = window + RATE_WINDOW_SECONDS - 1;
        let answer = ask(&connections, last, &caller("c", u64::MAX), Action::Who).await;
        assert!(matches!(answer, Err(Refusal::TooFast)), "{answer:?}");
        ask(&connections, last, &caller("d", u64::MAX), Action::Who)
            .await
            .unwrap();
        ask(&connections, last + 1, &caller("c", u64::MAX), Action::Who)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn many_connections_do_not_multiply_what_a_user_may_do() {
        let connections = FakeConnections::of(["a", "b", "c"].map(|id| connection(id, "red")));
        let of = |id: &str, sub: &str| {
            let mut caller = caller(id, u64::MAX);
            caller.session.user.sub = sub.to_owned();
            caller
        };
        for number in 0..USER_RATE_ACTIONS_MAX {
            let id = if number % 2 == 0 { "a" } else { "b" };
            ask(&connections, NOW, &of(id, "ana"), Action::Who).await.unwrap();
        }
        let answer = ask(&connections, NOW, &of("c", "ana"), Action::Who).await;
        assert!(matches!(answer, Err(Refusal::TooFast)), "{answer:?}");
        ask(&connections, NOW, &of("c", "bo"), Action::Who).await.unwrap();
        ask(&connections, NOW + RATE_WINDOW_SECONDS, &of("c", "ana"), Action::Who)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn a_forgotten_connection_and_an_unreachable_table_are_told_apart() {
        let connections = FakeConnections::default();
        let answer = ask(&connections, NOW, &caller("c", u64::MAX), Action::Who).await;
        assert!(matches!(answer, Err(Refusal::NotConnected)), "{answer:?}");
        connections.fail();
        let answer = ask(&connections, NOW, &caller("c", u64::MAX), Action::Who).await;
        assert!(matches!(answer, Err(Refusal::Unavailable(_))), "{answer:?}");
    }
}
