//! What the tests of the command play with: a directory, servers, actors, filters.

use handover::Status;
use handover::control::{ParticipantState, Phase};
use handover::os::dir::NodeDir;
use handover::os::pidfd::{Pidfd, ProcessId};
use handover::{Builder, Deadlines, Node, Parked, Stop};
use nix::sys::signal::Signal;
use shmstate::{Cell, Map, Region};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Makes an actor of this binary, and names its part.
pub(crate) const ROLE: &str = "HANDOVER_TEST_ROLE";
/// The build id of an actor.
const BUILD: &str = "v2";
/// How long an actor lives at most; it ends with its scene's directory, too.
pub(crate) const LIFETIME: Duration = Duration::from_secs(120);
/// How long a test waits for what must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const TICK: Duration = Duration::from_millis(2);
const CAPACITY: u64 = 4 << 20;
/// In the scene's directory: actors that wait for it go wrong now.
const STRIKE: &str = ".strike";
/// A probation that ends by an event, not by time.
pub(crate) const LONG: Duration = Duration::from_secs(600);
/// The node of all tests; it differs by its directory.
const NODE: &str = "arena";

/// A directory of nodes. Dropped, it leaves no process and no shared memory behind.
pub(crate) struct Scene {
    dir: tempfile::TempDir,
    _filters: insta::internals::SettingsBindDropGuard,
}

/// A node that a thread of this process serves. Dropped, it stops the node.
pub(crate) struct Server {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<bool>>,
    parks: bool,
}

/// What a server does beside serving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// It drains when it has handed over.
    Plain,
    /// It parks then.
    Parks,
    /// On [`STRIKE`] it dies in the middle of a transaction.
    Dies,
    /// On [`STRIKE`] it never gives its pass back.
    Hangs,
    /// On [`STRIKE`] it gives the node back.
    GivesBack,
}

