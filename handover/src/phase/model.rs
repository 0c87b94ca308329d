//! An exhaustive model check: predecessor and successor run against a lease word, a channel, a signal and a gate, in
//! every order, and either may be killed between any two effects.
//!
//! Checked in every state: who can run a tick owns the lease. Checked in every state that goes no further: one
//! living side serves, what was halted runs again or is handed over, each attempt is recorded once. Checked over the
//! whole graph: from every state there is a way to such an end without a further kill.
//!
//! A guard of the environment can be left out; then the check must fail.

use std::collections::{HashMap, VecDeque};

use shmstate::lease::Lease;

use super::{predecessor as pre, successor as suc};
use crate::control::Signal;
use crate::error::WhoServes;

/// Participant slots.
const P: u8 = 0;
const S: u8 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sabotage {
    Nothing,
    /// H5: a death is believed without proof.
    BelieveDeath,
    /// The gate is disarmed without asking whether the lease is released.
    BlindDisarm,
    /// H1: taking back is a store, not a compare-and-swap.
    BlindTakeBack,
    /// H2: accepting is not resumed.
    ForgetAccepting,
    /// The successor opens its gate before it takes.
    EarlyGate,
}

#[derive(Clone, Copy, Debug)]
struct Setup {
    batches: u32,
    late: u32,
    sabotage: Sabotage,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Message {
    Hello,
    Offer,
    Descriptors(u32),
    Ack(u32),
    Offered(u32),
    Ready,
    Refuse,
    StandBy(u32),
    Standing,
    Abort,
}

/// The predecessor's gate. Ticks run until it is `Releasing`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Gate {
    Open,
    Armed,
    Rehearsed,
    Disarmed,
    /// The lease is released, nobody knows yet.
    Releasing,
    Quiet,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    lease: u64,
    to_s: VecDeque<Message>,
    to_p: VecDeque<Message>,
    signal: Option<Signal>,

    p_alive: bool,
    p: pre::State,
    p_todo: VecDeque<pre::Effect>,
    p_answer: Option<pre::Event>,
    p_closed: bool,
    gate: Gate,
    released: bool,
    p_accepts: bool,
    p_records: u8,
    p_began: bool,
    drains: bool,

    s_alive: bool,
    s: suc::State,
    s_todo: VecDeque<suc::Effect>,
    s_answer: Option<suc::Event>,
    s_closed: bool,
    preparing: bool,
    s_gate: bool,
    s_accepts: bool,
    s_records: u8,
    /// The successor left for a reason of its own, or because it was told to: a later death of the predecessor is
    /// no matter of this handover.
    excused: bool,
}

impl World {
    fn new() -> Self {
        let (s, effects) = suc::State::start();
        let owned = Lease::Owned {
            owner: P,
            generation: 1,
        };
        Self {
            lease: owned.to_word(),
            to_s: VecDeque::new(),
            to_p: VecDeque::new(),
            signal: None,
            p_alive: true,
            p: pre::State::Serving,
            p_todo: VecDeque::new(),
            p_answer: None,
            p_closed: false,
            gate: Gate::Open,
            released: false,
            p_accepts: true,
            p_records: 0,
            p_began: false,
            drains: false,
            s_alive: true,
            s,
            s_todo: effects.into(),
            s_answer: None,
            s_closed: false,
            preparing: false,
            s_gate: false,
            s_accepts: false,
            s_records: 0,
            excused: false,
        }
    }

    fn lease(&self) -> Lease {
        Lease::from_word(self.lease).expect("the model writes only leases")
    }

    /// The compare-and-swap. Steps are atomic here, so it fails only where the transition does not apply.
    fn swap(&mut self, next: Option<Lease>) -> bool {
        next.inspect(|lease| self.lease = lease.to_word()).is_some()
    }

    fn owned_by(&self, slot: u8) -> bool {
        matches!(self.lease(), Lease::Owned { owner, .. } if owner == slot)
    }

    fn send_s(&mut self, message: Message) {
        if !self.p_closed && !self.s_closed {
            self.to_s.push_back(message);
        }
    }

    fn send_p(&mut self, message: Message) {
        if !self.p_closed && !self.s_closed {
            self.to_p.push_back(message);
        }
    }

