//! People come, talk and go at random while posts and tables fail: nothing that was accepted is lost to a healthy peer.
//!
//! A peer is healthy for a message if it was in the room from [`MARGIN`] before the message was sent until [`LIFE`] after
//! it was accepted. Its connection may be cut meanwhile (that is one of the faults): then it connects again at once and
//! asks for the history after the last id that the history has told it, as the protocol says; who leaves before it is
//! told was there until the cut. Who is never cut has to get everything live.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout};

use super::client::{Client, Frame};
use super::house::House;
use super::machine::{Memory, memory_of};
use crate::failure::Failure;
use crate::ui;

/// Members of each room.
const ROOM_MEMBERS: usize = 20;
/// How long somebody stays, is away, and is silent, in milliseconds; less in a short run, see [`Pace`].
const STAY_MS: (u64, u64) = (45_000, 120_000);
const AWAY_MS: (u64, u64) = (500, 5_000);
const SILENT_MS: (u64, u64) = (15_000, 60_000);
/// All come within the first moments, not all at once.
const ARRIVAL_MS: (u64, u64) = (0, 20_000);
/// Between attempts to get in or to get an answer.
const PAUSE: Duration = Duration::from_millis(500);
/// An answer that takes longer is asked for again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(35);
/// So long before a message was sent a healthy peer is there.
const MARGIN: Duration = Duration::from_secs(1);
/// So long after it was accepted a message may still arrive: the rounds of `broadcast`, and time-outs before them. In a
/// short run a quarter of it.
const LIFE: Duration = Duration::from_secs(30);
/// How long the last `$disconnect`s may take.
const EMPTYING: Duration = Duration::from_secs(90);

/// What was counted.
#[derive(Debug)]
pub(crate) struct Figures {
    begun: Instant,
    clients: usize,
    time: Duration,
    sessions: u64,
    refused: u64,
    cut: u64,
    /// Messages that were accepted, and those whose sender never heard.
    accepted: usize,
    unanswered: u64,
    /// Pairs of a message and a healthy peer, how many of them came by the history alone, and how many not at all.
    owed: usize,
    by_history: usize,
    lost: Vec<String>,
    /// Copies, which clients drop.
    copies: u64,
    /// Live deliveries, each once.
    live: usize,
    rows_left: u64,
    memory: Memory,
}

/// One accepted message.
struct Said {
    id: String,
    room: usize,
    by: usize,
    sent: Instant,
    accepted: Instant,
}

/// What one person did and heard.
#[derive(Default)]
struct Diary {
    person: usize,
    room: usize,
    /// From when to when it was there, cuts included.
    stays: Vec<(Instant, Instant)>,
    live: HashSet<String>,
    from_history: HashSet<String>,
    copies: u64,
    said: Vec<Said>,
    sessions: u64,
    refused: u64,
    cut: u64,
    unanswered: u64,
}

/// Runs it, and looks for what is lost.
///
/// # Errors
/// When tokens cannot be made or the table not be read.
pub(crate) async fn run(house: &House, clients: usize, time: Duration, seed: u64) -> Result<Figures, Failure> {
    let begun = Instant::now();
    let rooms = clients.div_ceil(ROOM_MEMBERS);
    let mut people = JoinSet::new();
    for person in 0..clients {
        let somebody = Person {
            url: house.url().to_owned(),
            token: house.token(format!("person-{person}"))?,
            chance: Chance(seed.wrapping_mul(0x9E37_79B9).wrapping_add(person as u64)),
            pace: Pace::of(time),
            until: begun + time,
            diary: Diary {
                person,
                room: person % rooms,
                ..Diary::default()
            },
        };
        people.spawn(somebody.live());
    }
    let mut figures = Figures::of(begun, clients, time);
    let mut diaries = Vec::with_capacity(clients);
    let mut minutes = tokio::time::interval(Duration::from_secs(30));
    loop {
        tokio::select! {
            diary = people.join_next() => match diary {
                Some(Ok(diary)) => diaries.push(diary),
                Some(Err(error)) => return Err(Failure::new("a client failed").because(error)),
                None => break,
            },
            _ = minutes.tick() => {
                let memory = memory_of(house.cloud());
                figures.memory = memory;
                ui::say(format!("{:.0?}: {} functions run", begun.elapsed(), memory.processes));
            }
        }
    }
    let emptied = Instant::now() + EMPTYING;
    loop {
        figures.rows_left = house.rows().await?;
        if figures.rows_left == 0 || Instant::now() > emptied {
            break;
        }
        sleep(PAUSE).await;
    }
    figures.judge(&diaries);
    Ok(figures)
}

