//! Owners that crash in the middle of a transaction or of an offer, with a successor or without, and successors that crash while they stand by, and
//! write a core: nobody waits for it (H5).

use crate::probation::{LONG, assert_back, upgraded_with};
use crate::scene;
use actors::node::scene::owner_of;
use actors::node::wait::{until, within};
use actors::node::{Actor, Order, Report, Scene, Swarm};
use handover::control::{Outcome, Phase};
use shmstate::monotonic_ns;
use std::time::Duration;

/// Less than a core of these tests has: a system that writes none, or a part only, gives nobody anything to wait for.
const CORE: u64 = 64 << 20;

/// How long the system may take to write a core, on a disk that others write to.
const WRITTEN: Duration = Duration::from_secs(180);

/// Waits until it is dead, with its core written.
fn wait_dead(actor: &mut Actor) {
    let status = within(WRITTEN, || actor.ended()).expect("an end when the core is written");
    assert!(!status.success());
}

/// An owner that is about to crash.
fn loaded(owner: &mut Actor) {
    owner.tell(Order::Load);
    owner.skip_to(&Report::Loaded);
}

/// It crashes. Gives when it was told to.
fn crash(owner: &mut Actor) -> u64 {
    let told = monotonic_ns();
    owner.tell(Order::Crash);
    owner.skip_to(&Report::Holding);
    // Until then its other threads go on.
    until("its end", || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", owner.pid())).unwrap_or_default();
        let dumps = status.lines().any(|line| line == "CoreDumping:\t1");
        (dumps || owner.ended().is_some()).then_some(())
    });
    told
}

/// Whoever acted then did so while the core was still being written: before half of the time that it took.
fn assert_early(scene: &Scene, mut owner: Actor, told: u64, acted: u64) {
    wait_dead(&mut owner);
    let dead = monotonic_ns();
    let written = written(scene);
    let [acted, took] = [acted, dead].map(|at| at.saturating_sub(told));
    println!("a core of {written} bytes in {took} ns, and after {acted} ns somebody acted");
    if written < CORE {
        println!("no core is written here, or not all of it: nothing to be earlier than");
        return;
    }
    assert!(acted < took / 2, "the core was waited for");
}

#[test]
fn on_probation_the_old_one_serves_before_the_core_is_written() {
    let (scene, old, mut new, swarm) = upgraded_with(LONG, 20, &[]);
    loaded(&mut new);
    let told = crash(&mut new);
    let record = scene.outcome(2, Outcome::TakenBack);
    assert_early(&scene, new, told, record.first_tick);
    assert_back(scene, old, swarm, "Died", true);
}

#[test]
fn a_successor_that_is_ready_serves_before_the_core_is_written() {
    let scene = scene();
    let mut owner = scene.first(&[]);
    let swarm = Swarm::new(scene.address(), 20);
    loaded(&mut owner);
    let mut heir = scene.prepared("B", &[]);
    let told = crash(&mut owner);
    heir.tell(Order::Go);
    let (generation, gone, _) = heir.inherited();
    assert_eq!((generation, gone), (2, 0));
    let record = scene.outcome(1, Outcome::Inherited);
    assert_early(&scene, owner, told, record.first_tick);
    swarm.wait_generation(2);
    swarm.wait_progress();
    drop(swarm.finish());
    scene.close(heir);
}

/// B has a core to write and stands by; A holds a pass, so that its gate does not get quiet.
fn standing(owner: &mut Actor, scene: &Scene) -> Actor {
    owner.tell(Order::Hold);
    owner.expect(&Report::Holding);
    let mut next = scene.prepared("B", &[]);
    loaded(&mut next);
    next.tell(Order::Go);
    scene.wait_phase(Phase::Closing);
    next
}

/// The owner has seen that B is gone, and serves on.
fn assert_served_on(scene: Scene, owner: Actor, swarm: Swarm, next: Actor, told: u64) {
    let record = scene.outcome(1, Outcome::SuccessorDied);
    let acted = monotonic_ns();
    assert_eq!(record.successor_pid, next.pid());
    assert_early(&scene, next, told, acted);
    swarm.wait_progress();
    scene.wait_phase(Phase::None);
    drop(swarm.finish());
    scene.close(owner);
}

#[test]
fn a_successor_that_stands_by_is_given_up_before_its_core_is_written() {
    let scene = scene();
    let mut owner = scene.first(&["--deadline", "quiet=60000"]);
    let swarm = Swarm::new(scene.address(), 20);
    let next = standing(&mut owner, &scene);
    let told = monotonic_ns();
    next.abort();
    drop(scene.outcome(1, Outcome::SuccessorDied));
    owner.tell(Order::Release);
    assert_served_on(scene, owner, swarm, next, told);
}

/// How often a case is played that does not get to its point.
const TRIES: usize = 20;

#[test]
fn what_is_offered_to_one_that_crashes_is_taken_back_before_its_core_is_written() {
    let met = (0..TRIES).any(|_| offered_to_one_that_crashes());
    assert!(met, "it took the node each time before it died");
}

