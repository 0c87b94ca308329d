//! A full mount is a typed error before anything is touched, never SIGBUS; the region stays usable.
//!
//! Each test runs itself again inside a mount namespace of its own, where the mount is small. Where the system does not let this
//! user make one, it says so and checks nothing.

use shmstate::{Error, Inspection, Map, MountKind, Options, Region, Result, verify};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Set for the inner run: the directory that is mounted over.
const INSIDE: &str = "FULL_MOUNT_INSIDE";
/// Said by the inner run when it has checked what it is there for.
const CHECKED: &str = "filled up";

/// A directory to mount something over, gone at the end.
struct Place(PathBuf);

impl Place {
    fn new(what: &str) -> Self {
        let path = std::env::temp_dir().join(format!("{what} {}", std::process::id()));
        std::fs::create_dir(&path).expect("directory");
        Self(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Outside the namespace it is empty.
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// Runs the test `name` again in a namespace in which `mount` was run, if this system lets us.
fn again(name: &str, unshare: &[&str], place: &Path, mount: &str) {
    let namespace = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(unshare).args(["sh", "-c", script]).env(INSIDE, place);
        command
    };
    match namespace(mount).output() {
        Ok(output) if output.status.success() => {}
        other => {
            println!("not checked: this system does not let us mount here: {other:?}");
            return;
        }
    }
    let me = std::env::current_exe().expect("this test's path");
    let output = namespace(&format!("{mount} && exec \"$0\" --exact \"$1\" --nocapture"))
        .arg(me)
        .arg(name)
        .output()
        .expect("run inside");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains(CHECKED),
        "{:?}\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    for line in text.lines().filter(|line| line.contains(CHECKED)) {
        println!("{line}");
    }
}

fn inside() -> Option<PathBuf> {
    std::env::var_os(INSIDE).map(PathBuf::from)
}

const USER: [&str; 2] = ["--mount", "--map-root-user"];

#[test]
fn a_full_mount_is_an_error_and_the_region_goes_on() {
    if inside().is_some() {
        let name = format!("shmstate-full-{}", std::process::id());
        // With the thread that reserves ahead and without it: it must not take what the writer could have had.
        for ahead in [None, Some(0)] {
            let options = Region::options().capacity(64 << 20);
            let options = ahead
                .iter()
                .fold(options, |options, bytes| options.reserve_ahead(*bytes));
            let region = options.create(&name).expect("create");
            fill(region, "/dev/shm", 8 << 20);
            options.remove(&name).expect("remove");
        }
        return;
    }
    let mount = "mount -t tmpfs -o size=8m tmpfs /dev/shm";
    let name = "a_full_mount_is_an_error_and_the_region_goes_on";
    again(name, &USER, Path::new("/dev/shm"), mount);
}

/// What was given back and taken by others meanwhile is missed with a typed error, not with a signal; and only by who needs it.
#[test]
fn a_hole_that_cannot_be_taken_again() {
    if let Some(place) = inside() {
        for ahead in [None, Some(0)] {
            let options = Region::options().directory(&place).capacity(256 << 20);
            let options = ahead.iter().fold(options, |o, bytes| o.reserve_ahead(*bytes));
            let mut world = options.create("world").expect("create");
            let gate = world.gate().clone();
            let pass = gate.enter().expect("pass");
            let blobs: Map<u64, Vec<u8>> = world.write(&pass, |tx| Map::create(tx, "blobs")).expect("table");
            let insert = |world: &mut Region, keys: std::ops::Range<u64>| -> Result<()> {
                for i in keys {
                    world.write(&pass, |tx| blobs.insert(tx, &i, &vec![i as u8; 3000]))?;
                }
                Ok(())
            };
            insert(&mut world, 0..10_000).expect("room");
            for i in 100..9_900 {
                world.write(&pass, |tx| blobs.remove(tx, &i)).expect("remove");
            }
            let mut given = 0;
            loop {
                let trimmed = world.trim(&pass, 4 << 20).expect("trim");
                given += trimmed.bytes;
                if !trimmed.more {
                    break;
                }
            }
            assert!(world.memory(&pass).expect("memory").holes > 16 << 20 && given > 16 << 20);
            let other = options.create("other").expect("create");
            fill(other, &place.to_string_lossy(), 64 << 20);
            let full = insert(&mut world, 100..9_900).expect_err("the other has it");
            assert!(matches!(full, Error::OutOfSpace { .. }), "{full}");
            let reader = world.read(&pass).expect("read");
            assert!(verify(&reader).expect("verify").is_sound());
            let kept = blobs.len(&reader).expect("len");
            assert!(kept < 9_000, "{kept}");
            // In a full mount everything else goes on: reading all of it, reopening, looking.
            drop(world);
            let mut world = options.open("world").expect("open");
            let seen = Inspection::in_directory(&place, "world").expect("inspect");
            assert!(seen.memory.holes > 0, "{seen:?}");
            let gate = world.gate().clone();
            let pass = gate.enter().expect("pass");
            assert!(verify(&world.read(&pass).expect("read")).expect("verify").is_sound());
            assert!(options.remove("other").expect("remove"));
            let insert = |world: &mut Region, keys: std::ops::Range<u64>| -> Result<()> {
                for i in keys {
                    world.write(&pass, |tx| blobs.insert(tx, &i, &vec![i as u8; 3000]))?;
                }
                Ok(())
            };
            insert(&mut world, 100..9_900).expect("room again");
            let reader = world.read(&pass).expect("read");
            assert_eq!(blobs.len(&reader).expect("len"), 10_000);
            assert!(verify(&reader).expect("verify").is_sound());
            println!("{CHECKED} a region of {given} bytes less");
            assert!(options.remove("world").expect("remove"));
        }
        return;
    }
    let place = Place::new("shmstate-trim-mount");
    let mount = format!("mount -t tmpfs -o size=64m tmpfs \"${INSIDE}\"");
    again("a_hole_that_cannot_be_taken_again", &USER, &place.0, &mount);
}

#[test]
fn a_full_directory_is_named_with_its_size() {
    if let Some(place) = inside() {
        let options = Region::options().directory(&place);
        let small = options.clone().capacity(40 << 20).create("small").expect("create");
        let region = options.clone().capacity(512 << 20).create("world").expect("create");
        fill(region, &place.to_string_lossy(), 64 << 20);
        let seen = Inspection::in_directory(&place, "small").expect("inspect").memory;
        assert_eq!((seen.kind, seen.mount_size), (MountKind::Tmpfs, 64 << 20));
        assert_eq!(seen.mount, place.to_string_lossy());
        drop(small);
        assert!(options.remove("world").expect("remove") && options.remove("small").expect("remove"));
        return;
    }
    // A blank in the name: /proc writes it as four characters.
    let place = Place::new("shmstate full mount");
    let mount = format!("mount -t tmpfs -o size=64m tmpfs \"${INSIDE}\"");
    again("a_full_directory_is_named_with_its_size", &USER, &place.0, &mount);
}

/// A hugetlbfs without a page to give says so, by its name; with some, it is filled.
#[test]
fn a_hugetlbfs_without_pages_says_so() {
    if let Some(place) = inside() {
        let options = Region::options().capacity(64 << 20).directory(&place);
        match options.create("world") {
            Ok(region) => check_huge(region, &options),
            Err(error @ Error::OutOfSpace { .. }) => {
                let text = error.to_string();
                assert!(text.starts_with(&format!("{} (hugetlbfs: ", place.display())), "{text}");
                println!("{CHECKED} from the start: {text}");
            }
            Err(other) => panic!("{other}"),
        }
        assert!(!place.join("world").exists());
        return;
    }
    let place = Place::new("shmstate-huge-mount");
    let mount = format!("mount -t hugetlbfs -o pagesize=2M none \"${INSIDE}\"");
    // Only the administrator may mount one.
    again("a_hugetlbfs_without_pages_says_so", &["--mount"], &place.0, &mount);
}

fn check_huge(mut region: Region, options: &Options) {
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let memory = region.memory(&pass).expect("memory");
    assert_eq!((memory.kind, memory.page), (MountKind::Hugetlbfs, 2 << 20));
    let map: Result<Map<u64, Vec<u8>>> = region.write(&pass, |tx| Map::create(tx, "blobs"));
    let error = map.and_then(|map| {
        for i in 0.. {
            region.write(&pass, |tx| map.insert(tx, &i, &vec![1; 30_000]).map(|_| ()))?;
        }
        Ok(())
    });
    assert!(
        matches!(error, Err(Error::OutOfSpace { .. } | Error::RegionFull { .. })),
        "{error:?}"
    );
    options.remove("world").expect("remove");
    println!("{CHECKED}: {memory:?}");
}

/// Fills the mount of `size` bytes at `place` through a region, which must say so and stay usable.
fn fill(mut region: Region, place: &str, size: u64) {
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let blobs: Map<u64, Vec<u8>> = region.write(&pass, |tx| Map::create(tx, "blobs")).expect("table");
    let mut kept = 0u64;
    let error = loop {
        let put: Result<()> = region.write(&pass, |tx| {
            for i in 0..8 {
                blobs.insert(tx, &(kept * 8 + i), &vec![i as u8; 3000])?;
            }
            Ok(())
        });
        match put {
            Ok(()) => kept += 1,
            Err(error) => break error,
        }
        assert!(kept < 10_000, "the mount cannot hold that much");
    };
    match &error {
        Error::OutOfSpace {
            mount,
            wanted,
            free,
            size: whole,
            ..
        } => {
            assert_eq!(&**mount, place);
            assert_eq!(*whole, size);
            assert!(*wanted > 0 && *wanted <= 64 << 10, "{wanted}: small steps to the end");
            assert!(
                *free < *wanted + (16 << 10),
                "{free} free: it was not the thread who had it"
            );
        }
        other => panic!("{other}"),
    }
    println!("{CHECKED} after {kept} transactions: {error}");
    let reader = region.read(&pass).expect("read");
    assert_eq!(
        blobs.len(&reader).expect("len"),
        kept * 8,
        "the failed transaction left nothing"
    );
    assert!(verify(&reader).expect("verify").is_sound());
    region
        .write(&pass, |tx| {
            for i in 0..64 {
                blobs.remove(tx, &i)?;
            }
            Result::Ok(())
        })
        .expect("remove");
    region
        .write(&pass, |tx| blobs.insert(tx, &0, &vec![7; 3000]).map(|_| ()))
        .expect("room again");
    let full = region.reserve(&pass, 8 << 20).expect_err("not so much");
    assert!(matches!(full, Error::OutOfSpace { .. }), "{full}");
    let larger = Region::options().capacity(1 << 30).create_anonymous("elsewhere");
    assert!(larger.is_ok(), "a memfd does not lie on that mount");
}
