//! What a demo found out: one JSON object, or sentences and a small table.
//!
//! The counters of commands, ticks, states and connections are the bots'; the server's own figures are those of the control
//! block's history. Not known here: how any of it was found.

use crate::bots::report::Report;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Rules that players must have seen after upgrades between both versions.
const BOTH_RULES: [u8; 2] = [1, 2];

/// A figure that was taken several times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names of the fields are all there is to say")]
pub struct Spread {
    pub n: usize,
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
}

impl Spread {
    /// Over `values`, by nearest rank; zeros if there are none.
    #[must_use]
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let rank = |fraction: f64| {
            let rank = (values.len() as f64 * fraction).ceil() as usize;
            values.get(rank.max(1) - 1).copied().unwrap_or(0.0)
        };
        Self {
            n: values.len(),
            p50: rank(0.5),
            p99: rank(0.99),
            max: rank(1.0),
        }
    }
}

/// Longest and usual times between two frames of one player, milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names of the fields are all there is to say")]
pub struct ClientGaps {
    pub baseline_p50: f64,
    pub baseline_p99: f64,
    pub baseline_max: f64,
    pub upgrade_max: f64,
    /// In an upgrade that went back: a hung one is noticed by a watchdog, which waits first.
    pub give_back_max: f64,
}

/// First and last generation that served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names of the fields are all there is to say")]
pub struct Generations {
    pub first: u64,
    pub last: u64,
    /// How many of them the bots had frames of.
    pub seen_by_bots: u64,
}

/// A bad upgrade that was tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BadUpgrade {
    /// Which program.
    pub program: String,
    /// How it ended.
    pub exit: String,
    /// What the node's history says of it; `None` for a program that never asked for the node.
    pub outcome: Option<String>,
    /// From the moment in which the owner saw that it had failed, after it had taken over, to the moment from which the owner can tick; `None` for one
    /// that never served. See [`Summary::give_back_ms`].
    pub give_back_ms: Option<f64>,
    /// Whether the owner's process serves on, in the same generation, or again, in the next but one.
    pub survived: bool,
}

/// How a process of the demo ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names of the fields are all there is to say")]
pub struct Exit {
    pub program: String,
    pub pid: u32,
    pub exit: String,
}

/// The result of a demo. Faults are the counters that [`Summary::faults`] sums.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "the fields without a comment are those of the bots' Report, documented there"
)]
pub struct Summary {
    /// Whether the exit code is 0.
    pub ok: bool,
    /// Upgrades asked for.
    pub upgrades_wanted: u32,
    /// Upgrades that were done and found in order.
    pub upgrades: u32,
    pub bad_upgrades_tried: usize,
    pub bad_upgrades_survived: usize,
    /// Bad upgrades that had taken over, and whose predecessor serves again.
    pub rolled_back_upgrades: usize,
    /// Players whose records arena-v2 gave its own shape while it served, all its times together.
    pub migrated_records: u64,
    /// Tallies that arena-v2 moved to the keys that it has for them, all its times together.
    pub moved_records: u64,
    /// Faults that players noticed from the first of those upgrades on: connections, commands, states.
    pub lost_after_rollback: u64,
    #[serde(skip)]
    pub faults_before_rollback: Option<u64>,
    /// From the moment in which a predecessor saw that the new version had failed (its death, the watchdog) to the moment from which it can tick again,
    /// milliseconds: the wait for the next tick of 1/60 s is not in it. Nearly all of it, after a crash, is taking back the tick that was under way, which grows with
    /// what a tick changes and with nothing else: here a sixtieth of all monsters, three fields of each.
    pub give_back_ms: Spread,
    /// Players who joined; each kept one connection for the whole demo, or is counted in `disconnects`.
    pub connections: u32,
    pub disconnects: u64,
    pub commands_sent: u64,
    pub commands_acked: u64,
    pub commands_lost: u64,
    pub commands_doubled: u64,
    pub commands_misordered: u64,
    pub ticks_skipped: u64,
    pub ticks_doubled: u64,
    pub ticks_coalesced: u64,
    /// States that differ from what a player's commands imply, and a world that did not add up at the end.
    pub state_mismatches: u64,
    pub protocol_errors: u64,
    pub generation_backwards: u64,
    pub rules_seen: Vec<u8>,
    /// Bytes of the archives of all live records, while serving.
    pub world_bytes: u64,
    /// Live records, while serving.
    pub world_records: u64,
    pub blackout_us: Spread,
    /// The same stamps between the same two processes one tick before, without a handover.
    pub noise_us: Spread,
    pub client_gap_ms: ClientGaps,
    /// From the start of the new process until it was ready, milliseconds; the old one serves meanwhile.
    pub prepare_ms: Spread,
    pub generations: Generations,
    pub frames: u64,
    /// Processor time of the server per second of play without upgrades, all threads, percent of one core.
    pub server_cpu_percent: f64,
    /// The same of the bots.
    pub bots_cpu_percent: f64,
    /// The whole demo, without building.
    pub seconds: f64,
    /// Making the world.
    pub fill_seconds: f64,
    /// The players' time in the game.
    pub play_seconds: f64,
    pub bad_upgrades: Vec<BadUpgrade>,
    /// How the servers ended, in their order.
    pub exits: Vec<Exit>,
    /// What was left in shared memory, in the runtime directory, or running.
    pub left_behind: Vec<String>,
    /// The first few faults that bots saw, in words.
    pub first_faults: Vec<String>,
    /// What kept the demo from its course.
    pub failures: Vec<String>,
}

