//! The server: gets its node, is ready, ticks until a successor serves, and misbehaves where it is told to.

use crate::node::crash::Crash;
use crate::node::forbidden::forbid_pidfd_getfd;
use crate::node::options::{Fault, Options, Sabotage};
use crate::node::plain;
use crate::node::report::{Order, Report};
use crate::node::witness::{Held, Witness};
use crate::node::world::World;
use crate::node::wrong::Wrong;
use clap::Parser;
use handover::{Connections, Drained, Ended, Node, Parked, Role, Starting, Stop, Work};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use shmstate::{Cell, Region, StreamId};
use std::collections::HashSet;
use std::io::{BufRead, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Address space of the region.
const CAPACITY: u64 = 64 << 20;
/// Between two looks at whether a drain is over.
const DRAIN_LOOK: Duration = Duration::from_millis(2);
/// Connections a tick looks at, to give back the rings of those that are idle.
const TIDIED: usize = 8;
/// Room for what is carried.
const CARRY: u64 = 64 << 10;
/// Address space of another region.
const EXTRA: u64 = 8 << 20;
/// Exit code when standard input ends: the test is gone (N2).
const ORPHAN: i32 = 9;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// How long a server does nothing that is told to hang where it must not.
const HANG: Duration = Duration::from_secs(6);
/// How long one that goes on as if it owned the node does so.
const USURP: Duration = Duration::from_millis(100);

/// Runs the server with the command line's options.
pub fn main() -> ExitCode {
    run(&Options::parse())
}

/// Runs the server.
#[must_use]
pub fn run(options: &Options) -> ExitCode {
    if let Some(path) = &options.through
        && let Err(error) = go_through(path)
    {
        eprintln!("{}: {error}", path.display());
        return ExitCode::FAILURE;
    }
    let orders = listen();
    match serve(options, orders) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let who = match error.downcast_ref::<handover::Error>() {
                Some(error) => format!("{:?}", error.who_serves()),
                None => String::new(),
            };
            let text = error.to_string();
            say(&Report::Failed { who, text });
            ExitCode::FAILURE
        }
    }
}

/// Has orders come from a socket and reports go there.
fn go_through(path: &Path) -> std::io::Result<()> {
    let socket = UnixStream::connect(path)?;
    nix::unistd::dup2_stdin(&socket)?;
    nix::unistd::dup2_stdout(&socket)?;
    Ok(())
}

fn say(report: &Report) {
    // Nobody listens any more: then nobody misses it.
    if let Ok(line) = serde_json::to_string(report) {
        let _ = writeln!(std::io::stdout(), "{line}");
    }
}

/// Orders as they come; the end of input ends this process.
fn listen() -> Receiver<Order> {
    let (sender, orders) = channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(order) = line.unwrap_or_default().parse() else {
                break;
            };
            // After the last look at orders nobody takes them.
            let _ = sender.send(order);
        }
        std::process::exit(ORPHAN);
    });
    orders
}

fn limit(options: &Options) -> Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    // A crash that is meant leaves no core behind, unless one is asked for (`Order::Load`).
    let none = Rlimit {
        current: Some(0),
        ..getrlimit(Resource::Core)
    };
    setrlimit(Resource::Core, none)?;
    if options.forbidden {
        forbid_pidfd_getfd()?;
    }
    if let Some(most) = options.nofile {
        let lower = Rlimit {
            current: Some(most),
            maximum: Some(options.nofile_most.unwrap_or(most)),
        };
        setrlimit(Resource::Nofile, lower)?;
    }
    Ok(())
}

fn serve(options: &Options, orders: Receiver<Order>) -> Result<()> {
    limit(options)?;
    if options.fault == Some(Fault::ExitAtOnce) {
        return Err("told to exit at once".into());
    }
    let mut world = Region::options().capacity(CAPACITY);
    if let Some(directory) = &options.world_in {
        world = world.directory(directory);
    }
    let builder = Node::builder(&options.node)
        .directory(options.dir.clone())
        .build_id(&options.build)
        .tick(Duration::from_millis(options.tick))
        .speak_at_most(options.speaks)
        .deadlines(options.deadlines())
        .listener("clients", options.listen)
        .region_with("world", world);
    let builder = match &options.extra {
        Some(name) => builder.region(name, EXTRA),
        None => builder,
    };
    let builder = match options.plain {
        Some(address) => builder.listener("plain", address),
        None => builder,
    };
    let builder = if options.carry { builder.carry(CARRY) } else { builder };
    let starting = builder.start()?;
    let (role, before) = match starting.role() {
        Role::Recovered { generation } => ("recovered", generation),
        Role::Successor { generation } => ("successor", generation),
        _ => ("first", 0),
    };
    say(&Report::Started {
        role: role.into(),
        before,
    });
    let Some(mut starting) = fail(options.fault, starting)? else {
        return Ok(());
    };
    let mut core = None;
    if options.wait {
        loop {
            match orders.recv()? {
                Order::Go => break,
                // For one that is struck down while it stands by.
                Order::Load => {
                    core = Some(Crash::prepare(options.dir.parent().unwrap_or(&options.dir)));
                    say(&Report::Loaded);
                }
                _ => {}
            }
        }
    }
    let mut own = Own {
        options,
        orders,
        witness: options.witness.as_deref().map(Witness::open).transpose()?.map(Arc::new),
        wrong: Wrong::of(options.sabotage),
        kept: Vec::new(),
        work: Vec::new(),
    };
    while let Some(back) = own.serve(starting)? {
        starting = back;
    }
    drop(core);
    Ok(())
}

