//! The server's tables, and the protocol of its connections.
//!
//! A client says `hello ID`, and is told `welcome N`: how many of its requests were answered before. Then it sends requests,
//! `N+1`, `N+2` and so on, one number a line; each is answered by `number visitor total generation`: the request, how many of
//! this client were answered, how many of all, and who answered. A request out of turn ends the connection.

use rkyv::{Archive, Serialize};
use shmstate::{Cell, Map, Region, Result, Rings, Schema, StreamId, Streams, Tx};

/// Longest line of a client.
const MAX_LINE: usize = 32;
/// Longest answer. A ring has room for two: it may be given twice, by a server that does so on purpose.
const MAX_ANSWER: u64 = 4 * 21;
/// Small, so that rings wrap.
const RINGS: Rings = Rings {
    input: 256,
    output: 512,
};

/// What there is one of.
#[derive(Archive, Serialize, Schema, Clone, Debug, Default)]
#[schema(version = 1)]
pub struct Totals {
    /// Requests answered.
    pub answered: u64,
    /// Ticks done.
    pub ticks: u64,
}

/// The same table in another shape.
#[derive(Archive, Serialize, Schema, Clone, Debug, Default)]
#[schema(version = 2)]
pub struct OtherTotals {
    /// Requests answered.
    pub answered: u64,
    /// What the other version does not know.
    pub average: f64,
}

/// A client, connected or not.
#[derive(Archive, Serialize, Schema, Clone, Debug)]
#[schema(version = 1)]
pub struct Visitor {
    /// Requests answered.
    pub answered: u64,
    /// Its name.
    pub name: String,
}

/// The tables.
#[derive(Clone, Copy, Debug)]
pub struct World {
    /// The one record.
    pub totals: Cell<Totals>,
    /// Clients by their ids.
    pub visitors: Map<u64, Visitor>,
    /// Connections.
    pub streams: Streams,
}

impl World {
    /// Finds the tables while another process serves them.
    pub fn open(region: &Region) -> Result<Self> {
        Ok(Self {
            totals: Cell::open(region, "totals")?,
            visitors: Map::open(region, "visitors")?,
            streams: Streams::open(region, "streams")?,
        })
    }

    /// What a build with another idea of the tables finds.
    pub fn open_otherwise(region: &Region) -> Result<Cell<OtherTotals>> {
        Cell::open(region, "totals")
    }

    /// Makes the tables, or finds them.
    pub fn create(tx: &mut Tx<'_>) -> Result<Self> {
        Ok(Self {
            totals: Cell::open_or_create(tx, "totals", &Totals::default())?,
            visitors: Map::open_or_create(tx, "visitors")?,
            streams: Streams::open_or_create(tx, "streams", RINGS)?,
        })
    }

    /// One tick of the clock.
    pub fn tick(&self, tx: &mut Tx<'_>) -> Result<()> {
        let ticks = self.totals.get(tx)?.ticks.to_native() + 1;
        self.totals.get_mut(tx)?.set(|t| &t.ticks, ticks.into())
    }

    /// Changes every record in ways that nobody must ever see.
    pub fn tear(&self, tx: &mut Tx<'_>) -> Result<()> {
        let mut totals = self.totals.get_mut(tx)?;
        totals.set(|t| &t.answered, 0.into())?;
        totals.set(|t| &t.ticks, 0.into())?;
        self.visitors.clear(tx)
    }

    /// Answers what a connection asked, as far as there is room. `false` if the connection is to end. An answer is given as often as
    /// `times` says: once, if nothing is to go wrong.
    pub fn answer(
        &self,
        tx: &mut Tx<'_>,
        id: StreamId,
        generation: u64,
        mut times: impl FnMut() -> usize,
    ) -> Result<bool> {
        let mut used = 0;
        let mut line = [0; MAX_LINE];
        while self.streams.room(tx, id)? >= 2 * MAX_ANSWER {
            let n = self.streams.input(tx, id)?.copy_to(used, &mut line);
            let Some(end) = line[..n].iter().position(|b| *b == b'\n') else {
                if n == MAX_LINE {
                    return Ok(false);
                }
                break;
            };
            let Ok(text) = std::str::from_utf8(&line[..end]) else {
                return Ok(false);
            };
            used += end + 1;
            let (answer, times) = match text.strip_prefix("hello ") {
                Some(name) => (self.welcome(tx, id, name)?, 1),
                None => (self.request(tx, id, text, generation)?, times()),
            };
            let Some(answer) = answer else {
                return Ok(false);
            };
            for _ in 0..times {
                self.streams.produce(tx, id, answer.as_bytes())?;
            }
        }
        self.streams.consume(tx, id, used)?;
        Ok(true)
    }

    fn welcome(&self, tx: &mut Tx<'_>, id: StreamId, name: &str) -> Result<Option<String>> {
        let Ok(visitor) = name.parse::<u64>() else {
            return Ok(None);
        };
        self.streams.set_user(tx, id, visitor)?;
        if let Some(known) = self.visitors.get(tx, &visitor)? {
            return Ok(Some(format!("welcome {}\n", known.answered.to_native())));
        }
        let new = Visitor {
            answered: 0,
            name: format!("visitor {visitor}"),
        };
        self.visitors.insert(tx, &visitor, &new)?;
        Ok(Some("welcome 0\n".into()))
    }

    fn request(&self, tx: &mut Tx<'_>, id: StreamId, text: &str, generation: u64) -> Result<Option<String>> {
        let visitor = self.streams.user(tx, id)?;
        let Ok(number) = text.parse::<u64>() else {
            return Ok(None);
        };
        let Some(mut record) = self.visitors.get_mut(tx, &visitor)? else {
            return Ok(None);
        };
        let answered = record.answered.to_native() + 1;
        if number != answered {
            return Ok(None);
        }
        record.set(|v| &v.answered, answered.into())?;
        let total = self.totals.get(tx)?.answered.to_native() + 1;
        self.totals.get_mut(tx)?.set(|t| &t.answered, total.into())?;
        Ok(Some(format!("{number} {answered} {total} {generation}\n")))
    }
}
