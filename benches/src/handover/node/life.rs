//! The life of a server process: asks for its node, serves, hands over, and perhaps asks again.

use crate::Result;
use crate::handover::event::{Event, Order, Serving};
use crate::handover::node::crowd::{self, Crowd};
use crate::handover::node::options::{Options, Pace};
use crate::handover::node::server::{First, Server};
use crate::handover::node::sweep::sweep;
use crate::handover::node::world::{Annex, World};
use handover::{Deadlines, Node, Parked, Role, Starting, Stop};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use shmstate::{Region, monotonic_ns};
use std::collections::HashSet;
use std::io::{BufRead, Write};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Exit code when standard input ends: the report is gone.
const ORPHAN: i32 = 9;
/// Address space of the first region beyond its records.
const HEADROOM: u64 = 256 << 20;
/// Address space of each other region.
const SMALL: u64 = 2 << 20;
/// Where nothing ticks, a pass comes about as often.
const AT_ONCE: Duration = Duration::from_millis(1);

/// Runs a server.
#[must_use]
pub fn main(options: &Options) -> ExitCode {
    match lives(options, &listen(options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&Event::Failed(error.to_string()));
            ExitCode::FAILURE
        }
    }
}

fn say(event: &Event) {
    // Nobody listens any more: then nobody misses it.
    if let Ok(line) = serde_json::to_string(event) {
        let _ = writeln!(std::io::stdout(), "{line}");
    }
}

/// Orders as they come; the end of input ends this process, and the node with it: the report is gone.
fn listen(options: &Options) -> Receiver<Order> {
    let (sender, orders) = channel();
    let (base, node) = (options.dir.clone(), options.node.clone());
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(order) = line.unwrap_or_default().parse() else {
                break;
            };
            // After the last look at orders nobody takes them.
            let _ = sender.send(order);
        }
        sweep(&base, &node);
        std::process::exit(ORPHAN);
    });
    orders
}

fn lives(options: &Options, orders: &Receiver<Order>) -> Result<()> {
    if options.core {
        let most = getrlimit(Resource::Core).maximum;
        let limit = Rlimit {
            current: most,
            maximum: most,
        };
        setrlimit(Resource::Core, limit)?;
    }
    if options.small_pages {
        rustix::thread::disable_transparent_huge_pages(true)?;
    }
    if !options.resident {
        return live(options, orders).map(drop);
    }
    say(&Event::Resident);
    loop {
        while orders.recv()? != Order::Join {}
        if live(options, orders)? == End::Stopped {
            return Ok(());
        }
    }
}

#[derive(PartialEq, Eq)]
enum End {
    Drained,
    Stopped,
}

/// From asking for the node to its end in this process.
fn live(options: &Options, orders: &Receiver<Order>) -> Result<End> {
    let asked = monotonic_ns();
    let mut deadlines = Deadlines::default();
    deadlines.probation = Duration::from_millis(options.probation_ms);
    let mut builder = Node::builder(&options.node)
        .directory(options.dir.clone())
        .deadlines(deadlines)
        .tick(match options.pace() {
            Pace::Ticks(tick) => tick,
            Pace::AtOnce => AT_ONCE,
        })
        .listener("clients", options.listen)
        .region("world", options.bytes / 4 * 5 + HEADROOM + options.crowd * crowd::SPACE);
    for name in annexes(options) {
        builder = builder.region(&name, SMALL);
    }
    let mut starting = builder.start()?;
    let mut serving = Serving {
        asked,
        started: monotonic_ns(),
        ..Serving::default()
    };
    say(&Event::Started);
    if options.hold {
        while orders.recv()? != Order::Go {}
    }
    loop {
        match serve(options, orders, starting, serving)? {
            Next::Back(again) => starting = *again,
            Next::End(end) => return Ok(end),
        }
        // It asked for nothing: it was given the node back.
        (serving.asked, serving.started) = (0, 0);
    }
}

/// Names of the regions beyond the first.
fn annexes(options: &Options) -> Vec<String> {
    (1..options.regions).map(|number| format!("annex{number}")).collect()
}

enum Next {
    Back(Box<Starting>),
    End(End),
}

