//! What an upgrade would do: a manifest against a node that serves. Pure, so that every case can be tried.
//!
//! - **L1** A table's fate is what `shmstate` makes of it when the program opens it, and what the first transaction under its ownership does
//!   (`mixed::State::of` and `settle` there).
//! - **L2** A way back is one to the process that serves now. It matters for a table only if the table gets another shape by this upgrade. Tables
//!   that are new, or that nobody opens any more, do not hinder it.
//! - **L3** What cannot be known is said, and is never taken for good: it decides the verdict unless it is about descriptors only.

use serde::Serialize;
use shmstate::schema::{Fingerprint, refusal};
use shmstate::{MAX_TABLES, ShapeInfo, TableInfo};
use std::collections::BTreeSet;

use super::super::exit::Exit;
use super::super::outcome::Serving;
use super::super::text::{clean, count};
use super::manifest::{Manifest, Moves, Region, Shape, Table};
use crate::control::Declarations;
use crate::node::descriptors::spec::MADE;
use crate::node::manifest::kind;

/// Records of an older shape that one thread migrates in a second when it does nothing else: small records on the reference machine, as
/// `report -- schema` measures it. Of large ones it is less. How long a sweep takes in a program depends on how much of a tick it is given.
pub(super) const SWEPT_PER_SECOND: u64 = 1_800_000;
/// The same for records that move to one other table, with a way back.
pub(super) const MOVED_PER_SECOND: u64 = 600_000;

/// A node that serves.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) node: String,
    pub(super) owner: Serving,
    /// Regions with what the catalog says, or why it cannot be read.
    pub(super) regions: Vec<(String, Result<Catalog, String>)>,
    pub(super) declared: Option<Declarations>,
}

/// What a region's catalog has.
pub(super) type Catalog = Vec<TableInfo>;

/// What becomes of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::cli) enum Fate {
    /// It has the program's shape already.
    Unchanged,
    /// Its records get another shape.
    Migrated,
    /// Its records move to other tables, or are given up.
    Moved,
    /// The program makes it.
    New,
    /// It is there, and the program does not open it.
    Orphaned,
    /// The program cannot open it.
    Refused,
}

/// Whether the process that serves now can take the node back after the cutover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::cli) enum WayBack {
    /// Nothing gets another shape: it finds all as it knows it.
    NotNeeded,
    /// The program keeps for it what it changes.
    Yes,
    /// It could not read what it finds.
    No,
    /// Of some regions nothing is known.
    Unknown,
}

/// What becomes of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::cli) enum RegionFate {
    Kept,
    New,
    /// The program does not declare it: it is closed, and stays where it is.
    Orphaned,
}

/// What the plan comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::cli) enum Prospect {
    /// It would work, and could be taken back.
    Works,
    /// The program would be refused.
    Refused,
    /// It would work, and there is no way back after the cutover.
    OneWay,
    /// Too little is known.
    Unknown,
}

impl Prospect {
    pub(in crate::cli) fn exit(self) -> Exit {
        match self {
            Self::Works => Exit::Done,
            Self::Refused => Exit::NotDone,
            Self::OneWay => Exit::OneWay,
            Self::Unknown => Exit::Unknown,
        }
    }
}

#[derive(Debug, Serialize)]
pub(in crate::cli) struct RegionPlan {
    pub(super) region: String,
    pub(super) fate: RegionFate,
    /// Whether the program says which tables it opens there.
    pub(super) tables_declared: bool,
}

#[derive(Debug, Serialize)]
pub(in crate::cli) struct TablePlan {
    pub(super) region: String,
    pub(super) table: String,
    /// As `inspect` has it.
    pub(super) kind: Option<&'static str>,
    pub(super) fate: Fate,
    /// Versions that its records have now, beside the program's; in order.
    pub(super) from_versions: Vec<u16>,
    /// The program's version; null if it does not open it.
    pub(super) to_version: Option<u16>,
    pub(super) records: u64,
    /// Those that have another shape than the program's, and migrate; or that move.
    pub(super) to_migrate: u64,
    /// Where they move.
    pub(super) moves_to: Vec<String>,
    /// What a sweep of them costs one thread.
    pub(super) sweep_ms: u64,
    pub(super) way_back: WayBack,
    /// Why it is refused.
    pub(super) refusal: Option<String>,
}

