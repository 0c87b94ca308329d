//! The gathering half of a description: types report themselves to a [`Describer`].
//!
//! A type is known by its `TypeId` while it is gathered, so recursion ends at the second visit. Names are
//! not composed here: that needs all types to be known (see `render`).

use std::{any::TypeId, collections::HashMap, fmt::Debug, marker::PhantomData};

use rkyv::{Archive, with::ArchiveWith};

use super::{Schema, SchemaWith, layout, with};

/// A type within one [`Describer`]. Two descriptions do not share their references.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TypeRef(pub(super) usize);

/// A piece of a type's name.
#[derive(Clone, Debug)]
pub(super) enum Part {
    Text(String),
    Type(TypeRef),
}

#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) name: String,
    /// Bytes from the first byte of the struct or the enum.
    pub(super) offset: usize,
    pub(super) of: TypeRef,
}

#[derive(Clone, Debug)]
pub(super) struct Variant {
    pub(super) name: String,
    pub(super) tag: u8,
    pub(super) fields: Vec<Field>,
}

#[derive(Clone, Debug)]
pub(super) enum Shape {
    Opaque,
    Struct(Vec<Field>),
    Enum(Vec<Variant>),
}

/// One type. A built-in one has a name that no derived type can take, a derived one may need a `#2` (D4).
#[derive(Clone, Debug)]
pub(super) struct Definition {
    pub(super) builtin: bool,
    pub(super) name: Vec<Part>,
    pub(super) size: usize,
    pub(super) align: usize,
    pub(super) shape: Shape,
}

/// Names what a wrapper archives among the known types.
struct Wrapped<W, F: ?Sized>(PhantomData<W>, PhantomData<F>);

/// Gathers the types of one description.
#[derive(Debug)]
pub struct Describer {
    known: HashMap<TypeId, TypeRef>,
    pub(super) definitions: Vec<Definition>,
}

impl Describer {
    /// One for each description: a [`TypeRef`] means nothing to another describer.
    pub(super) fn new() -> Self {
        Self {
            known: HashMap::new(),
            definitions: Vec::new(),
        }
    }

