//! Before anything is timed: every engine must give the same answers. A fast engine that does something else is no peer.

use super::plan::Operation;
use super::rounds::{Member, Work, answer};
use crate::Result;

/// What is done, in this order. The last one changes players of those engines only that can do it; `replace_made` is left out, because
/// an engine that cannot do it has nothing that does the same.
const STEPS: [Operation; 14] = [
    Operation::Get,
    Operation::Update,
    Operation::UpdateBatched,
    Operation::Replace,
    Operation::Tick,
    Operation::TickTogether,
    Operation::Insert,
    Operation::Remove,
    Operation::GetChained,
    Operation::GetByHandle,
    Operation::BatchGet,
    Operation::UpdateByHandle,
    Operation::Iterate,
    Operation::PassAll,
];

/// The operation that does the same to players, for engines without `operation`.
fn plain(operation: Operation) -> Option<Operation> {
    match operation {
        Operation::GetChained | Operation::GetByHandle | Operation::BatchGet => Some(Operation::Get),
        Operation::UpdateByHandle | Operation::UpdateBatched => Some(Operation::Update),
        Operation::TickTogether => Some(Operation::Tick),
        _ => None,
    }
}

/// Runs each operation on each engine and compares the sums.
///
/// # Errors
/// Those of the engines, and two engines that differ.
pub(super) fn check(members: &mut [Member], work: &Work<'_>, new: &Work<'_>) -> Result<()> {
    for operation in STEPS {
        let work = if matches!(operation, Operation::Insert | Operation::Remove) {
            new
        } else {
            work
        };
        let mut first = None;
        for member in &mut *members {
            member.engine.resolve(work.keys)?;
            let sum = match answer(&mut *member.engine, operation, work)? {
                None => match plain(operation) {
                    Some(plain) => answer(&mut *member.engine, plain, work)?,
                    None => None,
                },
                some => some,
            };
            let Some(sum) = sum else {
                continue;
            };
            let (name, expected) = *first.get_or_insert((member.kind.name(), sum));
            if sum != expected {
                let what = operation.name();
                return Err(format!(
                    "{what}: {name} answers {expected}, {} answers {sum}",
                    member.kind.name()
                )
                .into());
            }
        }
    }
    members.iter_mut().try_for_each(|member| check_pass(member, work))
}

/// A pass only counts the players: each must have got its point too.
fn check_pass(member: &mut Member, work: &Work<'_>) -> Result<()> {
    let before = member.engine.iterate()?;
    let Some(passed) = answer(&mut *member.engine, Operation::PassAll, work)? else {
        return Ok(());
    };
    let after = member.engine.iterate()?;
    if after != before.map(|before| before + passed) {
        let name = member.kind.name();
        return Err(format!("pass_all: {name} passed {passed}, its scores went from {before:?} to {after:?}").into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Answer, Engine, Kind, Opened, Room};
    use crate::players::{Player, templates};

    /// Forgets one update in a hundred, and in a pass all of them.
    struct Forgetful(Box<dyn Engine>);

    impl Engine for Forgetful {
        fn fill(&mut self, keys: &[u64]) -> Result<()> {
            self.0.fill(keys)
        }
        fn get(&mut self, keys: &[u64]) -> Answer {
            self.0.get(keys)
        }
        fn update(&mut self, keys: &[u64]) -> Answer {
            self.0.update(&keys[keys.len() / 100..])
        }
        fn replace(&mut self, keys: &[u64], templates: &[Player], round: u64) -> Answer {
            self.0.replace(keys, templates, round)
        }
        fn insert(&mut self, keys: &[u64], templates: &[Player]) -> Answer {
            self.0.insert(keys, templates)
        }
        fn remove(&mut self, keys: &[u64]) -> Answer {
            self.0.remove(keys)
        }
        fn iterate(&mut self) -> Answer {
            self.0.iterate()
        }
        fn tick(&mut self, keys: &[u64]) -> Answer {
            self.0.tick(keys)
        }
        fn pass_all(&mut self) -> Answer {
            Ok(Some(3))
        }
        fn memory(&self) -> Result<Option<u64>> {
            self.0.memory()
        }
    }

    fn engine(kind: Kind) -> Box<dyn Engine> {
        match kind.open(1000, Room::Reserved).expect("an engine") {
            Opened::Engine(engine) => engine,
            Opened::Absent(why) => panic!("{why}"),
        }
    }

    fn disagreement(engines: Vec<(Kind, Box<dyn Engine>)>) -> Option<String> {
        let keys: Vec<u64> = (0..1000).collect();
        let new: Vec<u64> = (1000..1100).collect();
        let templates = templates();
        let mut members = Vec::new();
        for (kind, mut engine) in engines {
            engine.fill(&keys).expect("players");
            members.push(Member { kind, engine });
        }
        let [work, new] = [&keys, &new].map(|keys| Work {
            keys,
            templates: &templates,
            round: 3,
        });
        check(&mut members, &work, &new).err().map(|e| e.to_string())
    }

    #[test]
    fn engines_agree() {
        let kinds = [Kind::Hashmap, Kind::HashmapSip, Kind::Shmstate, Kind::Heed, Kind::Redb];
        assert_eq!(disagreement(kinds.map(|kind| (kind, engine(kind))).into()), None);
    }

    #[test]
    fn a_pass_that_only_counts_is_found_out() {
        let lazy: Box<dyn Engine> = Box::new(Forgetful(engine(Kind::Hashmap)));
        let mut member = Member {
            kind: Kind::Hashmap,
            engine: lazy,
        };
        member.engine.fill(&[1, 2, 3]).expect("players");
        let work = Work {
            keys: &[],
            templates: &[],
            round: 0,
        };
        let found = check_pass(&mut member, &work).expect_err("a disagreement").to_string();
        assert_eq!(
            found,
            "pass_all: hashmap passed 3, its scores went from Some(6) to Some(6)"
        );
    }

    #[test]
    fn an_engine_that_leaves_out_work_is_found_out() {
        let forgetful: Box<dyn Engine> = Box::new(Forgetful(engine(Kind::Hashmap)));
        let engines = vec![(Kind::Hashmap, engine(Kind::Hashmap)), (Kind::HashmapSip, forgetful)];
        let found = disagreement(engines).expect("a disagreement");
        assert!(found.starts_with("update: hashmap answers"), "{found}");
    }
}
