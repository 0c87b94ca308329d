//! The server: declares what it is told to, answers whoever comes by any of it with its generation, and hands over.

use clap::Parser;
use handover::{Deadlines, ListenOptions, Node, Parked, Starting, Stop};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, recv, send};
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::io::{BufRead, Read, Seek, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// How long the server waits for an order before it looks at its sockets.
const ROUND: Duration = Duration::from_millis(1);
/// What a declared eventfd counts, so that it can be told from others.
const EVENTS: u32 = 4711;
/// Interval of a declared timer.
const INTERVAL: i64 = 1234;
/// As the only argument: print what is open here and should not be.
pub const LIST: &str = "--list-descriptors";

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;
type Pair = (String, String);

fn pair(text: &str) -> std::result::Result<Pair, String> {
    let (name, value) = text.split_once('=').ok_or("not of the form name=value")?;
    Ok((name.into(), value.into()))
}

/// A server with descriptors of every kind.
#[derive(Clone, Debug, Parser)]
struct Options {
    #[arg(long)]
    dir: PathBuf,
    #[arg(long)]
    node: String,
    /// TCP listeners, name=address.
    #[arg(long, value_parser = pair)]
    tcp: Vec<Pair>,
    /// TCP listeners on IPv6 that serve IPv4 too.
    #[arg(long, value_parser = pair)]
    dual: Vec<Pair>,
    /// Unix stream listeners, name=path.
    #[arg(long, value_parser = pair)]
    unix: Vec<Pair>,
    #[arg(long, value_parser = pair)]
    seqpacket: Vec<Pair>,
    #[arg(long, value_parser = pair)]
    udp: Vec<Pair>,
    #[arg(long, value_parser = pair)]
    datagrams: Vec<Pair>,
    /// Descriptors by name: name=pipe, timer, event or memfd.
    #[arg(long, value_parser = pair)]
    make: Vec<Pair>,
    /// Claim whatever is inherited.
    #[arg(long)]
    claim: bool,
    /// Say `ready` only when told `go`.
    #[arg(long)]
    wait: bool,
    /// Refuse when all has come.
    #[arg(long)]
    refuse: bool,
    /// Length of the probation, ms.
    #[arg(long, default_value_t = 0)]
    probation: u64,
    /// Take no orders.
    #[arg(long)]
    deaf: bool,
    /// Start children all the time.
    #[arg(long)]
    storm: bool,
    #[arg(long)]
    nofile: Option<u64>,
    #[arg(long)]
    nofile_most: Option<u64>,
}

/// Runs the server with the command line's options.
pub fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(LIST) {
        list();
        return ExitCode::SUCCESS;
    }
    // Whatever the test runner left open is not the node's.
    let known = found().into_iter().map(|(number, _)| number).collect();
    match serve(&Options::parse(), known) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let who = error
                .downcast_ref()
                .map(|e: &handover::Error| format!("{:?}", e.who_serves()));
            say(&format!("failed {} {error}", who.unwrap_or_default()));
            ExitCode::FAILURE
        }
    }
}

fn say(line: &str) {
    // Nobody listens any more: then nobody misses it.
    let _ = writeln!(std::io::stdout(), "{}", line.replace('\n', " "));
}

/// What is open here beyond the three streams, and the directory that is looked into: numbers and what they are.
fn found() -> Vec<(String, String)> {
    let entries = std::fs::read_dir("/proc/self/fd").expect("proc");
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let number = entry.file_name().to_string_lossy().into_owned();
        let target = std::fs::read_link(entry.path()).unwrap_or_default();
        if !["0", "1", "2"].contains(&&*number) && !target.ends_with("fd") {
            found.push((number, target.display().to_string()));
        }
    }
    found
}

/// Says what a child finds open but for the numbers that its parent itself was started with.
fn list() {
    let known: Vec<String> = std::env::args().skip(2).collect();
    for (number, target) in found() {
        if !known.contains(&number) {
            say(&format!("{number} {target}"));
        }
    }
}

