//! What one player must look like, computed from the acknowledged commands alone.
//!
//! - **M1** Position and score start from the first `State`; inventory and last words start empty, because a digest cannot be
//!   taken apart. A player who is not new is refused ([`Model::starts_from`]).
//! - **M2** After a difference the model takes over what the server says of position and score, so that one fault is counted
//!   once. It cannot take over a digest: a difference there is counted when it appears, and again only after the two agreed.
//! - **M3** What a rules version makes a pickup worth is written down here once more, on purpose: a check that asked the
//!   server's own table could not find it wrong.
//!
//! Not known here: sequence numbers, ticks, sockets.

use crate::protocol::{State, inventory_digest, words_digest};

/// Kinds of item the bots pick up: 0 to this, exclusive.
pub const ITEM_KINDS: u16 = 32;

/// What a command does once it is executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Adds to the position.
    Move {
        /// Added to x.
        dx: i16,
        /// Added to y.
        dy: i16,
    },
    /// Adds one item, and its worth to the score.
    Pickup {
        /// Below [`ITEM_KINDS`].
        item: u16,
    },
    /// Replaces the last words.
    Words {
        /// Their digest.
        digest: u64,
    },
}

/// A rules version whose pickups the bots cannot value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownRules;

/// Which parts of a `State` newly differ from the model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Differences {
    /// x or y.
    pub position: bool,
    /// The score.
    pub score: bool,
    /// Kinds or digest of the inventory.
    pub inventory: bool,
    /// Digest of the last words.
    pub words: bool,
}

impl Differences {
    /// Whether anything differs.
    #[must_use]
    pub fn any(self) -> bool {
        self.position || self.score || self.inventory || self.words
    }
}

/// One player as the acknowledged commands imply it.
#[derive(Debug, Clone)]
pub struct Model {
    x: i32,
    y: i32,
    score: u64,
    items: [u32; ITEM_KINDS as usize],
    kinds: u16,
    digest: u64,
    /// `items` changed since `kinds` and `digest` were computed.
    stale: bool,
    words: u64,
    inventory_differs: bool,
    words_differ: bool,
}

impl Model {
    /// The model of a player whose first `State` this is; `None` if that player already has items or has spoken (M1).
    #[must_use]
    pub fn starts_from(first: &State) -> Option<Self> {
        let model = Self {
            x: first.x,
            y: first.y,
            score: first.score,
            items: [0; ITEM_KINDS as usize],
            kinds: 0,
            digest: inventory_digest([]),
            stale: false,
            words: words_digest(""),
            inventory_differs: false,
            words_differ: false,
        };
        let new =
            first.inventory_kinds == 0 && first.inventory_digest == model.digest && first.words_digest == model.words;
        new.then_some(model)
    }

    /// Executes an acknowledged command under the rules of the frame that acknowledged it.
    ///
    /// # Errors
    /// [`UnknownRules`] for a pickup the bots cannot value; the item is counted, the score left.
    pub fn apply(&mut self, effect: Effect, rules: u8) -> Result<(), UnknownRules> {
        match effect {
            Effect::Move { dx, dy } => {
                self.x = self.x.wrapping_add(i32::from(dx));
                self.y = self.y.wrapping_add(i32::from(dy));
            }
            Effect::Words { digest } => self.words = digest,
            Effect::Pickup { item } => {
                if let Some(count) = self.items.get_mut(usize::from(item)) {
                    *count = count.wrapping_add(1);
                    self.stale = true;
                }
                let worth = match rules {
                    1 => 1,
                    2 => 2,
                    _ => return Err(UnknownRules),
                };
                self.score = self.score.wrapping_add(worth);
            }
        }
        Ok(())
    }

    /// Compares with what the server says, and takes over what can be taken over (M2).
    pub fn reconcile(&mut self, state: &State) -> Differences {
        if self.stale {
            let held = || {
                self.items
                    .iter()
                    .zip(0_u16..)
                    .filter(|(count, _)| **count > 0)
                    .map(|(count, item)| (item, *count))
            };
            self.kinds = held().map(|_| 1_u16).sum();
            self.digest = inventory_digest(held());
            self.stale = false;
        }
        let inventory_differs = (self.kinds, self.digest) != (state.inventory_kinds, state.inventory_digest);
        let words_differ = self.words != state.words_digest;
        let found = Differences {
            position: (self.x, self.y) != (state.x, state.y),
            score: self.score != state.score,
            inventory: inventory_differs && !self.inventory_differs,
            words: words_differ && !self.words_differ,
        };
        (self.x, self.y, self.score) = (state.x, state.y, state.score);
        (self.inventory_differs, self.words_differ) = (inventory_differs, words_differ);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh() -> (Model, State) {
        let state = State {
            x: 10,
            y: -10,
            score: 5,
            inventory_digest: inventory_digest([]),
            words_digest: words_digest(""),
            ..State::default()
        };
        (Model::starts_from(&state).expect("a new player"), state)
    }

    #[test]
    fn follows_the_rules_of_both_versions() {
        let (mut model, mut state) = fresh();
        assert_eq!(model.reconcile(&state), Differences::default());
        for (effect, rules) in [
            (Effect::Pickup { item: 9 }, 1),
            (Effect::Pickup { item: 9 }, 2),
            (Effect::Pickup { item: 3 }, 2),
            (Effect::Move { dx: -11, dy: 1 }, 1),
            (
                Effect::Words {
                    digest: words_digest("gg"),
                },
                1,
            ),
        ] {
            assert_eq!(model.apply(effect, rules), Ok(()));
        }
        state = State {
            x: -1,
            y: -9,
            score: 10,
            inventory_kinds: 2,
            inventory_digest: inventory_digest([(3, 1), (9, 2)]),
            words_digest: words_digest("gg"),
            ..state
        };
        assert_eq!(model.reconcile(&state), Differences::default());
        assert_eq!(model.apply(Effect::Pickup { item: 3 }, 7), Err(UnknownRules));
    }

    #[test]
    fn each_difference_is_found_once() {
        let (mut model, good) = fresh();
        let bad = State {
            x: 11,
            score: 6,
            inventory_kinds: 1,
            words_digest: 1,
            ..good
        };
        let all = Differences {
            position: true,
            score: true,
            inventory: true,
            words: true,
        };
        assert_eq!(model.reconcile(&bad), all);
        assert!(
            !model.reconcile(&bad).any(),
            "position and score adopted, digests flagged"
        );
        assert_eq!(
            model.reconcile(&good),
            Differences {
                position: true,
                score: true,
                ..Differences::default()
            }
        );
        assert_eq!(model.reconcile(&bad), all, "counted again after the two agreed");
    }

    #[test]
    fn wraps_like_the_server() {
        let (mut model, mut state) = fresh();
        (state.x, state.y) = (i32::MAX, i32::MIN);
        assert!(model.reconcile(&state).position);
        assert_eq!(model.apply(Effect::Move { dx: 1, dy: -1 }, 1), Ok(()));
        (state.x, state.y) = (i32::MIN, i32::MAX);
        assert!(!model.reconcile(&state).any());
    }

    #[test]
    fn a_player_who_is_not_new_is_refused() {
        let (_, good) = fresh();
        assert!(
            Model::starts_from(&State {
                inventory_kinds: 1,
                ..good
            })
            .is_none()
        );
        assert!(
            Model::starts_from(&State {
                inventory_digest: 1,
                ..good
            })
            .is_none()
        );
        assert!(
            Model::starts_from(&State {
                words_digest: words_digest("hi"),
                ..good
            })
            .is_none()
        );
        assert!(Model::starts_from(&State { score: 99, ..good }).is_some());
    }
}
