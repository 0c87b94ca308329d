//! Where a region's memory comes from: a mapping of a shared object, or plain memory of this process.
//!
//! Both are addressed alike, so that every step of heap, log and recovery can be enumerated in process on the second
//! form. A backing knows nothing of what is in the memory. Memory is *taken* before it is touched: a mount that is full
//! is an error, never a signal.

use crate::error::{Error, Result};
use crate::os::shm;
use memmap2::{Advice, MmapOptions, MmapRaw};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

/// The page size that memory is taken and populated in.
pub(crate) const PAGE: u64 = 4096;

/// Memory of a region.
pub(crate) trait Backing: Send + Sync + fmt::Debug {
    /// Where it starts; 64-byte aligned.
    fn base(&self) -> NonNull<u8>;
    /// How much address space there is, in bytes.
    fn capacity(&self) -> u64;
    /// Makes the range usable, or says why not. Idempotent.
    fn take(&self, offset: u64, length: u64) -> Result<()>;
    /// Enters the range, which is taken, into this process's page tables.
    fn populate(&self, offset: u64, length: u64) -> Result<()>;
    /// The descriptor, if there is one to hand over.
    fn descriptor(&self) -> Option<BorrowedFd<'_>>;
}

/// A mapping of a shared memory object.
#[derive(Debug)]
pub(crate) struct Mapping {
    map: MmapRaw,
    fd: OwnedFd,
    name: Box<str>,
}

impl Mapping {
    /// Maps `capacity` bytes of the object, which must be that long.
    pub(crate) fn new(fd: OwnedFd, name: &str, capacity: u64) -> Result<Self> {
        let length = usize::try_from(capacity).map_err(|_| Error::BadCapacity {
            wanted: capacity,
            least: 0,
            most: usize::MAX as u64,
        })?;
        let map = MmapOptions::new()
            .len(length)
            .map_raw(&fd)
            .map_err(|e| Error::io("map region", name, e))?;
        // R8: a child must not inherit a writer's view, a core dump not carry the world.
        for advice in [Advice::DontFork, Advice::DontDump] {
            map.advise(advice).map_err(|e| Error::io("advise region", name, e))?;
        }
        Ok(Self {
            map,
            fd,
            name: name.into(),
        })
    }
}

impl Backing for Mapping {
    fn base(&self) -> NonNull<u8> {
        NonNull::new(self.map.as_mut_ptr()).unwrap_or(NonNull::dangling())
    }

    fn capacity(&self) -> u64 {
        self.map.len() as u64
    }

    fn take(&self, offset: u64, length: u64) -> Result<()> {
        shm::take(&self.fd, &self.name, offset, length)?;
        self.populate(offset, length)
    }

    fn populate(&self, offset: u64, length: u64) -> Result<()> {
        let start = offset / PAGE * PAGE;
        let end = (offset + length).next_multiple_of(PAGE).min(self.capacity());
        match self
            .map
            .advise_range(Advice::PopulateWrite, start as usize, (end - start) as usize)
        {
            Ok(()) => Ok(()),
            // Before Linux 5.14 there is no such advice: the pages are there, the first touch enters them.
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => Ok(()),
            Err(e) => Err(Error::io("populate region", &self.name, e)),
        }
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.fd.as_fd())
    }
}

#[derive(Debug)]
#[repr(C, align(64))]
struct Block([AtomicU64; 8]);

/// Plain memory of this process: a region for unit tests, gone with it.
#[derive(Debug)]
pub(crate) struct Memory {
    blocks: Box<[Block]>,
    /// Bytes that may be taken, as if a mount had so many.
    available: u64,
}

impl Memory {
    pub(crate) fn new(capacity: u64, available: u64) -> Self {
        let blocks = (0..capacity / 64)
            .map(|_| Block(std::array::from_fn(|_| AtomicU64::new(0))))
            .collect();
        Self { blocks, available }
    }

    /// Memory with the bytes of an image.
    #[cfg(test)]
    pub(crate) fn from_image(image: &[u8]) -> Self {
        let memory = Self::new(image.len() as u64, image.len() as u64);
        for (block, bytes) in memory.blocks.iter().zip(image.chunks_exact(64)) {
            for (word, bytes) in block.0.iter().zip(bytes.chunks_exact(8)) {
                let value = u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
                word.store(value, std::sync::atomic::Ordering::Relaxed);
            }
        }
        memory
    }
}

impl Backing for Memory {
    fn base(&self) -> NonNull<u8> {
        // Atomics may be written through a shared pointer.
        NonNull::from(&*self.blocks).cast()
    }

    fn capacity(&self) -> u64 {
        self.blocks.len() as u64 * 64
    }

    fn take(&self, offset: u64, length: u64) -> Result<()> {
        // The log's extents at the far end count from there.
        let wanted = (offset + length).min(self.capacity() - offset.min(self.capacity()) + length);
        if wanted > self.available {
            return Err(Error::OutOfSpace {
                name: "memory".into(),
                mount: "process memory".into(),
                wanted: length,
                free: self.available.saturating_sub(offset),
            });
        }
        Ok(())
    }

    fn populate(&self, _offset: u64, _length: u64) -> Result<()> {
        Ok(())
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
