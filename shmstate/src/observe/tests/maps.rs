//! Maps and cells, store by store.

use super::interleave::{Course, Object, Reading, Said, nothing, right, settled, wrong};
use super::{Name, Player, Tables, create, owned, player, transfer};
use crate::observe::Observer;
use crate::observe::sabotage::{Left, leave_out};
use crate::region::header::at;
use crate::{Region, Result, View};
use std::collections::BTreeSet;

/// Of the tables that other tests use too.
fn course_of(
    what: &str,
    read: impl Fn(&View, &Tables) -> Result<Said>,
    peeked: impl Fn(&View, &Tables) -> Result<Said>,
    change: impl FnOnce(&mut Region, &Tables) -> Result<()>,
) -> Course {
    Course::new(what, create, read, peeked, change).0
}

/// What is seen of some accounts and players.
fn seen(accounts: &[(u64, u64)], players: &[Option<Player>]) -> Said {
    format!("{accounts:?} {players:?}")
}

const KEYS: [u64; 3] = [3, 5, 100];

fn state(view: &View, tables: &Tables) -> Result<Said> {
    let mut accounts = Vec::new();
    for account in 0..3 {
        let record = tables.ledger.get(view, &account)?.expect("account");
        accounts.push((record.0.to_native(), record.1.to_native()));
    }
    let mut players = Vec::new();
    for key in KEYS {
        players.push(tables.players.get(view, &key)?.map(owned));
    }
    Ok(seen(&accounts, &players))
}

fn snapshot(observer: &Observer) -> Reading<'_> {
    let ledger = observer.map::<u32, (u64, u64)>("ledger").expect("ledger");
    let players = observer.map::<u64, Player>("players").expect("players");
    Box::new(move || {
        observer.snapshot(|s| {
            let mut accounts = Vec::new();
            for account in 0..3 {
                let record = ledger.get(s, &account)?;
                accounts.push(record.map_or((0, 0), |r| (r.0.to_native(), r.1.to_native())));
            }
            let mut found = Vec::new();
            for key in KEYS {
                found.push(players.get(s, &key)?.map(|player| owned(&player)));
            }
            Ok(seen(&accounts, &found))
        })
    })
}

fn one(key: u64) -> impl Fn(&View, &Tables) -> Result<Said> {
    move |view, tables| {
        if let Some(handle) = tables.players.handle(view, &key)? {
            settled(view, handle.to_bits() as u64)?;
        }
        Ok(format!("{:?}", tables.players.get(view, &key)?.map(owned)))
    }
}

fn peek<const KEY: u64>(observer: &Observer) -> Reading<'_> {
    let players = observer.map::<u64, Player>("players").expect("players");
    Box::new(move || Ok(format!("{:?}", players.peek(&KEY)?.map(|player| owned(&player)))))
}

fn snapshot_of<const KEY: u64>(observer: &Observer) -> Reading<'_> {
    let players = observer.map::<u64, Player>("players").expect("players");
    Box::new(move || Ok(format!("{:?}", players.snapshot(&KEY)?.map(|player| owned(&player)))))
}

fn account(view: &View, tables: &Tables) -> Result<Said> {
    if let Some(handle) = tables.ledger.handle(view, &1)? {
        settled(view, handle.to_bits() as u64)?;
    }
    let record = tables.ledger.get(view, &1)?.expect("account");
    Ok(format!("{:?}", (record.0.to_native(), record.1.to_native())))
}

fn peek_account(observer: &Observer) -> Reading<'_> {
    let ledger = observer.map::<u32, (u64, u64)>("ledger").expect("ledger");
    Box::new(move || {
        let record = ledger.peek(&1)?.expect("account");
        Ok(format!("{:?}", (record.0.to_native(), record.1.to_native())))
    })
}

/// Reads the same record twice.
fn snapshot_of_account_and_again(observer: &Observer) -> Reading<'_> {
    let ledger = observer.map::<u32, (u64, u64)>("ledger").expect("ledger");
    Box::new(move || {
        observer.snapshot(|s| {
            let [first, again] = [ledger.get(s, &1)?, ledger.get(s, &1)?].map(|record| {
                let record = record.expect("account");
                (record.0.to_native(), record.1.to_native())
            });
            Ok(if first == again {
                format!("{first:?}")
            } else {
                format!("{first:?} and then {again:?}")
            })
        })
    })
}

