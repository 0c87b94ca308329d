//! Every byte in use of a region is altered in turn: opening, verifying and reading give a value or an error and come back;
//! and what `verify` promises to name, it or opening names, with a place in the same structure.
//!
//! Records that are read are plain numbers, so that whatever place is taken for one can be read. The table with checksums has
//! strings, which are only verified.

use crate::heap::{self, Owner, classes};
use crate::region::header::{BINS, CHUNK, CHUNK_ENTRY, HEADER, LOG_TABLE_ROW, ROW, ROWS, at};
use crate::region::view::View;
use crate::table::catalog::{self, Kind, ROOT};
use crate::{
    Cell, Error, Gap, Handle, Map, Queue, Region, Result, Rings, Slab, SlabId, StreamId, Streams, TableOptions,
    TimerId, Timers, Tx, verify,
};
use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};

const EACH: u64 = 90;

#[derive(Debug)]
struct Tables {
    map: Map<u64, u64>,
    handle: Handle<u64>,
    checked: Map<u32, String>,
    cell: Cell<u64>,
    slab: Slab<u64>,
    id: SlabId,
    queue: Queue<u64>,
    timers: Timers<u64>,
    timer: TimerId,
    streams: Streams,
    stream: StreamId,
    _sockets: (TcpStream, TcpStream),
}

fn fill(tx: &mut Tx<'_>) -> Result<Tables> {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let client = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
    let (server, _) = listener.accept().expect("accept");
    let map = Map::create(tx, "map")?;
    let checked = Map::create_with(tx, "checked", TableOptions::default().checksums(true))?;
    let cell = Cell::create(tx, "cell", &7)?;
    let slab = Slab::create(tx, "slab")?;
    let queue = Queue::create(tx, "queue")?;
    let timers = Timers::create(tx, "timers", Gap::All)?;
    let rings = Rings {
        input: 256,
        output: 512,
    };
    let streams = Streams::create(tx, "streams", rings)?;
    let (mut ids, mut timer_ids) = (Vec::new(), Vec::new());
    for i in 0..EACH {
        map.insert(tx, &i, &(i << 40))?;
        checked.insert(tx, &(i as u32), &format!("record {i} {}", "x".repeat(i as usize)))?;
        ids.push(slab.insert(tx, &i)?);
        queue.push_back(tx, &i)?;
        timer_ids.push(timers.insert(tx, 1000 + i * 37 % 50, &i)?);
    }
    for i in (0..EACH).step_by(4) {
        map.remove(tx, &i)?;
        checked.remove(tx, &(i as u32))?;
        slab.remove(tx, ids[i as usize])?;
        timers.cancel(tx, timer_ids[i as usize])?;
        queue.pop_front(tx, |_, _| ())?;
    }
    let stream = streams.adopt(tx, server.as_fd(), 5)?;
    Ok(Tables {
        handle: map.handle(tx, &1)?.expect("is there"),
        map,
        checked,
        cell,
        slab,
        id: ids[1],
        queue,
        timers,
        timer: timer_ids[1],
        streams,
        stream,
        _sockets: (client, server),
    })
}

/// A region with everything in it, an extent of the log among its heap.
fn world() -> (Region, Tables) {
    let mut region = Region::in_memory(4 << 20).expect("region");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let tables = region.write(&pass, fill).expect("fill");
    let mut tx = region.begin(&pass).expect("begin");
    for i in 1000..2500 {
        tables.map.insert(&mut tx, &i, &i).expect("insert");
    }
    drop(tx);
    let taken = region.view.size(at::TAKEN);
    region
        .write(&pass, |tx| {
            let bytes = taken.saturating_sub(tx.size(at::HEAP_END));
            let big = "y".repeat(bytes as usize + 1);
            // In a table without checksums: it is verified some forty thousand times.
            let large: Map<u32, String> = Map::create(tx, "large")?;
            large.insert(tx, &5000, &big)?;
            large.insert(tx, &5001, &big)?;
            tables.checked.insert(tx, &5001, &"y".repeat(40_000))?;
            large.remove(tx, &5000).map(|_| ())
        })
        .expect("a large record");
    region.trim(&pass, u64::MAX).expect("trim");
    assert!(region.view.header(at::HOLES) > 0);
    drop(pass);
    assert!(crate::region::growth::log_extents(&region.view).count() > 0);
    (region, tables)
}

