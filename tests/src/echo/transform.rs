//! What the server does to its input, and the input itself: both are functions of a seed, so that the client knows the
//! whole answer beforehand.

/// Most bytes of output that one byte of input makes.
pub const MAX_BURST: usize = 64;
/// How often a byte makes a burst: one in so many.
const BURST_EVERY: u64 = 24;

/// A keystream whose state takes in every byte it is applied to (E1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transform {
    /// The state: all there is to keep.
    pub key: u64,
}

impl Transform {
    /// Takes in one byte; appends one byte of output, now and then up to [`MAX_BURST`].
    pub fn push(&mut self, byte: u8, out: &mut Vec<u8>) {
        self.key = mix(self.key ^ u64::from(byte)).wrapping_add(1);
        out.push(byte ^ (self.key >> 56) as u8);
        if self.key.is_multiple_of(BURST_EVERY) {
            let more = (self.key >> 32) as usize % MAX_BURST;
            out.extend((0..more as u32).map(|i| self.key.rotate_left(i * 5) as u8));
        }
    }
}

/// The input: an endless run of bytes.
#[derive(Clone, Debug)]
pub struct Source {
    seed: u64,
    next: u64,
}

impl Source {
    /// The input that belongs to a seed, from its start.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, next: 0 }
    }

    /// How many bytes were taken.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.next
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let word = mix(self.seed ^ (self.next / 8));
        let byte = word.to_le_bytes()[self.next as usize % 8];
        self.next += 1;
        byte
    }
}

/// Spreads every bit over all others.
fn mix(word: u64) -> u64 {
    let a = (word ^ word >> 31).wrapping_mul(0x7fb5_d329_728e_a185);
    let b = (a ^ a >> 27).wrapping_mul(0x81da_def4_bc2d_d44d);
    b ^ b >> 33
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_byte_changes_all_that_follows() {
        let answer = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut source = Source::new(7);
            let mut input: Vec<u8> = (0..4000).map(|_| source.byte()).collect();
            change(&mut input);
            let (mut transform, mut out) = (Transform { key: 7 }, Vec::new());
            input.iter().for_each(|byte| transform.push(*byte, &mut out));
            out
        };
        let right = answer(&|_| ());
        assert!(right.len() > 6000, "bursts: {}", right.len());
        let lost = answer(&|input| {
            input.remove(1000);
        });
        let doubled = answer(&|input| input.insert(1000, input[1000]));
        let swapped = answer(&|input| input.swap(1000, 1001));
        for wrong in [lost, doubled, swapped] {
            let same = right[3000..].iter().zip(&wrong[3000..]).filter(|(a, b)| a == b).count();
            assert!(same < right.len() / 50, "{same} bytes the same by chance");
        }
    }
}
