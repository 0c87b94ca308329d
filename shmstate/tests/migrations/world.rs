//! A region by name, with players in it, gone at the end.

use crate::shapes::{self, PlayerV2, v1};
use shmstate::{Map, Region, TableOptions, Tx, verify};
use std::sync::atomic::{AtomicU32, Ordering};

static NEXT: AtomicU32 = AtomicU32::new(0);

pub(crate) struct World {
    name: String,
    checksums: bool,
}

impl World {
    pub(crate) fn new(what: &str) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self {
            name: format!("test-migrations-{what}-{}-{number}", std::process::id()),
            checksums: false,
        }
    }

    pub(crate) fn checked(what: &str) -> Self {
        let mut world = Self::new(what);
        world.checksums = true;
        world
    }

    /// Makes the region, with so many players of version 1.
    pub(crate) fn fill_v1(&mut self, players: u64) {
        let mut region = Region::options().capacity(32 << 20).create(&self.name).expect("create");
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        let options = TableOptions::default().checksums(self.checksums);
        region
            .write(&pass, |tx| {
                let map: Map<u64, v1::Player> = Map::create_with(tx, "players", options)?;
                for id in 0..players {
                    map.insert(tx, &id, &player_v1(id))?;
                }
                shmstate::Result::Ok(())
            })
            .expect("fill");
    }

    /// Makes the region, and in it what `fill` does.
    pub(crate) fn make(&self, fill: impl FnOnce(&mut Tx<'_>) -> shmstate::Result<()>) {
        let mut region = Region::options().capacity(32 << 20).create(&self.name).expect("create");
        let gate = region.gate().clone();
        region.write(&gate.enter().expect("pass"), fill).expect("fill");
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn open(&self) -> Region {
        Region::options().open(&self.name).expect("open")
    }

    pub(crate) fn open_v2(&self) -> (Region, Map<u64, PlayerV2>) {
        let region = self.open();
        let players = Map::open_migrating(&region, "players", shapes::to_v2()).expect("open version 2");
        (region, players)
    }

    pub(crate) fn open_v2_with_way_back(&self) -> (Region, Map<u64, PlayerV2>) {
        let region = self.open();
        let steps = shapes::to_v2().back::<v1::Player>();
        let players = Map::open_migrating(&region, "players", steps).expect("open version 2");
        (region, players)
    }

    pub(crate) fn open_v1(&self) -> shmstate::Result<(Region, Map<u64, v1::Player>)> {
        let region = self.open();
        let players = Map::open(&region, "players")?;
        Ok((region, players))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = Region::remove(&self.name);
    }
}

pub(crate) fn player_v1(id: u64) -> v1::Player {
    v1::Player {
        name: format!("p{id}"),
        score: id as u32 * 3,
        title: 5,
    }
}

/// Everything in the region agrees, the numbers of records of each version too.
pub(crate) fn check(region: &mut Region) {
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let found = verify(&region.read(&pass).expect("read")).expect("verify");
    assert!(
        found.is_sound(),
        "{:?} {:?} {:?}",
        found.faults,
        found.leaked,
        found.dangling
    );
}
