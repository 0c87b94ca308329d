//! Runs a torture program, under a deadline, and gives what it said. Also for the tests in `tests/broken`.

use rustix::event::{PollFd, PollFlags, poll};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Longest that a run may take: many times what it does take.
const DEADLINE: Duration = Duration::from_secs(120);

/// What a run said.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) report: serde_json::Value,
    /// What stood on stderr: seed, violations, why it failed.
    pub(crate) said: String,
}

impl Outcome {
    /// A count of the report.
    pub(crate) fn count(&self, name: &str) -> u64 {
        self.report[name]
            .as_u64()
            .unwrap_or_else(|| panic!("no {name} in {}", self.report))
    }
}

/// Runs `program` with so many kills.
#[allow(dead_code, reason = "each test that includes this file uses one of them")]
pub(crate) fn of(program: &str, kills: u32) -> Outcome {
    with(program, kills, &[])
}

/// The same, with these variables in its environment.
pub(crate) fn with(program: &str, kills: u32, variables: &[(&str, &str)]) -> Outcome {
    let mut run = Command::new(program)
        .envs(variables.iter().copied())
        .args(["--json", "--kills", &kills.to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the torture starts");
    let stdout = run.stdout.take().expect("stdout is a pipe");
    // The report is the only thing on stdout and comes last.
    let deadline = DEADLINE.try_into().expect("a deadline that the kernel takes");
    let ready = poll(&mut [PollFd::new(&stdout, PollFlags::IN)], Some(&deadline)).expect("poll");
    if ready == 0 {
        run.kill().expect("kill");
    }
    run.stdout = Some(stdout);
    let output = run.wait_with_output().expect("wait");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_ne!(ready, 0, "{program} was not done after {DEADLINE:?}: {said}");
    Outcome {
        code: output.status.code(),
        report: serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|e| panic!("{program} ended with {}: {e}; {said}", output.status)),
        said,
    }
}
