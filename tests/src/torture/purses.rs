//! A table whose records change their shape, for each process that works on it writes its own: what migrates and its twins must hold too.
//!
//! - **W15** Purses add up to what they were at the start, read by either version; both find the same in each, and every mark is that of its
//!   purse. The version before can always go on, for the other keeps its way back: it finds the keepsake, which the second has no place for,
//!   in each purse that the second did not make.
//!
//! Of two processes that follow each other one may be of version 1 and the other of version 2, in either order.

use rkyv::{Archive, Deserialize, Serialize};
use shmstate::{Map, Migrate, Reader, Region, Result, Schema, Steps, Tx};
use std::collections::BTreeMap;

/// Purses at the start, and the keys that they can have.
const PURSES: u32 = 96;
const KEYS: u32 = 128;
/// What is in each.
const CONTENT: u32 = 500;
const TABLE: &str = "purses";

/// The first version.
#[derive(Archive, Serialize, Deserialize, Schema, Clone, Debug)]
#[schema(name = "Purse")]
pub(super) struct One {
    content: u32,
    /// Says that the record is whole, and whose it is.
    mark: u32,
    /// Follows from the owner; 0 in a purse that the second version has made.
    keepsake: u16,
    /// Of a length that follows from the content.
    coins: Vec<u8>,
}

/// The second, which is wider and marks otherwise.
#[derive(Archive, Serialize, Deserialize, Schema, Clone, Debug)]
#[schema(name = "Purse", version = 2)]
pub(super) struct Two {
    owner: u32,
    content: u64,
    mark: u64,
    /// It was not there before: it has no keepsake.
    bare: bool,
    coins: Vec<u8>,
}

fn coins(content: u64) -> Vec<u8> {
    vec![content as u8; content as usize % 67]
}

fn mark(owner: u32, content: u64) -> u64 {
    (u64::from(owner) << 32 | content).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn keepsake(owner: u32) -> u16 {
    owner as u16 | 0x8000
}

impl Migrate<One> for Two {
    fn migrate(old: One) -> Self {
        // The owner stands in the mark, so that a record that is not its own shows.
        let owner = old.mark ^ old.content;
        Two {
            bare: old.keepsake == 0,
            ..Two::new(owner, old.content.into())
        }
    }
}

impl Migrate<Two> for One {
    fn migrate(new: Two) -> Self {
        One {
            keepsake: 0,
            ..One::new(new.owner, new.content)
        }
    }

    fn migrate_over(new: Two, before: Self) -> Self {
        One {
            keepsake: before.keepsake,
            ..Self::migrate(new)
        }
    }

    fn wants_before() -> bool {
        true
    }
}

/// A purse of either version.
trait Purse: shmstate::OwnedValue {
    /// One that is made.
    fn new(owner: u32, content: u64) -> Self;
    /// The same in place of one that is there.
    fn renewed(before: &Self::Archived, owner: u32, content: u64) -> Self;
    fn content(purse: &Self::Archived) -> u64;
    /// What it has for a keepsake, or would have.
    fn keepsake(purse: &Self::Archived) -> u16;
    /// Whether it is whole, and this key's.
    fn is_whole(purse: &Self::Archived, owner: u32) -> bool;
    /// Changes it in place, to a content with as many coins.
    fn set(purse: &mut shmstate::RecordMut<'_, '_, Self>, owner: u32, content: u64) -> Result<()>;
}

impl Purse for One {
    fn new(owner: u32, content: u64) -> Self {
        let content32 = content as u32;
        Self {
            content: content32,
            mark: owner ^ content32,
            keepsake: keepsake(owner),
            coins: coins(content),
        }
    }

    fn renewed(before: &Self::Archived, owner: u32, content: u64) -> Self {
        Self {
            keepsake: before.keepsake.to_native(),
            ..Self::new(owner, content)
        }
    }

    fn keepsake(purse: &Self::Archived) -> u16 {
        purse.keepsake.to_native()
    }

    fn content(purse: &Self::Archived) -> u64 {
        purse.content.to_native().into()
    }

    fn is_whole(purse: &Self::Archived, owner: u32) -> bool {
        let content = Self::content(purse);
        purse.mark.to_native() == owner ^ content as u32 && *purse.coins == *coins(content)
    }

    fn set(purse: &mut shmstate::RecordMut<'_, '_, Self>, owner: u32, content: u64) -> Result<()> {
        purse.set(|p| &p.content, (content as u32).into())?;
        purse.set(|p| &p.mark, (owner ^ content as u32).into())?;
        for i in 0..purse.coins.len() {
            purse.set(|p| &p.coins[i], content as u8)?;
        }
        Ok(())
    }
}

impl Purse for Two {
    fn new(owner: u32, content: u64) -> Self {
        Self {
            owner,
            content,
            mark: mark(owner, content),
            bare: true,
            coins: coins(content),
        }
    }

    fn renewed(before: &Self::Archived, owner: u32, content: u64) -> Self {
        Self {
            bare: before.bare,
            ..Self::new(owner, content)
        }
    }

    fn keepsake(purse: &Self::Archived) -> u16 {
        match purse.bare {
            true => 0,
            false => keepsake(purse.owner.to_native()),
        }
    }

    fn content(purse: &Self::Archived) -> u64 {
        purse.content.to_native()
    }

    fn is_whole(purse: &Self::Archived, owner: u32) -> bool {
        let content = Self::content(purse);
        let whole = purse.mark.to_native() == mark(owner, content) && *purse.coins == *coins(content);
        whole && purse.owner.to_native() == owner
    }

    fn set(purse: &mut shmstate::RecordMut<'_, '_, Self>, owner: u32, content: u64) -> Result<()> {
        purse.set(|p| &p.content, content.into())?;
        purse.set(|p| &p.mark, mark(owner, content).into())?;
        for i in 0..purse.coins.len() {
            purse.set(|p| &p.coins[i], content as u8)?;
        }
        Ok(())
    }
}

/// The table, as the version that opened it has it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purses {
    One(Map<u32, One>),
    Two(Map<u32, Two>),
}

