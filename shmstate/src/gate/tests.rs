//! The gate with real threads; what the model check cannot see: clocks, names, ends of threads.

use super::*;
use std::time::Duration;

fn plan(log: &Arc<Mutex<Vec<&'static str>>>) -> Plan {
    let (a, b) = (Arc::clone(log), Arc::clone(log));
    Plan {
        rehearse: Box::new(move |_| a.lock().expect("log").push("rehearse")),
        quiet: Box::new(move |_| b.lock().expect("log").push("quiet")),
    }
}

#[test]
fn closes_after_the_second_committed_pass_and_runs_the_plan_once() {
    let gate = Gate::alone();
    let log = Arc::default();
    assert!(gate.arm(plan(&log)));
    assert!(!gate.arm(plan(&log)), "armed already");
    drop(gate.enter().expect("no commit in this one"));
    for _ in 0..2 {
        let pass = gate.enter().expect("open");
        pass.note_commit();
    }
    assert!(matches!(gate.enter(), Err(Error::GateClosed)));
    assert!(matches!(gate.enter(), Err(Error::GateClosed)));
    assert!(gate.wait_quiet(Instant::now()));
    assert_eq!(*log.lock().expect("log"), ["rehearse", "quiet"]);
    assert!(!gate.disarm(), "too late");
}

#[test]
fn is_not_quiet_while_a_pass_is_out() {
    let gate = Gate::alone();
    let log = Arc::default();
    let pass = gate.enter().expect("open");
    assert!(gate.arm(plan(&log)));
    gate.close();
    assert!(!gate.wait_quiet(Instant::now() + Duration::from_millis(1)));
    assert_eq!(gate.passes_out(), 1);
    assert!(gate.disarm(), "reopened");
    drop(pass);
    assert!(log.lock().expect("log").is_empty());
    drop(gate.enter().expect("open again"));
}

#[test]
fn a_changed_lease_fences() {
    let lease = Arc::new(LocalLease::default());
    let gate = Gate::closed(lease.clone());
    let mine = Lease::Owned {
        owner: 2,
        generation: 9,
    };
    lease.word().store(mine.to_word(), Ordering::Release);
    gate.open(mine);
    drop(gate.enter().expect("mine"));
    let other = Lease::Owned {
        owner: 3,
        generation: 10,
    };
    lease.word().store(other.to_word(), Ordering::Release);
    assert!(matches!(gate.enter(), Err(Error::Fenced { held: 9, .. })));
    assert_eq!(gate.passes_out(), 0);
}

#[test]
fn quiet_is_seen_once_under_many_threads() {
    let gate = Gate::alone();
    let log = Arc::default();
    crossbeam_utils::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|_| {
                while let Ok(pass) = gate.enter() {
                    pass.note_commit();
                }
            });
        }
        assert!(gate.arm(plan(&log)));
    })
    .expect("threads");
    assert!(gate.wait_quiet(Instant::now() + Duration::from_secs(10)));
    assert_eq!(*log.lock().expect("log"), ["rehearse", "quiet"]);
}

/// Long enough for a loaded machine; a wait that is kept waiting is a failure.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_gate_without_barriers_keeps_the_rules_too() {
    let gate = Gate::with_rest(Arc::new(LocalLease::default()), WATCHED, true);
    gate.open(Lease::Vacant { generation: 0 });
    let log = Arc::default();
    crossbeam_utils::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|_| {
                while let Ok(pass) = gate.enter() {
                    pass.note_commit();
                }
            });
        }
        assert!(gate.arm(plan(&log)));
    })
    .expect("threads");
    assert!(gate.wait_quiet(Instant::now() + PATIENCE));
    assert_eq!(*log.lock().expect("log"), ["rehearse", "quiet"]);
}

/// Seats are the process's: who needs one of its own, or all of them, has them to itself.
static ALL_SEATS: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn all_seats() -> std::sync::MutexGuard<'static, ()> {
    ALL_SEATS.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[test]