/// What is another thing in each run, and what stands for it in a snapshot.
const FILTERS: &[(&str, &str)] = &[
    (r"\b[0-9a-f]{32}\b", "ID"),
    (r"process \d+", "process PID"),
    (r"(?m)^(  \d  )\d+  ", "${1}PID  "),
    (r"(?m)^(arena  )\d+  ", "${1}PID  "),
    (
        r#""(\w*pid|start_time|\w*age_ms|left_ms|waited_ms|made_at_unix_ns|commits|taken_bytes|heap_bytes|growth_steps)": \d+"#,
        r#""$1": N"#,
    ),
    (r#""give_back_ms": [\d.]+"#, r#""give_back_ms": N"#),
    (r#""(prepare_ms|blackout_us|noise_us)": ([\d.]+|null)"#, r#""$1": N"#),
    (r"\b\d+ committed", "N committed"),
    (r"\b\d+ small steps?", "N small steps"),
    (r"(?m)^  (taken|heap)  .*", "  $1  SIZE"),
    (r"(?m)(region  arena  [\d.]+ MiB)  .*", "$1  SIZE"),
    (r"\b\d+\.\d (µs|ms)", "N $1"),
    // A successor that is woken late misses the rehearsal.
    (r"noise not measured", "noise N µs"),
    // A handover's row: prepare, blackout and noise follow the generations.
    (r"(\d+ -> \d+)  [\d.]+  [\d.]+  ([\d.]+|-)  ", "$1  N  N  N  "),
    // One that was given back: only the blackout is measured.
    (r"(\d+ -> \d+)  -  [\d.]+  -  ", "$1  -  N  -  "),
    // Whether it is seen on its way is chance.
    (r"(?m)^.*; the node goes back\n", ""),
    (r"\b\d+ (ms|s|min)\b", "TIME"),
    // Who takes up what a dead owner left may not say when.
    (r"inherited, TIME ago", "inherited"),
];

impl Scene {
    pub(crate) fn new() -> Self {
        let mut settings = insta::Settings::clone_current();
        for (pattern, stand_in) in FILTERS {
            settings.add_filter(pattern, *stand_in);
        }
        Self::with(settings)
    }

    /// A scene in which nothing depends on chance.
    pub(crate) fn unfiltered() -> Self {
        Self::with(insta::Settings::clone_current())
    }

    fn with(settings: insta::Settings) -> Self {
        let dir = tempfile::tempdir().expect("tempdir");
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o700)).expect("chmod");
        let _filters = settings.bind_to_scope();
        Self { dir, _filters }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn close(&self, node: &str) {
        std::fs::set_permissions(self.path().join(node), PermissionsExt::from_mode(0o700)).expect("chmod");
    }

    /// Name of a region's object.
    pub(crate) fn object(&self, node: &str, region: &str) -> String {
        let dir = NodeDir::find(self.path(), node).expect("dir").expect("a node");
        format!("handover-{}-{region}", dir.read_id().expect("id").expect("an id"))
    }

    /// Serves a node until the server is dropped or handed over.
    pub(crate) fn serve(&self, node: &str, build: &str) -> Server {
        self.serve_as(Manner::Plain, builder(node, build))
    }

    /// The same, but parks when it has handed over.
    pub(crate) fn serve_parking(&self, node: &str, build: &str, probation: Duration) -> Server {
        let mut deadlines = Deadlines::default();
        deadlines.probation = probation;
        deadlines.give_back = LONG;
        self.serve_as(Manner::Parks, builder(node, build).deadlines(deadlines))
    }

    /// The same with a probation that is longer than any test, but a successor that does not answer is soon given up, and one that takes no
    /// pass for so long, if `watchdog` is not 0.
    pub(crate) fn serve_strictly(&self, node: &str, build: &str, watchdog: Duration) -> Server {
        let mut deadlines = Deadlines::default();
        deadlines.probation = LONG;
        deadlines.watchdog = watchdog;
        deadlines.give_back = Duration::from_millis(200);
        self.serve_as(Manner::Parks, builder(node, build).deadlines(deadlines))
    }

    fn serve_as(&self, manner: Manner, builder: Builder) -> Server {
        let stop = Arc::new(AtomicBool::new(false));
        let (ready, serves) = mpsc::channel();
        let builder = builder.directory(self.path().into());
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            serve(builder, manner, &|| stopped.load(Ordering::Relaxed), || {
                let _ = ready.send(());
            })
        });
        let server = Server {
            stop,
            thread: Some(thread),
            parks: manner == Manner::Parks,
        };
        serves.recv_timeout(PATIENCE).expect("the server serves");
        server
    }

    /// Runs the command in this scene and tells all that it did, filtered.
    pub(crate) fn run(&self, args: &[&str]) -> String {
        self.filter(&self.command(args).output().expect("the command runs"))
    }

    /// Upgrades `node` to an actor.
    pub(crate) fn upgrade(&self, node: &str, role: &str, options: &[&str]) -> String {
        // The actor must not keep the test's pipe open, nor write the test harness's words into it.
        let (part, script) = match role {
            "serve-forked" => ("serve", r#"exec >/dev/null 2>&1; "$0" --exact actor --nocapture; true"#),
            "serve-daemon" => (
                "serve",
                r#"setsid "$0" --exact actor --nocapture >/dev/null 2>&1 & true"#,
            ),
            part => (part, r#"exec "$0" --exact actor --nocapture >/dev/null 2>&1"#),
        };
        let mut command = self.actor(node, part, script, options);
        self.filter(&command.output().expect("the command runs"))
    }

    /// Upgrades `node` to an actor that goes wrong as soon as the command says that it watches.
    pub(crate) fn upgrade_that_fails(&self, node: &str, role: &str, options: &[&str]) -> String {
        let script = r#"exec "$0" --exact actor --nocapture >/dev/null 2>&1"#;
        let mut command = self.actor(node, role, script, options);
        let mut command = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command runs");
        let mut stderr = String::new();
        for line in BufReader::new(command.stderr.take().expect("piped")).lines() {
            let line = line.expect("UTF-8");
            if line.ends_with("watching") {
                std::fs::write(self.path().join(STRIKE), "").expect("a file");
            }
            stderr += &format!("{line}\n");
        }
        let mut output = command.wait_with_output().expect("reaped");
        output.stderr = stderr.into_bytes();
        let _ = std::fs::remove_file(self.path().join(STRIKE));
        self.filter(&output)
    }

    /// Begins a command and leaves it running.
    pub(crate) fn begin(&self, args: &[&str]) -> Child {
        let mut command = self.command(args);
        command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the command runs")
    }

    /// Waits for what the node's state is to be.
    pub(crate) fn until(&self, node: &str, what: &str, is: impl Fn(&Status) -> bool) {
        let end = Instant::now() + PATIENCE;
        loop {
            let status = handover::status(self.path(), node).expect("status");
            if is(&status) {
                return;
            }
            assert!(Instant::now() < end, "{what} never came: {status:?}");
            std::thread::sleep(TICK);
        }
    }

    /// Waits until the owner itself says that it serves, which is soon after it does.
    pub(crate) fn serving(&self, node: &str) {
        self.until(node, "an owner that says so", says_so);
    }

    /// Sends a signal to the owner of a node.
    pub(crate) fn signal_owner(&self, node: &str, signal: Signal) {
        let status = handover::status(self.path(), node).expect("status");
        let owner = status.owner.expect("an owner").process;
        assert_ne!(owner.pid, std::process::id());
        let pid = nix::unistd::Pid::from_raw(owner.pid.cast_signed());
        nix::sys::signal::kill(pid, signal).expect("a signal");
    }

    fn actor(&self, node: &str, part: &str, script: &str, options: &[&str]) -> Command {
        let exe = std::env::current_exe().expect("this binary");
        let mut args = vec!["upgrade", node];
        args.extend(options);
        args.extend(["--", "sh", "-c", script]);
        let mut command = self.command(&args);
        command.arg(exe).env(ROLE, part);
        command
    }

    /// Ends the command as Ctrl-C does, by a signal to its process group, while its successor prepares; the successor must
    /// not notice.
    pub(crate) fn interrupt_upgrade(&self, node: &str) {
        let script = r#"exec "$0" --exact actor --nocapture >/dev/null 2>&1"#;
        let mut command = self.actor(node, "hang", script, &[]);
        let mut command = command.process_group(0).spawn().expect("the command runs");
        let end = Instant::now() + PATIENCE;
        let successor = loop {
            let status = handover::status(self.path(), node).expect("status");
            let preparing = status.participants.iter().find(|p| p.build_id == BUILD);
            if let Some(successor) = preparing {
                break successor.process;
            }
            assert!(Instant::now() < end, "the successor never came");
            std::thread::sleep(TICK);
        };
        let successor = Actor(successor);
        let group = nix::unistd::Pid::from_raw(command.id().cast_signed());
        let signal = interrupt();
        nix::sys::signal::killpg(group, signal).expect("a signal");
        let ended = command.wait().expect("reaped");
        assert_eq!(ended.signal(), Some(signal as i32), "the command ended by {signal}");
        assert!(successor.0.is_alive().expect("proc"), "the successor lives on");
        let own = nix::unistd::Pid::from_raw(successor.0.pid.cast_signed());
        assert_eq!(nix::unistd::getsid(Some(own)).expect("a session"), own);
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_handover"));
        let (name, rest) = args.split_first().expect("a command");
        command.arg(name);
        if ["plan", "upgrade", "status", "inspect", "schema", "rollback", "confirm"].contains(name) {
            command.arg("--directory").arg(self.path());
        }
        command.args(rest);
        command
            .env_remove("COLUMNS")
            .env_remove(ROLE)
            .env("HANDOVER_DIR", "/nonexistent");
        command
    }

    /// Output and exit code, with all that is another thing in each run made the same.
    pub(crate) fn filter(&self, output: &Output) -> String {
        let mut text = String::from_utf8(output.stdout.clone()).expect("UTF-8");
        let problem = String::from_utf8_lossy(&output.stderr);
        if !problem.is_empty() {
            text += &format!("[stderr]\n{problem}");
        }
        text += &format!("[exit {}]", output.status.code().unwrap_or(-1));
        let text = text.replace(&self.path().display().to_string(), "DIR");
        if text.starts_with('{') || text.contains("Usage:") {
            return text.lines().map(|line| format!("{}\n", line.trim_end())).collect();
        }
        // How wide a column is depends on pids and times.
        let lines = text.lines().map(|line| {
            let words: Vec<&str> = line.split("  ").map(str::trim).filter(|w| !w.is_empty()).collect();
            let indent = if line.starts_with("  ") { "  " } else { "" };
            format!("{indent}{}\n", words.join("  "))
        });
        lines.collect()
    }

    /// Waits until only the owner takes part, and says so: who handed over has drained.
    pub(crate) fn settled(&self, node: &str) {
        self.until(node, "an owner alone", |status| {
            status.participants.len() == 1 && says_so(status)
        });
    }

    /// Kills the owner of a node and waits for its death.
    pub(crate) fn kill_owner(&self, node: &str) {
        let status = handover::status(self.path(), node).expect("status");
        let owner = status.owner.expect("an owner").process;
        kill(owner);
    }
}

fn says_so(status: &Status) -> bool {
    let owner = status.owner.as_ref();
    owner.is_some_and(|owner| owner.state == ParticipantState::Serving)
}

impl Drop for Scene {
    fn drop(&mut self) {
        for node in handover::nodes(self.path()).unwrap_or_default() {
            if let Ok(status) = handover::status(self.path(), &node) {
                let actors = status.participants.iter().map(|p| p.process);
                actors.filter(|p| p.pid != std::process::id()).for_each(kill);
            }
            if let Ok(Some(dir)) = NodeDir::find(self.path(), &node)
                && let Ok(Some(id)) = dir.read_id()
            {
                let prefix = format!("handover-{id}");
                for entry in std::fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
                    if entry.file_name().to_string_lossy().starts_with(&prefix) {
                        let _ = std::fs::remove_file(entry.path());
                    }
                }
            }
        }
    }
}

