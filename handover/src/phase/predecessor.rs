//! The predecessor's side of a handover.
//!
//! ```text
//! Serving --hello--> Offering --all acked--> AwaitingReady --ready--> Staging --all acked--> AwaitingStanding
//!    ^                                                                                             |
//!    |  any failure before the release                                                          standing
//!    |                                                                                             v
//!    +---------- Disarming <------------------------------------------------------------------ Closing
//!    |               | too late                                                                    |
//!    +-- took back - TakingBack <--- failure --- Offered <------------- released ------------------+
//!                        +---- lost ----> HandedOver <--- taken ---+
//! ```
//!
//! - Before the release every failure ends in [`State::Serving`], with accepting and gate as they were (H2).
//! - The release is done by whoever drops the last pass, not by the driver, and may come at any moment after
//!   [`Effect::ArmGate`]. So a failure in `Closing` first disarms, and asks who was faster.
//! - After the release only the lease word decides (H1): every failure leads to one attempt to take back, and
//!   [`Event::Taken`] ends the matter in every state.
//! - [`Event::Hello`] is a newcomer's; a message of the successor in progress that does not fit is
//!   [`Event::Unexpected`], as are `Acked`, `Ready` and `Standing` where they do not fit.
//! - What reports the end of something that is no longer under way (a late `Deadline`, `NoTick`, `PeerDead`) changes
//!   nothing.
//!
//! This file does not know time, descriptors or messages.

use crate::control::{Outcome, Phase};

/// Where the predecessor is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// No handover is in progress.
    Serving,
    /// Descriptors go over, one batch at a time.
    Offering {
        /// Batches acknowledged.
        acked: u32,
        /// Batches there are; `None` until they are put together.
        batches: Option<u32>,
    },
    /// The successor prepares.
    AwaitingReady {
        /// Batches acknowledged.
        batches: u32,
    },
    /// Accepting has paused; connections accepted since the offer go over.
    Staging {
        /// Batches acknowledged.
        acked: u32,
        /// Batches in all; `None` until the late ones are put together.
        batches: Option<u32>,
    },
    /// The successor goes to the futex word.
    AwaitingStanding,
    /// The gate is armed: rehearsal, last tick, release.
    Closing,
    /// A failure while closing: the gate is being disarmed, if it is not too late.
    Disarming(Failure),
    /// The lease is released; the successor may take.
    Offered,
    /// A failure while offered: the lease is being taken back, if it is not too late.
    TakingBack(Failure),
    /// The successor owns the node; this process drains.
    HandedOver,
}

