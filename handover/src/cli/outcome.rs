//! What an upgrade came to, in words and as JSON: from a last look at the node, and how the watching ended.

use serde::Serialize;
use std::time::Duration;

use super::exit::{Exit, Report};
use super::look::Found;
use super::plan::Plan;
use super::started::Ended;
use super::status::json;
use super::text::roughly;
use super::view::{HandoverView, ProbationView};
use super::wish::way_back;
use crate::control::HandoverRecord;

/// How the watching ended.
#[derive(Debug)]
pub(super) enum Ending {
    Serves(u32),
    CalledOff(Box<HandoverRecord>),
    /// It served, and its predecessor serves again.
    WentBack(Option<Box<HandoverRecord>>),
    Gone,
    Timeout,
}

/// What became of `--confirm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// It was not said, or there was nobody to hear it.
    Unsaid,
    /// It was said, and nobody takes the node back any more.
    Confirmed,
    /// It was said, and nothing came of it in time.
    Unheard,
}

/// All that is known at the end.
#[derive(Debug)]
pub(super) struct LastLook<'a> {
    pub(super) node: &'a str,
    /// CMD's program and pid.
    pub(super) program: String,
    pub(super) pid: u32,
    pub(super) timeout: Duration,
    /// Whether the node was served before.
    pub(super) served: bool,
    /// Whether it was this command that ended CMD.
    pub(super) killed: bool,
    pub(super) ending: Ending,
    pub(super) ended: Option<Ended>,
    pub(super) found: Found,
    pub(super) handover: Option<HandoverView>,
    /// The probation that CMD is on.
    pub(super) probation: Option<ProbationView>,
    pub(super) word: Word,
    pub(super) waited: Duration,
    pub(super) plan: Option<&'a Plan>,
}

/// `--json` (X1).
#[derive(Debug, Serialize)]
struct Outcome<'a> {
    node: &'a str,
    /// Whether CMD, or what it started, serves now.
    upgraded: bool,
    /// `upgraded`, `started`, `called_off`, `given_back`, `exited` or `timeout`; `not_started` if the plan was against it.
    result: &'static str,
    /// The exit code.
    exit_code: u8,
    /// Who serves now; null if nobody does, or if it cannot be found out.
    serving: Option<Serving>,
    /// Null if CMD was not started.
    started_pid: Option<u32>,
    /// How CMD ended, if it has.
    exit_status: Option<i32>,
    signal: Option<i32>,
    waited_ms: u64,
    /// What was to be expected, as in `handover plan --json`; null if CMD does not declare its tables.
    plan: Option<&'a Plan>,
    /// The record of this handover, as in `handover status --json`.
    handover: Option<&'a HandoverView>,
    /// Whether it was confirmed: nobody takes the node back any more.
    confirmed: bool,
    /// The probation that CMD is on, as in `handover status --json`.
    probation: Option<&'a ProbationView>,
    /// The same for people.
    message: String,
}

/// The process that serves.
#[derive(Debug, Serialize)]
pub(super) struct Serving {
    pub(super) pid: u32,
    pub(super) build_id: String,
    pub(super) generation: u64,
}

impl Serving {
    pub(super) fn of(found: &Found) -> Option<Self> {
        found.owner().zip(found.status()).map(|(owner, status)| Self {
            pid: owner.process.pid,
            build_id: owner.build_id.clone(),
            generation: status.lease.generation(),
        })
    }
}

/// The report of an upgrade that was not begun, because of its plan. `problem` says why.
pub(super) fn not_begun(exit: Exit, found: &Found, plan: &Plan, mut problem: Vec<String>, as_json: bool) -> Report {
    problem.push(format!("now: {}", found.who_serves()));
    if !as_json {
        return Report {
            problem,
            exit,
            ..Report::done(String::new())
        };
    }
    let outcome = Outcome {
        node: &plan.node,
        upgraded: false,
        result: "not_started",
        exit_code: exit as u8,
        serving: Serving::of(found),
        started_pid: None,
        exit_status: None,
        signal: None,
        waited_ms: 0,
        plan: Some(plan),
        handover: None,
        confirmed: false,
        probation: None,
        message: problem.join("\n"),
    };
    Report {
        exit,
        ..Report::done(json(&outcome))
    }
}