/// Bytes of one structure.
#[derive(Clone, Copy, Debug)]
struct Part {
    what: &'static str,
    /// Which structure: a fault must name a place in the same one.
    group: u64,
    start: u64,
    length: u64,
    /// Whether every altered byte of it must be named.
    named: bool,
    /// What it describes: a fault may name a place in that too.
    about: (u64, u64),
}

/// Everything that is not a table.
const HEAD: u64 = 1;
const HEAP: u64 = 2;

/// And where the whole chunk table lies.
#[derive(Default)]
struct Parts(Vec<Part>, (u64, u64));

impl Parts {
    fn add(&mut self, what: &'static str, group: u64, (start, length): (u64, u64), named: bool) {
        if length > 0 {
            self.0.push(Part {
                what,
                group,
                start,
                length,
                named,
                about: (0, 0),
            });
        }
    }

    fn about(&mut self, about: (u64, u64)) {
        if let Some(part) = self.0.last_mut() {
            part.about = about;
        }
    }

    fn block(&mut self, region: &Region, what: &'static str, group: u64, offset: u64, length: u64, named: bool) {
        let block = heap::block_of(&region.view, region.layout(), offset).expect("block");
        assert_eq!(block.offset, offset);
        self.add(what, group, (offset, length.min(block.size)), named);
    }

    /// The structures that a place may be taken for.
    fn groups(&self, place: u64) -> impl Iterator<Item = u64> + '_ {
        let inside = move |part: &&Part| place >= part.start && place < part.start + part.length;
        let table = place >= self.1.0 && place - self.1.0 < self.1.1;
        self.0
            .iter()
            .filter(inside)
            .map(|part| part.group)
            .chain(table.then_some(HEAP))
    }
}

const OFFSET: u64 = (1 << 48) - 1;