fn snapshot_of_account(observer: &Observer) -> Reading<'_> {
    let ledger = observer.map::<u32, (u64, u64)>("ledger").expect("ledger");
    Box::new(move || {
        let record = ledger.snapshot(&1)?.expect("account");
        Ok(format!("{:?}", (record.0.to_native(), record.1.to_native())))
    })
}

fn two(view: &View, tables: &Tables) -> Result<Said> {
    let one = |account| -> Result<_> {
        let record = tables.ledger.get(view, &account)?.expect("account");
        Ok((record.0.to_native(), record.1.to_native()))
    };
    Ok(format!("{:?} {:?}", one(1)?, one(2)?))
}

fn snapshot_of_two(observer: &Observer) -> Reading<'_> {
    let ledger = observer.map::<u32, (u64, u64)>("ledger").expect("ledger");
    Box::new(move || {
        observer.snapshot(|s| {
            let mut one = |account| -> Result<_> {
                let record = ledger.get(s, &account)?;
                Ok(record.map_or((0, 0), |r| (r.0.to_native(), r.1.to_native())))
            };
            Ok(format!("{:?} {:?}", one(1)?, one(2)?))
        })
    })
}

/// Changes a field of an account in a transaction of its own: one word, no log.
pub(super) fn word(region: &mut Region, tables: &Tables, account: u32, second: bool, value: u64) -> Result<()> {
    let gate = region.gate().clone();
    region.write(&gate.enter()?, |tx| {
        let mut record = tables.ledger.get_mut(tx, &account)?.expect("account");
        if second {
            record.set(|r| &r.1, value.into())
        } else {
            record.set(|r| &r.0, value.into())
        }
    })
}

fn transfers(region: &mut Region, tables: &Tables) -> Result<()> {
    let gate = region.gate().clone();
    let pass = gate.enter()?;
    region.write(&pass, |tx| transfer(tx, tables, 0, 1, 10))?;
    let mut tx = region.begin(&pass)?;
    transfer(&mut tx, tables, 1, 2, 500)?;
    tx.rollback();
    region.write(&pass, |tx| transfer(tx, tables, 2, 0, 70))
}

fn words(region: &mut Region, tables: &Tables) -> Result<()> {
    for i in 1..4 {
        word(region, tables, 1, false, i)?;
        word(region, tables, 1, true, i)?;
        word(region, tables, 2, false, i)?;
    }
    Ok(())
}

fn mixed(region: &mut Region, tables: &Tables) -> Result<()> {
    let gate = region.gate().clone();
    word(region, tables, 0, true, 77)?;
    region.write(&gate.enter()?, |tx| transfer(tx, tables, 0, 1, 10))?;
    word(region, tables, 1, true, 88)?;
    word(region, tables, 0, true, 99)
}

/// A player as long as the third, so that it takes its block.
const LIKE_3: u64 = 3 + 7 * 41;

/// Replacing in the same block and in another, removing and making, into what was just freed.
fn blocks(region: &mut Region, tables: &Tables) -> Result<()> {
    let gate = region.gate().clone();
    let pass = gate.enter()?;
    let mut tx = region.begin(&pass)?;
    tables.players.insert(&mut tx, &3, &player(LIKE_3))?;
    tables.players.insert(&mut tx, &100, &player(5))?;
    tx.rollback();
    region.write(&pass, |tx| tables.players.insert(tx, &3, &player(LIKE_3)).map(|_| ()))?;
    region.write(&pass, |tx| tables.players.insert(tx, &3, &player(40)).map(|_| ()))?;
    region.write(&pass, |tx| tables.players.remove(tx, &5).map(|_| ()))?;
    region.write(&pass, |tx| tables.players.insert(tx, &100, &player(5)).map(|_| ()))?;
    region.write(&pass, |tx| {
        tables.players.remove(tx, &3)?;
        tables.players.insert(tx, &5, &player(3)).map(|_| ())
    })
}

/// Parts of a transaction that fail, so that its log gets shorter and longer again, and once empty.
fn parts(region: &mut Region, tables: &Tables) -> Result<()> {
    let gate = region.gate().clone();
    let pass = gate.enter()?;
    let mut tx = region.begin(&pass)?;
    let fails = |tx: &mut crate::Tx<'_>, from, to| {
        let failed: std::result::Result<(), ()> =
            tx.savepoint(|tx| transfer(tx, tables, from, to, 5).map_err(|_| ()).and(Err(())));
        assert!(failed.is_err());
    };
    fails(&mut tx, 0, 1);
    transfer(&mut tx, tables, 1, 2, 10)?;
    fails(&mut tx, 0, 2);
    transfer(&mut tx, tables, 2, 0, 20)?;
    tx.commit()?;
    word(region, tables, 1, true, 9)
}

