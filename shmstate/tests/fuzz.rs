//! Damaged images, thousands a second: whatever is read, verified, changed or restored gives a value or an error. No panic, no
//! hang, no access outside of the region.
//!
//! Each target makes one image of a small region (or a checkpoint of it), alters a few places of it at random, above all in the
//! structure that it is named after, and uses the result as a program would. Values are plain numbers, because `open` trusts
//! records (R6): strings would lead anywhere, but where `open_checked` has looked at them (the target `records`). Errors are looked at and forgotten,
//! and transactions committed all the same. A case is a function of target, seed and number:
//!
//! ```text
//! cargo test -p shmstate --test fuzz                                       2 s for each target, another seed each time
//! SHMSTATE_FUZZ_SECONDS=600 SHMSTATE_FUZZ_SEED=7 cargo test -p shmstate --test fuzz -- chunk_table
//! SHMSTATE_FUZZ_SEED=7 SHMSTATE_FUZZ_CASE=1234 cargo test -p shmstate --test fuzz -- chunk_table
//! ```

use shmstate::{
    Cell, Checkpoint, CheckpointOptions, Gap, Handle, Inspection, Map, Options, OrderedMap, Queue, Region, Result,
    Slab, SlabId, TableOptions, TimerId, Timers, Tx, verify,
};
use std::fs::File;
use std::ops::{Bound, Range};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use xxhash_rust::xxh3::xxh3_64;

/// A case that takes longer hangs.
const DEADLINE: Duration = Duration::from_secs(30);
const NAME: &str = "fuzzed";
const CAPACITY: u64 = 3 << 20;
const EACH: u64 = 150;
/// Tables of the region, and about where the memory ends that they use.
const TABLES: usize = 9;
const USED: usize = 32 * (64 << 10);

/// Where the parts of a region of this capacity lie, see the byte maps in DESIGN.md.
const HEADER: usize = 4096;
const CATALOG_END: usize = HEADER + 64 * 256;
const LOG_END: usize = CATALOG_END + (64 << 10);
const CHUNKS: usize = 46;
const CHUNKS_END: usize = LOG_END + CHUNKS * 288;

struct Tables {
    map: Map<u64, u64>,
    checked: Map<u32, u64>,
    handle: Handle<u64>,
    cell: Cell<u64>,
    slab: Slab<u64>,
    ids: Vec<SlabId>,
    queue: Queue<u64>,
    timers: Timers<u64>,
    timer_ids: Vec<TimerId>,
    ordered: OrderedMap<(u16, u32), u64>,
    words: OrderedMap<String, u64>,
    names: Map<String, u64>,
}

/// A key of strings' tables: of many lengths, with much in common.
fn word(i: u64) -> String {
    format!("{}{i}", "word".repeat((i % 13) as usize))
}

fn fill(tx: &mut Tx<'_>) -> Result<Tables> {
    let map = Map::create(tx, "map")?;
    let checked = Map::create_with(tx, "checked", TableOptions::default().checksums(true))?;
    let (slab, queue) = (Slab::create(tx, "slab")?, Queue::create(tx, "queue")?);
    let timers = Timers::create(tx, "timers", Gap::Coalesce)?;
    let cell = Cell::create(tx, "cell", &1)?;
    let ordered = OrderedMap::create(tx, "ordered")?;
    let words: OrderedMap<String, u64> = OrderedMap::create(tx, "words")?;
    let names: Map<String, u64> = Map::create(tx, "names")?;
    let (mut ids, mut timer_ids) = (Vec::new(), Vec::new());
    for i in 0..EACH {
        ordered.insert(tx, &(i as u16 % 7, i as u32), &i)?;
        words.insert(tx, &word(i), &i)?;
        names.insert(tx, &word(i), &i)?;
        map.insert(tx, &i, &i)?;
        checked.insert(tx, &(i as u32), &i)?;
        ids.push(slab.insert(tx, &i)?);
        queue.push_back(tx, &i)?;
        timer_ids.push(timers.insert(tx, i * 7 % 90, &i)?);
    }
    for i in (0..EACH).step_by(5) {
        map.remove(tx, &i)?;
        slab.remove(tx, ids[i as usize])?;
        timers.cancel(tx, timer_ids[i as usize])?;
        queue.pop_front(tx, |_, _| ())?;
    }
    Ok(Tables {
        handle: map.handle(tx, &1)?.expect("is there"),
        map,
        checked,
        cell,
        slab,
        ids,
        queue,
        timers,
        timer_ids,
        ordered,
        words,
        names,
    })
}