fn parts(region: &Region) -> Parts {
    let view = &region.view;
    let load = |at| view.load(at, "test").expect("word");
    let mut p = Parts::default();
    p.add("birth", HEAD, (0, 144), true);
    p.add("birth, zero", HEAD, (144, 104), true);
    p.add("checksum of birth", HEAD, (248, 8), true);
    p.add("lease", HEAD, (256, 64), false);
    p.add("length of the log", HEAD, (at::LOG_LENGTH, 8), true);
    p.add("activity, transactions, records made", HEAD, (at::ACTIVITY, 24), false);
    p.add("taken", HEAD, (at::TAKEN, 8), true);
    p.add("end of the heap", HEAP, (at::HEAP_END, 8), true);
    p.add("capacity", HEAD, (at::LIMIT, 8), true);
    p.add("log extents", HEAP, (at::LOG_EXTENTS, 8), true);
    p.about((at::LOG_TABLE, at::CLASS_HEADS - at::LOG_TABLE));
    p.add("figures", HEAD, (at::RECOVERIES, 48), false);
    p.add("epoch", HEAD, (at::EPOCH, 8), false);
    p.add("tables made", HEAD, (at::TABLES_MADE, 8), true);
    p.add("restored from", HEAD, (448, 64), false);
    let extents = crate::region::growth::log_extents(view).count() as u64 + 1;
    for i in 0..extents {
        let row = at::LOG_TABLE + i * LOG_TABLE_ROW;
        p.add("log table", HEAD, (row, 16), true);
        p.about((region.layout().chunks, region.layout().chunk_count * CHUNK_ENTRY));
        p.add(
            "log table: used, while open; no log is here",
            HEAD,
            (row + 16, 16),
            false,
        );
    }
    // Faults of the heap may show at the words that say where it ends.
    p.add("class heads", HEAP, (at::CLASS_HEADS, classes::COUNT as u64 * 8), true);
    p.add("free runs", HEAP, (at::RUN_BINS, BINS * 8), true);
    p.add("holes", HEAP, (at::HOLES, 16), true);
    p.add("memory given back: figures", HEAD, (at::HOLES_STALE, 16), false);
    p.add("moves", HEAD, (at::MOVES, 8), true);
    let layout = region.layout();
    let used = (view.size(at::HEAP_END) - layout.heap) / CHUNK;
    chunk_parts(&mut p, region, used);
    p.1 = (layout.chunks, used * CHUNK_ENTRY);
    for row in catalog::rows(view).expect("rows") {
        let (group, at) = (row.offset, row.offset);
        p.add("catalog row", group, (at, ROOT), true);
        p.add("identity, checksum of a row", group, (at + ROOT + 96, 16), true);
        p.block(region, "description", group, row.description.0, row.description.1, true);
        let owner = Owner::of_row(at);
        if let Some(heads) = owner.heads(view).expect("heads") {
            p.add("chunks of a table", HEAP, (at + 240, 16), true);
            p.block(region, "heads of a table", HEAP, heads, classes::COUNT as u64 * 8, true);
        }
        let roots = at + ROOT;
        let root = |i: u64| load(roots + i * 8);
        let pages = |p: &mut Parts, roots: u64, named| {
            let [directory, room, count] = view.words(roots, "test").expect("roots");
            p.block(region, "page directory", group, directory, room * 8, true);
            for i in 0..count {
                let page = load(directory + i * 8) & OFFSET;
                p.block(region, "page", group, page, 4096, named);
            }
        };
        match Kind::from_number(row.kind).expect("kind") {
            Kind::Map => {
                p.add("roots of a map", group, (roots, 40), true);
                p.add("bytes of archives", group, (roots + 40, 8), false);
                let (directory, words) = (root(0), root(1));
                p.block(region, "directory", group, directory, 8 * words, true);
                let mut last = 0;
                for i in 0..words {
                    let word = load(directory + i * 8);
                    if word != last {
                        p.block(
                            region,
                            "segment",
                            group,
                            (word & !63) - 64,
                            ((word & 63) + 1) * 64,
                            true,
                        );
                    }
                    last = word;
                }
                if row.name == "checked" {
                    let mut blocks = heap::Blocks::of(view, owner).expect("blocks");
                    while let Some(block) = blocks.next(view).expect("block") {
                        // The sequence is no part of what is checked.
                        let header = block.offset + block.size - 8;
                        p.add(
                            "record",
                            group,
                            (block.offset, (header + 6 - block.offset).min(4096)),
                            true,
                        );
                        p.add("sequence", group, (header + 6, 2), false);
                    }
                }
            }
            // None is made here: its own tests alter every byte of it.
            Kind::OrderedMap => {}
            Kind::Cell => {
                p.add("cell", group, (roots, 8), true);
                p.add("bytes of archives", group, (roots + 8, 8), false);
            }
            Kind::Slab => {
                p.add("roots of a slab", group, (roots, 40), true);
                p.add("bytes of archives", group, (roots + 40, 8), false);
                p.add("source of generations", group, (roots + 48, 8), true);
                pages(&mut p, roots, true);
            }
            Kind::Queue => {
                p.add("roots of a queue", group, (roots, 24), true);
                p.add("bytes of archives", group, (roots + 24, 8), false);
                p.add("roots of a queue", group, (roots + 32, 16), true);
                p.block(region, "ring directory", group, root(0), root(1) * 8, true);
                let page = load(root(0)) & OFFSET;
                let (head, tail) = (root(2), root(4));
                p.block(region, "ring, not in use", group, page, 4096, false);
                p.add("ring", group, (page + head * 8, (tail - head) * 8), true);
            }
            Kind::Timers => {
                p.add("roots of timers", group, (roots, 40), true);
                p.add("bytes of archives", group, (roots + 40, 8), false);
                p.add("source of generations", group, (roots + 48, 8), true);
                p.add("roots of the heap of timers", group, (roots + 56, 24), true);
                p.add("shift and gap", group, (roots + 80, 16), true);
                pages(&mut p, roots, true);
                // Seven places are left out before the first entry; behind the last nothing is read.
                let [directory, _, count] = view.words(roots + 56, "test").expect("roots");
                p.block(region, "page directory", group, directory, 64, true);
                assert_eq!(count, 1, "one page");
                let page = load(directory) & OFFSET;
                let timers = root(4);
                p.block(region, "heap of timers, not in use", group, page, 4096, false);
                p.add("heap of timers", group, (page + 7 * 16, timers * 16), true);
            }
            Kind::Streams => {
                p.add("roots of streams", group, (roots, 32), true);
                p.add("serial, rings, note, visited", group, (roots + 32, 32), true);
                p.block(region, "directory of streams", group, root(0), 8, true);
                p.block(region, "note of streams, nothing under way", group, root(6), 128, false);
                p.add("note of streams: whose", group, (root(6) + 64, 8), true);
                let page = load(root(0));
                p.block(region, "slots of streams", group, page, 64 * 128, false);
                p.add("open stream", group, (page, 104), true);
                p.add("open stream: not in a list", group, (page + 104, 8), true);
                p.add("open stream", group, (page + 112, 16), true);
                for i in 1..64 {
                    p.add("free stream: place, state", group, (page + i * 128, 16), true);
                    p.add("free stream: next", group, (page + i * 128 + 104, 8), true);
                }
            }
        }
    }
    for index in 0..ROWS {
        let at = HEADER + index * ROW;
        if catalog::row(view, index).expect("row").is_none() {
            p.add("empty row", at, (at, 8), true);
        }
    }
    p
}

