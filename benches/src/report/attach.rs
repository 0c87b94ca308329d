//! Attaching to a filled region, and opening one whose owner was killed in a transaction, by size of the region.

use super::plan::{GIB, Plan};
use super::results::{Row, Spread};
use crate::Result;
use crate::engine::Blobs;
use shmstate::lease::LocalLease;
use shmstate::{Gate, Inspection, Region};
use std::hint::black_box;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

/// Records that the killed transaction had changed.
const CHANGED: u64 = 100;
/// Attaching, and opening after a kill: names in results without and with page tables.
const NAMES: [[&str; 2]; 2] = [
    ["attach_header", "attach_page_tables"],
    ["recover_header", "recover_page_tables"],
];

/// The rows, and the medians for a region of 1 GiB in milliseconds.
#[derive(Debug, Default)]
pub(super) struct Attached {
    pub(super) rows: Vec<Row>,
    pub(super) header_ms: Option<f64>,
    pub(super) page_tables_ms: Option<f64>,
}

pub(super) fn run(plan: &Plan) -> Result<Attached> {
    let mut attached = Attached::default();
    for size in &plan.sizes {
        eprintln!("attaching and recovering {} MiB", size >> 20);
        let blobs = Blobs::filled(*size)?;
        let attaching = attach(plan, &blobs)?;
        if *size == GIB {
            let [header, page_tables] = &attaching;
            attached.header_ms = Spread::of(header).map(|ns| ns.median / 1e6);
            attached.page_tables_ms = Spread::of(page_tables).map(|ns| ns.median / 1e6);
        }
        let recovering = recover(plan, &blobs)?;
        for (names, times) in NAMES.iter().zip([attaching, recovering]) {
            for (operation, times) in names.iter().zip(times) {
                attached.rows.push(Row {
                    operation,
                    engine: "shmstate",
                    players: 0,
                    distribution: None,
                    region_bytes: Some(blobs.bytes()),
                    ns: Spread::of(&times),
                    rounds: times.len(),
                    operations: 1,
                    note: None,
                });
            }
        }
    }
    Ok(attached)
}

fn attach(plan: &Plan, blobs: &Blobs) -> Result<[Vec<f64>; 2]> {
    let descriptor = blobs.descriptor()?;
    // That of a successor, which does not own the node yet.
    let gate = Gate::closed(Arc::new(LocalLease::default()));
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..plan.attach_rounds {
        for (prefault, times) in [false, true].into_iter().zip(&mut times) {
            let descriptor = descriptor.try_clone()?;
            let start = Instant::now();
            let options = Region::options().gate(&gate).prefault(prefault);
            let region = black_box(options.attach(blobs.name(), descriptor)?);
            times.push(start.elapsed().as_nanos() as f64);
            drop(region);
        }
    }
    Ok(times)
}

fn recover(plan: &Plan, blobs: &Blobs) -> Result<[Vec<f64>; 2]> {
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..plan.attach_rounds {
        for (prefault, times) in [false, true].into_iter().zip(&mut times) {
            kill_in_transaction(blobs)?;
            let start = Instant::now();
            let region = black_box(Region::options().prefault(prefault).open(blobs.name())?);
            times.push(start.elapsed().as_nanos() as f64);
            if region.recovered().entries == 0 {
                return Err("recovery had nothing to do".into());
            }
        }
    }
    Ok(times)
}

/// A child that is killed when it goes out of scope.
struct Doomed(Child);

impl Drop for Doomed {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts this program as the region's owner, waits until its transaction is open, kills it.
fn kill_in_transaction(blobs: &Blobs) -> Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["leave-open", blobs.name(), &CHANGED.to_string()]);
    let mut owner = Doomed(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?);
    let mut line = String::new();
    if let Some(stdout) = owner.0.stdout.take() {
        BufReader::new(stdout).read_line(&mut line)?;
    }
    if line != "open\n" {
        return Err(format!("the process that is to be killed said {line:?}").into());
    }
    drop(owner);
    let left = Inspection::of(blobs.name())?;
    if left.held || left.log == 0 {
        return Err(format!("the killed owner left a log of {} bytes, held: {}", left.log, left.held).into());
    }
    Ok(())
}