fn two(region: &Region) -> Result<Map<u32, Two>> {
    Map::open_migrating(region, TABLE, Steps::new().from::<One>().back::<One>())
}

impl Purses {
    /// Makes it, by version 1.
    pub(super) fn create(tx: &mut Tx<'_>) -> Result<Self> {
        let map = Map::create(tx, TABLE)?;
        for owner in 0..PURSES {
            map.insert(tx, &owner, &One::new(owner, CONTENT.into()))?;
        }
        Ok(Self::One(map))
    }

    /// Finds it, for a process whose version follows from a number.
    pub(super) fn open(region: &Region, number: u64) -> Result<Self> {
        Ok(match number % 2 {
            0 => Self::One(Map::open(region, TABLE)?),
            _ => Self::Two(two(region)?),
        })
    }

    /// Moves contents about, and lets a few records migrate.
    pub(super) fn change(self, tx: &mut Tx<'_>, random: &mut fastrand::Rng) -> Result<()> {
        match self {
            Self::One(map) => change(map, tx, random),
            Self::Two(map) => change(map, tx, random),
        }
    }

    /// What of W15 does not hold.
    pub(super) fn faults(region: &Region, reader: &Reader<'_>, faults: &mut Vec<String>) -> Result<()> {
        let one: Map<u32, One> = Map::open(region, TABLE)?;
        let of_one = contents(one, reader, "version 1", faults)?;
        let of_two = contents(two(region)?, reader, "version 2", faults)?;
        let sum: u64 = of_one.values().map(|(content, _)| content).sum();
        if sum != u64::from(PURSES) * u64::from(CONTENT) {
            faults.push(format!("purses: {} of them add up to {sum}", of_one.len()));
        }
        if of_one != of_two {
            faults.push("purses: the versions do not find the same".to_owned());
        }
        Ok(())
    }
}

fn contents<P: Purse>(
    map: Map<u32, P>,
    reader: &Reader<'_>,
    who: &str,
    faults: &mut Vec<String>,
) -> Result<BTreeMap<u32, (u64, u16)>> {
    let mut found = BTreeMap::new();
    for item in map.iter(reader)? {
        let (owner, purse) = item?;
        if !P::is_whole(purse, owner) {
            faults.push(format!("purses: {who} finds that of {owner} torn"));
        }
        found.insert(owner, (P::content(purse), P::keepsake(purse)));
    }
    Ok(found)
}

fn change<P: Purse>(map: Map<u32, P>, tx: &mut Tx<'_>, random: &mut fastrand::Rng) -> Result<()> {
    if random.u8(..8) == 0 {
        map.sweep(tx, random.u64(1..6))?;
    }
    if random.u8(..16) == 0 {
        map.compact(tx, 4)?;
    }
    for _ in 0..random.usize(1..4) {
        let [from, to] = [(); 2].map(|()| random.u32(..KEYS));
        let Some(there) = map.get(tx, &from)?.map(P::content) else {
            continue;
        };
        if from == to {
            continue;
        }
        let amount = if random.u8(..4) == 0 {
            there
        } else {
            random.u64(..=there)
        };
        give(map, tx, from, there - amount, random)?;
        let before = map.get(tx, &to)?.map_or(0, P::content);
        give(map, tx, to, before + amount, random)?;
    }
    Ok(())
}

/// Lets a purse have a content: takes it away, changes it in place, or writes it anew.
fn give<P: Purse>(
    map: Map<u32, P>,
    tx: &mut Tx<'_>,
    owner: u32,
    content: u64,
    random: &mut fastrand::Rng,
) -> Result<()> {
    if content == 0 && random.bool() {
        return map.remove(tx, &owner).map(|_| ());
    }
    if let Some(mut purse) = map.get_mut(tx, &owner)?
        && coins(P::content(&purse)).len() == coins(content).len()
    {
        return P::set(&mut purse, owner, content);
    }
    let purse = match map.get(tx, &owner)? {
        Some(before) => P::renewed(before, owner, content),
        None => P::new(owner, content),
    };
    map.insert(tx, &owner, &purse).map(|_| ())
}
