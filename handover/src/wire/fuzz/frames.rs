//! Frames that are valid, and what becomes of them.
//!
//! It does not know what a receiver makes of them.

use super::super::frame::{HEADER_LEN, MAX_FRAME};
use super::super::message::tests::{golden, golden_v2};
use super::super::message::{Descriptor, DescriptorKind, Message};

/// Longest datagram that is made: more than a receiver takes, less than a socket refuses to send.
const LONGEST: usize = 3 * MAX_FRAME;
/// Lengths, counts and versions that mean something to somebody.
const NUMBERS: [u32; 14] = [
    0,
    1,
    2,
    3,
    16,
    64,
    253,
    254,
    1024,
    1025,
    2049,
    0x7fff,
    0xffff,
    0xffff_ffff,
];

/// A message with the version it belongs to.
pub(super) fn message(random: &mut fastrand::Rng) -> (Message, u16) {
    let (v1, v2) = (golden(), golden_v2());
    let at = random.usize(..v1.len() + v2.len() + 2);
    if let Some((message, _)) = v1.get(at) {
        return (message.clone(), 1);
    }
    if let Some((message, _)) = v2.get(at - v1.len()) {
        return (message.clone(), 2);
    }
    // Lists as long as they may be, or nearly.
    let entry = Descriptor {
        kind: DescriptorKind::Stream,
        token: random.u64(..),
        name: "n".repeat(random.usize(..100)),
    };
    let entries = vec![entry; random.usize(..=253)];
    match random.bool() {
        true => (Message::Descriptors { batch: 0, entries }, random.u16(1..=2)),
        false => (Message::Mirror { entries }, 2),
    }
}

/// Bytes of no meaning, now and then behind a header that has one.
pub(super) fn noise(random: &mut fastrand::Rng) -> Vec<u8> {
    let most = match random.u32(..8) {
        0 => LONGEST,
        1..4 => 600,
        _ => 64,
    };
    let mut bytes = vec![0; random.usize(..most)];
    random.fill(&mut bytes);
    if random.bool() && bytes.len() >= HEADER_LEN {
        let (version, kind) = (random.u16(..4), random.u16(..20));
        bytes[..4].copy_from_slice(b"HOV1");
        bytes[4..6].copy_from_slice(&version.to_le_bytes());
        bytes[6..8].copy_from_slice(&kind.to_le_bytes());
        mend(&mut bytes);
    }
    bytes
}

/// Makes the length in the header right again, so that what is behind it is reached.
fn mend(frame: &mut [u8]) {
    if let Some(body) = frame.len().checked_sub(HEADER_LEN) {
        frame[8..12].copy_from_slice(&(body as u32).to_le_bytes());
    }
}

/// Alters a frame in one to three places, in ways that a chance, another version and a confused program find.
pub(super) fn mutate(mut frame: Vec<u8>, random: &mut fastrand::Rng) -> Vec<u8> {
    for _ in 0..random.u32(1..=3) {
        let len = frame.len();
        let at = random.usize(..=len);
        match random.u32(..11) {
            0 if at < len => frame[at] ^= 1 << random.u32(..8),
            1 if at < len => frame[at] = random.u8(..),
            2 if at + 2 <= len => {
                let number = NUMBERS[random.usize(..NUMBERS.len())] as u16;
                frame[at..at + 2].copy_from_slice(&number.to_le_bytes());
            }
            3 if at + 4 <= len => {
                let number = NUMBERS[random.usize(..NUMBERS.len())];
                frame[at..at + 4].copy_from_slice(&number.to_le_bytes());
            }
            4 => frame.truncate(at),
            5 => frame.extend(std::iter::repeat_n(random.u8(..), random.usize(1..40))),
            6 => drop(frame.drain(at..len.min(at + random.usize(1..20)))),
            7 => {
                let mut more = vec![0; random.usize(1..20)];
                random.fill(&mut more);
                frame.splice(at..at, more);
            }
            // Another kind, another version: what the body says then is for the decoder to find out.
            8 if len >= HEADER_LEN => frame[6] = random.u8(..20),
            9 if len >= HEADER_LEN => frame[4] = random.u8(..4),
            10 if random.u32(..8) == 0 => frame.resize(random.usize(MAX_FRAME..LONGEST), 0),
            _ => {}
        }
    }
    if random.u32(..4) != 0 && frame.len() >= HEADER_LEN {
        mend(&mut frame);
    }
    frame
}