fn more_threads_than_seats() {
    let _seats = all_seats();
    let gate = Gate::alone();
    let (entered, all_in) = std::sync::mpsc::channel();
    std::thread::scope(|s| {
        let gates: Vec<_> = (0..SEATS + 8)
            .map(|_| {
                let (leave, told) = std::sync::mpsc::channel::<()>();
                let (gate, entered) = (&gate, entered.clone());
                s.spawn(move || {
                    let pass = gate.enter().expect("open");
                    entered.send(()).expect("the test waits");
                    // Ends when the test lets go of its side.
                    let _ = told.recv();
                    drop(pass);
                });
                leave
            })
            .collect();
        for _ in &gates {
            all_in.recv_timeout(PATIENCE).expect("every thread enters");
        }
        assert_eq!(gate.passes_out(), SEATS as u64 + 8);
        gate.close();
        assert!(!gate.wait_quiet(Instant::now()));
        drop(gates);
        assert!(
            gate.wait_quiet(Instant::now() + PATIENCE),
            "{}",
            gate.describe_holders()
        );
    });
}

#[test]
fn a_pass_that_outlives_its_threads_seat_is_counted_once() {
    static GATE: std::sync::OnceLock<Gate> = std::sync::OnceLock::new();
    thread_local! {
        static KEPT: std::cell::RefCell<Vec<Pass<'static>>> = const { std::cell::RefCell::new(Vec::new()) };
    }
    let gate = GATE.get_or_init(Gate::alone);
    for _ in 0..3 {
        std::thread::spawn(|| {
            let gate = GATE.get().expect("made");
            // Made before the seat is taken, so it is destroyed after the seat was given back.
            KEPT.with_borrow_mut(|kept| {
                kept.push(gate.enter().expect("open"));
                kept.push(gate.enter().expect("open"));
            });
            assert_eq!(gate.passes_out(), 2);
        })
        .join()
        .expect("a thread that ends");
        assert_eq!(gate.passes_out(), 0);
    }
    gate.close();
    assert!(gate.wait_quiet(Instant::now()));
}

#[test]
fn who_holds_up_a_close_is_named() {
    let _seats = all_seats();
    let gate = Gate::alone();
    let matchmaker = gate.holder("matchmaker");
    assert_eq!(
        gate.holder("matchmaker").name,
        matchmaker.name,
        "the same name is the same holder"
    );
    let (entered, held) = std::sync::mpsc::channel();
    let (leave, told) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|s| {
        let gate = &gate;
        std::thread::Builder::new()
            .name("io-2".into())
            .spawn_scoped(s, move || {
                let outer = matchmaker.enter().expect("open");
                let inner = gate.enter().expect("open");
                drop(inner);
                entered
                    .send(rustix::thread::gettid().as_raw_nonzero().get())
                    .expect("the test waits");
                let _ = told.recv();
                drop(outer);
                let named = gate.holders().into_iter().filter(|h| h.name.is_some()).count();
                assert_eq!(named, 0, "the name goes with the pass");
            })
            .expect("a thread");
        let tid = held.recv_timeout(PATIENCE).expect("it enters");
        gate.close();
        let first = gate.holders();
        assert_eq!(first.len(), 1);
        assert_eq!(first[0].name.as_deref(), Some("matchmaker"));
        assert_eq!(
            (first[0].thread.as_ref().map(|t| t.tid), first[0].passes),
            (Some(tid), 1)
        );
        assert!(!gate.wait_quiet(Instant::now() + Duration::from_millis(2)));
        let second = gate.holders();
        assert!(
            second[0].at_least >= Duration::from_millis(2),
            "known since the close: {second:?}"
        );
        let text = gate.describe_holders();
        assert!(
            text.starts_with(&format!("'matchmaker' (thread {tid} 'io-2') for at least ")),
            "{text}"
        );
        drop(leave);
        assert!(gate.wait_quiet(Instant::now() + PATIENCE));
        assert_eq!(gate.describe_holders(), "no pass is out");
    });
}

