//! The programs: versions of a small server, and such that do not do what they are asked for.

use crate::scene::{LIFETIME, TICK};
use handover::{Builder, Deadlines, Node, Parked, Starting, Stop};
use rkyv::{Archive, Deserialize, Serialize};
use shmstate::{
    Cell, Declared, Error, Gap, Map, Migrate, OrderedMap, OwnedValue, Queue, Region, Result, Rings, Schema, Slab,
    Steps, Streams, Timers, Tx,
};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Makes this binary a program, and names it.
pub(crate) const PROGRAM: &str = "HANDOVER_TEST_PROGRAM";
/// Where the programs that leave something behind put it.
pub(crate) const TRACES: &str = "HANDOVER_TEST_TRACES";
/// The directory of nodes that the program `placed` names.
pub(crate) const DIRECTORY: &str = "HANDOVER_TEST_DIRECTORY";
/// A port that the program `v2` would listen on.
pub(crate) const PORT: &str = "HANDOVER_TEST_PORT";
const RINGS: Rings = Rings { input: 64, output: 64 };

#[derive(Archive, Serialize, Deserialize, Schema)]
#[schema(version = 1, name = "Player")]
struct V1 {
    score: u32,
}

#[derive(Archive, Serialize, Deserialize, Schema)]
#[schema(version = 2, name = "Player")]
struct V2 {
    score: u64,
}

/// Another shape under version 1.
#[derive(Archive, Serialize, Deserialize, Schema)]
#[schema(version = 1, name = "Player")]
struct Other {
    score: String,
}

impl Migrate<V1> for V2 {
    fn migrate(old: V1) -> Self {
        Self {
            score: old.score.into(),
        }
    }
}

impl Migrate<V2> for V1 {
    fn migrate(new: V2) -> Self {
        Self {
            score: new.score.try_into().unwrap_or(u32::MAX),
        }
    }
}

/// This binary as a program.
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command
        .args(["--exact", "program", "--nocapture"])
        .env(PROGRAM, program);
    command
}

fn local(last: u8) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, last], 0))
}

fn builder(program: &str) -> Builder {
    let mut deadlines = Deadlines::default();
    // A probation that ends by an event, not by time.
    deadlines.probation = LIFETIME;
    Node::builder("arena")
        .build_id(program)
        .tick(TICK)
        .deadlines(deadlines)
        .region("world", 4 << 20)
        .listener("game", local(1))
}

fn players<P: OwnedValue>(steps: &Steps<P>) -> Declared {
    Declared::map::<u64, P>("players").steps(steps)
}

fn v1() -> Builder {
    let make = || Ok(std::io::pipe()?.0.into());
    builder("v1")
        .listener("admin", local(1))
        .descriptor("feed", make)
        .table("world", players(&Steps::<V1>::new()))
        .table("world", Declared::cell::<u64>("clock"))
        .table("world", Declared::queue::<u64>("old"))
}

fn v2(build: &str, steps: &Steps<V2>) -> Builder {
    let port = std::env::var(PORT).ok().and_then(|port| port.parse().ok());
    builder(build)
        .listener("admin", local(2))
        .listener("metrics", SocketAddr::from(([127, 0, 0, 1], port.unwrap_or(0))))
        .table("world", Declared::cell::<u64>("clock"))
        .table("world", players(steps))
        .table("world", Declared::slab::<u8>("fresh"))
}

/// All kinds of tables.
fn kinds() -> Builder {
    builder("kinds").tables(
        "world",
        [
            players(&Steps::<V2>::new().from::<V1>().back::<V1>()),
            Declared::map::<(u8, String), V1>("map"),
            Declared::ordered_map::<String, Vec<u8>>("ordered"),
            Declared::slab::<V2>("slab"),
            Declared::cell::<Option<u64>>("cell"),
            Declared::cell::<u64>("clock"),
            Declared::queue::<V1>("queue"),
            Declared::timers::<V1>("timers"),
            Declared::streams("streams"),
        ],
    )
}