#[derive(Debug, Default, Serialize)]
pub(in crate::cli) struct DescriptorsPlan {
    /// Whether it is known what the process that serves has declared. What it kept at run time never is.
    pub(super) known: bool,
    pub(super) kept: Vec<String>,
    pub(super) new: Vec<String>,
    /// Declared otherwise under the same name: made anew, the old one is closed.
    pub(super) changed: Vec<String>,
    /// Closed, unless the program claims it when it starts.
    pub(super) dropped: Vec<String>,
    /// All that the program declares, with their addresses.
    pub(super) declared: Vec<DescriptorView>,
}

#[derive(Debug, Serialize)]
pub(in crate::cli) struct DescriptorView {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) address: Option<String>,
}

/// The whole, as `--json` prints it (X1).
#[derive(Debug, Serialize)]
pub(in crate::cli) struct Plan {
    pub(in crate::cli) node: String,
    /// Who serves now.
    pub(in crate::cli) serving: Serving,
    /// The program's build id, and version of its library.
    pub(in crate::cli) build_id: String,
    pub(in crate::cli) library: String,
    pub(in crate::cli) verdict: Prospect,
    pub(in crate::cli) exit_code: u8,
    pub(in crate::cli) way_back: WayBack,
    pub(in crate::cli) regions: Vec<RegionPlan>,
    pub(in crate::cli) tables: Vec<TablePlan>,
    pub(in crate::cli) descriptors: DescriptorsPlan,
    /// Why it would be refused, beside tables.
    pub(in crate::cli) refusals: Vec<String>,
    /// What cannot be known.
    pub(in crate::cli) unknown: Vec<String>,
}

/// Makes the plan. `elsewhere` is where the program looks for its node, if that is another place.
pub(super) fn compare(live: Live, manifest: &Manifest, elsewhere: Option<String>) -> Plan {
    let (mut regions, mut tables, mut refusals, mut unknown) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    if manifest.node != live.node {
        refusals.push(format!("it serves the node {:?}, not {:?}", manifest.node, live.node));
    }
    if let Some(elsewhere) = elsewhere {
        refusals.push(format!("it looks for its node in {elsewhere}"));
    }
    for region in &manifest.regions {
        let found = live.regions.iter().find(|(name, _)| *name == region.name);
        regions.push(RegionPlan {
            region: region.name.clone(),
            fate: if found.is_some() {
                RegionFate::Kept
            } else {
                RegionFate::New
            },
            tables_declared: !region.tables.is_empty(),
        });
        if region.library_owned {
            continue;
        }
        match found.map(|(_, found)| found) {
            None => tables.extend(of_region(region, &[])),
            Some(Ok(found)) => {
                let shown = found.iter().filter(|table| !table.name.starts_with('.')).count();
                if region.tables.is_empty() && shown > 0 {
                    unknown.push(format!(
                        "region {}: CMD declares no tables, so nothing is known of its {}",
                        region.name,
                        count(shown as u64, "table")
                    ));
                    continue;
                }
                let planned = of_region(region, found);
                refusals.extend(catalog_is_full(region, found, &planned));
                tables.extend(planned);
            }
            Some(Err(why)) => unknown.push(format!("region {} cannot be read: {why}", region.name)),
        }
    }
    for (name, _) in &live.regions {
        if !manifest.regions.iter().any(|region| region.name == *name) {
            regions.push(RegionPlan {
                region: name.clone(),
                fate: RegionFate::Orphaned,
                tables_declared: false,
            });
        }
    }
    let way_back = whole(&tables, !unknown.is_empty());
    let refused = !refusals.is_empty() || tables.iter().any(|table| table.fate == Fate::Refused);
    let verdict = match way_back {
        _ if refused => Prospect::Refused,
        WayBack::No => Prospect::OneWay,
        WayBack::Unknown => Prospect::Unknown,
        WayBack::Yes | WayBack::NotNeeded => Prospect::Works,
    };
    Plan {
        node: live.node,
        serving: live.owner,
        build_id: clean(&manifest.build_id),
        library: clean(&manifest.library),
        verdict,
        exit_code: verdict.exit() as u8,
        way_back,
        regions,
        tables,
        descriptors: descriptors(live.declared, manifest),
        refusals,
        unknown,
    }
}

