//! A table of small records beside the bodies, which a server writes in the version before or in the one after.
//!
//! Two servers of both versions take turns for ever with all records pending at each cutover from the older to the newer: what a server
//! touches are always the same few ([`TOUCHED`]), which the newer one makes its own and the older one its own again; nothing is swept.

use crate::small::{One, Two, one};
use shmstate::{Map, Pass, Region, Result, Steps, Tx};

const NAME: &str = "crowd";
/// Records that each tick changes, spread over all.
pub(crate) const TOUCHED: u64 = 64;
/// Records that one transaction makes.
const MADE: u64 = 4096;
/// Address space for each record.
pub(super) const SPACE: u64 = 512;

/// The table, as this program writes it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Crowd {
    One(Map<u64, One>),
    Two(Map<u64, Two>),
}

impl Crowd {
    /// Finds the table while another process serves it; `next`: as a program of the version after.
    pub(super) fn open(region: &Region, next: bool) -> Result<Self> {
        Ok(if next {
            let steps = Steps::new().from::<One>().back::<One>();
            Self::Two(Map::open_migrating(region, NAME, steps)?)
        } else {
            Self::One(Map::open(region, NAME)?)
        })
    }

    /// Makes the table, of the version before.
    pub(super) fn create(region: &mut Region, pass: &Pass<'_>, records: u64) -> Result<Self> {
        let map: Map<u64, One> = region.write(pass, |tx| Map::create(tx, NAME))?;
        for begin in (0..records).step_by(MADE as usize) {
            region.write(pass, |tx| {
                for id in begin..records.min(begin + MADE) {
                    map.insert(tx, &id, &one(id))?;
                }
                Result::Ok(())
            })?;
        }
        Ok(Self::One(map))
    }

    /// How many records are not of this program's version.
    pub(super) fn pending(&self, tx: &Tx<'_>) -> Result<u64> {
        match self {
            Self::One(map) => map.unswept(tx),
            Self::Two(map) => map.unswept(tx),
        }
    }

    /// Changes a few records.
    pub(super) fn tick(&self, tx: &mut Tx<'_>) -> Result<()> {
        let step = match self {
            Self::One(map) => map.len(tx)?,
            Self::Two(map) => map.len(tx)?,
        } / TOUCHED;
        for id in (0..TOUCHED).map(|i| i * step) {
            match self {
                Self::One(map) => {
                    if let Some(mut record) = map.get_mut(tx, &id)? {
                        let score = record.score.to_native().wrapping_add(1);
                        record.set(|r| &r.score, score.into())?;
                    }
                }
                Self::Two(map) => {
                    if let Some(mut record) = map.get_mut(tx, &id)? {
                        let score = record.score.to_native().wrapping_add(1);
                        record.set(|r| &r.score, score.into())?;
                    }
                }
            }
        }
        Ok(())
    }
}
