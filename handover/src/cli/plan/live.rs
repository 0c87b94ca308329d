//! What a plan has to know of the node that serves: read without asking any of its processes.

use shmstate::Inspection;
use std::path::Path;

use super::super::exit::Failure;
use super::super::look::Found;
use super::super::objects::{PREFIX, is_control_block, objects};
use super::super::outcome::Serving;
use super::compare::{Catalog, Live};
use super::manifest::Manifest;
use crate::os::dir::NodeId;

/// Looks at the node's regions: those in /dev/shm, and where the program says that its own are. One that lies elsewhere, and that the program does
/// not declare, is not seen. `None` if nobody serves any more.
pub(super) fn live(base: &Path, found: &Found, manifest: &Manifest) -> Result<Option<Live>, Failure> {
    let (Some(status), Some(owner)) = (found.status(), Serving::of(found)) else {
        return Ok(None);
    };
    let prefix = format!("{PREFIX}{}-", NodeId(status.id));
    let mut regions = Vec::new();
    for object in objects(base)? {
        let Some(name) = object.object.strip_prefix(&prefix) else {
            continue;
        };
        if !is_control_block(&object.object) {
            regions.extend(seen(name, Inspection::of(&object.object)));
        }
    }
    for region in &manifest.regions {
        let Some(directory) = &region.directory else { continue };
        if regions.iter().any(|(name, _)| *name == region.name) {
            continue;
        }
        let found = Inspection::in_directory(directory, &format!("{prefix}{}", region.name));
        regions.extend(seen(&region.name, found));
    }
    Ok(Some(Live {
        node: status.node.clone(),
        owner,
        regions,
        declared: status.declared.clone(),
    }))
}

type Seen = (String, Result<Catalog, String>);

/// `None` for what is no region of the node: it is not there, or nobody holds it. That is what a version left that did not last, and it is made anew.
fn seen(name: &str, found: shmstate::Result<Inspection>) -> Option<Seen> {
    match found {
        Ok(found) => found.held.then(|| (name.to_owned(), Ok(found.tables))),
        Err(shmstate::Error::NotFound { .. }) => None,
        Err(why) => Some((name.to_owned(), Err(why.to_string()))),
    }
}