/// Of all tables together.
fn whole(tables: &[TablePlan], unknown: bool) -> WayBack {
    let has = |way| tables.iter().any(|table| table.way_back == way);
    match unknown {
        _ if has(WayBack::No) => WayBack::No,
        true => WayBack::Unknown,
        false if has(WayBack::Yes) => WayBack::Yes,
        false => WayBack::NotNeeded,
    }
}

fn of_region(region: &Region, found: &[TableInfo]) -> Vec<TablePlan> {
    let mut planned: Vec<TablePlan> = region
        .tables
        .iter()
        // A source that is not there has moved, or never was.
        .filter(|table| table.moves.is_none() || found.iter().any(|info| info.name == table.name))
        .map(|table| of_table(region, table, found))
        .collect();
    let is_declared = |info: &TableInfo| region.tables.iter().any(|table| table.name == info.name);
    for info in found {
        if info.name.starts_with('.') || is_declared(info) {
            continue;
        }
        planned.push(TablePlan {
            region: region.name.clone(),
            table: clean(&info.name),
            kind: info.kind.and_then(kind),
            fate: Fate::Orphaned,
            from_versions: vec![info.version],
            to_version: None,
            records: info.records,
            to_migrate: 0,
            moves_to: Vec::new(),
            sweep_ms: 0,
            way_back: WayBack::NotNeeded,
            refusal: None,
        });
    }
    planned
}

/// A shape that records of a table have now, and how many.
struct Older<'t> {
    version: u16,
    fingerprint: u128,
    records: u64,
    /// Whether it is the one that the row describes.
    of_row: bool,
    text: Option<&'t str>,
}

impl Shape {
    fn is(&self, version: u16, fingerprint: u128) -> bool {
        self.version == version && self.fingerprint() == Fingerprint::from_u128(fingerprint)
    }
}

fn of_table(region: &Region, table: &Table, found: &[TableInfo]) -> TablePlan {
    let mut plan = TablePlan {
        region: region.name.clone(),
        table: clean(&table.name),
        kind: table.kind().and_then(kind),
        fate: Fate::New,
        from_versions: Vec::new(),
        to_version: Some(table.shape.version),
        records: 0,
        to_migrate: 0,
        moves_to: Vec::new(),
        sweep_ms: 0,
        way_back: WayBack::NotNeeded,
        refusal: None,
    };
    let Some(info) = found.iter().find(|info| info.name == table.name) else {
        return plan;
    };
    let is_own = table.shape.is(info.version, info.fingerprint);
    let older = older(table, info, found);
    plan.records = info.records;
    plan.to_migrate = older.iter().map(|older| older.records).sum();
    let versions: BTreeSet<u16> = older.iter().map(|older| older.version).collect();
    plan.from_versions = versions.into_iter().collect();
    plan.sweep_ms = plan.to_migrate.saturating_mul(1000).div_ceil(SWEPT_PER_SECOND);
    // The program's own records, which one that follows it keeps for it.
    let twins = |shape: &&ShapeInfo| shape.way_back && table.shape.is(shape.version, shape.fingerprint);
    let has_twins = info.shapes.iter().find(twins).is_some();
    plan.refusal = refused(table, info, &older, has_twins);
    plan.fate = match is_own {
        _ if plan.refusal.is_some() => Fate::Refused,
        true => Fate::Unchanged,
        false => Fate::Migrated,
    };
    if plan.fate == Fate::Migrated {
        let back = table.back.as_ref();
        let kept = back.is_some_and(|back| back.is(info.version, info.fingerprint));
        // Who keeps twins for a shape has the steps from it: it finds the way by itself.
        plan.way_back = if kept || has_twins { WayBack::Yes } else { WayBack::No };
    }
    match &table.moves {
        Some(moves) if plan.refusal.is_none() => move_of(&mut plan, moves, info),
        Some(_) => {}
        None => {
            plan.refusal = plan.refusal.or_else(|| not_its_move(region, info));
            if plan.refusal.is_some() {
                plan.fate = Fate::Refused;
            }
        }
    }
    plan
}

