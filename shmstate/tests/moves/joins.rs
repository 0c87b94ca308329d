//! Moves that meet: two sources become one table, and a table moves on before all has come to it.

use crate::shapes::Thing;
use crate::world::{World, check};
use shmstate::{Error, Map, Move, Result, Steps};

type Things<K> = Map<K, Thing>;

fn thing(kind: u16) -> Thing {
    Thing { kind }
}

fn fill(world: &World) {
    world.write(|tx| {
        let (cats, dogs): (Things<u32>, Things<u32>) = (Map::create(tx, "cats")?, Map::create(tx, "dogs")?);
        for id in 0..500 {
            cats.insert(tx, &id, &thing(id as u16))?;
            dogs.insert(tx, &id, &thing(1_000 + id as u16))?;
        }
        Ok(())
    });
}

/// Animals: cats with even numbers, dogs with odd ones.
fn cats() -> Move<u32, Thing> {
    Move::<u32, Thing>::of("cats").to::<u64, Thing>(
        "animals",
        |id| (id % 2 == 0).then_some((id / 2) as u32),
        |_, id, cat| Ok(vec![(u64::from(*id) * 2, cat.clone())]),
    )
}

fn dogs() -> Move<u32, Thing> {
    Move::<u32, Thing>::of("dogs").to::<u64, Thing>(
        "animals",
        |id| (id % 2 == 1).then_some((id / 2) as u32),
        |_, id, dog| Ok(vec![(u64::from(*id) * 2 + 1, dog.clone())]),
    )
}

