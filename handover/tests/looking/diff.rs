//! `handover diff`: two moments of one region, two shapes of one table, and everything that can be other.

use super::{World, done, json, run};
use rkyv::{Archive, Deserialize, Serialize};
use serde_json::json as value;
use shmstate::{Cell, Map, OrderedMap, Queue, Region, Schema, Slab};

#[derive(Archive, Serialize, Deserialize, Schema, Clone)]
struct Player {
    name: String,
    score: u32,
    home: Option<(i16, i16)>,
    bag: Vec<u8>,
}

fn player(name: &str, score: u32) -> Player {
    Player {
        name: name.into(),
        score,
        home: None,
        bag: vec![1, 2],
    }
}

#[test]
fn two_moments_of_a_region() {
    let mut world = World::new();
    let (players, ranks, log, npcs, day) = world.write(|tx| {
        let players: Map<u64, Player> = Map::create(tx, "players")?;
        let ranks: OrderedMap<String, u32> = OrderedMap::create(tx, "ranks")?;
        let log: Queue<String> = Queue::create(tx, "log")?;
        let npcs: Slab<Player> = Slab::create(tx, "npcs")?;
        let day: Cell<u32> = Cell::create(tx, "day", &7)?;
        for i in 0..200 {
            players.insert(tx, &i, &player("p", i as u32))?;
            ranks.insert(tx, &format!("r{i:03}"), &1)?;
            npcs.insert(tx, &player("n", 0))?;
        }
        log.push_back(tx, &"one".to_owned())?;
        Ok((players, ranks, log, npcs, day))
    });
    let before = world.checkpoint("before.ckpt");
    assert!(done(&["diff", &before, &world.name]).starts_with("No difference in 5 tables"));
    world.write(|tx| {
        players.insert(
            tx,
            &7,
            &Player {
                home: Some((3, -4)),
                bag: vec![1, 9],
                ..player("p", 8)
            },
        )?;
        players.remove(tx, &9)?;
        players.insert(tx, &1000, &player("new", 0))?;
        ranks.insert(tx, "r005", &2)?;
        log.pop_front(tx, |_, _| ())?;
        log.push_back(tx, &"two".to_owned())?;
        day.set(tx, &8)
    });
    let _ = npcs;
    let ran = run(&["diff", &before, &world.name]);
    assert_eq!((ran.code, ran.err.as_str()), (1, ""));
    // The order in which a map is met depends on the region's seed.
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    assert_eq!(
        sorted(&ran.out),
        sorted(
            "\
~ table day: 0 added, 0 removed, 1 changed of 1 record
  ~ the value  7 -> 8
~ table log: 1 added, 1 removed, 0 changed of 1 record
  - 1
  + 2
~ table players: 1 added, 1 removed, 1 changed of 200 records
  ~ 7  score: 7 -> 8, home: nothing -> [3, -4], bag[1]: 2 -> 9
  - 9
  + 1000
~ table ranks: 0 added, 0 removed, 1 changed of 200 records
  ~ \"r005\"  1 -> 2
1 table without a difference
"
        )
    );
    let one = run(&["diff", &before, &world.name, "--table", "ranks", "--json"]);
    assert_eq!(one.code, 1);
    let diff: serde_json::Value = serde_json::from_str(&one.out).expect("JSON");
    assert_eq!(diff["same"], false);
    assert_eq!(
        diff["tables"],
        value!([{
            "table": "ranks", "status": "changed", "schema": [], "compared": 200, "added": 0, "removed": 0, "changed": 1, "damaged": 0,
            "records": [{"what": "changed", "name": "r005", "fields": [{"path": "", "old": "1", "new": "2"}]}],
        }])
    );
    let none = json(&["diff", &before, &before, "--json"]);
    assert_eq!(none["same"], true);
    let limited = run(&["diff", &before, &world.name, "--limit", "1"]);
    assert!(
        limited.out.contains("  … and 2 more; --limit shows more\n"),
        "{}",
        limited.out
    );
}

#[test]
fn tables_of_other_shapes() {
    #[derive(Archive, Serialize, Deserialize, Schema)]
    #[schema(version = 2, name = "Player")]
    struct PlayerV2 {
        name: String,
        score: u64,
        team: u8,
        home: Option<(i16, i16)>,
        bag: Vec<u8>,
    }
    let (mut old, mut new) = (World::new(), World::new());
    old.write(|tx| {
        let players: Map<u64, Player> = Map::create(tx, "players")?;
        players.insert(tx, &1, &player("ada", 5))?;
        let _: Map<u64, u8> = Map::create(tx, "gone")?;
        let _: Map<u64, u8> = Map::create(tx, "keys")?;
        let _: Map<u64, u8> = Map::create(tx, "kind")?;
        Ok(())
    });
    new.write(|tx| {
        let players: Map<u64, PlayerV2> = Map::create(tx, "players")?;
        let ada = PlayerV2 {
            name: "ada".into(),
            score: 5,
            team: 3,
            home: None,
            bag: vec![1, 2],
        };
        players.insert(tx, &1, &ada)?;
        let _: Map<u64, u8> = Map::create(tx, "came")?;
        let _: Map<u32, u8> = Map::create(tx, "keys")?;
        let _: OrderedMap<u64, u8> = OrderedMap::create(tx, "kind")?;
        Ok(())
    });
    let ran = run(&["diff", &old.name, &new.name]);
    assert_eq!((ran.code, ran.err.as_str()), (1, ""));
    let expected = format!(
        "\
+ table came: only in {}
- table gone: only in {}
~ table keys: its records were not compared
    keys: u64 -> u32
~ table kind: its records were not compared
    kind of table: map -> ordered
~ table players: 0 added, 0 removed, 1 changed of 1 record
    declared version: 1 -> 2
    shape: team: nothing -> u8 (field added)
    shape: score: u32 -> u64 (wider)
  ~ 1  team: - -> 3
",
        new.name, old.name
    );
    assert_eq!(ran.out, expected);
}

#[test]
fn a_checkpoint_and_what_was_restored_of_it() {
    let mut world = World::new();
    world.write(|tx| {
        let players: Map<u64, Player> = Map::create(tx, "players")?;
        (0..500).try_for_each(|i| players.insert(tx, &i, &player("p", i as u32)).map(|_| ()))
    });
    let path = world.checkpoint("world.ckpt");
    let name = format!("{}-restored", world.name);
    let restored = Region::restore(&path, &name).expect("restored");
    let same = run(&["diff", &path, &name]);
    drop(restored);
    Region::remove(&name).expect("removed");
    assert_eq!(
        (same.code, same.out.as_str()),
        (0, "No difference in 1 table, 500 records.\n"),
        "{}",
        same.err
    );
}
