//! Arguments as typed, and the texts of `--help`.
//!
//! Only the form is checked here: a name that a node can have, a number of seconds. What the arguments refer to is
//! resolved by each command.

mod regions;

pub(super) use regions::{Diff, Dump, Schema, Shown};

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as Group, Parser, Subcommand};

use crate::os::dir::check_node_name;

/// How long an upgrade may take unless `--timeout` says otherwise: more than the library's own deadlines together.
const DEFAULT_TIMEOUT: &str = "120";
/// How long a word on a probation is waited for unless `--timeout` says otherwise: more than the library's own deadlines for it.
const DEFAULT_ANSWER: &str = "30";
/// How long a program may take to describe itself unless `--timeout` says otherwise.
const DEFAULT_DESCRIBE: &str = "10";
/// Longest `--timeout`, in seconds: a week.
const MAX_TIMEOUT: f64 = 604_800.0;
/// Handovers that `status` shows unless `--last` says otherwise.
const DEFAULT_LAST: &str = "10";
/// Columns beyond which help is not wrapped.
const HELP_WIDTH: usize = 100;

const EXAMPLES: &str = "\
Examples:
  handover status                                      all nodes of this user
  handover plan arena -- ./arena-v2 --port 4000        what would become of tables and sockets
  handover upgrade arena -- ./arena-v2 --port 4000     start the new version, report who serves
  handover confirm arena                               the new version is well
  handover rollback arena                              the old version takes the node back
  handover inspect arena/world                         look into a region of the node
  handover dump arena/world players --where score>100  print its records

Nodes are found in $HANDOVER_DIR, else $XDG_RUNTIME_DIR/handover, else /tmp/handover-<uid>.";

const PLAN: &str = "\
Examples:
  handover plan arena -- ./arena-v2 --port 4000
  handover plan arena --json -- ./arena-v2 | jq .way_back
  handover plan arena -- ./arena-v2 && handover upgrade arena -- ./arena-v2

CMD is run with HANDOVER_DESCRIBE in its environment, and ends when it has said what it declares.
It is not run if its file does not show that it can do that.

What a table is: unchanged; migrates, by the steps that CMD declares; new; orphaned, which CMD does
not open; refused. Records migrate while CMD serves, after the cutover; SWEEP is what a sweep of all
of them costs one thread, if they are small. Not known are: descriptors that were kept at run time,
and all of an owner with an older library; regions in a directory that CMD does not name.

Exit codes:
  0  CMD would serve, and the old version could take the node back
  1  CMD would be refused
  2  wrong usage
  3  nobody serves
  4  it could not be found out: CMD does not describe itself, or not the tables of a region
  5  CMD would serve, and there is no way back after cutover";

const UPGRADE: &str = "\
Examples:
  handover upgrade arena -- ./arena-v2 --port 4000
  handover upgrade arena --timeout 30 --json -- ./arena-v2 2>>arena.log
  handover upgrade arena --start -- ./arena-v2         also if nothing runs yet
  handover upgrade arena --watch -- ./arena-v2         stay until its probation is over
  handover upgrade arena --watch=5 --confirm -- ./arena-v2
  handover upgrade arena --one-way -- ./arena-v3       also if nobody could take the node back

Exit codes:
  0  CMD serves now
  1  CMD does not serve, or not any more; the node is served, as a rule by the old version
  2  wrong usage, or no way back and no --one-way; nothing was done
  3  nobody serves
  4  it could not be found out who serves; see `handover status NODE`";

const ROLLBACK: &str = "\
Examples:
  handover rollback arena
  handover rollback arena --timeout 5 --json

An owner that answers finishes its tick and hands over. One that does not is killed, and its open
transactions are undone. The players stay connected either way.

Exit codes:
  0  the old version serves again
  1  not done: no probation, or not in time; the node is served all the same
  2  wrong usage, nothing was done
  3  nobody serves
  4  the node is unknown, or it could not be found out";

