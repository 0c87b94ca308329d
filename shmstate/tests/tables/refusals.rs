//! What is refused: other regions, other shapes, other kinds, names that name nothing.

use crate::{region, transaction};
use shmstate::{Error, Gap, Inspection, Kind, Queue, Region, Slab, SlabId, TimerId, Timers};

#[test]
fn other_regions_shapes_and_kinds() {
    let (mut region, mut other) = (region(), region());
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let (slab, queue, timers) = transaction(&mut region, &pass, true, |tx| {
        Ok((
            Slab::<u64>::create(tx, "slab")?,
            Queue::<u64>::create(tx, "queue")?,
            Timers::<u64>::create(tx, "timers", Gap::Skip)?,
        ))
    });
    assert!(matches!(
        Slab::<u32>::open(&region, "slab"),
        Err(Error::SchemaMismatch { .. })
    ));
    assert!(matches!(
        Queue::<u64>::open(&region, "slab"),
        Err(Error::SchemaMismatch { .. })
    ));
    assert!(matches!(
        Timers::<u64>::open(&region, "queue"),
        Err(Error::SchemaMismatch { .. })
    ));
    assert!(matches!(Slab::<u64>::open(&region, "none"), Err(Error::NoTable { .. })));
    assert!(Queue::<u64>::open(&region, "queue").is_ok());
    transaction(&mut region, &pass, true, |tx| {
        assert!(matches!(
            Slab::<u64>::create(tx, "slab"),
            Err(Error::TableExists { .. })
        ));
        Slab::<u64>::open_or_create(tx, "slab")?;
        Queue::<u64>::open_or_create(tx, "second-queue")?;
        let same = Timers::<u64>::open_or_create(tx, "timers", Gap::All)?;
        assert_eq!(same.gap(tx)?, Gap::Skip, "the policy is the table's");
        Ok(())
    });
    let gate = other.gate().clone();
    let pass = gate.enter().expect("pass");
    transaction(&mut other, &pass, true, |tx| {
        assert!(matches!(slab.insert(tx, &1), Err(Error::ForeignTable)));
        assert!(matches!(queue.push_back(tx, &1), Err(Error::ForeignTable)));
        assert!(matches!(timers.insert(tx, 1, &1), Err(Error::ForeignTable)));
        assert!(matches!(timers.rebase(tx, 1), Err(Error::ForeignTable)));
        Ok(())
    });
}

#[test]
fn numbers_that_name_nothing() {
    let mut region = region();
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    transaction(&mut region, &pass, true, |tx| {
        let slab: Slab<u64> = Slab::create(tx, "slab")?;
        let timers: Timers<u64> = Timers::create(tx, "timers", Gap::All)?;
        let ask = |tx: &mut shmstate::Tx<'_>, token: u64| {
            assert!(slab.get(tx, SlabId::from_token(token))?.is_none(), "{token:x}");
            assert!(!slab.remove(tx, SlabId::from_token(token))?);
            assert!(!timers.cancel(tx, TimerId::from_token(token))?);
            assert!(timers.deadline(tx, TimerId::from_token(token))?.is_none());
            shmstate::Result::Ok(())
        };
        let ends = [0, 1, 254, 255, u64::from(u32::MAX), 1 << 32, u64::MAX, u64::MAX << 32];
        ends.into_iter().try_for_each(|token| ask(tx, token))?;
        let id = slab.insert(tx, &1)?;
        let timer = timers.insert(tx, 1, &1)?;
        let mut others = ends
            .into_iter()
            .filter(|token| *token != id.token() && *token != timer.token());
        others.try_for_each(|token| ask(tx, token))?;
        assert!(slab.contains(tx, SlabId::from_token(id.token()))?);
        assert!(slab.remove(tx, id)? && timers.cancel(tx, timer)?);
        ask(tx, id.token())?;
        ask(tx, timer.token())
    });
}

#[test]
fn tools_see_them() {
    let name = format!("shmstate-test-tables-{}", std::process::id());
    struct Remove(String);
    impl Drop for Remove {
        fn drop(&mut self) {
            let _ = Region::remove(&self.0);
        }
    }
    let mut region = Region::options().capacity(4 << 20).create(&name).expect("create");
    let _remove = Remove(name.clone());
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    transaction(&mut region, &pass, true, |tx| {
        let slab: Slab<String> = Slab::create(tx, "slab")?;
        let queue: Queue<u64> = Queue::create(tx, "queue")?;
        let timers: Timers<u64> = Timers::create(tx, "timers", Gap::All)?;
        slab.insert(tx, &"one".into())?;
        for i in 0..3 {
            queue.push_back(tx, &i)?;
            timers.insert(tx, i, &i)?;
        }
        timers.pop_due(tx, 0, |_, _, _| ()).map(|_| ())
    });
    let seen = Inspection::of(&name).expect("inspection");
    let seen: Vec<_> = seen
        .tables
        .iter()
        .map(|t| (t.kind, t.records, t.archived_bytes))
        .collect();
    assert_eq!(
        seen,
        [
            (Some(Kind::Slab), 1, 8),
            (Some(Kind::Queue), 3, 24),
            (Some(Kind::Timers), 2, 16)
        ]
    );
}
