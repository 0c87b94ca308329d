//! `handover status`: who serves which node, and how the last handovers went.
//!
//! Everything is read from the control blocks, so it works even if every process of a node hangs.

use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::args;
use super::exit::{Exit, Failure, Report};
use super::look::Found;
use super::text::{self, Align, Table};
use super::view::{HandoverView, NodeView, ParticipantView, ProbationView, ProgressView};
use crate::error::Result;

/// Why a node has no control block.
const EMPTY: &str = "it never ran since the machine was started";

/// What is asked for.
struct Options {
    base: PathBuf,
    node: Option<String>,
    last: usize,
    json: bool,
}

/// `--json` without NODE.
#[derive(Serialize)]
struct List<'a> {
    directory: String,
    nodes: &'a [NodeView],
}

impl From<args::Status> for Options {
    fn from(raw: args::Status) -> Self {
        Self {
            base: raw.place.base(),
            node: raw.node,
            last: raw.last,
            json: raw.json,
        }
    }
}

pub(super) fn run(raw: args::Status) -> std::result::Result<Report, Failure> {
    let options = Options::from(raw);
    match &options.node {
        Some(node) => one(&options, node),
        None => all(&options),
    }
}

fn one(options: &Options, node: &str) -> std::result::Result<Report, Failure> {
    let Some(view) = view(&options.base, node, options.last)? else {
        return Err(unknown(&options.base, node));
    };
    let out = if options.json {
        json(&view)
    } else {
        details(&view, options.last)
    };
    Ok(Report {
        exit: exit(std::slice::from_ref(&view)),
        ..Report::done(out)
    })
}

/// The failure of one who asked for a node that does not exist.
pub(super) fn unknown(base: &Path, node: &str) -> Failure {
    let there = crate::status::nodes(base).unwrap_or_default();
    let there = if there.is_empty() {
        "there are no nodes in it".into()
    } else {
        format!("in it are: {}", there.join(", "))
    };
    Failure::new(
        Exit::Unknown,
        format!("there is no node {node:?} in {}", base.display()),
    )
    .and(there)
    .and("a node is made by the first start of its server; --directory looks elsewhere")
}

fn all(options: &Options) -> std::result::Result<Report, Failure> {
    let mut views = Vec::new();
    for node in crate::status::nodes(&options.base)? {
        match view(&options.base, &node, options.last) {
            Ok(Some(view)) => views.push(view),
            // It was removed since the directory was read.
            Ok(None) => {}
            Err(error) => views.push(NodeView {
                error: Some(error.to_string()),
                ..NodeView::unknown(&node)
            }),
        }
    }
    let directory = options.base.display().to_string();
    let out = if options.json {
        json(&List {
            directory,
            nodes: &views,
        })
    } else if views.is_empty() {
        format!("No nodes in {directory}.\n")
    } else {
        list(&views)
    };
    Ok(Report {
        exit: exit(&views),
        ..Report::done(out)
    })
}

/// `None` if there is no such node.
fn view(base: &Path, node: &str, last: usize) -> Result<Option<NodeView>> {
    Ok(match Found::of(base, node)? {
        Found::Known(status) => Some(NodeView::of(&status, last)?),
        Found::Empty => Some(NodeView {
            serving: Some(false),
            ..NodeView::unknown(node)
        }),
        Found::Absent => None,
    })
}

fn exit(views: &[NodeView]) -> Exit {
    if views.iter().any(|v| v.serving.is_none()) {
        Exit::Unknown
    } else if views.iter().any(|v| v.serving == Some(false)) {
        Exit::Nobody
    } else {
        Exit::Done
    }
}

/// Pretty JSON with a line end.
pub(super) fn json(value: &impl Serialize) -> String {
    match serde_json::to_string_pretty(value) {
        Ok(text) => text + "\n",
        // Only a map with keys that are no strings can fail, and there is none.
        Err(error) => format!("{{\"error\": {:?}}}\n", error.to_string()),
    }
}

fn list(views: &[NodeView]) -> String {
    let mut table = Table::new([
        ("NODE", Align::Left),
        ("OWNER", Align::Left),
        ("BUILD", Align::Left),
        ("GENERATION", Align::Right),
        ("SINCE", Align::Right),
        ("CONNECTIONS", Align::Right),
        ("LAST HANDOVER", Align::Left),
    ]);
    let mut unreadable = String::new();
    for view in views {
        let dash = || "-".to_owned();
        let living = view.owner.as_ref().filter(|_| view.serving == Some(true));
        let who = match view.serving {
            Some(true) => living.map_or_else(dash, |o| o.pid.to_string()),
            Some(false) => "nobody".into(),
            None => "unknown".into(),
        };
        if let Some(error) = &view.error {
            unreadable += &format!("{}: {error}\n", view.node);
        }
        let last = view.handovers.first();
        table.row([
            view.node.clone(),
            who,
            living.map_or_else(dash, |o| o.build_id.clone()),
            view.lease.as_ref().map_or_else(dash, |l| l.generation.to_string()),
            living.map_or_else(dash, |o| ago(Some(o.age_ms))),
            living.map_or_else(dash, |o| o.connections.to_string()),
            last.map_or_else(dash, when) + if view.probation.is_some() { ", on probation" } else { "" },
        ]);
    }
    table.render(0) + &unreadable
}

