//! One server without upgrades: killed while players play, started again, and the world is there.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use arena::demo::child::Child;
use arena::demo::crowd::Crowd;
use arena::demo::limit::Limit;
use arena::demo::place::Place;
use arena::protocol::{Command, ServerFrame, decode_server};
use rustix::process::Signal;
use shmstate::Inspection;
use shmstate::lease::Lease;

/// Longest wait for anything.
const DEADLINE: Duration = Duration::from_secs(20);
const BOTS: u32 = 12;
const WORLD_MIB: u64 = 4;
/// A player who looks what tick it is, beside the bots.
const WATCHER: u64 = 1_000_000;

/// A server, and where it listens.
fn serve(place: &Place, limit: &Limit) -> (Child, String) {
    let mut command = place.command(Path::new(env!("CARGO_BIN_EXE_arena-v1")));
    command
        .args(["--node", place.node(), "--listen", "127.0.0.1:0", "--ephemeral"])
        .args(["--world-mib", &WORLD_MIB.to_string()])
        .args(["--until-parent-ends", &std::process::id().to_string()]);
    let mut server = Child::start("arena-v1", &mut command).expect("a server");
    let line = server.line("the address", DEADLINE, limit).expect("a line");
    let (_, address) = line.rsplit_once(" at ").expect("an address at the line's end");
    (server, address.to_owned())
}

fn play(place: &Place, address: &str, first_id: u64, limit: &Limit) -> Crowd {
    let mut command = place.command(Path::new(env!("CARGO_BIN_EXE_arena-bots")));
    command.args(["--first-id", &first_id.to_string(), "--commands-per-second", "20"]);
    Crowd::join(&mut command, address, BOTS, 1, limit).expect("bots that join")
}

/// Joins, and gives the tick that the server is at.
fn tick(address: &str, player_id: u64) -> u64 {
    let mut socket = TcpStream::connect(address).expect("a connection");
    socket.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    let mut bytes = Vec::new();
    let name = "watcher";
    Command::Join { player_id, name }
        .encode(&mut bytes)
        .expect("a short name");
    socket.write_all(&bytes).expect("a server that reads");
    let mut received = Vec::new();
    loop {
        if let Some((frame, _)) = decode_server(&received).expect("a frame") {
            let ServerFrame::Welcome(welcome) = frame else {
                panic!("{frame:?} comes first")
            };
            return welcome.tick;
        }
        let mut buffer = [0; 256];
        let count = socket.read(&mut buffer).expect("a welcome in time");
        assert!(count > 0, "the server hung up");
        received.extend_from_slice(&buffer[..count]);
    }
}

/// Records of a table, as the region's catalog has them.
fn records(world: &Inspection, name: &str) -> u64 {
    let table = world.tables.iter().find(|table| table.name == name);
    table.unwrap_or_else(|| panic!("{name} in {world:?}")).records
}

fn generation(place: &mut Place) -> u64 {
    match place.status().expect("a node").lease {
        Lease::Owned { generation, .. } => generation,
        other => panic!("nobody owns: {other:?}"),
    }
}

#[test]
fn a_killed_server_finds_its_world_again() {
    let limit = Limit::new(2 * DEADLINE);
    let mut place = Place::new("arena-alone").expect("a directory");
    let (mut server, address) = serve(&place, &limit);
    let mut crowd = play(&place, &address, 1, &limit);
    limit
        .wait("commands", DEADLINE, || {
            Ok((crowd.snapshot(&limit)?.commands_acked > 100).then_some(()))
        })
        .expect("players that play");
    let tick_before = tick(&address, WATCHER);
    let generation_before = generation(&mut place);
    let region = place.region("world").expect("its id is known");
    let monsters = records(&Inspection::of(&region).expect("a region"), "monsters");
    assert!(monsters > 0);

    let status = server.end(Signal::KILL, DEADLINE).expect("an end");
    assert!(!status.success());
    let after_kill = Inspection::of(&region).expect("the world outlives its owner");
    assert!(!after_kill.held);
    assert!(!place.status().expect("a node").alive);
    // The bots have no code to reconnect: they count it.
    let report = crowd.finish(&limit).expect("a report");
    assert_eq!(report.disconnects, u64::from(BOTS));
    assert!(report.commands_acked > 100);

    let (mut server, address) = serve(&place, &limit);
    let world = Inspection::of(&region).expect("the same region");
    assert_eq!(world.id, after_kill.id);
    assert_eq!(records(&world, "monsters"), monsters);
    assert_eq!(
        records(&world, "players"),
        u64::from(BOTS) + 1,
        "players are remembered"
    );
    assert!(world.commits >= after_kill.commits);
    assert!(generation(&mut place) > generation_before);
    let tick_after = tick(&address, WATCHER);
    assert!(tick_after >= tick_before, "{tick_after} after {tick_before}");
    let deadline = Instant::now() + DEADLINE;
    while tick(&address, WATCHER) <= tick_after {
        assert!(Instant::now() < deadline, "the clock stands still");
    }

    let mut crowd = play(&place, &address, 1_000, &limit);
    limit
        .wait("commands", DEADLINE, || {
            Ok((crowd.snapshot(&limit)?.commands_acked > 100).then_some(()))
        })
        .expect("players that play");
    let report = crowd.finish(&limit).expect("a report");
    assert_eq!(report.faults(), 0, "{report:?}");

    // The server itself walks over the world: each monster moved within the last second, and the sum is right.
    let status = server.end(Signal::TERM, DEADLINE).expect("an end in order");
    assert!(status.success(), "{}", server.stderr());
    assert_eq!(place.left_behind(), Vec::<String>::new());
}
