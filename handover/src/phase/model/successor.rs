//! A successor, as the model drives it: what `node::join` and `node::starting` do.

use super::mutation::answer_suc;
use super::step::{Class, Step};
use super::world::{Client, Gate, Life, Message, Newcomers, Prob, Process, Sabotage, Setup, Slot, Stage, Suc, World};
use crate::control::{Outcome, Signal};
use crate::phase::probation;
use crate::phase::successor::{Effect, Event, State};

impl World {
    fn suc(&mut self, me: Slot) -> &mut Suc {
        let suc = &mut self.process_mut(me).suc;
        suc.get_or_insert_with(|| Suc::new(State::Greeting))
    }

    /// It starts, and says hello.
    pub(super) fn join(&mut self, me: Slot) {
        let (state, effects) = State::start();
        self.process_mut(me).stage = Stage::Joining;
        let suc = self.suc(me);
        suc.state = state;
        suc.todo = effects;
    }

    pub(super) fn join_steps(&self, me: Slot, setup: &Setup, out: &mut Vec<Step>) {
        let process = self.process(me);
        match process.stage {
            Stage::Owner(inherited) if process.suc.is_none() => {
                let mut world = self.clone();
                world.own(me, inherited, setup);
                out.push(Step::new(Class::Own, me, "serves", world));
            }
            Stage::Beginning => {
                let mut world = self.clone();
                world.process_mut(me).prob = Some(Prob::new(probation::State::Serving));
                world.process_mut(me).stage = Stage::Serving;
                out.push(Step::new(Class::Own, me, "its probation begins", world));
            }
            _ => {}
        }
        let Some(suc) = &process.suc else { return };
        if !suc.todo.is_empty() {
            let mut world = self.clone();
            let effect = world.suc(me).todo.remove(0);
            world.do_suc(me, effect, setup);
            world.after_join(me);
            out.push(Step::new(Class::Own, me, "successor acts", world));
            return;
        }
        let mut events = Vec::new();
        self.suc_events(me, suc, setup, out, &mut events);
        for (class, event, mut world) in events {
            let what = event_word(&event);
            let state = world.suc(me).state.clone();
            let (state, effects) = answer_suc(setup, state, event);
            let suc = world.suc(me);
            suc.state = state;
            suc.todo.extend(effects);
            let proves = matches!(suc.state, State::Proving(_));
            world.process_mut(me).proving &= proves;
            world.after_join(me);
            out.push(Step::new(class, me, what, world));
        }
    }

    /// What becomes of a process whose handover is over, one way or another.
    fn after_join(&mut self, me: Slot) {
        let Some(suc) = &self.process(me).suc else { return };
        if !suc.state.is_over() || !suc.idle() {
            return;
        }
        match suc.state {
            State::StartOver => {
                if self.process(me).spoiled {
                    self.break_law("one that failed starts over");
                }
                self.process_mut(me).stage = Stage::StartedOver;
            }
            State::Failed { .. } => {
                self.process_mut(me).failed = true;
                self.process_mut(me).stage = Stage::Ended;
            }
            _ if self.process(me).stage == Stage::Joining => self.process_mut(me).stage = Stage::Owner(false),
            _ => {}
        }
        if !self.up(me).s_closed && !matches!(self.process(me).stage, Stage::Owner(_)) {
            self.break_law("a successor that left holds the channel");
        }
        self.process_mut(me).suc = None;
        self.up_mut(me).signal = None;
    }

    /// The cutover is done: its threads run.
    fn own(&mut self, me: Slot, inherited: bool, setup: &Setup) {
        if !inherited {
            self.receive_late(me);
        }
        let process = self.process_mut(me);
        process.serve();
        if inherited || !setup.probation {
            self.close_s(me);
        } else {
            process.stage = Stage::Beginning;
        }
    }

    /// Carries out all effects.
    pub(super) fn run_suc(&mut self, me: Slot, setup: &Setup) {
        while let Some(effect) = self.process(me).suc.as_ref().and_then(|suc| suc.todo.first().cloned()) {
            self.suc(me).todo.remove(0);
            self.do_suc(me, effect, setup);
            self.after_join(me);
        }
    }

