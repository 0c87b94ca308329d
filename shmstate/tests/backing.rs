//! The three places a region's memory can come from: make, open, attach, recover, remove; large pages; a raised capacity.

mod leased;

use leased::leased;
use rustix::fs::{SealFlags, fcntl_get_seals, ftruncate};
use shmstate::{Activity, Cell, Error, Inspection, Map, MountKind, Options, Region, Result, verify};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// A directory in /dev/shm, which is a tmpfs like any other, gone at the end with what is in it.
struct Directory(PathBuf);

impl Directory {
    fn new(what: &str) -> Self {
        let path = Path::new("/dev/shm").join(format!("shmstate-test-{what}-{}", std::process::id()));
        std::fs::create_dir(&path).expect("directory");
        Self(path)
    }

    fn options(&self) -> Options {
        Region::options().capacity(4 << 20).directory(&self.0)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn make(mut region: Region) -> Region {
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let make = |tx: &mut shmstate::Tx<'_>| Cell::<u64>::create(tx, "clock", &7);
    let clock = region.write(&pass, make).expect("write");
    // Forgotten, as by a kill: to be taken back by whoever continues.
    let mut tx = region.begin(&pass).expect("begin");
    clock.set(&mut tx, &8).expect("set");
    std::mem::forget(tx);
    drop(pass);
    region
}

fn check(region: &Region) {
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let reader = region.read(&pass).expect("read");
    let clock = Cell::<u64>::open(region, "clock").expect("clock");
    assert_eq!(
        clock.get(&reader).expect("get").to_native(),
        7,
        "what was not committed is gone"
    );
    assert!(verify(&reader).expect("verify").is_sound());
    assert!(region.recovered().entries > 0);
}

fn descriptor(region: &Region) -> OwnedFd {
    region
        .descriptor()
        .expect("descriptor")
        .try_clone_to_owned()
        .expect("duplicate")
}
#[test]
fn a_directory_of_ones_choice() {
    let directory = Directory::new("directory");
    let options = directory.options();
    assert!(matches!(options.open("world"), Err(Error::NotFound { .. })));
    assert!(!options.remove("world").expect("nothing to remove"));
    let region = make(options.create("world").expect("create"));
    assert!(directory.0.join("world").exists());
    assert!(matches!(options.create("world"), Err(Error::Exists { .. })));
    assert!(matches!(options.open("world"), Err(Error::InUse { .. })));
    assert!(
        matches!(Region::options().open("world"), Err(Error::NotFound { .. })),
        "not by its name alone"
    );
    let seen = Inspection::in_directory(&directory.0, "world").expect("inspect");
    assert!(seen.held && seen.log > 0);
    assert_eq!(
        (seen.memory.kind, seen.memory.mount.as_str()),
        (MountKind::Tmpfs, "/dev/shm")
    );
    assert!(seen.memory.mount_size >= seen.memory.mount_free && seen.memory.mount_size > 0);
    drop(region);
    let region = options.open("world").expect("open");
    check(&region);
    let heir = Region::options()
        .gate(&leased())
        .attach("world", descriptor(&region))
        .expect("attach");
    assert_eq!(heir.id(), region.id());
    drop((region, heir));
    let (region, new) = options.open_or_create("world").expect("open");
    assert!(!new);
    drop(region);
    // A maker that died at once left nothing that is in the way.
    std::fs::write(directory.0.join("half"), b"").expect("half-made");
    assert!(options.open_or_create("half").expect("reclaim").1);
    assert!(options.remove("world").expect("remove") && !directory.0.join("world").exists());
    assert!(matches!(options.create("../world"), Err(Error::BadName { .. })));
    assert!(matches!(
        Inspection::in_directory(&directory.0, "../world"),
        Err(Error::BadName { .. })
    ));
    std::os::unix::fs::symlink("half", directory.0.join("link")).expect("link");
    assert!(options.open("link").is_err(), "a link is not followed");
}

#[test]
fn a_directory_that_is_not_memory_is_refused() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let options = Region::options().capacity(4 << 20).directory(directory);
    let name = format!("shmstate-test-{}", std::process::id());
    match options.create(&name) {
        Err(error @ Error::NotMemory { .. }) => assert!(error.to_string().contains("choose a tmpfs"), "{error}"),
        Ok(_) => {
            println!("not checked: the target directory is memory");
            options.remove(&name).expect("remove");
        }
        Err(other) => panic!("{other}"),
    }
    assert!(!directory.join(&name).exists());
}

#[test]
fn a_memfd_lives_by_its_descriptor_and_cannot_be_cut() {
    let options = Region::options().capacity(4 << 20);
    let region = make(options.create_anonymous("room").expect("create"));
    let fd = descriptor(&region);
    assert!(fcntl_get_seals(&fd).expect("seals").contains(SealFlags::SHRINK));
    assert!(ftruncate(&fd, 4096).is_err(), "sealed");
    drop(region);
    let seen = Inspection::of_descriptor("room", fd.try_clone().expect("duplicate")).expect("inspect");
    assert_eq!((seen.memory.kind, seen.name.as_str()), (MountKind::Memfd, "room"));
    assert!(seen.log > 0 && seen.tables.len() == 1);
    let region = options.attach("room", fd).expect("attach");
    check(&region);
    // Two of the same label are two.
    let other = options.create_anonymous("room").expect("create");
    assert_ne!(region.id(), other.id());
}

#[test]
fn a_named_region_recovers() {
    struct Name(String);
    impl Drop for Name {
        fn drop(&mut self) {
            let _ = Region::remove(&self.0);
        }
    }
    let guard = Name(format!("shmstate-test-named-{}", std::process::id()));
    let name = guard.0.as_str();
    let options = Region::options().capacity(4 << 20);
    drop(make(options.create(name).expect("create")));
    assert_eq!(Inspection::activity(name).expect("header"), Activity::Transaction);
    check(&options.open(name).expect("open"));
    assert_eq!(Inspection::activity(name).expect("header"), Activity::Idle);
    let seen = Inspection::of(name).expect("inspect");
    assert_eq!(
        (seen.memory.kind, seen.memory.mount.as_str()),
        (MountKind::Tmpfs, "/dev/shm")
    );
    assert!(options.remove(name).expect("remove"));
    assert!(!Region::remove(name).expect("removed already"));
}

#[test]
fn sizes_that_cannot_be_are_refused() {
    let options = Region::options();
    let refused = |options: &Options| matches!(options.create_anonymous("x"), Err(Error::BadCapacity { .. }));
    assert!(refused(&options.clone().capacity(1 << 20)));
    assert!(
        refused(&options.clone().capacity(8 << 20).reserve(4 << 20)),
        "less than the capacity"
    );
    assert!(
        refused(&options.clone().capacity(4 << 20).reserve(1 << 40)),
        "the chunk table alone is larger"
    );
    assert!(refused(&options.clone().capacity(4 << 20).reserve(u64::MAX)));
    let error = options
        .clone()
        .capacity(4 << 20)
        .reserve(1 << 30)
        .create_anonymous("x")
        .expect_err("too small");
    let Error::BadCapacity { least, most, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(most, 1 << 30);
    assert!(
        options
            .clone()
            .capacity(least)
            .reserve(1 << 30)
            .create_anonymous("x")
            .is_ok()
    );
}

/// Whether this kernel can make large pages at once: Linux 6.1 with transparent huge pages.
fn can_collapse() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map_while(|n| n.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let sys = Path::new("/sys/kernel/mm/transparent_hugepage");
    let denied = std::fs::read_to_string(sys.join("shmem_enabled")).is_ok_and(|text| text.contains("[deny]"));
    version >= (6, 1) && sys.exists() && !denied
}

#[test]
fn large_pages_are_made_before_use_and_found_by_the_next() {
    let directory = Directory::new("large");
    let options = directory.options().capacity(64 << 20).reserve_ahead(0);
    let mut region = options.create("world").expect("create");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    region.reserve(&pass, 20 << 20).expect("reserve");
    let memory = region.memory(&pass).expect("memory");
    assert!(memory.huge_wanted >= 20 << 20, "{memory:?}");
    if !can_collapse() {
        println!("not checked: this kernel cannot collapse pages: {memory:?}");
        return;
    }
    // Memory may be too fragmented for some; what was made must be there.
    assert!(memory.collapsed > 0, "{memory:?}");
    assert_eq!(memory.huge, memory.collapsed << 21, "{memory:?}");
    assert!(
        memory.collapsed + memory.not_collapsed >= memory.huge_wanted >> 21,
        "{memory:?}"
    );
    drop(pass);
    // Tools, successors and whoever opens it find them.
    let seen = Inspection::in_directory(&directory.0, "world").expect("inspect").memory;
    assert_eq!((seen.huge, seen.huge_wanted), (memory.huge, memory.huge_wanted));
    let heir = Region::options()
        .gate(&leased())
        .attach("world", descriptor(&region))
        .expect("attach");
    let pass_gate = heir.gate().clone();
    let pass = pass_gate.enter().expect("pass");
    assert_eq!(heir.memory(&pass).expect("memory").huge, memory.huge);
    drop(pass);
    drop((heir, region));
    let region = options.open("world").expect("open");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    assert_eq!(region.memory(&pass).expect("memory").huge, memory.huge);
}

#[test]
fn small_regions_stay_small() {
    let directory = Directory::new("small");
    let region = directory.options().create("world").expect("create");
    let stat = rustix::fs::fstat(region.descriptor().expect("descriptor")).expect("stat");
    assert!(stat.st_blocks * 512 <= 128 << 10, "{} bytes", stat.st_blocks * 512);
    let seen = Inspection::in_directory(&directory.0, "world").expect("inspect").memory;
    assert_eq!((seen.huge_wanted, seen.huge, seen.page), (0, 0, 4096));
}

#[test]
fn a_capacity_raised_while_others_have_the_region_mapped() {
    let directory = Directory::new("raise");
    for label in ["named", "memfd"] {
        let options = directory.options().capacity(20 << 20).reserve(256 << 20);
        let mut region = match label {
            "named" => options.create("world"),
            _ => options.create_anonymous("world"),
        }
        .expect("create");
        assert_eq!((region.capacity(), region.reserved()), (20 << 20, 256 << 20));
        // Mapped while it is small.
        let heir = Region::options()
            .gate(&leased())
            .attach("world", descriptor(&region))
            .expect("attach");
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        let blobs: Map<u64, Vec<u8>> = region.write(&pass, |tx| Map::create(tx, "blobs")).expect("table");
        let put = |region: &mut Region, i: u64| {
            let blob = vec![i as u8; 100_000];
            region.write(&pass, |tx| blobs.insert(tx, &i, &blob).map(|_| ()))
        };
        let mut kept = 0;
        let full = loop {
            match put(&mut region, kept) {
                Ok(()) => kept += 1,
                Err(error) => break error,
            }
        };
        let text = full.to_string();
        assert!(
            matches!(full, Error::RegionFull { .. }) && text.contains("raise its capacity"),
            "{text}"
        );
        assert_eq!(region.raise_capacity(&pass, 40 << 20).expect("raise"), 40 << 20);
        // A whole-world transaction: its log goes where the new space is.
        let result: Result<()> = region.write(&pass, |tx| {
            for i in 0..kept {
                blobs.insert(tx, &i, &vec![!(i as u8); 60_000])?;
            }
            Ok(())
        });
        result.expect("room for old and new");
        assert_eq!(region.raise_capacity(&pass, 256 << 20).expect("raise"), 256 << 20);
        assert!(matches!(
            region.raise_capacity(&pass, 257 << 20),
            Err(Error::CannotRaise { reserve, .. }) if reserve == 256 << 20
        ));
        for i in 0..3 * kept {
            put(&mut region, 1_000 + i).expect("room again");
        }
        drop(pass);
        // The other mapping sees all of it, by the same base.
        assert_eq!(heir.capacity(), 256 << 20);
        let gate = heir.gate().clone();
        let pass = gate.enter().expect("pass");
        let theirs: Map<u64, Vec<u8>> = Map::open(&heir, "blobs").expect("table");
        let reader = heir.read(&pass).expect("read");
        for (i, length) in (0..kept)
            .map(|i| (i, 60_000))
            .chain((1_000..1_000 + 3 * kept).map(|i| (i, 100_000)))
        {
            let blob = theirs.get(&reader, &i).expect("get").expect("there");
            assert_eq!(blob.len(), length);
        }
        assert!(verify(&reader).expect("verify").is_sound());
        drop(pass);
        drop((heir, region));
        if label == "named" {
            // Killed after the object was made longer and before that was published: nothing is wrong with it.
            let region = options.create("longer").expect("create");
            ftruncate(region.descriptor().expect("descriptor"), 64 << 20).expect("longer");
            drop(region);
            assert_eq!(options.open("longer").expect("open").capacity(), 20 << 20);
            let region = options.open("world").expect("open");
            assert_eq!(region.capacity(), 256 << 20);
            drop(region);
            let file = std::fs::File::options()
                .read(true)
                .write(true)
                .open(directory.0.join("world"));
            let fd = OwnedFd::from(file.expect("file"));
            ftruncate(&fd, 41 << 20).expect("cut, which a file in a directory can be");
            let error = Region::options().gate(&leased()).attach("world", fd).expect_err("cut");
            assert!(
                error
                    .to_string()
                    .contains("it was cut: 42991616 bytes are left of 268435456"),
                "{error}"
            );
        }
    }
}

/// hugetlbfs, where an administrator has set pages aside and lets this user have some.
#[test]
fn a_hugetlbfs_if_there_is_one() {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    let huge = mounts.lines().filter(|line| line.contains(" - hugetlbfs "));
    let mut checked = false;
    for directory in huge.filter_map(|line| line.split(' ').nth(4)) {
        let options = Region::options().capacity(32 << 20).directory(directory);
        let name = format!("shmstate-test-huge-{}", std::process::id());
        match options.create(&name) {
            Ok(region) => {
                let region = make(region);
                let gate = region.gate().clone();
                let pass = gate.enter().expect("pass");
                let memory = region.memory(&pass).expect("memory");
                drop(pass);
                drop(region);
                let opened = options.open(&name);
                options.remove(&name).expect("remove");
                check(&opened.expect("open"));
                assert!(memory.page >= 2 << 20 && memory.huge > 0, "{memory:?}");
                checked = true;
            }
            Err(error @ Error::OutOfSpace { .. }) => println!("{error}"),
            Err(error) => println!("{directory}: {error}"),
        }
    }
    if !checked {
        println!("not checked: no hugetlbfs with free pages that this user may use");
    }
}
