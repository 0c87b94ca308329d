//! A value that was told, kept as a tree: for who compares two of them.

use super::{Broken, Decoder, KeyShape, Visit};
use std::fmt;

/// A value read by its description.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "they are what they are called")]
pub enum Value {
    Nothing,
    Bool(bool),
    Char(char),
    Unsigned(u128),
    Signed(i128),
    Single(f32),
    Double(f64),
    Str(String),
    Opaque(Vec<u8>),
    List(Vec<Value>),
    /// Entries in the order of their keys, whatever order the archive has them in.
    Map(Vec<(Value, Value)>),
    Struct(Vec<(String, Value)>),
    /// A variant with its fields; `Nothing` if it has none.
    Variant(String, Box<Value>),
}

/// Floats are equal if their bits are: a value is equal to itself.
impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Nothing, Self::Nothing) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Char(a), Self::Char(b)) => a == b,
            (Self::Unsigned(a), Self::Unsigned(b)) => a == b,
            (Self::Signed(a), Self::Signed(b)) => a == b,
            (Self::Single(a), Self::Single(b)) => a.to_bits() == b.to_bits(),
            (Self::Double(a), Self::Double(b)) => a.to_bits() == b.to_bits(),
            (Self::Str(a), Self::Str(b)) => a == b,
            (Self::Opaque(a), Self::Opaque(b)) => a == b,
            (Self::List(a), Self::List(b)) => a == b,
            (Self::Map(a), Self::Map(b)) => a == b,
            (Self::Struct(a), Self::Struct(b)) => a == b,
            (Self::Variant(a, x), Self::Variant(b, y)) => a == b && x == y,
            _ => false,
        }
    }
}

/// In the manner of Rust: `{name: "ada", score: 7}`.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn listed<T>(
            f: &mut fmt::Formatter<'_>,
            brackets: [&str; 2],
            items: &[T],
            each: impl Fn(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
        ) -> fmt::Result {
            f.write_str(brackets[0])?;
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    f.write_str(", ")?;
                }
                each(f, item)?;
            }
            f.write_str(brackets[1])
        }
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Char(value) => write!(f, "{value:?}"),
            Self::Unsigned(value) => write!(f, "{value}"),
            Self::Signed(value) => write!(f, "{value}"),
            Self::Single(value) => write!(f, "{value:?}"),
            Self::Double(value) => write!(f, "{value:?}"),
            Self::Str(value) => write!(f, "{value:?}"),
            Self::Opaque(bytes) => {
                f.write_str("0x")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
            Self::List(items) => listed(f, ["[", "]"], items, |f, item| item.fmt(f)),
            Self::Map(entries) => listed(f, ["{", "}"], entries, |f, (key, value)| write!(f, "{key}: {value}")),
            Self::Struct(fields) => listed(f, ["{", "}"], fields, |f, (name, value)| write!(f, "{name}: {value}")),
            Self::Variant(name, fields) if matches!(**fields, Self::Nothing) => f.write_str(name),
            Self::Variant(name, fields) => write!(f, "{name}({fields})"),
        }
    }
}

impl Decoder {
    /// The value whose own bytes start at `root`.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn value(&self, bytes: &[u8], root: usize) -> Result<Value, Broken> {
        let mut builder = Builder::default();
        self.visit(bytes, root, &mut builder)?;
        Ok(builder.done())
    }
}

impl KeyShape {
    /// A stored key.
    pub(crate) fn value(&self, bytes: &[u8]) -> Value {
        let mut builder = Builder::default();
        self.visit(bytes, &mut builder);
        builder.done()
    }
}

/// What is open.
#[derive(Debug)]
enum Open {
    List(Vec<Value>),
    Map(Vec<(Value, Value)>, Option<Value>),
    Struct(Vec<(String, Value)>, String),
    Variant(String),
}

/// Keeps what it is told.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    open: Vec<Open>,
    done: Option<Value>,
}

impl Builder {
    pub(crate) fn done(self) -> Value {
        self.done.unwrap_or(Value::Nothing)
    }

