//! How the tests are played, from the environment (M6).

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// How often each case is played.
pub(crate) fn rounds() -> u64 {
    number("HANDOVER_MATRIX_ROUNDS").unwrap_or(1)
}

/// What the order of the cases comes from.
pub(crate) fn seed() -> u64 {
    number("HANDOVER_MATRIX_SEED").unwrap_or_else(|| fastrand::u64(..))
}

/// Whether a case is to be played: all, or those with these words in their name.
pub(crate) fn is_wanted(name: &str) -> bool {
    std::env::var("HANDOVER_MATRIX_ONLY").map_or(true, |words| name.contains(&words))
}