fn orders(deaf: bool) -> Receiver<String> {
    let (sender, orders) = channel();
    std::thread::spawn(move || {
        if deaf {
            loop {
                std::thread::park();
            }
        }
        for line in std::io::stdin().lock().lines().map_while(std::result::Result::ok) {
            let _ = sender.send(line);
        }
        std::process::exit(9);
    });
    orders
}

/// Children beyond number, each of which says what it should not have.
#[derive(Default)]
struct Storm {
    on: AtomicBool,
    children: AtomicU64,
    leaks: AtomicU64,
}

impl Storm {
    fn start(self: &Arc<Self>, known: Vec<String>) {
        self.on.store(true, Ordering::Release);
        let storm = Arc::clone(self);
        std::thread::spawn(move || {
            while storm.on.load(Ordering::Acquire) {
                let child = Command::new("/proc/self/exe")
                    .arg(LIST)
                    .args(&known)
                    .stdin(Stdio::null())
                    .output();
                if let Ok(output) = child {
                    storm.children.fetch_add(1, Ordering::Relaxed);
                    if !output.stdout.is_empty() {
                        storm.leaks.fetch_add(1, Ordering::Relaxed);
                        eprint!("leaked: {}", String::from_utf8_lossy(&output.stdout));
                    }
                }
            }
        });
    }
}

fn make(kind: &str) -> std::io::Result<OwnedFd> {
    Ok(match kind {
        "pipe" => {
            let (reader, mut writer) = std::io::pipe()?;
            writer.write_all(b"in the pipe")?;
            reader.into()
        }
        "event" => eventfd(EVENTS, EventfdFlags::CLOEXEC)?,
        "timer" => {
            let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?;
            let time = Timespec {
                tv_sec: INTERVAL,
                tv_nsec: 0,
            };
            let spec = Itimerspec {
                it_interval: time,
                it_value: time,
            };
            timerfd_settime(&timer, TimerfdTimerFlags::empty(), &spec)?;
            timer
        }
        text => memfd(text)?,
    })
}

fn memfd(text: &str) -> std::io::Result<OwnedFd> {
    let fd = memfd_create("kept", MemfdFlags::CLOEXEC)?;
    let mut file = std::fs::File::from(fd);
    file.write_all(text.as_bytes())?;
    Ok(file.into())
}

fn declare(options: &Options) -> Result<Starting> {
    let mut deadlines = Deadlines::default();
    deadlines.probation = Duration::from_millis(options.probation);
    let mut builder = Node::builder(&options.node)
        .directory(options.dir.clone())
        .tick(ROUND)
        .deadlines(deadlines);
    for (name, address) in &options.tcp {
        let mut only = ListenOptions::default();
        only.v6only = Some(true);
        builder = builder.listener_with(name, address.parse()?, only);
    }
    for (name, address) in &options.dual {
        let mut both = ListenOptions::default();
        both.v6only = Some(false);
        builder = builder.listener_with(name, address.parse()?, both);
    }
    for (name, path) in &options.unix {
        builder = builder.unix_listener(name, path);
    }
    for (name, path) in &options.seqpacket {
        builder = builder.seqpacket_listener(name, path, ListenOptions::default());
    }
    for (name, address) in &options.udp {
        builder = builder.udp(name, address.parse()?);
    }
    for (name, path) in &options.datagrams {
        builder = builder.datagrams(name, path, ListenOptions::default());
    }
    for (name, kind) in options.make.clone() {
        builder = builder.descriptor(&name, move || make(&kind));
    }
    Ok(builder.start()?)
}