    fn close_p(&mut self) {
        self.p_closed = true;
        self.to_p.clear();
    }

    fn close_s(&mut self) {
        self.s_closed = true;
        self.to_s.clear();
    }

    // The predecessor.

    fn p_effect(&mut self, effect: pre::Effect, setup: Setup) {
        use pre::{Effect, Event};
        match effect {
            Effect::SendOffer => {
                self.p_began = true;
                self.send_s(Message::Offer);
                let batches = setup.batches;
                self.p_answer = Some(Event::Staged { batches });
            }
            Effect::SendBatch { batch } => self.send_s(Message::Descriptors(batch)),
            Effect::SendOffered { batches } => self.send_s(Message::Offered(batches)),
            Effect::PauseAccepting => {
                assert!(self.p_accepts, "paused twice");
                self.p_accepts = false;
            }
            Effect::StageLate => {
                let batches = setup.batches + setup.late;
                self.p_answer = Some(Event::Staged { batches });
            }
            Effect::SendStandBy { batches } => self.send_s(Message::StandBy(batches)),
            Effect::EndProbation => {}
            Effect::ArmGate => {
                assert_eq!(self.gate, Gate::Open);
                self.gate = Gate::Armed;
                self.signal = Some(Signal::StandBy);
            }
            Effect::CloseGate => {}
            Effect::DisarmGate => match self.gate {
                Gate::Armed | Gate::Rehearsed => {
                    self.gate = Gate::Disarmed;
                    self.p_answer = Some(Event::Disarmed);
                }
                _ if setup.sabotage == Sabotage::BlindDisarm => {
                    self.released = false;
                    self.p_answer = Some(Event::Disarmed);
                }
                // Who released says so.
                _ => {}
            },
            Effect::ReopenGate => self.gate = Gate::Open,
            Effect::TakeBack => {
                let mut won = self.swap(self.lease().take_back(P));
                if setup.sabotage == Sabotage::BlindTakeBack && !won {
                    won = self.swap(self.lease().inherit(P));
                }
                let answer = [Event::TakeBackLost, Event::TookBack];
                self.p_answer = Some(answer[usize::from(won)].clone());
            }
            Effect::ResumeAccepting => {
                assert!(!self.p_accepts, "resumed without a pause");
                self.p_accepts = setup.sabotage != Sabotage::ForgetAccepting;
            }
            Effect::SendAbort { .. } => {
                self.send_s(Message::Abort);
                self.signal = Some(Signal::Aborted);
            }
            Effect::DropTransfer => self.close_p(),
            Effect::Record { .. } => self.p_records += 1,
            Effect::StartDrain => self.drains = true,
            Effect::RefuseNewcomer => panic!("there is no newcomer in this model"),
        }
    }

    fn p_events(&self) -> Vec<(pre::Event, World)> {
        use pre::{Event, State};
        let mut events = Vec::new();
        let mut add = |event, world: World| events.push((event, world));
        if let Some(answer) = &self.p_answer {
            let mut world = self.clone();
            world.p_answer = None;
            add(answer.clone(), world);
            return events;
        }
        if self.released {
            let mut world = self.clone();
            world.released = false;
            add(Event::Released, world);
        }
        let busy = !matches!(self.p, State::Serving | State::HandedOver);
        if !self.p_closed
            && (busy || !self.p_began)
            && let Some(message) = self.to_p.front()
        {
            let event = match message {
                Message::Hello => Event::Hello,
                Message::Ack(batch) => Event::Acked { batch: *batch },
                Message::Ready => Event::Ready,
                Message::Standing => Event::Standing,
                Message::Refuse => Event::Refused { reason: String::new() },
                other => panic!("{other:?} is no message of the successor"),
            };
            let mut world = self.clone();
            world.to_p.pop_front();
            add(event, world);
        }
        if busy {
            if self.s_closed && self.to_p.is_empty() {
                add(Event::PeerClosed, self.clone());
            }
            if !self.s_alive {
                add(Event::PeerDead, self.clone());
            }
            add(Event::Deadline, self.clone());
            let got = "noise".to_string();
            add(Event::Unexpected { got }, self.clone());
        }
        if self.p == State::Closing {
            add(Event::NoTick, self.clone());
        }
        if self.p == State::Offered && self.owned_by(S) {
            add(Event::Taken, self.clone());
        }
        events
    }

