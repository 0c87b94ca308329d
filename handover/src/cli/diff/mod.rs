//! `handover diff A B`: what is other in B than in A: tables, shapes, records, fields. Each of both is a region or a checkpoint.
//!
//! Records are looked up by what names them, so neither side is held in memory. Against a region that is written meanwhile each record is as it was
//! committed at some moment: what changed in between may be told or not.

mod fields;

use serde::Serialize;
use shmstate::schema::{Model, changes};
use shmstate::{AnyRecord, AnyTable, BadRecord, Error, Naming, Records};
use std::collections::BTreeSet;

use super::args;
use super::exit::{Exit, Failure, Report};
use super::inspect::kind;
use super::region::{Name, is_beside};
use super::status::json;
use super::text;
use fields::{Difference, json_of};

/// For `--json` (X1).
#[derive(Serialize)]
struct DiffView {
    a: String,
    b: String,
    same: bool,
    tables: Vec<TableView>,
}

/// A table of either side.
#[derive(Serialize)]
struct TableView {
    table: String,
    /// `same`, `changed`, `only_in_a`, `only_in_b`, or `not_compared`: of another kind or with other keys.
    status: &'static str,
    /// What is other about the table itself.
    schema: Vec<SchemaView>,
    compared: u64,
    added: u64,
    removed: u64,
    changed: u64,
    damaged: u64,
    /// At most as many as `--limit` says.
    records: Vec<RecordView>,
}

#[derive(Serialize)]
struct SchemaView {
    path: String,
    old: Option<String>,
    new: Option<String>,
    /// In words.
    what: String,
}

/// A record that is other.
#[derive(Serialize)]
struct RecordView {
    /// `added`, `removed` or `changed`.
    what: &'static str,
    /// Key, id or serial number.
    name: serde_json::Value,
    /// Of one that changed.
    fields: Vec<Difference>,
    #[serde(skip)]
    shown: String,
}

impl TableView {
    fn new(table: &str) -> Self {
        Self {
            table: text::clean(table),
            status: "same",
            schema: Vec::new(),
            compared: 0,
            added: 0,
            removed: 0,
            changed: 0,
            damaged: 0,
            records: Vec::new(),
        }
    }

    fn tell(&mut self, limit: usize, what: &'static str, record: &AnyRecord<'_, '_>, fields: Vec<Difference>) {
        match what {
            "added" => self.added += 1,
            "removed" => self.removed += 1,
            _ => self.changed += 1,
        }
        if self.records.len() < limit {
            let name = record.name();
            self.records.push(RecordView {
                what,
                shown: if record.table().naming() == Naming::Only {
                    "the value".into()
                } else {
                    name.to_string()
                },
                name: json_of(&name),
                fields,
            });
        }
    }

    fn table(&mut self, old: Option<&str>, new: Option<&str>, what: &str) {
        self.schema.push(SchemaView {
            path: String::new(),
            old: old.map(str::to_owned),
            new: new.map(str::to_owned),
            what: what.into(),
        });
    }
}

fn unread(error: &Error) -> Failure {
    Failure::new(Exit::Unknown, error.to_string())
}

