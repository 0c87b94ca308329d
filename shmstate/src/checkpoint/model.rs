//! All interleavings of a writer and a copier on two pages of two words (C1–C4): in each of them the image is the
//! memory at the mark. With any one step left out or moved, some interleaving breaks it: the model can fail.
//!
//! Steps are single loads and stores under sequential consistency; that the machine keeps them so is what the pairs in
//! `hook` are for.

use std::collections::HashSet;

const PAGES: usize = 2;
/// Page, word, new value: both pages, each word, one of them again.
const WRITES: [(usize, usize, u8); 5] = [(0, 0, 10), (0, 1, 11), (1, 1, 12), (0, 0, 13), (1, 0, 14)];
const MARK: [[u8; 2]; PAGES] = [[1, 2], [3, 4]];

/// What is done wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Fault {
    None,
    /// The writer changes the page and saves it then.
    SavesLate,
    /// The writer saves nothing.
    SavesNothing,
    /// The writer turns the bit, changes the page, copies it then.
    TurnsEarly,
    /// The writer publishes a slot that it has not filled.
    PublishesEarly,
    /// The copier turns the bit and reads then.
    ReadsLate,
    /// The copier keeps what it read though the bit was turned.
    KeepsTorn,
}

/// Whether the writer saves the page at hand: not, perhaps, and its copy is the one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Save {
    No,
    Yes,
    Won,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct World {
    memory: [[u8; 2]; PAGES],
    bits: [bool; PAGES],
    /// Slots that were filled in order; a slot is written in place, so that an early publication shows.
    slots: Vec<(usize, [u8; 2])>,
    published: usize,
    /// The write at hand, the step in it, what becomes of its page.
    writer: (usize, u8, Save),
    /// The page at hand, the step in it, what was read, whether its bit was won.
    copier: (usize, u8, [u8; 2], bool),
    drained: usize,
    image: [Option<[u8; 2]>; PAGES],
}

/// One step of the writer; `false` if it has nothing left to do.
fn write(w: &mut World, fault: Fault) -> bool {
    let Some(&(page, word, value)) = WRITES.get(w.writer.0) else {
        return false;
    };
    // The order of: 0 look at the bit, 1 and 2 copy a word, 3 turn the bit, 4 publish, 5 change.
    let order: &[u8] = match fault {
        Fault::SavesLate => &[0, 5, 1, 2, 3, 4],
        Fault::SavesNothing => &[5],
        Fault::TurnsEarly => &[0, 3, 5, 1, 2, 4],
        Fault::PublishesEarly => &[0, 1, 3, 4, 2, 5],
        _ => &[0, 1, 2, 3, 4, 5],
    };
    let last = w.slots.len().saturating_sub(1);
    let saves = w.writer.2 != Save::No;
    match order[w.writer.1 as usize] {
        0 if w.bits[page] => w.writer.2 = Save::No,
        0 => {
            w.writer.2 = Save::Yes;
            w.slots.truncate(w.published);
            w.slots.push((page, [0, 0]));
        }
        1 if saves => w.slots[last].1[0] = w.memory[page][0],
        2 if saves => w.slots[last].1[1] = w.memory[page][1],
        3 if saves => {
            if !w.bits[page] {
                w.writer.2 = Save::Won;
            }
            w.bits[page] = true;
        }
        4 if w.writer.2 == Save::Won => w.published = w.slots.len(),
        5 => w.memory[page][word] = value,
        _ => {}
    }
    w.writer.1 += 1;
    if w.writer.1 as usize == order.len() {
        w.writer = (w.writer.0 + 1, 0, Save::No);
    }
    true
}

/// One step of the copier; `false` if it has nothing left to do or waits.
fn copy(w: &mut World, fault: Fault) -> bool {
    let page = w.copier.0;
    if page == PAGES {
        if w.drained == w.published {
            return false;
        }
        let (page, bytes) = w.slots[w.drained];
        w.drained += 1;
        w.image[page].get_or_insert(bytes);
        return true;
    }
    // 0 and 1 read a word, 2 turn the bit, 3 deliver.
    let order: [u8; 4] = if fault == Fault::ReadsLate {
        [2, 0, 1, 3]
    } else {
        [0, 1, 2, 3]
    };
    match order[w.copier.1 as usize] {
        step @ (0 | 1) => w.copier.2[step as usize] = w.memory[page][step as usize],
        2 => {
            w.copier.3 = !w.bits[page];
            w.bits[page] = true;
        }
        _ if w.copier.3 || fault == Fault::KeepsTorn => w.image[page] = Some(w.copier.2),
        _ => {}
    }
    w.copier.1 += 1;
    if w.copier.1 == 4 {
        w.copier = (page + 1, 0, [0, 0], false);
    }
    true
}

/// Whether every interleaving ends with the right image; and how many states there are.
fn holds(fault: Fault) -> (bool, usize) {
    let start = World {
        memory: MARK,
        bits: [false; PAGES],
        slots: Vec::new(),
        published: 0,
        writer: (0, 0, Save::No),
        copier: (0, 0, [0, 0], false),
        drained: 0,
        image: [None; PAGES],
    };
    let mut seen = HashSet::from([start.clone()]);
    let mut open = vec![start];
    let mut right = true;
    while let Some(world) = open.pop() {
        let mut over = true;
        for step in [write, copy] {
            let mut next = world.clone();
            if step(&mut next, fault) {
                over = false;
                if seen.insert(next.clone()) {
                    open.push(next);
                }
            }
        }
        right &= !over || world.image == MARK.map(Some);
    }
    (right, seen.len())
}

#[test]
fn every_interleaving_gives_the_memory_at_the_mark() {
    let (right, states) = holds(Fault::None);
    assert!(right);
    assert!(states > 500, "only {states} states");
}

#[test]
fn every_fault_is_found() {
    for fault in [
        Fault::SavesLate,
        Fault::SavesNothing,
        Fault::TurnsEarly,
        Fault::PublishesEarly,
        Fault::ReadsLate,
        Fault::KeepsTorn,
    ] {
        assert!(!holds(fault).0, "{fault:?} went unnoticed");
    }
}