fn chunk_parts(p: &mut Parts, region: &Region, used: u64) {
    let layout = region.layout();
    let load = |at| region.view.load(at, "test").expect("word");
    let mut index = 0;
    while index < used {
        let entry = layout.chunks + index * CHUNK_ENTRY;
        let word = load(entry);
        let length = match word as u8 {
            1 => {
                let slots = classes::slots((word >> 32) as usize);
                p.add("chunk: kind, free slots", HEAP, (entry, 16), true);
                p.add("chunk: links", HEAP, (entry + 16, 8), load(entry + 8) != 0);
                p.add(
                    "chunk: links of the owner",
                    HEAP,
                    (entry + 24, 8),
                    word >> 8 & 0xff != 0,
                );
                p.add("chunk: bitmap", HEAP, (entry + 32, slots.div_ceil(64) * 8), true);
                p.about((layout.heap + index * CHUNK, CHUNK));
                1
            }
            kind => {
                p.add("run", HEAP, (entry, 8), true);
                p.add("run: links", HEAP, (entry + 16, 8), matches!(kind, 4 | 7));
                p.add(
                    "run: links of the owner",
                    HEAP,
                    (entry + 24, 8),
                    kind == 2 && word >> 8 & 0xff != 0,
                );
                let length = word >> 32;
                if length > 1 {
                    p.add("run: end", HEAP, (entry + (length - 1) * CHUNK_ENTRY, 8), true);
                }
                length
            }
        };
        index += length;
    }
}

/// Reads everything there is to read. Errors are welcome.
fn read(view: &View, t: &Tables) {
    for key in [0, 1, 2, 50, EACH - 1, 1 << 60] {
        let _ = t.map.get(view, &key);
        let _ = t.checked.contains_key(view, &(key as u32));
    }
    let _ = t.map.get_many(view, &[1, 2, 3, 4], |_, value| {
        let _ = value.map(|value| value.to_native());
    });
    let _ = t
        .map
        .get_at(view, t.handle)
        .map(|value| value.map(|value| value.to_native()));
    let _ = t.map.iter(view).map(|items| items.collect::<Vec<_>>());
    let _ = (t.map.len(view), t.checked.len(view), t.map.archived_bytes(view));
    let _ = t.cell.get(view).map(|value| value.to_native());
    let _ = t.slab.get(view, t.id).map(|value| value.map(|value| value.to_native()));
    let _ = t.slab.iter(view).map(|items| items.collect::<Vec<_>>());
    let _ = (t.queue.front(view), t.queue.back(view));
    let _ = t.queue.iter(view).map(|items| items.collect::<Vec<_>>());
    let _ = (
        t.timers.get(view, t.timer),
        t.timers.deadline(view, t.timer),
        t.timers.next_deadline(view),
    );
    let _ = t.timers.iter(view).map(|items| items.collect::<Vec<_>>());
    let _ = (t.streams.ids(view), t.streams.len(view), t.streams.user(view, t.stream));
    let _ = (
        t.streams.input(view, t.stream),
        t.streams.unsent(view, t.stream),
        t.streams.room(view, t.stream),
    );
}

/// Opens the tables by name, and one as what it is not.
fn open(region: &Region) {
    let _ = Map::<u64, u64>::open(region, "map");
    let _ = Map::<u32, String>::open(region, "checked");
    let _ = Cell::<u64>::open(region, "cell");
    let _ = Slab::<u64>::open(region, "slab");
    let _ = Queue::<u64>::open(region, "queue");
    let _ = Timers::<u64>::open(region, "timers");
    let _ = Streams::open(region, "streams");
    let _ = Slab::<String>::open(region, "checked");
}

