//! The loop of the server, from the first pass to the last.

use crate::Result;
use crate::handover::event::Order;
use crate::handover::node::crowd::Crowd;
use crate::handover::node::options::Pace;
use crate::handover::node::world::{Annex, World};
use handover::{Connections, Ended, Node, Stop};
use shmstate::{Pass, Region, StreamId, Tx, monotonic_ns};
use std::collections::HashSet;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// Longest wait for something to answer at once: newcomers and orders are looked for in between.
const ROUND: Duration = Duration::from_millis(1);

/// What a server has while it serves.
pub(super) struct Server {
    pub(super) connections: Connections,
    pub(super) listener: Arc<TcpListener>,
    pub(super) world: World,
    pub(super) crowd: Option<Crowd>,
    /// The regions beyond the first; one of them ticks with each tick of the world.
    pub(super) annexes: Vec<(Region, Annex)>,
    /// Connections whose peer is gone; they end with the next tick.
    pub(super) over: HashSet<StreamId>,
    pub(super) ticks: usize,
    /// What the first tick came to.
    pub(super) first: First,
    /// When the last tick was due.
    pub(super) due: Instant,
}

/// The first tick in this process.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct First {
    /// Records of the crowd that were not of this program's version before it, and those after it.
    pub(super) pending: u64,
    pub(super) left: u64,
    /// From the beginning of its transaction to its commit, ns; 0 if the gate closed before it.
    pub(super) took: u64,
}

impl Server {
    /// Serves until there is no pass any more, or it is told to stop.
    pub(super) fn run(
        &mut self,
        node: &Node,
        region: &mut Region,
        pace: Pace,
        orders: &Receiver<Order>,
    ) -> Result<Stop> {
        loop {
            if orders.try_recv() == Ok(Order::Stop) {
                return Ok(Stop::Leaving);
            }
            if let Some(stop) = self.round(node, region, pace)? {
                return Ok(stop);
            }
        }
    }

    /// Waits for the next tick, or for something to answer, and does it.
    pub(super) fn round(&mut self, node: &Node, region: &mut Region, pace: Pace) -> Result<Option<Stop>> {
        match pace {
            Pace::Ticks(tick) => {
                self.due = (self.due + tick).max(Instant::now());
                std::thread::sleep(self.due.saturating_duration_since(Instant::now()));
                self.connections.wait(Duration::ZERO)?;
                // What a tick produced goes out in a step of its own; if the gate has closed meanwhile, the successor does it.
                for step in [Self::tick, Self::flush] {
                    if let Some(stop) = Self::pass(node, |pass| step(self, region, pass))? {
                        return Ok(Some(stop));
                    }
                }
                Ok(None)
            }
            Pace::AtOnce => {
                self.connections.wait(ROUND)?;
                Self::pass(node, |pass| {
                    self.tick(region, pass)?;
                    self.flush(region, pass)
                })
            }
        }
    }

    fn pass(node: &Node, step: impl FnOnce(&Pass<'_>) -> Result<()>) -> Result<Option<Stop>> {
        match node.enter() {
            Ok(pass) => step(&pass).map(|()| None),
            Err(stop) => Ok(Some(stop)),
        }
    }

    /// One transaction: move, accept, answer, end what is over.
    fn tick(&mut self, region: &mut Region, pass: &Pass<'_>) -> Result<()> {
        let over = &mut self.over;
        self.connections.receive(&mut region.io(pass)?, |id, _: Ended| {
            over.insert(id);
        })?;
        let is_first = self.ticks == 0;
        let begun = monotonic_ns();
        let mut tx = region.begin(pass)?;
        if let Some(crowd) = &self.crowd {
            // A look at a few rows of the catalog.
            if is_first {
                self.first.pending = crowd.pending(&tx)?;
            }
            crowd.tick(&mut tx)?;
            if is_first {
                self.first.left = crowd.pending(&tx)?;
            }
        }
        self.world.tick(&mut tx)?;
        let ended = self.answer(&mut tx, pass.generation() as u32)?;
        self.world.stamp(&mut tx)?;
        tx.commit()?;
        if is_first {
            self.first.took = monotonic_ns() - begun;
        }
        for id in ended {
            self.connections.hang_up(id);
        }
        self.ticks += 1;
        if !self.annexes.is_empty() {
            let turn = self.ticks % self.annexes.len();
            let (region, annex) = &mut self.annexes[turn];
            region.write(pass, |tx| annex.tick(tx))?;
        }
        Ok(())
    }

    fn answer(&mut self, tx: &mut Tx<'_>, who: u32) -> Result<Vec<StreamId>> {
        self.connections.accept(tx, &self.listener)?;
        let mut ended = Vec::new();
        for id in self.world.streams.with_input(tx)? {
            if !self.over.contains(&id) && !self.world.answer(tx, id, who)? {
                self.over.insert(id);
            }
        }
        for id in self.over.drain() {
            match self.world.streams.end(tx, id) {
                Ok(()) => ended.push(id),
                // Found twice: by the receiver and by the sender.
                Err(shmstate::Error::NoStream { .. }) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(ended)
    }

    /// Sends what was produced and committed.
    pub(super) fn flush(&mut self, region: &mut Region, pass: &Pass<'_>) -> Result<()> {
        let over = &mut self.over;
        self.connections.send(&mut region.io(pass)?, |id, _| {
            over.insert(id);
        })?;
        Ok(())
    }
}
