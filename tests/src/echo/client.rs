//! The client: one thread writes the input in pieces of all sizes, another reads the answer at a changing pace and
//! compares every byte with what it has to be.

use crate::echo::transform::{Source, Transform};
use fastrand::Rng;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Largest piece written or read at once: larger than both rings of any run together.
const PIECE: usize = 16 * 1024;
/// Longest pause of the reader.
const PAUSE: Duration = Duration::from_micros(1500);

/// Bytes of answer between changes of its pace.
const SLOW_RUN: u64 = 100_000;
/// Pieces that are read slowly after the client half-closed.
const LATE: u32 = 64;

/// What the two threads tell each other and the one that kills.
#[derive(Debug, Default)]
pub struct Signals {
    /// The client has half-closed, or is about to.
    pub closed: AtomicBool,
    /// The reader has seen the end, or something that must not be.
    pub over: AtomicBool,
}

/// The first thing that was not as it has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// Another byte at this place of the answer.
    Byte {
        /// Where.
        at: u64,
        /// What it has to be.
        expected: u8,
        /// What it was.
        got: u8,
    },
    /// More answer than there was input for.
    Early {
        /// Bytes of input that this answer takes.
        needs: u64,
        /// Bytes of input that were written.
        written: u64,
    },
    /// The end came too soon.
    Short {
        /// Bytes of answer before the end.
        got: u64,
        /// Bytes of answer there have to be.
        expected: u64,
    },
    /// The connection failed under the client.
    Broken(ErrorKind),
}

/// What the reader saw up to the end.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// Bytes of answer.
    pub bytes: u64,
    /// Bytes of input that make exactly this answer.
    pub input: u64,
}

/// Writes the input until somebody half-closes the connection under it. Says how much of it went into the connection.
///
/// # Errors
/// Those of the connection.
pub fn write(mut connection: &File, seed: u64, signals: &Signals) -> std::io::Result<u64> {
    let mut source = Source::new(seed);
    let mut random = Rng::with_seed(seed ^ 1);
    let mut piece = Vec::with_capacity(PIECE);
    let mut written = 0;
    loop {
        piece.clear();
        let length = length(&mut random);
        piece.extend((0..length).map(|_| source.byte()));
        let mut rest = &piece[..];
        while !rest.is_empty() {
            match connection.write(rest) {
                Ok(n) => {
                    rest = &rest[n..];
                    written += n as u64;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::BrokenPipe && signals.closed.load(Ordering::Acquire) => {
                    return Ok(written);
                }
                Err(e) => return Err(e),
            }
        }
    }
}

/// Reads the answer to its end. `Err` is the first mismatch; how much input there was is left to the caller to compare.
///
/// # Errors
/// The mismatch.
pub fn read(mut connection: &File, seed: u64, key: u64, signals: &Signals) -> Result<Answer, Mismatch> {
    let mut source = Source::new(seed);
    let mut transform = Transform { key };
    let mut random = Rng::with_seed(seed ^ 2);
    let mut buffer = vec![0; PIECE];
    let mut expected = Vec::new();
    let mut used = 0;
    let mut at = 0;
    let mut late = 0;
    loop {
        // The pace changes, so that rings and socket fill at times and run dry at others. The end is slow for a while, so
        // that servers are killed in it, too.
        let last = late < LATE && signals.closed.load(Ordering::Acquire);
        late += u32::from(last);
        if last || ((at / SLOW_RUN).is_multiple_of(4) && random.u8(..16) == 0) {
            std::thread::sleep(PAUSE.mul_f64(random.f64()));
        }
        let wanted = length(&mut random);
        let n = match connection.read(&mut buffer[..wanted]) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) => return Err(Mismatch::Broken(e.kind())),
        };
        for got in &buffer[..n] {
            if used == expected.len() {
                expected.clear();
                used = 0;
                transform.push(source.byte(), &mut expected);
            }
            if *got != expected[used] {
                return Err(Mismatch::Byte {
                    at,
                    expected: expected[used],
                    got: *got,
                });
            }
            used += 1;
            at += 1;
        }
    }
    let left = (expected.len() - used) as u64;
    if left > 0 {
        return Err(Mismatch::Short {
            got: at,
            expected: at + left,
        });
    }
    Ok(Answer {
        bytes: at,
        input: source.taken(),
    })
}

/// A length from 1 byte to a whole piece, small ones as often as large ones.
fn length(random: &mut Rng) -> usize {
    let magnitude = random.u32(..=PIECE.ilog2());
    random.usize(1..=1 << magnitude)
}

/// Compares the whole answer with the whole input.
///
/// # Errors
/// The mismatch.
pub fn compare(answer: Answer, written: u64, seed: u64, key: u64) -> Result<(), Mismatch> {
    if answer.input > written {
        return Err(Mismatch::Early {
            needs: answer.input,
            written,
        });
    }
    if answer.input == written {
        return Ok(());
    }
    let (mut source, mut transform) = (Source::new(seed), Transform { key });
    let (mut out, mut expected) = (Vec::new(), 0);
    for _ in 0..written {
        out.clear();
        transform.push(source.byte(), &mut out);
        expected += out.len() as u64;
    }
    Err(Mismatch::Short {
        got: answer.bytes,
        expected,
    })
}
