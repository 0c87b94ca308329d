//! What a program says of itself, and that it does nothing else.

use super::{Ran, Served, programs, ran, table};
use crate::programs::{PORT, TRACES};
use crate::scene::{PATIENCE, Scene, TICK};
use handover::os::pidfd::ProcessId;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The manifest of a program.
fn manifest(program: &str, scene: &Scene) -> Value {
    let path = scene.path().join("manifest");
    let mut command = programs::command(program);
    let Ran { code, out, err } = ran(command
        .env("HANDOVER_DESCRIBE", &path)
        .env("HANDOVER_DIR", scene.path()));
    assert_eq!(code, 0, "{out}{err}");
    let text = std::fs::read(&path).expect("a manifest");
    std::fs::remove_file(&path).expect("removed");
    serde_json::from_slice(&text).expect("JSON")
}

#[test]
fn tables_of_every_kind_are_described_as_the_catalog_has_them() {
    let node = Served::by("kinds");
    let manifest = manifest("kinds", &node.scene);
    let Ran { code, out, err } = ran(&mut node.scene.command(&["schema", "arena/world", "--json"]));
    assert_eq!(code, 0, "{err}");
    let schema: Value = serde_json::from_str(&out).expect("JSON");
    let stored = schema["tables"].as_array().expect("a list");
    let said = manifest["regions"][0]["tables"].as_array().expect("a list");
    assert_eq!((said.len(), stored.len()), (9, 9), "{out}");
    let mut kinds = BTreeSet::new();
    for said in said {
        let stored = stored
            .iter()
            .find(|stored| stored["table"] == said["name"])
            .expect("in the catalog");
        let key = stored["key"].as_str().unwrap_or_default();
        assert_eq!((&said["kind"], &said["key"]), (&stored["kind"], &json!(key)), "{said}");
        let shape = &said["shape"];
        assert_eq!(shape["version"], stored["version"], "{said}");
        assert_eq!(shape["fingerprint"], stored["fingerprint"], "{said}");
        assert_eq!(shape["schema"], stored["description"], "{said}");
        kinds.insert(said["kind"].as_str().expect("a kind").to_owned());
    }
    assert_eq!(kinds.len(), 7, "{kinds:?}");
    let players = said.iter().find(|table| table["name"] == "players").expect("there");
    let old = said.iter().find(|table| table["name"] == "map").expect("there");
    assert_eq!(
        (&players["from"], &players["back"]),
        (&json!([old["shape"]]), &old["shape"])
    );
    // What it says is what it does: nothing becomes of anything.
    let (code, plan) = node.plan("kinds");
    assert_eq!((code, &plan["way_back"]), (0, &"not_needed".into()));
    assert_eq!(table(&plan, "streams")["fate"], "unchanged");
}

/// Everything that a start would change: names in the directory, objects in /dev/shm.
fn world(scene: &Scene) -> (BTreeSet<PathBuf>, BTreeSet<PathBuf>) {
    let list = |path: &Path| -> BTreeSet<PathBuf> {
        let entries = std::fs::read_dir(path).expect("listed").flatten();
        entries.map(|entry| entry.path()).collect()
    };
    let mut files = list(scene.path());
    files.extend(list(&scene.path().join("arena")));
    let object = scene.object("arena", "");
    let prefix = object.trim_end_matches('-');
    let shared = list(Path::new("/dev/shm"));
    let ours = shared
        .into_iter()
        .filter(|path| path.to_string_lossy().contains(prefix));
    (files, ours.collect())
}

