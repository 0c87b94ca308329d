//! Regions that have no memory for all records in both shapes: the sweeps go as far as there is some, and on when a commit has freed what the older
//! records had.

use rkyv::{Archive, Deserialize, Serialize};
use shmstate::{Map, Migrate, Move, Pass, Region, Result, Schema, Slab, SlabId, Steps, verify};

#[derive(Archive, Serialize, Deserialize, Schema)]
#[schema(version = 1, name = "Thing")]
struct Small {
    marks: [u8; 48],
}

#[derive(Archive, Serialize, Deserialize, Schema)]
#[schema(version = 2, name = "Thing")]
struct Large {
    marks: [u8; 48],
    more: [u8; 32],
}

impl Migrate<Small> for Large {
    fn migrate(old: Small) -> Self {
        Self {
            marks: old.marks,
            more: [7; 32],
        }
    }
}

fn small(key: u64) -> Small {
    Small { marks: [key as u8; 48] }
}

/// What fills a region.
struct Filling {
    slab: Slab<Vec<u8>>,
    large: Vec<SlabId>,
}

const KEYS: u64 = 6_000;

/// A region with nothing left but what its undo log has.
fn world() -> (Region, Filling) {
    let mut region = Region::in_memory(6 << 20).expect("region");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let (things, slab) = region
        .write(&pass, |tx| -> Result<_> {
            let things: Map<u64, Small> = Map::create(tx, "things")?;
            for key in 0..KEYS {
                things.insert(tx, &key, &small(key))?;
            }
            Ok((things, Slab::create(tx, "filling")?))
        })
        .expect("tables");
    // The log is as long as the sweeps need it.
    let mut tx = region.begin(&pass).expect("begin");
    for key in 0..KEYS {
        things.remove(&mut tx, &key).expect("remove");
    }
    drop(tx);
    let mut filling = Filling {
        slab,
        large: Vec::new(),
    };
    for length in [60_000, 4_000, 1_000, 200, 100, 80, 60, 40, 20, 0] {
        while let Ok(id) = region.write(&pass, |tx| slab.insert(tx, &vec![0; length])) {
            if length == 60_000 {
                filling.large.push(id);
            }
        }
    }
    assert!(filling.large.len() > 4);
    (region, filling)
}

impl Filling {
    /// Leaves room for some hundred records.
    fn leave(&mut self, region: &mut Region, pass: &Pass<'_>, chunks: usize) {
        for _ in 0..chunks {
            let id = self.large.pop().expect("one");
            assert!(region.write(pass, |tx| self.slab.remove(tx, id)).expect("remove"));
        }
    }
}

fn left(region: &Region, things: &Map<u64, Large>, pass: &Pass<'_>) -> u64 {
    things.unswept(&region.read(pass).expect("read")).expect("left")
}

/// Also from nothing: where not even one record finds room it says so, and nothing has changed.
#[test]
fn a_sweep_goes_as_far_as_memory_does() {
    let (mut region, mut filling) = world();
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    // For the companion of the older shape.
    filling.leave(&mut region, &pass, 1);
    let things: Map<u64, Large> = Map::open_migrating(&region, "things", Steps::new().from::<Small>()).expect("open");
    region.write(&pass, |_| Result::Ok(())).expect("settled");
    let (mut partly, mut refused) = (0, 0);
    while left(&region, &things, &pass) > 0 {
        let before = left(&region, &things, &pass);
        match region.write(&pass, |tx| things.sweep(tx, 4_000)) {
            Ok(swept) => {
                assert_eq!(
                    (swept.done, swept.left),
                    (before - swept.left, left(&region, &things, &pass))
                );
                partly += u32::from(swept.done < 4_000 && swept.left > 0);
                assert!(swept.done > 0, "{swept:?}");
            }
            Err(error) => {
                assert!(error.is_full(), "{error}");
                assert_eq!(left(&region, &things, &pass), before);
                refused += 1;
                filling.leave(&mut region, &pass, 1);
            }
        }
    }
    assert!(partly > 0, "{partly} {refused}");
    let reader = region.read(&pass).expect("read");
    for key in 0..KEYS {
        let thing = things.get(&reader, &key).expect("get").expect("there");
        assert_eq!((thing.marks, thing.more), ([key as u8; 48], [7; 32]));
    }
    assert!(verify(&reader).expect("verify").is_sound());
}

#[test]
fn a_move_goes_as_far_as_memory_does() {
    let (mut region, mut filling) = world();
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    filling.leave(&mut region, &pass, 3);
    let moving = Move::<u64, Small>::of("things")
        .to::<(u8, u64), Large>(
            "moved",
            |key| Some(key.1),
            |_, key, old| {
                let marks = old.marks;
                Ok(vec![((1, *key), Large { marks, more: [9; 32] })])
            },
        )
        .open(&region)
        .expect("open");
    let mut partly = 0;
    loop {
        match region.write(&pass, |tx| moving.sweep(tx, 4_000)) {
            Ok(swept) if swept.left == 0 => break,
            Ok(swept) => partly += u32::from(swept.done > 0 && swept.done < 4_000 && swept.left > 1),
            Err(error) => {
                assert!(error.is_full(), "{error}");
                filling.leave(&mut region, &pass, 1);
            }
        }
    }
    assert!(partly > 0);
    let moved: Map<(u8, u64), Large> = Map::open(&region, "moved").expect("open");
    let reader = region.read(&pass).expect("read");
    assert_eq!(moved.len(&reader).expect("len"), KEYS);
    assert!(verify(&reader).expect("verify").is_sound());
}