/// A process that does not outlive the test.
struct Actor(ProcessId);

impl Drop for Actor {
    fn drop(&mut self) {
        kill(self.0);
    }
}

fn kill(process: ProcessId) {
    if let Ok(Some(held)) = Pidfd::open(process) {
        let _ = held.kill();
        let _ = held.wait_dead(handover::os::clock::Deadline::after(PATIENCE));
    }
}

impl Server {
    /// The node was handed over, and this process has drained.
    pub(crate) fn handed_over(mut self) {
        let thread = self.thread.take().expect("running");
        assert!(thread.join().expect("the server"), "it was to hand over");
    }

    /// It serves still, and stops now.
    pub(crate) fn still_serves(&self) {
        let thread = self.thread.as_ref().expect("running");
        assert!(!thread.is_finished(), "it was to serve on");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let handed_over = thread.join();
            if !std::thread::panicking() && !self.parks {
                assert!(!handed_over.expect("the server"), "nobody was to take over");
            }
        }
    }
}

fn builder(node: &str, build: &str) -> Builder {
    Node::builder(node).build_id(build).tick(TICK).region("world", CAPACITY)
}

/// Serves until `stop`, and tells whether the node was handed over for good.
fn serve(builder: Builder, manner: Manner, stop: &dyn Fn() -> bool, serves: impl FnOnce()) -> bool {
    let mut starting = builder.start().expect("start");
    let mut serves = Some(serves);
    loop {
        let mut world = starting.region("world").expect("the region");
        let node = starting.ready().expect("ready");
        if let Some(serves) = serves.take() {
            tick(&node, &mut world).expect("a first tick");
            serves();
        }
        let Some(over) = turns(&node, &mut world, manner, stop) else {
            node.stop(vec![world], true).expect("stop");
            return false;
        };
        match over {
            Stop::HandedOver if manner == Manner::Parks => match node.park_unless(vec![world], stop).expect("park") {
                Parked::Back(back) => starting = *back,
                Parked::Over(_) => return true,
            },
            Stop::HandedOver | Stop::GivenBack => {
                let _ = node.drain(vec![world]);
                return true;
            }
            other => panic!("{other}"),
        }
    }
}

