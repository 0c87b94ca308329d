//! What is printed equals what the program says of the same values.

use super::types::{Everything, Mood, text};
use super::{World, done, json, random};
use serde_json::{Value, json as value};
use shmstate::{Cell, Gap, Map, OrderedMap, Queue, Slab, Streams, Timers};
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

/// Records of a table.
const RECORDS: usize = 300;

fn records(dump: &Value) -> &Vec<Value> {
    dump["tables"][0]["records"].as_array().expect("records")
}

/// The value as the program itself prints it: as text, for in a `Value` an `f32` has other digits.
fn said(value: &Everything) -> Value {
    let text = serde_json::to_string(value).expect("JSON");
    serde_json::from_str(&text).expect("JSON")
}

/// By key, id or serial number.
fn by_name(dump: &Value, name: &str) -> BTreeMap<String, Value> {
    let found: BTreeMap<String, Value> = records(dump)
        .iter()
        .map(|record| (record[name].to_string(), record["value"].clone()))
        .collect();
    assert_eq!(found.len(), records(dump).len(), "no name twice");
    found
}

#[test]
fn every_type_in_every_kind_of_table() {
    let mut rng = random();
    let mut world = World::new();
    let values: Vec<Everything> = (0..RECORDS).map(|_| Everything::random(&mut rng)).collect();
    let said: Vec<Value> = values.iter().map(said).collect();
    let period = NonZeroU64::new(77).expect("not 0");
    let (ids, timers, serials) = world.write(|tx| {
        let map: Map<u64, Everything> = Map::create(tx, "map")?;
        let ordered: OrderedMap<i32, Everything> = OrderedMap::create(tx, "ordered")?;
        let slab: Slab<Everything> = Slab::create(tx, "slab")?;
        let queue: Queue<Everything> = Queue::create(tx, "queue")?;
        let timers: Timers<Everything> = Timers::create(tx, "timers", Gap::All)?;
        Cell::create(tx, "cell", &values[0])?;
        let (mut ids, mut armed, mut serials) = (Vec::new(), Vec::new(), Vec::new());
        for (i, one) in values.iter().enumerate() {
            map.insert(tx, &(i as u64), one)?;
            ordered.insert(tx, &(i as i32 * 7 - 1000), one)?;
            ids.push(slab.insert(tx, one)?.token());
            serials.push(queue.push_back(tx, one)?);
            armed.push(
                match i % 2 {
                    0 => timers.insert(tx, 1000 + i as u64, one)?,
                    _ => timers.insert_every(tx, 1000 + i as u64, period, one)?,
                }
                .token(),
            );
        }
        // Gaps, and places that were used twice.
        for i in (0..RECORDS).step_by(5) {
            map.remove(tx, &(i as u64))?;
            slab.remove(tx, shmstate::SlabId::from_token(ids[i]))?;
        }
        queue.pop_front(tx, |_, _| ())?;
        Ok((ids, armed, serials))
    });
    let region = world.name.clone();
    let checkpoint = world.checkpoint("all.ckpt");
    for source in [region.as_str(), checkpoint.as_str()] {
        let dump = |table: &str| json(&["dump", source, table, "--json"]);

        let map = by_name(&dump("map"), "key");
        let slab = by_name(&dump("slab"), "id");
        for (i, said) in said.iter().enumerate() {
            let gone = i % 5 == 0;
            let expected = (!gone).then_some(said);
            assert_eq!(map.get(&i.to_string()), expected, "record {i} of the map");
            assert_eq!(slab.get(&ids[i].to_string()), expected, "record {i} of the slab");
        }
        assert_eq!(map.len(), RECORDS - RECORDS.div_ceil(5));
        assert_eq!(slab.len(), map.len());

        let ordered: Vec<(i64, Value)> = records(&dump("ordered"))
            .iter()
            .map(|record| (record["key"].as_i64().expect("key"), record["value"].clone()))
            .collect();
        let expected: Vec<(i64, Value)> = said
            .iter()
            .enumerate()
            .map(|(i, v)| (i as i64 * 7 - 1000, v.clone()))
            .collect();
        assert_eq!(ordered, expected);

        let queue: Vec<(u64, Value)> = records(&dump("queue"))
            .iter()
            .map(|record| (record["serial"].as_u64().expect("serial"), record["value"].clone()))
            .collect();
        let expected: Vec<(u64, Value)> = serials.iter().copied().zip(said.clone()).skip(1).collect();
        assert_eq!(queue, expected);

        let armed = dump("timers");
        assert_eq!(records(&armed).len(), RECORDS);
        let values = by_name(&armed, "id");
        for (i, said) in said.iter().enumerate() {
            assert_eq!(values[&timers[i].to_string()], *said);
        }
        for record in records(&armed) {
            let i = record["deadline_ns"].as_u64().expect("deadline") - 1000;
            assert_eq!(record["id"], timers[i as usize]);
            assert_eq!(record["period_ns"], if i % 2 == 0 { 0 } else { 77 });
        }
        assert_eq!(*records(&dump("cell")), [value!({"value": said[0]})]);

        // The other forms say the same.
        let lines = done(&["dump", source, "--ndjson"]);
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for line in lines.lines() {
            let line: Value = serde_json::from_str(line).expect("a line is JSON");
            *counts
                .entry(line["table"].as_str().expect("table").to_owned())
                .or_default() += 1;
            if line["table"] == "map" {
                assert_eq!(line["value"], map[&line["key"].to_string()]);
            }
        }
        assert_eq!(counts["timers"], RECORDS);
        assert_eq!(counts["cell"], 1);
        assert_eq!(counts["map"], map.len());
        assert_eq!(
            json(&["dump", source, "--json"])["tables"].as_array().map(Vec::len),
            Some(6)
        );
        let text = done(&["dump", source, "map"]);
        assert_eq!(text.lines().count(), map.len());
        for line in text.lines() {
            let (key, shown) = line.split_once("  ").expect("key and value");
            assert_eq!(serde_json::from_str::<Value>(shown).expect("JSON"), map[key]);
        }

        // One record by its name.
        let one = |table: &str, key: &str| json(&["dump", source, table, "--key", key, "--json"]);
        assert_eq!(records(&one("map", "7")), &[value!({"key": 7, "value": said[7]})]);
        assert_eq!(records(&one("ordered", "-993"))[0]["value"], said[1]);
        assert_eq!(records(&one("slab", &ids[3].to_string()))[0]["value"], said[3]);
        assert_eq!(records(&one("queue", &serials[9].to_string()))[0]["value"], said[9]);
        assert_eq!(records(&one("timers", &timers[8].to_string()))[0]["deadline_ns"], 1008);
    }
}