fn place_of(e: &Error) -> u64 {
    match e {
        Error::Damaged { at, .. } => *at,
        Error::NotARegion { .. } | Error::NotReady { .. } => 0,
        other => panic!("another error than damage: {other}"),
    }
}

/// Where opening or verifying the region as it is now saw something; nothing if they did not. With what was seen first.
/// `heap` says that `open` would look at what was altered: it walks the heap, which `verify` does too.
fn places(region: &Region, tables: &Tables, heap: bool) -> Vec<u64> {
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let mut places = Vec::new();
    let reader = match region.read(&pass) {
        Ok(reader) => reader,
        Err(e) => {
            places.push(place_of(&e));
            return places;
        }
    };
    if heap && let Err(e) = heap::check(&reader, region.layout()) {
        places.push(place_of(&e));
    }
    let found = verify(&reader).expect("verify");
    if places.is_empty() {
        open(region);
        read(&reader, tables);
    }
    places.extend(found.faults.iter().map(|fault| fault.at));
    places.extend(&found.dangling);
    places.extend(&found.leaked);
    places
}

fn flip(view: &View, at: u64, way: u8) -> u64 {
    let word = view.load(at & !7, "test").expect("word");
    let altered = word ^ u64::from(way) << (at % 8 * 8);
    view.store(at & !7, altered, "test").expect("store");
    word
}

/// Every bit of what is small, two ways for the rest.
fn ways(part: &Part) -> &'static [u8] {
    match part.group {
        HEAD | HEAP if part.length <= 16 => &[0xff, 1, 2, 4, 8, 16, 32, 64, 128],
        _ if part.start.is_multiple_of(16) => &[0xff, 1],
        _ => &[0xff, 0x20],
    }
}

#[test]
fn every_byte_in_use() {
    let (region, tables) = world();
    let parts = parts(&region);
    assert_eq!(places(&region, &tables, true), [0; 0], "sound as it is");
    let (mut tried, mut seen) = (0u64, BTreeMap::<_, (u64, u64, u64)>::new());
    let mut missed = Vec::new();
    let mut random = fastrand::Rng::with_seed(11);
    for part in &parts.0 {
        let long =
            part.length > 512 && matches!(part.what, "record" | "page" | "ring, not in use" | "slots of streams");
        for at in part.start..part.start + part.length {
            if long && random.u32(..8) != 0 {
                continue;
            }
            for way in ways(part) {
                let way = *way;
                let word = flip(&region.view, at, way);
                let found = catch_unwind(AssertUnwindSafe(|| {
                    // The part that is read without mapping must be refused there.
                    if at < 512 {
                        let image = region.view.image();
                        if let Err(e) = Region::from_image(&image) {
                            return vec![place_of(&e)];
                        }
                    }
                    places(&region, &tables, part.group <= HEAP || part.what.contains("row"))
                }));
                region.view.store(at & !7, word, "test").expect("store");
                let found = found.unwrap_or_else(|_| panic!("{} at {at:#x} ^ {way:#x}", part.what));
                tried += 1;
                let count = seen.entry((part.what, part.named)).or_default();
                count.0 += 1;
                count.1 += u64::from(found.is_empty());
                let (about, length) = part.about;
                let inside = |place: u64, start: u64, length: u64| place >= start && place - start < length;
                let leads = |word: u64| word & OFFSET;
                let altered = leads(word ^ u64::from(way) << (at % 8 * 8));
                let near = found.iter().any(|place| {
                    parts.groups(*place).any(|group| group == part.group)
                        || inside(*place, about, length)
                        // A word that leads into what is described, or the place that the altered word leads to.
                        || region.view.load(place & !7, "test").is_ok_and(|word| inside(leads(word), about, length))
                        || inside(*place, altered, 4096)
                });
                count.2 += u64::from(!near && !found.is_empty());
                if part.named && !near {
                    missed.push((part.what, at - part.start, part.group, way, found));
                }
            }
        }
    }
    for ((what, named), (tried, unseen, elsewhere)) in &seen {
        println!("{what} (named: {named}): {tried} tried, {unseen} unseen, {elsewhere} seen elsewhere");
    }
    println!("{tried} alterations, {} missed", missed.len());
    for one in missed.iter().take(60) {
        println!("missed: {one:x?}");
    }
    assert!(tried > 40_000, "only {tried}");
    assert!(missed.is_empty(), "{} were not named", missed.len());
    assert_eq!(places(&region, &tables, true), [0; 0], "everything was put back");
}
