//! Monsters: they fill the world, and each of them moves at least once a second.

use crate::server::player::Player;
use crate::server::world::{Monster, World};
use shmstate::{Pass, Region, Result, Tx, View};

/// Ticks in which every monster moves once.
const ROUND: u64 = 60;
/// Monsters made in one transaction.
const BATCH: u64 = 4096;

fn make(id: u64) -> Monster {
    let kinds = ["goblin", "wyvern", "lich", "ogre of the northern marshes", "imp"];
    let kind = kinds[(id % kinds.len() as u64) as usize];
    Monster {
        name: format!("{kind} {id:07}"),
        lore: format!(
            "seen near the {} gate at dusk; {}",
            id % 97,
            "it waits. ".repeat((id % 9) as usize)
        ),
        loot: (0..(id * 7 % 31) as u16).collect(),
        position: [(id % 4096) as i32, (id / 4096) as i32],
        energy: 100,
        moved: 0,
    }
}

/// Makes monsters until the world has `bytes` of archives. Gives how many there are.
pub(crate) fn populate<P: Player>(world: World<P>, region: &mut Region, pass: &Pass<'_>, bytes: u64) -> Result<u64> {
    region.reserve(pass, bytes / 2 * 3)?;
    loop {
        let mut tx = region.begin(pass)?;
        let mut count = world.monsters.len(&tx)?;
        if world.archived_bytes(&tx)? >= bytes {
            return Ok(count);
        }
        for id in count..count + BATCH {
            world.monsters.insert(&mut tx, &id, &make(id))?;
        }
        count += BATCH;
        let clock = world.clock.get(&tx)?;
        let energy = clock.energy.to_native() + BATCH as i64 * 100;
        world.clock.get_mut(&mut tx)?.set(|c| &c.energy, energy.into())?;
        tx.commit()?;
        debug_assert!(count > 0);
    }
}

/// Moves a sixtieth of the monsters, in the tick's transaction. Energy is passed on, so its sum changes in known steps.
pub(crate) fn tick<P: Player>(world: World<P>, tx: &mut Tx<'_>, tick: u64) -> Result<()> {
    let count = world.monsters.len(tx)?;
    if count == 0 {
        return Ok(());
    }
    let clock = world.clock.get(tx)?;
    let (mut next, mut energy) = (clock.next_monster.to_native() % count, clock.energy.to_native());
    for _ in 0..count.div_ceil(ROUND) {
        if let Some(mut monster) = world.monsters.get_mut(tx, &next)? {
            let [x, y] = monster.position.map(|p| p.to_native());
            let step = (tick ^ next) as i32 & 3;
            let gain = i64::from(step) - 1;
            let before = monster.energy.to_native();
            monster.set(
                |m| &m.position,
                [x.wrapping_add(step - 1).into(), y.wrapping_add(1 - step).into()],
            )?;
            monster.set(|m| &m.energy, (before + gain).into())?;
            monster.set(|m| &m.moved, tick.into())?;
            energy += gain;
        }
        next = if next + 1 == count { 0 } else { next + 1 };
    }
    let mut clock = world.clock.get_mut(tx)?;
    clock.set(|c| &c.next_monster, next.into())?;
    clock.set(|c| &c.energy, energy.into())
}

/// What a walk over all monsters and players finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Census {
    /// Sum of the energy of all, and what the clock says it is.
    pub(crate) energy: (i64, i64),
    /// Monsters that did not move for more than a round and a bit.
    pub(crate) asleep: u64,
    /// Times that players have said something, and letters: in all tallies, and what the clock says it is.
    pub(crate) said: ([u64; 2], [u64; 2]),
}

/// Walks over all monsters and players.
pub(crate) fn census<P: Player>(world: World<P>, view: &View) -> Result<Census> {
    let clock = world.clock.get(view)?;
    let tick = clock.tick.to_native();
    let mut census = Census {
        energy: (0, clock.energy.to_native()),
        asleep: 0,
        said: ([0, 0], clock.said.map(|said| said.to_native())),
    };
    for item in world.monsters.iter(view)? {
        let (_, monster) = item?;
        census.energy.0 += monster.energy.to_native();
        census.asleep += u64::from(tick > ROUND && monster.moved.to_native() + ROUND < tick);
    }
    if let Some(tallies) = world.tallies {
        for player in world.players.keys(view)? {
            let (times, letters) = tallies.of(view, player?)?;
            census.said.0[0] += times;
            census.said.0[1] += letters;
        }
    }
    Ok(census)
}
