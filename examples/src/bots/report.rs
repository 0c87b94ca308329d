//! What the bots say on stdout: one JSON object per line, made here and read by the parent with the same types.
//!
//! Not known here: how anything is counted.

use serde::{Deserialize, Serialize};

/// One line of stdout; the kind stands in the field `event`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Every bot has joined and has had its first `State`.
    Joined {
        /// How many.
        bots: u32,
    },
    /// The answer to `report`: the counters so far.
    Snapshot(Box<Report>),
    /// The last line.
    Report(Box<Report>),
}

impl Event {
    /// Reads one line.
    ///
    /// # Errors
    /// The line is not an event of this version.
    pub fn parse(line: &str) -> serde_json::Result<Self> {
        serde_json::from_str(line)
    }

    /// The line, without its end.
    ///
    /// # Errors
    /// None for these types; `serde_json` cannot know that.
    pub fn to_line(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }
}

/// Everything the bots saw and counted. The *faults* are those that [`Report::faults`] sums; the rest is information.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Bots asked for.
    pub bots: u32,
    /// Bots that have joined and whose connection still stands.
    pub alive: u32,
    /// The seed that replays the commands.
    pub seed: u64,
    /// Since all had joined; 0 before.
    pub seconds: f64,
    /// Processor time of the bots' process since it started, user and system.
    pub cpu_seconds: f64,
    /// `State` frames read.
    pub frames: u64,
    /// Bytes read.
    pub bytes: u64,
    /// `State` frames per second: in a snapshot since the one before, in the last report since all had joined.
    pub frames_per_second: f64,

    /// Fault: connections that ended before the bots did, or whose local port or socket cookie is not what it was at connect.
    pub disconnects: u64,
    /// Fault: connections given up on a frame that is not of the protocol, or not at its place. Not counted in `disconnects`.
    pub protocol_errors: u64,
    /// Fault: ticks that no frame covered.
    pub ticks_skipped: u64,
    /// Fault: frames that begin with a tick already covered.
    pub ticks_doubled: u64,
    /// Ticks that shared a frame with a later one.
    pub ticks_coalesced: u64,

    /// Commands given to the socket's queue.
    pub commands_sent: u64,
    /// Commands acknowledged, each counted once.
    pub commands_acked: u64,
    /// Sent and neither acknowledged nor lost; 0 in the last report.
    pub commands_in_flight: u64,
    /// Commands that were not made because too many of that bot's were in flight.
    pub commands_held: u64,
    /// Fault: commands skipped over by a later acknowledgement and not acknowledged since; in the last report also those never
    /// acknowledged.
    pub commands_lost: u64,
    /// Fault: acknowledgements of a command already acknowledged.
    pub commands_doubled: u64,
    /// Fault: acknowledgements that come after that of a later command, or of a command never sent.
    pub commands_misordered: u64,

    /// Fault: frames whose position, score, inventory or words newly differ from what the acknowledged commands imply.
    pub state_mismatches: u64,
    /// Fault: frames of a generation lower than one seen before on that connection.
    pub generation_backwards: u64,
    /// Rules versions under which a pickup was acknowledged, ascending.
    pub rules_seen: Vec<u8>,
    /// How many generations sent frames.
    pub generations_seen: u64,
    /// The highest of them.
    pub generation_last: u64,

    /// Gaps that touch no upgrade: how many.
    pub baseline_gaps: u64,
    /// The longest of them, milliseconds.
    pub baseline_max_ms: f64,
    /// Half of them do not exceed this.
    pub baseline_p50_ms: f64,
    /// 99 % of them do not exceed this.
    pub baseline_p99_ms: f64,
    /// 99.9 % of them do not exceed this.
    pub baseline_p999_ms: f64,
    /// Gaps that touch an upgrade: how many.
    pub upgrade_gaps: u64,
    /// The longest of them, milliseconds; 0 if there is none.
    pub upgrade_max_ms: f64,
    /// The longest gap that touches an upgrade that went back, milliseconds; 0 if there is none.
    pub give_back_max_ms: f64,

    /// The first few faults in words.
    pub first_faults: Vec<String>,
}

impl Report {
    /// The sum of all fault counters, at most `u64::MAX`.
    #[must_use]
    pub fn faults(&self) -> u64 {
        [
            self.disconnects,
            self.protocol_errors,
            self.ticks_skipped,
            self.ticks_doubled,
            self.commands_lost,
            self.commands_doubled,
            self.commands_misordered,
            self.state_mismatches,
            self.generation_backwards,
        ]
        .into_iter()
        .fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_what_the_parent_reads() {
        let joined = Event::Joined { bots: 500 };
        assert_eq!(
            joined.to_line().expect("plain data"),
            r#"{"event":"joined","bots":500}"#
        );
        let report = Report {
            bots: 3,
            rules_seen: vec![1, 2],
            first_faults: vec!["a \"b\"\n".into()],
            ..Report::default()
        };
        for event in [
            joined,
            Event::Snapshot(Box::new(report.clone())),
            Event::Report(Box::new(report)),
        ] {
            let line = event.to_line().expect("plain data");
            assert!(!line.contains('\n'));
            assert_eq!(Event::parse(&line).expect("our own line"), event);
        }
        assert!(Event::parse("{}").is_err());
    }

    #[test]
    fn every_fault_counts() {
        let clean = Report {
            ticks_coalesced: 5,
            commands_sent: 3,
            commands_in_flight: 3,
            commands_held: 1,
            ..Report::default()
        };
        assert_eq!(clean.faults(), 0);
        let all = Report {
            disconnects: 1,
            protocol_errors: 1,
            ticks_skipped: 1,
            ticks_doubled: 1,
            commands_lost: 1,
            commands_doubled: 1,
            commands_misordered: 1,
            state_mismatches: 1,
            generation_backwards: 1,
            ..Report::default()
        };
        assert_eq!(all.faults(), 9);
        let many = Report {
            ticks_skipped: u64::MAX,
            ..all
        };
        assert_eq!(many.faults(), u64::MAX, "a sum that wraps could be zero");
    }
}
