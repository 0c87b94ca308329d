//! The byte map of the control block.
//!
//! - Every field is an atomic: other processes write the same memory at any time.
//! - The numbers of DESIGN.md stand below as assertions; the picture cannot drift from the structs.
//! - Text is bytes up to the first zero. What is read is another process's: it is cleaned before it is shown.
//!
//! This file does not know who may write what.

use std::mem::{align_of, offset_of, size_of};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

/// "HANDCTL1".
pub const MAGIC: u64 = u64::from_le_bytes(*b"HANDCTL1");
/// Version of this byte map.
pub const VERSION: u32 = 1;
/// Bytes of a control block.
pub const SIZE: usize = 16 * 1024;
/// Participant rows.
pub const PARTICIPANTS: usize = 8;
/// History rows: a ring.
pub const HISTORY: usize = 64;
/// Bytes of a node's name.
pub const NAME_LEN: usize = 64;
/// Bytes of a build id.
pub const BUILD_ID_LEN: usize = 64;
/// Words for the names of what the owner has declared.
pub const DECLARATIONS: usize = 256;
/// Bytes of a reason in the history.
pub const REASON_LEN: usize = 112;
/// Bytes of the name of what a drain waits for.
pub const OLDEST_LEN: usize = 48;

/// The block.
#[repr(C)]
pub struct Layout {
    /// [`MAGIC`], written last.
    pub magic: AtomicU64,
    /// [`VERSION`].
    pub version: AtomicU32,
    /// [`SIZE`].
    pub size: AtomicU32,
    /// The node id, low word first.
    pub node_id: [AtomicU64; 2],
    /// The node's name.
    pub node_name: [AtomicU8; NAME_LEN],
    _to_lease: [AtomicU64; 4],
    /// The lease word, alone in its cache line.
    pub lease: AtomicU64,
    _to_futex: [AtomicU64; 7],
    /// Counts up with each signal.
    pub futex: AtomicU32,
    /// The last signal.
    pub signal: AtomicU32,
    /// When the predecessor's last tick committed, ns.
    pub commit_stamp: AtomicU64,
    /// When the rehearsed tick committed, ns.
    pub rehearsal_stamp: AtomicU64,
    /// Noise measured by the successor, ns.
    pub noise: AtomicU64,
    _to_phase: [AtomicU64; 4],
    /// Phase of the handover in progress.
    pub phase: AtomicU32,
    /// Participant slot of the successor in progress.
    pub successor_slot: AtomicU32,
    /// When the handover in progress began, ns.
    pub started: AtomicU64,
    /// When its current phase must end, ns.
    pub phase_deadline: AtomicU64,
    _to_counters: [AtomicU64; 5],
    /// Handovers completed.
    pub completed: AtomicU64,
    /// Handovers aborted.
    pub aborted: AtomicU64,
    /// Index of the next history row.
    pub next_history: AtomicU64,
    /// What an operator wishes, see [`Request`](super::Request).
    pub request: AtomicU32,
    /// Counts up with each wish.
    pub requests: AtomicU32,
    /// When the probation of the owner is over, ns; 0 if it is on none.
    pub probation_end: AtomicU64,
    _to_participants: [AtomicU64; 19],
    /// Who takes part.
    pub participants: [ParticipantRow; PARTICIPANTS],
    /// The last handovers.
    pub history: [HistoryRow; HISTORY],
    /// What the owner has declared, see `declarations`.
    pub declarations: [AtomicU64; DECLARATIONS],
}

/// One process.
#[repr(C)]
pub struct ParticipantRow {
    /// What the process does; 0 is a free row.
    pub state: AtomicU32,
    /// Its pid.
    pub pid: AtomicU32,
    /// Its start time, clock ticks since boot.
    pub start_time: AtomicU64,
    /// What it was built from.
    pub build_id: [AtomicU8; BUILD_ID_LEN],
    /// Since when it is in its state, ns.
    pub since: AtomicU64,
    /// Connections it holds.
    pub connections: AtomicU64,
    /// Work it has in flight.
    pub in_flight: AtomicU64,
    /// When its drain must end, ns.
    pub drain_deadline: AtomicU64,
    /// When it last had a pass, ns; kept while it is on probation.
    pub heartbeat: AtomicU64,
    _reserved: [AtomicU64; 1],
    /// Phase of its drain, see [`DrainPhase`](super::DrainPhase).
    pub drain_phase: AtomicU32,
    _to_oldest: AtomicU32,
    /// Since when the oldest that it holds is as it is, ns; 0 if it holds nothing.
    pub oldest_since: AtomicU64,
    /// What that is called.
    pub oldest: [AtomicU8; OLDEST_LEN],
}

/// One handover, or an attempt at one.
#[repr(C)]
pub struct HistoryRow {
    /// Number of the row, from 1; 0 while it is empty or being written.
    pub sequence: AtomicU64,
    /// Generation before.
    pub from_generation: AtomicU64,
    /// Generation after.
    pub to_generation: AtomicU64,
    /// How it ended.
    pub outcome: AtomicU32,
    /// Pid of the successor.
    pub successor_pid: AtomicU32,
    /// When it began, ns.
    pub started: AtomicU64,
    /// When the successor was ready, ns.
    pub ready: AtomicU64,
    /// Last commit of the old owner, ns.
    pub last_commit: AtomicU64,
    /// First tick allowed in the new owner, ns.
    pub first_tick: AtomicU64,
    /// Noise, ns.
    pub noise: AtomicU64,
    /// Descriptors handed over.
    pub descriptors: AtomicU32,
    /// Streams handed over.
    pub streams: AtomicU32,
    /// Why it ended as it did.
    pub reason: [AtomicU8; REASON_LEN],
}