struct Person {
    url: String,
    token: String,
    chance: Chance,
    pace: Pace,
    until: Instant,
    diary: Diary,
}

/// The spans of [`STAY_MS`] and the others, fitted into a run.
#[derive(Clone, Copy)]
struct Pace {
    arrival: (u64, u64),
    stay: (u64, u64),
    silent: (u64, u64),
}

impl Pace {
    fn of(time: Duration) -> Self {
        let run = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1_000);
        let fit = |(least, most): (u64, u64), parts: u64| (least.min(run / (2 * parts)), most.min(run / parts));
        Self {
            arrival: fit(ARRIVAL_MS, 8),
            stay: fit(STAY_MS, 1),
            silent: fit(SILENT_MS, 5),
        }
    }
}

/// How a session ended.
enum End {
    Left,
    Cut,
}

impl Person {
    async fn live(mut self) -> Diary {
        sleep(self.chance.between(self.pace.arrival)).await;
        while Instant::now() < self.until {
            let leaving = self.until.min(Instant::now() + self.chance.between(self.pace.stay));
            let mut came = None;
            // Since when it knows nothing of what was said, because its connection was cut.
            let mut deaf = None;
            // Once for each cut, and once for the wish to leave.
            let left = loop {
                let Some(mut client) = self.get_in(leaving).await else {
                    break deaf;
                };
                came.get_or_insert_with(Instant::now);
                self.diary.sessions += 1;
                let mut end = End::Left;
                if deaf.is_none() || self.catch_up(&mut client, leaving, &mut end).await {
                    deaf = None;
                    end = self.chat(&mut client, leaving).await;
                }
                match end {
                    End::Cut => {
                        self.diary.cut += 1;
                        deaf.get_or_insert_with(Instant::now);
                    }
                    End::Left => {
                        let left = Instant::now();
                        for frame in client.close().await {
                            self.hear(&frame);
                        }
                        break Some(deaf.unwrap_or(left));
                    }
                }
            };
            self.diary.stays.extend(came.zip(left));
            if Instant::now() < self.until {
                sleep(self.chance.between(AWAY_MS)).await;
            }
        }
        self.diary
    }

    /// Connects, trying again when refused; `None` when it is time to leave.
    async fn get_in(&mut self, leaving: Instant) -> Option<Client> {
        let room = format!("room-{}", self.diary.room);
        while Instant::now() < leaving {
            match Client::open(&self.url, &room, &self.token).await {
                Ok(client) => return Some(client),
                Err(_) => {
                    self.diary.refused += 1;
                    sleep(PAUSE).await;
                }
            }
        }
        None
    }

    /// Asks for what was said since. Returns whether it was told; otherwise `end` is why not.
    async fn catch_up(&mut self, client: &mut Client, leaving: Instant, end: &mut End) -> bool {
        *end = End::Cut;
        // What came live does not count: a message that is hard to bring comes later than others with larger ids.
        let known = self.diary.from_history.iter().max().cloned();
        // Who knows nothing asks for the last messages.
        let mut ask = match known {
            Some(id) => json!({ "action": "history", "after": id, "id": "history" }),
            None => json!({ "action": "history", "id": "history" }),
        };
        while Instant::now() < leaving {
            if !client.send(&ask).await {
                return false;
            }
            let asked = Instant::now();
            loop {
                let left = ANSWER_TIMEOUT.saturating_sub(asked.elapsed());
                match timeout(left, client.next()).await {
                    Ok(None) => return false,
                    // It was lost, or refused: once more.
                    Err(_) => break,
                    Ok(Some(frame)) if frame.kind == "history" => {
                        for message in &frame.messages {
                            self.diary.from_history.extend(message.id.clone());
                        }
                        if !frame.more {
                            return true;
                        }
                        ask = json!({ "action": "history", "cursor": frame.cursor, "id": "history" });
                        break;
                    }
                    Ok(Some(frame)) if frame.kind == "error" || frame.kind.is_empty() => {
                        sleep(PAUSE).await;
                        break;
                    }
                    Ok(Some(frame)) => self.hear(&frame),
                }
            }
        }
        *end = End::Left;
        false
    }

