//! Upgrades as they are made: a new process is started while the old one serves busy connections, in ticks. What the clients see, beside
//! windows of the same length without an upgrade; how long it takes; what memory both have when both have everything.

use crate::Result;
use crate::handover::child::{LIMIT, Memory};
use crate::handover::event::{Event, Order};
use crate::handover::node::Pace;
use crate::handover::quantiles::Quantiles;
use crate::report::handover::plan::Plan;
use crate::report::handover::reply::Load;
use crate::report::handover::scene::Scene;
use serde::Serialize;
use std::time::{Duration, Instant};

/// How long what is under way may take at the end.
const ANSWERS: Duration = Duration::from_secs(3);

/// What came of it.
#[derive(Clone, Debug, Default, Serialize)]
pub(in crate::report) struct Upgrades {
    pub(super) bytes: u64,
    pub(super) connections: usize,
    pub(super) tick_ms: f64,
    /// Longest time in which a client heard nothing, ms, a window each, without and with an upgrade.
    pub(super) gap_without_ms: Option<Quantiles>,
    pub(super) gap_with_ms: Option<Quantiles>,
    /// From the start of the new program to its first answer, ms.
    pub(super) serves_after_ms: Option<Quantiles>,
    /// From the start of the new program to the end of the old process, ms.
    pub(super) old_gone_after_ms: Option<Quantiles>,
    pub(super) memory: Peak,
    pub(super) load: Load,
}

/// Memory when both processes have everything.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(in crate::report) struct Peak {
    /// The old one alone, before.
    pub(super) alone: Memory,
    pub(super) old: Memory,
    pub(super) new: Memory,
}

impl Upgrades {
    /// How much longer the longest gap of an upgrade is, by the medians, ms.
    pub(super) fn over_ms(&self) -> Option<f64> {
        Some(self.gap_with_ms?.p50 - self.gap_without_ms?.p50)
    }
}

pub(super) fn run(plan: &Plan) -> Result<Upgrades> {
    if plan.upgrades == 0 {
        return Ok(Upgrades::default());
    }
    let (bytes, connections) = (plan.main.bytes, plan.busy);
    eprintln!("upgrades: {} MiB, {connections} busy connections", bytes >> 20);
    let scene = Scene::new(Pace::Ticks(plan.tick), bytes, 1)?;
    let mut old = scene.spawn(|_| {})?;
    old.serving(scene.filling())?;
    let clients = scene.clients(connections)?;
    let mut memory = Peak {
        alone: old.memory()?,
        ..Peak::default()
    };
    let [mut without, mut with, mut serves, mut gone] = [const { Vec::new() }; 4];
    for number in 0..plan.upgrades {
        if !plan.has(plan.window * 2) {
            break;
        }
        clients.window()?;
        // A window is a length of time: nothing ends it.
        std::thread::sleep(plan.window);
        without.push(clients.window()?);

        let begun = Instant::now();
        // The first is held for a look at the memory: its times count for nothing.
        let hold = number == 0;
        let asked = shmstate::monotonic_ns();
        let mut new = scene.spawn(|options| options.hold = hold)?;
        if hold {
            new.expect(&Event::Started)?;
            memory.old = old.memory()?;
            memory.new = new.memory()?;
            new.tell(Order::Go)?;
        }
        let serving = new.serving(LIMIT)?;
        let first = clients.first_of(serving.generation as u32, LIMIT)?;
        old.drained()?;
        let end = old.exit()?;
        if !hold {
            serves.push((first - asked) as f64 / 1e6);
            gone.push((end - asked) as f64 / 1e6);
        }
        // The rest of the window.
        std::thread::sleep(plan.window.saturating_sub(begun.elapsed()));
        with.push(clients.window()?);
        old = new;
    }
    let load = Load::of(with.len(), &clients.finish(ANSWERS)?);
    old.tell(Order::Stop)?;
    old.expect(&Event::Stopped)?;
    Ok(Upgrades {
        bytes,
        connections,
        tick_ms: plan.tick.as_secs_f64() * 1e3,
        gap_without_ms: Quantiles::of(&without),
        gap_with_ms: Quantiles::of(&with),
        serves_after_ms: Quantiles::of(&serves),
        old_gone_after_ms: Quantiles::of(&gone),
        memory,
        load,
    })
}
