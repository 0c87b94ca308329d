//! The history of a node: its last handovers, and how each ended.
//!
//! - A ring. Rows are appended by the owner, once per handover or attempt.
//! - A row's sequence number is 0 while it is written and is stored last. A row whose writer died is skipped by
//!   readers and overwritten one round later.
//!
//! Nothing decides on what stands here.

use std::fmt;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use super::block::ControlBlock;
use super::layout::{self, HistoryRow};

/// How a handover ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Outcome {
    /// The successor owns the node.
    HandedOver = 1,
    /// The successor said no.
    RefusedBySuccessor = 2,
    /// The successor died, or left without a word.
    SuccessorDied = 3,
    /// A phase took too long.
    Deadline = 4,
    /// The lease was offered and not taken in time.
    SuccessorDidNotTake = 5,
    /// The owner died and another process took its place.
    Inherited = 6,
    /// One side did what does not fit, or failed in itself.
    ProtocolError = 7,
    /// Passes stayed out for too long.
    GateNotQuiet = 8,
    /// The owner on probation gave the node back to its predecessor.
    GivenBack = 9,
    /// The owner on probation died, or was killed, and its predecessor took the node back.
    TakenBack = 10,
    /// The parked predecessor read nothing for too long, and the owner's probation ended.
    ProbationUnread = 11,
    /// A word that means nothing to this build: a later one wrote it. Never written.
    Unknown = u32::MAX,
}

impl Outcome {
    /// Decodes the word.
    #[must_use]
    pub const fn from_word(word: u32) -> Option<Self> {
        Some(match word {
            1 => Self::HandedOver,
            2 => Self::RefusedBySuccessor,
            3 => Self::SuccessorDied,
            4 => Self::Deadline,
            5 => Self::SuccessorDidNotTake,
            6 => Self::Inherited,
            7 => Self::ProtocolError,
            8 => Self::GateNotQuiet,
            9 => Self::GivenBack,
            10 => Self::TakenBack,
            11 => Self::ProbationUnread,
            _ => return None,
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HandedOver => "handed over",
            Self::RefusedBySuccessor => "refused by the successor",
            Self::SuccessorDied => "the successor died",
            Self::Deadline => "not in time",
            Self::SuccessorDidNotTake => "the successor did not take",
            Self::Inherited => "inherited from a dead owner",
            Self::ProtocolError => "protocol error",
            Self::GateNotQuiet => "the gate did not get quiet",
            Self::GivenBack => "given back by the successor",
            Self::TakenBack => "taken back from a dead successor",
            Self::ProbationUnread => "on probation, which ended: the old owner read nothing",
            Self::Unknown => "in a way that this build does not know",
        })
    }
}

/// One handover, or an attempt at one. Times are ns of CLOCK_MONOTONIC, 0 where it did not get so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandoverRecord {
    /// Number of the record, from 1. Given by [`ControlBlock::append`].
    pub sequence: u64,
    /// Generation before.
    pub from_generation: u64,
    /// Generation after; the same if nothing changed.
    pub to_generation: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// Pid of the successor.
    pub successor_pid: u32,
    /// When it began.
    pub started: u64,
    /// When the successor was ready.
    pub ready: u64,
    /// Last commit of the old owner.
    pub last_commit: u64,
    /// First tick allowed in the new owner.
    pub first_tick: u64,
    /// Noise measured at the rehearsal, ns.
    pub noise: u64,
    /// Descriptors handed over.
    pub descriptors: u32,
    /// Streams handed over.
    pub streams: u32,
    /// Why it ended so; cut to 112 bytes in the block.
    pub reason: String,
}

impl HandoverRecord {
    /// A record with nothing but its outcome, to be filled in.
    #[must_use]
    pub fn new(outcome: Outcome, reason: impl Into<String>) -> Self {
        Self {
            sequence: 0,
            from_generation: 0,
            to_generation: 0,
            outcome,
            successor_pid: 0,
            started: 0,
            ready: 0,
            last_commit: 0,
            first_tick: 0,
            noise: 0,
            descriptors: 0,
            streams: 0,
            reason: reason.into(),
        }
    }

    /// Time between the last commit of the old owner and the first tick allowed in the new one. `None` if one of
    /// the two was not stamped.
    #[must_use]
    pub fn blackout(&self) -> Option<Duration> {
        if self.last_commit == 0 || self.first_tick == 0 {
            return None;
        }
        let nanos = self.first_tick.checked_sub(self.last_commit)?;
        Some(Duration::from_nanos(nanos))
    }
}

impl ControlBlock {
    /// Appends `record` and counts it: outcome 1 as completed, 6 and 9 to 11 as neither, all others as aborted. Returns its
    /// sequence number. Called by the owner.
    pub fn append(&self, record: &HandoverRecord) -> u64 {
        let l = self.layout();
        // Taken first: a writer that dies leaves an empty row, never two records in one.
        let index = l.next_history.fetch_add(1, Ordering::AcqRel);
        let sequence = index.wrapping_add(1);
        let row = &l.history[position(index)];
        row.sequence.store(0, Ordering::Relaxed);
        // HISTORY pair: a reader that sees one of the new fields sees the 0 when it looks again.
        fence(Ordering::Release);
        let word = Ordering::Relaxed;
        row.from_generation.store(record.from_generation, word);
        row.to_generation.store(record.to_generation, word);
        row.outcome.store(record.outcome as u32, word);
        row.successor_pid.store(record.successor_pid, word);
        row.started.store(record.started, word);
        row.ready.store(record.ready, word);
        row.last_commit.store(record.last_commit, word);
        row.first_tick.store(record.first_tick, word);
        row.noise.store(record.noise, word);
        row.descriptors.store(record.descriptors, word);
        row.streams.store(record.streams, word);
        layout::store_text(&row.reason, &record.reason);
        // HISTORY pair: publishes the fields.
        row.sequence.store(sequence, Ordering::Release);
        match record.outcome {
            Outcome::HandedOver => l.completed.fetch_add(1, Ordering::Relaxed),
            Outcome::Inherited | Outcome::GivenBack | Outcome::TakenBack | Outcome::ProbationUnread => 0,
            _ => l.aborted.fetch_add(1, Ordering::Relaxed),
        };
        sequence
    }

