//! The successor's side of a handover.
//!
//! ```text
//! Greeting --offer--> Receiving --offered--> Preparing --prepared--> AwaitingStandBy --stand by--> Standing
//!                                                                                                     |
//!                                        Owner <--took-- Taking <--signal 3, or anything that ends the wait
//!                                          ^
//!     the predecessor's death is proven:   |
//!     before all was offered: StartOver    +--inherited-- Inheriting <-- after the offer, once prepared
//! ```
//!
//! - Nothing is owned before [`Event::Took`] or [`Event::Inherited`]; until then this process may leave at any time
//!   and the predecessor serves on (H2).
//! - A channel that closed proves nothing (H5): [`State::Proving`] waits for the proof. What was offered needs no
//!   proof: whatever ends the wait, the first thing is one attempt to take (H1).
//! - A predecessor that is proven dead is inherited only by one that is prepared (H10); who is not yet, goes on
//!   preparing first.
//! - The driver reports a closed channel and a proven death again after each step for as long as they are true: what
//!   was answered with "nothing" in one state may matter in the next.
//!
//! This file does not know time, descriptors or messages.

use crate::control::{Outcome, Signal};
use crate::error::WhoServes;

/// Where the successor is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Hello is said.
    Greeting,
    /// Descriptors come.
    Receiving {
        /// Batches received and acknowledged.
        batches: u32,
    },
    /// Regions are mapped, schemas checked, sockets registered.
    Preparing {
        /// Batches received.
        batches: u32,
        /// Whether the predecessor is proven dead: then it is inherited as soon as this is done.
        alone: bool,
    },
    /// `ready` is sent; late batches may come.
    AwaitingStandBy {
        /// Batches received and acknowledged.
        batches: u32,
    },
    /// Waiting on the futex word.
    Standing,
    /// One attempt to take is under way.
    Taking(Why),
    /// The channel closed; whether the predecessor is dead is being found out.
    Proving(Progress),
    /// The predecessor is dead and nothing was offered: its lease is being inherited.
    Inheriting,
    /// This process owns the node.
    Owner,
    /// The predecessor died before all was offered: start again, as first.
    StartOver,
    /// This handover is over for this process.
    Failed {
        /// Who serves now.
        who: WhoServes,
        /// Why it is over.
        reason: String,
    },
}

/// Why an attempt to take is made; it says what follows if nothing was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// Signal 3: wait on.
    Signal,
    /// The channel closed: find out whether the predecessor is dead.
    Closed,
    /// The predecessor is dead: inherit.
    Dead,
    /// Waited too long: leave.
    Deadline,
}

