//! JSON of a value as it is told, written without a tree between.
//!
//! The form is the one that serde_json gives the same types: structs and maps are objects, tuples and lists arrays, newtypes and `Some` what is
//! in them, unit and `None` null, variants `"Name"` or `{"Name": …}`; floats that are no number are null. Where serde_json refuses — the keys of a
//! map are no strings or numbers — a map is a list of pairs. Bytes of unknown form are a string, `0x…`.

use serde_json::ser::{CompactFormatter, Formatter};
use shmstate::decode::Visit;
use std::io::Write;

/// An open map.
#[derive(Debug)]
struct Open {
    /// Its keys can be keys of an object.
    text: bool,
    /// A pair is begun.
    pair: bool,
}

/// Names whose form is kept, at most; a power of two.
const KEPT: usize = 64;
/// Longest form that is kept.
const SHORT: usize = 32;
/// Bytes that it has around the name: quotes and colon.
const AROUND: usize = 3;
/// The numbers below 100, two digits each.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut i = 0;
    while i < pairs.len() {
        pairs[i] = [b'0' + (i / 10) as u8, b'0' + (i % 10) as u8];
        i += 1;
    }
    pairs
};

/// A name without escapes as it is written, in quotes and with the colon: the same few come with every record.
#[derive(Clone, Copy, Debug, Default)]
struct Kept {
    form: [u8; SHORT],
    length: usize,
}

impl Kept {
    #[inline]
    fn is_of(&self, name: &[u8]) -> bool {
        self.length == name.len() + AROUND && self.form.get(1..=name.len()).is_some_and(|form| is_same(form, name))
    }
}

/// Whether two short names of one length are the same: by two words that may overlap, without a loop, where there are as many bytes.
#[inline]
fn is_same(a: &[u8], b: &[u8]) -> bool {
    fn ends<const N: usize>(a: &[u8], b: &[u8]) -> bool {
        (a.first_chunk::<N>(), a.last_chunk::<N>()) == (b.first_chunk::<N>(), b.last_chunk::<N>())
    }
    match a.len() {
        0..4 => a == b,
        4..8 => ends::<4>(a, b),
        8..=16 => ends::<8>(a, b),
        _ => a == b,
    }
}

/// The JSON of what it was told.
#[derive(Debug, Default)]
pub(super) struct Json {
    pub(super) out: Vec<u8>,
    /// By what is quickly known of a name.
    kept: Vec<Kept>,
    maps: Vec<Open>,
    /// What comes next is the key of an object.
    key: bool,
}

impl Json {
    /// A comma, unless something was just opened.
    fn comma(&mut self) {
        if !matches!(self.out.last(), Some(b'[' | b'{') | None) {
            self.out.push(b',');
        }
    }

    /// A string.
    pub(super) fn text(&mut self, text: &str) {
        // Nearly all strings need no escape. Looked at to the end, so that the compiler can look at many bytes at once.
        let plain = |plain, b: u8| plain & (b >= 0x20) & (b != b'"') & (b != b'\\');
        if text.bytes().fold(true, plain) {
            self.out.reserve(text.len() + 2);
            self.out.push(b'"');
            self.out.extend_from_slice(text.as_bytes());
            self.out.push(b'"');
            return;
        }
        // Writing into a vector cannot fail, and a string is always JSON.
        let _ = serde_json::to_writer(&mut self.out, text);
    }

    /// A key of an object and the colon behind it.
    pub(super) fn name(&mut self, name: &str) {
        self.comma();
        let bytes = name.as_bytes();
        let [first, last] = [bytes.first(), bytes.last()].map(|byte| usize::from(byte.copied().unwrap_or(0)));
        let place = (first ^ last << 2 ^ bytes.len() << 4) % KEPT;
        match self.kept.get(place) {
            Some(kept) if kept.is_of(bytes) => put_short(&mut self.out, &kept.form, kept.length),
            _ => self.new_name(name, place),
        }
    }

    #[cold]
    fn new_name(&mut self, name: &str, place: usize) {
        let start = self.out.len();
        self.text(name);
        self.out.push(b':');
        let written = &self.out[start..];
        let mut form = [0; SHORT];
        if let Some(to) = form.get_mut(..written.len())
            && written.len() == name.len() + AROUND
        {
            to.copy_from_slice(written);
            let length = written.len();
            self.kept.resize(KEPT, Kept::default());
            self.kept[place] = Kept { form, length };
        }
    }

    /// An integer.
    fn integer(&mut self, magnitude: u64, negative: bool) {
        if self.key {
            self.out.push(b'"');
        }
        if negative {
            self.out.push(b'-');
        }
        let length = magnitude.checked_ilog10().unwrap_or(0) as usize + 1;
        // Room first, and then digits right where they belong.
        let start = self.out.len();
        put_short(&mut self.out, &[b'0'; 20], length);
        let digits = &mut self.out[start..];
        let (mut left, mut end) = (magnitude, length);
        while end >= 2 {
            digits[end - 2..end].copy_from_slice(&PAIRS[(left % 100) as usize]);
            left /= 100;
            end -= 2;
        }
        if end == 1 {
            digits[0] = b'0' + left as u8;
        }
        if self.key {
            self.out.push(b'"');
        }
    }