    fn put(&mut self, value: Value) {
        match self.open.last_mut() {
            None => self.done = Some(value),
            Some(Open::List(items)) => items.push(value),
            Some(Open::Map(_, key @ None)) => *key = Some(value),
            Some(Open::Map(entries, key)) => entries.extend(key.take().map(|key| (key, value))),
            Some(Open::Struct(fields, name)) => fields.push((std::mem::take(name), value)),
            Some(Open::Variant(_)) => {
                if let Some(Open::Variant(name)) = self.open.pop() {
                    // Closed by `end_variant`, which then finds it done.
                    self.put(Value::Variant(name, Box::new(value)));
                }
            }
        }
    }

    fn close(&mut self) {
        let value = match self.open.pop() {
            Some(Open::List(items)) => Value::List(items),
            Some(Open::Map(mut entries, _)) => {
                entries.sort_by_cached_key(|(key, _)| key.to_string());
                Value::Map(entries)
            }
            Some(Open::Struct(fields, _)) => Value::Struct(fields),
            Some(Open::Variant(_)) | None => return,
        };
        self.put(value);
    }
}

impl Visit for Builder {
    fn nothing(&mut self) {
        self.put(Value::Nothing);
    }
    fn bool(&mut self, value: bool) {
        self.put(Value::Bool(value));
    }
    fn char(&mut self, value: char) {
        self.put(Value::Char(value));
    }
    fn unsigned(&mut self, value: u64) {
        self.put(Value::Unsigned(value.into()));
    }
    fn signed(&mut self, value: i64) {
        self.put(Value::Signed(value.into()));
    }
    fn wide_unsigned(&mut self, value: u128) {
        self.put(Value::Unsigned(value));
    }
    fn wide_signed(&mut self, value: i128) {
        self.put(Value::Signed(value));
    }
    fn single(&mut self, value: f32) {
        self.put(Value::Single(value));
    }
    fn double(&mut self, value: f64) {
        self.put(Value::Double(value));
    }
    fn str(&mut self, value: &str) {
        self.put(Value::Str(value.to_owned()));
    }
    fn opaque(&mut self, bytes: &[u8]) {
        self.put(Value::Opaque(bytes.to_vec()));
    }
    fn begin_list(&mut self, _length: usize) {
        self.open.push(Open::List(Vec::new()));
    }
    fn element(&mut self) {}
    fn end_list(&mut self) {
        self.close();
    }
    fn begin_map(&mut self, _length: usize, _text: bool) {
        self.open.push(Open::Map(Vec::new(), None));
    }
    fn key(&mut self) {}
    fn value(&mut self) {}
    fn end_map(&mut self) {
        self.close();
    }
    fn begin_struct(&mut self) {
        self.open.push(Open::Struct(Vec::new(), String::new()));
    }
    fn field(&mut self, name: &str) {
        if let Some(Open::Struct(_, field)) = self.open.last_mut() {
            name.clone_into(field);
        }
    }
    fn end_struct(&mut self) {
        self.close();
    }
    fn unit_variant(&mut self, name: &str) {
        self.put(Value::Variant(name.to_owned(), Box::new(Value::Nothing)));
    }
    fn begin_variant(&mut self, name: &str) {
        self.open.push(Open::Variant(name.to_owned()));
    }
    fn end_variant(&mut self) {}
}

/// Hears nothing.
#[derive(Debug)]
pub(super) struct Deaf;

impl Visit for Deaf {
    fn nothing(&mut self) {}
    fn bool(&mut self, _: bool) {}
    fn char(&mut self, _: char) {}
    fn unsigned(&mut self, _: u64) {}
    fn signed(&mut self, _: i64) {}
    fn wide_unsigned(&mut self, _: u128) {}
    fn wide_signed(&mut self, _: i128) {}
    fn single(&mut self, _: f32) {}
    fn double(&mut self, _: f64) {}
    fn str(&mut self, _: &str) {}
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
