//! Two texts line by line, for what cannot be compared field by field. The texts may be damaged: control characters are escaped, and
//! both what is shown and the work of comparing are bounded.

/// At most so many lines of each text are shown and compared.
pub(super) const LINES_SHOWN: usize = 2_000;

/// At most so many bytes of a line are shown.
pub(super) const LINE_BYTES_SHOWN: usize = 400;

/// A line-by-line comparison takes the product of both counts; above this the differing blocks are shown
/// whole, one after the other.
const COMPARISONS: usize = 1_000_000;

/// The lines of a text, safe to print.
pub(super) fn lines(text: &str) -> Vec<String> {
    let mut shown: Vec<String> = text.lines().take(LINES_SHOWN).map(printable).collect();
    let left = text.lines().skip(LINES_SHOWN).count();
    if left > 0 {
        shown.push(format!("… and {left} more lines"));
    }
    shown
}

/// A line, safe to print.
pub(super) fn printable(line: &str) -> String {
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

/// The lines of both sides in order, each with `' '` (in both), `'-'` (stored) or `'+'` (expected).
pub(super) fn difference<'l>(stored: &'l [String], expected: &'l [String]) -> Vec<(char, &'l str)> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
