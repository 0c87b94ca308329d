//! Who is in a pass, noted by the servers themselves in a file that the libraries know nothing of.
//!
//! - **W1** Inside its pass a server holds a lock of the kernel on the file. Who does not get it at once is the second owner, unless the one that has it
//!   was killed, which every thread of it shows: then it keeps the lock until its memory is given up, and runs no more. A stopped one keeps it too.
//! - **W2** The file says who was last in a pass, with which generation, and when that pass was over. A generation that is smaller than the
//!   one before is a second owner too, one that came late.
//! - **W3** What is wrong, and each time without a pass that is longer than [`GAP`], is a line in a file beside it, in the order in which it happened.
//!
//! It does not know what a pass is for. The chaos reads what stands here, see [`crate::chaos`].

use handover::{Node, Stop};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use shmstate::Pass;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Shorter times without a pass are not noted: a few ticks, and what a busy machine makes of them.
pub const GAP: Duration = Duration::from_millis(20);
/// How long one that was killed may take to give up its lock.
const DYING: Duration = Duration::from_secs(30);
/// Between two looks whether it has.
const AGAIN: Duration = Duration::from_micros(200);
/// Marks of a thread that will not run again, as the kernel's `sched.h` has them, and where they stand behind its name in /proc/PID/task/TID/stat.
const PF_EXITING: u64 = 0x4;
const PF_SIGNALED: u64 = 0x400;
const FLAGS: usize = 9 - 3;
/// Process, generation, end of the pass: three words.
const NOTE: usize = 24;

/// What is worth a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Line {
    /// Two processes were in a pass at once, or one came late.
    TwoOwners {
        /// Who found it: process and generation.
        found: (u32, u64),
        /// Who was noted last.
        noted: (u32, u64),
    },
    /// Nobody was in a pass for so long.
    Gap {
        /// When it ended, ns of `CLOCK_MONOTONIC`.
        end: u64,
        /// How long it was, ns.
        length: u64,
        /// Who ended it.
        generation: u64,
    },
}

/// The file, as one server has it.
#[derive(Debug)]
pub struct Witness {
    file: File,
    lines: File,
}

/// A pass that is noted. Dropped, before the pass is, it is over.
#[derive(Debug)]
pub struct Stamp<'w> {
    witness: &'w Witness,
    generation: u64,
}

impl Witness {
    /// Opens or makes the file and the one beside it.
    ///
    /// # Errors
    /// As the system says.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).create(true);
        Ok(Self {
            file: options.clone().write(true).open(path)?,
            lines: options.append(true).open(lines(path))?,
        })
    }

    /// Notes the begin of a pass with this generation.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn enter(&self, generation: u64) -> io::Result<Stamp<'_>> {
        let me = (std::process::id(), generation);
        let mut locked = self.try_lock()?;
        let (mut noted, mut end) = self.noted()?;
        let patience = now() + DYING.as_nanos() as u64;
        while !locked && runs_no_more(noted.0) && now() < patience {
            std::thread::sleep(AGAIN);
            locked = self.try_lock()?;
            // Somebody else may have got it first, and live.
            (noted, end) = self.noted()?;
        }
        if !locked || noted.1 > generation {
            self.say(&Line::TwoOwners { found: me, noted })?;
        }
        let now = now();
        let length = now.saturating_sub(end);
        if end != 0 && length > GAP.as_nanos() as u64 {
            self.say(&Line::Gap {
                end: now,
                length,
                generation,
            })?;
        }
        self.note(me, now)?;
        Ok(Stamp {
            witness: self,
            generation,
        })
    }

    fn try_lock(&self) -> io::Result<bool> {
        match flock(&self.file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(Errno::WOULDBLOCK) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    fn noted(&self) -> io::Result<((u32, u64), u64)> {
        noted(&self.file)
    }

    fn note(&self, (process, generation): (u32, u64), end: u64) -> io::Result<()> {
        let words = [u64::from(process), generation, end];
        self.file.write_all_at(&words.map(u64::to_le_bytes).concat(), 0)
    }

    /// One call, so that lines of several processes do not mix.
    fn say(&self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        (&self.lines).write_all(text.as_bytes())
    }
}

impl Drop for Stamp<'_> {
    fn drop(&mut self) {
        // A note that cannot be written is one that the next pass misses, and says so by a gap.
        let _ = self.witness.note((std::process::id(), self.generation), now());
        let _ = flock(&self.witness.file, FlockOperation::Unlock);
    }
}

/// A pass, and the note of it.
#[derive(Debug)]
pub struct Held<'n> {
    /// Over before the pass is.
    stamp: Option<Stamp<'n>>,
    /// The pass.
    pub pass: Pass<'n>,
}