pub(crate) fn play(program: &str) {
    let back = || Steps::<V2>::new().from::<V1>().back::<V1>();
    let one_way = || Steps::<V2>::new().from::<V1>();
    match program {
        "v1" => serve(v1(), Steps::<V1>::new, |tx| {
            Queue::<u64>::open_or_create(tx, "old").map(drop)
        }),
        "v2" => serve(v2("v2", &back()), back, fresh),
        "v2-one-way" => serve(v2("v2-one-way", &one_way()), one_way, fresh),
        "other" => serve(
            builder("other").table("world", players(&Steps::<Other>::new())),
            Steps::<Other>::new,
            |_| Ok(()),
        ),
        // Nothing is declared: whatever it opens is its own affair.
        "undeclared" => serve(builder("undeclared"), one_way, fresh),
        "kinds" => serve(kinds(), back, |tx| {
            Map::<(u8, String), V1>::open_or_create(tx, "map")?;
            OrderedMap::<String, Vec<u8>>::open_or_create(tx, "ordered")?;
            Slab::<V2>::open_or_create(tx, "slab")?;
            Cell::<Option<u64>>::open_or_create(tx, "cell", &None)?;
            Queue::<V1>::open_or_create(tx, "queue")?;
            Timers::<V1>::open_or_create(tx, "timers", Gap::All)?;
            Streams::open_or_create(tx, "streams", RINGS).map(drop)
        }),
        // It does not take its directory from the environment.
        "placed" => {
            let directory = std::env::var_os(DIRECTORY).expect("a directory");
            let _ = v1().directory(directory.into()).start();
        }
        // It says less than it opens.
        "liar" => serve(
            builder("liar").table("world", Declared::cell::<u64>("clock")),
            Steps::<V1>::new,
            |_| Ok(()),
        ),
        // It says that it keeps a way back, and does not.
        "braggart" => serve(v2("braggart", &back()), one_way, fresh),
        "hang" => {
            leave_children();
            std::thread::sleep(LIFETIME);
        }
        "leave" => {
            leave_children();
            describe();
        }
        "quiet" => {}
        "fail" => {
            eprintln!("there is no disk in drive A");
            std::process::exit(3);
        }
        "chatter" => {
            for i in 0..100_000 {
                println!("line {i} of what nobody wants to read");
            }
            describe();
        }
        "garbage" => write(b"{\"handover_manifest\": 1, \"node\": \xff"),
        "later" => write(b"{\"handover_manifest\": 2}"),
        "cut" => write(b"{\"handover_manifest\": 1, \"library\": \"0.1.0\", \"node\": \"arena\""),
        "oversized" => write(&vec![b' '; (16 << 20) + 1]),
        "link" => std::os::unix::fs::symlink("/proc/self/status", asked()).expect("a link"),
        "fifo" => {
            let mode = nix::sys::stat::Mode::S_IRWXU;
            nix::unistd::mkfifo(std::path::Path::new(&asked()), mode).expect("a pipe");
        }
        // As one with an older library: it does not know the variable.
        "deaf" => {
            let error = command("v1").env_remove("HANDOVER_DESCRIBE").exec();
            panic!("{error}");
        }
        other => panic!("no program {other}"),
    }
}

fn describe() {
    let _ = v1().start();
}

fn asked() -> std::ffi::OsString {
    std::env::var_os("HANDOVER_DESCRIBE").expect("asked")
}

fn write(bytes: &[u8]) {
    std::fs::write(asked(), bytes).expect("written");
}

