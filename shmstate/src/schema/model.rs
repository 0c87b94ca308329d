//! A description read back from its text: what a tool knows of a type that it was not built with.
//!
//! - **K1** Nothing of the text is trusted. Whoever holds a [`Model`] may rely on this: every type that is named is there; a field lies
//!   within its struct or variant and behind the field before it; no type holds itself but behind a pointer; sizes and
//!   alignments are below [`MAX_SIZE`] and [`MAX_ALIGN`].
//! - **K2** What a built-in type is follows from its name, because no derived type can have that name (D4). A name that is not known
//!   is [`Form::Opaque`]: its bytes can be shown, not read.
//!
//! It does not know archives: how the bytes of a form are read stands in `dump`.

use std::collections::HashMap;
use std::fmt;

use super::{description::header, parse};

/// Largest type that is believed, in bytes.
pub(super) const MAX_SIZE: usize = 1 << 28;
/// Largest alignment that is believed.
pub(super) const MAX_ALIGN: usize = 16;
/// Longest chain of types within types, and of types that are written out where they are named.
const MAX_DEPTH: usize = 256;

/// A type within one [`Model`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct TypeIndex(pub(super) usize);

impl TypeIndex {
    /// Its place among the types of its model.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0
    }
}

/// A field of a struct, or of an enum's variant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// Its name; `.0`, `.1` … where fields have numbers.
    pub name: String,
    /// Bytes from the first byte of the struct or the enum.
    pub offset: usize,
    /// Its type.
    pub of: TypeIndex,
}

/// A variant of an enum.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// The byte at the enum's start that says it is this one.
    pub tag: u8,
    /// Its fields.
    pub fields: Vec<Member>,
}

/// A number, `bool` or `char`: what lies in one word of its own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs, reason = "they are what they are called")]
pub enum Scalar {
    Bool,
    Char,
    U8,
    U16,
    U32,
    U64,
    U128,
    I8,
    I16,
    I32,
    I64,
    I128,
    F32,
    F64,
}

impl Scalar {
    /// All of them with their names.
    pub(crate) const ALL: [(&'static str, Self); 14] = [
        ("bool", Self::Bool),
        ("char", Self::Char),
        ("u8", Self::U8),
        ("u16", Self::U16),
        ("u32", Self::U32),
        ("u64", Self::U64),
        ("u128", Self::U128),
        ("i8", Self::I8),
        ("i16", Self::I16),
        ("i32", Self::I32),
        ("i64", Self::I64),
        ("i128", Self::I128),
        ("f32", Self::F32),
        ("f64", Self::F64),
    ];

    /// The scalar of that name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, scalar)| *scalar)
    }

    /// Bytes of it.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::Bool | Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::Char | Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
            Self::U128 | Self::I128 => 16,
        }
    }
}

/// What a type is made of.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Form {
    /// No bytes and no meaning: `()`, `PhantomData`.
    Nothing,
    /// A number, `bool` or `char`.
    Scalar(Scalar),
    /// `String`: in its place if it is short.
    String,
    /// `Box<str>`.
    BoxedStr,
    /// `Box<T>`.
    Boxed(TypeIndex),
    /// `Option<Box<T>>` through the wrapper `Niche`: a pointer that leads nowhere for `None`.
    OptionBox(TypeIndex),
    /// `Vec<T>`.
    Vec(TypeIndex),
    /// `Box<[T]>`.
    BoxedSlice(TypeIndex),
    /// `[T; N]`.
    Array(TypeIndex, usize),
    /// `Option<T>`: the payload lies so many bytes behind the tag.
    Option(TypeIndex, usize),
    /// A tuple.
    Tuple(Vec<Member>),
    /// `BTreeMap<K, V>`.
    BTreeMap(TypeIndex, TypeIndex),
    /// `HashMap<K, V>`.
    HashMap(TypeIndex, TypeIndex),
    /// A struct that derives `Schema`, or a field's `with` wrapper.
    Struct(Vec<Member>),
    /// An enum that derives `Schema`.
    Enum(Vec<Case>),
    /// Bytes of which nothing but their number is known: a description written by hand.
    Opaque,
}

/// A type as a description has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Type {
    /// Its name with its arguments.
    pub name: String,
    /// Bytes of its archived form.
    pub size: usize,
    /// What that is aligned to.
    pub align: usize,
    /// What it is made of.
    pub form: Form,
}

/// A description that was read. The text comes from a region or a file, so nothing in it is trusted (K1).
///
/// ```
/// use shmstate::schema::{Description, Form, Model};
///
/// let model = Model::read(Description::of::<Vec<(u8, f64)>>().text())?;
/// let Form::Vec(element) = model.root().form else { panic!("a Vec") };
/// assert_eq!(model.get(element).name, "(u8,f64)");
/// # Ok::<(), shmstate::schema::Unreadable>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Model {
    name: String,
    version: u16,
    layout: String,
    types: Vec<Type>,
}

/// Why a text is no description that this version of the library reads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unreadable {
    /// Line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: &'static str,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} of the description: {}", self.line, self.why)
    }
}

impl std::error::Error for Unreadable {}

impl Model {
    /// Reads the text of a description.
    ///
    /// # Errors
    /// [`Unreadable`]: the text is damaged, or written by a later version of the library.
    pub fn read(text: &str) -> Result<Self, Unreadable> {
        let at = |line, why| Unreadable { line, why };
        let (name, version) = header(text).ok_or(at(1, "no header of a format that is known"))?;
        let layout = text.lines().nth(1).unwrap_or_default();
        if !layout.starts_with("layout ") {
            return Err(at(2, "no layout"));
        }
        let types = parse::types(text)?;
        let model = Self {
            name: name.to_owned(),
            version,
            layout: layout.to_owned(),
            types,
        };
        model.check()?;
        Ok(model)
    }

