//! What was measured, as a table and as JSON, and whether it is good enough.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::lambda::{Cost, End};
use crate::size;

/// Everything.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) rust: Option<Variant>,
    pub(crate) node: Option<Variant>,
    pub(crate) floor: Option<Variant>,
    /// Why there is no Node.
    pub(crate) without_node: Option<String>,
    binary_bytes: u64,
}

/// What was measured of one program. Medians.
#[derive(Debug, Default)]
pub(crate) struct Variant {
    pub(crate) init: Cost,
    pub(crate) first: Cost,
    /// At the CPU share of 128 MB.
    pub(crate) first_throttled: Option<Duration>,
    pub(crate) warm_p50: Option<Duration>,
    pub(crate) warm_p99: Option<Duration>,
    /// Bytes, after the warm calls.
    pub(crate) memory_peak: u64,
    pub(crate) fans: Vec<Fan>,
    /// Why it could not be given a CPU share.
    pub(crate) unconfined: Option<String>,
}

/// One broadcast.
#[derive(Debug)]
pub(crate) struct Fan {
    pub(crate) connections: usize,
    pub(crate) memory_mb: u32,
    pub(crate) end: End,
    pub(crate) cost: Cost,
    /// Answered by the gateway.
    pub(crate) posts: usize,
    /// Bytes.
    pub(crate) memory_peak: u64,
}

/// A figure that must be reached, and the one that was.
struct Target {
    name: &'static str,
    wanted: f64,
    measured: Option<f64>,
    /// Whether less is better.
    at_most: bool,
}

impl Report {
    /// Returns an empty report about the binaries in a folder.
    pub(crate) fn new(binaries: &Path) -> Self {
        Self {
            binary_bytes: size(&binaries.join("send-message")),
            ..Self::default()
        }
    }

    fn variants(&self) -> impl Iterator<Item = (&'static str, &Variant)> {
        let all = [("rust", &self.rust), ("node", &self.node), ("floor", &self.floor)];
        all.into_iter()
            .filter_map(|(name, variant)| Some((name, variant.as_ref()?)))
    }

    /// The acceptance criteria. A broadcast that Node does not survive counts as any number of times better.
    fn targets(&self) -> Vec<Target> {
        let ratio =
            |of: fn(&Variant) -> Option<f64>, to: &Option<Variant>| Some(of(to.as_ref()?)? / of(self.rust.as_ref()?)?);
        let per_cpu = |variant: &Variant| variant.posts_per_cpu_second();
        let node = &self.node;
        let whole = self
            .rust
            .as_ref()
            .and_then(|rust| rust.fans.iter().find(|fan| fan.connections == 10_000));
        let seconds = whole.filter(|fan| fan.end == End::Answered && fan.posts >= fan.connections);
        let target = |name, wanted, measured| Target {
            name,
            wanted,
            measured,
            at_most: false,
        };
        vec![
            target(
                "init, times faster than Node",
                25.0,
                ratio(|variant| Some(ms(variant.init.wall)), node),
            ),
            target(
                "first call at 128 MB, times faster than Node",
                20.0,
                ratio(|variant| variant.first_throttled.map(ms), node),
            ),
            target(
                "peak memory, times less than Node",
                8.0,
                ratio(|variant| Some(variant.memory_peak as f64), node),
            ),
            target(
                "posts per CPU second, times Node's",
                30.0,
                ratio(per_cpu, node).map(|ratio| 1.0 / ratio),
            ),
            target(
                "posts per CPU second, per cent of the floor",
                75.0,
                ratio(per_cpu, &self.floor).map(|ratio| 100.0 / ratio),
            ),
            Target {
                name: "10,000 connections with 128 MB, seconds",
                wanted: 4.0,
                measured: seconds.map(|fan| fan.cost.wall.as_secs_f64()),
                at_most: true,
            },
        ]
    }

    /// Returns it for programs.
    pub(crate) fn json(&self) -> Value {
        let variants: serde_json::Map<_, _> = self
            .variants()
            .map(|(name, variant)| (name.to_owned(), variant.json()))
            .collect();
        let targets: Vec<_> = self.targets().iter().map(Target::json).collect();
        json!({
            "variants": variants,
            "targets": targets,
            "binaryBytes": self.binary_bytes,
            "withoutNode": self.without_node,
        })
    }

