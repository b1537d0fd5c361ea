//! What every implementation of a port promises, as checks: the ones in memory, on DynamoDB and on API Gateway pass the
//! same.

use super::{connection, message};
use crate::model::{Connection, ConnectionId, Identity, Message, MessageId, MessageKind, Peer, Room, Session};
use crate::ports::{
    CloseConnection, Closing, ConnectionRepository, Counted, Delivery, Excerpt, Page, PortError, ReadHistory,
    RecordMessage, SendFrame,
};

/// Checks what every repository promises. `connections` must be empty.
///
/// # Errors
///
/// When a call fails.
///
/// # Panics
///
/// When a promise is broken.
pub async fn connections(connections: &impl ConnectionRepository) -> Result<(), PortError> {
    let room = Room::lobby();
    let first = ConnectionId::new("c00=");
    assert!(connections.shards() >= 1);
    for shard in 0..connections.shards() {
        let page = connections.in_shard(&room, shard, None, None).await?;
        assert_eq!(page, Page::default(), "an empty shard has one empty page");
    }
    assert_eq!(connections.remove(&first).await?, None, "an unknown row can be removed");
    assert_eq!(connections.count(&first, 10, 1).await?, Counted::Unknown);
    assert_eq!(connections.move_to(&first, &room).await?, None);
    assert_eq!(
        all_in(connections, &room).await?,
        [],
        "counting and moving make no rows"
    );

    let mut expected = Vec::new();
    for number in 0..20 {
        let mut row = connection(&format!("c{number:02}="), "lobby");
        row.session = Session {
            user: Identity {
                sub: format!("user {number}"),
                name: (number % 2 == 0).then(|| "Zoë".to_owned()),
                roles: (0..number % 3).map(|role| format!("role-{role}")).collect(),
            },
            token_expires_at: 4_000_000_000,
        };
        row.connected_at = 2_000_000_000 + number;
        row.expires_at = 3_000_000_000 + number;
        connections.put(&row).await?;
        expected.push(row);
    }
    connections.put(&connection("x", "elsewhere")).await?;

    assert_eq!(
        all_in(connections, &room).await?,
        expected,
        "a room holds its connections, each once, in order"
    );

    let (shard, shards) = (first.shard(connections.shards()), connections.shards());
    let there: Vec<_> = expected.iter().filter(|row| row.id.shard(shards) == shard).collect();
    let some = connections.in_shard(&room, shard, None, Some(2)).await?;
    assert_eq!(Vec::from_iter(&some.connections), there[..2], "no more than asked for");
    assert_eq!(some.next.as_ref(), Some(&there[1].id));
    let peers: Vec<_> = there.iter().map(|row| Peer::from(*row)).collect();
    let now = there[0].expires_at;
    let some = connections.peers_in_shard(&room, shard, None, Some(2), 0).await?;
    assert_eq!(
        (&some.connections[..], some.next.as_ref()),
        (&peers[..2], Some(&there[1].id))
    );
    let rest = connections
        .peers_in_shard(&room, shard, some.next.as_ref(), Some(1), 0)
        .await?;
    assert_eq!(rest.connections, peers[2..3], "pages of peers follow one another");
    let alive = connections.peers_in_shard(&room, shard, None, Some(2), now).await?;
    assert_eq!(alive.connections, peers[1..2], "who has expired does not receive");
    assert!(connections.shows(&expected[0]).await?, "who is there is shown");
    let elsewhere = Connection {
        room: Room::parse("empty").unwrap_or_else(|_| Room::lobby()),
        ..expected[0].clone()
    };
    assert!(!connections.shows(&elsewhere).await?, "nobody is shown elsewhere");

    rates(connections, &expected[0]).await?;
    let other = Room::parse("other").unwrap_or_else(|_| Room::lobby());
    let before = expected.remove(0);
    let after = Connection {
        room: other.clone(),
        ..before.clone()
    };
    assert_eq!(
        connections.move_to(&first, &other).await?,
        Some(before),
        "moving tells where it was"
    );
    assert_eq!(all_in(connections, &other).await?, vec![after.clone()]);
    let renamed = Connection {
        connected_at: 1,
        ..after
    };
    connections.put(&renamed).await?;
    assert_eq!(
        all_in(connections, &other).await?,
        [renamed],
        "a second put replaces the first"
    );
    let removed = expected.remove(0);
    assert_eq!(connections.remove(&removed.id).await?, Some(removed.clone()));
    assert_eq!(connections.remove(&removed.id).await?, None);
    assert_eq!(
        all_in(connections, &room).await?,
        expected,
        "what moved or was removed has left the room"
    );
    Ok(())
}

