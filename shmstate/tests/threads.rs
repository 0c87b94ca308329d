//! Which regions have a thread of their own, and that it goes with them. Alone in its process: it counts threads.

mod leased;

use leased::leased;
use shmstate::{Inspection, Region};
use std::time::{Duration, Instant};

fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("threads");
    let names = tasks
        .flatten()
        .map(|task| std::fs::read_to_string(task.path().join("comm")).unwrap_or_default());
    names.filter(|name| name.trim() == "shmstate-ahead").count()
}

/// A thread that was joined may be listed for a moment more, and one that was just started not have its name yet.
fn expect(count: usize, what: &str) {
    let end = Instant::now() + Duration::from_secs(10);
    while threads() != count {
        assert!(Instant::now() < end, "{what}: {} threads instead of {count}", threads());
        std::thread::yield_now();
    }
}
#[test]
fn a_large_region_has_a_thread_until_it_is_dropped() {
    let options = Region::options().capacity(64 << 20);
    let small = Region::options()
        .capacity(4 << 20)
        .create_anonymous("small")
        .expect("create");
    let without = options
        .clone()
        .reserve_ahead(0)
        .create_anonymous("without")
        .expect("create");
    let asked = Region::options()
        .capacity(4 << 20)
        .reserve_ahead(64 << 10)
        .create_anonymous("asked")
        .expect("create");
    let large = options.create_anonymous("large").expect("create");
    let fd = || {
        large
            .descriptor()
            .expect("memfd")
            .try_clone_to_owned()
            .expect("duplicate")
    };
    let heir = Region::options().gate(&leased()).attach("large", fd()).expect("attach");
    let plain = Region::options()
        .gate(&leased())
        .reserve_ahead(0)
        .attach("large", fd())
        .expect("attach");
    expect(3, "asked for, large, heir");
    Inspection::of_descriptor("large", fd()).expect("inspect");
    expect(3, "a look leaves none");
    drop((small, without, plain));
    expect(3, "those had none");
    drop(heir);
    expect(2, "the heir's is gone");
    drop((asked, large));
    expect(0, "all gone");
}
