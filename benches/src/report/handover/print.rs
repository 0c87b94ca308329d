//! The report as text for people: plain columns.

use super::Report;
use super::blackout::Row;
use crate::handover::quantiles::Quantiles;
use crate::report::print::short;
use std::fmt::Write;

const MIB: u64 = 1 << 20;
const MISSING: &str = "missing";

/// Everything, the figures first.
pub(super) fn table(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write(&mut out, report);
    out
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| MISSING.into(), short)
}

fn spread(quantiles: Option<Quantiles>) -> String {
    quantiles.map_or_else(
        || MISSING.into(),
        |q| {
            format!(
                "p50 {}, p99 {}, max {} (n = {})",
                short(q.p50),
                short(q.p99),
                short(q.max),
                q.n
            )
        },
    )
}

fn write(out: &mut String, r: &Report) -> std::fmt::Result {
    let machine = &r.machine;
    writeln!(
        out,
        "{} cores of {}, Linux {}, huge pages: {} (shared memory: {}), load {}\n",
        machine.cores, machine.cpu, machine.kernel, machine.transparent_hugepage, machine.shmem_hugepage, machine.load
    )?;
    for figure in &r.figures.0 {
        let value = number(figure.value);
        let bound = if figure.more_is_better { "at least" } else { "at most" };
        let target = format!("{bound} {}", short(figure.target));
        let verdict = match figure.met {
            Some(true) => "met",
            Some(false) => "missed",
            None => "",
        };
        writeln!(out, "  {:<28} {value:>9}   {target:<18} {verdict}", figure.name)?;
    }
    writeln!(out, "\n  blackout, µs              {}", spread(r.blackout_us))?;
    writeln!(out, "  noise, µs                 {}", spread(r.noise_us))?;
    writeln!(out, "  last to first tick, µs    {}", spread(r.tick_gap_us))?;
    writeln!(out, "  last to first answer, µs  {}", spread(r.reply_gap_us))?;
    writeln!(out, "  between answers, µs       {}", spread(r.replies.spacing_us))?;
    writeln!(out, "  give-back, ms             {}", spread(r.give_back_ms))?;
    writeln!(out, "    by SIGKILL              {}", spread(r.give_back.by_kill_ms))?;
    writeln!(out, "    by SIGSEGV, core dumped {}", spread(r.give_back.by_crash_ms))?;
    writeln!(
        out,
        "    by SIGKILL, small pages {}",
        spread(r.give_back.by_kill_in_small_pages_ms)
    )?;
    writeln!(
        out,
        "    to the first answer     {}",
        spread(r.give_back.first_answer_ms)
    )?;
    if let Some(note) = &r.give_back.note {
        writeln!(out, "    {note}")?;
    }
    writeln!(
        out,
        "\nblackout, µs            MiB  clients  regions      p50      p99      max   noise p50   joined ms      n"
    )?;
    for (name, rows) in [
        ("by size", &r.by_size),
        ("by connections", &r.by_connections),
        ("by regions", &r.by_regions),
    ] {
        rows.iter().try_for_each(|row| line(out, name, row))?;
    }
    let u = &r.upgrades;
    writeln!(
        out,
        "\nupgrades by a new process: {} MiB, {} busy connections, ticks of {} ms",
        u.bytes / MIB,
        u.connections,
        short(u.tick_ms)
    )?;
    for (name, quantiles) in [
        ("longest gap without, ms", u.gap_without_ms),
        ("longest gap with, ms", u.gap_with_ms),
        ("serves after, ms", u.serves_after_ms),
        ("old gone after, ms", u.old_gone_after_ms),
    ] {
        writeln!(out, "  {name:<25} {}", spread(quantiles))?;
    }
    let m = &u.memory;
    let [alone, old, new] = [m.alone, m.old, m.new].map(|memory| format!("{}/{}", memory.rss / MIB, memory.pss / MIB));
    writeln!(
        out,
        "  memory, MiB RSS/PSS       alone {alone}, at peak old {old} and new {new}"
    )?;
    let l = &r.under_load;
    writeln!(
        out,
        "  {} upgrades under load: {} answers, {} connections cut, {} lost, {} doubled, {} torn",
        l.upgrades, l.answered, l.connections_cut, l.lost, l.doubled, l.torn
    )?;
    let s = &r.short_connections;
    writeln!(
        out,
        "  {} upgrades beside short connections: {} answered, {} refused, {} reset, {} late; {} a second",
        s.upgrades,
        s.tally.answered,
        s.tally.refused,
        s.tally.reset,
        s.tally.late,
        short(s.a_second)
    )?;
    peers(out, r)?;
    writeln!(out, "\nmade in {:.0} s", r.seconds)
}

fn line(out: &mut String, name: &str, row: &Row) -> std::fmt::Result {
    let Row {
        bytes,
        connections,
        regions,
        n,
        ..
    } = *row;
    write!(out, "  {name:<18} {:>6} {connections:>8} {regions:>8}", bytes / MIB)?;
    if let Some(note) = &row.note {
        return writeln!(out, "   {note}");
    }
    let [p50, p99, max] = [row.p50, row.p99, row.max].map(number);
    let noise = number(row.noise_us.map(|q| q.p50));
    let joined = number(row.joined_ms.map(|q| q.p50));
    writeln!(out, " {p50:>8} {p99:>8} {max:>8} {noise:>11} {joined:>11} {n:>6}")
}

fn peers(out: &mut String, r: &Report) -> std::fmt::Result {
    if r.peers.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\npeers                       version           cut     lost   gap ms  (usual)   serves ms    gone ms   killed 1 s later   state"
    )?;
    for peer in &r.peers {
        let version = peer.version.as_deref().unwrap_or("");
        write!(out, "  {:<25} {version:<17}", peer.tool)?;
        if peer.connections_cut.is_some() {
            let [cut, lost] = [peer.connections_cut, peer.lost].map(|n| n.map_or_else(String::new, |n| n.to_string()));
            let [gap, usual, serves, gone] = [
                peer.longest_gap_ms,
                peer.baseline_gap_ms,
                peer.new_serves_after_ms,
                peer.old_gone_after_ms,
            ]
            .map(number);
            let killed = peer.killed_1s_after_upgrade.unwrap_or("");
            write!(
                out,
                "{cut:>4} {lost:>8} {gap:>8} {usual:>8} {serves:>11} {gone:>10}   {killed:<18}"
            )?;
            write!(out, " {}", peer.state)?;
            if let Some(speed) = peer.state_bytes_per_s {
                write!(
                    out,
                    " ({} MiB, {} MiB/s)",
                    peer.state_bytes / MIB,
                    short(speed / MIB as f64)
                )?;
            }
        }
        writeln!(out, " {}", peer.note.as_deref().unwrap_or(""))?;
    }
    Ok(())
}
