//! Methods that users of std's collections know, where no random play comes by: what they give, how many, and what they do to records.

use shmstate::{Entry, Error, Gate, Map, Observer, OrderedMap, Queue, Region, Slab, TableOptions, Tx, verify};
use std::collections::{BTreeMap, HashMap};
use std::iter::FusedIterator;

struct World {
    region: Region,
    gate: Gate,
}

impl World {
    fn new(capacity: u64) -> Self {
        let region = Region::in_memory(capacity).expect("region");
        let gate = region.gate().clone();
        Self { region, gate }
    }

    fn tx<R>(&mut self, work: impl FnOnce(&mut Tx<'_>) -> R) -> R {
        let pass = self.gate.enter().expect("pass");
        let mut tx = self.region.begin(&pass).expect("begin");
        let result = work(&mut tx);
        tx.commit().expect("commit");
        result
    }
}

/// Name of a region of its own, which is removed, also if the test fails.
struct Named(String);

impl Named {
    fn new(what: &str) -> Self {
        Self(format!("methods-{what}-{}", std::process::id()))
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = Region::remove(&self.0);
    }
}

fn filled(world: &mut World, count: u64) -> Map<u64, u64> {
    world.tx(|tx| {
        let map = Map::create(tx, "map").expect("table");
        for key in 0..count {
            map.insert(tx, &key, &(key * 10)).expect("inserted");
        }
        map
    })
}

/// In the order of the keys, each as often as it is asked for; those without a record are passed over.
#[test]
fn many_are_updated_as_one_after_the_other_would_be() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut world = World::new(16 << 20);
    let map = filled(&mut world, 5000);
    let mut model: HashMap<u64, u64> = (0..5000).map(|key| (key, key * 10)).collect();
    // Fewer than are fetched ahead at a time, as many, and more.
    for count in [0, 1, 2, 15, 16, 17, 31, 32, 33, 64, 1000] {
        for _ in 0..5 {
            let keys: Vec<u64> = (0..count).map(|_| random.u64(..6000)).collect();
            let mut met = Vec::new();
            let found = world.tx(|tx| {
                map.update_many(tx, &keys, |place, record| {
                    let now = record.to_native();
                    met.push((place, now));
                    record.set(|r| r, (now + place as u64 + 1).into())
                })
            });
            let mut expected = Vec::new();
            for (place, key) in keys.iter().enumerate() {
                if let Some(value) = model.get_mut(key) {
                    expected.push((place, *value));
                    *value += place as u64 + 1;
                }
            }
            assert_eq!(found.expect("updated"), expected.len());
            assert_eq!(met, expected);
        }
    }
    let found: HashMap<u64, u64> = world.tx(|tx| {
        let all = map.iter(tx).expect("iter");
        all.map(|item| item.map(|(key, value)| (key, value.to_native())).expect("an item"))
            .collect()
    });
    assert_eq!(found, model);
}

/// The error of one ends it; the transaction may be committed with what was changed before.
#[test]
fn an_update_of_many_ends_with_the_first_error() {
    let mut world = World::new(4 << 20);
    let map = filled(&mut world, 100);
    let keys: Vec<u64> = (0..100).collect();
    let ended = world.tx(|tx| {
        map.update_many(tx, &keys, |place, record| match place {
            50 => Err(Error::ForeignField),
            _ => record.set(|r| r, 1.into()),
        })
    });
    assert!(matches!(ended, Err(Error::ForeignField)), "{ended:?}");
    world.tx(|tx| {
        let is = |key| map.get(tx, &key).expect("get").expect("there").to_native();
        assert_eq!([is(0), is(49), is(50), is(99)], [1, 1, 500, 990]);
    });
}

#[test]
fn keys_and_values_are_exact() {
    fn counted<T>(mut items: impl ExactSizeIterator<Item = shmstate::Result<T>> + FusedIterator) -> Vec<T> {
        let mut all = Vec::new();
        while items.len() > 0 {
            let left = items.len();
            all.push(items.next().expect("as many as it says").expect("an item"));
            assert_eq!(items.len(), left - 1);
        }
        assert!(items.next().is_none() && items.next().is_none());
        all
    }
    let mut world = World::new(4 << 20);
    let map = filled(&mut world, 777);
    world.tx(|tx| {
        let mut keys = counted(map.keys(tx).expect("keys"));
        keys.sort_unstable();
        assert_eq!(keys, (0..777).collect::<Vec<_>>());
        let values = map.values(tx).expect("values").map(|v| v.map(|v| v.to_native()));
        let mut values = counted(values);
        values.sort_unstable();
        assert_eq!(values, (0..777).map(|key| key * 10).collect::<Vec<_>>());
        assert_eq!(counted(map.iter(tx).expect("iter")).len(), 777);
    });
}

