//! Observers against owners that work, stand still, or are dead.

mod checked;
mod crowd;
mod damage;
pub(crate) mod interleave;
mod maps;
mod ordered;
mod process;
mod queue;
mod round;
mod slots;

use crate::observe::Observer;
use crate::{
    Cell, Gap, Map, OrderedMap, Queue, Region, Result, Schema, Slab, SlabId, TableOptions, TimerId, Timers, Tx,
    Validation,
};
use rkyv::{Archive, Serialize};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// A name that no other test uses, removed at the end, also of a failing test.
pub(crate) struct Name(pub(crate) String);

impl Name {
    pub(crate) fn new(what: &str) -> Self {
        Self(format!("shmstate-observe-{what}-{}", std::process::id()))
    }

    /// The object as a file, to be written around everything.
    pub(crate) fn file(&self) -> File {
        File::options()
            .read(true)
            .write(true)
            .open(format!("/dev/shm/{}", self.0))
            .expect("object")
    }

    /// An object with these bytes.
    pub(crate) fn write(&self, image: &[u8]) -> File {
        let file = File::create_new(format!("/dev/shm/{}", self.0)).expect("object");
        file.set_len(image.len() as u64).expect("length");
        for (i, page) in image.chunks(4096).enumerate() {
            if page.iter().any(|byte| *byte != 0) {
                file.write_all_at(page, i as u64 * 4096).expect("page");
            }
        }
        drop(file);
        self.file()
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let _ = Region::remove(&self.0);
    }
}

/// A record whose parts say whether they belong together: the name's length, both numbers and the sum.
#[derive(Archive, Serialize, Schema, Clone, Debug, PartialEq)]
#[rkyv(derive(Debug))]
pub(crate) struct Player {
    pub(crate) name: String,
    pub(crate) low: u64,
    pub(crate) bag: Vec<u32>,
    pub(crate) high: u64,
}

pub(crate) fn player(seed: u64) -> Player {
    let length = seed % 41;
    Player {
        name: char::from(b'a' + (seed % 26) as u8).to_string().repeat(length as usize),
        low: seed,
        bag: vec![seed as u32; (seed % 7) as usize],
        high: seed,
    }
}

/// A player as it was before it was archived.
pub(crate) fn owned(player: &ArchivedPlayer) -> Player {
    Player {
        name: player.name.to_string(),
        low: player.low.to_native(),
        bag: player.bag.iter().map(|x| x.to_native()).collect(),
        high: player.high.to_native(),
    }
}

/// Whether a player is one that was written as a whole.
pub(crate) fn is_whole(seen: &ArchivedPlayer) -> bool {
    let expected = player(seen.low.to_native());
    seen.high == expected.high
        && seen.name == expected.name
        && seen.bag.iter().map(|x| x.to_native()).eq(expected.bag.iter().copied())
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Tables {
    pub(crate) players: Map<u64, Player>,
    pub(crate) ledger: Map<u32, (u64, u64)>,
    pub(crate) clock: Cell<(u64, u64)>,
}

/// One table of each further kind.
#[derive(Clone, Debug)]
pub(crate) struct Others {
    pub(crate) slab: Slab<Player>,
    pub(crate) ids: Vec<SlabId>,
    pub(crate) queue: Queue<Player>,
    pub(crate) timers: Timers<Player>,
    pub(crate) timer_ids: Vec<TimerId>,
    pub(crate) board: OrderedMap<u32, Player>,
    pub(crate) names: OrderedMap<String, Player>,
}

/// Each with so many players.
pub(crate) fn create_others(tx: &mut Tx<'_>, count: u64) -> Result<Others> {
    let mut others = Others {
        slab: Slab::create(tx, "slab")?,
        ids: Vec::new(),
        queue: Queue::create(tx, "queue")?,
        timers: Timers::create(tx, "timers", Gap::All)?,
        timer_ids: Vec::new(),
        board: OrderedMap::create(tx, "board")?,
        names: OrderedMap::create_with(tx, "names", TableOptions::default().checksums(true))?,
    };
    for i in 0..count {
        others.ids.push(others.slab.insert(tx, &player(i))?);
        others.queue.push_back(tx, &player(i))?;
        others
            .timer_ids
            .push(others.timers.insert(tx, 1000 + i * 7 % 100, &player(i))?);
        others.board.insert(tx, &(i as u32), &player(i))?;
        others
            .names
            .insert(tx, &format!("they all begin alike {i}"), &player(i))?;
    }
    Ok(others)
}

/// A validation of all of them.
pub(crate) fn validate_others(observer: &Observer) -> Result<Validation<'_>> {
    observer
        .validate()
        .slab::<Player>("slab")?
        .queue::<Player>("queue")?
        .timers::<Player>("timers")?
        .ordered_map::<u32, Player>("board")?
        .ordered_map::<String, Player>("names")
}

pub(crate) const ACCOUNTS: u32 = 8;
pub(crate) const PLAYERS: u64 = 12;
pub(crate) const EACH: u64 = 1000;

pub(crate) fn create(tx: &mut Tx<'_>) -> Result<Tables> {
    let tables = Tables {
        players: Map::create(tx, "players")?,
        ledger: Map::create(tx, "ledger")?,
        clock: Cell::create(tx, "clock", &(0, 0))?,
    };
    for i in 0..ACCOUNTS {
        tables.ledger.insert(tx, &i, &(EACH, 0))?;
    }
    for i in 0..PLAYERS {
        tables.players.insert(tx, &i, &player(i))?;
    }
    Ok(tables)
}

pub(crate) fn open(region: &Region) -> Tables {
    Tables {
        players: Map::open(region, "players").expect("players"),
        ledger: Map::open(region, "ledger").expect("ledger"),
        clock: Cell::open(region, "clock").expect("clock"),
    }
}

/// Moves an amount between two accounts; both note how often they were part of that.
pub(crate) fn transfer(tx: &mut Tx<'_>, tables: &Tables, from: u32, to: u32, amount: u64) -> Result<()> {
    for (account, amount) in [(from, amount.wrapping_neg()), (to, amount)] {
        let mut record = tables.ledger.get_mut(tx, &account)?.expect("account");
        let (held, moves) = (record.0.to_native(), record.1.to_native());
        record.set(|r| &r.0, held.wrapping_add(amount).into())?;
        record.set(|r| &r.1, (moves + 1).into())?;
    }
    Ok(())
}

/// The sum over all accounts of one snapshot.
pub(crate) fn sum(observer: &Observer) -> Result<u64> {
    let ledger = observer.map::<u32, (u64, u64)>("ledger")?;
    observer.snapshot(|s| {
        let mut sum = 0u64;
        for account in 0..ACCOUNTS {
            let seen = ledger.get(s, &account)?;
            sum = sum.wrapping_add(seen.map_or(0, |seen| seen.0.to_native()));
        }
        Ok(sum)
    })
}
