//! What is done in a round of each kind, and who must serve after it.
//!
//! A round takes the owner, starts others, does what its kind says, and leaves everybody who may still live in [`Run::servers`], with the one who
//! must own the node in the end in [`Run::heir`] where the schedule says who that is. Cleaning up and judging is the run's affair.

use super::bots::Permit;
use super::plan::{Kind, Round};
use super::run::Run;
use super::server::Server;
use crate::node::{Order, Report};
use handover::control::{Phase, Request};
use std::time::Duration;

/// A server that can serve with that many descriptors cannot receive the connections with these.
const TOO_FEW: &str = "30";
/// What a hang, and the end of it, take: the watchdog, the question, the kill.
const HUNG: Duration = Duration::from_millis(1500);
/// What a dead node needs to be served again.
const RESTART: Duration = Duration::from_secs(3);

type Done = Result<(), String>;

/// Plays the round.
pub(super) fn play(run: &mut Run, round: &Round) -> Done {
    let a = run.owner.take().ok_or("nobody serves")?;
    match round.kind {
        Kind::Upgrade => upgrade(run, round, a),
        Kind::Chain => chain(run, a),
        Kind::AtOnce => at_once(run, a),
        Kind::UpgradeOnProbation => upgrade_on_probation(run, round, a),
        Kind::RollbackInUpgrade => rollback_in_upgrade(run, a),
        Kind::UpgradeWhileDraining => upgrade_while_draining(run, a),
        Kind::StopInUpgrade => stop_in_upgrade(run, round, a),
        Kind::StopOnProbation => stop_on_probation(run, a),
        Kind::KillSuccessor => kill_successor(run, round, a),
        Kind::KillOnProbation => kill_on_probation(run, round, a),
        Kind::CrashOnProbation => crash_on_probation(run, a),
        Kind::CrashPredecessor => crash_predecessor(run, a),
        Kind::KillPredecessor => kill_predecessor(run, round, a),
        Kind::KillParked => kill_parked(run, round, a),
        Kind::KillAlone => kill_alone(run, a),
        Kind::KillBoth => kill_both(run, round, a),
        Kind::FreezeSuccessor => freeze(run, round, a, Side::Successor),
        Kind::FreezePredecessor => freeze(run, round, a, Side::Predecessor),
        Kind::FreezeParked => freeze_parked(run, round, a),
        Kind::FreezeParkedKillOwner => freeze_parked_kill_owner(run, round, a),
        Kind::FreezeInTransaction => freeze_in_transaction(run, round, a),
        Kind::HangInPass => hang(run, a, Order::Tear),
        Kind::HangOutside => hang(run, a, Order::Sleep),
        Kind::GiveBack => give_back(run, round, a),
        Kind::Rollback => rollback(run, round, a),
        Kind::ExitAtOnce => bad(run, a, "exit-at-once"),
        Kind::Abort => bad(run, a, "abort-after-start"),
        Kind::DropAll => bad(run, a, "drop-after-start"),
        Kind::Refuse => bad(run, a, "refuse"),
        Kind::OtherSchema => bad(run, a, "other-schema"),
        Kind::NeverReady => never_ready(run, a),
        Kind::Starved => starved(run, a),
        Kind::Command => super::command::whole(run, round, a),
        Kind::KillCommand => super::command::signalled(run, round, a, super::command::Blow::Kill),
        Kind::FreezeCommand => super::command::signalled(run, round, a, super::command::Blow::Freeze),
        Kind::CommandGivesUp => super::command::gives_up(run, a),
    }
}

/// B takes over from A, which is parked.
fn take_over(run: &mut Run, a: &mut Server, name: &str) -> Result<Server, String> {
    let mut b = run.start(name, &[])?;
    let generation = b.serving()?;
    a.says(&Report::HandedOver)?;
    run.wait_phase(Phase::Probation)?;
    run.bots.progress(generation)?;
    Ok(b)
}

/// A must have the node again, for this reason.
fn back(run: &mut Run, a: &mut Server, cause: &str) -> Done {
    let found = a.back()?;
    if found != cause {
        return Err(format!("{} has the node back because of {found}, not {cause}", a.name));
    }
    let generation = a.serving()?;
    run.bots.progress(generation)
}