/// How far this side was when the channel closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Progress {
    /// Not everything had been offered.
    Incomplete,
    /// Everything had, and is being prepared.
    Preparing {
        /// Batches received.
        batches: u32,
    },
    /// Prepared.
    Prepared,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// `offer` came and fits: this node, this protocol.
    Offer,
    /// A batch came with all its descriptors.
    Descriptors {
        /// Its number.
        batch: u32,
    },
    /// `offered` came.
    Offered {
        /// How many batches it counts.
        batches: u32,
    },
    /// This process can take over.
    Prepared,
    /// `stand by` came.
    StandBy {
        /// How many batches it counts.
        batches: u32,
    },
    /// The signal count of the control block changed.
    Signalled(Signal),
    /// `abort` or `refuse` came.
    Aborted {
        /// The predecessor's reason.
        reason: String,
    },
    /// The lease is taken.
    Took,
    /// Nothing is offered to this process.
    TakeLost,
    /// The lease of the dead predecessor is inherited.
    Inherited,
    /// It was not the dead predecessor's any more.
    InheritLost,
    /// The predecessor closed the channel.
    PeerClosed,
    /// The predecessor is dead, and this is proven (H5).
    PeerDead,
    /// The current state lasted too long. In [`State::Proving`]: the predecessor lives.
    Deadline,
    /// The predecessor sent what does not fit, or what cannot be decoded.
    Unexpected {
        /// What it was.
        got: String,
    },
    /// Something failed on this side: a schema, a health check, a descriptor that did not arrive.
    Fault {
        /// What.
        reason: String,
    },
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Send `hello`.
    SendHello,
    /// Keep the descriptors of this batch; late ones are registered at once.
    StageBatch {
        /// Which.
        batch: u32,
    },
    /// Send `ack`.
    SendAck {
        /// For which batch.
        batch: u32,
    },
    /// Map, check, register, warm up. Answered by [`Event::Prepared`] or [`Event::Fault`].
    Prepare,
    /// Send `ready`.
    SendReady,
    /// Note the signal count, then send `standing`.
    SendStanding,
    /// The predecessor's next tick is near: spin on the signal, for a tick and `SPIN_SLACK` at most.
    Spin,
    /// Note the time since the rehearsal stamp, unless it is noted already.
    MeasureNoise,
    /// Compare-and-swap `Offered(to me)` to `Owned(me)`. Answered by [`Event::Took`] or [`Event::TakeLost`] before any
    /// other event.
    Take,
    /// Find out through the pidfd whether the predecessor is dead. Answered by [`Event::PeerDead`] or
    /// [`Event::Deadline`]; a dying process closes its channel a little before its pidfd says so, hence the deadline
    /// is seconds, not milliseconds.
    ProveDeath,
    /// Compare-and-swap the dead predecessor's `Owned` to `Owned(me)`, see
    /// [`ControlBlock::inherit_from`](crate::control::ControlBlock::inherit_from). Answered by [`Event::Inherited`] or
    /// [`Event::InheritLost`].
    Inherit,
    /// Undo the open transactions of the dead predecessor.
    RecoverRegions,
    /// Stamp the first tick allowed and open the gate.
    OpenGate,
    /// Accept connections and hellos.
    StartAccepting,
    /// Append to the history.
    Record {
        /// How it ended.
        outcome: Outcome,
        /// Why.
        reason: String,
    },
    /// Send `refuse`. A predecessor that is gone is no error.
    SendRefuse {
        /// Why.
        reason: String,
    },
    /// Close all that was received and the channel (H6); the lock among it, so that the next start finds it free.
    DropTransfer,
    /// Begin again: `start`, `lock`, and whatever that makes of this process.
    StartOver,
}

impl State {
    /// Where a successor begins.
    #[must_use]
    pub fn start() -> (Self, Vec<Effect>) {
        (Self::Greeting, vec![Effect::SendHello])
    }

