//! Figures of a region's memory: which mount it comes from, and how much of it lies on large pages.
//!
//! Read-only, for its owner and for tools. Only what is mapped counts as large in /proc, so a word of each extent in use is
//! touched first; where an earlier process made a large page, that touch maps the whole of it.

use crate::error::Result;
use crate::heap::holes;
use crate::os::mount::{self, MountKind};
use crate::os::{shm, smaps};
use crate::region::backing::Backing;
use crate::region::growth;
use crate::region::header::{HUGE, Layout, at};
use crate::region::view::View;

/// Where a region's memory comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryInfo {
    /// What kind of memory it is.
    pub kind: MountKind,
    /// Where its file system is mounted; a few words where it is not.
    pub mount: String,
    /// Bytes of the mount; of the system's memory or huge pages where the mount sets no limit.
    pub mount_size: u64,
    /// Bytes of it that are free.
    pub mount_free: u64,
    /// Bytes of a page of the mount.
    pub page: u64,
    /// Bytes that the region may hold now.
    pub capacity: u64,
    /// Bytes its capacity can be raised to.
    pub reserved: u64,
    /// Bytes in use or taken ahead that are meant to lie on pages of 2 MiB or more: whole extents of large regions, everything on
    /// hugetlbfs.
    pub huge_wanted: u64,
    /// Bytes of them that do.
    pub huge: u64,
    /// Bytes of memory that the object has taken from its mount, whoever asked for it.
    pub allocated: u64,
    /// Bytes inside the heap that were given back to the mount.
    pub holes: u64,
    /// Bytes given back to the mount by all owners so far.
    pub given_back: u64,
    /// Extents of 2 MiB that were collapsed into a page each, by all owners so far.
    pub collapsed: u64,
    /// Extents that could not be, or were in use before they could.
    pub not_collapsed: u64,
}

impl MemoryInfo {
    pub(crate) fn of(view: &View, backing: &dyn Backing, layout: &Layout, name: &str) -> Result<Self> {
        let taken = view.size(at::TAKEN).clamp(layout.heap, layout.reserve);
        let mut info = Self {
            kind: MountKind::Process,
            mount: "memory of this process".into(),
            mount_size: backing.length(),
            mount_free: backing.length().saturating_sub(taken),
            page: backing.unit(),
            capacity: growth::capacity(view, layout),
            reserved: layout.reserve,
            huge_wanted: 0,
            huge: 0,
            allocated: taken,
            holes: view.header(at::HOLES),
            given_back: view.header(at::GIVEN_BACK),
            collapsed: view.header(at::COLLAPSED),
            not_collapsed: view.header(at::NOT_COLLAPSED),
        };
        let Some(descriptor) = backing.descriptor() else {
            return Ok(info);
        };
        info.allocated = shm::allocated(descriptor, name)?;
        let mount = mount::of(descriptor);
        info.kind = mount.kind;
        info.mount = mount.point.into();
        (info.mount_size, info.mount_free) = (mount.size, mount.free);
        if !layout.is_large() && info.page < HUGE {
            return Ok(info);
        }
        let entries = if taken > layout.heap {
            let (offset, length) = layout.entries(layout.heap, taken);
            offset + length
        } else {
            layout.chunks
        };
        // The fixed parts are taken in whole extents; the heap's last extent counts once it is whole.
        let step = info.page.max(HUGE);
        let fixed = entries.next_multiple_of(step).min(layout.heap);
        let heap = (taken - layout.heap) / HUGE * HUGE;
        let known = holes::all(view, layout);
        let mut touched = vec![(0, entries)];
        // A hole is whole extents, so what is between them starts with one.
        holes::between(&known, layout.heap, layout.heap + heap, |offset, length| {
            touched.push((offset, offset + length));
        });
        let holes: u64 = known.iter().map(|(_, bytes)| bytes).sum();
        info.huge_wanted = fixed + heap.saturating_sub(holes);
        for (from, to) in touched {
            for at in (from..to).step_by(step as usize) {
                view.load(at, "memory in use")?;
            }
        }
        let start = backing.base().addr().get();
        info.huge = smaps::huge(&(start..start + backing.length() as usize), name)?;
        Ok(info)
    }
}