/// How a handover ended and when, if its beginning is known.
fn when(handover: &HandoverView) -> String {
    let outcome = words(handover.outcome);
    match handover.age_ms {
        Some(_) => format!("{outcome}, {} ago", ago(handover.age_ms)),
        None => outcome,
    }
}

fn details(view: &NodeView, last: usize) -> String {
    let mut fields = vec![("owner", owner(view))];
    if let Some(lease) = &view.lease {
        let slots = match (lease.owner_slot, lease.heir_slot) {
            (Some(owner), Some(heir)) => format!(" by slot {owner} to slot {heir}"),
            (Some(owner), None) => format!(" by slot {owner}"),
            _ => String::new(),
        };
        let generation = lease.generation;
        fields.push(("lease", format!("{}{slots}, generation {generation}", lease.state)));
    }
    let handover = view.handover.as_ref();
    fields.push(("in progress", handover.map_or_else(|| "no handover".into(), progress)));
    if let Some(on) = &view.probation {
        fields.push(("probation", probation(on)));
    }
    let done = text::count(view.completed, "handover");
    fields.push(("since made", format!("{done} completed, {} called off", view.aborted)));
    if let Some(id) = &view.id {
        fields.push(("id", id.clone()));
    }
    let mut out = format!("Node {}\n{}", view.node, text::fields(&fields));
    if !view.participants.is_empty() {
        out += "\nProcesses\n";
        out += &participants(&view.participants);
    }
    if !view.handovers.is_empty() {
        let shown = view.handovers.len().min(last);
        out += &format!("\nLast handovers ({shown}, newest first)\n");
        out += &handovers(&view.handovers);
    }
    if view.serving == Some(false) && view.probation.is_none() {
        out += "\nNobody serves. The next start of the server takes the node up: its regions are recovered.\n";
    }
    out
}

fn owner(view: &NodeView) -> String {
    match &view.owner {
        Some(o) if view.serving == Some(true) => {
            format!("process {} (build {}), for {}", o.pid, o.build_id, ago(Some(o.age_ms)))
        }
        Some(o) if o.alive => format!(
            "none: process {} (build {}) lives and has let go of the node",
            o.pid, o.build_id
        ),
        Some(o) => format!("none: process {} (build {}) is dead", o.pid, o.build_id),
        None if view.lease.is_none() => format!("none: {EMPTY}"),
        None => "none".into(),
    }
}

fn progress(view: &ProgressView) -> String {
    let successor = view
        .successor_pid
        .map_or_else(|| "a process".into(), |pid| format!("process {pid}"));
    let deadline = match view.deadline_left_ms {
        None => String::new(),
        Some(left @ 0..) => format!(", at most {} more", ago(Some(left.unsigned_abs()))),
        Some(over) => format!(", {} over its deadline", ago(Some(over.unsigned_abs()))),
    };
    let (phase, since) = (words(view.phase), ago(Some(view.running_ms)));
    format!("to {successor} for {since}: {phase}{deadline}")
}

fn probation(view: &ProbationView) -> String {
    let parked = format!("process {} (build {})", view.parked_pid, view.parked_build_id);
    if view.phase == "returning" {
        return format!("the node goes back to {parked}");
    }
    let beat = match view.heartbeat_age_ms {
        Some(age) => format!("its last pass was {} ago", ago(Some(age))),
        None => "it had no pass yet".into(),
    };
    let (owner, left) = (view.owner_pid, ago(Some(view.left_ms)));
    format!("of process {owner}, {left} left; {beat}; {parked} could take the node back")
}

fn participants(rows: &[ParticipantView]) -> String {
    let mut table = Table::new([
        ("SLOT", Align::Right),
        ("PID", Align::Right),
        ("STATE", Align::Left),
        ("BUILD", Align::Left),
        ("SINCE", Align::Right),
        ("CONNECTIONS", Align::Right),
        ("IN FLIGHT", Align::Right),
        ("MUST END IN", Align::Right),
    ]);
    for row in rows {
        table.row([
            row.slot.to_string(),
            row.pid.to_string(),
            if row.alive { row.state } else { "dead" }.into(),
            row.build_id.clone(),
            ago(Some(row.age_ms)),
            row.connections.to_string(),
            row.in_flight.to_string(),
            ago(row.drain_left_ms),
        ]);
    }
    table.render(2)
}

fn handovers(rows: &[HandoverView]) -> String {
    let mut table = Table::new([
        ("AGO", Align::Right),
        ("OUTCOME", Align::Left),
        ("GENERATION", Align::Left),
        ("PREPARE ms", Align::Right),
        ("BLACKOUT µs", Align::Right),
        ("NOISE µs", Align::Right),
        ("CONNECTIONS", Align::Right),
        ("REASON", Align::Left),
    ]);
    for row in rows {
        table.row([
            ago(row.age_ms),
            words(row.outcome),
            format!("{} -> {}", row.from_generation, row.to_generation),
            text::decimal(row.prepare_ms),
            text::decimal(row.blackout_us),
            text::decimal(row.noise_us),
            row.connections.to_string(),
            match row.give_back_ms {
                Some(ms) => format!("{}; back after {ms:.1} ms", row.reason),
                None => row.reason.clone(),
            },
        ]);
    }
    table.render(2)
}

/// A key of the JSON as words.
fn words(key: &str) -> String {
    key.replace('_', " ")
}

fn ago(millis: Option<u64>) -> String {
    millis.map_or_else(|| "-".into(), |ms| text::roughly(Duration::from_millis(ms)))
}
