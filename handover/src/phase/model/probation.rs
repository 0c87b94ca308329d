//! The owner on probation and its parked predecessor, as the model drives them: what `node::probation` and `node::parked` do.

use shmstate::lease::Lease;

use super::mutation::{answer_park, answer_prob};
use super::step::{Class, Step};
use super::world::{
    By, Client, Gate, Life, Message, Newcomers, Park, Pre, Prob, Sabotage, Setup, Slot, Stage, Wish, World,
};
use crate::phase::{parked, probation};

impl World {
    fn prob(&mut self, me: Slot) -> &mut Prob {
        let prob = &mut self.process_mut(me).prob;
        prob.get_or_insert_with(|| Prob::new(probation::State::Over))
    }

    fn park(&mut self, me: Slot) -> &mut Park {
        let park = &mut self.process_mut(me).park;
        park.get_or_insert_with(|| Park::new(parked::State::Watching))
    }

    fn step_prob(&mut self, me: Slot, event: probation::Event, setup: &Setup) {
        use probation::{Event, State};
        let before = self.prob(me).state;
        let (state, effects) = answer_prob(setup, before, event);
        match event {
            Event::Asked | Event::GiveBack | Event::Confirm if before == State::Serving && state == before => {
                self.break_law("a wish of the server or of its predecessor is not acted on");
            }
            // Heard already, or still to come.
            Event::NotArmed | Event::Disarmed | Event::TookBack if self.is_asked_back(me) => {
                let link = self.up_mut(me);
                link.denied |= !link.to_s.contains(&Message::Return);
            }
            _ => {}
        }
        let prob = self.prob(me);
        prob.state = state;
        prob.todo.extend(effects);
        self.after_prob(me);
    }

    fn after_prob(&mut self, me: Slot) {
        let prob = self.prob(me);
        if prob.state.is_over() && prob.idle() {
            self.process_mut(me).prob = None;
            if !self.up(me).s_closed {
                self.break_law("the probation is over and its channel open");
            }
        }
    }

    /// Whether what this process accepts goes to its predecessor.
    pub(super) fn is_mirrored(&self, me: Slot) -> bool {
        let prob = self.process(me).prob.as_ref();
        prob.is_some_and(|prob| !prob.state.is_over()) && !self.up(me).s_closed
    }

    /// Whether its predecessor waits for it to give the node back.
    pub(super) fn is_asked_back(&self, me: Slot) -> bool {
        let parked = self.up(me).pred.and_then(|pred| self.process(pred).park.as_ref());
        parked.is_some_and(|park| matches!(park.state, parked::State::Asked(_)))
    }

    /// The reception ends the probation, under its lock. `false` if another thread has the lock.
    pub(super) fn confirm_for_successor(&mut self, me: Slot, setup: &Setup) -> bool {
        match &self.process(me).prob {
            None => true,
            Some(prob) if prob.idle() => {
                self.step_prob(me, probation::Event::Confirm, setup);
                true
            }
            Some(_) => false,
        }
    }

    pub(super) fn probation_steps(&self, me: Slot, setup: &Setup, out: &mut Vec<Step>) {
        let process = self.process(me);
        let Some(prob) = &process.prob else { return };
        if !prob.todo.is_empty() {
            let mut world = self.clone();
            let effect = world.prob(me).todo.remove(0);
            if world.do_prob(me, effect, setup) {
                world.after_prob(me);
                out.push(Step::new(Class::Own, me, "probation acts", world));
            }
            return;
        }
        let step = |class, event, mut world: Self, out: &mut Vec<Step>| {
            world.step_prob(me, event, setup);
            out.push(Step::new(class, me, prob_word(event), world));
        };
        if let Some(answer) = prob.answer {
            let mut world = self.clone();
            world.prob(me).answer = None;
            return step(Class::Own, answer, world, out);
        }
        if !process.serves() {
            // It hands over, stops, or is gone: its thread closes the channel and ends.
            let mut world = self.clone();
            world.up_mut(me).unsaid = true;
            world.close_s(me);
            world.process_mut(me).prob = None;
            out.push(Step::new(Class::Own, me, "probation ends with the node", world));
            return;
        }
        use probation::{Event, State};
        if self.left.confirms > 0 {
            let mut world = self.clone();
            world.left.confirms -= 1;
            step(Class::Optional, Event::Confirm, world, out);
        }
        if self.left.gives > 0 {
            let mut world = self.clone();
            world.left.gives -= 1;
            step(Class::Optional, Event::GiveBack, world, out);
        }
        let link = self.up(me);
        if let Some(message) = link.to_s.first() {
            let mut world = self.clone();
            world.up_mut(me).to_s.remove(0);
            let event = match message {
                Message::Return => Event::Asked,
                _ => Event::PeerGone,
            };
            step(Class::Own, event, world, out);
        } else if link.p_closed {
            step(Class::Own, Event::PeerGone, self.clone(), out);
        }
        let pred = link.pred;
        if pred.is_some_and(|pred| self.process(pred).has_ended()) {
            step(Class::Own, Event::PeerGone, self.clone(), out);
        }
        if self.left.noise > 0 {
            let mut world = self.clone();
            world.left.noise -= 1;
            world.up_mut(me).unsaid = true;
            step(Class::Optional, Event::PeerGone, world, out);
        }
        let quiet = matches!(process.gate, Gate::Quiet(_));
        if matches!(prob.state, State::Closing | State::Disarming(_)) && quiet {
            step(Class::Own, Event::Released, self.clone(), out);
        }
        let taken = pred.is_some_and(|pred| self.owned_by(pred));
        if matches!(prob.state, State::Offered | State::TakingBack(_)) && taken {
            step(Class::Own, Event::Taken, self.clone(), out);
        }
        step(Class::Late, Event::Deadline, self.clone(), out);
    }

