//! The reception of an owner, as the model drives it: what `node::reception` does.

use super::mutation::answer_pre;
use super::step::{Class, Step};
use super::world::{By, Gate, Message, Newcomers, Pre, Sabotage, Setup, Slot, Stage, World};
use crate::control::{Outcome, Signal};
use crate::phase::predecessor::{Effect, Event, State};
use shmstate::lease::Lease;

/// A reason of the other side. Reasons are left out of the model's states.
const SAID: String = String::new();

impl World {
    fn pre(&mut self, me: Slot) -> &mut Pre {
        let pre = &mut self.process_mut(me).pre;
        pre.get_or_insert_with(|| Pre::new(State::Serving))
    }

    pub(super) fn reception_steps(&self, me: Slot, setup: &Setup, out: &mut Vec<Step>) {
        let process = self.process(me);
        let Some(pre) = &process.pre else { return };
        if !pre.todo.is_empty() {
            let mut world = self.clone();
            let effect = world.pre(me).todo.remove(0);
            if world.do_pre(me, effect, setup) {
                out.push(Step::new(Class::Own, me, "reception acts", world));
            }
            return;
        }
        let mut events = Vec::new();
        self.pre_events(me, pre, setup, &mut events);
        for (class, event, mut world) in events {
            let what = event_word(&event);
            let state = world.pre(me).state.clone();
            let (state, effects) = answer_pre(setup, state, event);
            let pre = world.pre(me);
            pre.state = state;
            pre.todo.extend(effects);
            out.push(Step::new(class, me, what, world));
        }
    }

    /// Carries out all effects that need not wait.
    pub(super) fn run_pre(&mut self, me: Slot, setup: &Setup) {
        while let Some(effect) = self.process(me).pre.as_ref().and_then(|pre| pre.todo.first().cloned()) {
            let before = self.clone();
            self.pre(me).todo.remove(0);
            if !self.do_pre(me, effect, setup) {
                *self = before;
                return;
            }
        }
    }

    fn pre_events(&self, me: Slot, pre: &Pre, setup: &Setup, out: &mut Vec<(Class, Event, Self)>) {
        if let Some(answer) = &pre.answer {
            let mut world = self.clone();
            world.pre(me).answer = None;
            out.push((Class::Own, answer.clone(), world));
            return;
        }
        let process = self.process(me);
        let Some(successor) = process.down.filter(|_| pre.state != State::Serving) else {
            // A reception opens when its process has begun everything else.
            let opens = process.stage == Stage::Serving
                || process.stage == Stage::Beginning && setup.sabotage == Sabotage::EarlyReception;
            if pre.state == State::Serving && opens {
                self.hellos(me, out);
            }
            return;
        };
        if pre.state == State::HandedOver {
            return;
        }
        if setup.early {
            self.hellos(me, out);
        }
        let mut add = |class, event, world: &Self| out.push((class, event, world.clone()));
        let link = self.up(successor);
        if let Some(message) = link.to_p.first().filter(|_| !link.p_closed) {
            let mut world = self.clone();
            world.up_mut(successor).to_p.remove(0);
            let event = match *message {
                Message::Ack(batch) => Event::Acked { batch },
                Message::Ready => Event::Ready,
                Message::Standing => Event::Standing,
                Message::Refuse => Event::Refused { reason: SAID },
                // A successor that has taken already speaks to the one that parks.
                Message::Mirror | Message::Confirm | Message::Returned | Message::Hello => {
                    return self.pre_watches(me, pre, successor, setup, out);
                }
                other => {
                    world.break_law("the successor says what only the predecessor says");
                    Event::Unexpected {
                        got: format!("{other:?}"),
                    }
                }
            };
            if let Event::Acked { .. } = event
                && world.left.noise > 0
            {
                let mut world = world.clone();
                world.left.noise -= 1;
                world.up_mut(successor).broken = true;
                add(Class::Optional, Event::Acked { batch: 77 }, &world);
            }
            add(Class::Own, event, &world);
        }
        if !link.p_closed && self.left.noise > 0 {
            let mut world = self.clone();
            world.left.noise -= 1;
            let state = &pre.state;
            if !matches!(
                state,
                State::Offered | State::TakingBack(_) | State::Disarming(_) | State::Closing
            ) {
                world.up_mut(successor).broken = true;
            }
            add(Class::Optional, Event::Unexpected { got: SAID }, &world);
            add(Class::Optional, Event::Fault { reason: SAID }, &world);
        }
        self.pre_watches(me, pre, successor, setup, out);
    }