fn upgrade(run: &mut Run, round: &Round, mut a: Server) -> Done {
    let mut b = take_over(run, &mut a, "B")?;
    match round.die {
        0 => {
            b.tell(Order::Confirm);
            b.says(&Report::Confirmed(true))?;
        }
        1 => run.place.request(Request::Confirm)?,
        _ => super::command::wish(run, "confirm")?,
    }
    a.ended()?;
    run.hit();
    run.leave(b, [])
}

fn chain(run: &mut Run, mut a: Server) -> Done {
    let mut b = run.start("B", &[])?;
    b.serving()?;
    let mut c = run.start("C", &[])?;
    c.serving()?;
    let mut d = run.start("D", &[])?;
    let generation = d.serving()?;
    // Their probations were over when the next one stood by.
    a.ended()?;
    b.ended()?;
    run.bots.progress(generation)?;
    run.hit();
    run.leave(d, [c])
}

fn at_once(run: &mut Run, mut a: Server) -> Done {
    let mut b = run.start("B", &[])?;
    let mut c = run.start("C", &[])?;
    let (one, other) = (b.serving()?, c.serving()?);
    a.ended()?;
    run.hit();
    match one > other {
        true => run.leave(b, [c]),
        false => run.leave(c, [b]),
    }
}

fn upgrade_on_probation(run: &mut Run, round: &Round, mut a: Server) -> Done {
    let b = take_over(run, &mut a, "B")?;
    let mut c = run.start(
        "C",
        &["--fault", if round.coin { "refuse" } else { "abort-after-start" }],
    )?;
    c.ended()?;
    run.wait_phase(Phase::Probation)?;
    run.permit(Permit::Unwelcomed);
    b.held.kill()?;
    back(run, &mut a, "Died")?;
    run.hit();
    run.leave(a, [b])
}

fn rollback_in_upgrade(run: &mut Run, mut a: Server) -> Done {
    let b = take_over(run, &mut a, "B")?;
    let mut c = run.start("C", &["--wait"])?;
    if c.started()? != "successor" {
        return Err(format!("C was to be a successor: {:?}", c.seen));
    }
    run.place.request(Request::Rollback)?;
    back(run, &mut a, "Operator")?;
    // It was offered the node by B, which has it no more.
    c.tell(Order::Go);
    if c.may_serve()?.is_some() {
        return Err("C serves, and B has given the node back".into());
    }
    run.hit();
    run.leave(a, [b, c])
}

fn upgrade_while_draining(run: &mut Run, mut a: Server) -> Done {
    a.tell(Order::Work);
    a.says(&Report::Working)?;
    let mut b = take_over(run, &mut a, "B")?;
    b.tell(Order::Confirm);
    b.says(&Report::Confirmed(true))?;
    // It drains until its deadline, for its work is never over.
    let mut c = run.start("C", &[])?;
    let generation = c.serving()?;
    run.bots.progress(generation)?;
    a.need("that its work was not over", |report| match report {
        Report::Drained { left: 1, .. } => Some(()),
        _ => None,
    })?;
    a.ended()?;
    run.hit();
    run.leave(c, [b])
}

fn stop_in_upgrade(run: &mut Run, round: &Round, mut a: Server) -> Done {
    run.permit(Permit::All);
    let mut b = run.start("B", &[])?;
    // Before that it may find no node, and make one.
    b.started()?;
    std::thread::sleep(round.moment.mul_f64(0.5));
    a.tell(Order::Stop);
    let stopped = a.need("that it stopped or handed over", |report| match report {
        Report::Stopped => Some(true),
        Report::HandedOver => Some(false),
        // It was told so too late, and could not.
        Report::Failed { .. } => Some(false),
        _ => None,
    })?;
    run.fell(match stopped {
        true => "stopped_before_cutover",
        false => "stopped_after_cutover",
    });
    run.hit();
    if stopped { run.gone([a, b]) } else { run.leave(b, [a]) }
}

fn stop_on_probation(run: &mut Run, mut a: Server) -> Done {
    let mut b = take_over(run, &mut a, "B")?;
    run.permit(Permit::All);
    b.tell(Order::Stop);
    b.says(&Report::Stopped)?;
    run.hit();
    run.gone([a, b])
}

