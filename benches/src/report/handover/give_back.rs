//! Give-back: the new owner dies in its probation. From the moment before the signal is sent, SIGKILL and SIGSEGV with core dumps on in
//! turn, to the first pass of the old process, which serves again. Then by SIGKILL with the world in small pages, as on a system without others.

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
    /// Both kinds of death, with pages as they come.
    pub(super) first_pass_ms: Option<Quantiles>,
    pub(super) by_kill_ms: Option<Quantiles>,
    pub(super) by_crash_ms: Option<Quantiles>,
    /// Where nobody has pages of 2 MiB, so that a process takes long to give its memory up.
    pub(super) by_kill_in_small_pages_ms: Option<Quantiles>,
    /// From the signal to the first answer that a client read: this server answers in ticks.
    pub(super) first_answer_ms: Option<Quantiles>,
    /// What the clients saw of upgrades and deaths; the deaths are not counted as upgrades.
    pub(super) load: Load,
    /// Why there are fewer, or none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) note: Option<String>,
}

/// What a round is like.
#[derive(Clone, Copy)]
struct Kind {
    /// Everybody has to do with small pages.
    small: bool,
    signals: &'static [Signal],
}

const LARGE: Kind = Kind {
    small: false,
    signals: &[Signal::KILL, Signal::SEGV],
};
const SMALL: Kind = Kind {
    small: true,
    signals: &[Signal::KILL],
};

/// A death, and what it took until the old process served.
struct Death {
    signal: Signal,
    first_pass_ms: f64,
    first_answer_ms: f64,
}

/// Deaths of one scene.
#[derive(Default)]
struct Deaths {
    all: Vec<Death>,
    load: Load,
    note: Option<String>,
}

impl Deaths {
    fn quantiles(&self, of: impl Fn(&Death) -> Option<f64>) -> Option<Quantiles> {
        Quantiles::of(&self.all.iter().filter_map(of).collect::<Vec<_>>())
    }

    fn by(&self, signal: Signal) -> Option<Quantiles> {
        self.quantiles(|death| (death.signal == signal).then_some(death.first_pass_ms))
    }
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
    let large = deaths(plan, LARGE, plan.give_backs)?;
    let small = deaths(plan, SMALL, plan.give_backs / 2)?;
    Ok(GiveBack {
        bytes,
        connections,
        first_pass_ms: large.quantiles(|death| Some(death.first_pass_ms)),
        by_kill_ms: large.by(Signal::KILL),
        by_crash_ms: large.by(Signal::SEGV),
        first_answer_ms: large.quantiles(|death| Some(death.first_answer_ms)),
        by_kill_in_small_pages_ms: small.by(Signal::KILL),
        load: large.load.and(small.load),
        note: large.note.or(small.note),
    })
}

fn deaths(plan: &Plan, kind: Kind, times: usize) -> Result<Deaths> {
    let (bytes, connections) = (plan.main.bytes, plan.main.connections);
    let mut deaths = Deaths::default();
    if times == 0 {
        return Ok(deaths);
    }
    if !plan.has(ROUND * times as u32) {
        deaths.note = Some("skipped: no time is left in this run".into());
        return Ok(deaths);
    }
    let pages = if kind.small { ", in small pages" } else { "" };
    eprintln!("give-back: {} MiB{pages}, {connections} connections", bytes >> 20);
    let on_probation = |options: &mut Options| {
        options.probation_ms = PROBATION_MS;
        options.core = true;
        options.small_pages = kind.small;
    };
    let scene = Scene::new(Pace::Ticks(plan.tick), bytes, 1)?;
    let mut old = scene.spawn(on_probation)?;
    let first = old.serving(scene.filling())?;
    if kind.small && first.huge > 0 {
        deaths.note = Some(format!(
            "no small pages: {} bytes are in large ones all the same",
            first.huge
        ));
        return Ok(deaths);
    }
    let clients = scene.clients(connections)?;
    for (number, signal) in kind.signals.iter().copied().cycle().take(times).enumerate() {
        if !plan.has(ROUND) {
            deaths.note = Some(format!("{number} of {times}: no time is left in this run"));
            break;
        }
        let mut new = scene.spawn(on_probation)?;
        let serving = new.serving(LIMIT)?;
        old.expect(&Event::HandedOver)?;
        clients.first_of(serving.generation as u32, LIMIT)?;
        scene.parked(old.pid())?;

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
        let ms_after = |at: u64| at.saturating_sub(sent) as f64 / 1e6;
        let back = old.serving(LIMIT)?;
        let first = clients.first_of(back.generation as u32, LIMIT)?;
        deaths.all.push(Death {
            signal,
            first_pass_ms: ms_after(back.first_pass),
            first_answer_ms: ms_after(first),
        });
        new.exit()?;
    }
    deaths.load = Load::of(deaths.all.len(), &clients.finish(ANSWERS)?);
    old.tell(Order::Stop)?;
    old.expect(&Event::Stopped)?;
    Ok(deaths)
}
