//! What is wrong is said with what there is instead; a reader that goes ends the work quietly; the other forms of output.

use super::types::Everything;
use super::{World, command, done, json, random, run};
use rkyv::{Archive, Deserialize, Serialize};
use shmstate::{Cell, Map, OrderedMap, Queue, Schema, Slab};
use std::io::{BufRead, BufReader};
use std::process::Stdio;

#[derive(Archive, Serialize, Deserialize, Schema)]
struct Player {
    name: String,
    at: Point,
    mood: Mood,
    tag: Option<u8>,
}

#[derive(Archive, Serialize, Deserialize, Schema)]
struct Point {
    x: f32,
    y: f32,
}

#[derive(Archive, Serialize, Deserialize, Schema)]
enum Mood {
    Calm,
    Angry(u8),
}

fn players() -> World {
    let mut world = World::new();
    world.write(|tx| {
        let players: Map<u64, Player> = Map::create(tx, "players")?;
        let player = |name: &str, x, mood, tag| Player {
            name: name.into(),
            at: Point { x, y: -0.5 },
            mood,
            tag,
        };
        players.insert(tx, &7, &player("ada, \"b\"", 0.1, Mood::Calm, Some(3)))?;
        players.insert(tx, &8, &player("eve", f32::NAN, Mood::Angry(2), None))?;
        let log: Queue<u8> = Queue::create(tx, "log")?;
        log.push_back(tx, &1)?;
        let _: Cell<u8> = Cell::create(tx, "day", &1)?;
        Ok(())
    });
    world
}

#[test]
fn bad_input_says_what_there_is() {
    let world = players();
    let name = world.name.as_str();
    let cases: &[(&[&str], i32, &str)] = &[
        (
            &["dump", name, "playrs"],
            4,
            "handover: there is no table \"playrs\"\n  the region has: players, log, day\n",
        ),
        (
            &["schema", name, "x"],
            4,
            "handover: there is no table \"x\"\n  the region has: players, log, day\n",
        ),
        (
            &["dump", name, "players", "--key", "seven"],
            2,
            "handover: \"seven\" is no key of this table: its keys are u64\n  tuples are written [1,\"a\"], bytes 0x0102 or [1,2], strings as they are\n",
        ),
        (
            &["dump", name, "players", "--key", "9"],
            1,
            "handover: no record of players has the key 9\n",
        ),
        (
            &["dump", name, "log", "--key", "a"],
            2,
            "handover: \"a\" is no number: the records of log have serial numbers\n",
        ),
        (
            &["dump", name, "day", "--key", "1"],
            2,
            "handover: day has one value and no keys\n  `handover dump REGION day` prints it\n",
        ),
        (
            &["dump", name, "players", "--where", "nam=ada"],
            2,
            "handover: there is no field \"nam\": the record (Player) has name, at, mood, tag\n",
        ),
        (
            &["dump", name, "players", "--where", "at.z=1"],
            2,
            "handover: there is no field \"at.z\": at (Point) has x, y\n",
        ),
        (
            &["dump", name, "players", "--where", "at=1"],
            2,
            "handover: at is a Point: only numbers, bool, char, strings and the names of variants can be compared\n",
        ),
        (
            &["dump", name, "players", "--where", "at.x=far"],
            2,
            "handover: \"far\" is no f32, which is what at.x is\n",
        ),
        (
            &["dump", name, "players", "--where", "mood=Sad"],
            2,
            "handover: \"Sad\" is no Mood, which is what mood is\n  it is one of Calm, Angry\n",
        ),
        (
            &["dump", name, "players", "--where", "name"],
            2,
            "handover: --where \"name\" is no condition\n  give FIELD=VALUE; other signs are != < <= > >=; a field of a field is written a.b\n",
        ),
        (
            &["diff", name, name, "--table", "x"],
            4,
            "handover: neither has a table \"x\"\n  there are: day, log, players\n",
        ),
    ];
    for (arguments, code, said) in cases {
        let ran = run(arguments);
        assert_eq!(
            (ran.code, ran.err.as_str(), ran.out.as_str()),
            (*code, *said, ""),
            "{arguments:?}"
        );
    }
    let absent = run(&["dump", "looking-that-is-not-there"]);
    assert_eq!(absent.code, 4);
    assert!(
        absent.err.contains("`handover inspect` lists what there is"),
        "{}",
        absent.err
    );
    let file = world.path("no.ckpt");
    std::fs::write(&file, "nothing").expect("file");
    assert_eq!(run(&["dump", &file.to_string_lossy()]).code, 4);
    for usage in [
        &["dump"][..],
        &["dump", name, "--csv"],
        &["dump", name, "--key", "7"],
        &["dump", name, "players", "--csv", "--json"],
    ] {
        assert_eq!(run(usage).code, 2, "{usage:?}");
    }
}

