//! An exhaustive check of the gate's moves: every interleaving of a few threads, with the order of stores and loads that
//! the processor and the compiler are free to change.
//!
//! The threads run the code of [`moves`](super::moves) itself, over the words of a [`World`]. A thread is stepped by running
//! it from its start with the results it had so far, up to one operation more (then it is unwound); so a state is: the
//! words, what each thread has stored and others do not see yet, and what it has been answered.
//!
//! What is modelled of memory: a store is first *pending* (the compiler may still move it: `light` ends that), then in
//! the thread's store buffer (`full`, a read-modify-write and the lock end that, and so does somebody's `heavy`), then seen
//! by all, in order: all stores of the moves are releases. Loads are in order: all are acquires.
//!
//! What is checked: the plan runs at most once for each arming, never while a pass is out, sees all that was done under
//! passes, and has run in the end if the gate is closed; no thread gets stuck.

use super::moves::{self, CLOSED, Kept, LAST, OPEN, REHEARSE, SHARED, WATCHED, Words};
use std::cell::RefCell;
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

/// Threads of a scenario at most, thus seats beside the shared one.
const THREADS: usize = 3;
/// More states than any scenario has: a check that does not end is a mistake in it.
const MOST_STATES: usize = 20_000_000;

/// Words by number.
const MODE: usize = 0;
const HIGH: usize = 1;
const SEAT: usize = 2;
const LATE: usize = SEAT + THREADS + 1;
const DONE: usize = LATE + THREADS + 1;
const WORDS: usize = DONE + THREADS;

/// What is left out on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    Nothing,
    /// The compiler moves the look at the mode before the store to the seat.
    Light,
    /// Who enters or leaves a watched gate makes no barrier.
    Full,
    /// Nobody else passes a barrier.
    Heavy,
    /// A barrier that the kernel refused counts as made.
    Proof,
    /// Under the lock nobody looks whether it is quiet already.
    Once,
    /// Only the seats of the first threads are looked at.
    Seats,
    /// Late leaves are not counted.
    LateLost,
    /// Who leaves does so by a store that is no release: work under the pass is seen later.
    Release,
}

#[derive(Clone, Debug, Hash, Default)]
struct Thread {
    /// What it was answered in the part of its program that it is in.
    answers: Vec<u64>,
    part: u8,
    claimed: bool,
    pending: Vec<(u8, u64)>,
    buffer: Vec<(u8, u64)>,
    inside: u8,
    ended: bool,
}

#[derive(Clone, Debug, Hash)]
struct World {
    words: [u64; WORDS],
    threads: Vec<Thread>,
    locked: Option<usize>,
    rest: u32,
    refusals: u8,
    late_leaves: bool,
    shared_passes: bool,
    // Under the lock.
    planned: bool,
    quiet: bool,
    proven: bool,
    // What must have happened.
    armed: u8,
    ran: u8,
    work: [u64; THREADS],
}

/// Why a run ends before its end.
enum Halt {
    /// It has done its step.
    Stepped,
    /// It cannot go on now.
    Blocked,
}

/// A violation.
struct Fault(String);

struct Run {
    world: World,
    me: usize,
    at: usize,
    stepped: bool,
    broken: Broken,
}

/// The words as one thread of the model has them.
#[derive(Clone)]
struct Cpu(Rc<RefCell<Run>>);

impl Cpu {
    fn me(&self) -> usize {
        self.0.borrow().me
    }

    fn broken(&self, what: Broken) -> bool {
        self.0.borrow().broken == what
    }

    /// One operation. Those that nobody else can see the moment of are not steps of their own.
    fn op(&self, step: bool, act: impl FnOnce(&mut Run) -> Option<u64>) -> u64 {
        let mut run = self.0.borrow_mut();
        let (me, at) = (run.me, run.at);
        run.at += 1;
        if let Some(&answer) = run.world.threads[me].answers.get(at) {
            return answer;
        }
        if step && run.stepped {
            resume_unwind(Box::new(Halt::Stepped));
        }
        match act(&mut run) {
            Some(answer) => {
                run.stepped |= step;
                run.world.threads[me].answers.push(answer);
                answer
            }
            None if run.stepped => resume_unwind(Box::new(Halt::Stepped)),
            None => resume_unwind(Box::new(Halt::Blocked)),
        }
    }

