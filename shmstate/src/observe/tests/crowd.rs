//! A writer at full speed on one thread, readers on others.

use super::{
    ACCOUNTS, EACH, Name, Others, PLAYERS, Player, Tables, create, create_others, is_whole, player, sum, transfer,
    validate_others,
};
use crate::observe::Observer;
use crate::observe::sabotage::{Left, leave_out};
use crate::{Error, Region, Result, Tx};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Readings of each kind.
const READINGS: u64 = 3000;
/// Shortest and longest that they may take.
const LEAST: Duration = Duration::from_millis(400);
/// See [`LEAST`].
const LIMIT: Duration = Duration::from_secs(60);

/// Runs `read` while a thread changes the region as fast as it can.
fn crowd<T>(what: &str, change: fn(&mut Region, &Tables, u64) -> Result<()>, read: impl FnOnce(&Observer) -> T) -> T {
    crowd_of(what, create, change, read)
}

/// The same with tables of one's own.
fn crowd_of<C: Send, T>(
    what: &str,
    create: impl FnOnce(&mut Tx<'_>) -> Result<C>,
    change: fn(&mut Region, &C, u64) -> Result<()>,
    read: impl FnOnce(&Observer) -> T,
) -> T {
    let name = Name::new(what);
    let mut region = Region::options().capacity(16 << 20).create(&name.0).expect("region");
    let gate = region.gate().clone();
    let tables = region.write(&gate.enter().expect("pass"), create).expect("tables");
    let observer = Observer::open(&name.0).expect("observer");
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let (stop, done) = (&stop, &done);
        let writer = scope.spawn(move || {
            let mut n = 0;
            while !stop.load(Ordering::Relaxed) {
                n += 1;
                change(&mut region, &tables, n).expect("change");
                done.store(n, Ordering::Relaxed);
            }
        });
        while done.load(Ordering::Relaxed) < 100 && !writer.is_finished() {
            std::thread::yield_now();
        }
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| read(&observer)));
        while done.load(Ordering::Relaxed) <= 200 && !writer.is_finished() {
            std::thread::yield_now();
        }
        stop.store(true, Ordering::Relaxed);
        writer.join().expect("writer");
        assert!(done.load(Ordering::Relaxed) > 200);
        println!(
            "{what}: {} rounds of the writer meanwhile",
            done.load(Ordering::Relaxed)
        );
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Everything that a writer does, in turn.
fn everything(region: &mut Region, tables: &Tables, n: u64) -> Result<()> {
    let gate = region.gate().clone();
    let pass = gate.enter()?;
    let mut random = fastrand::Rng::with_seed(n);
    let (from, to) = (random.u32(..ACCOUNTS), random.u32(..ACCOUNTS));
    match n % 6 {
        0 => {
            let mut tx = region.begin(&pass)?;
            transfer(&mut tx, tables, from, to, 7)?;
            tx.rollback();
        }
        1 | 2 => region.write(&pass, |tx| transfer(tx, tables, from, to, random.u64(..100)))?,
        3 => region.write(&pass, |tx| {
            tables.players.insert(tx, &(n % PLAYERS), &player(n)).map(|_| ())
        })?,
        4 => region.write(&pass, |tx| {
            let mut clock = tables.clock.get_mut(tx)?;
            clock.set(|c| &c.0, n.into())?;
            clock.set(|c| &c.1, n.into())
        })?,
        _ => region.write(&pass, |tx| {
            let key = 100 + random.u64(..20);
            if !tables.players.remove(tx, &key)? {
                tables.players.insert(tx, &key, &player(n))?;
            }
            Ok(())
        })?,
    }
    Ok(())
}

/// Runs `read` until it has given so many answers; one that asks to be tried again is none.
fn answers(limit: u64, mut read: impl FnMut(u64) -> Result<()>) -> u64 {
    let start = Instant::now();
    let mut again = 0;
    let mut n = 0;
    while n < limit || start.elapsed() < LEAST {
        match read(n) {
            Ok(()) => n += 1,
            Err(Error::Retry { .. }) => again += 1,
            Err(e) => panic!("{e}"),
        }
        assert!(start.elapsed() < LIMIT, "only {n} answers, {again} to be tried again");
    }
    again
}

#[test]
fn peeks_are_whole() {
    crowd("peeks", everything, |observer| {
        let players = observer.map::<u64, Player>("players").expect("players");
        let again = answers(READINGS, |n| {
            let seen = players.peek(&(n % PLAYERS))?.expect("always there");
            assert!(is_whole(&seen), "{seen:?}");
            Ok(())
        });
        println!("{again} to be tried again");
    });
}

