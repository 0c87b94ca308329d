//! What servers of a node leave in shared memory when they are killed, and nobody starts again.

use std::path::Path;

/// Where regions and control blocks are.
const SHM: &str = "/dev/shm";

/// Removes the shared memory of a node, of which no server is to go on. A node that is not there leaves nothing.
pub fn sweep(base: &Path, node: &str) {
    let Ok(status) = handover::status(base, node) else {
        return;
    };
    let prefix = format!("handover-{:032x}", status.id);
    let Ok(entries) = std::fs::read_dir(SHM) else {
        return;
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    for name in names.filter(|name| name.starts_with(&prefix)) {
        // Another server of the node may sweep at the same time.
        let _ = std::fs::remove_file(Path::new(SHM).join(name));
    }
}