/// Some of everything. The first error, when all was tried.
fn change(tx: &mut Tx<'_>, t: &Tables, i: u64) -> Result<()> {
    let mut results = vec![
        t.map.insert(tx, &(1000 + i), &i).map(drop),
        t.map.remove(tx, &i).map(drop),
        t.checked.insert(tx, &(i as u32), &7).map(drop),
        t.cell.set(tx, &i),
        t.slab.remove(tx, t.ids[i as usize]).map(drop),
        t.slab.insert(tx, &i).map(drop),
        t.queue.push_back(tx, &i).map(drop),
        t.queue.pop_front(tx, |_, _| ()).map(drop),
        t.timers.insert(tx, i, &i).map(drop),
        t.timers.pop_due(tx, 50, |_, _, _| ()).map(drop),
        t.ordered.insert(tx, &(i as u16, i as u32), &i).map(drop),
        t.ordered.remove(tx, &(i as u16 % 7, i as u32)).map(drop),
        t.words.insert(tx, &word(1000 + i), &i).map(drop),
        t.words.remove(tx, &word(i)).map(drop),
        t.words.pop_last(tx).map(drop),
        t.names.insert(tx, &word(1000 + i), &i).map(drop),
        t.names.remove(tx, &word(i)).map(drop),
    ];
    results.push(t.map.get_mut_at(tx, t.handle).and_then(|value| match value {
        Some(mut value) => value.set(|value| value, i.into()),
        None => Ok(()),
    }));
    results.into_iter().collect()
}

fn options(directory: &Path) -> Options {
    Region::options()
        .capacity(CAPACITY)
        .reserve_ahead(0)
        .directory(directory)
}

/// The bytes of a sound region, with a log that is open or not; and of a checkpoint of it.
fn images(directory: &Path, open: bool) -> (Vec<u8>, Vec<u8>, Tables) {
    let options = options(directory);
    let mut region = options.create(NAME).expect("create");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let tables = region.write(&pass, fill).expect("fill");
    let path = directory.join("checkpoint");
    region
        .checkpoint(&pass, &path, &CheckpointOptions::default())
        .expect("start")
        .wait(Instant::now() + DEADLINE)
        .expect("checkpoint");
    let checkpoint = std::fs::read(&path).expect("read");
    if open {
        let mut tx = region.begin(&pass).expect("begin");
        for i in 1..60 {
            change(&mut tx, &tables, i).expect("change");
        }
        std::mem::forget(tx);
    }
    let image = std::fs::read(directory.join(NAME)).expect("read");
    let taken = image.iter().rposition(|byte| *byte != 0).unwrap_or(0);
    assert!((USED - (128 << 10)..USED).contains(&taken), "{taken}");
    drop(pass);
    (image, checkpoint, tables)
}

/// Uses a region as a program would. Errors are welcome.
fn exercise(region: &mut Region, t: &Tables, random: &mut fastrand::Rng) -> Result<()> {
    let gate = region.gate().clone();
    let pass = gate.enter()?;
    {
        let reader = region.read(&pass)?;
        let found = verify(&reader)?;
        let _ = found.is_sound();
        for i in [1, 2, EACH / 2, EACH - 1] {
            let _ = (t.map.get(&reader, &i), t.checked.get(&reader, &(i as u32)));
            let _ = (
                t.slab.get(&reader, t.ids[i as usize]),
                t.timers.get(&reader, t.timer_ids[i as usize]),
            );
            let _ = (
                t.queue.get(&reader, i),
                t.timers.deadline(&reader, t.timer_ids[i as usize]),
            );
        }
        let _ = t.map.get_many(&reader, &[1, 2, 3, 1 << 50], |_, _| ());
        let _ = (t.map.get_at(&reader, t.handle), t.cell.get(&reader));
        let _ = t.map.iter(&reader).map(|items| items.collect::<Vec<_>>());
        let _ = t.names.iter(&reader).map(|items| items.collect::<Vec<_>>());
        let _ = t.ordered.iter(&reader).map(|items| items.collect::<Vec<_>>());
        let _ = t.words.iter(&reader).map(|items| items.rev().collect::<Vec<_>>());
        let _ = t
            .words
            .range(
                &reader,
                (Bound::Included(word(3).as_str()), Bound::Excluded(word(9).as_str())),
            )
            .map(|items| items.count());
        let _ = (
            t.words.first(&reader),
            t.ordered.last(&reader),
            t.words.nth(&reader, 70),
        );
        let _ = (t.names.get(&reader, &word(5)), t.words.get(&reader, &word(5)));
        let _ = t.checked.iter(&reader).map(|items| items.collect::<Vec<_>>());
        let _ = t.slab.iter(&reader).map(|items| items.collect::<Vec<_>>());
        let _ = t.queue.iter(&reader).map(|items| items.collect::<Vec<_>>());
        let _ = t.timers.iter(&reader).map(|items| items.collect::<Vec<_>>());
    }
    let _ = Map::<u64, u64>::open(region, "map").map(drop);
    let _ = Slab::<u32>::open(region, "checked").map(drop);
    let mut tx = region.begin(&pass)?;
    let changed = change(&mut tx, t, random.u64(1..EACH));
    let _ = t
        .map
        .for_each_mut(&mut tx, |_, value| value.set(|value| value, 3.into()));
    // What failed has changed nothing that the rest could not be committed without.
    let kept = if random.bool() {
        tx.commit()
    } else {
        tx.rollback();
        Ok(())
    };
    let _ = verify(&region.read(&pass)?)?;
    let mut tx = region.begin(&pass)?;
    let _ = (t.map.clear(&mut tx), t.slab.clear(&mut tx), t.timers.clear(&mut tx));
    let _ = (t.ordered.clear(&mut tx), t.words.clear(&mut tx), t.names.clear(&mut tx));
    let _ = t.queue.clear(&mut tx);
    if random.bool() {
        tx.commit()?;
    }
    changed.and(kept)
}

