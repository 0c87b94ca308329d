//! `handover schema`: what the tables of a region or a checkpoint hold, as text, as JSON, or as Rust types that would read it.

use serde::Serialize;
use shmstate::AnyTable;
use shmstate::schema::Model;

use super::args;
use super::dump::one;
use super::exit::{Exit, Failure, Report};
use super::inspect::kind;
use super::region::{Name, is_beside};
use super::status::json;
use super::text;

/// For `--json` (X1).
#[derive(Serialize)]
struct List {
    region: String,
    tables: Vec<TableView>,
}

/// The schema of a table.
#[derive(Serialize)]
struct TableView {
    table: String,
    /// As `inspect` has it; null for a kind of a later version.
    kind: Option<&'static str>,
    /// The shape of its keys; null if it has none.
    key: Option<String>,
    version: u16,
    /// 32 hex digits.
    fingerprint: String,
    /// The description of its records.
    description: String,
    /// Only with `--rust`; null if the description cannot be read.
    rust: Option<String>,
}

pub(super) fn run(raw: args::Schema) -> Result<Report, Failure> {
    let observer = Name::parse(&raw.region)?.observe(&raw.place.base())?;
    let tables = observer
        .any_tables()
        .map_err(|error| Failure::new(Exit::Unknown, error.to_string()))?;
    let wanted: Vec<&AnyTable<'_>> = match &raw.table {
        Some(name) => vec![one(&tables, name)?],
        None => tables
            .iter()
            .filter(|table| raw.all || !is_beside(table.name()))
            .collect(),
    };
    let views: Vec<TableView> = wanted.iter().map(|table| view(table, raw.rust)).collect();
    if raw.json {
        return Ok(Report::done(json(&List {
            region: observer.name().to_owned(),
            tables: views,
        })));
    }
    if views.is_empty() {
        return Ok(Report::done("No tables.\n".into()));
    }
    let several = views.len() > 1;
    let texts: Vec<String> = wanted
        .iter()
        .zip(&views)
        .map(|(table, view)| {
            if raw.rust {
                rust(table, view, several)
            } else {
                plain(view)
            }
        })
        .collect();
    Ok(Report::done(texts.join("\n")))
}

fn view(table: &AnyTable<'_>, rust: bool) -> TableView {
    let key = table.key_shape().to_string();
    let rust = rust
        .then(|| Model::read(table.description()).ok().map(|model| model.rust()))
        .flatten();
    TableView {
        table: text::clean(table.name()),
        kind: table.kind().and_then(kind),
        key: (!key.is_empty()).then(|| text::clean(&key)),
        version: table.version(),
        fingerprint: table.fingerprint().to_string(),
        description: text::clean(table.description()),
        rust,
    }
}

/// `Map<u64, Player>`
fn of(table: &AnyTable<'_>, key: Option<&str>) -> String {
    let value = Model::read(table.description()).map_or_else(|_| "?".into(), |model| model.rust_name());
    let kind = table.kind().map_or_else(|| "?".into(), |kind| format!("{kind:?}"));
    match key {
        Some(key) => format!("{kind}<{key}, {value}>"),
        None if kind == "Streams" => kind,
        None => format!("{kind}<{value}>"),
    }
}

fn plain(view: &TableView) -> String {
    let key = view
        .key
        .as_ref()
        .map_or_else(String::new, |key| format!(", keys {key}"));
    let mut out = format!(
        "{}: {}{key}, version {}, fingerprint {}\n",
        view.table,
        view.kind.unwrap_or("unknown"),
        view.version,
        view.fingerprint
    );
    // The first line repeats name and version.
    for line in view.description.lines().skip(1) {
        out += format!("  {line}").trim_end();
        out.push('\n');
    }
    out
}

fn rust(table: &AnyTable<'_>, view: &TableView, several: bool) -> String {
    let mut out = format!("// {}: {}\n", view.table, of(table, view.key.as_deref()));
    let Some(types) = &view.rust else {
        return out + "// its description cannot be read\n";
    };
    let types = text::clean(types);
    if !several {
        return out + &types;
    }
    // Two tables may have types of one name.
    let name: String = view
        .table
        .chars()
        .map(|c| if c.is_alphanumeric() { c } else { '_' })
        .collect();
    out += &format!("pub mod t_{name} {{\n");
    for line in types.lines() {
        out += format!("    {line}").trim_end();
        out.push('\n');
    }
    out + "}\n"
}
