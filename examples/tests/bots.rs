//! The bots' program against a small server in this process that can be told to misbehave once: each misbehaviour moves its
//! counter and the exit code; a clean run leaves every fault counter at zero.
//!
//! The server ticks by the clock; the tests wait for its word that it has misbehaved, and for the bots' lines, never for time.

#[path = "bots/server.rs"]
mod server;

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener},
    process::{Child, ChildStdin, Command as Process, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use arena::bots::report::{Event, Report};
use server::{Fault, Host, Order};

/// Longest wait for anything.
const DEADLINE: Duration = Duration::from_secs(20);
const TICK: Duration = Duration::from_micros(16_667);
const BOTS: u32 = 6;

/// The bots' process.
struct Bots {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Bots {
    fn start(address: SocketAddr, bots: u32, arguments: &[&str]) -> Self {
        let mut child = Process::new(env!("CARGO_BIN_EXE_arena-bots"))
            .args(["--address", &address.to_string(), "--bots", &bots.to_string()])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the bots' program");
        let stdout = child.stdout.take().expect("piped");
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            stdin: child.stdin.take(),
            child,
            lines,
        }
    }

    /// Starts them and waits until all have joined.
    fn join(address: SocketAddr, bots: u32, arguments: &[&str]) -> Self {
        let this = Self::start(address, bots, arguments);
        assert_eq!(this.event(), Event::Joined { bots });
        this
    }

    fn event(&self) -> Event {
        let line = self.lines.recv_timeout(DEADLINE).expect("a line from the bots");
        Event::parse(&line).unwrap_or_else(|error| panic!("{error} in {line:?}"))
    }

    fn say(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().expect("open"), "{line}").expect("the bots listen");
    }

    /// Snapshots until `enough` says so.
    fn until(&mut self, enough: impl Fn(&Report) -> bool) -> Report {
        let deadline = Instant::now() + DEADLINE;
        loop {
            self.say("report");
            let Event::Snapshot(report) = self.event() else {
                panic!("expected a snapshot")
            };
            if enough(&report) {
                return *report;
            }
            assert!(Instant::now() < deadline, "not reached within {DEADLINE:?}: {report:?}");
            thread::sleep(TICK);
        }
    }

    /// The last report, the exit code and what stands on stderr.
    fn last(&mut self) -> (Report, i32, String) {
        let Event::Report(report) = self.event() else {
            panic!("expected the last report")
        };
        let (code, stderr) = self.exit();
        (*report, code, stderr)
    }

    fn exit(&mut self) -> (i32, String) {
        let mut stderr = String::new();
        self.child
            .stderr
            .take()
            .expect("piped")
            .read_to_string(&mut stderr)
            .expect("UTF-8");
        (
            self.child.wait().expect("our child").code().expect("not killed"),
            stderr,
        )
    }

    fn finish(mut self) -> (Report, i32) {
        self.say("finish");
        let (report, code, _) = self.last();
        (report, code)
    }
}

impl Drop for Bots {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // Already gone, if all went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The fault counters by name, those at zero left out.
fn faults(report: &Report) -> BTreeMap<&'static str, u64> {
    let all = [
        ("disconnects", report.disconnects),
        ("protocol_errors", report.protocol_errors),
        ("ticks_skipped", report.ticks_skipped),
        ("ticks_doubled", report.ticks_doubled),
        ("commands_lost", report.commands_lost),
        ("commands_doubled", report.commands_doubled),
        ("commands_misordered", report.commands_misordered),
        ("state_mismatches", report.state_mismatches),
        ("generation_backwards", report.generation_backwards),
    ];
    let moved: BTreeMap<_, _> = all.into_iter().filter(|(_, count)| *count > 0).collect();
    assert_eq!(
        moved.values().sum::<u64>(),
        report.faults(),
        "a fault counter missing in this test"
    );
    moved
}

