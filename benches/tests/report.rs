//! The report itself, on a handful of players: every number that readers of its JSON rely on is there, and nothing stays behind.

use serde_json::Value;
use std::process::Command;

const RATIOS: [&str; 15] = [
    "get_vs_hashmap",
    "update_vs_hashmap",
    "update_vs_hashmap_zipf",
    "replace_vs_hashmap",
    "update_vs_heed",
    "update_vs_redb",
    "get_by_handle",
    "update_by_handle",
    "batch_get",
    "pass_all",
    "worst_insert_us",
    "worst_insert_reserved_us",
    "attach_1gib_ms",
    "attach_1gib_header_ms",
    "overhead_percent",
];
/// Those that are numbers here too: all but those of regions of 1 GiB, which are not made here.
const NUMBERS: [&str; 12] = [
    "get_vs_hashmap",
    "update_vs_hashmap",
    "update_vs_hashmap_zipf",
    "replace_vs_hashmap",
    "update_vs_heed",
    "update_vs_redb",
    "get_by_handle",
    "update_by_handle",
    "batch_get",
    "pass_all",
    "worst_insert_us",
    "overhead_percent",
];

/// What processes `pid` left in the directory where regions and files of engines lie.
fn left_behind(pid: u32) -> Vec<String> {
    let own = format!("-{pid}-");
    let entries = std::fs::read_dir("/dev/shm").expect("/dev/shm");
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names
        .filter(|name| name.starts_with("shmstate-bench-") && name.contains(&own))
        .collect()
}

/// Output, process id, exit code.
fn report(arguments: &[&str]) -> (String, u32, Option<i32>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_report"));
    let child = command
        .args(arguments)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("the report");
    let pid = child.id();
    let output = child.wait_with_output().expect("the report's output");
    (
        String::from_utf8(output.stdout).expect("text"),
        pid,
        output.status.code(),
    )
}

#[test]
fn json_has_every_figure_and_row() {
    let (text, pid, code) = report(&["store", "--json", "--players", "2000", "--rounds", "2"]);
    assert_eq!(code, Some(0));
    assert_eq!(left_behind(pid), Vec::<String>::new());
    let report: Value = serde_json::from_str(&text).expect("JSON");

    let ratios = report["ratios"].as_object().expect("an object of ratios");
    for name in RATIOS {
        assert!(ratios.contains_key(name), "{name} is not there");
    }
    for name in NUMBERS {
        let value = ratios[name]
            .as_f64()
            .unwrap_or_else(|| panic!("{name} is {}", ratios[name]));
        assert!(
            value.is_finite() && (value > 0.0 || name == "overhead_percent"),
            "{name} is {value}"
        );
    }

    let rows = report["rows"].as_array().expect("an array of rows");
    let row = |operation: &str, engine: &str| {
        let is = |row: &&Value| row["operation"] == operation && row["engine"] == engine;
        rows.iter()
            .find(is)
            .unwrap_or_else(|| panic!("no row {operation} of {engine}"))
    };
    let operations = ["get", "update", "replace", "insert", "remove", "iterate", "tick"];
    for operation in operations {
        for engine in ["shmstate", "hashmap", "hashmap_sip", "heed", "redb", "mmap-sync"] {
            let row = row(operation, engine);
            let [min, median, max] = ["min", "median", "max"].map(|n| row["ns"][n].as_f64().expect("a number"));
            assert!(0.0 < min && min <= median && median <= max, "{row}");
            assert_eq!((&row["players"], &row["rounds"]), (&2000.into(), &2.into()));
        }
        // A server that is not installed is no failure, and no number either.
        let redis = row(operation, "redis");
        assert!(
            redis["note"] == "not installed" || redis["ns"]["median"].is_f64(),
            "{redis}"
        );
    }
    let skewed = rows
        .iter()
        .filter(|row| row["distribution"] == "zipf" && row["engine"] == "shmstate");
    assert!(skewed.count() >= 3);
    for (operation, engine) in [
        ("update_batched", "heed"),
        ("update_batched", "redb"),
        ("grow_p50", "shmstate"),
        ("grow_p99", "shmstate_reserved"),
        ("grow_max", "hashmap"),
        ("longest_gap", "empty_loop"),
        ("attach_header", "shmstate"),
        ("attach_page_tables", "shmstate"),
        ("recover_header", "shmstate"),
        ("recover_page_tables", "shmstate"),
    ] {
        assert!(row(operation, engine)["ns"]["median"].as_f64().expect("a number") > 0.0);
    }
    for operation in ["get_by_handle", "update_by_handle", "batch_get", "pass_all"] {
        let row = row(operation, "shmstate");
        assert!(row["ns"]["median"].as_f64().is_some_and(|ns| ns > 0.0), "{row}");
    }

    let observers = &report["observers"];
    for beside in ["alone", "peek", "snapshot", "validate", "alone_again"] {
        for number in ["p50_us", "p99_us", "p50_ratio", "p99_ratio"] {
            let value = observers[beside][number].as_f64();
            assert!(
                value.is_some_and(|value| value > 0.0),
                "{number} of {beside}: {observers}"
            );
        }
        let copied = observers[beside]["records_per_second"].as_f64().expect("a number");
        assert_eq!(copied > 0.0, !beside.starts_with("alone"), "{beside}: {observers}");
    }

    let machine = &report["machine"];
    assert!(machine["cores"].as_u64().is_some_and(|cores| cores > 0));
    assert!(machine["kernel"].is_string());
    for engine in ["shmstate", "hashmap"] {
        let placed = machine["huge_pages"]
            .as_array()
            .expect("an array")
            .iter()
            .find(|p| p["engine"] == engine);
        assert!(
            placed.is_some_and(|p| p["bytes"].is_u64() && p["huge_bytes"].is_u64()),
            "{machine}"
        );
    }
}