#[test]
fn every_kind_of_key() {
    let mut rng = random();
    let mut world = World::new();
    let texts: Vec<String> = (0..40).map(|i| format!("{}{i}", text(&mut rng))).collect();
    world.write(|tx| {
        macro_rules! tables {
            ($($name:literal $key:ty: $keys:expr;)*) => {$({
                let map: Map<$key, u32> = Map::create(tx, concat!("map-", $name))?;
                let ordered: OrderedMap<$key, u32> = OrderedMap::create(tx, concat!("ord-", $name))?;
                for (i, key) in $keys.into_iter().enumerate() {
                    let key: $key = key;
                    map.insert(tx, shmstate::Key::borrowed(&key), &(i as u32))?;
                    ordered.insert(tx, shmstate::Key::borrowed(&key), &(i as u32))?;
                }
            })*};
        }
        tables! {
            "u8" u8: [3, 255];
            "i64" i64: [-5, 0, i64::MAX];
            "u128" u128: [5, 77];
            "i128" i128: [-5, 77];
            "bool" bool: [true, false];
            "array" [u8; 4]: [[1, 2, 3, 4], [0, 0, 0, 255]];
            "text" String: texts.clone();
            "bytes" Vec<u8>: [vec![], vec![0, 1, 255]];
            "pair" (u16, i32): [(1, -1), (2, 7)];
            "mixed" (String, u8, Vec<u8>): [("a\0\"b".to_owned(), 9, vec![0, 0])];
            "deep" ((u8, u8), i16): [((1, 2), -3)];
        }
        Ok(())
    });
    let expected = |table: &str| -> Vec<Value> {
        match table {
            "u8" => vec![3.into(), 255.into()],
            "i64" => vec![(-5).into(), 0.into(), i64::MAX.into()],
            "u128" => vec![5.into(), 77.into()],
            "i128" => vec![(-5).into(), 77.into()],
            "bool" => vec![true.into(), false.into()],
            "array" => vec![value!([1, 2, 3, 4]), value!([0, 0, 0, 255])],
            "text" => texts.iter().map(|text| text.as_str().into()).collect(),
            "bytes" => vec![value!([]), value!([0, 1, 255])],
            "pair" => vec![value!([1, -1]), value!([2, 7])],
            "mixed" => vec![value!(["a\0\"b", 9, [0, 0]])],
            "deep" => vec![value!([[1, 2], -3])],
            other => panic!("{other}"),
        }
    };
    let dump = json(&["dump", &world.name, "--json"]);
    let tables = dump["tables"].as_array().expect("tables");
    assert_eq!(tables.len(), 22);
    for table in tables {
        let name = table["table"].as_str().expect("name");
        let keys = expected(&name[4..]);
        let mut found: Vec<(u64, &Value)> = table["records"]
            .as_array()
            .expect("records")
            .iter()
            .map(|record| (record["value"].as_u64().expect("number"), &record["key"]))
            .collect();
        found.sort_by_key(|(i, _)| *i);
        assert_eq!(
            found.iter().map(|(_, key)| *key).collect::<Vec<_>>(),
            keys.iter().collect::<Vec<_>>(),
            "{name}"
        );
        // What is printed can be typed.
        for (i, key) in keys.iter().enumerate() {
            let typed = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
            // A zero cannot be an argument's byte.
            if typed.contains('\0') {
                continue;
            }
            let one = json(&["dump", &world.name, name, &format!("--key={typed}"), "--json"]);
            assert_eq!(records(&one).len(), 1, "{name} {typed}");
            assert_eq!(records(&one)[0]["value"], i, "{name} {typed}");
        }
    }
    let one = json(&["dump", &world.name, "map-bytes", "--key", "0x0001ff", "--json"]);
    assert_eq!(records(&one)[0]["value"], 1);
}

