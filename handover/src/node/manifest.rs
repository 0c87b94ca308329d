//! The manifest: what a program says of itself, as JSON.
//!
//! Keys are added, never renamed, as long as the version stays; what an older reader would misunderstand without a new key is a new version.
//! It is written without a JSON library, because the node's part of this crate has none.

use crate::node::carry;
use crate::node::config::{Config, RegionSpec};
use crate::node::describe::VERSION;
use crate::node::descriptors::spec::Spec;
use crate::wire::frame::{HIGHEST, LOWEST};
use shmstate::schema::Description;
use shmstate::{Declared, Kind};
use std::fmt::Write;

/// The whole object, with a line end.
pub(crate) fn of(config: &Config) -> String {
    let mut out = Json::default();
    out.object(|o| {
        o.number("handover_manifest", VERSION.into());
        o.text("library", env!("CARGO_PKG_VERSION"));
        o.number("protocol_lowest", LOWEST.into());
        o.number("protocol_highest", config.speaks.min(HIGHEST).into());
        o.text("node", &config.name);
        o.text("build_id", &config.build_id);
        o.text("directory", &config.base.display().to_string());
        o.list("regions", &config.regions, region);
        o.list("descriptors", &config.descriptors, descriptor);
    });
    out.0.push('\n');
    out.0
}

fn region(out: &mut Json, region: &RegionSpec) {
    let asked = region.options.asked();
    out.text("name", &region.name);
    out.number("capacity", asked.capacity);
    out.number("reserve", asked.reserve);
    out.maybe("directory", asked.directory.map(|path| path.display().to_string()));
    // What is carried lies in tables of this library, and goes over whatever the program declares.
    out.flag("library_owned", region.name == carry::REGION);
    out.list("tables", &region.tables, table);
}

fn table(out: &mut Json, table: &Declared) {
    out.text("name", table.name());
    out.maybe("kind", kind(table.kind()).map(str::to_owned));
    out.text("key", table.key());
    out.nested("shape", Some(table.description()), shape);
    out.list("from", table.from(), shape);
    out.nested("back", table.back(), shape);
    out.nested("moves", table.moves(), |out, moves| {
        out.texts("targets", moves.targets.iter().map(AsRef::as_ref));
        out.flag("way_back", moves.way_back);
    });
}

fn shape(out: &mut Json, shape: &Description) {
    out.text("type", shape.name());
    out.number("version", shape.version().into());
    out.text("fingerprint", &shape.fingerprint().to_string());
    out.text("schema", shape.text());
}

fn descriptor(out: &mut Json, spec: &Spec) {
    out.text("name", &spec.name);
    out.text("kind", spec.noun());
    out.maybe("address", spec.address());
    out.text("mark", &format!("{:016x}", spec.mark()));
}

/// What a kind of table is called wherever JSON names it; `None` for one that this version does not know.
pub(crate) const fn kind(kind: Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::Map => "map",
        Kind::Slab => "slab",
        Kind::Cell => "cell",
        Kind::Queue => "queue",
        Kind::OrderedMap => "ordered",
        Kind::Timers => "timers",
        Kind::Streams => "streams",
        _ => return None,
    })
}

/// JSON as it is written.
#[derive(Debug, Default)]
struct Json(String);

impl Json {
    fn object(&mut self, fields: impl FnOnce(&mut Self)) {
        self.0.push('{');
        fields(self);
        self.0.push('}');
    }

    fn key(&mut self, key: &str) {
        if !self.0.ends_with('{') {
            self.0.push(',');
        }
        self.string(key);
        self.0.push(':');
    }

    fn number(&mut self, key: &str, number: u64) {
        self.key(key);
        self.0 += &number.to_string();
    }

    fn flag(&mut self, key: &str, flag: bool) {
        self.key(key);
        self.0 += if flag { "true" } else { "false" };
    }

    fn text(&mut self, key: &str, text: &str) {
        self.key(key);
        self.string(text);
    }

    fn maybe(&mut self, key: &str, text: Option<String>) {
        match text {
            Some(text) => self.text(key, &text),
            None => self.null(key),
        }
    }

    fn null(&mut self, key: &str) {
        self.key(key);
        self.0 += "null";
    }

    fn nested<T>(&mut self, key: &str, item: Option<T>, fields: impl Fn(&mut Self, T)) {
        match item {
            Some(item) => {
                self.key(key);
                self.object(|o| fields(o, item));
            }
            None => self.null(key),
        }
    }

    fn list<T>(&mut self, key: &str, items: impl IntoIterator<Item = T>, fields: impl Fn(&mut Self, T)) {
        self.key(key);
        self.0.push('[');
        for (i, item) in items.into_iter().enumerate() {
            if i > 0 {
                self.0.push(',');
            }
            self.object(|o| fields(o, item));
        }
        self.0.push(']');
    }

    fn texts<'t>(&mut self, key: &str, items: impl IntoIterator<Item = &'t str>) {
        self.key(key);
        self.0.push('[');
        for (i, item) in items.into_iter().enumerate() {
            if i > 0 {
                self.0.push(',');
            }
            self.string(item);
        }
        self.0.push(']');
    }

    fn string(&mut self, text: &str) {
        self.0.push('"');
        for c in text.chars() {
            match c {
                '"' | '\\' => {
                    self.0.push('\\');
                    self.0.push(c);
                }
                '\n' => self.0 += "\\n",
                // Writing into a string cannot fail.
                c if c.is_control() => _ = write!(self.0, "\\u{:04x}", u32::from(c)),
                c => self.0.push(c),
            }
        }
        self.0.push('"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        let mut out = Json::default();
        out.object(|o| {
            o.text("a\"b", "\\ \n \u{1b} \u{85} ö");
            o.maybe("none", None);
            o.list("list", [1u64, 2], |o, n| o.number("n", n));
        });
        let wanted = r#"{"a\"b":"\\ \n \u001b \u0085 ö","none":null,"list":[{"n":1},{"n":2}]}"#;
        assert_eq!(out.0, wanted);
    }
}