/// What a server has for all the times that it gets the node.
struct Own<'o> {
    options: &'o Options,
    orders: Receiver<Order>,
    witness: Option<Arc<Witness>>,
    wrong: Wrong,
    /// What a server that leaks does not let go.
    kept: Vec<std::fs::File>,
    work: Vec<Work>,
}

impl Own<'_> {
    /// From everything is here to the end, or to the point where the node is here again.
    fn serve(&mut self, mut starting: Starting) -> Result<Option<Starting>> {
        let options = self.options;
        if options.sabotage == Some(Sabotage::Leak) {
            self.kept.push(std::fs::File::open("/dev/null")?);
        }
        let mut region = starting.region("world")?;
        // Who receives a world compares the shapes before it is ready; who makes it, or recovers it, can do so only as its owner.
        let found = match starting.role() {
            Role::Successor { .. } | Role::Returned { .. } => Some(World::open(&region)?),
            _ => None,
        };
        let extra = match &options.extra {
            Some(name) => Some((starting.region(name)?, starting.is_new(name))),
            None => None,
        };
        let node = starting.ready()?;
        let world = match found {
            Some(world) => world,
            None => region.write(&node.enter()?, World::create)?,
        };
        let mut server = Server {
            connections: node.connections(world.streams)?,
            listener: node.listener("clients")?,
            world,
            over: HashSet::new(),
            witness: self.witness.clone(),
            idle: options.idle,
            plain: match options.plain {
                Some(_) => Some((node.listener("plain")?, options.build.clone())),
                None => None,
            },
        };
        let (gone, answered) = {
            let held = Held::of(&node, server.witness.as_deref())??;
            let gone = match node.inherited() {
                true => server.connections.reconcile(&mut region, &held.pass)?.len(),
                false => 0,
            };
            let answered = world.totals.get(&*region.read(&held.pass)?)?.answered.to_native();
            (gone, answered)
        };
        let mut regions = vec![];
        if let Some((mut extra, new)) = extra {
            let pass = node.enter()?;
            let count = extra.write(&pass, |tx| {
                let cell: Cell<u64> = Cell::open_or_create(tx, "count", &0)?;
                let count = cell.get(tx)?.to_native() + 1;
                cell.set(tx, &count)?;
                shmstate::Result::Ok(count)
            })?;
            say(&Report::Extra { new, count });
            regions.push(extra);
        }
        if options.carry {
            let pass = node.enter()?;
            let carried = node.carried(&pass, "owners")?;
            let owners = carried
                .as_ref()
                .map_or("", |c| std::str::from_utf8(&c.bytes).unwrap_or("?"));
            let owners = format!("{owners}{}", options.build);
            node.carry(&pass, "owners", node.generation() as u32, owners.as_bytes())?;
            let too_large = node.carry(&pass, "owners", 0, &vec![0; 64 << 20]).is_err();
            let before = carried.map(|c| (c.version, c.generation));
            say(&Report::Carried {
                before,
                owners,
                too_large,
            });
        }
        say(&Report::Serving {
            generation: node.generation(),
            inherited: node.inherited(),
            gone,
            answered,
        });
        let generation = node.generation();
        let stop = server.run(&node, &mut region, self)?;
        drop(server);
        regions.push(region);
        match stop {
            Stop::HandedOver if options.park => {
                say(&Report::HandedOver);
                self.usurp(generation)?;
                match node.park(regions)? {
                    Parked::Back(back) => {
                        if let Role::Returned { generation, cause } = back.role() {
                            let cause = format!("{cause:?}");
                            let before = generation;
                            say(&Report::Back { before, cause });
                        }
                        return Ok(Some(*back));
                    }
                    Parked::Over(drained) => say_drained(drained),
                }
            }
            Stop::HandedOver => {
                say(&Report::HandedOver);
                self.usurp(generation)?;
                let (orders, work) = (&self.orders, &mut self.work);
                let over = AtomicBool::new(false);
                say_drained(std::thread::scope(|s| {
                    let drained = s.spawn(|| {
                        let drained = node.drain(regions);
                        over.store(true, Ordering::Release);
                        drained
                    });
                    // The work ends when the test says so, while the other thread drains.
                    while !over.load(Ordering::Acquire) {
                        if let Ok(Order::Done) = orders.recv_timeout(DRAIN_LOOK) {
                            work.clear();
                        }
                    }
                    drained.join().map_err(|_| "the drain panicked")
                })?);
            }
            Stop::GivenBack => {
                say(&Report::GivenBack);
                say_drained(node.drain(regions));
            }
            Stop::Leaving => {
                node.stop(regions, true)?;
                say(&Report::Stopped);
            }
            Stop::Failed(error) => return Err(error.into()),
        }
        Ok(None)
    }

    /// Goes on as if this process still owned the node, if it is one that does.
    fn usurp(&self, generation: u64) -> Result<()> {
        if let (Some(Sabotage::TwoOwners), Some(witness)) = (self.options.sabotage, &self.witness) {
            let end = Instant::now() + USURP;
            while Instant::now() < end {
                drop(witness.enter(generation)?);
                std::thread::sleep(DRAIN_LOOK);
            }
        }
        Ok(())
    }
}

