//! One room with thousands of clients: everybody gets every message, once.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use serde_json::{Value as Json, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::client::{Client, Frame};
use super::house::House;
use super::machine::{Memory, memory_of};
use crate::failure::Failure;
use crate::ui;

const ROOM: &str = "crowd";
/// Handshakes under way at once.
const OPENING: usize = 64;
/// A refused client tries again so often.
const ATTEMPTS_MAX: u32 = 10;
const PAUSE: Duration = Duration::from_millis(500);
/// Nothing for so long: what is missing is lost.
const PATIENCE: Duration = Duration::from_secs(60);
/// Copies may come so long after the last message.
const AFTERMATH: Duration = Duration::from_secs(5);

/// What was measured.
#[derive(Debug)]
pub(crate) struct Figures {
    connections: usize,
    /// Handshakes that were refused and tried again.
    refused: u32,
    connecting: Duration,
    handshakes: Vec<Duration>,
    /// From sending to receiving: of the first message, and of the others, which were sent at once.
    first: Vec<Duration>,
    others: Vec<Duration>,
    /// From sending the others to the last reception.
    burst: Duration,
    lost: usize,
    twice: usize,
    connected: Memory,
    after: Memory,
}

/// A message has reached a client.
struct Seen {
    client: usize,
    message: usize,
    at: Instant,
}

/// Fills the room, says something, and counts.
///
/// # Errors
/// When a client is not let in, or the sender not heard.
pub(crate) async fn run(house: &House, connections: usize, messages: usize) -> Result<Figures, Failure> {
    let begun = Instant::now();
    let (mut handshakes, mut refused) = (Vec::with_capacity(connections), 0);
    let (seen, mut arrivals) = mpsc::unbounded_channel();
    let mut listeners = JoinSet::new();
    let mut opening = std::pin::pin!(
        stream::iter(0..connections)
            .map(|number| open(house, number))
            .buffer_unordered(OPENING)
    );
    while let Some(opened) = opening.next().await {
        let (client, took, refusals) = opened?;
        refused += refusals;
        let number = handshakes.len();
        handshakes.push(took);
        listeners.spawn(listen(number, client, seen.clone()));
        if handshakes.len().is_multiple_of(1_000) {
            ui::say(format!("{} connected after {:.0?}", handshakes.len(), begun.elapsed()));
        }
    }
    let connecting = begun.elapsed();
    let connected = memory_of(house.cloud());
    let (mut sender, ..) = open(house, connections).await?;

    let mut copies = vec![vec![0_u8; messages]; connections];
    let mut delays = vec![Vec::with_capacity(connections); messages];
    let first = say(&mut sender, 0..1).await?;
    let one = collect(&mut arrivals, connections, first, &mut copies, &mut delays).await;
    ui::say(format!("the first message has reached {one} of {connections}"));
    let begun = say(&mut sender, 1..messages).await?;
    collect(
        &mut arrivals,
        connections * (messages - 1),
        begun,
        &mut copies,
        &mut delays,
    )
    .await;
    let burst = begun.elapsed();
    let after = memory_of(house.cloud());
    sleep(AFTERMATH).await;
    while let Ok(late) = arrivals.try_recv() {
        copies[late.client][late.message] += 1;
    }
    drop(listeners);
    let all = || copies.iter().flatten();
    let mut delays = delays.into_iter();
    Ok(Figures {
        connections,
        refused,
        connecting,
        handshakes,
        first: delays.next().unwrap_or_default(),
        others: delays.flatten().collect(),
        burst,
        lost: all().filter(|copies| **copies == 0).count(),
        twice: all().filter(|copies| **copies > 1).count(),
        connected,
        after,
    })
}

/// Connects, trying again when refused. Returns how long the handshake took, and how many were refused.
async fn open(house: &House, number: usize) -> Result<(Client, Duration, u32), Failure> {
    let token = house.token(format!("user-{number}"))?;
    let mut attempts = 0;
    loop {
        let begun = Instant::now();
        match Client::open(house.url(), ROOM, &token).await {
            Ok(client) => return Ok((client, begun.elapsed(), attempts)),
            Err(why) if attempts >= ATTEMPTS_MAX => {
                return Err(Failure::new(format!("client {number} was not let in: {why}")));
            }
            Err(_) => {
                attempts += 1;
                sleep(PAUSE).await;
            }
        }
    }
}

async fn listen(client: usize, mut connection: Client, seen: mpsc::UnboundedSender<Seen>) {
    while let Some(frame) = connection.next().await {
        let at = Instant::now();
        if let Some(message) = number_of(&frame) {
            let arrival = Seen { client, message, at };
            if seen.send(arrival).is_err() {
                return;
            }
        }
    }
}

fn number_of(frame: &Frame) -> Option<usize> {
    let data = frame.data.as_deref().filter(|_| frame.kind == "message")?;
    data.strip_prefix("message ")?.parse().ok()
}

