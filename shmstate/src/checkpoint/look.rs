//! A checkpoint as an observer sees it: its image laid out in memory that belongs to this process alone, without making a region of it.
//!
//! What is seen is the region at the mark, its id and its streams included: nothing is ended and nothing is changed, because nobody
//! goes on from here. It takes as much memory as the image has pages.

use super::format::HEAD;
use super::image;
use super::output::text;
use super::pages::PAGE;
use super::restore::Input;
use crate::error::{Error, Result};
use crate::observe::Observer;
use crate::region::header::{HEADER, at};
use crate::region::seal;
use rustix::fs::MemfdFlags;
use std::path::Path;

impl Observer {
    /// Looks into the checkpoint at `path`, as into a region that nobody writes. The whole file is read and every checksum compared first.
    ///
    /// # Errors
    /// [`Error::NotACheckpoint`], [`Error::CheckpointDamaged`], [`Error::CheckpointCut`], [`Error::Io`], [`Error::Damaged`].
    pub fn checkpoint(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let name = text(path);
        let mut input = Input::open(path)?;
        let layout = input.layout()?;
        let facts = input.facts();
        let refuse = |e: rustix::io::Errno| Error::io("lay out checkpoint", &name, e);
        let memory = rustix::fs::memfd_create("checkpoint", MemfdFlags::CLOEXEC).map_err(refuse)?;
        let write = |bytes: &[u8], at: u64| {
            let mut written = 0;
            while written < bytes.len() {
                written += rustix::io::pwrite(&memory, &bytes[written..], at + written as u64).map_err(refuse)?;
            }
            Ok(())
        };
        let mut header = vec![0; HEADER as usize];
        // Sparse: what the image does not have is zeroes.
        rustix::fs::ftruncate(&memory, layout.reserve).map_err(refuse)?;
        input.pages(|page, bytes| {
            if page == 0 {
                header.copy_from_slice(bytes);
                return Ok(());
            }
            write(bytes, page * PAGE)
        })?;
        let end = header
            .get(at::HEAP_END as usize..)
            .and_then(|rest| rest.first_chunk())
            .map(|word| u64::from_le_bytes(*word));
        if end != Some(seal::seal(facts.heap_end)) {
            return Err(Error::CheckpointDamaged {
                path: name,
                what: "header of the region",
                at: 2 * HEAD as u64,
            });
        }
        image::settle_header(&mut header);
        write(&header, 0)?;
        let observer = Self::attach(&name, memory)?;
        if observer.id() != facts.region {
            return Err(Error::CheckpointDamaged {
                path: name,
                what: "header of the region",
                at: 2 * HEAD as u64,
            });
        }
        Ok(observer)
    }
}
