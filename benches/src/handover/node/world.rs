//! The server's tables, and what a tick does to them.

use crate::handover::frames::{REPLY, REQUEST, Reply, asked};
use rkyv::{Archive, Serialize};
use shmstate::{Cell, Map, Pass, Region, Result, Rings, Schema, StreamId, Streams, Tx, View};

/// Bytes of a body's ballast: a record of a few cache lines would make the largest regions take minutes to fill.
const BALLAST: usize = 2048;
/// Bodies that a tick moves.
const MOVED: u64 = 64;
/// Bodies that one transaction makes.
const MADE: u64 = 256;
/// What a connection may have unread and unsent.
const RINGS: Rings = Rings {
    input: 1024,
    output: 1024,
};

/// Most of a world.
#[derive(Archive, Serialize, Schema, Clone, Debug)]
#[schema(version = 1)]
pub(super) struct Body {
    moved: u64,
    ballast: Vec<u8>,
}

/// What there is one of.
#[derive(Archive, Serialize, Schema, Clone, Debug, Default)]
#[schema(version = 1)]
pub(super) struct Clock {
    tick: u64,
    /// When the last tick was about to commit, ns of CLOCK_MONOTONIC.
    stamp: u64,
}

/// The tables of the first region.
#[derive(Clone, Copy, Debug)]
pub(super) struct World {
    bodies: Map<u64, Body>,
    clock: Cell<Clock>,
    pub(super) streams: Streams,
}

impl World {
    /// Finds the tables while another process serves them.
    pub(super) fn open(region: &Region) -> Result<Self> {
        Ok(Self {
            bodies: Map::open(region, "bodies")?,
            clock: Cell::open(region, "clock")?,
            streams: Streams::open(region, "streams")?,
        })
    }

    /// Makes the tables.
    pub(super) fn create(tx: &mut Tx<'_>) -> Result<Self> {
        Ok(Self {
            bodies: Map::open_or_create(tx, "bodies")?,
            clock: Cell::open_or_create(tx, "clock", &Clock::default())?,
            streams: Streams::open_or_create(tx, "streams", RINGS)?,
        })
    }

    /// Makes bodies until there are so many bytes of archives.
    pub(super) fn fill(&self, region: &mut Region, pass: &Pass<'_>, bytes: u64) -> Result<()> {
        loop {
            let have = {
                let reader = region.read(pass)?;
                (self.bodies.len(&reader)?, self.bodies.archived_bytes(&reader)?)
            };
            let (count, archived) = have;
            if archived >= bytes {
                return Ok(());
            }
            let missing = (bytes - archived).div_ceil(BALLAST as u64).min(MADE);
            region.write(pass, |tx| {
                for key in count..count + missing {
                    let body = Body {
                        moved: 0,
                        ballast: vec![key as u8; BALLAST],
                    };
                    self.bodies.insert(tx, &key, &body)?;
                }
                Ok(())
            })?;
        }
    }

    /// Bytes of the archives.
    pub(super) fn archived(&self, view: &View) -> Result<u64> {
        self.bodies.archived_bytes(view)
    }

    /// When the last tick was about to commit, ns.
    pub(super) fn last_tick(&self, view: &View) -> Result<u64> {
        Ok(self.clock.get(view)?.stamp.to_native())
    }

    /// Moves some bodies, spread over all.
    pub(super) fn tick(&self, tx: &mut Tx<'_>) -> Result<()> {
        let tick = self.clock.get(tx)?.tick.to_native() + 1;
        let count = self.bodies.len(tx)?.max(1);
        for step in 0..MOVED.min(count) {
            let key = tick
                .wrapping_mul(MOVED)
                .wrapping_add(step)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                % count;
            if let Some(mut body) = self.bodies.get_mut(tx, &key)? {
                body.set(|b| &b.moved, tick.into())?;
            }
        }
        self.clock.get_mut(tx)?.set(|c| &c.tick, tick.into())
    }

    /// The last change of a tick.
    pub(super) fn stamp(&self, tx: &mut Tx<'_>) -> Result<()> {
        let now = shmstate::monotonic_ns();
        self.clock.get_mut(tx)?.set(|c| &c.stamp, now.into())
    }

    /// Answers what a connection asked, as far as there is room. `false` if the connection is to end.
    pub(super) fn answer(&self, tx: &mut Tx<'_>, id: StreamId, who: u32) -> Result<bool> {
        let mut used = 0;
        let mut bytes = [0; REQUEST];
        loop {
            let input = self.streams.input(tx, id)?;
            if input.len() < used + REQUEST || self.streams.room(tx, id)? < REPLY as u64 {
                break;
            }
            input.copy_to(used, &mut bytes);
            let Some(number) = asked(&bytes) else {
                return Ok(false);
            };
            used += REQUEST;
            let answered = self.streams.user(tx, id)? + 1;
            self.streams.set_user(tx, id, answered)?;
            let reply = Reply { who, number, answered };
            self.streams.produce(tx, id, &reply.bytes())?;
        }
        if used > 0 {
            self.streams.consume(tx, id, used)?;
        }
        Ok(true)
    }
}

/// What regions beyond the first hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Annex(Cell<Clock>);

impl Annex {
    /// Finds the table.
    pub(super) fn open(region: &Region) -> Result<Self> {
        Ok(Self(Cell::open(region, "clock")?))
    }

    /// Makes the table.
    pub(super) fn create(tx: &mut Tx<'_>) -> Result<Self> {
        Ok(Self(Cell::open_or_create(tx, "clock", &Clock::default())?))
    }

    /// One tick of it.
    pub(super) fn tick(&self, tx: &mut Tx<'_>) -> Result<()> {
        let tick = self.0.get(tx)?.tick.to_native() + 1;
        self.0.get_mut(tx)?.set(|c| &c.tick, tick.into())
    }
}