#[test]
fn csv_has_a_column_for_each_field() {
    let world = players();
    let csv = done(&["dump", &world.name, "players", "--csv"]);
    let mut lines: Vec<&str> = csv.split_terminator("\r\n").collect();
    lines[1..].sort_unstable();
    assert_eq!(
        lines,
        [
            "key,name,at.x,at.y,mood,tag",
            "7,\"ada, \"\"b\"\"\",0.1,-0.5,Calm,3",
            "8,eve,,-0.5,\"{\"\"Angry\"\":2}\",",
        ]
    );
    assert_eq!(done(&["dump", &world.name, "log", "--csv"]), "serial,value\r\n1,1\r\n");
    assert_eq!(done(&["dump", &world.name, "day", "--csv"]), "value\r\n1\r\n");
}

#[test]
fn a_float_is_compared_as_it_is_stored() {
    let world = players();
    let text = done(&["dump", &world.name, "players", "--where", "at.x=0.1"]);
    assert_eq!(
        text,
        "7  {\"name\":\"ada, \\\"b\\\"\",\"at\":{\"x\":0.1,\"y\":-0.5},\"mood\":\"Calm\",\"tag\":3}\n"
    );
}

#[test]
fn a_dump_by_several_threads_is_the_one_of_a_single_one() {
    let mut rng = random();
    let mut world = World::new();
    world.write(|tx| {
        let map: Map<u64, Everything> = Map::create(tx, "map")?;
        let ordered: OrderedMap<u64, Everything> = OrderedMap::create(tx, "ordered")?;
        let queue: Queue<u64> = Queue::create(tx, "queue")?;
        let slab: Slab<u64> = Slab::create(tx, "slab")?;
        for i in 0..3000 {
            map.insert(tx, &i, &Everything::random(&mut rng))?;
            ordered.insert(tx, &i, &Everything::random(&mut rng))?;
            queue.push_back(tx, &(i * i))?;
            slab.insert(tx, &(i * 7))?;
        }
        Ok(())
    });
    for form in [&["--json"][..], &["--ndjson"], &[]] {
        let all = [&["dump", &world.name], form].concat();
        // Who counts records takes them one after the other.
        let counted = [&all[..], &["--limit", "1000000"]].concat();
        assert!(done(&all) == done(&counted), "{form:?}");
    }
    for table in ["map", "ordered", "queue", "slab"] {
        let all = ["dump", &world.name, table, "--csv"];
        let text = done(&all);
        assert!(text == done(&[&all[..], &["--limit", "1000000"]].concat()), "{table}");
        // A string may have lines of its own.
        assert!(text.lines().count() > 3000, "{table}");
    }
}

#[test]
fn a_reader_that_goes_ends_it_quietly() {
    let mut rng = random();
    let mut world = World::new();
    world.write(|tx| {
        let map: Map<u64, Everything> = Map::create(tx, "map")?;
        (0..3000).try_for_each(|i| map.insert(tx, &i, &Everything::random(&mut rng)).map(|_| ()))
    });
    let mut child = command(&["dump", &world.name, "--ndjson"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut line = String::new();
    let mut reader = BufReader::new(child.stdout.take().expect("stdout"));
    reader.read_line(&mut line).expect("a line");
    assert!(line.starts_with("{\"table\":\"map\",\"key\":"), "{line}");
    drop(reader);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn schemas_are_shown() {
    let world = players();
    let text = done(&["schema", &world.name, "players"]);
    let fingerprint = shmstate::schema::Description::of::<Player>().fingerprint();
    assert!(
        text.starts_with(&format!(
            "players: map, keys u64, version 1, fingerprint {fingerprint}\n"
        )),
        "{text}"
    );
    assert!(
        text.contains("\n  struct Player size 20 align 4\n    0 name: String\n    8 at: Point\n"),
        "{text}"
    );
    let rust = done(&["schema", &world.name, "players", "--rust"]);
    assert_eq!(
        rust,
        "\
// players: Map<u64, Player>
#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize, shmstate::Schema)]
pub struct Player {
    pub name: String,
    pub at: Point,
    pub mood: Mood,
    pub tag: Option<u8>,
}

#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize, shmstate::Schema)]
pub struct Point {
    pub x: f32,
    pub y: f32,
}

#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize, shmstate::Schema)]
pub enum Mood {
    Calm,
    Angry(u8),
}
"
    );
    let all = json(&["schema", &world.name, "--json"]);
    let tables = all["tables"].as_array().expect("tables");
    assert_eq!(tables.len(), 3);
    assert_eq!(tables[0]["fingerprint"], fingerprint.to_string());
    assert_eq!(
        tables[0]["description"],
        shmstate::schema::Description::of::<Player>().text()
    );
    assert_eq!(tables[2]["key"], serde_json::Value::Null);
    assert!(done(&["schema", &world.name, "--rust"]).contains("pub mod t_players {\n"));
}

#[test]
fn inspect_names_the_kind_of_an_ordered_map() {
    let mut world = World::new();
    world.write(|tx| OrderedMap::<u8, u8>::create(tx, "ranks"));
    let view = json(&["inspect", &world.name, "--json"]);
    assert_eq!(view["tables"][0]["kind"], "ordered");
}
