//! Where a program's own code is called, it may end the operation by an error of its own.

use crate::World;
use shmstate::{Error, Map, OrderedMap, RecordMut, Slab};

#[derive(Debug)]
enum Own {
    Enough,
    Storage(Error),
}

impl From<Error> for Own {
    fn from(error: Error) -> Self {
        Self::Storage(error)
    }
}

/// Changes two records, and refuses the third.
struct Two(u64);

impl Two {
    fn change(&mut self, record: &mut RecordMut<'_, '_, u64>) -> Result<(), Own> {
        if self.0 == 2 {
            return Err(Own::Enough);
        }
        self.0 += 1;
        record.set(|n| n, 1000.into())?;
        Ok(())
    }
}

#[test]
fn errors_of_ones_own() {
    let mut world = World::new();
    let (map, ordered, slab) = world.tx(|tx| {
        let map: Map<u64, u64> = Map::create(tx, "map")?;
        let ordered: OrderedMap<u64, u64> = OrderedMap::create(tx, "ordered")?;
        let slab: Slab<u64> = Slab::create(tx, "slab")?;
        for n in 0..10 {
            map.insert(tx, &n, &n)?;
            ordered.insert(tx, &n, &n)?;
            slab.insert(tx, &n)?;
        }
        Ok((map, ordered, slab))
    });
    let enough = |result: Result<(), Own>| assert!(matches!(result, Err(Own::Enough)), "{result:?}");
    // Until then it has done what it did, and the transaction may go on.
    world.tx(|tx| {
        let mut two = Two(0);
        enough(map.for_each_mut(tx, |_, record| two.change(record)));
        two = Two(0);
        enough(
            map.update_many(tx, &[3, 4, 5], |_, record| two.change(record))
                .map(|_| ()),
        );
        two = Two(0);
        enough(
            ordered
                .for_each_mut(tx, 3.., |_, record| two.change(record))
                .map(|_| ()),
        );
        two = Two(0);
        enough(slab.for_each_mut(tx, |_, record| two.change(record)));
        let entry = map.entry(tx, &7)?.and_modify(|_| Err(Own::Enough));
        enough(entry.map(|_| ()));
        let entry = ordered.entry(tx, &7)?.and_modify(|_| Err(Own::Enough));
        enough(entry.map(|_| ()));
        let changed = ordered
            .values(tx)?
            .filter(|n| matches!(n, Ok(n) if n.to_native() == 1000))
            .count();
        assert_eq!(changed, 2);
        for n in [3, 4] {
            assert_eq!(ordered.get(tx, &n)?.expect("there").to_native(), 1000);
        }
        assert_eq!(ordered.get(tx, &5)?.expect("there").to_native(), 5);
        Ok(())
    });
    // A pass keeps the transactions before the one that failed.
    {
        let pass = world.gate.enter().expect("pass");
        let mut seen = 0;
        let ended = map.pass(&mut world.region, &pass, 4, |_, record| {
            seen += 1;
            if seen == 6 {
                return Err(Own::Enough);
            }
            record.set(|n| n, 2000.into())?;
            Ok(())
        });
        enough(ended.map(|_| ()));
        let reader = world.region.read(&pass).expect("read");
        let passed = map.values(&reader).expect("values");
        assert_eq!(
            passed.filter(|n| matches!(n, Ok(n) if n.to_native() == 2000)).count(),
            4
        );
    }
    // What the table says comes through too.
    let other = World::new();
    let pass = other.gate.enter().expect("pass");
    let mut region = other.region;
    let mut tx = region.begin(&pass).expect("begin");
    let foreign = ordered.for_each_mut(&mut tx, .., |_, _| Err(Own::Enough));
    assert!(matches!(foreign, Err(Own::Storage(Error::ForeignTable))), "{foreign:?}");
}
