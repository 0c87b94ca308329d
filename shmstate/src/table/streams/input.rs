//! Input as a transaction sees it: what lies in the ring and is not consumed.

/// Input that was received and not consumed: the older part, the newer part.
#[derive(Clone, Copy, Debug)]
pub struct Input<'v> {
    pub(super) first: &'v [u8],
    pub(super) second: &'v [u8],
}

impl<'v> Input<'v> {
    /// Bytes in all.
    #[must_use]
    pub fn len(&self) -> usize {
        self.first.len() + self.second.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The two pieces, oldest first; the second is empty unless the ring wraps.
    #[must_use]
    pub fn pieces(&self) -> (&'v [u8], &'v [u8]) {
        (self.first, self.second)
    }

    /// Copies as much as there is from byte `from` on into `out`; says how much.
    pub fn copy_to(&self, from: usize, out: &mut [u8]) -> usize {
        let mut done = 0;
        for (piece, start) in [(self.first, 0), (self.second, self.first.len())] {
            let skip = (from + done).saturating_sub(start).min(piece.len());
            let n = (piece.len() - skip).min(out.len() - done);
            if from + done >= start {
                out[done..done + n].copy_from_slice(&piece[skip..skip + n]);
                done += n;
            }
        }
        done
    }

    /// The bytes in one piece: borrowed if the ring does not wrap here, else copied.
    #[must_use]
    pub fn contiguous(&self) -> std::borrow::Cow<'v, [u8]> {
        if self.second.is_empty() {
            self.first.into()
        } else {
            [self.first, self.second].concat().into()
        }
    }
}
