#![expect(
    unsafe_code,
    reason = "Plain and Schema are promises about bytes that the compiler cannot check"
)]
//! Ids as fields of records and as keys, so that one record can refer to another, or to a timer or a stream.
//!
//! - **I1** An id is stored as its number, and described as one: a field that was a `u64` with a token in it has the same shape, and so
//!   has a key.
//! - **I2** Any number is an id (`from_token`): one that names nothing finds nothing. So a stored one need not be checked.
//!
//! It does not know which table an id is of: nor does the id.

use crate::schema::{__private::Return, Describer, Migrate, Plain, Schema, TypeRef};
use crate::table::key::{Form, Key, Sink};
use crate::table::slab::SlabId;
use crate::table::streams::StreamId;
use crate::table::timers::TimerId;
use rkyv::bytecheck::CheckBytes;
use rkyv::munge::munge;
use rkyv::rancor::Fallible;
use rkyv::rend::u64_le;
use rkyv::{Archive, Deserialize, Place, Portable, Serialize};

macro_rules! ids {
    ($($id:ident $archived:ident;)*) => {$(
        #[doc = concat!("A [`", stringify!($id), "`] in a record: its number.")]
        ///
        /// It can be changed in place as a whole ([`RecordMut::set`](crate::RecordMut::set)).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, CheckBytes, Portable)]
        #[bytecheck(crate = rkyv::bytecheck)]
        #[repr(transparent)]
        pub struct $archived(u64_le);

        impl $archived {
            /// The id.
            #[must_use]
            pub const fn to_native(self) -> $id {
                $id::from_token(self.0.to_native())
            }
        }

        impl From<$id> for $archived {
            fn from(id: $id) -> Self {
                Self(id.token().into())
            }
        }

        impl From<$archived> for $id {
            fn from(archived: $archived) -> Self {
                archived.to_native()
            }
        }

        impl PartialEq<$id> for $archived {
            fn eq(&self, id: &$id) -> bool {
                self.to_native() == *id
            }
        }

        impl PartialEq<$archived> for $id {
            fn eq(&self, archived: &$archived) -> bool {
                archived == self
            }
        }

        // P1: a number and nothing else.
        const _: () = assert!(size_of::<$archived>() == size_of::<u64_le>());
        // SAFETY: P1 by the assertion above; P2 because it is one number; P3 because any number is an id (I2).
        unsafe impl Plain for $archived {}

        impl Archive for $id {
            type Archived = $archived;
            type Resolver = ();

            fn resolve(&self, (): (), out: Place<$archived>) {
                munge!(let $archived(number) = out);
                self.token().resolve((), number);
            }
        }

        impl<S: Fallible + ?Sized> Serialize<S> for $id {
            fn serialize(&self, _: &mut S) -> Result<(), S::Error> {
                Ok(())
            }
        }

        impl<D: Fallible + ?Sized> Deserialize<$id, D> for $archived {
            fn deserialize(&self, _: &mut D) -> Result<$id, D::Error> {
                Ok(self.to_native())
            }
        }

        /// As `u64` (I1).
        // SAFETY: it is archived as a `u64`, whole, and any is an id (I2).
        unsafe impl Schema for $id {
            fn describe(describer: &mut Describer) -> TypeRef {
                u64::describe(describer)
            }
        }

        impl Migrate<Self> for $id {
            fn migrate(old: Self) -> Self {
                old
            }
        }

        impl Return<Self> for $id {
            fn back(new: Self) -> Self {
                new
            }
        }

        /// A field that held the id's number.
        impl Migrate<u64> for $id {
            fn migrate(token: u64) -> Self {
                Self::from_token(token)
            }
        }

        impl Return<$id> for u64 {
            fn back(id: $id) -> Self {
                id.token()
            }
        }

        /// As `u64` (I1).
        impl Key for $id {
            type Borrowed = Self;
            const SIZE: usize = u64::SIZE;
            const VARIABLE: bool = u64::VARIABLE;

            fn borrowed(&self) -> &Self {
                self
            }

            #[inline(always)]
            fn write(id: &Self, form: Form, out: &mut impl Sink) {
                u64::write(&id.token(), form, out);
            }

            #[inline]
            fn read(form: Form, input: &mut &[u8]) -> Option<Self> {
                u64::read(form, input).map(Self::from_token)
            }

            fn shape() -> String {
                u64::shape()
            }
        }
    )*};
}

ids! {
    SlabId ArchivedSlabId;
    StreamId ArchivedStreamId;
    TimerId ArchivedTimerId;
}
