//! The lease word: which process may write, as one 64-bit value (rule H1).
//!
//! ```text
//! bits  0..8   state: 0 vacant, 1 owned, 2 offered
//! bits  8..16  owner: participant slot of the process that owns, or that offers
//! bits 16..24  heir: participant slot of the process it is offered to (offered only)
//! bits 24..64  generation: grows with every change of owner
//! ```
//!
//! Every transition is a function from one word to the next, and is applied by one compare-and-swap on a
//! [`LeaseCell`]; no second word decides. This file does not know who the participants are, nor how they
//! learn of a change.

use std::sync::atomic::{AtomicU64, Ordering};

/// What the lease says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// Nobody owns: a cell that was just made.
    Vacant {
        /// Generation of the last owner, 0 if there was none.
        generation: u64,
    },
    /// `owner` may write.
    Owned {
        /// Participant slot of the owner.
        owner: u8,
        /// Fencing token of this ownership.
        generation: u64,
    },
    /// `owner` has stopped writing and `heir` may take over; `owner` may take back.
    Offered {
        /// Participant slot of the process that let go.
        owner: u8,
        /// Participant slot of the process that may take.
        heir: u8,
        /// The generation that a take makes current.
        generation: u64,
    },
}

/// Generations are 40 bits wide: ten thousand changes of owner a second for three years.
pub const MAX_GENERATION: u64 = (1 << 40) - 1;

impl Lease {
    /// Decodes a word. `None` for a state no version of this library writes.
    #[must_use]
    pub const fn from_word(word: u64) -> Option<Self> {
        let generation = word >> 24;
        let owner = (word >> 8) as u8;
        let heir = (word >> 16) as u8;
        match word as u8 {
            0 => Some(Self::Vacant { generation }),
            1 => Some(Self::Owned { owner, generation }),
            2 => Some(Self::Offered {
                owner,
                heir,
                generation,
            }),
            _ => None,
        }
    }

    /// Encodes the lease as a word.
    #[must_use]
    pub const fn to_word(self) -> u64 {
        match self {
            Self::Vacant { generation } => generation << 24,
            Self::Owned { owner, generation } => 1 | (owner as u64) << 8 | generation << 24,
            Self::Offered {
                owner,
                heir,
                generation,
            } => 2 | (owner as u64) << 8 | (heir as u64) << 16 | generation << 24,
        }
    }

    /// The generation in the word, whatever the state.
    #[must_use]
    pub const fn generation(self) -> u64 {
        match self {
            Self::Vacant { generation } | Self::Owned { generation, .. } | Self::Offered { generation, .. } => {
                generation
            }
        }
    }

    /// The owner lets go in favour of `heir`. `None` unless `me` owns.
    #[must_use]
    pub const fn release(self, me: u8, heir: u8) -> Option<Self> {
        match self {
            Self::Owned { owner, generation } if owner == me && generation < MAX_GENERATION => Some(Self::Offered {
                owner,
                heir,
                generation: generation + 1,
            }),
            _ => None,
        }
    }

    /// The heir takes what was offered to it. `None` if it was not.
    #[must_use]
    pub const fn take(self, me: u8) -> Option<Self> {
        match self {
            Self::Offered { heir, generation, .. } if heir == me => Some(Self::Owned { owner: me, generation }),
            _ => None,
        }
    }

    /// The one that let go takes back. `None` unless it is still offered.
    #[must_use]
    pub const fn take_back(self, me: u8) -> Option<Self> {
        match self {
            Self::Offered { owner, generation, .. } if owner == me && generation < MAX_GENERATION => {
                Some(Self::Owned {
                    owner: me,
                    generation: generation + 1,
                })
            }
            _ => None,
        }
    }

    /// The owner leaves, and nobody follows. `None` unless `me` owns.
    #[must_use]
    pub const fn leave(self, me: u8) -> Option<Self> {
        match self {
            Self::Owned { owner, generation } if owner == me => Some(Self::Vacant { generation }),
            _ => None,
        }
    }

    /// `me` inherits from an owner (or an offering owner) whose death is proven (H10), or claims a vacant cell.
    #[must_use]
    pub const fn inherit(self, me: u8) -> Option<Self> {
        let generation = self.generation();
        if generation >= MAX_GENERATION {
            return None;
        }
        Some(Self::Owned {
            owner: me,
            generation: generation + 1,
        })
    }
}