/// Whether a condition admits a value, as the program itself would say it.
type Admits = Box<dyn Fn(&Everything) -> bool>;

#[test]
fn conditions_and_limits() {
    let mut rng = random();
    let mut world = World::new();
    let values: Vec<Everything> = (0..RECORDS).map(|_| Everything::random(&mut rng)).collect();
    world.write(|tx| {
        let map: Map<u64, Everything> = Map::create(tx, "map")?;
        for (i, one) in values.iter().enumerate() {
            map.insert(tx, &(i as u64), one)?;
        }
        Ok(())
    });
    let middle = values[0].middle;
    let cases: Vec<(String, Admits)> = vec![
        ("truth=true".into(), Box::new(|v| v.truth)),
        ("truth!=true".into(), Box::new(|v| !v.truth)),
        (
            format!("middle.0>{}", middle.0),
            Box::new(move |v| v.middle.0 > middle.0),
        ),
        (
            format!("middle.1<={}", middle.1),
            Box::new(move |v| v.middle.1 <= middle.1),
        ),
        (
            format!("middle.3={}", middle.3),
            Box::new(move |v| v.middle.3 == middle.3),
        ),
        (format!("metres >= {}", values[1].metres.0), {
            let metres = values[1].metres.0;
            Box::new(move |v| v.metres.0 >= metres)
        }),
        ("option=null".into(), Box::new(|v| v.option.is_none())),
        ("option!=null".into(), Box::new(|v| v.option.is_some())),
        (
            "option<1000000000".into(),
            Box::new(|v| v.option.is_some_and(|o| o < 1_000_000_000)),
        ),
        ("mood=Angry".into(), Box::new(|v| matches!(v.mood, Mood::Angry(_)))),
        ("mood.Away.since>9000000000000000000".into(), {
            Box::new(|v| matches!(v.mood, Mood::Away { since, .. } if since > 9_000_000_000_000_000_000))
        }),
        (
            "mood.Angry<2000000000".into(),
            Box::new(|v| matches!(v.mood, Mood::Angry(n) if n < 2_000_000_000)),
        ),
    ];
    for (condition, admits) in &cases {
        let dump = json(&["dump", &world.name, "map", "--where", condition, "--json"]);
        let found = by_name(&dump, "key");
        let expected: BTreeMap<String, Value> = values
            .iter()
            .enumerate()
            .filter(|(_, v)| admits(v))
            .map(|(i, v)| (i.to_string(), said(v)))
            .collect();
        assert_eq!(found, expected, "{condition}");
    }
    let both = json(&[
        "dump",
        &world.name,
        "map",
        "--where",
        "truth=true",
        "--where",
        "mood=Calm",
        "--json",
    ]);
    let expected = values.iter().filter(|v| v.truth && v.mood == Mood::Calm).count();
    assert_eq!(records(&both).len(), expected);
    for limit in [0, 1, 17, 10_000] {
        let some = json(&["dump", &world.name, "map", "--limit", &limit.to_string(), "--json"]);
        assert_eq!(records(&some).len(), limit.min(RECORDS));
    }
}

#[test]
fn streams_are_shown() {
    let mut world = World::new();
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    ours.set_nonblocking(true).expect("set");
    let id = {
        let pass = world.gate.enter().expect("pass");
        let mut tx = world.region.begin(&pass).expect("begin");
        let streams = Streams::create(&mut tx, "players", shmstate::Rings::default()).expect("table");
        let id = streams.adopt(&mut tx, ours.as_fd(), 42).expect("adopted");
        streams.produce(&mut tx, id, b"hello").expect("room");
        tx.commit().expect("commit");
        id
    };
    drop(theirs);
    let checkpoint = world.checkpoint("streams.ckpt");
    for source in [world.name.as_str(), checkpoint.as_str()] {
        let dump = json(&["dump", source, "players", "--json"]);
        let [stream] = records(&dump).as_slice() else {
            panic!("one stream: {dump}")
        };
        assert_eq!(stream["id"], id.token());
        let value = &stream["value"];
        assert_eq!((&value["socket"], &value["user"]), (&"unix".into(), &42.into()));
        assert_eq!((&value["produced"], &value["sent"]), (&5.into(), &0.into()));
        assert_eq!(value["finished"], false);
        let one = json(&["dump", source, "players", "--key", &id.token().to_string(), "--json"]);
        assert_eq!(records(&one).len(), 1);
        let none = json(&["dump", source, "players", "--where", "user=43", "--json"]);
        assert_eq!(records(&none).len(), 0);
        let csv = done(&["dump", source, "players", "--csv"]);
        assert!(
            csv.starts_with("id,socket,user,received,consumed,produced,sent,"),
            "{csv}"
        );
        assert!(csv.contains(",unix,42,0,0,5,0,"), "{csv}");
    }
}