/// One field of one record, as fast as that goes: the sequence and the count of commits change all the time.
#[test]
fn words_at_full_speed() {
    let change = |region: &mut Region, tables: &Tables, n: u64| {
        let gate = region.gate().clone();
        region.write(&gate.enter()?, |tx| {
            let mut record = tables.ledger.get_mut(tx, &3)?.expect("account");
            // First the one, then the other: the second is never ahead.
            if n.is_multiple_of(2) {
                record.set(|r| &r.0, (EACH + n).into())
            } else {
                record.set(|r| &r.1, (EACH + n).into())
            }
        })
    };
    crowd("full-speed", change, |observer| {
        let ledger = observer.map::<u32, (u64, u64)>("ledger").expect("ledger");
        let mut last = 0;
        let again = answers(READINGS, |n| {
            let seen = if n.is_multiple_of(2) {
                ledger.peek(&3)?
            } else {
                ledger.snapshot(&3)?
            }
            .expect("there");
            let (even, odd) = (seen.0.to_native(), seen.1.to_native());
            assert!(
                even.abs_diff(odd) == 1 && even.max(odd) >= last,
                "{even} and {odd} after {last}"
            );
            last = even.max(odd);
            Ok(())
        });
        println!("{again} to be tried again");
    });
}

#[test]
fn snapshots_are_whole_and_fit_together() {
    crowd("snapshots", everything, |observer| {
        let players = observer.map::<u64, Player>("players").expect("players");
        let clock = observer.cell::<(u64, u64)>("clock").expect("clock");
        let again = answers(READINGS, |n| {
            assert_eq!(sum(observer)?, EACH * u64::from(ACCOUNTS));
            let seen = players.snapshot(&(n % PLAYERS))?.expect("always there");
            assert!(is_whole(&seen), "{seen:?}");
            let now = clock.snapshot()?;
            assert_eq!(now.0, now.1);
            Ok(())
        });
        println!("{again} to be tried again");
    });
}

#[test]
fn walks_meet_everybody_once() {
    crowd("walks", everything, |observer| {
        let players = observer.map::<u64, Player>("players").expect("players");
        answers(300, |_| {
            let mut met = std::collections::BTreeSet::new();
            for item in players.iter() {
                let (key, seen) = item?;
                assert!(is_whole(&seen), "{seen:?}");
                assert!(met.insert(key), "{key} twice");
            }
            assert!((0..PLAYERS).all(|key| met.contains(&key)), "{met:?}");
            Ok(())
        });
    });
}

#[test]
fn validation_finds_nothing_wrong_while_the_owner_writes() {
    crowd("validation", everything, |observer| {
        answers(50, |n| {
            let threads = 1 + n as usize % 3;
            let report = observer
                .validate()
                .map::<u64, Player>("players")?
                .map::<u32, (u64, u64)>("ledger")?
                .cell::<(u64, u64)>("clock")?
                .run(threads, 200 << 20)?;
            assert_eq!(report.faults, [], "{report:?}");
            if report.skipped > 0 {
                // The owner left it no time, as the report says.
                return Err(Error::Retry {
                    what: "a part of a table",
                    tries: 1,
                });
            }
            assert!(report.records >= PLAYERS + u64::from(ACCOUNTS), "{report:?}");
            Ok(())
        });
    });
}

/// These tests can fail: without the checks they do.
#[test]
fn what_is_left_out_is_seen() {
    let torn = crowd("sabotage-sum", everything, |observer| {
        leave_out(Left::Overlay);
        let start = Instant::now();
        let mut torn = 0;
        while torn == 0 && start.elapsed() < LIMIT {
            torn += u64::from(sum(observer).is_ok_and(|sum| sum != EACH * u64::from(ACCOUNTS)));
        }
        leave_out(Left::Nothing);
        torn
    });
    assert!(torn > 0, "without the log no sum was wrong");
}

#[test]
fn inspection_and_counts_while_the_owner_writes() {
    crowd("inspection", everything, |observer| {
        answers(300, |_| {
            let seen = observer.inspect()?;
            assert!(seen.held);
            assert_eq!(seen.tables.len(), 3);
            assert_eq!(seen.tables[1].records, u64::from(ACCOUNTS));
            let players = observer.map::<u64, Player>("players")?.len()?;
            assert!((PLAYERS..=PLAYERS + 20).contains(&players), "{players}");
            Ok(())
        });
    });
}

