//! Walking over all slots: which streams there are, and which of them have something to do.
//!
//! A pass of a server asks this once, so it is made to be cheap: page after page, the two or three words that say it of each
//! slot. It takes no note of what changed since: what it gives is right whoever produced, consumed or died.

use crate::error::Result;
use crate::region::View;
use crate::table::streams::slot::{PAGE_SLOTS, SLOT, Slot};
use crate::table::streams::{DIRECTORY, StreamId, Streams, WHAT};

impl Streams {
    /// All open streams, in the order of their places.
    ///
    /// # Errors
    /// [`Error::ForeignTable`](crate::Error::ForeignTable), [`Error::TableGone`](crate::Error::TableGone), [`Error::Damaged`](crate::Error::Damaged).
    pub fn ids(&self, view: &View) -> Result<Vec<StreamId>> {
        self.those(view, |_| Ok(true))
    }

    /// The open streams with input that was received and not consumed, in the order of their places: what a server that answers
    /// requests looks at in a pass. Also those whose words are damaged, so that whoever looks at them is told.
    ///
    /// # Errors
    /// [`Error::ForeignTable`](crate::Error::ForeignTable), [`Error::TableGone`](crate::Error::TableGone), [`Error::Damaged`](crate::Error::Damaged).
    pub fn with_input(&self, view: &View) -> Result<Vec<StreamId>> {
        self.those(view, |slot| slot.has_input(view))
    }

    /// The open streams for which [`send`](Self::send) has something to do: output that the socket did not accept yet, or an end that
    /// it was not told of; in the order of their places. Also those whose words are damaged.
    ///
    /// # Errors
    /// [`Error::ForeignTable`](crate::Error::ForeignTable), [`Error::TableGone`](crate::Error::TableGone), [`Error::Damaged`](crate::Error::Damaged).
    pub fn with_output(&self, view: &View) -> Result<Vec<StreamId>> {
        self.those(view, |slot| slot.has_output(view))
    }

    /// The open streams whose slots fit.
    #[inline]
    fn those(&self, view: &View, mut fits: impl FnMut(Slot) -> Result<bool>) -> Result<Vec<StreamId>> {
        self.admit(view)?;
        let pages = self.slots(view)? / PAGE_SLOTS;
        let directory = self.root(view, DIRECTORY)?;
        let mut ids = Vec::new();
        for page in 0..pages {
            let page = view.load(directory.wrapping_add(page * 8), WHAT)?;
            for number in 0..PAGE_SLOTS {
                let slot = Slot::at(page.wrapping_add(number * SLOT));
                let token = slot.token(view)?;
                if token != 0 && fits(slot)? {
                    ids.push(StreamId(token));
                }
            }
        }
        Ok(ids)
    }
}