/// A run in which the server misbehaves once.
fn with_fault(fault: Fault) -> Report {
    let host = Host::start(fault);
    let mut bots = Bots::join(host.address, BOTS, &["--commands-per-second", "20"]);
    let before = bots.until(|report| report.commands_acked >= 60);
    assert_eq!(before.faults(), 0, "{before:?}");
    host.misbehave();
    let seen = bots.until(|now| now.frames > before.frames + 60);
    bots.until(|now| now.frames > seen.frames + 60);
    let (report, code) = bots.finish();
    assert_eq!(code, i32::from(report.faults() > 0), "{report:?}");
    report
}

#[test]
fn a_clean_run_leaves_every_counter_at_zero_and_sees_both_rules() {
    let host = Host::start(Fault::None);
    let mut bots = Bots::join(host.address, BOTS, &["--commands-per-second", "20", "--seed", "77"]);
    bots.until(|report| report.rules_seen == [1] && report.commands_acked >= 40);
    bots.say("upgrade begin");
    host.tell(Order::Upgrade(2));
    bots.until(|report| report.rules_seen == [1, 2]);
    bots.say("upgrade end");
    let snapshot = bots.until(|report| report.commands_acked >= 200);
    assert_eq!((snapshot.alive, snapshot.faults()), (BOTS, 0), "{snapshot:?}");
    assert!(
        snapshot.frames_per_second > 0.0 && snapshot.baseline_p50_ms > 0.0,
        "{snapshot:?}"
    );
    let (report, code) = bots.finish();
    assert_eq!((code, report.faults()), (0, 0), "{report:?}");
    assert_eq!((report.alive, report.seed, report.commands_in_flight), (BOTS, 77, 0));
    assert_eq!(report.commands_sent, report.commands_acked);
    assert_eq!((report.generations_seen, report.generation_last), (2, 6));
    assert!(report.bytes > report.frames * 63, "{report:?}");
    assert!(report.first_faults.is_empty());
}

#[test]
fn each_misbehaviour_moves_its_own_counter() {
    let each = [
        (Fault::LoseCommand, "commands_lost"),
        (Fault::DoubleAck, "commands_doubled"),
        (Fault::SwapAcks, "commands_misordered"),
        (Fault::SkipTick, "ticks_skipped"),
        (Fault::DoubleTick, "ticks_doubled"),
        (Fault::WrongScore, "state_mismatches"),
        (Fault::WrongInventory, "state_mismatches"),
        (Fault::WrongWords, "state_mismatches"),
        (Fault::GenerationBack, "generation_backwards"),
    ];
    let check = |(fault, counter)| {
        let report = with_fault(fault);
        assert_eq!(faults(&report), BTreeMap::from([(counter, 1)]), "{fault:?}: {report:?}");
        assert!(!report.first_faults.is_empty(), "{fault:?}");
    };
    // Each has a server and bots of its own.
    thread::scope(|scope| {
        for case in each {
            scope.spawn(move || check(case));
        }
    });
}

#[test]
fn a_command_executed_twice_is_doubled_and_shows_in_the_state() {
    let report = with_fault(Fault::ExecuteTwice);
    assert_eq!(
        faults(&report),
        BTreeMap::from([("commands_doubled", 1), ("state_mismatches", 1)]),
        "{report:?}"
    );
}

#[test]
fn a_connection_that_ends_stays_ended_and_counts() {
    for (fault, counter) in [
        (Fault::Cut, "disconnects"),
        (Fault::Reset, "disconnects"),
        (Fault::BadFrame, "protocol_errors"),
    ] {
        let report = with_fault(fault);
        let mut moved = faults(&report);
        // What that bot had in flight is lost with its connection.
        moved.remove("commands_lost");
        assert_eq!(moved, BTreeMap::from([(counter, 1)]), "{fault:?}: {report:?}");
        assert_eq!(report.alive, BOTS - 1, "{fault:?}");
    }
}