    /// What the gate does by itself: rehearse, release, tell.
    fn gate_step(&self) -> Option<World> {
        let mut world = self.clone();
        match self.gate {
            Gate::Armed => {
                world.gate = Gate::Rehearsed;
                world.signal = Some(Signal::Rehearse);
            }
            Gate::Rehearsed => {
                assert!(world.swap(self.lease().release(P, S)), "the owner releases");
                world.gate = Gate::Releasing;
            }
            Gate::Releasing => {
                world.gate = Gate::Quiet;
                world.signal = Some(Signal::LookAtLease);
                world.released = true;
            }
            Gate::Open | Gate::Disarmed | Gate::Quiet => return None,
        }
        Some(world)
    }

    // The successor.

    fn s_effect(&mut self, effect: suc::Effect, setup: Setup) {
        use suc::{Effect, Event};
        match effect {
            Effect::SendHello => self.send_p(Message::Hello),
            Effect::SendAck { batch } => self.send_p(Message::Ack(batch)),
            Effect::Prepare => self.preparing = true,
            Effect::SendReady => self.send_p(Message::Ready),
            Effect::SendStanding => {
                self.send_p(Message::Standing);
                self.s_gate |= setup.sabotage == Sabotage::EarlyGate;
            }
            Effect::Take => {
                let won = self.swap(self.lease().take(S));
                let answer = [Event::TakeLost, Event::Took];
                self.s_answer = Some(answer[usize::from(won)].clone());
            }
            Effect::Inherit => {
                let won = self.owned_by(P) && self.swap(self.lease().inherit(S));
                let answer = [Event::InheritLost, Event::Inherited];
                self.s_answer = Some(answer[usize::from(won)].clone());
            }
            Effect::RecoverRegions => assert!(!self.p_alive, "recovered under a living writer"),
            Effect::OpenGate => self.s_gate = true,
            Effect::StartAccepting => self.s_accepts = true,
            Effect::Record { .. } => self.s_records += 1,
            Effect::SendRefuse { .. } => self.send_p(Message::Refuse),
            Effect::DropTransfer => self.close_s(),
            Effect::StageBatch { .. }
            | Effect::Spin
            | Effect::MeasureNoise
            | Effect::ProveDeath
            | Effect::StartOver => {}
        }
    }

    fn s_events(&self, setup: Setup) -> Vec<(suc::Event, World)> {
        use suc::{Event, State};
        let mut events = Vec::new();
        let mut add = |event, world: World| events.push((event, world));
        if let Some(answer) = &self.s_answer {
            let mut world = self.clone();
            world.s_answer = None;
            add(answer.clone(), world);
            return events;
        }
        if self.s.is_over() {
            return events;
        }
        if let Some(message) = self.to_s.front() {
            let mut world = self.clone();
            world.to_s.pop_front();
            let event = match message {
                Message::Offer => Event::Offer,
                Message::Descriptors(batch) => Event::Descriptors { batch: *batch },
                Message::Offered(batches) => Event::Offered { batches: *batches },
                Message::StandBy(batches) => Event::StandBy { batches: *batches },
                Message::Abort => {
                    world.excused = true;
                    Event::Aborted { reason: String::new() }
                }
                other => panic!("{other:?} is no message of the predecessor"),
            };
            add(event, world);
        } else if self.p_closed {
            add(Event::PeerClosed, self.clone());
        }
        let believed = setup.sabotage == Sabotage::BelieveDeath && self.s == State::Standing;
        if !self.p_alive || believed {
            add(Event::PeerDead, self.clone());
        }
        if self.preparing {
            let mut world = self.clone();
            world.preparing = false;
            add(Event::Prepared, world);
        }
        let proving = matches!(self.s, State::Proving(_));
        if (self.s == State::Standing || proving)
            && let Some(signal) = self.signal
        {
            let mut world = self.clone();
            world.signal = None;
            world.excused |= signal == Signal::Aborted;
            add(Event::Signalled(signal), world);
        }
        let mut own = self.clone();
        own.excused = true;
        // Where death is being proven, the time runs out only on a living predecessor.
        if !proving || self.p_alive {
            add(Event::Deadline, own.clone());
        }
        let reason = "schema".to_string();
        add(Event::Fault { reason }, own);
        events
    }

