//! Short connections through upgrade after upgrade: none may be refused, reset or left without an answer.

use crate::Result;
use crate::handover::child::{LIMIT, until};
use crate::handover::event::{Event, Order};
use crate::handover::node::Pace;
use crate::handover::short::{Short, Tally};
use crate::report::handover::plan::Plan;
use crate::report::handover::scene::Scene;
use serde::Serialize;
use std::time::{Duration, Instant};

/// What came of it.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(in crate::report) struct Shorts {
    pub(super) upgrades: usize,
    #[serde(flatten)]
    pub(super) tally: Tally,
    pub(super) a_second: f64,
}

pub(super) fn run(plan: &Plan) -> Result<Shorts> {
    let (connections, most) = plan.short;
    if most == 0 {
        return Ok(Shorts::default());
    }
    eprintln!("short connections: {connections} through {most} upgrades");
    let scene = Scene::new(Pace::AtOnce, plan.bytes.min(1 << 20), 1)?;
    let mut old = scene.spawn(|_| {})?;
    old.serving(scene.filling())?;
    let begun = Instant::now();
    let short = Short::start(scene.address())?;
    let mut upgrades = 0;
    while upgrades < most && plan.has(Duration::from_millis(500)) {
        // Evenly spread over all connections, one at the beginning and none at the end.
        let due = connections * upgrades as u64 / most as u64;
        until("short connections", LIMIT, || (short.done() >= due).then_some(()))?;
        let mut new = scene.spawn(|_| {})?;
        new.serving(LIMIT)?;
        old.drained()?;
        old.exit()?;
        old = new;
        upgrades += 1;
    }
    let enough = || (short.done() >= connections || !plan.has(Duration::ZERO)).then_some(());
    until("the last short connections", LIMIT * 3, enough)?;
    let tally = short.finish()?;
    let a_second = tally.all() as f64 / begun.elapsed().as_secs_f64();
    old.tell(Order::Stop)?;
    old.expect(&Event::Stopped)?;
    Ok(Shorts {
        upgrades,
        tally,
        a_second,
    })
}
