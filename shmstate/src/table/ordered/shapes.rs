//! Ordered maps whose records have several shapes (`table::mixed`). A twin's key is the record's, in the form of maps.

use super::node::Probe;
use super::tree::Toward;
use super::{OrderedMap, WHAT};
use crate::archive::Value;
use crate::error::{Error, Result};
use crate::heap;
use crate::region::view::View;
use crate::table::catalog::Spec;
use crate::table::key::{Encoded, Form, Key};
use crate::table::keyed;
use crate::table::mixed::{self, At, Swept, Table, ends_at, in_chunk};
use crate::table::record::{Carried, Home};
use crate::tx::Tx;

impl<K: Key, V: Value> Table for OrderedMap<K, V> {
    type Value = V;
    type Name = K;
    const KEY_SIZE: usize = K::SIZE;

    fn spec() -> Spec {
        Self::spec()
    }

    fn of_row(row: u64, view: &View) -> Result<Self> {
        Self::handle(row, view)
    }

    fn row(&self) -> u64 {
        self.row
    }

    fn home(&self) -> Home {
        self.home()
    }

    fn belongs(&self, view: &View) -> Result<()> {
        self.admit(view).map(|_| ())
    }

    fn records(&self, view: &View) -> Result<u64> {
        self.len(view)
    }

    fn is_record(&self, view: &View, at: At) -> Result<bool> {
        Ok(ends_at(view, self.home(), at.header))
    }

    fn name(&self, view: &View, at: At) -> Result<Encoded<'static, K>> {
        let bytes = self.admit(view)?.shape.stored.key(view, at.header)?;
        let key = Self::decode(at.header, bytes)?;
        Ok(Encoded::of(key.borrowed(), Form::Hashed)?.into_owned())
    }

    fn carried(view: &View, header: u64) -> Result<Carried> {
        keyed::carried::<K>(view, header)
    }

    fn swap(&self, tx: &mut Tx<'_>, at: At, header: u64) -> Result<()> {
        let tree = self.admit(tx)?;
        let key = tree.shape.stored.key(tx, at.header)?.to_vec();
        let spot = tree.locate(tx, Toward::Key(&Probe::new(tree.shape, &key)))?;
        if !spot.found {
            return Err(Error::damaged(WHAT, at.header, header));
        }
        tree.replace(tx, &spot.path, header)
    }

    fn recount(&self, tx: &mut Tx<'_>, before: u64, after: u64) -> Result<()> {
        self.count(tx, 0, after.wrapping_sub(before))
    }

    fn parts(&self, view: &View) -> Result<u64> {
        Ok(heap::chunks(view))
    }

    fn part(&self, view: &View, part: u64) -> Result<Vec<At>> {
        in_chunk(view, self.home(), part)
    }
}

impl<K: Key, V: Value> OrderedMap<K, V> {
    /// Migrates about `budget` records that still have an older shape, whole chunks of 64 KiB of them; then takes away what a closed way back
    /// has left. Nothing is left when it says so; calling it is then cheap. For a call each tick.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::RegionFull`], [`Error::Damaged`]; those of the [log](crate::Tx#errors).
    pub fn sweep(&self, tx: &mut Tx<'_>, budget: u64) -> Result<Swept> {
        mixed::sweep(self, tx, budget)
    }

    /// How many records still have an older shape, and how many twins nobody wants any more.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`].
    pub fn unswept(&self, view: &View) -> Result<u64> {
        mixed::unswept(self, view)
    }

    /// Before the record under a key is changed.
    #[cold]
    pub(super) fn renew(&self, tx: &mut Tx<'_>, key: &K::Borrowed) -> Result<()> {
        if mixed::is_mixed(self, tx)
            && let Some(record) = self.look_up(tx, key)?
        {
            self.renew_at(tx, record)?;
        }
        Ok(())
    }

    /// Before the record whose header is given is changed. It may move: gives its header.
    #[cold]
    pub(super) fn renew_at(&self, tx: &mut Tx<'_>, record: u64) -> Result<u64> {
        mixed::renew(self, tx, At::keyed(record))
    }

    /// The same of all records.
    pub(super) fn renew_all(&self, tx: &mut Tx<'_>) -> Result<()> {
        for rank in 0..self.len(tx)? {
            if let Some(path) = self.end(tx, Toward::Rank(rank))? {
                let record = Self::record_at(self.admit(tx)?, tx, &path)?;
                self.renew_at(tx, record)?;
            }
        }
        Ok(())
    }

    /// A record was made.
    #[inline]
    pub(super) fn note(&self, tx: &mut Tx<'_>, record: u64) {
        if tx.mixed().has(self.row) {
            mixed::note(self, tx, At::keyed(record));
        }
    }
}
