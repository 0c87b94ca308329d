//! The report as text for people: plain columns.

use super::observers::Observers;
use super::results::Row;
use super::rounds::LACKS;
use super::store::Report;
use crate::engine::Kind;
use std::fmt::Write;

const MIB: f64 = (1 << 20) as f64;

/// Everything, the figures first.
pub(super) fn table(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write(&mut out, report);
    out
}

fn write(out: &mut String, report: &Report) -> std::fmt::Result {
    let machine = &report.machine;
    writeln!(
        out,
        "{} cores of {}, Linux {}, huge pages: {} (shared memory: {}), load {}",
        machine.cores, machine.cpu, machine.kernel, machine.transparent_hugepage, machine.shmem_hugepage, machine.load
    )?;
    writeln!(
        out,
        "\n{} players; ours over theirs, medians over the rounds of one run",
        report.players
    )?;
    for figure in &report.ratios.0 {
        let value = figure.value.map_or_else(|| "missing".into(), short);
        let target = figure
            .target
            .map_or_else(String::new, |t| format!("at most {}", short(t)));
        let verdict = match (figure.value, figure.target) {
            (Some(value), Some(target)) if value > target => "missed",
            (Some(_), Some(_)) => "met",
            _ => "",
        };
        writeln!(out, "  {:<26} {value:>9}   {target:<16} {verdict}", figure.name)?;
    }
    writeln!(
        out,
        "\nns an operation{:>27} {:>10} {:>10} {:>7} {:>9}",
        "median", "min", "max", "rounds", "a round"
    )?;
    let mut last = None;
    // What a peer has not got is no news; what the store has not got is.
    let told = |row: &&Row| row.note != Some(LACKS) || row.engine == Kind::Shmstate.name();
    for row in report.rows.iter().filter(told) {
        let heading = heading(row);
        if last.as_ref() != Some(&heading) {
            writeln!(out, "{heading}")?;
            last = Some(heading);
        }
        match (row.ns, row.note) {
            (Some(ns), _) => {
                let [median, min, max] = [ns.median, ns.min, ns.max].map(short);
                let Row {
                    engine,
                    rounds,
                    operations,
                    ..
                } = row;
                writeln!(
                    out,
                    "  {engine:<28} {median:>11} {min:>10} {max:>10} {rounds:>7} {operations:>9}"
                )?;
            }
            (None, note) => writeln!(out, "  {:<28} {:>11}", row.engine, note.unwrap_or("missing"))?,
        }
    }
    writeln!(
        out,
        "\nmemory                      players       MiB   a player   over archives and keys"
    )?;
    for m in &report.memory {
        let over = m.overhead_percent.map_or_else(String::new, |p| format!("{p:+.1} %"));
        let name = format!("{} ({})", m.engine, m.when);
        let mib = m.bytes as f64 / MIB;
        writeln!(
            out,
            "  {name:<22} {:>10} {mib:>9.1} {:>10.1}   {over:>9}",
            m.players, m.bytes_per_player
        )?;
    }
    writeln!(out, "\non 2 MiB pages              players       MiB   of MiB")?;
    for p in &machine.huge_pages {
        let name = format!("{}: {}", p.engine, p.pages.what);
        let [huge, all] = [p.pages.huge_bytes, p.pages.bytes].map(|bytes| bytes as f64 / MIB);
        writeln!(out, "  {name:<22} {:>10} {huge:>9.1} {all:>8.1}", p.players)?;
    }
    observers(out, &report.observers)?;
    writeln!(out, "\nmade in {:.0} s", report.seconds)
}

/// What observers cost the owner.
fn observers(out: &mut String, o: &Observers) -> std::fmt::Result {
    writeln!(
        out,
        "\na tick of {} of {} players, µs       p50       p99   over alone: p50     p99   records copied a second",
        o.changed_a_tick, o.players
    )?;
    for (name, ticks) in o.each() {
        let [p50, p99, over50, over99] = [ticks.p50_us, ticks.p99_us, ticks.p50_ratio, ticks.p99_ratio].map(short);
        let copied = short(ticks.records_per_second);
        writeln!(
            out,
            "  {name:<28} {p50:>11} {p99:>9} {over50:>17} {over99:>7} {copied:>12}"
        )?;
    }
    Ok(())
}

fn heading(row: &Row) -> String {
    let mut heading = row.operation.replace('_', " ");
    if let Some(bytes) = row.region_bytes {
        let _ = write!(heading, ", {} MiB", bytes >> 20);
    } else {
        let _ = write!(heading, ", {} players", row.players);
    }
    if let Some(distribution) = row.distribution {
        let _ = write!(heading, ", {distribution}");
    }
    heading
}

/// About three digits that matter.
pub(super) fn short(number: f64) -> String {
    match number.abs() {
        n if n >= 100.0 => format!("{number:.0}"),
        n if n >= 10.0 => format!("{number:.1}"),
        n if n >= 0.1 => format!("{number:.2}"),
        _ => format!("{number:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::machine::Machine;
    use crate::report::observers::Ticks;
    use crate::report::ratios::{Figure, Ratios};
    use crate::report::results::Spread;

    #[test]
    fn says_what_was_missed_and_what_is_missing() {
        let figure = |name, value, target| Figure { name, value, target };
        let row = |engine, ns, note| Row {
            operation: "get_by_handle",
            engine,
            players: 1000,
            distribution: Some("uniform"),
            region_bytes: None,
            ns,
            rounds: 7,
            operations: 10,
            note,
        };
        let ns = Spread {
            min: 1.0,
            median: 123.4,
            max: 2000.0,
        };
        let ticks = Ticks {
            p50_us: 50.0,
            p99_us: 99.0,
            p50_ratio: 1.0,
            p99_ratio: 1.25,
            records_per_second: 1e6,
        };
        let report = Report {
            report: "store",
            players: 1000,
            ratios: Ratios(vec![
                figure("get_vs_hashmap", Some(1.25), Some(1.0)),
                figure("batch_get", Some(0.5), Some(0.6)),
                figure("pass_all", None, Some(0.7)),
            ]),
            rows: vec![
                row("shmstate", Some(ns), None),
                row("redis", None, Some("not installed")),
            ],
            memory: Vec::new(),
            observers: Observers {
                players: 1000,
                changed_a_tick: 500,
                ticks: 100,
                alone: ticks,
                peek: ticks,
                snapshot: ticks,
                validate: ticks,
                alone_again: ticks,
            },
            machine: Machine::here(),
            seconds: 1.0,
        };
        let text = table(&report);
        let line = |word: &str| text.lines().find(|line| line.contains(word)).unwrap_or("").to_owned();
        assert!(line("get_vs_hashmap").ends_with("at most 1.00     missed"), "{text}");
        assert!(line("batch_get").ends_with("at most 0.60     met"), "{text}");
        assert!(line("pass_all").contains("missing"), "{text}");
        assert_eq!(line("heed"), "");
        assert!(line("redis").contains("not installed"), "{text}");
        assert!(
            text.contains("get by handle, 1000 players, uniform\n  shmstate "),
            "{text}"
        );
        assert!(line("  shmstate").contains("123 "), "{text}");
        assert!(line("  validate").contains(" 1.25 "), "{text}");
    }
}
