//! What a server does wrong on purpose, so that a test of tests sees it; and when: once, after it has answered well.

use crate::node::options::Sabotage;

/// Requests that are answered well before.
const INNOCENT: u64 = 100;

/// What is still to be done wrong.
#[derive(Debug)]
pub struct Wrong {
    what: Option<Sabotage>,
    answered: u64,
}

impl Wrong {
    /// Nothing yet.
    #[must_use]
    pub fn of(what: Option<Sabotage>) -> Self {
        Self { what, answered: 0 }
    }

    /// Whether this is to be done now.
    pub fn now(&mut self, what: Sabotage) -> bool {
        let now = self.answered >= INNOCENT && self.what == Some(what);
        if now {
            self.what = None;
        }
        now
    }

    /// How often the next answer is given.
    pub fn times(&mut self) -> usize {
        self.answered += 1;
        if self.now(Sabotage::Lose) {
            0
        } else if self.now(Sabotage::Double) {
            2
        } else {
            1
        }
    }
}