#[test]
fn a_forgotten_pass_is_told_by_its_thread() {
    let _seats = all_seats();
    let gate = Gate::alone();
    std::thread::scope(|s| {
        let forgets = || std::mem::forget(gate.enter().expect("open"));
        std::thread::Builder::new()
            .name("forgetful".into())
            .spawn_scoped(s, forgets)
            .expect("a thread");
    });
    gate.close();
    assert!(!gate.wait_quiet(Instant::now()));
    assert_eq!(gate.passes_out(), 1);
    assert!(
        gate.describe_holders().starts_with("thread "),
        "{}",
        gate.describe_holders()
    );
}

/// Wakes the thread that waits on the channel; counts.
struct Bell(std::sync::mpsc::Sender<usize>, usize);

impl std::task::Wake for Bell {
    fn wake(self: Arc<Self>) {
        // The test may be over.
        let _ = self.0.send(self.1);
    }
}

#[test]
fn every_task_that_waits_is_woken() {
    use std::task::{Context, Poll, Waker};
    const TASKS: usize = 500;
    const ROUNDS: usize = 50;
    let gate = Gate::alone();
    let lease = Lease::Owned {
        owner: ALONE,
        generation: 1,
    };
    let (over, all) = std::sync::mpsc::channel();
    std::thread::scope(|s| {
        for _ in 0..2 {
            let (gate, over) = (&gate, over.clone());
            s.spawn(move || {
                for round in 0..ROUNDS {
                    let (ring, bell) = std::sync::mpsc::channel();
                    let mut tasks: Vec<_> = (0..TASKS).map(|_| Box::pin(gate.entered())).collect();
                    let mut left = TASKS;
                    let mut poll = |task: usize, left: &mut usize| {
                        let waker = Waker::from(Arc::new(Bell(ring.clone(), task)));
                        if let Poll::Ready(pass) = tasks[task].as_mut().poll(&mut Context::from_waker(&waker)) {
                            drop(pass.expect("owned"));
                            *left -= 1;
                        }
                    };
                    (0..TASKS).for_each(|task| poll(task, &mut left));
                    while left > 0 {
                        // A wake-up that is lost ends here.
                        let task = bell.recv_timeout(PATIENCE).expect("a wake");
                        poll(task, &mut left);
                    }
                    over.send(round).expect("the test waits");
                }
            });
        }
        drop(over);
        // Closes and opens under them until both are through.
        loop {
            match all.try_recv() {
                Err(std::sync::mpsc::TryRecvError::Disconnected) => break,
                _ => {
                    gate.close();
                    std::thread::yield_now();
                    gate.open(lease);
                }
            }
        }
    });
    assert_eq!(gate.waiting_tasks(), 0, "no waker is left behind");
}

#[test]
fn a_task_ends_by_what_it_is_told() {
    use std::pin::Pin;
    use std::sync::atomic::AtomicBool;
    use std::task::{Context, Poll, Waker};
    let gate = Gate::alone();
    gate.close();
    let stop = AtomicBool::new(false);
    let (ring, bell) = std::sync::mpsc::channel();
    let waker = Waker::from(Arc::new(Bell(ring, 7)));
    let mut task = gate.entered_unless(|| stop.load(Ordering::Relaxed).then_some("stopped"));
    assert!(Pin::new(&mut task).poll(&mut Context::from_waker(&waker)).is_pending());
    stop.store(true, Ordering::Relaxed);
    assert!(bell.try_recv().is_err(), "nobody was told yet");
    gate.look_again();
    assert_eq!(bell.try_recv(), Ok(7));
    let Poll::Ready(Err(said)) = Pin::new(&mut task).poll(&mut Context::from_waker(&waker)) else {
        panic!("it waits on");
    };
    assert_eq!(said, "stopped");
    let mut dropped = Box::pin(gate.entered());
    assert!(dropped.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    drop((task, dropped));
    assert_eq!(gate.waiting_tasks(), 0, "who does not wait any more leaves no waker");
}
