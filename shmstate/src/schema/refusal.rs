//! The text of a refusal: what differs between the table and the program, and what would help.
//!
//! The stored text may come from a damaged region. It is never trusted: control characters are escaped, and what is shown is bounded.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt::Write;

use super::diff::{MOST_CHANGES, changes};
use super::lines::{difference, lines, printable};
use super::model::Model;
use super::{Fingerprint, description::header};

/// Says that the table called `table` holds records of another shape than the program expects: each field that differs with its
/// old and its new type, and what would help.
///
/// `stored` and `expected` are texts of descriptions ([`super::Description::text`]). Where one of them cannot be read field by field, the lines
/// in which they differ are shown (`-` stored, `+` expected).
pub fn mismatch(table: &str, stored: &str, expected: &str) -> String {
    refusal(table, &[], stored, expected)
}

/// The same as [`mismatch`]; `more` are sentences about what else differs.
pub fn refusal(table: &str, more: &[String], stored: &str, expected: &str) -> String {
    let mut out = format!(
        "table \"{}\" holds records of another shape than this program expects\n",
        table.escape_debug()
    );
    for line in more {
        let _ = writeln!(out, "{line}");
    }
    let same = Fingerprint::of_text(stored) == Fingerprint::of_text(expected);
    for (side, text) in [("stored", stored), ("expected", expected)] {
        let named = header(text).map(|(name, version)| format!("{} version {version}", printable(name)));
        let named = named.unwrap_or_else(|| "no header that this program can read".to_owned());
        let _ = writeln!(out, "{side}: {named}, fingerprint {}", Fingerprint::of_text(text));
    }
    if !same {
        fields(&mut out, stored, expected);
    }
    let versions = |text| header(text).map(|(_, version)| version);
    if !same || more.is_empty() || versions(stored) != versions(expected) {
        let _ = writeln!(out, "what helps: {}", advice(stored, expected));
    }
    out
}

/// The changes, each in a line, and what helps against each kind of them.
fn fields(out: &mut String, stored: &str, expected: &str) {
    let found = match (Model::read(stored), Model::read(expected)) {
        (Ok(stored), Ok(expected)) => changes(&stored, &expected),
        _ => Vec::new(),
    };
    if found.is_empty() {
        out.push_str("difference (- stored, + expected):\n");
        for (mark, line) in difference(&lines(stored), &lines(expected)) {
            let _ = writeln!(out, "{mark} {line}");
        }
        return;
    }
    out.push_str("differences, field: stored -> expected\n");
    let mut helped = HashSet::new();
    for change in found.iter().take(MOST_CHANGES) {
        let _ = writeln!(out, "  {change}");
        if helped.insert(change.kind) {
            let _ = writeln!(out, "      {}", change.kind.help());
        }
    }
    if found.len() > MOST_CHANGES {
        let _ = writeln!(out, "  … and {} more", found.len() - MOST_CHANGES);
    }
}

fn advice(stored: &str, expected: &str) -> String {
    let (Some((name, old)), Some((_, new))) = (header(stored), header(expected)) else {
        return "the stored description has no header that this program can read; it was written by a \
                newer format, or the catalog is damaged. Open the region with the program that wrote it."
            .to_owned();
    };
    let name = printable(name);
    if Fingerprint::of_text(stored) == Fingerprint::of_text(expected) {
        return format!(
            "the shapes are the same, only the declared versions differ (stored {old}, expected {new}); \
             declare #[schema(version = {old})], or register a migration from version {old} to {new}."
        );
    }
    if layout_of(stored) != layout_of(expected) {
        return "the archive format differs, not only the type: rkyv was built with other features \
                (`unaligned`, `pointer_width_*`, `big_endian`), which cargo unifies over all crates of a \
                build. Build with the features of the stored layout line; `cargo tree -e features -i rkyv` \
                names who sets them."
            .to_owned();
    }
    match old.cmp(&new) {
        Ordering::Less => format!(
            "register a migration of {name} from version {old} to {new} with the table, or run the program \
             that writes version {old}."
        ),
        Ordering::Equal => format!(
            "the shape changed and the declared version did not: raise #[schema(version = …)] above {old} \
             and register a migration from version {old}, or take the change back."
        ),
        Ordering::Greater => format!(
            "the records were written by a newer program (version {old}; this one expects {new}): run that \
             program, or register a migration of {name} from version {old} back to {new}."
        ),
    }
}

fn layout_of(text: &str) -> Option<&str> {
    text.lines().nth(1)
}

#[cfg(test)]
mod tests {
    use super::super::lines::{LINE_BYTES_SHOWN, LINES_SHOWN};
    use super::*;

    const STORED: &str =
        "schema 1 P version 1\nlayout x\nstruct P size 8 align 4\n  0 a: u32\n  4 b: u32\ntype u32 size 4 align 4\n";
    const EXPECTED: &str = "schema 1 P version 2\nlayout x\nstruct P size 8 align 4\n  0 a: u32\n  4 b: f32\ntype f32 size 4 align 4\ntype u32 size 4 align 4\n";

    #[test]
    fn names_the_table_the_field_and_both_types() {
        let text = mismatch("players", STORED, EXPECTED);
        assert!(text.starts_with("table \"players\" holds records of another shape"));
        assert!(text.contains("\n  b: u32 -> f32 (another type)\n"), "{text}");
        assert!(!text.contains("  a: "), "{text}");
        assert!(text.contains("from version 1 to 2"), "{text}");
    }

    #[test]
    fn what_cannot_be_read_is_compared_by_lines() {
        let text = mismatch("players", &STORED.replace("  4 b: u32", "  4 b! u32"), EXPECTED);
        assert!(text.contains("\n-   4 b! u32\n+   4 b: f32\n"), "{text}");
    }

    #[test]
    fn the_advice_follows_the_versions() {
        let at = |text: &str, version: u16| {
            let (_, shape) = text.split_once('\n').unwrap();
            format!("schema 1 P version {version}\n{shape}")
        };
        assert!(advice(&at(STORED, 3), &at(EXPECTED, 3)).contains("above 3"));
        assert!(advice(&at(STORED, 4), &at(EXPECTED, 3)).contains("newer program"));
        assert!(advice(&at(STORED, 4), &at(STORED, 5)).contains("only the declared versions differ"));
        assert!(advice(STORED, &EXPECTED.replace("layout x", "layout y")).contains("rkyv was built"));
        assert!(advice("", EXPECTED).contains("damaged"));
    }

    #[test]
    fn a_damaged_text_is_shown_harmlessly() {
        let long = "x".repeat(10 * LINE_BYTES_SHOWN);
        let many = "y\n".repeat(LINES_SHOWN + 7);
        let text = mismatch("a\u{1b}[2J\"b", &format!("\u{1b}[31m\n{long}\n{many}"), EXPECTED);
        assert!(!text.contains('\u{1b}'));
        assert!(!text.contains(&long));
        assert!(text.contains("… and 9 more lines"), "{}", text.len());
    }
}
