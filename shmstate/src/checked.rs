//! Opening a region whose bytes are not trusted: every record is validated before a reference to it can exist (R6).
//!
//! [`Options::open`] checks all metadata that it needs and trusts the records, because a program of the same types wrote them.
//! [`Options::open_checked`] is for images from elsewhere, and after damage: it gives an [`Unverified`] region, from which each table is
//! opened by validating all of its records, and which becomes a [`Region`] once all were.
//!
//! - **X1** A record is validated where it lies: in a block that the heap says is the table's, with the root where the table's types
//!   put it, and everything it points to within the block (`bytecheck`).
//! - **X2** What a table's own structures lead to are such records and nothing else, and no structure lies over a record.
//! - **X3** Nobody writes meanwhile: the region is held and recovered. Later the records change only by this program's hand.

use crate::archive::{self, CheckedValue, Geometry};
use crate::error::{self, Error, Report, Result};
use crate::heap::{self, Blocks, Held, Owner};
use crate::region::header::Layout;
use crate::region::{Options, Region, View};
use crate::table::catalog::{self, Kind};
use crate::table::cell::{self, Cell};
use crate::table::key::Key;
use crate::table::map::{self, Map};
use crate::table::mixed;
use crate::table::ordered::{self, OrderedMap};
use crate::table::queue::{self, Queue};
use crate::table::record::HEADER;
use crate::table::slab::{self, Slab};
use crate::table::timers::{self, Timers};
use crate::verify;
use std::collections::BTreeSet;

const WHAT: &str = "record";

/// A table that can be opened by validating all that is in it.
pub trait OpenChecked: Sized {
    /// Finds the table, compares its shape, and validates every record. The view is that of a reader or a transaction, so that
    /// nobody writes meanwhile.
    ///
    /// # Errors
    /// [`Error::NoTable`], [`Error::SchemaMismatch`]; [`Error::Damaged`], with the offset of the header of the record that is.
    fn open_checked(view: &View, name: &str) -> Result<Self>;
}

/// Validates the record that fills a block (X1). Gives the offset of its header.
fn validate<V: CheckedValue>(view: &View, block: heap::Block, geometry: Geometry) -> Result<u64> {
    let header = block.offset + block.size - HEADER;
    let damaged = |found| Error::damaged(WHAT, header, found);
    let word = view.load(header, WHAT)?;
    if word as u32 == 0 {
        return Err(damaged(word));
    }
    if archive::version_in(word) != archive::version::<V>() {
        return Err(Error::OtherVersion {
            at: header,
            version: archive::version_in(word),
            expected: archive::version::<V>(),
        });
    }
    let root = (block.size - HEADER)
        .checked_sub(geometry.root)
        .ok_or_else(|| damaged(block.size))?;
    let bytes = view.bytes(block.offset, block.size - HEADER, WHAT)?;
    if archive::is_valid::<V>(bytes, root as usize) {
        Ok(header)
    } else {
        Err(damaged(word))
    }
}

/// Validates all records of the table whose row is given (X1).
fn validate_all<V: CheckedValue>(view: &View, row: u64, geometry: Geometry) -> Result<()> {
    let mut blocks = Blocks::of(view, Owner::of_row(row))?;
    while let Some(block) = blocks.next(view)? {
        validate::<V>(view, block, geometry)?;
    }
    Ok(())
}

/// Lets a table's own walk over it tell what it refers to, and checks that this is records of the table, and blocks of its
/// structure that no record lies in (X2).
fn check_structure(view: &View, row: u64, walk: impl FnOnce(&mut dyn FnMut(Held)) -> Result<()>) -> Result<()> {
    let (owner, mut seen) = (Owner::of_row(row), Ok(()));
    walk(&mut |held| {
        if seen.is_ok() {
            seen = heap::check_held(view, owner, held);
        }
    })?;
    seen
}

impl<T: CheckedValue> OpenChecked for Slab<T> {
    fn open_checked(view: &View, name: &str) -> Result<Self> {
        let row = catalog::find(view, name, &Self::spec())?;
        validate_all::<T>(view, row, Self::GEOMETRY)?;
        check_structure(view, row, |each| slab::blocks(view, row, each))?;
        mixed::check_plain::<T>(view, name)?;
        Ok(Self::handle(row, view))
    }
}

impl<T: CheckedValue> OpenChecked for Queue<T> {
    fn open_checked(view: &View, name: &str) -> Result<Self> {
        let row = catalog::find(view, name, &Self::spec())?;
        validate_all::<T>(view, row, Self::GEOMETRY)?;
        check_structure(view, row, |each| queue::blocks(view, row, each))?;
        mixed::check_plain::<T>(view, name)?;
        Ok(Self::handle(row, view))
    }
}

impl<T: CheckedValue> OpenChecked for Timers<T> {
    fn open_checked(view: &View, name: &str) -> Result<Self> {
        let row = catalog::find(view, name, &Self::spec())?;
        validate_all::<T>(view, row, Self::GEOMETRY)?;
        check_structure(view, row, |each| timers::blocks(view, row, each))?;
        mixed::check_plain::<T>(view, name)?;
        Ok(Self::handle(row, view))
    }
}

