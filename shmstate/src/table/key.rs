//! Keys of tables: what can be one, and the bytes that it is hashed, compared and stored as.
//!
//! - **E1** Two forms. [`Form::Hashed`], of `Map`: integers little-endian. [`Form::Ordered`], of `OrderedMap`: integers
//!   big-endian with the sign bit flipped, so that the order of the bytes is the order of the keys (`Ord`).
//! - **E2** A key of fixed length (integers, `bool`, byte arrays, tuples of such) has [`Key::SIZE`] bytes in either form, at
//!   most [`MAX_KEY`], known to the compiler.
//! - **E3** A key of variable length (strings, tuples with one) has at most [`MAX_LONG_KEY`] bytes. A string alone is its
//!   plain bytes. In a tuple, at any place, it is escaped: 0 becomes `00 01`, its end is `00 00`. So a string that is the
//!   beginning of another one sorts first whatever follows it, and no two tuples have the same bytes.
//! - **E4** Reading back what a damaged region holds gives `None`, never a panic.
//!
//! Where a record keeps its key stands in `keyed`. This file knows neither regions nor records.

use crate::error::{Error, Result};
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

/// Longest key of fixed length, in bytes.
pub const MAX_KEY: usize = 32;

/// Longest key of variable length, in bytes as stored: in tuples each zero byte of a string counts twice, its end two.
pub const MAX_LONG_KEY: usize = 4096;

/// Bytes that a record keeps beside its header for a key of variable length: where it is and how long.
pub(crate) const LONG_KEY_WORD: usize = 8;

/// The end of a string in a tuple, and what stands for a zero byte in it (E3).
const END: [u8; 2] = [0, 0];
const ZERO: [u8; 2] = [0, 1];

/// In which form a key is written (E1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Integers little-endian: cheapest to hash.
    Hashed,
    /// Bytes that sort as the keys do.
    Ordered,
}

/// Takes the bytes of a key.
pub trait Sink {
    /// Appends `bytes`.
    fn put(&mut self, bytes: &[u8]);
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// The bytes of a key of fixed length.
struct Inline {
    bytes: [u8; MAX_KEY],
    length: usize,
}

impl Sink for Inline {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        // A key that says it is fixed and writes more than MAX_KEY bytes is cut; tables refuse such a SIZE when compiled.
        let end = (self.length + bytes.len()).min(MAX_KEY);
        if let Some(room) = self.bytes.get_mut(self.length..end) {
            room.copy_from_slice(&bytes[..room.len()]);
        }
        self.length = end;
    }
}

/// What can be the key of a table: integers, `bool`, byte arrays, `String`, `Vec<u8>`, the ids of other tables' records, and tuples of
/// two to four of them.
///
/// Lookups take a reference to [`Borrowed`](Self::Borrowed): `&7` for `u64`, `"ada"` for `String`, `&(7, 9)` for a tuple.
///
/// A type of one's own can be a key by handing on to the type it wraps:
///
/// ```
/// use shmstate::{Key, KeyForm, KeySink, Map, Region};
///
/// #[derive(Clone, Copy, PartialEq, Debug)]
/// struct PlayerId(u64);
///
/// impl Key for PlayerId {
///     type Borrowed = Self;
///     const SIZE: usize = u64::SIZE;
///     const VARIABLE: bool = u64::VARIABLE;
///     fn borrowed(&self) -> &Self { self }
///     fn write(key: &Self, form: KeyForm, out: &mut impl KeySink) { u64::write(&key.0, form, out) }
///     fn read(form: KeyForm, input: &mut &[u8]) -> Option<Self> { u64::read(form, input).map(Self) }
///     fn shape() -> String { u64::shape() }
/// }
///
/// # fn main() -> shmstate::Result<()> {
/// let mut region = Region::in_memory(4 << 20)?;
/// let gate = region.gate().clone();
/// let pass = gate.enter()?;
/// let mut tx = region.begin(&pass)?;
/// let names: Map<PlayerId, String> = Map::create(&mut tx, "names")?;
/// names.insert(&mut tx, &PlayerId(7), &"Ada".to_owned())?;
/// assert_eq!(names.get(&tx, &PlayerId(7))?.unwrap(), "Ada");
/// # Ok(())
/// # }
/// ```
pub trait Key: Sized + 'static {
    /// What lookups take a reference to: the key itself, `str` for `String`, `[u8]` for `Vec<u8>`.
    type Borrowed: ?Sized;

    /// Bytes that a record keeps beside its header: the key itself (1 to [`MAX_KEY`]), or 8 for one of variable length.
    const SIZE: usize;

    /// Whether the length of the key differs from one to the next.
    const VARIABLE: bool;

    /// The key as lookups take it.
    fn borrowed(&self) -> &Self::Borrowed;

    /// Writes the key so that its end can be told when more follows (E3): exactly `SIZE` bytes if it is not `VARIABLE`.
    fn write(key: &Self::Borrowed, form: Form, out: &mut impl Sink);

    /// Reads back what `write` wrote and moves `input` behind it. `None` if it is nothing that `write` writes.
    fn read(form: Form, input: &mut &[u8]) -> Option<Self>;

    /// The bytes of a `VARIABLE` key that is stored as it stands when it is the whole key. `None`: it is stored as
    /// [`write`](Self::write) has it.
    fn plain(_key: &Self::Borrowed) -> Option<&[u8]> {
        None
    }

    /// Reads back what [`plain`](Self::plain) gave. The default reads what `write` wrote, to its last byte.
    #[inline]
    fn from_plain(form: Form, bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let key = Self::read(form, &mut rest)?;
        rest.is_empty().then_some(key)
    }

    /// What the catalog says of the key's shape. Two types of the same shape read each other's keys.
    fn shape() -> String;
}