const _: () = {
    // The words are stored as the machine has them, and the format says little-endian.
    assert!(cfg!(target_endian = "little"));
    assert!(size_of::<Layout>() == 16384 && SIZE == 16384);
    assert!(align_of::<Layout>() == 8);
    assert!(offset_of!(Layout, magic) == 0);
    assert!(offset_of!(Layout, version) == 8);
    assert!(offset_of!(Layout, size) == 12);
    assert!(offset_of!(Layout, node_id) == 16);
    assert!(offset_of!(Layout, node_name) == 32);
    assert!(offset_of!(Layout, lease) == 128);
    assert!(offset_of!(Layout, futex) == 192);
    assert!(offset_of!(Layout, signal) == 196);
    assert!(offset_of!(Layout, commit_stamp) == 200);
    assert!(offset_of!(Layout, rehearsal_stamp) == 208);
    assert!(offset_of!(Layout, noise) == 216);
    assert!(offset_of!(Layout, phase) == 256);
    assert!(offset_of!(Layout, successor_slot) == 260);
    assert!(offset_of!(Layout, started) == 264);
    assert!(offset_of!(Layout, phase_deadline) == 272);
    assert!(offset_of!(Layout, completed) == 320);
    assert!(offset_of!(Layout, aborted) == 328);
    assert!(offset_of!(Layout, next_history) == 336);
    assert!(offset_of!(Layout, request) == 344);
    assert!(offset_of!(Layout, requests) == 348);
    assert!(offset_of!(Layout, probation_end) == 352);
    assert!(offset_of!(Layout, participants) == 512);
    assert!(offset_of!(Layout, history) == 2048);
    assert!(offset_of!(Layout, declarations) == 14336);

    assert!(size_of::<ParticipantRow>() == 192);
    assert!(offset_of!(ParticipantRow, state) == 0);
    assert!(offset_of!(ParticipantRow, pid) == 4);
    assert!(offset_of!(ParticipantRow, start_time) == 8);
    assert!(offset_of!(ParticipantRow, build_id) == 16);
    assert!(offset_of!(ParticipantRow, since) == 80);
    assert!(offset_of!(ParticipantRow, connections) == 88);
    assert!(offset_of!(ParticipantRow, in_flight) == 96);
    assert!(offset_of!(ParticipantRow, drain_deadline) == 104);
    assert!(offset_of!(ParticipantRow, heartbeat) == 112);
    assert!(offset_of!(ParticipantRow, _reserved) == 120);
    assert!(offset_of!(ParticipantRow, drain_phase) == 128);
    assert!(offset_of!(ParticipantRow, oldest_since) == 136);
    assert!(offset_of!(ParticipantRow, oldest) == 144);

    assert!(size_of::<HistoryRow>() == 192);
    assert!(offset_of!(HistoryRow, sequence) == 0);
    assert!(offset_of!(HistoryRow, from_generation) == 8);
    assert!(offset_of!(HistoryRow, to_generation) == 16);
    assert!(offset_of!(HistoryRow, outcome) == 24);
    assert!(offset_of!(HistoryRow, successor_pid) == 28);
    assert!(offset_of!(HistoryRow, started) == 32);
    assert!(offset_of!(HistoryRow, ready) == 40);
    assert!(offset_of!(HistoryRow, last_commit) == 48);
    assert!(offset_of!(HistoryRow, first_tick) == 56);
    assert!(offset_of!(HistoryRow, noise) == 64);
    assert!(offset_of!(HistoryRow, descriptors) == 72);
    assert!(offset_of!(HistoryRow, streams) == 76);
    assert!(offset_of!(HistoryRow, reason) == 80);
};

/// Stores `text`, cut at a character to what fits, and zeroes behind it.
pub(crate) fn store_text(cells: &[AtomicU8], text: &str) {
    let text = &text.as_bytes()[..text.floor_char_boundary(cells.len())];
    for (i, cell) in cells.iter().enumerate() {
        cell.store(text.get(i).copied().unwrap_or(0), Ordering::Relaxed);
    }
}

/// Copies text out: up to the first zero, and with everything replaced that is no text or moves a terminal's
/// cursor.
pub(crate) fn load_text(cells: &[AtomicU8]) -> String {
    let bytes: Vec<u8> = cells
        .iter()
        .map(|cell| cell.load(Ordering::Relaxed))
        .take_while(|&b| b != 0)
        .collect();
    String::from_utf8_lossy(&bytes).replace(char::is_control, "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_padded_and_cleaned() {
        let cells: [AtomicU8; 8] = std::array::from_fn(|_| AtomicU8::new(b'x'));
        store_text(&cells, "ab");
        assert_eq!(load_text(&cells), "ab");
        assert_eq!(cells[7].load(Ordering::Relaxed), 0);
        store_text(&cells, "abcdefgä");
        assert_eq!(load_text(&cells), "abcdefg", "not half a character");
        store_text(&cells, "12345678");
        assert_eq!(load_text(&cells), "12345678", "no zero is needed");
        cells[1].store(0xff, Ordering::Relaxed);
        cells[2].store(0x1b, Ordering::Relaxed);
        assert_eq!(load_text(&cells), "1\u{fffd}\u{fffd}45678");
    }
}