/// A table whose records move.
fn move_of(plan: &mut TablePlan, moves: &Moves, info: &TableInfo) {
    plan.fate = Fate::Moved;
    plan.moves_to = moves.targets.iter().map(|target| clean(target)).collect();
    plan.to_migrate = info.moving.map_or(info.records, |moving| moving.left);
    plan.sweep_ms = plan.to_migrate.saturating_mul(1000).div_ceil(MOVED_PER_SECOND);
    // Who has worked on it last knows the move, unless it is outdated.
    let known = info.moving.is_some_and(|moving| !moving.outdated);
    plan.way_back = match plan.way_back {
        // For its shape: the worse of both.
        WayBack::No => WayBack::No,
        _ if moves.way_back => WayBack::Yes,
        way if known => way,
        _ => WayBack::No,
    };
}

/// Why a program that does not know the move cannot open its source, or a target.
fn not_its_move(region: &Region, info: &TableInfo) -> Option<String> {
    let name = clean(&info.name);
    if info.moved {
        return Some(format!(
            "the records of table {name:?} have moved to other tables, and the way back is closed: the program must declare the move"
        ));
    }
    let moves = region.tables.iter().filter_map(|table| table.moves.as_ref());
    let brings = |moves: &Moves| moves.targets.contains(&info.name);
    (info.incoming > 0 && !moves.into_iter().any(brings)).then(|| {
        format!("records are still on their way to table {name:?} from other tables: the program must declare the move")
    })
}

/// The shapes of records that are not the program's.
fn older<'t>(table: &Table, info: &'t TableInfo, found: &'t [TableInfo]) -> Vec<Older<'t>> {
    let mut older = Vec::new();
    if !table.shape.is(info.version, info.fingerprint) {
        let others = info.shapes.iter().filter(|shape| shape.version != info.version);
        let others: u64 = others.map(|shape| shape.records).sum();
        older.push(Older {
            version: info.version,
            fingerprint: info.fingerprint,
            records: info.records.saturating_sub(others),
            of_row: true,
            text: Some(parts(&info.description).1),
        });
    }
    let others = info.shapes.iter().filter(|shape| shape.version != table.shape.version);
    for shape in others.filter(|shape| shape.records > 0) {
        let companion = format!(".{}.{}", shape.version, info.name);
        let companion = found.iter().find(|other| other.name == companion);
        older.push(Older {
            version: shape.version,
            fingerprint: shape.fingerprint,
            records: shape.records,
            of_row: false,
            text: companion.map(|companion| parts(&companion.description).1),
        });
    }
    older
}

