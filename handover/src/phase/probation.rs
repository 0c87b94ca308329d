//! The new owner on probation: it serves, and its predecessor could take the node back.
//!
//! ```text
//! Serving --asked back, or its own wish--> Closing --released--> Offered --taken--> GivenBack
//!   |  ^                                     |                     |
//!   |  +------------ Disarming <-- deadline -+                     | deadline, the predecessor is gone
//!   |  +------------ TakingBack <----------------------------------+
//!   +-- confirmed, time is over, the predecessor is gone --> Over
//! ```
//!
//! - Giving back is a release like any other: gate quiet, one compare-and-swap (H1, H9). Until it is taken this process may take it back, and does if
//!   nobody comes: never "log and shut down anyway".
//! - The release is done by whoever drops the last pass. So a failure in `Closing` first disarms, and asks who was faster.
//! - Once `Over`, nothing brings the node back: a `return` that was on its way meets a process that goes on serving.
//!
//! This file does not know time, descriptors or messages, nor that a successor of this process may be on its way: both need the gate,
//! and who arms it first goes on.

/// Where the owner on probation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// It serves, on probation.
    Serving,
    /// It gives back: the gate closes.
    Closing,
    /// The gate did not get quiet, or the predecessor is gone: it is being disarmed, if it is not too late.
    Disarming(Then),
    /// The lease is released to the predecessor.
    Offered,
    /// Nobody took: the lease is being taken back, if it is not too late.
    TakingBack(Then),
    /// The predecessor owns the node again: this process ends.
    GivenBack,
    /// The probation is over: this process serves.
    Over,
}

/// What follows when giving back did not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Then {
    /// The probation goes on.
    Serve,
    /// The predecessor is gone, and with it the probation.
    End,
    /// The same, because it read nothing for too long.
    EndUnread,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The predecessor asks for the node.
    Asked,
    /// The server itself wants to give it back: it failed its health check.
    GiveBack,
    /// The server, the operator, or a successor that stands by ends the probation.
    Confirm,
    /// The gate was quiet and who dropped the last pass has released the lease.
    Released,
    /// The gate is disarmed and open, and the lease was not and will not be released.
    Disarmed,
    /// The gate cannot be armed: it is another's already.
    NotArmed,
    /// The predecessor has taken the lease.
    Taken,
    /// The lease is taken back.
    TookBack,
    /// The lease could not be taken back: the predecessor has it.
    TakeBackLost,
    /// The predecessor closed the channel, is dead, or sent what does not fit: nobody would take the node back any more.
    PeerGone,
    /// The predecessor has not read for too long what it is told: it counts as gone.
    Unread,
    /// The current state lasted too long: of [`State::Serving`], the probation is over.
    Deadline,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Arm the gate with a release to the predecessor, and close it. Answered by [`Event::Released`] in time, or [`Event::NotArmed`] at once.
    ArmGate,
    /// Take the arming back; then ticks and I/O go on. Answered by [`Event::Disarmed`], or by [`Event::Released`] if it was too late.
    DisarmGate,
    /// Open the gate, which was quiet: ticks and I/O go on.
    ReopenGate,
    /// Compare-and-swap `Offered(me)` to `Owned(me)`. Answered by [`Event::TookBack`] or [`Event::TakeBackLost`].
    TakeBack,
    /// Send `returned`: the lease word says the same, this only wakes.
    SendReturned,
    /// Send `confirm`. A predecessor that is gone is no error.
    SendConfirm,
    /// Close the channel; nothing is mirrored any more.
    CloseChannel,
    /// Append to the history that the probation ended because the predecessor read nothing.
    RecordUnread,
    /// The node is the predecessor's: let go of what only an owner holds, wake who waits for the gate.
    Leave,
}

impl State {
    /// Whether nothing can come any more.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::GivenBack | Self::Over)
    }

    /// The answer to an event.
    #[must_use]
    pub fn step(self, event: Event) -> (Self, Vec<Effect>) {
        if self.is_over() {
            return (self, vec![]);
        }
        match event {
            Event::Asked | Event::GiveBack => match self {
                Self::Serving => (Self::Closing, vec![Effect::ArmGate]),
                other => (other, vec![]),
            },
            Event::Confirm => match self {
                Self::Serving => (Self::Over, vec![Effect::SendConfirm, Effect::CloseChannel]),
                // It is being given back already.
                other => (other, vec![]),
            },
            Event::NotArmed => match self {
                Self::Closing => (Self::Serving, vec![]),
                other => (other, vec![]),
            },
            Event::Released => match self {
                Self::Closing => (Self::Offered, vec![Effect::SendReturned]),
                Self::Disarming(then) => (Self::TakingBack(then), vec![Effect::TakeBack]),
                other => (other, vec![]),
            },
            Event::Disarmed => match self {
                // Open again, and perhaps armed for a successor by now: nothing to reopen.
                Self::Disarming(then) => resume(then, vec![]),
                other => (other, vec![]),
            },
            // The word decides, whatever this side was at.
            Event::Taken | Event::TakeBackLost => (Self::GivenBack, vec![Effect::CloseChannel, Effect::Leave]),
            Event::TookBack => match self {
                Self::TakingBack(then) => resume(then, vec![Effect::ReopenGate]),
                other => (other, vec![]),
            },
            Event::PeerGone => self.halt(Then::End),
            Event::Unread => self.halt(Then::EndUnread),
            Event::Deadline => match self {
                Self::Serving => (Self::Over, vec![Effect::SendConfirm, Effect::CloseChannel]),
                other => other.halt(Then::Serve),
            },
        }
    }

    fn halt(self, then: Then) -> (Self, Vec<Effect>) {
        match self {
            Self::Serving => resume(then, vec![]),
            Self::Closing => (Self::Disarming(then), vec![Effect::DisarmGate]),
            Self::Offered => (Self::TakingBack(then), vec![Effect::TakeBack]),
            // It is on its way back; a predecessor that is gone meanwhile ends the probation.
            Self::Disarming(Then::Serve) => (Self::Disarming(then), vec![]),
            Self::TakingBack(Then::Serve) => (Self::TakingBack(then), vec![]),
            other => (other, vec![]),
        }
    }
}