pub(super) fn run(raw: args::Diff) -> Result<Report, Failure> {
    let base = raw.place.base();
    let limit = raw.limit;
    let open = |text: &str| Name::parse(text)?.observe(&base);
    let (a, b) = (open(&raw.a)?, open(&raw.b)?);
    let (old, new) = (
        a.any_tables().map_err(|error| unread(&error))?,
        b.any_tables().map_err(|error| unread(&error))?,
    );
    let find = |tables: &[AnyTable<'_>], name: &str| tables.iter().position(|table| table.name() == name);
    let mut names: BTreeSet<&str> = old.iter().chain(&new).map(AnyTable::name).collect();
    if let Some(wanted) = &raw.table {
        if !names.contains(wanted.as_str()) {
            let there = names.iter().filter(|name| !is_beside(name));
            let there: Vec<String> = there.map(|name| text::clean(name)).collect();
            return Err(Failure::new(Exit::Unknown, format!("neither has a table {wanted:?}"))
                .and(format!("there are: {}", there.join(", "))));
        }
        names.retain(|name| name == wanted);
    } else if !raw.all {
        names.retain(|name| !is_beside(name));
    }
    let mut tables = Vec::new();
    for name in names {
        let view = match (find(&old, name), find(&new, name)) {
            (Some(i), Some(j)) => compare(&old[i], &new[j], limit)?,
            (Some(_), None) => TableView {
                status: "only_in_a",
                ..TableView::new(name)
            },
            _ => TableView {
                status: "only_in_b",
                ..TableView::new(name)
            },
        };
        tables.push(view);
    }
    let view = DiffView {
        a: text::clean(&raw.a),
        b: text::clean(&raw.b),
        same: tables.iter().all(|table| table.status == "same" && table.damaged == 0),
        tables,
    };
    let mut report = Report::done(if raw.json { json(&view) } else { plain(&view) });
    let damaged: u64 = view.tables.iter().map(|table| table.damaged).sum();
    if damaged > 0 {
        report.exit = Exit::Unknown;
        report
            .problem
            .push(format!("{} could not be read", text::count(damaged, "record")));
    } else if !view.same {
        report.exit = Exit::NotDone;
    }
    Ok(report)
}

/// What is other about two tables of one name.
fn compare(old: &AnyTable<'_>, new: &AnyTable<'_>, limit: usize) -> Result<TableView, Failure> {
    let mut view = TableView::new(old.name());
    if old.version() != new.version() {
        view.table(
            Some(&old.version().to_string()),
            Some(&new.version().to_string()),
            "declared version",
        );
    }
    if old.fingerprint() != new.fingerprint()
        && let (Ok(before), Ok(now)) = (Model::read(old.description()), Model::read(new.description()))
    {
        view.schema
            .extend(changes(&before, &now).into_iter().map(|change| SchemaView {
                what: change.to_string(),
                path: change.path,
                old: change.old,
                new: change.new,
            }));
    }
    let kinds = (old.kind(), new.kind());
    let keys = (old.key_shape(), new.key_shape());
    if kinds.0 != kinds.1 || keys.0 != keys.1 {
        let of = |table: &AnyTable<'_>| table.kind().and_then(kind).unwrap_or("unknown");
        if kinds.0 != kinds.1 {
            view.table(Some(of(old)), Some(of(new)), "kind of table");
        } else {
            view.table(Some(&keys.0.to_string()), Some(&keys.1.to_string()), "keys");
        }
        view.status = "not_compared";
        return Ok(view);
    }
    let same_shape = old.fingerprint() == new.fingerprint();
    each(old.records(), |record| {
        view.compared += 1;
        let other = match partner(new, &record) {
            Partner::None => {
                view.tell(limit, "removed", &record, Vec::new());
                return Ok(());
            }
            Partner::Unread => {
                view.damaged += 1;
                return Ok(());
            }
            Partner::Is(other) => other,
        };
        if same_shape && record.due() == other.due() && record.has_same_bytes(&other) {
            return Ok(());
        }
        match differences(&record, &other) {
            Ok(fields) if fields.is_empty() => {}
            Ok(fields) => view.tell(limit, "changed", &record, fields),
            Err(_) => view.damaged += 1,
        }
        Ok(())
    })?;
    each(new.records(), |record| {
        match partner(old, &record) {
            Partner::None => view.tell(limit, "added", &record, Vec::new()),
            // One that has a partner was counted there.
            Partner::Unread => view.damaged += u64::from(record.is_unread()),
            Partner::Is(_) => {}
        }
        Ok(())
    })?;
    if !view.schema.is_empty() || view.added + view.removed + view.changed > 0 {
        view.status = "changed";
    }
    Ok(view)
}

fn each<'t, 'o>(
    mut records: Records<'t, 'o>,
    mut each: impl FnMut(AnyRecord<'t, 'o>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    while let Some(batch) = records.batch().map_err(|error| unread(&error))? {
        batch.into_iter().try_for_each(&mut each)?;
    }
    Ok(())
}

/// What the other side has under the name of a record.
enum Partner<'t, 'o> {
    None,
    Is(AnyRecord<'t, 'o>),
    /// One of the two could not be read: it has no name, or nobody knows what is under it.
    Unread,
}

/// The record of the other side with the same name.
fn partner<'t, 'o>(table: &'t AnyTable<'o>, record: &AnyRecord<'_, '_>) -> Partner<'t, 'o> {
    if record.is_unread() {
        return Partner::Unread;
    }
    let found = match table.naming() {
        Naming::Key => table.get(record.key_bytes()),
        Naming::Id | Naming::Serial => table.get_number(record.number()),
        _ => {
            let batch = table.records().batch();
            batch.map(|batch| batch.and_then(|batch| batch.into_iter().next()))
        }
    };
    match found {
        Ok(Some(other)) if other.is_unread() => Partner::Unread,
        Ok(Some(other)) => Partner::Is(other),
        Ok(None) => Partner::None,
        Err(_) => Partner::Unread,
    }
}

fn differences(old: &AnyRecord<'_, '_>, new: &AnyRecord<'_, '_>) -> Result<Vec<Difference>, BadRecord> {
    let mut found = Vec::new();
    if old.due() != new.due() {
        let (before, now) = (old.due().unwrap_or_default(), new.due().unwrap_or_default());
        for (path, before, now) in [("deadline_ns", before.0, now.0), ("period_ns", before.1, now.1)] {
            if before != now {
                found.push(Difference::new(path, Some(before.to_string()), Some(now.to_string())));
            }
        }
    }
    fields::compare("", &old.value()?, &new.value()?, &mut found);
    Ok(found)
}

fn plain(view: &DiffView) -> String {
    let mut out = String::new();
    for table in &view.tables {
        if table.status == "same" {
            continue;
        }
        let name = &table.table;
        match table.status {
            "only_in_a" => out += &format!("- table {name}: only in {}\n", view.a),
            "only_in_b" => out += &format!("+ table {name}: only in {}\n", view.b),
            "not_compared" => out += &format!("~ table {name}: its records were not compared\n"),
            _ => {
                out += &format!(
                    "~ table {name}: {} added, {} removed, {} changed of {}\n",
                    table.added,
                    table.removed,
                    table.changed,
                    text::count(table.compared, "record")
                );
            }
        }
        for change in &table.schema {
            match (change.path.is_empty(), &change.old, &change.new) {
                (true, Some(old), Some(new)) if !change.what.contains("->") => {
                    out += &format!("    {}: {old} -> {new}\n", change.what);
                }
                _ => out += &format!("    shape: {}\n", change.what),
            }
        }
        for record in &table.records {
            let sign = match record.what {
                "added" => '+',
                "removed" => '-',
                _ => '~',
            };
            let fields: Vec<String> = record.fields.iter().map(Difference::shown).collect();
            out += format!("  {sign} {}  {}", record.shown, fields.join(", ")).trim_end();
            out.push('\n');
        }
        let all = table.added + table.removed + table.changed;
        let left = all - table.records.len() as u64;
        if left > 0 {
            out += &format!("  … and {left} more; --limit shows more\n");
        }
    }
    let same = view.tables.iter().filter(|table| table.status == "same").count() as u64;
    if view.same {
        let records: u64 = view.tables.iter().map(|table| table.compared).sum();
        out += &format!(
            "No difference in {}, {}.\n",
            text::count(same, "table"),
            text::count(records, "record")
        );
    } else if same > 0 {
        out += &format!("{} without a difference\n", text::count(same, "table"));
    }
    out
}
