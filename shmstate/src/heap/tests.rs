//! The heap under random work: blocks come and go, memory is given back and taken again, transactions are taken back; after each of them the
//! chunk table agrees with itself, every block holds what was written to it, and every block has memory.

use crate::heap::{self, Block, alloc, classes};
use crate::region::header::{CHUNK, at};
use crate::{Region, Result, Tx};
use std::collections::BTreeMap;

const ROUNDS: usize = 600;

fn write<R>(region: &mut Region, change: impl FnOnce(&mut Tx<'_>) -> Result<R>) -> R {
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    region.write(&pass, change).expect("transaction")
}

/// Marks first and last word of a block.
fn mark(tx: &Tx<'_>, block: Block, mark: u64) -> Result<()> {
    tx.store(block.offset, mark, "test")?;
    tx.store(block.offset + block.size - 8, mark, "test")
}

fn check(region: &Region, blocks: &BTreeMap<u64, (u64, u64)>) {
    let mut seen = BTreeMap::new();
    let mut backed = true;
    let note = |block: Block, _| {
        backed &= region.backing.is_backed(block.offset, block.size);
        seen.insert(block.offset, block.size);
    };
    let stats = heap::walk(&region.view, region.layout(), note, &mut crate::error::refuse).expect("sound");
    assert!(backed, "a block in use without memory");
    assert_eq!(stats.holes, region.view.header(at::HOLES));
    assert_eq!(seen.len(), blocks.len());
    for (offset, (size, mark)) in blocks {
        assert_eq!(seen.get(offset), Some(size));
        let words = [*offset, offset + size - 8].map(|at| region.view.load(at, "test").expect("word"));
        assert_eq!(words, [*mark; 2]);
    }
}

fn size(random: &mut fastrand::Rng) -> u64 {
    match random.u8(..10) {
        0..5 => random.u64(1..classes::LARGEST),
        5..8 => random.u64(1..300),
        _ => random.u64(1..10 * CHUNK),
    }
}

/// Gives how often a hole was filled, and how often the heap drew back.
fn at_random(seed: u64, capacity: u64, most: usize) -> [u64; 2] {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut region = Region::in_memory(capacity).expect("region");
    let gate = region.gate().clone();
    let mut blocks: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    let (mut given, mut filled, mut cut) = (0, 0, 0);
    for round in 0..ROUNDS {
        let pass = gate.enter().expect("pass");
        // Now it fills up, now it empties.
        let grows = round / 60 % 2 == 0;
        let holes = region.view.header(at::HOLES);
        if random.u8(..8) == 0 {
            let end = region.view.size(at::HEAP_END);
            let budget = random.u64(..4 << 20);
            let trimmed = region.trim(&pass, budget).expect("trim");
            given += trimmed.bytes;
            cut += u64::from(region.view.size(at::HEAP_END) < end);
            assert_eq!(region.view.header(at::HOLES_STALE), 0);
        } else {
            let mut tx = region.begin(&pass).expect("begin");
            let mut after = blocks.clone();
            let keys: Vec<u64> = blocks.keys().copied().collect();
            for key in &keys {
                if random.u8(..100) < if grows { 5 } else { 25 } {
                    tx.free(*key);
                    after.remove(key);
                }
            }
            let mut full = false;
            for _ in 0..random.usize(..if grows { most } else { 4 }) {
                let made = alloc(&mut tx, size(&mut random));
                match made {
                    Ok(block) => {
                        let word = random.u64(1..);
                        mark(&tx, block, word).expect("mark");
                        assert!(
                            after.insert(block.offset, (block.size, word)).is_none(),
                            "in use already"
                        );
                    }
                    Err(crate::Error::RegionFull { .. }) => {
                        full = true;
                        break;
                    }
                    Err(other) => panic!("{other}"),
                }
            }
            filled += u64::from(tx.header(at::HOLES) < holes);
            if full || random.u8(..6) == 0 {
                drop(tx);
            } else {
                tx.commit().expect("commit");
                blocks = after;
            }
        }
        drop(pass);
        check(&region, &blocks);
    }
    assert!(given > 1 << 20, "seed {seed}: {given}");
    // Empty, it gives back all but what it cannot.
    write(&mut region, |tx| {
        blocks.keys().for_each(|key| tx.free(*key));
        Ok(())
    });
    let pass = gate.enter().expect("pass");
    let mut calls = 0;
    while region.trim(&pass, 1 << 20).expect("trim").more {
        calls += 1;
        assert!(calls < 200, "it never ends");
    }
    drop(pass);
    check(&region, &BTreeMap::new());
    [filled, cut]
}

fn all_of(seeds: std::ops::Range<u64>, capacity: u64, most: usize) {
    let [mut filled, mut cut] = [0; 2];
    for seed in seeds {
        let [f, c] = at_random(seed, capacity, most);
        (filled, cut) = (filled + f, cut + c);
    }
    assert!(filled > 0 && cut > 0, "filled {filled} holes, cut {cut} tails");
}

#[test]
fn small_regions_at_random() {
    all_of(0..4, 6 << 20, 12);
}

/// Laid out for large pages: holes are whole extents of 2 MiB.
#[test]
fn large_regions_at_random() {
    all_of(10..13, 40 << 20, 60);
}

/// A hole is used only when nothing else is there, its memory is taken first, and what is left of it stays one.
#[test]
fn a_hole_is_filled_piece_by_piece() {
    let mut region = Region::in_memory(6 << 20).expect("region");
    let gate = region.gate().clone();
    let (a, b) = write(&mut region, |tx| Ok((alloc(tx, 20 * CHUNK)?, alloc(tx, CHUNK)?)));
    write(&mut region, |tx| {
        tx.free(a.offset);
        Ok(())
    });
    let trim = |region: &mut Region| region.trim(&gate.enter().expect("pass"), u64::MAX).expect("trim");
    assert_eq!(trim(&mut region).bytes, 20 * CHUNK);
    assert_eq!(trim(&mut region), crate::Trimmed::default());
    assert!(!region.backing.is_backed(a.offset, CHUNK) && region.backing.is_backed(b.offset, CHUNK));
    let end = region.view.size(at::HEAP_END);
    let c = write(&mut region, |tx| alloc(tx, 3 * CHUNK));
    assert_eq!((c.offset, region.view.size(at::HEAP_END)), (a.offset, end));
    assert_eq!(region.view.header(at::HOLES), 17 * CHUNK);
    assert!(region.backing.is_backed(c.offset, c.size) && !region.backing.is_backed(c.offset + c.size, CHUNK));
    // Taken back: the hole has memory, which the next call gives back.
    let pass = gate.enter().expect("pass");
    let mut tx = region.begin(&pass).expect("begin");
    alloc(&mut tx, 5 * CHUNK).expect("alloc");
    drop(tx);
    drop(pass);
    assert_eq!(region.view.header(at::HOLES), 17 * CHUNK);
    assert!(region.backing.is_backed(c.offset + c.size, 5 * CHUNK));
    trim(&mut region);
    assert!(!region.backing.is_backed(c.offset + c.size, CHUNK));
    // What fits in no hole goes behind the end, and what is ready there is preferred.
    let d = write(&mut region, |tx| alloc(tx, 18 * CHUNK));
    assert_eq!(d.offset, end);
    heap::reserve(&region.view, &*region.backing, region.layout(), 2 * CHUNK).expect("reserve");
    let e = write(&mut region, |tx| alloc(tx, 2 * CHUNK));
    assert_eq!(e.offset, end + 18 * CHUNK);
    // A reserve fills holes first.
    let taken = region.view.size(at::TAKEN);
    region
        .reserve(&gate.enter().expect("pass"), 2 * CHUNK)
        .expect("reserve");
    assert_eq!(
        (region.view.header(at::HOLES), region.view.size(at::TAKEN)),
        (15 * CHUNK, taken)
    );
    // The end draws back over holes and free runs alike.
    write(&mut region, |tx| {
        [b, c, d, e].iter().for_each(|block| tx.free(block.offset));
        Ok(())
    });
    assert!(trim(&mut region).bytes >= 20 * CHUNK);
    let heap = region.layout().heap;
    assert_eq!(
        (region.view.size(at::HEAP_END), region.view.size(at::TAKEN)),
        (heap, heap)
    );
    assert_eq!(region.view.header(at::HOLES), 0);
}

/// So much at most in a call, and it goes on where it stopped.
#[test]
fn bounded_by_what_it_may_give_back() {
    let mut region = Region::in_memory(40 << 20).expect("region");
    let gate = region.gate().clone();
    let piece = region.layout().piece(0);
    let blocks = write(&mut region, |tx| {
        (0..8).map(|_| alloc(tx, 2 * piece)).collect::<Result<Vec<_>>>()
    });
    write(&mut region, |tx| {
        // The end draws back over the last; the others become holes.
        [0, 2, 3, 7].iter().for_each(|i| tx.free(blocks[*i].offset));
        Ok(())
    });
    let mut steps = Vec::new();
    loop {
        let trimmed = region.trim(&gate.enter().expect("pass"), piece + 1).expect("trim");
        if trimmed.bytes == 0 {
            break;
        }
        assert!(trimmed.bytes == piece, "{trimmed:?}");
        steps.push(trimmed.bytes);
    }
    assert_eq!(steps.len(), 8);
    assert_eq!(region.view.header(at::HOLES), 6 * piece);
    assert_eq!(region.view.header(at::GIVEN_BACK), 8 * piece);
}