#[test]
fn the_table_names_each_figure() {
    let (text, _, code) = report(&["store", "--players", "100", "--rounds", "1"]);
    assert_eq!(code, Some(0));
    for name in RATIOS {
        assert!(text.contains(name), "{name} is not in\n{text}");
    }
}

#[test]
fn arguments_that_mean_nothing_are_refused() {
    let (_, _, code) = report(&["store", "--rounds", "0"]);
    assert_eq!(code, Some(2));
}

#[test]
fn what_migrations_cost_is_told() {
    let (text, pid, code) = report(&["schema", "--json", "--quick", "--records", "2000"]);
    assert_eq!(code, Some(0));
    assert_eq!(left_behind(pid), Vec::<String>::new());
    let report: Value = serde_json::from_str(&text).expect("JSON");
    for name in [
        "settle_few_us",
        "settle_all_us",
        "first_touch_ns",
        "touch_ns",
        "step_ns",
        "sweep_per_s",
        "tick_p99_ns",
        "tick_p99_sweeping_ns",
        "tick_p99_way_back_ns",
    ] {
        let [min, median, max] = ["min", "median", "max"].map(|n| report[name][n].as_f64().expect("a number"));
        assert!(0.0 < min && min <= median && median <= max, "{name}: {}", report[name]);
    }
    for name in ["ratio_settle", "first_touch_over_step_ns", "ratio_tick_p99"] {
        assert!(report[name].as_f64().is_some_and(f64::is_finite), "{name}");
    }
    assert!(report["dump_mb_per_s"].is_null() || report["dump_mb_per_s"]["median"].is_f64());
    assert_eq!((&report["records"], &report["rounds"]), (&2000.into(), &3.into()));
    // All records were pending at each cutover that counts, as the new owner counted them: else it is no migration that was measured.
    assert_eq!(report["blackout_records"], 2000);
    assert_eq!(report["pending_at_cutover"], serde_json::json!([2000, 2000]));
    for name in [
        "blackout_pending_us",
        "blackout_without_us",
        "first_tick_pending_us",
        "first_tick_without_us",
        "tick_gap_pending_us",
        "tick_gap_without_us",
    ] {
        let of = &report[name];
        let [min, p50, p99, max] = ["min", "p50", "p99", "max"].map(|n| of[n].as_f64().expect("a number"));
        assert!(0.0 < min && min <= p50 && p50 <= p99 && p99 <= max, "{name}: {of}");
        assert!(of["n"].as_u64().is_some_and(|n| (1..=4).contains(&n)), "{name}: {of}");
    }
    for name in ["ratio_blackout_pending", "blackout_noise_us"] {
        assert!(report[name].as_f64().is_some_and(f64::is_finite), "{name}");
    }
    assert!(report["blackout_pending_met"].is_boolean());
    assert!(
        report["blackout_pending_target"]
            .as_str()
            .is_some_and(|target| target.contains("1.5"))
    );
    assert_eq!(report["blackout_broken"], 0);
}
