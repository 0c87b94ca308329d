//! What becomes of each descriptor when a version starts: pure, so that it can be tried without sockets.

use std::fmt;

/// What becomes of the node's named descriptors with this version: listeners, sockets, and whatever has a name. Names in order.
///
/// Up to [`Starting::ready`](crate::Starting::ready) it is a plan, and a failure leaves everything as it was. Afterwards it is what was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DescriptorPlan {
    /// Inherited, and declared or claimed here.
    pub kept: Vec<String>,
    /// Made by this process.
    pub new: Vec<String>,
    /// Taken from a service manager.
    pub activated: Vec<String>,
    /// Declared otherwise than the owner before has it: made anew, the old one is closed.
    pub changed: Vec<String>,
    /// Inherited, and neither declared nor claimed: closed.
    pub dropped: Vec<String>,
    /// From a service manager, and not declared: closed at once.
    pub unclaimed: Vec<String>,
}

impl DescriptorPlan {
    pub(crate) fn sort(&mut self) {
        let Self {
            kept,
            new,
            activated,
            changed,
            dropped,
            unclaimed,
        } = self;
        for names in [kept, new, activated, changed, dropped, unclaimed] {
            names.sort();
        }
    }

    fn all(&self) -> [(&'static str, &Vec<String>); 6] {
        [
            ("kept", &self.kept),
            ("new", &self.new),
            ("activated", &self.activated),
            ("changed", &self.changed),
            ("dropped", &self.dropped),
            ("unclaimed", &self.unclaimed),
        ]
    }
}

impl fmt::Display for DescriptorPlan {
    /// As `kept a, b; new c`; "nothing" where there is nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for (word, names) in self.all() {
            if !names.is_empty() {
                write!(f, "{between}{word} {}", names.join(", "))?;
                between = "; ";
            }
        }
        if between.is_empty() {
            f.write_str("nothing")
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_a_line_for_people() {
        let mut plan = DescriptorPlan::default();
        assert_eq!(plan.to_string(), "nothing");
        plan.kept = vec!["a".into(), "b".into()];
        plan.dropped = vec!["c".into()];
        assert_eq!(plan.to_string(), "kept a, b; dropped c");
    }
}
