//! Tests that need a process of their own: they count descriptors, lower limits, or wait for the last copy of a
//! descriptor to be closed, and other tests of the same process would disturb that (a child between fork and exec
//! holds copies of everything). The test starts its own binary again, with only itself to run.

use std::process::Command;

/// Set in the process that runs the one test.
const MARK: &str = "HANDOVER_TEST_ALONE";

/// Runs `body` in a process of its own. `name` is the test's path as `--list` shows it.
pub(crate) fn alone(name: &str, body: impl FnOnce()) {
    if std::env::var_os(MARK).is_some() {
        return body();
    }
    let binary = std::env::current_exe().expect("the path of this test binary");
    let output = Command::new(binary)
        .args(["--exact", name, "--test-threads=1", "--nocapture"])
        .env(MARK, "1")
        .output()
        .expect("start the test binary again");
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{text}");
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{name} alone: {}\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

/// How many descriptors this process has open, the one that counts included.
pub(crate) fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("proc").count()
}