#[test]
fn entries_do_what_those_of_std_do() {
    let mut world = World::new(4 << 20);
    let (map, ordered) = world.tx(|tx| {
        let map: Map<String, u64> = Map::create(tx, "map").expect("table");
        let ordered: OrderedMap<String, u64> = OrderedMap::create(tx, "ordered").expect("table");
        (map, ordered)
    });
    let mut model: HashMap<String, u64> = HashMap::new();
    let mut sorted: BTreeMap<String, u64> = BTreeMap::new();
    for word in ["to", "be", "or", "not", "to", "be", "to"] {
        world.tx(|tx| {
            let entry = map.entry(tx, word).expect("entry");
            assert_eq!(entry.key(), word);
            let entry = entry.and_modify(|count| {
                let now = count.to_native();
                count.set(|c| c, (now + 1).into())
            });
            let made = entry.expect("modified").or_insert_with(|| 1).expect("made");
            let is = made.to_native();
            model
                .entry(word.into())
                .and_modify(|count| *count += 1)
                .or_insert_with(|| 1);
            assert_eq!(is, model[word]);
            let entry = ordered.entry(tx, word).expect("entry").and_modify(|count| {
                let now = count.to_native();
                count.set(|c| c, (now + 1).into())
            });
            let made = entry.expect("modified").or_insert_with(|| 1).expect("made");
            let is = made.to_native();
            sorted
                .entry(word.into())
                .and_modify(|count| *count += 1)
                .or_insert_with(|| 1);
            assert_eq!(is, sorted[word]);
        });
    }
    world.tx(|tx| {
        let Entry::Occupied(mut entry) = map.entry(tx, "to").expect("entry") else {
            panic!("there is one");
        };
        assert_eq!((entry.key().as_str(), entry.get().expect("get").to_native()), ("to", 3));
        entry.get_mut().set(|c| c, 40.into()).expect("set");
        entry.insert(&41).expect("replaced");
        entry.into_mut().set(|c| c, 42.into()).expect("set");
        assert_eq!(map.get(tx, "to").expect("get").expect("there").to_native(), 42);
        let Entry::Occupied(entry) = map.entry(tx, "or").expect("entry") else {
            panic!("there is one");
        };
        entry.remove().expect("removed");
        assert!(!map.contains_key(tx, "or").expect("asked"));
        assert!(matches!(map.entry(tx, "or").expect("entry"), Entry::Vacant(_)));
    });
}

/// What is there keeps its options; what is made gets those that are asked for.
#[test]
fn tables_are_made_as_asked_and_found_as_they_are() {
    let named = Named::new("options");
    let name = named.0.as_str();
    let mut region = Region::options().capacity(4 << 20).create(name).expect("region");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let with = TableOptions::default().checksums(true);
    let without = TableOptions::default();
    let text = "a value that is not anywhere else";
    region
        .write(&pass, |tx| {
            for (name, first, second) in [("with", with, without), ("without", without, with)] {
                for options in [first, second] {
                    let map: Map<u64, String> = Map::open_or_create_with(tx, name, options)?;
                    map.insert(tx, &1, &text.to_owned())?;
                    let ordered: OrderedMap<u64, String> =
                        OrderedMap::open_or_create_with(tx, &format!("ordered-{name}"), options)?;
                    ordered.insert(tx, &1, &text.to_owned())?;
                }
            }
            Ok::<_, Error>(())
        })
        .expect("made and found");
    drop(pass);
    drop(region);
    // Only a table with checksums notices a letter that became another.
    let path = format!("/dev/shm/{name}");
    let mut bytes = std::fs::read(&path).expect("read");
    let mut altered = 0;
    for at in 0..bytes.len() - text.len() {
        if &bytes[at..at + text.len()] == text.as_bytes() {
            bytes[at] = b'A';
            altered += 1;
        }
    }
    assert!(altered >= 4, "{altered}");
    std::fs::write(&path, &bytes).expect("written");
    let observer = Observer::open(name).expect("observer");
    let tables = observer.inspect().expect("inspect").tables;
    assert_eq!(tables.len(), 4);
    let mut region = Region::options().open(name).expect("open");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    region.write(&pass, |_| Ok::<_, Error>(())).expect("a transaction");
    let verdict = verify(&region.read(&pass).expect("read")).expect("verify");
    drop(pass);
    drop(region);
    assert_eq!(verdict.faults.len(), 2, "{:?}", verdict.faults);
}

