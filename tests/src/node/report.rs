//! What test and server say to each other: orders as words on its standard input, reports as JSON lines on its output.

use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// What a test tells a server. Each is one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Say `ready` now (with `--wait`).
    Go,
    /// Hold a pass until [`Order::Release`].
    Hold,
    /// Let go of the pass.
    Release,
    /// Begin a piece of work that a drain waits for.
    Work,
    /// All work is done.
    Done,
    /// End the node and remove everything.
    Stop,
    /// Change records in a transaction and leave it open until [`Order::Release`].
    Tear,
    /// Change records as [`Order::Tear`] does, and commit that: what nobody may do.
    Spoil,
    /// Take no pass until [`Order::Release`].
    Sleep,
    /// Give the node back to the predecessor.
    GiveBack,
    /// End the probation.
    Confirm,
    /// Fill memory, for a core that takes a while to write.
    Load,
    /// Crash in the middle of a transaction and leave that core, when it is said to be [`Report::Loaded`].
    Crash,
}

impl Order {
    const ALL: [(Self, &'static str); 13] = [
        (Self::Go, "go"),
        (Self::Hold, "hold"),
        (Self::Release, "release"),
        (Self::Work, "work"),
        (Self::Done, "done"),
        (Self::Stop, "stop"),
        (Self::Tear, "tear"),
        (Self::Spoil, "spoil"),
        (Self::Sleep, "sleep"),
        (Self::GiveBack, "give-back"),
        (Self::Confirm, "confirm"),
        (Self::Load, "load"),
        (Self::Crash, "crash"),
    ];

    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(order, _)| *order == self)
            .map_or("", |(_, word)| word)
    }
}

impl FromStr for Order {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(_, w)| *w == word);
        found
            .map(|(order, _)| *order)
            .ok_or_else(|| format!("{word:?} is no order"))
    }
}

/// What a server tells the test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// `start` returned: it has its regions, and owns nothing yet.
    Started {
        /// "first", "recovered" or "successor".
        role: String,
        /// Generation of the owner before, 0 for the first.
        before: u64,
    },
    /// It serves.
    Serving {
        /// Its generation.
        generation: u64,
        /// Whether the owner before was dead.
        inherited: bool,
        /// Streams that could not be continued.
        gone: usize,
        /// Requests answered and committed so far.
        answered: u64,
    },
    /// What was carried over, and what it carries on.
    Carried {
        /// Version and generation of what it found.
        before: Option<(u32, u64)>,
        /// The builds of all owners, this one last.
        owners: String,
        /// Whether more than was declared was refused.
        too_large: bool,
    },
    /// It has its other region.
    Extra {
        /// Whether it is new.
        new: bool,
        /// How many owners it has had.
        count: u64,
    },
    /// It owns the node again.
    Back {
        /// The successor's generation.
        before: u64,
        /// "Died", "Hung", "Operator" or "GaveBack".
        cause: String,
    },
    /// The predecessor serves again.
    GivenBack,
    /// It ended its probation, or was on none.
    Confirmed(bool),
    /// It holds a pass, or does nothing, as told.
    Holding,
    /// The memory for a core is filled.
    Loaded,
    /// It has work in flight.
    Working,
    /// A successor serves.
    HandedOver,
    /// The drain is over.
    Drained {
        /// Pieces of work that were not over.
        left: u64,
        /// How long it took.
        took_ms: u64,
    },
    /// The node is stopped.
    Stopped,
    /// It ends with an error.
    Failed {
        /// Who serves, as the library says.
        who: String,
        /// The error.
        text: String,
    },
}