fn resume(then: Then, mut effects: Vec<Effect>) -> (State, Vec<Effect>) {
    match then {
        Then::Serve => (State::Serving, effects),
        Then::End | Then::EndUnread => {
            effects.push(Effect::CloseChannel);
            if then == Then::EndUnread {
                effects.push(Effect::RecordUnread);
            }
            (State::Over, effects)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [State; 11] = [
        State::Serving,
        State::Closing,
        State::Disarming(Then::Serve),
        State::Disarming(Then::End),
        State::Disarming(Then::EndUnread),
        State::Offered,
        State::TakingBack(Then::Serve),
        State::TakingBack(Then::End),
        State::TakingBack(Then::EndUnread),
        State::GivenBack,
        State::Over,
    ];
    const EVENTS: [Event; 12] = [
        Event::Asked,
        Event::GiveBack,
        Event::Confirm,
        Event::Released,
        Event::Disarmed,
        Event::NotArmed,
        Event::Taken,
        Event::TookBack,
        Event::TakeBackLost,
        Event::PeerGone,
        Event::Unread,
        Event::Deadline,
    ];

    fn run(events: impl IntoIterator<Item = Event>) -> (State, Vec<Effect>) {
        let mut state = State::Serving;
        let mut all = Vec::new();
        for event in events {
            let (next, effects) = state.step(event);
            state = next;
            all.extend(effects);
        }
        (state, all)
    }

    #[test]
    fn gives_back_when_asked() {
        let (state, effects) = run([Event::Asked, Event::Released, Event::Taken]);
        assert_eq!(state, State::GivenBack);
        let expected = [
            Effect::ArmGate,
            Effect::SendReturned,
            Effect::CloseChannel,
            Effect::Leave,
        ];
        assert_eq!(effects, expected);
    }

    #[test]
    fn serves_on_if_nobody_takes() {
        let (state, effects) = run([Event::GiveBack, Event::Released, Event::Deadline, Event::TookBack]);
        assert_eq!(state, State::Serving);
        assert!(effects.ends_with(&[Effect::TakeBack, Effect::ReopenGate]));
        let (state, effects) = run([Event::GiveBack, Event::Released, Event::PeerGone, Event::TookBack]);
        assert_eq!(state, State::Over);
        assert!(effects.ends_with(&[Effect::ReopenGate, Effect::CloseChannel]));
        let (state, _) = run([Event::GiveBack, Event::Deadline, Event::Released, Event::TakeBackLost]);
        assert_eq!(state, State::GivenBack, "too late");
    }

    #[test]
    fn one_that_is_not_read_ends_its_probation_and_says_so_once() {
        let recorded = |events: &[Event]| {
            let (state, effects) = run(events.iter().copied());
            let records = effects.iter().filter(|e| **e == Effect::RecordUnread).count();
            (state, records)
        };
        let (gone, unread) = (Event::PeerGone, Event::Unread);
        assert_eq!(recorded(&[unread, unread, gone]), (State::Over, 1));
        assert_eq!(recorded(&[gone, unread]), (State::Over, 0));
        assert_eq!(
            recorded(&[Event::Asked, unread, unread, gone, Event::Disarmed]),
            (State::Over, 1)
        );
        assert_eq!(
            recorded(&[Event::Asked, gone, unread, Event::Disarmed]),
            (State::Over, 0)
        );
        let returning = [Event::Asked, Event::Released, unread];
        assert_eq!(
            recorded(&[&returning[..], &[Event::TookBack]].concat()),
            (State::Over, 1)
        );
        assert_eq!(
            recorded(&[&returning[..], &[Event::TakeBackLost]].concat()),
            (State::GivenBack, 0)
        );
    }

    #[test]
    fn a_confirmed_owner_gives_nothing_back() {
        let (state, effects) = run([Event::Confirm, Event::Asked, Event::GiveBack]);
        assert_eq!(state, State::Over);
        assert_eq!(effects, [Effect::SendConfirm, Effect::CloseChannel]);
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
                let reopened = effects.contains(&Effect::ReopenGate);
                let halted = matches!(state, State::Disarming(_) | State::TakingBack(_));
                if reopened {
                    assert!(halted && event == Event::TookBack, "{what}");
                }
                if halted && matches!(next, State::Serving | State::Over) {
                    let open = reopened || event == Event::Disarmed;
                    assert!(open, "serves again with its gate closed: {what}");
                }
                if next.is_over() {
                    assert!(effects.contains(&Effect::CloseChannel), "H6: {what}");
                }
                assert_eq!(effects.contains(&Effect::Leave), next == State::GivenBack, "{what}");
            }
        }
    }
}
