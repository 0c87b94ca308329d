//! Drains without a node: what ends them, what is asked when, what is said. No test waits for a time to pass that ends well.

use super::*;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};

/// Far longer than any test: a drain that ends well ends by an event.
const LONG: Duration = Duration::from_secs(600);
/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// What happened, in its order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn add(&self, line: impl Into<String>) {
        self.0.lock().expect("log").push(line.into());
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().expect("log").clone()
    }
}

/// A book whose drains' events go to the log, and to a channel.
fn watched(log: &Log) -> (InFlight, Receiver<DrainEvent>) {
    let work = InFlight::default();
    let (told, events) = mpsc::channel();
    let log = log.clone();
    work.on_drain(move |event| {
        log.add(match event {
            DrainEvent::Began { phase, left, .. } => format!("{phase:?} began, {left} left"),
            DrainEvent::Ended { phase, left, .. } => format!("{phase:?} ended, {left} left"),
        });
        // The test may have seen enough.
        let _ = told.send(*event);
    });
    (work, events)
}

fn wait_for(events: &Receiver<DrainEvent>, phase: DrainPhase) {
    loop {
        match events.recv_timeout(PATIENCE).expect("an event of the drain") {
            DrainEvent::Began { phase: begun, .. } if begun == phase => return,
            _ => {}
        }
    }
}

fn drain(work: &InFlight, idle: Duration, longest: Duration) -> Drained {
    Course::begin(work, idle, longest).finish(|_, _, _| {})
}

/// A connection that closes when it is asked: by a thread of its own that owns it.
fn polite(work: &InFlight, name: &str) -> (HeldConnection, Receiver<Ask>) {
    let (ask, asked) = mpsc::channel();
    let held = work.connection(name, move |what| {
        let _ = ask.send(what);
    });
    (held, asked)
}

#[test]
fn nothing_left_is_no_wait() {
    let log = Log::default();
    let (work, _events) = watched(&log);
    let drained = drain(&work, LONG, LONG);
    assert!(drained.took < LONG / 10, "{drained:?}");
    assert_eq!((drained.left, drained.asked, drained.holders.len()), (0, 0, 0));
    assert_eq!(
        log.lines(),
        [
            "Idle began, 0 left",
            "Idle ended, 0 left",
            "InFlight began, 0 left",
            "InFlight ended, 0 left"
        ]
    );
    assert_eq!(work.phase(), DrainPhase::None);
}

#[test]
fn idle_connections_go_in_phase_1_and_work_ends_in_phase_2() {
    let log = Log::default();
    let (work, events) = watched(&log);
    let (idle, idle_asked) = polite(&work, "idle");
    let (busy, busy_asked) = polite(&work, "busy");
    let task = work.task("save");
    let (to_busy, told) = mpsc::channel::<()>();
    std::thread::scope(|s| {
        s.spawn({
            let log = log.clone();
            move || {
                assert_eq!(idle_asked.recv_timeout(PATIENCE), Ok(Ask::Close));
                log.add("idle closes");
                drop(idle);
            }
        });
        s.spawn({
            let log = log.clone();
            move || {
                let request = busy.busy();
                told.recv_timeout(PATIENCE).expect("phase 2");
                assert!(
                    !busy.is_asked() && busy_asked.try_recv().is_err(),
                    "not while it is busy"
                );
                drop(request);
                assert_eq!(busy_asked.recv_timeout(PATIENCE), Ok(Ask::Close));
                log.add("busy closes");
                drop(busy);
            }
        });
        while work.holders().iter().filter(|held| held.busy).count() < 2 {
            std::thread::yield_now();
        }
        s.spawn({
            let log = log.clone();
            move || {
                wait_for(&events, DrainPhase::InFlight);
                log.add("save ends");
                drop(task);
                to_busy.send(()).expect("the connection waits");
            }
        });
        let drained = drain(&work, LONG, LONG);
        assert_eq!((drained.asked, drained.left), (1, 0), "{drained:?}");
        assert!(drained.took < LONG / 10, "{drained:?}");
    });
    assert_eq!(
        log.lines(),
        [
            "Idle began, 1 left",
            "idle closes",
            "Idle ended, 0 left",
            "InFlight began, 2 left",
            "save ends",
            "busy closes",
            "InFlight ended, 0 left"
        ]
    );
}

