//! A finished description: text, fingerprint, name and version of one type.

use std::fmt;

use super::{Describer, Fingerprint, Schema, layout, render::Renderer};

/// The first words of the header line: the grammar's version.
pub(super) const HEADER: &str = "schema 1";

/// The shape of a type's archives. The text is canonical: equal shapes under equal names and versions
/// have equal texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    text: String,
    name: String,
    version: u16,
    fingerprint: Fingerprint,
}

impl Description {
    /// Describes the archived form of `T`.
    pub fn of<T: Schema>() -> Self {
        let mut describer = Describer::new();
        let root = T::describe(&mut describer);
        let (name, items) = Renderer::new(&describer.definitions).items(root);
        let version = T::VERSION;
        let text = format!("{HEADER} {name} version {version}\n{}\n{items}", layout::layout_line());
        Self {
            fingerprint: Fingerprint::of_text(&text),
            text,
            name,
            version,
        }
    }

    /// The canonical text, in the grammar of the module's header.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The fingerprint of the shape: of the text without its header line, so without the version.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The declared version; 0 if the type declares none.
    pub fn version(&self) -> u16 {
        self.version
    }

    /// The name of the described type, with its arguments.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// The canonical text.
impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Name and version from the header line of a stored text, if it is one.
pub(super) fn header(text: &str) -> Option<(&str, u16)> {
    let line = text.lines().next()?.strip_prefix(HEADER)?.strip_prefix(' ')?;
    let (name, version) = line.rsplit_once(" version ")?;
    Some((name, version.parse().ok()?))
}