fn kill_successor(run: &mut Run, round: &Round, mut a: Server) -> Done {
    let b = run.start("B", &[])?;
    std::thread::sleep(round.moment);
    run.permit(Permit::Unwelcomed);
    if b.held.kill()? {
        run.hit();
    }
    run.fell(match run.owns_again(&mut a)? {
        true => "successor_killed_after_cutover",
        false => "successor_killed_before_cutover",
    });
    run.leave(a, [b])
}

fn kill_on_probation(run: &mut Run, round: &Round, mut a: Server) -> Done {
    let b = take_over(run, &mut a, "B")?;
    std::thread::sleep(round.moment);
    run.permit(Permit::Unwelcomed);
    if b.held.kill()? {
        run.hit();
    }
    back(run, &mut a, "Died")?;
    run.leave(a, [b])
}

/// Nobody may wait for the core.
fn crash_on_probation(run: &mut Run, mut a: Server) -> Done {
    let mut b = take_over(run, &mut a, "B")?;
    run.permit(Permit::Unwelcomed);
    b.tell(Order::Load);
    b.says(&Report::Loaded)?;
    b.tell(Order::Crash);
    b.says(&Report::Holding)?;
    run.hit();
    back(run, &mut a, "Died")?;
    run.fell(match b.held.is_dead() {
        true => "served_after_the_core",
        false => "served_before_the_core",
    });
    run.leave(a, [b])
}

fn crash_predecessor(run: &mut Run, mut a: Server) -> Done {
    // What A had accepted after the offer is its own until the cutover.
    run.permit(Permit::Young);
    a.tell(Order::Load);
    a.says(&Report::Loaded)?;
    let mut b = run.start("B", &["--wait"])?;
    b.started()?;
    a.tell(Order::Crash);
    a.says(&Report::Holding)?;
    run.hit();
    b.tell(Order::Go);
    b.serving()?;
    run.leave(b, [a])
}

fn kill_predecessor(run: &mut Run, round: &Round, a: Server) -> Done {
    run.permit(Permit::Young);
    let mut b = run.start("B", &[])?;
    b.started()?;
    std::thread::sleep(round.moment.mul_f64(0.5));
    if a.held.kill()? {
        run.hit();
    }
    let inherited = b.need("that it serves", |report| match report {
        Report::Serving { inherited, .. } => Some(*inherited),
        _ => None,
    })?;
    run.fell(match inherited {
        true => "predecessor_killed_before_cutover",
        false => "predecessor_killed_after_cutover",
    });
    run.leave(b, [a])
}

fn kill_parked(run: &mut Run, round: &Round, mut a: Server) -> Done {
    let b = take_over(run, &mut a, "B")?;
    std::thread::sleep(round.moment);
    if a.held.kill()? {
        run.hit();
    }
    run.leave(b, [a])
}

fn kill_alone(run: &mut Run, a: Server) -> Done {
    run.permit(Permit::All);
    run.allow(RESTART);
    if a.held.kill()? {
        run.hit();
    }
    run.cut();
    let mut b = run.start("B", &[])?;
    match &*b.started()? {
        "recovered" => run.leave(b, [a]),
        role => Err(format!("B was to recover, and is {role}")),
    }
}

fn kill_both(run: &mut Run, round: &Round, a: Server) -> Done {
    run.permit(Permit::All);
    run.allow(RESTART);
    let b = run.start("B", &[])?;
    std::thread::sleep(round.moment);
    let (first, second) = if round.coin { (&a, &b) } else { (&b, &a) };
    let one = first.held.kill()?;
    std::thread::sleep(round.later);
    if second.held.kill()? && one {
        run.hit();
    }
    run.cut();
    let mut c = run.start("C", &[])?;
    match &*c.started()? {
        "recovered" => run.leave(c, [a, b]),
        role => Err(format!("C was to recover, and is {role}")),
    }
}

enum Side {
    Predecessor,
    Successor,
}

fn freeze(run: &mut Run, round: &Round, a: Server, side: Side) -> Done {
    run.allow(round.frozen);
    let b = run.start("B", &[])?;
    std::thread::sleep(round.moment);
    let held = match side {
        Side::Predecessor => &a.held,
        Side::Successor => &b.held,
    };
    if held.freeze()? {
        run.hit();
    }
    std::thread::sleep(round.frozen);
    held.thaw();
    // It may have been given up meanwhile, or not: either serves.
    run.leave_either([a, b])
}