fn say_drained(drained: Drained) {
    say(&Report::Drained {
        left: drained.left,
        took_ms: drained.took.as_millis() as u64,
    });
}

/// Fails as told; gives back what there is if there was nothing to fail at.
fn fail(fault: Option<Fault>, mut starting: Starting) -> Result<Option<Starting>> {
    let reason = match fault {
        None | Some(Fault::ExitAtOnce) => return Ok(Some(starting)),
        Some(Fault::AbortAfterStart) => std::process::abort(),
        Some(Fault::DropAfterStart) => return Ok(None),
        Some(Fault::Refuse) => "told to refuse".into(),
        Some(Fault::OtherSchema) => match World::open_otherwise(&starting.region("world")?) {
            Ok(_) => return Err("another schema was let in".into()),
            Err(error) => error.to_string(),
        },
    };
    let who = format!("{:?}", starting.refuse(&reason));
    say(&Report::Failed { who, text: reason });
    Ok(None)
}

struct Server {
    witness: Option<Arc<Witness>>,
    connections: Connections,
    listener: Arc<TcpListener>,
    world: World,
    /// Connections whose peer is gone; they end with the next tick.
    over: HashSet<StreamId>,
    idle: bool,
    /// Where the connections come from that the server keeps itself, and what it was built from.
    plain: Option<(Arc<TcpListener>, String)>,
}