/// The bytes of a whole key: what a table hashes, compares and stores. The length of one that is fixed is a constant to the
/// compiler (E2), so that hash and comparison of an integer are made for its size.
pub(crate) struct Encoded<'k, K> {
    /// Of fixed length.
    fixed: [u8; MAX_KEY],
    /// Of variable length; a string alone is not copied.
    long: Cow<'k, [u8]>,
    key: PhantomData<fn() -> K>,
}

impl<'k, K: Key> Encoded<'k, K> {
    /// The bytes of `key`.
    ///
    /// # Errors
    /// [`Error::KeyTooLong`], only of keys of variable length.
    #[inline(always)]
    pub(crate) fn of(key: &'k K::Borrowed, form: Form) -> Result<Self> {
        const {
            assert!(
                K::VARIABLE || (K::SIZE >= 1 && K::SIZE <= MAX_KEY),
                "a key of fixed length has 1 to 32 bytes"
            );
            assert!(
                !K::VARIABLE || K::SIZE == LONG_KEY_WORD,
                "a key of variable length takes 8 bytes beside the header"
            );
        }
        let mut out = Inline {
            bytes: [0; MAX_KEY],
            length: 0,
        };
        let long = if K::VARIABLE {
            Self::long(key, form)?
        } else {
            K::write(key, form, &mut out);
            Cow::Borrowed(&[][..])
        };
        Ok(Self {
            fixed: out.bytes,
            long,
            key: PhantomData,
        })
    }

    /// A key that was read from a record of the same kind of table; `None` if it cannot be one.
    pub(crate) fn stored(bytes: &[u8]) -> Option<Encoded<'static, K>> {
        let mut fixed = [0; MAX_KEY];
        let mut long = Vec::new();
        if K::VARIABLE {
            long.extend_from_slice(bytes);
        } else {
            fixed.get_mut(..K::SIZE)?.copy_from_slice(bytes.get(..K::SIZE)?);
        }
        Some(Encoded {
            fixed,
            long: Cow::Owned(long),
            key: PhantomData,
        })
    }

    fn long(key: &'k K::Borrowed, form: Form) -> Result<Cow<'k, [u8]>> {
        let bytes = match K::plain(key) {
            Some(bytes) => Cow::Borrowed(bytes),
            None => {
                let mut bytes = Vec::new();
                K::write(key, form, &mut bytes);
                Cow::Owned(bytes)
            }
        };
        if bytes.len() > MAX_LONG_KEY {
            return Err(Error::KeyTooLong {
                bytes: bytes.len(),
                most: MAX_LONG_KEY,
            });
        }
        Ok(bytes)
    }

    /// The same without a borrow of the key.
    pub(crate) fn into_owned(self) -> Encoded<'static, K> {
        Encoded {
            fixed: self.fixed,
            long: Cow::Owned(self.long.into_owned()),
            key: PhantomData,
        }
    }
}

impl<K: Key> Deref for Encoded<'_, K> {
    type Target = [u8];

    #[inline(always)]
    fn deref(&self) -> &[u8] {
        if K::VARIABLE {
            &self.long
        } else {
            &self.fixed[..K::SIZE]
        }
    }
}

impl<K> fmt::Debug for Encoded<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoded").finish_non_exhaustive()
    }
}

/// Reads a whole key that was stored; `None` if the bytes are none (E4).
#[inline]
pub(crate) fn decode<K: Key>(form: Form, bytes: &[u8]) -> Option<K> {
    K::from_plain(form, bytes)
}

macro_rules! integer_keys {
    ($($t:ty: $sign:expr),* $(,)?) => {$(
        impl Key for $t {
            type Borrowed = Self;
            const SIZE: usize = size_of::<$t>();
            const VARIABLE: bool = false;

            #[inline]
            fn borrowed(&self) -> &Self {
                self
            }

            #[inline(always)]
            fn write(key: &Self, form: Form, out: &mut impl Sink) {
                match form {
                    Form::Hashed => out.put(&key.to_le_bytes()),
                    Form::Ordered => out.put(&(key ^ $sign).to_be_bytes()),
                }
            }

            #[inline]
            fn read(form: Form, input: &mut &[u8]) -> Option<Self> {
                let (bytes, rest) = input.split_first_chunk()?;
                *input = rest;
                Some(match form {
                    Form::Hashed => Self::from_le_bytes(*bytes),
                    Form::Ordered => Self::from_be_bytes(*bytes) ^ $sign,
                })
            }

            fn shape() -> String {
                stringify!($t).into()
            }
        }
    )*};
}

