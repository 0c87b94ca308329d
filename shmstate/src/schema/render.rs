//! The writing half of a description: from gathered types to the canonical text (D2, D4).
//!
//! The walk begins at the described type and goes breadth first over fields in the order of their
//! declaration. Types that were gathered but that no field holds (the argument of a typed id) are named,
//! not described: a change of them does not change the bytes.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write,
};

use super::describe::{Definition, Field, Part, Shape, TypeRef};

/// First words of the names that built-in types have. A derived type of such a name gets a `#2` at once.
pub(super) const RESERVED: &[&str] = &[
    "bool",
    "char",
    "str",
    "u8",
    "u16",
    "u32",
    "u64",
    "u128",
    "i8",
    "i16",
    "i32",
    "i64",
    "i128",
    "f32",
    "f64",
    "String",
    "Box",
    "Vec",
    "Option",
    "BTreeMap",
    "HashMap",
    "PhantomData",
];

/// Whether a built-in type can have a name that begins so: what stands before the arguments.
fn is_reserved(name: &str) -> bool {
    let base = name.split('<').next().unwrap_or(name);
    RESERVED.contains(&base) || base.starts_with(WRAPPERS)
}

/// How the names of rkyv's wrappers begin.
const WRAPPERS: &str = "with.";

pub(super) struct Renderer<'d> {
    definitions: &'d [Definition],
    /// By index of the definition, once it has been mentioned.
    names: Vec<Option<String>>,
    /// How many derived types were given this name, with its arguments and without `#`.
    taken: HashMap<String, usize>,
}

impl<'d> Renderer<'d> {
    pub(super) fn new(definitions: &'d [Definition]) -> Self {
        Self {
            definitions,
            names: vec![None; definitions.len()],
            taken: HashMap::new(),
        }
    }

    /// All lines that describe `root`, and its name.
    pub(super) fn items(mut self, root: TypeRef) -> (String, String) {
        let mut order = vec![root];
        let mut seen = vec![false; self.definitions.len()];
        seen[root.0] = true;
        let mut derived = String::new();
        // By name, so that two instances of a container that differ in what does not reach the archive
        // (the hasher of a HashMap) are one.
        let mut builtin = BTreeMap::new();

        let mut next = 0;
        while let Some(&at) = order.get(next) {
            let name = self.name(at);
            let definition = &self.definitions[at.0];
            let item = self.item(&name, definition);
            if definition.builtin && at != root {
                builtin.insert(name, item);
            } else {
                derived.push_str(&item);
            }
            for mention in mentions(definition) {
                if !std::mem::replace(&mut seen[mention.0], true) {
                    order.push(mention);
                }
            }
            next += 1;
        }

        let root_name = self.name(root);
        builtin.remove(&root_name);
        for item in builtin.values() {
            derived.push_str(item);
        }
        (root_name, derived)
    }

    /// The name of a type. The first type that asks for a name has it, the second has `#2` behind it.
    fn name(&mut self, of: TypeRef) -> String {
        if let Some(name) = &self.names[of.0] {
            return name.clone();
        }
        let definition = &self.definitions[of.0];
        // Ends: the arguments in a name are smaller types than the type they name.
        let mut name = String::new();
        for part in &definition.name {
            match part {
                Part::Text(text) => name.push_str(text),
                Part::Type(argument) => name.push_str(&self.name(*argument)),
            }
        }
        if !definition.builtin {
            let reserved = matches!(definition.name.first(), Some(Part::Text(base)) if is_reserved(base));
            let count = self.taken.entry(name.clone()).or_insert(usize::from(reserved));
            *count += 1;
            if *count > 1 {
                let _ = write!(name, "#{count}");
            }
        }
        self.names[of.0] = Some(name.clone());
        name
    }

    fn item(&mut self, name: &str, definition: &Definition) -> String {
        let (keyword, shape) = match &definition.shape {
            Shape::Opaque => ("type", String::new()),
            Shape::Struct(fields) => ("struct", self.fields("  ", fields)),
            Shape::Enum(variants) => {
                let mut lines = String::new();
                for variant in variants {
                    let _ = writeln!(lines, "  tag {} {}", variant.tag, variant.name);
                    lines.push_str(&self.fields("    ", &variant.fields));
                }
                ("enum", lines)
            }
        };
        format!(
            "{keyword} {name} size {} align {}\n{shape}",
            definition.size, definition.align
        )
    }

    fn fields(&mut self, indent: &str, fields: &[Field]) -> String {
        let mut lines = String::new();
        for field in fields {
            let name = self.name(field.of);
            let _ = writeln!(lines, "{indent}{} {}: {name}", field.offset, field.name);
        }
        lines
    }
}

/// The types that an archive of `definition` holds or points at.
fn mentions(definition: &Definition) -> Vec<TypeRef> {
    match &definition.shape {
        Shape::Struct(fields) => fields.iter().map(|f| f.of).collect(),
        Shape::Enum(variants) => variants.iter().flat_map(|v| &v.fields).map(|f| f.of).collect(),
        // A container holds what its name says. A derived opaque type has no arguments.
        Shape::Opaque => definition
            .name
            .iter()
            .filter_map(|part| match part {
                Part::Type(of) => Some(*of),
                Part::Text(_) => None,
            })
            .collect(),
    }
}
