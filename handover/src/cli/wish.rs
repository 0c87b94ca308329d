//! `handover rollback` and `handover confirm`: an operator's word on a probation.
//!
//! - **O1** The word goes to the parked predecessor through the control block, so it is heard whatever became of the owner: one that hangs cannot
//!   keep the node, and need not listen.
//! - **O2** It is two stores, of which the last one counts. This command may be killed anywhere: the word was said or it was not.
//! - **O3** What came of it is read from the control block (see [`super::probation`]), never concluded from having said it.

use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;

use super::args;
use super::exit::{Exit, Failure, Report};
use super::look::{Found, identity};
use super::outcome::Serving;
use super::probation::{Became, Probation, Watched};
use super::status::{json, unknown};
use super::text::roughly;
use super::view::HandoverView;
use crate::control::{ControlBlock, Participant, ParticipantState, Request};
use crate::error::Result;
use crate::os::clock::{self, Deadline};
use crate::status::Status;

/// Between two looks at what comes of the word.
const LOOK: Duration = Duration::from_millis(5);

/// What is asked for.
struct Options {
    base: PathBuf,
    node: String,
    wish: Request,
    timeout: Duration,
    json: bool,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// As wished.
    Done,
    /// There is, or was, no probation any more.
    NotOnProbation,
    /// A node that was to be confirmed went back.
    WentBack,
    /// Another process took over meanwhile.
    TookOver,
    /// Nothing came of it in time.
    Timeout,
}

/// `--json` (X1).
#[derive(Debug, Serialize)]
struct Outcome<'a> {
    node: &'a str,
    /// `rollback` or `confirm`.
    wish: &'static str,
    /// Whether it was done.
    done: bool,
    /// `rolled_back`, `confirmed`, `not_on_probation`, `went_back`, `another_took_over` or `timeout`.
    result: &'static str,
    /// The exit code.
    exit_code: u8,
    /// Who serves now; null if nobody does.
    serving: Option<Serving>,
    /// Who was on probation, and who was parked; null if nobody was.
    successor_pid: Option<u32>,
    predecessor_pid: Option<u32>,
    waited_ms: u64,
    /// The record of the way back, as in `handover status --json`.
    handover: Option<HandoverView>,
    /// The same for people.
    message: String,
}

pub(super) fn run(raw: args::Wish, wish: Request) -> std::result::Result<Report, Failure> {
    let options = Options {
        base: raw.place.base(),
        node: raw.node,
        wish,
        timeout: raw.timeout,
        json: raw.json,
    };
    let found = Found::of(&options.base, &options.node)?;
    if let Found::Absent = found {
        return Err(unknown(&options.base, &options.node));
    }
    let begun = Deadline::after(options.timeout);
    let parties = found.status().map(Parties::of).transpose()?.flatten();
    let Some(parties) = parties else {
        return Ok(options.report(Answer::NotOnProbation, None, None, &found, begun.waited()));
    };
    if let Some(status) = found.status() {
        say(status, wish)?;
    }
    let (became, found) = follow(&options, &parties.watched, begun)?;
    let answer = match (&became, wish) {
        (Became::Back(_), Request::Rollback) | (Became::Over, Request::Confirm) => Answer::Done,
        (Became::Back(_), Request::Confirm) => Answer::WentBack,
        (Became::Over | Became::Nobody, _) => Answer::NotOnProbation,
        (Became::Elsewhere(_), _) => Answer::TookOver,
        (Became::Probation | Became::Returning, _) => Answer::Timeout,
    };
    Ok(options.report(answer, Some(&parties), Some(&became), &found, begun.waited()))
}

/// Leaves the word (O2).
///
/// # Errors
/// The control block cannot be opened any more.
pub(super) fn say(status: &Status, wish: Request) -> Result<()> {
    ControlBlock::open(&identity(status), Deadline::now())?.request(wish);
    Ok(())
}

