//! Give-back: the new owner dies in its probation. From the moment before the signal is sent, SIGKILL and SIGSEGV with core dumps on in
//! turn, to the first pass of the old process, which serves again.

use crate::Result;
use crate::handover::child::{LIMIT, until};
use crate::handover::event::{Event, Order};
use crate::handover::node::{Options, Pace};
use crate::handover::quantiles::Quantiles;
use crate::report::handover::plan::Plan;
use crate::report::handover::reply::Load;
use crate::report::handover::scene::{Scene, pid};
use rustix::process::{Signal, kill_process};
use serde::Serialize;
use std::time::Duration;

/// How long a new owner is on probation: longer than it lives here.
const PROBATION_MS: u64 = 20_000;
/// How long what is under way may take at the end.
const ANSWERS: Duration = Duration::from_secs(3);
/// About as long does one take, with the upgrade before.
const ROUND: Duration = Duration::from_millis(500);

/// What came of it.
#[derive(Clone, Debug, Default, Serialize)]
pub(in crate::report) struct GiveBack {
    pub(super) bytes: u64,
    pub(super) connections: usize,
    /// All of them.
    pub(super) first_pass_ms: Option<Quantiles>,
    pub(super) by_kill_ms: Option<Quantiles>,
    pub(super) by_crash_ms: Option<Quantiles>,
    /// From the signal to the first answer that a client read: this server answers in ticks.
    pub(super) first_answer_ms: Option<Quantiles>,
    /// What the clients saw of upgrades and deaths; the deaths are not counted as upgrades.
    pub(super) load: Load,
    /// Why there are fewer, or none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) note: Option<String>,
}

fn on_probation(options: &mut Options) {
    options.probation_ms = PROBATION_MS;
    options.core = true;
}

/// Whether a process catches a signal; nothing if it is dead.
fn catches(pid: u32, signal: Signal) -> Option<bool> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
    let caught = u64::from_str_radix(caught.trim(), 16).ok()?;
    Some(caught >> (signal.as_raw() - 1) & 1 == 1)
}

pub(super) fn run(plan: &Plan) -> Result<GiveBack> {
    let (bytes, connections) = (plan.main.bytes, plan.main.connections);
    let mut outcome = GiveBack {
        bytes,
        connections,
        ..GiveBack::default()
    };
    if plan.give_backs == 0 {
        return Ok(outcome);
    }
    if !plan.has(ROUND * plan.give_backs as u32) {
        outcome.note = Some("skipped: no time is left in this run".into());
        return Ok(outcome);
    }
    eprintln!("give-back: {} MiB, {connections} connections", bytes >> 20);
    let scene = Scene::new(Pace::Ticks(plan.tick), bytes, 1)?;
    let mut old = scene.spawn(on_probation)?;
    old.serving(scene.filling())?;
    let clients = scene.clients(connections)?;
    let [mut all, mut killed, mut crashed, mut answered] = [const { Vec::new() }; 4];
    for number in 0..plan.give_backs {
        if !plan.has(ROUND) {
            outcome.note = Some(format!("{number} of {}: no time is left in this run", plan.give_backs));
            break;
        }
        let mut new = scene.spawn(on_probation)?;
        let serving = new.serving(LIMIT)?;
        old.expect(&Event::HandedOver)?;
        clients.first_of(serving.generation as u32, LIMIT)?;
        scene.parked(old.pid())?;

        let (signal, of_kind) = match number % 2 {
            0 => (Signal::KILL, &mut killed),
            _ => (Signal::SEGV, &mut crashed),
        };
        let target = pid(new.pid())?;
        if signal == Signal::SEGV {
            // The first is caught by Rust's look for stack overflows, which puts the default back: the next one is deadly, as a
            // fault's second would be.
            kill_process(target, signal)?;
            until("the default for SIGSEGV", LIMIT, || {
                (!catches(new.pid(), signal)?).then_some(())
            })?;
        }
        let sent = shmstate::monotonic_ns();
        kill_process(target, signal)?;
        let back = old.serving(LIMIT)?;
        let took = back.first_pass.saturating_sub(sent) as f64 / 1e6;
        all.push(took);
        of_kind.push(took);
        let first = clients.first_of(back.generation as u32, LIMIT)?;
        answered.push(first.saturating_sub(sent) as f64 / 1e6);
        new.exit()?;
    }
    outcome.load = Load::of(all.len(), &clients.finish(ANSWERS)?);
    old.tell(Order::Stop)?;
    old.expect(&Event::Stopped)?;
    outcome.first_pass_ms = Quantiles::of(&all);
    outcome.by_kill_ms = Quantiles::of(&killed);
    outcome.by_crash_ms = Quantiles::of(&crashed);
    outcome.first_answer_ms = Quantiles::of(&answered);
    Ok(outcome)
}
