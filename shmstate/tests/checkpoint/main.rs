//! Checkpoints as their users see them: consistent under a writer, refused when damaged, harmless when they fail.

mod failures;
mod figures;
mod harness;
mod outside;

use harness::{Name, Tables, World, options, soon};
use shmstate::{
    Cell, Checkpoint, CheckpointOptions, Error, Received, Region, Result, Rings, Slab, Streams, monotonic_ns, verify,
};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Instant;

#[test]
fn a_restored_region_is_the_region_at_the_mark() {
    let name = Name::new("ledger");
    let copy = Name::new("ledger-copy");
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("world");
    let mut region = Region::options().capacity(64 << 20).create(&name.0).expect("create");
    let tables = Tables::fill(&mut region, 4000);
    let mut random = fastrand::Rng::with_seed(5);
    for round in 0..4u64 {
        for _ in 0..200 {
            tables.churn(&mut region, &mut random);
        }
        let expected = tables.read(&region);
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        // The first two with a slow disk, so that the writer meets it everywhere; the others as fast as it goes.
        let options = if round < 2 {
            options(24 << 20)
        } else {
            CheckpointOptions::default()
        };
        let before = region.clock_ns();
        let mut running = region.checkpoint(&pass, &path, &options).expect("mark");
        let after = region.clock_ns();
        drop(pass);
        let mut steps = 0;
        while !running.is_done() || steps < 200 {
            tables.churn(&mut region, &mut random);
            steps += 1;
        }
        let report = running.wait(Instant::now()).expect("report");
        assert!(
            round >= 2 || report.copied_by_writer > 100,
            "{report:?} after {steps} steps"
        );
        let found = Checkpoint::verify(&path).expect("verify");
        assert_eq!(found, Checkpoint::inspect(&path).expect("inspect"));
        assert_eq!((found.bytes, found.pages), (report.bytes, report.pages));
        assert_eq!((found.region, found.capacity), (region.id(), 64 << 20));
        assert!((before..=after).contains(&found.marked_ns));

        let restored = Region::restore(&path, &copy.0).expect("restore");
        assert_ne!(tables.read(&region), expected, "the writer went on");
        let again = Tables::open(&restored).expect("tables");
        assert_eq!(again.read(&restored), expected);
        assert_eq!(
            expected.ledger.values().sum::<u64>(),
            4000 * 1000,
            "the ledger's sum is fixed"
        );
        assert_ne!(restored.id(), region.id());
        assert!(matches!(
            Tables::read_with(&tables, &restored),
            Err(Error::ForeignTable)
        ));
        let from = restored.restored_from().expect("restored");
        assert_eq!(
            (from.region, from.marked_ns, from.boot_id),
            (region.id(), found.marked_ns, found.boot_id)
        );
        assert_eq!(region.restored_from(), None);
        // The clock went on where it stood at the mark.
        let since = restored.clock_ns() - found.marked_ns;
        assert!(since <= monotonic_ns() - from.restored_ns, "{since}");
        Region::remove(&copy.0).expect("remove");
    }
}

