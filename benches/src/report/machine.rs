//! What the report was made on: without it no number means anything.

use super::rounds::Placed;
use serde::Serialize;

/// The machine, as far as the kernel tells.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Machine {
    pub(super) cores: usize,
    pub(super) cpu: String,
    pub(super) kernel: String,
    /// Whether anonymous memory may get 2 MiB pages, and shared memory.
    pub(super) transparent_hugepage: String,
    pub(super) shmem_hugepage: String,
    /// Load of the last minute when the report began.
    pub(super) load: String,
    /// What lay on 2 MiB pages, by engine, after all rounds.
    pub(super) huge_pages: Vec<Placed>,
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).map_or_else(|_| "unknown".into(), |text| text.trim().into())
}

/// The chosen one of "always [madvise] never".
fn chosen(text: &str) -> String {
    let inside = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    inside.map_or(text, |(chosen, _)| chosen).into()
}

impl Machine {
    pub(super) fn here() -> Self {
        let cpu = read("/proc/cpuinfo");
        let model = cpu
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        Self {
            cores: std::thread::available_parallelism().map_or(0, Into::into),
            cpu: model.map_or("unknown", |(_, name)| name.trim()).into(),
            kernel: read("/proc/sys/kernel/osrelease"),
            transparent_hugepage: chosen(&read("/sys/kernel/mm/transparent_hugepage/enabled")),
            shmem_hugepage: chosen(&read("/sys/kernel/mm/transparent_hugepage/shmem_enabled")),
            load: read("/proc/loadavg").split(' ').next().unwrap_or("unknown").into(),
            huge_pages: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_choice_stands_in_brackets() {
        assert_eq!(chosen("always [madvise] never"), "madvise");
        assert_eq!(chosen("unknown"), "unknown");
    }
}