#[test]
fn each_phase_ends_at_its_own_deadline_and_names_who_stays() {
    let log = Log::default();
    let (work, _events) = watched(&log);
    let (_deaf, asked) = polite(&work, "deaf");
    let (short, longer) = (Duration::from_millis(20), Duration::from_millis(40));
    // Nothing busy: phase 2 does not wait for the one that let phase 1 pass (D5).
    let drained = drain(&work, short, LONG);
    assert_eq!(asked.try_recv(), Ok(Ask::Close));
    assert!(
        drained.idle_took >= short && drained.work_took < LONG / 10,
        "{drained:?}"
    );
    assert_eq!((drained.left, drained.holders[0].label()), (1, "deaf"));
    assert!(drained.holders[0].asked && !drained.holders[0].busy);

    let _stuck = work.task("stuck");
    let drained = drain(&work, Duration::ZERO, longer);
    assert!(drained.work_took >= longer && drained.took < LONG / 10, "{drained:?}");
    let names: Vec<_> = drained.holders.iter().map(Held::label).collect();
    assert_eq!(names, ["deaf", "stuck"], "the oldest first");
    let text = drained.holders[1].to_string();
    assert!(text.starts_with("task 'stuck', busy for "), "{text}");
    assert_eq!(
        log.lines()[4..],
        [
            // It was given up already.
            "Idle began, 0 left",
            "Idle ended, 0 left",
            "InFlight began, 1 left",
            "InFlight ended, 1 left"
        ]
    );
}

#[test]
fn work_that_panics_is_over() {
    let work = InFlight::default();
    let (begun, ready) = mpsc::channel();
    let panicking = {
        let work = work.clone();
        std::thread::spawn(move || {
            let _work = work.begin();
            begun.send(()).expect("the test waits");
            std::panic::resume_unwind(Box::new("as ordered"));
        })
    };
    ready.recv_timeout(PATIENCE).expect("it begins");
    let drained = drain(&work, LONG, LONG);
    assert_eq!(drained.left, 0);
    assert!(panicking.join().is_err());
}

#[test]
fn a_function_that_panics_keeps_nobody_from_being_asked() {
    let work = InFlight::default();
    let rude = work.connection("rude", |_| std::panic::resume_unwind(Box::new("as ordered")));
    let (other, asked) = polite(&work, "other");
    let course = Course::begin(&work, LONG, LONG);
    assert_eq!(asked.try_recv(), Ok(Ask::Close));
    drop((rude, other));
    assert_eq!(course.finish(|_, _, _| {}).asked, 2);
}

#[test]
fn one_that_gets_idle_is_moved_late_or_asked() {
    let work = InFlight::default();
    work.set_late_move(|held| held.label() == "movable");
    let (movable, first) = polite(&work, "movable");
    let (bound, second) = polite(&work, "bound");
    let (moves, stays) = (movable.busy(), bound.busy());
    let course = Course::begin(&work, LONG, LONG);
    assert!(first.try_recv().is_err() && second.try_recv().is_err());
    drop(moves);
    assert_eq!(first.try_recv(), Ok(Ask::Moved));
    assert!(movable.is_asked());
    drop(stays);
    assert_eq!(second.try_recv(), Ok(Ask::Close));
    let late = work.connection("late", {
        let work = work.clone();
        move |ask| assert!(ask == Ask::Close && work.phase() == DrainPhase::Idle)
    });
    assert!(late.is_asked(), "who comes during a drain is asked at once");
    drop((bound, late));
    let drained = course.finish(|_, _, _| {});
    assert_eq!((drained.moved, drained.left), (1, 0));
    drop(movable);
    assert_eq!(work.count(), 0);
}

#[test]
fn a_drain_that_is_called_off_asks_nobody_any_more() {
    let work = InFlight::default();
    drop(Course::begin(&work, LONG, LONG));
    let (held, asked) = polite(&work, "after");
    drop(held.busy());
    assert!(!held.is_asked() && asked.try_recv().is_err());
}

#[test]
fn many_threads_end_it_together() {
    const THREADS: usize = 16;
    const PIECES: usize = 200;
    let work = InFlight::default();
    let gate = std::sync::Barrier::new(THREADS + 1);
    let reported = Mutex::new(Vec::new());
    let drained = std::thread::scope(|s| {
        for thread in 0..THREADS {
            let (work, gate) = (&work, &gate);
            s.spawn(move || {
                // One piece each is there from before the drain begins to the thread's end, the others come and go under it.
                let _own = work.task(&format!("thread {thread}"));
                gate.wait();
                for _ in 0..PIECES {
                    drop(work.begin());
                    let connection = work.connection("passing", |_| {});
                    drop(connection.busy());
                }
            });
        }
        gate.wait();
        drain_reporting(&work, &reported)
    });
    assert_eq!((drained.left, work.count()), (0, 0));
    assert!(drained.took < LONG / 10);
    let reported = reported.into_inner().expect("reports");
    assert!(reported.iter().any(|(phase, _)| *phase == DrainPhase::InFlight));
    assert!(
        reported.is_sorted_by_key(|(phase, _)| *phase as u32),
        "phase 1, then phase 2"
    );
}

fn drain_reporting(work: &InFlight, reported: &Mutex<Vec<(DrainPhase, Look)>>) -> Drained {
    Course::begin(work, LONG, LONG).finish(|phase, look, _| {
        reported.lock().expect("reports").push((phase, look.clone()));
    })
}
