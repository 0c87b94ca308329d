//! Keys of maps: values of fixed length that are compared and hashed as bytes.

/// Longest key, in bytes.
pub const MAX_KEY: usize = 32;

/// What can be the key of a map: integers, byte arrays, and pairs of them.
pub trait Key: Clone {
    /// Bytes of the encoded key, at most [`MAX_KEY`].
    const SIZE: usize;

    /// Writes the key's bytes, little-endian, into `out[..SIZE]`.
    fn encode(&self, out: &mut [u8]);

    /// Reads a key from `SIZE` bytes that `encode` wrote.
    fn decode(bytes: &[u8]) -> Self;

    /// What the catalog says of the key's shape.
    fn shape() -> String;
}

macro_rules! integer_keys {
    ($($t:ty),*) => {$(
        impl Key for $t {
            const SIZE: usize = size_of::<$t>();

            #[inline]
            fn encode(&self, out: &mut [u8]) {
                out[..Self::SIZE].copy_from_slice(&self.to_le_bytes());
            }

            #[inline]
            fn decode(bytes: &[u8]) -> Self {
                let mut word = [0; size_of::<$t>()];
                word.copy_from_slice(&bytes[..Self::SIZE]);
                <$t>::from_le_bytes(word)
            }

            fn shape() -> String {
                stringify!($t).into()
            }
        }
    )*};
}

integer_keys!(u8, u16, u32, u64, u128, i8, i16, i32, i64, i128);

impl<const N: usize> Key for [u8; N] {
    const SIZE: usize = N;

    #[inline]
    fn encode(&self, out: &mut [u8]) {
        out[..N].copy_from_slice(self);
    }

    #[inline]
    fn decode(bytes: &[u8]) -> Self {
        let mut key = [0; N];
        key.copy_from_slice(&bytes[..N]);
        key
    }

    fn shape() -> String {
        format!("[u8; {N}]")
    }
}

impl<A: Key, B: Key> Key for (A, B) {
    const SIZE: usize = A::SIZE + B::SIZE;

    #[inline]
    fn encode(&self, out: &mut [u8]) {
        self.0.encode(&mut out[..A::SIZE]);
        self.1.encode(&mut out[A::SIZE..]);
    }

    #[inline]
    fn decode(bytes: &[u8]) -> Self {
        (A::decode(&bytes[..A::SIZE]), B::decode(&bytes[A::SIZE..]))
    }

    fn shape() -> String {
        format!("({}, {})", A::shape(), B::shape())
    }
}

/// Longest text of a key's shape that is read: the text comes from the region, and pairs nest.
const MAX_SHAPE: usize = 1024;

/// Bytes of an encoded key whose shape is given as text; `None` if it is none.
pub(crate) fn size_of_shape(shape: &str) -> Option<usize> {
    if shape.len() > MAX_SHAPE {
        return None;
    }
    size_in(shape).filter(|size| *size <= MAX_KEY)
}

fn size_in(shape: &str) -> Option<usize> {
    if let Some(bits) = shape.strip_prefix(['u', 'i']) {
        return match bits {
            "8" => Some(1),
            "16" => Some(2),
            "32" => Some(4),
            "64" => Some(8),
            "128" => Some(16),
            _ => None,
        };
    }
    if let Some(length) = shape.strip_prefix("[u8; ") {
        return length.strip_suffix(']')?.parse().ok();
    }
    let mut inner = shape.strip_prefix('(')?.strip_suffix(')')?;
    let mut size = 0;
    // Commas inside parentheses belong to an inner pair.
    while !inner.is_empty() {
        let mut depth = 0;
        let end = inner.find(|c| {
            depth += i32::from(c == '(') - i32::from(c == ')');
            c == ',' && depth == 0
        });
        let (first, rest) = end.map_or((inner, ""), |end| (&inner[..end], inner[end + 1..].trim_start()));
        size = size_in(first)?.checked_add(size)?;
        inner = rest;
    }
    Some(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_is_read_from_the_shape() {
        fn agrees<K: Key>() {
            assert_eq!(size_of_shape(&K::shape()), Some(K::SIZE), "{}", K::shape());
        }
        agrees::<u8>();
        agrees::<i128>();
        agrees::<[u8; 17]>();
        agrees::<(u16, (i32, [u8; 3]))>();
        agrees::<((u64, u8), u32)>();
        assert_eq!(size_of_shape("String"), None);
        assert_eq!(size_of_shape("(u8, f32)"), None);
    }
}
