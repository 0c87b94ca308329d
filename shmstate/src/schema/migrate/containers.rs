//! Identities, and containers of what has no place of its own, the same in both directions.
//!
//! The types are those of `schema/types.rs`, and those that the wrappers of `schema/with.rs` archive.

use std::cell::UnsafeCell;
use std::collections::{BTreeSet, HashSet};
use std::ffi::OsString;
use std::hash::{BuildHasher, Hash};
use std::marker::PhantomData;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, atomic};

use super::{Migrate, Return};

macro_rules! identity {
    ($($type:ty),* $(,)?) => {$(
        impl Migrate<Self> for $type {
            fn migrate(old: Self) -> Self {
                old
            }
        }

        impl Return<Self> for $type {
            fn back(new: Self) -> Self {
                new
            }
        }
    )*};
}

identity! {
    (), bool, char, u8, u16, u32, u64, u128, i8, i16, i32, i64, i128, f32, f64, String, Box<str>, OsString, PathBuf,
    atomic::AtomicBool, atomic::AtomicU8, atomic::AtomicU16, atomic::AtomicU32, atomic::AtomicU64,
    atomic::AtomicI8, atomic::AtomicI16, atomic::AtomicI32, atomic::AtomicI64,
}

/// What shares its value gives it up to nobody, so it cannot migrate it.
macro_rules! shared {
    ($($type:ident),*) => {$(
        impl<T: ?Sized> Migrate<Self> for $type<T> {
            fn migrate(old: Self) -> Self {
                old
            }
        }

        impl<T: ?Sized> Return<Self> for $type<T> {
            fn back(new: Self) -> Self {
                new
            }
        }
    )*};
}

shared!(Rc, Arc);

/// Containers of `A` that become those of `B`, by `$trait::$step` of each value.
macro_rules! containers {
    ($trait:ident::$step:ident) => {
        impl<A, B: $trait<A>> $trait<Box<[A]>> for Box<[B]> {
            fn $step(from: Box<[A]>) -> Self {
                from.into_iter().map(B::$step).collect()
            }
        }

        impl<A, B: $trait<A>> $trait<Vec<A>> for Vec<B> {
            fn $step(from: Vec<A>) -> Self {
                from.into_iter().map(B::$step).collect()
            }
        }

        impl<A, B: $trait<A>> $trait<UnsafeCell<A>> for UnsafeCell<B> {
            fn $step(from: UnsafeCell<A>) -> Self {
                Self::new(B::$step(from.into_inner()))
            }
        }

        /// No bytes, so nothing to migrate.
        impl<A: ?Sized, B: ?Sized> $trait<PhantomData<A>> for PhantomData<B> {
            fn $step(_: PhantomData<A>) -> Self {
                Self
            }
        }

        impl<A, B: $trait<A> + Ord> $trait<BTreeSet<A>> for BTreeSet<B> {
            fn $step(from: BTreeSet<A>) -> Self {
                from.into_iter().map(B::$step).collect()
            }
        }

        impl<A, R, B, S> $trait<HashSet<A, R>> for HashSet<B, S>
        where
            B: $trait<A> + Hash + Eq,
            S: BuildHasher + Default,
        {
            fn $step(from: HashSet<A, R>) -> Self {
                from.into_iter().map(B::$step).collect()
            }
        }
    };
}

containers!(Migrate::migrate);
containers!(Return::back);