    fn load(&self, word: usize) -> u64 {
        // When a word is read that nobody writes does not matter.
        let step = {
            let world = &self.0.borrow().world;
            match word {
                SEAT => world.shared_passes,
                LATE..DONE => world.late_leaves,
                _ => true,
            }
        };
        self.op(step, |run| Some(run.read(word)))
    }

    fn store(&self, word: usize, value: u64) {
        // The moment of a store is when it is issued, and when it is seen; both are steps of the world.
        self.op(false, |run| {
            let me = run.me;
            run.world.threads[me].pending.push((word as u8, value));
            Some(0)
        });
    }

    /// Waits until all own stores are seen, then does `act` at once.
    fn fenced(&self, act: impl FnOnce(&mut Run) -> Option<u64>) -> u64 {
        self.op(true, |run| if run.drained() { act(run) } else { None })
    }

    fn ghost(&self, act: impl FnOnce(&mut Run)) {
        self.op(false, |run| {
            act(run);
            Some(0)
        });
    }
}

impl Run {
    fn read(&self, word: usize) -> u64 {
        let thread = &self.world.threads[self.me];
        let own = thread.pending.iter().rev().chain(thread.buffer.iter().rev());
        own.clone()
            .find(|(at, _)| usize::from(*at) == word)
            .map_or(self.world.words[word], |(_, value)| *value)
    }

    fn drained(&self) -> bool {
        let thread = &self.world.threads[self.me];
        thread.pending.is_empty() && thread.buffer.is_empty()
    }
}

impl Words for Cpu {
    type Kept<'a> = Lock<'a>;

    fn mode(&self) -> u32 {
        self.load(MODE) as u32
    }

    fn set_mode(&self, mode: u32) {
        self.store(MODE, mode.into());
    }

    fn rest(&self) -> u32 {
        self.0.borrow().world.rest
    }

    fn seats(&self) -> usize {
        let high = self.load(HIGH) as usize;
        if self.broken(Broken::Seats) { high.min(2) } else { high }
    }

    fn seat(&self, seat: usize) -> u64 {
        self.load(SEAT + seat)
    }

    fn own(&self, seat: usize) -> u64 {
        // Nobody else writes it.
        self.op(false, |run| Some(run.read(SEAT + seat)))
    }

    fn put(&self, seat: usize, word: u64) {
        self.store(SEAT + seat, word);
    }

    fn add(&self, seat: usize, by: u64) {
        self.fenced(|run| {
            run.world.words[SEAT + seat] = run.world.words[SEAT + seat].wrapping_add(by);
            Some(0)
        });
    }

    fn late(&self, seat: usize) -> u64 {
        if self.broken(Broken::LateLost) {
            return 0;
        }
        self.load(LATE + seat)
    }

    fn add_late(&self, seat: usize) {
        self.fenced(|run| {
            run.world.words[LATE + seat] += 1;
            Some(0)
        });
    }

    fn light(&self) {
        if !self.broken(Broken::Light) {
            // Issued in order, at once.
            self.op(false, |run| {
                let thread = &mut run.world.threads[run.me];
                let pending = std::mem::take(&mut thread.pending);
                thread.buffer.extend(pending);
                Some(0)
            });
        }
    }

    fn full(&self) {
        if !self.broken(Broken::Full) {
            self.fenced(|_| Some(0));
        }
    }

    fn heavy(&self) -> bool {
        let made = self.fenced(|run| {
            if run.world.refusals > 0 {
                run.world.refusals -= 1;
                return Some(0);
            }
            Some(1)
        });
        if made == 0 {
            return false;
        }
        if !self.broken(Broken::Heavy) {
            // One thread after the other, each at its own moment.
            let threads = self.0.borrow().world.threads.len();
            for other in 0..threads {
                self.op(true, |run| {
                    let World { words, threads, .. } = &mut run.world;
                    for (word, value) in std::mem::take(&mut threads[other].buffer) {
                        words[usize::from(word)] = value;
                    }
                    Some(0)
                });
            }
        }
        true
    }

    fn lock(&self) -> Lock<'_> {
        self.fenced(|run| {
            if run.world.locked.is_some() {
                return None;
            }
            run.world.locked = Some(run.me);
            Some(0)
        });
        Lock(self)
    }
}