    /// Whether this handover is over for this process, one way or another.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Owner | Self::StartOver | Self::Failed { .. })
    }

    /// The answer to an event.
    #[must_use]
    pub fn step(self, event: Event) -> (Self, Vec<Effect>) {
        if self.is_over() {
            return (self, vec![]);
        }
        match event {
            Event::Offer => match self {
                Self::Greeting => (Self::Receiving { batches: 0 }, vec![]),
                other => other.unexpected("offer"),
            },
            Event::Descriptors { batch } => self.descriptors(batch),
            Event::Offered { batches: all } => match self {
                Self::Receiving { batches } if batches == all => {
                    let alone = false;
                    (Self::Preparing { batches, alone }, vec![Effect::Prepare])
                }
                other => other.unexpected(&format!("offered after {all} batches")),
            },
            Event::Prepared => self.prepared(),
            Event::StandBy { batches: all } => match self {
                Self::AwaitingStandBy { batches } if batches == all => (Self::Standing, vec![Effect::SendStanding]),
                other => other.unexpected(&format!("stand by after {all} batches")),
            },
            Event::Signalled(signal) => self.signalled(signal),
            Event::Aborted { reason } => self.leave(reason),
            Event::Took => match self {
                Self::Taking(_) => owner(Outcome::HandedOver, "", vec![]),
                other => (other, vec![]),
            },
            Event::TakeLost => self.take_lost(),
            Event::Inherited => match self {
                Self::Inheriting => owner(
                    Outcome::Inherited,
                    "the predecessor died before the cutover",
                    vec![Effect::RecoverRegions],
                ),
                other => (other, vec![]),
            },
            Event::InheritLost => match self {
                Self::Inheriting => fail(
                    WhoServes::Unknown,
                    "the predecessor is dead, and its lease was not its own any more: it stopped the node, or another \
                     process serves"
                        .into(),
                    vec![],
                ),
                other => (other, vec![]),
            },
            Event::PeerClosed => self.peer_closed(),
            Event::PeerDead => self.peer_dead(),
            Event::Deadline => self.deadline(),
            Event::Unexpected { got } => self.unexpected(&got),
            Event::Fault { reason } => self.refuse(reason),
        }
    }

    fn descriptors(self, batch: u32) -> (Self, Vec<Effect>) {
        let next = batch.saturating_add(1);
        let state = match self {
            Self::Receiving { batches } if batches == batch => Self::Receiving { batches: next },
            Self::AwaitingStandBy { batches } if batches == batch => Self::AwaitingStandBy { batches: next },
            other => return other.unexpected(&format!("descriptors, batch {batch}")),
        };
        let effects = vec![Effect::StageBatch { batch }, Effect::SendAck { batch }];
        (state, effects)
    }

    fn prepared(self) -> (Self, Vec<Effect>) {
        match self {
            Self::Preparing { batches, alone: false } => (Self::AwaitingStandBy { batches }, vec![Effect::SendReady]),
            Self::Preparing { alone: true, .. } => (Self::Taking(Why::Dead), vec![Effect::Take]),
            Self::Proving(Progress::Preparing { .. }) => (Self::Proving(Progress::Prepared), vec![]),
            other => (other, vec![]),
        }
    }

    fn signalled(self, signal: Signal) -> (Self, Vec<Effect>) {
        match (self, signal) {
            (state, Signal::Aborted) => state.leave("the predecessor took the handover back".into()),
            (Self::Standing, Signal::StandBy) => (Self::Standing, vec![Effect::Spin]),
            (Self::Standing, Signal::Rehearse) => (Self::Standing, vec![Effect::MeasureNoise]),
            (Self::Standing, Signal::LookAtLease) => (Self::Taking(Why::Signal), vec![Effect::Take]),
            // Not for this state: who comes to stand looks at the signal again.
            (state, _) => (state, vec![]),
        }
    }

    fn take_lost(self) -> (Self, Vec<Effect>) {
        match self {
            // Taken back, or not yet released: the predecessor will say, or close, or be dead.
            Self::Taking(Why::Signal) => (Self::Standing, vec![]),
            Self::Taking(Why::Closed) => (Self::Proving(Progress::Prepared), vec![Effect::ProveDeath]),
            Self::Taking(Why::Dead) => (Self::Inheriting, vec![Effect::Inherit]),
            Self::Taking(Why::Deadline) => Self::Standing.refuse("the lease was not offered in time".into()),
            other => (other, vec![]),
        }
    }

    fn peer_closed(self) -> (Self, Vec<Effect>) {
        let progress = match self {
            Self::Greeting | Self::Receiving { .. } => Progress::Incomplete,
            Self::Preparing { batches, alone: false } => Progress::Preparing { batches },
            Self::AwaitingStandBy { .. } | Self::Standing => {
                return (Self::Taking(Why::Closed), vec![Effect::Take]);
            }
            other => return (other, vec![]),
        };
        (Self::Proving(progress), vec![Effect::ProveDeath])
    }

    fn peer_dead(self) -> (Self, Vec<Effect>) {
        match self {
            Self::Greeting | Self::Receiving { .. } | Self::Proving(Progress::Incomplete) => {
                (Self::StartOver, vec![Effect::DropTransfer, Effect::StartOver])
            }
            Self::Preparing { batches, .. } | Self::Proving(Progress::Preparing { batches }) => {
                let alone = true;
                (Self::Preparing { batches, alone }, vec![])
            }
            Self::AwaitingStandBy { .. } | Self::Standing | Self::Proving(Progress::Prepared) => {
                (Self::Taking(Why::Dead), vec![Effect::Take])
            }
            other => (other, vec![]),
        }
    }

    fn deadline(self) -> (Self, Vec<Effect>) {
        let reason = match &self {
            Self::Greeting => "no offer came in time",
            Self::Receiving { .. } => "the descriptors did not come in time",
            Self::Preparing { .. } => "preparing took too long",
            Self::AwaitingStandBy { .. } => "no word came in time after ready",
            Self::Standing => return (Self::Taking(Why::Deadline), vec![Effect::Take]),
            Self::Proving(_) => {
                let reason = "the predecessor closed the channel and lives";
                return fail(WhoServes::Predecessor, reason.into(), vec![]);
            }
            _ => return (self, vec![]),
        };
        self.refuse(reason.into())
    }

    fn unexpected(self, got: &str) -> (Self, Vec<Effect>) {
        let expected = match &self {
            Self::Greeting => "offer".into(),
            Self::Receiving { batches } => format!("descriptors, batch {batches}, or offered"),
            Self::AwaitingStandBy { batches } => {
                format!("stand by, or descriptors, batch {batches}")
            }
            _ => "nothing".to_string(),
        };
        self.refuse(format!("expected {expected}, got {got}"))
    }

    /// This side will not go on.
    fn refuse(self, reason: String) -> (Self, Vec<Effect>) {
        match self {
            // One attempt decides already what becomes of this process.
            Self::Taking(_) | Self::Inheriting => (self, vec![]),
            Self::Preparing { alone: true, .. } => fail(WhoServes::Nobody, reason, vec![]),
            Self::Proving(_) => fail(WhoServes::Unknown, reason, vec![]),
            _ => {
                let refuse = Effect::SendRefuse { reason: reason.clone() };
                fail(WhoServes::Predecessor, reason, vec![refuse])
            }
        }
    }

    /// The predecessor will not go on.
    fn leave(self, reason: String) -> (Self, Vec<Effect>) {
        match self {
            Self::Taking(_) | Self::Inheriting => (self, vec![]),
            // It is dead; what it said before does not help anybody.
            Self::Preparing { alone: true, .. } => (self, vec![]),
            _ => fail(WhoServes::Predecessor, reason, vec![]),
        }
    }
}

