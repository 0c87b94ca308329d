//! `handover inspect`: looks into a region, read-only and without any right to it.
//!
//! How a region is named stands in `region`. Whether a recovery
//! would take something back is a question of two facts, both shown: what the undo log holds, and whether an owner lives.

use serde::Serialize;
use shmstate::{Activity, Inspection, TableInfo};
use std::path::{Path, PathBuf};

use super::args;
use super::exit::{Failure, Report};
use super::look::Found;
use super::objects::{MOUNT, ObjectView, node_of, objects};
use super::region::{Name, is_beside};
use super::status::json;
use super::text::{self, Align, Table};
use crate::error::Result;
pub(super) use crate::node::manifest::kind;
use crate::os::dir::NodeId;

/// What is asked for.
struct Options {
    base: PathBuf,
    region: Option<Name>,
    schemas: bool,
    all: bool,
    json: bool,
}

/// A region, for `--json` (X1).
#[derive(Serialize)]
struct RegionView {
    object: String,
    /// The node it belongs to, if that is known here.
    node: Option<String>,
    node_id: Option<String>,
    region_id: String,
    format: String,
    capacity_bytes: u64,
    taken_bytes: u64,
    heap_bytes: u64,
    made_at_unix_ns: u64,
    this_boot: bool,
    /// Whether a living process owns it: by the node's lease, else by the region's lock.
    owned: bool,
    /// `idle`, `transaction`, `commit`, `growth` or `recovery`.
    activity: &'static str,
    log_bytes: u64,
    log_capacity_bytes: u64,
    /// `clean`, `in_transaction` (the owner lives) or `to_recover` (it does not).
    recovery: &'static str,
    commits: u64,
    rollbacks: u64,
    recoveries: u64,
    entries_undone: u64,
    growth_steps: u64,
    memory: MemoryView,
    tables: Vec<TableView>,
}

/// Where its memory comes from.
#[derive(Serialize)]
struct MemoryView {
    mount: String,
    page_bytes: u64,
    reserved_bytes: u64,
    /// What is meant to lie on pages of 2 MiB, and what does.
    huge_wanted_bytes: u64,
    huge_bytes: u64,
    not_collapsed: u64,
    /// Inside of what is taken, given back to the mount; and all that ever was.
    holes_bytes: u64,
    given_back_bytes: u64,
}

/// A table of it.
#[derive(Serialize)]
struct TableView {
    name: String,
    /// `map`, `slab`, `cell`, `queue`, `ordered`, `timers`, `streams`; null for a kind of a later version.
    kind: Option<&'static str>,
    records: u64,
    /// Those of them that are still of an older version.
    older_records: u64,
    /// Those that are still to move to other tables.
    to_move: u64,
    archived_bytes: u64,
    /// Whether its records carry checksums.
    checksums: bool,
    schema_version: u16,
    /// 32 hex digits.
    fingerprint: String,
    /// Only with `--schemas`.
    schema: Option<String>,
}

#[derive(Serialize)]
struct List {
    regions: Vec<ObjectView>,
}

impl Options {
    fn resolve(raw: args::Inspect) -> std::result::Result<Self, Failure> {
        let region = raw.region.as_deref().map(Name::parse).transpose()?;
        Ok(Self {
            base: raw.place.base(),
            region,
            schemas: raw.schemas,
            all: raw.all,
            json: raw.json,
        })
    }
}

pub(super) fn run(raw: args::Inspect) -> std::result::Result<Report, Failure> {
    let options = Options::resolve(raw)?;
    let Some(name) = &options.region else {
        return list(&options);
    };
    let mut found = name.inspect(&options.base)?;
    if !options.all {
        found.tables.retain(|table| !is_beside(&table.name));
    }
    let view = view(&options.base, found, options.schemas)?;
    let out = if options.json { json(&view) } else { details(&view) };
    Ok(Report::done(out))
}

fn view(base: &Path, found: Inspection, schemas: bool) -> Result<RegionView> {
    let node_id = u128::from(found.node_id[1]) << 64 | u128::from(found.node_id[0]);
    let node = (node_id != 0).then(|| node_of(base, node_id)).flatten();
    let owned = match &node {
        Some(node) => Found::of(base, node)?.owner().is_some(),
        None => found.held,
    };
    let recovery = match (found.log, owned) {
        (0, _) => "clean",
        (_, true) => "in_transaction",
        (_, false) => "to_recover",
    };
    Ok(RegionView {
        object: found.name,
        node,
        node_id: (node_id != 0).then(|| NodeId(node_id).to_string()),
        region_id: format!("{:016x}{:016x}", found.id[1], found.id[0]),
        format: format!("{:?}", found.format).to_lowercase(),
        capacity_bytes: found.capacity,
        taken_bytes: found.taken,
        heap_bytes: found.heap,
        made_at_unix_ns: found.made_at,
        this_boot: found.this_boot,
        owned,
        activity: activity(found.activity),
        log_bytes: found.log,
        log_capacity_bytes: found.log_capacity,
        recovery,
        commits: found.commits,
        rollbacks: found.rollbacks,
        recoveries: found.recoveries,
        entries_undone: found.entries_undone,
        growth_steps: found.growth_steps,
        memory: MemoryView {
            mount: found.memory.mount,
            page_bytes: found.memory.page,
            reserved_bytes: found.memory.reserved,
            huge_wanted_bytes: found.memory.huge_wanted,
            huge_bytes: found.memory.huge,
            not_collapsed: found.memory.not_collapsed,
            holes_bytes: found.memory.holes,
            given_back_bytes: found.memory.given_back,
        },
        tables: found.tables.into_iter().map(|t| table(t, schemas)).collect(),
    })
}