#[test]
fn a_program_that_describes_itself_touches_nothing() {
    let node = Served::by("v1");
    // The port that the program would bind is in use: it would fail.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let traces = tempfile::tempdir().expect("a directory");
    let before = world(&node.scene);
    assert_eq!(before.1.len(), 2, "{before:?}");
    let mut command = node.command(&["plan", "--json"], "v2");
    let Ran { code, out, err } = ran(command.env(PORT, port.to_string()).env(TRACES, traces.path()));
    assert_eq!(code, 0, "{out}{err}");
    let plan: Value = serde_json::from_str(&out).expect("JSON");
    let metrics = plan["descriptors"]["declared"]
        .as_array()
        .expect("a list")
        .last()
        .expect("metrics");
    assert_eq!(metrics["address"], format!("127.0.0.1:{port}"));
    assert_eq!(world(&node.scene), before);
    // Where it would have made a node of its own, nothing is either: it never came behind `start`.
    assert_eq!(std::fs::read_dir(traces.path()).expect("listed").count(), 0);
    assert!(node.status().history.is_empty());
}

#[test]
fn a_program_that_cannot_write_its_manifest_does_not_start() {
    let scene = Scene::new();
    let elsewhere = tempfile::tempdir().expect("a directory");
    let file = elsewhere.path().join("there-already");
    std::fs::write(&file, "keep me").expect("a file");
    for path in [file.as_path(), Path::new(""), Path::new("/no/such/directory")] {
        let mut command = programs::command("v1");
        let ran = ran(command.env("HANDOVER_DESCRIBE", path).env("HANDOVER_DIR", scene.path()));
        assert_eq!(ran.code, 1, "{}", ran.err);
        assert!(ran.err.contains("write the manifest to"), "{}", ran.err);
    }
    assert_eq!(std::fs::read_to_string(&file).expect("there"), "keep me");
    assert!(handover::nodes(scene.path()).expect("listed").is_empty());
}

/// Waits until a process is dead.
fn dies(pid: u32) {
    let end = Instant::now() + PATIENCE;
    while ProcessId::of(pid)
        .expect("proc")
        .is_some_and(|process| process.is_alive().expect("proc"))
    {
        assert!(Instant::now() < end, "process {pid} lives");
        std::thread::sleep(TICK);
    }
}

fn pids(traces: &Path) -> Vec<u32> {
    let pids = ["child", "other", "orphan"].map(|name| std::fs::read_to_string(traces.join(name)).expect(name));
    pids.iter().map(|pid| pid.trim().parse().expect("a pid")).collect()
}

#[test]
fn one_that_hangs_is_killed_with_all_that_it_started() {
    let node = Served::by("v1");
    let traces = tempfile::tempdir().expect("a directory");
    let mut command = node.command(&["plan", "--timeout", "10"], "hang");
    let Ran { code, err, .. } = ran(command.env(TRACES, traces.path()));
    assert_eq!(code, 4, "{err}");
    assert!(
        err.contains("did not describe itself within 10 s; it and what it had started were killed"),
        "{err}"
    );
    pids(traces.path()).into_iter().for_each(dies);
}

#[test]
fn what_one_leaves_behind_that_ends_well_is_killed_too() {
    let node = Served::by("v1");
    let traces = tempfile::tempdir().expect("a directory");
    let mut command = node.command(&["plan"], "leave");
    let Ran { code, out, err } = ran(command.env(TRACES, traces.path()));
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    pids(traces.path()).into_iter().for_each(dies);
}

#[test]
fn one_that_starts_for_real_is_ended_and_leaves_nothing() {
    let node = Served::by("v1");
    let traces = tempfile::tempdir().expect("a directory");
    let mut command = node.command(&["plan", "--timeout", "10", "--ask-anyway"], "deaf");
    let Ran { code, err, .. } = ran(command.env(TRACES, traces.path()));
    assert_eq!(code, 4, "{err}");
    assert!(err.contains("did not describe itself within 10 s"), "{err}");
    let id = std::fs::read_to_string(traces.path().join("id")).expect("it had a node of its own");
    assert!(!id.is_empty() && !node.scene.object("arena", "").contains(&id));
    for entry in std::fs::read_dir("/dev/shm").expect("listed").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        assert!(!name.contains(&id), "{name}");
    }
    assert!(node.status().history.is_empty() && node.status().participants.len() == 1);
}
