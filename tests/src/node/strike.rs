//! A process kills or stops itself at a named point of a library.
//!
//! `--strike=kill|stop:LIBRARY:NAME[:N]` among the arguments: at the N-th hit, from 1, of the point NAME of the library, `handover` or `shmstate`.
//! Only a build of the libraries that has points can do that (`tests/points`, `tests/crash`).

use nix::sys::signal::{Signal, raise};
use std::ffi::OsString;

const STRIKE: &str = "--strike=";

/// The points of a library.
#[derive(Clone, Copy, Debug)]
pub struct Points {
    /// Its name.
    pub library: &'static str,
    /// A point's number is its place.
    pub names: &'static [&'static str],
    /// Has the n-th hit of a point call something.
    pub arm: fn(usize, u64, fn()),
}

/// Arms what the arguments say; gives the other arguments.
///
/// # Errors
/// There is no such point.
pub fn arm(arguments: Vec<OsString>, libraries: &[Points]) -> Result<Vec<OsString>, String> {
    let mut others = Vec::new();
    for argument in arguments {
        match argument.to_str().and_then(|text| text.strip_prefix(STRIKE)) {
            Some(text) => one(text, libraries)?,
            None => others.push(argument),
        }
    }
    Ok(others)
}

fn one(text: &str, libraries: &[Points]) -> Result<(), String> {
    let unknown = || format!("{text:?} is not of the form kill|stop:LIBRARY:NAME[:N]");
    let (blow, rest) = text.split_once(':').ok_or_else(unknown)?;
    let (library, name) = rest.split_once(':').ok_or_else(unknown)?;
    let strike: fn() = match blow {
        "kill" => || blow_of(Signal::SIGKILL),
        "stop" => || blow_of(Signal::SIGSTOP),
        _ => return Err(unknown()),
    };
    let library = libraries.iter().find(|l| l.library == library).ok_or_else(unknown)?;
    let (name, nth) = match name.rsplit_once(':').map(|(name, n)| (name, n.parse())) {
        Some((name, Ok(nth))) => (name, nth),
        _ => (name, 1),
    };
    let number = library.names.iter().position(|known| *known == name);
    (library.arm)(
        number.ok_or_else(|| format!("there is no point {name:?}"))?,
        nth,
        strike,
    );
    Ok(())
}

/// To this very thread: it does not go one step further.
fn blow_of(signal: Signal) {
    // It cannot fail: the signal exists, and the thread is this one.
    let _ = raise(signal);
}
