//! Maps whose records have several shapes, and maps as companions of tables (`table::mixed`).

use super::{Found, KEYS, LEFT, Map, WAY, index::Index};
use crate::archive::Value;
use crate::error::{Error, Result};
use crate::heap;
use crate::region::view::View;
use crate::table::catalog::{self, Kind, ROOT, Shape, Spec, TableOptions};
use crate::table::key::{Encoded, Key};
use crate::table::keyed::{self, Stored};
use crate::table::mixed::{self, At, Swept, Table, ends_at, in_chunk};
use crate::table::moving;
use crate::table::record::{Carried, Home};
use crate::tx::Tx;

impl<K: Key, V: Value> Table for Map<K, V> {
    type Value = V;
    type Name = K;
    const KEY_SIZE: usize = K::SIZE;

    fn spec() -> Spec {
        Self::spec()
    }

    fn of_row(row: u64, view: &View) -> Result<Self> {
        Self::handle_of(row, view)
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
        self.records(view)
    }

    fn is_record(&self, view: &View, at: At) -> Result<bool> {
        Ok(ends_at(view, self.home(), at.header))
    }

    fn name(&self, view: &View, at: At) -> Result<Encoded<'static, K>> {
        self.stored_key(view, at.header)
    }

    fn carried(view: &View, header: u64) -> Result<Carried> {
        keyed::carried::<K>(view, header)
    }

    fn swap(&self, tx: &mut Tx<'_>, at: At, header: u64) -> Result<()> {
        self.swap_record(tx, &self.stored_key(tx, at.header)?, header)
    }

    fn recount(&self, tx: &mut Tx<'_>, before: u64, after: u64) -> Result<()> {
        self.count(tx, 0, after, before)
    }

    fn parts(&self, view: &View) -> Result<u64> {
        Ok(heap::chunks(view))
    }

    fn part(&self, view: &View, part: u64) -> Result<Vec<At>> {
        in_chunk(view, self.home(), part)
    }
}

impl<K: Key, V: Value> Map<K, V> {
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

    /// Before the record under a key is changed, or one is made.
    #[cold]
    pub(super) fn renew(&self, tx: &mut Tx<'_>, key: &K::Borrowed) -> Result<()> {
        tx.whole(|tx| {
            moving::before(tx, self.row, &Self::encode(key)?)?;
            self.renew_shape(tx, key)
        })
    }

    /// Puts a record that a move has brought here.
    pub(crate) fn insert_carried(&self, tx: &mut Tx<'_>, key: &K::Borrowed, value: &V) -> Result<()> {
        self.renew_shape(tx, key)?;
        self.put(tx, key, value).map(|_| ())
    }

    fn renew_shape(&self, tx: &mut Tx<'_>, key: &K::Borrowed) -> Result<()> {
        if mixed::is_mixed(self, tx)
            && let Some(header) = self.find_record(tx, &Self::encode(key)?)?
        {
            mixed::renew(self, tx, At::keyed(header))?;
        }
        Ok(())
    }

    /// The key of the record whose header is given.
    pub(crate) fn stored_key(&self, view: &View, header: u64) -> Result<Encoded<'static, K>> {
        let tail = Self::checked_tail(view, header)?;
        let bytes = keyed::key_at::<K>(view, header, tail)?;
        Encoded::stored(bytes).ok_or_else(|| Error::damaged("key", header, bytes.len() as u64))
    }

    /// The header of the record under a key.
    pub(crate) fn find_record(&self, view: &View, key: &Encoded<'_, K>) -> Result<Option<u64>> {
        Ok(self.look_up(view, key)?.1.map(|found| found.place.record))
    }

    /// Enters a record in the index, under a key that has none.
    pub(crate) fn enter_record(&self, tx: &mut Tx<'_>, key: &Encoded<'_, K>, header: u64) -> Result<()> {
        let (hash, _) = self.look_up(tx, key)?;
        let hasher = self.hasher(tx)?;
        self.admit(tx)?.add(tx, hash, header, hasher)
    }

    /// Lets the index name another record under a key that has one.
    pub(crate) fn swap_record(&self, tx: &mut Tx<'_>, key: &Encoded<'_, K>, header: u64) -> Result<()> {
        let place = self.look_up(tx, key)?.1.map(|found| found.place);
        let place = place.ok_or_else(|| Error::damaged("record that the index does not know", header, 0))?;
        self.admit(tx)?.swap(tx, place, header)
    }

    /// Takes the record under a key out of the index.
    pub(crate) fn leave_record(&self, tx: &mut Tx<'_>, key: &Encoded<'_, K>) -> Result<()> {
        let (hash, Some(Found { place, .. })) = self.look_up(tx, key)? else {
            return Ok(());
        };
        let hasher = self.hasher(tx)?;
        self.admit(tx)?.remove(tx, hash, place, hasher)
    }
}

/// The roots of a companion, which has neither records of its version nor good twins yet.
pub(crate) fn companion_roots<K: Key>(tx: &mut Tx<'_>) -> Result<[u64; 9]> {
    let seed = tx.region.seed();
    let [directory, depth, seed, deepest] = Index::create(tx, seed)?;
    const { assert!(WAY == ROOT + 8 * 8 && LEFT == KEYS + 8) };
    Ok([directory, depth, seed, deepest, 0, 0, Stored::of::<K>().word(), 0, 0])
}

/// The roots of an empty map with keys as the one whose row is given has.
pub(crate) fn roots_like(tx: &mut Tx<'_>, row: u64) -> Result<[u64; 9]> {
    let keys = Stored::read(tx, row + KEYS)?;
    let seed = tx.region.seed();
    let [directory, depth, seed, deepest] = Index::create(tx, seed)?;
    Ok([directory, depth, seed, deepest, 0, 0, keys.word(), 0, 0])
}

impl<K: Key> Map<K, u8> {
    /// Makes the table for the marks of a move. Gives its row.
    pub(crate) fn create_for_move(tx: &mut Tx<'_>, name: &str) -> Result<u64> {
        let spec = Self::spec();
        let shape = Shape {
            kind: Kind::Map,
            key: &spec.key,
            value: spec.value.text(),
            version: spec.value.version(),
        };
        let roots = companion_roots::<K>(tx)?;
        catalog::add(tx, name, &shape, TableOptions::default(), &roots)
    }
}