/// What the heap says of itself adds up, and by table.
#[test]
fn the_heap_says_who_has_what() {
    let named = Named::new("heap");
    let name = named.0.as_str();
    let mut region = Region::options().capacity(16 << 20).create(name).expect("region");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    region
        .write(&pass, |tx| {
            let map: Map<u64, [u64; 10]> = Map::create(tx, "map")?;
            let slab: Slab<u64> = Slab::create(tx, "slab")?;
            let queue: Queue<Vec<u8>> = Queue::create(tx, "queue")?;
            for key in 0..1000 {
                map.insert(tx, &key, &[key; 10])?;
            }
            for value in 0..500 {
                slab.insert(tx, &value)?;
            }
            queue.push_back(tx, &vec![0; 200_000])?;
            Ok::<_, Error>(())
        })
        .expect("filled");
    let verdict = verify(&region.read(&pass).expect("read")).expect("verify");
    assert!(verdict.is_sound(), "{verdict:?}");
    let heap = verdict.heap;
    let observer = Observer::open(name).expect("observer");
    let inspection = observer.inspect().expect("inspect");
    let of = |name: &str| {
        let table = inspection
            .tables
            .iter()
            .find(|table| table.name == name)
            .expect("table");
        (heap.owned[table.row], table.archived_bytes)
    };
    let ((map, map_archived), (slab, slab_archived), (queue, queue_archived)) = (of("map"), of("slab"), of("queue"));
    assert_eq!((map_archived, slab_archived), (80_000, 4000));
    // A record has a header, a key, and what its class rounds up.
    assert!((96_000..110_000).contains(&map), "{map}");
    assert!((8000..=16_000).contains(&slab), "{slab}");
    assert!(
        queue_archived >= 200_000 && (queue_archived..queue_archived + (64 << 10)).contains(&queue),
        "{queue}"
    );
    let nobody = *heap.owned.last().expect("what belongs to no table");
    assert!(nobody > 0);
    assert_eq!(heap.owned.iter().sum::<u64>(), heap.used);
    let (mut live, mut slots) = (0, 0);
    for class in &heap.classes {
        live += class.live;
        slots += class.live * class.size;
        assert!(
            class.chunks * (64 << 10) >= (class.live + class.free) * class.size,
            "{class:?}"
        );
        assert!(class.chunks > 0);
    }
    assert!(heap.classes.windows(2).all(|pair| pair[0].size < pair[1].size));
    // All blocks but the long one of the queue are slots.
    assert!(
        live < heap.blocks && heap.blocks - live <= 4,
        "{live} of {}",
        heap.blocks
    );
    assert!(
        slots + queue <= heap.used && heap.used + heap.free <= heap.taken + (1 << 20),
        "{heap:?}"
    );
    let found = inspection.taken;
    assert!(heap.taken > 0 && heap.taken <= found, "{} of {found}", heap.taken);
    drop(pass);
    drop(region);
}

/// Records that cannot be: the transaction goes on without them.
#[test]
fn values_that_cannot_be_kept_are_refused() {
    let mut world = World::new(4 << 20);
    let map: Map<u64, Vec<u8>> = world.tx(|tx| Map::create(tx, "map").expect("table"));
    world.tx(|tx| {
        let refused = map.insert(tx, &1, &vec![0; 64 << 20]);
        assert!(
            matches!(refused, Err(Error::RegionFull { .. } | Error::TooLarge { .. })),
            "{refused:?}"
        );
        map.insert(tx, &2, &vec![1]).expect("the next");
    });
    world.tx(|tx| {
        assert_eq!(map.len(tx).expect("len"), 1);
    });
}

/// Serial numbers find what was pushed under them, for observers too, until it is taken out.
#[test]
fn observers_find_a_queues_records_by_their_serial_numbers() {
    let named = Named::new("queue");
    let name = named.0.as_str();
    let mut region = Region::options().capacity(4 << 20).create(name).expect("region");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let queue: Queue<u64> = region.write(&pass, |tx| Queue::create(tx, "queue")).expect("table");
    region
        .write(&pass, |tx| {
            (1..=300u64).try_for_each(|n| queue.push_back(tx, &(n * 7)).map(|serial| assert_eq!(serial, n)))?;
            (0..100).try_for_each(|_| queue.pop_front(tx, |_, _| ()).map(|_| ()))
        })
        .expect("pushed and taken");
    let observer = Observer::open(name).expect("observer");
    let seen = observer.queue::<u64>("queue").expect("queue");
    for serial in [0, 1, 100, 101, 102, 200, 299, 300, 301, u64::MAX] {
        let found: Result<_, Error> =
            observer.snapshot(|s| Ok(seen.get_serial(s, serial)?.map(|value| value.to_native())));
        let expected = (101..=300).contains(&serial).then(|| serial * 7);
        assert_eq!(found.expect("snapshot"), expected, "{serial}");
    }
    drop(pass);
    drop(region);
}
