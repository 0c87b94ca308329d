//! Which mount an object's memory comes from, how much of it there is, and in pages of what size it is given out.
//!
//! Everything here is for messages and for choosing steps: where the system does not tell, a harmless answer stands in. It
//! knows nothing of what is in the object.

use crate::error::{Error, Result};
use rustix::fs::{StatFs, fstatfs, statfs};
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;

const TMPFS: u64 = 0x0102_1994;
const HUGETLBFS: u64 = 0x9584_58f6;
/// Pages of everything but hugetlbfs.
const PAGE: u64 = 4096;

/// What kind of memory backs a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MountKind {
    /// A tmpfs, as /dev/shm is.
    Tmpfs,
    /// A hugetlbfs: pages of 2 MiB or 1 GiB that the administrator set aside.
    Hugetlbfs,
    /// A memfd: no mount and no limit but the system's memory.
    Memfd,
    /// Plain memory of one process.
    Process,
}

/// A mount as an object sees it.
#[derive(Clone, Debug)]
pub(crate) struct Mount {
    /// Where it is mounted, or what it is if it is mounted nowhere.
    pub(crate) point: Box<str>,
    pub(crate) kind: MountKind,
    pub(crate) size: u64,
    pub(crate) free: u64,
}

impl Mount {
    /// What an error calls it.
    pub(crate) fn described(&self) -> Box<str> {
        match self.kind {
            MountKind::Hugetlbfs => format!(
                "{} (hugetlbfs: /proc/sys/vm/nr_hugepages sets its pages aside)",
                self.point
            )
            .into(),
            _ => self.point.clone(),
        }
    }
}

/// Refuses a directory whose files are not memory.
pub(crate) fn must_be_memory(directory: &Path, name: &str) -> Result<()> {
    let stat = statfs(directory).map_err(|e| Error::io("look at the directory for region", name, e))?;
    if matches!(magic(&stat), TMPFS | HUGETLBFS) {
        return Ok(());
    }
    Err(Error::NotMemory {
        name: name.into(),
        directory: directory.to_string_lossy().into(),
        magic: magic(&stat),
    })
}

/// The least piece in which the object's memory can be taken: a page of its mount.
pub(crate) fn page(fd: BorrowedFd<'_>) -> u64 {
    fstatfs(fd).map_or(PAGE, |stat| page_of(&stat))
}

/// Bytes that can still be taken without a sleep or a fight; `None` if the mount sets no limit.
pub(crate) fn free(fd: BorrowedFd<'_>) -> Option<u64> {
    let stat = fstatfs(fd).ok()?;
    (stat.f_blocks != 0).then(|| stat.f_bavail * stat.f_bsize as u64)
}

/// Everything about the mount that the object lies on.
pub(crate) fn of(fd: BorrowedFd<'_>) -> Mount {
    let stat = fstatfs(fd).ok();
    let page = stat.as_ref().map_or(PAGE, page_of);
    let limits = stat.as_ref().filter(|stat| stat.f_blocks != 0);
    let link = fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    let memfd = link.is_ok_and(|path| path.as_os_str().as_encoded_bytes().starts_with(b"/memfd:"));
    let kind = match stat.as_ref().map(magic) {
        Some(HUGETLBFS) => MountKind::Hugetlbfs,
        _ if memfd => MountKind::Memfd,
        _ => MountKind::Tmpfs,
    };
    let (size, free) = match limits {
        Some(stat) => (stat.f_blocks * stat.f_bsize as u64, stat.f_bavail * stat.f_bsize as u64),
        None if kind == MountKind::Hugetlbfs => (huge(page, "nr_hugepages"), huge(page, "free_hugepages")),
        None => (system("MemTotal:"), system("MemAvailable:")),
    };
    let point = match kind {
        MountKind::Memfd => "the memory of the system (memfd)".into(),
        _ => point(fd).unwrap_or_else(|| "a mount that is out of sight".into()),
    };
    Mount {
        point,
        kind,
        size,
        free,
    }
}

fn magic(stat: &StatFs) -> u64 {
    // The kernel's magic numbers have 32 bits; some are negative in the signed word.
    stat.f_type as u64 & 0xffff_ffff
}

fn page_of(stat: &StatFs) -> u64 {
    let size = stat.f_bsize as u64;
    if magic(stat) == HUGETLBFS && size.is_power_of_two() && size >= PAGE {
        size
    } else {
        PAGE
    }
}

/// Where the mount of a descriptor is, by its number: a device number would be the same for bind mounts elsewhere.
fn point(fd: impl AsFd) -> Option<Box<str>> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd())).ok()?;
    let id = info.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim();
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    find(&mounts, id)
}

fn find(mounts: &str, id: &str) -> Option<Box<str>> {
    let line = mounts.lines().find(|line| line.split(' ').next() == Some(id))?;
    Some(unescape(line.split(' ').nth(4)?).into())
}

/// Blanks and the like are written as three octal digits.
fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let digits = bytes.get(i + 1..i + 4).filter(|_| bytes[i] == b'\\');
        let octal = digits.and_then(|d| u8::from_str_radix(std::str::from_utf8(d).ok()?, 8).ok());
        match octal {
            Some(byte) => {
                out.push(byte);
                i += 4;
            }
            None => {
                out.push(bytes[i]);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Huge pages of this size that the system has, in bytes.
fn huge(page: u64, what: &str) -> u64 {
    let path = format!("/sys/kernel/mm/hugepages/hugepages-{}kB/{what}", page / 1024);
    let count = fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok());
    count.unwrap_or(0u64).saturating_mul(page)
}

/// A line of /proc/meminfo, in bytes.
fn system(what: &str) -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(what));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kib.unwrap_or(0u64).saturating_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_found_by_its_number_and_its_name_unescaped() {
        let mounts = "21 1 0:20 / /proc rw - proc proc rw\n\
                      210 1 0:21 / /mnt/my\\040shm rw,nosuid shared:3 - tmpfs tmpfs rw,size=64k\n";
        assert_eq!(find(mounts, "210").as_deref(), Some("/mnt/my shm"));
        assert_eq!(find(mounts, "2"), None);
        assert_eq!(unescape("a\\b\\1"), "a\\b\\1");
    }

    #[test]
    fn a_memfd_is_told_from_a_file() {
        let fd = crate::os::shm::anonymous("test").expect("memfd");
        let mount = of(fd.as_fd());
        assert_eq!((mount.kind, page(fd.as_fd())), (MountKind::Memfd, PAGE));
        assert!(mount.size > 0 && mount.free <= mount.size);
    }
}
