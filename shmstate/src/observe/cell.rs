//! A cell as an observer sees it: one record, found through one word of its catalog row.

use super::marks::Marks;
use super::memory::acquire;
use super::record::{self, Raw, Shape};
use super::snapshot::{Snapshot, Way};
use super::source::{Live, Source, torn};
use super::tables::Prints;
use super::{Copied, Observer};
use crate::archive::CheckedValue;
use crate::error::{Error, Result};
use crate::table::catalog::ROOT;
use crate::table::cell::Cell;
use crate::table::keyed::Stored;
use crate::table::reference;
use std::fmt;
use std::marker::PhantomData;

const WHAT: &str = "cell";
/// How often the value is looked for in live memory before what is committed is read instead.
const PEEKS: usize = 16;

/// One value in a region that another process writes.
pub struct ObservedCell<'o, T> {
    observer: &'o Observer,
    prints: Prints,
    shape: Shape,
    value: PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for ObservedCell<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObservedCell")
            .field("name", &self.prints.name())
            .finish_non_exhaustive()
    }
}

impl Observer {
    /// Finds a cell and checks that its value has the shape of `T`.
    ///
    /// # Errors
    /// [`Error::NoTable`], [`Error::SchemaMismatch`], [`Error::Retry`], [`Error::Damaged`].
    pub fn cell<T: CheckedValue>(&self, name: &str) -> Result<ObservedCell<'_, T>> {
        let home = Cell::<T>::HOME;
        Ok(ObservedCell {
            observer: self,
            prints: Prints::find(self, name, &Cell::<T>::spec())?,
            shape: Shape {
                owner: home.owner,
                geometry: home.geometry,
                keys: Stored {
                    size: 0,
                    variable: false,
                },
            },
            value: PhantomData,
        })
    }
}

impl<T: CheckedValue> ObservedCell<'_, T> {
    fn word(&self) -> u64 {
        self.prints.row() + ROOT
    }

    /// Offset of the record's header that the reference names.
    fn header(&self, reference: u64) -> Result<u64> {
        let header = reference::open(reference, self.prints.row(), 0, WHAT, self.word())?;
        header.ok_or_else(|| Error::damaged(WHAT, self.word(), reference))
    }

    fn look(&self) -> Result<Raw> {
        let memory = self.observer.memory();
        let (marks, mut live) = (Marks::now(memory), Live(memory));
        self.prints.confirm(&mut live)?;
        let reference = live.word(self.word(), WHAT)?;
        let header = self.header(reference)?;
        let raw = record::copy(&mut live, &self.observer.layout(), &self.shape, header)?;
        acquire();
        let led = live.word(self.word(), WHAT)? == reference;
        acquire();
        if !led || live.word(header, WHAT)? != raw.word || !marks.few_since(memory) {
            return Err(torn(WHAT));
        }
        Ok(raw)
    }

    /// The value, whole, as it was at some moment of this call: perhaps changed by a transaction that is not committed yet.
    ///
    /// # Errors
    /// [`Error::Retry`] if it did not hold still in many tries, [`Error::SchemaMismatch`] if the table was given another shape,
    /// [`Error::Damaged`].
    pub fn peek(&self) -> Result<Copied<T>> {
        for _ in 0..PEEKS {
            if let Ok(raw) = self.look()
                && let Ok(copied) = Copied::new(raw, &self.shape)
            {
                return Ok(copied);
            }
            std::hint::spin_loop();
        }
        self.snapshot()
    }

    /// The value that was committed at some moment of this call.
    ///
    /// # Errors
    /// Those of [`peek`](Self::peek).
    pub fn snapshot(&self) -> Result<Copied<T>> {
        self.observer.snapshot(|s| self.get(s))
    }

    /// The value at the moment of a snapshot.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::SchemaMismatch`], [`Error::Damaged`]; [`Error::Retry`], after which the snapshot is
    /// taken again.
    pub fn get(&self, s: &mut Snapshot<'_>) -> Result<Copied<T>> {
        if !std::ptr::eq(s.observer(), self.observer) {
            return Err(Error::ForeignTable);
        }
        let mut look = || {
            self.prints.confirm(s)?;
            let (at, word) = (self.word(), s.word(self.word(), WHAT)?);
            let raw = s.record(&self.shape, Way::Word { at, word }, self.header(word)?)?;
            Copied::new(raw, &self.shape)
        };
        let value = look();
        s.note(value)
    }
}