fn table(found: TableInfo, schemas: bool) -> TableView {
    TableView {
        name: text::clean(&found.name),
        kind: found.kind.and_then(kind),
        records: found.records,
        older_records: found.older,
        to_move: found.moving.map_or(0, |moving| moving.left),
        archived_bytes: found.archived_bytes,
        checksums: found.checksums,
        schema_version: found.version,
        fingerprint: format!("{:032x}", found.fingerprint),
        schema: schemas.then(|| text::clean(&found.description)),
    }
}

/// What a kind of table is called.
const fn activity(activity: Activity) -> &'static str {
    match activity {
        Activity::Idle => "idle",
        Activity::Transaction => "transaction",
        Activity::Commit => "commit",
        Activity::Growth => "growth",
        Activity::Recovery => "recovery",
    }
}

fn taken(view: &RegionView) -> String {
    let taken = text::bytes(view.taken_bytes);
    match view.memory.holes_bytes {
        0 => taken,
        holes => format!("{taken}, of which {} are given back", text::bytes(holes)),
    }
}

fn large_pages(memory: &MemoryView) -> String {
    let (got, wanted) = (memory.huge_bytes, memory.huge_wanted_bytes);
    match (got, wanted) {
        (_, 0) => "none wanted for a region of this size".into(),
        (got, wanted) if got < wanted => format!(
            "{} of {}; {} could not be made by the system",
            text::short_bytes(got),
            text::short_bytes(wanted),
            memory.not_collapsed
        ),
        _ => format!("all of {}", text::short_bytes(wanted)),
    }
}

fn details(view: &RegionView) -> String {
    let owner = match (&view.node, view.owned) {
        (Some(node), true) => format!("the living owner of the node {node}"),
        (Some(node), false) => format!("nobody: the node {node} has no living owner"),
        (None, true) => "a living process".into(),
        (None, false) => "nobody".into(),
    };
    let boot = if view.this_boot { "this boot" } else { "an earlier boot" };
    let recovery = match view.recovery {
        "clean" => "clean: nothing to take back".into(),
        "in_transaction" => format!(
            "the owner is in a transaction ({}): {} of undo log; if it died now, they would be taken back",
            view.activity,
            text::bytes(view.log_bytes)
        ),
        _ => format!(
            "the owner died ({}): the next start takes back {} of undo log",
            view.activity,
            text::bytes(view.log_bytes)
        ),
    };
    let fields = [
        ("owned by", owner),
        ("recovery", recovery),
        ("format", format!("{}, made in {boot}", view.format)),
        ("id", view.region_id.clone()),
        ("capacity", text::bytes(view.capacity_bytes)),
        ("taken", taken(view)),
        ("heap", text::bytes(view.heap_bytes)),
        (
            "memory",
            format!(
                "from {}, in pages of {}",
                text::clean(&view.memory.mount),
                text::short_bytes(view.memory.page_bytes)
            ),
        ),
        ("large pages", large_pages(&view.memory)),
        ("undo log", format!("room for {}", text::bytes(view.log_capacity_bytes))),
        (
            "transactions",
            format!("{} committed, {} rolled back", view.commits, view.rollbacks),
        ),
        (
            "recoveries",
            format!("{}, log entries undone: {}", view.recoveries, view.entries_undone),
        ),
        (
            "growth",
            format!("{} by the writer itself", text::count(view.growth_steps, "small step")),
        ),
    ];
    let mut out = format!("Region {}\n{}", view.object, text::fields(&fields));
    if view.tables.is_empty() {
        return out + "\nNo tables.\n";
    }
    let mut table = Table::new([
        ("TABLE", Align::Left),
        ("KIND", Align::Left),
        ("RECORDS", Align::Right),
        ("ARCHIVED", Align::Right),
        ("BYTES", Align::Right),
        ("SCHEMA", Align::Right),
        ("FINGERPRINT", Align::Left),
    ]);
    for t in &view.tables {
        table.row([
            t.name.clone(),
            t.kind.unwrap_or("unknown").into(),
            match t.to_move {
                0 => t.records.to_string(),
                left => format!("{} ({left} to move)", t.records),
            },
            text::short_bytes(t.archived_bytes),
            t.archived_bytes.to_string(),
            match t.older_records {
                0 => t.schema_version.to_string(),
                older => format!("{} ({older} older)", t.schema_version),
            },
            t.fingerprint.clone(),
        ]);
    }
    out += &format!("\nTables\n{}", table.render(2));
    for t in &view.tables {
        if let Some(schema) = &t.schema {
            out += &format!("\nSchema of {}, key and record\n", t.name);
            for line in schema.lines() {
                out += format!("  {line}").trim_end();
                out.push('\n');
            }
        }
    }
    out
}

fn list(options: &Options) -> std::result::Result<Report, Failure> {
    let regions = objects(&options.base)?;
    if options.json {
        return Ok(Report::done(json(&List { regions })));
    }
    if regions.is_empty() {
        return Ok(Report::done(format!("No regions in {MOUNT}.\n")));
    }
    let mut table = Table::new([
        ("OBJECT", Align::Left),
        ("KIND", Align::Left),
        ("NODE", Align::Left),
        ("SIZE", Align::Right),
        ("TAKEN", Align::Right),
    ]);
    for object in regions {
        table.row([
            object.object,
            object.kind.unwrap_or("unknown").replace('_', " "),
            object.node.unwrap_or_else(|| "-".into()),
            text::short_bytes(object.size_bytes),
            text::short_bytes(object.taken_bytes),
        ]);
    }
    Ok(Report::done(table.render(0)))
}
