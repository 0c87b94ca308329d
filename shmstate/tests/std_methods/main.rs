//! What std's collections have and ours have by the same name: taking a record and reading it, entries, ranges of keys and of ranks, iterators
//! that jump. Against those of std, at random; a seed is printed, and `STD_METHODS_SEED` plays it again.

mod errors;
mod maps;
mod ordered;
mod slabs;
mod walks;

use shmstate::{Gate, Region, Result, Tx, verify};

/// A record: something to change in place, and something of variable length.
#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize, shmstate::Schema, Clone, Debug, Default, PartialEq)]
struct Item {
    points: u64,
    name: String,
}

impl Item {
    fn random(random: &mut fastrand::Rng) -> Self {
        let length = match random.u8(..30) {
            0 => random.usize(..3000),
            _ => random.usize(..40),
        };
        Self {
            points: random.u64(..1 << 40),
            name: std::iter::repeat_with(|| random.alphanumeric()).take(length).collect(),
        }
    }

    /// What was lent.
    fn of(archived: &<Self as rkyv::Archive>::Archived) -> Self {
        shmstate::owned(archived).expect("a number and a string")
    }
}

struct World {
    region: Region,
    gate: Gate,
}

impl World {
    fn new() -> Self {
        let region = Region::in_memory(32 << 20).expect("region");
        let gate = region.gate().clone();
        Self { region, gate }
    }

    fn tx<R>(&mut self, work: impl FnOnce(&mut Tx<'_>) -> Result<R>) -> R {
        let pass = self.gate.enter().expect("pass");
        self.region.write(&pass, work).expect("a transaction")
    }

    fn check(&self) {
        let pass = self.gate.enter().expect("pass");
        let verdict = verify(&self.region.read(&pass).expect("read")).expect("verify");
        assert!(verdict.is_sound(), "{verdict:?}");
    }

    /// So many transactions of some operations each. Some operations are taken back, and some transactions; the model with them.
    fn play<M: Clone>(
        &mut self,
        transactions: u32,
        model: &mut M,
        random: &mut fastrand::Rng,
        operate: impl Fn(&mut Tx<'_>, &mut M, &mut fastrand::Rng) -> Result<()>,
        compare: impl Fn(&shmstate::View, &M) -> Result<()>,
    ) {
        for number in 0..transactions {
            let pass = self.gate.enter().expect("pass");
            let mut tx = self.region.begin(&pass).expect("begin");
            let mut after = model.clone();
            for _ in 0..random.u32(1..6) {
                let before = after.clone();
                let kept = random.u8(..8) > 0;
                let part = tx.savepoint(|tx| {
                    operate(tx, &mut after, random).expect("an operation");
                    if kept { Ok(()) } else { Err(()) }
                });
                if part.is_err() {
                    after = before;
                }
            }
            compare(&tx, &after).expect("all can be read");
            if random.u8(..8) == 0 {
                tx.rollback();
            } else {
                tx.commit().expect("commit");
                *model = after;
            }
            compare(&self.region.read(&pass).expect("read"), model).expect("all can be read");
            drop(pass);
            if number % 10 == 0 || number + 1 == transactions {
                self.check();
            }
        }
    }
}

fn random() -> fastrand::Rng {
    let given = std::env::var("STD_METHODS_SEED").ok();
    let seed = given.map_or_else(|| fastrand::u64(..), |seed| seed.parse().expect("a number"));
    println!("STD_METHODS_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}