    /// What needs no message.
    fn pre_watches(&self, me: Slot, pre: &Pre, successor: Slot, setup: &Setup, out: &mut Vec<(Class, Event, Self)>) {
        let process = self.process(me);
        let mut add = |event| {
            let class = if event == Event::Deadline {
                Class::Late
            } else {
                Class::Own
            };
            out.push((class, event, self.clone()));
        };
        let link = self.up(successor);
        if link.s_closed && link.to_p.is_empty() {
            add(Event::PeerClosed);
            let believed = setup.sabotage == Sabotage::BelieveDeath;
            if self.process(successor).has_ended() || believed {
                add(Event::PeerDead);
            }
        }
        if !matches!(pre.state, State::Disarming(_) | State::TakingBack(_)) {
            add(Event::Deadline);
        }
        if pre.state == State::Closing {
            if matches!(process.gate, Gate::Quiet(_)) {
                add(Event::Released);
            }
            if matches!(process.gate, Gate::Open | Gate::Armed(..)) {
                add(Event::NoTick);
            }
        }
        // The successor may have offered it again by now.
        let mine = matches!(self.lease(), Lease::Offered { owner, .. } | Lease::Owned { owner, .. } if owner == me);
        if pre.state == State::Offered && !mine {
            add(Event::Taken);
        }
    }

    fn hellos(&self, me: Slot, out: &mut Vec<(Class, Event, Self)>) {
        for successor in self.slots().skip(1).filter(|s| *s != me) {
            let link = self.up(successor);
            if link.pred.is_none() && link.to_p.first() == Some(&Message::Hello) {
                let mut world = self.clone();
                world.up_mut(successor).to_p.remove(0);
                world.up_mut(successor).pred = Some(me);
                let down = &mut world.process_mut(me).down;
                // One that comes while another is in progress does not take its place.
                if self
                    .process(me)
                    .pre
                    .as_ref()
                    .is_some_and(|pre| pre.state == State::Serving)
                {
                    *down = Some(successor);
                }
                out.push((Class::Own, Event::Hello, world));
            }
        }
    }

