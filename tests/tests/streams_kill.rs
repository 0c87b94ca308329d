//! A connection outlives its server, killed again and again at any instruction, byte for byte (H7, S1–S5).
//!
//! `STREAMS_SEED=… cargo test --test streams_kill` repeats a run with the same bytes, pieces and choices; the instants of
//! the kills are the machine's.

use actors::echo::client::Mismatch;
use actors::echo::pair::Over;
use actors::echo::run::{Outcome, Plan, Tally, run};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// One run at a time: the instants of the kills mean nothing on a machine that is busy with another run.
static ONE: Mutex<()> = Mutex::new(());

/// Runs until one met everything, at most.
const TRIES: u32 = 4;

/// Output rings of so many bytes fill a socket whose buffers are small.
const BLOCKING: u32 = 4096;

fn plan(over: Over, rings: (u32, u32), kills: u64) -> Plan {
    let seed = std::env::var("STREAMS_SEED")
        .ok()
        .and_then(|seed| u64::from_str_radix(&seed, 16).ok())
        .unwrap_or_else(|| fastrand::u64(..));
    Plan {
        server: PathBuf::from(env!("CARGO_BIN_EXE_echo-streams")),
        seed,
        kills,
        over,
        rings,
        small_buffers: false,
        trust_hints: false,
    }
}

fn told(plan: &Plan) -> Outcome {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    println!("STREAMS_SEED={:x} {plan:?}", plan.seed);
    let begin = Instant::now();
    let outcome = run(plan).expect("a run");
    println!("{outcome:?} in {:?}", begin.elapsed());
    let left = format!("echo-{}-{:016x}", std::process::id(), plan.seed);
    assert!(
        !std::path::Path::new("/dev/shm").join(left).exists(),
        "the region is left"
    );
    outcome
}

fn exact(plan: &Plan) -> Tally {
    let Outcome::Exact(tally) = told(plan) else {
        panic!("not byte for byte: see above");
    };
    assert!(tally.kills >= plan.kills, "{tally:?}");
    assert!(tally.written > 0 && tally.read > tally.written, "{tally:?}");
    assert_eq!(
        (tally.counts.consumed, tally.counts.produced),
        (tally.written, tally.read)
    );
    tally
}

/// What did not happen that has to, or the run proves little. (Whether a socket is full with the smallest rings is chance.)
fn missing(plan: &Plan, tally: &Tally) -> Vec<&'static str> {
    let counts = &tally.counts;
    let mut wanted = vec![
        ("kills in a start", tally.kills_in_start),
        ("kills after the client's end", tally.kills_after_end),
        ("streams continued", tally.continued),
        ("transactions taken back", tally.logs_undone),
        ("hints of input behind the kernel", tally.input_behind),
        ("hints of output behind the kernel", tally.output_behind),
        ("full input rings", counts.full),
        ("full output rings", counts.no_room),
        ("transactions rolled back", counts.rolled_back),
        ("rings given back", counts.given_back),
    ];
    if plan.rings.1 >= BLOCKING {
        wanted.push(("blocked sockets", counts.blocked));
    }
    wanted.retain(|(_, times)| *times == 0);
    wanted.into_iter().map(|(what, _)| what).collect()
}

/// Runs it until everything happened that has to: where a kill falls is the machine's, and the last server, who has little
/// left to do, may be done before it is met. Each of the runs has to be byte for byte.
fn hard_enough(mut plan: Plan) {
    for _ in 1..TRIES {
        let tally = exact(&plan);
        let missing = missing(&plan, &tally);
        if missing.is_empty() {
            return;
        }
        println!("once more, for there were no {missing:?}: {tally:?}");
        plan.seed = plan.seed.wrapping_add(1);
    }
    let tally = exact(&plan);
    let missing = missing(&plan, &tally);
    assert!(missing.is_empty(), "no {missing:?}: {tally:?}");
}

#[test]
fn five_hundred_kills_on_one_connection() {
    let mut plan = plan(Over::Ipv4, (4096, 4096), 500);
    plan.small_buffers = true;
    hard_enough(plan);
}

#[test]
fn kills_over_ipv6() {
    let mut plan = plan(Over::Ipv6, (4096, 4096), 200);
    plan.small_buffers = true;
    hard_enough(plan);
}

/// Nothing is counted there: the note is all (S6).
#[test]
fn five_hundred_kills_on_a_unix_socket() {
    let mut plan = plan(Over::Unix, (4096, 4096), 500);
    plan.small_buffers = true;
    hard_enough(plan);
}

#[test]
fn kills_with_the_smallest_rings() {
    let mut plan = plan(Over::Ipv4, (256, 256), 250);
    plan.small_buffers = true;
    hard_enough(plan);
}

#[test]
fn kills_with_large_rings_and_large_buffers() {
    exact(&plan(Over::Ipv4, (1 << 16, 1 << 17), 100));
    exact(&plan(Over::Unix, (1 << 16, 1 << 17), 100));
}

/// The negative control: a server that asks neither the kernel nor the note must be found out.
#[test]
fn a_server_that_trusts_its_hints_is_found_out() {
    for over in [Over::Ipv4, Over::Unix] {
        let mut plan = plan(over, (4096, 4096), 500);
        plan.small_buffers = true;
        plan.trust_hints = true;
        match told(&plan) {
            Outcome::Mismatch(Mismatch::Byte { .. }, tally) => assert!(tally.kills > 0),
            other => panic!("no wrong byte after so many kills without a resync: {other:?}"),
        }
    }
}
