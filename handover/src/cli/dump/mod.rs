//! `handover dump`: the records of a region or a checkpoint, read by the descriptions that stand in it.
//!
//! Records go out as they are read, without a tree between and without keeping them. A reader that closes the pipe ends the work, quietly.
//! A record that is damaged is left out of the results, told on stderr, and makes the exit code 4.

mod csv;
mod filter;

use shmstate::decode::Visit;
use shmstate::{AnyRecord, AnyTable, BadRecord, Kind, Naming, Observer};
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use super::args::{self, Shown};
use super::exit::{Exit, Failure, Report};
use super::inspect::kind;
use super::json::Json;
use super::region::{Name, is_beside};
use super::text;
use csv::Csv;
use filter::Filter;

/// What is written at a time.
const PIECE: usize = 256 << 10;
/// Damaged records that are told one by one; more are only counted.
const MOST_TOLD: usize = 20;

/// What is asked for.
struct Options {
    base: PathBuf,
    name: Name,
    table: Option<String>,
    all: bool,
    key: Option<String>,
    conditions: Vec<String>,
    limit: u64,
    shown: Shown,
}

impl Options {
    fn resolve(raw: args::Dump) -> Result<Self, Failure> {
        let name = Name::parse(&raw.region)?;
        Ok(Self {
            base: raw.place.base(),
            name,
            shown: raw.form.shown(),
            table: raw.table,
            all: raw.all,
            key: raw.key,
            conditions: raw.conditions,
            limit: raw.limit.unwrap_or(u64::MAX),
        })
    }
}

/// Where records go.
struct Output<'w> {
    to: &'w mut dyn Write,
    json: Json,
    shown: Shown,
    csv: Option<Csv>,
    /// Whether each line says which table it is of.
    named: bool,
    written: u64,
    damaged: Vec<String>,
    damaged_count: u64,
    /// What is wrong with tables that could not be read to their ends.
    unread: Vec<String>,
}

/// Why the work ends.
enum End {
    /// The reader has gone.
    Closed,
    Failed(Failure),
}

impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

pub(super) fn run(raw: args::Dump) -> Result<Report, Failure> {
    let options = Options::resolve(raw)?;
    let observer = options.name.observe(&options.base)?;
    match dump(&options, &observer, &mut std::io::stdout().lock()) {
        Ok(report) => Ok(report),
        Err(End::Closed) => Ok(Report::done(String::new())),
        Err(End::Failed(failure)) => Err(failure),
    }
}

fn unread(error: &shmstate::Error) -> Failure {
    Failure::new(Exit::Unknown, error.to_string())
}

/// The table of that name, or what there is instead.
pub(super) fn one<'t, 'o>(tables: &'t [AnyTable<'o>], name: &str) -> Result<&'t AnyTable<'o>, Failure> {
    tables.iter().find(|table| table.name() == name).ok_or_else(|| {
        let failure = Failure::new(Exit::Unknown, format!("there is no table {name:?}"));
        match tables {
            [] => failure.and("the region has no tables"),
            tables => {
                let names = tables.iter().map(AnyTable::name).filter(|name| !is_beside(name));
                let names: Vec<String> = names.map(text::clean).collect();
                failure.and(format!("the region has: {}", names.join(", ")))
            }
        }
    })
}

