//! How the command ends: exit codes, what goes to stdout, what goes to stderr.
//!
//! A reader that closes the pipe early (`handover status | head -1`) changes neither the work nor the exit code.

use std::io::Write;
use std::process::ExitCode;

use crate::error::Error;

/// The exit codes, see the table in [`super`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Exit {
    Done = 0,
    NotDone = 1,
    Usage = 2,
    Nobody = 3,
    Unknown = 4,
    /// It can be done, and there is no way back.
    OneWay = 5,
}

/// What a command leaves behind.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) exit: Exit,
    /// For stdout, with its line ends.
    pub(super) out: String,
    /// For stderr: the first line says what is wrong, the others where it stands and what to do.
    pub(super) problem: Vec<String>,
}

impl Report {
    /// All is well.
    pub(super) fn done(out: String) -> Self {
        Self {
            exit: Exit::Done,
            out,
            problem: Vec::new(),
        }
    }

    /// Writes it out.
    pub(super) fn print(self) -> ExitCode {
        // A closed pipe is the reader's decision; there is nobody left to tell.
        let _ = std::io::stdout().lock().write_all(self.out.as_bytes());
        if let Some((first, rest)) = self.problem.split_first() {
            let mut text = format!("handover: {first}\n");
            for line in rest {
                text += &format!("  {line}\n");
            }
            let _ = std::io::stderr().lock().write_all(text.as_bytes());
        }
        ExitCode::from(self.exit as u8)
    }
}

/// Why a command could not do its work.
#[derive(Debug)]
pub(super) struct Failure {
    exit: Exit,
    problem: Vec<String>,
}

impl Failure {
    pub(super) fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self {
            exit,
            problem: vec![what.into()],
        }
    }

    /// What it says.
    pub(super) fn lines(self) -> Vec<String> {
        self.problem
    }

    /// Another line: where it stands, or what to do.
    pub(super) fn and(mut self, line: impl Into<String>) -> Self {
        self.problem.push(line.into());
        self
    }
}

impl From<Failure> for Report {
    fn from(failure: Failure) -> Self {
        Self {
            exit: failure.exit,
            out: String::new(),
            problem: failure.problem,
        }
    }
}

impl From<Error> for Failure {
    /// A failed look: it could not be found out.
    fn from(error: Error) -> Self {
        Self::new(Exit::Unknown, error.to_string())
    }
}

/// Prints help, version or what is wrong with the arguments.
pub(super) fn usage(usage: &clap::Error) -> ExitCode {
    // As above: who closed the pipe does not want the help.
    let _ = usage.print();
    let exit = if usage.use_stderr() { Exit::Usage } else { Exit::Done };
    ExitCode::from(exit as u8)
}
