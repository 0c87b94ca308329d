//! The text of a refusal: what is stored, what was expected, and where they part.
//!
//! The stored text may come from a damaged region. It is never trusted: control characters are escaped,
//! and both what is shown and the work of comparing are bounded.

use std::fmt::Write;

use super::{Fingerprint, description::header};

/// At most so many lines of each description are shown and compared.
const LINES_SHOWN: usize = 2_000;

/// At most so many bytes of a line are shown.
const LINE_BYTES_SHOWN: usize = 400;

/// A line-by-line comparison takes the product of both counts; above this the differing blocks are shown
/// whole, one after the other.
const COMPARISONS: usize = 1_000_000;

/// Says that the table called `table` holds records of another shape than the program expects: both
/// descriptions, the lines in which they differ (`-` stored, `+` expected), and what would help.
///
/// `stored` and `expected` are texts of descriptions ([`super::Description::text`]).
pub fn mismatch(table: &str, stored: &str, expected: &str) -> String {
    let stored_lines = lines(stored);
    let expected_lines = lines(expected);
    let mut out = format!(
        "table \"{}\" holds records of another shape than this program expects\n",
        table.escape_debug()
    );
    section(&mut out, "stored", &stored_lines);
    section(&mut out, "expected", &expected_lines);
    out.push_str("difference (- stored, + expected):\n");
    for (mark, line) in difference(&stored_lines, &expected_lines) {
        let _ = writeln!(out, "{mark} {line}");
    }
    let _ = writeln!(out, "what helps: {}", advice(stored, expected));
    out
}

/// The lines of a text, safe to print.
fn lines(text: &str) -> Vec<String> {
    let mut shown: Vec<String> = text.lines().take(LINES_SHOWN).map(printable).collect();
    let left = text.lines().skip(LINES_SHOWN).count();
    if left > 0 {
        shown.push(format!("… and {left} more lines"));
    }
    shown
}

fn printable(line: &str) -> String {
    let mut shown = String::with_capacity(line.len().min(LINE_BYTES_SHOWN));
    for c in line.chars() {
        if shown.len() >= LINE_BYTES_SHOWN {
            shown.push('…');
            break;
        }
        if matches!(c, '"' | '\'' | '\\') {
            shown.push(c);
        } else {
            shown.extend(c.escape_debug());
        }
    }
    shown
}

fn section(out: &mut String, title: &str, lines: &[String]) {
    let _ = writeln!(out, "{title}:");
    for line in lines {
        let _ = writeln!(out, "  {line}");
    }
}

/// The lines of both sides in order, each with `' '` (in both), `'-'` (stored) or `'+'` (expected).
fn difference<'l>(stored: &'l [String], expected: &'l [String]) -> Vec<(char, &'l str)> {
    let head = stored.iter().zip(expected).take_while(|(s, e)| s == e).count();
    let (stored_rest, expected_rest) = (&stored[head..], &expected[head..]);
    let tail = stored_rest
        .iter()
        .rev()
        .zip(expected_rest.iter().rev())
        .take_while(|(s, e)| s == e)
        .count();
    let (old, common_tail) = stored_rest.split_at(stored_rest.len() - tail);
    let new = &expected_rest[..expected_rest.len() - tail];

    let mut out: Vec<(char, &str)> = stored[..head].iter().map(|l| (' ', l.as_str())).collect();
    if old.len().saturating_mul(new.len()) <= COMPARISONS {
        longest_common(old, new, &mut out);
    } else {
        out.extend(old.iter().map(|l| ('-', l.as_str())));
        out.extend(new.iter().map(|l| ('+', l.as_str())));
    }
    out.extend(common_tail.iter().map(|l| (' ', l.as_str())));
    out
}

/// The textbook longest common subsequence, with removed lines before added ones.
fn longest_common<'l>(old: &'l [String], new: &'l [String], out: &mut Vec<(char, &'l str)>) {
    // longest[i][j]: how many lines old[i..] and new[j..] have in common, in order.
    let mut longest = vec![vec![0_u32; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            longest[i][j] = if old[i] == new[j] {
                longest[i + 1][j + 1] + 1
            } else {
                longest[i + 1][j].max(longest[i][j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < old.len() && j < new.len() {
        if old[i] == new[j] {
            out.push((' ', &old[i]));
            i += 1;
            j += 1;
        } else if longest[i + 1][j] >= longest[i][j + 1] {
            out.push(('-', &old[i]));
            i += 1;
        } else {
            out.push(('+', &new[j]));
            j += 1;
        }
    }
    out.extend(old[i..].iter().map(|l| ('-', l.as_str())));
    out.extend(new[j..].iter().map(|l| ('+', l.as_str())));
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
        std::cmp::Ordering::Less => format!(
            "register a migration of {name} from version {old} to {new} with the table, or run the program \
             that writes version {old}."
        ),
        std::cmp::Ordering::Equal => format!(
            "the shape changed and the declared version did not: raise #[schema(version = …)] above {old} \
             and register a migration from version {old}, or take the change back."
        ),
        std::cmp::Ordering::Greater => format!(
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
    use super::*;

    const STORED: &str = "schema 1 P version 1\nlayout x\nstruct P size 8 align 4\n  0 a: u32\n  4 b: u32\n";
    const EXPECTED: &str = "schema 1 P version 2\nlayout x\nstruct P size 8 align 4\n  0 a: u32\n  4 b: f32\n";

    #[test]
    fn names_the_table_and_marks_the_lines() {
        let text = mismatch("players", STORED, EXPECTED);
        assert!(text.starts_with("table \"players\" holds records of another shape"));
        assert!(text.contains("\n-   4 b: u32\n+   4 b: f32\n"), "{text}");
        assert!(text.contains("\n    0 a: u32\n"), "{text}");
        assert!(text.contains("from version 1 to 2"), "{text}");
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

    #[test]
    fn every_line_of_both_sides_appears_once_in_order() {
        let own = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        for (a, b) in [
            ("a b c d", "a x c y d"),
            ("", "a"),
            ("a b", "b a"),
            ("a a a", "a a"),
            ("q", "r s t"),
        ] {
            let (a, b) = (own(a), own(b));
            let marked = difference(&a, &b);
            let side = |skip| {
                marked
                    .iter()
                    .filter(|(m, _)| *m != skip)
                    .map(|(_, l)| *l)
                    .collect::<Vec<_>>()
            };
            assert_eq!(side('+'), a);
            assert_eq!(side('-'), b);
        }
    }
}