    /// `false` if it has to wait for another thread.
    fn do_prob(&mut self, me: Slot, effect: probation::Effect, setup: &Setup) -> bool {
        use probation::{Effect, Event};
        let heir = self.up(me).pred;
        match effect {
            Effect::ArmGate => {
                let armed = heir.is_some_and(|heir| self.arm(me, By::Probation(heir)));
                if armed {
                    self.close_gate(me);
                } else {
                    self.prob(me).answer = Some(Event::NotArmed);
                }
                if armed && setup.sabotage == Sabotage::ResumeForAnother {
                    self.process_mut(me).newcomers = Newcomers::Wait;
                }
            }
            Effect::DisarmGate => {
                let Some(disarmed) = self.disarm(me, setup) else {
                    return false;
                };
                let answer = if disarmed { Event::Disarmed } else { Event::Released };
                self.prob(me).answer = Some(answer);
            }
            Effect::ReopenGate => {
                self.reopen(me);
                if setup.sabotage == Sabotage::ResumeForAnother {
                    self.process_mut(me).newcomers = Newcomers::Stay;
                }
            }
            Effect::TakeBack => {
                let won = self.take_back(me, setup);
                let answer = if won { Event::TookBack } else { Event::TakeBackLost };
                self.prob(me).answer = Some(answer);
            }
            Effect::SendReturned => self.send_p(me, Message::Returned),
            Effect::SendConfirm => {
                self.up_mut(me).confirmed = true;
                self.send_p(me, Message::Confirm);
            }
            Effect::CloseChannel => self.close_s(me),
            // No channel is ever full here.
            Effect::RecordUnread => {}
            Effect::Leave => {
                if self.process(me).serves() {
                    self.process_mut(me).stage = Stage::Ended;
                }
            }
        }
        true
    }

    /// Carries out all effects that need not wait.
    pub(super) fn run_probation(&mut self, me: Slot, setup: &Setup) {
        while let Some(effect) = self
            .process(me)
            .prob
            .as_ref()
            .and_then(|prob| prob.todo.first().copied())
        {
            self.prob(me).todo.remove(0);
            if !self.do_prob(me, effect, setup) {
                self.prob(me).todo.insert(0, effect);
                return;
            }
            self.after_prob(me);
        }
        while let (Some(effect), Some(successor)) = (
            self.process(me)
                .park
                .as_ref()
                .and_then(|park| park.todo.first().copied()),
            self.process(me).down,
        ) {
            self.park(me).todo.remove(0);
            self.do_park(me, successor, effect, setup);
            self.after_park(me, successor);
        }
    }

    pub(super) fn parked_steps(&self, me: Slot, setup: &Setup, out: &mut Vec<Step>) {
        let process = self.process(me);
        let mut own = |what, world: Self| out.push(Step::new(Class::Own, me, what, world));
        match process.stage {
            // The server's thread comes for what the reception left.
            Stage::HandedOver => {
                let mut world = self.clone();
                let reception_done = process.pre.as_ref().is_none_or(Pre::idle);
                if reception_done && process.prob.is_none() && !process.pass {
                    let process = world.process_mut(me);
                    process.stage = Stage::Parked;
                    process.pre = None;
                    process.park = Some(Park::new(parked::State::Watching));
                    own("parks", world);
                }
                return;
            }
            Stage::Returning(dead) => {
                let mut world = self.clone();
                if dead {
                    world.recover(me);
                }
                world.come_back(me);
                own("serves again", world);
                return;
            }
            _ => {}
        }
        let (Some(park), Some(successor)) = (&process.park, process.down) else {
            return;
        };
        if !park.todo.is_empty() {
            let mut world = self.clone();
            let effect = world.park(me).todo.remove(0);
            world.do_park(me, successor, effect, setup);
            world.after_park(me, successor);
            own("parked acts", world);
            return;
        }
        if let Some(answer) = park.answer {
            let mut world = self.clone();
            world.park(me).answer = None;
            return self.step_park(me, Class::Own, answer, world, setup, out);
        }
        self.parked_events(me, park.state, successor, setup, out);
    }

