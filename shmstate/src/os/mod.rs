//! System calls, and nothing else: what the rest of the crate needs of Linux, each as a safe function.

pub(crate) mod barrier;
pub(crate) mod clock;
pub(crate) mod mount;
pub(crate) mod shm;
pub(crate) mod smaps;
pub(crate) mod tcp;
