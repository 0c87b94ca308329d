//! Servers of the peers: each does the same work, and changes its process as its users do. `report -- handover` starts them.
//!
//! Every one has the same state, so many bytes of records of which each request changes one, and answers the same frames.

#[path = "../../src/handover/frames.rs"]
#[allow(dead_code, reason = "the clients' half of it is the report's")]
mod frames;

mod state;

mod serve;

mod ecdysis_peer;

mod fdstore;

mod restart;

mod shellflip_peer;

mod store;

use clap::{Parser, ValueEnum};
use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Tool {
    /// SIGHUP upgrades; state goes through the datagram socket that the library hands to the child.
    Ecdysis,
    /// SIGUSR1 restarts; state goes through the library's pipe.
    Shellflip,
    /// SIGTERM leaves the state in a file and ends; the next start takes it up.
    Restart,
    /// Connections and a memfd lie in systemd's descriptor store.
    Fdstore,
}

/// A peer's server.
#[derive(Parser, Debug)]
struct Options {
    tool: Tool,
    #[arg(long)]
    listen: SocketAddr,
    /// Bytes of records.
    #[arg(long)]
    bytes: u64,
    /// How long connections may go on in the old process.
    #[arg(long, default_value_t = 5_000)]
    drain_ms: u64,
    /// Where the state is left.
    #[arg(long)]
    file: Option<PathBuf>,
}

impl Options {
    fn drain(&self) -> Duration {
        Duration::from_millis(self.drain_ms)
    }
}

fn main() -> Result<()> {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match options.tool {
            Tool::Ecdysis => ecdysis_peer::run(&options).await,
            Tool::Shellflip => shellflip_peer::run(&options).await,
            Tool::Restart => restart::run(&options).await,
            Tool::Fdstore => fdstore::run(&options).await,
        }
    })
}