    /// Copies the records that are whole, oldest first. At most 64.
    #[must_use]
    pub fn history(&self) -> Vec<HandoverRecord> {
        let rows = self.layout().history.iter().enumerate();
        let mut records: Vec<HandoverRecord> = rows
            .filter_map(|(i, row)| read(row).filter(|r| position(r.sequence - 1) == i))
            .collect();
        records.sort_by_key(|r| r.sequence);
        records
    }
}

fn position(index: u64) -> usize {
    (index % layout::HISTORY as u64) as usize
}

/// `None` for a row that is empty or is being written.
fn read(row: &HistoryRow) -> Option<HandoverRecord> {
    // HISTORY pair: receives the fields.
    let sequence = row.sequence.load(Ordering::Acquire);
    if sequence == 0 {
        return None;
    }
    let word = Ordering::Relaxed;
    let record = HandoverRecord {
        sequence,
        from_generation: row.from_generation.load(word),
        to_generation: row.to_generation.load(word),
        outcome: Outcome::from_word(row.outcome.load(word)).unwrap_or(Outcome::Unknown),
        successor_pid: row.successor_pid.load(word),
        started: row.started.load(word),
        ready: row.ready.load(word),
        last_commit: row.last_commit.load(word),
        first_tick: row.first_tick.load(word),
        noise: row.noise.load(word),
        descriptors: row.descriptors.load(word),
        streams: row.streams.load(word),
        reason: layout::load_text(&row.reason),
    };
    // HISTORY pair: had one of the fields been a later record's, this would not be the same number.
    fence(Ordering::Acquire);
    (row.sequence.load(Ordering::Relaxed) == sequence).then_some(record)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::control::block::TestBlock;

    #[test]
    fn the_ring_keeps_the_last_64() {
        let block = TestBlock::new();
        let block = &block.0;
        assert!(block.history().is_empty());
        let mut record = HandoverRecord::new(Outcome::HandedOver, "x".repeat(200));
        (record.last_commit, record.first_tick) = (1_000, 4_500);
        assert_eq!(block.append(&record), 1);
        let read = &block.history()[0];
        assert_eq!(read.reason, "x".repeat(112));
        assert_eq!(read.blackout(), Some(Duration::from_nanos(3_500)));
        record.outcome = Outcome::Deadline;
        for i in 2..=100 {
            record.started = i;
            assert_eq!(block.append(&record), i);
        }
        let all = block.history();
        let sequences: Vec<u64> = all.iter().map(|r| r.sequence).collect();
        assert_eq!(sequences, (37..=100).collect::<Vec<_>>());
        assert!(all.iter().all(|r| r.started == r.sequence));
        assert_eq!(block.handovers(), (1, 99));
        block.append(&HandoverRecord::new(Outcome::Inherited, ""));
        assert_eq!(block.handovers(), (1, 99));
    }

    #[test]
    fn rows_that_are_not_whole_are_skipped() {
        let block = TestBlock::new();
        let block = &block.0;
        for _ in 0..4 {
            block.append(&HandoverRecord::new(Outcome::HandedOver, ""));
        }
        let rows = &block.layout().history;
        rows[0].sequence.store(0, Ordering::Relaxed);
        rows[1].outcome.store(99, Ordering::Relaxed);
        rows[2].sequence.store(2, Ordering::Relaxed);
        let left: Vec<u64> = block.history().iter().map(|r| r.sequence).collect();
        assert_eq!(left, [2, 4]);
        assert_eq!(block.history()[0].outcome, Outcome::Unknown, "of a later build");
    }

    #[test]
    fn a_reader_never_sees_half_a_record() {
        let block = TestBlock::new();
        let block = &block.0;
        let done = AtomicBool::new(false);
        std::thread::scope(|s| {
            s.spawn(|| {
                let mut record = HandoverRecord::new(Outcome::HandedOver, "");
                for i in 1..=20_000 {
                    (record.from_generation, record.noise, record.streams) = (i, i, i as u32);
                    record.reason = i.to_string();
                    block.append(&record);
                }
                done.store(true, Ordering::Release);
            });
            while !done.load(Ordering::Acquire) {
                for r in block.history() {
                    assert_eq!(r.from_generation, r.sequence);
                    assert_eq!((r.noise, u64::from(r.streams)), (r.sequence, r.sequence));
                    assert_eq!(r.reason, r.sequence.to_string());
                }
            }
        });
    }

    #[test]
    fn outcomes_are_pinned() {
        let words: Vec<u32> = (0..14).filter(|w| Outcome::from_word(*w).is_some()).collect();
        assert_eq!(words, (1..=11).collect::<Vec<_>>());
        for word in words {
            assert_eq!(Outcome::from_word(word).map(|o| o as u32), Some(word));
        }
        assert_eq!(Outcome::GateNotQuiet.to_string(), "the gate did not get quiet");
    }
}