/// Leaves a child, one of another group, and one whose parent has ended; their pids are where the test finds them.
#[expect(clippy::zombie_processes, reason = "that nobody waits for them is the point")]
fn leave_children() {
    let traces = std::env::var(TRACES).expect("a directory");
    for (name, script) in [
        ("child", r#"echo $$ > "$0.new"; mv "$0.new" "$0"; exec sleep 600"#),
        (
            "other",
            r#"exec setsid sh -c 'echo $$ > "$0.new"; mv "$0.new" "$0"; exec sleep 600' "$0""#,
        ),
        (
            "orphan",
            r#"{ sh -c 'echo $$ > "$0.new"; mv "$0.new" "$0"; exec sleep 600' "$0" & }; exit"#,
        ),
    ] {
        let file = format!("{traces}/{name}");
        let mut child = Command::new("sh");
        child.args(["-c", script, &file]).stdin(Stdio::null());
        child.spawn().expect("a child");
        let end = Instant::now() + Duration::from_secs(30);
        while !std::path::Path::new(&file).exists() {
            assert!(Instant::now() < end, "no {name}");
            std::thread::sleep(TICK);
        }
    }
}

fn fresh(tx: &mut Tx<'_>) -> Result<()> {
    Slab::<u8>::open_or_create(tx, "fresh").map(drop)
}

/// A player, however the version writes one.
trait Player: OwnedValue {
    fn new(score: u32) -> Self;
}

impl Player for V1 {
    fn new(score: u32) -> Self {
        Self { score }
    }
}

impl Player for V2 {
    fn new(score: u32) -> Self {
        Self { score: score.into() }
    }
}

impl Player for Other {
    fn new(score: u32) -> Self {
        Self {
            score: score.to_string(),
        }
    }
}

/// Serves until the scene is gone, or another one serves for good.
fn serve<P: Player>(builder: Builder, steps: impl Fn() -> Steps<P>, more: impl Fn(&mut Tx<'_>) -> Result<()>) {
    let scene = handover::runtime_base();
    let end = Instant::now() + LIFETIME;
    let over = || Instant::now() >= end || !scene.exists();
    let mut starting = match builder.start() {
        Ok(starting) => starting,
        Err(error) => fail(&error),
    };
    if let Ok(traces) = std::env::var(TRACES) {
        let id = starting.control().identity().id;
        std::fs::write(format!("{traces}/id"), id.to_string()).expect("a trace");
    }
    while let Some(back) = own(starting, &steps, &more, &over) {
        starting = back;
    }
}

fn fail(error: &dyn std::fmt::Display) -> ! {
    eprintln!("{error}");
    std::process::exit(1);
}

fn own<P: Player>(
    mut starting: Starting,
    steps: &impl Fn() -> Steps<P>,
    more: &impl Fn(&mut Tx<'_>) -> Result<()>,
    over: &dyn Fn() -> bool,
) -> Option<Starting> {
    let mut world = starting.region("world").expect("the region");
    let found = match Map::<u64, P>::open_migrating(&world, "players", steps()) {
        Ok(players) => Some(players),
        Err(Error::NoTable { .. }) => None,
        Err(error) => {
            let _ = starting.refuse(&error.to_string());
            fail(&error);
        }
    };
    let node = match starting.ready() {
        Ok(node) => node,
        Err(error) => fail(&error),
    };
    // Who upgraded to this one is not to wait for its output.
    let null = std::fs::File::options().write(true).open("/dev/null").expect("there");
    nix::unistd::dup2_stdout(&null).expect("stdout");
    nix::unistd::dup2_stderr(&null).expect("stderr");
    {
        let pass = node.enter().expect("a pass");
        let made = world.write(&pass, |tx| {
            Cell::<u64>::open_or_create(tx, "clock", &0)?;
            if found.is_none() {
                let players: Map<u64, P> = Map::open_or_create(tx, "players")?;
                for i in 0..5u32 {
                    players.insert(tx, &i.into(), &P::new(i))?;
                }
            }
            more(tx)
        });
        made.unwrap_or_else(|error| fail(&error));
    }
    let stop = turns(&node, &mut world, over)?;
    match stop {
        Stop::HandedOver => match node.park_unless(vec![world], over) {
            Ok(Parked::Back(back)) => Some(*back),
            _ => None,
        },
        _ => {
            let _ = node.drain(vec![world]);
            None
        }
    }
}

/// Until another one serves; `None` when it is over.
fn turns(node: &Node, world: &mut Region, over: &dyn Fn() -> bool) -> Option<Stop> {
    while !over() {
        std::thread::sleep(TICK);
        let pass = match node.enter() {
            Ok(pass) => pass,
            Err(stop) => return Some(stop),
        };
        let commit = world.begin(&pass).and_then(Tx::commit);
        commit.unwrap_or_else(|error| fail(&error));
    }
    None
}
