//! Owners in processes of their own that are stopped and killed in the middle of transactions.

use super::{ACCOUNTS, EACH, Name, PLAYERS, Player, create, is_whole, open, player, sum, transfer};
use crate::observe::Observer;
use crate::{Activity, Error, Inspection, Map, Region, TableOptions};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

/// Tells this test binary that it is an owner, of which region, and what it shall do.
const OWNER: &str = "SHMSTATE_OBSERVED_REGION";
const DUTY: &str = "SHMSTATE_OBSERVED_DUTY";

/// The owner's program: no test of its own.
#[test]
fn owner() {
    let (Ok(name), Ok(duty)) = (std::env::var(OWNER), std::env::var(DUTY)) else {
        return;
    };
    let mut region = Region::options().open(&name).expect("region");
    let tables = open(&region);
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let ready = || {
        println!("\nready");
        std::io::stdout().flush().expect("stdout");
    };
    if duty == "hold" {
        let mut tx = region.begin(&pass).expect("begin");
        transfer(&mut tx, &tables, 0, 1, 400).expect("transfer");
        for key in 0..PLAYERS / 2 {
            tables.players.remove(&mut tx, &key).expect("remove");
        }
        // Enough for the index and the log to grow.
        for key in 1000..1900 {
            tables.players.insert(&mut tx, &key, &player(key)).expect("insert");
        }
        tables.clock.set(&mut tx, &(9, 9)).expect("clock");
        ready();
        loop {
            std::thread::park();
        }
    }
    ready();
    let mut random = fastrand::Rng::with_seed(1);
    loop {
        let (from, to) = (random.u32(..ACCOUNTS), random.u32(..ACCOUNTS));
        region
            .write(&pass, |tx| {
                transfer(tx, &tables, from, to, random.u64(..100))?;
                let key = random.u64(..PLAYERS);
                tables.players.insert(tx, &key, &player(random.u64(..200)))?;
                tables.clock.get_mut(tx)?.set(|c| &c.0, random.u64(..).into())
            })
            .unwrap_or_else(|e: Error| panic!("{e}"));
    }
}

struct Owner(Child);

