//! A walk over a range from both ends, with jumps of all lengths, beside one over a slice.

use crate::Item;
use crate::ordered::Name;
use shmstate::ordered::Range;

pub(crate) fn walk<K: Name>(mut range: Range<'_, K, Item>, expected: &[(u64, Item)], random: &mut fastrand::Rng) {
    let mut left = expected;
    loop {
        assert_eq!(range.len(), left.len());
        if random.u8(..8) == 0 {
            assert_eq!(range.clone().count(), left.len());
            let last = range.clone().last().map(|item| item.expect("an item").0.number());
            assert_eq!(last, left.last().map(|(n, _)| *n));
        }
        let n = match random.u8(..8) {
            0 => random.usize(..left.len() + 2),
            // Within a leaf, and to the next.
            1 => random.usize(..70),
            2 => random.usize(..4),
            3 => usize::MAX - random.usize(..2),
            _ => 0,
        };
        let forward = random.bool();
        let found = match (forward, n) {
            (true, 0) => range.next(),
            (true, n) => range.nth(n),
            (false, 0) => range.next_back(),
            (false, n) => range.nth_back(n),
        };
        let found = found.map(|item| item.expect("an item"));
        let found = found.map(|(key, item)| (key.number(), Item::of(item)));
        let is = match left.len().checked_sub(n).and_then(|rest| rest.checked_sub(1)) {
            None => {
                left = &[];
                None
            }
            Some(rest) if forward => {
                let is = left.get(n);
                left = &left[left.len() - rest..];
                is
            }
            Some(rest) => {
                let is = left.get(rest);
                left = &left[..rest];
                is
            }
        };
        assert_eq!(found.as_ref(), is, "{n}, {} left", left.len());
        if left.is_empty() {
            // As often as one likes.
            assert!(range.next().is_none() && range.nth(1).is_none());
            assert!(range.next_back().is_none() && range.nth_back(1).is_none());
            return;
        }
    }
}