    fn suc_events(
        &self,
        me: Slot,
        suc: &Suc,
        setup: &Setup,
        late: &mut Vec<Step>,
        out: &mut Vec<(Class, Event, Self)>,
    ) {
        if let Some(answer) = &suc.answer {
            let mut world = self.clone();
            world.suc(me).answer = None;
            out.push((Class::Own, answer.clone(), world));
            return;
        }
        if suc.state.is_over() {
            return;
        }
        let mut add = |class, event, world: &Self| out.push((class, event, world.clone()));
        let link = self.up(me);
        let gone = match link.pred {
            Some(pred) => self.process(pred).has_ended(),
            None => !self.somebody_listens(me, Process::has_ended),
        };
        let dead = |process: &Process| process.life == Life::Dead;
        let closed = link.p_closed || link.pred.is_none() && !self.somebody_listens(me, dead);
        if let Some(message) = link.to_s.first() {
            let mut world = self.clone();
            world.up_mut(me).to_s.remove(0);
            let event = match *message {
                Message::Offer => Some(Event::Offer),
                Message::Descriptors(batch) => Some(Event::Descriptors { batch }),
                Message::Offered(batches) => Some(Event::Offered { batches }),
                Message::StandBy(batches) => Some(Event::StandBy { batches }),
                Message::Abort | Message::Refuse => {
                    // What a dead one said is no excuse.
                    world.process_mut(me).excused |= !matches!(suc.state, State::Preparing { alone: true, .. });
                    Some(Event::Aborted { reason: String::new() })
                }
                Message::Mirror => {
                    world.held |= 1 << me;
                    late.push(Step::new(Class::Own, me, "successor: a late connection", world.clone()));
                    None
                }
                // For the owner on probation that it is about to be.
                _ => None,
            };
            let wrong = match event {
                Some(Event::Descriptors { .. }) => Some(Event::Descriptors { batch: 77 }),
                Some(Event::Offered { .. }) => Some(Event::Offered { batches: 77 }),
                Some(Event::StandBy { .. }) => Some(Event::StandBy { batches: 77 }),
                _ => None,
            };
            if let Some(event) = wrong
                && world.left.noise > 0
            {
                let mut world = world.clone();
                world.left.noise -= 1;
                world.up_mut(me).broken = true;
                world.process_mut(me).excused = true;
                add(Class::Optional, event, &world);
            }
            if let Some(event) = event {
                add(Class::Own, event, &world);
            }
        } else if closed {
            add(Class::Own, Event::PeerClosed, self);
        }
        let believed = setup.sabotage == Sabotage::BelieveDeath && suc.state == State::Standing;
        let proving = matches!(suc.state, State::Proving(_));
        let looks = !proving || self.process(me).proving;
        if gone && looks || believed {
            add(Class::Own, Event::PeerDead, self);
        }
        if self.process(me).preparing {
            let mut world = self.clone();
            world.process_mut(me).preparing = false;
            let class = if setup.busy { Class::Optional } else { Class::Own };
            add(class, Event::Prepared, &world);
        }
        if suc.state == State::Standing
            && let Some(signal) = link.signal
        {
            let mut world = self.clone();
            world.up_mut(me).signal = None;
            world.process_mut(me).excused |= signal == Signal::Aborted;
            add(Class::Own, Event::Signalled(signal), &world);
        }
        let mut own = self.clone();
        own.process_mut(me).excused = true;
        // Where death is being proven, the time runs out only on a living predecessor.
        let lives = link.pred.is_none_or(|pred| self.process(pred).alive());
        if looks && (!proving || lives) {
            add(Class::Late, Event::Deadline, &own);
        }
        if own.left.noise > 0 {
            own.left.noise -= 1;
            own.process_mut(me).spoiled = true;
            add(Class::Optional, Event::Fault { reason: String::new() }, &own);
            add(Class::Optional, Event::Unexpected { got: String::new() }, &own);
        }
    }

