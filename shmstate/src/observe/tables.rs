//! Header and catalog of a region as an observer sees them: committed, copied, and read with the code that its owner reads
//! them with.

use super::Observer;
use super::memory::acquire;
use super::source::{Live, Source};
use crate::error::{Error, Result};
use crate::region::backing;
use crate::region::header::{ROW, ROWS, at};
use crate::region::{View, view_of};
use crate::table::catalog::{self, IDENTITY, MAX_DESCRIPTION, Row, Spec};
use std::time::Duration;

const WHAT: &str = "catalog";

/// A copy of everything up to the end of the catalog.
pub(crate) struct Tables {
    // Declared before its memory: the view must not outlive it (V3).
    view: View,
    _memory: Box<backing::Memory>,
}

impl Tables {
    fn copy<S: Source>(source: &mut S, observer: &Observer) -> Result<Self> {
        let layout = observer.layout();
        let end = layout.catalog + ROWS * ROW;
        let mut words = vec![0; (end / 8) as usize];
        source.copy(0, &mut words, WHAT)?;
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        // As much address space as the region has: counts are believed if a region of that size could hold so many.
        let memory = Box::new(backing::Memory::sparse(layout.reserve, end)?);
        let view = view_of(&*memory, end, observer.birth().places());
        view.write_fresh(0, &bytes, WHAT)?;
        Ok(Self { view, _memory: memory })
    }

    /// What a table's own code needs to count its records: it reads the row and nothing else.
    pub(crate) fn view(&self) -> &View {
        &self.view
    }

    /// What is compared before each reading of the table in that row.
    pub(crate) fn prints(&self, row: &Row) -> Result<Prints> {
        Ok(Prints {
            name: row.name.as_str().into(),
            row: row.offset,
            identity: self.view.identity(row.offset),
            words: self.view.words(row.offset + Prints::PLACES.0, WHAT)?,
        })
    }

    pub(crate) fn rows(&self) -> Result<Vec<Row>> {
        catalog::rows(&self.view)
    }

    /// Compares a description with the check that its row has of it.
    fn check(&self, row: &Row, text: String) -> Result<String> {
        catalog::check_text(&self.view, row, &text)?;
        Ok(text)
    }
}

/// The text of both descriptions of a row.
fn description<S: Source>(source: &mut S, tables: &Tables, row: &Row) -> Result<String> {
    let (offset, length) = row.description;
    if length > MAX_DESCRIPTION {
        return Err(Error::damaged(WHAT, row.offset + 120, length));
    }
    let mut words = vec![0; length.div_ceil(8) as usize];
    source.copy(offset, &mut words, "description")?;
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    bytes.truncate(length as usize);
    let text = String::from_utf8(bytes).map_err(|_| Error::damaged("description", offset, length))?;
    tables.check(row, text)
}

/// How long it is tried to see what is committed, for people who look: they are told what stands there rather than nothing.
const SOON: Duration = Duration::from_millis(2);
/// How often a table is looked for in live memory that does not hold still.
const STILL_TRIES: usize = 10_000;

/// The tables that are committed, with their descriptions.
pub(crate) fn committed(observer: &Observer) -> Result<(Tables, Vec<(Row, String)>)> {
    observer.snapshot_within(SOON, |s| {
        s.be_strict();
        let tables = described(s, observer);
        s.note(tables)
    })
}

/// The tables as they stand in memory, for people who look while the owner is in a transaction that is too long to look
/// through.
///
/// One that is being made or changed may contradict itself: it is left out, and is no damage.
pub(crate) fn live(observer: &Observer) -> Result<(Tables, Vec<(Row, String)>)> {
    let source = &mut Live(observer.memory());
    let tables = Tables::copy(source, observer)?;
    let mut rows = Vec::new();
    for index in 0..ROWS {
        let row = catalog::row(tables.view(), index).and_then(|row| match row {
            Some(row) => description(source, &tables, &row).map(|text| Some((row, text))),
            None => Ok(None),
        });
        match row {
            Ok(row) => rows.extend(row),
            Err(Error::Damaged { .. } | Error::Retry { .. }) => {}
            Err(e) => return Err(e),
        }
    }
    Ok((tables, rows))
}