/// Ticks until the node is another's; `None` if it was told to stop.
fn turns(node: &Node, world: &mut Region, manner: Manner, stop: &dyn Fn() -> bool) -> Option<Stop> {
    while !stop() {
        std::thread::sleep(TICK);
        if handover::runtime_base().join(STRIKE).exists() {
            strike(node, world, manner);
        }
        // A calm server, so that a look finds no transaction; a handover finds a busy one.
        let calm = node.control().phase() == Phase::None;
        let step = if calm {
            node.enter().map(drop)
        } else {
            tick(node, world)
        };
        if let Err(stop) = step {
            return Some(stop);
        }
    }
    None
}

fn strike(node: &Node, world: &mut Region, manner: Manner) {
    match manner {
        Manner::Plain | Manner::Parks => {}
        Manner::Dies | Manner::Hangs => {
            let pass = node.enter().expect("a pass");
            let mut tx = world.begin(&pass).expect("a transaction");
            let ticks: Cell<u64> = Cell::open_or_create(&mut tx, "ticks", &0).expect("the cell");
            ticks.set(&mut tx, &1000).expect("a change");
            if manner == Manner::Dies {
                // The crash is no surprise to anybody: no core file.
                let none = rustix::process::Rlimit {
                    current: Some(0),
                    maximum: Some(0),
                };
                rustix::process::setrlimit(rustix::process::Resource::Core, none).expect("a limit");
                std::process::abort();
            }
            std::thread::sleep(LIFETIME);
        }
        // The second time there is nobody to give it to.
        Manner::GivesBack => drop(node.give_back("the scores are wrong")),
    }
}

