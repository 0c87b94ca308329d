//! The server's life: get the node, be ready, tick sixty times a second until a successor serves.

use crate::server::Rules;
use crate::server::fault::Fault;
use crate::server::monsters;
use crate::server::player::{Player, v1, v2};
use crate::server::players::{self, Tick, Verdict};
use crate::server::sabotage::{Sabotage, Saboteur};
use crate::server::tallies::{self, Tallies, Tally};
use crate::server::world::World;
use clap::Parser;
use handover::{Connections, Deadlines, Ended, Node, Parked, Role, Starting, Stop};
use shmstate::{Declared, Moving, Region, StreamId, Tx, monotonic_ns};
use std::collections::HashSet;
use std::error::Error;
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Length of a tick: 60 Hz.
pub const TICK: Duration = Duration::from_nanos(1_000_000_000 / 60);
/// A server that is this late gives up catching up: the world stood still.
const MOST_BEHIND: u64 = 250_000_000;
/// Connections a tick looks at, to give back the rings of those that are idle.
const TIDIED: usize = 64;
/// Players of an older version, and tallies, that a tick migrates without being asked.
const SWEPT: u64 = 100;
/// Address space beyond what the world needs at first.
const HEADROOM: u64 = 512 << 20;

/// An arena server. Start it: it is the arena. Start another while it runs: that one takes over.
#[derive(Clone, Debug, Parser)]
#[command(version, about)]
pub struct Options {
    /// Name of the node.
    #[arg(long, default_value = "arena")]
    pub node: String,
    /// Where players connect.
    #[arg(long, default_value = "127.0.0.1:4000")]
    pub listen: SocketAddr,
    /// MiB of archived records that a new world is filled with.
    #[arg(long, default_value_t = 16)]
    pub world_mib: u64,
    /// When stopped by SIGTERM or SIGINT, remove the world instead of leaving it for the next start.
    #[arg(long)]
    pub ephemeral: bool,
    /// Misbehave on purpose: lose-command, double-command, skip-tick, double-tick, wrong-score, cut-one.
    #[arg(long)]
    pub sabotage: Option<Sabotage>,
    /// How long a successor of this server may prepare before it is told to leave, milliseconds.
    #[arg(long, default_value_t = 60_000)]
    pub ready_timeout_ms: u64,
    /// How long this server waits after an upgrade, ready to take the node back if the new version dies, milliseconds. 0: it ends at once.
    #[arg(long, default_value_t = 10_000)]
    pub probation_ms: u64,
    /// Take the node back from a new version that has done no tick for so long, milliseconds; one that does not answer then is killed. 0: never.
    #[arg(long, default_value_t = 0)]
    pub watchdog_ms: u64,
    /// Keep the way back to the version before also when the upgrade is confirmed, so that arena-v1 can follow arena-v2 once more.
    #[arg(long)]
    pub keep_way_back: bool,
    /// Stop, as by SIGTERM, when the process that started this one ends, whose pid this is.
    #[arg(long, value_name = "PID")]
    pub until_parent_ends: Option<u32>,
}

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Runs a server under `rules` with the command line's options.
pub fn main(rules: Rules) -> ExitCode {
    main_with(rules, None)
}

/// The same, for a version that fails on purpose after it has taken over. It takes over or does nothing: alone it would be of no use.
pub fn main_with(rules: Rules, fault: Option<Fault>) -> ExitCode {
    let options = Options::parse();
    match serve(rules, fault, &options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("arena-v{}: {error}", rules.version);
            ExitCode::FAILURE
        }
    }
}

fn serve(rules: Rules, fault: Option<Fault>, options: &Options) -> Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    if let Some(parent) = options.until_parent_ends {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))?;
        // If it had ended before, the signal would never come.
        if std::os::unix::process::parent_id() != parent {
            return Err(format!("process {parent}, which was to be this one's parent, has ended or never was").into());
        }
    }
    let mut deadlines = Deadlines::default();
    deadlines.ready = Duration::from_millis(options.ready_timeout_ms);
    deadlines.probation = Duration::from_millis(options.probation_ms);
    if options.watchdog_ms > 0 {
        // One that ticks answers within a tick: it need not get longer than one that does not tick at all.
        deadlines.watchdog = Duration::from_millis(options.watchdog_ms);
        deadlines.give_back = deadlines.watchdog;
    }
    if fault.is_some() && !handover::is_describing() && !is_served(&options.node)? {
        return Err(format!(
            "nobody serves node {}, and this version takes no node of its own",
            options.node
        )
        .into());
    }
    let mut starting = Node::builder(&options.node)
        .build_id(&format!("arena-v{}", rules.version))
        .tick(TICK)
        .deadlines(deadlines)
        .listener("game", options.listen)
        .region("world", options.world_mib * (2 << 20) + HEADROOM)
        .tables("world", tables(rules))
        .start()?;
    // Two versions of a game are two programs; here they share one.
    let own = if rules.version == 1 {
        own::<v1::Player>
    } else {
        own::<v2::Player>
    };
    while let Some(back) = own(rules, fault, options, starting, &stop)? {
        // The successor did not live through its probation: this process is its node's once more.
        starting = back;
    }
    Ok(())
}

