//! Tables: named, typed collections of records in a region.

pub(crate) mod catalog;
pub(crate) mod cell;
pub(crate) mod declared;
pub(crate) mod dropped;
pub(crate) mod hash;
pub(crate) mod id;
pub(crate) mod key;
pub(crate) mod keyed;
pub(crate) mod map;
pub(crate) mod mixed;
pub(crate) mod moving;
pub mod ordered;
pub(crate) mod pages;
pub(crate) mod queue;
pub(crate) mod record;
pub(crate) mod reference;
pub(crate) mod slab;
pub(crate) mod slots;
pub(crate) mod steps;
pub(crate) mod streams;
pub(crate) mod text;
pub(crate) mod timers;
