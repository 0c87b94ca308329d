//! The world of the model: processes, what goes between them, and what they share.
//!
//! Everything here stands for what the kernel and the control block do. Generations are left out (each lease has generation 1), for nothing
//! is believed that a gate kept open under an older one could do: that the gate is open under a foreign lease is itself the fault.

use std::hash::{Hash, Hasher};

use shmstate::lease::Lease;

use super::mutation::Mutant;
use crate::control::Signal;
use crate::phase::{parked, predecessor as pre, probation, successor as suc};

/// A participant slot, which names a process here.
pub(super) type Slot = u8;
pub(super) const A: Slot = 0;

/// What the environment may do to the processes, and how often.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Setup {
    /// Two, or three: then C says hello when B serves.
    pub(super) processes: u8,
    pub(super) batches: u32,
    pub(super) late: u32,
    /// Whether the predecessor parks.
    pub(super) probation: bool,
    pub(super) kills: u8,
    /// Crashes that leave a core.
    pub(super) crashes: u8,
    /// SIGSTOP; each may be followed by SIGCONT.
    pub(super) stops: u8,
    /// Whether a silent owner on probation is noticed.
    pub(super) watchdog: bool,
    /// Wishes of an operator, of either kind.
    pub(super) wishes: u8,
    /// Wishes of the server on probation: to confirm, to give back. Each as often as this.
    pub(super) own: u8,
    /// Whether an owner may stop the node, and a parked one may leave.
    pub(super) leaves: bool,
    /// Whether a client connects.
    pub(super) client: bool,
    /// Messages that do not fit, and faults on the own side.
    pub(super) noise: u8,
    /// The effects of an answer are carried out at once, and ticks begin and end in one step: for three processes.
    pub(super) coarse: bool,
    /// The walk begins where a successor stands by and its predecessor is on probation.
    pub(super) middle: bool,
    /// Servers without ticks.
    pub(super) idle: bool,
    /// Servers that may hold a pass for ever, and preparations without end.
    pub(super) busy: bool,
    /// C may come while A hands over.
    pub(super) early: bool,
    pub(super) sabotage: Sabotage,
    pub(super) mutant: Option<Mutant>,
}

/// A guard of the environment that is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sabotage {
    #[default]
    Nothing,
    /// H5: a closed channel counts as a death.
    BelieveDeath,
    /// Disarming does not ask whether the lease is released.
    BlindDisarm,
    /// H1: taking back is a store, not a compare-and-swap.
    BlindTakeBack,
    /// The successor opens its gate before it takes.
    EarlyGate,
    /// G2, T4: the gate gives passes while it closes.
    PassesWhileClosing,
    /// K2: the parked process takes before it has read what the owner sent.
    TakeBeforeMail,
    /// B2: what is accepted on probation is not mirrored.
    NoMirror,
    /// The reception opens before the probation has begun.
    EarlyReception,
    /// P1: who inherits does not compare whose lease it is.
    InheritAnybody,
    /// The probation pauses and resumes accepting beside a handover that has paused it.
    ResumeForAnother,
}