/// What a version opens in its world.
pub(crate) fn tables(rules: Rules) -> Vec<Declared> {
    if rules.version == 1 {
        World::<v1::Player>::declared()
    } else {
        World::<v2::Player>::declared()
    }
}

/// Whether a living process serves the node.
fn is_served(node: &str) -> Result<bool> {
    match handover::status(&handover::runtime_base(), node) {
        Ok(status) => Ok(status.alive),
        Err(handover::Error::Unknown { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// From everything is here to the end; or to the point where the node, handed over, is here again.
fn own<P: Player>(
    rules: Rules,
    fault: Option<Fault>,
    options: &Options,
    mut starting: Starting,
    stop: &AtomicBool,
) -> Result<Option<Starting>> {
    let mut region = starting.region("world")?;
    let role = starting.role();
    // Who receives a world compares its schemas here: another shape is refused while the predecessor serves on.
    let found = match World::<P>::open(&region) {
        Ok(world) => Some(world),
        // A new world, or one whose owner was killed before it had made all tables.
        Err(shmstate::Error::NoTable { .. }) => None,
        Err(error) => {
            let who = starting.refuse(&error.to_string());
            return Err(format!("{error}\n{who}").into());
        }
    };
    let moving = match tallies::look(&region, P::GUILDS) {
        Ok(moving) => moving,
        Err(error) => {
            let who = starting.refuse(&error.to_string());
            return Err(format!("{error}\n{who}").into());
        }
    };
    let node = starting.ready()?;
    let mut world = match (found, role) {
        (Some(world), Role::Successor { .. } | Role::Returned { .. }) => world,
        (found, _) => prepare(&node, &mut region, options, found)?,
    };
    world.tallies = Some(region.write(&node.enter()?, |tx| Tallies::open(tx, P::GUILDS))?);
    let mut server = Server {
        connections: node.connections(world.streams)?,
        listener: node.listener("game")?,
        world,
        moving,
        rules,
        saboteur: Saboteur::new(options.sabotage),
        keep_way_back: options.keep_way_back,
        fault,
        served: 0,
        over: HashSet::new(),
    };
    if node.inherited() {
        let pass = node.enter()?;
        server.connections.reconcile(&mut region, &pass)?;
    }
    if !matches!(role, Role::Successor { .. }) {
        println!(
            "arena-v{} serves node {} at {}",
            rules.version,
            options.node,
            server.listener.local_addr()?
        );
    }
    let stopped = server.run(&node, &mut region, stop);
    drop(server);
    let drained = match stopped? {
        Stop::HandedOver => match node.park_unless(vec![region], &|| stop.load(Ordering::Relaxed))? {
            Parked::Back(back) => return Ok(Some(*back)),
            Parked::Over(drained) => drained,
        },
        Stop::GivenBack => node.drain(vec![region]),
        Stop::Failed(error) => return Err(error.into()),
        Stop::Leaving => {
            leave(node, region, world, options)?;
            return Ok(None);
        }
    };
    if drained.left > 0 {
        return Err(format!("{} pieces of work were not over when the drain ended", drained.left).into());
    }
    Ok(None)
}

/// Ends the node, and says whether its world adds up.
fn leave<P: Player>(node: Node, region: Region, world: World<P>, options: &Options) -> Result<()> {
    let census = {
        let pass = node.enter()?;
        let reader = region.read(&pass)?;
        let verification = shmstate::verify(&reader)?;
        if !verification.is_sound() {
            return Err(format!("the world is not sound: {verification:?}").into());
        }
        monsters::census(world, &reader)?
    };
    node.stop(vec![region], options.ephemeral)?;
    println!("{census:?}");
    if census.energy.0 != census.energy.1 || census.said.0 != census.said.1 || census.asleep > 0 {
        return Err(format!("the world does not add up: {census:?}").into());
    }
    Ok(())
}

/// Makes a new world, or takes up the one that a killed server left.
fn prepare<P: Player>(
    node: &Node,
    region: &mut Region,
    options: &Options,
    found: Option<World<P>>,
) -> Result<World<P>> {
    let pass = node.enter()?;
    let world = match found {
        Some(world) => world,
        None => region.write(&pass, World::create)?,
    };
    if region.recovered().entries > 0 {
        eprintln!(
            "recovered: {} changes of an unfinished tick taken back",
            region.recovered().entries
        );
    }
    monsters::populate(world, region, &pass, options.world_mib << 20)?;
    Ok(world)
}

struct Server<P> {
    connections: Connections,
    listener: Arc<TcpListener>,
    world: World<P>,
    moving: Option<Moving<u64, Tally>>,
    rules: Rules,
    saboteur: Saboteur,
    keep_way_back: bool,
    fault: Option<Fault>,
    /// Ticks that this process has done.
    served: u64,
    /// Connections whose peer is gone; they end with the next tick.
    over: HashSet<StreamId>,
}

impl<P: Player> Server<P> {
    fn run(&mut self, node: &Node, region: &mut Region, stop: &AtomicBool) -> Result<Stop> {
        // A predecessor's last tick is committed; sending it may have been left to this process.
        if let Some(stop) = self.flush(node, region)? {
            return Ok(stop);
        }
        let mut due = {
            let pass = node.enter()?;
            let reader = region.read(&pass)?;
            self.world.clock.get(&reader)?.due.to_native()
        };
        while !stop.load(Ordering::Relaxed) {
            let now = monotonic_ns();
            if due == 0 || now > due + MOST_BEHIND {
                due = now;
            }
            if due > now {
                std::thread::sleep(Duration::from_nanos(due - now));
            }
            self.connections.wait(Duration::ZERO)?;
            due += TICK.as_nanos() as u64;
            if let Some(stop) = self.tick(node, region, due)? {
                return Ok(stop);
            }
            if let Some(stop) = self.flush(node, region)? {
                return Ok(stop);
            }
        }
        Ok(Stop::Leaving)
    }

    /// One tick: receive, then one transaction that accepts, executes, moves the world and produces frames.
    fn tick(&mut self, node: &Node, region: &mut Region, next_due: u64) -> Result<Option<Stop>> {
        let pass = match node.enter() {
            Ok(pass) => pass,
            Err(stop) => return Ok(Some(stop)),
        };
        let over = &mut self.over;
        self.connections.receive(&mut region.io(&pass)?, |id, _: Ended| {
            over.insert(id);
        })?;
        // Nobody comes back any more: records need no twins, and those that nobody has touched can migrate.
        if !self.keep_way_back && node.probation().is_none() && region.has_ways_back() {
            region.close_ways_back(&pass)?;
        }
        let mut tx = region.begin(&pass)?;
        let number = self.world.clock.get(&tx)?.tick.to_native() + 1;
        let mut clock = self.world.clock.get_mut(&mut tx)?;
        clock.set(|c| &c.tick, number.into())?;
        clock.set(|c| &c.due, next_due.into())?;
        let now = Tick {
            number,
            generation: node.generation(),
            rules: self.rules,
        };
        let ended = self.players(&mut tx, now)?;
        self.world.streams.tidy(&mut tx, TIDIED)?;
        if !tx.has_ways_back() {
            self.world.players.sweep(&mut tx, SWEPT)?;
        }
        if let Some(moving) = &self.moving {
            moving.sweep(&mut tx, SWEPT)?;
        }
        monsters::tick(self.world, &mut tx, number)?;
        if let Some(fault) = self.fault {
            fault.strike(self.served);
        }
        tx.commit()?;
        self.served += 1;
        drop(pass);
        for id in ended {
            self.connections.hang_up(id);
        }
        Ok(None)
    }

    fn players(&mut self, tx: &mut Tx<'_>, now: Tick) -> Result<Vec<StreamId>> {
        self.connections.accept(tx, &self.listener)?;
        let mut ended = Vec::new();
        for id in self.world.streams.ids(tx)? {
            let verdict = if self.over.contains(&id) {
                Verdict::End
            } else {
                players::tick(self.world, tx, id, now, &mut self.saboteur)?
            };
            if verdict == Verdict::End {
                self.world.streams.end(tx, id)?;
                ended.push(id);
            }
        }
        self.over.clear();
        Ok(ended)
    }

    /// Sends what the last tick produced. If the gate has closed meanwhile, the successor does it.
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
