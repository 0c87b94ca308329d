//! Ids in records and as keys: a record that refers to another one, to a timer or a stream, finds it again in another process.

use rkyv::{Archive, Deserialize, Serialize};
use shmstate::schema::{Description, Plain};
use shmstate::{
    Error, Gap, Map, Migrate, Observer, OrderedMap, OwnedValue, Region, Schema, Slab, SlabId, Steps, StreamId, TimerId,
    Timers,
};
use std::collections::HashMap;

/// Name of a region of its own, which is removed, also if the test fails.
struct Named(String);

impl Named {
    fn new(what: &str) -> Self {
        Self(format!("ids-{what}-{}", std::process::id()))
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = Region::remove(&self.0);
    }
}

#[derive(Archive, Serialize, Deserialize, Schema, Clone, Debug, PartialEq)]
struct Player {
    poison: TimerId,
    mounts: Vec<SlabId>,
    peer: Option<StreamId>,
    since: HashMap<TimerId, u32>,
}

/// The same as programs had it that kept tokens.
#[derive(Archive, Serialize, Deserialize, Schema, Clone, Debug, PartialEq)]
#[schema(name = "Player")]
struct Tokens {
    poison: u64,
    mounts: Vec<u64>,
    peer: Option<u64>,
    since: HashMap<u64, u32>,
}

type Made = (Map<u64, Player>, Timers<String>, Slab<String>);

fn open(region: &Region) -> Made {
    let players = Map::open(region, "players").expect("players");
    let timers = Timers::open(region, "timers").expect("timers");
    (players, timers, Slab::open(region, "mounts").expect("mounts"))
}

fn owned<T: OwnedValue>(archived: &T::Archived) -> T {
    rkyv::deserialize::<T, rkyv::rancor::Failure>(archived).expect("a value")
}

/// Makes the tables, and a player with an own timer, mount and stream; gives it, and another timer.
fn fill(region: &mut Region) -> (Player, TimerId) {
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    region
        .write(&pass, |tx| {
            let players: Map<u64, Player> = Map::create(tx, "players")?;
            let timers: Timers<String> = Timers::create(tx, "timers", Gap::All)?;
            let mounts: Slab<String> = Slab::create(tx, "mounts")?;
            let poison = timers.insert(tx, 500, &"poison".to_owned())?;
            let other = timers.insert(tx, 700, &"cure".to_owned())?;
            let player = Player {
                poison,
                mounts: vec![
                    mounts.insert(tx, &"horse".to_owned())?,
                    mounts.insert(tx, &"mule".to_owned())?,
                ],
                peer: Some(StreamId::from_token(3 << 32 | 4)),
                since: HashMap::from([(poison, 1), (other, 2)]),
            };
            players.insert(tx, &7, &player)?;
            Ok::<_, Error>((player, other))
        })
        .expect("filled")
}

#[test]
fn a_record_finds_its_timer_again_in_another_process() {
    let named = Named::new("again");
    let (player, other) = {
        let mut region = Region::options().capacity(4 << 20).create(&named.0).expect("region");
        fill(&mut region)
    };
    {
        let mut region = Region::options().open(&named.0).expect("open");
        let (players, timers, mounts) = open(&region);
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        let reader = region.read(&pass).expect("read");
        let found = players.get(&reader, &7).expect("get").expect("there");
        assert_eq!(owned::<Player>(found), player);
        assert!(found.poison == player.poison && other != found.poison);
        let timer = timers.get(&reader, found.poison.to_native()).expect("get");
        assert_eq!(timer.expect("still to fire"), "poison");
        let mount = mounts.get(&reader, found.mounts[1].into()).expect("get");
        assert_eq!(mount.expect("there"), "mule");
        assert_eq!(found.since.get(&other.into()).map(|n| n.to_native()), Some(2));
        // Changed as a whole: one word, that is the transaction; and one that is never committed.
        for (to, commit) in [(other, true), (player.poison, false)] {
            let mut tx = region.begin(&pass).expect("begin");
            let mut found = players.get_mut(&mut tx, &7).expect("get").expect("there");
            found.set(|p| &p.poison, to.into()).expect("set");
            if commit {
                tx.commit().expect("commit");
            } else {
                found.set(|p| &p.mounts[0], player.mounts[1].into()).expect("set");
                std::mem::forget(tx);
            }
        }
    }
    let observer = Observer::open(&named.0).expect("observer");
    let seen = observer.map::<u64, Player>("players").expect("players");
    assert!(seen.snapshot(&7).expect("snapshot").expect("there").poison == other);
    let region = Region::options().open(&named.0).expect("open");
    let (players, timers, _) = open(&region);
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let reader = region.read(&pass).expect("read");
    let found = players.get(&reader, &7).expect("get").expect("there");
    let timer = timers.get(&reader, found.poison.to_native()).expect("get");
    assert_eq!(timer.expect("still to fire"), "cure");
    assert_eq!(found.mounts[0], player.mounts[0], "taken back");
}