impl Sabotage {
    /// All but [`Sabotage::Nothing`].
    pub(super) const ALL: [Self; 10] = [
        Self::BelieveDeath,
        Self::BlindDisarm,
        Self::BlindTakeBack,
        Self::EarlyGate,
        Self::PassesWhileClosing,
        Self::TakeBeforeMail,
        Self::NoMirror,
        Self::EarlyReception,
        Self::InheritAnybody,
        Self::ResumeForAnother,
    ];
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Message {
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
    Mirror,
    Confirm,
    Return,
    Returned,
}

/// The channel of a successor and whoever received it, and what became of its handover.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Link {
    /// Who accepted the hello.
    pub(super) pred: Option<Slot>,
    pub(super) to_s: Vec<Message>,
    pub(super) to_p: Vec<Message>,
    pub(super) p_closed: bool,
    pub(super) s_closed: bool,
    pub(super) began: bool,
    /// Rows of the history: about the handover, about a dead predecessor, about the way back.
    pub(super) records: u8,
    pub(super) inherits: u8,
    pub(super) returns: u8,
    /// Whether the client's connection is in a batch.
    pub(super) staged: bool,
    /// The probation was ended by the successor's word, or by the operator's.
    pub(super) confirmed: bool,
    /// The predecessor got a message that does not fit, before its release.
    pub(super) broken: bool,
    /// What the successor has not seen yet.
    pub(super) signal: Option<Signal>,
    /// The channel of the probation was closed without a word: the owner handed on, or one broke the protocol.
    pub(super) unsaid: bool,
    /// Batches that the successor keeps.
    pub(super) kept: u32,
    /// The owner on probation was asked for the node and could not give it back.
    pub(super) denied: bool,
    /// The predecessor was giving the node back to its own when it should have ended its probation.
    pub(super) unfreed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Life {
    Alive,
    /// Killed: it does nothing any more and its descriptors are closed; nobody can prove it yet.
    Dying,
    /// It crashed and writes its core: its last instruction is behind it, which can be proven, and its descriptors are open still.
    Ending,
    Dead,
}

/// Who armed a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum By {
    /// The reception, for the successor with this slot.
    Reception(Slot),
    /// The probation, for the predecessor with this slot.
    Probation(Slot),
    /// Nobody: it was closed all the same.
    Nobody,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Gate {
    Closed,
    Open,
    Armed(By, bool),
    Closing(By),
    /// The last pass is back and the lease released; nobody knows yet.
    Releasing(By),
    Quiet(By),
}

/// What the process is to the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    Absent,
    Joining,
    /// It owns the node and is about to say so; the flag: by inheriting.
    Owner(bool),
    /// Its threads run, and its probation is about to begin.
    Beginning,
    Serving,
    HandedOver,
    Parked,
    /// Back; the flag: whether there is something to recover.
    Returning(bool),
    /// It stops the node, step by step.
    Leaving(u8),
    /// It only has to exit.
    Ended,
    /// It looks again what it is, as a starting process does.
    StartedOver,
}

/// One of the phases of a process: state, effects to be carried out, the answer of one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Side<S, F, E> {
    pub(super) state: S,
    pub(super) todo: Vec<F>,
    pub(super) answer: Option<E>,
}

impl<S, F, E> Side<S, F, E> {
    pub(super) fn new(state: S) -> Self {
        Self {
            state,
            todo: Vec::new(),
            answer: None,
        }
    }

    pub(super) fn idle(&self) -> bool {
        self.todo.is_empty() && self.answer.is_none()
    }
}

pub(super) type Pre = Side<pre::State, pre::Effect, pre::Event>;
pub(super) type Suc = Side<suc::State, suc::Effect, suc::Event>;
pub(super) type Prob = Side<probation::State, probation::Effect, probation::Event>;
pub(super) type Park = Side<parked::State, parked::Effect, parked::Event>;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Process {
    pub(super) life: Life,
    pub(super) stage: Stage,
    pub(super) stopped: bool,
    /// SIGKILL is on its way.
    pub(super) doomed: bool,
    pub(super) gate: Gate,
    pub(super) pass: bool,
    /// What becomes of connections that it accepts.
    pub(super) newcomers: Newcomers,
    pub(super) preparing: bool,
    /// As a successor it finds out whether its predecessor is dead.
    pub(super) proving: bool,
    /// Its handover ended for a reason that is its own, or that it was told.
    pub(super) excused: bool,
    /// As a successor it failed, or met what does not fit: it must not own the node.
    pub(super) spoiled: bool,
    /// As a successor it left.
    pub(super) failed: bool,
    pub(super) pre: Option<Pre>,
    pub(super) suc: Option<Suc>,
    pub(super) prob: Option<Prob>,
    pub(super) park: Option<Park>,
    /// The link of the handover in progress, or of the probation of its successor.
    pub(super) down: Option<u8>,
}