impl<'n> Held<'n> {
    /// Asks the node for a pass, and notes it where there is a witness.
    ///
    /// # Errors
    /// The witness cannot be written; or, inside, there is no pass any more.
    pub fn of(node: &'n Node, witness: Option<&'n Witness>) -> io::Result<Result<Self, Stop>> {
        let pass = match node.enter() {
            Ok(pass) => pass,
            Err(stop) => return Ok(Err(stop)),
        };
        let stamp = witness.map(|w| w.enter(pass.generation())).transpose()?;
        Ok(Ok(Self { stamp, pass }))
    }

    /// Lets both go, in their order.
    pub fn over(self) {
        drop(self.stamp);
        drop(self.pass);
    }
}

/// Whether every thread of this process has been killed or begun to end, or there is none.
fn runs_no_more(process: u32) -> bool {
    let threads = match std::fs::read_dir(format!("/proc/{process}/task")) {
        Ok(threads) => threads,
        Err(e) => return e.kind() == io::ErrorKind::NotFound,
    };
    threads.flatten().all(|thread| {
        let stat = match std::fs::read_to_string(thread.path().join("stat")) {
            Ok(stat) => stat,
            Err(e) => {
                return e.kind() == io::ErrorKind::NotFound || e.raw_os_error() == Some(Errno::SRCH.raw_os_error());
            }
        };
        let fields = stat.rsplit_once(')').map(|(_, fields)| fields);
        let flags = fields.and_then(|fields| fields.split_ascii_whitespace().nth(FLAGS)?.parse::<u64>().ok());
        flags.is_some_and(|flags| flags & (PF_EXITING | PF_SIGNALED) != 0)
    })
}

fn noted(file: &File) -> io::Result<((u32, u64), u64)> {
    let mut note = [0; NOTE];
    let mut words = [0; NOTE / 8];
    if file.read_at(&mut note, 0)? == NOTE {
        for (word, bytes) in words.iter_mut().zip(note.chunks_exact(8)) {
            *word = bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        }
    }
    let [process, generation, end] = words;
    Ok(((process as u32, generation), end))
}

/// Who was last in a pass, and when that began or was over, ns of `CLOCK_MONOTONIC`; `None` if nobody was yet.
///
/// # Errors
/// As the system says.
pub fn last(path: &Path) -> io::Result<Option<(u32, u64)>> {
    let ((process, _), at) = noted(&File::open(path)?)?;
    Ok((at != 0).then_some((process, at)))
}

/// Where the lines are.
#[must_use]
pub fn lines(path: &Path) -> PathBuf {
    path.with_extension("lines")
}

/// Now, in ns of the clock that all processes share.
#[must_use]
pub fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(path: &Path) -> Vec<Line> {
        let text = std::fs::read_to_string(lines(path)).expect("lines");
        text.lines().map(|l| serde_json::from_str(l).expect("a line")).collect()
    }

    #[test]
    fn one_after_the_other_is_well() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("witness");
        let (a, b) = (Witness::open(&path).expect("a"), Witness::open(&path).expect("b"));
        for generation in 1..4 {
            drop(a.enter(generation).expect("enter"));
            drop(b.enter(generation).expect("enter"));
        }
        assert_eq!(said(&path), []);
    }

    #[test]
    fn two_at_once_and_one_that_is_late_are_seen() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("witness");
        let me = std::process::id();
        let (a, b) = (Witness::open(&path).expect("a"), Witness::open(&path).expect("b"));
        let first = a.enter(1).expect("enter");
        drop(b.enter(2).expect("enter"));
        drop(first);
        drop(b.enter(2).expect("enter"));
        drop(a.enter(1).expect("enter"));
        let line = |found, noted| Line::TwoOwners {
            found: (me, found),
            noted: (me, noted),
        };
        assert_eq!(said(&path)[0], line(2, 1));
        assert_eq!(said(&path).last(), Some(&line(1, 2)));
    }

    #[test]
    fn one_that_is_dying_is_waited_for_and_one_that_lives_is_not() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().expect("sleep");
        let bed = crate::node::Deathbed::of(child.id());
        assert!(!runs_no_more(child.id()));
        bed.kill();
        assert!(bed.is_dying() && runs_no_more(child.id()));
        drop(bed);
        child.wait().expect("reap");
        assert!(runs_no_more(child.id()), "nobody");
    }

    #[test]
    fn a_gap_is_noted() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("witness");
        let witness = Witness::open(&path).expect("open");
        drop(witness.enter(1).expect("enter"));
        std::thread::sleep(GAP * 2);
        drop(witness.enter(2).expect("enter"));
        assert!(
            matches!(said(&path)[..], [Line::Gap { generation: 2, length, .. }] if length >= 2 * GAP.as_nanos() as u64)
        );
    }
}
