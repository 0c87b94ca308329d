//! What a projection may name to be changed in place, and what is refused: what lies in no record, or in another, and bytes of strings.

use rkyv::rend::{u16_le, u32_le};
use rkyv::{Archive, Serialize};
use shmstate::{Error, Gate, Map, Region, Result, Schema, TableOptions, Tx, verify};
use std::collections::{BTreeMap, HashMap};

/// Strings wherever a type can have them, with bytes beside them.
#[derive(Archive, Serialize, Schema, Clone)]
struct Hero {
    level: u8,
    name: String,
    marks: [u8; 3],
    nick: Option<String>,
    tiles: Vec<u8>,
    pairs: Vec<(u8, String)>,
    motto: Box<str>,
    mood: Mood,
    friends: HashMap<String, u8>,
    titles: BTreeMap<u8, String>,
    alive: bool,
    score: u32,
}

#[derive(Archive, Serialize, Schema, Clone)]
enum Mood {
    Calm,
    Says(String, u8),
}

/// None anywhere.
#[derive(Archive, Serialize, Schema)]
struct Grid {
    rows: Vec<[u8; 4]>,
    width: u8,
}

fn hero(name: &str) -> Hero {
    Hero {
        level: 1,
        name: name.into(),
        marks: [1, 2, 3],
        nick: Some("a nickname that lies elsewhere".into()),
        tiles: (0..200).collect(),
        pairs: vec![(5, "short".into()), (6, "one that is longer than eight bytes".into())],
        motto: "ever onward".into(),
        mood: match name {
            "" => Mood::Calm,
            _ => Mood::Says("hello to all of you".into(), 9),
        },
        friends: HashMap::from([("somebody else".into(), 1), ("x".into(), 2)]),
        titles: BTreeMap::from([(1, "first of her name".into()), (2, "of the north".into())]),
        alive: true,
        score: 100,
    }
}

struct World {
    region: Region,
    gate: Gate,
}

impl World {
    fn new() -> Self {
        let region = Region::in_memory(8 << 20).expect("region");
        let gate = region.gate().clone();
        Self { region, gate }
    }