/// One transaction: the first makes the tables, and none changes their size after it.
fn tick(node: &Node, world: &mut Region) -> Result<(), Stop> {
    let pass = node.enter()?;
    let failed = |e: shmstate::Error| Stop::Failed(e.into());
    let mut tx = world.begin(&pass).map_err(failed)?;
    let ticks: Cell<u64> = Cell::open_or_create(&mut tx, "ticks", &0).map_err(failed)?;
    let players: Map<u64, String> = Map::open_or_create(&mut tx, "players").map_err(failed)?;
    ticks.set(&mut tx, &7).map_err(failed)?;
    players.insert(&mut tx, &1, &"Ada".to_owned()).map_err(failed)?;
    players
        .insert(&mut tx, &2, &"a longer name than Ada's".to_owned())
        .map_err(failed)?;
    tx.commit().map_err(failed)
}

/// The part of an actor. Its node is in `$HANDOVER_DIR`, which the command has to pass on.
pub(crate) fn play(role: &str) {
    let end = Instant::now() + LIFETIME;
    let scene = handover::runtime_base();
    let over = move || Instant::now() >= end || !scene.exists();
    let part = |manner| {
        serve(builder(NODE, BUILD), manner, &over, || {});
    };
    match role {
        "serve" => part(Manner::Plain),
        "die" => part(Manner::Dies),
        "hang-later" => part(Manner::Hangs),
        "give-back" => part(Manner::GivesBack),
        "refuse" => {
            let starting = builder(NODE, BUILD).start().expect("start");
            let _ = starting.refuse("the table players has another shape");
            std::process::exit(4);
        }
        "hang" => {
            let _starting = builder(NODE, BUILD).start().expect("start");
            while !over() {
                std::thread::sleep(TICK);
            }
        }
        "exit" => std::process::exit(3),
        other => panic!("no role {other}"),
    }
}

/// The signal of Ctrl-C; where these tests run in the background of a shell without job control, which lets its children
/// ignore that one, SIGTERM.
fn interrupt() -> nix::sys::signal::Signal {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = u64::from_str_radix(ignored.expect("SigIgn").trim(), 16).expect("a mask");
    let sigint = nix::sys::signal::Signal::SIGINT;
    if ignored & 1 << (sigint as i32 - 1) == 0 {
        sigint
    } else {
        nix::sys::signal::Signal::SIGTERM
    }
}