integer_keys!(
    u8: 0, u16: 0, u32: 0, u64: 0, u128: 0,
    i8: i8::MIN, i16: i16::MIN, i32: i32::MIN, i64: i64::MIN, i128: i128::MIN,
);

impl Key for bool {
    type Borrowed = Self;
    const SIZE: usize = 1;
    const VARIABLE: bool = false;

    #[inline]
    fn borrowed(&self) -> &Self {
        self
    }

    #[inline]
    fn write(key: &Self, _form: Form, out: &mut impl Sink) {
        out.put(&[u8::from(*key)]);
    }

    #[inline]
    fn read(_form: Form, input: &mut &[u8]) -> Option<Self> {
        let (byte, rest) = input.split_first()?;
        *input = rest;
        match byte {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn shape() -> String {
        "bool".into()
    }
}

impl<const N: usize> Key for [u8; N] {
    type Borrowed = Self;
    const SIZE: usize = N;
    const VARIABLE: bool = false;

    #[inline]
    fn borrowed(&self) -> &Self {
        self
    }

    #[inline]
    fn write(key: &Self, _form: Form, out: &mut impl Sink) {
        out.put(key);
    }

    #[inline]
    fn read(_form: Form, input: &mut &[u8]) -> Option<Self> {
        let (bytes, rest) = input.split_first_chunk()?;
        *input = rest;
        Some(*bytes)
    }

    fn shape() -> String {
        format!("[u8; {N}]")
    }
}

/// Writes a string of bytes so that its end can be told and the order stays (E3).
fn escape(bytes: &[u8], out: &mut impl Sink) {
    let mut pieces = bytes.split(|byte| *byte == 0);
    if let Some(first) = pieces.next() {
        out.put(first);
    }
    for piece in pieces {
        out.put(&ZERO);
        out.put(piece);
    }
    out.put(&END);
}

fn unescape(input: &mut &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let zero = input.iter().position(|byte| *byte == 0)?;
        bytes.extend_from_slice(&input[..zero]);
        let (mark, rest) = input[zero..].split_first_chunk()?;
        *input = rest;
        match *mark {
            END => return Some(bytes),
            ZERO => bytes.push(0),
            _ => return None,
        }
    }
}

macro_rules! string_keys {
    ($($t:ty, $borrowed:ty, $shape:literal, |$key:ident| $bytes:expr, $from:expr;)*) => {$(
        impl Key for $t {
            type Borrowed = $borrowed;
            const SIZE: usize = LONG_KEY_WORD;
            const VARIABLE: bool = true;

            fn borrowed(&self) -> &$borrowed {
                self
            }

            fn write($key: &$borrowed, _form: Form, out: &mut impl Sink) {
                escape($bytes, out);
            }

            fn read(_form: Form, input: &mut &[u8]) -> Option<Self> {
                unescape(input).and_then($from)
            }

            #[inline]
            fn plain($key: &$borrowed) -> Option<&[u8]> {
                Some($bytes)
            }

            fn from_plain(_form: Form, bytes: &[u8]) -> Option<Self> {
                Some(bytes.to_vec()).and_then($from)
            }

            fn shape() -> String {
                $shape.into()
            }
        }
    )*};
}

string_keys! {
    String, str, "String", |key| key.as_bytes(), |bytes: Vec<u8>| String::from_utf8(bytes).ok();
    Vec<u8>, [u8], "Vec<u8>", |key| key, Some;
}

macro_rules! tuple_keys {
    ($(($($name:ident $i:tt),+))*) => {$(
        impl<$($name: Key),+> Key for ($($name,)+) {
            type Borrowed = Self;
            const VARIABLE: bool = $($name::VARIABLE)||+;
            const SIZE: usize = if Self::VARIABLE { LONG_KEY_WORD } else { 0 $(+ $name::SIZE)+ };

            #[inline]
            fn borrowed(&self) -> &Self {
                self
            }

            #[inline]
            fn write(key: &Self, form: Form, out: &mut impl Sink) {
                $($name::write(key.$i.borrowed(), form, out);)+
            }

            #[inline]
            fn read(form: Form, input: &mut &[u8]) -> Option<Self> {
                // Tuple expressions are evaluated from left to right.
                Some(($($name::read(form, input)?,)+))
            }

            fn shape() -> String {
                let parts = [$($name::shape()),+];
                format!("({})", parts.join(", "))
            }
        }
    )*};
}

tuple_keys! {
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
}

#[cfg(test)]
mod tests;
