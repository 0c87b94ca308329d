//! A gate of an owner by a lease, as of a process that was handed a region.

use shmstate::Gate;
use shmstate::lease::{Lease, LeaseCell, LocalLease};
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub(crate) fn leased() -> Gate {
    let cell = Arc::new(LocalLease::default());
    let owned = Lease::Owned {
        owner: 1,
        generation: 1,
    };
    cell.word().store(owned.to_word(), Ordering::Release);
    let gate = Gate::closed(cell);
    gate.open(owned);
    gate
}