/// Alters a few places of `range`, in ways that a chance and a confused program find.
fn mutate(bytes: &mut [u8], range: Range<usize>, random: &mut fastrand::Rng) {
    for _ in 0..random.u32(1..=4) {
        let at = random.usize(range.clone());
        let word = at & !7;
        let Some(old) = bytes.get(word..word + 8) else { continue };
        let old = u64::from_le_bytes(old.try_into().expect("eight"));
        let new = match random.u32(..10) {
            0 => old ^ 0xff << (at % 8 * 8),
            1 => old ^ 1 << random.u32(..64),
            2 => random.u64(..),
            3 => [0, 1, u64::MAX, 1 << 63, u64::MAX - 7, 1 << 32, 0xffff_ffff][random.usize(..7)],
            4 => old.wrapping_add(8),
            5 => old.wrapping_sub(8),
            6 => random.u64(..CAPACITY) & !7,
            7 => old ^ random.u64(..) & 0xffff_ffff << 32,
            8 => random.u64(..64),
            _ => {
                let from = random.usize(range.clone()) & !7;
                bytes
                    .get(from..from + 8)
                    .map_or(0, |word| u64::from_le_bytes(word.try_into().expect("eight")))
            }
        };
        bytes[word..word + 8].copy_from_slice(&new.to_le_bytes());
    }
}

/// The words of the header that are sealed: length of the log, ends of memory and heap, capacity; how much of an extent is used.
const SEALED: [usize; 5] = [320, 352, 360, 368, 528];

/// Makes the checksums of header and catalog and the seals of sizes right again, so that what is behind them is reached.
fn mend(bytes: &mut [u8]) {
    for at in SEALED {
        let word = bytes
            .get(at..at + 8)
            .map_or(0, |word| u64::from_le_bytes(word.try_into().expect("eight")));
        let number = word & 0xffff_ffff_ffff;
        let fold = (number ^ number >> 16 ^ number >> 32) & 0xffff;
        let sealed = if number == 0 { 0 } else { number | (fold ^ 0x5a5a) << 48 };
        bytes[at..at + 8].copy_from_slice(&sealed.to_le_bytes());
    }
    let sum = xxh3_64(&bytes[8..248]);
    bytes[248..256].copy_from_slice(&sum.to_le_bytes());
    for row in (HEADER..CATALOG_END).step_by(256) {
        if bytes[row] != 0 {
            let sum = xxh3_64(&bytes[row..row + 128]);
            bytes[row + 232..row + 240].copy_from_slice(&sum.to_le_bytes());
        }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs cases until the time is over. `case` gives whether the damaged thing was used to its end.
/// Gives how many cases there were, and in how many of them it was.
fn run(target: &str, mut case: impl FnMut(&mut fastrand::Rng) -> bool) -> (u64, u64) {
    let seed = number("SHMSTATE_FUZZ_SEED").unwrap_or_else(|| fastrand::u64(..1 << 31));
    println!("{target}: seed {seed}");
    let (first, one) = number("SHMSTATE_FUZZ_CASE").map_or((0, false), |case| (case, true));
    let seconds = number("SHMSTATE_FUZZ_SECONDS").unwrap_or(2);
    let end = Instant::now() + Duration::from_secs(seconds);
    let doing = AtomicU64::new(first);
    let over = AtomicU64::new(0);
    let (mut n, mut used) = (first, 0u64);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut since = (u64::MAX, Instant::now());
            while over.load(Ordering::Relaxed) == 0 {
                let now = doing.load(Ordering::Relaxed);
                if now != since.0 {
                    since = (now, Instant::now());
                } else if since.1.elapsed() > DEADLINE {
                    eprintln!("{target}: seed {seed}, case {now} hangs");
                    std::process::abort();
                }
                std::thread::park_timeout(Duration::from_millis(50));
            }
        });
        let mut failed = None;
        while failed.is_none() && (n == first || !one && Instant::now() < end) {
            let mut random = fastrand::Rng::with_seed(seed << 32 ^ n);
            match catch_unwind(AssertUnwindSafe(|| case(&mut random))) {
                Ok(to_the_end) => used += u64::from(to_the_end),
                Err(_) => failed = Some(n),
            }
            n += 1;
            doing.store(n, Ordering::Relaxed);
        }
        over.store(1, Ordering::Relaxed);
        assert!(failed.is_none(), "{target}: seed {seed}, case {} panicked", n - 1);
    });
    println!("{target}: {} cases, {used} used to the end", n - first);
    assert!(one || n - first > 20, "only {} cases", n - first);
    (n - first, used)
}

