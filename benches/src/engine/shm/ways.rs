//! Ways to records other than by their keys: handles, batches with prefetch, passes over all.
//!
//! **THE SWITCH.** The store's map has none of them yet. `missing` answers for them, so that the report prints them as missing.
//! `there` is the same over `Map::{handle, get_at, get_mut_at, get_many, for_each_mut}`. Once the map has those: take the `cfg` away from
//! `there`, take its name into the `pub(super) use`, and delete `missing`. Nothing else changes.

#[cfg(any())]
mod there;

mod missing;

pub(super) use missing::Ways;