/// Why the program cannot open the table.
fn refused(table: &Table, info: &TableInfo, older: &[Older<'_>], has_twins: bool) -> Option<String> {
    let (key, value) = parts(&info.description);
    let name = clean(&info.name);
    let mut more = Vec::new();
    if info.kind.is_none() || info.kind != table.kind() {
        let shown =
            |kind: Option<shmstate::Kind>| kind.map_or_else(|| "kind of a later version".into(), |k| format!("{k:?}"));
        more.push(format!(
            "the table is a {}, the program expects a {}",
            shown(info.kind),
            shown(table.kind())
        ));
    }
    if key != table.key {
        more.push(format!("its keys are {key:?}, the program expects {:?}", table.key));
    }
    if !more.is_empty() {
        return Some(refusal(&name, &more, value, &table.shape.text));
    }
    for older in older {
        let known = table.from.iter().any(|from| from.is(older.version, older.fingerprint));
        let distinct = (older.version ^ table.shape.version) & 0xff != 0;
        if distinct && (known || has_twins) {
            continue;
        }
        if !older.of_row {
            more.push(format!("some of its records are still of version {}", older.version));
        }
        let stored = older.text.unwrap_or(value);
        return Some(refusal(&name, &more, stored, &table.shape.text));
    }
    let is_own = table.shape.is(info.version, info.fingerprint);
    let mut shapes = info.shapes.iter();
    let reused = |shape: &&ShapeInfo| shape.version == info.version && shape.fingerprint != info.fingerprint;
    (!is_own && shapes.find(reused).is_some()).then(|| {
        format!(
            "table {name:?}: its version {} was another shape once, and what is kept of that one is in the way of a migration; raise the version",
            info.version
        )
    })
}

/// The texts of a table: shape of its keys, description of its values.
fn parts(text: &str) -> (&str, &str) {
    text.split_once("\n---\n").unwrap_or(("", text))
}

/// Whether there are too few rows for what the program makes.
fn catalog_is_full(region: &Region, found: &[TableInfo], planned: &[TablePlan]) -> Option<String> {
    let new = planned.iter().filter(|table| table.fate == Fate::New).count() as u64;
    // A table that gets another shape gets a row for the one before, unless there was one already.
    let migrated = planned.iter().filter(|table| table.fate == Fate::Migrated);
    let companions = migrated.filter(|table| {
        let info = found.iter().find(|info| info.name == table.table);
        info.is_some_and(|info| !info.shapes.iter().any(|shape| shape.version == info.version))
    });
    // So does a move that begins, for what it has moved.
    let begin = planned.iter().filter(|table| {
        let info = found.iter().find(|info| info.name == table.table);
        table.fate == Fate::Moved && info.is_some_and(|info| info.moving.is_none())
    });
    let needed = new + companions.count() as u64 + begin.count() as u64;
    let has = found.len() as u64;
    (has + needed > MAX_TABLES).then(|| {
        format!(
            "the catalog of region {} has {has} of at most {MAX_TABLES} rows in use, and {needed} more are needed",
            region.name
        )
    })
}

fn descriptors(live: Option<Declarations>, manifest: &Manifest) -> DescriptorsPlan {
    let mut plan = DescriptorsPlan {
        known: live.as_ref().is_some_and(|live| live.complete),
        ..DescriptorsPlan::default()
    };
    for declared in &manifest.descriptors {
        plan.declared.push(DescriptorView {
            name: clean(&declared.name),
            kind: clean(&declared.kind),
            address: declared.address.as_deref().map(clean),
        });
    }
    let Some(live) = live else { return plan };
    for declared in &manifest.descriptors {
        let name = clean(&declared.name);
        let before = live.descriptors.iter().find(|(name, _)| *name == declared.name);
        let mark = declared.mark();
        // As a successor decides it, see `Spec::accepts`.
        match before {
            Some((_, before)) if mark == Some(MADE) || mark == Some(*before) => plan.kept.push(name),
            Some(_) => plan.changed.push(name),
            None if live.complete => plan.new.push(name),
            None => {}
        }
    }
    let dropped = live.descriptors.iter().map(|(name, _)| name);
    let dropped = dropped.filter(|name| !manifest.descriptors.iter().any(|declared| declared.name == **name));
    plan.dropped.extend(dropped.map(|name| clean(name)));
    plan
}

#[cfg(test)]
mod tests;