fn dump(options: &Options, observer: &Observer, to: &mut dyn Write) -> Result<Report, End> {
    let tables = observer.any_tables().map_err(|error| unread(&error))?;
    let wanted: Vec<&AnyTable<'_>> = match &options.table {
        Some(name) => vec![one(&tables, name)?],
        None => tables
            .iter()
            .filter(|table| options.all || !is_beside(table.name()))
            .collect(),
    };
    let mut output = Output {
        to,
        json: Json::default(),
        shown: options.shown,
        csv: None,
        named: options.table.is_none(),
        written: 0,
        damaged: Vec::new(),
        damaged_count: 0,
        unread: Vec::new(),
    };
    let mut filters = Vec::new();
    for table in &wanted {
        // Before anything is written.
        let of: Result<Vec<Filter>, Failure> = options
            .conditions
            .iter()
            .map(|text| Filter::parse(table, text))
            .collect();
        filters.push(of?);
    }
    output.begin(observer.name());
    for (i, (table, filters)) in wanted.iter().zip(&filters).enumerate() {
        output.begin_table(table, i == 0);
        output.written = 0;
        match &options.key {
            Some(key) => {
                let record = find(table, key)?.ok_or_else(|| {
                    Failure::new(
                        Exit::NotDone,
                        format!("no record of {} has the key {key}", table.name()),
                    )
                })?;
                output.record(&record, filters)?;
            }
            None => match all(table, filters, options.limit, &mut output) {
                // The other tables, and what was read of this one, are worth having.
                Err(End::Failed(failure)) => output.unread.extend(failure.lines()),
                other => other?,
            },
        }
        output.end_table();
    }
    output.end();
    output.flush()?;
    Ok(output.report())
}

fn all(table: &AnyTable<'_>, filters: &[Filter], limit: u64, output: &mut Output<'_>) -> Result<(), End> {
    if let (Err(why), false) = (table.decoder(), table.kind() == Some(Kind::Streams)) {
        let failure = Failure::new(
            Exit::Unknown,
            format!("the records of {} cannot be read: {why}", table.name()),
        );
        return Err(failure.into());
    }
    if table.kind().is_none() {
        let what = format!(
            "the records of {} cannot be read: a kind that this program does not know",
            table.name()
        );
        return Err(Failure::new(Exit::Unknown, what).into());
    }
    let mut records = table.records();
    while output.written < limit {
        let Some(batch) = records.batch().map_err(|error| unread(&error))? else {
            break;
        };
        for record in &batch {
            if output.written >= limit {
                break;
            }
            output.record(record, filters)?;
        }
    }
    Ok(())
}

/// The record that a user means by `key`.
pub(super) fn find<'t, 'o>(table: &'t AnyTable<'o>, key: &str) -> Result<Option<AnyRecord<'t, 'o>>, Failure> {
    let found = match table.naming() {
        Naming::Key => {
            let bytes = table.key_shape().parse(key).map_err(|error| {
                Failure::new(Exit::Usage, error.to_string())
                    .and("tuples are written [1,\"a\"], bytes 0x0102 or [1,2], strings as they are")
            })?;
            table.get(&bytes)
        }
        Naming::Id | Naming::Serial => {
            let what = if table.naming() == Naming::Id {
                "ids"
            } else {
                "serial numbers"
            };
            let number = key.parse().map_err(|_| {
                Failure::new(
                    Exit::Usage,
                    format!("{key:?} is no number: the records of {} have {what}", table.name()),
                )
            })?;
            table.get_number(number)
        }
        _ => {
            let name = table.name();
            return Err(Failure::new(Exit::Usage, format!("{name} has one value and no keys"))
                .and(format!("`handover dump REGION {name}` prints it")));
        }
    };
    found.map_err(|error| unread(&error))
}