const CONFIRM: &str = "\
Examples:
  handover confirm arena
  handover upgrade arena --confirm -- ./arena-v2       upgrade and confirm at once

Exit codes:
  0  the new version serves, and nobody takes the node back any more
  1  not done: no probation, not in time, or the old version serves again; the node is served
  2  wrong usage, nothing was done
  3  nobody serves
  4  the node is unknown, or it could not be found out";

const STATUS: &str = "\
Examples:
  handover status                      one line for each node
  handover status arena                lease, processes and the last handovers of one
  handover status arena --json         the same for programs

Exit codes:
  0  every node asked for has a living owner
  2  wrong usage
  3  a node has no living owner
  4  a node is unknown or cannot be read (goes before 3)";

const INSPECT: &str = "\
Examples:
  handover inspect                     all regions in /dev/shm
  handover inspect arena/world         the region \"world\" of the node \"arena\"
  handover inspect my-region           a region by its name in /dev/shm
  handover inspect arena/world --schemas

Nothing is changed, and the owner is not disturbed; while it works, numbers that belong together
may differ by what it did between two reads.

Exit codes:
  0  the region could be read
  2  wrong usage
  4  there is no such region, or it cannot be read";

/// Upgrades running servers and looks at them.
#[derive(Debug, Parser)]
#[command(
    name = "handover",
    version,
    max_term_width = HELP_WIDTH,
    after_help = EXAMPLES,
    disable_help_subcommand = true
)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Plan(Plan),
    Upgrade(Upgrade),
    /// Give a node on probation back to its old version, which is parked.
    #[command(after_help = ROLLBACK)]
    Rollback(Wish),
    /// End the probation of a node: the new version is well, the old one ends.
    #[command(after_help = CONFIRM)]
    Confirm(Wish),
    Status(Status),
    Inspect(Inspect),
    Schema(Schema),
    Dump(Dump),
    Diff(Diff),
}

/// Show what an upgrade would do, before it is done: tables, descriptors, the way back.
///
/// Nothing is changed, and neither the node's processes nor its clients notice.
#[derive(Debug, Group)]
#[command(after_help = PLAN)]
pub(super) struct Plan {
    /// Name of the node.
    #[arg(value_parser = node)]
    pub(super) node: String,

    #[command(flatten)]
    pub(super) place: Place,

    /// How long CMD may take to describe itself; then it is killed with all that it has started.
    #[arg(long, value_name = "SECONDS", default_value = DEFAULT_DESCRIBE, value_parser = seconds)]
    pub(super) timeout: Duration,

    /// Run CMD also if its file does not show that it only describes itself: a script that ends in the server. One that
    /// does not know HANDOVER_DESCRIBE starts for real, with a node of its own, until the time is over.
    #[arg(long)]
    pub(super) ask_anyway: bool,

    /// Print one JSON object.
    #[arg(long)]
    pub(super) json: bool,

    /// The new version's program and its arguments, as `upgrade` would start it.
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(super) command: Vec<OsString>,
}

/// Start the new version of a node's server, watch the handover, report who serves.
///
/// CMD runs in a session of its own, so that neither Ctrl-C nor the end of this terminal reaches it; its stdin is
/// /dev/null, its stdout and stderr are this command's. Ctrl-C here ends the watching, not the upgrade. If the
/// handover has not ended in time, CMD is ended: an upgrade that is not wanted any more must not happen later.
///
/// After the handover CMD is on probation, if the old version grants one: that stays parked and takes the node back if CMD dies or
/// hangs, or on `handover rollback`. Without --watch this command does not wait for that.
///
/// If CMD declares its tables, the plan of `handover plan` goes to stderr first. CMD is not started if it would be refused, or if there is no way back.
#[derive(Debug, Group)]
#[command(after_help = UPGRADE)]
pub(super) struct Upgrade {
    /// Name of the node.
    #[arg(value_parser = node)]
    pub(super) node: String,

