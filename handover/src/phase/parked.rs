//! The predecessor after the cutover: parked, with everything in hand, until the probation of its successor is over.
//!
//! ```text
//!                 +-- confirmed, time is over, the channel is closed and the successor lives --> Over
//!                 |
//! Watching -------+-- the successor is dead --> Taking --nothing offered--> Inheriting --inherited--> Back
//!    |  ^                                       ^   |  +--took--> Back
//!    |  +------ it took the offer back ---------|---+
//!    |                                          +-- the lease is offered to us, or the killed one is dead
//!    +-- it hangs, or the operator says so --> Asked --deadline--> Killing
//! ```
//!
//! - Nothing is written here before [`State::Back`]: the node is the successor's (H1).
//! - A successor that lives and answers closes its own gate and releases, as in any cutover. One that does not is killed through its
//!   pidfd, and nothing else happens before its death is proven: a stopped process may wake in the middle of a transaction, and no
//!   lease stops a store (H3, H5).
//! - Who gets the node is one compare-and-swap on the lease word, whatever both sides said before (H1). Lost, this process drains.
//! - [`State::Killing`] ends only with the proof. A process that does not die (it sleeps in the kernel) keeps the node from everybody, and
//!   its memory with it; each deadline there kills again.
//! - A channel that is closed proves nothing: a dying process closes its descriptors a moment before its death can be proven.
//!
//! This file does not know time, descriptors or messages, nor who watches whether the successor hangs.

/// Where the parked process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// The successor serves on probation.
    Watching,
    /// The successor was asked to give the node back.
    Asked(Cause),
    /// The successor did not give it back and is killed; its death is awaited.
    Killing(Cause),
    /// The channel closed: whether the successor is dead is being found out.
    Proving,
    /// One attempt to take what is, or may be, offered to this process is under way.
    Taking {
        /// Why the node comes back.
        cause: Cause,
        /// Whether the successor is dead. It may have released before: what was offered is taken, not inherited.
        dead: bool,
    },
    /// The successor is dead: its lease is being inherited.
    Inheriting(Cause),
    /// This process owns the node again.
    Back {
        /// Why.
        cause: Cause,
        /// Whether the successor died as owner: then open transactions are to be undone and streams to be brought in line.
        dead: bool,
    },
    /// The node is the successor's for good: this process drains.
    Over(End),
}

/// Why the node comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The successor died.
    Died,
    /// The successor took no pass for longer than the watchdog allows.
    Hung,
    /// The operator wants the node back.
    Operator,
    /// The successor itself gave it back: it failed its health check.
    GaveBack,
}

impl Cause {
    /// In words, for the history.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Died => "the successor died on probation",
            Self::Hung => "the successor took no pass for longer than the watchdog allows",
            Self::Operator => "the operator took it back",
            Self::GaveBack => "the successor gave it back",
        }
    }
}

/// Why the node does not come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// The successor, or the operator, said that it is well.
    Confirmed,
    /// The probation lasted as long as was agreed.
    TimeUp,
    /// The successor closed the channel, or broke the protocol, and lives: what it accepts is not mirrored here any more.
    Closed,
    /// The lease is not the successor's any more: it stopped the node, or handed it on.
    Elsewhere,
    /// This process does not want it back.
    Left,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The successor or the operator confirmed it.
    Confirmed,
    /// The lease word offers the node to this process.
    Offered,
    /// The lease is another's, or nobody's: neither the successor's nor offered by it. What it offers to a third is its own until that takes.
    Moved,
    /// The successor is dead, and this is proven (H5).
    PeerDead,
    /// The successor closed the channel.
    PeerClosed,
    /// The successor sent what does not fit.
    Unexpected,
    /// The watchdog found that the successor takes no passes.
    Hung,
    /// The operator wants the node back.
    Rollback,
    /// The current state lasted too long: of [`State::Watching`], the probation is over.
    Deadline,
    /// The lease is taken.
    Took,
    /// It was not offered any more.
    TakeLost,
    /// The dead successor's lease is inherited.
    Inherited,
    /// It was not the dead successor's any more.
    InheritLost,
    /// This process is told to leave.
    Leave,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Send `return`.
    AskBack(Cause),
    /// Kill the successor through its pidfd.
    Kill,
    /// Find out through the pidfd whether the successor is dead. Answered by [`Event::PeerDead`] or [`Event::Deadline`].
    ProveDeath,
    /// Compare-and-swap `Offered(to me)` to `Owned(me)`. Answered by [`Event::Took`] or [`Event::TakeLost`] before any other event.
    Take,
    /// Compare-and-swap the dead successor's `Owned` to `Owned(me)`. Answered by [`Event::Inherited`] or [`Event::InheritLost`] before
    /// any other event.
    Inherit,
    /// Close the channel: the successor learns that nobody would take the node back.
    CloseChannel,
    /// Append to the history that the node is here again.
    Record {
        /// Why.
        cause: Cause,
        /// Whether the successor died.
        dead: bool,
    },
}