/// Why a handover does not go on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Failure {
    /// What is recorded.
    pub outcome: Outcome,
    /// The reason in words.
    pub reason: String,
    /// Whether the successor is told: not if it said so itself, or is gone.
    pub tell: bool,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A process connected and said a hello that fits.
    Hello,
    /// The batches are put together: after [`Effect::SendOffer`] all there are, after [`Effect::StageLate`] the
    /// earlier ones and the late ones.
    Staged {
        /// How many in all.
        batches: u32,
    },
    /// The successor acknowledged a batch.
    Acked {
        /// Which.
        batch: u32,
    },
    /// The successor can take over.
    Ready,
    /// The successor will not.
    Refused {
        /// Its reason.
        reason: String,
    },
    /// The successor waits on the futex word.
    Standing,
    /// The gate is armed and no tick came.
    NoTick,
    /// The gate cannot be armed: the node is being given back, or stopped. What is armed there is not this handover's.
    NotArmed {
        /// What it is.
        reason: String,
    },
    /// The gate was quiet and who dropped the last pass has released the lease.
    Released,
    /// The gate is disarmed and open, and the lease was not and will not be released.
    Disarmed,
    /// The successor has taken the lease.
    Taken,
    /// The lease is taken back.
    TookBack,
    /// The lease could not be taken back: the successor has it.
    TakeBackLost,
    /// The successor closed the channel.
    PeerClosed,
    /// The successor is dead, and this is proven (H5).
    PeerDead,
    /// The current state lasted too long.
    Deadline,
    /// The successor sent what does not fit, or what cannot be decoded.
    Unexpected {
        /// What it was.
        got: String,
    },
    /// Something failed on this side.
    Fault {
        /// What.
        reason: String,
    },
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Claim a row, begin in the control block, put the batches together, send `offer`. Answered by
    /// [`Event::Staged`].
    SendOffer,
    /// Send this batch. Answered by [`Event::Acked`].
    SendBatch {
        /// Which, from 0.
        batch: u32,
    },
    /// Send `offered`.
    SendOffered {
        /// How many batches.
        batches: u32,
    },
    /// From the end of [`Effect::StageLate`] to [`Effect::ResumeAccepting`] what is accepted goes over at once; with a successor that does not
    /// read it then (version 1), nothing is accepted.
    PauseAccepting,
    /// Put what was accepted since the offer into further batches. Answered by [`Event::Staged`].
    StageLate,
    /// Send `stand by`.
    SendStandBy {
        /// How many batches in all.
        batches: u32,
    },
    /// This process is well enough to hand over: if it is on probation itself, that is over, and its own predecessor need not wait.
    EndProbation,
    /// Signal 1, and let the gate rehearse with the next tick and close after the one that follows. Answered by [`Event::NotArmed`] at once if it
    /// is another's already.
    ArmGate,
    /// Close the gate without waiting for a tick.
    CloseGate,
    /// Take the arming back; then ticks and I/O go on. Answered by [`Event::Disarmed`], or by [`Event::Released`] if it was too late.
    DisarmGate,
    /// Open the gate, which was quiet: ticks and I/O go on.
    ReopenGate,
    /// Compare-and-swap `Offered(me)` to `Owned(me)`. Answered by [`Event::TookBack`] or [`Event::TakeBackLost`].
    TakeBack,
    /// Accept connections again.
    ResumeAccepting,
    /// Send `abort` and signal 4. A successor that is gone is no error.
    SendAbort {
        /// Why.
        reason: String,
    },
    /// Close the channel and forget what was staged. The successor's row stays its own (participants, P2).
    DropTransfer,
    /// Append to the history.
    Record {
        /// How it ended.
        outcome: Outcome,
        /// Why.
        reason: String,
    },
    /// The node is the successor's. With a probation: park, keep everything, be ready to take the node back. Without: close the own copies of
    /// the lock and of the control socket, which are the successor's now (a lock held here would hide the successor's death), serve what
    /// could not be handed over, and end.
    StartDrain,
    /// Send a newcomer `refuse` and close its channel.
    RefuseNewcomer,
}

