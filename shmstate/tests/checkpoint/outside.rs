//! What comes from outside while a checkpoint is made: the process is killed, the disk is full.

use crate::harness::{Name, Tables, checkpoint, files, options, soon};
use shmstate::{Checkpoint, Error, Region, verify};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

const CHILD: &str = "SHMSTATE_CHECKPOINT_CHILD";
const FULL: &str = "SHMSTATE_CHECKPOINT_FULL";

/// Killed at the end, also of a failing test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn temporary(directory: &Path) -> Option<PathBuf> {
    let found = files(directory).into_iter().find(|name| name.starts_with("world.tmp-"));
    found.map(|name| directory.join(name))
}

#[test]
fn a_killed_process_leaves_the_old_file_and_what_is_left_of_the_new_one_is_removed() {
    if let Some(directory) = std::env::var_os(CHILD) {
        write_until_killed(Path::new(&directory));
        return;
    }
    let name = Name::new("killed");
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("world");
    let mut region = Region::options().capacity(32 << 20).create(&name.0).expect("create");
    let tables = Tables::fill(&mut region, 1000);
    let expected = tables.read(&region);
    checkpoint(&mut region, &path);
    drop(region);
    let old = std::fs::read(&path).expect("old");
    Region::remove(&name.0).expect("remove");
    let me = std::env::current_exe().expect("this test's path");
    let mut child = Killed(
        Command::new(me)
            .args([
                "--exact",
                "outside::a_killed_process_leaves_the_old_file_and_what_is_left_of_the_new_one_is_removed",
            ])
            .env(CHILD, directory.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("child"),
    );
    let _region_of_child = Name(format!("{}-child", child.0.id()));
    let deadline = soon();
    let written = loop {
        let length = temporary(directory.path()).and_then(|path| std::fs::metadata(path).ok());
        match length.map(|m| m.len()) {
            Some(length) if length > 1 << 20 => break length,
            _ => assert!(Instant::now() < deadline, "the child writes nothing"),
        }
        assert!(
            child.0.try_wait().expect("child").is_none(),
            "the child ended by itself"
        );
        std::thread::yield_now();
    };
    let temporary_of_child = temporary(directory.path()).expect("it is there");
    child.0.kill().expect("kill");
    child.0.wait().expect("wait");
    assert!(temporary_of_child.exists(), "{written} bytes of it");
    assert_eq!(std::fs::read(&path).expect("old"), old);
    assert!(Checkpoint::verify(&temporary_of_child).is_err(), "it is not whole");

    let mut region = Region::restore(&path, &name.0).expect("restore");
    assert_eq!(Tables::open(&region).expect("tables").read(&region), expected);
    checkpoint(&mut region, &path);
    assert_eq!(files(directory.path()), ["world"], "the dead maker's file is gone");
}

fn write_until_killed(directory: &Path) {
    let name = format!("{}-child", std::process::id());
    let mut region = Region::options().capacity(32 << 20).create(&name).expect("create");
    let tables = Tables::fill(&mut region, 3000);
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let running = region
        .checkpoint(&pass, directory.join("world"), &options(1 << 20))
        .expect("mark");
    drop(pass);
    let mut random = fastrand::Rng::with_seed(4);
    let deadline = soon();
    while !running.is_done() && Instant::now() < deadline {
        tables.churn(&mut region, &mut random);
    }
    Region::remove(&name).expect("remove");
}

#[test]
fn a_full_disk_is_an_error_and_nothing_stays() {
    if let Some(directory) = std::env::var_os(FULL) {
        fill_the_disk(Path::new(&directory));
        return;
    }
    let directory = tempfile::tempdir().expect("directory");
    let namespace = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--map-root-user", "sh", "-c", script]);
        command
            .env(FULL, directory.path())
            .arg(std::env::current_exe().expect("this test's path"));
        command
    };
    let mount = format!("mount -t tmpfs -o size=2m tmpfs \"${FULL}\"");
    match namespace(&mount).output() {
        Ok(output) if output.status.success() => {}
        other => {
            println!("not checked: this system gives no mount namespace: {other:?}");
            return;
        }
    }
    let test = "outside::a_full_disk_is_an_error_and_nothing_stays";
    let output = namespace(&format!("{mount} && exec \"$0\" --exact {test} --nocapture"))
        .output()
        .expect("run inside");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("no room for"),
        "{:?}\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

fn fill_the_disk(directory: &Path) {
    let name = Name::new("full");
    let path = directory.join("world");
    let mut region = Region::options().capacity(32 << 20).create(&name.0).expect("create");
    let small = Tables::fill(&mut region, 100);
    let mut random = fastrand::Rng::with_seed(8);
    checkpoint(&mut region, &path);
    let old = std::fs::read(&path).expect("old");
    crate::harness::grow(&mut region, 8 << 20);
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let mut running = region.checkpoint(&pass, &path, &options(100 << 20)).expect("mark");
    drop(pass);
    while !running.is_done() {
        small.churn(&mut region, &mut random);
    }
    let error = running.wait(soon()).expect_err("8 MiB into 2");
    println!("{error}");
    match error {
        Error::DiskFull { written, .. } => assert!(written < 2 << 20),
        other => panic!("{other}"),
    }
    assert_eq!(files(directory), ["world"], "the unfinished file is gone");
    assert_eq!(std::fs::read(&path).expect("old"), old);
    for _ in 0..100 {
        small.churn(&mut region, &mut random);
    }
    let pass = gate.enter().expect("pass");
    assert!(verify(&region.read(&pass).expect("read")).expect("verify").is_sound());
}
