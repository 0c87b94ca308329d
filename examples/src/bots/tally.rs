//! The counters of all bots together, and how they become a [`Report`].
//!
//! One process, one thread, one tally: the bots add to it as they check. Counting allocates only for the first few faults
//! described in words and for a generation not seen before.

use super::{gaps::Gaps, report::Report};

/// How many faults are described in words.
const FAULTS_DESCRIBED: usize = 8;

/// The counters; each is the report's field of the same name.
#[derive(Debug, Default)]
#[expect(missing_docs, reason = "the fields are those of Report, documented there")]
pub struct Tally {
    pub frames: u64,
    pub bytes: u64,
    pub disconnects: u64,
    pub protocol_errors: u64,
    pub ticks_skipped: u64,
    pub ticks_doubled: u64,
    pub ticks_coalesced: u64,
    pub commands_sent: u64,
    pub commands_acked: u64,
    pub commands_held: u64,
    pub commands_lost: u64,
    pub commands_doubled: u64,
    pub commands_misordered: u64,
    pub state_mismatches: u64,
    pub generation_backwards: u64,
    /// The buckets of gaps.
    pub gaps: Gaps,
    rules: [u64; 4],
    generations: Vec<u64>,
    faults: Vec<String>,
}

impl Tally {
    /// Describes a fault; only the first few are kept, the others cost nothing.
    pub fn describe(&mut self, fault: impl FnOnce() -> String) {
        if self.faults.len() < FAULTS_DESCRIBED {
            self.faults.push(fault());
        }
    }

    /// The first fault in words; empty if there is none.
    #[must_use]
    pub fn first_fault(&self) -> &str {
        self.faults.first().map_or("", String::as_str)
    }

    /// A pickup was acknowledged under this rules version.
    pub fn saw_rules(&mut self, rules: u8) {
        self.rules[usize::from(rules) / 64] |= 1 << (rules % 64);
    }

    /// A bot's connection had its first frame of this generation.
    pub fn saw_generation(&mut self, generation: u64) {
        if let Err(place) = self.generations.binary_search(&generation) {
            self.generations.insert(place, generation);
        }
    }

    /// The counters as a report; what the tally does not know (bots, times, rates, commands in flight) is left at zero.
    #[must_use]
    pub fn to_report(&self) -> Report {
        let baseline = &self.gaps.baseline;
        Report {
            frames: self.frames,
            bytes: self.bytes,
            disconnects: self.disconnects,
            protocol_errors: self.protocol_errors,
            ticks_skipped: self.ticks_skipped,
            ticks_doubled: self.ticks_doubled,
            ticks_coalesced: self.ticks_coalesced,
            commands_sent: self.commands_sent,
            commands_acked: self.commands_acked,
            commands_held: self.commands_held,
            commands_lost: self.commands_lost,
            commands_doubled: self.commands_doubled,
            commands_misordered: self.commands_misordered,
            state_mismatches: self.state_mismatches,
            generation_backwards: self.generation_backwards,
            rules_seen: (0..=u8::MAX)
                .filter(|rules| self.rules[usize::from(*rules) / 64] & (1 << (rules % 64)) != 0)
                .collect(),
            generations_seen: self.generations.len() as u64,
            generation_last: self.generations.last().copied().unwrap_or(0),
            baseline_gaps: baseline.total(),
            baseline_max_ms: baseline.max_ms(),
            baseline_p50_ms: baseline.quantile_ms(0.5),
            baseline_p99_ms: baseline.quantile_ms(0.99),
            baseline_p999_ms: baseline.quantile_ms(0.999),
            upgrade_gaps: self.gaps.upgrade.total(),
            upgrade_max_ms: self.gaps.upgrade.max_ms(),
            give_back_max_ms: self.gaps.give_back.max_ms(),
            first_faults: self.faults.clone(),
            ..Report::default()
        }
    }
}
