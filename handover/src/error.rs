//! What fails in a handover, and who serves then.
//!
//! - Every variant says what was tried, where, and how much; where the operator can act, what to do.
//! - [`Error::who_serves`] answers the operator's only question. A low layer does not know; the phase that
//!   knows attaches the answer with [`Error::served_by`].
//!
//! This file does not know how a failure is handled: that is the business of the phases.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// The result of everything here that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// One of the two sides of a handover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The process that owns the node.
    Predecessor,
    /// The process that is to take over.
    Successor,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Predecessor => "predecessor",
            Self::Successor => "successor",
        })
    }
}

/// Who serves the node after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WhoServes {
    /// The process that owned the node before; nothing changed for its clients.
    Predecessor,
    /// The process that took over.
    Successor,
    /// The process that holds the error.
    ThisProcess,
    /// Nobody: the next start recovers the node.
    Nobody,
    /// The one who failed cannot tell; `handover status` can.
    Unknown,
}

impl fmt::Display for WhoServes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Predecessor => "the predecessor serves",
            Self::Successor => "the successor serves",
            Self::ThisProcess => "this process serves",
            Self::Nobody => "nobody serves; the next start recovers the node",
            Self::Unknown => "who serves is not known here, see `handover status`",
        })
    }
}

/// Everything that can go wrong in this crate.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed.
    #[error("cannot {what} {place}: {source}")]
    Io {
        /// What was tried, as a verb: "open", "bind".
        what: &'static str,
        /// The file, socket or process it was tried on.
        place: String,
        /// What the system said.
        source: io::Error,
    },

    /// The control block of a node cannot be used.
    #[error("control block {name}: {problem}")]
    ControlBlock {
        /// Name of the shared-memory object.
        name: String,
        /// What is wrong with it.
        problem: ControlProblem,
    },

    /// A message cannot be encoded or decoded.
    #[error("message: {0}")]
    Frame(#[from] FrameProblem),

    /// One side said no.
    #[error("refused by the {by}: {reason}")]
    Refused {
        /// Who refused.
        by: Side,
        /// The reason it gave.
        reason: String,
    },

    /// The other side did something that does not fit the state of the handover.
    #[error("protocol error: expected {expected}, got {got}")]
    Protocol {
        /// What would have fitted.
        expected: &'static str,
        /// What came.
        got: String,
    },

    /// The other side closed the channel. That does not prove that it is dead (H5), and a reason that it sent
    /// before may still be waiting to be received.
    #[error("process {pid} closed the handover channel")]
    Closed {
        /// The process at the other end when the channel was made.
        pid: u32,
    },

    /// The other process is dead; this is proven (H5).
    #[error("process {pid} is dead")]
    PeerDead {
        /// The dead process.
        pid: u32,
    },

    /// Something did not happen in time.
    #[error("{what} did not happen within {waited:?}")]
    Deadline {
        /// What was waited for, as a noun.
        what: &'static str,
        /// How long.
        waited: Duration,
    },

    /// The kernel could not install all descriptors of a message in this process; those it did install are closed.
    #[error("{}", truncated(*received, *needed, *limit))]
    Truncated {
        /// Descriptors that arrived, all closed again.
        received: usize,
        /// Descriptors that the message carried, where the message says so.
        needed: Option<usize>,
        /// The soft RLIMIT_NOFILE of this process.
        limit: u64,
    },

    /// The limits of this process are too low for what is to come.
    #[error("{}", short_of_descriptors(what, *needed, *open, *soft, *hard))]
    DescriptorLimit {
        /// What they are for.
        what: &'static str,
        /// How many more are needed.
        needed: u64,
        /// How many are open.
        open: u64,
        /// The soft RLIMIT_NOFILE of this process.
        soft: u64,
        /// The hard one, up to which this library raises the soft one.
        hard: u64,
    },

    /// A file is in the way of a socket.
    #[error("socket file {}: {problem}", path.display())]
    SocketFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        problem: String,
    },

    /// What a builder declares, or a server keeps, does not fit together.
    #[error("descriptor {name:?}: {problem}")]
    Descriptor {
        /// Its name.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },

    /// A builder declares a table that its region cannot have.
    #[error("table {table:?} of region {region:?} cannot be declared so: {problem}")]
    Declaration {
        /// The region.
        region: String,
        /// The table.
        table: String,
        /// What is wrong, and what to do.
        problem: String,
    },

    /// A service manager handed descriptors over in a way that is none.
    #[error("socket activation: {0}")]
    Activation(#[from] ActivationProblem),

    /// More descriptors than one message may carry.
    #[error("{given} descriptors in one message, at most {limit} are possible: split them into batches")]
    TooManyDescriptors {
        /// How many were given.
        given: usize,
        /// How many are possible.
        limit: usize,
    },

    /// The other end of a socket belongs to another user.
    #[error("{place}: process {pid} runs as uid {found}, only uid {expected} may take part")]
    WrongUid {
        /// Which socket.
        place: String,
        /// The process at the other end.
        pid: u32,
        /// Our own uid.
        expected: u32,
        /// The uid found.
        found: u32,
    },

    /// The runtime directory of a node cannot be used.
    #[error("runtime directory {}: {problem}", path.display())]
    RuntimeDir {
        /// The directory or the file in it.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },

    /// A name that no node can have.
    #[error("{name:?} is no node name: {problem}")]
    NodeName {
        /// The name given.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },

    /// The two sides share no protocol version.
    #[error("no common protocol version: this process speaks {} to {}, the other {} to {}", ours.0, ours.1, theirs.0, theirs.1)]
    Unsupported {
        /// Lowest and highest version of this process.
        ours: (u16, u16),
        /// Lowest and highest version of the other.
        theirs: (u16, u16),
    },

    /// A region refused.
    #[error("{0}")]
    Region(#[from] shmstate::Error),

    /// There is no predecessor that could take the node back.
    #[error("this process is on no probation: its predecessor drains or is gone, and nobody could take the node back")]
    NotOnProbation,

    /// There is nothing of that name.
    #[error("there is no {what} {name:?}; `handover status` lists what there is")]
    Unknown {
        /// What was looked for.
        what: &'static str,
        /// Its name.
        name: String,
    },

    /// Another error, by one who knows who serves now.
    #[error("{source} ({who})")]
    Served {
        /// Who serves.
        who: WhoServes,
        /// What failed.
        source: Box<Error>,
    },
}

impl Error {
    /// Who serves the node now, as far as the place of the failure could know.
    #[must_use]
    pub fn who_serves(&self) -> WhoServes {
        match self {
            Self::Served { who, .. } => *who,
            // Both happen before the cutover, where the predecessor serves on (H2).
            Self::Refused { .. } | Self::Unsupported { .. } => WhoServes::Predecessor,
            _ => WhoServes::Unknown,
        }
    }

    /// Attaches who serves now. An answer that is already there is replaced.
    #[must_use]
    pub fn served_by(self, who: WhoServes) -> Self {
        let source = match self {
            Self::Served { source, .. } => source,
            other => Box::new(other),
        };
        Self::Served { who, source }
    }

    /// A failed system call: what was tried (a verb) and on what.
    pub(crate) fn io(what: &'static str, place: impl fmt::Display, source: impl Into<io::Error>) -> Self {
        Self::Io {
            what,
            place: place.to_string(),
            source: source.into(),
        }
    }
}

fn truncated(received: usize, needed: Option<usize>, limit: u64) -> String {
    let of = needed.map_or_else(String::new, |n| format!(" of {n}"));
    let missing = needed.map_or(1, |n| n.saturating_sub(received)) as u64;
    format!(
        "only {received}{of} descriptors could be received: this process may have {limit} open (RLIMIT_NOFILE); \
         raise it to {} or more (`ulimit -n`, systemd LimitNOFILE=) and start the successor again",
        limit.saturating_add(missing)
    )
}

fn short_of_descriptors(what: &str, needed: u64, open: u64, soft: u64, hard: u64) -> String {
    let enough = open.saturating_add(needed);
    let raise = if enough <= hard {
        format!("raise the soft limit to {enough} or more (`ulimit -n`)")
    } else {
        format!("raise the hard limit to {enough} or more (`ulimit -n`, systemd LimitNOFILE=, docker --ulimit nofile=)")
    };
    format!(
        "{needed} more descriptors are needed for {what}; {open} are open, and RLIMIT_NOFILE allows {soft} (hard limit {hard}): \
         {raise} and start again"
    )
}

/// What can be wrong with the descriptors of a service manager.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ActivationProblem {
    /// A variable does not hold a number that can be one.
    #[error("{variable}={found:?} is no number from {least} to {most}")]
    Number {
        /// The variable.
        variable: &'static str,
        /// What it holds, cut.
        found: String,
        /// The least that means something.
        least: u64,
        /// The most.
        most: u64,
    },
    /// As many names as descriptors are needed.
    #[error("LISTEN_FDNAMES has {names} names for {descriptors} descriptors")]
    Names {
        /// How many names.
        names: usize,
        /// How many descriptors.
        descriptors: usize,
    },
    /// A name that none can have.
    #[error("LISTEN_FDNAMES: name {index} is longer than {limit} bytes, or has bytes that no name has")]
    Name {
        /// Which, from 0.
        index: usize,
        /// Longest name.
        limit: usize,
    },
    /// One of the announced descriptors is not open.
    #[error("descriptor {number}, {name:?}, is not open")]
    Closed {
        /// Its number.
        number: i32,
        /// Its name.
        name: String,
    },
    /// A descriptor of the right name is of another kind than the one declared.
    #[error("descriptor {name:?} is no {expected}")]
    Kind {
        /// Its name.
        name: String,
        /// What is declared.
        expected: &'static str,
    },
}

/// What can be wrong with a control block.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum ControlProblem {
    /// There is none.
    #[error("does not exist: the node never ran, or the machine was started anew")]
    Missing,
    /// One exists where a new one was to be made.
    #[error("exists already")]
    Exists,
    /// Its maker has not finished it, and perhaps died.
    #[error("is only half made: its maker died, or is still at it")]
    NotReady,
    /// It begins with something else.
    #[error("begins with {found:#018x} and is no control block")]
    Magic {
        /// The word found.
        found: u64,
    },
    /// It was made by another format version.
    #[error("has format version {found}, this build reads {ours}: end all processes of the node first")]
    Version {
        /// The version found.
        found: u32,
        /// The version of this build.
        ours: u32,
    },
    /// It is not as large as the format says.
    #[error("is {found} bytes long, expected {expected}")]
    Size {
        /// Bytes found.
        found: u64,
        /// Bytes expected.
        expected: u64,
    },
    /// It belongs to another node.
    #[error("belongs to node id {found:032x}, expected {expected:032x}")]
    NodeId {
        /// The id inside.
        found: u128,
        /// The id in the runtime directory.
        expected: u128,
    },
    /// It belongs to another node.
    #[error("belongs to node {found:?}, expected {expected:?}")]
    NodeName {
        /// The name inside.
        found: String,
        /// The name of the runtime directory.
        expected: String,
    },
    /// The lease word is none that this library writes.
    #[error("the lease word {found:#018x} means nothing")]
    Lease {
        /// The word found.
        found: u64,
    },
    /// A word that is an enumeration has a value outside it.
    #[error("{field} has the unknown value {found}")]
    Value {
        /// The word's name.
        field: &'static str,
        /// The value found.
        found: u32,
    },
    /// All participant rows belong to living processes.
    #[error(
        "all {rows} participant rows belong to living processes: end one that hangs (`handover status` lists them)"
    )]
    Full {
        /// How many rows there are.
        rows: usize,
    },
    /// No such participant row.
    #[error("there is no participant row {slot}")]
    Slot {
        /// The row asked for.
        slot: u32,
    },
    /// The system refused.
    #[error("cannot {what}: {source}")]
    Os {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// What can be wrong with a message.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameProblem {
    /// Shorter than a header.
    #[error("{len} bytes are no header, which has {header}")]
    Short {
        /// Bytes received.
        len: usize,
        /// Bytes of a header.
        header: usize,
    },
    /// Not a message of this protocol.
    #[error("begins with {found:#010x}")]
    Magic {
        /// The word found.
        found: u32,
    },
    /// A kind that this version does not know.
    #[error("kind {found} is unknown")]
    Kind {
        /// The kind found.
        found: u16,
    },
    /// The length in the header is not the length received.
    #[error("announces a body of {announced} bytes and has {received}")]
    Length {
        /// Bytes according to the header.
        announced: u32,
        /// Bytes behind the header.
        received: usize,
    },
    /// Longer than a message may be.
    #[error("{len} bytes, at most {limit} are possible")]
    TooLong {
        /// Bytes of the message, or how many of them are known.
        len: usize,
        /// The limit.
        limit: usize,
    },
    /// A message was lost, doubled or reordered.
    #[error("has number {found}, expected {expected}")]
    Number {
        /// The number due.
        expected: u32,
        /// The number found.
        found: u32,
    },
    /// The body ends inside a field.
    #[error("ends inside {field}")]
    Ends {
        /// The field.
        field: &'static str,
    },
    /// The body goes on after its last field.
    #[error("{left} bytes are left over")]
    LeftOver {
        /// How many.
        left: usize,
    },
    /// A string that is not UTF-8.
    #[error("{field} is not UTF-8")]
    NotUtf8 {
        /// The field.
        field: &'static str,
    },
    /// A string, or a list, longer than its limit.
    #[error("{field} has {len}, at most {limit} are possible")]
    Limit {
        /// The field.
        field: &'static str,
        /// Its length.
        len: usize,
        /// The limit.
        limit: usize,
    },
    /// A field with a value that has no meaning.
    #[error("{field} has the unknown value {found}")]
    Value {
        /// The field.
        field: &'static str,
        /// The value found.
        found: u64,
    },
    /// The descriptors that came are not those that the message lists.
    #[error("lists {announced} descriptors and carries {received}")]
    Descriptors {
        /// How many are listed.
        announced: usize,
        /// How many came.
        received: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_attached_once() {
        let error = Error::Closed { pid: 7 };
        assert_eq!(error.who_serves(), WhoServes::Unknown);
        let error = error.served_by(WhoServes::Nobody).served_by(WhoServes::Predecessor);
        assert_eq!(error.who_serves(), WhoServes::Predecessor);
        assert_eq!(
            error.to_string(),
            "process 7 closed the handover channel (the predecessor serves)"
        );
    }

    #[test]
    fn truncation_says_what_to_raise() {
        let error = Error::Truncated {
            received: 3,
            needed: Some(10),
            limit: 64,
        };
        let text = error.to_string();
        assert!(text.contains("only 3 of 10"), "{text}");
        assert!(text.contains("RLIMIT_NOFILE"), "{text}");
        assert!(text.contains("raise it to 71"), "{text}");
    }

    #[test]
    fn a_low_limit_is_told_with_its_numbers() {
        let text = short_of_descriptors("a test", 500, 12, 100, 200);
        for part in [
            "500 more",
            "12 are open",
            "allows 100",
            "hard limit 200",
            "to 512 or more",
            "LimitNOFILE=",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let text = short_of_descriptors("a test", 50, 12, 32, 200);
        assert!(text.contains("soft limit to 62"), "{text}");
    }
}