/// First serve, then write it down.
fn owner(outcome: Outcome, reason: &str, mut effects: Vec<Effect>) -> (State, Vec<Effect>) {
    effects.push(Effect::OpenGate);
    effects.push(Effect::StartAccepting);
    effects.push(Effect::Record {
        outcome,
        reason: reason.into(),
    });
    (State::Owner, effects)
}

fn fail(who: WhoServes, reason: String, mut effects: Vec<Effect>) -> (State, Vec<Effect>) {
    effects.push(Effect::DropTransfer);
    (State::Failed { who, reason }, effects)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(state: State, events: impl IntoIterator<Item = Event>) -> (State, Vec<Effect>) {
        let mut all = Vec::new();
        let mut state = state;
        for event in events {
            let (next, effects) = state.step(event);
            state = next;
            all.extend(effects);
        }
        (state, all)
    }

    /// The events of a handover of one batch and one late one.
    fn happy() -> Vec<Event> {
        vec![
            Event::Offer,
            Event::Descriptors { batch: 0 },
            Event::Offered { batches: 1 },
            Event::Prepared,
            Event::Descriptors { batch: 1 },
            Event::StandBy { batches: 2 },
            Event::Signalled(Signal::StandBy),
            Event::Signalled(Signal::Rehearse),
            Event::Signalled(Signal::LookAtLease),
            Event::Took,
        ]
    }

    fn after(count: usize) -> State {
        run(State::start().0, happy()[..count].iter().cloned()).0
    }

    fn failed(who: WhoServes, state: &State) -> bool {
        matches!(state, State::Failed { who: found, .. } if *found == who)
    }

    #[test]
    fn the_happy_path() {
        let (state, effects) = State::start();
        assert_eq!(effects, [Effect::SendHello]);
        let (state, effects) = run(state, happy());
        assert_eq!(state, State::Owner);
        assert_eq!(
            effects,
            [
                Effect::StageBatch { batch: 0 },
                Effect::SendAck { batch: 0 },
                Effect::Prepare,
                Effect::SendReady,
                Effect::StageBatch { batch: 1 },
                Effect::SendAck { batch: 1 },
                Effect::SendStanding,
                Effect::Spin,
                Effect::MeasureNoise,
                Effect::Take,
                Effect::OpenGate,
                Effect::StartAccepting,
                Effect::Record {
                    outcome: Outcome::HandedOver,
                    reason: String::new()
                },
            ]
        );
    }

    #[test]
    fn before_all_was_offered_a_death_starts_over() {
        for count in 0..=2 {
            for events in [vec![Event::PeerDead], vec![Event::PeerClosed, Event::PeerDead]] {
                let (state, effects) = run(after(count), events);
                assert_eq!(state, State::StartOver);
                assert!(effects.ends_with(&[Effect::DropTransfer, Effect::StartOver]));
            }
        }
    }

    #[test]
    fn after_the_offer_a_death_is_inherited_once_prepared() {
        for events in [
            vec![Event::PeerDead, Event::Prepared],
            vec![Event::PeerClosed, Event::PeerDead, Event::Prepared],
            vec![Event::PeerClosed, Event::Prepared, Event::PeerDead],
            vec![Event::Prepared, Event::PeerDead],
            vec![Event::Prepared, Event::PeerClosed, Event::TakeLost, Event::PeerDead],
        ] {
            let (state, _) = run(after(3), events.clone());
            assert_eq!(state, State::Taking(Why::Dead), "{events:?}");
            let (state, effects) = run(state, [Event::TakeLost, Event::Inherited]);
            assert_eq!(state, State::Owner);
            assert_eq!(
                effects[..4],
                [
                    Effect::Inherit,
                    Effect::RecoverRegions,
                    Effect::OpenGate,
                    Effect::StartAccepting
                ]
            );
            assert!(matches!(
                effects[4],
                Effect::Record {
                    outcome: Outcome::Inherited,
                    ..
                }
            ));
        }
        let (state, _) = run(
            after(3),
            [
                Event::PeerDead,
                Event::Fault {
                    reason: "schema".into(),
                },
            ],
        );
        assert!(failed(WhoServes::Nobody, &state), "{state:?}");
        let (state, effects) = run(State::Inheriting, [Event::InheritLost]);
        assert!(failed(WhoServes::Unknown, &state));
        assert_eq!(effects, [Effect::DropTransfer]);
    }

    #[test]
    fn what_was_offered_by_the_dead_is_taken_without_recovery() {
        for end in [Event::PeerDead, Event::PeerClosed, Event::Deadline] {
            let (state, effects) = run(after(6), [end, Event::Took]);
            assert_eq!(state, State::Owner);
            assert!(!effects.contains(&Effect::RecoverRegions));
            assert!(effects.contains(&Effect::OpenGate));
        }
    }

    #[test]
    fn a_closed_channel_proves_nothing() {
        for count in 0..=8 {
            let (state, effects) = run(after(count), [Event::PeerClosed, Event::TakeLost]);
            assert!(matches!(state, State::Proving(_)), "{state:?} after {count}");
            assert_eq!(effects.last(), Some(&Effect::ProveDeath));
            let (state, effects) = run(state, [Event::Deadline]);
            assert!(failed(WhoServes::Predecessor, &state));
            assert_eq!(effects, [Effect::DropTransfer]);
        }
    }

    #[test]
    fn before_the_take_every_failure_leaves_the_predecessor_serving() {
        for count in 0..=8 {
            for (event, refuses) in [
                (
                    Event::Fault {
                        reason: "schema".into(),
                    },
                    true,
                ),
                (Event::Unexpected { got: "noise".into() }, true),
                (Event::Descriptors { batch: 7 }, true),
                (Event::Offered { batches: 7 }, true),
                (Event::StandBy { batches: 7 }, true),
                (Event::Deadline, true),
                (Event::Aborted { reason: "slow".into() }, false),
                (Event::Signalled(Signal::Aborted), false),
            ] {
                let (state, effects) = run(after(count), [event.clone(), Event::TakeLost]);
                assert!(
                    failed(WhoServes::Predecessor, &state),
                    "{event:?} after {count}: {state:?}"
                );
                let refused = effects.iter().any(|e| matches!(e, Effect::SendRefuse { .. }));
                assert_eq!(refused, refuses, "{event:?} after {count}");
                assert_eq!(effects.last(), Some(&Effect::DropTransfer));
            }
        }
    }

    #[test]
    fn a_signal_without_an_offer_changes_nothing() {
        let (state, effects) = run(
            State::Standing,
            [Event::Signalled(Signal::LookAtLease), Event::TakeLost],
        );
        assert_eq!((state, effects), (State::Standing, vec![Effect::Take]));
        for signal in [Signal::None, Signal::StandBy, Signal::Rehearse, Signal::LookAtLease] {
            let (state, effects) = run(State::Greeting, [Event::Signalled(signal)]);
            assert_eq!((state, effects), (State::Greeting, vec![]));
        }
    }

    #[test]
    fn every_pair_has_an_answer_that_keeps_the_rules() {
        let mut states: Vec<State> = (0..=10).map(after).collect();
        states.extend([Why::Signal, Why::Closed, Why::Dead, Why::Deadline].map(State::Taking));
        let progress = [
            Progress::Incomplete,
            Progress::Preparing { batches: 1 },
            Progress::Prepared,
        ];
        states.extend(progress.map(State::Proving));
        states.extend([
            State::Preparing {
                batches: 1,
                alone: true,
            },
            State::Inheriting,
            State::StartOver,
            State::Failed {
                who: WhoServes::Predecessor,
                reason: String::new(),
            },
        ]);
        let mut events = happy();
        events.extend([
            Event::Signalled(Signal::None),
            Event::Signalled(Signal::Aborted),
            Event::Aborted { reason: "x".into() },
            Event::TakeLost,
            Event::Inherited,
            Event::InheritLost,
            Event::PeerClosed,
            Event::PeerDead,
            Event::Deadline,
            Event::Unexpected { got: "x".into() },
            Event::Fault { reason: "x".into() },
        ]);
        for state in &states {
            for event in &events {
                let what = format!("{event:?} in {state:?}");
                let (next, effects) = state.clone().step(event.clone());
                if state.is_over() {
                    assert_eq!((&next, effects.len()), (state, 0), "{what}");
                    continue;
                }
                let opens = effects.contains(&Effect::OpenGate);
                assert_eq!(opens, next == State::Owner, "{what}");
                if opens {
                    assert!(matches!(event, Event::Took | Event::Inherited), "{what}");
                }
                if effects.contains(&Effect::Inherit) {
                    assert_eq!(*state, State::Taking(Why::Dead), "H5: {what}");
                }
                if matches!(next, State::Failed { .. } | State::StartOver) {
                    assert!(effects.contains(&Effect::DropTransfer), "H6: {what}");
                }
            }
        }
    }
}
