//! Who holds a pass, for the one who waits in vain.
//!
//! A pass costs no clock and no name: the seat says which thread, a [`Holder`] that was registered once says which task,
//! and *since when* is known from looks: at the arming, at the close, at every look after it. So an age is "at least".

use crate::error::Result;
use crate::gate::{Gate, Pass};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Names a gate remembers; who registers beyond that is told apart by the thread only.
pub const MOST_NAMES: usize = 4096;
/// Holders that [`Gate::describe_holders`] names; the rest are counted.
pub const DESCRIBED: usize = 3;

/// A thread or task that has a name in the gate, see [`Gate::holder`]. Clones are the same holder.
#[derive(Clone, Debug)]
pub struct Holder {
    pub(super) gate: Gate,
    pub(super) name: u32,
}

impl Holder {
    /// Gives a pass, as [`Gate::enter`]; it goes by this holder's name.
    ///
    /// # Errors
    /// Those of [`Gate::enter`].
    #[inline]
    pub fn enter(&self) -> Result<Pass<'_>> {
        let mut pass = self.gate.enter()?;
        pass.rename(self.name);
        Ok(pass)
    }
}

/// Passes of one thread that are out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holding {
    /// Name of the [`Holder`], if the pass is one's.
    pub name: Option<Arc<str>>,
    /// The thread; `None` for threads that share a seat.
    pub thread: Option<HoldingThread>,
    /// How many passes.
    pub passes: u32,
    /// They are out for at least that long: since the first look that found them. Zero at that look.
    pub at_least: Duration,
}

/// A thread that holds a pass.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HoldingThread {
    /// The kernel's thread id: `/proc/PID/task/TID`.
    pub tid: i32,
    /// What it was called when it first entered.
    pub name: Option<String>,
    /// Whether it has ended without giving its pass back.
    pub ended: bool,
}

impl fmt::Display for Holding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(f, "'{name}' (")?;
        }
        match &self.thread {
            Some(thread) => {
                write!(f, "thread {}", thread.tid)?;
                if let Some(name) = &thread.name {
                    write!(f, " '{name}'")?;
                }
                if thread.ended {
                    write!(f, ", ended")?;
                }
            }
            None => write!(f, "threads that share a seat")?,
        }
        if self.name.is_some() {
            write!(f, ")")?;
        }
        if self.passes > 1 {
            write!(f, ", {} passes", self.passes)?;
        }
        if !self.at_least.is_zero() {
            write!(f, " for at least {:.1?}", self.at_least)?;
        }
        Ok(())
    }
}

/// The first [`DESCRIBED`] of `holdings` in words, oldest first.
pub(super) fn describe(mut holdings: Vec<Holding>) -> String {
    if holdings.is_empty() {
        return "no pass is out".into();
    }
    holdings.sort_by_key(|h| std::cmp::Reverse(h.at_least));
    let named: Vec<String> = holdings.iter().take(DESCRIBED).map(ToString::to_string).collect();
    let mut text = named.join("; ");
    if let Some(more) = holdings.len().checked_sub(DESCRIBED + 1) {
        text += &format!("; and {} more", more + 1);
    }
    text
}