/// The lock, held.
struct Lock<'a>(&'a Cpu);

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        self.0.fenced(|run| {
            run.world.locked = None;
            Some(0)
        });
    }
}

impl Kept for Lock<'_> {
    fn proven(&self) -> bool {
        self.0.broken(Broken::Proof) || self.0.op(false, |run| Some(run.world.proven.into())) == 1
    }

    fn set_proven(&mut self, proven: bool) {
        self.0.ghost(|run| run.world.proven = proven);
    }

    fn quiet(&self) -> bool {
        !self.0.broken(Broken::Once) && self.0.op(false, |run| Some(run.world.quiet.into())) == 1
    }

    fn rehearse(&mut self) {}

    fn got_quiet(&mut self) {
        self.0.ghost(|run| {
            let inside: usize = run.world.threads.iter().map(|t| usize::from(t.inside)).sum();
            if inside > 0 {
                fault(format!("quiet while {inside} passes are out"));
            }
            let seen: Vec<u64> = (0..THREADS).map(|t| run.read(DONE + t)).collect();
            if seen != run.world.work {
                fault(format!("work under passes {:?} is seen as {seen:?}", run.world.work));
            }
            if run.world.quiet {
                fault("quiet twice".into());
            }
            run.world.quiet = true;
            if run.world.planned {
                run.world.planned = false;
                run.world.ran += 1;
            }
        });
    }

    fn held_up(&mut self) {}
}

fn fault(what: String) -> ! {
    resume_unwind(Box::new(Fault(what)))
}

/// What a thread does.
#[derive(Clone, Copy)]
enum Do {
    /// A pass in the thread's own seat, with a commit or without.
    Pass {
        commit: bool,
    },
    /// A pass in the shared seat.
    SharedPass,
    /// A pass that is given here and dropped by the thread after this one.
    GiveAway,
    /// Drops the pass that the thread before this one gave away, if it got one.
    DropGiven,
    Arm,
    Disarm,
    Close,
    /// Opens again if the gate is quiet.
    Reopen,
}

/// Runs one part of a thread's program.
fn program(cpu: &Cpu, part: Do) {
    let me = cpu.me();
    let seat = me + 1;
    if matches!(part, Do::Pass { .. } | Do::GiveAway) && !cpu.0.borrow().world.threads[me].claimed {
        // SEAT pair: see `seats::claim`.
        cpu.fenced(|run| {
            run.world.words[HIGH] = run.world.words[HIGH].max(seat as u64 + 1);
            Some(0)
        });
    }
    match part {
        Do::Pass { commit } => {
            if moves::enter(cpu, seat) {
                work(cpu);
                if commit && matches!(cpu.mode(), REHEARSE | LAST) {
                    moves::tick(cpu);
                }
                cpu.ghost(|run| run.world.threads[me].inside -= 1);
                leave(cpu, seat);
            }
        }
        Do::SharedPass => {
            if moves::enter_shared(cpu) {
                work(cpu);
                cpu.ghost(|run| run.world.threads[me].inside -= 1);
                moves::leave_elsewhere(cpu, SHARED);
            }
        }
        Do::GiveAway => {
            if moves::enter(cpu, seat) {
                work(cpu);
                // A value moves between threads by some release and acquire.
                cpu.fenced(|_| Some(0));
                cpu.op(true, |run| {
                    run.world.threads[me].inside |= GIVEN;
                    Some(0)
                });
            }
        }
        Do::DropGiven => {
            let given = cpu.op(true, |run| {
                let before = &mut run.world.threads[me - 1];
                let given = before.inside & GIVEN != 0;
                if !given && !before.ended {
                    return None;
                }
                if given {
                    before.inside -= GIVEN + 1;
                }
                Some(given.into())
            });
            if given == 1 {
                moves::leave_elsewhere(cpu, me);
            }
        }
        Do::Arm => {
            let mut kept = cpu.lock();
            if moves::arm(cpu, &mut kept) {
                cpu.ghost(|run| {
                    run.world.planned = true;
                    run.world.quiet = false;
                    run.world.armed += 1;
                });
            }
        }
        Do::Disarm => {
            let kept = cpu.lock();
            if moves::disarm(cpu, &kept) {
                cpu.ghost(|run| {
                    run.world.armed -= u8::from(run.world.planned);
                    run.world.planned = false;
                });
            }
        }
        Do::Close => moves::close(cpu),
        Do::Reopen => {
            let kept = cpu.lock();
            if kept.quiet() {
                cpu.ghost(|run| run.world.quiet = false);
                moves::open(cpu);
            }
        }
    }
}