impl Process {
    fn new(stage: Stage) -> Self {
        Self {
            life: Life::Alive,
            stage,
            stopped: false,
            doomed: false,
            gate: Gate::Closed,
            pass: false,
            newcomers: Newcomers::Wait,
            preparing: false,
            proving: false,
            excused: false,
            spoiled: false,
            failed: false,
            pre: None,
            suc: None,
            prob: None,
            park: None,
            down: None,
        }
    }

    pub(super) fn alive(&self) -> bool {
        self.life == Life::Alive
    }

    /// Whether it is proven that it does nothing any more.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.life, Life::Dead | Life::Ending)
    }

    /// Whether its threads take steps.
    pub(super) fn runs(&self) -> bool {
        self.alive() && !self.stopped && self.stage != Stage::Absent
    }

    /// Its own threads are what `Shared` calls serving.
    pub(super) fn serves(&self) -> bool {
        matches!(self.stage, Stage::Beginning | Stage::Serving)
    }

    /// Begins to own the node.
    pub(super) fn serve(&mut self) {
        self.stage = Stage::Serving;
        self.pre = Some(Pre::new(pre::State::Serving));
        self.down = None;
    }

    fn open(&self) -> bool {
        matches!(self.gate, Gate::Open | Gate::Armed(..))
    }

    /// Whether a tick could run in it, now or when it wakes.
    pub(super) fn can_tick(&self) -> bool {
        let asks = matches!(self.stage, Stage::Owner(_) | Stage::Beginning | Stage::Serving);
        self.alive() && (self.pass || asks && self.open())
    }
}

/// As in `registry`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Newcomers {
    Stay,
    GoOver,
    Wait,
}

/// A client that connects once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Client {
    Away,
    /// Accepted by this process, on probation or not; the transaction that adopts it is open.
    Adopting(Slot, bool),
    /// It is in the region.
    Adopted(Slot, bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Wish {
    Rollback,
    Confirm,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct World {
    lease: Word,
    /// Whose transaction is open in the region.
    pub(super) open: Option<Slot>,
    pub(super) who: Vec<Process>,
    /// Of B, and of C.
    pub(super) links: Vec<Link>,
    /// What an operator wishes and no parked process has seen.
    pub(super) wish: Option<Wish>,
    pub(super) client: Client,
    /// Who holds its socket, one bit each.
    pub(super) held: u8,
    pub(super) left: Left,
    /// A law that a step has broken.
    pub(super) fault: Option<&'static str>,
}

/// How often the environment may still do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Left {
    pub(super) kills: u8,
    pub(super) crashes: u8,
    pub(super) stops: u8,
    pub(super) wishes: u8,
    pub(super) confirms: u8,
    pub(super) gives: u8,
    pub(super) leaves: bool,
    pub(super) noise: u8,
}

/// A lease that can be hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Word(Lease);

impl Hash for Word {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.to_word().hash(state);
    }
}

/// The same lease in the first generation.
fn first(lease: Lease) -> Lease {
    Lease::from_word(lease.to_word() & 0xff_ffff | 1 << 24).unwrap_or(lease)
}

impl World {
    pub(super) fn new(setup: &Setup) -> Self {
        let mut who = vec![Process::new(Stage::Absent)];
        who[0].serve();
        who[0].gate = Gate::Open;
        who[0].newcomers = Newcomers::Stay;
        for slot in 1..setup.processes {
            who.push(Process::new(Stage::Absent));
            who[usize::from(slot)].preparing = false;
        }
        Self {
            lease: Word(Lease::Owned {
                owner: A,
                generation: 1,
            }),
            open: None,
            links: vec![Link::default(); who.len() - 1],
            who,
            wish: None,
            client: Client::Away,
            held: 0,
            left: Left {
                kills: setup.kills,
                crashes: setup.crashes,
                stops: setup.stops,
                wishes: setup.wishes,
                confirms: setup.own,
                gives: setup.own,
                leaves: setup.leaves,
                noise: setup.noise,
            },
            fault: None,
        }
    }

    pub(super) fn process(&self, slot: Slot) -> &Process {
        &self.who[usize::from(slot)]
    }