/// Looks until something is decided or the time is over.
fn follow(options: &Options, watched: &Watched, deadline: Deadline) -> Result<(Became, Found)> {
    loop {
        let found = Found::of(&options.base, &options.node)?;
        let became = watched.became(found.status())?;
        if !became.is_open() || !deadline.pause(LOOK) {
            return Ok((became, found));
        }
    }
}

/// Who had to do with the probation.
struct Parties {
    watched: Watched,
    /// For people.
    owner: String,
    parked: String,
}

impl Parties {
    fn of(status: &Status) -> Result<Option<Self>> {
        Ok(Probation::of(status)?.map(|probation| Self {
            watched: Watched {
                node: status.id,
                owner: probation.owner.process.pid,
                parked: probation.parked.process,
                sequence: status.history.last().map_or(0, |r| r.sequence),
            },
            owner: name(probation.owner),
            parked: name(probation.parked),
        }))
    }
}

/// A process as people know it.
pub(super) fn name(participant: &Participant) -> String {
    format!("process {} (build {})", participant.process.pid, participant.build_id)
}

impl Options {
    fn report(
        &self,
        answer: Answer,
        parties: Option<&Parties>,
        became: Option<&Became>,
        found: &Found,
        waited: Duration,
    ) -> Report {
        let record = match became {
            Some(Became::Back(record)) => record.as_deref(),
            _ => None,
        };
        let handover = record.map(HandoverView::of);
        let exit = match (answer, found.owner()) {
            (Answer::Done, Some(_)) => Exit::Done,
            (_, Some(_)) => Exit::NotDone,
            (_, None) => Exit::Nobody,
        };
        let lines = match answer {
            Answer::Done => vec![self.success(parties, handover.as_ref(), found)],
            _ => self.problem(answer, parties, became, found),
        };
        if self.json {
            let outcome = Outcome {
                node: &self.node,
                wish: match self.wish {
                    Request::Rollback => "rollback",
                    Request::Confirm => "confirm",
                },
                done: exit == Exit::Done,
                result: match (answer, self.wish) {
                    (Answer::Done, Request::Rollback) => "rolled_back",
                    (Answer::Done, Request::Confirm) => "confirmed",
                    (Answer::NotOnProbation, _) => "not_on_probation",
                    (Answer::WentBack, _) => "went_back",
                    (Answer::TookOver, _) => "another_took_over",
                    (Answer::Timeout, _) => "timeout",
                },
                exit_code: exit as u8,
                serving: Serving::of(found),
                successor_pid: parties.map(|p| p.watched.owner),
                predecessor_pid: parties.map(|p| p.watched.parked.pid),
                waited_ms: u64::try_from(waited.as_millis()).unwrap_or(u64::MAX),
                handover,
                message: lines.join("\n"),
            };
            return Report {
                exit,
                ..Report::done(json(&outcome))
            };
        }
        let (out, problem) = match exit {
            Exit::Done => (lines.join("\n") + "\n", Vec::new()),
            _ => (String::new(), lines),
        };
        Report { exit, out, problem }
    }

    fn success(&self, parties: Option<&Parties>, handover: Option<&HandoverView>, found: &Found) -> String {
        let (owner, parked) = parties.map_or(("the new owner", "the old one"), |p| (&p.owner, &p.parked));
        let (node, serves) = (&self.node, found.who_serves());
        match self.wish {
            Request::Rollback => format!("{node}: {serves}; {}", way_back(owner, handover)),
            Request::Confirm => {
                format!("{node}: {serves}; its probation is over, {parked} does not take the node back any more")
            }
        }
    }