/// From having everything to the end of owning it, and of the successor's probation.
fn serve(options: &Options, orders: &Receiver<Order>, mut starting: Starting, mut serving: Serving) -> Result<Next> {
    let mut region = starting.region("world")?;
    let mut others = Vec::new();
    for name in annexes(options) {
        others.push(starting.region(&name)?);
    }
    let found = match starting.role() {
        Role::Successor { .. } | Role::Returned { .. } => {
            let annexes: shmstate::Result<Vec<_>> = others.iter().map(Annex::open).collect();
            let crowd = (options.crowd > 0).then(|| Crowd::open(&region, options.next));
            Some((World::open(&region)?, annexes?, crowd.transpose()?))
        }
        Role::First | Role::Recovered { .. } => None,
    };
    let node = starting.ready()?;
    let (world, annexes, crowd) = match found {
        Some(found) => found,
        None => make(options, &node, &mut region, &mut others)?,
    };
    let mut server = Server {
        connections: node.connections(world.streams)?,
        listener: node.listener("clients")?,
        world,
        crowd,
        annexes: others.into_iter().zip(annexes).collect(),
        over: HashSet::new(),
        ticks: 0,
        first: First::default(),
        due: Instant::now(),
    };
    serving.generation = node.generation();
    serving.streams = server.connections.len() as u64;
    {
        let pass = node.enter()?;
        serving.first_pass = monotonic_ns();
        if node.inherited() {
            server.connections.reconcile(&mut region, &pass)?;
        }
        server.flush(&mut region, &pass)?;
        let reader = region.read(&pass)?;
        serving.last_tick = world.last_tick(&reader)?;
        serving.records = world.archived(&reader)?;
        // How the memory lies is asked once: it takes a while.
        if serving.generation == 1 {
            let memory = region.memory(&pass)?;
            (serving.huge, serving.allocated) = (memory.huge, memory.allocated);
        }
    }
    // What it tells is told when it has served once: nobody has to wait for that.
    let first = server.round(&node, &mut region, options.pace())?;
    let history = node.control().history();
    let own = history.iter().rev().find(|h| h.to_generation == serving.generation);
    if let Some((record, blackout)) = own.and_then(|record| Some((record, record.blackout()?))) {
        serving.blackout = blackout.as_nanos() as u64;
        serving.noise = record.noise;
    }
    let First { pending, left, took } = server.first;
    (serving.pending, serving.left, serving.first_tick) = (pending, left, took);
    say(&Event::Serving(serving));
    let stop = match first {
        Some(stop) => stop,
        None => server.run(&node, &mut region, options.pace(), orders)?,
    };
    let Server { annexes, .. } = server;
    let mut regions = vec![region];
    regions.extend(annexes.into_iter().map(|(region, _)| region));
    let drained = match stop {
        Stop::HandedOver => {
            say(&Event::HandedOver);
            match options.probation_ms {
                0 => node.drain(regions),
                _ => match node.park(regions)? {
                    Parked::Back(again) => return Ok(Next::Back(again)),
                    Parked::Over(drained) => drained,
                },
            }
        }
        Stop::GivenBack => node.drain(regions),
        Stop::Leaving => {
            node.stop(regions, true)?;
            say(&Event::Stopped);
            return Ok(Next::End(End::Stopped));
        }
        Stop::Failed(error) => return Err(error.into()),
    };
    if drained.left > 0 {
        return Err(format!("{} pieces of work were not over when the drain ended", drained.left).into());
    }
    say(&Event::Drained);
    Ok(Next::End(End::Drained))
}

/// A new world.
fn make(
    options: &Options,
    node: &Node,
    region: &mut Region,
    others: &mut [Region],
) -> Result<(World, Vec<Annex>, Option<Crowd>)> {
    let pass = node.enter()?;
    let world = region.write(&pass, World::create)?;
    world.fill(region, &pass, options.bytes)?;
    let mut annexes = Vec::new();
    for other in others {
        annexes.push(other.write(&pass, Annex::create)?);
    }
    let crowd = (options.crowd > 0).then(|| Crowd::create(region, &pass, options.crowd));
    Ok((world, annexes, crowd.transpose()?))
}
