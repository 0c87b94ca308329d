//! Rust types that would read what a description describes: with the same layout, and with the same fingerprint.
//!
//! - **W1** Each derived type becomes one type of its own. What was an instance of a generic type (`Pair<u8,f64>`) becomes a plain
//!   struct that is called so in its `#[schema(name = …)]`; a field's wrapper (`with.AsBox<Box<u32>>`) becomes its attribute again, on a type
//!   that the wrapper takes.
//! - **W2** Names come from a text that is not trusted: what is no identifier of Rust is made one, and the text's own name stands in a
//!   string.
//! - **W3** A type that was described by hand is unknown but for its size: a comment says so where it is used.

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Write;

use super::model::{Case, Form, Member, Model, Type, TypeIndex};

/// What the derives of a type that holds itself must be told (rkyv's own documentation has the same).
const RECURSIVE: &str = "#[rkyv(
    serialize_bounds(__S: rkyv::ser::Writer + rkyv::ser::Allocator, __S::Error: rkyv::rancor::Source),
    deserialize_bounds(__D::Error: rkyv::rancor::Source),
    bytecheck(bounds(__C: rkyv::validation::ArchiveContext, __C::Error: rkyv::rancor::Source))
)]
";

/// Words that cannot be the name of a type or a field.
const KEYWORDS: &[&str] = &[
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "do", "dyn", "else", "enum",
    "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match", "mod", "move",
    "mut", "override", "priv", "pub", "ref", "return", "static", "struct", "trait", "true", "try", "type", "typeof",
    "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];
/// Words that not even `r#` makes a name.
const NO_NAMES: &[&str] = &["self", "Self", "super", "crate", "_"];

impl Model {
    /// Rust source of types that read these records.
    ///
    /// ```
    /// use shmstate::schema::{Description, Model};
    ///
    /// #[derive(rkyv::Archive, shmstate::Schema)]
    /// #[schema(version = 2)]
    /// struct Player { name: String, scores: Vec<(u32, f32)> }
    ///
    /// let model = Model::read(Description::of::<Player>().text())?;
    /// assert_eq!(model.rust(), "\
    /// #[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize, shmstate::Schema)]
    /// #[schema(version = 2)]
    /// pub struct Player {
    ///     pub name: String,
    ///     pub scores: Vec<(u32, f32)>,
    /// }
    /// ");
    /// # Ok::<(), shmstate::schema::Unreadable>(())
    /// ```
    #[must_use]
    pub fn rust(&self) -> String {
        Writer::new(self).all()
    }

    /// The type of the records, as [`rust`](Self::rust) calls it.
    #[must_use]
    pub fn rust_name(&self) -> String {
        Writer::new(self).expression(self.root_index())
    }
}

struct Writer<'m> {
    model: &'m Model,
    /// Of derived types.
    names: HashMap<TypeIndex, String>,
    /// Types that keys of maps consist of, which are compared and hashed.
    keys: HashSet<TypeIndex>,
    /// How many types may still be written out: tuples of tuples grow without end.
    left: Cell<usize>,
}

/// How many types are written out in all.
const MOST_WRITTEN: usize = 1 << 17;

/// How the names of wrappers begin.
const WRAPPERS: &str = "with.";

/// A field's type and the wrapper that it is archived through.
struct Written {
    with: Option<String>,
    of: String,
}

/// A name of Rust, made of what stands in a description.
fn identifier(text: &str) -> String {
    let mut name: String = text
        .chars()
        .map(|c| if c.is_alphanumeric() || c == '_' { c } else { '_' })
        .collect();
    if name.starts_with(|c: char| !(c.is_alphabetic() || c == '_')) {
        name.insert(0, '_');
    }
    if NO_NAMES.contains(&name.as_str()) {
        name.push('_');
    }
    name
}

/// The same where a keyword can stand.
fn field_name(text: &str) -> String {
    let name = identifier(text);
    if KEYWORDS.contains(&name.as_str()) {
        format!("r#{name}")
    } else {
        name
    }
}

/// What stands in the description before `#2`.
fn own_name(name: &str) -> &str {
    match name.rsplit_once('#') {
        Some((own, number)) if number.parse::<u32>().is_ok() => own,
        _ => name,
    }
}

