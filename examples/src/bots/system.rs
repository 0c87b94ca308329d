//! The two things the bots ask of the system beside sockets: clocks, and room for descriptors.

use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    time::{ClockId, clock_gettime},
};

use super::error::RunError;

const NANOS: u64 = 1_000_000_000;

/// Nanoseconds of CLOCK_MONOTONIC.
pub(super) fn monotonic() -> u64 {
    nanos(ClockId::Monotonic)
}

/// Seconds of processor time of this process, user and system.
pub(super) fn cpu_seconds() -> f64 {
    nanos(ClockId::ProcessCPUTime) as f64 / NANOS as f64
}

fn nanos(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    // Both clocks count from zero upwards.
    now.tv_sec.cast_unsigned() * NANOS + now.tv_nsec.cast_unsigned()
}

/// Sees to it that `needed` descriptors can be open: the soft limit becomes the hard one if it is too low.
pub(super) fn allow_descriptors(needed: u64) -> Result<(), RunError> {
    let limit = getrlimit(Resource::Nofile);
    // `None` is no limit.
    let enough = |value: Option<u64>| value.is_none_or(|value| value >= needed);
    if enough(limit.current) {
        return Ok(());
    }
    if !enough(limit.maximum) {
        return Err(RunError::TooFewDescriptors {
            needed,
            hard: limit.maximum.unwrap_or(u64::MAX),
        });
    }
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    )
    .map_err(RunError::system("raising RLIMIT_NOFILE"))
}
