//! The walk through a value, from its description and its bytes.

use super::Visit;
use super::read::{Broken, Bytes, Result, broken};
use crate::archive::MAX_NESTING;
use crate::schema::{Case, Form, Member, Model, Scalar, TypeIndex, Unreadable};

/// Most elements without bytes (`Vec<()>`) of one record that are told.
pub const MOST_EMPTY: usize = 1 << 16;

/// Reads archives of one type by its description.
///
/// ```
/// use shmstate::decode::{Decoder, Value};
/// use shmstate::schema::Description;
///
/// #[derive(rkyv::Archive, rkyv::Serialize, shmstate::Schema)]
/// struct Player { name: String, score: u32 }
///
/// let archive = rkyv::to_bytes::<rkyv::rancor::Error>(&Player { name: "ada".into(), score: 7 })?;
/// let decoder = Decoder::new(Description::of::<Player>().text())?;
/// let value = decoder.value(&archive, archive.len() - decoder.size())?;
/// assert_eq!(value.to_string(), r#"{name: "ada", score: 7}"#);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Decoder {
    model: Model,
    /// By type: whether it can be the key of a map in JSON.
    text: Vec<bool>,
    /// By type: whether a value of it may hold, or point to, a string.
    strings: Vec<bool>,
}

impl Decoder {
    /// For archives of the type that is described.
    ///
    /// # Errors
    /// [`Unreadable`] if the description is none, or of archives that are laid out in another way than those of this build.
    pub fn new(description: &str) -> std::result::Result<Self, Unreadable> {
        let model = Model::read(description)?;
        if !model.has_this_layout() {
            return Err(Unreadable {
                line: 2,
                why: "archives of another layout than this program reads",
            });
        }
        let text = model.types().map(|(of, _)| is_text(&model, of)).collect();
        let strings = with_strings(&model);
        Ok(Self { model, text, strings })
    }

    /// The description that was read.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Bytes of the type itself, without what it points to.
    #[must_use]
    pub fn size(&self) -> usize {
        self.model.root().size
    }

    /// Whether a value may hold a string.
    pub(crate) fn has_strings(&self) -> bool {
        self.strings[self.model.root_index().index()]
    }

    /// Tells `visit` of the value whose own bytes start at `root`.
    ///
    /// # Errors
    /// [`Broken`]; then what was told is the beginning of a value.
    pub fn visit<V: Visit>(&self, bytes: &[u8], root: usize, visit: &mut V) -> std::result::Result<(), Broken> {
        self.visit_at(self.model.root_index(), bytes, root, visit)
    }

    /// The same of a type within it.
    pub(super) fn visit_at<V: Visit>(&self, of: TypeIndex, bytes: &[u8], at: usize, visit: &mut V) -> Result<()> {
        let mut walk = Walk {
            decoder: self,
            bytes: Bytes::new(bytes),
            empty: MOST_EMPTY,
            depth: 0,
            visit,
        };
        walk.value(of, at)
    }
}

/// Which types may hold, or point to, a string: those that are one, and those that hold such a type.
fn with_strings(model: &Model) -> Vec<bool> {
    let mut strings: Vec<bool> = model
        .types()
        .map(|(_, of)| matches!(of.form, Form::String | Form::BoxedStr))
        .collect();
    // A type may hold itself, so in rounds, until one finds no more: as many as types lie within one another.
    loop {
        let mut more = false;
        for (index, of) in model.types() {
            if !strings[index.index()] && holds(&of.form, |inner| strings[inner.index()]) {
                strings[index.index()] = true;
                more = true;
            }
        }
        if !more {
            return strings;
        }
    }
}

/// Whether any type that a form is made of is such a one.
fn holds(form: &Form, is_it: impl Fn(TypeIndex) -> bool) -> bool {
    let any = |fields: &[Member]| fields.iter().any(|field| is_it(field.of));
    match form {
        Form::Nothing | Form::Scalar(_) | Form::String | Form::BoxedStr | Form::Opaque => false,
        Form::Boxed(of) | Form::OptionBox(of) | Form::Vec(of) | Form::BoxedSlice(of) => is_it(*of),
        Form::Array(of, _) | Form::Option(of, _) => is_it(*of),
        Form::BTreeMap(key, value) | Form::HashMap(key, value) => is_it(*key) || is_it(*value),
        Form::Struct(fields) | Form::Tuple(fields) => any(fields),
        Form::Enum(cases) => cases.iter().any(|case| any(&case.fields)),
    }
}