fn serve(options: &Options, known: Vec<String>) -> Result<()> {
    if let Some(soft) = options.nofile {
        let limit = Rlimit {
            current: Some(soft),
            maximum: Some(options.nofile_most.unwrap_or(soft)),
        };
        setrlimit(Resource::Nofile, limit)?;
    }
    let orders = orders(options.deaf);
    let storm = Arc::new(Storm::default());
    if options.storm {
        storm.start(known);
    }
    let mut starting = declare(options)?;
    let mut filler = Vec::new();
    loop {
        say(&format!("started {:?} {}", starting.role(), starting.plan()));
        if options.claim {
            for name in starting.plan().dropped {
                starting.descriptor(&name)?;
            }
        }
        if options.refuse {
            say(&format!("refused {:?}", starting.refuse("told to refuse")));
            return Ok(());
        }
        while options.wait && orders.recv()? != "go" {}
        let node = starting.ready()?;
        say(&format!("serving {}", node.generation()));
        match run(&node, options, &orders, &storm, &mut filler)? {
            Stop::HandedOver => {
                say("handed over");
                match node.park(Vec::new())? {
                    Parked::Back(again) => starting = *again,
                    Parked::Over(drained) => {
                        say(&format!("drained {}", drained.closed));
                        return Ok(());
                    }
                }
            }
            Stop::GivenBack => {
                say("given back");
                let _ = node.drain(Vec::new());
                return Ok(());
            }
            Stop::Leaving => {
                node.stop(Vec::new(), true)?;
                say("stopped");
                return Ok(());
            }
            other => return Err(other.to_string().into()),
        }
    }
}