    fn step_park(
        &self,
        me: Slot,
        class: Class,
        event: parked::Event,
        mut world: Self,
        setup: &Setup,
        out: &mut Vec<Step>,
    ) {
        let Some(successor) = self.process(me).down else { return };
        let before = world.park(me).state;
        let (state, effects) = answer_park(setup, before, event);
        world.unheard(before, event, state);
        world.up_mut(successor).denied &= matches!((before, state), (parked::State::Asked(_), parked::State::Asked(_)));
        let park = world.park(me);
        park.state = state;
        park.todo.extend(effects);
        if matches!(before, parked::State::Killing(_)) && matches!(state, parked::State::Over(_)) {
            world.break_law("one that is being killed is let go");
        }
        if matches!(state, parked::State::Over(end) if end != parked::End::Confirmed) {
            world.let_go(me, successor);
        }
        world.after_park(me, successor);
        out.push(Step::new(class, me, park_word(event), world));
    }

    /// What somebody wants of a parked process that is free to do it is done.
    fn unheard(&mut self, before: parked::State, event: parked::Event, after: parked::State) {
        use parked::{Event, State};
        let done = match event {
            Event::Rollback | Event::Hung => before != State::Watching || after != before,
            Event::Confirmed => !matches!(before, State::Watching | State::Asked(_)) || after.is_over(),
            Event::Leave => !matches!(before, State::Watching | State::Asked(_) | State::Proving) || after.is_over(),
            _ => true,
        };
        if !done {
            self.break_law("a wish of the operator or the watchdog is not acted on");
        }
    }

    /// The parked process will not take the node back; nobody told it that it need not.
    fn let_go(&mut self, me: Slot, successor: Slot) {
        // Another has it, or nobody is to have it.
        let elsewhere = match self.lease() {
            Lease::Vacant { .. } => true,
            Lease::Owned { owner, .. } => owner != successor,
            Lease::Offered { .. } => false,
        };
        if !elsewhere
            && !self.up(successor).confirmed
            && !self.somebody_listens(me, |process| process.life == Life::Dead)
        {
            self.break_law("the last one that could serve has let go");
        }
    }

    fn parked_events(&self, me: Slot, state: parked::State, successor: Slot, setup: &Setup, out: &mut Vec<Step>) {
        use parked::{Event, State};
        let step = |class, event, world: Self, out: &mut Vec<Step>| self.step_park(me, class, event, world, setup, out);
        let link = self.up(successor);
        if let Some(message) = link.to_p.first().filter(|_| !link.p_closed) {
            let mut world = self.clone();
            world.up_mut(successor).to_p.remove(0);
            match message {
                Message::Mirror => {
                    world.held |= 1 << me;
                    out.push(Step::new(Class::Own, me, "mirrors", world));
                }
                Message::Returned => out.push(Step::new(Class::Own, me, "is woken", world)),
                Message::Confirm => step(Class::Own, Event::Confirmed, world, out),
                _ => {
                    world.close_p(successor);
                    step(Class::Own, Event::Unexpected, world, out);
                }
            }
        } else if link.s_closed && !link.p_closed {
            let mut world = self.clone();
            world.close_p(successor);
            step(Class::Own, Event::PeerClosed, world, out);
        }
        if !link.p_closed && self.left.noise > 0 {
            let mut world = self.clone();
            world.left.noise -= 1;
            world.up_mut(successor).unsaid = true;
            world.close_p(successor);
            step(Class::Optional, Event::Unexpected, world, out);
        }
        let other = self.process(successor);
        let mut look = |event| step(Class::Own, event, self.clone(), out);
        // What the lease says is looked at first, and as long as it says that, nothing after it: a state that has no answer to it stays for ever.
        match self.lease() {
            Lease::Offered { owner, heir, .. } if owner == successor && heir == me => return look(Event::Offered),
            // Offered to a third, it is the successor's until that takes.
            Lease::Owned { owner, .. } | Lease::Offered { owner, .. } if owner == successor => {}
            _ if matches!(state, State::Killing(_)) => look(Event::Moved),
            _ => return look(Event::Moved),
        }
        let believed = setup.sabotage == Sabotage::BelieveDeath && link.s_closed;
        if other.has_ended() || believed {
            look(Event::PeerDead);
        }
        // Asked after the look whether it is dead; and a dying process is dead soon.
        let alive = other.alive();
        if alive || matches!(state, State::Killing(_)) {
            // The probation may last for as long as one likes: who does not hang may not need its end.
            let lasts = state == State::Watching && !other.stopped;
            let class = if lasts { Class::Optional } else { Class::Late };
            step(class, Event::Deadline, self.clone(), out);
        }
        if setup.watchdog && state == State::Watching && alive {
            // A healthy one that is slow is found too.
            let class = if other.stopped { Class::Own } else { Class::Optional };
            step(class, Event::Hung, self.clone(), out);
        }
        if let Some(wish) = self.wish {
            let mut world = self.clone();
            world.wish = None;
            let event = match wish {
                Wish::Rollback => Event::Rollback,
                Wish::Confirm => Event::Confirmed,
            };
            step(Class::Own, event, world, out);
        }
        if self.left.leaves && alive {
            let mut world = self.clone();
            world.left.leaves = false;
            step(Class::Optional, Event::Leave, world, out);
        }
    }