impl State {
    /// Whether the probation is over, one way or another.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Back { .. } | Self::Over(_))
    }

    /// The answer to an event.
    #[must_use]
    pub fn step(self, event: Event) -> (Self, Vec<Effect>) {
        if self.is_over() {
            return (self, vec![]);
        }
        match event {
            Event::Confirmed => match self {
                Self::Watching | Self::Asked(_) => over(End::Confirmed),
                // It is being killed, or its end is being looked at: what it said before does not undo that.
                other => (other, vec![]),
            },
            Event::Offered => match self {
                Self::Watching => take(Cause::GaveBack, false),
                // A killed process may have released before it died; what is offered needs no proof.
                Self::Asked(cause) | Self::Killing(cause) => take(cause, false),
                // Its channel closed because it is dead, or about to be. The lease is looked at first, so nothing else would ever come.
                Self::Proving => take(Cause::Died, false),
                other => (other, vec![]),
            },
            Event::Moved => match self {
                Self::Watching | Self::Asked(_) | Self::Proving => over(End::Elsewhere),
                // Who is being killed is seen through, and the lease is looked at after the proof. And one attempt under way finds out by itself.
                other => (other, vec![]),
            },
            Event::PeerDead => match self {
                Self::Watching | Self::Proving => take(Cause::Died, true),
                Self::Asked(cause) | Self::Killing(cause) => take(cause, true),
                other => (other, vec![]),
            },
            Event::PeerClosed | Event::Unexpected => match self {
                Self::Watching => (Self::Proving, vec![Effect::ProveDeath]),
                // The operator's word stands, and a hung process stays one: it is killed.
                Self::Asked(cause) => (Self::Killing(cause), vec![Effect::Kill]),
                other => (other, vec![]),
            },
            Event::Hung => self.ask(Cause::Hung),
            Event::Rollback => self.ask(Cause::Operator),
            Event::Deadline => match self {
                Self::Watching => over(End::TimeUp),
                Self::Asked(cause) | Self::Killing(cause) => (Self::Killing(cause), vec![Effect::Kill]),
                Self::Proving => over(End::Closed),
                other => (other, vec![]),
            },
            Event::Took => match self {
                Self::Taking { cause, .. } => back(cause, false),
                other => (other, vec![]),
            },
            Event::TakeLost => match self {
                Self::Taking { cause, dead: true } => (Self::Inheriting(cause), vec![Effect::Inherit]),
                // It has taken it back, because this side was slow: it serves, and the probation goes on.
                Self::Taking {
                    cause: Cause::GaveBack,
                    dead: false,
                } => (Self::Watching, vec![]),
                // The same, but its channel is closed: whether it is dead is still to be found out.
                Self::Taking {
                    cause: Cause::Died,
                    dead: false,
                } => (Self::Proving, vec![Effect::ProveDeath]),
                Self::Taking { cause, dead: false } => (Self::Asked(cause), vec![Effect::AskBack(cause)]),
                other => (other, vec![]),
            },
            Event::Inherited => match self {
                Self::Inheriting(cause) => back(cause, true),
                other => (other, vec![]),
            },
            Event::InheritLost => match self {
                Self::Inheriting(_) => over(End::Elsewhere),
                other => (other, vec![]),
            },
            Event::Leave => match self {
                // Whoever is being killed would leave nobody: first see it through.
                Self::Watching | Self::Asked(_) | Self::Proving => over(End::Left),
                other => (other, vec![]),
            },
        }
    }

    fn ask(self, cause: Cause) -> (Self, Vec<Effect>) {
        match self {
            Self::Watching => (Self::Asked(cause), vec![Effect::AskBack(cause)]),
            other => (other, vec![]),
        }
    }
}

fn take(cause: Cause, dead: bool) -> (State, Vec<Effect>) {
    (State::Taking { cause, dead }, vec![Effect::Take])
}

fn over(end: End) -> (State, Vec<Effect>) {
    (State::Over(end), vec![Effect::CloseChannel])
}