/// Counting is exact within a window, and begins anew in the next one.
async fn rates(connections: &impl ConnectionRepository, row: &Connection) -> Result<(), PortError> {
    let within = Counted::Within(row.clone());
    for (window, counted) in [
        (10, &within),
        (10, &within),
        (10, &Counted::Exceeded),
        (20, &within),
        // An instance whose clock is behind counts in the later window.
        (10, &within),
        (20, &Counted::Exceeded),
    ] {
        assert_eq!(
            &connections.count(&row.id, window, 2).await?,
            counted,
            "window {window}"
        );
    }
    for (sub, window, within) in [
        ("ana", 10, true),
        ("ana", 10, true),
        ("ana", 10, false),
        ("bo", 10, true),
        ("ana", 20, true),
        ("ana", 10, false),
    ] {
        let counted = connections.count_user(sub, window, 2, 4_000_000_000).await?;
        assert_eq!(counted, within, "{sub} {window}");
    }
    Ok(())
}

async fn all_in(connections: &impl ConnectionRepository, room: &Room) -> Result<Vec<Connection>, PortError> {
    let mut all = Vec::new();
    for shard in 0..connections.shards() {
        let mut after = None;
        loop {
            let page = connections.in_shard(room, shard, after.as_ref(), None).await?;
            assert!(page.connections.is_sorted_by(|a, b| a.id < b.id), "a shard is in order");
            all.extend(page.connections);
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
    }
    all.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    Ok(all)
}

/// Checks what every store of messages promises. `messages` must be empty.
///
/// # Errors
///
/// When a call fails.
///
/// # Panics
///
/// When a promise is broken.
pub async fn messages(messages: &(impl RecordMessage + ReadHistory)) -> Result<(), PortError> {
    const NOW: u64 = 3_000_000_000;
    let room = Room::lobby();
    assert_eq!(messages.read(&room, None, 9, NOW).await?, Excerpt::default());

    let mut expected = Vec::new();
    for number in 0..20 {
        let mut said = message("lobby", 1_000_000 + number);
        said.data = format!("\"{number}\" ü\r\n\t\u{1f600}");
        if number % 2 == 0 {
            said.kind = MessageKind::Announcement;
            said.from.name = Some("Zoë".to_owned());
        }
        messages.record(&said, NOW + 1).await?;
        expected.push(said);
    }
    messages.record(&message("elsewhere", 1_000_005), NOW + 1).await?;
    messages.record(&message("lobby", 2_000_000), NOW).await?;
    messages.record(&expected[3], NOW + 1).await?;

    let all = messages.read(&room, None, 99, NOW).await?;
    assert_eq!(all.messages, expected, "each once, in order, none that has expired");
    assert!(!all.more);
    let last = messages.read(&room, None, 5, NOW).await?;
    assert_eq!(
        (&last.messages[..], last.more),
        (&expected[15..], true),
        "the last ones"
    );
    let mut after = MessageId::new(0, 0);
    let mut paged = Vec::new();
    loop {
        let page = messages.read(&room, Some(&after), 7, NOW).await?;
        assert!(page.messages.len() <= 7);
        paged.extend(page.messages);
        if !page.more {
            break;
        }
        after = paged.last().map_or(after, |last: &Message| last.id.clone());
    }
    assert_eq!(paged, expected, "pages follow one another");
    let after_last = messages.read(&room, Some(&expected[19].id), 9, NOW).await?;
    assert_eq!(after_last, Excerpt::default());
    Ok(())
}

/// What [`gateway`] sends to the open connection, in order.
pub const GATEWAY_FRAMES: [&str; 2] = [r#"{"type":"pong"}"#, r#"{"data":"\"ü\" 😀"}"#];

/// Checks what every gateway promises. A client is connected at `open` and sees [`GATEWAY_FRAMES`], then the end; nobody
/// is at `gone` any more.
///
/// # Errors
///
/// When a call fails.
///
/// # Panics
///
/// When a promise is broken.
pub async fn gateway(
    gateway: &(impl SendFrame + CloseConnection),
    open: &ConnectionId,
    gone: &ConnectionId,
) -> Result<(), PortError> {
    for frame in GATEWAY_FRAMES {
        assert_eq!(gateway.send(open, frame).await?, Delivery::Delivered);
    }
    assert_eq!(gateway.send(gone, "late").await?, Delivery::Gone);
    assert_eq!(gateway.close(gone).await?, Closing::Gone);
    assert_eq!(gateway.close(open).await?, Closing::Closed);
    Ok(())
}
