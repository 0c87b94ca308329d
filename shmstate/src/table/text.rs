//! Where the strings of a record are, so that no byte of one is changed in place.
//!
//! - **X1** Whoever reads an archived string believes that it is UTF-8. A projection ([`RecordMut::set`](crate::RecordMut::set)) can lead to a byte of one by
//!   safe means (`as_bytes`), and a byte, or an array of bytes, can be stored there: nothing in the types tells it from a field. So before such a store the
//!   record's strings are looked for, by the description of its type; types that hold none, and fields larger than a byte, are not looked at.
//!
//! It does not know tables. It does not see what a description made by hand ([`Describer::opaque`](crate::schema::Describer::opaque)) keeps to itself, nor what casts of
//! other crates lead to: bytes of a `bool` or of an enum, numbers in the middle of a string.

use crate::decode::{Decoder, Visit};
use crate::error::{Error, Result};
use crate::schema::{Description, Schema};
use std::any::TypeId;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// By type of records: how to find their strings; nothing for types that hold none.
#[derive(Debug, Default)]
pub(crate) struct Texts(HashMap<TypeId, Option<Arc<Decoder>>>);

impl Texts {
    /// How to find the strings of records of this type, if they can hold some.
    pub(crate) fn of<V: Schema>(&mut self) -> Result<Option<Arc<Decoder>>> {
        if let Some(known) = self.0.get(&TypeId::of::<V>()) {
            return Ok(known.clone());
        }
        let decoder = Decoder::new(Description::of::<V>().text()).map_err(|_| Error::Archive {
            why: "its description cannot be read",
        })?;
        let found = decoder.has_strings().then(|| Arc::new(decoder));
        self.0.insert(TypeId::of::<V>(), found.clone());
        Ok(found)
    }
}

/// Refuses a range of bytes of an archive that has a byte of a string in it. `None` if the archive is broken.
pub(crate) fn keep_out(decoder: &Decoder, bytes: &[u8], root: usize, range: Range<usize>) -> Option<Result<()>> {
    let mut watch = Watch {
        start: bytes.as_ptr().addr(),
        range,
        touched: false,
    };
    decoder.visit(bytes, root, &mut watch).ok()?;
    Some(if watch.touched { Err(Error::FieldOfText) } else { Ok(()) })
}

/// Waits for a string in a range.
struct Watch {
    /// Address of the archive's first byte.
    start: usize,
    range: Range<usize>,
    touched: bool,
}

impl Visit for Watch {
    fn str(&mut self, value: &str) {
        let at = value.as_ptr().addr() - self.start;
        self.touched |= at < self.range.end && self.range.start < at + value.len();
    }

    fn only_strings(&self) -> bool {
        true
    }

    fn nothing(&mut self) {}
    fn bool(&mut self, _: bool) {}
    fn char(&mut self, _: char) {}
    fn unsigned(&mut self, _: u64) {}
    fn signed(&mut self, _: i64) {}
    fn wide_unsigned(&mut self, _: u128) {}
    fn wide_signed(&mut self, _: i128) {}
    fn single(&mut self, _: f32) {}
    fn double(&mut self, _: f64) {}
    fn opaque(&mut self, _: &[u8]) {}
    fn begin_list(&mut self, _: usize) {}
    fn element(&mut self) {}
    fn end_list(&mut self) {}
    fn begin_map(&mut self, _: usize, _: bool) {}
    fn key(&mut self) {}
    fn value(&mut self) {}
    fn end_map(&mut self) {}
    fn begin_struct(&mut self) {}
    fn field(&mut self, _: &str) {}
    fn end_struct(&mut self) {}
    fn unit_variant(&mut self, _: &str) {}
    fn begin_variant(&mut self, _: &str) {}
    fn end_variant(&mut self) {}
}