    pub(super) fn process_mut(&mut self, slot: Slot) -> &mut Process {
        &mut self.who[usize::from(slot)]
    }

    pub(super) fn slots(&self) -> std::ops::Range<Slot> {
        0..self.who.len() as Slot
    }

    /// The link of this successor.
    pub(super) fn up(&self, slot: Slot) -> &Link {
        &self.links[usize::from(slot) - 1]
    }

    pub(super) fn up_mut(&mut self, slot: Slot) -> &mut Link {
        &mut self.links[usize::from(slot) - 1]
    }

    pub(super) fn lease(&self) -> Lease {
        self.lease.0
    }

    /// The compare-and-swap. Steps are atomic here, so it fails only where the transition does not apply.
    pub(super) fn swap(&mut self, next: Option<Lease>) -> bool {
        next.inspect(|lease| self.lease = Word(first(*lease))).is_some()
    }

    pub(super) fn owned_by(&self, slot: Slot) -> bool {
        matches!(self.lease(), Lease::Owned { owner, .. } if owner == slot)
    }

    /// As `ControlBlock::inherit_from`.
    pub(super) fn inherit_from(&mut self, dead: Slot, me: Slot, setup: &Setup) -> bool {
        if !self.process(dead).has_ended() {
            self.break_law("inherited from one that is not proven dead");
        }
        let named = match self.lease() {
            Lease::Owned { owner, .. } => owner == dead,
            Lease::Offered { owner, heir, .. } => owner == dead && heir != me,
            Lease::Vacant { .. } => false,
        };
        (named || setup.sabotage == Sabotage::InheritAnybody) && self.swap(self.lease().inherit(me))
    }

    /// Undoes what a dead owner left open.
    pub(super) fn recover(&mut self, me: Slot) {
        if let Some(writer) = self.open.take()
            && writer != me
            && !self.process(writer).has_ended()
        {
            self.break_law("a transaction is undone whose writer could wake");
        }
    }

    pub(super) fn break_law(&mut self, what: &'static str) {
        self.fault.get_or_insert(what);
    }

    pub(super) fn send_s(&mut self, successor: Slot, message: Message) {
        let link = self.up_mut(successor);
        // A second wish for the same says no more than the first.
        if !link.p_closed && !link.s_closed && link.to_s.last() != Some(&message) {
            link.to_s.push(message);
        }
    }

    pub(super) fn send_p(&mut self, successor: Slot, message: Message) {
        let link = self.up_mut(successor);
        if !link.p_closed && !link.s_closed && link.to_p.last() != Some(&message) {
            link.to_p.push(message);
        }
    }

    pub(super) fn close_p(&mut self, successor: Slot) {
        let link = self.up_mut(successor);
        link.p_closed = true;
        link.to_p.clear();
    }

    pub(super) fn close_s(&mut self, successor: Slot) {
        let link = self.up_mut(successor);
        link.s_closed = true;
        link.to_s.clear();
    }

    /// Whether C is about to stand by for B, which is on probation and rests.
    pub(super) fn is_in_the_middle(&self) -> bool {
        let b = self.process(1);
        let waits = b
            .pre
            .as_ref()
            .is_some_and(|pre| pre.state == pre::State::AwaitingStanding);
        let parked = self.process(A).park.as_ref().is_some_and(Park::idle);
        b.prob.is_some() && waits && parked && !b.pass && self.up(2).to_p.first() == Some(&Message::Standing)
    }

    /// Whether somebody holds the node's control socket who is not `past` answering.
    pub(super) fn somebody_listens(&self, except: Slot, past: impl Fn(&Process) -> bool) -> bool {
        self.slots().any(|slot| {
            let process = self.process(slot);
            let none = [Stage::Absent, Stage::Ended, Stage::StartedOver];
            slot != except && !past(process) && !none.contains(&process.stage)
        })
    }

    /// The signal, as every process sees it that waits for one.
    pub(super) fn raise(&mut self, signal: Option<Signal>) {
        for slot in 1..self.who.len() as Slot {
            if self.process(slot).suc.is_some() {
                self.up_mut(slot).signal = signal;
            }
        }
    }

