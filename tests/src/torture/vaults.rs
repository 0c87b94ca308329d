//! Tables whose records move to others: with a way back, and to the end.
//!
//! - **W16** Vaults add up to what they were at the start, and each is whole, for a version that knows only them. One that knows their move finds the same
//!   in its targets, with a label that is that of the content.
//! - **W17** What was dug up is in the heaps of ore or in the bars that became of it, whoever looks, and no table is left of a heap that is used up.
//!
//! Of two processes that follow each other mostly one knows the move of the vaults and the other does not. The moves of ore have no way back, so
//! every process knows them.

use rkyv::{Archive, Deserialize, Serialize};
use shmstate::{Cell, Map, Move, Moving, Reader, Region, Result, Schema, Tx};

/// Vaults at the start, and the keys that they can have.
const VAULTS: u32 = 72;
const KEYS: u32 = 96;
/// What is in each.
const CONTENT: u64 = 400;
const TABLE: &str = "vaults";
/// Heaps of ore in the life of a region, and pieces of each.
const HEAPS: u32 = 8;
const PIECES: u32 = 40;

#[derive(Archive, Serialize, Deserialize, Schema, Clone, Debug)]
pub(super) struct Vault {
    content: u64,
    /// Says that the record is whole, and whose it is.
    mark: u64,
    /// Of a length that follows from the content.
    coins: Vec<u8>,
}

#[derive(Archive, Serialize, Deserialize, Schema, Clone, Debug)]
pub(super) struct Safe {
    content: u64,
    mark: u64,
}

#[derive(Archive, Serialize, Deserialize, Schema, Clone, Debug)]
pub(super) struct Label {
    text: String,
}

/// What was dug up.
#[derive(Archive, Serialize, Deserialize, Schema, Clone, Debug, Default)]
pub(super) struct Mine {
    heaps: u32,
    content: u64,
    /// Whether the last process knew the move of the vaults.
    knew: bool,
}

fn mark(owner: u32, content: u64) -> u64 {
    (u64::from(owner) << 32 ^ content).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn vault(owner: u32, content: u64) -> Vault {
    Vault {
        content,
        mark: mark(owner, content),
        coins: vec![content as u8; content as usize % 61],
    }
}

fn safe(owner: u32, content: u64) -> Safe {
    Safe {
        content,
        mark: mark(owner, content),
    }
}

fn label(content: u64) -> Label {
    Label {
        text: "l".repeat(content as usize % 45),
    }
}

/// The key of a vault's safe.
fn place(owner: u32) -> (u8, u32) {
    ((owner % 5) as u8, owner)
}

fn bar(heap: u32, piece: u32) -> u64 {
    u64::from(heap) << 32 | u64::from(piece)
}

type Safes = Map<(u8, u32), Safe>;

fn of_vaults() -> Move<u32, Vault> {
    Move::<u32, Vault>::of(TABLE)
        .to::<(u8, u32), Safe>(
            "safes",
            |(_, owner)| Some(*owner),
            |_, owner, vault| Ok(vec![(place(*owner), safe(*owner, vault.content))]),
        )
        .to::<u32, Label>(
            "labels",
            |owner| Some(*owner),
            |_, owner, vault| Ok(vec![(*owner, label(vault.content))]),
        )
        .back(|targets, owner, _| {
            let safes: Safes = targets.map("safes")?;
            let found = safes.get(targets, &place(*owner))?;
            Ok(found.map(|safe| vault(*owner, safe.content.to_native())))
        })
}

fn of_heap(heap: u32) -> Move<u32, u64> {
    Move::<u32, u64>::of(&format!("ore-{heap}")).to::<u64, u64>(
        "bars",
        move |key| (*key >> 32 == u64::from(heap)).then_some(*key as u32),
        move |_, piece, content| Ok(vec![(bar(heap, *piece), *content)]),
    )
}

/// The moves that a process knows.
#[derive(Debug)]
pub(super) struct Moves {
    vaults: Option<Moving<u32, Vault>>,
    heaps: Vec<Moving<u32, u64>>,
}

/// The tables as a process has them once its moves are settled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vaults {
    vaults: Map<u32, Vault>,
    targets: Option<(Safes, Map<u32, Label>)>,
    bars: Map<u64, u64>,
    mine: Cell<Mine>,
    /// Heaps whose moves this process has settled: those that were there when it began.
    heaps: u32,
}

