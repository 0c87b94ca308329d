//! A case: a point, what leads there, who is struck and how, and who serves afterwards. How it is played stands in `course`.

use std::net::SocketAddr;
use std::time::Duration;

/// How long a process is stopped that soon goes on: so short that those who wait for it have room for all newcomers meanwhile.
const SHORT: Duration = Duration::from_millis(60);
/// Deadlines of those who do not wait, ms; twice as long with each try, for a machine with other work.
const HASTY: u64 = 120;
/// How many of them one is stopped for whom nobody waits: longer than all that may follow each other.
const LONG: u32 = 4;
/// Length of a tick, ms, where it must not be short; twice as long with each try too.
const TICK: u64 = 8;
/// Deadlines of those who do.
const PATIENT: u64 = 8000;
/// Long enough to be in nobody's way.
const PROBATION: u64 = 600_000;

/// What leads to a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// B takes over from A, which parks.
    Upgrade,
    /// Then B says that it is well.
    Confirm,
    /// Then the operator rolls back.
    Rollback,
    /// Then B gives back by itself.
    GiveBack,
    /// Then B is killed.
    Died,
    /// Then B is stopped in the middle of a transaction, and the operator rolls back.
    Hung,
    /// B has everything, and A is killed.
    Orphaned,
    /// A is killed when it has sent the offer.
    StartOver,
    /// Then C takes over from B.
    Chain,
    /// B refuses.
    Refused,
    /// B takes over from A, which has a connection of its own that moves.
    Move,
    /// A holds a pass, so that its gate does not get quiet.
    Held,
}

/// Who is struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A.
    Old,
    /// B.
    New,
    /// C, of a chain.
    Third,
}

/// Who serves in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// A, with all connections.
    Old,
    /// B, with all connections.
    New,
    /// C, with all connections.
    Third,
    /// One of them, with all connections.
    One,
    /// B, which starts over: the connections are lost.
    Anew,
    /// Nobody: all who had the node are dead. The next start recovers.
    Nobody,
}

/// What strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blow {
    Kill,
    /// Stopped for a while, with deadlines that outlast it: nothing comes of it.
    Pause,
    /// Stopped with deadlines that do not.
    Stop,
    /// The same, and A is watchful while it is parked: a B that owns the node is killed, and A has it.
    Watched,
}

/// Who speaks the first version of the protocol only, as a library did that knew no other. The one that it meets speaks what it can, so both do
/// without a probation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Elder {
    Nobody,
    /// A.
    Old,
    /// B.
    New,
}

/// A case.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) elder: Elder,
    pub(crate) point: &'static str,
    /// At which hit of it, from 1.
    pub(crate) nth: u64,
    pub(crate) way: Way,
    pub(crate) target: Target,
    /// After a kill.
    pub(crate) after: After,
    pub(crate) blow: Blow,
    /// How often it was tried before.
    pub(crate) tried: u32,
    /// What a server does wrong on purpose, for a test of this test.
    pub(crate) sabotage: Option<&'static str>,
}

impl Case {
    /// What this case is called in a report.
    pub(crate) fn name(&self) -> String {
        let Self {
            blow,
            point,
            nth,
            way,
            target,
            elder,
            ..
        } = self;
        let elder = match elder {
            Elder::Nobody => "",
            Elder::Old => ", A of version 1",
            Elder::New => ", B of version 1",
        };
        format!("{blow:?} of {target:?} at {point:?}, hit {nth}, by {way:?}{elder}")
    }

    /// The deadline of those who do not wait.
    pub(crate) fn hasty(&self) -> Duration {
        Duration::from_millis(HASTY << self.tried)
    }

    /// How long the blow lasts; nothing for a kill.
    pub(crate) fn length(&self) -> Duration {
        match self.blow {
            Blow::Kill => Duration::ZERO,
            Blow::Pause => SHORT,
            Blow::Stop | Blow::Watched => LONG * self.hasty(),
        }
    }

    /// Who must serve in the end; after a long stop nobody can say.
    pub(crate) fn heir(&self) -> After {
        match self.blow {
            Blow::Kill => self.after,
            Blow::Watched => After::Old,
            Blow::Stop if self.way == Way::StartOver => After::Anew,
            Blow::Stop => After::One,
            Blow::Pause => match self.way {
                Way::Upgrade | Way::Move | Way::Confirm | Way::Orphaned => After::New,
                Way::Rollback | Way::GiveBack | Way::Died | Way::Hung | Way::Refused | Way::Held => After::Old,
                Way::StartOver => After::Anew,
                Way::Chain => After::Third,
            },
        }
    }

    /// Whether a handover is called off on the way to the point.
    pub(crate) fn fails(&self) -> bool {
        matches!(self.way, Way::Refused | Way::Held)
    }

    /// Arguments of one of the servers; `plain` is where the connections come that a server keeps itself.
    pub(crate) fn arguments(&self, who: Target, plain: SocketAddr) -> Vec<String> {
        let mut all = vec!["--park".to_owned()];
        let hasty = self.hasty().as_millis() as u64;
        let mut deadline = |name: &str, patient: bool| {
            let ms = if patient { PATIENT } else { hasty };
            all.extend(["--deadline".into(), format!("{name}={ms}")]);
        };
        let waits = matches!(self.blow, Blow::Kill | Blow::Pause);
        for name in ["hello", "batch", "ready", "stand-by"] {
            deadline(name, waits);
        }
        // In the way of a gate that is held, and of an owner that hangs, a deadline is what leads on.
        deadline("tick", waits && self.way != Way::Held);
        deadline("quiet", waits && self.way != Way::Held);
        deadline("take", self.blow == Blow::Pause);
        deadline("give-back", waits && self.way != Way::Hung);
        all.extend(["--deadline".into(), format!("probation={PROBATION}")]);
        if self.blow == Blow::Watched && who == Target::Old {
            all.extend(["--deadline".into(), format!("watchdog={hasty}")]);
        }
        match (self.way, who) {
            (Way::Orphaned, Target::New) => all.push("--wait".into()),
            (Way::Refused, Target::New) => all.extend(["--fault".into(), "refuse".into()]),
            (Way::StartOver, Target::Old) => all.push("--strike=kill:handover:old: offer sent".into()),
            _ => {}
        }
        if self.point == "new: rehearsal seen" {
            // A signal is seen for a tick: the next one replaces it, and one that is slow to wake sees only that.
            all.extend(["--tick".into(), (TICK << self.tried).to_string()]);
        }
        if matches!((self.elder, who), (Elder::Old, Target::Old) | (Elder::New, Target::New)) {
            all.extend(["--speaks".into(), "1".into()]);
        }
        if self.way == Way::Move {
            all.extend(["--plain".into(), plain.to_string()]);
        }
        if let Some(wrong) = self.sabotage {
            all.extend(["--sabotage".into(), wrong.into()]);
        }
        if who == self.target {
            let blow = if self.blow == Blow::Kill { "kill" } else { "stop" };
            all.push(format!("--strike={blow}:handover:{}:{}", self.point, self.nth));
        }
        all
    }
}
