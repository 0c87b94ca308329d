//! Two versions of a world: players by number with their bags, then citizens by zone and number, and each thing by itself.

use rkyv::{Archive, Deserialize, Serialize};
use shmstate::{Error, Map, Move, Moving, Region, Result, Schema, Targets, Tx};

/// What version 1 knows.
#[derive(Archive, Serialize, Deserialize, Schema, Clone, Debug, PartialEq)]
pub(crate) struct Player {
    pub(crate) name: String,
    pub(crate) score: u32,
    pub(crate) bag: Vec<u16>,
}

#[derive(Archive, Serialize, Deserialize, Schema, Clone, Debug, PartialEq)]
pub(crate) struct Citizen {
    pub(crate) name: String,
    pub(crate) score: u64,
    /// Only version 2 has it.
    pub(crate) mana: u8,
}

#[derive(Archive, Serialize, Deserialize, Schema, Clone, Debug, PartialEq)]
pub(crate) struct Thing {
    pub(crate) kind: u16,
}

pub(crate) type Players = Map<u32, Player>;
pub(crate) type Citizens = Map<(u16, u32), Citizen>;
/// Player, then number of the thing.
pub(crate) type Things = Map<(u32, u16), Thing>;

pub(crate) fn zone(id: u32) -> (u16, u32) {
    ((id % 7) as u16, id)
}

pub(crate) fn player(id: u32) -> Player {
    Player {
        name: format!("p{id} {}", "x".repeat(id as usize % 50)),
        score: id * 3,
        bag: (0..id % 4).map(|i| (id + i) as u16).collect(),
    }
}

/// The move, from 1 to 2, without a way back.
pub(crate) fn one_way() -> Move<u32, Player> {
    Move::<u32, Player>::of("players")
        .to::<(u16, u32), Citizen>(
            "citizens",
            |(zone_of, id)| (*zone_of == zone(*id).0).then_some(*id),
            |_, id, player| {
                let citizen = Citizen {
                    name: player.name.clone(),
                    score: player.score.into(),
                    mana: 100,
                };
                Ok(vec![(zone(*id), citizen)])
            },
        )
        .to::<(u32, u16), Thing>(
            "things",
            |(id, _)| Some(*id),
            |_, id, player| {
                let things = player.bag.iter().enumerate();
                Ok(things
                    .map(|(i, kind)| ((*id, i as u16), Thing { kind: *kind }))
                    .collect())
            },
        )
}

/// The same with a way back.
pub(crate) fn two_way() -> Move<u32, Player> {
    one_way().back(|targets, id, _| player_of(targets, *id))
}

/// What version 1 would call what version 2 has.
fn player_of(targets: &Targets<'_>, id: u32) -> Result<Option<Player>> {
    let citizens: Citizens = targets.map("citizens")?;
    let things: Things = targets.map("things")?;
    let Some(citizen) = citizens.get(targets, &zone(id))? else {
        return Ok(None);
    };
    let mut bag = Vec::new();
    while let Some(thing) = things.get(targets, &(id, bag.len() as u16))? {
        bag.push(thing.kind.to_native());
    }
    Ok(Some(Player {
        name: citizen.name.to_string(),
        score: citizen.score.to_native().try_into().unwrap_or(u32::MAX),
        bag,
    }))
}

/// Version 2 of the program: the move and its tables.
pub(crate) struct Two {
    pub(crate) region: Region,
    pub(crate) moving: Moving<u32, Player>,
    pub(crate) citizens: Citizens,
    pub(crate) things: Things,
}

impl Two {
    /// Takes a region over.
    pub(crate) fn over(mut region: Region, moving: Move<u32, Player>) -> Result<Self> {
        let moving = moving.open(&region)?;
        let gate = region.gate().clone();
        let pass = gate.enter()?;
        let (citizens, things) = region.write(&pass, |tx| {
            Ok::<_, Error>((Map::open_or_create(tx, "citizens")?, Map::open_or_create(tx, "things")?))
        })?;
        Ok(Self {
            region,
            moving,
            citizens,
            things,
        })
    }

    pub(crate) fn write<R>(&mut self, change: impl FnOnce(&mut Tx<'_>, Citizens, Things) -> Result<R>) -> Result<R> {
        let gate = self.region.gate().clone();
        let pass = gate.enter()?;
        let (citizens, things) = (self.citizens, self.things);
        self.region.write(&pass, |tx| change(tx, citizens, things))
    }

    /// What is there of a player, in version 1's words, and the mana.
    pub(crate) fn get(&self, id: u32) -> Option<(Player, u8)> {
        let gate = self.region.gate().clone();
        let pass = gate.enter().expect("pass");
        let reader = self.region.read(&pass).expect("read");
        let citizen = self.citizens.get(&reader, &zone(id)).expect("get")?;
        let mut bag = Vec::new();
        while let Some(thing) = self.things.get(&reader, &(id, bag.len() as u16)).expect("get") {
            bag.push(thing.kind.to_native());
        }
        let player = Player {
            name: citizen.name.to_string(),
            score: citizen.score.to_native() as u32,
            bag,
        };
        Some((player, citizen.mana))
    }

    /// Sweeps until nothing is left; says how many records that were.
    pub(crate) fn sweep_all(&mut self) -> u64 {
        let (moving, mut all) = (self.moving.clone(), 0);
        loop {
            let swept = self.write(|tx, _, _| moving.sweep(tx, 100)).expect("sweep");
            all += swept.done;
            if swept.left == 0 {
                return all;
            }
            assert!(all < 1 << 24, "no end: {swept:?}");
        }
    }

    pub(crate) fn left(&self) -> u64 {
        let gate = self.region.gate().clone();
        let pass = gate.enter().expect("pass");
        let reader = self.region.read(&pass).expect("read");
        self.moving.left(&reader).expect("left")
    }
}
