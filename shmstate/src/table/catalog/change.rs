//! How rows come, change and go, in a transaction.
//!
//! It does not know what tables keep elsewhere.

use super::identity::next_identity;
use super::spec::check_of;
use super::versions::check_span;
use super::{
    CHECK_SHIFT, CHECKED, DYING, FIRST_SHIFT, Fixed, IDENTITY, LIVE, MAX_TABLE_NAME, MOST_MOVES, MOVED, ROOT, Row, SUM,
    Shape, Spec, TARGET_SHIFT, TableOptions, VERSION, WHAT, row,
};
use crate::error::{Error, Result};
use crate::heap::{self, FIRST, Owner};
use crate::region::header::{HEADER, ROW, ROWS};
use crate::region::view::View;
use crate::schema::Model;
use crate::table::catalog::Kind;
use crate::table::declared;
use crate::tx::Tx;
use xxhash_rust::xxh3::xxh3_64;

/// Makes a row. `roots` are its first roots, the rest are zero. Gives the row's offset.
pub(crate) fn create(tx: &mut Tx<'_>, name: &str, spec: &Spec, options: TableOptions, roots: &[u64]) -> Result<u64> {
    check_name(name)?;
    declared::admit(tx, name, spec)?;
    add(tx, name, &Shape::of(spec), options, roots)
}

pub(crate) fn check_name(name: &str) -> Result<()> {
    let fits = !name.is_empty()
        && name.len() <= MAX_TABLE_NAME
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if !fits {
        return Err(Error::BadName {
            name: name.into(),
            most: MAX_TABLE_NAME,
        });
    }
    Ok(())
}

/// A block is as aligned as the record's root asks, and so is all that the root points to; a list of `u128` in a record of 8 would not lie where
/// it may be read.
pub(super) fn check_alignment(name: &str, shape: &Shape<'_>) -> Result<()> {
    let model = Model::read(shape.value).map_err(|_| Error::Archive {
        why: "the description of its type cannot be read: names of types are too long, or the types lie too deep in one another",
    })?;
    let block = if model.root().align > 8 { 16 } else { 8 };
    match model.types().find(|(_, held)| held.align > block) {
        None => Ok(()),
        Some((_, held)) => Err(Error::Overaligned {
            table: name.into(),
            held: held.name.as_str().into(),
        }),
    }
}

/// The same for a name that is the library's own, or was checked.
pub(crate) fn add(tx: &mut Tx<'_>, name: &str, shape: &Shape<'_>, options: TableOptions, roots: &[u64]) -> Result<u64> {
    check_alignment(name, shape)?;
    let mut vacant = None;
    for index in 0..ROWS {
        match row(tx, index)? {
            Some(row) if row.name == name => return Err(Error::TableExists { name: name.into() }),
            Some(_) => {}
            None if vacant.is_none() && is_vacant(tx, index)? => vacant = Some(index),
            None => {}
        }
    }
    let index = vacant.ok_or(Error::CatalogFull { rows: ROWS })?;
    let text = shape.text();
    let block = heap::alloc(tx, text.len() as u64)?;
    tx.write_fresh(block.offset, text.as_bytes(), "description")?;
    let mut words = [0u64; (ROW / 8) as usize];
    words[0] = LIVE | u64::from(shape.kind as u16) << 32 | (name.len() as u64) << 48;
    for (i, bytes) in name.as_bytes().chunks(8).enumerate() {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        words[1 + i] = u64::from_le_bytes(word);
    }
    describe(&mut words, shape, &text, block.offset);
    words[13] |= u64::from(shape.version) << FIRST_SHIFT | if options.checksums { CHECKED } else { 0 };
    words[16..16 + roots.len()].copy_from_slice(roots);
    let identity = next_identity(tx)?;
    words[(IDENTITY / 8) as usize] = identity;
    words[(SUM / 8) as usize] = sum_of(&std::array::from_fn(|i| words[i]), identity);
    if !matches!(shape.kind, Kind::Cell | Kind::Streams) {
        words[(ROW / 8) as usize - 2..].copy_from_slice(&Owner::roots(tx)?);
    }
    let offset = HEADER + index * ROW;
    tx.put_all(offset, &words, WHAT)?;
    Ok(offset)
}