/// Sends messages at once and waits until all are accepted. Returns when the first was sent.
async fn say(sender: &mut Client, numbers: std::ops::Range<usize>) -> Result<Instant, Failure> {
    let begun = Instant::now();
    let mut expected = numbers.len();
    for number in numbers {
        let frame = json!({ "action": "sendMessage", "data": format!("message {number}"), "ack": true });
        sender.send(&frame).await;
    }
    while expected > 0 {
        match timeout(PATIENCE, sender.next()).await {
            Ok(Some(frame)) if frame.kind == "ack" => expected -= 1,
            Ok(Some(frame)) if frame.kind == "presence" => {}
            other => return Err(Failure::new(format!("a message was not accepted: {other:?}"))),
        }
    }
    Ok(begun)
}

/// Notes arrivals until there are as many as expected, or no more come. Returns how many came.
async fn collect(
    arrivals: &mut mpsc::UnboundedReceiver<Seen>,
    expected: usize,
    begun: Instant,
    copies: &mut [Vec<u8>],
    delays: &mut [Vec<Duration>],
) -> usize {
    let mut count = 0;
    while count < expected {
        let Ok(Some(arrival)) = timeout(PATIENCE, arrivals.recv()).await else {
            break;
        };
        let Seen { client, message, at } = arrival;
        if let Some(copies) = copies.get_mut(client).and_then(|copies| copies.get_mut(message)) {
            *copies += 1;
            delays[message].push(at.saturating_duration_since(begun));
            count += usize::from(*copies == 1);
        }
    }
    count
}

impl Figures {
    /// Returns whether every client got every message exactly once.
    pub(crate) fn is_well(&self) -> bool {
        self.lost == 0 && self.twice == 0
    }

    fn connects_per_second(&self) -> f64 {
        self.connections as f64 / self.connecting.as_secs_f64()
    }

    /// Returns deliveries per second of the first message, and of the others.
    fn deliveries_per_second(&self) -> (f64, f64) {
        let last = self.first.iter().max().copied().unwrap_or_default();
        let rate = |count: usize, time: Duration| {
            if count == 0 {
                0.0
            } else {
                count as f64 / time.as_secs_f64()
            }
        };
        (rate(self.first.len(), last), rate(self.others.len(), self.burst))
    }

    /// Returns the figures for people.
    pub(crate) fn human(&self) -> String {
        let (first, others) = self.deliveries_per_second();
        let row = |delays: &[Duration]| {
            let at = |share| millis(percentile(delays, share));
            format!("p50 {:.0} ms, p99 {:.0} ms, last {:.0} ms", at(0.5), at(0.99), at(1.0))
        };
        let memory = |memory: &Memory| {
            format!(
                "local cloud {} MiB (peak {}), {} functions {} MiB (largest {})",
                memory.cloud / 1024,
                memory.cloud_peak / 1024,
                memory.processes,
                memory.functions / 1024,
                memory.function_peak / 1024
            )
        };
        format!(
            "{} connections in {:.1?}: {:.0} a second, {} refused and tried again\n  handshake      {}\n  \
             first message  {}; {first:.0} deliveries a second\n  the others     {}; {others:.0} deliveries a second\n  \
             lost {}, twice {}\n  connected      {}\n  after all      {}",
            self.connections,
            self.connecting,
            self.connects_per_second(),
            self.refused,
            row(&self.handshakes),
            row(&self.first),
            row(&self.others),
            self.lost,
            self.twice,
            memory(&self.connected),
            memory(&self.after),
        )
    }

    /// Returns the figures for programs: milliseconds and KiB.
    pub(crate) fn json(&self) -> Json {
        let (first, others) = self.deliveries_per_second();
        let row = |delays: &[Duration]| {
            let at = |share| millis(percentile(delays, share));
            json!({ "p50": at(0.5), "p99": at(0.99), "max": at(1.0) })
        };
        let memory = |memory: &Memory| {
            json!({
                "localCloud": memory.cloud,
                "localCloudPeak": memory.cloud_peak,
                "functions": memory.functions,
                "functionPeak": memory.function_peak,
                "processes": memory.processes,
            })
        };
        json!({
            "connections": self.connections,
            "connectsPerSecond": self.connects_per_second(),
            "refused": self.refused,
            "handshake": row(&self.handshakes),
            "first": row(&self.first),
            "firstPerSecond": first,
            "others": row(&self.others),
            "othersPerSecond": others,
            "lost": self.lost,
            "twice": self.twice,
            "memoryConnected": memory(&self.connected),
            "memoryAfter": memory(&self.after),
        })
    }
}

fn percentile(delays: &[Duration], share: f64) -> Duration {
    let mut sorted = delays.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let delays: Vec<_> = (1..=100).rev().map(Duration::from_millis).collect();
        for (share, expected) in [(0.5, 50), (0.99, 99), (1.0, 100)] {
            assert_eq!(percentile(&delays, share), Duration::from_millis(expected));
        }
        assert_eq!(percentile(&[], 0.5), Duration::ZERO);
    }
}
