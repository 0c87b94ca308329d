//! What a program makes of what the catalog says of a table with records of several shapes.

use super::companion::{companion_of, companions};
use super::{Table, VERSION};
use crate::archive::{self, Geometry};
use crate::error::{Error, Result};
use crate::region::view::View;
use crate::schema::{self, Model, Schema};
use crate::table::catalog::{self, Row, Spec};
use crate::table::map;
use crate::table::steps::Steps;

/// A shape that records may have beside the owner's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Older {
    /// Low byte of its version.
    pub(super) version: u8,
    pub(super) geometry: Geometry,
    /// Which of the steps reads it.
    pub(super) source: Option<usize>,
    /// Row of its companion; 0 before the table was settled.
    pub(super) companion: u64,
}

/// What this process knows of the table.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) older: Vec<Older>,
    /// Row of the companion of this program's own version, if its twins are good.
    pub(super) mine: Option<u64>,
    /// Row of the companion that gets a twin of everything that changes.
    pub(super) back: Option<u64>,
    /// Rows of all companions.
    pub(super) companions: Vec<u64>,
}

/// Whether a row describes what a program says.
pub(super) fn is_like(row: &Row, shape: &schema::Description) -> bool {
    row.version == shape.version() && row.value == shape.fingerprint().as_u128()
}

impl State {
    /// What the catalog says of the table; `None` if all is of the shape that the program writes and nobody wants another. The steps lead
    /// from every shape that it has records of, or the twins do (M3).
    pub(super) fn of<T: Table>(view: &View, row: &Row, steps: &Steps<T::Value>) -> Result<Option<Self>> {
        let spec = T::spec();
        let own_version = T::Value::VERSION;
        let companions = companions(view, &row.name)?;
        let text = || catalog::description(view, row);
        // Kind and keys never differ, whatever the steps.
        let same_keys = row.kind == spec.kind as u16 && row.key == spec.key_print();
        let own = companions.iter().find(|companion| companion.row.version == own_version);
        let mine = own.filter(|own| own.good && is_like(&own.row, &spec.value));
        let is_own = is_like(row, &spec.value);
        let mut state = Self {
            mine: mine.map(|own| own.row.offset),
            companions: companions.iter().map(|companion| companion.row.offset).collect(),
            ..Self::default()
        };
        let others = companions
            .iter()
            .filter(|companion| companion.row.version != own_version);
        let present = others.clone().filter(|companion| companion.left > 0);
        let shapes = (!is_own).then_some((row, 0)).into_iter();
        for (of, companion) in shapes.chain(present.map(|companion| (&companion.row, companion.row.offset))) {
            let source = steps.sources.iter().position(|source| is_like(of, &source.shape));
            let distinct = (of.version ^ own_version) & 0xff != 0;
            if !same_keys || !distinct || source.is_none() && mine.is_none() {
                return Err(match catalog::compare(row, &spec, text) {
                    Err(refusal) => refusal,
                    // The table is of the program's shape, but some of its records are not.
                    Ok(()) => left_over(view, of, &spec, None)?,
                });
            }
            let geometry = match source {
                Some(source) => (steps.sources[source].geometry)(T::KEY_SIZE),
                None => geometry_of(view, of, T::KEY_SIZE)?,
            };
            state.older.push(Older {
                version: of.version as u8,
                geometry,
                source,
                companion,
            });
        }
        if is_own {
            catalog::compare(row, &spec, text)?;
        }
        let wanted = others.clone().any(|companion| companion.good);
        Ok((!state.older.is_empty() || wanted).then_some(state))
    }

    /// Refuses a table with records that have neither a twin in this program's shape nor a step from theirs (M3): such as were there when
    /// the way back was opened, of versions that the program before read by its steps.
    pub(super) fn check_twins<T: Table>(&self, table: &T, view: &View, row: &Row) -> Result<()> {
        let (Some(mine), true) = (self.mine, self.older.iter().any(|older| older.source.is_none())) else {
            return Ok(());
        };
        let (mut of_own, mut by_steps, mut without) = (0, 0, None);
        let companions = companions(view, &row.name)?;
        let counted: u64 = companions.iter().map(|companion| companion.left).sum();
        let records = table.records(view)?;
        // What is counted nowhere is of the row's shape.
        let of_row = records.saturating_sub(counted);
        for (of, records) in companions
            .iter()
            .map(|companion| (&companion.row, companion.left))
            .chain([(row, of_row)])
        {
            let older = self.older.iter().find(|older| older.version == of.version as u8);
            match older.map(|older| older.source) {
                None => of_own += records,
                Some(Some(_)) => by_steps += records,
                Some(None) if records > 0 => {
                    without.get_or_insert(of);
                }
                Some(None) => {}
            }
        }
        let (twins, _) = map::counts(view, mine)?;
        let bare = records.saturating_sub(of_own).saturating_sub(twins);
        match without {
            Some(of) if bare > by_steps => Err(left_over(view, of, &T::spec(), Some(bare))?),
            _ => Ok(()),
        }
    }

    /// The shape of the record whose header is given, and its word, which is not of this program's version.
    pub(super) fn shape_of(&self, header: u64, word: u64) -> Result<Older> {
        let version = archive::version_in(word);
        let older = self.older.iter().find(|older| older.version == version);
        // The shapes that a table has records of were all compared when it was opened.
        older.copied().ok_or_else(|| Error::damaged(VERSION, header, word))
    }
}

/// The refusal of a table of which some records are still of another shape, or so many of them without a twin.
fn left_over(view: &View, of: &Row, spec: &Spec, bare: Option<u64>) -> Result<Error> {
    let text = catalog::description(view, of)?;
    let (_, table) = companion_of(&of.name).unwrap_or((0, &of.name));
    let more = [match bare {
        None => format!("some of its records are still of version {}", of.version),
        Some(bare) => format!(
            "some of its records are of version {}, and {bare} of all have no twin in version {}: the way back to it does not lead from them",
            of.version,
            spec.value.version()
        ),
    }];
    let report = schema::refusal(table, &more, catalog::parts(&text).1, spec.value.text());
    Ok(Error::SchemaMismatch {
        table: table.into(),
        report: report.into(),
    })
}

/// Where the roots of records lie whose type this program does not have.
pub(super) fn geometry_of(view: &View, row: &Row, key_size: usize) -> Result<Geometry> {
    let text = catalog::checked_description(view, row)?;
    let model = Model::read(catalog::parts(&text).1);
    let model = model.map_err(|_| Error::damaged("description", row.description.0, row.description.1))?;
    let root = model.root();
    if root.align > archive::MAX_ALIGN {
        return Err(Error::damaged("alignment of a record", row.offset, root.align as u64));
    }
    Ok(Geometry::with(root.size, root.align, key_size))
}