impl Server {
    fn run(&mut self, node: &Node, region: &mut Region, own: &mut Own<'_>) -> Result<Stop> {
        let tick = Duration::from_millis(own.options.tick);
        let (orders, work, wrong) = (&own.orders, &mut own.work, &mut own.wrong);
        if let Some(stop) = self.flush(node, region)? {
            return Ok(stop);
        }
        let mut due = Instant::now();
        let mut loading: Option<std::thread::JoinHandle<Crash>> = None;
        loop {
            while let Ok(order) = orders.try_recv() {
                match order {
                    Order::Hold => {
                        let held = match Held::of(node, self.witness.as_deref())? {
                            Ok(held) => held,
                            Err(stop) => return Ok(stop),
                        };
                        say(&Report::Holding);
                        while orders.recv()? != Order::Release {}
                        held.over();
                    }
                    Order::Work => {
                        work.push(node.work().begin());
                        say(&Report::Working);
                    }
                    Order::Done => work.clear(),
                    Order::Stop => return Ok(Stop::Leaving),
                    Order::Sleep => {
                        say(&Report::Holding);
                        while orders.recv()? != Order::Release {}
                    }
                    Order::Tear => {
                        let held = match Held::of(node, self.witness.as_deref())? {
                            Ok(held) => held,
                            Err(stop) => return Ok(stop),
                        };
                        let mut tx = region.begin(&held.pass)?;
                        self.world.tear(&mut tx)?;
                        say(&Report::Holding);
                        while orders.recv()? != Order::Release {}
                        tx.rollback();
                        held.over();
                    }
                    Order::Spoil => {
                        let held = match Held::of(node, self.witness.as_deref())? {
                            Ok(held) => held,
                            Err(stop) => return Ok(stop),
                        };
                        region.write(&held.pass, |tx| self.world.tear(tx))?;
                        say(&Report::Holding);
                        held.over();
                    }
                    Order::Load => {
                        let directory = own.options.dir.parent().unwrap_or(&own.options.dir).to_owned();
                        // It takes a while, and this server is not to hang.
                        loading = Some(std::thread::spawn(move || {
                            let crash = Crash::prepare(&directory);
                            say(&Report::Loaded);
                            crash
                        }));
                    }
                    Order::Crash => {
                        let crash = loading.take().ok_or("nothing is loaded")?;
                        let crash = crash.join().map_err(|_| "the crash could not be prepared")?;
                        // The witness does not see this pass: a lock lasts as long as the core is written.
                        let pass = match node.enter() {
                            Ok(pass) => pass,
                            Err(stop) => return Ok(stop),
                        };
                        let mut tx = region.begin(&pass)?;
                        self.world.tear(&mut tx)?;
                        say(&Report::Holding);
                        crash.now();
                    }
                    Order::GiveBack => node.give_back("told to")?,
                    Order::Confirm => say(&Report::Confirmed(node.confirm())),
                    Order::Go | Order::Release => {}
                }
            }
            if let Some((listener, build)) = &self.plain {
                let mover = node.mover();
                plain::accept(listener, build, &mover);
                for moved in node.moved() {
                    plain::go_on(moved, build, &mover);
                }
            }
            due = (due + tick).max(Instant::now());
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let ready = self.connections.wait(Duration::ZERO)?;
            if self.idle && ready == 0 && !self.newcomers()? {
                if self.cut_short(node) {
                    return Ok(Stop::HandedOver);
                }
                continue;
            }
            if wrong.now(Sabotage::Hang) {
                std::thread::sleep(HANG);
            }
            if let Some(stop) = self.tick(node, region, wrong)? {
                return Ok(stop);
            }
            if let Some(stop) = self.flush(node, region)? {
                return Ok(stop);
            }
        }
    }

    /// An idle server learns of its end by asking for a pass, in which it does nothing.
    fn cut_short(&self, node: &Node) -> bool {
        !node.gate().is_open() && matches!(node.enter(), Err(Stop::HandedOver))
    }

    fn newcomers(&self) -> Result<bool> {
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut fds = [PollFd::new(&self.listener, PollFlags::IN)];
        Ok(poll(&mut fds, Some(&none))? > 0)
    }

    /// One transaction: accept, answer, end what is over.
    fn tick(&mut self, node: &Node, region: &mut Region, wrong: &mut Wrong) -> Result<Option<Stop>> {
        let held = match Held::of(node, self.witness.as_deref())? {
            Ok(held) => held,
            Err(stop) => return Ok(Some(stop)),
        };
        let pass = &held.pass;
        let over = &mut self.over;
        self.connections.receive(&mut region.io(pass)?, |id, _: Ended| {
            over.insert(id);
        })?;
        let mut tx = region.begin(pass)?;
        self.world.tick(&mut tx)?;
        self.connections.accept(&mut tx, &self.listener)?;
        for id in self.world.streams.with_input(&tx)? {
            let over = self.over.contains(&id) || wrong.now(Sabotage::Cut);
            if over || !self.world.answer(&mut tx, id, pass.generation(), || wrong.times())? {
                self.over.insert(id);
            }
        }
        let mut ended = Vec::new();
        for id in self.over.drain() {
            match self.world.streams.end(&mut tx, id) {
                Ok(()) => ended.push(id),
                // Found twice: by the receiver and by the sender.
                Err(shmstate::Error::NoStream { .. }) => {}
                Err(e) => return Err(e.into()),
            }
        }
        self.world.streams.tidy(&mut tx, TIDIED)?;
        tx.commit()?;
        held.over();
        for id in ended {
            self.connections.hang_up(id);
        }
        Ok(None)
    }

    /// Sends what was produced; if the gate has closed meanwhile, the successor does it.
    fn flush(&mut self, node: &Node, region: &mut Region) -> Result<Option<Stop>> {
        let held = match Held::of(node, self.witness.as_deref())? {
            Ok(held) => held,
            Err(stop) => return Ok(Some(stop)),
        };
        let over = &mut self.over;
        self.connections.send(&mut region.io(&held.pass)?, |id, _| {
            over.insert(id);
        })?;
        held.over();
        Ok(None)
    }
}