/// A target that refuses everything at the door tries nothing behind it.
fn some_got_in((cases, used): (u64, u64)) {
    assert!(cases < 200 || used > 0, "none of {cases} cases was used to its end");
}

/// Alters the `ranges` of a region's image, opens and uses it.
fn regions(target: &str, open: bool, ranges: &[Range<usize>]) {
    let directory = tempfile::tempdir_in("/dev/shm").expect("directory");
    let (image, _, tables) = images(directory.path(), open);
    let options = options(directory.path());
    let path = directory.path().join(NAME);
    some_got_in(run(target, |random| {
        let mut bytes = image.clone();
        for _ in 0..random.u32(1..=2) {
            let range = &ranges[random.usize(..ranges.len())];
            mutate(&mut bytes, range.clone(), random);
        }
        if random.u32(..4) != 0 {
            mend(&mut bytes);
        }
        let file = File::options()
            .write(true)
            .open(&path)
            .or_else(|_| File::create(&path))
            .expect("file");
        file.write_all_at(&bytes, 0).expect("write");
        let cut = if random.u32(..50) == 0 {
            random.u64(..CAPACITY)
        } else {
            CAPACITY
        };
        file.set_len(cut).expect("length");
        drop(file);
        let _ = Inspection::in_directory(directory.path(), NAME).map(drop);
        let used = options
            .open(NAME)
            .and_then(|mut region| exercise(&mut region, &tables, random));
        used.is_ok()
    }));
}

/// The check can fail: a case that panics is named.
#[test]
#[should_panic(expected = "case 3 panicked")]
fn a_panic_is_seen() {
    let mut cases = 0;
    run("panic", |_| {
        cases += 1;
        assert!(cases < 4, "on purpose");
        true
    });
}

#[test]
fn header() {
    regions("header", false, &[0..256, 256..2560, 320..432]);
}

#[test]
fn catalog() {
    regions("catalog", false, &[HEADER..HEADER + TABLES * 256, HEADER..CATALOG_END]);
}

#[test]
fn undo_log() {
    regions(
        "undo_log",
        true,
        &[320..328, 352..640, CATALOG_END..CATALOG_END + (24 << 10)],
    );
}

#[test]
fn chunk_table() {
    regions("chunk_table", false, &[LOG_END..CHUNKS_END, 1536..2560]);
}

/// Directories, segments, pages and records of all tables, and their roots.
#[test]
fn tables() {
    regions("tables", false, &[2 * (64 << 10)..USED, HEADER..HEADER + TABLES * 256]);
}

#[test]
fn anywhere() {
    regions("anywhere", true, &[0..CAPACITY as usize, 0..USED]);
}

#[test]
fn checkpoint_file() {
    let directory = tempfile::tempdir_in("/dev/shm").expect("directory");
    let (_, image, tables) = images(directory.path(), false);
    let options = options(directory.path());
    let path = directory.path().join("checkpoint");
    run("checkpoint_file", |random| {
        let mut bytes = image.clone();
        let start = if random.bool() { 0..512 } else { 0..bytes.len() };
        mutate(&mut bytes, start, random);
        if random.u32(..8) == 0 {
            bytes.truncate(random.usize(..image.len()));
        }
        std::fs::write(&path, &bytes).expect("write");
        let _ = Checkpoint::inspect(&path).map(drop);
        let whole = Checkpoint::verify(&path).is_ok();
        assert!(!whole || bytes == image, "a damaged checkpoint passed");
        let _ = options.remove("restored");
        let used = options
            .restore(&path, "restored")
            .and_then(|mut region| exercise(&mut region, &tables, random));
        used.is_ok()
    });
}

