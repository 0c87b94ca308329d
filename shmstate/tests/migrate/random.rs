//! There and back again: where nothing was removed or narrowed, any old value comes back as it was.

use std::collections::{BTreeMap, HashMap};
use std::iter::repeat_with;

use fastrand::Rng;
use rkyv::Archive;
use shmstate::{Migrate, Schema};

const CASES: u64 = 2000;

#[derive(Archive, Schema, Clone, PartialEq, Debug)]
struct WorldV1 {
    name: String,
    size: (u16, i8),
    cells: Vec<CellV1>,
    owners: BTreeMap<u32, Box<CellV1>>,
    names: HashMap<String, [i32; 2]>,
    weight: f32,
}

#[derive(Archive, Schema, Clone, PartialEq, Debug)]
enum CellV1 {
    Empty,
    Wall(u8, Option<i16>),
    Door { to: u32, open: bool },
}

#[derive(Archive, Schema, Clone, PartialEq, Debug)]
#[schema(version = 2, from = WorldV1, back)]
struct WorldV2 {
    #[schema(default = 4)]
    seed: u64,
    #[schema(was = "weight")]
    mass: f64,
    #[schema(was = "name")]
    title: String,
    size: (i32, f32),
    cells: Vec<CellV2>,
    owners: BTreeMap<i64, Box<CellV2>>,
    names: HashMap<String, [f64; 2]>,
}

#[derive(Archive, Schema, Clone, PartialEq, Debug)]
#[schema(version = 2, from = CellV1, back)]
enum CellV2 {
    #[schema(back = CellV1::Empty)]
    Water {
        depth: u8,
    },
    Door {
        open: bool,
        #[schema(was = "to")]
        target: u128,
        #[schema(default)]
        locked: bool,
    },
    #[schema(was = "Wall")]
    Block(#[schema(was = "1")] Option<i64>, #[schema(was = "0")] u32),
    Empty,
}

fn text(rng: &mut Rng) -> String {
    let length = rng.usize(..12);
    repeat_with(|| rng.char(..)).take(length).collect()
}

fn cell(rng: &mut Rng) -> CellV1 {
    match rng.u8(..3) {
        0 => CellV1::Empty,
        1 => CellV1::Wall(rng.u8(..), rng.bool().then(|| rng.i16(..))),
        _ => CellV1::Door {
            to: rng.u32(..),
            open: rng.bool(),
        },
    }
}

fn world(rng: &mut Rng) -> WorldV1 {
    let [cells, owners, names] = [(); 3].map(|()| 0..rng.usize(..6));
    WorldV1 {
        name: text(rng),
        size: (rng.u16(..), rng.i8(..)),
        cells: cells.map(|_| cell(rng)).collect(),
        owners: owners.map(|_| (rng.u32(..), Box::new(cell(rng)))).collect(),
        names: names.map(|_| (text(rng), [rng.i32(..), rng.i32(..)])).collect(),
        weight: loop {
            let weight = f32::from_bits(rng.u32(..));
            // Which is not equal to itself.
            if !weight.is_nan() {
                break weight;
            }
        },
    }
}

#[test]
fn every_old_value_comes_back() {
    for seed in 0..CASES {
        let old = world(&mut Rng::with_seed(seed));
        let new = WorldV2::migrate(old.clone());
        assert_eq!(new.cells.len(), old.cells.len(), "seed {seed}");
        assert_eq!((&new.title, new.seed), (&old.name, 4), "seed {seed}");
        assert_eq!(WorldV1::migrate(new), old, "seed {seed}");
    }
}

#[test]
fn what_came_from_an_old_value_stays_what_it_is() {
    for seed in 0..CASES {
        let new = WorldV2::migrate(world(&mut Rng::with_seed(seed)));
        assert_eq!(WorldV2::migrate(WorldV1::migrate(new.clone())), new, "seed {seed}");
    }
}

#[test]
fn what_is_new_becomes_what_it_says() {
    for depth in 0..=u8::MAX {
        assert_eq!(CellV1::migrate(CellV2::Water { depth }), CellV1::Empty);
    }
}
