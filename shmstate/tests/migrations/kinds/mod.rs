//! Random plays of versions that follow each other, for every other kind of table, against a map of std. `MIGRATIONS_SEED` and
//! `MIGRATIONS_ROUNDS` say which.

mod cell;
mod chains;
mod ordered;
mod queue;
mod slab;
mod timers;

use crate::shapes::{PlayerV2, PlayerV3, to_v2, v1};
use crate::world::{self, World};
use shmstate::{
    Inspection, Migrate, Observer, OwnedValue, Reader, RecordMut, Region, Steps, Swept, Tx, Unverified, Value,
};
use std::collections::BTreeMap;
use std::fmt::Debug;

type Result<T> = shmstate::Result<T>;
pub(crate) type Random = fastrand::Rng;

const TABLE: &str = "table";

/// What a record is, in the shape in which it was written last.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Is {
    One(v1::Player),
    /// With the title that version 1 finds again, which version 2 does not have.
    Two(PlayerV2, u8),
    Three(PlayerV3),
}

impl Is {
    fn title(&self) -> u8 {
        match self {
            Self::One(player) => player.title,
            Self::Two(_, title) => *title,
            // From there is no way back to version 1.
            Self::Three(_) => 0,
        }
    }
}

/// A version of the records.
pub(crate) trait Version: Value + OwnedValue + Clone + PartialEq + Debug {
    fn random(random: &mut Random) -> Self;
    fn of(is: &Is) -> Self;
    /// What a record is when it becomes this, and what it was before if there was one.
    fn is(self, before: Option<&Is>) -> Is;
    fn read(archived: &Self::Archived) -> Self;
    /// Changes one field in place, in the region and in the model.
    fn set(record: &mut RecordMut<'_, '_, Self>, score: u32) -> Result<()>;
    fn set_own(&mut self, score: u32);
}

impl Version for v1::Player {
    fn random(random: &mut Random) -> Self {
        Self {
            name: name(random),
            score: random.u32(..),
            title: random.u8(..),
        }
    }

    fn of(is: &Is) -> Self {
        match is.clone() {
            Is::One(player) => player,
            Is::Two(player, title) => Self {
                title,
                ..Self::migrate(player)
            },
            Is::Three(player) => Self::migrate(PlayerV2::migrate(player)),
        }
    }

    fn is(self, _: Option<&Is>) -> Is {
        Is::One(self)
    }

    fn read(p: &Self::Archived) -> Self {
        Self {
            name: p.name.to_string(),
            score: p.score.to_native(),
            title: p.title,
        }
    }

    fn set(record: &mut RecordMut<'_, '_, Self>, score: u32) -> Result<()> {
        record.set(|p| &p.score, score.into())
    }

    fn set_own(&mut self, score: u32) {
        self.score = score;
    }
}

impl Version for PlayerV2 {
    fn random(random: &mut Random) -> Self {
        Self {
            nick: name(random),
            score: random.u64(..),
            mana: random.u8(..),
        }
    }

    fn of(is: &Is) -> Self {
        match is.clone() {
            Is::One(player) => Self::migrate(player),
            Is::Two(player, _) => player,
            Is::Three(player) => Self::migrate(player),
        }
    }

    fn is(self, before: Option<&Is>) -> Is {
        Is::Two(self, before.map_or(0, Is::title))
    }

    fn read(p: &Self::Archived) -> Self {
        Self {
            nick: p.nick.to_string(),
            score: p.score.to_native(),
            mana: p.mana,
        }
    }

    fn set(record: &mut RecordMut<'_, '_, Self>, score: u32) -> Result<()> {
        record.set(|p| &p.score, u64::from(score).into())
    }

    fn set_own(&mut self, score: u32) {
        self.score = score.into();
    }
}

impl Version for PlayerV3 {
    fn random(random: &mut Random) -> Self {
        Self {
            mana: random.u32(..),
            nick: name(random),
            bag: (0..random.usize(..5)).map(|_| random.u16(..)).collect(),
            score: random.u64(..),
        }
    }

