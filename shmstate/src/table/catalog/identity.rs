//! Identities: which table a handle is of (R1).
//!
//! It does not know what a handle is good for; each table looks for itself, by [`View::identity`].

use super::change::change_to;
use super::{IDENTITY, Row, State, WHAT, rows};
use crate::error::{Error, Result};
use crate::region::header::at;
use crate::region::seal;
use crate::region::view::View;
use crate::tx::Tx;

/// An identity that no table had (R1).
pub(super) fn next_identity(tx: &Tx<'_>) -> Result<u64> {
    let word = tx.header(at::TABLES_MADE);
    let made = seal::unseal(word).filter(|made| *made < seal::LOW);
    let made = made.ok_or_else(|| Error::damaged("number of tables made", at::TABLES_MADE, word))?;
    tx.set_size(at::TABLES_MADE, made + 1);
    Ok(tx.tag().wrapping_add(made + 1))
}

/// Whether an identity is of a table that this region made.
fn is_own(view: &View, identity: u64) -> bool {
    let made = view.size(at::TABLES_MADE);
    (1..=made).contains(&identity.wrapping_sub(view.tag()))
}

/// Why a handle with this identity finds no table in its row.
#[cold]
pub(crate) fn no_table_of(view: &View, identity: u64) -> Error {
    if is_own(view, identity) {
        Error::TableGone
    } else {
        Error::ForeignTable
    }
}

/// Refuses an identity that no table of this region has.
pub(crate) fn check_identity(view: &View, row: &Row) -> Result<()> {
    let identity = view.load(row.offset + IDENTITY, WHAT)?;
    if row.state == State::Dying || is_own(view, identity) {
        return Ok(());
    }
    Err(Error::damaged("identity of a table", row.offset + IDENTITY, identity))
}

/// Gives every table another identity: in a region that was made of another one's checkpoint, where no handle of that may be honoured.
pub(crate) fn renew_identities(tx: &mut Tx<'_>) -> Result<()> {
    for row in rows(tx)? {
        let identity = next_identity(tx)?;
        change_to(tx, row.offset, identity, |_| ())?;
    }
    Ok(())
}
