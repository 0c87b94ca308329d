//! What a server and the report say to each other: orders as words on its standard input, events as JSON lines on its output.

use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// What the report tells a server. Each is one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Ask for the node (a resident server).
    Join,
    /// Say `ready` now (a server that holds).
    Go,
    /// End the node and remove everything.
    Stop,
}

impl Order {
    const ALL: [(Self, &'static str); 3] = [(Self::Join, "join"), (Self::Go, "go"), (Self::Stop, "stop")];

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

/// What a server tells. Times are nanoseconds of CLOCK_MONOTONIC.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// It waits for orders.
    Resident,
    /// Everything of the node is here; nothing is owned yet.
    Started,
    /// It serves.
    Serving(Serving),
    /// A successor serves.
    HandedOver,
    /// What was not handed over is drained.
    Drained,
    /// The node is ended and removed.
    Stopped,
    /// It ends with an error.
    Failed(String),
}

/// How a server came to serve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Serving {
    /// Its generation.
    pub generation: u64,
    /// When it asked for the node.
    pub asked: u64,
    /// When everything was here.
    pub started: u64,
    /// When its first pass was out.
    pub first_pass: u64,
    /// Last commit of the owner before, as that owner wrote it into the region within that transaction; 0 for the first.
    pub last_tick: u64,
    /// Blackout of the library's history, ns; 0 for the first.
    pub blackout: u64,
    /// Noise of the library's history, ns.
    pub noise: u64,
    /// Its first tick, from the beginning of the transaction to its commit, ns; 0 if the gate closed before it.
    pub first_tick: u64,
    /// Small records that were not of its version when that transaction had begun.
    pub pending: u64,
    /// Those of them that it left so.
    pub left: u64,
    /// Connections that came over.
    pub streams: u64,
    /// Bytes of archived records in all regions.
    pub records: u64,
    /// Bytes of the regions on 2 MiB pages.
    pub huge: u64,
    /// Bytes that the regions have taken.
    pub allocated: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_have_words() {
        for (order, word) in Order::ALL {
            assert_eq!(order.word(), word);
            assert_eq!(word.parse(), Ok(order));
        }
        assert!("jump".parse::<Order>().is_err());
    }
}