#[test]
fn coalesced_ticks_are_counted_and_no_fault() {
    let report = with_fault(Fault::Coalesce);
    assert_eq!((report.faults(), report.ticks_coalesced), (0, 1), "{report:?}");
}

#[test]
fn a_gap_in_an_upgrade_is_kept_apart() {
    const STALL: Duration = Duration::from_millis(400);
    /// The bots may stamp the frame before the stall late.
    const LEAST_MS: f64 = 200.0;
    let host = Host::start(Fault::None);
    let mut bots = Bots::join(host.address, BOTS, &[]);
    bots.until(|report| report.baseline_gaps > 10);
    bots.say("upgrade begin");
    host.tell(Order::Stall(STALL));
    bots.until(|report| report.upgrade_max_ms >= LEAST_MS);
    let during = bots.until(|report| report.upgrade_gaps > u64::from(BOTS));
    bots.say("upgrade end");
    bots.until(|report| report.baseline_gaps > during.baseline_gaps + 10);
    let (report, code) = bots.finish();
    assert_eq!(code, 0, "{report:?}");
    assert!(
        report.upgrade_max_ms >= LEAST_MS && report.baseline_p50_ms < LEAST_MS,
        "{report:?}"
    );
}

#[test]
fn the_end_of_stdin_or_of_the_duration_finishes() {
    let host = Host::start(Fault::None);
    let mut bots = Bots::join(host.address, BOTS, &[]);
    drop(bots.stdin.take());
    let (report, code, _) = bots.last();
    assert_eq!((code, report.faults(), report.alive), (0, 0, BOTS), "{report:?}");

    let mut bots = Bots::join(host.address, BOTS, &["--first-id", "100", "--duration-seconds", "0.5"]);
    let (report, code, _) = bots.last();
    assert_eq!((code, report.faults()), (0, 0), "{report:?}");
    assert!(report.seconds >= 0.5 && report.frames_per_second > 0.0, "{report:?}");
}

#[test]
fn not_being_able_to_join_exits_2_and_says_why() {
    let free = TcpListener::bind("127.0.0.1:0")
        .expect("a free port")
        .local_addr()
        .expect("bound");
    let mut bots = Bots::start(free, 3, &[]);
    let (report, code, stderr) = bots.last();
    assert_eq!((code, report.alive), (2, 0));
    assert!(
        stderr.contains(&format!("{free}: 0 of 3 bots had connected")) && stderr.contains("refused"),
        "{stderr}"
    );

    // Its queue takes the connections; nobody answers.
    let mute = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = mute.local_addr().expect("bound");
    let mut bots = Bots::start(address, 3, &["--join-timeout-ms", "3000"]);
    let (report, code, stderr) = bots.last();
    assert_eq!((code, report.frames), (2, 0));
    assert!(
        stderr.contains("3 of 3 bots had connected, 0 had joined after 3000 ms"),
        "{stderr}"
    );

    let mut bots = Bots::start(address, 0, &[]);
    let (code, stderr) = bots.exit();
    assert_eq!(code, 2);
    assert!(stderr.contains("--bots"), "{stderr}");
}

/// What the bots cost: `cargo test --release -p handover-examples --test bots -- --ignored --nocapture`.
#[test]
#[ignore = "takes 10 seconds and a quiet machine; run it in release"]
fn five_hundred_bots_take_less_than_a_quarter_of_a_core() {
    const MANY: u32 = 500;
    let host = Host::start(Fault::None);
    let mut bots = Bots::join(host.address, MANY, &["--duration-seconds", "10"]);
    let (report, code, _) = bots.last();
    let share = report.cpu_seconds / report.seconds;
    println!(
        "{:.1} % of a core at {:.0} frames/s",
        100.0 * share,
        report.frames_per_second
    );
    println!(
        "{}",
        Event::Report(Box::new(report.clone())).to_line().expect("plain data")
    );
    assert_eq!((code, report.faults(), report.alive), (0, 0, MANY));
    assert!(share < 0.25, "{share}");
}
