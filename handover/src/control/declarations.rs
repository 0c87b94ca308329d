//! What the owner of a node has declared beside its regions, for those who plan an upgrade: they cannot ask it, and it may hang.
//!
//! - **D1** It is believed only if it is of the process that owns the node now: an owner with an older library says nothing, and leaves what the one
//!   before it has said. And only if it is whole: the check is of all that stands here, and is taken away before anything changes.
//! - **D2** Nothing but a plan for people depends on it. What does not fit is left out, and that is said.
//!
//! ```text
//!  0 u64 check: FNV-1a of all below, as far as it is used; 0: nothing is said
//!  8 u32 pid of who says it · u32 bytes of the entries, the highest bit: not all are here      16 u64 its start time
//! 24 entries: u64 mark of the descriptor · u8 length of its name · the name
//! ```

use super::layout::DECLARATIONS;
use crate::control::block::ControlBlock;
use crate::os::pidfd::ProcessId;
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Words before the entries.
const HEAD: usize = 3;
/// Bytes for the entries.
const ROOM: usize = (DECLARATIONS - HEAD) * 8;
/// Not all are here.
const CUT: u32 = 1 << 31;
/// How often it is read again while its owner writes.
const TRIES: usize = 16;

/// What a node's owner has declared beside its regions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declarations {
    /// Listeners, sockets and other descriptors: their names, and the mark that says what was declared.
    pub descriptors: Vec<(String, u64)>,
    /// Whether these are all.
    pub complete: bool,
}

impl ControlBlock {
    /// Says what this process, which owns the node, has declared.
    pub(crate) fn declare<'d>(&self, me: ProcessId, descriptors: impl IntoIterator<Item = (&'d str, u64)>) {
        let (mut bytes, mut cut) = (Vec::new(), 0);
        for (name, mark) in descriptors {
            let Ok(length) = u8::try_from(name.len()) else { continue };
            if bytes.len() + 9 + name.len() > ROOM {
                cut = CUT;
                break;
            }
            bytes.extend_from_slice(&mark.to_le_bytes());
            bytes.push(length);
            bytes.extend_from_slice(name.as_bytes());
        }
        let mut words = vec![
            u64::from(me.pid) | u64::from(bytes.len() as u32 | cut) << 32,
            me.start_time,
        ];
        words.extend(bytes.chunks(8).map(|chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_le_bytes(word)
        }));
        let cells = &self.layout().declarations;
        // DECLARATIONS pair: who reads a check reads no word that is older than it, nor one that is newer than the next.
        cells[0].store(0, Ordering::Relaxed);
        fence(Ordering::Release);
        for (cell, word) in cells[1..].iter().zip(&words) {
            cell.store(*word, Ordering::Relaxed);
        }
        cells[0].store(check(&words), Ordering::Release);
    }

    /// What `owner` has declared, if it is that process that said so (D1).
    #[must_use]
    pub fn declarations(&self, owner: ProcessId) -> Option<Declarations> {
        let cells = &self.layout().declarations;
        (0..TRIES)
            .find_map(|_| read(cells))
            .filter(|(by, _)| *by == owner)
            .map(|(_, said)| said)
    }
}

fn read(cells: &[AtomicU64; DECLARATIONS]) -> Option<(ProcessId, Declarations)> {
    // DECLARATIONS pair.
    let said = cells[0].load(Ordering::Acquire);
    let words: Vec<u64> = cells[1..].iter().map(|cell| cell.load(Ordering::Relaxed)).collect();
    let (head, entries) = words.split_at(HEAD - 1);
    let length = (head[0] >> 32) as u32;
    let used = (length & !CUT) as usize;
    let used_words = HEAD - 1 + used.div_ceil(8);
    if said == 0 || used > ROOM || check(words.get(..used_words)?) != said {
        return None;
    }
    let bytes: Vec<u8> = entries.iter().flat_map(|word| word.to_le_bytes()).collect();
    let mut descriptors = Vec::new();
    let mut rest = bytes.get(..used)?;
    while let Some((mark, after)) = rest.split_first_chunk::<8>() {
        let (length, after) = after.split_first()?;
        let (name, after) = after.split_at_checked(usize::from(*length))?;
        descriptors.push((String::from_utf8(name.to_vec()).ok()?, u64::from_le_bytes(*mark)));
        rest = after;
    }
    let by = ProcessId {
        pid: head[0] as u32,
        start_time: head[1],
    };
    let complete = length & CUT == 0;
    rest.is_empty().then_some((by, Declarations { descriptors, complete }))
}

/// FNV-1a, never 0.
fn check(words: &[u64]) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let bytes = words.iter().flat_map(|word| word.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, step).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::block::TestBlock;

    #[test]
    fn what_the_owner_says_is_read_and_what_another_said_is_not() {
        let block = TestBlock::new();
        let me = ProcessId::current().expect("proc");
        let other = ProcessId { pid: me.pid + 1, ..me };
        assert_eq!(block.0.declarations(me), None, "nothing is said yet");
        block.0.declare(me, [("game", 77), ("ein längerer Name", u64::MAX)]);
        let wanted = vec![("game".to_owned(), 77), ("ein längerer Name".to_owned(), u64::MAX)];
        let said = block.0.declarations(me).expect("said");
        assert_eq!((said.descriptors, said.complete), (wanted, true));
        assert_eq!(block.0.declarations(other), None);
        // Less than before, and nothing.
        block.0.declare(me, [("game", 78)]);
        assert_eq!(
            block.0.declarations(me).expect("said").descriptors,
            [("game".to_owned(), 78)]
        );
        block.0.declare(me, []);
        let nothing = Declarations {
            descriptors: Vec::new(),
            complete: true,
        };
        assert_eq!(block.0.declarations(me), Some(nothing));
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_that_is_said() {
        let block = TestBlock::new();
        let me = ProcessId::current().expect("proc");
        let names: Vec<String> = (0..200).map(|i| format!("{i:0>100}")).collect();
        let all = names.iter().map(|name| (name.as_str(), 9));
        block.0.declare(me, all);
        let said = block.0.declarations(me).expect("said");
        assert!(!said.complete);
        assert_eq!(said.descriptors.len(), ROOM / 109);
        assert!(said.descriptors.iter().zip(&names).all(|((a, _), b)| a == b));
    }

    #[test]
    fn altered_words_are_not_believed() {
        let block = TestBlock::new();
        let me = ProcessId::current().expect("proc");
        block.0.declare(me, [("game", 77), ("metrics", 78)]);
        let used = HEAD + (9usize + 4 + 9 + 7).div_ceil(8);
        for (i, cell) in block.0.layout().declarations[..used].iter().enumerate() {
            for bit in [0, 31, 63] {
                let before = cell.fetch_xor(1 << bit, Ordering::Relaxed);
                assert_eq!(block.0.declarations(me), None, "word {i}, bit {bit}");
                cell.store(before, Ordering::Relaxed);
            }
        }
        assert!(block.0.declarations(me).is_some());
    }
}