/// Whatever a record's bytes are, one that `open_checked` let pass can be read.
#[derive(rkyv::Archive, rkyv::Serialize, shmstate::Schema)]
struct Rich {
    name: String,
    items: Vec<(u16, Option<Box<str>>)>,
    mood: Mood,
    flag: bool,
}

#[derive(rkyv::Archive, rkyv::Serialize, shmstate::Schema)]
enum Mood {
    Calm,
    Says(String),
}

fn rich(i: u64) -> Rich {
    Rich {
        name: word(i),
        items: (0..i % 5)
            .map(|n| (n as u16, (n % 2 == 0).then(|| word(n).into())))
            .collect(),
        mood: if i.is_multiple_of(3) {
            Mood::Calm
        } else {
            Mood::Says(word(i + 1))
        },
        flag: i.is_multiple_of(2),
    }
}

/// Reads all that there is of a record.
fn weigh(rich: &ArchivedRich) -> usize {
    let items = rich.items.iter().map(|item| {
        let text = item.1.as_ref().map_or(0, |text| text.chars().count());
        text + usize::from(item.0.to_native() > 3)
    });
    let mood = match &rich.mood {
        ArchivedMood::Calm => 0,
        ArchivedMood::Says(text) => text.chars().count(),
    };
    rich.name.chars().count() + items.sum::<usize>() + mood + usize::from(rich.flag)
}

#[test]
fn records() {
    let directory = tempfile::tempdir_in("/dev/shm").expect("directory");
    let options = options(directory.path()).capacity(8 << 20);
    {
        let mut region = options.create(NAME).expect("create");
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        let filled = region.write(&pass, |tx| -> Result<()> {
            let map: Map<String, Rich> = Map::create(tx, "map")?;
            let ordered: OrderedMap<u64, Rich> = OrderedMap::create(tx, "ordered")?;
            let (slab, queue) = (Slab::<Rich>::create(tx, "slab")?, Queue::<Rich>::create(tx, "queue")?);
            let timers = Timers::<Rich>::create(tx, "timers", Gap::All)?;
            Cell::create(tx, "cell", &rich(4))?;
            for i in 0..EACH / 3 {
                map.insert(tx, &word(i), &rich(i))?;
                ordered.insert(tx, &i, &rich(i))?;
                slab.insert(tx, &rich(i))?;
                queue.push_back(tx, &rich(i))?;
                timers.insert(tx, i, &rich(i))?;
            }
            Ok(())
        });
        filled.expect("filled");
    }
    let path = directory.path().join(NAME);
    let image = std::fs::read(&path).expect("read");
    let end = image.iter().rposition(|byte| *byte != 0).unwrap_or(0);
    // Where words are that anything can be in: those of records, most of all.
    let words: Vec<usize> = (2 * (64 << 10)..end)
        .step_by(8)
        .filter(|at| image[*at..*at + 8] != [0; 8])
        .collect();
    some_got_in(run("records", |random| {
        let mut bytes = image.clone();
        for _ in 0..random.u32(1..=3) {
            let at = words[random.usize(..words.len())];
            mutate(&mut bytes, at..at + 8, random);
        }
        std::fs::write(&path, &bytes).expect("write");
        let used = (|| -> Result<usize> {
            let mut unverified = options.open_checked(NAME)?;
            let map: Map<String, Rich> = unverified.table("map")?;
            let ordered: OrderedMap<u64, Rich> = unverified.table("ordered")?;
            let slab: Slab<Rich> = unverified.table("slab")?;
            let queue: Queue<Rich> = unverified.table("queue")?;
            let timers: Timers<Rich> = unverified.table("timers")?;
            let cell: Cell<Rich> = unverified.table("cell")?;
            let region = unverified.finish()?;
            let gate = region.gate().clone();
            let pass = gate.enter()?;
            let reader = region.read(&pass)?;
            let mut sum = weigh(cell.get(&reader)?);
            for item in map.iter(&reader)? {
                let (key, value) = item?;
                sum += key.len() + weigh(value);
            }
            for item in ordered.iter(&reader)? {
                sum += weigh(item?.1);
            }
            for item in slab.iter(&reader)? {
                sum += weigh(item?.1);
            }
            for item in queue.iter(&reader)? {
                sum += weigh(item?.1);
            }
            for item in timers.iter(&reader)? {
                sum += weigh(item?.2);
            }
            Ok(sum)
        })();
        used.is_ok_and(|sum| sum > 0)
    }));
}
