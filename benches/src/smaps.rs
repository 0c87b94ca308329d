//! Which of this process's memory lies on 2 MiB pages, as the kernel counts it. Advice proves nothing; this does.

use crate::Result;
use serde::Serialize;
use std::ops::Range;

/// Memory of one kind, and how much of it the kernel gave in 2 MiB pages.
#[derive(Clone, Debug, Serialize)]
pub struct Pages {
    /// What lies there.
    pub what: String,
    /// Bytes present.
    pub bytes: u64,
    /// Of these in 2 MiB pages: anonymous ones, or mapped so from shared memory.
    pub huge_bytes: u64,
}

/// Which mappings are meant.
#[derive(Clone, Debug)]
pub enum Which {
    /// Those of a file whose path ends like this, `[heap]` too.
    Named(String),
    /// Those that begin in one of these ranges of addresses.
    At(Vec<Range<usize>>),
}

impl Which {
    fn takes(&self, start: usize, line: &str) -> bool {
        match self {
            Self::Named(end) => line.trim_end().trim_end_matches(" (deleted)").ends_with(end.as_str()),
            Self::At(ranges) => ranges.iter().any(|range| range.contains(&start)),
        }
    }
}

/// Counts the mappings of this process that are meant.
///
/// # Errors
/// If `/proc/self/smaps` cannot be read.
pub fn pages(what: &str, which: &Which) -> Result<Pages> {
    Ok(count(&std::fs::read_to_string("/proc/self/smaps")?, what, which))
}

fn count(smaps: &str, what: &str, which: &Which) -> Pages {
    let mut pages = Pages {
        what: what.into(),
        bytes: 0,
        huge_bytes: 0,
    };
    let mut meant = false;
    for line in smaps.lines() {
        let Some((first, rest)) = line.split_once(' ') else {
            continue;
        };
        // "start-end perms offset …" begins a mapping, "Name: n kB" belongs to it.
        if let Some((start, _)) = first.split_once('-') {
            meant = usize::from_str_radix(start, 16).is_ok_and(|start| which.takes(start, line));
        } else if meant {
            let kib = || {
                rest.split_whitespace()
                    .next()
                    .and_then(|n| n.parse::<u64>().ok())
                    .unwrap_or(0)
            };
            match first {
                "Rss:" => pages.bytes += kib() << 10,
                "AnonHugePages:" | "ShmemPmdMapped:" | "FilePmdMapped:" => pages.huge_bytes += kib() << 10,
                _ => {}
            }
        }
    }
    pages
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
7f0000000000-7f0000400000 rw-s 00000000 00:16 5 /dev/shm/world
Rss:                4096 kB
ShmemPmdMapped:     2048 kB
7f0000400000-7f0000800000 rw-p 00000000 00:00 0
Rss:                 100 kB
AnonHugePages:        96 kB
VmFlags: rd wr mr
";

    #[test]
    fn counts_what_is_meant_and_nothing_else() {
        let named = count(SMAPS, "world", &Which::Named("/dev/shm/world".into()));
        assert_eq!((named.bytes, named.huge_bytes), (4 << 20, 2 << 20));
        let ranges = std::iter::once(0x7f00_0040_0000..0x7f00_0080_0000).collect();
        let placed = count(SMAPS, "table", &Which::At(ranges));
        assert_eq!((placed.bytes, placed.huge_bytes), (100 << 10, 96 << 10));
        assert_eq!(count(SMAPS, "none", &Which::Named("/other".into())).bytes, 0);
    }
}
