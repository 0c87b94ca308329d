//! The `handover` command as its users see it: real nodes, real successors, every exit code.
//!
//! A predecessor is a node that a thread of this process serves, or an actor; an actor is this binary, started again with
//! [`ROLE`] in its environment. What depends on pid, time or chance is filtered out of the snapshots. Each test has a
//! directory of its own, and [`Scene`] ends actors and removes shared memory also when the test fails.
#![cfg(feature = "cli")]

mod scene;

use handover::control::{ControlBlock, HandoverRecord, NodeIdentity, Outcome, ParticipantState};
use handover::os::clock::Deadline;
use handover::os::dir::NodeId;
use insta::assert_snapshot;
use nix::sys::signal::Signal;
use scene::{LONG, ROLE, Scene, play};
use std::time::Duration;

/// The entry of an actor; an ordinary run passes by.
#[test]
fn actor() {
    if let Ok(role) = std::env::var(ROLE) {
        play(&role);
    }
}

#[test]
fn help() {
    let scene = Scene::unfiltered();
    assert_snapshot!(scene.run(&["--help"]), @"
    Upgrades running servers and looks at them

    Usage: handover <COMMAND>

    Commands:
      plan      Show what an upgrade would do, before it is done: tables, descriptors, the way back
      upgrade   Start the new version of a node's server, watch the handover, report who serves
      rollback  Give a node on probation back to its old version, which is parked
      confirm   End the probation of a node: the new version is well, the old one ends
      status    Show who serves which node, and how the last handovers went
      inspect   Look into a region: header, tables, what a recovery would take back
      schema    Show what the tables of a region hold: the shape of keys and records
      dump      Print the records of a region or a checkpoint, without the program's types
      diff      Show what is other in B than in A: tables, shapes, records, fields

    Options:
      -h, --help     Print help
      -V, --version  Print version

    Examples:
      handover status                                      all nodes of this user
      handover plan arena -- ./arena-v2 --port 4000        what would become of tables and sockets
      handover upgrade arena -- ./arena-v2 --port 4000     start the new version, report who serves
      handover confirm arena                               the new version is well
      handover rollback arena                              the old version takes the node back
      handover inspect arena/world                         look into a region of the node
      handover dump arena/world players --where score>100  print its records

    Nodes are found in $HANDOVER_DIR, else $XDG_RUNTIME_DIR/handover, else /tmp/handover-<uid>.
    [exit 0]
    ");
    assert_snapshot!(scene.run(&["upgrade", "--help"]), @"
    Start the new version of a node's server, watch the handover, report who serves.

    CMD runs in a session of its own, so that neither Ctrl-C nor the end of this terminal reaches it;
    its stdin is /dev/null, its stdout and stderr are this command's. Ctrl-C here ends the watching, not
    the upgrade. If the handover has not ended in time, CMD is ended: an upgrade that is not wanted any
    more must not happen later.

    After the handover CMD is on probation, if the old version grants one: that stays parked and takes
    the node back if CMD dies or hangs, or on `handover rollback`. Without --watch this command does not
    wait for that.

    If CMD declares its tables, the plan of `handover plan` goes to stderr first. CMD is not started if
    it would be refused, or if there is no way back.

    Usage: handover upgrade [OPTIONS] <NODE> -- <CMD>...

    Arguments:
      <NODE>
              Name of the node

      <CMD>...
              The new version's program and its arguments

    Options:
          --directory <DIR>
              Where the nodes' directories are, instead of the usual place

          --timeout <SECONDS>
              How long the handover may take; then CMD gets SIGTERM, and SIGKILL after 2 s (at once if
              it could still take over)

              [default: 120]

          --start
              If nobody serves the node, start CMD as its first process instead of refusing

          --one-way
              Upgrade also if the plan says that nobody could take the node back after the cutover

          --watch[=<SECONDS>]
              Once CMD serves, stay and watch its probation: to its end, or for so long. What happens
              meanwhile goes to stderr

          --confirm
              Once CMD serves, and has been watched, end its probation: the old version ends then

          --json
              Print one JSON object at the end, with the plan in it; CMD's stdout then goes to stderr

      -h, --help
              Print help (see a summary with '-h')

    Examples:
      handover upgrade arena -- ./arena-v2 --port 4000
      handover upgrade arena --timeout 30 --json -- ./arena-v2 2>>arena.log
      handover upgrade arena --start -- ./arena-v2         also if nothing runs yet
      handover upgrade arena --watch -- ./arena-v2         stay until its probation is over
      handover upgrade arena --watch=5 --confirm -- ./arena-v2
      handover upgrade arena --one-way -- ./arena-v3       also if nobody could take the node back

    Exit codes:
      0  CMD serves now
      1  CMD does not serve, or not any more; the node is served, as a rule by the old version
      2  wrong usage, or no way back and no --one-way; nothing was done
      3  nobody serves
      4  it could not be found out who serves; see `handover status NODE`
    [exit 0]
    ");
    assert_snapshot!(scene.run(&["rollback", "--help"]), @"
    Give a node on probation back to its old version, which is parked

    Usage: handover rollback [OPTIONS] <NODE>

    Arguments:
      <NODE>  Name of the node

    Options:
          --directory <DIR>    Where the nodes' directories are, instead of the usual place
          --timeout <SECONDS>  How long to wait for what comes of it; the word itself stands for as long
                               as the probation lasts [default: 30]
          --json               Print one JSON object
      -h, --help               Print help

    Examples:
      handover rollback arena
      handover rollback arena --timeout 5 --json

    An owner that answers finishes its tick and hands over. One that does not is killed, and its open
    transactions are undone. The players stay connected either way.

    Exit codes:
      0  the old version serves again
      1  not done: no probation, or not in time; the node is served all the same
      2  wrong usage, nothing was done
      3  nobody serves
      4  the node is unknown, or it could not be found out
    [exit 0]
    ");
    assert_snapshot!(scene.run(&["confirm", "--help"]), @"
    End the probation of a node: the new version is well, the old one ends

    Usage: handover confirm [OPTIONS] <NODE>

    Arguments:
      <NODE>  Name of the node

    Options:
          --directory <DIR>    Where the nodes' directories are, instead of the usual place
          --timeout <SECONDS>  How long to wait for what comes of it; the word itself stands for as long
                               as the probation lasts [default: 30]
          --json               Print one JSON object
      -h, --help               Print help

    Examples:
      handover confirm arena
      handover upgrade arena --confirm -- ./arena-v2       upgrade and confirm at once

    Exit codes:
      0  the new version serves, and nobody takes the node back any more
      1  not done: no probation, not in time, or the old version serves again; the node is served
      2  wrong usage, nothing was done
      3  nobody serves
      4  the node is unknown, or it could not be found out
    [exit 0]
    ");
    assert_snapshot!(scene.run(&["status", "--help"]), @"
    Show who serves which node, and how the last handovers went

    Usage: handover status [OPTIONS] [NODE]

    Arguments:
      [NODE]  Name of the node; all nodes if it is left out

    Options:
          --directory <DIR>  Where the nodes' directories are, instead of the usual place
          --last <N>         How many of the last handovers to show; 64 are kept [default: 10]
          --json             Print JSON
      -h, --help             Print help

    Examples:
      handover status                      one line for each node
      handover status arena                lease, processes and the last handovers of one
      handover status arena --json         the same for programs

    Exit codes:
      0  every node asked for has a living owner
      2  wrong usage
      3  a node has no living owner
      4  a node is unknown or cannot be read (goes before 3)
    [exit 0]
    ");
    assert_snapshot!(scene.run(&["inspect", "--help"]), @r#"
    Look into a region: header, tables, what a recovery would take back

    Usage: handover inspect [OPTIONS] [REGION]

    Arguments:
      [REGION]  NODE/REGION, or the region's name in /dev/shm; all regions are listed if it is left out

    Options:
          --directory <DIR>  Where the nodes' directories are, instead of the usual place
          --schemas          Print the shape of each table's records too
          --all              Also the library's own tables, whose names begin with a dot
          --json             Print JSON
      -h, --help             Print help

    Examples:
      handover inspect                     all regions in /dev/shm
      handover inspect arena/world         the region "world" of the node "arena"
      handover inspect my-region           a region by its name in /dev/shm
      handover inspect arena/world --schemas

    Nothing is changed, and the owner is not disturbed; while it works, numbers that belong together
    may differ by what it did between two reads.

    Exit codes:
      0  the region could be read
      2  wrong usage
      4  there is no such region, or it cannot be read
    [exit 0]
    "#);
}

#[test]
fn wrong_usage_is_2_and_says_what_is_wanted() {
    let scene = Scene::new();
    assert_snapshot!(scene.run(&["upgrade", "arena"]), @"
    [stderr]
    error: the following required arguments were not provided:
      <CMD>...

    Usage: handover upgrade --directory <DIR> <NODE> -- <CMD>...

    For more information, try '--help'.
    [exit 2]
    ");
    assert_snapshot!(scene.run(&["upgrade", "arena", "--timeout", "soon", "--", "true"]), @"
    [stderr]
    error: invalid value 'soon' for '--timeout <SECONDS>': a number of seconds is wanted, more than 0 and at most 604800

    For more information, try '--help'.
    [exit 2]
    ");
    assert_snapshot!(scene.run(&["status", "../etc"]), @r#"
    [stderr]
    error: invalid value '../etc' for '[NODE]': "../etc" is no node name: it begins with a dot

    For more information, try '--help'.
    [exit 2]
    "#);
    assert_snapshot!(scene.run(&["inspect", "arena/a b"]), @r#"
    [stderr]
    handover: "a b" is no region name
      give NODE/REGION, the region's name in /dev/shm, or the path of a checkpoint
    [exit 2]
    "#);
    assert_snapshot!(scene.run(&["restart"]), @"
    [stderr]
    error: unrecognized subcommand 'restart'

    Usage: handover <COMMAND>

    For more information, try '--help'.
    [exit 2]
    ");
}

#[test]
fn what_does_not_exist_is_4() {
    let scene = Scene::new();
    assert_snapshot!(scene.run(&["status"]), @"
    No nodes in DIR.
    [exit 0]
    ");
    assert_snapshot!(scene.run(&["status", "--json"]), @r#"
    {
      "directory": "DIR",
      "nodes": []
    }
    [exit 0]
    "#);
    assert_snapshot!(scene.run(&["status", "nowhere"]), @r#"
    [stderr]
    handover: there is no node "nowhere" in DIR
      there are no nodes in it
      a node is made by the first start of its server; --directory looks elsewhere
    [exit 4]
    "#);
    assert_snapshot!(scene.run(&["upgrade", "nowhere", "--", "true"]), @r#"
    [stderr]
    handover: there is no node "nowhere" in DIR
      there are no nodes in it
      a node is made by the first start of its server; --directory looks elsewhere
      to start CMD as its first process: handover upgrade nowhere --start -- CMD
    [exit 4]
    "#);
    assert_snapshot!(scene.run(&["inspect", "nowhere/world"]), @r#"
    [stderr]
    handover: there is no node "nowhere" in DIR
      there are no nodes in it
      a node is made by the first start of its server; --directory looks elsewhere
    [exit 4]
    "#);
    assert_snapshot!(scene.run(&["inspect", "handover-cli-test-no-such-region"]), @"
    [stderr]
    handover: there is no region handover-cli-test-no-such-region
      `handover inspect` lists what there is; a node's region is NODE/REGION
    [exit 4]
    ");
    assert!(!scene.path().join("nowhere").exists(), "looking makes nothing");
}

#[test]
fn a_directory_that_is_open_to_others_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let scene = Scene::new();
    std::fs::set_permissions(scene.path(), PermissionsExt::from_mode(0o755)).expect("chmod");
    assert_snapshot!(scene.run(&["status"]), @"
    [stderr]
    handover: runtime directory DIR: it is open to others (mode 0755); `chmod 700` it
    [exit 4]
    ");
}

#[test]
fn status_shows_who_serves() {
    let scene = Scene::new();
    let _server = scene.serve("arena", "v1");
    std::fs::create_dir(scene.path().join("fresh")).expect("mkdir");
    scene.close("fresh");
    assert_snapshot!(scene.run(&["status"]), @"
    NODE  OWNER  BUILD  GENERATION  SINCE  CONNECTIONS  LAST HANDOVER
    arena  PID  v1  1  TIME  0  -
    fresh  nobody  -  -  -  -  -
    [exit 3]
    ");
    assert_snapshot!(scene.run(&["status", "arena"]), @"
    Node arena
      owner  process PID (build v1), for TIME
      lease  owned by slot 0, generation 1
      in progress  no handover
      since made  0 handovers completed, 0 called off
      id  ID

    Processes
      SLOT  PID  STATE  BUILD  SINCE  CONNECTIONS  IN FLIGHT  MUST END IN
      0  PID  serving  v1  TIME  0  0  -
    [exit 0]
    ");
    assert_snapshot!(scene.run(&["status", "arena", "--json"]), @r#"
    {
      "node": "arena",
      "id": "ID",
      "serving": true,
      "error": null,
      "lease": {
        "state": "owned",
        "generation": 1,
        "owner_slot": 0,
        "heir_slot": null
      },
      "owner": {
        "slot": 0,
        "state": "serving",
        "alive": true,
        "pid": N,
        "start_time": N,
        "build_id": "v1",
        "age_ms": N,
        "connections": 0,
        "in_flight": 0,
        "drain_left_ms": null,
        "drain": null
      },
      "handover": null,
      "probation": null,
      "completed": 0,
      "aborted": 0,
      "participants": [
        {
          "slot": 0,
          "state": "serving",
          "alive": true,
          "pid": N,
          "start_time": N,
          "build_id": "v1",
          "age_ms": N,
          "connections": 0,
          "in_flight": 0,
          "drain_left_ms": null,
          "drain": null
        }
      ],
      "handovers": []
    }
    [exit 0]
    "#);
    assert_snapshot!(scene.run(&["status", "fresh"]), @"
    Node fresh
      owner  none: it never ran since the machine was started
      in progress  no handover
      since made  0 handovers completed, 0 called off

    Nobody serves. The next start of the server takes the node up: its regions are recovered.
    [exit 3]
    ");
}

#[test]
fn status_shows_a_probation_that_was_not_read() {
    let scene = Scene::new();
    let _server = scene.serve("arena", "v1");
    let id = NodeId(handover::status(scene.path(), "arena").expect("status").id);
    let name = "arena".into();
    let block = ControlBlock::open(&NodeIdentity { id, name }, Deadline::now()).expect("control block");
    block.append(&HandoverRecord::new(Outcome::ProbationUnread, "nothing was read"));
    let shown = scene.run(&["status", "arena"]);
    assert!(
        shown.contains("probation unread") && shown.contains("nothing was read"),
        "{shown}"
    );
    let shown = scene.run(&["status", "arena", "--json"]);
    assert!(shown.contains(r#""outcome": "probation_unread""#), "{shown}");
}

#[test]
fn inspect_shows_regions() {
    let scene = Scene::new();
    let _server = scene.serve("arena", "v1");
    assert_snapshot!(scene.run(&["inspect", "arena/world"]), @"
    Region handover-ID-world
      owned by  the living owner of the node arena
      recovery  clean: nothing to take back
      format  v1, made in this boot
      id  ID
      capacity  4.0 MiB (4194304 bytes)
      taken  SIZE
      heap  SIZE
      memory  from /dev/shm, in pages of 4.0 KiB
      large pages  none wanted for a region of this size
      undo log  room for 64.0 KiB (65536 bytes)
      transactions  N committed, 0 rolled back
      recoveries  0, log entries undone: 0
      growth  N small steps by the writer itself

    Tables
      TABLE  KIND  RECORDS  ARCHIVED  BYTES  SCHEMA  FINGERPRINT
      ticks  cell  1  8 B  8  0  ID
      players  map  2  40 B  40  0  ID
    [exit 0]
    ");
    assert_snapshot!(scene.run(&["inspect", "arena/world", "--schemas", "--json"]), @r#"
    {
      "object": "handover-ID-world",
      "node": "arena",
      "node_id": "ID",
      "region_id": "ID",
      "format": "v1",
      "capacity_bytes": 4194304,
      "taken_bytes": N,
      "heap_bytes": N,
      "made_at_unix_ns": N,
      "this_boot": true,
      "owned": true,
      "activity": "idle",
      "log_bytes": 0,
      "log_capacity_bytes": 65536,
      "recovery": "clean",
      "commits": N,
      "rollbacks": 0,
      "recoveries": 0,
      "entries_undone": 0,
      "growth_steps": N,
      "memory": {
        "mount": "/dev/shm",
        "page_bytes": 4096,
        "reserved_bytes": 4194304,
        "huge_wanted_bytes": 0,
        "huge_bytes": 0,
        "not_collapsed": 0,
        "holes_bytes": 0,
        "given_back_bytes": 0
      },
      "tables": [
        {
          "name": "ticks",
          "kind": "cell",
          "records": 1,
          "older_records": 0,
          "to_move": 0,
          "archived_bytes": 8,
          "checksums": false,
          "schema_version": 0,
          "fingerprint": "ID",
          "schema": "\n---\nschema 1 u64 version 0\nlayout rkyv 0.8 little aligned pointer 32\ntype u64 size 8 align 8\n"
        },
        {
          "name": "players",
          "kind": "map",
          "records": 2,
          "older_records": 0,
          "to_move": 0,
          "archived_bytes": 40,
          "checksums": false,
          "schema_version": 0,
          "fingerprint": "ID",
          "schema": "u64\n---\nschema 1 String version 0\nlayout rkyv 0.8 little aligned pointer 32\ntype String size 8 align 4\n"
        }
      ]
    }
    [exit 0]
    "#);
    let object = scene.object("arena", "world");
    assert_eq!(
        scene.run(&["inspect", &object, "--schemas"]),
        scene.run(&["inspect", &format!("/dev/shm/{object}"), "--schemas"])
    );
    assert_snapshot!(scene.run(&["inspect", "arena/moon"]), @"
    [stderr]
    handover: there is no region handover-ID-moon
      the node has: arena/world
    [exit 4]
    ");
    let control = object.strip_suffix("-world").expect("a suffix");
    assert_snapshot!(scene.run(&["inspect", control]), @r#"
    [stderr]
    handover: handover-ID is no region this version can read: it starts with 0x314c5443444e4148, not with "SHMSTATE"
      it is the control block of a node: `handover status` reads it
    [exit 4]
    "#);
    let list = scene.run(&["inspect"]);
    let ours: Vec<&str> = list.lines().filter(|line| line.contains("arena")).collect();
    assert_snapshot!(ours.join("\n"), @"
    handover-ID  control block  arena  16.0 KiB  16.0 KiB
    handover-ID-world  region  arena  4.0 MiB  SIZE
    ");
}

#[test]
fn an_upgrade_says_who_serves_now() {
    let scene = Scene::new();
    let server = scene.serve("arena", "v1");
    assert_snapshot!(scene.upgrade("arena", "serve", &[]), @"
    arena: process PID (build v2) serves, generation 2; blackout N µs (noise N µs), 0 connections moved, prepared in N ms
    [exit 0]
    ");
    server.handed_over();
    // The next one takes over from an actor, through a wrapper that stays.
    assert_snapshot!(scene.upgrade("arena", "serve-forked", &["--json"]), @r#"
    {
      "node": "arena",
      "upgraded": true,
      "result": "upgraded",
      "exit_code": 0,
      "serving": {
        "pid": N,
        "build_id": "v2",
        "generation": 3
      },
      "started_pid": N,
      "exit_status": null,
      "signal": null,
      "waited_ms": N,
      "plan": null,
      "handover": {
        "sequence": 2,
        "outcome": "handed_over",
        "from_generation": 2,
        "to_generation": 3,
        "successor_pid": N,
        "age_ms": N,
        "prepare_ms": N,
        "give_back_ms": null,
        "blackout_us": N,
        "noise_us": N,
        "descriptors": 3,
        "connections": 0,
        "reason": ""
      },
      "confirmed": false,
      "probation": null,
      "message": "arena: process PID (build v2) serves, generation 3 (by way of process PID); blackout N µs (noise N µs), 0 connections moved, prepared in N ms"
    }
    [exit 0]
    "#);
    scene.settled("arena");
    assert_snapshot!(scene.run(&["status", "arena"]), @"
    Node arena
      owner  process PID (build v2), for TIME
      lease  owned by slot 0, generation 3
      in progress  no handover
      since made  2 handovers completed, 0 called off
      id  ID

    Processes
      SLOT  PID  STATE  BUILD  SINCE  CONNECTIONS  IN FLIGHT  MUST END IN
      0  PID  serving  v2  TIME  0  0  -

    Last handovers (2, newest first)
      AGO  OUTCOME  GENERATION  PREPARE ms  BLACKOUT µs  NOISE µs  CONNECTIONS  REASON
      TIME  handed over  2 -> 3  N  N  N  0
      TIME  handed over  1 -> 2  N  N  N  0
    [exit 0]
    ");
}

#[test]
fn a_successor_that_ends_leaves_the_old_one() {
    let scene = Scene::new();
    let server = scene.serve("arena", "v1");
    assert_snapshot!(scene.upgrade("arena", "exit", &[]), @r#"
    [stderr]
    handover: the node "arena" was not upgraded: process PID (sh) exited with status 3
      now: process PID (build v1) serves, generation 1
      see its output; nothing changed for the node's clients
    [exit 1]
    "#);
    assert_snapshot!(scene.upgrade("arena", "exit", &["--json"]), @r#"
    {
      "node": "arena",
      "upgraded": false,
      "result": "exited",
      "exit_code": 1,
      "serving": {
        "pid": N,
        "build_id": "v1",
        "generation": 1
      },
      "started_pid": N,
      "exit_status": 3,
      "signal": null,
      "waited_ms": N,
      "plan": null,
      "handover": null,
      "confirmed": false,
      "probation": null,
      "message": "the node \"arena\" was not upgraded: process PID (sh) exited with status 3\nnow: process PID (build v1) serves, generation 1\nsee its output; nothing changed for the node's clients"
    }
    [exit 1]
    "#);
    assert_snapshot!(scene.run(&["upgrade", "arena", "--", "./no-such-program"]), @r#"
    [stderr]
    handover: cannot start "./no-such-program": No such file or directory (os error 2)
      give a path, or a program that is in $PATH
      now: process PID (build v1) serves, generation 1
    [exit 1]
    "#);
    server.still_serves();
}

#[test]
fn a_successor_that_refuses_says_why() {
    let scene = Scene::new();
    let server = scene.serve("arena", "v1");
    assert_snapshot!(scene.upgrade("arena", "refuse", &[]), @r#"
    [stderr]
    handover: the node "arena" was not upgraded: process PID (sh) exited with status 4
      recorded: refused by the successor: the table players has another shape
      now: process PID (build v1) serves, generation 1
      see its output; nothing changed for the node's clients
    [exit 1]
    "#);
    server.still_serves();
    assert_snapshot!(scene.run(&["status", "arena"]), @"
    Node arena
      owner  process PID (build v1), for TIME
      lease  owned by slot 0, generation 1
      in progress  no handover
      since made  0 handovers completed, 1 called off
      id  ID

    Processes
      SLOT  PID  STATE  BUILD  SINCE  CONNECTIONS  IN FLIGHT  MUST END IN
      0  PID  serving  v1  TIME  0  0  -

    Last handovers (1, newest first)
      AGO  OUTCOME  GENERATION  PREPARE ms  BLACKOUT µs  NOISE µs  CONNECTIONS  REASON
      TIME  refused by successor  1 -> 1  -  -  -  0  the table players has another shape
    [exit 0]
    ");
}

#[test]
fn a_successor_that_is_never_ready_is_ended() {
    let scene = Scene::new();
    let server = scene.serve("arena", "v1");
    assert_snapshot!(scene.upgrade("arena", "hang", &["--timeout", "4"]), @r#"
    [stderr]
    handover: the node "arena" was not upgraded: process PID (sh) did not take over within TIME; then it was ended by signal 9 (SIGKILL)
      now: process PID (build v1) serves, generation 1
      see its output; --timeout gives it more time
    [exit 1]
    "#);
    // One that has not come to the node yet gets SIGTERM.
    assert_snapshot!(scene.run(&["upgrade", "arena", "--timeout", "0.3", "--", "sleep", "600"]), @r#"
    [stderr]
    handover: the node "arena" was not upgraded: process PID (sleep) did not take over within TIME; then it was ended by signal 15 (SIGTERM)
      now: process PID (build v1) serves, generation 1
      see its output; --timeout gives it more time
    [exit 1]
    "#);
    // And SIGKILL if it does not listen.
    let deaf = ["sh", "-c", "trap '' TERM; while :; do sleep 1; done"];
    let args = ["upgrade", "arena", "--timeout", "3", "--"];
    assert_snapshot!(scene.run(&[&args[..], &deaf[..]].concat()), @r#"
    [stderr]
    handover: the node "arena" was not upgraded: process PID (sh) did not take over within TIME; then it was ended by signal 9 (SIGKILL)
      now: process PID (build v1) serves, generation 1
      see its output; --timeout gives it more time
    [exit 1]
    "#);
    server.still_serves();
}

#[test]
fn without_an_owner_it_is_3() {
    let scene = Scene::new();
    assert_snapshot!(scene.upgrade("arena", "serve", &["--start"]), @"
    arena: process PID (build v2) serves, generation 1; started, for nobody served before
    [exit 0]
    ");
    scene.kill_owner("arena");
    assert_snapshot!(scene.upgrade("arena", "serve", &[]), @r#"
    [stderr]
    handover: nobody serves the node "arena": there is nothing to upgrade
      CMD was not started
      to start it as the first process: handover upgrade arena --start -- CMD
    [exit 3]
    "#);
    assert_snapshot!(scene.run(&["status", "arena"]), @"
    Node arena
      owner  none: process PID (build v2) is dead
      lease  owned by slot 0, generation 1
      in progress  no handover
      since made  0 handovers completed, 0 called off
      id  ID

    Processes
      SLOT  PID  STATE  BUILD  SINCE  CONNECTIONS  IN FLIGHT  MUST END IN
      0  PID  dead  v2  TIME  0  0  -

    Nobody serves. The next start of the server takes the node up: its regions are recovered.
    [exit 3]
    ");
    assert_snapshot!(scene.upgrade("arena", "exit", &["--start"]), @r#"
    [stderr]
    handover: the node "arena" was not started: process PID (sh) exited with status 3
      now: nobody serves
      to bring it back: handover upgrade arena --start -- CMD, with a version that works
    [exit 3]
    "#);
    assert_snapshot!(scene.upgrade("arena", "serve-daemon", &["--start"]), @"
    arena: process PID (build v2) serves, generation 2 (by way of process PID); started, for nobody served before; it took up what the dead owner left
    [exit 0]
    ");
    assert_snapshot!(scene.run(&["status"]), @"
    NODE  OWNER  BUILD  GENERATION  SINCE  CONNECTIONS  LAST HANDOVER
    arena  PID  v2  2  TIME  0  inherited
    [exit 0]
    ");
}

#[test]
fn cmd_survives_the_command() {
    let scene = Scene::new();
    let server = scene.serve("arena", "v1");
    scene.interrupt_upgrade("arena");
    server.still_serves();
}

#[test]
fn a_new_version_on_probation_is_rolled_back() {
    let scene = Scene::new();
    let server = scene.serve_parking("arena", "v1", LONG);
    assert_snapshot!(scene.upgrade("arena", "serve", &[]), @"
    arena: process PID (build v2) serves, generation 2; blackout N µs (noise N µs), 0 connections moved, prepared in N ms
      on probation for TIME more: process PID (build v1) is parked and takes the node back if it dies
      handover confirm arena  ends the probation: it is well
      handover rollback arena  gives the node back to process PID (build v1)
    [exit 0]
    ");
    scene.serving("arena");
    assert_snapshot!(scene.run(&["status"]), @"
    NODE  OWNER  BUILD  GENERATION  SINCE  CONNECTIONS  LAST HANDOVER
    arena  PID  v2  2  TIME  0  handed over, TIME ago, on probation
    [exit 0]
    ");
    assert_snapshot!(scene.run(&["status", "arena"]), @"
    Node arena
      owner  process PID (build v2), for TIME
      lease  owned by slot 1, generation 2
      in progress  no handover
      probation  of process PID, TIME left; its last pass was TIME ago; process PID (build v1) could take the node back
      since made  1 handover completed, 0 called off
      id  ID

    Processes
      SLOT  PID  STATE  BUILD  SINCE  CONNECTIONS  IN FLIGHT  MUST END IN
      0  PID  parked  v1  TIME  0  0  -
      1  PID  serving  v2  TIME  0  0  -

    Last handovers (1, newest first)
      AGO  OUTCOME  GENERATION  PREPARE ms  BLACKOUT µs  NOISE µs  CONNECTIONS  REASON
      TIME  handed over  1 -> 2  N  N  N  0
    [exit 0]
    ");
    assert_snapshot!(scene.run(&["status", "arena", "--json"]), @r#"
    {
      "node": "arena",
      "id": "ID",
      "serving": true,
      "error": null,
      "lease": {
        "state": "owned",
        "generation": 2,
        "owner_slot": 1,
        "heir_slot": null
      },
      "owner": {
        "slot": 1,
        "state": "serving",
        "alive": true,
        "pid": N,
        "start_time": N,
        "build_id": "v2",
        "age_ms": N,
        "connections": 0,
        "in_flight": 0,
        "drain_left_ms": null,
        "drain": null
      },
      "handover": null,
      "probation": {
        "phase": "probation",
        "left_ms": N,
        "owner_pid": N,
        "parked_pid": N,
        "parked_build_id": "v1",
        "heartbeat_age_ms": N
      },
      "completed": 1,
      "aborted": 0,
      "participants": [
        {
          "slot": 0,
          "state": "parked",
          "alive": true,
          "pid": N,
          "start_time": N,
          "build_id": "v1",
          "age_ms": N,
          "connections": 0,
          "in_flight": 0,
          "drain_left_ms": null,
          "drain": null
        },
        {
          "slot": 1,
          "state": "serving",
          "alive": true,
          "pid": N,
          "start_time": N,
          "build_id": "v2",
          "age_ms": N,
          "connections": 0,
          "in_flight": 0,
          "drain_left_ms": null,
          "drain": null
        }
      ],
      "handovers": [
        {
          "sequence": 1,
          "outcome": "handed_over",
          "from_generation": 1,
          "to_generation": 2,
          "successor_pid": N,
          "age_ms": N,
          "prepare_ms": N,
          "give_back_ms": null,
          "blackout_us": N,
          "noise_us": N,
          "descriptors": 3,
          "connections": 0,
          "reason": ""
        }
      ]
    }
    [exit 0]
    "#);
    assert_snapshot!(scene.run(&["rollback", "arena"]), @"
    arena: process PID (build v1) serves, generation 3; given back by process PID (build v2), N ms after that was decided, blackout N µs
    [exit 0]
    ");
    scene.settled("arena");
    assert_snapshot!(scene.run(&["status", "arena"]), @"
    Node arena
      owner  process PID (build v1), for TIME
      lease  owned by slot 0, generation 3
      in progress  no handover
      since made  1 handover completed, 0 called off
      id  ID

    Processes
      SLOT  PID  STATE  BUILD  SINCE  CONNECTIONS  IN FLIGHT  MUST END IN
      0  PID  serving  v1  TIME  0  0  -

    Last handovers (2, newest first)
      AGO  OUTCOME  GENERATION  PREPARE ms  BLACKOUT µs  NOISE µs  CONNECTIONS  REASON
      TIME  given back  2 -> 3  -  N  -  0  the operator took it back; back after N ms
      TIME  handed over  1 -> 2  N  N  N  0
    [exit 0]
    ");
    assert_snapshot!(scene.run(&["rollback", "arena"]), @r#"
    [stderr]
    handover: the node "arena" is not on probation: nothing was done
      now: process PID (build v1) serves, generation 3
      to go back to another version: handover upgrade arena -- CMD, with that version
    [exit 1]
    "#);
    // The next one has a probation of its own.
    assert_snapshot!(scene.upgrade("arena", "serve", &["--json"]), @r#"
    {
      "node": "arena",
      "upgraded": true,
      "result": "upgraded",
      "exit_code": 0,
      "serving": {
        "pid": N,
        "build_id": "v2",
        "generation": 4
      },
      "started_pid": N,
      "exit_status": null,
      "signal": null,
      "waited_ms": N,
      "plan": null,
      "handover": {
        "sequence": 3,
        "outcome": "handed_over",
        "from_generation": 3,
        "to_generation": 4,
        "successor_pid": N,
        "age_ms": N,
        "prepare_ms": N,
        "give_back_ms": null,
        "blackout_us": N,
        "noise_us": N,
        "descriptors": 3,
        "connections": 0,
        "reason": ""
      },
      "confirmed": false,
      "probation": {
        "phase": "probation",
        "left_ms": N,
        "owner_pid": N,
        "parked_pid": N,
        "parked_build_id": "v1",
        "heartbeat_age_ms": N
      },
      "message": "arena: process PID (build v2) serves, generation 4; blackout N µs (noise N µs), 0 connections moved, prepared in N ms\n  on probation for TIME more: process PID (build v1) is parked and takes the node back if it dies\n  handover confirm arena   ends the probation: it is well\n  handover rollback arena  gives the node back to process PID (build v1)"
    }
    [exit 0]
    "#);
    assert_snapshot!(scene.run(&["rollback", "arena", "--json"]), @r#"
    {
      "node": "arena",
      "wish": "rollback",
      "done": true,
      "result": "rolled_back",
      "exit_code": 0,
      "serving": {
        "pid": N,
        "build_id": "v1",
        "generation": 5
      },
      "successor_pid": N,
      "predecessor_pid": N,
      "waited_ms": N,
      "handover": {
        "sequence": 4,
        "outcome": "given_back",
        "from_generation": 4,
        "to_generation": 5,
        "successor_pid": N,
        "age_ms": N,
        "prepare_ms": N,
        "give_back_ms": N,
        "blackout_us": N,
        "noise_us": N,
        "descriptors": 0,
        "connections": 0,
        "reason": "the operator took it back"
      },
      "message": "arena: process PID (build v1) serves, generation 5; given back by process PID (build v2), N ms after that was decided, blackout N µs"
    }
    [exit 0]
    "#);
    assert_snapshot!(scene.run(&["rollback", "arena", "--json"]), @r#"
    {
      "node": "arena",
      "wish": "rollback",
      "done": false,
      "result": "not_on_probation",
      "exit_code": 1,
      "serving": {
        "pid": N,
        "build_id": "v1",
        "generation": 5
      },
      "successor_pid": null,
      "predecessor_pid": null,
      "waited_ms": N,
      "handover": null,
      "message": "the node \"arena\" is not on probation: nothing was done\nnow: process PID (build v1) serves, generation 5\nto go back to another version: handover upgrade arena -- CMD, with that version"
    }
    [exit 1]
    "#);
    server.still_serves();
}

#[test]
fn a_new_version_that_is_well_is_confirmed() {
    let scene = Scene::new();
    let server = scene.serve_parking("arena", "v1", LONG);
    scene.upgrade("arena", "serve", &[]);
    assert_snapshot!(scene.run(&["confirm", "arena"]), @"
    arena: process PID (build v2) serves, generation 2; its probation is over, process PID (build v1) does not take the node back any more
    [exit 0]
    ");
    server.handed_over();
    assert_snapshot!(scene.run(&["confirm", "arena"]), @r#"
    [stderr]
    handover: the node "arena" is not on probation: nothing was done
      now: process PID (build v2) serves, generation 2
      nobody could take the node back: nothing needs to be confirmed
    [exit 1]
    "#);
    assert_snapshot!(scene.run(&["rollback", "arena"]), @r#"
    [stderr]
    handover: the node "arena" is not on probation: nothing was done
      now: process PID (build v2) serves, generation 2
      to go back to another version: handover upgrade arena -- CMD, with that version
    [exit 1]
    "#);
    let scene = Scene::new();
    let server = scene.serve_parking("arena", "v1", LONG);
    assert_snapshot!(scene.upgrade("arena", "serve", &["--confirm"]), @"
    arena: process PID (build v2) serves, generation 2; blackout N µs (noise N µs), 0 connections moved, prepared in N ms
    confirmed: nobody takes the node back any more
    [exit 0]
    ");
    server.handed_over();
    let scene = Scene::new();
    let server = scene.serve_parking("arena", "v1", LONG);
    scene.upgrade("arena", "serve", &[]);
    assert_snapshot!(scene.run(&["confirm", "arena", "--json"]), @r#"
    {
      "node": "arena",
      "wish": "confirm",
      "done": true,
      "result": "confirmed",
      "exit_code": 0,
      "serving": {
        "pid": N,
        "build_id": "v2",
        "generation": 2
      },
      "successor_pid": N,
      "predecessor_pid": N,
      "waited_ms": N,
      "handover": null,
      "message": "arena: process PID (build v2) serves, generation 2; its probation is over, process PID (build v1) does not take the node back any more"
    }
    [exit 0]
    "#);
    server.handed_over();
}

#[test]
fn a_probation_that_is_watched_ends_well() {
    let scene = Scene::new();
    let server = scene.serve_parking("arena", "v1", Duration::from_secs(3));
    assert_snapshot!(scene.upgrade("arena", "serve", &["--watch"]), @"
    arena: process PID (build v2) serves, generation 2; blackout N µs (noise N µs), 0 connections moved, prepared in N ms
    [stderr]
    arena: process PID (build v2) serves, generation 2; on probation, watching
    [exit 0]
    ");
    server.handed_over();
    // Watched for a while, then confirmed.
    let scene = Scene::new();
    let server = scene.serve_parking("arena", "v1", LONG);
    assert_snapshot!(scene.upgrade("arena", "serve", &["--watch=0.2", "--confirm", "--json"]), @r#"
    {
      "node": "arena",
      "upgraded": true,
      "result": "upgraded",
      "exit_code": 0,
      "serving": {
        "pid": N,
        "build_id": "v2",
        "generation": 2
      },
      "started_pid": N,
      "exit_status": null,
      "signal": null,
      "waited_ms": N,
      "plan": null,
      "handover": {
        "sequence": 1,
        "outcome": "handed_over",
        "from_generation": 1,
        "to_generation": 2,
        "successor_pid": N,
        "age_ms": N,
        "prepare_ms": N,
        "give_back_ms": null,
        "blackout_us": N,
        "noise_us": N,
        "descriptors": 3,
        "connections": 0,
        "reason": ""
      },
      "confirmed": true,
      "probation": null,
      "message": "arena: process PID (build v2) serves, generation 2; blackout N µs (noise N µs), 0 connections moved, prepared in N ms\nconfirmed: nobody takes the node back any more"
    }
    [stderr]
    arena: process PID (build v2) serves, generation 2; on probation, watching
    [exit 0]
    "#);
    server.handed_over();
    // Watched for a while, and no longer.
    let scene = Scene::new();
    let server = scene.serve_parking("arena", "v1", LONG);
    assert_snapshot!(scene.upgrade("arena", "serve", &["--watch=0.2"]), @"
    arena: process PID (build v2) serves, generation 2; blackout N µs (noise N µs), 0 connections moved, prepared in N ms
      on probation for TIME more: process PID (build v1) is parked and takes the node back if it dies
      handover confirm arena  ends the probation: it is well
      handover rollback arena  gives the node back to process PID (build v1)
    [stderr]
    arena: process PID (build v2) serves, generation 2; on probation, watching
    [exit 0]
    ");
    scene.run(&["rollback", "arena"]);
    server.still_serves();
}

#[test]
fn a_new_version_that_dies_on_probation_is_reported() {
    let scene = Scene::new();
    let server = scene.serve_parking("arena", "v1", LONG);
    assert_snapshot!(scene.upgrade_that_fails("arena", "die", &["--watch"]), @r#"
    [stderr]
    arena: process PID (build v2) serves, generation 2; on probation, watching
    handover: the node "arena" was upgraded and went back on probation: process PID (sh) was ended by signal 6 (SIGABRT)
      recorded: the successor died on probation: taken back, for the new version is dead, N ms after that was decided
      now: process PID (build v1) serves, generation 3
      see its output; the node's clients are still connected
    [exit 1]
    "#);
    // For programs; and the old one parks and comes back as often as it has to.
    assert_snapshot!(scene.upgrade_that_fails("arena", "die", &["--watch", "--json"]), @r#"
    {
      "node": "arena",
      "upgraded": false,
      "result": "given_back",
      "exit_code": 1,
      "serving": {
        "pid": N,
        "build_id": "v1",
        "generation": 5
      },
      "started_pid": N,
      "exit_status": null,
      "signal": 6,
      "waited_ms": N,
      "plan": null,
      "handover": {
        "sequence": 4,
        "outcome": "taken_back",
        "from_generation": 4,
        "to_generation": 5,
        "successor_pid": N,
        "age_ms": N,
        "prepare_ms": N,
        "give_back_ms": N,
        "blackout_us": N,
        "noise_us": N,
        "descriptors": 0,
        "connections": 0,
        "reason": "the successor died on probation"
      },
      "confirmed": false,
      "probation": null,
      "message": "the node \"arena\" was upgraded and went back on probation: process PID (sh) was ended by signal 6 (SIGABRT)\nrecorded: the successor died on probation: taken back, for the new version is dead, N ms after that was decided\nnow: process PID (build v1) serves, generation 5\nsee its output; the node's clients are still connected"
    }
    [stderr]
    arena: process PID (build v2) serves, generation 4; on probation, watching
    [exit 1]
    "#);
    assert_snapshot!(scene.run(&["status", "arena"]), @"
    Node arena
      owner  process PID (build v1), for TIME
      lease  owned by slot 0, generation 5
      in progress  no handover
      since made  2 handovers completed, 0 called off
      id  ID

    Processes
      SLOT  PID  STATE  BUILD  SINCE  CONNECTIONS  IN FLIGHT  MUST END IN
      0  PID  serving  v1  TIME  0  0  -

    Last handovers (4, newest first)
      AGO  OUTCOME  GENERATION  PREPARE ms  BLACKOUT µs  NOISE µs  CONNECTIONS  REASON
      TIME  taken back  4 -> 5  -  -  -  0  the successor died on probation; back after N ms
      TIME  handed over  3 -> 4  N  N  N  0
      TIME  taken back  2 -> 3  -  -  -  0  the successor died on probation; back after N ms
      TIME  handed over  1 -> 2  N  N  N  0
    [exit 0]
    ");
    server.still_serves();
}

#[test]
fn a_new_version_that_hangs_on_probation_is_reported() {
    let scene = Scene::new();
    let server = scene.serve_strictly("arena", "v1", Duration::from_millis(400));
    assert_snapshot!(scene.upgrade_that_fails("arena", "hang-later", &["--watch"]), @r#"
    [stderr]
    arena: process PID (build v2) serves, generation 2; on probation, watching
    handover: the node "arena" was upgraded and went back on probation: process PID (sh) was ended by signal 9 (SIGKILL)
      recorded: the successor took no pass for longer than the watchdog allows: taken back, for the new version is dead, N ms after that was decided
      now: process PID (build v1) serves, generation 3
      see its output; the node's clients are still connected
    [exit 1]
    "#);
    server.still_serves();
}

#[test]
fn a_new_version_that_gives_back_is_reported() {
    let scene = Scene::new();
    let server = scene.serve_parking("arena", "v1", LONG);
    assert_snapshot!(scene.upgrade_that_fails("arena", "give-back", &["--watch"]), @r#"
    [stderr]
    arena: process PID (build v2) serves, generation 2; on probation, watching
    handover: the node "arena" was upgraded and went back on probation: process PID (sh) exited with status 0
      recorded: the successor gave it back: given back by the new version, N ms after that was decided, blackout N µs
      now: process PID (build v1) serves, generation 3
      see its output; the node's clients are still connected
    [exit 1]
    "#);
    server.still_serves();
}

#[test]
fn one_that_is_stopped_is_rolled_back_over_its_dead_body() {
    let scene = Scene::new();
    let server = scene.serve_strictly("arena", "v1", Duration::ZERO);
    scene.upgrade("arena", "serve-forked", &[]);
    scene.signal_owner("arena", Signal::SIGSTOP);
    assert_snapshot!(scene.run(&["rollback", "arena"]), @"
    arena: process PID (build v1) serves, generation 3; taken back, for process PID (build v2) is dead, N ms after that was decided
    [exit 0]
    ");
    server.still_serves();
}

#[test]
fn a_rollback_that_is_killed_is_said_or_not_and_nothing_between() {
    let scene = Scene::new();
    let server = scene.serve_parking("arena", "v1", LONG);
    scene.upgrade("arena", "serve-forked", &[]);
    scene.serving("arena");
    // The new one cannot answer, so the word stands for as long as the test wants.
    scene.signal_owner("arena", Signal::SIGSTOP);
    let mut command = scene.begin(&["rollback", "arena", "--timeout", "600"]);
    scene.until("arena", "the return", |status| {
        status.phase == handover::control::Phase::Returning
    });
    command.kill().expect("a signal");
    command.wait().expect("reaped");
    assert_snapshot!(scene.run(&["rollback", "arena", "--timeout", "0.1"]), @r#"
    [stderr]
    handover: the node "arena" was not rolled back within TIME
      process PID (build v1) has heard it and waits for process PID (build v2) to let go, or for its death
      now: process PID (build v2) serves, generation 2
      see `handover status arena`
    [exit 1]
    "#);
    assert_snapshot!(scene.run(&["status", "arena"]), @"
    Node arena
      owner  process PID (build v2), for TIME
      lease  owned by slot 1, generation 2
      in progress  no handover
      probation  the node goes back to process PID (build v1)
      since made  1 handover completed, 0 called off
      id  ID

    Processes
      SLOT  PID  STATE  BUILD  SINCE  CONNECTIONS  IN FLIGHT  MUST END IN
      0  PID  parked  v1  TIME  0  0  -
      1  PID  serving  v2  TIME  0  0  -

    Last handovers (1, newest first)
      AGO  OUTCOME  GENERATION  PREPARE ms  BLACKOUT µs  NOISE µs  CONNECTIONS  REASON
      TIME  handed over  1 -> 2  N  N  N  0
    [exit 0]
    ");
    scene.signal_owner("arena", Signal::SIGCONT);
    scene.until("arena", "the way back", |status| {
        let back = status.history.iter().filter(|r| r.outcome == Outcome::GivenBack);
        let serving = status
            .owner
            .as_ref()
            .is_some_and(|o| o.state == ParticipantState::Serving);
        serving && status.lease.generation() == 3 && back.count() == 1
    });
    server.still_serves();
}

#[test]
fn a_word_on_a_probation_that_is_not_there() {
    let scene = Scene::new();
    assert_snapshot!(scene.run(&["rollback"]), @"
    [stderr]
    error: the following required arguments were not provided:
      <NODE>

    Usage: handover rollback --directory <DIR> <NODE>

    For more information, try '--help'.
    [exit 2]
    ");
    assert_snapshot!(scene.run(&["upgrade", "arena", "--watch=soon", "--", "true"]), @"
    [stderr]
    error: invalid value 'soon' for '--watch[=<SECONDS>]': a number of seconds is wanted, more than 0 and at most 604800

    For more information, try '--help'.
    [exit 2]
    ");
    assert_snapshot!(scene.run(&["rollback", "arena"]), @r#"
    [stderr]
    handover: there is no node "arena" in DIR
      there are no nodes in it
      a node is made by the first start of its server; --directory looks elsewhere
    [exit 4]
    "#);
    let server = scene.serve("arena", "v1");
    assert_snapshot!(scene.run(&["confirm", "arena"]), @r#"
    [stderr]
    handover: the node "arena" is not on probation: nothing was done
      now: process PID (build v1) serves, generation 1
      nobody could take the node back: nothing needs to be confirmed
    [exit 1]
    "#);
    scene.upgrade("arena", "serve", &[]);
    server.handed_over();
    scene.kill_owner("arena");
    assert_snapshot!(scene.run(&["confirm", "arena"]), @r#"
    [stderr]
    handover: nobody serves the node "arena": there is nothing to be confirmed
      now: nobody serves
      to bring it back: handover upgrade arena --start -- CMD, with a version that works
    [exit 3]
    "#);
    assert_snapshot!(scene.run(&["rollback", "arena", "--json"]), @r#"
    {
      "node": "arena",
      "wish": "rollback",
      "done": false,
      "result": "not_on_probation",
      "exit_code": 3,
      "serving": null,
      "successor_pid": null,
      "predecessor_pid": null,
      "waited_ms": N,
      "handover": null,
      "message": "nobody serves the node \"arena\": there is nothing to be rolled back\nnow: nobody serves\nto bring it back: handover upgrade arena --start -- CMD, with a version that works"
    }
    [exit 3]
    "#);
}