    fn number(&mut self, write: impl FnOnce(&mut CompactFormatter, &mut Vec<u8>) -> std::io::Result<()>) {
        if self.key {
            self.out.push(b'"');
        }
        // As above.
        let _ = write(&mut CompactFormatter, &mut self.out);
        if self.key {
            self.out.push(b'"');
        }
    }

    /// Forgets what is open, after a value that broke off.
    pub(super) fn cut(&mut self, length: usize) {
        self.out.truncate(length);
        self.maps.clear();
        self.key = false;
    }
}

/// Puts the first bytes of some: all are copied, since that is one instruction, and what is too much is taken off again.
#[inline]
fn put_short<const N: usize>(out: &mut Vec<u8>, bytes: &[u8; N], length: usize) {
    let end = out.len() + length;
    out.extend_from_slice(bytes);
    out.truncate(end);
}

impl Visit for Json {
    fn nothing(&mut self) {
        self.out.extend_from_slice(b"null");
    }
    fn bool(&mut self, value: bool) {
        self.number(|f, out| f.write_bool(out, value));
    }
    fn char(&mut self, value: char) {
        self.text(value.encode_utf8(&mut [0; 4]));
    }
    fn unsigned(&mut self, value: u64) {
        self.integer(value, false);
    }
    fn signed(&mut self, value: i64) {
        self.integer(value.unsigned_abs(), value < 0);
    }
    fn wide_unsigned(&mut self, value: u128) {
        self.number(|f, out| f.write_u128(out, value));
    }
    fn wide_signed(&mut self, value: i128) {
        self.number(|f, out| f.write_i128(out, value));
    }
    fn single(&mut self, value: f32) {
        match value.is_finite() {
            true => self.number(|f, out| f.write_f32(out, value)),
            false => self.number(|f, out| f.write_null(out)),
        }
    }
    fn double(&mut self, value: f64) {
        match value.is_finite() {
            true => self.number(|f, out| f.write_f64(out, value)),
            false => self.number(|f, out| f.write_null(out)),
        }
    }
    fn str(&mut self, value: &str) {
        self.text(value);
    }
    fn opaque(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(b"\"0x");
        for byte in bytes {
            let _ = write!(self.out, "{byte:02x}");
        }
        self.out.push(b'"');
    }
    fn begin_list(&mut self, _length: usize) {
        self.out.push(b'[');
    }
    fn element(&mut self) {
        self.comma();
    }
    fn end_list(&mut self) {
        self.out.push(b']');
    }
    fn begin_map(&mut self, _length: usize, text: bool) {
        self.out.push(if text { b'{' } else { b'[' });
        self.maps.push(Open { text, pair: false });
    }
    fn key(&mut self) {
        let Some(map) = self.maps.last_mut() else { return };
        if map.text {
            self.key = true;
        } else if std::mem::replace(&mut map.pair, true) {
            self.out.push(b']');
        }
        let text = map.text;
        self.comma();
        if !text {
            self.out.push(b'[');
        }
    }
    fn value(&mut self) {
        self.key = false;
        let text = self.maps.last().is_none_or(|map| map.text);
        self.out.push(if text { b':' } else { b',' });
    }
    fn end_map(&mut self) {
        match self.maps.pop() {
            Some(map) if !map.text => self.out.extend_from_slice(if map.pair { b"]]" } else { b"]" }),
            _ => self.out.push(b'}'),
        }
    }
    fn begin_struct(&mut self) {
        self.out.push(b'{');
    }
    fn field(&mut self, name: &str) {
        self.name(name);
    }
    fn end_struct(&mut self) {
        self.out.push(b'}');
    }
    fn unit_variant(&mut self, name: &str) {
        self.text(name);
    }
    fn begin_variant(&mut self, name: &str) {
        self.out.push(b'{');
        self.text(name);
        self.out.push(b':');
    }
    fn end_variant(&mut self) {
        self.out.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_as_serde_json_has_them() {
        let mut numbers = vec![0, u64::MAX];
        for power in 0..20 {
            let power = 10u64.pow(power);
            numbers.extend([power - 1, power, power + 1, power.saturating_mul(9).saturating_add(8)]);
        }
        for number in numbers {
            for negative in [false, true] {
                let mut json = Json::default();
                let signed = number.cast_signed();
                let expected = if negative {
                    json.signed(signed);
                    json.signed(signed.wrapping_neg());
                    format!("{signed}{}", signed.wrapping_neg())
                } else {
                    json.unsigned(number);
                    number.to_string()
                };
                assert_eq!(String::from_utf8_lossy(&json.out), expected);
            }
        }
    }

    #[test]
    fn names_are_the_same_again_and_those_that_share_a_place_are_not_taken_for_each_other() {
        let long = "n".repeat(100);
        let names = [
            "a",
            "",
            "aba",
            "aca",
            "\"",
            "é\n",
            "x\\y",
            &long,
            &long[1..30],
            &long[1..31],
        ];
        let mut json = Json::default();
        let mut expected = String::new();
        for name in names.iter().chain(&names).chain(names.iter().rev()) {
            json.begin_struct();
            json.field(name);
            json.field(name);
            json.end_struct();
            let name = serde_json::to_string(name).expect("a string");
            expected += &format!("{{{name}:,{name}:}}");
        }
        assert_eq!(String::from_utf8_lossy(&json.out), expected);
    }
}
