//! `Slab` against a `BTreeMap` from ids to values, and every id that ever was.

use crate::{SEEDS, region, sound, text, transaction};
use shmstate::{Region, Slab, SlabId, Tx, verify};
use std::collections::BTreeMap;

#[test]
fn as_a_map_from_ids() {
    for seed in SEEDS {
        walk(seed);
    }
}

fn walk(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut region = region();
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let slab: Slab<String> = transaction(&mut region, &pass, true, |tx| Slab::create(tx, "slab"));
    let mut model: BTreeMap<SlabId, String> = BTreeMap::new();
    // Ids that name nothing any more, also those of transactions that were taken back.
    let mut stale: Vec<SlabId> = Vec::new();
    for round in 0..120 {
        let keep = random.u8(..4) > 0;
        let growing = (round / 20) % 2 == 0;
        let mut next = model.clone();
        let mut gone = Vec::new();
        let mut made = Vec::new();
        transaction(&mut region, &pass, keep, |tx| {
            for _ in 0..random.usize(..60) {
                let value = text(random.u64(..1000));
                let some = next.keys().nth(random.usize(..next.len().max(1))).copied();
                let insert = random.u8(..10) < if growing { 7 } else { 3 };
                match (some, random.u8(..4)) {
                    _ if insert => {
                        let id = slab.insert(tx, &value)?;
                        made.push(id);
                        assert!(next.insert(id, value).is_none(), "seed {seed}: an id twice");
                    }
                    (Some(id), 0) => {
                        assert!(slab.replace(tx, id, &value)?);
                        next.insert(id, value);
                    }
                    (Some(id), _) => {
                        assert!(slab.remove(tx, id)?);
                        next.remove(&id);
                        gone.push(id);
                    }
                    (None, _) => {}
                }
            }
            if random.u8(..12) == 0 {
                let removed = slab.retain(tx, |_, value| value.len() % 3 > 0)?;
                let before = next.len();
                gone.extend(next.iter().filter(|(_, v)| v.len() % 3 == 0).map(|(id, _)| *id));
                next.retain(|_, value| value.len() % 3 > 0);
                assert_eq!(removed, (before - next.len()) as u64);
            }
            if random.u8(..40) == 0 {
                let mut drained = BTreeMap::new();
                slab.drain(tx, |id, value| {
                    drained.insert(id, value.to_string());
                })?;
                assert_eq!(drained, next);
                gone.extend(next.keys());
                next.clear();
            }
            for id in &gone {
                assert!(!slab.remove(tx, *id)? && !slab.replace(tx, *id, &String::new())?);
                assert!(slab.get_mut(tx, *id)?.is_none());
            }
            Ok(())
        });
        if keep {
            model = next;
            stale.extend(gone);
        } else {
            stale.extend(made);
        }
        stale.sort();
        stale.dedup();
        let reader = region.read(&pass).expect("reader");
        let items = slab.iter(&reader).expect("iter");
        assert_eq!(items.len(), model.len());
        let items: Vec<(SlabId, String)> = items
            .map(|i| i.expect("item"))
            .map(|(id, v)| (id, v.to_string()))
            .collect();
        assert!(
            items.is_sorted_by_key(|(id, _)| id.index()),
            "in the order of the slots"
        );
        assert_eq!(
            items.into_iter().collect::<BTreeMap<_, _>>(),
            model,
            "seed {seed}, round {round}"
        );
        for id in stale.iter().filter(|id| !model.contains_key(id)) {
            let found = slab.get(&reader, SlabId::from_token(id.token())).expect("get");
            assert!(found.is_none(), "seed {seed}, round {round}: {id:?} names {found:?}");
        }
        assert!(
            stale.iter().all(|id| !model.contains_key(id)),
            "a stale id was given again"
        );
        sound(&region, &pass);
    }
    assert!(stale.len() > 500, "{} stale ids", stale.len());
}

#[test]
fn in_place_changes_of_all() {
    let mut region = region();
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let slab: Slab<u64> = transaction(&mut region, &pass, true, |tx| Slab::create(tx, "slab"));
    let ids: Vec<SlabId> = transaction(&mut region, &pass, true, |tx| {
        (0..1000).map(|i| slab.insert(tx, &i)).collect::<shmstate::Result<_>>()
    });
    let add = |tx: &mut Tx<'_>| {
        slab.for_each_mut(tx, |id, record| {
            let now = record.to_native() + u64::from(id.index());
            record.set(|r| r, now.into())
        })
    };
    transaction(&mut region, &pass, false, add);
    transaction(&mut region, &pass, true, add);
    transaction(&mut region, &pass, true, |tx| {
        slab.get_mut(tx, ids[7])?.expect("there").set(|r| r, 5.into())
    });
    let reader = region.read(&pass).expect("reader");
    for (i, id) in ids.iter().enumerate() {
        let expected = if i == 7 { 5 } else { 2 * i as u64 };
        assert_eq!(
            slab.get(&reader, *id).expect("get").expect("there").to_native(),
            expected
        );
    }
}

#[test]
fn pages_go_when_the_records_at_the_end_do() {
    let mut region = region();
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let slab: Slab<u64> = transaction(&mut region, &pass, true, |tx| Slab::create(tx, "slab"));
    let blocks = |region: &Region| verify(&region.read(&pass).expect("reader")).expect("sound").reachable;
    let empty = blocks(&region);
    let ids: Vec<SlabId> = transaction(&mut region, &pass, true, |tx| {
        (0..10_000)
            .map(|i| slab.insert(tx, &i))
            .collect::<shmstate::Result<_>>()
    });
    let full = blocks(&region) - ids.len() as u64;
    assert_eq!(full - empty, 10_000u64.div_ceil(255));
    // In the order of the slots: only the last removal leaves the pages at the end empty, and takes its share of them.
    let remove = |tx: &mut Tx<'_>, ids: &[SlabId]| ids.iter().try_for_each(|id| slab.remove(tx, *id).map(|_| ()));
    transaction(&mut region, &pass, true, |tx| remove(tx, &ids[100..]));
    let left = blocks(&region) - 100 - empty;
    assert!(left < full - empty, "{left} pages");
    transaction(&mut region, &pass, true, |tx| remove(tx, &ids[90..100]));
    assert_eq!(blocks(&region) - 90 - empty, 2, "the page in use, and one to spare");
    sound(&region, &pass);
}
