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

/// The JSON of what it was told.
#[derive(Debug, Default)]
pub(super) struct Json {
    pub(super) out: Vec<u8>,
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
        // Nearly all strings need no escape.
        if text.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\') {
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
        self.text(name);
        self.out.push(b':');
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
        self.number(|f, out| f.write_u64(out, value));
    }
    fn signed(&mut self, value: i64) {
        self.number(|f, out| f.write_i64(out, value));
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
