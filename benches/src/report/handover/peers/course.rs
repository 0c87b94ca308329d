//! The course that every tool runs: busy connections, an equal time without and with an upgrade, a second upgrade whose new process
//! is killed.

use crate::Result;
use crate::handover::child::{LIMIT, until};
use crate::handover::clients::{Clients, Plan as Load};
use crate::handover::speech::{Heard, Speech};
use crate::report::handover::peers::row::Peer;
use crate::report::handover::peers::tool::Tool;
use crate::report::handover::plan::{PeerPlan, Plan, rate};
use crate::report::handover::scene::pid;
use rustix::process::{Signal, kill_process};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long a new process may take until it answers.
const SERVES: Duration = Duration::from_secs(15);
/// How much longer than its drain an old process may live.
const ENDS: Duration = Duration::from_secs(3);
/// How long a new connection may wait for its answer.
const ANSWER: Duration = Duration::from_millis(500);
/// Between two of them.
const AGAIN: Duration = Duration::from_millis(50);

pub(super) fn run(plan: &Plan, peers: &PeerPlan, tool: &mut dyn Tool, row: &mut Peer) -> Result<()> {
    tool.start()?;
    let address = tool.address();
    let speech = tool.speech();
    until("a listener", LIMIT, || answers(address, speech).then_some(()))?;
    let load = Load {
        address,
        connections: plan.busy,
        a_second: rate(plan.busy),
        speech,
        again: true,
    };
    let clients = Clients::start(load, LIMIT)?;

    clients.window()?;
    // A window is a length of time: nothing ends it.
    std::thread::sleep(peers.window);
    row.baseline_gap_ms = Some(clients.window()?);

    let (old, new) = upgrade(tool, &clients, row)?;
    let begun = Instant::now();
    let ordered = new.ordered;
    let gone = until("the end of the old process", tool.drain() + ENDS, || {
        tool.is_gone(old).then(shmstate::monotonic_ns)
    });
    row.old_gone_after_ms = gone.ok().map(|at| at.saturating_sub(ordered) as f64 / 1e6);
    // The rest of the window.
    std::thread::sleep(peers.window.saturating_sub(begun.elapsed()));
    row.longest_gap_ms = Some(clients.window()?);
    let seen = clients.seen();
    row.connections_cut = Some(seen.cut);
    row.lost = Some(seen.lost + seen.skipped + seen.doubled + seen.torn);

    let mut again = row.clone();
    let (_, new) = upgrade(tool, &clients, &mut again)?;
    // So long after its upgrade it is killed, whatever it does.
    std::thread::sleep(peers.killed_after);
    let killed_pid = tool.pid_of(new.who);
    kill_process(pid(killed_pid)?, Signal::KILL)?;
    let killed = Instant::now();
    until("the death of the new process", LIMIT, || {
        tool.is_gone(killed_pid).then_some(())
    })?;
    let mut serves = false;
    while !serves && killed.elapsed() < peers.outage {
        serves = answers(address, speech);
        if !serves {
            std::thread::sleep(AGAIN);
        }
    }
    row.killed_1s_after_upgrade = Some(if serves { "serves" } else { "outage" });
    row.cut_when_killed = Some(clients.seen().cut - seen.cut);
    Ok(())
}

struct New {
    who: u32,
    ordered: u64,
}

/// One upgrade, until the new process answers; gives the pid of the old one, and the new one.
fn upgrade(tool: &mut dyn Tool, clients: &Clients, row: &mut Peer) -> Result<(u32, New)> {
    let before: Vec<u32> = clients.seen().who.iter().map(|w| w.who).collect();
    let old = before.last().copied().ok_or("nobody has answered")?;
    let old = tool.pid_of(old);
    let ordered = shmstate::monotonic_ns();
    tool.upgrade()?;
    let address = tool.address();
    let speech = tool.speech();
    // Clients whose connections stay with the old process do not see the new one: a new connection does.
    let (who, at) = until("an answer of the new process", SERVES, || {
        let seen = clients.seen();
        if let Some(other) = seen.who.iter().find(|w| !before.contains(&w.who)) {
            return Some((other.who, other.first));
        }
        let who = ask(address, speech)?;
        (!before.contains(&who)).then(|| (who, shmstate::monotonic_ns()))
    })?;
    tool.noticed(who);
    let took = at.saturating_sub(ordered);
    row.new_serves_after_ms = Some(took as f64 / 1e6);
    if row.state_bytes > 0 {
        row.state_bytes_per_s = Some(row.state_bytes as f64 / (took as f64 / 1e9));
    }
    Ok((old, New { who, ordered }))
}

fn answers(address: SocketAddr, speech: Speech) -> bool {
    ask(address, speech).is_some()
}

/// Who answers a new connection, if anybody does soon.
fn ask(address: SocketAddr, speech: Speech) -> Option<u32> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER).ok()?;
    stream.set_read_timeout(Some(ANSWER)).ok()?;
    let mut request = Vec::new();
    speech.ask(1, &mut request);
    stream.write_all(&request).ok()?;
    let mut heard = Vec::new();
    let mut bytes = [0; 512];
    loop {
        let n = stream.read(&mut bytes).ok().filter(|n| *n > 0)?;
        heard.extend_from_slice(&bytes[..n]);
        match speech.hear(&heard) {
            Heard::Part => {}
            Heard::Reply(reply, _) => return Some(reply.who),
            Heard::Torn => return None,
        }
    }
}