    fn do_park(&mut self, me: Slot, successor: Slot, effect: parked::Effect, setup: &Setup) {
        use parked::{Effect, Event};
        match effect {
            Effect::AskBack(_) => self.send_s(successor, Message::Return),
            Effect::Kill => {
                let other = self.process_mut(successor);
                other.doomed |= other.alive();
            }
            Effect::ProveDeath => {}
            Effect::Take => {
                // K2: what led here may have been seen before the last mail came.
                let link = self.up_mut(successor);
                let mirrors = !link.p_closed && link.to_p.contains(&Message::Mirror);
                if mirrors && setup.sabotage != Sabotage::TakeBeforeMail {
                    link.to_p.retain(|message| *message != Message::Mirror);
                    self.held |= 1 << me;
                }
                let won = self.swap(self.lease().take(me));
                let answer = if won { Event::Took } else { Event::TakeLost };
                self.park(me).answer = Some(answer);
            }
            Effect::Inherit => {
                let won = self.inherit_from(successor, me, setup);
                let answer = if won { Event::Inherited } else { Event::InheritLost };
                self.park(me).answer = Some(answer);
            }
            Effect::CloseChannel => self.close_p(successor),
            Effect::Record { .. } => self.up_mut(successor).returns += 1,
        }
    }

    fn after_park(&mut self, me: Slot, successor: Slot) {
        let park = self.park(me);
        if !park.state.is_over() || !park.idle() {
            return;
        }
        let state = park.state;
        let stage = match state {
            parked::State::Back { dead, .. } => Stage::Returning(dead),
            _ => Stage::Ended,
        };
        let process = self.process_mut(me);
        process.park = None;
        process.stage = stage;
        if stage == Stage::Ended {
            self.held &= !(1 << me);
        }
        if !self.up(successor).p_closed {
            self.break_law("the parked one is done and holds the channel");
        }
        if stage != Stage::Ended && self.up(successor).returns != 1 {
            self.break_law("a way back is recorded once");
        }
    }

    fn come_back(&mut self, me: Slot) {
        let successor = self.process(me).down;
        if self.open.is_some_and(|writer| writer != me) {
            self.break_law("a gate opens over a transaction that nobody has undone");
        }
        if let Client::Adopted(by, true) = self.client
            && successor == Some(by)
            && self.held & 1 << me == 0
        {
            self.break_law("a connection that was accepted on probation is not in the mirror");
        }
        let process = self.process_mut(me);
        process.serve();
        process.gate = Gate::Open;
        process.newcomers = Newcomers::Stay;
    }
}

fn prob_word(event: probation::Event) -> &'static str {
    use probation::Event;
    match event {
        Event::Asked => "probation: asked",
        Event::GiveBack => "probation: gives back",
        Event::Confirm => "probation: confirmed",
        Event::Released => "probation: released",
        Event::Disarmed => "probation: disarmed",
        Event::NotArmed => "probation: not armed",
        Event::Taken => "probation: taken",
        Event::TookBack => "probation: took back",
        Event::TakeBackLost => "probation: lost",
        Event::Unread => "probation: not read",
        Event::PeerGone => "probation: predecessor gone",
        Event::Deadline => "probation: deadline",
    }
}

fn park_word(event: parked::Event) -> &'static str {
    use parked::Event;
    match event {
        Event::Confirmed => "parked: confirmed",
        Event::Offered => "parked: offered",
        Event::Moved => "parked: moved",
        Event::PeerDead => "parked: owner dead",
        Event::PeerClosed => "parked: owner closed",
        Event::Unexpected => "parked: unexpected",
        Event::Hung => "parked: hung",
        Event::Rollback => "parked: rollback",
        Event::Deadline => "parked: deadline",
        Event::Took => "parked: took",
        Event::TakeLost => "parked: take lost",
        Event::Inherited => "parked: inherited",
        Event::InheritLost => "parked: inherit lost",
        Event::Leave => "parked: leave",
    }
}
