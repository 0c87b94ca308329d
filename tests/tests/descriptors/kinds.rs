//! Every kind of descriptor goes over, is the same one as before, and is read by one process at a time.

use crate::place;
use actors::node::wait::{LIMIT, until};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, connect, recv, socket};
use std::collections::BTreeMap;
use std::io::Read;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;

/// Upgrades under a stream of datagrams.
const UPGRADES: u64 = 8;
/// Datagrams sent meanwhile, at least.
const DATAGRAMS: u64 = 3_000;

/// What a server says to whoever connects.
fn greeting(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(LIMIT))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

fn unix_greeting(path: &Path, kind: SocketType) -> String {
    let mut bytes = [0; 64];
    if kind == SocketType::STREAM {
        let mut stream = UnixStream::connect(path).expect("connect");
        stream.set_read_timeout(Some(LIMIT)).expect("timeout");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("read");
        return text;
    }
    let client = socket(AddressFamily::UNIX, kind, None).expect("socket");
    connect(&client, &SocketAddrUnix::new(path).expect("path")).expect("connect");
    let (n, _) = recv(&client, &mut bytes, rustix::net::RecvFlags::empty()).expect("read");
    String::from_utf8_lossy(&bytes[..n]).into_owned()
}

#[test]
fn every_kind_goes_over_and_is_the_same_one() {
    let place = place();
    let ip = place.ip;
    let v4 = format!("v4={ip}:4200");
    let udp = format!("udp={ip}:4201");
    let path = |name: &str| place.file(name).display().to_string();
    let unix = format!("unix={}", path("unix"));
    let hidden = format!("hidden=@{}", path("hidden"));
    let seqpacket = format!("seq={}", path("seq"));
    let datagrams = format!("gram={}", path("gram"));
    let mut all = vec![
        "--tcp",
        &v4,
        "--udp",
        &udp,
        "--unix",
        &unix,
        "--unix",
        &hidden,
        "--seqpacket",
        &seqpacket,
    ];
    all.extend([
        "--datagrams",
        &datagrams,
        "--tcp",
        "v6=[::1]:0",
        "--dual",
        "dual=[::]:0",
    ]);
    all.extend([
        "--make",
        "pipe=pipe",
        "--make",
        "timer=timer",
        "--make",
        "event=event",
        "--make",
        "memory=some text",
    ]);
    let mut owner = place.spawn(&all);
    let plan = owner.expect("started First");
    assert_eq!(
        plan,
        "new dual, event, gram, hidden, memory, pipe, seq, timer, udp, unix, v4, v6"
    );
    owner.expect("serving 1");
    let options = owner.ask("set-flags v4");
    assert!(
        options.starts_with("true true ") && options.contains(" 7777 33 true "),
        "{options}"
    );
    let dual: SocketAddr = owner.ask("address dual").parse().expect("an address");
    let v6: SocketAddr = owner.ask("address v6").parse().expect("an address");
    let event = owner.ask("info event");
    assert!(event.contains("1267"), "4711 in hexadecimal: {event}");
    let timer = owner.ask("info timer");
    assert!(timer.contains("1234"), "{timer}");

    let client = UnixDatagram::bind(place.file("client")).expect("bind");
    client.set_read_timeout(Some(LIMIT)).expect("timeout");
    for generation in 2..=3 {
        // A declared descriptor is not made anew, whatever would be made.
        all.truncate(all.len() - 2);
        all.extend(["--make", "memory=other text"]);
        let mut next = place.spawn(&all);
        let plan = next.expect("started Successor");
        let all_kept = "kept dual, event, gram, hidden, memory, pipe, seq, timer, udp, unix, v4, v6";
        assert!(plan.ends_with(all_kept) && !plan.contains("new"), "{plan}");
        next.expect("serving");
        owner.expect("handed over");
        owner.expect("drained 12");
        owner.end();
        owner = next;
        let says = |name: &str| format!("{name} {generation}");
        assert_eq!(greeting((ip, 4200).into()).expect("v4"), says("v4"));
        assert_eq!(greeting(v6).expect("v6"), says("v6"));
        assert_eq!(
            greeting((std::net::Ipv6Addr::LOCALHOST, dual.port()).into()).expect("v6"),
            says("dual")
        );
        assert_eq!(
            greeting((std::net::Ipv4Addr::LOCALHOST, dual.port()).into()).expect("v4"),
            says("dual")
        );
        assert_eq!(unix_greeting(&place.file("unix"), SocketType::STREAM), says("unix"));
        assert_eq!(unix_greeting(&place.file("seq"), SocketType::SEQPACKET), says("seq"));
        client.send_to(b"who", place.file("gram")).expect("send");
        let mut bytes = [0; 64];
        let n = client.recv(&mut bytes).expect("an answer");
        assert_eq!(bytes[..n], *says("who").as_bytes());
        assert_eq!(owner.ask("flags v4"), options, "options of the socket");
        assert_eq!(owner.ask("info event"), event);
        assert_eq!(owner.ask("info timer"), timer);
        assert_eq!(owner.ask("content memory"), "some text");
    }
    assert_eq!(owner.ask("read pipe"), "in the pipe");
    for name in ["unix", "seq", "gram"] {
        assert!(place.file(name).exists(), "the path survives");
    }
    let files = [place.file("unix"), place.file("seq"), place.file("gram")];
    owner.tell("stop");
    owner.expect("stopped");
    owner.end();
    for file in files {
        assert!(!file.exists(), "{} goes with the node", file.display());
    }
}

