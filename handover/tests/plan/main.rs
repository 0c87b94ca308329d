//! `handover plan`, and the plan of `handover upgrade`: real nodes, real programs that describe themselves, or do not.
//!
//! The programs are this binary, started again with [`PROGRAM`] in its environment. Each test has a directory of its own, and [`Scene`] ends what
//! serves in it and removes shared memory also when the test fails.
#![cfg(feature = "cli")]

#[path = "../scene/mod.rs"]
#[allow(dead_code, reason = "shared with the tests of the other commands")]
mod scene;

mod describe;
mod programs;
mod refused;
mod upgrade;

use handover::Status;
use handover::control::ParticipantState;
use insta::assert_snapshot;
use programs::PROGRAM;
use scene::Scene;
use serde_json::Value;
use std::process::{Child, Command, Stdio};

/// A node that a program of these tests serves, until the scene is dropped.
pub(crate) struct Served {
    pub(crate) scene: Scene,
    server: Child,
}

/// What a command left.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Served {
    pub(crate) fn by(program: &str) -> Self {
        let scene = Scene::new();
        let mut server = programs::command(program);
        let server = server
            .env("HANDOVER_DIR", scene.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("a server");
        let served = Self { scene, server };
        served.until("a server that serves", |status| {
            status
                .participants
                .iter()
                .any(|row| row.state == ParticipantState::Serving)
                && status.alive
                && made(&served.scene)
        });
        served
    }

    pub(crate) fn until(&self, what: &str, is: impl Fn(&Status) -> bool) {
        let end = std::time::Instant::now() + scene::PATIENCE;
        while !handover::status(self.scene.path(), "arena").is_ok_and(|status| is(&status)) {
            assert!(std::time::Instant::now() < end, "{what} never came");
            std::thread::sleep(scene::TICK);
        }
    }

    pub(crate) fn owner(&self) -> u32 {
        self.status().owner.expect("an owner").process.pid
    }

    pub(crate) fn status(&self) -> Status {
        handover::status(self.scene.path(), "arena").expect("status")
    }

    /// Runs a command on the node with a program of these tests as CMD.
    pub(crate) fn command(&self, args: &[&str], program: &str) -> Command {
        let (name, options) = args.split_first().expect("a command");
        let exe = std::env::current_exe().expect("this binary");
        let mut all = vec![*name, "arena"];
        all.extend(options);
        all.extend(["--", exe.to_str().expect("UTF-8"), "--exact", "program", "--nocapture"]);
        let mut command = self.scene.command(&all);
        command.env(PROGRAM, program);
        command
    }

    pub(crate) fn run(&self, args: &[&str], program: &str) -> Ran {
        ran(&mut self.command(args, program))
    }

    pub(crate) fn plan(&self, program: &str) -> (i32, Value) {
        let Ran { code, out, err } = self.run(&["plan", "--json"], program);
        let plan = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}{err}"));
        (code, plan)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may be another one that serves by now; the scene ends that.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

pub(crate) fn ran(command: &mut Command) -> Ran {
    let output = command.output().expect("the command runs");
    Ran {
        code: output.status.code().expect("it ends by itself"),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Whether the server has made its tables.
fn made(scene: &Scene) -> bool {
    shmstate::Inspection::of(&scene.object("arena", "world")).is_ok_and(|found| found.tables.len() >= 2)
}

/// The entry of a program; an ordinary run passes by.
#[test]
fn program() {
    if let Ok(program) = std::env::var(PROGRAM) {
        programs::play(&program);
    }
}

/// What a plan says of a table.
#[track_caller]
pub(crate) fn table<'p>(plan: &'p Value, name: &str) -> &'p Value {
    let tables = plan["tables"].as_array().expect("a list");
    tables
        .iter()
        .find(|table| table["table"] == name)
        .unwrap_or_else(|| panic!("{name} in {plan}"))
}

#[test]
fn help() {
    let scene = Scene::unfiltered();
    assert_snapshot!(scene.run(&["plan", "--help"]), @"
    Show what an upgrade would do, before it is done: tables, descriptors, the way back.

    Nothing is changed, and neither the node's processes nor its clients notice.

    Usage: handover plan [OPTIONS] <NODE> -- <CMD>...

    Arguments:
      <NODE>
              Name of the node

      <CMD>...
              The new version's program and its arguments, as `upgrade` would start it

    Options:
          --directory <DIR>
              Where the nodes' directories are, instead of the usual place

          --timeout <SECONDS>
              How long CMD may take to describe itself; then it is killed with all that it has started

              [default: 10]

          --ask-anyway
              Run CMD also if its file does not show that it only describes itself: a script that ends
              in the server. One that does not know HANDOVER_DESCRIBE starts for real, with a node of
              its own, until the time is over

          --json
              Print one JSON object

      -h, --help
              Print help (see a summary with '-h')

    Examples:
      handover plan arena -- ./arena-v2 --port 4000
      handover plan arena --json -- ./arena-v2 | jq .way_back
      handover plan arena -- ./arena-v2 && handover upgrade arena -- ./arena-v2

    CMD is run with HANDOVER_DESCRIBE in its environment, and ends when it has said what it declares.
    It is not run if its file does not show that it can do that.

    What a table is: unchanged; migrates, by the steps that CMD declares; new; orphaned, which CMD does
    not open; refused. Records migrate while CMD serves, after the cutover; SWEEP is what a sweep of all
    of them costs one thread, if they are small. Not known are: descriptors that were kept at run time,
    and all of an owner with an older library; regions in a directory that CMD does not name.

    Exit codes:
      0  CMD would serve, and the old version could take the node back
      1  CMD would be refused
      2  wrong usage
      3  nobody serves
      4  it could not be found out: CMD does not describe itself, or not the tables of a region
      5  CMD would serve, and there is no way back after cutover
    [exit 0]
    ");
}

#[test]
fn a_plan_says_what_becomes_of_tables_and_sockets() {
    let node = Served::by("v1");
    let shown = node.command(&["plan"], "v2").output().expect("the command runs");
    assert_snapshot!(node.scene.filter(&shown), @"
    Plan for arena: process PID (build v1) serves, CMD is build v2
      TABLE  KIND  WHAT  RECORDS  TO MIGRATE  SWEEP  WAY BACK
      world/clock  cell  unchanged  1  -  -  -
      world/players  map  migrates 1 -> 2  5  5  TIME  yes
      world/fresh  slab  new  -  -  -  -
      world/old  queue  orphaned  0  -  -  -
      regions  kept world
      descriptors  kept game; new metrics (127.0.0.1:0); changed admin (127.0.0.2:0); dropped, unless CMD claims them: feed
      result  there is a way back while the old version is parked
    [exit 0]
    ");
    let (code, plan) = node.plan("v2");
    assert_eq!(
        (code, &plan["verdict"], &plan["way_back"]),
        (0, &"works".into(), &"yes".into())
    );
    assert_eq!(plan["serving"]["pid"], node.owner());
    let players = table(&plan, "players");
    assert_eq!(
        (&players["fate"], &players["way_back"]),
        (&"migrated".into(), &"yes".into())
    );
    assert_eq!(
        (&players["from_versions"], &players["to_version"]),
        (&serde_json::json!([1]), &2.into())
    );
    assert_eq!((&players["records"], &players["to_migrate"]), (&5.into(), &5.into()));
    for (name, fate) in [("clock", "unchanged"), ("old", "orphaned"), ("fresh", "new")] {
        assert_eq!(table(&plan, name)["fate"], fate, "{name}");
    }
    let sockets = &plan["descriptors"];
    assert_eq!(sockets["known"], true);
    assert_eq!(
        (
            &sockets["kept"],
            &sockets["new"],
            &sockets["changed"],
            &sockets["dropped"]
        ),
        (
            &serde_json::json!(["game"]),
            &serde_json::json!(["metrics"]),
            &serde_json::json!(["admin"]),
            &serde_json::json!(["feed"])
        )
    );
    // The node served all the while, and nobody joined it.
    assert_eq!((node.status().participants.len(), node.status().history.len()), (1, 0));
}

#[test]
fn the_same_program_changes_nothing() {
    let node = Served::by("v1");
    let (code, plan) = node.plan("v1");
    assert_eq!((code, &plan["way_back"]), (0, &"not_needed".into()));
    assert!(
        plan["tables"]
            .as_array()
            .expect("a list")
            .iter()
            .all(|table| table["fate"] == "unchanged")
    );
    assert_eq!(plan["descriptors"]["kept"].as_array().expect("a list").len(), 3);
}

#[test]
fn no_way_back_and_a_refusal_have_exit_codes_of_their_own() {
    let node = Served::by("v1");
    let Ran { code, out, err } = node.run(&["plan"], "v2-one-way");
    assert_eq!(code, 5, "{out}{err}");
    assert!(
        out.contains("no way back after cutover") && err.contains("no way back after cutover"),
        "{out}{err}"
    );
    let (code, plan) = node.plan("v2-one-way");
    assert_eq!(
        (code, &plan["exit_code"], &plan["verdict"]),
        (5, &5.into(), &"one_way".into())
    );
    let shown = node.command(&["plan"], "other").output().expect("the command runs");
    assert_snapshot!(node.scene.filter(&shown), @r#"
    Plan for arena: process PID (build v1) serves, CMD is build other
      TABLE  KIND  WHAT  RECORDS  TO MIGRATE  SWEEP  WAY BACK
      world/players  map  refused  5  -  -  -
      world/clock  cell  orphaned  1  -  -  -
      world/old  queue  orphaned  0  -  -  -
      regions  kept world
      descriptors  kept game; dropped, unless CMD claims them: admin, feed
      result  CMD would be refused: it cannot open world/players

      table "players" holds records of another shape than this program expects
      stored: Player version 1, fingerprint ID
      expected: Player version 1, fingerprint ID
      differences, field: stored -> expected
      score: u32 -> String (another type)
      a migration converts it; or keep the old type and add a field of the new one
      what helps: the shape changed and the declared version did not: raise #[schema(version = …)] above 1 and register a migration from version 1, or take the change back.
    [stderr]
    handover: CMD would be refused: it cannot open world/players
    [exit 1]
    "#);
    let (code, plan) = node.plan("other");
    assert_eq!((code, &table(&plan, "players")["fate"]), (1, &"refused".into()));
}

#[test]
fn after_an_upgrade_the_plan_knows_what_is_left_and_the_way_back_down() {
    let node = Served::by("v1");
    let Ran { code, err, .. } = node.run(&["upgrade"], "v2");
    assert_eq!(code, 0, "{err}");
    // Up again: five are of version 1 still. Down again: by the twins that version 2 keeps.
    let (code, plan) = node.plan("v2");
    let players = table(&plan, "players");
    assert_eq!(
        (code, &players["fate"], &players["to_migrate"]),
        (0, &"unchanged".into(), &5.into())
    );
    assert_eq!(plan["way_back"], "not_needed");
    assert_eq!(
        plan["descriptors"]["kept"],
        serde_json::json!(["game", "admin", "metrics"])
    );
    let (code, plan) = node.plan("v1");
    let players = table(&plan, "players");
    assert_eq!(
        (code, &players["fate"], &players["way_back"]),
        (0, &"migrated".into(), &"yes".into())
    );
    assert_eq!(table(&plan, "old")["fate"], "unchanged");
    assert_eq!(table(&plan, "fresh")["fate"], "orphaned");
}

#[test]
fn without_a_node_or_an_owner_there_is_nothing_to_compare_with() {
    let scene = Scene::new();
    let exe = std::env::current_exe().expect("this binary");
    let plan = || ran(scene.command(&["plan", "arena", "--"]).arg(&exe));
    let Ran { code, err, .. } = plan();
    assert_eq!(code, 4, "{err}");
    assert!(err.contains("there is no node \"arena\""), "{err}");
    std::fs::create_dir(scene.path().join("arena")).expect("a node that never ran");
    scene.close("arena");
    let Ran { code, err, .. } = plan();
    assert_eq!(code, 3, "{err}");
    assert!(err.contains("CMD was not run"), "{err}");
}
