//! What a phase answers, and the mutations of it: each is one rule less.
//!
//! Where a phase does nothing, or asks for more than the event, a mutation acts. The list is [`GUARDS`].
//! Not in it is what no driver can bring about: an answer comes before any other event, so nothing interrupts an attempt to take; and a probation
//! that is over has no driver any more.
//!
//! Where a phase does something, a mutation does not: each effect of each answer is left out, and each answer is not given at all
//! ([`super::omission`]).

use super::omission::mutated;
use super::world::Setup;
use crate::phase::{parked, predecessor as pre, probation, successor as suc};

/// One rule less.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mutant {
    /// A guard, by its name in [`GUARDS`].
    Guard(&'static str),
    /// An answer, or an effect of one, by its name in [`super::answers`].
    Answer(&'static str),
    /// Nothing less: answers are noted, see [`super::omission::noted`].
    Noted,
}

fn unguarded(setup: &Setup, name: &str) -> bool {
    matches!(setup.mutant, Some(Mutant::Guard(guard)) if guard == name)
}

/// Guards that are taken away by hand: name, what it keeps from happening, and the walk that notices.
pub(super) const GUARDS: &[(&str, &str, &str)] = &[
    ("P any ack", "a batch is acknowledged by its number", "no probation"),
    (
        "P not armed is a fault",
        "what another thread armed is not disarmed",
        "three, wishes of the server",
    ),
    (
        "P disarmed reopens",
        "a gate that is open is not opened again",
        "three in the middle, wishes of the server",
    ),
    (
        "P released while serving is believed",
        "a release while closing is taken back if the handover failed",
        "no probation",
    ),
    (
        "P failure after the release serves on",
        "after the release only the lease word decides",
        "no probation",
    ),
    (
        "P failure while closing serves on",
        "while closing a failure asks who was faster",
        "no probation",
    ),
    (
        "P taken back without asking",
        "the lease word says who won",
        "no probation",
    ),
    ("S any batch", "batches come in order", "no probation"),
    (
        "S any offered",
        "all batches that were announced are here",
        "no probation",
    ),
    ("S any stand by", "all late batches are here", "no probation"),
    ("S closed is dead", "a closed channel proves nothing", "no probation"),
    (
        "S lost is inherited",
        "only a proven death is inherited from",
        "no probation",
    ),
    ("S inherits unprepared", "who inherits is prepared", "no probation"),
    ("S leaves the dead", "what a dead one said helps nobody", "no probation"),
    (
        "B disarmed reopens",
        "a gate that is open is not opened again",
        "three in the middle, wishes of the server",
    ),
    (
        "B confirmed while giving back",
        "what is being given back is not confirmed",
        "a parked one leaves",
    ),
    (
        "B deadline of the release serves",
        "what was offered is taken back first",
        "a parked one leaves",
    ),
    ("K closed is dead", "a closed channel proves nothing", "a kill"),
    (
        "K hung is dead",
        "who hangs is killed, and its death awaited",
        "a stop, a watchdog, an operator",
    ),
    ("K killed is dead", "a kill is no proof", "a parked one leaves"),
    ("K lost is inherited", "who took it back lives", "a parked one leaves"),
    (
        "K moved while killing",
        "who is being killed is seen through",
        "a parked one leaves",
    ),
    (
        "K confirmed while killing",
        "who is being killed is seen through",
        "a parked one leaves",
    ),
    (
        "K left while killing",
        "who is being killed is seen through",
        "a parked one leaves",
    ),
    (
        "K offered while proving",
        "what is offered is taken, whatever is being found out",
        "a client, wishes of the server",
    ),
];

pub(super) fn answer_pre(setup: &Setup, state: pre::State, event: pre::Event) -> (pre::State, Vec<pre::Effect>) {
    mutated(setup, "P ", state, event, |state, event| {
        guarded_pre(setup, state, event)
    })
}

fn guarded_pre(setup: &Setup, state: pre::State, event: pre::Event) -> (pre::State, Vec<pre::Effect>) {
    use pre::{Effect, Event, State};
    let serve = |mut effects: Vec<Effect>, failure: &pre::Failure| {
        effects.push(Effect::ResumeAccepting);
        effects.push(Effect::DropTransfer);
        effects.push(Effect::Record {
            outcome: failure.outcome,
            reason: String::new(),
        });
        (State::Serving, effects)
    };
    let failure = pre::Failure {
        outcome: crate::control::Outcome::Deadline,
        reason: String::new(),
        tell: false,
    };
    let next = match (&state, &event) {
        (State::Offering { acked, .. } | State::Staging { acked, .. }, Event::Acked { .. })
            if unguarded(setup, "P any ack") =>
        {
            let batch = *acked;
            state.step(Event::Acked { batch })
        }
        (State::Closing, Event::NotArmed { .. }) if unguarded(setup, "P not armed is a fault") => {
            let reason = String::new();
            state.step(Event::Fault { reason })
        }
        (State::Disarming(failure), Event::Disarmed) if unguarded(setup, "P disarmed reopens") => {
            serve(vec![Effect::ReopenGate], failure)
        }
        (State::Disarming(failure), Event::Released) if unguarded(setup, "P released while serving is believed") => {
            serve(vec![Effect::ReopenGate], failure)
        }
        (State::Offered, Event::Deadline | Event::PeerDead | Event::PeerClosed | Event::Refused { .. })
            if unguarded(setup, "P failure after the release serves on") =>
        {
            serve(vec![Effect::ReopenGate], &failure)
        }
        (State::Closing, Event::Deadline | Event::PeerDead | Event::PeerClosed | Event::Refused { .. })
            if unguarded(setup, "P failure while closing serves on") =>
        {
            serve(vec![], &failure)
        }
        (State::TakingBack(failure), Event::TakeBackLost) if unguarded(setup, "P taken back without asking") => {
            serve(vec![Effect::ReopenGate], failure)
        }
        _ => state.step(event),
    };
    plain(next)
}

/// Reasons are left out of the model's states.
fn plain((mut state, mut effects): (pre::State, Vec<pre::Effect>)) -> (pre::State, Vec<pre::Effect>) {
    use pre::{Effect, State};
    if let State::Disarming(failure) | State::TakingBack(failure) = &mut state {
        failure.reason.clear();
    }
    for effect in &mut effects {
        if let Effect::SendAbort { reason } | Effect::Record { reason, .. } = effect {
            reason.clear();
        }
    }
    (state, effects)
}

pub(super) fn answer_suc(setup: &Setup, state: suc::State, event: suc::Event) -> (suc::State, Vec<suc::Effect>) {
    mutated(setup, "S ", state, event, |state, event| {
        guarded_suc(setup, state, event)
    })
}

fn guarded_suc(setup: &Setup, state: suc::State, event: suc::Event) -> (suc::State, Vec<suc::Effect>) {
    use suc::{Effect, Event, State, Why};
    let fail = || {
        let failed = State::Failed {
            who: crate::error::WhoServes::Predecessor,
            reason: String::new(),
        };
        (failed, vec![Effect::DropTransfer])
    };
    let (mut state, mut effects) = match (&state, &event) {
        (State::Receiving { batches } | State::AwaitingStandBy { batches }, Event::Descriptors { .. })
            if unguarded(setup, "S any batch") =>
        {
            let batch = *batches;
            state.step(Event::Descriptors { batch })
        }
        (State::Receiving { batches }, Event::Offered { .. }) if unguarded(setup, "S any offered") => {
            let batches = *batches;
            state.step(Event::Offered { batches })
        }
        (State::AwaitingStandBy { batches }, Event::StandBy { .. }) if unguarded(setup, "S any stand by") => {
            let batches = *batches;
            state.step(Event::StandBy { batches })
        }
        (_, Event::PeerClosed) if unguarded(setup, "S closed is dead") => state.step(Event::PeerDead),
        (State::Taking(Why::Signal | Why::Closed), Event::TakeLost) if unguarded(setup, "S lost is inherited") => {
            (State::Inheriting, vec![Effect::Inherit])
        }
        (State::Preparing { .. }, Event::PeerDead) if unguarded(setup, "S inherits unprepared") => {
            (State::Taking(Why::Dead), vec![Effect::Take])
        }
        (State::Preparing { alone: true, .. }, Event::Aborted { .. }) if unguarded(setup, "S leaves the dead") => {
            fail()
        }
        _ => state.step(event),
    };
    if let State::Failed { reason, .. } = &mut state {
        reason.clear();
    }
    for effect in &mut effects {
        if let Effect::SendRefuse { reason } | Effect::Record { reason, .. } = effect {
            reason.clear();
        }
    }
    (state, effects)
}

pub(super) fn answer_prob(
    setup: &Setup,
    state: probation::State,
    event: probation::Event,
) -> (probation::State, Vec<probation::Effect>) {
    mutated(setup, "B ", state, event, |state, event| {
        guarded_prob(setup, state, event)
    })
}

fn guarded_prob(
    setup: &Setup,
    state: probation::State,
    event: probation::Event,
) -> (probation::State, Vec<probation::Effect>) {
    use probation::{Effect, Event, State};
    match (state, event) {
        (State::Disarming(_), Event::Disarmed) if unguarded(setup, "B disarmed reopens") => {
            (State::Serving, vec![Effect::ReopenGate])
        }
        (State::Closing | State::Offered, Event::Confirm) if unguarded(setup, "B confirmed while giving back") => {
            State::Serving.step(event)
        }
        (State::Offered, Event::Deadline) if unguarded(setup, "B deadline of the release serves") => {
            (State::Serving, vec![Effect::ReopenGate])
        }
        _ => state.step(event),
    }
}

pub(super) fn answer_park(
    setup: &Setup,
    state: parked::State,
    event: parked::Event,
) -> (parked::State, Vec<parked::Effect>) {
    mutated(setup, "K ", state, event, |state, event| {
        guarded_park(setup, state, event)
    })
}

fn guarded_park(setup: &Setup, state: parked::State, event: parked::Event) -> (parked::State, Vec<parked::Effect>) {
    use parked::{Effect, End, Event, State};
    let over = |end| (State::Over(end), vec![Effect::CloseChannel]);
    match (state, event) {
        (State::Watching, Event::PeerClosed) if unguarded(setup, "K closed is dead") => state.step(Event::PeerDead),
        (State::Watching, Event::Hung) if unguarded(setup, "K hung is dead") => state.step(Event::PeerDead),
        (State::Killing(_), Event::Deadline) if unguarded(setup, "K killed is dead") => state.step(Event::PeerDead),
        (State::Taking { cause, dead: false }, Event::TakeLost) if unguarded(setup, "K lost is inherited") => {
            (State::Inheriting(cause), vec![Effect::Inherit])
        }
        (State::Killing(_), Event::Moved) if unguarded(setup, "K moved while killing") => over(End::Elsewhere),
        (State::Killing(_), Event::Confirmed) if unguarded(setup, "K confirmed while killing") => over(End::Confirmed),
        (State::Proving, Event::Offered) if unguarded(setup, "K offered while proving") => (state, vec![]),
        (State::Killing(_), Event::Leave) if unguarded(setup, "K left while killing") => over(End::Left),
        _ => state.step(event),
    }
}
