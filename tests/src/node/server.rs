//! The server: gets its node, is ready, ticks until a successor serves, and misbehaves where it is told to.

use crate::node::options::{Fault, Options};
use crate::node::report::{Order, Report};
use crate::node::world::World;
use clap::Parser;
use handover::{Connections, Ended, Node, Role, Starting, Stop, Work};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use shmstate::{Region, StreamId};
use std::collections::HashSet;
use std::io::{BufRead, Write};
use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Address space of the region.
const CAPACITY: u64 = 64 << 20;
/// Exit code when standard input ends: the test is gone (N2).
const ORPHAN: i32 = 9;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Runs the server with the command line's options.
pub fn main() -> ExitCode {
    let options = Options::parse();
    let orders = listen();
    match serve(&options, orders) {
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
    use rustix::process::{Resource, Rlimit, setrlimit};
    // A crash that is meant leaves no core behind.
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none)?;
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
    let mut starting = Node::builder(&options.node)
        .directory(options.dir.clone())
        .build_id(&options.build)
        .tick(Duration::from_millis(options.tick))
        .deadlines(options.deadlines())
        .listener("clients", options.listen)
        .region_with("world", world)
        .start()?;
    let mut region = starting.region("world")?;
    let (role, before) = match starting.role() {
        Role::First => ("first", 0),
        Role::Recovered { generation } => ("recovered", generation),
        Role::Successor { generation } => ("successor", generation),
    };
    say(&Report::Started {
        role: role.into(),
        before,
    });
    let Some(starting) = fail(options.fault, starting, &region)? else {
        return Ok(());
    };
    let found = match starting.role() {
        Role::Successor { .. } => Some(World::open(&region)?),
        Role::First | Role::Recovered { .. } => None,
    };
    if options.wait {
        while orders.recv()? != Order::Go {}
    }
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
        idle: options.idle,
    };
    let (gone, answered) = {
        let pass = node.enter()?;
        let gone = match node.inherited() {
            true => server.connections.reconcile(&mut region, &pass)?.len(),
            false => 0,
        };
        (gone, world.totals.get(&*region.read(&pass)?)?.answered.to_native())
    };
    say(&Report::Serving {
        generation: node.generation(),
        inherited: node.inherited(),
        gone,
        answered,
    });
    let mut work = Vec::new();
    let stop = server.run(
        &node,
        &mut region,
        &orders,
        &mut work,
        Duration::from_millis(options.tick),
    )?;
    drop(server);
    match stop {
        Stop::HandedOver => {
            say(&Report::HandedOver);
            finish_work(work, orders);
            let drained = node.drain(vec![region]);
            say(&Report::Drained {
                left: drained.left,
                took_ms: drained.took.as_millis() as u64,
            });
            Ok(())
        }
        Stop::Leaving => {
            node.stop(vec![region], true)?;
            say(&Report::Stopped);
            Ok(())
        }
        Stop::Failed(error) => Err(error.into()),
    }
}

/// Fails as told; gives back what there is if there was nothing to fail at.
fn fail(fault: Option<Fault>, starting: Starting, region: &Region) -> Result<Option<Starting>> {
    let reason = match fault {
        None | Some(Fault::ExitAtOnce) => return Ok(Some(starting)),
        Some(Fault::AbortAfterStart) => std::process::abort(),
        Some(Fault::DropAfterStart) => return Ok(None),
        Some(Fault::Refuse) => "told to refuse".into(),
        Some(Fault::OtherSchema) => match World::open_otherwise(region) {
            Ok(_) => return Err("another schema was let in".into()),
            Err(error) => error.to_string(),
        },
    };
    let who = format!("{:?}", starting.refuse(&reason));
    say(&Report::Failed { who, text: reason });
    Ok(None)
}

/// Ends the work when told to, while the main thread drains.
fn finish_work(mut work: Vec<Work>, orders: Receiver<Order>) {
    std::thread::spawn(move || {
        while let Ok(order) = orders.recv() {
            if order == Order::Done {
                work.clear();
            }
        }
    });
}

struct Server {
    connections: Connections,
    listener: Arc<TcpListener>,
    world: World,
    /// Connections whose peer is gone; they end with the next tick.
    over: HashSet<StreamId>,
    idle: bool,
}

impl Server {
    fn run(
        &mut self,
        node: &Node,
        region: &mut Region,
        orders: &Receiver<Order>,
        work: &mut Vec<Work>,
        tick: Duration,
    ) -> Result<Stop> {
        if let Some(stop) = self.flush(node, region)? {
            return Ok(stop);
        }
        let mut due = Instant::now();
        loop {
            while let Ok(order) = orders.try_recv() {
                match order {
                    Order::Hold => {
                        let pass = match node.enter() {
                            Ok(pass) => pass,
                            Err(stop) => return Ok(stop),
                        };
                        say(&Report::Holding);
                        while orders.recv()? != Order::Release {}
                        drop(pass);
                    }
                    Order::Work => {
                        work.push(node.work().begin());
                        say(&Report::Working);
                    }
                    Order::Done => work.clear(),
                    Order::Stop => return Ok(Stop::Leaving),
                    Order::Go | Order::Release => {}
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
            for step in [Self::tick, Self::flush] {
                if let Some(stop) = step(self, node, region)? {
                    return Ok(stop);
                }
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
    fn tick(&mut self, node: &Node, region: &mut Region) -> Result<Option<Stop>> {
        let pass = match node.enter() {
            Ok(pass) => pass,
            Err(stop) => return Ok(Some(stop)),
        };
        let over = &mut self.over;
        self.connections.receive(&mut region.io(&pass)?, |id, _: Ended| {
            over.insert(id);
        })?;
        let mut tx = region.begin(&pass)?;
        self.world.tick(&mut tx)?;
        self.connections.accept(&mut tx, &self.listener)?;
        let mut ended = Vec::new();
        for id in self.world.streams.ids(&tx)? {
            if self.over.contains(&id) || !self.world.answer(&mut tx, id, pass.generation())? {
                self.world.streams.end(&mut tx, id)?;
                ended.push(id);
            }
        }
        self.over.clear();
        tx.commit()?;
        drop(pass);
        for id in ended {
            self.connections.hang_up(id);
        }
        Ok(None)
    }

    /// Sends what was produced; if the gate has closed meanwhile, the successor does it.
    fn flush(&mut self, node: &Node, region: &mut Region) -> Result<Option<Stop>> {
        let pass = match node.enter() {
            Ok(pass) => pass,
            Err(stop) => return Ok(Some(stop)),
        };
        let over = &mut self.over;
        self.connections.send(&mut region.io(&pass)?, |id, _| {
            over.insert(id);
        })?;
        Ok(None)
    }
}