    /// Returns it for people, in Markdown.
    pub(crate) fn table(&self) -> String {
        let mut text = String::from(
            "| | init | init CPU | first call | first CPU | first at 128 MB | warm p50 | warm p99 | peak memory |\n\
             |---|---|---|---|---|---|---|---|---|\n",
        );
        for (name, variant) in self.variants() {
            let shown = |duration: Option<Duration>| duration.map_or("–".to_owned(), show);
            let _ = writeln!(
                text,
                "| {name} | {} | {} | {} | {} | {} | {} | {} | {} |",
                show(variant.init.wall),
                show(variant.init.cpu),
                show(variant.first.wall),
                show(variant.first.cpu),
                shown(variant.first_throttled),
                shown(variant.warm_p50),
                shown(variant.warm_p99),
                megabytes(variant.memory_peak),
            );
        }
        text.push_str("\n| | connections | memory | ended | time | CPU | posts per CPU second | peak memory |\n|---|---|---|---|---|---|---|---|\n");
        for (name, variant) in self.variants() {
            for fan in &variant.fans {
                let per_cpu = fan
                    .posts_per_cpu_second()
                    .map_or("–".to_owned(), |posts| format!("{posts:.0}"));
                let _ = writeln!(
                    text,
                    "| {name} | {} | {} MB | {:?} | {} | {} | {per_cpu} | {} |",
                    fan.connections,
                    fan.memory_mb,
                    fan.end,
                    show(fan.cost.wall),
                    show(fan.cost.cpu),
                    megabytes(fan.memory_peak),
                );
            }
        }
        let _ = writeln!(text, "\nBinary of send-message: {}\n", megabytes(self.binary_bytes));
        text.push_str("| target | wanted | measured | |\n|---|---|---|---|\n");
        for target in self.targets() {
            let sign = if target.at_most { "<" } else { "≥" };
            let measured = target
                .measured
                .map_or("not measured".to_owned(), |measured| format!("{measured:.1}"));
            let verdict = if target.met() { "met" } else { "MISSED" };
            let _ = writeln!(
                text,
                "| {} | {sign} {} | {measured} | {verdict} |",
                target.name, target.wanted
            );
        }
        for (name, variant) in self.variants() {
            if let Some(reason) = &variant.unconfined {
                let _ = writeln!(text, "\n{name}: nothing was measured under a CPU share: {reason}");
            }
        }
        if let Some(reason) = &self.without_node {
            let _ = writeln!(text, "\nNOTHING WAS COMPARED WITH NODE: {reason}");
        }
        text
    }
}

impl Variant {
    /// In the largest broadcast that was survived, at the largest size.
    fn posts_per_cpu_second(&self) -> Option<f64> {
        self.fans.iter().rev().find_map(Fan::posts_per_cpu_second)
    }

    fn json(&self) -> Value {
        let fans: Vec<_> = self.fans.iter().map(Fan::json).collect();
        json!({
            "initMs": ms(self.init.wall),
            "initCpuMs": ms(self.init.cpu),
            "firstMs": ms(self.first.wall),
            "firstCpuMs": ms(self.first.cpu),
            "firstAt128MbMs": self.first_throttled.map(ms),
            "warmP50Ms": self.warm_p50.map(ms),
            "warmP99Ms": self.warm_p99.map(ms),
            "memoryPeakBytes": self.memory_peak,
            "broadcasts": fans,
            "unconfined": self.unconfined,
        })
    }
}

impl Fan {
    fn posts_per_cpu_second(&self) -> Option<f64> {
        (self.end == End::Answered).then(|| self.posts as f64 / self.cost.cpu.as_secs_f64())
    }

    fn json(&self) -> Value {
        json!({
            "connections": self.connections,
            "memoryMb": self.memory_mb,
            "end": format!("{:?}", self.end),
            "ms": ms(self.cost.wall),
            "cpuMs": ms(self.cost.cpu),
            "posts": self.posts,
            "postsPerCpuSecond": self.posts_per_cpu_second(),
            "memoryPeakBytes": self.memory_peak,
        })
    }
}

impl Target {
    fn met(&self) -> bool {
        self.measured.is_some_and(|measured| {
            if self.at_most {
                measured < self.wanted
            } else {
                measured >= self.wanted
            }
        })
    }

    fn json(&self) -> Value {
        json!({ "name": self.name, "wanted": self.wanted, "measured": self.measured, "met": self.met() })
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

fn show(duration: Duration) -> String {
    match ms(duration) {
        small @ ..100.0 => format!("{small:.1} ms"),
        large => format!("{large:.0} ms"),
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