#[test]
fn a_restored_region_goes_on_and_can_be_restored_again() {
    let (name, two, three) = (Name::new("chain"), Name::new("chain-2"), Name::new("chain-3"));
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("world");
    let mut region = Region::options().capacity(16 << 20).create(&name.0).expect("create");
    let tables = Tables::fill(&mut region, 100);
    harness::checkpoint(&mut region, &path);
    drop(region);
    let mut second = Region::options()
        .node_id([7, 8])
        .restore(&path, &two.0)
        .expect("restore");
    let tables_2 = Tables::open(&second).expect("tables");
    assert_eq!(tables_2.len(&second), tables.len_of_fill());
    let mut random = fastrand::Rng::with_seed(6);
    for _ in 0..300 {
        tables_2.churn(&mut second, &mut random);
    }
    let expected = tables_2.read(&second);
    let clock = second.clock_ns();
    harness::checkpoint(&mut second, &path);
    assert_eq!(Checkpoint::inspect(&path).expect("inspect").node, [7, 8]);
    // Not in the checkpoint, and it survives the process: the restored region is a region like any other.
    tables_2.churn(&mut second, &mut random);
    drop(second);
    let third = Region::restore(&path, &three.0).expect("restore");
    assert_eq!(Tables::open(&third).expect("tables").read(&third), expected);
    let later = third.clock_ns() - clock;
    assert!(later < 60_000_000_000, "the region's clock jumped by {later} ns");
    drop(third);
    let second = Region::options().open(&two.0).expect("open what was restored");
    assert_eq!(
        Tables::open(&second).expect("tables").read(&second).step,
        expected.step + 1
    );
    assert!(second.restored_from().is_some());
}

#[test]
fn an_empty_region_and_a_growing_one() {
    let (name, copy) = (Name::new("empty"), Name::new("empty-copy"));
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("world");
    let mut region = Region::options().capacity(48 << 20).create(&name.0).expect("create");
    harness::checkpoint(&mut region, &path);
    let gate = region.gate().clone();
    let prepared = region
        .prepare_checkpoint(directory.path().join("later"), &options(8 << 20).pages_ahead(1))
        .expect("prepare");
    // The region outgrows what was prepared for, and goes on growing under the copier.
    let tables = Tables::fill(&mut region, 3000);
    harness::grow(&mut region, 20 << 20);
    let expected = tables.read(&region);
    let pass = gate.enter().expect("pass");
    let mut running = region.mark(&pass, prepared).expect("mark");
    drop(pass);
    harness::grow(&mut region, 2 << 20);
    let mut random = fastrand::Rng::with_seed(7);
    while !running.is_done() {
        tables.churn(&mut region, &mut random);
    }
    running.wait(soon()).expect("report");
    let empty = Region::restore(&path, &copy.0).expect("restore");
    assert!(matches!(Tables::open(&empty), Err(Error::NoTable { .. })));
    drop(empty);
    Region::remove(&copy.0).expect("remove");
    let later = Region::restore(directory.path().join("later"), &copy.0).expect("restore");
    assert_eq!(Tables::open(&later).expect("tables").read(&later), expected);
}

#[test]
fn streams_are_ended_and_their_table_stays() {
    let (name, copy) = (Name::new("streams"), Name::new("streams-copy"));
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("world");
    let mut region = Region::options().capacity(32 << 20).create(&name.0).expect("create");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let streams = region
        .write(&pass, |tx| {
            Cell::create(tx, "clock", &3u64)?;
            Streams::create(tx, "players", Rings::default())
        })
        .expect("tables");
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let mut ends = Vec::new();
    for i in 0..100 {
        let mut client = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
        let (server, _) = listener.accept().expect("accept");
        client.write_all(&[i; 700]).expect("write");
        let id = region
            .write(&pass, |tx| streams.adopt(tx, server.as_fd(), i.into()))
            .expect("adopt");
        ends.push((client, server, id));
    }
    let mut running = region.checkpoint(&pass, &path, &options(1 << 20)).expect("mark");
    // Bytes come in and go out while it is copied, some of them outside of any transaction.
    let mut rounds = 0u64;
    // On a busy machine it may be done before the first.
    while rounds == 0 || !running.is_done() {
        for (client, server, id) in &mut ends {
            client.write_all(&[9; 50]).expect("write");
            let mut io = region.io(&pass).expect("io");
            assert!(matches!(
                streams.receive(&mut io, *id, server.as_fd()),
                Ok(Received::Bytes(1..))
            ));
            region
                .write(&pass, |tx| {
                    let there = streams.input(tx, *id)?.len();
                    streams.consume(tx, *id, there)?;
                    streams.produce(tx, *id, &[8; 20]).map(|_| ())
                })
                .expect("work");
            streams
                .send(&mut region.io(&pass).expect("io"), *id, server.as_fd())
                .expect("send");
            if rounds % 64 == 63 {
                // What the server sends must not fill up the client.
                let mut sink = [0; 64 * 20];
                std::io::Read::read_exact(client, &mut sink).expect("read");
            }
        }
        rounds += 1;
    }
    running.wait(soon()).expect("report");
    let mut restored = Region::restore(&path, &copy.0).expect("restore");
    let gate = restored.gate().clone();
    let pass = gate.enter().expect("pass");
    let again = Streams::open(&restored, "players").expect("streams");
    {
        let reader = restored.read(&pass).expect("read");
        assert_eq!(again.len(&reader).expect("len"), 0);
        assert!(matches!(again.user(&reader, ends[0].2), Err(Error::NoStream { .. })));
        assert!(verify(&reader).expect("verify").is_sound());
    }
    let (_, server, old) = &ends[0];
    let new = restored
        .write(&pass, |tx| again.adopt(tx, server.as_fd(), 1))
        .expect("adopt");
    assert_ne!(new, *old);
}

