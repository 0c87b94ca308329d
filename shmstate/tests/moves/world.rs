//! A region by name, gone at the end.

use crate::shapes::{Player, Players, Two, player};
use shmstate::{Map, Move, Region, Result, Tx, verify};
use std::sync::atomic::{AtomicU32, Ordering};

static NEXT: AtomicU32 = AtomicU32::new(0);

pub(crate) struct World {
    name: String,
}

impl World {
    pub(crate) fn new(what: &str) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let world = Self {
            name: format!("test-moves-{what}-{}-{number}", std::process::id()),
        };
        Region::options()
            .capacity(64 << 20)
            .create(&world.name)
            .expect("create");
        world
    }

    /// One with so many players of version 1.
    pub(crate) fn of_players(what: &str, players: u32) -> Self {
        let world = Self::new(what);
        world.write(|tx| {
            let map: Players = Map::create(tx, "players")?;
            for id in 0..players {
                map.insert(tx, &id, &player(id))?;
            }
            Ok(())
        });
        world
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn open(&self) -> Region {
        Region::options().open(&self.name).expect("open")
    }

    /// A process that does this and ends.
    pub(crate) fn write(&self, change: impl FnOnce(&mut Tx<'_>) -> Result<()>) {
        let mut region = self.open();
        let gate = region.gate().clone();
        region.write(&gate.enter().expect("pass"), change).expect("write");
        check(&mut region);
    }

    /// The tables that there are, those of the library's own too.
    pub(crate) fn names(&self) -> Vec<String> {
        let found = shmstate::Inspection::of(&self.name).expect("inspect");
        let mut names: Vec<String> = found.tables.into_iter().map(|table| table.name).collect();
        names.sort_unstable();
        names
    }

    /// Version 2.
    pub(crate) fn two(&self, moving: Move<u32, Player>) -> Two {
        Two::over(self.open(), moving).expect("version 2")
    }

    /// Version 1, which knows nothing of a move.
    pub(crate) fn one(&self) -> Result<(Region, Players)> {
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

/// Nothing is wrong, leaked or dangling.
pub(crate) fn check(region: &mut Region) {
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    region.begin(&pass).expect("begin").rollback();
    let found = verify(&region.read(&pass).expect("read")).expect("verify");
    assert!(found.is_sound(), "{found:?}");
}

/// A player as version 1 sees it.
pub(crate) fn get_one(region: &Region, players: &Players, id: u32) -> Option<Player> {
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let reader = region.read(&pass).expect("read");
    let player = players.get(&reader, &id).expect("get")?;
    Some(Player {
        name: player.name.to_string(),
        score: player.score.to_native(),
        bag: player.bag.iter().map(|kind| kind.to_native()).collect(),
    })
}