impl<'m> Writer<'m> {
    fn new(model: &'m Model) -> Self {
        let (mut names, mut taken) = (HashMap::new(), HashSet::new());
        for (index, of) in model.types() {
            if !matches!(of.form, Form::Struct(_) | Form::Enum(_)) || of.name.starts_with(WRAPPERS) {
                continue;
            }
            // `Pair<u8,f64>` becomes `PairU8F64`.
            let mut name = String::new();
            for (i, part) in own_name(&of.name)
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .enumerate()
            {
                let mut chars = part.chars();
                match chars.next() {
                    Some(first) if i > 0 => name.extend(first.to_uppercase().chain(chars)),
                    Some(first) => name.extend([first].into_iter().chain(chars)),
                    None => {}
                }
            }
            let base = identifier(&name);
            let base = if KEYWORDS.contains(&base.as_str()) {
                base + "_"
            } else {
                base
            };
            let mut name = base.clone();
            let mut number = 1;
            while !taken.insert(name.clone()) {
                number += 1;
                name = format!("{base}{number}");
            }
            names.insert(index, name);
        }
        let mut keys = HashSet::new();
        let mut open: Vec<TypeIndex> = model
            .types()
            .filter_map(|(_, of)| match (&of.form, of.name.strip_prefix("with.AsVec<Vec<")) {
                (Form::BTreeMap(key, _) | Form::HashMap(key, _), _) => Some(vec![*key]),
                // What is in it was in a map or a set.
                (form, Some(_)) => Some(model.named_by(form)),
                _ => None,
            })
            .flatten()
            .collect();
        while let Some(of) = open.pop() {
            if keys.insert(of) {
                open.extend(model.named_by(&model.get(of).form));
            }
        }
        Self {
            model,
            names,
            keys,
            left: Cell::new(MOST_WRITTEN),
        }
    }

    fn all(&self) -> String {
        let mut out = String::new();
        for (index, of) in self.model.types() {
            let Some(name) = self.names.get(&index) else { continue };
            if !out.is_empty() {
                out.push('\n');
            }
            self.item(&mut out, index, of, name);
        }
        out
    }

    fn item(&self, out: &mut String, index: TypeIndex, of: &Type, name: &str) {
        out.push_str("#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize, shmstate::Schema)]\n");
        if self.keys.contains(&index) {
            out.push_str("#[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]\n");
            out.push_str("#[rkyv(derive(PartialEq, Eq, PartialOrd, Ord, Hash))]\n");
        }
        let mut keys = Vec::new();
        if index == self.model.root_index() && self.model.version() > 1 {
            keys.push(format!("version = {}", self.model.version()));
        }
        if own_name(&of.name) != name {
            keys.push(format!("name = {:?}", own_name(&of.name)));
        }
        if !keys.is_empty() {
            let _ = writeln!(out, "#[schema({})]", keys.join(", "));
        }
        let back = self.leads_back(index);
        if !back.is_empty() {
            out.push_str(RECURSIVE);
        }
        match &of.form {
            Form::Struct(fields) if fields.is_empty() => {
                let _ = writeln!(out, "pub struct {name};");
            }
            Form::Struct(fields) => {
                let _ = write!(out, "pub struct {name}");
                self.fields(out, fields, &back, "", "pub ");
                out.push_str(if is_numbered(fields) { ";\n" } else { "\n" });
            }
            Form::Enum(cases) => self.cases(out, name, cases, &back),
            _ => {}
        }
    }

    fn cases(&self, out: &mut String, name: &str, cases: &[Case], back: &BTreeSet<TypeIndex>) {
        let in_order = cases.iter().enumerate().all(|(i, case)| usize::from(case.tag) == i);
        if !in_order {
            out.push_str("#[repr(u8)]\n");
        }
        let _ = writeln!(out, "pub enum {name} {{");
        for case in cases {
            let _ = write!(out, "    {}", field_name(&case.name));
            if !case.fields.is_empty() {
                self.fields(out, &case.fields, back, "    ", "");
            }
            let tag = if in_order {
                String::new()
            } else {
                format!(" = {}", case.tag)
            };
            let _ = writeln!(out, "{tag},");
        }
        out.push_str("}\n");
    }

    /// ` { … }` or `(…)`.
    fn fields(&self, out: &mut String, fields: &[Member], back: &BTreeSet<TypeIndex>, indent: &str, public: &str) {
        let attribute = |field: &Member, with: Option<String>| {
            let omit = back.contains(&field.of).then(|| "omit_bounds".to_owned());
            let keys: Vec<String> = omit
                .into_iter()
                .chain(with.map(|with| format!("with = {with}")))
                .collect();
            (!keys.is_empty()).then(|| format!("#[rkyv({})]", keys.join(", ")))
        };
        if is_numbered(fields) {
            let each = fields.iter().map(|field| {
                let Written { with, of } = self.written(field.of);
                let attribute = attribute(field, with).map_or_else(String::new, |attribute| attribute + " ");
                format!("{attribute}{public}{of}")
            });
            let _ = write!(out, "({})", each.collect::<Vec<_>>().join(", "));
            return;
        }
        out.push_str(" {\n");
        for field in fields {
            let Written { with, of } = self.written(field.of);
            if let Some(attribute) = attribute(field, with) {
                let _ = writeln!(out, "{indent}    {attribute}");
            }
            let _ = writeln!(out, "{indent}    {public}{}: {of},", field_name(&field.name));
        }
        let _ = write!(out, "{indent}}}");
    }

    /// The type of a field, and its wrapper.
    fn written(&self, index: TypeIndex) -> Written {
        let of = self.model.get(index);
        let through = |element: TypeIndex, container: &str| {
            let Written { with, of } = self.written(element);
            Written {
                with: with.map(|with| format!("rkyv::with::Map<{with}>")),
                of: format!("{container}<{of}>"),
            }
        };
        match &of.form {
            Form::Vec(element) => through(*element, "Vec"),
            Form::Option(payload, _) => through(*payload, "Option"),
            Form::OptionBox(inner) => Written {
                with: Some("rkyv::with::Niche".to_owned()),
                of: format!("Option<Box<{}>>", self.expression(*inner)),
            },
            Form::Struct(fields) if of.name.starts_with(WRAPPERS) => self.unwrapped(&of.name, fields),
            _ => Written {
                with: None,
                of: self.expression(index),
            },
        }
    }