/// Many streams in a region that has no memory left for a log of all that they held.
#[test]
fn many_streams_of_a_full_region_are_ended() {
    let (name, copy) = (Name::new("many-streams"), Name::new("many-streams-copy"));
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("world");
    let mut region = Region::options().capacity(4 << 20).create(&name.0).expect("create");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let rings = Rings {
        input: 256,
        output: 256,
    };
    let (streams, filling) = region
        .write(&pass, |tx| -> Result<_> {
            Ok((Streams::create(tx, "players", rings)?, Slab::create(tx, "filling")?))
        })
        .expect("tables");
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let _client = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
    let (server, _) = listener.accept().expect("accept");
    for i in 0..1_500 {
        region
            .write(&pass, |tx| {
                let id = streams.adopt(tx, server.as_fd(), i)?;
                streams.produce(tx, id, &[7; 100]).map(|_| ())
            })
            .expect("adopt");
    }
    for length in [60_000, 1_000, 100, 0] {
        while region
            .write(&pass, |tx| filling.insert(tx, &vec![0u8; length]).map(|_| ()))
            .is_ok()
        {}
    }
    let mut running = region
        .checkpoint(&pass, &path, &CheckpointOptions::default())
        .expect("mark");
    running.wait(soon()).expect("report");
    let restored = Region::restore(&path, &copy.0).expect("restore");
    let gate = restored.gate().clone();
    let pass = gate.enter().expect("pass");
    let reader = restored.read(&pass).expect("read");
    let again = Streams::open(&restored, "players").expect("streams");
    assert_eq!(again.len(&reader).expect("len"), 0);
    assert!(verify(&reader).expect("verify").is_sound());
}

#[test]
fn a_transaction_that_was_forgotten_is_not_in_it() {
    let (name, copy) = (Name::new("forgotten"), Name::new("forgotten-copy"));
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("world");
    let mut region = Region::options().capacity(16 << 20).create(&name.0).expect("create");
    let tables = Tables::fill(&mut region, 100);
    let expected = tables.read(&region);
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let mut tx = region.begin(&pass).expect("begin");
    tables.step(&mut tx).expect("step");
    std::mem::forget(tx);
    let mut running = region.checkpoint(&pass, &path, &options(1 << 20)).expect("mark");
    // One that is open while the copier is at work, and rolled back.
    let rolled_back: Result<()> = region.write(&pass, |tx| {
        tables.step(tx)?;
        Err(Error::GateClosed)
    });
    assert!(rolled_back.is_err());
    running.wait(soon()).expect("report");
    let restored = Region::restore(&path, &copy.0).expect("restore");
    assert_eq!(Tables::open(&restored).expect("tables").read(&restored), expected);
    let _: World = expected;
}