    /// Listens and talks until it is time to leave.
    async fn chat(&mut self, client: &mut Client, leaving: Instant) -> End {
        let mut talk = Instant::now() + self.chance.between(self.pace.silent);
        let mut waiting: BTreeMap<String, Instant> = BTreeMap::new();
        loop {
            tokio::select! {
                frame = client.next() => match frame {
                    None => {
                        self.diary.unanswered += waiting.len() as u64;
                        return End::Cut;
                    }
                    Some(frame) if frame.kind == "ack" => {
                        if let (Some(own), Some(id)) = (frame.id, frame.message_id)
                            && let Some(sent) = waiting.remove(&own)
                        {
                            let said = Said {
                                id,
                                room: self.diary.room,
                                by: self.diary.person,
                                sent,
                                accepted: Instant::now(),
                            };
                            self.diary.said.push(said);
                        }
                    }
                    Some(frame) => self.hear(&frame),
                },
                () = sleep_until(talk.into()) => {
                    talk = Instant::now() + self.chance.between(self.pace.silent);
                    let own = format!("{}", self.chance.next());
                    waiting.insert(own.clone(), Instant::now());
                    let words = json!({ "action": "sendMessage", "data": "Hello, room!", "id": own });
                    if !client.send(&words).await {
                        return End::Cut;
                    }
                }
                () = sleep_until(leaving.into()) => {
                    self.diary.unanswered += waiting.len() as u64;
                    return End::Left;
                }
            }
        }
    }

    fn hear(&mut self, frame: &Frame) {
        if frame.kind == "message"
            && let Some(id) = &frame.id
            && !self.diary.live.insert(id.clone())
        {
            self.diary.copies += 1;
        }
    }
}

impl Figures {
    fn of(begun: Instant, clients: usize, time: Duration) -> Self {
        Self {
            begun,
            clients,
            time,
            sessions: 0,
            refused: 0,
            cut: 0,
            accepted: 0,
            unanswered: 0,
            owed: 0,
            by_history: 0,
            lost: Vec::new(),
            copies: 0,
            live: 0,
            rows_left: 0,
            memory: Memory::default(),
        }
    }

    fn judge(&mut self, diaries: &[Diary]) {
        let mut members: BTreeMap<usize, Vec<&Diary>> = BTreeMap::new();
        for diary in diaries {
            self.sessions += diary.sessions;
            self.refused += diary.refused;
            self.cut += diary.cut;
            self.unanswered += diary.unanswered;
            self.accepted += diary.said.len();
            self.copies += diary.copies;
            self.live += diary.live.len();
            members.entry(diary.room).or_default().push(diary);
        }
        let life = LIFE.min(self.time / 4);
        for said in diaries.iter().flat_map(|diary| &diary.said) {
            let others = members.get(&said.room).into_iter().flatten();
            let others = others.filter(|peer| peer.person != said.by);
            for (peer, left) in others.filter_map(|peer| Some((peer, healthy_until(peer, said, life)?))) {
                self.owed += 1;
                let is_live = peer.live.contains(&said.id);
                if !is_live && peer.from_history.contains(&said.id) {
                    self.by_history += 1;
                } else if !is_live {
                    let (accepted, left) = (said.accepted - self.begun, left - said.accepted);
                    self.lost.push(format!(
                        "{} of person {} to person {}, accepted at {accepted:.1?}, who left {left:.1?} later",
                        said.id, said.by, peer.person
                    ));
                }
            }
        }
    }

