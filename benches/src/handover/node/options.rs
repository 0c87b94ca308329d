//! The command line of the server.

use clap::Args;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// When a server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Once a tick, everything that came.
    Ticks(Duration),
    /// As soon as something came.
    AtOnce,
}

/// What a server is to be.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Where the nodes' directories are.
    #[arg(long)]
    pub dir: PathBuf,
    /// Name of the node.
    #[arg(long)]
    pub node: String,
    /// Where clients connect.
    #[arg(long)]
    pub listen: SocketAddr,
    /// Length of a tick, µs; 0 to answer at once.
    #[arg(long, default_value_t = 0)]
    pub tick_us: u64,
    /// Bytes of archived records in the first region.
    #[arg(long, default_value_t = 1 << 20)]
    pub bytes: u64,
    /// Regions in all.
    #[arg(long, default_value_t = 1)]
    pub regions: u64,
    /// Small records beside them in the first region, of version 1; 0 for no such table.
    #[arg(long, default_value_t = 0)]
    pub crowd: u64,
    /// Be the program that writes those records in version 2.
    #[arg(long)]
    pub next: bool,
    /// How long this server's successor is on probation, ms; 0 for not at all.
    #[arg(long, default_value_t = 0)]
    pub probation_ms: u64,
    /// Leave a core behind when it crashes, as large as it may be.
    #[arg(long)]
    pub core: bool,
    /// Do without pages of 2 MiB, as on a system that has none.
    #[arg(long)]
    pub small_pages: bool,
    /// Serve the node again each time when told to.
    #[arg(long)]
    pub resident: bool,
    /// Say `ready` only when told to.
    #[arg(long)]
    pub hold: bool,
}

impl Options {
    /// When it answers.
    #[must_use]
    pub fn pace(&self) -> Pace {
        match self.tick_us {
            0 => Pace::AtOnce,
            us => Pace::Ticks(Duration::from_micros(us)),
        }
    }

    /// The same as arguments.
    pub fn put(&self, command: &mut Command) {
        command.arg("--dir").arg(&self.dir).args(["--node", &self.node]);
        command.args(["--listen", &self.listen.to_string()]);
        command.args(["--tick-us", &self.tick_us.to_string()]);
        command.args(["--bytes", &self.bytes.to_string()]);
        command.args(["--regions", &self.regions.to_string()]);
        command.args(["--crowd", &self.crowd.to_string()]);
        command.args(["--probation-ms", &self.probation_ms.to_string()]);
        for (wanted, name) in [
            (self.next, "--next"),
            (self.core, "--core"),
            (self.small_pages, "--small-pages"),
            (self.resident, "--resident"),
            (self.hold, "--hold"),
        ] {
            if wanted {
                command.arg(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn what_is_put_is_read() {
        let options = Options {
            dir: "/tmp/x".into(),
            node: "n".into(),
            listen: "127.0.0.1:4100".parse().expect("an address"),
            tick_us: 5000,
            bytes: 1 << 30,
            regions: 3,
            crowd: 5000,
            next: true,
            probation_ms: 700,
            core: true,
            small_pages: true,
            resident: true,
            hold: true,
        };
        let mut command = Command::new("server");
        options.put(&mut command);
        let line = std::iter::once("server".as_ref()).chain(command.get_args());
        let read = Line::parse_from(line).options;
        assert_eq!(format!("{read:?}"), format!("{options:?}"));
        assert_eq!(read.pace(), Pace::Ticks(Duration::from_millis(5)));
    }
}