fn back(
    offset: u64,
) -> impl Fn(&shmstate::Targets<'_>, &u32, Option<Thing>) -> Result<Option<Thing>> + Send + Sync + 'static {
    move |targets, id, _| {
        let animals: Things<u64> = targets.map("animals")?;
        let found = animals.get(targets, &(u64::from(*id) * 2 + offset))?;
        Ok(found.map(|found| thing(found.kind.to_native())))
    }
}

#[test]
fn two_tables_become_one() {
    let world = World::new("merge");
    fill(&world);
    let mut region = world.open();
    let (cats, dogs) = (cats().open(&region).expect("cats"), dogs().open(&region).expect("dogs"));
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let animals: Things<u64> = region
        .write(&pass, |tx| {
            let animals = Map::open_or_create(tx, "animals")?;
            let kind = |id: u64| {
                animals
                    .get(tx, &id)
                    .map(|found: Option<&ArchivedThing>| found.map(|t| t.kind.to_native()))
            };
            assert_eq!(
                (kind(20)?, kind(21)?, kind(1_000)?, kind(1_001)?),
                (Some(10), Some(1_010), None, None)
            );
            Ok::<_, Error>(animals)
        })
        .expect("found");
    let mut left = 1;
    while left > 0 {
        left = region
            .write(&pass, |tx| {
                Ok::<_, Error>(cats.sweep(tx, 50)?.left + dogs.sweep(tx, 50)?.left)
            })
            .expect("sweep");
    }
    assert_eq!(animals.len(&region.read(&pass).expect("read")).expect("whole"), 1_000);
    drop(pass);
    check(&mut region);
}

type ArchivedThing = rkyv::Archived<Thing>;

/// With ways back, and both sources changed by the version before.
#[test]
fn two_tables_that_became_one_are_two_again() {
    let world = World::new("merge-back");
    fill(&world);
    let over = |change: &dyn Fn(&mut shmstate::Tx<'_>, Things<u64>) -> Result<()>| {
        let mut region = world.open();
        let cats = cats().back(back(0)).open(&region).expect("cats");
        let _dogs = dogs().back(back(1)).open(&region).expect("dogs");
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        region
            .write(&pass, |tx| {
                let animals = Map::open_or_create(tx, "animals")?;
                change(tx, animals)?;
                cats.sweep(tx, 10).map(|_| ())
            })
            .expect("change");
        drop(pass);
        check(&mut region);
    };
    over(&|tx, animals| {
        animals.get_mut(tx, &20)?.expect("a cat").set(|t| &t.kind, 1.into())?;
        animals.remove(tx, &21)?;
        animals.insert(tx, &5_001, &thing(9)).map(|_| ())
    });
    world.write(|tx| {
        let (cats, dogs): (Things<u32>, Things<u32>) =
            (Map::open_or_create(tx, "cats")?, Map::open_or_create(tx, "dogs")?);
        assert_eq!(cats.get(tx, &10)?.expect("a cat").kind.to_native(), 1);
        assert_eq!(
            (dogs.get(tx, &10)?.is_some(), dogs.get(tx, &2_500)?.is_some()),
            (false, true)
        );
        assert_eq!((cats.len(tx)?, dogs.len(tx)?), (500, 500));
        dogs.insert(tx, &10, &thing(77))?;
        cats.remove(tx, &0).map(|_| ())
    });
    over(&|tx, animals| {
        assert_eq!(animals.get(tx, &21)?.expect("a dog").kind.to_native(), 77);
        assert!(animals.get(tx, &0)?.is_none());
        animals.remove(tx, &2).map(|_| ())
    });
    over(&|tx, animals| {
        assert!(animals.get(tx, &2)?.is_none());
        animals.insert(tx, &2, &thing(2)).map(|_| ())
    });
}

/// Version 3 comes before the sweep of version 2 is over: records pass through.
#[test]
fn a_table_moves_on_before_it_is_whole() {
    let world = World::new("chain");
    fill(&world);
    let on = || {
        Move::<u64, Thing>::of("animals").to::<String, Thing>(
            "zoo",
            |name| name.strip_prefix("animal ").and_then(|id| id.parse().ok()),
            |_, id, animal| Ok(vec![(format!("animal {id}"), animal.clone())]),
        )
    };
    let mut region = world.open();
    let first = cats().open(&region).expect("cats");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    region
        .write(&pass, |tx| first.bring(tx, &3).map(|_| ()))
        .expect("one has moved");
    drop(pass);
    drop(region);

    let mut region = world.open();
    let (first, second) = (
        cats().open(&region).expect("cats"),
        on().open(&region).expect("animals"),
    );
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let zoo: Things<String> = region.write(&pass, |tx| Map::open_or_create(tx, "zoo")).expect("zoo");
    region
        .write(&pass, |tx| {
            let kind = |name: &str| zoo.get(tx, name).map(|found| found.map(|t| t.kind.to_native()));
            assert_eq!(
                (kind("animal 6")?, kind("animal 8")?, kind("animal 9")?),
                (Some(3), Some(4), None)
            );
            zoo.get_mut(tx, "animal 8")?
                .expect("there")
                .set(|t| &t.kind, 44.into())?;
            assert_eq!(second.left(tx)?, 499);
            assert!(matches!(zoo.len(tx), Err(Error::StillMoving { .. })));
            Ok::<_, Error>(())
        })
        .expect("passes through");
    let mut left = (1, 1);
    for _ in 0..200 {
        left = region
            .write(&pass, |tx| {
                Ok::<_, Error>((second.sweep(tx, 100)?.left, first.sweep(tx, 50)?.left))
            })
            .expect("sweep");
    }
    assert_eq!(left, (0, 0));
    let reader = region.read(&pass).expect("read");
    assert_eq!(zoo.len(&reader).expect("whole"), 500);
    assert_eq!(
        zoo.get(&reader, "animal 8")
            .expect("get")
            .expect("there")
            .kind
            .to_native(),
        44
    );
    drop(pass);
    check(&mut region);
    let gone = [cats().open(&region).is_ok(), on().open(&region).is_ok()];
    assert_eq!(gone, [true, true], "over, and declared all the same");
}

mod older {
    /// A thing as it was before it had a kind of more than a byte.
    #[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize, shmstate::Schema, Clone)]
    #[schema(name = "Item", version = 1)]
    pub(super) struct Item {
        pub(super) kind: u8,
    }
}

mod newer {
    /// And as it is later.
    #[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize, shmstate::Schema, Clone)]
    #[schema(name = "Item", version = 2, from = super::older::Item, back)]
    pub(super) struct Item {
        pub(super) kind: u16,
        #[schema(default = 9)]
        pub(super) worth: u8,
    }
}

/// Records change their shape in the source, and in the target, before they have moved: each on its way.
#[test]
fn records_change_their_shape_on_the_way() {
    let world = World::new("shapes");
    world.write(|tx| {
        let map: Map<u32, older::Item> = Map::create(tx, "items")?;
        for id in 0..300 {
            map.insert(tx, &id, &older::Item { kind: id as u8 })?;
        }
        Ok(())
    });
    // Version 2: another shape, in the same table, with a way back.
    let steps = || Steps::new().from::<older::Item>().back::<older::Item>();
    {
        let mut region = world.open();
        let map: Map<u32, newer::Item> = Map::open_migrating(&region, "items", steps()).expect("version 2");
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        region
            .write(&pass, |tx| {
                map.get_mut(tx, &1)?.expect("there").set(|item| &item.worth, 1)
            })
            .expect("changed");
    }
    // Version 3: other keys, before the sweep of version 2 is over. It can go back to version 2, and that to version 1.
    let declared = || {
        Move::<u32, newer::Item>::of("items")
            .steps(steps())
            .to::<u64, newer::Item>(
                "wide",
                |id| Some(*id as u32),
                |_, id, item| Ok(vec![(u64::from(*id) | 1 << 40, item.clone())]),
            )
            .back(|targets, id, _| {
                let wide: Map<u64, newer::Item> = targets.map("wide")?;
                Ok(wide.get(targets, &(u64::from(*id) | 1 << 40))?.map(|item| newer::Item {
                    kind: item.kind.to_native(),
                    worth: item.worth,
                }))
            })
    };
    let plain = Move::<u32, newer::Item>::of("items").open(&world.open()).map(|_| ());
    assert!(matches!(plain, Err(Error::SchemaMismatch { .. })), "{plain:?}");
    {
        let mut region = world.open();
        let moving = declared().open(&region).expect("version 3");
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        region
            .write(&pass, |tx| {
                let wide: Map<u64, newer::Item> = Map::open_or_create(tx, "wide")?;
                let found = |id: u64| {
                    wide.get(tx, &(id | 1 << 40))
                        .map(|item| item.map(|i| (i.kind.to_native(), i.worth)))
                };
                assert_eq!((found(1)?, found(2)?, found(400)?), (Some((1, 1)), Some((2, 9)), None));
                wide.get_mut(tx, &(3 | 1 << 40))?
                    .expect("there")
                    .set(|item| &item.kind, 333.into())?;
                wide.get_mut(tx, &(4 | 1 << 40))?
                    .expect("there")
                    .set(|item| &item.kind, 44.into())?;
                moving.sweep(tx, 10).map(|_| ())
            })
            .expect("changed");
        drop(pass);
        check(&mut region);
    }
    {
        let region = world.open();
        let map: Map<u32, newer::Item> = Map::open_migrating(&region, "items", steps()).expect("version 2");
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        let reader = region.read(&pass).expect("read");
        let found = |id: u32| {
            map.get(&reader, &id)
                .expect("get")
                .map(|item| (item.kind.to_native(), item.worth))
        };
        assert_eq!(
            (found(1), found(3), found(4), found(5)),
            (Some((1, 1)), Some((333, 9)), Some((44, 9)), Some((5, 9)))
        );
    }
    {
        let mut region = world.open();
        let map: Map<u32, older::Item> = Map::open(&region, "items").expect("version 1");
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        let reader = region.read(&pass).expect("read");
        let found = |id: u32| map.get(&reader, &id).expect("get").map(|item| item.kind);
        assert_eq!(
            (found(1), found(3), found(4), found(5)),
            (Some(1), Some(255), Some(44), Some(5))
        );
        drop(pass);
        check(&mut region);
    }
    // And to the end.
    let mut region = world.open();
    let moving = declared().open(&region).expect("version 3");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    region.close_ways_back(&pass).expect("close");
    while region.write(&pass, |tx| moving.sweep(tx, 100)).expect("sweep").left > 0 {}
    region
        .write(&pass, |tx| {
            let wide: Map<u64, newer::Item> = Map::open_or_create(tx, "wide")?;
            assert_eq!(wide.len(tx)?, 300);
            // Version 1 has begun a transaction: what came of version 3 then is what version 1 had of it.
            assert_eq!(wide.get(tx, &(4 | 1 << 40))?.expect("there").kind.to_native(), 44);
            Ok::<_, Error>(())
        })
        .expect("whole");
    drop(pass);
    check(&mut region);
}

/// Two moves to one table begin anew under a version that wants no way back from either.
#[test]
fn two_moves_begin_anew_and_are_closed() {
    let world = World::new("merge-closed");
    fill(&world);
    {
        let mut region = world.open();
        let _cats = cats().back(back(0)).open(&region).expect("cats");
        let _dogs = dogs().back(back(1)).open(&region).expect("dogs");
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        region
            .write(&pass, |tx| {
                let animals: Things<u64> = Map::open_or_create(tx, "animals")?;
                animals.remove(tx, &20)?;
                animals.remove(tx, &21)
            })
            .expect("changed");
    }
    world.write(|tx| Things::<u32>::open_or_create(tx, "dogs")?.remove(tx, &0).map(|_| ()));
    let mut region = world.open();
    let (cats, dogs) = (cats().open(&region).expect("cats"), dogs().open(&region).expect("dogs"));
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let mut left = 1;
    while left > 0 {
        left = region
            .write(&pass, |tx| {
                Ok::<_, Error>(cats.sweep(tx, 100)?.left + dogs.sweep(tx, 100)?.left)
            })
            .expect("sweep");
    }
    region
        .write(&pass, |tx| {
            let animals: Things<u64> = Map::open_or_create(tx, "animals")?;
            assert_eq!(animals.len(tx)?, 997);
            Ok::<_, Error>(())
        })
        .expect("whole");
    drop(pass);
    check(&mut region);
    drop(region);
    assert_eq!(world.names(), ["animals"]);
}

/// A way back over two moves: the source of the first follows when the source of the second does.
#[test]
fn a_chain_follows_to_its_beginning() {
    let world = World::new("chain-back");
    fill(&world);
    let zoo = || {
        Move::<u64, Thing>::of("animals")
            .to::<String, Thing>(
                "zoo",
                |name| name.parse().ok(),
                |_, id, animal| Ok(vec![(id.to_string(), animal.clone())]),
            )
            .back(|targets, id, _| {
                let zoo: Things<String> = targets.map("zoo")?;
                Ok(zoo
                    .get(targets, &id.to_string())?
                    .map(|found| thing(found.kind.to_native())))
            })
    };
    {
        let mut region = world.open();
        let _cats = cats().back(back(0)).open(&region).expect("cats");
        let _zoo = zoo().open(&region).expect("zoo");
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        region
            .write(&pass, |tx| {
                let zoo: Things<String> = Map::open_or_create(tx, "zoo")?;
                zoo.get_mut(tx, "20")?.expect("there").set(|t| &t.kind, 777.into())?;
                zoo.remove(tx, "22")?;
                zoo.insert(tx, "5000", &thing(9)).map(|_| ())
            })
            .expect("changed");
        drop(pass);
        check(&mut region);
    }
    let region = world.open();
    let cats: Things<u32> = Map::open(&region, "cats").expect("the first version");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let reader = region.read(&pass).expect("read");
    let kind = |id: u32| cats.get(&reader, &id).expect("get").map(|t| t.kind.to_native());
    assert_eq!(
        (kind(10), kind(11), kind(2_500), kind(12)),
        (Some(777), None, Some(9), Some(12))
    );
}

/// What becomes of a record may follow from other tables: what is read is what is there now.
#[test]
fn what_is_read_follows_from_all_that_it_is_made_of() {
    let world = World::new("joined");
    fill(&world);
    let mut region = world.open();
    let dogs: Things<u32> = Map::open(&region, "dogs").expect("dogs");
    let moving = Move::<u32, Thing>::of("cats").to::<u64, Thing>(
        "pairs",
        |id| Some(*id as u32),
        move |view, id, cat| {
            let dog = dogs.get(view, id)?.map_or(0, |dog| dog.kind.to_native());
            Ok(vec![(u64::from(*id), thing(cat.kind + dog))])
        },
    );
    let _moving = moving.open(&region).expect("open");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let pairs: Things<u64> = region
        .write(&pass, |tx| Map::open_or_create(tx, "pairs"))
        .expect("pairs");
    for more in [1_000, 2_000, 3_000] {
        region
            .write(&pass, |tx| dogs.insert(tx, &7, &thing(more)).map(|_| ()))
            .expect("changed");
        let reader = region.read(&pass).expect("read");
        let found = pairs.get(&reader, &7).expect("get").expect("there");
        assert_eq!(found.kind.to_native(), 7 + more);
    }
}

/// One of two moves into a table is disowned, by a version that knows the other: it begins anew, and so does the other, for what that had brought goes with it.
#[test]
fn a_move_that_begins_anew_takes_those_that_it_meets_along() {
    let world = World::new("merge-half");
    fill(&world);
    // Knows dogs alone, has them all moved, and uses cats as they are.
    let half = || {
        let mut region = world.open();
        let dogs = dogs().back(back(1)).open(&region).expect("dogs");
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        region
            .write(&pass, |tx| {
                let cats: Things<u32> = Map::open_or_create(tx, "cats")?;
                cats.insert(tx, &10, &thing(77))?;
                dogs.sweep(tx, 10_000).map(|_| ())
            })
            .expect("write");
        drop(pass);
        check(&mut region);
    };
    let whole = |kind: u16| {
        let mut region = world.open();
        let cats = cats().back(back(0)).open(&region).expect("cats");
        let dogs = dogs().back(back(1)).open(&region).expect("dogs");
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        let animals: Things<u64> = region
            .write(&pass, |tx| Map::open_or_create(tx, "animals"))
            .expect("open");
        let found = |region: &shmstate::Region, id: u64| {
            let reader = region.read(&pass).expect("read");
            let found = animals.get(&reader, &id).expect("get");
            found.map(|animal| animal.kind.to_native())
        };
        for id in 0..500 {
            assert_eq!(found(&region, id * 2 + 1), Some(1_000 + id as u16), "dog {id}");
            assert_eq!(
                found(&region, id * 2),
                Some(if id == 10 { kind } else { id as u16 }),
                "cat {id}"
            );
        }
        for _ in 0..8 {
            region
                .write(&pass, |tx| {
                    cats.sweep(tx, 200)?;
                    dogs.sweep(tx, 200).map(|_| ())
                })
                .expect("sweep");
        }
        assert_eq!(animals.len(&region.read(&pass).expect("read")).expect("whole"), 1_000);
        drop(pass);
        check(&mut region);
    };
    half();
    whole(77);
    half();
    whole(77);
}

/// Records that move on before they have come: one at a time, all at once, in one transaction and in many.
#[test]
fn what_moves_on_has_come_first() {
    for ways in [true, false] {
        let world = World::new(if ways { "on-back" } else { "on" });
        fill(&world);
        let mut region = world.open();
        let with_way = cats().back(back(0));
        let zoo = Move::<u64, Thing>::of("animals").to::<String, Thing>(
            "zoo",
            |name| name.parse().ok(),
            |_, id, animal| Ok(vec![(id.to_string(), animal.clone())]),
        );
        let zoo = if ways {
            zoo.back(|targets, id, _| {
                let zoo: Map<String, Thing> = targets.map("zoo")?;
                let found = zoo.get(targets, &id.to_string())?;
                Ok(found.map(|found| thing(found.kind.to_native())))
            })
        } else {
            zoo
        };
        let (cats, zoo) = (with_way.open(&region).expect("cats"), zoo.open(&region).expect("zoo"));
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        let animals = region
            .write(&pass, |tx| Map::<String, Thing>::open_or_create(tx, "zoo"))
            .expect("open");
        // Where the second move has no way back, the first has none either.
        assert_eq!(region.has_ways_back(), ways);
        region
            .write(&pass, |tx| {
                let mut cat = animals.get_mut(tx, "20")?.expect("a cat");
                cat.set(|cat| &cat.kind, 99.into())?;
                zoo.sweep(tx, 100)?;
                assert!(zoo.bring(tx, &22)?);
                assert!(zoo.left(tx)? > 0);
                zoo.sweep(tx, 1).map(|_| ())
            })
            .expect("in one transaction");
        for _ in 0..40 {
            region
                .write(&pass, |tx| {
                    zoo.sweep(tx, 50)?;
                    cats.sweep(tx, 50).map(|_| ())
                })
                .expect("sweep");
        }
        let reader = region.read(&pass).expect("read");
        assert_eq!(animals.len(&reader).expect("whole"), 500);
        assert_eq!(
            animals
                .get(&reader, "20")
                .expect("get")
                .expect("a cat")
                .kind
                .to_native(),
            99
        );
        drop(pass);
        check(&mut region);
    }
}

/// What would come back to where it was is refused, however many tables it goes through.
#[test]
fn moves_do_not_go_in_a_circle() {
    let world = World::new("circle");
    fill(&world);
    let region = world.open();
    let on = |from: &str, to: &str| {
        Move::<u32, Thing>::of(from).to::<u32, Thing>(to, |id| Some(*id), |_, id, old| Ok(vec![(*id, old.clone())]))
    };
    on("cats", "b").open(&region).expect("one");
    on("b", "c").open(&region).expect("two");
    for target in ["cats", "b"] {
        let refused = on("c", target).open(&region).map(|_| ());
        assert!(matches!(refused, Err(Error::BadSteps { .. })), "{target}: {refused:?}");
    }
    on("c", "d").open(&region).expect("three");
}