/// Records in each of the other tables at the beginning.
const OTHERS: u64 = 100;

/// Takes a record out of one table and puts one into another, in turn, so that there are as many in all, and as many names as
/// there are on the board.
fn exchange(region: &mut Region, t: &Others, n: u64) -> Result<()> {
    let gate = region.gate().clone();
    let pass = gate.enter()?;
    let mut random = fastrand::Rng::with_seed(n);
    let mut tx = region.begin(&pass)?;
    let id = match random.u8(..3) {
        0 => t.queue.pop_front(&mut tx, |_, _| ())?.is_some(),
        1 => t.timers.pop_due(&mut tx, u64::MAX, |_, _, _| ())?.is_some(),
        _ => {
            let ids: Result<Vec<_>> = t.slab.iter(&tx)?.map(|item| item.map(|item| item.0)).collect();
            match ids?.get(random.usize(..50)) {
                Some(id) => t.slab.remove(&mut tx, *id)?,
                None => false,
            }
        }
    };
    if id {
        match random.u8(..3) {
            0 => drop(t.queue.push_back(&mut tx, &player(n))?),
            1 => drop(t.timers.insert(&mut tx, random.u64(..1000), &player(n))?),
            _ => drop(t.slab.insert(&mut tx, &player(n))?),
        }
    }
    let key = random.u32(..OTHERS as u32 * 2);
    let name = format!("they all begin alike {key}");
    if t.board.remove(&mut tx, &key)? {
        t.names.remove(&mut tx, &name)?;
    } else {
        t.board.insert(&mut tx, &key, &player(n))?;
        t.names.insert(&mut tx, &name, &player(n))?;
    }
    if n.is_multiple_of(7) {
        tx.rollback();
        return Ok(());
    }
    tx.commit()
}

#[test]
fn other_tables_fit_together() {
    crowd_of(
        "others",
        |tx| create_others(tx, OTHERS),
        exchange,
        |observer| {
            let slab = observer.slab::<Player>("slab").expect("slab");
            let queue = observer.queue::<Player>("queue").expect("queue");
            let timers = observer.timers::<Player>("timers").expect("timers");
            let board = observer.ordered_map::<u32, Player>("board").expect("board");
            let names = observer.ordered_map::<String, Player>("names").expect("names");
            let again = answers(READINGS, |n| {
                let counts =
                    observer.snapshot(|s| Ok::<_, Error>([slab.count(s)?, queue.count(s)?, timers.count(s)?]))?;
                assert_eq!(counts.iter().sum::<u64>(), 3 * OTHERS);
                let counts = observer.snapshot(|s| Ok::<_, Error>([board.count(s)?, names.count(s)?]))?;
                assert_eq!(counts[0], counts[1]);
                let (front, first) =
                    observer.snapshot(|s| Ok::<_, Error>((queue.front(s)?, timers.iter(s)?.next())))?;
                assert!(front.is_none_or(|(_, seen)| is_whole(&seen)));
                if let Some(first) = first {
                    let (id, _, seen) = first?;
                    assert!(is_whole(&seen));
                    assert!(timers.peek(id)?.is_none_or(|seen| is_whole(&seen)));
                }
                let key = n as u32 % 100;
                assert!(board.peek(&key)?.is_none_or(|seen| is_whole(&seen)));
                let name = format!("they all begin alike {key}");
                let pair = observer.snapshot(|s| Ok::<_, Error>((board.get(s, &key)?, names.get(s, &name)?)))?;
                assert_eq!(pair.0.map(|p| p.low.to_native()), pair.1.map(|p| p.low.to_native()));
                if n.is_multiple_of(16) {
                    let keys = observer.snapshot(|s| {
                        board
                            .range(s, 50..)?
                            .map(|item| Ok(item?.0))
                            .collect::<Result<Vec<_>>>()
                    })?;
                    assert!(keys.is_sorted() && keys.iter().all(|key| *key >= 50));
                }
                Ok(())
            });
            println!("{again} to be tried again");
        },
    );
}

#[test]
fn validation_of_other_tables_while_the_owner_writes() {
    crowd_of(
        "others-valid",
        |tx| create_others(tx, OTHERS),
        exchange,
        |observer| {
            answers(50, |n| {
                let report = validate_others(observer)?.run(1 + n as usize % 3, 200 << 20)?;
                assert_eq!(report.faults, [], "{report:?}");
                assert!(report.records + report.skipped >= 2 * OTHERS, "{report:?}");
                Ok(())
            });
        },
    );
}
