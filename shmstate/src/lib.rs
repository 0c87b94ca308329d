#![doc = include_str!("../README.md")]
//!
//! # Reading order
//! The modules stand in the order of their dependence: each imports only what stands above it, except that a region lends
//! itself to the transactions that change it and to the checkpoints that copy it.

#[cfg(not(all(target_endian = "little", target_pointer_width = "64", target_os = "linux")))]
compile_error!("shmstate needs 64-bit little-endian Linux");

#[allow(
    unused_extern_crates,
    reason = "the derive's code says ::shmstate, in this crate too"
)]
extern crate self as shmstate;

#[cfg(not(broken))]
mod broken;
#[cfg(broken)]
pub mod broken;
#[cfg(not(crash_points))]
mod crash;
#[cfg(crash_points)]
pub mod crash;
mod error;
mod os;

pub mod gate;
pub mod lease;
pub mod schema;

mod archive;
pub mod decode;
mod heap;
mod region;
mod simd;
mod table;
mod tx;

mod observe;

mod inspect;
#[cfg(test)]
mod replay;
mod verify;

mod checked;

mod checkpoint;

pub use archive::{CheckedValue, MAX_NESTING, OwnedValue, Value, owned};
pub use checked::{OpenChecked, Unverified};
pub use checkpoint::{
    Checkpoint, CheckpointOptions, CheckpointReport, DEFAULT_PAGES_AHEAD, PreparedCheckpoint, RestoredFrom,
    RunningCheckpoint,
};
pub use error::{Error, Result};
pub use gate::{Gate, Pass};
pub use heap::{ClassStats, HeapStats};
pub use inspect::{Inspection, MoveInfo, ShapeInfo, TableInfo};
pub use observe::{
    AnyRecord, AnyTable, BadRecord, Copied, GENTLE_RATE, Naming, ObservedCell, ObservedIter, ObservedMap,
    ObservedOrderedMap, ObservedQueue, ObservedQueueIter, ObservedRange, ObservedSlab, ObservedSlabIter,
    ObservedTimers, ObservedTimersIter, Observer, RecordFault, Records, Snapshot, Validation, ValidationReport,
};
pub use os::clock::monotonic_ns;
pub use os::mount::MountKind;
pub use os::tcp::Positions;
pub use region::{
    Activity, Asked, DEFAULT_AHEAD, DEFAULT_CAPACITY, FormatVersion, Io, MAX_NAME, MOST_AHEAD, MemoryInfo, Options,
    Reader, Region, Trimmed, View,
};
pub use schema::{Migrate, Schema};
pub use shmstate_derive::Schema;
pub use table::catalog::{Kind, MAX_TABLE_NAME, MAX_TABLES, TableOptions};
pub use table::cell::Cell;
pub use table::declared::{Declared, DeclaredMove};
pub use table::id::{ArchivedSlabId, ArchivedStreamId, ArchivedTimerId};
pub use table::key::{Form as KeyForm, Key, MAX_KEY, MAX_LONG_KEY, Sink as KeySink};
pub use table::map::{Entry, Handle, Iter, Map, OccupiedEntry, VacantEntry};
pub use table::mixed::Swept;
pub use table::moving::{Move, Moving, Targets};
pub use table::ordered;
pub use table::ordered::OrderedMap;
pub use table::queue::{Queue, QueueIter};
pub use table::record::RecordMut;
pub use table::slab::{Slab, SlabId, SlabIter};
pub use table::steps::Steps;
pub use table::streams::{Input, MAX_STREAMS, RING_SIZES, Received, Rings, Sent, StreamId, StreamInfo, Streams};
pub use table::timers::{Gap, MAX_DEADLINE, MAX_TIMERS, TimerId, Timers, TimersIter};
pub use tx::Tx;
pub use tx::undo::Undone;
pub use verify::{Fault, MAX_FAULTS, Verification, verify};