    /// The name of the described type.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its declared version.
    #[must_use]
    pub fn version(&self) -> u16 {
        self.version
    }

    /// Whether the archives are laid out as this build of the library lays them out: of others the fields can be named,
    /// not read.
    #[must_use]
    pub fn has_this_layout(&self) -> bool {
        self.layout == super::layout::layout_line()
    }

    pub(crate) fn layout(&self) -> &str {
        &self.layout
    }

    /// The described type.
    #[must_use]
    pub fn root(&self) -> &Type {
        // There is one: an empty description is refused.
        &self.types[0]
    }

    /// Where the described type is.
    #[must_use]
    pub fn root_index(&self) -> TypeIndex {
        TypeIndex(0)
    }

    /// A type of this model.
    ///
    /// # Panics
    /// If the index is another model's and this one has fewer types.
    #[must_use]
    pub fn get(&self, index: TypeIndex) -> &Type {
        &self.types[index.0]
    }

    /// All types with their indices, the described one first.
    pub fn types(&self) -> impl Iterator<Item = (TypeIndex, &Type)> {
        self.types.iter().enumerate().map(|(i, of)| (TypeIndex(i), of))
    }

    /// The types that lie within a type, each with its place, without those behind pointers.
    fn inside(&self, form: &Form) -> Vec<TypeIndex> {
        match form {
            Form::Struct(fields) | Form::Tuple(fields) => fields.iter().map(|field| field.of).collect(),
            Form::Enum(cases) => cases
                .iter()
                .flat_map(|case| &case.fields)
                .map(|field| field.of)
                .collect(),
            Form::Array(of, _) | Form::Option(of, _) => vec![*of],
            _ => Vec::new(),
        }
    }

    /// All types that a type names.
    pub(crate) fn named_by(&self, form: &Form) -> Vec<TypeIndex> {
        match form {
            Form::Boxed(of) | Form::OptionBox(of) | Form::Vec(of) | Form::BoxedSlice(of) => vec![*of],
            Form::BTreeMap(key, value) | Form::HashMap(key, value) => vec![*key, *value],
            other => self.inside(other),
        }
    }

    /// K1: fields within their types, one behind the other, and no type within itself.
    fn check(&self) -> Result<(), Unreadable> {
        let wrong = |why| Unreadable { line: 1, why };
        for of in &self.types {
            let fit = |fields: &[Member], mut from: usize| {
                fields.iter().all(|field| {
                    let fits = field.offset >= from && field.offset <= of.size;
                    from = field.offset.saturating_add(self.get(field.of).size);
                    fits && from <= of.size
                })
            };
            let sound = match &of.form {
                Form::Struct(fields) | Form::Tuple(fields) => fit(fields, 0),
                Form::Enum(cases) => of.size >= 1 && cases.iter().all(|case| fit(&case.fields, 1)),
                Form::Option(payload, offset) => {
                    *offset >= 1 && offset.saturating_add(self.get(*payload).size) <= of.size
                }
                Form::Array(element, length) => self.get(*element).size.checked_mul(*length) == Some(of.size),
                Form::Scalar(scalar) => of.size == scalar.size(),
                Form::Nothing => of.size == 0,
                Form::String | Form::BoxedStr | Form::Vec(_) | Form::BoxedSlice(_) | Form::BTreeMap(..) => of.size == 8,
                Form::Boxed(_) | Form::OptionBox(_) => of.size == 4,
                Form::HashMap(..) => of.size == 12,
                Form::Opaque => true,
            };
            // Other widths of pointers have other sizes; they are not read anyway.
            if !sound && self.has_this_layout() {
                return Err(wrong("a type that is not as large as what is in it"));
            }
        }
        let inside = |of: &Type| self.inside(&of.form);
        let deepest = self
            .longest(|_| true, inside)
            .ok_or(wrong("a type that holds itself"))?;
        // Struct and enum have names that what is in them can go back to; the others are written out where they are named.
        let written_out = |of: &Type| !matches!(of.form, Form::Struct(_) | Form::Enum(_));
        let longest = self.longest(written_out, |of| self.named_by(&of.form));
        match longest.ok_or(wrong("a type without a name of its own that names itself"))? {
            longest if longest.max(deepest) > MAX_DEPTH => Err(wrong("types within types without end")),
            _ => Ok(()),
        }
    }

    /// How many types the longest chain from one to the next has, of those that `counts` says yes to; `None` if one comes back to itself.
    /// Without recursion.
    fn longest(&self, counts: impl Fn(&Type) -> bool, next: impl Fn(&Type) -> Vec<TypeIndex>) -> Option<usize> {
        let next = |i: usize| {
            let of = &self.types[i];
            let all = if counts(of) { next(of) } else { Vec::new() };
            all.into_iter().filter(|to| counts(&self.types[to.0]))
        };
        // How many name it, and have not been taken away yet.
        let mut named = vec![0usize; self.types.len()];
        (0..named.len()).flat_map(next).for_each(|to| named[to.0] += 1);
        let mut free: Vec<usize> = (0..named.len()).filter(|i| named[*i] == 0).collect();
        let (mut depth, mut taken, mut longest) = (vec![1usize; named.len()], 0, 0);
        while let Some(i) = free.pop() {
            taken += 1;
            longest = longest.max(depth[i]);
            for to in next(i) {
                depth[to.0] = depth[to.0].max(depth[i] + 1);
                named[to.0] -= 1;
                if named[to.0] == 0 {
                    free.push(to.0);
                }
            }
        }
        (taken == self.types.len()).then_some(longest)
    }
}

/// The indices of types by their names.
pub(super) type Names<'t> = HashMap<&'t str, TypeIndex>;
