//! Every way in which a checkpoint is given up or a file refused leaves what was there before, and a region that goes
//! on.

use crate::harness::{Name, Tables, checkpoint, files, options, soon};
use shmstate::lease::{self, Lease, LeaseCell, LocalLease};
use shmstate::{Checkpoint, CheckpointOptions, Error, Gate, Region};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Bytes a second at which a world of 2000 accounts takes several seconds.
const SLOW: u64 = 1 << 20;

fn world(name: &Name) -> (Region, Tables) {
    let mut region = Region::options().capacity(32 << 20).create(&name.0).expect("create");
    let tables = Tables::fill(&mut region, 2000);
    (region, tables)
}

/// Waits until there is a temporary file with something in it.
fn temporary(directory: &Path) {
    let deadline = soon();
    let is_there = || {
        std::fs::read_dir(directory).expect("directory").flatten().any(|entry| {
            entry.file_name().to_string_lossy().contains(".tmp-") && entry.metadata().is_ok_and(|m| m.len() > 0)
        })
    };
    while !is_there() {
        assert!(Instant::now() < deadline, "nothing is written");
        std::thread::yield_now();
    }
}

#[test]
fn a_dropped_handle_leaves_nothing_and_the_old_file() {
    let name = Name::new("dropped");
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("world");
    let (mut region, tables) = world(&name);
    checkpoint(&mut region, &path);
    let old = std::fs::read(&path).expect("old");
    let gate = region.gate().clone();
    let mut random = fastrand::Rng::with_seed(2);
    for _ in 0..5 {
        let pass = gate.enter().expect("pass");
        let running = region.checkpoint(&pass, &path, &options(SLOW)).expect("mark");
        drop(pass);
        tables.churn(&mut region, &mut random);
        temporary(directory.path());
        assert!(!running.is_done());
        drop(running);
        assert_eq!(files(directory.path()), ["world"]);
        tables.churn(&mut region, &mut random);
    }
    drop(
        region
            .prepare_checkpoint(&path, &CheckpointOptions::default())
            .expect("prepare"),
    );
    // Its thread may be making the file in this very moment; then it removes it itself.
    let deadline = soon();
    while files(directory.path()) != ["world"] {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    assert_eq!(std::fs::read(&path).expect("old"), old);
    // And the next one is not held up.
    checkpoint(&mut region, &path);
    assert_ne!(std::fs::read(&path).expect("new"), old);
}

#[test]
fn a_dropped_region_gives_it_up_and_lets_go_of_the_name() {
    let name = Name::new("region-dropped");
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("world");
    let (mut region, _) = world(&name);
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let mut running = region.checkpoint(&pass, &path, &options(SLOW)).expect("mark");
    temporary(directory.path());
    assert!(matches!(
        running.wait(Instant::now()),
        Err(Error::CheckpointRunning { .. })
    ));
    drop(region);
    assert_eq!(files(directory.path()), [""; 0], "removed at once");
    // The copier still has the object open: that must not make it look owned.
    let region = Region::options().open(&name.0).expect("open");
    let error = running.wait(soon()).expect_err("given up");
    assert!(matches!(error, Error::CheckpointAborted { .. }), "{error}");
    assert!(error.to_string().contains("the region was dropped"), "{error}");
    drop(region);
}

#[test]
fn a_lease_that_went_away_gives_it_up() {
    let name = Name::new("lease");
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("world");
    let lease = Arc::new(LocalLease::default());
    let gate = Gate::closed(lease.clone());
    let mine = lease::change(lease.word(), |l| l.inherit(1)).expect("vacant");
    gate.open(mine);
    let mut region = Region::options()
        .capacity(32 << 20)
        .gate(&gate)
        .create(&name.0)
        .expect("create");
    Tables::fill(&mut region, 2000);
    for back in [false, true] {
        let pass = gate.enter().expect("pass");
        let mut running = region.checkpoint(&pass, &path, &options(SLOW)).expect("mark");
        drop(pass);
        gate.close();
        assert!(gate.wait_quiet(soon()));
        lease::change(lease.word(), |l| l.release(1, 2)).expect("release");
        // Even if it comes back at once, another process may have written meanwhile: the word is another.
        let now = lease::change(lease.word(), |l| if back { l.take_back(1) } else { l.take(2) }).expect("next");
        let error = running.wait(soon()).expect_err("given up");
        assert!(
            error.to_string().contains("the lease went to another process"),
            "{error}"
        );
        assert_eq!(files(directory.path()), [""; 0]);
        // The process gets the node back, and can make checkpoints again.
        let mine = match now {
            Lease::Owned { owner: 1, .. } => now,
            _ => lease::change(lease.word(), |l| l.inherit(1)).expect("the other one is dead"),
        };
        gate.open(mine);
    }
    checkpoint(&mut region, &path);
}

#[test]
fn two_regions_may_write_to_one_path_and_the_last_one_stays() {
    let (name, other) = (Name::new("path-1"), Name::new("path-2"));
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("world");
    let (mut region, _) = world(&name);
    let mut second = Region::options().capacity(4 << 20).create(&other.0).expect("create");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    // So slow that a disk that is busy with something else does not hold up the other one for longer.
    let mut running = region.checkpoint(&pass, &path, &options(SLOW / 3)).expect("mark");
    drop(pass);
    // This one finds the other's temporary file, whose maker is alive.
    checkpoint(&mut second, &path);
    assert_eq!(Checkpoint::verify(&path).expect("whole").region, second.id());
    running.wait(soon()).expect("its file was not taken away");
    assert_eq!(Checkpoint::verify(&path).expect("whole").region, region.id());
    assert_eq!(files(directory.path()), ["world"]);
}

#[test]
fn misuse_is_refused() {
    let (name, other) = (Name::new("misuse"), Name::new("misuse-other"));
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("world");
    let (mut region, _) = world(&name);
    let mut second = Region::options().capacity(4 << 20).create(&other.0).expect("create");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let quick = CheckpointOptions::default();

    let prepared = second.prepare_checkpoint(&path, &quick).expect("prepare");
    assert!(matches!(
        region.mark(&pass, prepared),
        Err(Error::ForeignCheckpoint { .. })
    ));
    assert!(matches!(
        second.checkpoint(&pass, &path, &quick),
        Err(Error::ForeignPass { .. })
    ));
    let running = region.checkpoint(&pass, &path, &options(SLOW)).expect("mark");
    assert!(matches!(
        region.checkpoint(&pass, directory.path().join("two"), &quick),
        Err(Error::CheckpointRunning { .. })
    ));
    drop(running);
    let memory = Region::in_memory(4 << 20).expect("memory");
    assert!(matches!(
        memory.prepare_checkpoint(&path, &quick),
        Err(Error::NoDescriptor { .. })
    ));
    for bad in [directory.path().join("none/world"), "/".into()] {
        let result = region
            .checkpoint(&pass, &bad, &quick)
            .and_then(|mut running| running.wait(soon()));
        assert!(matches!(result, Err(Error::Io { .. })), "{bad:?}: {result:?}");
    }
    // The one that was given up is cleared away by its thread.
    let end = soon();
    while !files(directory.path()).is_empty() {
        assert!(Instant::now() < end, "{:?} stays", files(directory.path()));
        std::thread::yield_now();
    }
    let mut running = region.checkpoint(&pass, &path, &quick).expect("after all of that");
    running.wait(soon()).expect("report");
}

fn refused(path: &Path, name: &Name) -> Error {
    let error = Region::restore(path, &name.0).expect_err("refused");
    assert!(
        matches!(Region::options().open(&name.0), Err(Error::NotFound { .. })),
        "nothing half-made stays behind"
    );
    error
}

#[test]
fn what_cannot_be_restored_leaves_no_region() {
    let (name, copy) = (Name::new("refused"), Name::new("refused-copy"));
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("world");
    let (mut region, _) = world(&name);
    checkpoint(&mut region, &path);
    let good = std::fs::read(&path).expect("read");
    let bad = directory.path().join("bad");
    let mut random = fastrand::Rng::with_seed(3);
    for _ in 0..40 {
        let at = random.usize(16..good.len());
        let mut bytes = good.clone();
        bytes[at] ^= 1 << random.u8(0..8);
        std::fs::write(&bad, &bytes).expect("write");
        let error = refused(&bad, &copy);
        assert!(
            matches!(error, Error::CheckpointDamaged { .. } | Error::CheckpointCut { .. }),
            "{error} at {at}"
        );
        let length = random.usize(..good.len());
        std::fs::write(&bad, &good[..length]).expect("write");
        let error = refused(&bad, &copy);
        assert!(matches!(error, Error::CheckpointCut { .. }), "{error} at {length}");
    }
    std::fs::write(&bad, vec![b'x'; 10_000]).expect("write");
    assert!(matches!(refused(&bad, &copy), Error::NotACheckpoint { .. }));
    assert!(matches!(
        Region::options().capacity(64 << 20).restore(&path, &copy.0),
        Err(Error::CheckpointCapacity {
            asked: 67_108_864,
            most: 33_554_432,
            ..
        })
    ));
    assert!(matches!(Region::restore(&path, &name.0), Err(Error::Exists { .. })));
    assert!(matches!(Region::restore(&path, ".."), Err(Error::BadName { .. })));
    // One GiB is what a region has for which nothing was asked; asked for, it is too much for this one.
    assert!(matches!(
        Region::options().capacity(1 << 30).restore(&path, &copy.0),
        Err(Error::CheckpointCapacity {
            asked: 1_073_741_824,
            ..
        })
    ));
    for (asked, has) in [
        (32 << 20, 32 << 20),
        (16 << 20, 16 << 20),
        ((16 << 20) + 1000, 16 << 20),
    ] {
        let other = Region::options()
            .capacity(asked)
            .restore(&path, &copy.0)
            .expect("restored");
        assert_eq!(other.capacity(), has);
        drop(other);
        assert!(Region::remove(&copy.0).expect("removed"));
    }
    let same = Region::options().restore(&path, &copy.0).expect("restored");
    assert_eq!(same.capacity(), 32 << 20);
}