fn back(cause: Cause, dead: bool) -> (State, Vec<Effect>) {
    let effects = vec![Effect::CloseChannel, Effect::Record { cause, dead }];
    (State::Back { cause, dead }, effects)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [State; 11] = [
        State::Watching,
        State::Asked(Cause::Operator),
        State::Asked(Cause::Hung),
        State::Killing(Cause::Hung),
        State::Proving,
        State::Taking {
            cause: Cause::GaveBack,
            dead: false,
        },
        State::Taking {
            cause: Cause::Operator,
            dead: false,
        },
        State::Taking {
            cause: Cause::Died,
            dead: false,
        },
        State::Taking {
            cause: Cause::Died,
            dead: true,
        },
        State::Inheriting(Cause::Died),
        State::Over(End::TimeUp),
    ];
    const EVENTS: [Event; 14] = [
        Event::Confirmed,
        Event::Offered,
        Event::Moved,
        Event::PeerDead,
        Event::PeerClosed,
        Event::Unexpected,
        Event::Hung,
        Event::Rollback,
        Event::Deadline,
        Event::Took,
        Event::TakeLost,
        Event::Inherited,
        Event::InheritLost,
        Event::Leave,
    ];

    fn run(events: impl IntoIterator<Item = Event>) -> (State, Vec<Effect>) {
        let mut state = State::Watching;
        let mut all = Vec::new();
        for event in events {
            let (next, effects) = state.step(event);
            state = next;
            all.extend(effects);
        }
        (state, all)
    }

    #[test]
    fn a_death_gives_the_node_back() {
        for way in [vec![Event::PeerDead], vec![Event::PeerClosed, Event::PeerDead]] {
            let (state, effects) = run(way.into_iter().chain([Event::TakeLost, Event::Inherited]));
            let cause = Cause::Died;
            assert_eq!(state, State::Back { cause, dead: true });
            assert!(effects.contains(&Effect::Inherit));
            assert!(!effects.contains(&Effect::Kill));
        }
    }

    #[test]
    fn what_the_dead_had_offered_is_taken_without_recovery() {
        let (state, effects) = run([Event::Rollback, Event::PeerDead, Event::Took]);
        let cause = Cause::Operator;
        assert_eq!(state, State::Back { cause, dead: false });
        assert!(!effects.contains(&Effect::Inherit));
    }

    #[test]
    fn what_is_offered_is_taken_while_a_closed_channel_is_looked_into() {
        let (state, effects) = run([Event::PeerClosed, Event::Offered, Event::Took]);
        assert!(matches!(state, State::Back { dead: false, .. }));
        assert!(!effects.contains(&Effect::Inherit));
        let (state, _) = run([Event::PeerClosed, Event::Offered, Event::TakeLost]);
        assert_eq!(
            state,
            State::Proving,
            "it took it back, and its channel is still closed"
        );
    }

    #[test]
    fn who_answers_is_not_killed() {
        for wish in [Event::Hung, Event::Rollback] {
            let (state, effects) = run([wish, Event::Offered, Event::Took]);
            assert!(matches!(state, State::Back { dead: false, .. }));
            assert!(!effects.contains(&Effect::Kill), "{effects:?}");
        }
    }

    #[test]
    fn who_does_not_answer_is_killed_and_nothing_happens_before_the_proof() {
        let (state, effects) = run([Event::Hung, Event::Deadline, Event::Deadline, Event::Confirmed]);
        assert_eq!(state, State::Killing(Cause::Hung));
        assert_eq!(effects, [Effect::AskBack(Cause::Hung), Effect::Kill, Effect::Kill]);
        let (state, _) = state.step(Event::PeerDead);
        let (state, effects) = state.step(Event::TakeLost);
        assert_eq!(
            (state, effects),
            (State::Inheriting(Cause::Hung), vec![Effect::Inherit])
        );
    }

    #[test]
    fn who_is_being_killed_is_seen_through() {
        let (state, effects) = run([Event::Rollback, Event::Deadline, Event::Moved, Event::Leave]);
        assert_eq!(state, State::Killing(Cause::Operator), "{effects:?}");
        let (state, _) = run([
            Event::Rollback,
            Event::Deadline,
            Event::Moved,
            Event::PeerDead,
            Event::TakeLost,
        ]);
        assert_eq!(state, State::Inheriting(Cause::Operator));
    }

    #[test]
    fn every_pair_has_an_answer_that_keeps_the_rules() {
        for state in STATES {
            for event in EVENTS {
                let what = format!("{event:?} in {state:?}");
                let (next, effects) = state.step(event);
                if state.is_over() {
                    assert_eq!((next, effects.len()), (state, 0), "{what}");
                    continue;
                }
                if effects.contains(&Effect::Inherit) {
                    assert!(matches!(state, State::Taking { dead: true, .. }), "H5: {what}");
                }
                if effects.contains(&Effect::Kill) {
                    assert!(matches!(state, State::Asked(_) | State::Killing(_)), "{what}");
                }
                if matches!(next, State::Back { .. }) {
                    assert!(matches!(event, Event::Took | Event::Inherited), "H1: {what}");
                }
                if next.is_over() {
                    assert!(effects.contains(&Effect::CloseChannel), "H6: {what}");
                }
                if let State::Over(_) = next {
                    let killing = matches!(state, State::Killing(_) | State::Taking { .. });
                    assert!(!killing || event == Event::Moved, "{what}");
                }
            }
        }
    }
}
