//! A full /dev/shm is a typed error before anything is touched, never SIGBUS; the region stays usable.
//!
//! The test runs itself again inside a mount namespace of its own, where /dev/shm has 8 MiB. Where the system does not let
//! an ordinary user make one, it says so and checks nothing.

use shmstate::{Error, Map, Region, Result, verify};
use std::process::Command;

const INSIDE: &str = "FULL_MOUNT_INSIDE";

#[test]
fn a_full_mount_is_an_error_and_the_region_goes_on() {
    if std::env::var_os(INSIDE).is_some() {
        fill();
        return;
    }
    let namespace = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--map-root-user", "sh", "-c", script]);
        command
    };
    let mount = "mount -t tmpfs -o size=8m tmpfs /dev/shm";
    match namespace(mount).output() {
        Ok(output) if output.status.success() => {}
        other => {
            println!("not checked: this system gives no mount namespace: {other:?}");
            return;
        }
    }
    let me = std::env::current_exe().expect("this test's path");
    let output = namespace(&format!("{mount} && exec \"$0\" --exact \"$1\" --nocapture"))
        .arg(me)
        .arg("a_full_mount_is_an_error_and_the_region_goes_on")
        .env(INSIDE, "1")
        .output()
        .expect("run inside");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("filled up"),
        "{:?}\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

fn fill() {
    let name = format!("shmstate-full-{}", std::process::id());
    let mut region = Region::options().capacity(64 << 20).create(&name).expect("create");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let blobs: Map<u64, Vec<u8>> = region.write(&pass, |tx| Map::create(tx, "blobs")).expect("table");
    let mut kept = 0u64;
    let error = loop {
        let put: Result<()> = region.write(&pass, |tx| {
            for i in 0..8 {
                blobs.insert(tx, &(kept * 8 + i), &vec![i as u8; 3000])?;
            }
            Ok(())
        });
        match put {
            Ok(()) => kept += 1,
            Err(error) => break error,
        }
        assert!(kept < 10_000, "8 MiB cannot hold that much");
    };
    match &error {
        Error::OutOfSpace { mount, wanted, .. } => {
            assert_eq!(&**mount, "/dev/shm");
            assert!(*wanted > 0);
        }
        other => panic!("{other}"),
    }
    println!("filled up after {kept} transactions: {error}");
    let reader = region.read(&pass).expect("read");
    assert_eq!(
        blobs.len(&reader).expect("len"),
        kept * 8,
        "the failed transaction left nothing"
    );
    assert!(verify(&reader).expect("verify").is_sound());
    region
        .write(&pass, |tx| {
            for i in 0..64 {
                blobs.remove(tx, &i)?;
            }
            Result::Ok(())
        })
        .expect("remove");
    region
        .write(&pass, |tx| blobs.insert(tx, &0, &vec![7; 3000]).map(|_| ()))
        .expect("room again");
    let larger = Region::options().capacity(1 << 30).create(&format!("{name}-2"));
    assert!(larger.is_ok() || matches!(larger, Err(Error::OutOfSpace { .. })));
}