impl Output<'_> {
    fn put(&mut self, text: &str) {
        self.json.out.extend_from_slice(text.as_bytes());
    }

    fn begin(&mut self, region: &str) {
        if self.shown == Shown::Json {
            self.put("{\"region\":");
            self.json.text(region);
            self.put(",\"tables\":[");
        }
    }

    fn begin_table(&mut self, table: &AnyTable<'_>, first: bool) {
        let of_kind = table.kind().and_then(kind);
        match self.shown {
            Shown::Json => {
                self.put(if first { "\n" } else { ",\n" });
                self.put("{\"table\":");
                self.json.text(table.name());
                self.put(",\"kind\":");
                match of_kind {
                    Some(kind) => self.json.text(kind),
                    None => self.put("null"),
                }
                self.put(",\"records\":[");
            }
            Shown::Csv => {
                let csv = Csv::new(table);
                csv.head(&mut self.json.out);
                self.csv = Some(csv);
            }
            Shown::Text if self.named => {
                let head = format!(
                    "{}{} ({})\n",
                    if first { "" } else { "\n" },
                    text::clean(table.name()),
                    of_kind.unwrap_or("of a kind that this program does not know")
                );
                self.put(&head);
            }
            Shown::Text | Shown::Lines => {}
        }
    }

    fn end_table(&mut self) {
        if self.shown == Shown::Json {
            self.put("\n]}");
        }
    }

    fn end(&mut self) {
        if self.shown == Shown::Json {
            self.put("\n]}\n");
        }
    }

    /// Writes a record, if the filters admit it.
    fn record(&mut self, record: &AnyRecord<'_, '_>, filters: &[Filter]) -> Result<(), End> {
        let start = self.json.out.len();
        match self.try_record(record, filters) {
            Ok(true) => self.written += 1,
            Ok(false) => {}
            Err(bad) => {
                self.json.cut(start);
                self.damaged_count += 1;
                if self.damaged.len() < MOST_TOLD {
                    let name = record.name();
                    self.damaged
                        .push(format!("{} {name}: {bad}", text::clean(record.table().name())));
                }
            }
        }
        if self.json.out.len() >= PIECE {
            self.flush()?;
        }
        Ok(())
    }

    fn try_record(&mut self, record: &AnyRecord<'_, '_>, filters: &[Filter]) -> Result<bool, BadRecord> {
        for filter in filters {
            if !filter.admits(record)? {
                return Ok(false);
            }
        }
        let named = self.named;
        let json = &mut self.json;
        match self.shown {
            Shown::Csv => {
                if let Some(csv) = &mut self.csv {
                    csv.line(record, &mut json.out)?;
                }
            }
            Shown::Text => {
                if named {
                    json.out.extend_from_slice(b"  ");
                }
                if record.table().naming() != Naming::Only {
                    record.visit_name(json);
                    json.out.extend_from_slice(b"  ");
                }
                if let Some((deadline, period)) = record.due() {
                    // Writing into a vector cannot fail.
                    let _ = write!(json.out, "at {deadline} every {period}  ");
                }
                record.visit(json)?;
                json.out.push(b'\n');
            }
            Shown::Json | Shown::Lines => {
                if self.shown == Shown::Json {
                    json.out
                        .extend_from_slice(if self.written == 0 { b"\n" } else { b",\n" });
                }
                json.out.push(b'{');
                if self.shown == Shown::Lines && named {
                    json.name("table");
                    json.text(record.table().name());
                }
                let name = match record.table().naming() {
                    Naming::Key => Some("key"),
                    Naming::Id => Some("id"),
                    Naming::Serial => Some("serial"),
                    _ => None,
                };
                if let Some(name) = name {
                    json.name(name);
                    record.visit_name(json);
                }
                if let Some((deadline, period)) = record.due() {
                    json.name("deadline_ns");
                    json.unsigned(deadline);
                    json.name("period_ns");
                    json.unsigned(period);
                }
                json.name("value");
                record.visit(json)?;
                json.out.push(b'}');
                if self.shown == Shown::Lines {
                    json.out.push(b'\n');
                }
            }
        }
        Ok(true)
    }

    fn flush(&mut self) -> Result<(), End> {
        let written = self.to.write_all(&self.json.out).and_then(|()| self.to.flush());
        self.json.out.clear();
        written.map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe => End::Closed,
            _ => End::Failed(Failure::new(Exit::Unknown, format!("write to stdout: {error}"))),
        })
    }

    fn report(self) -> Report {
        let mut report = Report::done(String::new());
        if !self.unread.is_empty() {
            report.exit = Exit::Unknown;
            report.problem.extend(self.unread);
        }
        if self.damaged_count > 0 {
            report.exit = Exit::Unknown;
            let count = text::count(self.damaged_count, "record");
            report.problem.push(format!(
                "{count} could not be read, and {} left out",
                if self.damaged_count == 1 { "is" } else { "are" }
            ));
            let more = self.damaged_count - self.damaged.len() as u64;
            report.problem.extend(self.damaged);
            if more > 0 {
                report.problem.push(format!("… and {more} more"));
            }
        }
        report
    }
}
