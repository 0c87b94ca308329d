//! How much is measured, so that a whole run stays within its time.

use crate::report::args::{Handover, Part};
use std::time::{Duration, Instant};

pub(super) const MIB: u64 = 1 << 20;
pub(super) const GIB: u64 = 1 << 30;
/// Requests a second of a busy connection, and of all connections at most: what the clients of the peers ask too.
pub(super) const EACH: f64 = 20.0;
const ALL: f64 = 20_000.0;

/// One node that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Case {
    /// Bytes of records.
    pub(super) bytes: u64,
    pub(super) connections: usize,
    pub(super) regions: u64,
    /// Turns of two resident processes.
    pub(super) turns: usize,
}

/// Requests a second of each of so many connections.
pub(super) fn rate(connections: usize) -> f64 {
    EACH.min(ALL / connections as f64)
}

/// The amounts of one run.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// When the run is to be over: what has not begun shortly before is left out, and said to be.
    end: Instant,
    /// Length of a tick.
    pub(super) tick: Duration,
    /// The one that the first figure speaks of.
    pub(super) main: Case,
    pub(super) by_size: Vec<Case>,
    pub(super) by_connections: Vec<Case>,
    pub(super) by_regions: Vec<Case>,
    /// The turns of a family are taken in so many rounds, the cases of a round one after the other.
    pub(super) rounds: usize,
    /// How long all turns of one case may take: where mapping takes long, there are fewer.
    pub(super) case_time: Duration,
    /// Turns of a server that answers at once.
    pub(super) reply_turns: usize,
    /// Upgrades by a new process, each beside an equal time without.
    pub(super) upgrades: usize,
    /// How long both take.
    pub(super) window: Duration,
    /// How often the new process is killed in its probation.
    pub(super) give_backs: usize,
    /// Short connections, and upgrades meanwhile.
    pub(super) short: (u64, usize),
    /// Busy connections of the servers that answer at once, that are upgraded, and of the peers.
    pub(super) busy: usize,
    /// Bytes of records of servers where size is not the matter, and of the peers.
    pub(super) bytes: u64,
    pub(super) peers: Option<PeerPlan>,
}

/// The amounts of the peers.
#[derive(Clone, Copy, Debug)]
pub(super) struct PeerPlan {
    /// How long a drain may take, where a peer drains.
    pub(super) drain: Duration,
    /// How long compiling them may take.
    pub(super) build: Duration,
    /// How long the windows without and with an upgrade are at least.
    pub(super) window: Duration,
    /// Between an upgrade and the death of the new process.
    pub(super) killed_after: Duration,
    /// After it somebody has to answer a new connection within this.
    pub(super) outage: Duration,
}

impl Plan {
    pub(super) fn of(options: &Handover) -> Self {
        let now = Instant::now();
        let mut plan = if options.tiny {
            Self::tiny(now, options.peers)
        } else {
            Self::measuring(now, options.quick)
        };
        plan.leave_out(options);
        plan
    }

    /// Empties what is not asked for.
    fn leave_out(&mut self, options: &Handover) {
        let left_out = |part| !options.wants(part);
        for (part, cases) in [
            (Part::Sizes, &mut self.by_size),
            (Part::Connections, &mut self.by_connections),
            (Part::Regions, &mut self.by_regions),
        ] {
            if left_out(part) {
                cases.clear();
            }
        }
        for (part, times) in [
            (Part::Replies, &mut self.reply_turns),
            (Part::Upgrades, &mut self.upgrades),
            (Part::GiveBack, &mut self.give_backs),
            (Part::Short, &mut self.short.1),
        ] {
            if left_out(part) {
                *times = 0;
            }
        }
        if left_out(Part::Peers) {
            self.peers = None;
        }
    }

