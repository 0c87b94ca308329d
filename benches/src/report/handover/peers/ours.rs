//! Our own server, on the peers' course.

use crate::Result;
use crate::handover::child::Child;
use crate::handover::node::{Options, Pace};
use crate::report::handover::peers::row::Peer;
use crate::report::handover::peers::tool::{Tool, is_dead};
use crate::report::handover::scene::Scene;
use std::net::SocketAddr;
use std::time::Duration;

/// How long the old process stays parked: longer than the new one lives before it is killed.
const PROBATION: Duration = Duration::from_secs(2);

pub(super) struct Ours {
    bytes: u64,
    scene: Option<Scene>,
    /// In the order of their generations.
    servers: Vec<Child>,
}

impl Ours {
    pub(super) fn new(bytes: u64) -> Self {
        Self {
            bytes,
            scene: None,
            servers: Vec::new(),
        }
    }

    fn scene(&mut self) -> Result<&Scene> {
        if self.scene.is_none() {
            self.scene = Some(Scene::new(Pace::AtOnce, self.bytes, 1)?);
        }
        self.scene.as_ref().ok_or_else(|| "no scene".into())
    }
}

fn on_probation(options: &mut Options) {
    options.probation_ms = PROBATION.as_millis() as u64;
}

impl Tool for Ours {
    fn row(&self) -> Peer {
        Peer {
            tool: "handover",
            version: Some(env!("CARGO_PKG_VERSION").into()),
            state: "regions in shared memory, mapped by the new process",
            state_bytes: self.bytes,
            ..Peer::default()
        }
    }

    fn address(&self) -> SocketAddr {
        self.scene
            .as_ref()
            .map_or(SocketAddr::from(([127, 0, 0, 1], 0)), Scene::address)
    }

    fn drain(&self) -> Duration {
        PROBATION
    }

    fn start(&mut self) -> Result<()> {
        let scene = self.scene()?;
        let mut server = scene.spawn(on_probation)?;
        server.serving(scene.filling())?;
        self.servers.push(server);
        Ok(())
    }

    fn upgrade(&mut self) -> Result<()> {
        let server = self.scene()?.spawn(on_probation)?;
        self.servers.push(server);
        Ok(())
    }

    fn pid_of(&self, who: u32) -> u32 {
        // Generations count from 1.
        self.servers.get(who as usize - 1).map_or(0, Child::pid)
    }

    fn is_gone(&mut self, pid: u32) -> bool {
        is_dead(pid)
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        // First the servers, then what they left.
        self.servers.clear();
        self.scene = None;
    }
}