    fn problem(
        &self,
        answer: Answer,
        parties: Option<&Parties>,
        became: Option<&Became>,
        found: &Found,
    ) -> Vec<String> {
        let node = &self.node;
        let not = match self.wish {
            Request::Rollback => "rolled back",
            Request::Confirm => "confirmed",
        };
        let mut lines = vec![match (answer, parties) {
            (Answer::NotOnProbation, None) if found.owner().is_none() => {
                format!("nobody serves the node {node:?}: there is nothing to be {not}")
            }
            (Answer::NotOnProbation, None) => format!("the node {node:?} is not on probation: nothing was done"),
            (Answer::NotOnProbation, Some(_)) => {
                format!("the node {node:?} was not {not}: its probation ended before that")
            }
            (Answer::WentBack, _) => {
                format!("the node {node:?} was not {not}: it went back to its predecessor before that")
            }
            (Answer::TookOver, _) => format!("the node {node:?} was not {not}: another process took over"),
            (Answer::Timeout, _) => format!("the node {node:?} was not {not} within {}", roughly(self.timeout)),
            (Answer::Done, _) => format!("the node {node:?} was {not}, and nobody serves it any more"),
        }];
        if let (Answer::Timeout, Some(parties)) = (answer, parties) {
            let Parties { owner, parked, .. } = parties;
            lines.push(match became {
                Some(Became::Returning) => {
                    format!("{parked} has heard it and waits for {owner} to let go, or for its death")
                }
                _ => {
                    format!("{parked} is parked and has not heard it yet; it stands for as long as the probation lasts")
                }
            });
        }
        if answer == Answer::NotOnProbation {
            lines.extend(found.status().and_then(drained));
        }
        lines.push(format!("now: {}", found.who_serves()));
        lines.push(match (found.owner(), answer, self.wish) {
            (None, ..) => {
                format!("to bring it back: handover upgrade {node} --start -- CMD, with a version that works")
            }
            (_, Answer::NotOnProbation, Request::Rollback) => {
                format!("to go back to another version: handover upgrade {node} -- CMD, with that version")
            }
            (_, Answer::NotOnProbation, Request::Confirm) => {
                "nobody could take the node back: nothing needs to be confirmed".into()
            }
            _ => format!("see `handover status {node}`"),
        });
        lines
    }
}

/// How a node went back, from the record of it.
pub(super) fn way_back(owner: &str, handover: Option<&HandoverView>) -> String {
    let Some(handover) = handover else {
        return format!("{owner} does not");
    };
    let how = match handover.outcome {
        "given_back" => format!("given back by {owner}"),
        _ => format!("taken back, for {owner} is dead"),
    };
    let took = handover
        .give_back_ms
        .map(|ms| format!(", {ms:.1} ms after that was decided"));
    let blackout = handover.blackout_us.map(|us| format!(", blackout {us:.1} µs"));
    how + &took.unwrap_or_default() + &blackout.unwrap_or_default()
}

/// Since when the probation is over, if the old owner still drains.
fn drained(status: &Status) -> Option<String> {
    let draining = status.participants.iter();
    let mut draining = draining.filter(|p| p.state == ParticipantState::Draining && p.is_alive().unwrap_or(false));
    let last = draining.by_ref().max_by_key(|p| p.since)?;
    let since = Duration::from_nanos(clock::now().saturating_sub(last.since));
    Some(format!(
        "{} drains since {} and cannot have the node again",
        name(last),
        roughly(since)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Phase;
    use crate::os::pidfd::ProcessId;
    use shmstate::lease::Lease;

    #[test]
    fn who_drains_tells_since_when_the_probation_is_over() {
        let mut row = Participant {
            slot: 0,
            state: ParticipantState::Draining,
            process: ProcessId::current().expect("proc"),
            build_id: "v1".into(),
            since: clock::now().saturating_sub(90_000_000_000),
            connections: 0,
            in_flight: 1,
            drain_deadline: 0,
            heartbeat: 0,
            drain: crate::control::DrainNote::default(),
        };
        let status = |row: &Participant| Status {
            node: "n".into(),
            id: 1,
            lease: Lease::Vacant { generation: 1 },
            participants: vec![row.clone()],
            owner: None,
            alive: false,
            phase: Phase::None,
            probation_end: 0,
            declared: None,
            completed: 0,
            aborted: 0,
            history: Vec::new(),
        };
        let pid = row.process.pid;
        let line = format!("process {pid} (build v1) drains since 90 s and cannot have the node again");
        assert_eq!(drained(&status(&row)), Some(line));
        row.state = ParticipantState::Serving;
        assert_eq!(drained(&status(&row)), None);
    }
}