/// In `inside`: the pass is on its way to another thread.
const GIVEN: u8 = 0x80;

fn work(cpu: &Cpu) {
    let me = cpu.me();
    let done = cpu.op(false, |run| {
        run.world.threads[me].inside += 1;
        run.world.work[me] += 1;
        Some(run.world.work[me])
    });
    cpu.store(DONE + me, done);
}

fn leave(cpu: &Cpu, seat: usize) {
    if cpu.broken(Broken::Release) {
        // The work is stored after the seat.
        let late = cpu.op(false, |run| {
            let me = run.me;
            let thread = &mut run.world.threads[me];
            let at = thread
                .buffer
                .iter()
                .chain(&thread.pending)
                .position(|s| usize::from(s.0) == DONE + me);
            thread.buffer.append(&mut thread.pending);
            Some(at.map_or(0, |at| thread.buffer.remove(at).1))
        });
        moves::leave(cpu, seat);
        if late > 0 {
            cpu.store(DONE + cpu.me(), late);
        }
        return;
    }
    moves::leave(cpu, seat);
}

/// A scenario: what each thread does, and whether the kernel refuses barriers.
struct Scenario {
    name: &'static str,
    threads: Vec<Vec<Do>>,
    rest: u32,
    refusals: u8,
}

impl Scenario {
    fn has(&self, kind: impl Fn(&Do) -> bool) -> bool {
        self.threads.iter().flatten().any(kind)
    }
}

const PASS: Do = Do::Pass { commit: false };
const TICK: Do = Do::Pass { commit: true };

fn scenarios() -> Vec<Scenario> {
    let plain = |name, threads: &[&[Do]]| Scenario {
        name,
        threads: threads.iter().map(|t| t.to_vec()).collect(),
        rest: OPEN,
        refusals: 0,
    };
    vec![
        plain("close beside two", &[&[PASS, PASS], &[PASS], &[Do::Close]]),
        plain("armed, two ticks", &[&[TICK, TICK], &[PASS], &[Do::Arm]]),
        plain("armed, two who tick", &[&[TICK], &[TICK], &[Do::Arm]]),
        plain("armed, closed without a tick", &[&[TICK, PASS], &[Do::Arm, Do::Close]]),
        plain("armed, disarmed", &[&[TICK, TICK], &[Do::Arm, Do::Disarm, Do::Close]]),
        plain(
            "closed, opened, closed",
            &[&[PASS, PASS], &[Do::Close, Do::Reopen, Do::Close]],
        ),
        plain(
            "armed again",
            &[&[TICK, TICK], &[Do::Arm, Do::Disarm, Do::Arm, Do::Close]],
        ),
        plain("dropped elsewhere", &[&[Do::GiveAway], &[Do::DropGiven], &[Do::Close]]),
        plain("shared seats", &[&[Do::SharedPass], &[PASS], &[Do::Close]]),
        Scenario {
            rest: WATCHED,
            ..plain("no barrier to be had", &[&[TICK, PASS], &[Do::Arm, Do::Close]])
        },
        Scenario {
            refusals: 1,
            ..plain("a barrier refused once", &[&[PASS, PASS], &[Do::Close]])
        },
    ]
}

