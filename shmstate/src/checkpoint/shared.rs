//! What the three parties of a checkpoint share: the writer's hook, the copier, and the handle that waits for it.
//!
//! - **K1** One word of truth, `phase`, under a lock that is held for a few instructions; the one system call under it
//!   is the removal of the temporary file by whoever gives up. The mark takes it once, a write and a transaction never.
//!   It moves forward only: `Waiting → Copying → Copied → Placed`, and `Ended` from anywhere.
//! - **K2** Who drops the handle gives up until it is decided that the file gets its name (`Placed`); who drops the
//!   region gives up only while it is still needed (up to `Copied`): after that the image is complete without it.
//! - **K3** Whoever gives up removes the temporary file himself, at once: nothing is left even if the process ends
//!   before the copier notices. Only a file that is being made in that instant is removed by its maker.
//!
//! It does not know what is copied.

use crate::checkpoint::side::Spares;
use crate::error::{Error, Result};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What a finished checkpoint was like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointReport {
    /// Bytes of the file.
    pub bytes: u64,
    /// Pages of 4 KiB in it.
    pub pages: u64,
    /// How many of them the writer had to save before it could change them.
    pub copied_by_writer: u64,
    /// From the mark until the file was safe under its name.
    pub took: Duration,
    /// The longest that saving one page held the writer up, by the clock: with the time that its thread was off its
    /// core.
    pub longest_writer_copy: Duration,
}

/// How far it is (K1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Prepared, no mark yet.
    Waiting,
    /// The region is needed.
    Copying,
    /// Everything is out of the region.
    Copied,
    /// The file gets its name.
    Placed,
    /// There is an outcome.
    Ended,
}

/// The writer's figures.
#[derive(Debug, Default)]
pub(crate) struct WriterCounts {
    pub(crate) pages: AtomicU64,
    pub(crate) longest_ns: AtomicU64,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    given_up: Option<&'static str>,
    temporary: Option<PathBuf>,
    outcome: Option<Result<CheckpointReport>>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Shared {
    over: AtomicBool,
    ended: AtomicBool,
    pub(crate) writer: WriterCounts,
    /// Pages that are in the file, and that are to be (0: not known yet).
    pub(crate) done: AtomicU64,
    pub(crate) all: AtomicU64,
    pub(crate) spares: Arc<Spares>,
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    pub(crate) fn new(spares: Spares) -> Self {
        Self {
            over: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            writer: WriterCounts::default(),
            done: AtomicU64::new(0),
            all: AtomicU64::new(0),
            spares: Arc::new(spares),
            state: Mutex::new(State {
                phase: Phase::Waiting,
                given_up: None,
                temporary: None,
                outcome: None,
            }),
            changed: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the region is not needed any more. A hint for the writer: it may look at bits a little longer than it
    /// must.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Gives the checkpoint up, unless it is too late for that (K2). `while_needed`: only while the region is needed.
    pub(crate) fn give_up(&self, why: &'static str, while_needed: bool) {
        let mut state = self.state();
        let last = if while_needed { Phase::Copying } else { Phase::Copied };
        if state.phase > last || state.given_up.is_some() {
            return;
        }
        state.given_up = Some(why);
        remove(&mut state);
        self.over.store(true, Ordering::Relaxed);
        self.changed.notify_all();
    }

    /// Goes on to `phase`, if nobody has given up and it has not failed.
    pub(crate) fn enter(&self, phase: Phase) -> Result<()> {
        let mut state = self.state();
        check(&state)?;
        if state.phase == Phase::Ended {
            return Err(state.outcome.take().and_then(Result::err).unwrap_or(FAILED));
        }
        state.phase = phase;
        if phase >= Phase::Copied {
            self.over.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The copier's: whether somebody has given up.
    pub(crate) fn check(&self) -> Result<()> {
        check(&self.state())
    }

    /// The copier's: says which file is to be removed by whoever gives up from now on. If somebody has, it removes it
    /// itself.
    pub(crate) fn register(&self, temporary: PathBuf) -> Result<()> {
        let mut state = self.state();
        state.temporary = Some(temporary);
        let checked = check(&state);
        if checked.is_err() {
            remove(&mut state);
        }
        checked
    }

    /// The copier's: decides that the temporary file gets its name; from here on nobody can give up. Renaming takes as
    /// long as the disk likes, so it is not done under the lock.
    pub(crate) fn place(&self) -> Result<PathBuf> {
        let mut state = self.state();
        check(&state)?;
        state.phase = Phase::Placed;
        state.temporary.take().ok_or(FAILED)
    }

    /// The copier's: sleeps, or until somebody gives up.
    pub(crate) fn sleep(&self, time: Duration) {
        let state = self.state();
        if state.given_up.is_none() {
            drop(self.changed.wait_timeout(state, time));
        }
    }

    /// The copier's last word.
    pub(crate) fn end(&self, outcome: Result<CheckpointReport>) {
        let mut state = self.state();
        if outcome.is_err() {
            remove(&mut state);
        }
        state.phase = Phase::Ended;
        state.outcome = Some(outcome);
        self.over.store(true, Ordering::Relaxed);
        // ENDED pair, see `is_ended`.
        self.ended.store(true, Ordering::Release);
        self.changed.notify_all();
    }

    /// Whether there is an outcome.
    pub(crate) fn is_ended(&self) -> bool {
        // ENDED pair: what `end` has left is seen by who sees this.
        self.ended.load(Ordering::Acquire)
    }

    /// Waits for the outcome. An error is given once.
    pub(crate) fn wait(&self, deadline: Instant) -> Result<CheckpointReport> {
        let mut state = self.state();
        while state.phase != Phase::Ended {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                return Err(self.running());
            };
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        match &state.outcome {
            Some(Ok(report)) => Ok(*report),
            Some(Err(_)) => state.outcome.take().unwrap_or(Err(FAILED)),
            None => Err(FAILED),
        }
    }

    /// What to say to someone who wants it to be over.
    pub(crate) fn running(&self) -> Error {
        Error::CheckpointRunning {
            done: self.done.load(Ordering::Relaxed),
            pages: self.all.load(Ordering::Relaxed),
        }
    }
}

const FAILED: Error = Error::CheckpointAborted {
    why: "it has failed, and the reason was given to whoever asked first",
};

fn check(state: &State) -> Result<()> {
    state
        .given_up
        .map_or(Ok(()), |why| Err(Error::CheckpointAborted { why }))
}

fn remove(state: &mut State) {
    if let Some(path) = state.temporary.take() {
        // It is a file of this process that nobody else knows; if it is gone already, all the better.
        let _ = std::fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_give_up_when() {
        for (phase, region, handle) in [
            (Phase::Waiting, true, true),
            (Phase::Copying, true, true),
            (Phase::Copied, false, true),
            (Phase::Placed, false, false),
        ] {
            for (while_needed, expected) in [(true, region), (false, handle)] {
                let shared = Shared::new(Spares::new(1));
                shared.enter(phase).expect("nobody gave up");
                shared.give_up("test", while_needed);
                assert_eq!(shared.check().is_err(), expected, "{phase:?} {while_needed}");
            }
        }
    }

    #[test]
    fn an_error_is_given_once_and_a_report_as_often_as_asked() {
        let shared = Shared::new(Spares::new(1));
        let now = Instant::now();
        assert!(matches!(shared.wait(now), Err(Error::CheckpointRunning { .. })));
        shared.end(Err(Error::GateClosed));
        assert!(matches!(shared.wait(now), Err(Error::GateClosed)));
        assert!(matches!(shared.wait(now), Err(Error::CheckpointAborted { .. })));
    }
}
