//! Values aligned to 16 bytes that a record points to: they lie at a multiple of 16, or the table is refused.

use shmstate::{Error, Map, Region, Schema};

/// Aligned to 16 bytes itself, and so is what it points to.
#[derive(rkyv::Archive, rkyv::Serialize, Schema)]
struct Wide {
    first: u128,
    others: Vec<u128>,
}

#[test]
fn what_an_aligned_record_points_to_is_aligned() {
    let mut region = Region::in_memory(8 << 20).expect("region");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let made = region.write(&pass, |tx| -> shmstate::Result<_> {
        let map: Map<u64, Wide> = Map::create(tx, "wide")?;
        for id in 0..200 {
            let others = vec![u128::from(id); id as usize % 7 + 1];
            map.insert(tx, &id, &Wide { first: 1, others })?;
        }
        Ok(map)
    });
    let map = made.expect("made");
    let reader = region.read(&pass).expect("read");
    for id in 0..200 {
        let found = map.get(&reader, &id).expect("get").expect("there");
        assert_eq!(found.others.as_ptr() as usize % 16, 0, "record {id}");
        assert_eq!((found.first.to_native(), found.others[0].to_native()), (1, id.into()));
    }
}

#[test]
fn records_that_point_to_more_than_their_alignment_are_refused() {
    let mut region = Region::in_memory(8 << 20).expect("region");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let refused = region.write(&pass, |tx| Map::<u64, Vec<u128>>::create(tx, "wide"));
    let refused = refused.expect_err("they would lie anywhere");
    assert!(matches!(&refused, Error::Overaligned { table, held } if &**table == "wide" && &**held == "u128"));
    assert!(refused.to_string().contains("[u64; 2]"), "{refused}");
}