/// Explores everything; the number of states, or what went wrong in which scenario.
fn explore(scenario: &Scenario, broken: Broken) -> Result<usize, String> {
    let mut words = [0; WORDS];
    words[MODE] = scenario.rest.into();
    words[HIGH] = 1;
    let first = World {
        words,
        threads: vec![Thread::default(); scenario.threads.len()],
        locked: None,
        rest: scenario.rest,
        refusals: scenario.refusals,
        late_leaves: scenario.has(|part| matches!(part, Do::DropGiven)),
        shared_passes: scenario.has(|part| matches!(part, Do::SharedPass)),
        planned: false,
        quiet: false,
        proven: true,
        armed: 0,
        ran: 0,
        work: [0; THREADS],
    };
    let mut seen = HashSet::from([digest(&first)]);
    let mut open = vec![first];
    while let Some(world) = open.pop() {
        assert!(seen.len() < MOST_STATES, "{}: it does not end", scenario.name);
        let mut nexts = Vec::new();
        for me in 0..world.threads.len() {
            let thread = &world.threads[me];
            if !thread.pending.is_empty() {
                let mut next = world.clone();
                let issued = next.threads[me].pending.remove(0);
                next.threads[me].buffer.push(issued);
                nexts.push(next);
            }
            if !thread.buffer.is_empty() {
                let mut next = world.clone();
                let (word, value) = next.threads[me].buffer.remove(0);
                next.words[usize::from(word)] = value;
                nexts.push(next);
            }
            if !thread.ended {
                let stepped = step(&world, me, &scenario.threads[me], broken);
                nexts.extend(stepped.map_err(|what| format!("{}: {what}", scenario.name))?);
            }
        }
        if nexts.is_empty() {
            end(&world).map_err(|what| format!("{}: {what}", scenario.name))?;
        }
        for next in nexts {
            if seen.insert(digest(&next)) {
                open.push(next);
            }
        }
    }
    Ok(seen.len())
}

/// 128 bits of a world: that two of some million have the same is not to be expected before the sun has gone out.
fn digest(world: &World) -> (u64, u64) {
    let half = |salt: u64| {
        let mut hasher = DefaultHasher::new();
        salt.hash(&mut hasher);
        world.hash(&mut hasher);
        hasher.finish()
    };
    (half(1), half(2))
}

/// The world after one step of a thread; `None` if it cannot step now.
fn step(world: &World, me: usize, steps: &[Do], broken: Broken) -> Result<Option<World>, String> {
    let part = steps[usize::from(world.threads[me].part)];
    let cpu = Cpu(Rc::new(RefCell::new(Run {
        world: world.clone(),
        me,
        at: 0,
        stepped: false,
        broken,
    })));
    let halted = catch_unwind(AssertUnwindSafe(|| program(&cpu, part))).err();
    let world = std::mem::replace(&mut cpu.0.borrow_mut().world, world.clone());
    match halted.map(|halt| halt.downcast::<Halt>()) {
        None => {
            let mut world = world;
            let thread = &mut world.threads[me];
            thread.claimed |= matches!(part, Do::Pass { .. } | Do::GiveAway);
            thread.part += 1;
            thread.ended = usize::from(thread.part) == steps.len();
            // How it got here does not matter any more.
            thread.answers.clear();
            Ok(Some(world))
        }
        Some(Ok(halt)) => Ok(matches!(*halt, Halt::Stepped).then_some(world)),
        Some(Err(other)) => match other.downcast::<Fault>() {
            Ok(fault) => Err(fault.0),
            Err(panic) => resume_unwind(panic),
        },
    }
}

/// What holds when nothing can happen any more.
fn end(world: &World) -> Result<(), String> {
    if let Some(stuck) = world.threads.iter().position(|t| !t.ended) {
        return Err(format!("thread {stuck} is stuck"));
    }
    let closed = world.words[MODE] as u32 == CLOSED;
    if closed && !world.quiet {
        return Err("closed, all passes are back, and nobody noticed".into());
    }
    if closed && world.ran != world.armed {
        return Err(format!("armed {} times, the plan ran {} times", world.armed, world.ran));
    }
    Ok(())
}

#[test]
fn every_interleaving_keeps_the_rules() {
    for scenario in scenarios() {
        match explore(&scenario, Broken::Nothing) {
            Ok(states) => println!("{}: {states} states", scenario.name),
            Err(what) => panic!("{what}"),
        }
    }
}

#[test]
fn each_guard_is_needed() {
    for (broken, name) in [
        (Broken::Light, "close beside two"),
        (Broken::Full, "close beside two"),
        (Broken::Heavy, "close beside two"),
        (Broken::Release, "close beside two"),
        (Broken::Seats, "close beside two"),
        (Broken::Once, "close beside two"),
        (Broken::Proof, "a barrier refused once"),
        (Broken::LateLost, "dropped elsewhere"),
    ] {
        let scenarios = scenarios();
        let scenario = scenarios
            .iter()
            .find(|s| s.name == name)
            .expect("a scenario of that name");
        let found = explore(scenario, broken).err();
        println!("{broken:?}: {found:?}");
        assert!(found.is_some(), "nothing goes wrong without {broken:?}");
    }
}