/// Changes both fields of an account, with a log.
fn both(tx: &mut crate::Tx<'_>, tables: &Tables, account: u32, value: u64) -> Result<()> {
    let mut record = tables.ledger.get_mut(tx, &account)?.expect("account");
    record.set(|r| &r.0, value.into())?;
    record.set(|r| &r.1, value.into())
}

/// A part that fails, and then one whose log is as long.
fn part(region: &mut Region, tables: &Tables) -> Result<()> {
    let gate = region.gate().clone();
    let pass = gate.enter()?;
    let mut tx = region.begin(&pass)?;
    both(&mut tx, tables, 0, 1)?;
    let failed: std::result::Result<(), ()> = tx.savepoint(|tx| both(tx, tables, 1, 2).map_err(|_| ()).and(Err(())));
    assert!(failed.is_err());
    both(&mut tx, tables, 2, 3)?;
    tx.commit()
}

/// Two transactions that change the same record.
fn twice(region: &mut Region, tables: &Tables) -> Result<()> {
    let gate = region.gate().clone();
    let pass = gate.enter()?;
    region.write(&pass, |tx| both(tx, tables, 1, 2))?;
    region.write(&pass, |tx| both(tx, tables, 1, 3))
}

/// A record replaced in its block, and all of it restored.
fn restored(region: &mut Region, tables: &Tables) -> Result<()> {
    let gate = region.gate().clone();
    let pass = gate.enter()?;
    let mut tx = region.begin(&pass)?;
    tables.players.insert(&mut tx, &3, &player(LIKE_3))?;
    tx.rollback();
    Ok(())
}

#[test]
fn snapshots_of_transfers() {
    let course = course_of("transfers", state, nothing, transfers);
    right(&course, true, snapshot);
    wrong(&course, Left::Overlay, true, snapshot);
}

#[test]
fn snapshots_of_words() {
    right(&course_of("words", state, nothing, words), true, snapshot);
    right(&course_of("mixed", state, nothing, mixed), true, snapshot);
    right(&course_of("parts", state, nothing, parts), true, snapshot);
}

/// A record is made and taken back, after a transaction that ends the epoch: it stands in its free block as it was (N4).
#[test]
fn a_record_that_was_taken_back_is_not_there() {
    let made = |region: &mut Region, tables: &Tables| {
        let gate = region.gate().clone();
        let pass = gate.enter()?;
        region.write(&pass, |tx| both(tx, tables, 5, 1))?;
        let mut tx = region.begin(&pass)?;
        tables.players.insert(&mut tx, &100, &player(5))?;
        tx.rollback();
        Ok(())
    };
    let course = course_of("taken-back", one(100), nothing, made);
    let total = course.stores.len();
    let observer = Observer::open(&course.name).expect("observer");
    let mut read = snapshot_of::<100>(&observer);
    let mut found = |left| {
        leave_out(left);
        let (_, _, loads) = course.run(0, Vec::new(), &mut read);
        let mut found = 0;
        for now in 0..loads {
            for later in (now + 1..loads * 2).step_by(3) {
                for count in 1..total {
                    let (said, ..) = course.run(0, vec![(now, count), (later, total)], &mut read);
                    found += u64::from(said.is_ok_and(|said| said != "None"));
                }
            }
        }
        leave_out(Left::Nothing);
        found
    };
    assert_eq!(found(Left::Nothing), 0);
    assert!(found(Left::Way) > 0, "it is not looked again, and nobody noticed");
}

#[test]
fn snapshots_that_read_a_record_twice() {
    let course = course_of("words-twice", account, nothing, words);
    right(&course, true, snapshot_of_account_and_again);
    wrong(&course, Left::Twice, true, snapshot_of_account_and_again);
}

#[test]
fn snapshots_of_what_is_taken_back() {
    right(
        &course_of("restored", one(3), nothing, restored),
        true,
        snapshot_of::<3>,
    );
    right(&course_of("part", two, nothing, part), true, snapshot_of_two);
    right(&course_of("twice", account, nothing, twice), true, snapshot_of_account);
}

#[test]
fn snapshots_of_blocks_that_come_and_go() {
    let course = course_of("blocks", state, nothing, blocks);
    right(&course, true, snapshot);
    wrong(&course, Left::Overlay, true, snapshot);
}