/// Whether a type is a number, a string, or an enum without fields.
fn is_text(model: &Model, mut of: TypeIndex) -> bool {
    // Newtypes do not hold themselves, so this ends.
    loop {
        match &model.get(of).form {
            Form::Scalar(_) | Form::String | Form::BoxedStr => return true,
            Form::Enum(cases) => return cases.iter().all(|case| case.fields.is_empty()),
            Form::Struct(fields) => match fields.as_slice() {
                [field] if field.name.starts_with('.') => of = field.of,
                _ => return false,
            },
            _ => return false,
        }
    }
}

/// What goes through the value.
pub(super) struct Walk<'w, 'b, V> {
    pub(super) decoder: &'w Decoder,
    pub(super) bytes: Bytes<'b>,
    /// Elements without bytes that may still come (Y2).
    empty: usize,
    depth: usize,
    pub(super) visit: &'w mut V,
}

impl<V: Visit> Walk<'_, '_, V> {
    pub(super) fn size_of(&self, of: TypeIndex) -> usize {
        self.decoder.model.get(of).size
    }

    /// One level deeper.
    #[inline]
    pub(super) fn deeper(&mut self, at: usize) -> Result<()> {
        self.depth += 1;
        if self.depth > MAX_NESTING {
            return Err(broken("end of the nesting", at));
        }
        Ok(())
    }

    pub(super) fn back(&mut self) {
        self.depth -= 1;
    }

    /// The value of type `of` at `at`.
    pub(super) fn value(&mut self, of: TypeIndex, at: usize) -> Result<()> {
        let decoder = self.decoder;
        if self.visit.only_strings() && !decoder.strings[of.index()] {
            return Ok(());
        }
        let found = decoder.model.get(of);
        if found.size == 0 {
            let left = self.empty.checked_sub(1);
            self.empty = left.ok_or_else(|| broken("end of values without bytes", at))?;
        }
        match &found.form {
            Form::Scalar(scalar) => return self.scalar(*scalar, at),
            Form::String => {
                let text = self.bytes.string(at)?;
                self.visit.str(text);
                return Ok(());
            }
            Form::BoxedStr => {
                let text = self.bytes.boxed_str(at)?;
                self.visit.str(text);
                return Ok(());
            }
            Form::Nothing => {
                self.visit.nothing();
                return Ok(());
            }
            _ => {}
        }
        self.deeper(at)?;
        match &found.form {
            Form::Struct(fields) => self.fields(fields, at)?,
            Form::Tuple(fields) => self.numbered(fields, at)?,
            Form::Enum(cases) => self.variant(cases, at)?,
            Form::Option(payload, offset) => match self.bytes.byte(at, "Option")? {
                0 => self.visit.nothing(),
                1 => self.value(*payload, at + offset)?,
                _ => return Err(broken("Option", at)),
            },
            Form::Boxed(inner) => {
                let target = self.bytes.target(at, "Box")?.unwrap_or(at.wrapping_add(1));
                self.bytes.claim(target, self.size_of(*inner), "Box")?;
                self.value(*inner, target)?;
            }
            Form::OptionBox(inner) => match self.bytes.target(at, "Option<Box>")? {
                None => self.visit.nothing(),
                Some(target) => {
                    self.bytes.claim(target, self.size_of(*inner), "Box")?;
                    self.value(*inner, target)?;
                }
            },
            Form::Vec(element) | Form::BoxedSlice(element) => {
                let (start, length) = self.bytes.slice(at, "Vec")?;
                let size = self.size_of(*element).checked_mul(length);
                self.bytes.claim(start, size.ok_or_else(|| broken("Vec", at))?, "Vec")?;
                self.elements(*element, start, length)?;
            }
            Form::Array(element, length) => self.elements(*element, at, *length)?,
            Form::BTreeMap(key, value) => self.btree(*key, *value, at)?,
            Form::HashMap(key, value) => self.hash(*key, *value, at)?,
            // What was told above, and what a later version may know.
            _ => {
                let bytes = self.bytes.get(at, found.size, "bytes")?;
                self.visit.opaque(bytes);
            }
        }
        self.back();
        Ok(())
    }