    /// Returns whether nothing is lost and nothing left.
    pub(crate) fn is_well(&self) -> bool {
        self.lost.is_empty() && self.rows_left == 0
    }

    /// Returns the figures for people.
    pub(crate) fn human(&self) -> String {
        let mut text = format!(
            "{} clients for {:.0?}: {} sessions, {} cut off, {} refused and tried again\n  \
             {} messages accepted, {} unanswered; {} received live, {} copies dropped\n  \
             owed to healthy peers {}, of them by the history {}, lost {}\n  rows left {}; local cloud {} MiB, {} functions {} MiB",
            self.clients,
            self.time,
            self.sessions,
            self.cut,
            self.refused,
            self.accepted,
            self.unanswered,
            self.live,
            self.copies,
            self.owed,
            self.by_history,
            self.lost.len(),
            self.rows_left,
            self.memory.cloud / 1024,
            self.memory.processes,
            self.memory.functions / 1024,
        );
        for lost in self.lost.iter().take(20) {
            text += &format!("\n  lost: {lost}");
        }
        text
    }

    /// Returns the figures for programs.
    pub(crate) fn json(&self) -> Json {
        json!({
            "clients": self.clients,
            "seconds": self.time.as_secs(),
            "sessions": self.sessions,
            "cut": self.cut,
            "refused": self.refused,
            "accepted": self.accepted,
            "unanswered": self.unanswered,
            "live": self.live,
            "copies": self.copies,
            "owed": self.owed,
            "byHistory": self.by_history,
            "lost": self.lost,
            "rowsLeft": self.rows_left,
        })
    }
}

/// Returns until when a peer stayed that is owed a message.
fn healthy_until(peer: &Diary, said: &Said, life: Duration) -> Option<Instant> {
    let mut stays = peer.stays.iter();
    let owing = stays.find(|(came, left)| *came + MARGIN <= said.sent && said.accepted + life <= *left);
    owing.map(|(_, left)| *left)
}

/// Random enough for who does what when, and the same for the same seed (SplitMix64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn between(&mut self, (least, most): (u64, u64)) -> Duration {
        Duration::from_millis(least + self.next() % (most - least))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn only_who_was_there_all_the_time_is_owed_a_message() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let said = Said {
            id: "m".to_owned(),
            room: 0,
            by: 0,
            sent: at(50),
            accepted: at(51),
        };
        let there = |person, stay: (u64, u64)| Diary {
            person,
            stays: vec![(at(stay.0), at(stay.1))],
            ..Diary::default()
        };
        let speaker = Diary {
            said: vec![said],
            ..there(0, (0, 100))
        };
        let live = Diary {
            live: HashSet::from(["m".to_owned()]),
            ..there(1, (0, 100))
        };
        let by_history = Diary {
            from_history: HashSet::from(["m".to_owned()]),
            ..there(2, (0, 100))
        };
        let elsewhere = Diary {
            room: 1,
            ..there(3, (0, 100))
        };
        let others = [there(4, (0, 100)), there(5, (50, 100)), there(6, (0, 80)), elsewhere];
        let mut figures = Figures::of(start, 7, Duration::from_secs(300));
        let diaries: Vec<_> = [speaker, live, by_history].into_iter().chain(others).collect();
        figures.judge(&diaries);
        assert_eq!((figures.owed, figures.by_history), (3, 1));
        let lost = "m of person 0 to person 4, accepted at 51.0s, who left 49.0s later";
        assert_eq!(figures.lost, [lost]);
        assert!(!figures.is_well());
    }

    #[test]
    fn a_short_run_has_short_stays() {
        let pace = Pace::of(Duration::from_secs(20));
        assert_eq!(pace.stay, (10_000, 20_000));
        assert_eq!(Pace::of(Duration::from_secs(300)).stay, STAY_MS);
    }
}
