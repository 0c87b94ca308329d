//! Sockets that a service manager opened: set up as systemd does it, numbers from 3 on and the pid of the very process.

use crate::place;
use actors::descriptors::{Place, Server};
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

/// Starts a server the way a service manager does: `sockets` become its descriptors 3 and 4, and its pid is in the environment. The
/// shell that puts them there becomes the server, so that the pid is right.
fn activated(place: &Place, sockets: [&TcpListener; 2], variables: &str, arguments: &[&str]) -> Server {
    let give = |listener: &TcpListener| OwnedFd::from(listener.try_clone().expect("duplicate"));
    let script = format!("export LISTEN_PID=$$ {variables}; exec \"$0\" \"$@\" 3<&0 4<&2 0</dev/null 2>/dev/null");
    let mut command = Command::new("sh");
    command
        .args(["-c", &script])
        .args(place.command(arguments))
        .arg("--deaf")
        .stdin(Stdio::from(give(sockets[0])))
        .stderr(Stdio::from(give(sockets[1])));
    Server::of(&mut command)
}

fn greeting(address: SocketAddr) -> String {
    let mut text = String::new();
    let mut stream = TcpStream::connect(address).expect("connect");
    stream.read_to_string(&mut text).expect("read");
    text
}

#[test]
fn a_first_process_takes_its_listener_by_name_and_closes_the_rest() {
    let place = place();
    let ip = place.ip;
    let [http, admin] = [80, 81].map(|port| TcpListener::bind((ip, port)).expect("bind"));
    // Declared with another address: what the service manager opened counts.
    let declared = format!("http={ip}:8080");
    let names = "LISTEN_FDS=2 LISTEN_FDNAMES=http:admin";
    let mut first = activated(&place, [&http, &admin], names, &["--tcp", &declared]);
    let plan = first.expect("started First");
    assert_eq!(plan, "activated http; unclaimed admin");
    first.expect("serving 1");
    assert_eq!(greeting((ip, 80).into()), "http 1");
    assert!(TcpStream::connect((ip, 8080)).is_err(), "nothing was bound");
    let inode = |listener: &TcpListener| rustix::fs::fstat(listener).expect("stat").st_ino;
    let open = || {
        let entries = std::fs::read_dir(format!("/proc/{}/fd", first.pid())).expect("proc");
        entries
            .flatten()
            .filter_map(|e| std::fs::read_link(e.path()).ok())
            .collect::<Vec<_>>()
    };
    let has = |listener: &TcpListener| {
        open()
            .iter()
            .any(|p| p.ends_with(format!("socket:[{}]", inode(listener))))
    };
    assert!(has(&http) && !has(&admin), "what nobody declared is closed");

    // The next version declares the same, and keeps it.
    let mut next = place.spawn(&["--tcp", &declared]);
    assert!(next.expect("started Successor").ends_with("kept http"));
    next.expect("serving 2");
    assert_eq!(greeting((ip, 80).into()), "http 2");
    first.expect("handed over");
    place.close(next);
}

#[test]
fn what_is_meant_for_another_or_makes_no_sense() {
    let place = place();
    let ip = place.ip;
    let [a, b] = [80, 81].map(|port| TcpListener::bind((ip, port)).expect("bind"));
    let declared = format!("http={ip}:8080");
    let arguments = ["--tcp", &declared];
    for (variables, part) in [
        ("LISTEN_FDS=two", "LISTEN_FDS=\"two\""),
        ("LISTEN_FDS=2 LISTEN_FDNAMES=http", "1 names for 2 descriptors"),
        ("LISTEN_FDS=900 ", "is not open"),
    ] {
        let mut server = activated(&place, [&a, &b], variables, &arguments);
        let error = server.expect("failed");
        assert!(error.contains("socket activation") && error.contains(part), "{error}");
    }
    // A listener under the name of something else.
    let udp = format!("http={ip}:8080");
    let names = "LISTEN_FDS=2 LISTEN_FDNAMES=http:x";
    let mut server = activated(&place, [&a, &b], names, &["--udp", &udp]);
    let error = server.expect("failed");
    assert!(error.contains("is no UDP socket"), "{error}");
    // The pid of another process: they are inherited by mistake, and left alone.
    let names = "LISTEN_PID=1 LISTEN_FDS=2 LISTEN_FDNAMES=http:x";
    let mut server = activated(&place, [&a, &b], names, &arguments);
    assert_eq!(server.expect("started First"), "new http");
    server.expect("serving");
    assert_eq!(greeting((ip, 8080).into()), "http 1");
    let mut next = place.serving(&arguments);
    server.expect("handed over");
    assert_eq!(next.ask("plan"), "kept http");
    place.close(next);
}
