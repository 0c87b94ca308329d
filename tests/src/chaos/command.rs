//! Rounds with the command line: it upgrades, is killed, is stopped, gives up.

use super::plan::Round;
use super::run::Run;
use super::server::{Expected, Held, LIMIT, Server, cli, until};
use std::ffi::OsString;
use std::process::Child;
use std::time::Instant;

/// How long the command waits before it gives up one that is never ready: less than the predecessor does.
const PATIENCE: &str = "1.5";
/// How long it waits otherwise, in seconds.
const LONG: &str = "20";
/// What a command does that says so, see `handover upgrade --help`.
const UPGRADED: i32 = 0;
const DONE: i32 = 0;
const NOT_UPGRADED: i32 = 1;

type Done = Result<(), String>;

/// What befalls the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blow {
    Kill,
    Freeze,
}

/// The command runs, and the server that it starts.
struct Upgrade {
    child: Child,
    held: Held,
    expected: Expected,
}

impl Upgrade {
    fn begin(run: &mut Run, patience: &str, more: &[&str]) -> Result<Self, String> {
        let place = &mut run.place;
        let expected = Expected::at(place.socket(), "B")?;
        let mut all: Vec<OsString> = ["upgrade", place.node(), "--timeout", patience, "--directory"]
            .map(Into::into)
            .into();
        all.extend([place.base().into(), "--".into(), place.program().into()]);
        all.extend(place.arguments(&expected.path, &[&["--build", "B"], more].concat()));
        let child = cli(place.program(), &all)?;
        let held = Held::of_child(&child)?;
        Ok(Self { child, held, expected })
    }

    /// The server, if it was or will be started.
    fn server(self, run: &Run) -> Result<(Child, Held, Option<Server>), String> {
        let Self {
            mut child,
            held,
            expected,
        } = self;
        let text = expected.path.display().to_string();
        let found = until(LIMIT, "the server of the command", || match expected.look() {
            // As long as the command lives it may start one: also before it is the command, between fork and exec. One that came and went
            // between the two looks is there in the second.
            Ok(None) => {
                let over = matches!(child.try_wait(), Ok(Some(_))) && run.place.processes(&text).is_empty();
                over.then(|| expected.look())
            }
            other => Some(other),
        })??;
        let server = found.map(|stream| Server::adopt(expected, stream)).transpose()?;
        Ok((child, held, server))
    }
}

fn code(mut child: Child) -> Result<Option<i32>, String> {
    until(LIMIT, "the end of the command", || child.try_wait().transpose())?
        .map(|status| status.code())
        .map_err(|e| format!("wait for the command: {e}"))
}

pub(super) fn whole(run: &mut Run, round: &Round, a: Server) -> Done {
    let fault: &[&str] = if round.coin { &[] } else { &["--fault", "refuse"] };
    let upgrade = Upgrade::begin(run, LONG, fault)?;
    let (child, _held, server) = upgrade.server(run)?;
    let b = server.ok_or("the command started nothing")?;
    let code = code(child)?;
    run.hit();
    match (round.coin, code) {
        (true, Some(UPGRADED)) => run.leave(b, [a]),
        (false, Some(NOT_UPGRADED)) => run.leave(a, [b]),
        (_, code) => Err(format!("the command ended with {code:?}; B: {:?}", b.seen)),
    }
}

pub(super) fn signalled(run: &mut Run, round: &Round, a: Server, blow: Blow) -> Done {
    let upgrade = Upgrade::begin(run, LONG, &[])?;
    // A command whose upgrade goes well is over within some 20 ms.
    let begun = Instant::now();
    while begun.elapsed() < round.moment / 8 {
        // A sleep may be much longer.
        std::thread::yield_now();
    }
    let hit = match blow {
        Blow::Kill => upgrade.held.kill()?,
        Blow::Freeze => upgrade.held.freeze()?,
    };
    if hit {
        run.hit();
    }
    if blow == Blow::Freeze {
        // It may have been stopped before it started anything.
        std::thread::sleep(round.frozen);
        upgrade.held.thaw();
    }
    let (child, _held, server) = upgrade.server(run)?;
    if blow == Blow::Freeze {
        let code = code(child)?;
        if code != Some(UPGRADED) {
            return Err(format!("the command was stopped for a while and ended with {code:?}"));
        }
    }
    match server {
        // Nobody watches it; it takes over all the same.
        Some(b) => run.leave(b, [a]),
        None if blow == Blow::Kill => run.leave(a, []),
        None => Err("the command went on and started nothing".into()),
    }
}

pub(super) fn gives_up(run: &mut Run, a: Server) -> Done {
    let upgrade = Upgrade::begin(run, PATIENCE, &["--wait"])?;
    let (child, _held, server) = upgrade.server(run)?;
    let b = server.ok_or("the command started nothing")?;
    let code = code(child)?;
    if code != Some(NOT_UPGRADED) {
        return Err(format!("the command was to give up, and ended with {code:?}"));
    }
    b.held.died("its end by the command")?;
    run.hit();
    run.leave(a, [b])
}

/// `handover rollback` or `handover confirm`, which wait for what comes of it.
pub(super) fn wish(run: &Run, what: &str) -> Done {
    let place = &run.place;
    let all = [what, place.node(), "--directory"].map(OsString::from);
    let all = [all.as_slice(), &[place.base().into()]].concat();
    match code(cli(place.program(), &all)?)? {
        Some(DONE) => Ok(()),
        code => Err(format!("handover {what} ended with {code:?}")),
    }
}
