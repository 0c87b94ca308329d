//! The walk over all states, breadth first, and the shortest way to what does not hold.
//!
//! States are told apart by 64 bits of their hash: with ten million states, two are taken for one with a chance of 3 in a million, and then a
//! part of the graph is not looked at; nothing is found that is not there. Only those that are not looked at yet are kept whole; a way is
//! walked again from the beginning.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hasher};

use super::step::Class;
use super::world::{Setup, Stage, World};

/// More states than this are a model that has grown out of hand.
const MOST: usize = 12_000_000;

#[derive(Debug, Default)]
pub(super) struct Explored {
    pub(super) states: usize,
    pub(super) settled: usize,
    /// Settled states in which the first, the second, the third process serves.
    pub(super) serve: [usize; 3],
    /// In which nobody does, because the owner wanted it so, or hangs, or all are dead.
    pub(super) nobody: usize,
    /// In which the node came back to its predecessor.
    pub(super) back: usize,
}

impl fmt::Display for Explored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c] = self.serve;
        write!(
            f,
            "{} states, {} settled: A serves in {a}, B in {b}, C in {c}, nobody in {}; back in {}",
            self.states, self.settled, self.nobody, self.back
        )
    }
}

/// A law that does not hold, and the shortest way there.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) law: &'static str,
    pub(super) way: String,
}

/// Keys are hashes already.
#[derive(Default)]
struct Same(u64);

impl Hasher for Same {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {}
    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

fn hash(world: &World) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(world)
}

/// Where a walk begins.
fn beginning(setup: &Setup) -> World {
    let world = World::new(setup);
    if !setup.middle {
        return world;
    }
    // The shortest way there without a fault or a wish; then both are had again.
    let calm = Setup {
        coarse: true,
        ..Setup {
            processes: setup.processes,
            probation: setup.probation,
            ..Setup::default()
        }
    };
    let left = world.left;
    let mut seen = HashSet::from([hash(&world)]);
    let mut open = VecDeque::from([World::new(&calm)]);
    while let Some(mut world) = open.pop_front() {
        if world.is_in_the_middle() {
            world.left = left;
            return world;
        }
        let next = world.next(&calm).into_iter().map(|step| step.world);
        open.extend(next.filter(|world| seen.insert(hash(world))));
    }
    world
}

/// Walks every state that can be reached.
pub(super) fn explore(setup: &Setup) -> Result<Explored, Broken> {
    let first = beginning(setup);
    let mut index: HashMap<u64, u32, BuildHasherDefault<Same>> = HashMap::default();
    index.insert(hash(&first), 0);
    // Where a state was first reached from, and by which of the steps there.
    let mut from: Vec<(u32, u16)> = vec![(0, 0)];
    let mut open = VecDeque::from([(0_u32, first)]);
    // Steps that the processes take by themselves, as (to, from); those that no deadline takes; and where each may end.
    let mut edges: Vec<(u32, u32)> = Vec::new();
    let mut prompt: Vec<(u32, u32)> = Vec::new();
    let mut settled: Vec<u32> = Vec::new();
    let mut patient: Vec<u32> = Vec::new();
    let mut found = Explored::default();
    while let Some((at, world)) = open.pop_front() {
        if let Some(law) = world.broken() {
            return Err(broken(setup, &from, at, law));
        }
        if world.is_settled() {
            if let Some(law) = world.broken_end() {
                return Err(broken(setup, &from, at, law));
            }
            settled.push(at);
            count(&world, &mut found);
        }
        if world.may_wait() {
            patient.push(at);
        }
        for (i, step) in world.next(setup).into_iter().enumerate() {
            let to = match index.entry(hash(&step.world)) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(new) => {
                    let to = from.len() as u32;
                    new.insert(to);
                    from.push((at, i as u16));
                    assert!(from.len() <= MOST, "more than {MOST} states: {setup:?}");
                    open.push_back((to, step.world));
                    to
                }
            };
            if matches!(step.class, Class::Own | Class::Late) {
                edges.push((to, at));
            }
            if step.class == Class::Own {
                prompt.push((to, at));
            }
        }
    }
    if let Some(at) = stuck(from.len(), &mut edges, &settled) {
        return Err(broken(setup, &from, at, "there is no way on to a state that rests"));
    }
    // Where a pass stays out, deadlines are what is looked at.
    if !setup.busy
        && let Some(at) = stuck(from.len(), &mut prompt, &patient)
    {
        return Err(broken(
            setup,
            &from,
            at,
            "somebody waits until it is too late, and nobody hangs",
        ));
    }
    (found.states, found.settled) = (from.len(), settled.len());
    Ok(found)
}

fn count(world: &World, found: &mut Explored) {
    let serving = world.slots().find(|slot| {
        let process = world.process(*slot);
        process.runs() && process.stage == Stage::Serving
    });
    match serving {
        Some(slot) => found.serve[usize::from(slot)] += 1,
        None => found.nobody += 1,
    }
    found.back += usize::from(world.links.iter().any(|link| link.returns > 0));
}

/// The first state from which steps of the processes alone lead to no settled one. `edges` are (to, from).
fn stuck(states: usize, edges: &mut [(u32, u32)], settled: &[u32]) -> Option<u32> {
    edges.sort_unstable();
    let mut begin = vec![0_u32; states + 1];
    for (to, _) in edges.iter() {
        begin[*to as usize + 1] += 1;
    }
    for i in 0..states {
        begin[i + 1] += begin[i];
    }
    let mut reaches = vec![false; states];
    let mut open = settled.to_vec();
    while let Some(at) = open.pop() {
        if !std::mem::replace(&mut reaches[at as usize], true) {
            let range = begin[at as usize] as usize..begin[at as usize + 1] as usize;
            open.extend(edges[range].iter().map(|(_, from)| *from));
        }
    }
    reaches.iter().position(|reaches| !reaches).map(|at| at as u32)
}

fn broken(setup: &Setup, from: &[(u32, u16)], end: u32, law: &'static str) -> Broken {
    let mut path = Vec::new();
    let mut at = end;
    while at != 0 {
        let (before, step) = from[at as usize];
        path.push(step);
        at = before;
    }
    let mut way = format!("{law}, after {} steps:\n", path.len());
    let mut world = beginning(setup);
    for step in path.into_iter().rev() {
        let step = world.next(setup).swap_remove(step.into());
        way += &format!("  {} {}\n", (b'A' + step.who) as char, step.what);
        world = step.world;
    }
    way += &format!("{world:#?}");
    Broken { law, way }
}
