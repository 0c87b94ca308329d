//! What REGION names: a region in /dev/shm, a region of a node, a file that is a region, or a checkpoint.
//!
//! `NODE/REGION` and a name in /dev/shm are what `inspect` takes. A text that begins with `/`, `./` or `../` is a path; so is one that is
//! neither, if a file of that name starts as a checkpoint does.

use shmstate::{Inspection, Observer};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::exit::{Exit, Failure};
use super::objects::{PREFIX, is_control_block, node_id, objects};
use super::status::unknown;
use crate::error::Error;
use crate::os::dir::check_node_name;

/// The first bytes of a checkpoint, see shmstate's DESIGN.md.
const CHECKPOINT_MAGIC: [u8; 8] = *b"SHMCHECK";
/// Where regions are, as a path.
const MOUNT: &str = "/dev/shm/";

/// How a region is called.
pub(super) enum Name {
    Object(String),
    OfNode { node: String, region: String },
    Path(PathBuf),
}

impl Name {
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let is_path = ["/", "./", "../"].iter().any(|start| text.starts_with(start));
        let text = match text.strip_prefix(MOUNT) {
            // The name of an object there, unless it is a checkpoint that somebody has put there.
            Some(name) if !name.contains('/') && !starts_as_checkpoint(Path::new(text)) => name,
            _ if is_path || starts_as_checkpoint(Path::new(text)) => return Ok(Self::Path(text.into())),
            _ => text,
        };
        let wrong = |error: Error| Failure::new(Exit::Usage, error.to_string());
        match text.split_once('/') {
            None => Ok(Self::Object(text.into())),
            Some((node, region)) => {
                check_node_name(node).map_err(wrong)?;
                check_node_name(region).map_err(|_| {
                    Failure::new(Exit::Usage, format!("{region:?} is no region name"))
                        .and("give NODE/REGION, the region's name in /dev/shm, or the path of a checkpoint")
                })?;
                Ok(Self::OfNode {
                    node: node.into(),
                    region: region.into(),
                })
            }
        }
    }

    /// Name of the shared-memory object, if it is in /dev/shm.
    fn object(&self, base: &Path) -> Result<Option<String>, Failure> {
        match self {
            Self::Object(object) => Ok(Some(object.clone())),
            Self::OfNode { node, region } => match node_id(base, node)? {
                Some(id) => Ok(Some(format!("{PREFIX}{id}-{region}"))),
                None => Err(unknown(base, node)),
            },
            Self::Path(_) => Ok(None),
        }
    }

    /// Opens it, read-only.
    pub(super) fn observe(&self, base: &Path) -> Result<Observer, Failure> {
        let object = self.object(base)?;
        let found = match (&object, self) {
            (None, Self::Path(path)) if starts_as_checkpoint(path) => Observer::checkpoint(path),
            (None, Self::Path(path)) => {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                Observer::in_directory(directory.unwrap_or(Path::new(".")), &name)
            }
            (object, _) => Observer::open(object.as_deref().unwrap_or_default()),
        };
        found.map_err(|error| self.failure(base, object.as_deref(), error))
    }

    /// Looks at it as a whole.
    pub(super) fn inspect(&self, base: &Path) -> Result<Inspection, Failure> {
        let observer = self.observe(base)?;
        let object = self.object(base)?;
        let found = observer.inspect();
        found.map_err(|error| self.failure(base, object.as_deref(), error))
    }

    /// What went wrong, and what there is instead.
    pub(super) fn failure(&self, base: &Path, object: Option<&str>, error: shmstate::Error) -> Failure {
        let mut failure = Failure::new(Exit::Unknown, error.to_string());
        let object = object.unwrap_or_default();
        match (&error, self) {
            (shmstate::Error::NotFound { .. }, Self::OfNode { node, .. }) => {
                let prefix = object.get(..PREFIX.len() + 33).unwrap_or(object);
                let there: Vec<String> = objects(base)
                    .unwrap_or_default()
                    .into_iter()
                    .filter_map(|o| Some(format!("{node}/{}", o.object.strip_prefix(prefix)?)))
                    .collect();
                failure = failure.and(if there.is_empty() {
                    format!("the node {node:?} has no regions")
                } else {
                    format!("the node has: {}", there.join(", "))
                });
            }
            (shmstate::Error::NotFound { .. }, Self::Object(_)) => {
                failure = failure.and("`handover inspect` lists what there is; a node's region is NODE/REGION");
            }
            _ if is_control_block(object) => {
                failure = failure.and("it is the control block of a node: `handover status` reads it");
            }
            _ => {}
        }
        failure
    }
}

/// Whether a table of that name is one that the library keeps beside another one: no program's begins so.
pub(super) fn is_beside(table: &str) -> bool {
    table.starts_with('.')
}

fn starts_as_checkpoint(path: &Path) -> bool {
    let mut bytes = [0; 8];
    // A pipe or a device would block, or answer for ever.
    let is_file = path.metadata().is_ok_and(|meta| meta.is_file());
    let read = is_file.then(|| File::open(path).and_then(|mut file| file.read_exact(&mut bytes)));
    matches!(read, Some(Ok(()))) && bytes == CHECKPOINT_MAGIC
}