fn run(
    node: &Node,
    options: &Options,
    orders: &Receiver<String>,
    storm: &Storm,
    filler: &mut Vec<std::fs::File>,
) -> Result<Stop> {
    loop {
        match orders.recv_timeout(ROUND) {
            Ok(order) => {
                if order == "stop" {
                    return Ok(Stop::Leaving);
                }
                let (word, rest) = order.split_once(' ').unwrap_or((&order, ""));
                say(&format!("{word} {}", answer(node, options, storm, filler, word, rest)?));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(e) => return Err(e.into()),
        }
        match node.enter() {
            Ok(pass) => {
                attend(node, options, &pass)?;
            }
            Err(stop) => return Ok(stop),
        }
    }
}

fn answer(
    node: &Node,
    options: &Options,
    storm: &Storm,
    filler: &mut Vec<std::fs::File>,
    word: &str,
    rest: &str,
) -> Result<String> {
    Ok(match word {
        "plan" => node.plan().to_string(),
        "keep" => {
            let (name, text) = rest.split_once('=').ok_or("name=text")?;
            match node.keep(name, memfd(text)?) {
                Ok(()) => "kept".into(),
                Err(error) => error.to_string(),
            }
        }
        "keep-many" => {
            let count: usize = rest.parse()?;
            for i in 0..count {
                node.keep(&format!("many-{i}"), memfd(&i.to_string())?)?;
            }
            count.to_string()
        }
        "check-many" => {
            let count: usize = rest.parse()?;
            let right = |i: &usize| {
                let fd = node.descriptor(&format!("many-{i}"));
                fd.is_ok_and(|fd| content(&fd).is_ok_and(|text| text == i.to_string()))
            };
            (0..count).filter(right).count().to_string()
        }
        "content" => content(&*node.descriptor(rest)?)?,
        "info" => info(node.descriptor(rest)?.as_fd())?,
        "read" => {
            let mut bytes = [0; 64];
            let n = rustix::io::read(&*node.descriptor(rest)?, &mut bytes)?;
            String::from_utf8_lossy(&bytes[..n]).into_owned()
        }
        "udp-buffer" => {
            let socket = node.udp(rest)?;
            format!("{}", rustix::net::sockopt::socket_recv_buffer_size(&socket)?)
        }
        "udp-set" => {
            let (name, size) = rest.split_once(' ').ok_or("name size")?;
            rustix::net::sockopt::set_socket_recv_buffer_size(&node.udp(name)?, size.parse()?)?;
            String::new()
        }
        "address" => node.listener(rest)?.local_addr()?.to_string(),
        "flags" => flags(&node.listener(rest)?)?,
        "set-flags" => set_flags(&node.listener(rest)?)?,
        "fill" => {
            let full = loop {
                match std::fs::File::open("/dev/null") {
                    Ok(file) => filler.push(file),
                    Err(e) => break e,
                }
            };
            format!("{} {full}", filler.len())
        }
        "empty" => {
            filler.clear();
            String::new()
        }
        "storm" => {
            storm.on.store(false, Ordering::Release);
            let load = |n: &AtomicU64| n.load(Ordering::Relaxed);
            format!("{} {}", load(&storm.children), load(&storm.leaks))
        }
        "confirm" => node.confirm().to_string(),
        "back" => {
            node.give_back(rest)?;
            String::new()
        }
        "names" => options
            .tcp
            .iter()
            .map(|(n, _)| n.as_str())
            .collect::<Vec<_>>()
            .join(" "),
        other => return Err(format!("{other:?} is no order").into()),
    })
}

fn content(fd: &impl AsFd) -> Result<String> {
    // Through a description of its own: the offset of the kept one is shared.
    let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    let mut file = std::fs::File::open(path)?;
    let mut text = String::new();
    file.rewind()?;
    file.read_to_string(&mut text)?;
    Ok(text)
}

/// What the kernel says about a descriptor that does not change by itself.
fn info(fd: BorrowedFd<'_>) -> Result<String> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()))?;
    let known = ["eventfd-count", "eventfd-id", "it_interval", "ino"];
    let lines = text.lines().filter(|line| known.iter().any(|k| line.starts_with(k)));
    Ok(lines.collect::<Vec<_>>().join(" "))
}

fn flags(listener: &impl AsFd) -> Result<String> {
    use rustix::net::sockopt as o;
    let l = listener.as_fd();
    Ok(format!(
        "{} {} {} {} {} {} {} {:?}",
        o::tcp_nodelay(l)?,
        o::socket_keepalive(l)?,
        o::socket_recv_buffer_size(l)?,
        o::socket_send_buffer_size(l)?,
        o::tcp_user_timeout(l)?,
        o::ip_ttl(l)?,
        o::socket_reuseport(l)?,
        rustix::fs::fcntl_getfl(l)?,
    ))
}

fn set_flags(listener: &impl AsFd) -> Result<String> {
    use rustix::net::sockopt as o;
    let l = listener.as_fd();
    o::set_tcp_nodelay(l, true)?;
    o::set_socket_keepalive(l, true)?;
    o::set_socket_recv_buffer_size(l, 40_000)?;
    o::set_socket_send_buffer_size(l, 50_000)?;
    o::set_tcp_user_timeout(l, 7_777)?;
    o::set_ip_ttl(l, 33)?;
    o::set_socket_reuseport(l, true)?;
    flags(listener)
}

/// Answers whoever came, by whatever way: with its own words, the name of the way and the generation.
fn attend(node: &Node, options: &Options, pass: &shmstate::Pass<'_>) -> Result<()> {
    let generation = pass.generation();
    let mut bytes = [0; 256];
    for (name, _) in options.tcp.iter().chain(&options.dual) {
        greet(&*node.listener(name)?, name, generation)?;
    }
    for (name, _) in &options.unix {
        greet(&*node.unix_listener(name)?, name, generation)?;
    }
    for (name, _) in &options.seqpacket {
        greet(&*node.descriptor(name)?, name, generation)?;
    }
    for (name, _) in &options.udp {
        let socket = node.udp(name)?;
        while let Some((n, from)) = socket.recv_from(pass, &mut bytes)? {
            let answer = format!("{} {generation}", String::from_utf8_lossy(&bytes[..n]));
            let from: SocketAddr = from;
            socket.send_to(pass, answer.as_bytes(), from)?;
        }
    }
    for (name, _) in &options.datagrams {
        let socket = node.datagrams(name)?;
        while let Some((n, from)) = socket.recv_from(pass, &mut bytes)? {
            let answer = format!("{} {generation}", String::from_utf8_lossy(&bytes[..n]));
            if let Some(path) = from.as_pathname() {
                socket.send_to(pass, answer.as_bytes(), path)?;
            }
        }
    }
    Ok(())
}

fn greet(listener: &impl AsFd, name: &str, generation: u64) -> Result<()> {
    loop {
        match accept_with(listener, SocketFlags::CLOEXEC) {
            Ok(client) => {
                // A client that is gone already misses nothing.
                let _ = send(&client, format!("{name} {generation}").as_bytes(), SendFlags::NOSIGNAL);
                let _ = recv(&client, &mut [0u8; 1], RecvFlags::DONTWAIT);
            }
            Err(rustix::io::Errno::AGAIN) => return Ok(()),
            Err(e) => return Err(e.into()),
        }
    }
}