    fn tx<R>(&mut self, work: impl FnOnce(&mut Tx<'_>) -> R) -> R {
        let pass = self.gate.enter().expect("pass");
        let mut tx = self.region.begin(&pass).expect("begin");
        let result = work(&mut tx);
        tx.commit().expect("commit");
        let reader = self.region.read(&pass).expect("read");
        assert!(verify(&reader).expect("verify").is_sound());
        result
    }
}

fn is_text(refused: Result<()>) {
    assert!(matches!(refused, Err(Error::FieldOfText)), "{refused:?}");
}

#[test]
fn no_byte_of_a_string_is_changed_in_place() {
    for checksums in [false, true] {
        // In its place if it is that short.
        for name in ["short", "a name that does not fit in eight bytes"] {
            let mut world = World::new();
            let heroes = world.tx(|tx| {
                let options = TableOptions::default().checksums(checksums);
                let heroes: Map<u64, Hero> = Map::create_with(tx, "heroes", options).expect("table");
                heroes.insert(tx, &1, &hero(name)).expect("inserted");
                heroes.insert(tx, &2, &hero("")).expect("inserted");
                heroes
            });
            world.tx(|tx| {
                let mut it = heroes.get_mut(tx, &1).expect("get").expect("there");
                for at in [0, name.len() - 1] {
                    is_text(it.set(|h| &h.name.as_bytes()[at], 0xff));
                }
                is_text(it.set(|h| &h.nick.as_ref().expect("some").as_bytes()[3], 0xff));
                is_text(it.set(|h| h.motto.as_bytes().first_chunk::<4>().expect("four"), [0xff; 4]));
                is_text(it.set(|h| &h.pairs[0].1.as_bytes()[0], 0xff));
                is_text(it.set(|h| &h.pairs[1].1.as_bytes()[30], 0xff));
                is_text(it.set(
                    |h| match &h.mood {
                        ArchivedMood::Says(text, _) => &text.as_bytes()[0],
                        ArchivedMood::Calm => &h.level,
                    },
                    0xff,
                ));
                is_text(it.set(|h| &h.friends.keys().next().expect("one").as_bytes()[0], 0xff));
                is_text(it.set(|h| &h.titles.values().next().expect("one").as_bytes()[0], 0xff));
                // What is no string may be changed, beside them too.
                it.set(|h| &h.level, 200).expect("a field");
                it.set(|h| &h.marks, [7, 8, 9]).expect("an array");
                it.set(|h| &h.marks[2], 10).expect("an element");
                it.set(|h| &h.tiles[199], 255).expect("an element");
                it.set(|h| &h.pairs[1].0, 77).expect("a field of an element");
                it.set(
                    |h| match &h.mood {
                        ArchivedMood::Says(_, loud) => loud,
                        ArchivedMood::Calm => &h.level,
                    },
                    99,
                )
                .expect("a field of a variant");
                it.set(|h| h.friends.get("x").expect("x"), 222).expect("a value");
                it.set(|h| &h.alive, false).expect("a flag");
                it.set(|h| &h.score, 101.into()).expect("a number");
            });
            world.tx(|tx| {
                // The payload that a calm one does not have is no string.
                let mut calm = heroes.get_mut(tx, &2).expect("get").expect("there");
                assert!(matches!(calm.mood, ArchivedMood::Calm));
                calm.set(|h| &h.level, 255).expect("a field");
                let it = heroes.get(tx, &1).expect("get").expect("there");
                assert_eq!((it.name.as_str(), &*it.motto), (name, "ever onward"));
                assert_eq!(
                    it.nick.as_ref().expect("some").as_str(),
                    "a nickname that lies elsewhere"
                );
                assert_eq!(
                    (it.level, it.marks, it.tiles[199], it.pairs[1].0),
                    (200, [7, 8, 10], 255, 77)
                );
                assert!(matches!(&it.mood, ArchivedMood::Says(text, 99) if text == "hello to all of you"));
                assert_eq!(it.friends.get("x"), Some(&222));
                assert_eq!(it.titles.get(&1).expect("one").as_str(), "first of her name");
                assert_eq!((it.alive, it.score.to_native()), (false, 101));
            });
        }
    }
}

#[test]
fn where_there_are_no_strings_bytes_are_changed_as_anything_else() {
    let mut world = World::new();
    let grids = world.tx(|tx| {
        let grids: Map<u64, Grid> = Map::create(tx, "grids").expect("table");
        let grid = Grid {
            rows: vec![[1; 4]; 9],
            width: 4,
        };
        grids.insert(tx, &1, &grid).expect("inserted");
        grids
    });
    world.tx(|tx| {
        let mut grid = grids.get_mut(tx, &1).expect("get").expect("there");
        grid.set(|g| &g.rows[8], [5; 4]).expect("a row");
        grid.set(|g| &g.rows[8][3], 6).expect("a byte");
        grid.set(|g| &g.width, 3).expect("a field");
        assert_eq!((grid.rows[8], grid.width), ([5, 5, 5, 6], 3));
    });
}

static ELSEWHERE: u32_le = u32_le::from_native(1);
static BYTE: u8 = 1;

#[test]
fn what_lies_outside_of_the_record_is_refused() {
    let mut world = World::new();
    let lists = world.tx(|tx| {
        let lists: Map<u64, Vec<u16>> = Map::create(tx, "lists").expect("table");
        for key in 0..100 {
            lists.insert(tx, &key, &vec![key as u16; 8]).expect("inserted");
        }
        lists
    });
    let before = |tx: &Tx<'_>| -> Vec<u16> {
        let all = (0..100).map(|key| lists.get(tx, &key).expect("get").expect("there")[0].to_native());
        all.collect()
    };
    world.tx(|tx| {
        let was = before(tx);
        let mut list = lists.get_mut(tx, &50).expect("get").expect("there");
        let foreign = |refused: Result<()>| assert!(matches!(refused, Err(Error::ForeignField)), "{refused:?}");
        foreign(list.set(|_| &ELSEWHERE, 2.into()));
        foreign(list.set(|_| &BYTE, 2));
        foreign(list.set(|_| Box::leak(Box::new(u16_le::from_native(1))), 2.into()));
        let far: &'static [u16_le] = Vec::leak(vec![u16_le::from_native(1); 1 << 20]);
        foreign(list.set(|_| &far[1 << 19], 2.into()));
        assert_eq!(before(tx), was);
        assert_eq!((ELSEWHERE.to_native(), BYTE, far[1 << 19].to_native()), (1, 1, 1));
    });
}