impl State {
    /// The word for it in the control block.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self {
            Self::Serving => Phase::None,
            Self::Offering { .. } => Phase::Offering,
            Self::AwaitingReady { .. } => Phase::WaitingForReady,
            Self::Staging { .. } | Self::AwaitingStanding => Phase::Staging,
            Self::Closing | Self::Disarming(_) => Phase::Closing,
            Self::Offered | Self::TakingBack(_) => Phase::Offered,
            Self::HandedOver => Phase::Draining,
        }
    }

    /// The answer to an event.
    #[must_use]
    pub fn step(self, event: Event) -> (Self, Vec<Effect>) {
        match event {
            Event::Hello => self.hello(),
            Event::Staged { batches } => self.staged(batches),
            Event::Acked { batch } => self.acked(batch),
            Event::Ready => match self {
                Self::AwaitingReady { batches } => (
                    Self::Staging {
                        acked: batches,
                        batches: None,
                    },
                    vec![Effect::PauseAccepting, Effect::StageLate],
                ),
                other => other.unexpected("ready"),
            },
            Event::Standing => match self {
                Self::AwaitingStanding => (Self::Closing, vec![Effect::EndProbation, Effect::ArmGate]),
                other => other.unexpected("standing"),
            },
            Event::NoTick => match self {
                Self::Closing => (Self::Closing, vec![Effect::CloseGate]),
                other => (other, vec![]),
            },
            Event::NotArmed { reason } => match self {
                // Nothing to disarm: who armed it goes on.
                Self::Closing => {
                    let outcome = Outcome::ProtocolError;
                    let tell = true;
                    serve_on(Failure { outcome, reason, tell }, Halted::Accepting)
                }
                other => (other, vec![]),
            },
            Event::Released => self.released(),
            Event::Disarmed => match self {
                // Open again, and perhaps armed by another thread by now (the node may be given back): nothing to reopen.
                Self::Disarming(failure) => serve_on(failure, Halted::Accepting),
                other => (other, vec![]),
            },
            // The word decides, whatever this side was at.
            Event::Taken | Event::TakeBackLost => match self {
                Self::HandedOver => (Self::HandedOver, vec![]),
                _ => (Self::HandedOver, vec![Effect::StartDrain]),
            },
            Event::TookBack => match self {
                Self::TakingBack(failure) => serve_on(failure, Halted::Gate),
                other => (other, vec![]),
            },
            Event::Refused { reason } => self.fail(Outcome::RefusedBySuccessor, reason, false),
            Event::PeerClosed => {
                let reason = "the successor closed the channel without a refusal";
                self.fail(Outcome::SuccessorDied, reason.into(), false)
            }
            Event::PeerDead => {
                let reason = "the successor is dead";
                self.fail(Outcome::SuccessorDied, reason.into(), false)
            }
            Event::Deadline => self.deadline(),
            Event::Unexpected { got } => self.unexpected(&got),
            Event::Fault { reason } => self.fail(Outcome::ProtocolError, reason, true),
        }
    }

    fn hello(self) -> (Self, Vec<Effect>) {
        match self {
            Self::Serving => (
                Self::Offering {
                    acked: 0,
                    batches: None,
                },
                vec![Effect::SendOffer],
            ),
            // One handover at a time; and after the cutover hellos are for the successor.
            other => (other, vec![Effect::RefuseNewcomer]),
        }
    }

    fn staged(self, all: u32) -> (Self, Vec<Effect>) {
        match self {
            Self::Offering { acked, batches: None } if all >= acked => Self::offering(acked, all),
            Self::Staging { acked, batches: None } if all >= acked => Self::staging(acked, all),
            Self::Offering { batches: None, .. } | Self::Staging { batches: None, .. } => {
                let reason = format!("only {all} batches are left of those that went over");
                self.fail(Outcome::ProtocolError, reason, true)
            }
            // Nothing was asked for: a leftover of a handover that is off.
            other => (other, vec![]),
        }
    }

    fn acked(self, batch: u32) -> (Self, Vec<Effect>) {
        match self {
            Self::Offering {
                acked,
                batches: Some(all),
            } if batch == acked && acked < all => Self::offering(acked + 1, all),
            Self::Staging {
                acked,
                batches: Some(all),
            } if batch == acked && acked < all => Self::staging(acked + 1, all),
            other => other.unexpected(&format!("ack of batch {batch}")),
        }
    }

    fn offering(acked: u32, all: u32) -> (Self, Vec<Effect>) {
        if acked == all {
            let effects = vec![Effect::SendOffered { batches: all }];
            return (Self::AwaitingReady { batches: all }, effects);
        }
        let state = Self::Offering {
            acked,
            batches: Some(all),
        };
        (state, vec![Effect::SendBatch { batch: acked }])
    }

    fn staging(acked: u32, all: u32) -> (Self, Vec<Effect>) {
        if acked == all {
            let effects = vec![Effect::SendStandBy { batches: all }];
            return (Self::AwaitingStanding, effects);
        }
        let state = Self::Staging {
            acked,
            batches: Some(all),
        };
        (state, vec![Effect::SendBatch { batch: acked }])
    }

    fn released(self) -> (Self, Vec<Effect>) {
        match self {
            Self::Closing => (Self::Offered, vec![]),
            Self::Disarming(failure) => (Self::TakingBack(failure), vec![Effect::TakeBack]),
            Self::Offered | Self::TakingBack(_) | Self::HandedOver => (self, vec![]),
            // A release that nobody armed. The lease must not stay offered.
            _ => {
                let failure = Failure {
                    outcome: Outcome::ProtocolError,
                    reason: "the lease was released before the gate was armed".into(),
                    tell: true,
                };
                (Self::TakingBack(failure), vec![Effect::TakeBack])
            }
        }
    }

    fn deadline(self) -> (Self, Vec<Effect>) {
        let (outcome, reason) = match &self {
            Self::Offering { .. } => (Outcome::Deadline, "a batch was not acknowledged in time"),
            Self::AwaitingReady { .. } => (Outcome::Deadline, "the successor was not ready in time"),
            Self::Staging { .. } => (Outcome::Deadline, "a late batch was not acknowledged in time"),
            Self::AwaitingStanding => (Outcome::Deadline, "the successor did not stand by in time"),
            Self::Closing => (Outcome::GateNotQuiet, "a pass stayed out for too long"),
            Self::Offered => (Outcome::SuccessorDidNotTake, "the successor did not take in time"),
            Self::Serving | Self::Disarming(_) | Self::TakingBack(_) | Self::HandedOver => {
                return (self, vec![]);
            }
        };
        self.fail(outcome, reason.into(), true)
    }

    fn unexpected(self, got: &str) -> (Self, Vec<Effect>) {
        let expected = match &self {
            Self::Offering {
                acked,
                batches: Some(_),
            }
            | Self::Staging {
                acked,
                batches: Some(_),
            } => format!("ack of batch {acked}"),
            Self::AwaitingReady { .. } => "ready".into(),
            Self::AwaitingStanding => "standing".into(),
            _ => "nothing".into(),
        };
        let reason = format!("expected {expected}, got {got}");
        self.fail(Outcome::ProtocolError, reason, true)
    }

    fn fail(self, outcome: Outcome, reason: String, tell: bool) -> (Self, Vec<Effect>) {
        let failure = Failure { outcome, reason, tell };
        match self {
            Self::Offering { .. } | Self::AwaitingReady { .. } => serve_on(failure, Halted::Nothing),
            Self::Staging { .. } | Self::AwaitingStanding => serve_on(failure, Halted::Accepting),
            Self::Closing => (Self::Disarming(failure), vec![Effect::DisarmGate]),
            Self::Offered => (Self::TakingBack(failure), vec![Effect::TakeBack]),
            // Nothing is in progress, or it fails already.
            Self::Serving | Self::Disarming(_) | Self::TakingBack(_) | Self::HandedOver => (self, vec![]),
        }
    }
}

