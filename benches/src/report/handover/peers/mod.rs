//! What people use today, in the same harness and under the same load, beside our own server.
//!
//! - **K1** Every tool is asked the same by the same clients, which connect again when they are cut.
//! - **K2** A tool that is not here, cannot be compiled or does not start gives a row that says so; nothing stands in for it.
//! - **K3** Every step has a deadline, and what was started is ended, by its own id.
//!
//! The libraries and the descriptor store are served by a package of their own, `benches/peers`, which is compiled here.

mod row;

mod tool;

mod course;

mod ours;

mod built;

mod daemons;

mod systemd;

pub(in crate::report) use row::Peer;

use crate::report::handover::plan::{PeerPlan, Plan};
use built::{Built, Server};
use std::path::PathBuf;
use std::time::Duration;
use tool::Tool;

/// The servers of `benches/peers`, or why there are none.
pub(super) struct Servers(std::result::Result<PathBuf, String>);

/// Compiles them, before anything is measured.
pub(super) fn build(plan: &Plan) -> Servers {
    Servers(match &plan.peers {
        Some(peers) => built::build(peers.build),
        None => Err("left out of this run".into()),
    })
}

/// About as long does a tool take beside its drain.
const COURSE: Duration = Duration::from_secs(5);

/// A row for each.
pub(super) fn run(plan: &Plan, servers: &Servers) -> Vec<Peer> {
    let Some(peers) = &plan.peers else {
        return Vec::new();
    };
    let mut tools: Vec<Box<dyn Tool>> = vec![Box::new(ours::Ours::new(plan.bytes))];
    for server in Server::ALL {
        tools.push(Box::new(Built::new(server, &servers.0, plan.bytes, peers.drain)));
    }
    tools.push(Box::new(systemd::Store::new(&servers.0, plan.bytes)));
    tools.push(Box::new(daemons::Nginx::default()));
    tools.push(Box::new(daemons::Haproxy::default()));
    tools.into_iter().map(|tool| row(plan, peers, tool)).collect()
}

fn row(plan: &Plan, peers: &PeerPlan, mut tool: Box<dyn Tool>) -> Peer {
    let mut row = tool.row();
    row.connections = plan.busy;
    if row.note.is_some() {
        return row;
    }
    if !plan.has(COURSE + tool.drain()) {
        row.note = Some("no time is left in this run".into());
        return row;
    }
    eprintln!("peer: {}", row.tool);
    if let Err(error) = course::run(plan, peers, &mut *tool, &mut row) {
        // What was measured before stays.
        row.note = Some(format!("failed: {error}"));
    }
    row
}