/// Makes the tables.
pub(super) fn create(tx: &mut Tx<'_>) -> Result<()> {
    let vaults: Map<u32, Vault> = Map::create(tx, TABLE)?;
    for owner in 0..VAULTS {
        vaults.insert(tx, &owner, &vault(owner, CONTENT))?;
    }
    Map::<u64, u64>::create(tx, "bars")?;
    let mine = Cell::create(tx, "mine", &Mine::default())?;
    dig(tx, mine, &mut fastrand::Rng::with_seed(1))
}

impl Moves {
    /// For a process that mostly knows the move of the vaults if the one before did not; the number says when otherwise.
    pub(super) fn open(region: &Region, number: u64, must: bool) -> Result<Self> {
        let mine: Cell<Mine> = Cell::open(region, "mine")?;
        let gate = region.gate().clone();
        let pass = gate.enter()?;
        let knew = mine.get(&*region.read(&pass)?)?.knew;
        drop(pass);
        let knows = must || knew == number.is_multiple_of(5);
        let mut heaps = Vec::new();
        for heap in 0..HEAPS {
            heaps.push(of_heap(heap).open(region)?);
        }
        let vaults = knows.then(|| of_vaults().open(region));
        Ok(Self {
            vaults: vaults.transpose()?,
            heaps,
        })
    }

    /// The tables, by the first transaction of the process, and what of W16 and W17 does not hold.
    pub(super) fn begin(&self, region: &mut Region) -> Result<(Vaults, Vec<String>)> {
        let vaults = Map::open(region, TABLE)?;
        let gate = region.gate().clone();
        let pass = gate.enter()?;
        let mut tx = region.begin(&pass)?;
        let targets = match self.vaults {
            Some(_) => Some((
                Map::open_or_create(&mut tx, "safes")?,
                Map::open_or_create(&mut tx, "labels")?,
            )),
            None => None,
        };
        let mine: Cell<Mine> = Cell::open_or_create(&mut tx, "mine", &Mine::default())?;
        mine.get_mut(&mut tx)?.set(|mine| &mine.knew, self.vaults.is_some())?;
        let tables = Vaults {
            vaults,
            targets,
            bars: Map::open_or_create(&mut tx, "bars")?,
            heaps: mine.get(&tx)?.heaps.to_native(),
            mine,
        };
        let mut faults = Vec::new();
        tables.faults(&tx, &mut faults)?;
        tx.commit()?;
        Ok((tables, faults))
    }
}

/// What of W16 a version finds that knows only the vaults.
pub(super) fn faults(region: &Region, reader: &Reader<'_>, faults: &mut Vec<String>) -> Result<()> {
    let vaults: Map<u32, Vault> = Map::open(region, TABLE)?;
    let (mut sum, mut count) = (0u64, 0);
    for item in vaults.iter(reader)? {
        let (owner, vault) = item?;
        let content = vault.content.to_native();
        let whole = vault.mark.to_native() == mark(owner, content) && vault.coins.len() == content as usize % 61;
        if !whole || vault.coins.iter().any(|coin| *coin != content as u8) {
            faults.push(format!("vaults: that of {owner} is torn"));
        }
        (sum, count) = (sum.wrapping_add(content), count + 1);
    }
    if sum != u64::from(VAULTS) * CONTENT {
        faults.push(format!("vaults: {count} of them add up to {sum}"));
    }
    Ok(())
}

impl Vaults {
    fn content(&self, tx: &shmstate::View, owner: u32) -> Result<Option<u64>> {
        Ok(match self.targets {
            Some((safes, _)) => safes.get(tx, &place(owner))?.map(|safe| safe.content.to_native()),
            None => self.vaults.get(tx, &owner)?.map(|vault| vault.content.to_native()),
        })
    }

    fn faults(&self, view: &shmstate::View, faults: &mut Vec<String>) -> Result<()> {
        if let Some((safes, labels)) = self.targets {
            for owner in 0..KEYS {
                let vault = self.vaults.get(view, &owner)?.map(|vault| vault.content.to_native());
                let safe = safes.get(view, &place(owner))?;
                let whole = safe.is_none_or(|safe| safe.mark.to_native() == mark(owner, safe.content.to_native()));
                let content = safe.map(|safe| safe.content.to_native());
                let text = labels.get(view, &owner)?.map(|label| label.text.len());
                if content != vault || !whole || text != content.map(|content| label(content).text.len()) {
                    faults.push(format!(
                        "vaults: that of {owner} has {vault:?}, its safe {content:?}, its label {text:?} letters"
                    ));
                }
            }
        }
        let mine = self.mine.get(view)?;
        let (heaps, dug) = (mine.heaps.to_native(), mine.content.to_native());
        let mut found = 0u64;
        for heap in 0..heaps {
            for piece in 0..PIECES {
                match self.bars.get(view, &bar(heap, piece))? {
                    Some(content) => found = found.wrapping_add(content.to_native()),
                    None => faults.push(format!("ore: piece {piece} of heap {heap} is nowhere")),
                }
            }
        }
        if found != dug {
            faults.push(format!("ore: {dug} was dug up in {heaps} heaps, there is {found}"));
        }
        Ok(())
    }

