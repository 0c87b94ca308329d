//! What each answer of a phase is for: each of its effects is left out, and the whole answer is.
//!
//! A name is the phase (`P` predecessor, `S` successor, `B` on probation, `K` parked), state, event, and what is left out.

use super::mutation::Mutant;
use super::world::Setup;
use std::cell::RefCell;
use std::collections::{BTreeSet, HashSet};
use std::fmt::{self, Debug, Write};
use std::hash::{DefaultHasher, Hash, Hasher};

/// What is left out where the answer is not given at all.
pub(super) const ALL: &str = "everything";

/// Lines of a list under a heading, taken apart: "P Serving, Hello: everything, SendOffer" has two names.
pub(super) fn names(list: &[(&'static str, &[&str])]) -> Vec<(&'static str, &'static str)> {
    let mut names = Vec::new();
    for (heading, lines) in list {
        for line in *lines {
            let (pair, less) = line.split_once(": ").unwrap_or((line, ALL));
            names.extend(less.split(", ").map(|less| {
                let name: &'static str = format!("{pair}: {less}").leak();
                (name, *heading)
            }));
        }
    }
    names
}

/// The other way round: names as lines.
pub(super) fn lines<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for name in names {
        let pair = name.split(": ").next().unwrap_or_default();
        match lines.last_mut() {
            Some(line) if line.split(": ").next() == Some(pair) => {
                *line += &name.replacen(pair, "", 1).replace(": ", ", ")
            }
            _ => lines.push(name.into()),
        }
    }
    lines
}

thread_local! {
    /// Pairs of states and events that were met, by their hashes, and the names of the mutations that they give.
    static NOTED: RefCell<(HashSet<u64>, BTreeSet<String>)> = RefCell::default();
}

/// What was noted in this thread.
pub(super) fn noted() -> BTreeSet<String> {
    NOTED.take().1
}

/// A state or an event without numbers and reasons: the words that begin with a capital letter, and the names of what is true.
fn word(what: &impl Debug) -> String {
    let text = format!("{what:?}");
    let text = text.split(['"']).next().unwrap_or_default();
    let mut words: Vec<&str> = Vec::new();
    let mut last = "";
    for word in text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
    {
        match word {
            // What failed is no matter of where it is.
            "Failure" => break,
            "Some" | "None" if !words.is_empty() => {}
            "true" => words.push(last),
            _ if word.starts_with(char::is_uppercase) => words.push(word),
            _ => {}
        }
        last = word;
    }
    words.join(" ")
}

/// The name of an effect.
fn effect_word(what: &impl Debug) -> String {
    word(what).split(' ').next().unwrap_or_default().into()
}

/// Whether the name of this variant stands at the beginning of a text: what a derived `Debug` writes first. Takes no memory.
fn may_begin(text: &str, what: &impl Debug) -> bool {
    struct First<'a>(&'a str, bool);
    impl Write for First<'_> {
        fn write_str(&mut self, name: &str) -> fmt::Result {
            self.1 = self.0.starts_with(name);
            Err(fmt::Error)
        }
    }
    let mut first = First(text, false);
    let _ = write!(first, "{what:?}");
    first.1
}

/// What a phase answers, but for what a [`Mutant::Answer`] leaves out. `side` is the phase's letter.
pub(super) fn mutated<S, E, F>(
    setup: &Setup,
    side: &'static str,
    state: S,
    event: E,
    step: impl FnOnce(S, E) -> (S, Vec<F>),
) -> (S, Vec<F>)
where
    S: Clone + Debug + Hash + PartialEq,
    E: Debug + Hash,
    F: Debug,
{
    let pair = |state: &S, event: &E| format!("{side}{}, {}: ", word(state), word(event));
    match setup.mutant {
        Some(Mutant::Answer(name)) => {
            let rest = name.strip_prefix(side).filter(|rest| may_begin(rest, &state));
            let Some(less) = rest.and_then(|_| name.strip_prefix(&pair(&state, &event))) else {
                return step(state, event);
            };
            if less == ALL {
                return (state, vec![]);
            }
            let (state, mut effects) = step(state, event);
            effects.retain(|effect| effect_word(effect) != less);
            (state, effects)
        }
        Some(Mutant::Noted) => NOTED.with_borrow_mut(|(met, names)| {
            let mut hasher = DefaultHasher::new();
            (side, &state, &event).hash(&mut hasher);
            if !met.insert(hasher.finish()) {
                return step(state, event);
            }
            let pair = pair(&state, &event);
            let (next, effects) = step(state.clone(), event);
            if next != state || !effects.is_empty() {
                names.insert(format!("{pair}{ALL}"));
            }
            names.extend(effects.iter().map(|effect| format!("{pair}{}", effect_word(effect))));
            (next, effects)
        }),
        _ => step(state, event),
    }
}