    /// Describes `T` as a struct called `name`; `fill` names its arguments, then its fields. If `T` is
    /// known, `fill` is not called.
    pub fn structure<T: Schema>(&mut self, name: &str, fill: impl FnOnce(&mut Outline<'_>)) -> TypeRef {
        self.define::<T>(|describer| {
            let mut outline = Outline::new(describer);
            fill(&mut outline);
            let Outline { arguments, fields, .. } = outline;
            (false, derived_name(name, arguments), Shape::Struct(fields))
        })
    }

    /// Describes `T` as an enum called `name`; `fill` names its arguments, then its variants. If `T` is
    /// known, `fill` is not called.
    pub fn enumeration<T: Schema>(&mut self, name: &str, fill: impl FnOnce(&mut Outline<'_>)) -> TypeRef {
        self.define::<T>(|describer| {
            let mut outline = Outline::new(describer);
            fill(&mut outline);
            let Outline {
                arguments, variants, ..
            } = outline;
            (false, derived_name(name, arguments), Shape::Enum(variants))
        })
    }

    /// Describes `T` by name, size and alignment alone, for a hand-written archived form. Such a type must
    /// change its name when the meaning of its bytes changes.
    pub fn opaque<T: Schema>(&mut self, name: &str) -> TypeRef {
        self.define::<T>(|_| (false, derived_name(name, Vec::new()), Shape::Opaque))
    }

    /// Describes a type of this module: `shape` gives the pieces of its name and its shape.
    pub(super) fn builtin<T: Schema>(&mut self, shape: impl FnOnce(&mut Describer) -> (Vec<Part>, Shape)) -> TypeRef {
        self.define::<T>(|describer| {
            let (name, shape) = shape(describer);
            (true, name, shape)
        })
    }

    /// Describes what the wrapper `W` archives of a field of type `F` as a struct called `name` with one field, the archived form of
    /// `T`: for an implementation of [`SchemaWith`].
    pub fn wrapped<W, F, T>(&mut self, name: &str) -> TypeRef
    where
        W: ArchiveWith<F, Archived = <T as Archive>::Archived> + 'static,
        F: ?Sized + 'static,
        T: Schema,
    {
        self.wrapper::<W, F, T>(false, name)
    }

    /// Describes what the wrapper `W` archives of a field of type `F` by name, size and alignment alone, like [`opaque`](Self::opaque).
    pub fn wrapped_opaque<W: ArchiveWith<F> + 'static, F: ?Sized + 'static>(&mut self, name: &str) -> TypeRef {
        let layout = layout::size_and_align::<W::Archived>();
        self.define_as(TypeId::of::<Wrapped<W, F>>(), layout, |_| {
            (false, derived_name(name, Vec::new()), Shape::Opaque)
        })
    }

    /// [`wrapped`](Self::wrapped) for the wrappers of this module, whose archived form may be another type of the same bytes.
    pub(super) fn wrapped_in<W, F, T>(&mut self, name: &str) -> TypeRef
    where
        W: ArchiveWith<F> + 'static,
        F: ?Sized + 'static,
        T: Schema,
    {
        const {
            let (wrapped, stored) = (
                layout::size_and_align::<W::Archived>(),
                layout::size_and_align::<T::Archived>(),
            );
            assert!(
                wrapped.0 == stored.0 && wrapped.1 == stored.1,
                "a wrapper stores something else"
            );
        }
        self.wrapper::<W, F, T>(true, name)
    }

    fn wrapper<W, F, T>(&mut self, builtin: bool, name: &str) -> TypeRef
    where
        W: ArchiveWith<F> + 'static,
        F: ?Sized + 'static,
        T: Schema,
    {
        let layout = layout::size_and_align::<W::Archived>();
        self.define_as(TypeId::of::<Wrapped<W, F>>(), layout, |describer| {
            let of = T::describe(describer);
            let stored = Field {
                name: ".0".to_owned(),
                offset: 0,
                of,
            };
            (
                builtin,
                derived_name(name, vec![Part::Type(of)]),
                Shape::Struct(vec![stored]),
            )
        })
    }

    /// Describes what the wrapper `W` archives of a field of type `F` as a built-in type of one argument.
    pub(super) fn container<W, F>(
        &mut self,
        shape: impl FnOnce(&mut Describer) -> (&'static str, TypeRef, &'static str, Shape),
    ) -> TypeRef
    where
        W: ArchiveWith<F> + 'static,
        F: ?Sized + 'static,
    {
        let layout = layout::size_and_align::<W::Archived>();
        self.define_as(TypeId::of::<Wrapped<W, F>>(), layout, |describer| {
            let (open, of, close, shape) = shape(describer);
            (true, with::named(open, of, close), shape)
        })
    }

    fn define<T: Schema>(&mut self, shape: impl FnOnce(&mut Describer) -> (bool, Vec<Part>, Shape)) -> TypeRef {
        self.define_as(TypeId::of::<T>(), layout::size_and_align::<T::Archived>(), shape)
    }

    fn define_as(
        &mut self,
        id: TypeId,
        (size, align): (usize, usize),
        shape: impl FnOnce(&mut Describer) -> (bool, Vec<Part>, Shape),
    ) -> TypeRef {
        if let Some(known) = self.known.get(&id) {
            return *known;
        }
        // The place is taken before the fields are visited, so that they can refer to it.
        let this = TypeRef(self.definitions.len());
        self.known.insert(id, this);
        self.definitions.push(Definition {
            builtin: false,
            name: Vec::new(),
            size,
            align,
            shape: Shape::Opaque,
        });
        let (builtin, name, shape) = shape(self);
        self.definitions[this.0] = Definition {
            builtin,
            name,
            size,
            align,
            shape,
        };
        this
    }
}

/// What a type says about itself, in the order of its declaration.
#[derive(Debug)]
pub struct Outline<'d> {
    describer: &'d mut Describer,
    arguments: Vec<Part>,
    fields: Vec<Field>,
    variants: Vec<Variant>,
    /// The first byte behind the last payload of the last variant.
    end: usize,
}

impl<'d> Outline<'d> {
    fn new(describer: &'d mut Describer) -> Self {
        Self {
            describer,
            arguments: Vec::new(),
            fields: Vec::new(),
            variants: Vec::new(),
            end: 0,
        }
    }

