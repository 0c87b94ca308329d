//! Programs that are not run, and manifests that are not believed.

use super::{Ran, Served, ran};
use crate::programs::{DIRECTORY, PROGRAM};
use crate::scene::Scene;
use std::os::unix::fs::PermissionsExt;

#[test]
fn a_program_that_is_not_known_to_describe_itself_is_not_run() {
    let node = Served::by("v1");
    let trace = node.scene.path().join("it-ran");
    let trace = trace.to_str().expect("UTF-8");
    let script = node.scene.path().join("script");
    std::fs::write(&script, format!("#!/bin/sh\n: > {trace}\n")).expect("a script");
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o700)).expect("executable");
    let script = script.to_str().expect("UTF-8");
    let refused = |command: &[&str], why: &str| {
        let mut args = vec!["plan", "arena", "--"];
        args.extend(command);
        let Ran { code, out, err } = ran(&mut node.scene.command(&args));
        assert_eq!((code, out.as_str()), (4, ""), "{err}");
        assert!(err.contains(why) && err.contains("CMD was not run"), "{err}");
        assert!(!std::path::Path::new(trace).exists(), "{command:?} was run");
        err
    };
    let err = refused(&["touch", trace], "it is not known to describe itself");
    assert!(err.contains("--ask-anyway"), "{err}");
    refused(&[script], "it is a script");
    refused(
        &["sh", "-c", &format!(": > {trace}")],
        "it is not known to describe itself",
    );
    // This command looks for the mark, and is not taken for one that has it.
    refused(
        &[env!("CARGO_BIN_EXE_handover"), "status"],
        "it is not known to describe itself",
    );
    refused(&["no-such-program-anywhere"], "not found");
    refused(&["/"], "it is no file");
}

#[test]
fn a_script_that_ends_in_the_server_can_be_asked_all_the_same() {
    let node = Served::by("v1");
    let exe = std::env::current_exe().expect("this binary");
    let script = r#"echo a word; exec "$0" --exact program --nocapture"#;
    let mut command = node
        .scene
        .command(&["plan", "arena", "--ask-anyway", "--json", "--", "sh", "-c", script]);
    let Ran { code, out, err } = ran(command.arg(exe).env(PROGRAM, "v2"));
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.starts_with('{'), "{out}");
}

#[test]
fn what_is_no_manifest_is_refused_in_words() {
    let node = Served::by("v1");
    let refused = |program: &str, why: &str| {
        let Ran { code, out, err } = node.run(&["plan"], program);
        assert_eq!((code, out.as_str()), (4, ""), "{program}: {err}");
        assert!(err.contains(why), "{program}: {err}");
        err
    };
    refused("garbage", "the manifest is not what one looks like");
    refused("cut", "the manifest is not what one looks like");
    refused("later", "the manifest has version 2, this command reads 1");
    refused("oversized", "it has more than 16777216 bytes");
    refused("link", "wrote no manifest that can be read");
    refused("fifo", "it is no file");
    refused("quiet", "ended well without describing itself");
    let err = refused("fail", "did not describe itself: exit status: 3");
    assert!(err.contains("| there is no disk in drive A"), "{err}");
    assert!(node.status().history.is_empty());
}

#[test]
fn what_a_program_prints_is_read_and_not_shown_if_all_is_well() {
    let node = Served::by("v1");
    let Ran { code, out, err } = node.run(&["plan"], "chatter");
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.starts_with("Plan for arena"), "{out}");
}

#[test]
fn a_program_of_another_node_would_be_refused() {
    let scene = Scene::new();
    let server = scene.serve("lobby", "v1");
    let exe = std::env::current_exe().expect("this binary");
    let mut command = scene.command(&["plan", "lobby", "--"]);
    command
        .arg(exe)
        .args(["--exact", "program", "--nocapture"])
        .env(PROGRAM, "v2");
    let Ran { code, err, .. } = ran(&mut command);
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("it serves the node \"arena\", not \"lobby\""), "{err}");
    server.still_serves();
}

#[test]
fn a_program_that_names_its_directory_is_refused_if_that_is_another() {
    let node = Served::by("v1");
    let (other, alias) = (node.scene.path().join("other"), node.scene.path().join("alias"));
    std::os::unix::fs::symlink(node.scene.path(), &alias).expect("a link");
    let planned = |directory: &std::path::Path| ran(node.command(&["plan"], "placed").env(DIRECTORY, directory));
    let Ran { code, err, .. } = planned(&other);
    assert_eq!(code, 1, "{err}");
    let why = format!("it looks for its node in {}", other.display());
    assert!(err.contains(&why), "{err}");
    // The same place by whatever name.
    for same in [node.scene.path(), &alias] {
        let Ran { code, err, .. } = planned(same);
        assert_eq!((code, err.as_str()), (0, ""), "{}", same.display());
    }
}

#[test]
fn a_table_that_was_not_declared_or_otherwise_is_not_opened() {
    let node = Served::by("v1");
    let owner = node.owner();
    for (program, why) in [
        (
            "liar",
            "table players is not what was declared: the program declared the tables of this region",
        ),
        ("braggart", "opens it with steps from version 1 and no way back"),
    ] {
        let Ran { code, err, .. } = node.run(&["upgrade"], program);
        assert_eq!(code, 1, "{program}: {err}");
        assert!(err.contains(why), "{program}: {err}");
        assert_eq!(node.owner(), owner);
    }
}