    /// The end of a process, by a signal or by itself.
    pub(super) fn end(&mut self, slot: Slot, life: Life) {
        if let Some(link) = self.process(slot).down {
            self.close_p(link);
        }
        for successor in 1..self.who.len() as Slot {
            if self.up(successor).pred == Some(slot) {
                self.close_p(successor);
            }
        }
        if slot != A {
            self.close_s(slot);
            self.up_mut(slot).signal = None;
        }
        self.held &= !(1 << slot);
        let old = self.process(slot);
        let (failed, excused) = (old.failed, old.excused);
        let mut dead = Process::new(Stage::Ended);
        (dead.life, dead.failed, dead.excused) = (life, failed, excused);
        *self.process_mut(slot) = dead;
    }

    // The gate, as in `shmstate::gate`.

    /// Takes a pass.
    pub(super) fn enter(&mut self, slot: Slot) {
        self.recover(slot);
        self.open = Some(slot);
        self.process_mut(slot).pass = true;
    }

    /// Commits and gives the pass back.
    pub(super) fn leave(&mut self, slot: Slot) {
        self.open = None;
        if let Client::Adopting(by, on) = self.client
            && by == slot
        {
            self.client = Client::Adopted(by, on);
        }
        let process = self.process_mut(slot);
        process.pass = false;
        match process.gate {
            Gate::Armed(by, false) => {
                process.gate = Gate::Armed(by, true);
                self.raise(Some(Signal::Rehearse));
            }
            Gate::Armed(by, true) | Gate::Closing(by) => self.release(slot, by),
            _ => {}
        }
    }

    /// What the last pass of a closing gate does.
    fn release(&mut self, slot: Slot, by: By) {
        let heir = match by {
            By::Reception(heir) | By::Probation(heir) => self.lease().release(slot, heir),
            By::Nobody => None,
        };
        // A plan that finds the lease in other hands changes nothing.
        self.swap(heir);
        self.process_mut(slot).gate = Gate::Releasing(by);
    }

    /// The gate says that it is quiet.
    pub(super) fn tell_quiet(&mut self, slot: Slot, by: By) {
        self.process_mut(slot).gate = Gate::Quiet(by);
        if matches!(by, By::Reception(_)) {
            self.raise(Some(Signal::LookAtLease));
        }
    }

    /// `false` if it is not open, or armed already, or the process does not serve.
    pub(super) fn arm(&mut self, slot: Slot, by: By) -> bool {
        let process = self.process_mut(slot);
        let can = process.gate == Gate::Open && process.serves();
        if can {
            process.gate = Gate::Armed(by, false);
        }
        can
    }

    pub(super) fn close_gate(&mut self, slot: Slot) {
        let process = self.process_mut(slot);
        let by = match process.gate {
            Gate::Open => By::Nobody,
            Gate::Armed(by, _) => by,
            _ => return,
        };
        process.gate = Gate::Closing(by);
        if !process.pass {
            self.release(slot, by);
        }
    }

    /// `None` while the gate decides.
    pub(super) fn disarm(&mut self, slot: Slot, setup: &Setup) -> Option<bool> {
        let process = self.process_mut(slot);
        match process.gate {
            Gate::Releasing(_) => None,
            Gate::Quiet(_) if setup.sabotage == Sabotage::BlindDisarm => Some(true),
            Gate::Quiet(_) => Some(false),
            _ => {
                process.gate = Gate::Open;
                Some(true)
            }
        }
    }

    /// Opens the gate if it is not open.
    pub(super) fn reopen(&mut self, slot: Slot) {
        let process = self.process_mut(slot);
        if !process.open() {
            process.gate = Gate::Open;
        }
    }

    pub(super) fn take_back(&mut self, slot: Slot, setup: &Setup) -> bool {
        let won = self.swap(self.lease().take_back(slot));
        won || setup.sabotage == Sabotage::BlindTakeBack && self.swap(self.lease().inherit(slot))
    }
}
