//! What a table is to whoever migrates its records: any kind of table says this of itself.

use crate::archive::Value;
use crate::error::Result;
use crate::heap::{self, Blocks};
use crate::region::view::View;
use crate::table::catalog::Spec;
use crate::table::key::{Encoded, Key};
use crate::table::record::{self, Carried, Home};
use crate::table::slots::Slot;
use crate::tx::Tx;

/// A record of a table: where its header is, and, where records carry no key, the number by which their table finds them (an id's token,
/// a serial number); else 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) header: u64,
    pub(crate) number: u64,
}

impl At {
    /// A record that carries its key.
    pub(crate) const fn keyed(header: u64) -> Self {
        Self { header, number: 0 }
    }

    /// A record that a number names.
    pub(crate) const fn numbered(header: u64, number: u64) -> Self {
        Self { header, number }
    }

    /// The record in a slot.
    pub(crate) fn slot(slot: &Slot) -> Self {
        Self::numbered(slot.record, slot.token())
    }
}

/// A table whose records can migrate.
pub(crate) trait Table: Copy + Send + Sync + 'static {
    /// Its records.
    type Value: Value;
    /// What names a record, whatever its shape: the key of its twins.
    type Name: Key;
    /// Bytes that a record has beside its header for a key.
    const KEY_SIZE: usize;

    fn spec() -> Spec;

    /// The handle of the table whose row is given.
    fn of_row(row: u64, view: &View) -> Result<Self>;

    fn row(&self) -> u64;

    /// Where its records live, and what those of its own shape look like.
    fn home(&self) -> Home;

    /// Refuses another region.
    fn belongs(&self, view: &View) -> Result<()>;

    /// How many records there are.
    fn records(&self, view: &View) -> Result<u64>;

    /// Whether there still is such a record: it was one earlier in this transaction.
    fn is_record(&self, view: &View, at: At) -> Result<bool>;

    fn name(&self, view: &View, at: At) -> Result<Encoded<'static, Self::Name>>;

    /// What a record keeps beside its archive (M6).
    fn carried(view: &View, header: u64) -> Result<Carried>;

    /// Lets the table name another record in place of this one, which may have been taken away already.
    fn swap(&self, tx: &mut Tx<'_>, at: At, header: u64) -> Result<()>;

    /// A record's archive had so many bytes, and now has so many.
    fn recount(&self, tx: &mut Tx<'_>, before: u64, after: u64) -> Result<()>;

    /// Into how many parts the sweep divides it.
    fn parts(&self, view: &View) -> Result<u64>;

    /// The records of one part; of a part that there is no more, none.
    fn part(&self, view: &View, part: u64) -> Result<Vec<At>>;
}

/// Whether a record of a table that keeps records for itself ends there.
pub(crate) fn ends_at(view: &View, home: Home, header: u64) -> bool {
    matches!(
        heap::ends_block(view, view.fresh_window(), home.owner, header),
        Ok(true)
    )
}

/// The records of one chunk: a part of a table whose records carry their keys.
pub(crate) fn in_chunk(view: &View, home: Home, chunk: u64) -> Result<Vec<At>> {
    let blocks = Blocks::of_chunk(view, home.owner, chunk)?.into_iter();
    let headers = blocks.map(|block| block.offset + block.size - record::HEADER);
    Ok(headers.map(At::keyed).collect())
}
