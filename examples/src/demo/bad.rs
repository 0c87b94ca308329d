//! What the bad upgrades have in common: they join a node as any new version would, and go no further.

use super::error::DemoError;
use crate::server::{Rules, tables};
use clap::Parser;
use handover::{Node, Role, Starting, WhoServes, runtime_base};
use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};

/// An upgrade that goes wrong on purpose.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Args {
    /// Name of the node that is to be upgraded.
    #[arg(long, default_value = "arena")]
    node: String,
}

/// Asks for the node of the command line and receives everything that its owner offers a successor.
///
/// # Errors
/// Nobody serves the node: then there is nothing to be upgraded badly, and no node is made. Those of the handover.
pub fn offered() -> Result<Starting, Box<dyn Error>> {
    let Args { node } = Args::parse();
    if !handover::is_describing() {
        let status = handover::status(&runtime_base(), &node).map_err(DemoError::Node)?;
        if !status.alive {
            return Err(format!("nobody serves node {node}; start arena-v1 --node {node} first").into());
        }
    }
    let mut starting = Node::builder(&node)
        .build_id("arena-bad")
        .listener("game", SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .region("world", shmstate::DEFAULT_CAPACITY)
        .tables("world", tables(Rules::V2))
        .start()?;
    let Role::Successor { .. } = starting.role() else {
        return Err(format!("{}; this program takes no node of its own", WhoServes::Nobody).into());
    };
    // Like a real version that opens its tables, and then fails.
    drop(starting.region("world")?);
    Ok(starting)
}