/// Each datagram is answered once, by one of the owners; none is lost, for the kernel keeps what nobody has read.
#[test]
fn no_datagram_is_lost_or_read_twice() {
    let place = place();
    let server: SocketAddr = (place.ip, 4201).into();
    let udp = format!("udp={server}");
    let arguments = ["--udp", &udp];
    let mut owner = place.serving(&arguments);
    // Room for what comes while nobody reads.
    owner.ask("udp-set udp 1000000");
    let buffer = owner.ask("udp-buffer udp");
    let client = UdpSocket::bind((place.ip, 0)).expect("bind");
    rustix::net::sockopt::set_socket_recv_buffer_size(&client, 4_000_000).expect("buffer");
    client.connect(server).expect("connect");
    client.set_nonblocking(true).expect("non-blocking");
    let mut answers: BTreeMap<u64, u64> = BTreeMap::new();
    let mut sent = 0;
    let mut collect = |client: &UdpSocket| {
        let mut bytes = [0; 64];
        while let Ok(n) = client.recv(&mut bytes) {
            let text = String::from_utf8_lossy(&bytes[..n]).into_owned();
            let (number, generation) = text.split_once(' ').expect("number generation");
            let number = number.parse().expect("a number");
            let before = answers.insert(number, generation.parse().expect("a number"));
            assert_eq!(before, None, "{number} was answered twice");
        }
        answers.len() as u64
    };
    let mut owners = 1;
    while sent < DATAGRAMS || owners <= UPGRADES {
        let due = owners <= UPGRADES && sent >= owners * (DATAGRAMS / (UPGRADES + 1));
        if due {
            let mut next = place.spawn(&arguments);
            next.expect("started Successor");
            // Sent while the gate closes, wherever that is.
            for _ in 0..100 {
                client.send(sent.to_string().as_bytes()).expect("send");
                sent += 1;
            }
            next.expect("serving");
            owner.expect("handed over");
            owner.expect("drained");
            owner.end();
            owner = next;
            owners += 1;
        } else {
            client.send(sent.to_string().as_bytes()).expect("send");
            sent += 1;
        }
        collect(&client);
        if sent % 50 == 0 {
            // Neither buffer overflows: what is under way is bounded.
            until("answers", || (sent - collect(&client) < 500).then_some(()));
        }
    }
    until("an answer to each", || (collect(&client) == sent).then_some(()));
    let generations: std::collections::BTreeSet<u64> = answers.values().copied().collect();
    assert_eq!(
        generations.len() as u64,
        UPGRADES + 1,
        "every owner answered some: {generations:?}"
    );
    assert_eq!(owner.ask("udp-buffer udp"), buffer, "its buffer is the same");
    place.close(owner);
}

/// A parked owner reads nothing; what waits while nobody serves is read by whoever gets the node.
#[test]
fn a_parked_owner_reads_nothing_and_reads_on_when_it_is_back() {
    let place = place();
    let server: SocketAddr = (place.ip, 4201).into();
    let udp = format!("udp={server}");
    let arguments = ["--udp", &udp, "--probation", "20000"];
    let mut old = place.serving(&arguments);
    let mut new = place.serving(&arguments);
    old.expect("handed over");
    let client = UdpSocket::bind((place.ip, 0)).expect("bind");
    client.connect(server).expect("connect");
    client.set_read_timeout(Some(LIMIT)).expect("timeout");
    let ask = |text: &str| {
        client.send(text.as_bytes()).expect("send");
        let mut bytes = [0; 64];
        let n = client.recv(&mut bytes).expect("an answer");
        String::from_utf8_lossy(&bytes[..n]).into_owned()
    };
    for i in 0..200 {
        assert_eq!(ask(&i.to_string()), format!("{i} 2"), "the new one answers");
    }
    new.kill();
    let answer = ask("after");
    assert_eq!(answer, "after 3", "the old one, under its new generation");
    old.expect("started Returned");
    old.expect("serving 3");
    place.close(old);
}