fn described<S: Source>(source: &mut S, observer: &Observer) -> Result<(Tables, Vec<(Row, String)>)> {
    let tables = Tables::copy(source, observer)?;
    let mut rows = Vec::new();
    for row in tables.rows()? {
        let text = description(source, &tables, &row)?;
        rows.push((row, text));
    }
    Ok((tables, rows))
}

/// What an observed table compares before each reading: that its row still is the one that was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prints {
    name: Box<str>,
    row: u64,
    identity: u64,
    words: [u64; 5],
}

impl Prints {
    /// Fingerprints and version stand in these words of a row.
    const PLACES: (u64, u64) = (72, 5);

    /// Finds the table and compares its shape with what the program says.
    pub(crate) fn find(observer: &Observer, name: &str, spec: &Spec) -> Result<Self> {
        let found = observer.snapshot(|s| {
            s.be_strict();
            let found = Self::look(s, observer, name, spec);
            s.note(found)
        });
        match found {
            Err(Error::Retry { what, tries }) => {
                Self::still(observer, name, spec).ok_or(Error::Retry { what, tries })?
            }
            found => found,
        }
    }

    /// The same against an owner that never pauses: what was found alike before and after a moment at which no log was open was committed at
    /// that moment, because transactions of one word change no row.
    fn still(observer: &Observer, name: &str, spec: &Spec) -> Option<Result<Self>> {
        let memory = observer.memory();
        let look = || Self::look(&mut Live(memory), observer, name, spec);
        for _ in 0..STILL_TRIES {
            let before = look();
            acquire();
            let idle = memory.header(at::LOG_LENGTH) == 0;
            acquire();
            let after = look();
            match (before, after) {
                (Ok(before), Ok(after)) if idle && before == after => return Some(Ok(after)),
                (Err(Error::SchemaMismatch { .. }), Err(fault @ Error::SchemaMismatch { .. }))
                | (Err(Error::NoTable { .. }), Err(fault @ Error::NoTable { .. }))
                    if idle =>
                {
                    return Some(Err(fault));
                }
                _ => std::hint::spin_loop(),
            }
        }
        None
    }

    fn look<S: Source>(s: &mut S, observer: &Observer, name: &str, spec: &Spec) -> Result<Self> {
        let tables = Tables::copy(s, observer)?;
        let row = tables.rows()?.into_iter().find(|row| row.name == name);
        let row = row.ok_or_else(|| Error::NoTable { name: name.into() })?;
        catalog::compare(&row, spec, || description(s, &tables, &row))?;
        Ok(Self {
            name: name.into(),
            row: row.offset,
            identity: tables.view().identity(row.offset),
            words: s.words(row.offset + Self::PLACES.0, WHAT)?,
        })
    }

    /// The table's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Offset of the row.
    pub(crate) fn row(&self) -> u64 {
        self.row
    }

    /// Whether records carry checksums.
    pub(crate) fn checked(&self) -> bool {
        self.words[4] & catalog::CHECKED != 0
    }

    /// Refuses if the table is gone (R1 of `catalog`), or was given another shape since.
    pub(crate) fn confirm<S: Source>(&self, source: &mut S) -> Result<()> {
        let [identity] = source.words(self.row + IDENTITY, WHAT)?;
        if identity != self.identity {
            return Err(Error::TableGone);
        }
        let words: [u64; 5] = source.words(self.row + Self::PLACES.0, WHAT)?;
        if words == self.words {
            return Ok(());
        }
        Err(Error::SchemaMismatch {
            table: self.name.clone(),
            report: format!(
                "table {} was given another shape while it was observed; open it again",
                self.name
            )
            .into(),
        })
    }
}

const _: () = assert!(Prints::PLACES.0 + Prints::PLACES.1 * 8 == 112);