    fn of(is: &Is) -> Self {
        match is.clone() {
            Is::One(player) => Self::migrate(PlayerV2::migrate(player)),
            Is::Two(player, _) => Self::migrate(player),
            Is::Three(player) => player,
        }
    }

    fn is(self, _: Option<&Is>) -> Is {
        Is::Three(self)
    }

    fn read(p: &Self::Archived) -> Self {
        Self {
            mana: p.mana.to_native(),
            nick: p.nick.to_string(),
            bag: p.bag.iter().map(|item| item.to_native()).collect(),
            score: p.score.to_native(),
        }
    }

    fn set(record: &mut RecordMut<'_, '_, Self>, score: u32) -> Result<()> {
        record.set(|p| &p.score, u64::from(score).into())
    }

    fn set_own(&mut self, score: u32) {
        self.score = score.into();
    }
}

fn name(random: &mut Random) -> String {
    let length = if random.u8(..) < 8 {
        random.usize(..3000)
    } else {
        random.usize(..40)
    };
    std::iter::repeat_with(|| random.alphanumeric()).take(length).collect()
}

/// What a table should hold: by what names a record, what the table keeps beside it, and what it is.
pub(crate) type Model<K> = BTreeMap<<K as Kind>::Id, (<K as Kind>::Beside, Is)>;

/// What it was found to hold, as a version sees it.
pub(crate) type Seen<K, V> = BTreeMap<<K as Kind>::Id, (<K as Kind>::Beside, V)>;

/// A kind of table.
pub(crate) trait Kind: Sized {
    type Of<V: Value>: Copy;
    type Id: Ord + Clone + Debug;
    type Beside: Clone + PartialEq + Debug;

