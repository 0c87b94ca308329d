//! The demo as a program: a small one from its start to its end, and what is left of one that is stopped in the middle.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longest wait for anything.
const DEADLINE: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(5);

/// What the object must have: others read it.
const KEYS: [&str; 19] = [
    "upgrades",
    "bad_upgrades_survived",
    "rolled_back_upgrades",
    "migrated_records",
    "lost_after_rollback",
    "give_back_ms",
    "connections",
    "disconnects",
    "commands_sent",
    "commands_lost",
    "commands_doubled",
    "ticks_skipped",
    "ticks_doubled",
    "state_mismatches",
    "rules_seen",
    "world_bytes",
    "blackout_us",
    "noise_us",
    "client_gap_ms",
];

/// The demo, with its files in `directory`.
fn demo(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_arena-demo"));
    command
        .env("TMPDIR", directory)
        .args(["--no-build", "--bots", "30", "--world-mib", "8"]);
    command
}

fn number(summary: &Value, key: &str) -> u64 {
    summary[key]
        .as_u64()
        .unwrap_or_else(|| panic!("{key} is a number in {summary}"))
}

/// An empty directory for one test.
fn directory(name: &str) -> std::path::PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    fs::create_dir_all(&path).expect("a directory for the test");
    path
}

/// What is in it now.
fn files(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).expect("the test's directory");
    entries
        .map(|entry| entry.expect("an entry").path().display().to_string())
        .collect()
}

#[test]
fn a_small_demo_has_no_fault_and_leaves_nothing() {
    let directory = directory("small");
    let output = demo(&directory)
        .args([
            "--upgrades",
            "4",
            "--baseline-ms",
            "1000",
            "--pause-ms",
            "400",
            "--json",
        ])
        .output()
        .expect("the demo");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let summary: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text:?}"));
    assert_eq!(output.status.code(), Some(0), "{summary:#}");
    assert_eq!(text.lines().count(), 1);

    for key in KEYS {
        assert!(summary.get(key).is_some(), "{key} is missing in {summary:#}");
    }
    for (object, keys) in [
        ("blackout_us", &["n", "p50", "p99", "max"][..]),
        ("client_gap_ms", &["baseline_max", "upgrade_max", "give_back_max"]),
        ("give_back_ms", &["n", "p50", "max"]),
    ] {
        for key in keys {
            let value = summary[object][key].as_f64().expect("a number");
            assert!(value > 0.0, "{object}.{key} in {summary:#}");
        }
    }
    // A successor that is woken late, on a busy machine, measures none.
    assert!(summary["noise_us"]["p50"].is_f64(), "{summary:#}");
    for fault in [
        "disconnects",
        "commands_lost",
        "commands_doubled",
        "commands_misordered",
        "ticks_skipped",
        "ticks_doubled",
        "state_mismatches",
        "protocol_errors",
        "generation_backwards",
    ] {
        assert_eq!(number(&summary, fault), 0, "{fault} in {summary:#}");
    }
    assert_eq!(number(&summary, "upgrades"), 4);
    assert_eq!(number(&summary, "bad_upgrades_survived"), 5);
    assert_eq!(number(&summary, "rolled_back_upgrades"), 2);
    assert!(number(&summary, "migrated_records") > 0);
    assert_eq!(number(&summary, "lost_after_rollback"), 0);
    assert_eq!(number(&summary["give_back_ms"], "n"), 2);
    assert_eq!(number(&summary, "connections"), 30);
    assert_eq!(number(&summary["blackout_us"], "n"), 4);
    assert_eq!(summary["rules_seen"], serde_json::json!([1, 2]));
    // The first, four upgrades, and two that served for a while and went back.
    assert_eq!(number(&summary["generations"], "seen_by_bots"), 9);
    assert_eq!(
        number(&summary["generations"], "last") - number(&summary["generations"], "first"),
        8
    );
    assert!(number(&summary, "commands_sent") > 0);
    assert_eq!(number(&summary, "commands_acked"), number(&summary, "commands_sent"));
    assert!(number(&summary, "world_bytes") >= 8 << 20);

    let outcomes: Vec<_> = summary["bad_upgrades"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|bad| (bad["program"].as_str(), bad["exit"].as_str(), bad["outcome"].as_str()))
        .collect();
    assert_eq!(
        outcomes,
        [
            (Some("arena-bad-exit"), Some("exit code 1"), None),
            (
                Some("arena-bad-crash"),
                Some("killed by SIGABRT"),
                Some("the successor died")
            ),
            (Some("arena-bad-hang"), Some("killed by SIGKILL"), Some("not in time")),
            (
                Some("arena-bad-late"),
                Some("killed by SIGABRT"),
                Some("taken back from a dead successor")
            ),
            (
                Some("arena-bad-stuck"),
                Some("killed by SIGKILL"),
                Some("taken back from a dead successor")
            ),
        ]
    );
    let exits = summary["exits"].as_array().expect("a list");
    assert_eq!(exits.len(), 5);
    assert!(exits.iter().all(|exit| exit["exit"] == "exit code 0"), "{summary:#}");
    assert_eq!(summary["left_behind"], serde_json::json!([]));
    assert_eq!(files(&directory), BTreeSet::new());
    fs::remove_dir(&directory).expect("empty");
}

