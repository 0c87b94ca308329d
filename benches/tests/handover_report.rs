//! The report about handovers, as small as can be: every key that readers of its JSON rely on is there, what can be counted is counted,
//! and nothing stays behind. Nothing is asked of the times: they are this machine's.

use serde_json::Value;
use std::process::Command;

/// Output and exit code.
fn report(arguments: &[&str]) -> (String, Option<i32>) {
    let output = Command::new(env!("CARGO_BIN_EXE_report"))
        .arg("handover")
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .stderr(std::process::Stdio::inherit())
        .output()
        .expect("the report");
    (String::from_utf8(output.stdout).expect("text"), output.status.code())
}

/// A spread of at least one number that is more than nothing.
fn spread(value: &Value) {
    let [p50, p99, max] =
        ["p50", "p99", "max"].map(|name| value[name].as_f64().unwrap_or_else(|| panic!("{name} of {value}")));
    assert!(0.0 < p50 && p50 <= p99 && p99 <= max, "{value}");
    assert!(value["n"].as_u64().is_some_and(|n| n > 0), "{value}");
}

#[test]
fn json_has_every_figure_and_row() {
    let (text, code) = report(&["--quick", "--tiny", "--json"]);
    assert_eq!(code, Some(0));
    let report: Value = serde_json::from_str(&text).expect("JSON");
    let keys = report.as_object().expect("an object");
    for key in [
        "give_back_ms",
        "ratio_8gib_1mib",
        "ratio_10k_1",
        "staged_per_s",
        "peers",
    ] {
        assert!(keys.contains_key(key), "{key} is not there");
    }
    for key in ["blackout_us", "tick_gap_us"] {
        spread(&report[key]);
    }
    // A turn that no tick came to in time has no rehearsal.
    if !report["noise_us"].is_null() {
        spread(&report["noise_us"]);
    }
    for (key, what, least, most) in [
        ("by_size", "bytes", 1 << 20, 2 << 20),
        ("by_connections", "connections", 1, 20),
        ("by_regions", "regions", 1, 3),
    ] {
        let rows = report[key].as_array().unwrap_or_else(|| panic!("{key} is no array"));
        assert_eq!(
            (rows[0][what].as_u64(), rows[1][what].as_u64()),
            (Some(least), Some(most))
        );
        for row in rows {
            spread(row);
            assert_eq!(row["broken"], 0, "{row}");
        }
    }
    for key in ["ratio_8gib_1mib", "ratio_10k_1", "staged_per_s"] {
        assert!(
            report[key].as_f64().is_some_and(|value| value > 0.0),
            "{key}: {}",
            report[key]
        );
    }
    // One of ten connections was the last to be answered before, and one the first after; it may have been read the other way round.
    let gap = &report["reply_gap_us"];
    assert!(gap["n"] == 2 && gap["max"].is_f64(), "{gap}");
    spread(&report["give_back_ms"]);
    let give_back = &report["give_back"];
    for key in [
        "by_kill_ms",
        "by_crash_ms",
        "by_kill_in_small_pages_ms",
        "first_answer_ms",
    ] {
        spread(&give_back[key]);
    }

    let load = &report["under_load"];
    assert_eq!(load["upgrades"], 6, "{load}");
    assert!(load["answered"].as_u64().is_some_and(|n| n > 0), "{load}");
    for wrong in ["connections_cut", "lost", "doubled", "torn"] {
        assert_eq!(load[wrong], 0, "{wrong} of {load}");
    }
    let short = &report["short_connections"];
    assert_eq!(short["upgrades"], 2, "{short}");
    assert!(short["answered"].as_u64().is_some_and(|n| n >= 100), "{short}");
    for wrong in ["refused", "reset", "late"] {
        assert_eq!(short[wrong], 0, "{wrong} of {short}");
    }
    let upgrades = &report["upgrades"];
    for key in ["gap_without_ms", "gap_with_ms"] {
        spread(&upgrades[key]);
    }
    for process in ["alone", "old", "new"] {
        let memory = &upgrades["memory"][process];
        let [rss, pss] = ["rss", "pss"].map(|name| memory[name].as_u64().expect("bytes"));
        assert!(rss >= pss && pss > 0, "{process}: {memory}");
    }
    let figures = report["figures"].as_array().expect("an array of figures");
    let cut = figures
        .iter()
        .find(|f| f["name"] == "connections_cut")
        .expect("a figure");
    assert_eq!((&cut["value"], &cut["met"]), (&0.0.into(), &true.into()));
}

#[test]
fn parts_can_be_asked_for() {
    let (text, code) = report(&["--tiny", "--json", "--only", "replies,sizes"]);
    assert_eq!(code, Some(0));
    let report: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(report["reply_gap_us"]["n"], 2);
    assert_eq!(report["by_size"].as_array().map(Vec::len), Some(2));
    for key in ["blackout_us", "give_back_ms", "ratio_10k_1"] {
        assert!(report[key].is_null(), "{key}: {}", report[key]);
    }
    for key in ["by_connections", "by_regions", "peers"] {
        assert_eq!(report[key].as_array().map(Vec::len), Some(0), "{key}");
    }
    assert_eq!(report["main"]["note"], "left out of this run");
    assert_ne!(crate::report(&["--only", "everything"]).1, Some(0));
}

#[test]
fn the_table_names_each_figure() {
    let (text, code) = report(&["--tiny"]);
    assert_eq!(code, Some(0));
    for word in [
        "blackout_p50_us",
        "ratio_10k_1",
        "by size",
        "by regions",
        "short connections",
        "upgrades under load",
    ] {
        assert!(text.contains(word), "{word} is not in\n{text}");
    }
}
