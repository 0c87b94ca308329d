//! What a service has from systemd: descriptors of its store with their names, and a memfd mapped as its state.
#![expect(
    unsafe_code,
    reason = "descriptors come by number from systemd, and a shared file is mapped for writing"
)]

use crate::Result;
use memmap2::MmapMut;
use std::fs::File;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// The first descriptor that systemd passes.
const FIRST: RawFd = 3;

/// Descriptors with their names, as the environment tells. Called once, at start.
pub(crate) fn inherited() -> Vec<(String, OwnedFd)> {
    let variable = |name| std::env::var(name).unwrap_or_default();
    if variable("LISTEN_PID") != std::process::id().to_string() {
        return Vec::new();
    }
    let count: RawFd = variable("LISTEN_FDS").parse().unwrap_or(0);
    let names = variable("LISTEN_FDNAMES");
    let numbers = FIRST..FIRST + count;
    numbers
        .zip(names.split(':'))
        .map(|(number, name)| {
            // SAFETY: systemd passed these numbers to this process, and nobody else here takes them: this runs once.
            let fd = unsafe { OwnedFd::from_raw_fd(number) };
            (name.to_owned(), fd)
        })
        .collect()
}

/// Maps the whole file.
pub(crate) fn map(file: &File) -> Result<MmapMut> {
    // SAFETY: only this service has the memfd, and one process of it at a time; nobody cuts it.
    Ok(unsafe { MmapMut::map_mut(file) }?)
}
