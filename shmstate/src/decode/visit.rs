//! What is told of a value, in the words that serde has for the same.

/// Is told of a value, piece by piece, in the order of its declaration.
///
/// A newtype and `Some` are told as what is in them, `None` and unit as [`nothing`](Self::nothing): as serde does. What is opened by a `begin_…` is closed
/// by the `end_…` of the same name, unless the bytes turn out to be broken: then nothing more is told.
pub trait Visit {
    /// `()`, a unit struct, `None`.
    fn nothing(&mut self);
    /// A `bool`.
    fn bool(&mut self, value: bool);
    /// A `char`.
    fn char(&mut self, value: char);
    /// An unsigned integer of up to 64 bits.
    fn unsigned(&mut self, value: u64);
    /// A signed integer of up to 64 bits.
    fn signed(&mut self, value: i64);
    /// A `u128`.
    fn wide_unsigned(&mut self, value: u128);
    /// An `i128`.
    fn wide_signed(&mut self, value: i128);
    /// An `f32`.
    fn single(&mut self, value: f32);
    /// An `f64`.
    fn double(&mut self, value: f64);
    /// A string.
    fn str(&mut self, value: &str);
    /// Bytes of which nothing is known.
    fn opaque(&mut self, bytes: &[u8]);
    /// A list, array or tuple of so many elements.
    fn begin_list(&mut self, length: usize);
    /// The next element follows.
    fn element(&mut self);
    /// The list is over.
    fn end_list(&mut self);
    /// A map of so many entries; `text` says that its keys are numbers, strings, or variants without fields: what can be a key in JSON.
    fn begin_map(&mut self, length: usize, text: bool);
    /// A key follows.
    fn key(&mut self);
    /// Its value follows.
    fn value(&mut self);
    /// The map is over.
    fn end_map(&mut self);
    /// A struct with named fields.
    fn begin_struct(&mut self);
    /// The field of that name follows.
    fn field(&mut self, name: &str);
    /// The struct is over.
    fn end_struct(&mut self);
    /// A variant without fields.
    fn unit_variant(&mut self, name: &str);
    /// A variant, whose fields follow as a value: one alone, a list, or a struct.
    fn begin_variant(&mut self, name: &str);
    /// The variant is over.
    fn end_variant(&mut self);

    /// Whether strings are all that it wants to be told: then what holds none is passed over.
    #[doc(hidden)]
    fn only_strings(&self) -> bool {
        false
    }
}