impl Owner {
    fn start(name: &Name, duty: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "observe::tests::process::owner", "--nocapture"])
            .env(OWNER, &name.0)
            .env(DUTY, duty)
            .stdout(Stdio::piped())
            .spawn()
            .expect("owner");
        let lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
        let owner = Self(child);
        let mut lines = lines.map_while(Result::ok);
        assert!(lines.any(|line| line == "ready"), "the owner ended early");
        owner
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id() as i32), signal).expect("signal");
    }

    fn kill(&mut self) {
        self.0.kill().expect("kill");
        self.0.wait().expect("wait");
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn make(what: &str) -> Name {
    let name = Name::new(what);
    let mut region = Region::options().capacity(16 << 20).create(&name.0).expect("region");
    let gate = region.gate().clone();
    region
        .write(&gate.enter().expect("pass"), |tx| create(tx).map(|_| ()))
        .expect("tables");
    name
}

fn untouched(observer: &Observer) {
    let ledger = observer.map::<u32, (u64, u64)>("ledger").expect("ledger");
    let players = observer.map::<u64, Player>("players").expect("players");
    assert_eq!(sum(observer).expect("sum"), EACH * u64::from(ACCOUNTS));
    assert_eq!(ledger.snapshot(&0).expect("account").expect("there").0, EACH);
    assert_eq!(players.len().expect("len"), PLAYERS);
    for key in 0..PLAYERS {
        let seen = players.snapshot(&key).expect("player").expect("there");
        assert!(is_whole(&seen) && seen.low == key, "{seen:?}");
        assert!(players.peek(&key).expect("peek").is_some_and(|seen| is_whole(&seen)));
    }
    assert!(players.snapshot(&1500).expect("player").is_none());
    assert_eq!(
        observer
            .cell::<(u64, u64)>("clock")
            .expect("clock")
            .snapshot()
            .expect("value")
            .0,
        0
    );
    let met = players
        .iter()
        .map(|item| item.expect("record").0)
        .filter(|key| *key < PLAYERS);
    assert_eq!(met.count() as u64, PLAYERS);
    let report = observer
        .validate()
        .map::<u64, Player>("players")
        .expect("players")
        .run(2, u64::MAX);
    let report = report.expect("report");
    assert!(report.is_sound(), "{report:?}");
}

#[test]
fn an_open_transaction_of_a_living_a_stopped_and_a_dead_owner() {
    let name = make("held");
    let mut owner = Owner::start(&name, "hold");
    let observer = Observer::open(&name.0).expect("observer");
    untouched(&observer);
    let players = observer.map::<u64, Player>("players").expect("players");
    assert!(
        players.peek(&1500).expect("peek").is_some_and(|seen| is_whole(&seen)),
        "not committed"
    );
    owner.signal(Signal::SIGSTOP);
    untouched(&observer);
    let seen = observer.inspect().expect("inspection");
    assert!(
        seen.held && seen.log > 0 && seen.activity == Activity::Transaction,
        "{seen:?}"
    );
    assert_eq!(seen.tables[0].records, PLAYERS);
    owner.kill();
    untouched(&observer);
    untouched(&Observer::open(&name.0).expect("observer of a dead owner's region"));
    assert!(!Inspection::of(&name.0).expect("inspection").held);
    // The next owner recovers what the observer saw.
    let region = Region::options().open(&name.0).expect("recovered");
    assert!(region.recovered().entries > 0);
    untouched(&observer);
}

/// Stopped at any instruction, the owner leaves what can be read; killed at any, what the next owner will find.
#[test]
fn owners_stopped_and_killed_at_random() {
    let mut random = fastrand::Rng::with_seed(3);
    for round in 0..6 {
        let name = make(&format!("random-{round}"));
        let mut owner = Owner::start(&name, "work");
        let observer = Observer::open(&name.0).expect("observer");
        let ledger = observer.map::<u32, (u64, u64)>("ledger").expect("ledger");
        let players = observer.map::<u64, Player>("players").expect("players");
        for _ in 0..40 {
            for _ in 0..random.u32(..200_000) {
                std::hint::spin_loop();
            }
            owner.signal(Signal::SIGSTOP);
            assert_eq!(sum(&observer).expect("sum"), EACH * u64::from(ACCOUNTS));
            for key in 0..PLAYERS {
                let seen = players.snapshot(&key).expect("player").expect("there");
                assert!(is_whole(&seen), "{seen:?}");
                let seen = players.peek(&key).expect("player").expect("there");
                assert!(is_whole(&seen), "{seen:?}");
            }
            owner.signal(Signal::SIGCONT);
        }
        owner.kill();
        let state = || {
            let accounts: Vec<_> = (0..ACCOUNTS)
                .map(|i| {
                    ledger
                        .snapshot(&i)
                        .expect("account")
                        .map(|r| (r.0.to_native(), r.1.to_native()))
                })
                .collect();
            let all: Vec<_> = (0..PLAYERS)
                .map(|i| players.snapshot(&i).expect("player").map(|p| p.low.to_native()))
                .collect();
            (accounts, all)
        };
        let before = state();
        let region = Region::options().open(&name.0).expect("recovered");
        assert_eq!(state(), before, "round {round}: recovery found something else");
        drop(region);
    }
}

/// A descriptor that cannot write is enough, and nothing changes.
#[test]
fn reading_alone_is_enough() {
    let name = make("reading");
    let before = std::fs::read(format!("/dev/shm/{}", name.0)).expect("bytes");
    let file = std::fs::File::open(format!("/dev/shm/{}", name.0)).expect("object");
    let observer = Observer::attach("by descriptor", file.into()).expect("observer");
    untouched(&observer);
    let other = Observer::open(&name.0).expect("observer");
    let mine = observer.map::<u64, Player>("players").expect("players");
    assert!(matches!(other.snapshot(|s| mine.get(s, &1)), Err(Error::ForeignTable)));
    assert!(matches!(
        observer.map::<u64, u64>("players"),
        Err(Error::SchemaMismatch { .. })
    ));
    assert!(matches!(observer.map::<u64, u64>("nobody"), Err(Error::NoTable { .. })));
    let after = std::fs::read(format!("/dev/shm/{}", name.0)).expect("bytes");
    assert!(before == after, "an observer changed something");
    assert!(matches!(
        Observer::open("shmstate-no-such-region"),
        Err(Error::NotFound { .. })
    ));
}

/// Keys of any length, records of any size, with checksums, in a region that has grown while it was observed.
#[test]
fn long_keys_and_long_records() {
    let name = Name::new("long");
    let mut region = Region::options()
        .capacity(4 << 20)
        .reserve(64 << 20)
        .create(&name.0)
        .expect("region");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let notes: Map<(String, u32), Vec<u8>> = region
        .write(&pass, |tx| {
            Map::create_with(tx, "notes", TableOptions::default().checksums(true))
        })
        .expect("table");
    let observer = Observer::open(&name.0).expect("observer");
    let seen = observer.map::<(String, u32), Vec<u8>>("notes").expect("notes");
    region.raise_capacity(&pass, 32 << 20).expect("more");
    let key = |i: u32| ("key ".repeat(i as usize * 3), i);
    let value = |i: u32| vec![i as u8; i as usize * i as usize * 60];
    for i in 0..60 {
        region
            .write(&pass, |tx| notes.insert(tx, &key(i), &value(i)).map(|_| ()))
            .unwrap_or_else(|e: Error| panic!("{e}"));
        assert!(*seen.peek(&key(i)).expect("peek").expect("there") == *value(i));
    }
    for i in 0..60 {
        assert!(*seen.snapshot(&key(i)).expect("snapshot").expect("there") == *value(i));
        assert!(seen.snapshot(&(key(i).0, 1000)).expect("snapshot").is_none());
    }
    let mut met: Vec<u32> = seen.iter().map(|item| item.expect("record").0.1).collect();
    met.sort_unstable();
    assert_eq!(met, Vec::from_iter(0..60));
    let report = observer
        .validate()
        .map::<(String, u32), Vec<u8>>("notes")
        .expect("notes")
        .run(2, u64::MAX);
    assert!(report.expect("report").is_sound());
    let mut unverified = {
        drop(pass);
        drop(region);
        // A child that another test is about to start may hold the object for a moment longer.
        let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
        loop {
            match Region::options().open_checked(&name.0) {
                Err(Error::InUse { .. }) if std::time::Instant::now() < end => std::thread::yield_now(),
                opened => break opened.expect("open"),
            }
        }
    };
    unverified.table::<Map<(String, u32), Vec<u8>>>("notes").expect("sound");
    assert!(unverified.finish().is_ok());
}
