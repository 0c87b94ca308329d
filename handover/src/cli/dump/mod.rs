//! `handover dump`: the records of a region or a checkpoint, read by the descriptions that stand in it.
//!
//! Records go out as they are read, without a tree between and without keeping them, on a few threads (`crew`). A reader that closes the pipe ends the work, quietly.
//! A record that is damaged is left out of the results, told on stderr, and makes the exit code 4.

mod crew;
mod csv;
mod filter;
mod form;
mod output;

use shmstate::{AnyRecord, AnyTable, Kind, Naming, Observer};
use std::path::PathBuf;

use super::args::{self, Shown};
use super::exit::{Exit, Failure, Report};
use super::region::{Name, is_beside};
use super::text;
use filter::Filter;
use form::{Form, Part};
use output::{End, Output};

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

pub(super) fn run(raw: args::Dump) -> Result<Report, Failure> {
    let options = Options::resolve(raw)?;
    let observer = options.name.observe(&options.base)?;
    match dump(&options, &observer) {
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

fn dump(options: &Options, observer: &Observer) -> Result<Report, End> {
    let tables = observer.any_tables().map_err(|error| unread(&error))?;
    let wanted: Vec<&AnyTable<'_>> = match &options.table {
        Some(name) => vec![one(&tables, name)?],
        None => tables
            .iter()
            .filter(|table| options.all || !is_beside(table.name()))
            .collect(),
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
    let named = options.table.is_none();
    let mut output = Output::new(options.shown, named)?;
    output.begin(observer.name());
    for (i, (table, filters)) in wanted.iter().zip(&filters).enumerate() {
        output.begin_table(table, i == 0);
        let form = || Form::new(table, options.shown, named, filters);
        match &options.key {
            Some(key) => {
                let record = find(table, key)?.ok_or_else(|| {
                    Failure::new(
                        Exit::NotDone,
                        format!("no record of {} has the key {key}", table.name()),
                    )
                })?;
                let mut part = Part::default();
                form().part(&[record], 1, &mut part);
                output.part(&part)?;
            }
            None => match all(table, form, options.limit, &mut output) {
                // The other tables, and what was read of this one, are worth having.
                Err(End::Failed(failure)) => output.unread.extend(failure.lines()),
                other => other?,
            },
        }
        output.end_table();
    }
    output.end()?;
    Ok(output.report())
}

/// Records that were read together.
type Batch<'t, 'o> = Result<Vec<AnyRecord<'t, 'o>>, shmstate::Error>;

fn all<'f>(
    table: &AnyTable<'_>,
    form: impl Fn() -> Form<'f> + Sync,
    limit: u64,
    output: &mut Output,
) -> Result<(), End> {
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
    if limit == u64::MAX {
        let mut records = table.records();
        let take = || records.batch().transpose();
        let worker = || {
            let mut form = form();
            move |batch: Batch<'_, '_>, part: &mut Part| {
                form.part(&batch.map_err(|error| unread(&error))?, u64::MAX, part);
                Ok(())
            }
        };
        return crew::each(take, worker, |part| output.part(part));
    }
    // Whether one is wanted depends on those before it: one after the other.
    let (mut records, mut form, mut part) = (table.records(), form(), Part::default());
    while output.written < limit {
        let Some(batch) = records.batch().map_err(|error| unread(&error))? else {
            break;
        };
        form.part(&batch, limit - output.written, &mut part);
        output.part(&part)?;
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