    /// Moves contents about, lets a few records move, and digs.
    pub(super) fn change(&self, moves: &Moves, tx: &mut Tx<'_>, random: &mut fastrand::Rng) -> Result<()> {
        for _ in 0..random.usize(1..3) {
            let [from, to] = [(); 2].map(|()| random.u32(..KEYS));
            let there = self.content(tx, from)?.unwrap_or(0);
            if from == to || there == 0 {
                continue;
            }
            let amount = if random.u8(..4) == 0 {
                there
            } else {
                random.u64(..=there)
            };
            self.give(tx, from, there - amount, random)?;
            let before = self.content(tx, to)?.unwrap_or(0);
            self.give(tx, to, before.wrapping_add(amount), random)?;
        }
        if let Some(vaults) = &moves.vaults
            && random.u8(..6) == 0
        {
            vaults.sweep(tx, random.u64(1..10))?;
        }
        if random.bool() {
            let heap = random.u32(..self.heaps.max(1)) as usize;
            moves.heaps[heap].sweep(tx, random.u64(1..60))?;
        }
        match random.u8(..12) {
            0..3 => dig(tx, self.mine, random),
            3 => self.smelt(tx, random),
            _ => Ok(()),
        }
    }

    /// Lets a vault have a content: takes it away, changes it in place, or writes it anew.
    fn give(&self, tx: &mut Tx<'_>, owner: u32, content: u64, random: &mut fastrand::Rng) -> Result<()> {
        let gone = content == 0 && random.bool();
        let Some((safes, labels)) = self.targets else {
            return match gone {
                true => self.vaults.remove(tx, &owner).map(|_| ()),
                false => self.vaults.insert(tx, &owner, &vault(owner, content)).map(|_| ()),
            };
        };
        if gone {
            safes.remove(tx, &place(owner))?;
            return labels.remove(tx, &owner).map(|_| ());
        }
        labels.insert(tx, &owner, &label(content))?;
        if random.bool()
            && let Some(mut safe) = safes.get_mut(tx, &place(owner))?
        {
            safe.set(|s| &s.content, content.into())?;
            return safe.set(|s| &s.mark, mark(owner, content).into());
        }
        safes.insert(tx, &place(owner), &safe(owner, content)).map(|_| ())
    }

    /// Lets one bar have more, and another less.
    fn smelt(&self, tx: &mut Tx<'_>, random: &mut fastrand::Rng) -> Result<()> {
        if self.heaps == 0 {
            return Ok(());
        }
        let [from, to] = [(); 2].map(|()| bar(random.u32(..self.heaps), random.u32(..PIECES)));
        if from == to {
            return Ok(());
        }
        let mut amount = 0;
        if let Some(mut bar) = self.bars.get_mut(tx, &from)? {
            let there = bar.to_native();
            amount = random.u64(..=there);
            bar.set(|content| content, (there - amount).into())?;
        }
        if let Some(mut bar) = self.bars.get_mut(tx, &to)? {
            let there = bar.to_native();
            bar.set(|content| content, there.wrapping_add(amount).into())?;
        }
        Ok(())
    }
}

/// Makes another heap, which moves under the processes that begin after this one.
fn dig(tx: &mut Tx<'_>, cell: Cell<Mine>, random: &mut fastrand::Rng) -> Result<()> {
    let mine = cell.get(tx)?;
    let (heap, mut content) = (mine.heaps.to_native(), mine.content.to_native());
    if heap >= HEAPS {
        return Ok(());
    }
    let pieces: Map<u32, u64> = Map::create(tx, &format!("ore-{heap}"))?;
    for piece in 0..PIECES {
        let found = random.u64(..1000);
        content += found;
        pieces.insert(tx, &piece, &found)?;
    }
    let mut mine = cell.get_mut(tx)?;
    mine.set(|mine| &mine.heaps, (heap + 1).into())?;
    mine.set(|mine| &mine.content, content.into())
}
