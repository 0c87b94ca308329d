//! Damaged bytes: whatever a region holds, the commands end by themselves, with an exit code of theirs, and say what is damaged.

use super::types::Everything;
use super::{World, random, run};
use shmstate::{Map, Slab};
use std::os::unix::fs::FileExt;

/// Altered copies of a region that are dumped.
const COPIES: usize = 40;
/// Bytes that are altered in each.
const ALTERED: usize = 200;

#[test]
fn altered_regions_never_panic() {
    let mut rng = random();
    let mut world = World::new();
    world.write(|tx| {
        let map: Map<u64, Everything> = Map::create(tx, "map")?;
        let slab: Slab<Everything> = Slab::create(tx, "slab")?;
        for i in 0..100 {
            let value = Everything::random(&mut rng);
            map.insert(tx, &i, &value)?;
            slab.insert(tx, &value)?;
        }
        Ok(())
    });
    let source = format!("/dev/shm/{}", world.name);
    let taken = std::fs::metadata(&source).expect("there").len();
    let mut bytes = std::fs::read(&source).expect("read");
    let used = bytes.iter().rposition(|byte| *byte != 0).expect("something") + 1;
    bytes.truncate(used);
    // Where records are: behind header, catalog, log and chunk table.
    let first = bytes.len() / 2;
    let name = format!("{}-altered", world.name);
    let path = format!("/dev/shm/{name}");
    struct Removed(String);
    impl Drop for Removed {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }
    let _removed = Removed(path.clone());
    let mut damaged = 0;
    for copy in 0..COPIES {
        let file = std::fs::File::create(&path).expect("made");
        file.set_len(taken).expect("long enough");
        file.write_all_at(&bytes, 0).expect("written");
        for _ in 0..ALTERED {
            // Half of the copies are damaged anywhere, half only where records are.
            let from = if copy % 2 == 0 { first } else { 0 };
            let at = rng.usize(from..used);
            file.write_all_at(&[rng.u8(..)], at as u64).expect("altered");
        }
        for arguments in [
            &["dump", &name, "--json"][..],
            &["dump", &name, "map", "--csv"],
            &["dump", &name, "map", "--where", "mood.Away.since>7"],
            &["schema", &name, "--rust"],
            &["diff", &world.name, &name],
        ] {
            let ran = run(arguments);
            assert!(matches!(ran.code, 0 | 1 | 4), "{arguments:?}: {} {}", ran.code, ran.err);
            assert!(!ran.err.contains("panicked"), "{}", ran.err);
            damaged += u32::from(ran.code == 4);
        }
    }
    assert!(damaged > 0, "some of the damage must be seen");
}
