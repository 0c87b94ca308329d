//! The manifest as this command reads it. Nothing in it is believed: numbers are bounded, texts cleaned when they are shown, and what can be
//! computed is not taken from it.

use serde::Deserialize;
use shmstate::Kind;
use shmstate::schema::{Fingerprint, Model};
use std::path::PathBuf;

use crate::node::describe::VERSION;
use crate::node::manifest::kind;

/// Most regions, tables of a region, shapes of a table, and descriptors that are believed.
const MOST: usize = 4096;

/// What a program says of itself.
#[derive(Debug, Deserialize)]
pub(super) struct Manifest {
    pub(super) library: String,
    pub(super) node: String,
    pub(super) build_id: String,
    /// Where it looks for its node.
    pub(super) directory: PathBuf,
    pub(super) regions: Vec<Region>,
    pub(super) descriptors: Vec<Descriptor>,
}

/// A region that it declares.
#[derive(Debug, Deserialize)]
pub(super) struct Region {
    pub(super) name: String,
    pub(super) directory: Option<PathBuf>,
    pub(super) library_owned: bool,
    /// Empty if it declares none, and may open anything.
    pub(super) tables: Vec<Table>,
}

/// A table that it opens or makes.
#[derive(Debug, Deserialize)]
pub(super) struct Table {
    pub(super) name: String,
    /// `None` for a kind of a later version of the library.
    kind: Option<String>,
    pub(super) key: String,
    pub(super) shape: Shape,
    pub(super) from: Vec<Shape>,
    pub(super) back: Option<Shape>,
    /// Where its records move, if they do.
    #[serde(default)]
    pub(super) moves: Option<Moves>,
}

/// Where the records of a table move.
#[derive(Debug, Deserialize)]
pub(super) struct Moves {
    pub(super) targets: Vec<String>,
    pub(super) way_back: bool,
}

/// A shape of records.
#[derive(Debug, Deserialize)]
pub(super) struct Shape {
    pub(super) version: u16,
    #[serde(rename = "fingerprint")]
    printed: String,
    #[serde(rename = "schema")]
    pub(super) text: String,
}

/// A listener, socket or other descriptor.
#[derive(Debug, Deserialize)]
pub(super) struct Descriptor {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) address: Option<String>,
    mark: String,
}

#[derive(Deserialize)]
struct Head {
    handover_manifest: u64,
}

impl Shape {
    pub(super) fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of_text(&self.text)
    }

    /// Whether what it says of itself is so.
    fn check(&self) -> Result<(), String> {
        let model = Model::read(&self.text).map_err(|e| format!("a schema cannot be read: {e}"))?;
        let print = self.fingerprint();
        if model.version() != self.version || print.to_string() != self.printed {
            return Err(format!(
                "the schema of {:?} has version {} and fingerprint {print}, version {} and {:?} are said",
                model.name(),
                model.version(),
                self.version,
                self.printed
            ));
        }
        Ok(())
    }
}

impl Table {
    pub(super) fn kind(&self) -> Option<Kind> {
        let all = [
            Kind::Map,
            Kind::Slab,
            Kind::Cell,
            Kind::Queue,
            Kind::OrderedMap,
            Kind::Timers,
            Kind::Streams,
        ];
        let said = self.kind.as_deref()?;
        all.into_iter().find(|known| kind(*known) == Some(said))
    }
}

impl Descriptor {
    pub(super) fn mark(&self) -> Option<u64> {
        u64::from_str_radix(&self.mark, 16).ok()
    }
}

impl Manifest {
    /// Reads it, or says what is wrong with it.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let wrong = |e: serde_json::Error| format!("the manifest is not what one looks like: {e}");
        let head: Head = serde_json::from_slice(bytes).map_err(wrong)?;
        if head.handover_manifest != u64::from(VERSION) {
            return Err(format!(
                "the manifest has version {}, this command reads {VERSION}: use the command of the program's own version",
                head.handover_manifest
            ));
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(wrong)?;
        manifest
            .check()
            .map_err(|why| format!("the manifest contradicts itself: {why}"))?;
        Ok(manifest)
    }

    /// Whether it declares the tables of any region.
    pub(super) fn declares(&self) -> bool {
        self.regions.iter().any(|region| !region.tables.is_empty())
    }

