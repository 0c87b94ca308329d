#![expect(unsafe_code, reason = "a typed reference to a copy that was validated")]
//! A record that was copied out of a region, and validated before anything refers to it as its type.

use crate::archive::{self, CheckedValue};
use crate::error::{Error, Result};
use crate::observe::record::{Raw, Shape};
use rkyv::util::AlignedVec;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

/// A record copied out of a region: it belongs to whoever holds it and does not change.
pub struct Copied<V: CheckedValue> {
    bytes: AlignedVec<16>,
    root: usize,
    value: PhantomData<fn() -> V>,
}

impl<V: CheckedValue> Copied<V> {
    /// Validates a copy.
    pub(crate) fn new(raw: Raw, shape: &Shape) -> Result<Self> {
        let (header, word) = (raw.header, raw.word);
        if raw.version() != archive::version::<V>() {
            return Err(Error::OtherVersion {
                at: header,
                version: raw.version(),
                expected: archive::version::<V>(),
            });
        }
        let (bytes, root) = raw.into_archive(shape);
        if !archive::is_valid::<V>(&bytes, root) {
            return Err(Error::damaged("record", header, word));
        }
        Ok(Self {
            bytes,
            root,
            value: PhantomData,
        })
    }
}

impl<V: CheckedValue> Deref for Copied<V> {
    type Target = V::Archived;

    #[inline]
    fn deref(&self) -> &V::Archived {
        // SAFETY: `new` validated these bytes with the root at this place, aligned as their type asks; they are owned here,
        // never changed, and moving the vector does not move them.
        unsafe { &*self.bytes.as_ptr().add(self.root).cast::<V::Archived>() }
    }
}

impl<V: CheckedValue<Archived: fmt::Debug>> fmt::Debug for Copied<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
