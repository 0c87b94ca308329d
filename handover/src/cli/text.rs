//! Numbers and tables for people.

use std::fmt::Write;
use std::time::Duration;

/// Spaces between two columns.
const GAP: usize = 2;

/// Where the text of a column stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// Rows under a head, as wide as their longest texts.
#[derive(Debug)]
pub(super) struct Table<const N: usize> {
    head: [(&'static str, Align); N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    pub(super) fn new(head: [(&'static str, Align); N]) -> Self {
        Self { head, rows: Vec::new() }
    }

    pub(super) fn row(&mut self, row: [String; N]) {
        self.rows.push(row);
    }

    /// The table with `indent` spaces in front of each line.
    pub(super) fn render(&self, indent: usize) -> String {
        let head = self.head.map(|(title, _)| title.to_owned());
        let lines = || std::iter::once(&head).chain(&self.rows);
        let widths: [usize; N] =
            std::array::from_fn(|i| lines().map(|row| row[i].chars().count()).max().unwrap_or_default());
        let mut out = String::new();
        for row in lines() {
            let mut line = " ".repeat(indent);
            for (i, text) in row.iter().enumerate() {
                let pad = " ".repeat(widths[i] - text.chars().count());
                let between = " ".repeat(if i == 0 { 0 } else { GAP });
                match self.head[i].1 {
                    Align::Left => line += &format!("{between}{text}{pad}"),
                    Align::Right => line += &format!("{between}{pad}{text}"),
                }
            }
            out += line.trim_end();
            out.push('\n');
        }
        out
    }
}

/// Names with their values, one below the other.
pub(super) fn fields(fields: &[(&str, String)]) -> String {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let mut out = String::new();
    for (name, value) in fields {
        // Writing into a string cannot fail.
        let _ = writeln!(out, "  {name:width$}  {value}");
    }
    out
}

/// A duration to one unit: `340 ms`, `12 s`, `3 min`, `5 h`, `2 d`.
pub(super) fn roughly(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{} ms", time.as_millis()),
        s @ 1..120 => format!("{s} s"),
        s @ 120..7_200 => format!("{} min", s / 60),
        s @ 7_200..172_800 => format!("{} h", s / 3_600),
        s => format!("{} d", s / 86_400),
    }
}

/// Bytes to one unit and exactly: `4.0 MiB (4194304 bytes)`.
pub(super) fn bytes(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    format!("{} ({bytes} bytes)", short_bytes(bytes))
}

/// Bytes to one unit: `4.0 MiB`.
pub(super) fn short_bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    if unit == "B" {
        format!("{bytes} B")
    } else {
        format!("{value:.1} {unit}")
    }
}

/// One and many: `1 record`, `2 records`.
pub(super) fn count(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

/// A number with one decimal, or a dash.
pub(super) fn decimal(number: Option<f64>) -> String {
    number.map_or_else(|| "-".into(), |n| format!("{n:.1}"))
}

/// Text of unknown origin without what moves a terminal's cursor; lines stay lines.
pub(super) fn clean(text: &str) -> String {
    text.replace(|c: char| c.is_control() && c != '\n', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        let texts = [0, 1, 119, 120, 7_199, 7_200, 172_800].map(|s| roughly(Duration::from_secs(s)));
        assert_eq!(texts, ["0 ms", "1 s", "119 s", "2 min", "119 min", "2 h", "2 d"]);
        assert_eq!(bytes(1023), "1023 bytes");
        assert_eq!(bytes(1536), "1.5 KiB (1536 bytes)");
        assert_eq!(short_bytes(u64::MAX), "16777216.0 TiB");
        assert_eq!(count(1, "record") + &count(0, "table"), "1 record0 tables");
        assert_eq!(clean("a\x1b[2J\nb"), "a\u{fffd}[2J\nb");
    }

    #[test]
    fn columns_line_up() {
        let mut table = Table::new([("NAME", Align::Left), ("N", Align::Right), ("WHY", Align::Left)]);
        table.row(["größe".into(), "1".into(), String::new()]);
        table.row(["b".into(), "100".into(), "x".into()]);
        assert_eq!(table.render(1), " NAME     N  WHY\n größe    1\n b      100  x\n");
    }
}