    fn measuring(now: Instant, quick: bool) -> Self {
        let pick = |full: &[u64], few: &[u64]| if quick { few.to_vec() } else { full.to_vec() };
        let ends = if quick { 30 } else { 200 };
        let middle = if quick { 20 } else { 60 };
        let case = |bytes, connections, regions, turns| Case {
            bytes,
            connections,
            regions,
            turns,
        };
        let turns = |value: u64, list: &[u64]| {
            let outer = list.first() == Some(&value) || list.last() == Some(&value);
            if outer { ends } else { middle }
        };
        let sizes = pick(&[MIB, 16 * MIB, 128 * MIB, GIB, 8 * GIB], &[MIB, GIB, 8 * GIB]);
        let connections = pick(&[1, 10, 100, 1_000, 10_000], &[1, 100, 10_000]);
        let regions = pick(&[1, 10, 100, 1_000], &[1, 100, 1_000]);
        let of = |list: &[u64], make: &dyn Fn(u64, usize) -> Case| -> Vec<Case> {
            list.iter().map(|value| make(*value, turns(*value, list))).collect()
        };
        Self {
            end: now + Duration::from_secs(if quick { 55 } else { 460 }),
            tick: Duration::from_millis(10),
            main: case(GIB, 1_000, 1, if quick { 40 } else { 250 }),
            by_size: of(&sizes, &|bytes, turns| case(bytes, 100, 1, turns)),
            by_connections: of(&connections, &|n, turns| case(MIB, n as usize, 1, turns)),
            by_regions: of(&regions, &|n, turns| case(MIB, 100, n, turns)),
            rounds: if quick { 2 } else { 5 },
            case_time: Duration::from_secs(if quick { 4 } else { 40 }),
            reply_turns: if quick { 40 } else { 250 },
            upgrades: if quick { 5 } else { 30 },
            window: Duration::from_millis(400),
            give_backs: if quick { 8 } else { 60 },
            short: if quick { (10_000, 10) } else { (100_000, 100) },
            busy: 1_000,
            bytes: 64 * MIB,
            peers: Some(PeerPlan {
                drain: Duration::from_secs(if quick { 1 } else { 5 }),
                build: Duration::from_secs(if quick { 5 } else { 150 }),
                window: Duration::from_millis(if quick { 500 } else { 1_000 }),
                killed_after: Duration::from_secs(1),
                outage: Duration::from_secs(if quick { 1 } else { 2 }),
            }),
        }
    }

    /// Everything as small as can be: to try the report itself.
    fn tiny(now: Instant, peers: bool) -> Self {
        let case = |bytes, connections, regions| Case {
            bytes,
            connections,
            regions,
            turns: 2,
        };
        Self {
            // Nothing is left out, however slow the machine is.
            end: now + Duration::from_secs(600),
            tick: Duration::from_millis(4),
            main: case(2 * MIB, 10, 1),
            by_size: vec![case(MIB, 2, 1), case(2 * MIB, 2, 1)],
            by_connections: vec![case(MIB, 1, 1), case(MIB, 20, 1)],
            by_regions: vec![case(MIB, 2, 1), case(MIB, 2, 3)],
            rounds: 1,
            case_time: Duration::from_secs(20),
            reply_turns: 2,
            upgrades: 1,
            window: Duration::from_millis(150),
            give_backs: 2,
            short: (100, 2),
            busy: 10,
            bytes: MIB,
            peers: peers.then_some(PeerPlan {
                drain: Duration::from_secs(1),
                build: Duration::from_secs(5),
                window: Duration::from_millis(300),
                killed_after: Duration::from_millis(200),
                outage: Duration::from_secs(1),
            }),
        }
    }

    /// Whether something that takes so long can still begin.
    pub(super) fn has(&self, time: Duration) -> bool {
        Instant::now() + time <= self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_have_their_ends() {
        for quick in [false, true] {
            let plan = Plan::of(&Handover {
                quick,
                ..Handover::default()
            });
            assert_eq!((plan.main.bytes, plan.main.connections), (GIB, 1_000));
            let ends = |cases: &[Case]| (cases[0], cases[cases.len() - 1]);
            let (least, most) = ends(&plan.by_size);
            assert_eq!((least.bytes, most.bytes), (MIB, 8 * GIB));
            let (least, most) = ends(&plan.by_connections);
            assert_eq!((least.connections, most.connections), (1, 10_000));
            let (least, most) = ends(&plan.by_regions);
            assert_eq!((least.regions, most.regions), (1, 1_000));
            if !quick {
                assert!(plan.main.turns >= 200 && least.turns >= 200 && plan.reply_turns >= 200);
                assert!(plan.short.0 >= 100_000 && plan.short.1 >= 100);
            }
        }
    }

    #[test]
    fn many_connections_ask_less_often() {
        assert_eq!(rate(1), 20.0);
        assert_eq!(rate(1_000), 20.0);
        assert_eq!(rate(10_000), 2.0);
    }
}