/// I1 of `table::id`: a program that kept tokens, and one that keeps ids, read each other's records.
#[test]
fn an_id_has_the_shape_of_its_number() {
    assert_eq!(Description::of::<Player>().text(), Description::of::<Tokens>().text());
    let named = Named::new("tokens");
    let player = {
        let mut region = Region::options().capacity(4 << 20).create(&named.0).expect("region");
        fill(&mut region).0
    };
    let mut unverified = Region::options().open_checked(&named.0).expect("open");
    let players = unverified.table::<Map<u64, Tokens>>("players").expect("all are valid");
    for other in ["timers", "mounts"] {
        unverified.trust(other).expect("trusted");
    }
    let region = unverified.finish().expect("all are checked or trusted");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let reader = region.read(&pass).expect("read");
    let found: Tokens = owned(players.get(&reader, &7).expect("get").expect("there"));
    assert_eq!(found.poison, player.poison.token());
    assert_eq!(found.mounts[1], player.mounts[1].token());
    assert_eq!(found.peer, player.peer.map(StreamId::token));
    assert_eq!(found.since.len(), 2);
}

#[test]
fn ids_are_keys_in_their_order() {
    let mut region = Region::in_memory(4 << 20).expect("region");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let mut tx = region.begin(&pass).expect("begin");
    let names: Map<SlabId, String> = Map::create(&mut tx, "names").expect("table");
    let sorted: OrderedMap<(TimerId, StreamId), u64> = OrderedMap::create(&mut tx, "sorted").expect("table");
    let tokens = [1 << 32, 0, u64::MAX, 256, 255, 1 << 63];
    for token in tokens {
        let key = SlabId::from_token(token);
        names.insert(&mut tx, &key, &token.to_string()).expect("inserted");
        assert_eq!(
            names.get(&tx, &key).expect("get").expect("there"),
            token.to_string().as_str()
        );
        let key = (TimerId::from_token(token), StreamId::from_token(!token));
        sorted.insert(&mut tx, &key, &token).expect("inserted");
    }
    tx.commit().expect("commit");
    let again: Map<u64, String> = Map::open(&region, "names").expect("of the same shape");
    let reader = region.read(&pass).expect("read");
    assert_eq!(again.get(&reader, &256).expect("get").expect("there"), "256");
    let found: Vec<_> = sorted
        .iter(&reader)
        .expect("iter")
        .map(|item| item.expect("an item").0)
        .collect();
    let mut expected: Vec<_> = tokens
        .map(|token| (TimerId::from_token(token), StreamId::from_token(!token)))
        .to_vec();
    expected.sort_unstable();
    assert_eq!(found, expected);
}

mod v1 {
    use super::*;

    #[derive(Archive, Serialize, Deserialize, Schema, Clone, Debug, PartialEq)]
    pub(crate) struct Trap {
        pub(crate) timer: u64,
        pub(crate) depth: u8,
    }
}

#[derive(Archive, Serialize, Deserialize, Schema, Clone, Debug, PartialEq)]
#[schema(version = 2, from = v1::Trap, back)]
struct Trap {
    depth: u32,
    timer: TimerId,
}

/// A field that held the token becomes the id by itself, there and back again.
#[test]
fn tokens_migrate() {
    fn plain<T: Plain>(_: T) {}
    let id = TimerId::from_token(77);
    plain(shmstate::ArchivedTimerId::from(id));
    let old = v1::Trap { timer: 77, depth: 5 };
    let new = Trap { timer: id, depth: 5 };
    assert_eq!(Trap::migrate(old.clone()), new);
    assert_eq!(v1::Trap::migrate(new), old);
    let named = Named::new("migrate");
    {
        let mut region = Region::options().capacity(4 << 20).create(&named.0).expect("region");
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        let fill = |tx: &mut shmstate::Tx<'_>| Map::<u64, _>::create(tx, "traps")?.insert(tx, &1, &old).map(|_| ());
        region.write(&pass, fill).expect("filled");
    }
    let region = Region::options().open(&named.0).expect("open");
    let steps = Steps::new().from::<v1::Trap>().back::<v1::Trap>();
    let traps: Map<u64, Trap> = Map::open_migrating(&region, "traps", steps).expect("traps");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let reader = region.read(&pass).expect("read");
    assert!(traps.get(&reader, &1).expect("get").expect("there").timer == id);
}
