//! The tables that the library keeps beside those that migrate are shown to who asks for them, and to nobody else.

use rkyv::{Archive, Deserialize, Serialize};
use shmstate::{Map, Schema, Steps};

use crate::{World, done, json, run};

#[derive(Archive, Serialize, Deserialize, Schema)]
#[schema(name = "Player")]
struct One {
    score: u32,
}

#[derive(Archive, Serialize, Deserialize, Schema)]
#[schema(name = "Player", version = 2, from = One, back)]
struct Two {
    score: u64,
}

/// Three players, of whom the second version has changed one and keeps a way back.
fn world() -> World {
    let mut world = World::new();
    world.write(|tx| {
        let players: Map<u64, One> = Map::create(tx, "players")?;
        (0..3).try_for_each(|id| players.insert(tx, &id, &One { score: 7 }).map(|_| ()))
    });
    let steps = Steps::new().from::<One>().back::<One>();
    let players: Map<u64, Two> = Map::open_migrating(&world.region, "players", steps).expect("version 2");
    world.write(|tx| players.get_mut(tx, &1)?.expect("there").set(|p| &p.score, 8.into()));
    world
}

/// The names in a list of tables.
fn names(tables: &serde_json::Value, key: &str) -> Vec<String> {
    let tables = tables["tables"].as_array().expect("a list");
    let names = tables
        .iter()
        .map(|table| table[key].as_str().expect("a name").to_owned());
    names.collect()
}

const ALL: [&str; 2] = ["players", ".1.players"];

#[test]
fn dump_shows_them_when_asked() {
    let world = world();
    let name = world.name.as_str();
    assert_eq!(names(&json(&["dump", name, "--json"]), "table"), ["players"]);
    assert_eq!(names(&json(&["dump", name, "--json", "--all"]), "table"), ALL);
    let shown = done(&["dump", name]);
    assert!(
        shown.starts_with("players (map)\n") && shown.lines().count() == 4,
        "{shown}"
    );
    assert_eq!(done(&["dump", name, ".1.players"]), "1  {\"score\":8}\n");
    let lost = run(&["dump", name, "monsters"]);
    assert_eq!(lost.code, 4);
    assert!(lost.err.ends_with("the region has: players\n"), "{}", lost.err);
    assert_eq!(run(&["dump", name, "players", "--all"]).code, 2);
}

#[test]
fn schema_and_inspect_show_them_when_asked() {
    let world = world();
    let name = world.name.as_str();
    assert_eq!(names(&json(&["schema", name, "--json"]), "table"), ["players"]);
    assert_eq!(names(&json(&["schema", name, "--json", "--all"]), "table"), ALL);
    assert!(done(&["schema", name, ".1.players"]).contains("score: u32"));
    let seen = json(&["inspect", name, "--json"]);
    assert_eq!(names(&seen, "name"), ["players"]);
    assert_eq!(seen["tables"][0]["older_records"], 2);
    assert_eq!(names(&json(&["inspect", name, "--json", "--all"]), "name"), ALL);
    assert!(!done(&["inspect", name]).contains(".1.players"));
    assert!(done(&["inspect", name, "--all"]).contains(".1.players"));
}

#[test]
fn diff_compares_them_when_asked() {
    let (a, b) = (world(), World::new());
    let (a, b) = (a.name.as_str(), b.name.as_str());
    let of = |arguments: &[&str]| {
        let ran = run(&[&["diff", a, b, "--json"], arguments].concat());
        assert_eq!((ran.code, ran.err.as_str()), (1, ""), "{}", ran.out);
        let mut names = names(&serde_json::from_str(&ran.out).expect("JSON"), "table");
        names.sort_unstable();
        names
    };
    assert_eq!(of(&[]), ["players"]);
    assert_eq!(of(&["--all"]), [".1.players", "players"]);
    assert_eq!(of(&["--table", ".1.players"]), [".1.players"]);
    let lost = run(&["diff", a, b, "--table", "monsters"]);
    assert!(lost.err.ends_with("there are: players\n"), "{}", lost.err);
}