/// `false` if it was faster: one of its threads may take the node while another begins to die. Then it was handed over, which is another case.
fn offered_to_one_that_crashes() -> bool {
    let scene = scene();
    let mut owner = scene.first(&["--deadline", "take=60000"]);
    let swarm = Swarm::new(scene.address(), 20);
    let mut next = standing(&mut owner, &scene);
    next.freeze();
    owner.tell(Order::Release);
    scene.wait_phase(Phase::Offered);
    // It is delivered when it wakes.
    next.abort();
    let told = monotonic_ns();
    next.thaw();
    let taken = until("a take, or what the owner says of it", || {
        let status = scene.try_status()?;
        let taken = owner_of(&status).is_some_and(|owner| owner.process.pid == next.pid());
        taken.then_some(true).or_else(|| {
            let record = status.history.first()?;
            Some(record.outcome != Outcome::SuccessorDied)
        })
    });
    if taken {
        wait_dead(&mut next);
        owner.exit();
        drop(swarm.lost());
        return false;
    }
    assert_served_on(scene, owner, swarm, next, told);
    true
}

#[test]
fn the_region_of_a_version_that_crashed_is_in_nobodys_way() {
    let extra = [LONG, &["--extra", "extra"]].concat();
    let scene = scene();
    let mut old = scene.first(LONG);
    let brought = |actor: &mut Actor| {
        assert_eq!(actor.started().0, "successor");
        actor.expect(&Report::Extra { new: true, count: 1 });
        actor.serving()
    };
    let mut new = scene.spawn("B", &extra);
    assert_eq!(brought(&mut new), 2);
    loaded(&mut new);
    old.expect(&Report::HandedOver);
    let told = crash(&mut new);
    assert_eq!(old.skip_to_back(), "Died");
    assert_eq!(old.serving(), 3);
    let mut next = scene.spawn("C", &extra);
    // Made anew, while the core is being written whose process has the other one.
    assert_eq!(brought(&mut next), 4);
    assert_early(&scene, new, told, monotonic_ns());
    next.tell(Order::Confirm);
    next.expect(&Report::Confirmed(true));
    old.drained();
    scene.close(next);
}

/// Whether the system lets a process have the descriptors of another of its user. Where it does not, a start waits for the core.
fn may_have_others() -> bool {
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope");
    let may = rustix::process::geteuid().is_root() || scope.map_or(true, |scope| scope.trim() == "0");
    if !may {
        println!("not shown here: kernel.yama.ptrace_scope forbids it");
    }
    may
}

/// The owner serves again, also those that connect now, and hands over as ever. Gives when that was seen.
pub(crate) fn served(scene: &Scene, generation: u64) -> u64 {
    let swarm = Swarm::new(scene.address(), 5);
    swarm.wait_generation(generation);
    let acted = monotonic_ns();
    drop(swarm.finish());
    acted
}

/// Nothing is left of a crash, and the node goes on as any other.
pub(crate) fn assert_whole(scene: Scene, mut owner: Actor) {
    scene.wait_participants(&[owner.pid()]);
    let generation = scene.generation();
    let swarm = Swarm::new(scene.address(), 5);
    let mut next = scene.spawn("next", &[]);
    assert_eq!(next.serving(), generation + 1);
    swarm.wait_generation(generation + 1);
    owner.drained();
    drop(swarm.finish());
    scene.close(next);
}

#[test]
fn a_start_beside_a_core_that_is_being_written_does_not_wait_for_it() {
    if !may_have_others() {
        return;
    }
    let scene = scene();
    let mut owner = scene.first(&[]);
    let swarm = Swarm::new(scene.address(), 20);
    swarm.wait_progress();
    loaded(&mut owner);
    let told = crash(&mut owner);
    let mut next = scene.spawn("B", &[]);
    assert_eq!(next.started(), ("recovered".into(), 1));
    let (generation, gone, _) = next.inherited();
    assert_eq!(
        (generation, gone),
        (2, 20),
        "their sockets are with the one that crashed"
    );
    let acted = served(&scene, 2);
    drop(scene.outcome(1, Outcome::Inherited));
    assert_early(&scene, owner, told, acted);
    drop(swarm.lost());
    assert_whole(scene, next);
}

#[test]
fn in_the_middle_of_an_offer_the_successor_starts_over_before_the_core_is_written() {
    if !may_have_others() {
        return;
    }
    let scene = scene();
    let mut owner = scene.first(&[]);
    // More than one batch.
    let swarm = Swarm::new(scene.address(), 300);
    swarm.hush();
    loaded(&mut owner);
    owner.freeze();
    let mut next = scene.spawn("B", &[]);
    next.wait_polling();
    next.freeze();
    owner.thaw();
    // The first batch is on its way, and the successor reads nothing.
    scene.wait_phase(Phase::Offering);
    let told = crash(&mut owner);
    next.thaw();
    assert_eq!(next.started(), ("recovered".into(), 1));
    let (generation, gone, _) = next.inherited();
    assert_eq!((generation, gone), (2, 300));
    let acted = served(&scene, 2);
    drop(scene.outcome(1, Outcome::Inherited));
    assert_early(&scene, owner, told, acted);
    drop(swarm.lost());
    assert_whole(scene, next);
}