impl Summary {
    /// Takes over what the bots counted.
    pub fn counted(&mut self, report: &Report) {
        let mismatches = self.state_mismatches;
        *self = Self {
            connections: report.bots,
            disconnects: report.disconnects,
            commands_sent: report.commands_sent,
            commands_acked: report.commands_acked,
            commands_lost: report.commands_lost,
            commands_doubled: report.commands_doubled,
            commands_misordered: report.commands_misordered,
            ticks_skipped: report.ticks_skipped,
            ticks_doubled: report.ticks_doubled,
            ticks_coalesced: report.ticks_coalesced,
            state_mismatches: mismatches + report.state_mismatches,
            protocol_errors: report.protocol_errors,
            generation_backwards: report.generation_backwards,
            rules_seen: report.rules_seen.clone(),
            client_gap_ms: ClientGaps {
                baseline_p50: report.baseline_p50_ms,
                baseline_p99: report.baseline_p99_ms,
                baseline_max: report.baseline_max_ms,
                upgrade_max: report.upgrade_max_ms,
                give_back_max: report.give_back_max_ms,
            },
            generations: Generations {
                seen_by_bots: report.generations_seen,
                ..self.generations
            },
            frames: report.frames,
            play_seconds: report.seconds,
            first_faults: report.first_faults.clone(),
            ..std::mem::take(self)
        };
    }

    /// The sum of all fault counters.
    #[must_use]
    pub fn faults(&self) -> u64 {
        [
            self.disconnects,
            self.commands_lost,
            self.commands_doubled,
            self.commands_misordered,
            self.ticks_skipped,
            self.ticks_doubled,
            self.state_mismatches,
            self.protocol_errors,
            self.generation_backwards,
        ]
        .into_iter()
        .fold(0, u64::saturating_add)
    }

    /// Decides whether all is well, and writes down what is not.
    pub fn judge(&mut self) {
        if self.failures.is_empty() && self.rules_seen != BOTH_RULES {
            let seen = &self.rules_seen;
            self.failures
                .push(format!("players saw the rules {seen:?} instead of {BOTH_RULES:?}"));
        }
        if self.failures.is_empty() && self.upgrades > 0 && self.migrated_records == 0 {
            self.failures.push("no record migrated to arena-v2's shape".into());
        }
        if self.failures.is_empty() && self.upgrades > 0 && self.moved_records == 0 {
            self.failures.push("no tally moved to arena-v2's keys".into());
        }
        self.ok = self.failures.is_empty()
            && self.faults() == 0
            && self.lost_after_rollback == 0
            && self.left_behind.is_empty()
            && self.upgrades == self.upgrades_wanted
            && self.bad_upgrades_survived == self.bad_upgrades_tried;
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f)?;
        // Without players nothing was seen, and nothing is to be said of it.
        if self.connections > 0 {
            self.sentences(f)?;
            self.figures(f)?;
        }
        for (title, lines) in [
            ("What the players saw first", &self.first_faults),
            ("Left behind by the servers, and removed now", &self.left_behind),
            ("What went wrong", &self.failures),
        ] {
            if !lines.is_empty() {
                writeln!(f, "\n{title}:")?;
                for line in lines {
                    writeln!(f, "  {}", line.replace('\n', "\n  "))?;
                }
            }
        }
        let verdict = if self.ok { "All is well." } else { "This demo FAILED." };
        writeln!(f, "\n{verdict}")
    }
}