    /// Everything that can happen next; the flag marks a kill.
    fn next(&self, setup: Setup) -> Vec<(bool, World)> {
        let mut all = Vec::new();
        if self.p_alive {
            let mut world = self.clone();
            if let Some(effect) = world.p_todo.pop_front() {
                world.p_effect(effect, setup);
                all.push((false, world));
            } else {
                for (event, mut world) in self.p_events() {
                    let (state, effects) = world.p.step(event);
                    world.p = state;
                    world.p_todo.extend(effects);
                    all.push((false, world));
                }
            }
            all.extend(self.gate_step().map(|world| (false, world)));
            all.push((true, self.kill_p()));
        }
        if self.s_alive {
            let mut world = self.clone();
            if let Some(effect) = world.s_todo.pop_front() {
                world.s_effect(effect, setup);
                all.push((false, world));
            } else {
                for (event, mut world) in self.s_events(setup) {
                    let (state, effects) = world.s.step(event);
                    world.s = state;
                    world.s_todo.extend(effects);
                    all.push((false, world));
                }
            }
            all.push((true, self.kill_s()));
        }
        all.retain(|(_, world)| world != self);
        all
    }

    fn kill_p(&self) -> World {
        let mut world = self.clone();
        world.p_alive = false;
        world.p_todo.clear();
        world.p_answer = None;
        world.released = false;
        world.close_p();
        world
    }

    fn kill_s(&self) -> World {
        let mut world = self.clone();
        world.s_alive = false;
        world.s_todo.clear();
        world.s_answer = None;
        world.preparing = false;
        world.close_s();
        world
    }

    /// Holds in every state. Says what does not.
    fn broken(&self) -> Option<&'static str> {
        let p_ticks = self.p_alive && !matches!(self.gate, Gate::Releasing | Gate::Quiet);
        if p_ticks && !self.owned_by(P) {
            return Some("the predecessor ticks without the lease");
        }
        if self.s_alive && self.s_gate && !self.owned_by(S) {
            return Some("the successor ticks without the lease");
        }
        if self.p_alive && self.s_alive && self.p_accepts && self.s_accepts {
            return Some("both accept");
        }
        None
    }

    /// Holds where nothing but kills can happen. Says what does not.
    fn broken_end(&self) -> Option<&'static str> {
        if self.p_alive {
            match self.p {
                pre::State::Serving => {
                    if self.gate != Gate::Open || !self.p_accepts || !self.owned_by(P) {
                        return Some("the predecessor is back and something is still halted");
                    }
                    let began = self.p_began;
                    if self.p_records != u8::from(began) || self.p_closed != began {
                        return Some("an attempt is recorded and closed once");
                    }
                }
                pre::State::HandedOver => {
                    if !self.drains || self.p_accepts || self.p_records != 0 {
                        return Some("who handed over drains and nothing else");
                    }
                    if self.s_alive && self.s != suc::State::Owner {
                        return Some("handed over to one that does not serve");
                    }
                }
                _ => return Some("the predecessor is stuck"),
            }
        }
        if self.s_alive {
            match &self.s {
                suc::State::Owner => {
                    if !self.s_gate || !self.s_accepts || self.s_records != 1 {
                        return Some("the owner serves and has recorded it once");
                    }
                }
                suc::State::StartOver => {
                    if self.p_alive || !self.s_closed {
                        return Some("started over beside a living predecessor");
                    }
                }
                suc::State::Failed { who, .. } => {
                    if !self.s_closed {
                        return Some("a failed successor holds descriptors");
                    }
                    if self.p_alive && *who != WhoServes::Predecessor && *who != WhoServes::Unknown {
                        return Some("the predecessor serves and the successor says otherwise");
                    }
                    if !self.p_alive && !self.excused {
                        return Some("a living successor left a dead predecessor's node");
                    }
                }
                _ => return Some("the successor is stuck"),
            }
        }
        None
    }
}

struct Explored {
    states: usize,
    ends: usize,
    handed_over: usize,
    inherited: usize,
    taken_back: usize,
}

impl std::fmt::Display for Explored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} states, {} ends: {} handed over, {} taken back; {} ways to inherit",
            self.states, self.ends, self.handed_over, self.taken_back, self.inherited
        )
    }
}