/// What had stopped for the handover.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Halted {
    Nothing,
    Accepting,
    /// The gate, and accepting.
    Gate,
}

/// First serve, then tell: clients wait, the successor does not.
fn serve_on(failure: Failure, halted: Halted) -> (State, Vec<Effect>) {
    let mut effects = Vec::new();
    if halted == Halted::Gate {
        effects.push(Effect::ReopenGate);
    }
    if halted != Halted::Nothing {
        effects.push(Effect::ResumeAccepting);
    }
    let Failure { outcome, reason, tell } = failure;
    if tell {
        effects.push(Effect::SendAbort { reason: reason.clone() });
    }
    effects.push(Effect::DropTransfer);
    effects.push(Effect::Record { outcome, reason });
    (State::Serving, effects)
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

    /// The events of a handover of two batches and one late one, up to the take.
    fn happy() -> Vec<Event> {
        vec![
            Event::Hello,
            Event::Staged { batches: 2 },
            Event::Acked { batch: 0 },
            Event::Acked { batch: 1 },
            Event::Ready,
            Event::Staged { batches: 3 },
            Event::Acked { batch: 2 },
            Event::Standing,
            Event::Released,
            Event::Taken,
        ]
    }

    fn all_states() -> Vec<State> {
        let mut states = vec![State::Serving];
        for event in happy() {
            let (next, _) = states[states.len() - 1].clone().step(event);
            states.push(next);
        }
        let failure = Failure {
            outcome: Outcome::GateNotQuiet,
            reason: "slow".into(),
            tell: true,
        };
        states.push(State::Disarming(failure.clone()));
        states.push(State::TakingBack(failure));
        states
    }

    fn all_events() -> Vec<Event> {
        let mut events = happy();
        events.extend([
            Event::Acked { batch: 9 },
            Event::Refused { reason: "no".into() },
            Event::NoTick,
            Event::NotArmed { reason: "x".into() },
            Event::Disarmed,
            Event::TookBack,
            Event::TakeBackLost,
            Event::PeerClosed,
            Event::PeerDead,
            Event::Deadline,
            Event::Unexpected { got: "noise".into() },
            Event::Fault {
                reason: "no descriptors left".into(),
            },
        ]);
        events
    }

    #[test]
    fn the_happy_path() {
        let (state, effects) = run(State::Serving, happy());
        assert_eq!(state, State::HandedOver);
        assert_eq!(
            effects,
            [
                Effect::SendOffer,
                Effect::SendBatch { batch: 0 },
                Effect::SendBatch { batch: 1 },
                Effect::SendOffered { batches: 2 },
                Effect::PauseAccepting,
                Effect::StageLate,
                Effect::SendBatch { batch: 2 },
                Effect::SendStandBy { batches: 3 },
                Effect::EndProbation,
                Effect::ArmGate,
                Effect::StartDrain,
            ]
        );
    }

    #[test]
    fn a_server_without_ticks_closes_its_gate() {
        let (state, effects) = run(State::Closing, [Event::NoTick, Event::Released]);
        assert_eq!((state, effects), (State::Offered, vec![Effect::CloseGate]));
    }

    /// The rows of the failure table that the predecessor decides.
    #[test]
    fn the_failure_table() {
        let happy = happy();
        let failures = [
            (Event::Refused { reason: "x".into() }, Outcome::RefusedBySuccessor),
            (Event::PeerDead, Outcome::SuccessorDied),
            (Event::PeerClosed, Outcome::SuccessorDied),
            (Event::Unexpected { got: "x".into() }, Outcome::ProtocolError),
            (Event::Acked { batch: 9 }, Outcome::ProtocolError),
            (Event::Deadline, Outcome::Deadline),
        ];
        for before in 1..=9 {
            let (state, _) = run(State::Serving, happy[..before].iter().cloned());
            for (failure, outcome) in &failures {
                let (mut state, mut effects) = state.clone().step(failure.clone());
                let mut outcome = *outcome;
                match state {
                    State::Disarming(_) => {
                        assert_eq!(effects, [Effect::DisarmGate]);
                        (state, effects) = state.step(Event::Disarmed);
                        if *failure == Event::Deadline {
                            outcome = Outcome::GateNotQuiet;
                        }
                    }
                    State::TakingBack(_) => {
                        assert_eq!(effects, [Effect::TakeBack]);
                        (state, effects) = state.step(Event::TookBack);
                        if *failure == Event::Deadline {
                            outcome = Outcome::SuccessorDidNotTake;
                        }
                    }
                    _ => {}
                }
                assert_eq!(state, State::Serving, "{failure:?} after {before}");
                let has = |e: &Effect| effects.contains(e);
                assert_eq!(has(&Effect::ResumeAccepting), before >= 5, "{before}");
                // A gate that was disarmed is open.
                assert_eq!(has(&Effect::ReopenGate), before >= 9, "{before}");
                assert!(has(&Effect::DropTransfer));
                let recorded = effects
                    .iter()
                    .any(|e| matches!(e, Effect::Record { outcome: o, .. } if *o == outcome));
                assert!(recorded, "{failure:?} after {before}: {effects:?}");
            }
        }
    }

    #[test]
    fn a_release_that_was_faster_is_taken_back_or_lost() {
        let (state, effects) = run(State::Closing, [Event::Deadline, Event::Released]);
        assert!(matches!(state, State::TakingBack(_)));
        assert_eq!(effects, [Effect::DisarmGate, Effect::TakeBack]);
        let (won, effects) = state.clone().step(Event::TookBack);
        assert_eq!(won, State::Serving);
        assert_eq!(effects[..2], [Effect::ReopenGate, Effect::ResumeAccepting]);
        let (lost, effects) = state.step(Event::TakeBackLost);
        assert_eq!((lost, effects), (State::HandedOver, vec![Effect::StartDrain]));
    }

    #[test]
    fn what_another_armed_is_not_disarmed() {
        let reason = String::from("it is being given back");
        let (state, effects) = State::Closing.step(Event::NotArmed { reason });
        assert_eq!(state, State::Serving);
        assert!(!effects.contains(&Effect::DisarmGate) && !effects.contains(&Effect::ReopenGate));
        assert_eq!(effects[0], Effect::ResumeAccepting);
        assert!(effects.contains(&Effect::DropTransfer));
    }

    #[test]
    fn a_count_that_shrinks_is_a_fault() {
        let (state, _) = run(State::Serving, happy()[..5].iter().cloned());
        let (state, effects) = state.step(Event::Staged { batches: 1 });
        assert_eq!(state, State::Serving);
        assert_eq!(effects[0], Effect::ResumeAccepting);
    }

    #[test]
    fn a_newcomer_never_disturbs() {
        for state in all_states() {
            if state != State::Serving {
                let (same, effects) = state.clone().step(Event::Hello);
                assert_eq!((same, effects), (state, vec![Effect::RefuseNewcomer]));
            }
        }
    }

    #[test]
    fn every_pair_has_an_answer_that_keeps_the_rules() {
        for state in all_states() {
            for event in all_events() {
                let what = format!("{event:?} in {state:?}");
                let (next, effects) = state.clone().step(event.clone());
                let released = |s: &State| matches!(s, State::Offered | State::TakingBack(_) | State::HandedOver);
                if released(&state) && !released(&next) {
                    assert_eq!(event, Event::TookBack, "only a take-back serves again: {what}");
                }
                if next == State::HandedOver && state != State::HandedOver {
                    assert!(matches!(event, Event::Taken | Event::TakeBackLost), "{what}");
                    assert_eq!(effects, [Effect::StartDrain], "{what}");
                }
                if next == State::Serving && state != State::Serving {
                    let records = effects.iter().filter(|e| matches!(e, Effect::Record { .. }));
                    assert_eq!(records.count(), 1, "{what}");
                    assert!(effects.contains(&Effect::DropTransfer), "{what}");
                }
                if state == State::HandedOver {
                    assert_eq!(next, State::HandedOver, "{what}");
                }
            }
        }
    }
}
