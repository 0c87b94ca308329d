//! Slabs: records that hold their own ids, and taking them.

use crate::{Item, World, random};
use shmstate::{Error, Result, Slab, SlabId, Tx, View};
use std::collections::{BTreeMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What is there, and every id that was ever given.
#[derive(Clone, Default)]
struct Model {
    there: BTreeMap<SlabId, Item>,
    given: HashSet<SlabId>,
}

fn operate(slab: Slab<Item>, tx: &mut Tx<'_>, model: &mut Model, random: &mut fastrand::Rng) -> Result<()> {
    let filling = random.u8(..5) < 3;
    for _ in 0..random.u32(1..200) {
        let any = random.usize(..model.there.len().max(1));
        let any = model.there.keys().nth(any).copied();
        match (random.u8(..8), any) {
            (0, Some(id)) | (1..6, Some(id)) if !filling || random.u8(..8) == 0 => {
                assert_eq!(slab.take(tx, id)?.map(Item::of), model.there.remove(&id));
                assert!(slab.take(tx, id)?.is_none() && !slab.contains(tx, id)?);
            }
            (6, _) => {
                let item = Item::random(random);
                let id = slab.insert(tx, &item)?;
                assert!(model.given.insert(id), "an id twice");
                model.there.insert(id, item);
            }
            _ => {
                let item = Item::random(random);
                let mut told = None;
                let id = slab.insert_with(tx, |id| {
                    told = Some(id);
                    Item {
                        points: id.token(),
                        ..item.clone()
                    }
                })?;
                assert_eq!(told, Some(id));
                assert_eq!(slab.get(tx, id)?.expect("there").points.to_native(), id.token());
                assert!(model.given.insert(id), "an id twice");
                model.there.insert(
                    id,
                    Item {
                        points: id.token(),
                        ..item
                    },
                );
            }
        }
    }
    Ok(())
}

fn compare(slab: Slab<Item>, view: &View, model: &Model) -> Result<()> {
    let all = slab.iter(view)?.map(|item| item.map(|(id, item)| (id, Item::of(item))));
    assert_eq!(all.collect::<Result<BTreeMap<_, _>>>()?, model.there);
    Ok(())
}

#[test]
fn slabs() {
    let mut random = random();
    let mut world = World::new();
    let slab: Slab<Item> = world.tx(|tx| Slab::create(tx, "slab"));
    let mut model = Model::default();
    world.play(
        120,
        &mut model,
        &mut random,
        |tx, model, random| operate(slab, tx, model, random),
        |view, model| compare(slab, view, model),
    );
    world.tx(|tx| {
        for (id, item) in &model.there {
            assert_eq!(slab.take(tx, *id)?.map(Item::of).as_ref(), Some(item));
        }
        assert_eq!((slab.len(tx)?, slab.archived_bytes(tx)?), (0, 0));
        Ok(())
    });
    world.check();
}

/// Half an insertion is not committed, and its id names nothing, then or later.
#[test]
fn a_panic_where_a_record_is_made() {
    let mut world = World::new();
    let slab: Slab<Item> = world.tx(|tx| Slab::create(tx, "slab"));
    let mut lost = None;
    {
        let pass = world.gate.enter().expect("pass");
        let mut tx = world.region.begin(&pass).expect("begin");
        let made = catch_unwind(AssertUnwindSafe(|| {
            slab.insert_with(&mut tx, |id| {
                lost = Some(id);
                panic!("on purpose")
            })
        }));
        assert!(made.is_err());
        assert!(matches!(tx.commit(), Err(Error::BrokenOff)));
    }
    let lost = lost.expect("an id");
    let next = world.tx(|tx| {
        assert!(slab.get(tx, lost)?.is_none() && slab.is_empty(tx)?);
        slab.insert(tx, &Item::default())
    });
    assert_eq!(next.index(), lost.index(), "in the same slot");
    assert_ne!(next, lost);
    world.check();
}