    /// `false` if it has to wait for another thread.
    fn do_pre(&mut self, me: Slot, effect: Effect, setup: &Setup) -> bool {
        let Some(successor) = self.process(me).down else {
            self.break_law("the reception acts without a successor");
            return true;
        };
        match effect {
            Effect::SendOffer => {
                self.raise(None);
                self.up_mut(successor).began = true;
                self.stage_client(me, successor);
                self.send_s(successor, Message::Offer);
                let batches = setup.batches;
                self.pre(me).answer = Some(Event::Staged { batches });
            }
            Effect::SendBatch { batch } => self.send_s(successor, Message::Descriptors(batch)),
            Effect::SendOffered { batches } => self.send_s(successor, Message::Offered(batches)),
            Effect::PauseAccepting => {
                // Version 2 has no need to pause, see `node::late`.
                if !setup.probation {
                    self.process_mut(me).newcomers = Newcomers::Wait;
                }
            }
            Effect::StageLate => {
                if setup.probation {
                    self.process_mut(me).newcomers = Newcomers::GoOver;
                }
                self.stage_client(me, successor);
                let batches = setup.batches + setup.late;
                self.pre(me).answer = Some(Event::Staged { batches });
            }
            Effect::SendStandBy { batches } => self.send_s(successor, Message::StandBy(batches)),
            Effect::EndProbation => {
                if !self.confirm_for_successor(me, setup) {
                    return false;
                }
                self.up_mut(successor).unfreed = self.is_mirrored(me);
            }
            Effect::ArmGate => {
                // What ends the probation is carried out by this thread, before it goes on.
                let ending = self.process(me).prob.as_ref();
                if ending.is_some_and(|prob| prob.state.is_over()) {
                    return false;
                }
                self.raise(Some(Signal::StandBy));
                if !self.arm(me, By::Reception(successor)) {
                    self.pre(me).answer = Some(Event::NotArmed { reason: SAID });
                } else if self.is_mirrored(me) && !self.up(successor).unfreed {
                    self.break_law("the node goes on to a third and the first is not free");
                }
            }
            Effect::CloseGate => self.close_gate(me),
            Effect::DisarmGate => {
                let Some(disarmed) = self.disarm(me, setup) else {
                    return false;
                };
                let answer = if disarmed { Event::Disarmed } else { Event::Released };
                self.pre(me).answer = Some(answer);
            }
            Effect::ReopenGate => self.reopen(me),
            Effect::TakeBack => {
                let won = self.take_back(me, setup);
                let answer = if won { Event::TookBack } else { Event::TakeBackLost };
                self.pre(me).answer = Some(answer);
            }
            Effect::ResumeAccepting => self.process_mut(me).newcomers = Newcomers::Stay,
            Effect::SendAbort { .. } => {
                self.send_s(successor, Message::Abort);
                self.raise(Some(Signal::Aborted));
            }
            Effect::DropTransfer => self.close_p(successor),
            Effect::Record { outcome, .. } => {
                self.up_mut(successor).records += 1;
                if outcome == Outcome::SuccessorDied && self.process(successor).failed {
                    self.break_law("a refusal is recorded as a death");
                }
            }
            Effect::StartDrain => self.start_drain(me, successor, setup),
            Effect::RefuseNewcomer => {
                for newcomer in self.slots().skip(1).filter(|slot| *slot != successor) {
                    let link = self.up(newcomer);
                    if link.pred == Some(me) && !link.began && !link.p_closed {
                        self.send_s(newcomer, Message::Refuse);
                        self.close_p(newcomer);
                    }
                }
            }
        }
        true
    }

    fn start_drain(&mut self, me: Slot, successor: Slot, setup: &Setup) {
        if self.up(successor).broken {
            self.break_law("handed over to one that broke the protocol");
        }
        // Wishes from before are for nobody's probation.
        self.wish = None;
        if !self.process(me).serves() {
            return;
        }
        if setup.probation {
            self.process_mut(me).stage = Stage::HandedOver;
        } else {
            self.close_p(successor);
            self.process_mut(me).stage = Stage::Ended;
        }
    }

    /// The batches that are put together hold the client's connection if this process has it.
    fn stage_client(&mut self, me: Slot, successor: Slot) {
        let has = self.held & 1 << me != 0;
        self.up_mut(successor).staged |= has;
    }
}

fn event_word(event: &Event) -> &'static str {
    match event {
        Event::Hello => "reception: hello",
        Event::Staged { .. } => "reception: staged",
        Event::Acked { .. } => "reception: ack",
        Event::Ready => "reception: ready",
        Event::Refused { .. } => "reception: refused",
        Event::Standing => "reception: standing",
        Event::NoTick => "reception: no tick",
        Event::NotArmed { .. } => "reception: not armed",
        Event::Released => "reception: released",
        Event::Disarmed => "reception: disarmed",
        Event::Taken => "reception: taken",
        Event::TookBack => "reception: took back",
        Event::TakeBackLost => "reception: lost",
        Event::PeerClosed => "reception: successor closed",
        Event::PeerDead => "reception: successor dead",
        Event::Deadline => "reception: deadline",
        Event::Unexpected { .. } => "reception: unexpected",
        Event::Fault { .. } => "reception: fault",
    }
}