/// Writes what a row says of its records: the words of its fixed part behind the name.
fn describe(words: &mut [u64], shape: &Shape<'_>, text: &str, block: u64) {
    for (i, print) in shape.prints().into_iter().enumerate() {
        words[9 + i * 2] = print as u64;
        words[10 + i * 2] = (print >> 64) as u64;
    }
    let flags = words[13] & !u64::from(u32::MAX);
    words[13] = u64::from(shape.version) | check_of(text.as_bytes()) << CHECK_SHIFT | flags;
    words[14] = block;
    words[15] = text.len() as u64;
}

/// Gives a table another description of its values; name, kind, keys and roots stay.
pub(crate) fn redescribe(tx: &mut Tx<'_>, row: &Row, spec: &Spec) -> Result<()> {
    let shape = Shape::of(spec);
    check_alignment(&row.name, &shape)?;
    check_span(tx, row, spec)?;
    let text = shape.text();
    let block = heap::alloc(tx, text.len() as u64)?;
    tx.write_fresh(block.offset, text.as_bytes(), "description")?;
    change(tx, row.offset, |words| {
        describe(words, &shape, &text, block.offset);
    })?;
    tx.free(row.description.0);
    Ok(())
}

/// Changes the fixed part of a row.
fn change(tx: &mut Tx<'_>, row: u64, change: impl FnOnce(&mut Fixed)) -> Result<()> {
    let identity = tx.load(row + IDENTITY, WHAT)?;
    change_to(tx, row, identity, change)
}

/// The same, with another identity.
pub(super) fn change_to(tx: &mut Tx<'_>, row: u64, identity: u64, change: impl FnOnce(&mut Fixed)) -> Result<()> {
    let mut words: Fixed = tx.words(row, WHAT)?;
    change(&mut words);
    tx.put_all(row, &words, WHAT)?;
    tx.put_all(row + IDENTITY, &[identity, sum_of(&words, identity)], WHAT)
}

pub(super) fn sum_of(fixed: &Fixed, identity: u64) -> u64 {
    let mut bytes = [0; ROOT as usize + 8];
    for (i, word) in fixed.iter().chain([&identity]).enumerate() {
        bytes[i * 8..i * 8 + 8].copy_from_slice(&word.to_le_bytes());
    }
    xxh3_64(&bytes)
}

/// Notes that the records of a table have moved to others for good: only the move itself opens it from now on.
pub(crate) fn set_moved(tx: &mut Tx<'_>, row: &Row) -> Result<()> {
    if row.moved {
        return Ok(());
    }
    change(tx, row.offset, |words| words[(VERSION / 8) as usize] |= MOVED)
}

/// Notes of how many moves a table is a target.
pub(crate) fn set_moves(tx: &mut Tx<'_>, row: &Row, moves: u64) -> Result<()> {
    let moves = moves.min(MOST_MOVES) << TARGET_SHIFT;
    change(tx, row.offset, |words| {
        let flags = &mut words[(VERSION / 8) as usize];
        *flags = *flags & !(MOST_MOVES << TARGET_SHIFT) | moves;
    })
}

/// A table is being dropped: its row names no description and has neither roots, but those of its chunks, nor an identity, so that no handle finds it.
pub(crate) fn set_dying(tx: &mut Tx<'_>, row: &Row) -> Result<()> {
    change_to(tx, row.offset, 0, |words| {
        words[0] = words[0] & !u64::from(u32::MAX) | DYING;
        words[(ROOT / 8) as usize - 2..].fill(0);
    })?;
    const { assert!(FIRST == SUM + 8) };
    tx.put_all(row.offset + ROOT, &[0; (IDENTITY - ROOT) as usize / 8], WHAT)?;
    tx.free(row.description.0);
    Ok(())
}

/// Nothing is left of a table that was dropped: its row may be another one's (R1).
pub(crate) fn set_vacant(tx: &mut Tx<'_>, row: &Row) -> Result<()> {
    tx.put_all(row.offset, &[0; (ROW / 8) as usize], WHAT)
}

/// Whether there is no table in row `index`, nor what is left of one.
fn is_vacant(view: &View, index: u64) -> Result<bool> {
    Ok(view.load(HEADER + index * ROW, WHAT)? as u32 == 0)
}
