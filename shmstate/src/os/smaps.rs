//! What the kernel says of a mapping of this process: how much of it lies on large pages.

use crate::error::{Error, Result};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::ops::Range;

/// Bytes of the addresses in `range` that are mapped by pages of 2 MiB or more. Only what was touched is mapped.
pub(crate) fn huge(range: &Range<usize>, name: &str) -> Result<u64> {
    let fail = |e| Error::io("read /proc/self/smaps for region", name, e);
    let file = File::open("/proc/self/smaps").map_err(fail)?;
    sum(BufReader::new(file), range).map_err(fail)
}

fn sum(text: impl BufRead, range: &Range<usize>) -> std::io::Result<u64> {
    const COUNTED: [&str; 3] = ["ShmemPmdMapped:", "FilePmdMapped:", "Shared_Hugetlb:"];
    let mut inside = false;
    let mut kib = 0u64;
    for line in text.lines() {
        let line = line?;
        let mut words = line.split_ascii_whitespace();
        let Some(first) = words.next() else { continue };
        if first.ends_with(':') {
            if inside && COUNTED.contains(&first) {
                kib += words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
            }
        } else if let Some((start, _)) = first.split_once('-') {
            inside = usize::from_str_radix(start, 16).is_ok_and(|start| range.contains(&start));
        }
    }
    Ok(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_mapping_asked_for_counts() {
        let text = "\
1000-2000 rw-s 00000000 00:19 5 /dev/shm/a b: c
Size:               2048 kB
ShmemPmdMapped:     2048 kB
FilePmdMapped:         0 kB
VmFlags: rd wr
7f0000000000-7f0000400000 rw-s 00000000 00:19 6 /dev/shm/b
ShmemPmdMapped:     4096 kB
Shared_Hugetlb:        1 kB
";
        assert_eq!(sum(text.as_bytes(), &(0x1000..0x2000)).expect("text"), 2 << 20);
        assert_eq!(
            sum(text.as_bytes(), &(0x7f00_0000_0000..0x7f00_0040_0000)).expect("text"),
            (4 << 20) + 1024
        );
    }
}