fn freeze_parked(run: &mut Run, round: &Round, mut a: Server) -> Done {
    let b = take_over(run, &mut a, "B")?;
    if a.held.freeze()? {
        run.hit();
    }
    std::thread::sleep(round.frozen);
    let generation = run.generation()?;
    run.bots.progress(generation)?;
    if round.coin {
        // A wish that nobody reads before A goes on.
        run.place.request(Request::Confirm)?;
    }
    a.held.thaw();
    run.leave(b, [a])
}

fn freeze_parked_kill_owner(run: &mut Run, round: &Round, mut a: Server) -> Done {
    run.allow(round.frozen);
    let b = take_over(run, &mut a, "B")?;
    let frozen = a.held.freeze()?;
    run.permit(Permit::Unwelcomed);
    if b.held.kill()? && frozen {
        run.hit();
    }
    std::thread::sleep(round.frozen);
    a.held.thaw();
    back(run, &mut a, "Died")?;
    run.leave(a, [b])
}

fn freeze_in_transaction(run: &mut Run, round: &Round, mut a: Server) -> Done {
    run.allow(HUNG);
    let mut b = take_over(run, &mut a, "B")?;
    run.permit(Permit::Unwelcomed);
    b.tell(Order::Tear);
    b.says(&Report::Holding)?;
    if b.held.freeze()? {
        run.hit();
    }
    run.place.request(Request::Rollback)?;
    // It is to wake in the middle of it: asked, killed, dead, or when all is over.
    std::thread::sleep(round.frozen);
    b.held.thaw();
    if round.coin {
        b.tell(Order::Release);
    }
    back(run, &mut a, "Operator")?;
    run.leave(a, [b])
}

fn hang(run: &mut Run, mut a: Server, order: Order) -> Done {
    run.allow(HUNG);
    let mut b = take_over(run, &mut a, "B")?;
    run.permit(Permit::Unwelcomed);
    b.tell(order);
    b.says(&Report::Holding)?;
    run.hit();
    back(run, &mut a, "Hung")?;
    // One that holds nothing lives, and may go on to its end.
    b.tell(Order::Release);
    run.leave(a, [b])
}

fn give_back(run: &mut Run, round: &Round, mut a: Server) -> Done {
    let mut b = take_over(run, &mut a, "B")?;
    std::thread::sleep(round.moment);
    b.tell(Order::GiveBack);
    b.says(&Report::GivenBack)?;
    run.hit();
    back(run, &mut a, "GaveBack")?;
    run.leave(a, [b])
}

fn rollback(run: &mut Run, round: &Round, mut a: Server) -> Done {
    let mut b = take_over(run, &mut a, "B")?;
    std::thread::sleep(round.moment);
    match round.coin {
        true => run.place.request(Request::Rollback)?,
        false => super::command::wish(run, "rollback")?,
    }
    b.says(&Report::GivenBack)?;
    run.hit();
    back(run, &mut a, "Operator")?;
    run.leave(a, [b])
}

fn bad(run: &mut Run, a: Server, fault: &str) -> Done {
    let generation = run.generation()?;
    let mut b = run.start("B", &["--fault", fault])?;
    b.ended()?;
    run.hit();
    if run.generation()? != generation {
        return Err(format!(
            "{fault} changed the generation from {generation} to {}",
            run.generation()?
        ));
    }
    run.leave(a, [b])
}

fn never_ready(run: &mut Run, a: Server) -> Done {
    let mut b = run.start("B", &["--wait"])?;
    b.started()?;
    run.wait_phase(Phase::None)?;
    // It is ready too late, and is told so.
    b.tell(Order::Go);
    if b.may_serve()?.is_some() {
        return Err("B serves, and was given up".into());
    }
    run.hit();
    run.leave(a, [b])
}

fn starved(run: &mut Run, a: Server) -> Done {
    let mut b = run.start("B", &["--nofile", TOO_FEW])?;
    if b.may_serve()?.is_some() {
        return Err(format!("B serves with {TOO_FEW} descriptors"));
    }
    let short = b.seen.iter().any(|report| match report {
        Report::Failed { text, .. } => text.contains("RLIMIT_NOFILE"),
        _ => false,
    });
    if !short {
        return Err(format!("B was to say what it is short of: {:?}", b.seen));
    }
    run.hit();
    run.leave(a, [b])
}
