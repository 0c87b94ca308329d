//! Shared-memory objects: which of those in /dev/shm are ours, and whose they are.

use serde::Serialize;
use std::fs;
use std::io::Read;
use std::path::Path;

use super::text;
use crate::control::layout;
use crate::error::{Error, Result};
use crate::os::dir::{NodeDir, NodeId};
use crate::status::nodes;

/// Where shared memory is.
pub(super) const MOUNT: &str = "/dev/shm";
/// How the objects of nodes begin.
pub(super) const PREFIX: &str = "handover-";
/// The first bytes of a region, see shmstate's DESIGN.md.
const REGION_MAGIC: [u8; 8] = *b"SHMSTATE";

/// An object in /dev/shm.
#[derive(Serialize)]
pub(super) struct ObjectView {
    pub(super) object: String,
    /// `region`, `control_block`, or null for one that only has the name of a node's object.
    pub(super) kind: Option<&'static str>,
    pub(super) node: Option<String>,
    pub(super) size_bytes: u64,
    /// Bytes taken from the mount.
    pub(super) taken_bytes: u64,
}

/// Whether an object has the name of a control block.
pub(super) fn is_control_block(object: &str) -> bool {
    let digits = object.strip_prefix(PREFIX).unwrap_or_default();
    digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The id of a node, if there is such a node and it has one.
pub(super) fn node_id(base: &Path, node: &str) -> Result<Option<NodeId>> {
    match NodeDir::find(base, node)? {
        Some(dir) => dir.read_id(),
        None => Ok(None),
    }
}

/// The node with this id, if it is in `base`. A node that cannot be read is not found.
pub(super) fn node_of(base: &Path, id: u128) -> Option<String> {
    let names = nodes(base).unwrap_or_default();
    names
        .into_iter()
        .find(|name| matches!(node_id(base, name), Ok(Some(found)) if found.0 == id))
}

/// Everything in /dev/shm that has the name or the first bytes of ours, sorted. What vanishes meanwhile, or belongs to
/// another user, is left out.
pub(super) fn objects(base: &Path) -> Result<Vec<ObjectView>> {
    use std::os::unix::fs::MetadataExt;
    let ids: Vec<(String, u128)> = nodes(base)
        .unwrap_or_default()
        .into_iter()
        .filter_map(|name| Some((node_id(base, &name).ok()??.0, name)))
        .map(|(id, name)| (name, id))
        .collect();
    let entries = fs::read_dir(MOUNT).map_err(|e| Error::io("list", MOUNT, e))?;
    let mut objects = Vec::new();
    for entry in entries.flatten() {
        let object = text::clean(&entry.file_name().to_string_lossy()).replace('\n', "\u{fffd}");
        let Ok(meta) = entry.metadata() else { continue };
        if !meta.is_file() {
            continue;
        }
        let kind = match first_bytes(&entry.path()) {
            Some(REGION_MAGIC) => Some("region"),
            Some(bytes) if u64::from_le_bytes(bytes) == layout::MAGIC => Some("control_block"),
            _ => None,
        };
        if kind.is_none() && !object.starts_with(PREFIX) {
            continue;
        }
        let id = object.strip_prefix(PREFIX).and_then(|rest| rest.get(..32));
        let id = id.and_then(|digits| u128::from_str_radix(digits, 16).ok());
        objects.push(ObjectView {
            node: ids
                .iter()
                .find(|(_, found)| Some(*found) == id)
                .map(|(name, _)| name.clone()),
            object,
            kind,
            size_bytes: meta.len(),
            taken_bytes: meta.blocks() * 512,
        });
    }
    objects.sort_by(|a, b| a.object.cmp(&b.object));
    Ok(objects)
}

fn first_bytes(path: &Path) -> Option<[u8; 8]> {
    let mut bytes = [0; 8];
    fs::File::open(path).ok()?.read_exact(&mut bytes).ok()?;
    Some(bytes)
}
