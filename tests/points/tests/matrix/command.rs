//! The commands, killed and stopped at their points: what `upgrade` started takes over all the same, and it never ends an owner; what was wished is
//! heard or not said.

use crate::course::{CLIENTS, settle, whole};
use crate::judge::{Holds, Judge};
use crate::{POINTED, pool, scene};
use actors::node::wait::until;
use actors::node::{Actor, Scene, Swarm, process};
use handover::control::{Outcome, Phase, Request};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// Points of `handover upgrade`.
const UPGRADE: [&str; 3] = [
    "command: looked at the node",
    "command: server started",
    "command: server seen to serve",
];
/// Points of `handover rollback`.
const WISH: [&str; 2] = ["wish: written, not counted", "wish: counted"];
/// All of them.
pub(crate) const POINTS: [&str; 5] = [UPGRADE[0], UPGRADE[1], UPGRADE[2], WISH[0], WISH[1]];
const PARK: [&str; 3] = ["--park", "--deadline", "probation=600000"];

/// A node that A serves, with clients.
struct Served {
    old: Actor,
    swarm: Swarm,
    usual: Holds,
    judge: Judge,
    scene: Scene,
}

impl Served {
    fn new() -> Self {
        let scene = scene();
        let judge = Judge::new(&scene);
        let mut old = scene.spawn("A", &refs(&arguments(&judge)));
        assert_eq!(old.serving(), 1);
        scene.know();
        let swarm = Swarm::new(scene.address(), CLIENTS);
        let usual = Holds::of(&old);
        Self {
            old,
            swarm,
            usual,
            judge,
            scene,
        }
    }

    /// One is left, and serves.
    fn end(self, others: Vec<Actor>) {
        self.swarm.wait_progress();
        let (heir, _) = settle(&self.scene, [vec![self.old], others].into_iter().flatten().collect());
        whole(&self.scene, &self.judge, heir, self.swarm, self.usual, Duration::ZERO);
    }
}

fn arguments(judge: &Judge) -> Vec<String> {
    let park = PARK.map(str::to_owned);
    park.into_iter().chain(judge.arguments()).collect()
}

fn refs(all: &[String]) -> Vec<&str> {
    all.iter().map(String::as_str).collect()
}

/// The command line with a blow at a point.
fn command(scene: &Scene, words: &[&str], blow: &str, point: &str) -> Command {
    let mut command = Command::new(POINTED);
    command
        .args(["cli", words[0], scene.node(), "--directory"])
        .arg(scene.base())
        .args(&words[1..])
        .arg(format!("--strike={blow}:handover:{point}"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// A command that runs. Dropped, it is killed.
struct Told(Child);

impl Told {
    fn new(mut command: Command) -> Self {
        Self(command.spawn().expect("start the command"))
    }

    fn ends(&mut self) -> ExitStatus {
        until("the end of the command", || self.0.try_wait().expect("wait"))
    }

    /// It stands at its point.
    fn stands(&self) {
        until("a stop at the point", || process::is_stopped(self.0.id()).then_some(()));
    }

    fn goes_on(&self) {
        use nix::sys::signal::{Signal, kill};
        kill(nix::unistd::Pid::from_raw(self.0.id().cast_signed()), Signal::SIGCONT).expect("go on");
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        // Both fail if it has been waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where the server of an upgrade reports.
struct Socket {
    path: std::path::PathBuf,
    listener: UnixListener,
}

impl Socket {
    fn new(scene: &Scene) -> Self {
        let path = scene.base().with_file_name("b.socket");
        let listener = UnixListener::bind(&path).expect("listen");
        listener.set_nonblocking(true).expect("non-blocking");
        Self { path, listener }
    }

    /// The server that the command has started.
    fn adopt(&self) -> Actor {
        let stream: UnixStream = until("the server of the command", || self.listener.accept().ok()).0;
        stream.set_nonblocking(false).expect("blocking");
        Actor::adopt("B", stream)
    }
}

#[test]
fn an_upgrade_that_is_struck_has_started_a_successor_or_not() {
    // Orphans are reaped here.
    nix::sys::prctl::set_child_subreaper(true).expect("subreaper");
    let cases: Vec<(&str, &str)> = UPGRADE.iter().flat_map(|p| [(*p, "kill"), (*p, "stop")]).collect();
    let name = |(point, blow): &(&str, &str)| format!("{blow} at {point:?}");
    pool::play(&cases, name, |&(point, blow)| {
        let served = Served::new();
        let scene = &served.scene;
        let socket = Socket::new(scene);
        let more = ["--through".into(), socket.path.display().to_string()];
        let server = [arguments(&served.judge), more.into()].concat();
        let mut command = command(scene, &["upgrade"], blow, point);
        command
            .arg("--")
            .arg(POINTED)
            .args(scene.arguments("B", &refs(&server)));
        let mut command = Told::new(command);
        let before = point == UPGRADE[0];
        let mut others = Vec::new();
        if blow == "kill" {
            assert!(!command.ends().success(), "it was killed");
        } else {
            command.stands();
            if !before {
                others.push(socket.adopt());
            }
            command.goes_on();
        }
        if before && blow == "kill" {
            assert!(socket.listener.accept().is_err(), "nothing was started");
            assert_eq!(scene.status().completed, 0);
        } else {
            if others.is_empty() {
                others.push(socket.adopt());
            }
            let new = others[0].pid();
            until("B as the owner", || {
                let status = scene.try_status()?;
                (status.owner?.process.pid == new && status.completed > 0).then_some(())
            });
        }
        if blow == "stop" {
            let status = command.ends();
            assert!(status.success(), "it goes on to its end: {status}");
        }
        served.end(others);
    });
}

#[test]
fn a_wish_that_is_struck_is_heard_or_not_said() {
    let cases: Vec<(&str, &str)> = WISH.iter().flat_map(|p| [(*p, "kill"), (*p, "stop")]).collect();
    let name = |(point, blow): &(&str, &str)| format!("{blow} at {point:?}");
    pool::play(&cases, name, |&(point, blow)| {
        let mut served = Served::new();
        let scene = &served.scene;
        let mut new = scene.spawn("B", &refs(&arguments(&served.judge)));
        assert_eq!(new.serving(), 2);
        until("a probation", || {
            scene.try_status().filter(|s| s.phase == Phase::Probation).map(drop)
        });
        let mut command = Told::new(command(scene, &["rollback"], blow, point));
        if blow == "kill" {
            assert!(!command.ends().success(), "it was killed");
        } else {
            command.stands();
        }
        let said = point == WISH[1];
        if !said {
            // Nobody has heard it: what another one wishes meanwhile counts, and B stays.
            scene.request(Request::Confirm);
            let old = &mut served.old;
            until("the end of A", || old.ended());
        }
        if blow == "stop" {
            command.goes_on();
            assert_eq!(command.ends().success(), said, "it says what came of it");
        }
        let scene = &served.scene;
        let back = until("a record of what came of it", || {
            let status = scene.try_status()?;
            let back = status.history.iter().any(|r| r.outcome == Outcome::GivenBack);
            (back == said).then_some(back)
        });
        assert_eq!(back, said);
        let owner = scene.status().owner.expect("an owner").process.pid;
        assert_eq!(owner == new.pid(), !said);
        served.end(vec![new]);
    });
}