#[test]
fn those_who_wait_at_the_door_of_one_that_crashes_go_on_before_the_core_is_written() {
    if !may_have_others() {
        return;
    }
    let scene = scene();
    let mut owner = scene.first(&[]);
    loaded(&mut owner);
    owner.freeze();
    let [mut second, mut third] = ["B", "C"].map(|build| scene.spawn(build, &[]));
    for next in [&second, &third] {
        next.wait_polling();
    }
    third.freeze();
    owner.abort();
    let told = monotonic_ns();
    owner.thaw();
    // One is the first now; the other, who was not there to see that nobody was left, finds that the node has another door.
    assert_eq!(second.inherited().0, 2);
    third.thaw();
    assert_eq!(third.serving(), 3);
    let acted = served(&scene, 3);
    assert_early(&scene, owner, told, acted);
    second.drained();
    assert_whole(scene, third);
}

/// How many bytes of its core are there.
fn written(scene: &Scene) -> u64 {
    let directory = scene.base().parent().expect("a directory of its own");
    let entries = std::fs::read_dir(directory).expect("list").flatten();
    let cores = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("core"));
    cores.filter_map(|core| Some(core.metadata().ok()?.len())).sum()
}

/// Where `kernel.yama.ptrace_scope` forbids to take from one that writes its core, a start waits for that, and then is as after any death.
#[test]
fn a_start_that_may_not_have_what_is_left_waits_for_the_core() {
    let scene = scene();
    let mut owner = scene.first(&[]);
    let swarm = Swarm::new(scene.address(), 20);
    swarm.wait_progress();
    loaded(&mut owner);
    crash(&mut owner);
    let mut next = scene.spawn("B", &["--forbidden", "--deadline", "connect=60000"]);
    // What was there of the core when it owned the node.
    let mut then = None;
    let end = within(WRITTEN, || {
        if then.is_none() && scene.generation() > 1 {
            then = Some(written(&scene));
        }
        owner.ended()
    });
    assert!(!end.expect("an end when the core is written").success());
    assert!(
        then.is_none_or(|then| then == written(&scene)),
        "it did not wait for the core"
    );
    assert_eq!(next.started(), ("recovered".into(), 1));
    let (generation, gone, _) = next.inherited();
    assert_eq!((generation, gone), (2, 20));
    drop(scene.outcome(1, Outcome::Inherited));
    served(&scene, 2);
    drop(swarm.lost());
    assert_whole(scene, next);
}

/// It does so no longer than it is told to, and leaves everything as it was for one that comes later.
#[test]
fn a_start_that_may_not_have_what_is_left_gives_up_at_its_deadline() {
    let scene = scene();
    let mut owner = scene.first(&[]);
    let swarm = Swarm::new(scene.address(), 20);
    loaded(&mut owner);
    crash(&mut owner);
    let mut next = scene.spawn("B", &["--forbidden", "--deadline", "connect=1"]);
    let Report::Failed { who, text } = next.report() else {
        // It was there when the core was written; a small one or none takes no time.
        let core = written(&scene);
        println!("the core of {core} bytes was written before: nothing to give up");
        assert_eq!(next.serving(), 2);
        wait_dead(&mut owner);
        drop(swarm.lost());
        return scene.close(next);
    };
    println!("{who}: {text}");
    assert!(text.contains("the core"), "{text}");
    assert!(!next.exit().success());
    wait_dead(&mut owner);
    drop(swarm.lost());
    let mut last = scene.spawn("C", &[]);
    assert_eq!(last.started(), ("recovered".into(), 1));
    assert_eq!(last.inherited().0, 2);
    served(&scene, 2);
    assert_whole(scene, last);
}

#[test]
fn a_start_beside_a_core_leaves_the_node_to_the_old_one_that_is_parked() {
    let (scene, old, mut new, swarm) = upgraded_with(LONG, 20, &[]);
    loaded(&mut new);
    old.freeze();
    let _ = crash(&mut new);
    // Nobody serves, and one who could does not run.
    let mut next = scene.spawn("C", &["--wait"]);
    next.wait_polling();
    old.thaw();
    assert_eq!(next.started(), ("successor".into(), 3));
    swarm.wait_generation(3);
    next.tell(Order::Go);
    assert_eq!(next.serving(), 4);
    swarm.wait_generation(4);
    next.tell(Order::Confirm);
    next.expect(&Report::Confirmed(true));
    let mut old = old;
    old.skip_to(&Report::HandedOver);
    wait_dead(&mut new);
    drop(swarm.finish());
    assert!(old.exit().success());
    scene.close(next);
}