    fn check(&self) -> Result<(), String> {
        crate::os::dir::check_node_name(&self.node).map_err(|e| e.to_string())?;
        few("regions", self.regions.len())?;
        few("descriptors", self.descriptors.len())?;
        unique("region", self.regions.iter().map(|region| &region.name))?;
        unique("descriptor", self.descriptors.iter().map(|descriptor| &descriptor.name))?;
        for region in &self.regions {
            crate::os::dir::check_node_name(&region.name).map_err(|e| e.to_string())?;
            few("tables", region.tables.len())?;
            unique("table", region.tables.iter().map(|table| &table.name))?;
            for table in &region.tables {
                few("shapes", table.from.len())?;
                if let Some(moves) = &table.moves {
                    few("targets", moves.targets.len())?;
                    unique("target", moves.targets.iter())?;
                }
                let mut shapes = [&table.shape].into_iter().chain(&table.from).chain(&table.back);
                shapes.try_for_each(Shape::check)?;
            }
        }
        match self.descriptors.iter().find(|descriptor| descriptor.mark().is_none()) {
            Some(wrong) => Err(format!("the mark {:?} of a descriptor is no number", wrong.mark)),
            None => Ok(()),
        }
    }
}

fn few(what: &str, number: usize) -> Result<(), String> {
    if number > MOST {
        return Err(format!("it has {number} {what}, at most {MOST} are believed"));
    }
    Ok(())
}

fn unique<'n>(what: &str, names: impl Iterator<Item = &'n String>) -> Result<(), String> {
    let mut seen = std::collections::BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(format!("the {what} {name:?} is in it twice"));
        }
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::node::config::Config;
    use crate::{Node, node};
    use shmstate::Declared;

    /// What a program with these regions would say.
    pub(in crate::cli::plan) fn of(build: impl FnOnce(crate::Builder) -> crate::Builder) -> Manifest {
        Manifest::read(text(build).as_bytes()).expect("a manifest")
    }

    fn text(build: impl FnOnce(crate::Builder) -> crate::Builder) -> String {
        let mut config: Config = build(Node::builder("arena")).0;
        config.check().expect("what can be declared");
        node::manifest::of(&config)
    }

    fn small() -> String {
        text(|builder| {
            builder
                .listener("game", "127.0.0.1:4000".parse().expect("an address"))
                .region("world", 1 << 20)
                .table("world", Declared::map::<u64, String>("players"))
        })
    }

    #[test]
    fn what_a_program_writes_is_read() {
        let manifest = of(|builder| {
            let builder = builder.build_id("a \"build\"\n").region("world", 1 << 20).carry(10);
            builder.tables(
                "world",
                [Declared::map::<(u8, String), u64>("map"), Declared::streams("streams")],
            )
        });
        assert_eq!(
            (manifest.node.as_str(), manifest.build_id.as_str()),
            ("arena", "a \"build\"\n")
        );
        let [world, carry] = &manifest.regions[..] else {
            panic!("{:?}", manifest.regions)
        };
        assert!(carry.library_owned && !world.library_owned && carry.tables.is_empty());
        let [map, streams] = &world.tables[..] else {
            panic!("{:?}", world.tables)
        };
        assert_eq!((map.kind(), map.key.as_str()), (Some(Kind::Map), "(u8, String)"));
        assert_eq!(streams.kind(), Some(Kind::Streams));
        assert!(manifest.declares());
    }

    #[test]
    fn whatever_is_cut_or_altered_is_refused_in_words() {
        let text = small();
        for cut in 0..text.trim_end().len() {
            Manifest::read(&text.as_bytes()[..cut]).expect_err("cut");
        }
        let refused = |from: &str, to: &str, why: &str| {
            assert!(text.contains(from), "{from} in {text}");
            let error = Manifest::read(text.replace(from, to).as_bytes()).expect_err(why);
            assert!(error.contains(why), "{error}");
        };
        refused("manifest\":1", "manifest\":2", "has version 2, this command reads 1");
        refused("manifest\":1", "manifest\":-1", "not what one looks like");
        refused("\"regions\"", "\"regins\"", "missing field `regions`");
        refused("\"arena\"", "\"../arena\"", "begins with a dot");
        refused("\"world\"", "\"a/b\"", "is no node name");
        refused("\"fingerprint\":\"", "\"fingerprint\":\"0", "fingerprint");
        refused("type String size 8", "type String size 9", "a schema cannot be read");
        refused("type String size 8", "tipe String size 8", "a schema cannot be read");
        refused("\"version\":0", "\"version\":7", "version 7");
        refused("\"version\":0", "\"version\":70000", "not what one looks like");
        let descriptor = "{\"name\":\"game\",\"kind\":\"listener\",\"address\":\"127.0.0.1:4000\",\"mark\":\"1\"},{\"name\":\"game\"";
        refused(
            "{\"name\":\"game\"",
            descriptor,
            "the descriptor \"game\" is in it twice",
        );
        // Deeper than any reader goes.
        let deep = "[".repeat(100_000);
        Manifest::read(deep.as_bytes()).expect_err("deep");
        Manifest::read(b"\xff\xfe").expect_err("no text");
    }
}