    /// What a wrapper is given, from what it stores.
    fn unwrapped(&self, name: &str, fields: &[Member]) -> Written {
        let stored = fields.first().map(|field| field.of);
        let form = stored.map(|stored| &self.model.get(stored).form);
        let whole = stored.map(|stored| self.expression(stored)).unwrap_or_default();
        let wrapper = name[WRAPPERS.len()..].split('<').next().unwrap_or_default();
        let (with, of) = match (wrapper, form) {
            ("AsBox", Some(Form::Boxed(inner))) => ("AsBox", self.expression(*inner)),
            ("AsString", _) => ("AsString", "std::path::PathBuf".to_owned()),
            ("Skip", _) => ("Skip", "()".to_owned()),
            ("Unsafe", _) => ("Unsafe", format!("std::cell::UnsafeCell<{whole}>")),
            ("Unshare", _) => ("Unshare", format!("std::sync::Arc<{whole}>")),
            ("AtomicLoad", _) => {
                let mut letters = whole.chars();
                let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
                let of = format!("std::sync::atomic::Atomic{first}{}", letters.as_str());
                ("AtomicLoad<rkyv::with::Relaxed>", of)
            }
            ("AsVec", Some(Form::Vec(element))) => (
                "AsVec",
                match &self.model.get(*element).form {
                    Form::Tuple(pair) if pair.len() == 2 => {
                        let (key, value) = (self.expression(pair[0].of), self.expression(pair[1].of));
                        format!("std::collections::BTreeMap<{key}, {value}>")
                    }
                    _ => format!("std::collections::BTreeSet<{}>", self.expression(*element)),
                },
            ),
            _ => {
                return Written {
                    with: None,
                    of: format!("/* {} */ {whole}", name.replace("*/", "* /")),
                };
            }
        };
        Written {
            with: Some(format!("rkyv::with::{with}")),
            of,
        }
    }

    /// The types of fields that lead back to a type.
    fn leads_back(&self, index: TypeIndex) -> BTreeSet<TypeIndex> {
        let direct = self.model.named_by(&self.model.get(index).form);
        direct.into_iter().filter(|of| self.reaches(*of, index)).collect()
    }

    fn reaches(&self, from: TypeIndex, to: TypeIndex) -> bool {
        let (mut open, mut seen) = (vec![from], HashSet::from([from]));
        while let Some(of) = open.pop() {
            if of == to {
                return true;
            }
            let next = self.model.named_by(&self.model.get(of).form);
            open.extend(next.into_iter().filter(|of| seen.insert(*of)));
        }
        false
    }

    fn expression(&self, index: TypeIndex) -> String {
        let of = self.model.get(index);
        match self.left.get().checked_sub(1) {
            Some(left) => self.left.set(left),
            None => return "/* too much to be written */ ()".to_owned(),
        }
        let inner = |index: &TypeIndex| self.expression(*index);
        match &of.form {
            Form::Struct(_) | Form::Enum(_) => self.names.get(&index).cloned().unwrap_or_default(),
            Form::Nothing if of.name == "()" => "()".to_owned(),
            Form::Nothing => "std::marker::PhantomData<()>".to_owned(),
            Form::Scalar(_) | Form::String | Form::BoxedStr => of.name.clone(),
            Form::Boxed(inner_of) => format!("Box<{}>", inner(inner_of)),
            // Described as the wrapper's, which cannot be written without the attribute.
            Form::OptionBox(inner_of) => format!(
                "/* #[rkyv(with = rkyv::with::Niche)] */ Option<Box<{}>>",
                inner(inner_of)
            ),
            Form::Vec(element) => format!("Vec<{}>", inner(element)),
            Form::BoxedSlice(element) => format!("Box<[{}]>", inner(element)),
            Form::Array(element, length) => format!("[{}; {length}]", inner(element)),
            Form::Option(payload, _) => format!("Option<{}>", inner(payload)),
            Form::Tuple(fields) => {
                let each: Vec<String> = fields.iter().map(|field| self.expression(field.of)).collect();
                match each.as_slice() {
                    [one] => format!("({one},)"),
                    _ => format!("({})", each.join(", ")),
                }
            }
            Form::BTreeMap(key, value) => format!("std::collections::BTreeMap<{}, {}>", inner(key), inner(value)),
            Form::HashMap(key, value) => format!("std::collections::HashMap<{}, {}>", inner(key), inner(value)),
            Form::Opaque => format!(
                "/* {} bytes of {:?}, described by hand */ [u8; {}]",
                of.size,
                of.name.replace("*/", "* /"),
                of.size
            ),
        }
    }
}

fn is_numbered(fields: &[Member]) -> bool {
    fields.first().is_some_and(|field| field.name.starts_with('.'))
}
