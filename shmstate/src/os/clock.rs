//! The one clock: `CLOCK_MONOTONIC` in nanoseconds, the same in every process of a boot.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of `CLOCK_MONOTONIC`.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let t = clock_gettime(ClockId::Monotonic);
    (t.tv_sec as u64) * 1_000_000_000 + t.tv_nsec as u64
}

/// Nanoseconds since 1970, for people who read a header.
pub(crate) fn realtime_ns() -> u64 {
    let t = clock_gettime(ClockId::Realtime);
    (t.tv_sec as u64) * 1_000_000_000 + t.tv_nsec as u64
}

/// This boot's 128-bit id, as two words; zero if the system does not tell.
pub(crate) fn boot_id() -> [u64; 2] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let value = u128::from_str_radix(&digits, 16).unwrap_or(0);
    [value as u64, (value >> 64) as u64]
}
