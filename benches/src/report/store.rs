//! `report store`: the populations, the growth, the attaching, put together.

use super::args::Store;
use super::machine::Machine;
use super::observers::{self, Observers};
use super::plan::Plan;
use super::ratios::{self, Ratios};
use super::results::Row;
use super::rounds::{self, Memory, Outcome};
use super::{attach, grow, print};
use crate::Result;
use crate::huge;
use serde::Serialize;
use std::io::Write;
use std::time::Instant;

/// The whole report; as JSON with the names of its fields.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) report: &'static str,
    /// Players behind the ratios.
    pub(super) players: u64,
    pub(super) ratios: Ratios,
    pub(super) rows: Vec<Row>,
    pub(super) memory: Vec<Memory>,
    pub(super) observers: Observers,
    pub(super) machine: Machine,
    pub(super) seconds: f64,
}

pub(super) fn run(options: &Store) -> Result<()> {
    huge::small_objects_too()?;
    let start = Instant::now();
    let plan = Plan::of(options);
    let mut machine = Machine::here();
    let mut outcome = Outcome::default();
    for players in &plan.players {
        rounds::run(&plan, *players, &mut outcome)?;
    }
    let grown = grow::run(&plan)?;
    let attached = attach::run(&plan)?;
    let observers = observers::run(&plan)?;
    let ratios = ratios::of(&outcome, plan.most(), &grown, &attached);
    let mut rows = outcome.results.rows();
    rows.extend(grown.rows);
    rows.extend(attached.rows);
    machine.huge_pages = outcome.placed;
    let report = Report {
        report: "store",
        players: plan.most(),
        ratios,
        rows,
        memory: outcome.memory,
        observers,
        machine,
        seconds: start.elapsed().as_secs_f64(),
    };
    let text = if options.json {
        serde_json::to_string_pretty(&report)? + "\n"
    } else {
        print::table(&report)
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}