    #[inline]
    fn scalar(&mut self, scalar: Scalar, at: usize) -> Result<()> {
        let (bytes, visit) = (&self.bytes, &mut *self.visit);
        const WHAT: &str = "number";
        match scalar {
            Scalar::Bool => match bytes.byte(at, "bool")? {
                0 => visit.bool(false),
                1 => visit.bool(true),
                _ => return Err(broken("bool", at)),
            },
            Scalar::Char => {
                let char = char::from_u32(bytes.word(at, "char")?);
                visit.char(char.ok_or_else(|| broken("char", at))?);
            }
            Scalar::U8 => visit.unsigned(bytes.byte(at, WHAT)?.into()),
            Scalar::U16 => visit.unsigned(u16::from_le_bytes(bytes.array(at, WHAT)?).into()),
            Scalar::U32 => visit.unsigned(u32::from_le_bytes(bytes.array(at, WHAT)?).into()),
            Scalar::U64 => visit.unsigned(u64::from_le_bytes(bytes.array(at, WHAT)?)),
            Scalar::U128 => visit.wide_unsigned(u128::from_le_bytes(bytes.array(at, WHAT)?)),
            Scalar::I8 => visit.signed(i8::from_le_bytes(bytes.array(at, WHAT)?).into()),
            Scalar::I16 => visit.signed(i16::from_le_bytes(bytes.array(at, WHAT)?).into()),
            Scalar::I32 => visit.signed(i32::from_le_bytes(bytes.array(at, WHAT)?).into()),
            Scalar::I64 => visit.signed(i64::from_le_bytes(bytes.array(at, WHAT)?)),
            Scalar::I128 => visit.wide_signed(i128::from_le_bytes(bytes.array(at, WHAT)?)),
            Scalar::F32 => visit.single(f32::from_le_bytes(bytes.array(at, WHAT)?)),
            Scalar::F64 => visit.double(f64::from_le_bytes(bytes.array(at, WHAT)?)),
        }
        Ok(())
    }

    fn elements(&mut self, element: TypeIndex, start: usize, length: usize) -> Result<()> {
        let size = self.size_of(element);
        if size == 0 {
            let left = self.empty.checked_sub(length);
            self.empty = left.ok_or_else(|| broken("end of a list of nothing", start))?;
        }
        self.visit.begin_list(length);
        for i in 0..length {
            self.visit.element();
            // Inside what was claimed, or of the type that holds it.
            self.value(element, start + i * size)?;
        }
        self.visit.end_list();
        Ok(())
    }

    /// The fields of a struct or a variant.
    fn fields(&mut self, fields: &[Member], at: usize) -> Result<()> {
        if fields.first().is_some_and(|field| field.name.starts_with('.')) {
            return match fields {
                [one] => self.value(one.of, at + one.offset),
                _ => self.numbered(fields, at),
            };
        }
        if fields.is_empty() {
            self.visit.nothing();
            return Ok(());
        }
        self.visit.begin_struct();
        for field in fields {
            self.visit.field(&field.name);
            self.value(field.of, at + field.offset)?;
        }
        self.visit.end_struct();
        Ok(())
    }

    fn numbered(&mut self, fields: &[Member], at: usize) -> Result<()> {
        self.visit.begin_list(fields.len());
        for field in fields {
            self.visit.element();
            self.value(field.of, at + field.offset)?;
        }
        self.visit.end_list();
        Ok(())
    }

    fn variant(&mut self, cases: &[Case], at: usize) -> Result<()> {
        let tag = self.bytes.byte(at, "enum")?;
        let case = case_of(cases, tag).ok_or_else(|| broken("variant of an enum", at))?;
        if case.fields.is_empty() {
            self.visit.unit_variant(&case.name);
            return Ok(());
        }
        self.visit.begin_variant(&case.name);
        self.fields(&case.fields, at)?;
        self.visit.end_variant();
        Ok(())
    }

    /// Says that a map begins.
    pub(super) fn begin_map(&mut self, length: usize, key: TypeIndex) {
        let text = self.decoder.text.get(key.index()).copied().unwrap_or_default();
        self.visit.begin_map(length, text);
    }
}

/// The variant with that tag; as a rule they are numbered from 0.
pub(super) fn case_of(cases: &[Case], tag: u8) -> Option<&Case> {
    match cases.get(usize::from(tag)) {
        Some(case) if case.tag == tag => Some(case),
        _ => cases.iter().find(|case| case.tag == tag),
    }
}