impl LastLook<'_> {
    /// The report, for a program or for people.
    pub(super) fn report(self, as_json: bool) -> Report {
        let owner = self.found.owner();
        let serves = match (&self.ending, owner) {
            (Ending::Serves(pid), Some(owner)) => owner.process.pid == *pid,
            _ => false,
        };
        let exit = match owner {
            Some(_) if serves => Exit::Done,
            Some(_) => Exit::NotDone,
            None => Exit::Nobody,
        };
        let lines = match &self.ending {
            Ending::Serves(pid) if serves => [vec![self.success(*pid)], self.probation()].concat(),
            _ => self.problem(),
        };
        if as_json {
            return Report {
                exit,
                ..Report::done(json(&self.outcome(exit, lines.join("\n"))))
            };
        }
        let (out, problem) = if serves {
            (lines.join("\n") + "\n", Vec::new())
        } else {
            (String::new(), lines)
        };
        Report { exit, out, problem }
    }

    fn outcome(&self, exit: Exit, message: String) -> Outcome<'_> {
        Outcome {
            node: self.node,
            upgraded: exit == Exit::Done,
            result: match self.ending {
                Ending::Serves(_) if self.served => "upgraded",
                Ending::Serves(_) => "started",
                Ending::CalledOff(_) => "called_off",
                Ending::WentBack(_) => "given_back",
                Ending::Gone => "exited",
                Ending::Timeout => "timeout",
            },
            exit_code: exit as u8,
            serving: Serving::of(&self.found),
            started_pid: Some(self.pid),
            exit_status: match self.ended {
                Some(Ended::Status(status)) => Some(status),
                _ => None,
            },
            signal: match self.ended {
                Some(Ended::Signal(signal)) => Some(signal),
                _ => None,
            },
            waited_ms: u64::try_from(self.waited.as_millis()).unwrap_or(u64::MAX),
            plan: self.plan,
            handover: self.handover.as_ref(),
            confirmed: self.word == Word::Confirmed,
            probation: self.probation.as_ref(),
            message,
        }
    }

    /// The line that says what was reached.
    fn success(&self, pid: u32) -> String {
        let mut line = format!("{}: {}", self.node, self.found.who_serves());
        if pid != self.pid {
            line += &format!(" (by way of process {})", self.pid);
        }
        if !self.served {
            line += "; started, for nobody served before";
            if self.handover.is_some() {
                line += "; it took up what the dead owner left";
            }
            return line;
        }
        let Some(handover) = &self.handover else {
            return line + "; no record of the handover was found";
        };
        let micros = |n: Option<f64>| n.map_or_else(|| "not measured".into(), |n| format!("{n:.1} µs"));
        line += &format!(
            "; blackout {} (noise {}), {} connections moved, prepared in {}",
            micros(handover.blackout_us),
            micros(handover.noise_us),
            handover.connections,
            handover
                .prepare_ms
                .map_or_else(|| "an unknown time".into(), |ms| format!("{ms:.1} ms")),
        );
        if handover.outcome == "inherited" {
            line += "; the old owner died on the way";
        }
        line
    }

    /// What is to be known about the probation of one that serves.
    fn probation(&self) -> Vec<String> {
        let Some(on) = &self.probation else {
            return match self.word {
                Word::Confirmed => vec!["confirmed: nobody takes the node back any more".into()],
                _ => Vec::new(),
            };
        };
        let node = self.node;
        let parked = format!("process {} (build {})", on.parked_pid, on.parked_build_id);
        let left = roughly(Duration::from_millis(on.left_ms));
        let mut lines = vec![
            format!("on probation for {left} more: {parked} is parked and takes the node back if it dies"),
            format!("handover confirm {node}   ends the probation: it is well"),
            format!("handover rollback {node}  gives the node back to {parked}"),
        ];
        if self.word == Word::Unheard {
            lines.insert(1, format!("{parked} did not hear the confirmation in time; it stands"));
        }
        lines.iter_mut().for_each(|line| line.insert_str(0, "  "));
        lines
    }

    /// What went wrong, what was recorded, who serves, what to do.
    fn problem(&self) -> Vec<String> {
        let done = if self.served { "upgraded" } else { "started" };
        let cmd = format!("process {} ({})", self.pid, self.program);
        let fate = self.ended.map_or_else(|| "lives on".into(), |e| e.to_string());
        let why = match &self.ending {
            Ending::Serves(pid) => format!("process {pid} took over, and has let go of the node or died since"),
            Ending::WentBack(_) => {
                let cmd = if self.ended.is_some() {
                    format!("{cmd} {fate}")
                } else {
                    format!("{cmd} drains")
                };
                return self.went_back(cmd);
            }
            Ending::CalledOff(_) if self.killed => format!("{cmd} did not end by itself; then it {fate}"),
            Ending::CalledOff(_) | Ending::Gone => format!("{cmd} {fate}"),
            Ending::Timeout => format!(
                "{cmd} did not {} within {}; then it {fate}",
                if self.served { "take over" } else { "serve" },
                roughly(self.timeout)
            ),
        };
        let mut lines = vec![format!("the node {:?} was not {done}: {why}", self.node)];
        if let Ending::CalledOff(record) = &self.ending {
            lines.push(match record.reason.as_str() {
                "" => format!("recorded: {}", record.outcome),
                reason => format!("recorded: {}: {reason}", record.outcome),
            });
        }
        lines.push(format!("now: {}", self.found.who_serves()));
        lines.push(match (&self.ending, self.found.owner()) {
            (_, None) => format!(
                "to bring it back: handover upgrade {} --start -- CMD, with a version that works",
                self.node
            ),
            (Ending::Timeout, _) => "see its output; --timeout gives it more time".into(),
            _ => "see its output; nothing changed for the node's clients".into(),
        });
        lines
    }

    /// It served, and the old one serves again.
    fn went_back(&self, cmd: String) -> Vec<String> {
        let mut lines = vec![format!(
            "the node {:?} was upgraded and went back on probation: {cmd}",
            self.node
        )];
        if let Some(handover) = &self.handover {
            let way = way_back("the new version", self.handover.as_ref());
            lines.push(format!("recorded: {}: {way}", handover.reason));
        }
        lines.push(format!("now: {}", self.found.who_serves()));
        lines.push(match self.found.owner() {
            Some(_) => "see its output; the node's clients are still connected".into(),
            None => format!(
                "to bring it back: handover upgrade {} --start -- CMD, with a version that works",
                self.node
            ),
        });
        lines
    }
}