impl Summary {
    fn sentences(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} players were in the game for {:.0} s, in a world of {} live records ({:.0} MiB){}.",
            self.connections,
            self.play_seconds,
            self.world_records,
            self.world_bytes as f64 / f64::from(1 << 20),
            if self.ok { " that all moved every second" } else { "" },
        )?;
        writeln!(
            f,
            "Meanwhile the server's program was replaced {} times: each time another process took over listener, connections and world.",
            self.upgrades
        )?;
        writeln!(
            f,
            "arena-v2 keeps its players in another shape: {} records migrated under load, and came back to arena-v1's shape with each upgrade to that.",
            self.migrated_records
        )?;
        writeln!(
            f,
            "It keeps what players have said by guild, under other keys: {} tallies moved, and arena-v1 went on with them under its own.",
            self.moved_records
        )?;
        if self.bad_upgrades_tried > 0 {
            writeln!(
                f,
                "{} upgrades were bad on purpose (one ended at once, one crashed, one hung, and two failed after they had taken over); the running server survived {}.",
                self.bad_upgrades_tried, self.bad_upgrades_survived
            )?;
            writeln!(
                f,
                "{} of them had taken over, and crashed or hung in the middle of a tick: the old server took the node back, with the same players, in its own shape; lost after that: {}.",
                self.rolled_back_upgrades, self.lost_after_rollback
            )?;
        }
        let once = self.commands_sent == self.commands_acked && self.commands_doubled == 0;
        writeln!(
            f,
            "The players sent {} commands; {} were executed and acknowledged{}.",
            self.commands_sent,
            self.commands_acked,
            if once { ", every one exactly once" } else { "" }
        )?;
        if self.faults() == 0 {
            writeln!(
                f,
                "Nobody was disconnected; no command was lost or doubled, no tick skipped or doubled, no state was wrong."
            )
        } else {
            writeln!(f, "Faults were counted, see below.")
        }
    }

    fn figures(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (blackout, noise, gap) = (&self.blackout_us, &self.noise_us, &self.client_gap_ms);
        writeln!(f)?;
        writeln!(f, "                                        p50        p99        max")?;
        let mut row = |name: &str, spread: &Spread, unit: &str| {
            let Spread { p50, p99, max, .. } = spread;
            writeln!(f, "  {name:<30} {p50:>10.1} {p99:>10.1} {max:>10.1}  {unit}")
        };
        row("nobody may write (blackout)", blackout, "µs")?;
        row("the same stamps, no upgrade", noise, "µs")?;
        row("preparation, old one serves", &self.prepare_ms, "ms")?;
        if self.give_back_ms.n > 0 {
            row("old one back, after a failure", &self.give_back_ms, "ms")?;
        }
        let baseline = Spread {
            n: 0,
            p50: gap.baseline_p50,
            p99: gap.baseline_p99,
            max: gap.baseline_max,
        };
        row("between frames, no upgrade", &baseline, "ms")?;
        writeln!(
            f,
            "  {:<30} {:>32.1}  ms",
            "between frames, in an upgrade", gap.upgrade_max
        )?;
        if self.give_back_ms.n > 0 {
            writeln!(
                f,
                "  {:<30} {:>32.1}  ms",
                "between frames, and it failed", gap.give_back_max
            )?;
        }
        writeln!(f)?;
        let counters = [
            ("disconnects", self.disconnects),
            ("commands lost", self.commands_lost),
            ("commands doubled", self.commands_doubled),
            ("commands out of order", self.commands_misordered),
            ("ticks skipped", self.ticks_skipped),
            ("ticks doubled", self.ticks_doubled),
            ("states wrong", self.state_mismatches),
            ("protocol errors", self.protocol_errors),
            ("generations backwards", self.generation_backwards),
        ];
        for line in counters.chunks(3) {
            for (name, count) in line {
                write!(f, "  {name:<22} {count:>6}")?;
            }
            writeln!(f)?;
        }
        writeln!(
            f,
            "  server {:.0} % and players {:.0} % of a core between upgrades; {:.0} s in all",
            self.server_cpu_percent, self.bots_cpu_percent, self.seconds
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn well() -> Summary {
        Summary {
            upgrades_wanted: 2,
            upgrades: 2,
            bad_upgrades_tried: 3,
            bad_upgrades_survived: 3,
            rules_seen: vec![1, 2],
            migrated_records: 1,
            moved_records: 1,
            ..Summary::default()
        }
    }

    #[test]
    fn whatever_is_wrong_fails_the_demo() {
        let mut summary = well();
        summary.judge();
        assert!(summary.ok);
        let broken: [fn(&mut Summary); 17] = [
            |s| s.moved_records = 0,
            |s| s.migrated_records = 0,
            |s| s.lost_after_rollback = 1,
            |s| s.disconnects = 1,
            |s| s.commands_lost = 1,
            |s| s.commands_doubled = 1,
            |s| s.commands_misordered = 1,
            |s| s.ticks_skipped = 1,
            |s| s.ticks_doubled = 1,
            |s| s.state_mismatches = 1,
            |s| s.protocol_errors = 1,
            |s| s.generation_backwards = 1,
            |s| s.upgrades = 1,
            |s| s.bad_upgrades_survived = 2,
            |s| s.rules_seen = vec![1],
            |s| s.left_behind.push("x".into()),
            |s| s.failures.push("x".into()),
        ];
        for (i, wrong) in broken.into_iter().enumerate() {
            let mut summary = well();
            wrong(&mut summary);
            summary.judge();
            assert!(!summary.ok, "{i}");
            assert!(summary.to_string().contains("FAILED"));
        }
    }

    #[test]
    fn a_worlds_mismatch_is_not_forgotten_when_the_bots_report() {
        let mut summary = well();
        summary.state_mismatches = 1;
        summary.counted(&Report {
            state_mismatches: 2,
            ..Report::default()
        });
        assert_eq!((summary.state_mismatches, summary.upgrades), (3, 2));
    }

    #[test]
    fn ranks() {
        assert_eq!(Spread::of(vec![]), Spread::default());
        let spread = Spread::of((1..=30).rev().map(f64::from).collect());
        assert_eq!((spread.n, spread.p50, spread.p99, spread.max), (30, 15.0, 30.0, 30.0));
        assert_eq!(Spread::of(vec![7.0]).p50, 7.0);
    }
}
