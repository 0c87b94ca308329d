//! CSV of a table: a column for each field that is a number, a string and so on, fields of fields as `home.x`; what is none of these is
//! JSON in its cell. What is not there (`None`) is an empty cell.

use shmstate::decode::{Selected, Visit};
use shmstate::schema::{Form, Model, TypeIndex};
use shmstate::{AnyRecord, AnyTable, BadRecord, Kind, Naming};
use std::io::Write;

use crate::cli::json::Json;

/// Most columns: a description that has more is dumped as one.
const MOST_COLUMNS: usize = 1000;

/// The columns of a table.
#[derive(Debug)]
pub(super) struct Csv {
    /// Title, and the field; `None` for the whole record.
    columns: Vec<(String, Option<Selected>)>,
    naming: Naming,
    timers: bool,
    streams: bool,
    cell: Json,
}

/// What a stream has instead of a record's fields.
const STREAM: [&str; 10] = [
    "socket",
    "user",
    "received",
    "consumed",
    "produced",
    "sent",
    "input_ring",
    "output_ring",
    "adopted_ns",
    "finished",
];

fn flat(model: &Model, of: TypeIndex, path: &str, titles: &mut Vec<String>) {
    if titles.len() > MOST_COLUMNS {
        return;
    }
    match &model.get(of).form {
        Form::Struct(fields) | Form::Tuple(fields) if !fields.is_empty() => match fields.as_slice() {
            [one] if one.name == ".0" && matches!(model.get(of).form, Form::Struct(_)) => {
                flat(model, one.of, path, titles)
            }
            fields => {
                for field in fields {
                    let name = field.name.trim_start_matches('.');
                    let path = if path.is_empty() {
                        name.to_owned()
                    } else {
                        format!("{path}.{name}")
                    };
                    flat(model, field.of, &path, titles);
                }
            }
        },
        _ => titles.push(path.to_owned()),
    }
}

impl Csv {
    pub(super) fn new(table: &AnyTable<'_>) -> Self {
        let mut columns = Vec::new();
        let streams = table.kind() == Some(Kind::Streams);
        if streams {
            columns.extend(STREAM.map(|name| (name.to_owned(), None)));
        } else if let Ok(decoder) = table.decoder() {
            let mut titles = Vec::new();
            flat(decoder.model(), decoder.model().root_index(), "", &mut titles);
            if titles.len() > MOST_COLUMNS {
                titles.clear();
            }
            for title in titles.into_iter().filter(|title| !title.is_empty()) {
                if let Ok(selected) = decoder.select(&title) {
                    columns.push((title, Some(selected)));
                }
            }
        }
        if columns.is_empty() {
            columns.push(("value".into(), None));
        }
        Self {
            columns,
            naming: table.naming(),
            timers: table.kind() == Some(Kind::Timers),
            streams,
            cell: Json::default(),
        }
    }

    pub(super) fn head(&self, out: &mut Vec<u8>) {
        let mut titles: Vec<&str> = Vec::new();
        titles.extend(match self.naming {
            Naming::Key => Some("key"),
            Naming::Id => Some("id"),
            Naming::Serial => Some("serial"),
            _ => None,
        });
        if self.timers {
            titles.extend(["deadline_ns", "period_ns"]);
        }
        titles.extend(self.columns.iter().map(|(title, _)| title.as_str()));
        for (i, title) in titles.into_iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            quoted(title.as_bytes(), out);
        }
        out.extend_from_slice(b"\r\n");
    }

    /// A line; nothing is written of a record that is damaged.
    pub(super) fn line(&mut self, record: &AnyRecord<'_, '_>, out: &mut Vec<u8>) -> Result<(), BadRecord> {
        let start = out.len();
        let written = self.cells(record, out);
        match written {
            Ok(()) => out.extend_from_slice(b"\r\n"),
            Err(_) => out.truncate(start),
        }
        written
    }

    fn cells(&mut self, record: &AnyRecord<'_, '_>, out: &mut Vec<u8>) -> Result<(), BadRecord> {
        let mut first = true;
        let mut next = |out: &mut Vec<u8>| {
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
        };
        if !matches!(self.naming, Naming::Only) {
            next(out);
            self.cell.cut(0);
            record.visit_name(&mut self.cell);
            put(&self.cell.out, out);
        }
        if self.timers {
            let (deadline, period) = record.due().unwrap_or_default();
            for number in [deadline, period] {
                next(out);
                // Writing into a vector cannot fail.
                let _ = write!(out, "{number}");
            }
        }
        if self.streams {
            let mut split = Split {
                json: Json::default(),
                cells: Vec::new(),
            };
            record.visit(&mut split)?;
            for cell in split.cells {
                next(out);
                put(&cell, out);
            }
            return Ok(());
        }
        for (_, selected) in &self.columns {
            next(out);
            self.cell.cut(0);
            let there = match selected {
                Some(selected) => record.visit_selected(selected, &mut self.cell)?,
                None => record.visit(&mut self.cell).map(|()| true)?,
            };
            if there {
                put(&self.cell.out, out);
            }
        }
        Ok(())
    }
}

/// A cell from its JSON: strings without their quotes, null as nothing.
fn put(json: &[u8], out: &mut Vec<u8>) {
    match json {
        b"null" => {}
        [b'"', ..] => {
            let text: String = serde_json::from_slice(json).unwrap_or_default();
            quoted(text.as_bytes(), out);
        }
        other => quoted(other, out),
    }
}

fn quoted(text: &[u8], out: &mut Vec<u8>) {
    if !text.iter().any(|b| matches!(b, b'"' | b',' | b'\n' | b'\r')) {
        out.extend_from_slice(text);
        return;
    }
    out.push(b'"');
    for byte in text {
        if *byte == b'"' {
            out.push(b'"');
        }
        out.push(*byte);
    }
    out.push(b'"');
}

/// The fields of a stream, each a cell.
struct Split {
    json: Json,
    cells: Vec<Vec<u8>>,
}

impl Split {
    fn take(&mut self) {
        self.cells.push(std::mem::take(&mut self.json.out));
    }
}

impl Visit for Split {
    fn bool(&mut self, value: bool) {
        self.json.bool(value);
        self.take();
    }
    fn unsigned(&mut self, value: u64) {
        self.json.unsigned(value);
        self.take();
    }
    fn str(&mut self, value: &str) {
        self.json.str(value);
        self.take();
    }
    fn nothing(&mut self) {}
    fn char(&mut self, _: char) {}
    fn signed(&mut self, _: i64) {}
    fn wide_unsigned(&mut self, _: u128) {}
    fn wide_signed(&mut self, _: i128) {}
    fn single(&mut self, _: f32) {}
    fn double(&mut self, _: f64) {}
    fn opaque(&mut self, _: &[u8]) {}
    fn begin_list(&mut self, _: usize) {}
    fn element(&mut self) {}
    fn end_list(&mut self) {}
    fn begin_map(&mut self, _: usize, _: bool) {}
    fn key(&mut self) {}
    fn value(&mut self) {}
    fn end_map(&mut self) {}
    fn begin_struct(&mut self) {}
    fn field(&mut self, _: &str) {}
    fn end_struct(&mut self) {}
    fn unit_variant(&mut self, _: &str) {}
    fn begin_variant(&mut self, _: &str) {}
    fn end_variant(&mut self) {}
}