/// Where a lease word lives: in a node's control block, or in this process for a region used alone.
pub trait LeaseCell: Send + Sync {
    /// The word itself. Every holder of the cell must see the same memory.
    fn word(&self) -> &AtomicU64;
}

/// A lease cell in this process, for a region that no node shares.
#[derive(Debug, Default)]
pub struct LocalLease(AtomicU64);

impl LeaseCell for LocalLease {
    fn word(&self) -> &AtomicU64 {
        &self.0
    }
}

/// Whether this word says that the process in slot `me` owns the node, and has offered it to nobody.
#[must_use]
pub fn is_owned_by(word: u64, me: u8) -> bool {
    matches!(Lease::from_word(word), Some(Lease::Owned { owner, .. }) if owner == me)
}

/// Reads the lease. `None` if the word is not one this library writes.
#[must_use]
pub fn load(cell: &AtomicU64) -> Option<Lease> {
    // LEASE pair: what the previous owner wrote before its release is visible after this.
    Lease::from_word(cell.load(Ordering::Acquire))
}

/// Applies `transition` to the lease with one compare-and-swap.
///
/// Returns the lease that is now in force, or `Err` with the one found if the transition does not apply to it or
/// another process was faster. It does not retry: who lost must look again and decide anew.
///
/// # Errors
/// The word found, when it was not changed.
pub fn change(cell: &AtomicU64, transition: impl FnOnce(Lease) -> Option<Lease>) -> Result<Lease, u64> {
    let found = cell.load(Ordering::Acquire);
    let Some(next) = Lease::from_word(found).and_then(transition) else {
        return Err(found);
    };
    // LEASE pair: Release publishes every store of the owner that lets go, Acquire receives them in the one that takes.
    cell.compare_exchange(found, next.to_word(), Ordering::AcqRel, Ordering::Acquire)
        .map(|_| next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_pinned() {
        let offered = Lease::Offered {
            owner: 3,
            heir: 7,
            generation: 0x12_3456_789a,
        };
        assert_eq!(offered.to_word(), 0x1234_5678_9a07_0302);
        assert_eq!(Lease::from_word(offered.to_word()), Some(offered));
        assert_eq!(Lease::from_word(0x03), None);
    }

    #[test]
    fn a_word_is_its_owners_until_it_is_offered() {
        let owned = |owner| Lease::Owned { owner, generation: 5 };
        let (heir, generation) = (1, 6);
        let offered = Lease::Offered {
            owner: 3,
            heir,
            generation,
        };
        assert!(is_owned_by(owned(3).to_word(), 3));
        assert!(is_owned_by(owned(0).to_word(), 0), "slot 0 is one like any other");
        assert!(!is_owned_by(owned(3).to_word(), 1));
        assert!(!is_owned_by(offered.to_word(), 3), "who offers owns no more");
        assert!(!is_owned_by(offered.to_word(), heir), "nor does the heir yet");
        assert!(!is_owned_by(Lease::Vacant { generation: 5 }.to_word(), 0));
        assert!(!is_owned_by(0x0303, 3), "a word that means nothing is nobody's");
    }

    #[test]
    fn take_and_take_back_exclude_each_other() {
        let cell = AtomicU64::new(
            Lease::Owned {
                owner: 0,
                generation: 5,
            }
            .to_word(),
        );
        change(&cell, |l| l.release(0, 1)).expect("the owner may release");
        assert!(change(&cell, |l| l.release(0, 1)).is_err());
        assert!(change(&cell, |l| l.take(2)).is_err(), "not the heir");
        assert_eq!(
            change(&cell, |l| l.take(1)),
            Ok(Lease::Owned {
                owner: 1,
                generation: 6
            })
        );
        assert!(change(&cell, |l| l.take_back(0)).is_err(), "too late");
        assert!(change(&cell, |l| l.leave(0)).is_err(), "only the owner leaves");
        assert_eq!(change(&cell, |l| l.leave(1)), Ok(Lease::Vacant { generation: 6 }));
        assert!(change(&cell, |l| l.take(1)).is_err(), "nothing is offered");
    }
}
