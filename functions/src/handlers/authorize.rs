//! The REQUEST authorizer of `$connect`.
//!
//! It has no identity sources, so that a token may come in any of three ways; a handshake without one arrives here,
//! too. Answers: an error with the text `Unauthorized` (401), a policy that denies (403) or allows; any other error is
//! a 500. <https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-lambda-auth.html>

use functions_domain::ports::{Clock, TokenVerifier};
use functions_domain::{Attempt, Authorize, Denial, Session};
use serde_json::{Value, json};

use crate::events::AuthorizerEvent;
use crate::runtime::Failure;

/// Decides whether a client may connect. Logs why not, without the token.
///
/// # Errors
///
/// [`Failure::Unauthorized`] without a token; [`Failure::Port`] when the key is out of reach.
pub async fn authorize<V: TokenVerifier, C: Clock>(
    authorize: &Authorize<V, C>,
    event: AuthorizerEvent,
) -> Result<Value, Failure> {
    let connection = &event.request_context.connection_id;
    let attempt = Attempt {
        token: event.handshake.token(),
        origin: event.handshake.header("origin"),
    };
    let denial = match authorize.execute(attempt).await {
        Ok(session) => {
            tracing::info!(connectionId = %connection, sub = session.user.sub, "allowed");
            return Ok(allow(&session, &event.method_arn));
        }
        Err(denial) => denial,
    };
    tracing::info!(connectionId = %connection, reason = %denial, "denied");
    match denial {
        Denial::NoToken => Err(Failure::Unauthorized),
        Denial::BadToken { .. } | Denial::ForeignOrigin => Ok(policy("anonymous", "Deny", &event.method_arn)),
        Denial::Unavailable(error) => Err(Failure::Port(error)),
    }
}

/// API Gateway repeats `context` in every later event of the connection. Only texts, numbers and truth values may be
/// in it, so roles are one text and an absent name is left out.
fn allow(session: &Session, method_arn: &str) -> Value {
    let Session { user, token_expires_at } = session;
    let mut answer = policy(&user.sub, "Allow", method_arn);
    answer["context"] = json!({"sub": user.sub, "roles": user.roles.join(" "), "exp": token_expires_at});
    if let Some(name) = &user.name {
        answer["context"]["name"] = json!(name);
    }
    answer
}

fn policy(principal: &str, effect: &str, method_arn: &str) -> Value {
    json!({
        "principalId": principal,
        "policyDocument": {
            "Version": "2012-10-17",
            "Statement": [{"Action": "execute-api:Invoke", "Effect": effect, "Resource": method_arn}],
        },
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use functions_domain::testing::{FakeClock, FakeTokens, session};
    use functions_domain::{AllowedOrigins, Identity};

    use super::*;
    use crate::handlers::testing::event;

    async fn run(tokens: FakeTokens, change: impl FnOnce(&mut Value)) -> Result<Value, Failure> {
        let origins = AllowedOrigins::only(["https://chat.example".to_owned()]);
        let use_case = Authorize {
            tokens,
            clock: FakeClock::at_seconds(1_000),
            origins,
        };
        authorize(&use_case, event("authorize", change)).await
    }

    fn tokens() -> FakeTokens {
        let user = Identity {
            sub: "u1".into(),
            name: Some("Alice".into()),
            roles: vec!["a".into(), "b".into()],
        };
        FakeTokens::default()
            .with(
                "good",
                Session {
                    user,
                    token_expires_at: 2_000,
                },
            )
            .with("plain", session("u2", 2_000))
    }

    #[tokio::test]
    async fn a_good_token_is_allowed_with_its_identity() {
        let answer = run(tokens(), |_| {}).await.unwrap();
        assert_eq!(
            answer,
            json!({
                "principalId": "u1",
                "policyDocument": {"Version": "2012-10-17", "Statement": [{
                    "Action": "execute-api:Invoke", "Effect": "Allow",
                    "Resource": "arn:aws:execute-api:eu-west-1:123456789012:abcdef1234/prod/$connect",
                }]},
                "context": {"sub": "u1", "name": "Alice", "roles": "a b", "exp": 2_000},
            })
        );
    }

    #[tokio::test]
    async fn the_context_holds_no_nulls() {
        let answer = run(tokens(), |event| event["headers"]["Authorization"] = json!("plain"))
            .await
            .unwrap();
        assert_eq!(answer["context"], json!({"sub": "u2", "roles": "", "exp": 2_000}));
    }

    #[tokio::test]
    async fn a_bad_token_and_a_foreign_page_are_denied() {
        for (header, value) in [("Authorization", "bad"), ("Origin", "https://evil.example")] {
            let answer = run(tokens(), |event| event["headers"][header] = json!(value))
                .await
                .unwrap();
            assert_eq!(answer["policyDocument"]["Statement"][0]["Effect"], "Deny", "{header}");
            assert_eq!(answer.get("context"), None);
        }
    }

    #[tokio::test]
    async fn no_token_fails_with_the_text_that_api_gateway_knows() {
        let failure = run(tokens(), |event| event["headers"] = Value::Null).await.unwrap_err();
        assert_eq!(failure.to_string(), "Unauthorized");
    }

    #[tokio::test]
    async fn an_unreachable_key_is_an_error_of_ours() {
        let failure = run(FakeTokens::unavailable(), |_| {}).await.unwrap_err();
        assert!(matches!(failure, Failure::Port(_)), "{failure:?}");
    }
}
