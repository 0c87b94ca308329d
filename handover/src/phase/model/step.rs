//! One step of the world: what each process could do next, and what could be done to it.

use super::world::{Client, Gate, Life, Message, Newcomers, Sabotage, Setup, Slot, Stage, Wish, World};
use shmstate::lease::Lease;

/// Whose doing a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// A process, or the kernel, goes on.
    Own,
    /// It has waited for too long.
    Late,
    /// Somebody wants something; it may never happen.
    Optional,
    /// A kill, a stop, the end of a stop.
    Fault,
}

pub(super) struct Step {
    pub(super) class: Class,
    pub(super) who: Slot,
    pub(super) what: &'static str,
    pub(super) world: World,
}

impl Step {
    pub(super) fn new(class: Class, who: Slot, what: &'static str, world: World) -> Self {
        Self {
            class,
            who,
            what,
            world,
        }
    }
}

impl World {
    /// Everything that can happen next.
    pub(super) fn next(&self, setup: &Setup) -> Vec<Step> {
        let mut out = Vec::new();
        for slot in self.slots() {
            let process = self.process(slot);
            self.kernel(slot, &mut out);
            if process.stage == Stage::Absent {
                self.arrive(slot, setup.early, &mut out);
            }
            if process.runs() {
                self.reception_steps(slot, setup, &mut out);
                self.join_steps(slot, setup, &mut out);
                self.probation_steps(slot, setup, &mut out);
                self.parked_steps(slot, setup, &mut out);
                self.server_steps(slot, setup, &mut out);
            }
            self.faults(slot, &mut out);
        }
        for wish in [Wish::Rollback, Wish::Confirm] {
            if self.left.wishes > 0 {
                let mut world = self.clone();
                world.left.wishes -= 1;
                world.wish = Some(wish);
                let what = match wish {
                    Wish::Rollback => "operator: rollback",
                    Wish::Confirm => "operator: confirm",
                };
                out.push(Step::new(Class::Optional, 0, what, world));
            }
        }
        if setup.coarse {
            for step in &mut out {
                step.world.run_all(setup);
            }
        }
        out.retain(|step| step.world != *self);
        out
    }

    fn run_all(&mut self, setup: &Setup) {
        for slot in self.slots() {
            if self.process(slot).runs() {
                self.run_probation(slot, setup);
                self.run_pre(slot, setup);
                self.run_suc(slot, setup);
                self.run_probation(slot, setup);
            }
        }
    }

    fn kernel(&self, slot: Slot, out: &mut Vec<Step>) {
        let process = self.process(slot);
        let mut world = self.clone();
        if process.life == Life::Dying {
            world.process_mut(slot).life = Life::Dead;
            out.push(Step::new(Class::Own, slot, "is proven dead", world));
        } else if process.life == Life::Ending {
            world.end(slot, Life::Dead);
            out.push(Step::new(Class::Own, slot, "has written its core", world));
        } else if process.alive() && process.doomed {
            world.end(slot, Life::Dying);
            out.push(Step::new(Class::Own, slot, "dies of the kill", world));
        } else if process.alive() && process.stage == Stage::Ended && !process.stopped {
            world.end(slot, Life::Dead);
            out.push(Step::new(Class::Own, slot, "exits", world));
        }
    }

    fn arrive(&self, slot: Slot, early: bool, out: &mut Vec<Step>) {
        // C comes while B serves.
        if slot == 1 || self.process(1).serves() || early {
            let mut world = self.clone();
            world.join(slot);
            out.push(Step::new(Class::Optional, slot, "starts", world));
        }
    }

    fn faults(&self, slot: Slot, out: &mut Vec<Step>) {
        let process = self.process(slot);
        let over = [Stage::Absent, Stage::Ended, Stage::StartedOver];
        if !process.alive() || over.contains(&process.stage) {
            return;
        }
        if self.left.kills > 0 {
            let mut world = self.clone();
            world.left.kills -= 1;
            world.end(slot, Life::Dying);
            out.push(Step::new(Class::Fault, slot, "is killed", world));
        }
        if self.left.crashes > 0 && !process.stopped {
            let mut world = self.clone();
            world.left.crashes -= 1;
            world.process_mut(slot).life = Life::Ending;
            out.push(Step::new(Class::Fault, slot, "crashes", world));
        }
        if self.left.stops > 0 && !process.stopped {
            let mut world = self.clone();
            world.left.stops -= 1;
            world.process_mut(slot).stopped = true;
            out.push(Step::new(Class::Fault, slot, "is stopped", world));
        }
        if process.stopped {
            let mut world = self.clone();
            world.process_mut(slot).stopped = false;
            out.push(Step::new(Class::Fault, slot, "wakes", world));
        }
    }

    /// The gate, the server's thread, and the end of the node by its owner.
    fn server_steps(&self, slot: Slot, setup: &Setup, out: &mut Vec<Step>) {
        let process = self.process(slot);
        let mut push = |class, what, world| out.push(Step::new(class, slot, what, world));
        if let Gate::Releasing(by) = process.gate {
            let mut world = self.clone();
            world.tell_quiet(slot, by);
            push(Class::Own, "gate is quiet", world);
        }
        if process.pass {
            let mut world = self.clone();
            world.leave(slot);
            let class = if setup.busy { Class::Optional } else { Class::Own };
            push(class, "commits", world);
            if setup.client && process.newcomers != Newcomers::Wait && self.client == Client::Away {
                let mut world = self.clone();
                let on = world.is_mirrored(slot);
                world.client = Client::Adopting(slot, on);
                world.held |= 1 << slot;
                let successor = process.down.filter(|_| process.newcomers == Newcomers::GoOver);
                if let Some(successor) = successor {
                    world.send_s(successor, Message::Mirror);
                }
                if on && setup.sabotage != Sabotage::NoMirror {
                    world.send_p(slot, Message::Mirror);
                }
                push(Class::Optional, "accepts", world);
            }
            return;
        }
        if process.stage == Stage::Serving {
            let asks = match process.gate {
                Gate::Open | Gate::Armed(..) => true,
                Gate::Closing(_) | Gate::Releasing(_) => setup.sabotage == Sabotage::PassesWhileClosing,
                _ => false,
            };
            if asks && !setup.idle {
                let mut world = self.clone();
                world.enter(slot);
                if setup.coarse {
                    world.leave(slot);
                }
                push(Class::Own, "begins", world);
            }
            if self.left.leaves {
                let mut world = self.clone();
                world.left.leaves = false;
                world.process_mut(slot).stage = Stage::Leaving(0);
                push(Class::Optional, "stops the node", world);
            }
        }
        match process.stage {
            Stage::Leaving(0) => {
                let mut world = self.clone();
                let goes_on = match world.disarm(slot, setup) {
                    None => return,
                    Some(true) => true,
                    Some(false) => world.take_back(slot, setup) || world.owned_by(slot),
                };
                world.process_mut(slot).stage = if goes_on { Stage::Leaving(1) } else { Stage::Ended };
                push(Class::Own, "disarms to stop", world);
            }
            Stage::Leaving(_) => {
                let mut world = self.clone();
                let left: Option<Lease> = world.lease().leave(slot);
                world.swap(left);
                world.process_mut(slot).stage = Stage::Ended;
                push(Class::Own, "leaves", world);
            }
            _ => {}
        }
    }
}
