//! Ways in which the server misbehaves on purpose. Each must be noticed by the bots: a check that cannot fail proves nothing.

use std::str::FromStr;

/// How often it happens: every so many commands or frames. One connection is cut at the command of that number, and no other.
const PERIOD: u64 = 50;

/// A misbehaviour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// A command is taken and neither executed nor acknowledged.
    LoseCommand,
    /// A command is executed and acknowledged twice.
    DoubleCommand,
    /// A tick has no frame, and no later frame covers it.
    SkipTick,
    /// A tick has two frames.
    DoubleTick,
    /// A pickup is worth one more than the rules say.
    WrongScore,
    /// One connection is cut.
    CutOne,
}

impl Sabotage {
    /// All of them, by the names that the command line knows.
    pub const ALL: [(&'static str, Self); 6] = [
        ("lose-command", Self::LoseCommand),
        ("double-command", Self::DoubleCommand),
        ("skip-tick", Self::SkipTick),
        ("double-tick", Self::DoubleTick),
        ("wrong-score", Self::WrongScore),
        ("cut-one", Self::CutOne),
    ];
}

impl FromStr for Sabotage {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(n, _)| *n == name);
        found.map(|(_, s)| *s).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|(n, _)| *n).collect();
            format!("no such sabotage; there are {}", names.join(", "))
        })
    }
}

/// Decides when the misbehaviour happens.
#[derive(Debug)]
pub(crate) struct Saboteur {
    what: Option<Sabotage>,
    occasions: u64,
}

impl Saboteur {
    pub(crate) fn new(what: Option<Sabotage>) -> Self {
        Self { what, occasions: 0 }
    }

    /// Whether `what` happens on this occasion.
    pub(crate) fn strikes(&mut self, what: Sabotage) -> bool {
        if self.what != Some(what) {
            return false;
        }
        self.occasions += 1;
        match what {
            Sabotage::CutOne => self.occasions == PERIOD,
            _ => self.occasions.is_multiple_of(PERIOD),
        }
    }
}