    #[command(flatten)]
    pub(super) place: Place,

    /// How long the handover may take; then CMD gets SIGTERM, and SIGKILL after 2 s (at once if it could still
    /// take over).
    #[arg(long, value_name = "SECONDS", default_value = DEFAULT_TIMEOUT, value_parser = seconds)]
    pub(super) timeout: Duration,

    /// If nobody serves the node, start CMD as its first process instead of refusing.
    #[arg(long)]
    pub(super) start: bool,

    /// Upgrade also if the plan says that nobody could take the node back after the cutover.
    #[arg(long)]
    pub(super) one_way: bool,

    /// Once CMD serves, stay and watch its probation: to its end, or for so long. What happens meanwhile goes to
    /// stderr.
    #[arg(long, alias = "probation", value_name = "SECONDS", num_args = 0..=1, require_equals = true, value_parser = seconds)]
    pub(super) watch: Option<Option<Duration>>,

    /// Once CMD serves, and has been watched, end its probation: the old version ends then.
    #[arg(long)]
    pub(super) confirm: bool,

    /// Print one JSON object at the end, with the plan in it; CMD's stdout then goes to stderr.
    #[arg(long)]
    pub(super) json: bool,

    /// The new version's program and its arguments.
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(super) command: Vec<OsString>,
}

/// A word on a probation.
#[derive(Debug, Group)]
pub(super) struct Wish {
    /// Name of the node.
    #[arg(value_parser = node)]
    pub(super) node: String,

    #[command(flatten)]
    pub(super) place: Place,

    /// How long to wait for what comes of it; the word itself stands for as long as the probation lasts.
    #[arg(long, value_name = "SECONDS", default_value = DEFAULT_ANSWER, value_parser = seconds)]
    pub(super) timeout: Duration,

    /// Print one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

/// Show who serves which node, and how the last handovers went.
#[derive(Debug, Group)]
#[command(after_help = STATUS)]
pub(super) struct Status {
    /// Name of the node; all nodes if it is left out.
    #[arg(value_parser = node)]
    pub(super) node: Option<String>,

    #[command(flatten)]
    pub(super) place: Place,

    /// How many of the last handovers to show; 64 are kept.
    #[arg(long, value_name = "N", default_value = DEFAULT_LAST)]
    pub(super) last: usize,

    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// Look into a region: header, tables, what a recovery would take back.
#[derive(Debug, Group)]
#[command(after_help = INSPECT)]
pub(super) struct Inspect {
    /// NODE/REGION, or the region's name in /dev/shm; all regions are listed if it is left out.
    pub(super) region: Option<String>,

    #[command(flatten)]
    pub(super) place: Place,

    /// Print the shape of each table's records too.
    #[arg(long)]
    pub(super) schemas: bool,

    /// Also the library's own tables, whose names begin with a dot.
    #[arg(long)]
    pub(super) all: bool,

    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Group)]
pub(in crate::cli) struct Place {
    /// Where the nodes' directories are, instead of the usual place.
    #[arg(long, value_name = "DIR")]
    pub(super) directory: Option<PathBuf>,
}

impl Place {
    /// The directory to look in.
    pub(super) fn base(&self) -> PathBuf {
        self.directory.clone().unwrap_or_else(crate::os::dir::base)
    }
}

fn node(text: &str) -> Result<String, String> {
    match check_node_name(text) {
        Ok(()) => Ok(text.into()),
        Err(error) => Err(error.to_string()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number <= MAX_TIMEOUT => Ok(Duration::from_secs_f64(number)),
        _ => Err(format!(
            "a number of seconds is wanted, more than 0 and at most {MAX_TIMEOUT}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn is_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn timeouts() {
        assert_eq!(seconds("2.5"), Ok(Duration::from_millis(2500)));
        for bad in ["0", "-1", "nan", "inf", "604801", "1s", ""] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