/// Walks every state breadth first. `Err` is the shortest way to what does not hold.
fn explore(setup: Setup) -> Result<Explored, String> {
    let first = World::new();
    let mut index = HashMap::from([(first.clone(), 0)]);
    let mut worlds = vec![(first, 0)];
    // Steps back, without kills.
    let mut back: Vec<Vec<usize>> = vec![vec![]];
    let mut ends = Vec::new();
    let mut at = 0;
    while at < worlds.len() {
        let world = worlds[at].0.clone();
        if let Some(what) = world.broken() {
            return Err(trace(&worlds, at, what));
        }
        let mut goes_on = false;
        for (kill, next) in world.next(setup) {
            goes_on |= !kill;
            let to = *index.entry(next).or_insert_with_key(|next| {
                worlds.push((next.clone(), at));
                back.push(vec![]);
                worlds.len() - 1
            });
            if !kill {
                back[to].push(at);
            }
        }
        if !goes_on {
            if let Some(what) = world.broken_end() {
                return Err(trace(&worlds, at, what));
            }
            ends.push(at);
        }
        at += 1;
    }
    let mut reaches = vec![false; worlds.len()];
    let mut open = ends.clone();
    while let Some(at) = open.pop() {
        if !std::mem::replace(&mut reaches[at], true) {
            open.extend(&back[at]);
        }
    }
    if let Some(at) = reaches.iter().position(|r| !r) {
        return Err(trace(&worlds, at, "there is no way to an end"));
    }
    let count = |f: &dyn Fn(&World) -> bool| ends.iter().filter(|&&at| f(&worlds[at].0)).count();
    Ok(Explored {
        states: worlds.len(),
        ends: ends.len(),
        handed_over: count(&|w| w.p == pre::State::HandedOver && w.s == suc::State::Owner),
        inherited: worlds
            .iter()
            .filter(|(w, _)| w.s_answer == Some(suc::Event::Inherited))
            .count(),
        taken_back: count(&|w| w.p_alive && w.lease().generation() == 3 && w.owned_by(P)),
    })
}

/// The shortest way to a state, one line a step.
fn trace(worlds: &[(World, usize)], end: usize, what: &str) -> String {
    let mut path = vec![end];
    while path[path.len() - 1] != 0 {
        path.push(worlds[path[path.len() - 1]].1);
    }
    let mut text = format!("{what}, after {} steps:\n", path.len() - 1);
    for at in path.into_iter().rev() {
        let w = &worlds[at].0;
        text += &format!(
            "  {:?} P {} {:?} {:?} gate {:?} | S {} {:?} {:?} | signal {:?} to P {:?} to S {:?}\n",
            w.lease(),
            if w.p_alive { "lives" } else { "is dead" },
            w.p,
            w.p_todo,
            w.gate,
            if w.s_alive { "lives" } else { "is dead" },
            w.s,
            w.s_todo,
            w.signal,
            w.to_p,
            w.to_s,
        );
    }
    text
}

#[test]
fn one_living_side_serves_in_every_order_and_after_every_kill() {
    for (batches, late) in [(0, 0), (1, 0), (1, 1), (2, 1)] {
        let setup = Setup {
            batches,
            late,
            sabotage: Sabotage::Nothing,
        };
        match explore(setup) {
            Ok(found) => {
                println!("{batches} batches, {late} late: {found}");
                assert!(found.handed_over > 0, "the handover itself is reached");
                assert!(found.inherited > 0, "inheriting is reached");
                assert!(found.taken_back > 0, "taking back is reached");
            }
            Err(trace) => panic!("{batches} batches, {late} late: {trace}"),
        }
    }
}

#[test]
fn without_any_one_guard_the_check_fails() {
    for sabotage in [
        Sabotage::BelieveDeath,
        Sabotage::BlindDisarm,
        Sabotage::BlindTakeBack,
        Sabotage::ForgetAccepting,
        Sabotage::EarlyGate,
    ] {
        let setup = Setup {
            batches: 1,
            late: 0,
            sabotage,
        };
        let Err(found) = explore(setup) else {
            panic!("{sabotage:?}: the guard is missing and nobody noticed");
        };
        println!("{sabotage:?}: {}", found.lines().next().unwrap_or_default());
    }
}
