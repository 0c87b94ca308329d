//! Why a run did not come to be: exit code 2. What goes wrong later is counted, not returned.

use std::{fmt, io, net::SocketAddr};

/// How far joining had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Where to.
    pub address: SocketAddr,
    /// Bots asked for.
    pub bots: u32,
    /// Connections that stood.
    pub connected: u32,
    /// Bots that had their first `State`.
    pub joined: u32,
}

/// Why the bots did not play.
#[derive(Debug)]
#[non_exhaustive]
pub enum RunError {
    /// Player ids would pass the end of `u64`.
    IdsRunOut {
        /// The first.
        first_id: u64,
        /// How many are wanted.
        bots: u32,
    },
    /// The hard limit on descriptors is too low.
    TooFewDescriptors {
        /// Descriptors wanted.
        needed: u64,
        /// RLIMIT_NOFILE, hard.
        hard: u64,
    },
    /// Stdin cannot be polled and no duration was given.
    NoWayToEnd,
    /// A connection could not be made.
    Connect {
        /// How far it had come.
        progress: Progress,
        /// Why not.
        error: io::Error,
    },
    /// A bot that had connected was lost before all had joined.
    LostWhileJoining {
        /// How far it had come.
        progress: Progress,
        /// The first fault in words.
        first_fault: String,
    },
    /// Not all bots joined in time.
    JoinTimeout {
        /// How far it had come.
        progress: Progress,
        /// The time given, milliseconds.
        timeout_ms: u128,
    },
    /// `finish`, or the end of stdin, before all had joined.
    EndedWhileJoining {
        /// How far it had come.
        progress: Progress,
    },
    /// The system refused something.
    System {
        /// What was tried.
        what: &'static str,
        /// What it said.
        error: io::Error,
    },
}

impl RunError {
    /// For `map_err`: the system refused `what`.
    pub(super) fn system<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::System {
            what,
            error: error.into(),
        }
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            address,
            bots,
            connected,
            joined,
        } = self;
        write!(
            f,
            "{address}: {connected} of {bots} bots had connected, {joined} had joined"
        )
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IdsRunOut { first_id, bots } => {
                write!(
                    f,
                    "{bots} player ids from {first_id} pass the end of 64 bits; give a lower --first-id"
                )
            }
            Self::TooFewDescriptors { needed, hard } => write!(
                f,
                "needs {needed} descriptors, the hard limit is {hard}; raise it (ulimit -Hn) or give fewer --bots"
            ),
            Self::NoWayToEnd => write!(
                f,
                "stdin is a file or /dev/null, which cannot be polled, so nothing could end the run; \
                 give a pipe or a terminal, or --duration-seconds"
            ),
            Self::Connect { progress, error } => write!(
                f,
                "{progress}, then connecting failed: {error}; check that the server runs and listens there, and its limit of descriptors"
            ),
            Self::LostWhileJoining { progress, first_fault } => write!(
                f,
                "{progress}, then one was lost: {first_fault}; check the server's log and its limit of players"
            ),
            Self::JoinTimeout { progress, timeout_ms } => write!(
                f,
                "{progress} after {timeout_ms} ms; check that the server accepts, answers Join and ticks, or give a longer --join-timeout-ms"
            ),
            Self::EndedWhileJoining { progress } => write!(
                f,
                "{progress} when stdin ended or said `finish`; wait for the `joined` line first"
            ),
            Self::System { what, error } => write!(f, "{what} failed: {error}"),
        }
    }
}

impl std::error::Error for RunError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Connect { error, .. } | Self::System { error, .. } => Some(error),
            _ => None,
        }
    }
}
