//! Why a demo did not come to its end.

use std::path::PathBuf;
use std::time::Duration;
use std::{fmt, io};

/// What went wrong.
#[derive(Debug)]
#[non_exhaustive]
pub enum DemoError {
    /// Programs that belong to the demo are not beside it.
    Programs {
        /// Which.
        missing: Vec<String>,
        /// Where they were looked for.
        directory: PathBuf,
        /// Why they could not be built, or were not.
        why: String,
    },
    /// The system refused something.
    System {
        /// What was tried.
        what: String,
        /// What it said.
        source: io::Error,
    },
    /// SIGINT, SIGTERM or SIGHUP came.
    Interrupted,
    /// Something did not happen in time.
    Late {
        /// What was waited for, as a noun.
        what: String,
        /// How long.
        waited: Duration,
        /// What was seen instead, if anything.
        seen: String,
    },
    /// The demo as a whole took longer than it may.
    OutOfTime {
        /// What it was waiting for.
        what: String,
    },
    /// A process ended that was not to.
    Ended {
        /// Which, with its pid.
        who: String,
        /// Exit code or signal.
        how: String,
        /// The end of its stderr.
        said: String,
    },
    /// A process said on stdout what was not expected.
    Said {
        /// Which, with its pid.
        who: String,
        /// What was expected.
        expected: &'static str,
        /// What came.
        line: String,
    },
    /// Somebody else serves than should.
    WrongOwner {
        /// What had happened before.
        after: String,
        /// Pid and generation that should serve.
        expected: (u32, u64),
        /// What the control block says.
        found: String,
    },
    /// A program that was to fail as an upgrade did something else.
    NotBad {
        /// Which.
        program: &'static str,
        /// What it was to do.
        expected: &'static str,
        /// What happened.
        found: String,
    },
    /// The state of the node cannot be read.
    Node(handover::Error),
    /// The region cannot be looked at.
    Region(shmstate::Error),
}

/// The result of everything here that can fail.
pub type Result<T, E = DemoError> = std::result::Result<T, E>;

impl DemoError {
    /// For `map_err`: the system refused `what`.
    pub fn system<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> Self {
        let what = what.into();
        move |source| Self::System {
            what,
            source: source.into(),
        }
    }
}

impl fmt::Display for DemoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Programs {
                missing,
                directory,
                why,
            } => write!(
                f,
                "{} not found in {}: {why}; run `cargo build --release` first",
                missing.join(", "),
                directory.display()
            ),
            Self::System { what, source } => write!(f, "cannot {what}: {source}"),
            Self::Interrupted => f.write_str("interrupted by a signal"),
            Self::Late { what, waited, seen } => {
                write!(f, "{what} did not come within {waited:?}")?;
                if seen.is_empty() { Ok(()) } else { write!(f, ": {seen}") }
            }
            Self::OutOfTime { what } => write!(
                f,
                "the time for the whole demo was over while it waited for {what}; try fewer --bots or a smaller --world-mib"
            ),
            Self::Ended { who, how, said } => {
                write!(f, "{who} ended unexpectedly: {how}")?;
                if said.is_empty() {
                    f.write_str("; it said nothing on stderr")
                } else {
                    write!(f, "; its stderr ends with:\n{said}")
                }
            }
            Self::Said { who, expected, line } => write!(f, "{who} said {line:?} instead of {expected}"),
            Self::WrongOwner {
                after,
                expected: (pid, generation),
                found,
            } => write!(
                f,
                "after {after}, process {pid} should serve in generation {generation}, but {found}"
            ),
            Self::NotBad {
                program,
                expected,
                found,
            } => write!(f, "{program} was to {expected}, but {found}"),
            Self::Node(error) => write!(f, "the state of the node cannot be read: {error}"),
            Self::Region(error) => write!(f, "the world cannot be looked at: {error}"),
        }
    }
}

impl std::error::Error for DemoError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::System { source, .. } => Some(source),
            Self::Node(error) => Some(error),
            Self::Region(error) => Some(error),
            _ => None,
        }
    }
}

impl From<handover::Error> for DemoError {
    fn from(error: handover::Error) -> Self {
        Self::Node(error)
    }
}

impl From<shmstate::Error> for DemoError {
    fn from(error: shmstate::Error) -> Self {
        Self::Region(error)
    }
}
