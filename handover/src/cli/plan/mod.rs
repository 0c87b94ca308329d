//! `handover plan`: what an upgrade would do, before it is done.
//!
//! - **N1** The node that serves is only looked at (X3). The program is run, once it is known that it can describe itself (P3 of `node::describe`), and
//!   ends before it touches anything.
//! - **N2** What the program says is not believed where it can be computed, and is bounded (see [`manifest`]).
//! - **N3** `upgrade` asks for a plan too. One that cannot be made hinders no upgrade: it says why, in a line on stderr.
//!
//! In reading order: `program` tells whether a program can be asked, `ask` asks it, `manifest` is what it says, `live` what the node is, `compare`
//! makes the plan, `shown` is the plan for people.

mod ask;
mod compare;
mod live;
mod manifest;
mod program;
mod shown;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::args;
use super::exit::{Exit, Failure, Report};
use super::look::Found;
use super::status::{json, unknown};
use crate::node::describe::VERSION;
pub(super) use compare::{Plan, Prospect};
use manifest::Manifest;
use program::Ability;

/// How long a program that is to be upgraded to may take to describe itself.
const BEFORE_UPGRADE: Duration = Duration::from_secs(10);

/// What is asked for.
struct Options {
    base: PathBuf,
    node: String,
    timeout: Duration,
    ask_anyway: bool,
    json: bool,
    command: Vec<OsString>,
}

impl From<args::Plan> for Options {
    fn from(raw: args::Plan) -> Self {
        Self {
            base: raw.place.base(),
            node: raw.node,
            timeout: raw.timeout,
            ask_anyway: raw.ask_anyway,
            json: raw.json,
            command: raw.command,
        }
    }
}

pub(super) fn run(raw: args::Plan) -> Result<Report, Failure> {
    let options = Options::from(raw);
    let found = Found::of(&options.base, &options.node)?;
    if let Found::Absent = found {
        return Err(unknown(&options.base, &options.node));
    }
    if found.owner().is_none() {
        return Err(nobody(&options.node));
    }
    if !options.ask_anyway {
        may_be_asked(&options.command)?;
    }
    let (manifest, elsewhere) = describe(&options.base, &options.command, options.timeout)?;
    let plan = make(&options.base, &options.node, &manifest, elsewhere)?;
    let plan = plan.ok_or_else(|| nobody(&options.node))?;
    let problem = match plan.verdict {
        Prospect::Works => Vec::new(),
        _ => vec![plan.verdict_in_words()],
    };
    if options.json {
        return Ok(Report {
            exit: plan.verdict.exit(),
            ..Report::done(json(&plan))
        });
    }
    Ok(Report {
        exit: plan.verdict.exit(),
        out: plan.shown(),
        problem,
    })
}

/// What is known before an upgrade.
pub(super) enum Before {
    /// CMD does not say what it would do.
    Silent,
    /// It could be asked, and no plan came of it.
    NoPlan(Vec<String>),
    Planned(Box<Plan>),
}

/// The plan of an upgrade that was asked for (N3).
pub(super) fn before(base: &Path, node: &str, command: &[OsString]) -> Before {
    let program = command.first().map_or(OsStr::new(""), |program| program);
    let ability = program::find(program).and_then(|file| program::ability(&file));
    // One that declares no tables has nothing to say that an upgrade could depend on.
    if !matches!(
        ability,
        Ok(Ability::Describes {
            version: VERSION,
            tables: true
        })
    ) {
        return Before::Silent;
    }
    let plan = || {
        let (manifest, elsewhere) = describe(base, command, BEFORE_UPGRADE)?;
        if !manifest.declares() {
            return Ok(None);
        }
        make(base, node, &manifest, elsewhere)
    };
    match plan() {
        Ok(Some(plan)) => Before::Planned(Box::new(plan)),
        Ok(None) => Before::Silent,
        Err(failure) => Before::NoPlan(failure.lines()),
    }
}

fn nobody(node: &str) -> Failure {
    Failure::new(
        Exit::Nobody,
        format!("nobody serves the node {node:?}: there is nothing to compare with"),
    )
    .and("CMD was not run")
}

/// Refuses to run a program that is not known to do no more than describe itself.
fn may_be_asked(command: &[OsString]) -> Result<(), Failure> {
    let program = command.first().map_or(OsStr::new(""), |program| program);
    let shown = program.display();
    let failed = |why: String| Failure::new(Exit::Unknown, format!("{shown}: {why}")).and("CMD was not run");
    let cannot_be_read = |e: std::io::Error| failed(e.to_string()).and("give a path, or a program that is in $PATH");
    let file = program::find(program).map_err(cannot_be_read)?;
    let why = match program::ability(&file).map_err(cannot_be_read)? {
        Ability::Describes { version: VERSION, .. } => return Ok(()),
        Ability::Describes { version, .. } => {
            let why = format!("it describes itself in version {version}, this command reads {VERSION}");
            return Err(failed(why).and("use the command of the program's own version"));
        }
        Ability::Silent => {
            "it is not known to describe itself: it was built without this library, or with an older version, or has it in a shared object"
        }
        Ability::Script => "it is a script: whether what it starts can describe itself is not known",
    };
    Err(failed(why.into())
        .and("a program that cannot would start for real; give the server's own executable file as CMD,")
        .and("or --ask-anyway, if you know that it ends when HANDOVER_DESCRIBE is set"))
}

/// What the program says, and where it looks for its node, if that is another place than `base`.
fn describe(base: &Path, command: &[OsString], timeout: Duration) -> Result<(Manifest, Option<String>), Failure> {
    let answer = ask::ask(command, timeout)?;
    let manifest = Manifest::read(&answer.manifest).map_err(|why| Failure::new(Exit::Unknown, why))?;
    let same = |a: &Path, b: &Path| a == b || matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b);
    let usual = manifest.directory == answer.directory;
    let elsewhere = !usual && !same(&manifest.directory, base);
    let elsewhere = elsewhere.then(|| manifest.directory.display().to_string());
    Ok((manifest, elsewhere))
}

/// `None` if nobody serves any more.
fn make(base: &Path, node: &str, manifest: &Manifest, elsewhere: Option<String>) -> Result<Option<Plan>, Failure> {
    let found = Found::of(base, node)?;
    let live = live::live(base, &found, manifest)?;
    Ok(live.map(|live| compare::compare(live, manifest, elsewhere)))
}