    /// Makes the table, with records of version 1.
    fn fill(tx: &mut Tx<'_>, model: &mut Model<Self>, checksums: bool) -> Result<()>;
    fn open<V: Version>(region: &Region, steps: Steps<V>) -> Result<Self::Of<V>>;
    /// Opens it as a program does that knows no other version.
    fn open_plain<V: Version>(region: &Region) -> Result<Self::Of<V>>;
    fn change<V: Version>(
        table: Self::Of<V>,
        tx: &mut Tx<'_>,
        model: &mut Model<Self>,
        random: &mut Random,
    ) -> Result<()>;
    fn all<V: Version>(table: Self::Of<V>, reader: &Reader<'_>) -> Result<Seen<Self, V>>;
    fn sweep<V: Version>(table: Self::Of<V>, tx: &mut Tx<'_>) -> Result<Swept>;
    fn unswept<V: Version>(table: Self::Of<V>, reader: &Reader<'_>) -> Result<u64>;
    /// What an observer of version 2 sees of a record: whether it is there.
    fn peek(observer: &Observer, id: &Self::Id) -> Result<bool>;
    /// Validates all as records of version 2.
    fn open_checked(unverified: &mut Unverified) -> Result<()>;
    /// Takes all records away one by one, and gives the bytes of archives that the table then thinks it has.
    fn empty<V: Version>(table: Self::Of<V>, tx: &mut Tx<'_>) -> Result<u64>;
}

/// One of the names in the model.
pub(crate) fn any<K: Kind>(model: &Model<K>, random: &mut Random) -> Option<K::Id> {
    let place = random.usize(..model.len().max(1));
    model.keys().nth(place).cloned()
}

/// The model of a record, as a version that changes it sees it.
pub(crate) fn as_version<V: Version, B>(of: &mut (B, Is), change: impl FnOnce(&mut V)) {
    let mut own = V::of(&of.1);
    change(&mut own);
    of.1 = own.is(Some(&of.1));
}

/// Puts a record into the model, in place of the one that is there. Says whether there was one.
pub(crate) fn put<K: Kind, V: Version>(model: &mut Model<K>, id: K::Id, beside: K::Beside, value: V) -> bool {
    let is = value.is(model.get(&id).map(|(_, is)| is));
    model.insert(id, (beside, is)).is_some()
}

/// Some transactions of one version; the last may be left open, as by a kill.
fn play<K: Kind, V: Version>(region: &mut Region, table: K::Of<V>, model: &mut Model<K>, random: &mut Random) {
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    for _ in 0..random.usize(..12) {
        let mut tx = region.begin(&pass).expect("begin");
        let mut after = model.clone();
        for _ in 0..random.usize(..8) {
            let before = after.clone();
            let undone: Result<()> = tx.savepoint(|tx| {
                K::change(table, tx, &mut after, random)?;
                if random.u8(..) < 30 {
                    Err(shmstate::Error::ForeignTable)
                } else {
                    Ok(())
                }
            });
            match undone {
                Ok(()) => {}
                Err(shmstate::Error::ForeignTable) => after = before,
                Err(error) => panic!("{error}"),
            }
        }
        match random.u8(..20) {
            0 => {
                std::mem::forget(tx);
                return;
            }
            1 => drop(tx),
            _ => {
                tx.commit().expect("commit");
                *model = after;
            }
        }
    }
}

/// One program's life: it opens the table, plays, perhaps sweeps, and finds what it should.
fn live<K: Kind, V: Version>(world: &World, model: &mut Model<K>, random: &mut Random, steps: Option<Steps<V>>) {
    let mut region = world.open();
    let table = match steps {
        Some(steps) => K::open(&region, steps),
        None => K::open_plain(&region),
    };
    let table = table.expect("open");
    let compare = |region: &Region, model: &Model<K>| {
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        let seen = K::all::<V>(table, &region.read(&pass).expect("read")).expect("all");
        let expected = model
            .iter()
            .map(|(id, (beside, is))| (id.clone(), (beside.clone(), V::of(is))));
        assert_eq!(seen, expected.collect());
    };
    compare(&region, model);
    play::<K, V>(&mut region, table, model, random);
    world::check(&mut region);
    compare(&region, model);
    if random.u8(..) < 80 {
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        while region.write(&pass, |tx| K::sweep(table, tx)).expect("sweep").left > 0 {
            world::check(&mut region);
        }
        let reader = region.read(&pass).expect("read");
        assert_eq!(K::unswept(table, &reader).expect("unswept"), 0);
        for record in model.values_mut() {
            as_version::<V, _>(record, |_| {});
        }
    }
    world::check(&mut region);
    compare(&region, model);
}

/// As long as there is a way back, each record of version 2 has a twin, and nothing else has.
fn check_twins<K: Kind>(world: &World, model: &Model<K>) {
    let tables = Inspection::of(world.name()).expect("inspection").tables;
    let twins = tables.iter().find(|table| table.name == format!(".1.{TABLE}"));
    let newer = model.values().filter(|(_, is)| matches!(is, Is::Two(..))).count();
    assert_eq!(twins.map_or(0, |twins| twins.records), newer as u64);
}

/// Versions follow each other, there and back again; at last the new one stays.
pub(crate) fn versions_follow_each_other<K: Kind>() {
    let number = |name: &str, default: u64| std::env::var(name).map_or(default, |n| n.parse().expect("a number"));
    let first = number("MIGRATIONS_SEED", 0);
    for seed in first..first + number("MIGRATIONS_ROUNDS", 60) {
        println!("seed {seed}");
        let mut random = Random::with_seed(seed);
        let world = World::new("kinds");
        let mut model = Model::<K>::new();
        world.make(|tx| K::fill(tx, &mut model, seed % 4 == 0));
        for _ in 0..random.usize(2..12) {
            if random.bool() {
                live::<K, v1::Player>(&world, &mut model, &mut random, None);
            } else {
                let steps = to_v2().back::<v1::Player>();
                live::<K, PlayerV2>(&world, &mut model, &mut random, Some(steps));
            }
            check_twins::<K>(&world, &model);
        }
        live::<K, PlayerV2>(&world, &mut model, &mut random, Some(to_v2()));
        live::<K, PlayerV2>(&world, &mut model, &mut random, Some(to_v2()));
        let mut region = world.open();
        let table = K::open(&region, to_v2()).expect("open");
        let gate = region.gate().clone();
        let left = region.write(&gate.enter().expect("pass"), |tx| K::empty::<PlayerV2>(table, tx));
        assert_eq!(left.expect("empty"), 0, "what came and what went is counted alike");
        world::check(&mut region);
    }
}