    /// A type argument of a generic type. It is part of the name; it is described if a field holds it.
    pub fn argument<T: Schema>(&mut self) {
        let of = T::describe(self.describer);
        self.arguments.push(Part::Type(of));
    }

    /// A const argument of a generic type, which stands in the name in its `Debug` form.
    pub fn constant(&mut self, value: &dyn Debug) {
        self.arguments.push(Part::Text(format!("{value:?}")));
    }

    /// A field of a struct, `offset` bytes behind its start in the archived form.
    pub fn field<T: Schema>(&mut self, name: &str, offset: usize) {
        let of = T::describe(self.describer);
        self.push_field(name, offset, of);
    }

    /// The same for a field of type `F` that is archived through the wrapper `W`.
    pub fn field_with<W: SchemaWith<F>, F: 'static>(&mut self, name: &str, offset: usize) {
        let of = W::describe_with(self.describer);
        self.push_field(name, offset, of);
    }

    fn push_field(&mut self, name: &str, offset: usize, of: TypeRef) {
        self.fields.push(Field {
            name: name.to_owned(),
            offset,
            of,
        });
    }

    /// The next variant of an enum.
    pub fn variant(&mut self, name: &str, tag: u8) {
        self.variants.push(Variant {
            name: name.to_owned(),
            tag,
            fields: Vec::new(),
        });
        self.end = layout::TAG_SIZE;
    }

    /// The next field of the last variant. Its offset follows from the rule of `repr(u8)`. Without a
    /// variant before it, it is ignored.
    pub fn payload<T: Schema>(&mut self, name: &str) {
        let of = T::describe(self.describer);
        self.push_payload(name, layout::size_and_align::<T::Archived>(), of);
    }

    /// The same for a field of type `F` that is archived through the wrapper `W`.
    pub fn payload_with<W: SchemaWith<F>, F: 'static>(&mut self, name: &str) {
        let of = W::describe_with(self.describer);
        self.push_payload(name, layout::size_and_align::<W::Archived>(), of);
    }

    fn push_payload(&mut self, name: &str, (size, align): (usize, usize), of: TypeRef) {
        if let Some(variant) = self.variants.last_mut() {
            let offset = layout::align_up(self.end, align);
            self.end = offset + size;
            variant.fields.push(Field {
                name: name.to_owned(),
                offset,
                of,
            });
        }
    }
}

/// `Pair<A,B>`, with what would break the grammar replaced: names come from the derive, which checks them, and from hand-written
/// implementations. A name may have its arguments with it: then they stand as they are given.
fn derived_name(name: &str, arguments: Vec<Part>) -> Vec<Part> {
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    let name = name.replace("::", ".");
    let (base, given) = match name.find('<') {
        Some(start) if name.ends_with('>') && arguments.is_empty() => name.split_at(start),
        _ => (name.as_str(), ""),
    };
    let mut text: String = base.chars().map(|c| if allowed(c) { c } else { '_' }).collect();
    text.extend(given.chars().map(|c| if c.is_control() || c == ' ' { '_' } else { c }));
    let mut parts = vec![Part::Text(text)];
    if !arguments.is_empty() {
        for (i, argument) in arguments.into_iter().enumerate() {
            parts.push(Part::Text(if i == 0 { "<" } else { "," }.to_owned()));
            parts.push(argument);
        }
        parts.push(Part::Text(">".to_owned()));
    }
    parts
}