#[test]
fn peeks_at_words_and_transfers() {
    let course = course_of("peek-words", account, account, words);
    right(&course, false, peek_account);
    wrong(&course, Left::Sequence, false, peek_account);
    right(
        &course_of("peek-transfers", account, account, transfers),
        false,
        peek_account,
    );
    right(&course_of("peek-mixed", account, account, mixed), false, peek_account);
    right(&course_of("peek-parts", account, account, parts), false, peek_account);
}

#[test]
fn peeks_at_blocks_that_come_and_go() {
    right(&course_of("peek-3", one(3), one(3), blocks), false, peek::<3>);
    right(&course_of("peek-5", one(5), one(5), blocks), false, peek::<5>);
    right(&course_of("peek-100", one(100), one(100), blocks), false, peek::<100>);
    right(&course_of("peek-restored", one(3), one(3), restored), false, peek::<3>);
    let course = course_of("peek-torn", one(3), one(3), blocks);
    wrong(&course, Left::Sequence, false, peek::<3>);
    right(&course, true, snapshot_of::<3>);
    right(
        &course_of("snapshot-100", one(100), nothing, blocks),
        true,
        snapshot_of::<100>,
    );
}

/// A segment is replaced by a larger one, by two, and by one again; those who stay are met once.
#[test]
fn walks_while_the_index_grows_and_shrinks() {
    let course = {
        let mut region = Region::in_memory(4 << 20).expect("region");
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        let tables = region.write(&pass, create).expect("tables");
        let image = region.view.start_recording();
        for (from, to) in [(1000, 1290), (1290, 1420)] {
            region
                .write(&pass, |tx| {
                    (from..to).try_for_each(|i| tables.players.insert(tx, &i, &player(i % 30)).map(|_| ()))
                })
                .expect("grow");
        }
        region
            .write(&pass, |tx| {
                (1020..1420).try_for_each(|i| tables.players.remove(tx, &i).map(|_| ()))
            })
            .expect("shrink");
        Course::of("walk", image, region.view.stop_recording())
    };
    let total = course.stores.len();
    let mut random = fastrand::Rng::with_seed(7);
    for run in 0..60 {
        let first = random.usize(..total);
        let mut plan: Vec<_> = (0..random.usize(1..12))
            .map(|_| (random.usize(..20_000), random.usize(..total / 6)))
            .collect();
        plan.sort_unstable();
        let (keys, last, _) = course.run(first, plan, || {
            let observer = Observer::open(&course.name).expect("observer");
            let players = observer.map::<u64, Player>("players").expect("players");
            let keys: Result<Vec<_>> = players
                .iter()
                .map(|item| item.map(|(key, seen)| (key, owned(&seen))))
                .collect();
            keys
        });
        let keys = keys.unwrap_or_else(|e| panic!("run {run} from {first} to {last}: {e}"));
        let unique: BTreeSet<_> = keys.iter().map(|(key, _)| *key).collect();
        assert_eq!(unique.len(), keys.len(), "run {run}: a record was met twice");
        for key in 0..super::PLAYERS {
            assert!(
                unique.contains(&key),
                "run {run}: {key} was there all the time and was not met"
            );
        }
        for (key, seen) in keys {
            let expected = if key < super::PLAYERS {
                player(key)
            } else {
                player(key % 30)
            };
            assert_eq!(seen, expected);
        }
    }
}

/// A tool may look at what a killed owner left, wherever it was killed: nothing is called damage that the log takes back, and
/// what is shown is what was committed, or what stands there.
#[test]
fn what_a_kill_leaves_can_be_looked_at() {
    let mut region = Region::in_memory(2 << 20).expect("region");
    let image = region.view.start_recording();
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    region.write(&pass, |tx| create(tx).map(|_| ())).expect("tables");
    let stores = region.view.stop_recording();
    let name = Name::new("killed");
    let observed = name.0.clone();
    let object = Object::new(name, &image);
    let observer = Observer::open(&observed).expect("observer");
    let mut live = BTreeSet::new();
    for store in &stores {
        object.write(store.offset, &store.bytes);
        let tables = observer.inspect().expect("no damage").tables.len();
        let committed = !store_pending(&observer);
        assert_eq!(tables, if committed { 3 } else { 0 }, "what is committed");
        live.insert(crate::observe::live(&observer).expect("no damage").1.len());
    }
    assert!(
        live.contains(&1) && live.contains(&3),
        "no table was seen while it was made: {live:?}"
    );
}

/// Whether the transaction that makes the tables is not over.
fn store_pending(observer: &Observer) -> bool {
    let memory = observer.memory();
    memory.header(at::LOG_LENGTH) != 0 || memory.header(at::COMMITS) == 0
}
