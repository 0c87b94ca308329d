//! What the arena's programs say of themselves when they are asked, as `handover plan` asks them.

use serde_json::Value;
use std::process::Command;

/// The manifest of a program, which must do nothing but write it.
fn manifest(program: &str) -> Value {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("manifest");
    let output = Command::new(program)
        .args(["--node", "described"])
        .env("HANDOVER_DESCRIBE", &path)
        .env("HANDOVER_DIR", directory.path())
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{program}: {output:?}");
    let left: Vec<_> = std::fs::read_dir(directory.path()).expect("listed").flatten().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    serde_json::from_slice(&std::fs::read(path).expect("a manifest")).expect("JSON")
}

fn players(manifest: &Value) -> &Value {
    let tables = manifest["regions"][0]["tables"].as_array().expect("a list");
    let version = if manifest["build_id"] == "arena-v1" { 1 } else { 2 };
    // The second version's tallies are in another table; where they come from it declares, too.
    assert_eq!(tables.len(), 4 + version, "{manifest}");
    tables.iter().find(|table| table["name"] == "players").expect("players")
}

#[test]
fn the_second_version_migrates_players_and_keeps_a_way_back() {
    let (v1, v2) = (
        manifest(env!("CARGO_BIN_EXE_arena-v1")),
        manifest(env!("CARGO_BIN_EXE_arena-v2")),
    );
    assert_eq!(
        (&v1["node"], &v1["build_id"]),
        (&"described".into(), &"arena-v1".into())
    );
    let (old, new) = (players(&v1), players(&v2));
    assert_eq!(
        (&old["shape"]["version"], &new["shape"]["version"]),
        (&1.into(), &2.into())
    );
    assert_eq!(
        (&new["from"], &new["back"]),
        (&Value::Array(vec![old["shape"].clone()]), &old["shape"])
    );
    assert!(old["from"].as_array().expect("a list").is_empty() && old["back"].is_null());
    assert_eq!(v1["descriptors"], v2["descriptors"]);
    let tallies = |manifest: &Value| {
        let tables = manifest["regions"][0]["tables"].as_array().expect("a list").clone();
        tables
            .into_iter()
            .find(|table| table["name"] == "tallies")
            .expect("tallies")
    };
    assert!(tallies(&v1)["moves"].is_null());
    assert_eq!(
        tallies(&v2)["moves"]["targets"],
        serde_json::json!(["tallies-by-guild"])
    );
    assert_eq!(tallies(&v2)["moves"]["way_back"], true);
}

#[test]
fn bad_versions_describe_themselves_where_nobody_serves() {
    let bad = [
        env!("CARGO_BIN_EXE_arena-bad-crash"),
        env!("CARGO_BIN_EXE_arena-bad-hang"),
        env!("CARGO_BIN_EXE_arena-bad-late"),
        env!("CARGO_BIN_EXE_arena-bad-stuck"),
    ];
    for program in bad {
        assert_eq!(players(&manifest(program))["shape"]["version"], 2, "{program}");
    }
}