    fn do_suc(&mut self, me: Slot, effect: Effect, setup: &Setup) {
        match effect {
            Effect::SendHello => self.send_p(me, Message::Hello),
            Effect::StageBatch { .. } => self.up_mut(me).kept += 1,
            Effect::SendAck { batch } => {
                if self.up(me).kept != batch + 1 {
                    self.break_law("a batch is acknowledged and not kept");
                }
                self.send_p(me, Message::Ack(batch));
            }
            Effect::ProveDeath => self.process_mut(me).proving = true,
            Effect::Prepare => self.process_mut(me).preparing = true,
            Effect::SendReady => self.send_p(me, Message::Ready),
            Effect::SendStanding => {
                self.send_p(me, Message::Standing);
                if setup.sabotage == Sabotage::EarlyGate {
                    self.process_mut(me).gate = Gate::Open;
                    self.process_mut(me).stage = Stage::Owner(false);
                }
            }
            Effect::Take => {
                let won = self.swap(self.lease().take(me));
                self.held |= u8::from(won && self.up(me).staged) << me;
                let answer = if won { Event::Took } else { Event::TakeLost };
                self.suc(me).answer = Some(answer);
            }
            Effect::Inherit => {
                let won = match self.up(me).pred {
                    Some(pred) => self.inherit_from(pred, me, setup),
                    None => false,
                };
                if !won && matches!(self.up(me).pred, Some(pred) if !self.owned_by(pred)) {
                    // The node is another's, or nobody's by its owner's will.
                    self.process_mut(me).excused = true;
                }
                let answer = if won { Event::Inherited } else { Event::InheritLost };
                self.suc(me).answer = Some(answer);
                if won && self.up(me).staged {
                    self.held |= 1 << me;
                }
            }
            Effect::RecoverRegions => {
                self.recover(me);
                self.process_mut(me).stage = Stage::Owner(true);
            }
            Effect::OpenGate => {
                if self.process(me).spoiled {
                    self.break_law("one that failed as a successor serves");
                }
                if self.process(me).preparing {
                    self.break_law("it serves and is not prepared");
                }
                if self.open.is_some_and(|writer| writer != me) {
                    self.break_law("a gate opens over a transaction that nobody has undone");
                }
                self.process_mut(me).gate = Gate::Open;
            }
            Effect::StartAccepting => self.process_mut(me).newcomers = Newcomers::Stay,
            Effect::Record { outcome, .. } => match outcome {
                // The attempt may have ended before, by its predecessor's word; that it died is another matter.
                Outcome::Inherited => self.up_mut(me).inherits += 1,
                _ => self.up_mut(me).records += 1,
            },
            Effect::SendRefuse { .. } => self.send_p(me, Message::Refuse),
            Effect::DropTransfer => {
                self.close_s(me);
                self.held &= !(1 << me);
            }
            Effect::Spin | Effect::MeasureNoise | Effect::StartOver => {}
        }
    }

    /// Before it serves it has what was staged and what came late, and that is everything.
    fn receive_late(&mut self, me: Slot) {
        let link = self.up_mut(me);
        if !link.s_closed && link.to_s.contains(&Message::Mirror) {
            link.to_s.retain(|message| *message != Message::Mirror);
            self.held |= 1 << me;
        }
        if let Client::Adopted(..) = self.client
            && self.held & 1 << me == 0
            && self.up(me).pred.is_some_and(|pred| self.held & 1 << pred != 0)
        {
            self.break_law("a connection did not go over");
        }
    }
}

fn event_word(event: &Event) -> &'static str {
    match event {
        Event::Offer => "successor: offer",
        Event::Descriptors { .. } => "successor: descriptors",
        Event::Offered { .. } => "successor: offered",
        Event::Prepared => "successor: prepared",
        Event::StandBy { .. } => "successor: stand by",
        Event::Signalled(_) => "successor: signal",
        Event::Aborted { .. } => "successor: aborted",
        Event::Took => "successor: took",
        Event::TakeLost => "successor: take lost",
        Event::Inherited => "successor: inherited",
        Event::InheritLost => "successor: inherit lost",
        Event::PeerClosed => "successor: predecessor closed",
        Event::PeerDead => "successor: predecessor dead",
        Event::Deadline => "successor: deadline",
        Event::Unexpected { .. } => "successor: unexpected",
        Event::Fault { .. } => "successor: fault",
    }
}
