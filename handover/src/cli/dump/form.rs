//! Records as text: the form that is asked for, and a part of a table in it.

use shmstate::decode::Visit;
use shmstate::{AnyRecord, AnyTable, BadRecord, Naming};
use std::io::Write;

use super::csv::Csv;
use super::filter::Filter;
use crate::cli::args::Shown;
use crate::cli::json::Json;
use crate::cli::text;

/// What stands between two records; it begins each of them, and [`super::output`] takes it off the first.
pub(super) const BETWEEN: &[u8] = b",";

/// Puts records of one table into text.
pub(super) struct Form<'f> {
    shown: Shown,
    /// Whether each line says which table it is of.
    named: bool,
    filters: &'f [Filter],
    csv: Option<Csv>,
    json: Json,
}

/// Records that were read together, as text.
#[derive(Debug, Default)]
pub(super) struct Part {
    pub(super) text: Vec<u8>,
    /// Records that are in it.
    pub(super) written: u64,
    /// What is wrong with those that are damaged, of the first [`MOST_TOLD`].
    pub(super) damaged: Vec<String>,
    pub(super) damaged_count: u64,
}

/// Damaged records that are told one by one; more are only counted.
pub(super) const MOST_TOLD: usize = 20;

impl<'f> Form<'f> {
    pub(super) fn new(table: &AnyTable<'_>, shown: Shown, named: bool, filters: &'f [Filter]) -> Self {
        Self {
            shown,
            named,
            filters,
            csv: (shown == Shown::Csv).then(|| Csv::new(table)),
            json: Json::default(),
        }
    }

    /// Makes a part of the records that the filters admit, `most` of them.
    pub(super) fn part(&mut self, records: &[AnyRecord<'_, '_>], most: u64, part: &mut Part) {
        self.json.out = std::mem::take(&mut part.text);
        self.json.out.clear();
        part.written = 0;
        part.damaged.clear();
        part.damaged_count = 0;
        for record in records {
            if part.written >= most {
                break;
            }
            let start = self.json.out.len();
            match self.record(record) {
                Ok(admitted) => part.written += u64::from(admitted),
                Err(bad) => {
                    self.json.cut(start);
                    part.damaged_count += 1;
                    if part.damaged.len() < MOST_TOLD {
                        let (table, name) = (text::clean(record.table().name()), record.name());
                        part.damaged.push(format!("{table} {name}: {bad}"));
                    }
                }
            }
        }
        part.text = std::mem::take(&mut self.json.out);
    }

    /// Writes a record, if the filters admit it. Of one that is damaged a beginning may be written.
    fn record(&mut self, record: &AnyRecord<'_, '_>) -> Result<bool, BadRecord> {
        for filter in self.filters {
            if !filter.admits(record)? {
                return Ok(false);
            }
        }
        let json = &mut self.json;
        match self.shown {
            Shown::Csv => {
                if let Some(csv) = &mut self.csv {
                    csv.line(record, &mut json.out)?;
                }
            }
            Shown::Text => {
                if self.named {
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
            Shown::Json => {
                json.out.extend_from_slice(BETWEEN);
                json.out.push(b'\n');
                self.object(record)?;
            }
            Shown::Lines => {
                self.object(record)?;
                self.json.out.push(b'\n');
            }
        }
        Ok(true)
    }

    /// A record as an object of JSON.
    fn object(&mut self, record: &AnyRecord<'_, '_>) -> Result<(), BadRecord> {
        let json = &mut self.json;
        json.out.push(b'{');
        if self.shown == Shown::Lines && self.named {
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
        Ok(())
    }
}