impl<K: Key, V: CheckedValue> OpenChecked for OrderedMap<K, V> {
    fn open_checked(view: &View, name: &str) -> Result<Self> {
        let row = catalog::find(view, name, &Self::spec())?;
        validate_all::<V>(view, row, Self::GEOMETRY)?;
        let layout = Layout::of(view.capacity())?;
        check_structure(view, row, |each| ordered::check(view, &layout, row, each))?;
        mixed::check_plain::<V>(view, name)?;
        Self::handle(row, view)
    }
}

impl<K: Key, V: CheckedValue> OpenChecked for Map<K, V> {
    fn open_checked(view: &View, name: &str) -> Result<Self> {
        let row = catalog::find(view, name, &Self::spec())?;
        let (layout, owner) = (Layout::of(view.capacity())?, Owner::of_row(row));
        validate_all::<V>(view, row, Self::GEOMETRY)?;
        // X2: the index is sound, and leads to such blocks only.
        let astray = |record, report: &mut Report<'_>| match heap::ends_block(view, view.fresh_window(), owner, record)
        {
            Ok(true) => Ok(()),
            _ => report(Error::damaged("record of an index", record, row)),
        };
        map::check_records(view, &layout, row, astray, &mut error::refuse)?;
        mixed::check_plain::<V>(view, name)?;
        Self::handle_of(row, view)
    }
}

impl<T: CheckedValue> OpenChecked for Cell<T> {
    fn open_checked(view: &View, name: &str) -> Result<Self> {
        let row = catalog::find(view, name, &Self::spec())?;
        let layout = Layout::of(view.capacity())?;
        let header = cell::roots(view, row)?.0;
        if header < layout.heap || !header.is_multiple_of(8) {
            return Err(Error::damaged("cell", row, header));
        }
        let block = heap::block_of(view, &layout, header)?;
        if validate::<T>(view, block, Self::HOME.geometry)? != header {
            return Err(Error::damaged("cell", row, header));
        }
        mixed::check_plain::<T>(view, name)?;
        Ok(Self::handle(row, view))
    }
}

/// A region that is held and recovered, and whose metadata agree, but whose records nobody has looked at.
#[derive(Debug)]
pub struct Unverified {
    region: Region,
    left: BTreeSet<String>,
}

impl Options {
    /// Opens a region as [`open`](Self::open) does, and checks all metadata: heap, catalog, indexes, and that every block is
    /// referred to once. Records are validated as their tables are opened.
    ///
    /// ```
    /// # fn main() -> shmstate::Result<()> {
    /// # use shmstate::{Map, Region};
    /// # let name = format!("doc-checked-{}", std::process::id());
    /// # let mut region = Region::options().capacity(4 << 20).create(&name)?;
    /// # let gate = region.gate().clone();
    /// # region.write(&gate.enter()?, |tx| Map::<u64, String>::create(tx, "names").map(|_| ()))?;
    /// # drop(region);
    /// let mut unverified = Region::options().open_checked(&name)?;
    /// let names: Map<u64, String> = unverified.table("names")?;
    /// let region = unverified.finish()?;
    /// # Region::remove(&name)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`open`](Self::open); [`Error::Damaged`].
    pub fn open_checked(&self, name: &str) -> Result<Unverified> {
        let region = self.open(name)?;
        verify::check(&region.view)?.into_sound()?;
        let rows = catalog::rows(&region.view)?;
        // Streams have no records, only bytes. What the library keeps beside a table is that table's: it is opened with it, or trusted with it.
        let typed = rows
            .into_iter()
            .filter(|row| Kind::from_number(row.kind) != Some(Kind::Streams) && !row.name.starts_with('.'));
        Ok(Unverified {
            left: typed.map(|row| row.name).collect(),
            region,
        })
    }
}

impl Unverified {
    /// Opens a table and validates every record of it.
    ///
    /// # Errors
    /// Those of [`OpenChecked::open_checked`].
    pub fn table<T: OpenChecked>(&mut self, name: &str) -> Result<T> {
        let table = T::open_checked(&self.region.view, name)?;
        self.left.remove(name);
        Ok(table)
    }

    /// Takes a table's records as they are: this program will not open it, or knows where they come from.
    ///
    /// # Errors
    /// [`Error::NothingToCheck`] if there is none of that name that is unchecked.
    pub fn trust(&mut self, name: &str) -> Result<()> {
        if self.left.remove(name) {
            Ok(())
        } else {
            Err(Error::NothingToCheck { table: name.into() })
        }
    }

    /// Names of the tables that are not checked yet.
    pub fn unchecked(&self) -> impl Iterator<Item = &str> {
        self.left.iter().map(String::as_str)
    }

    /// The region, now that all of its tables were checked.
    ///
    /// # Errors
    /// [`Error::Unchecked`] if one was not. The region is then let go.
    pub fn finish(self) -> Result<Region> {
        match self.left.first() {
            None => Ok(self.region),
            Some(table) => Err(Error::Unchecked {
                table: table.as_str().into(),
            }),
        }
    }
}
