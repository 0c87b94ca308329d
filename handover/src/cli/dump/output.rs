//! Where a dump goes: the heads and ends of its tables, and the parts of them in their order.

use rustix::pipe::fcntl_setpipe_size;
use shmstate::AnyTable;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::fd::AsFd;

use super::csv::Csv;
use super::form::{BETWEEN, MOST_TOLD, Part};
use crate::cli::args::Shown;
use crate::cli::exit::{Exit, Failure, Report};
use crate::cli::inspect::kind;
use crate::cli::json::Json;
use crate::cli::text;

/// What is written at a time.
const PIECE: usize = 256 << 10;
/// How much a pipe is to hold, so that its reader need not be woken for every few pages. It is what every user may ask for.
const PIPE: usize = 1 << 20;

/// Why the work ends.
#[derive(Debug)]
pub(super) enum End {
    /// The reader has gone.
    Closed,
    Failed(Failure),
}

impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

fn failed(error: &std::io::Error) -> End {
    match error.kind() {
        ErrorKind::BrokenPipe => End::Closed,
        _ => End::Failed(Failure::new(Exit::Unknown, format!("write to stdout: {error}"))),
    }
}

/// Where records go.
pub(super) struct Output {
    to: File,
    json: Json,
    shown: Shown,
    /// Whether each line says which table it is of.
    named: bool,
    /// Records of this table.
    pub(super) written: u64,
    damaged: Vec<String>,
    damaged_count: u64,
    /// What is wrong with tables that could not be read to their ends.
    pub(super) unread: Vec<String>,
}

impl Output {
    pub(super) fn new(shown: Shown, named: bool) -> Result<Self, End> {
        let stdout = std::io::stdout();
        let to = stdout.as_fd().try_clone_to_owned().map_err(|error| failed(&error))?;
        // Of what is no pipe, or may not be wider, nothing is asked.
        let _ = fcntl_setpipe_size(&to, PIPE);
        Ok(Self {
            to: to.into(),
            json: Json::default(),
            shown,
            named,
            written: 0,
            damaged: Vec::new(),
            damaged_count: 0,
            unread: Vec::new(),
        })
    }

    fn put(&mut self, text: &str) {
        self.json.out.extend_from_slice(text.as_bytes());
    }

    pub(super) fn begin(&mut self, region: &str) {
        if self.shown == Shown::Json {
            self.put("{\"region\":");
            self.json.text(region);
            self.put(",\"tables\":[");
        }
    }

    pub(super) fn begin_table(&mut self, table: &AnyTable<'_>, first: bool) {
        self.written = 0;
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
            Shown::Csv => Csv::new(table).head(&mut self.json.out),
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

    /// The next part of the table.
    ///
    /// # Errors
    /// [`End`]: nothing more can be written.
    pub(super) fn part(&mut self, part: &Part) -> Result<(), End> {
        let mut text = part.text.as_slice();
        if self.shown == Shown::Json && self.written == 0 {
            text = text.strip_prefix(BETWEEN).unwrap_or(text);
        }
        self.json.out.extend_from_slice(text);
        self.written += part.written;
        self.damaged_count += part.damaged_count;
        let room = MOST_TOLD.saturating_sub(self.damaged.len());
        self.damaged.extend(part.damaged.iter().take(room).cloned());
        if self.json.out.len() >= PIECE {
            self.flush()?;
        }
        Ok(())
    }

    pub(super) fn end_table(&mut self) {
        if self.shown == Shown::Json {
            self.put("\n]}");
        }
    }

    /// The end of all tables.
    ///
    /// # Errors
    /// [`End`].
    pub(super) fn end(&mut self) -> Result<(), End> {
        if self.shown == Shown::Json {
            self.put("\n]}\n");
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<(), End> {
        let written = self.to.write_all(&self.json.out);
        self.json.out.clear();
        written.map_err(|error| failed(&error))
    }

    pub(super) fn report(self) -> Report {
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