#[test]
fn servers_that_do_not_park_are_noticed() {
    let directory = directory("unparked");
    let output = demo(&directory)
        .args(["--no-bad-upgrades", "--upgrades", "1", "--probation-ms", "0", "--json"])
        .args(["--baseline-ms", "100", "--pause-ms", "100"])
        .output()
        .expect("the demo");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let summary: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text:?}"));
    assert_eq!(output.status.code(), Some(1), "{summary:#}");
    let failures = summary["failures"].to_string();
    assert!(failures.contains("parked"), "{summary:#}");
    assert_eq!(summary["left_behind"], serde_json::json!([]), "{summary:#}");
    fs::remove_dir(&directory).expect("empty");
}

/// A demo in the middle of its upgrades.
struct Stopped {
    directory: std::path::PathBuf,
    process: Child,
    /// The node's id, in the names of all its objects.
    id: String,
}

impl Stopped {
    fn start(name: &str) -> Self {
        let directory = directory(name);
        let mut process = demo(&directory)
            .args(["--upgrades", "1000", "--baseline-ms", "100", "--pause-ms", "100"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the demo");
        let lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        // The table's lines: the third upgrade is done.
        let reached = lines
            .map_while(Result::ok)
            .any(|line| line.trim_start().starts_with("3  arena-v2"));
        assert!(reached, "the demo ended before its third upgrade");
        let base = files(&directory).pop_first().expect("the demo's directory");
        let node = files(Path::new(&base)).pop_first().expect("the node's directory");
        let id = fs::read_to_string(Path::new(&node).join("id")).expect("the node's id");
        let this = Self {
            directory,
            process,
            id: id.trim().into(),
        };
        assert!(this.objects() > 0, "the node has objects");
        this
    }

    fn objects(&self) -> usize {
        let entries = fs::read_dir("/dev/shm").expect("shared memory");
        entries
            .filter(|entry| {
                let entry = entry.as_ref().expect("an entry");
                entry.file_name().to_string_lossy().contains(&self.id)
            })
            .count()
    }

    fn stop(&mut self, signal: rustix::process::Signal) -> std::process::ExitStatus {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, signal).expect("our child");
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.process.try_wait().expect("our child") {
                return status;
            }
            assert!(Instant::now() < deadline, "the demo does not end");
            std::thread::sleep(LOOK);
        }
    }
}

#[test]
fn a_signal_ends_it_in_order() {
    let mut demo = Stopped::start("interrupted");
    let status = demo.stop(rustix::process::Signal::INT);
    assert_eq!(status.code(), Some(1));
    assert_eq!(demo.objects(), 0);
    assert_eq!(files(&demo.directory), BTreeSet::new());
    fs::remove_dir(&demo.directory).expect("empty");
}

#[test]
fn its_processes_do_not_outlive_it() {
    let mut demo = Stopped::start("killed");
    demo.stop(rustix::process::Signal::KILL);
    // The server notices, and removes its node; only the directory that the demo made is left.
    let deadline = Instant::now() + DEADLINE;
    let base = files(&demo.directory).pop_first().expect("the demo's directory");
    while demo.objects() > 0 || !files(Path::new(&base)).is_empty() {
        assert!(Instant::now() < deadline, "the server outlives the demo");
        std::thread::sleep(LOOK);
    }
    fs::remove_dir_all(&demo.directory).expect("the test's directory");
}
