//! A server process as the report holds it: its events, its orders, its memory, its end.

use crate::Result;
use crate::handover::event::{Event, Order, Serving};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child as Process, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Longest wait for anything a server does, but for filling its regions.
pub const LIMIT: Duration = Duration::from_secs(20);
/// Between two looks at something that no event tells of.
pub const LOOK: Duration = Duration::from_millis(1);

/// Waits until `look` gives something.
///
/// # Errors
/// It did not within `limit`.
pub fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if Instant::now() > end {
            return Err(format!("{what} did not come within {limit:?}").into());
        }
        std::thread::sleep(LOOK);
    }
}

/// A running server. Dropped, it is killed.
#[derive(Debug)]
pub struct Child {
    name: String,
    process: Process,
    orders: Option<ChildStdin>,
    events: Receiver<Event>,
}

/// Memory of a process, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Memory {
    /// Resident, shared pages in full.
    pub rss: u64,
    /// Resident, each shared page as a share.
    pub pss: u64,
}

impl Child {
    /// Starts a server that tells its events.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(name: &str, command: &mut Command) -> Result<Self> {
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("start {name}: {e}"))?;
        let output = process.stdout.take().ok_or("no pipe")?;
        let (sender, events) = channel();
        std::thread::spawn(move || {
            let lines = BufReader::new(output).lines().map_while(std::result::Result::ok);
            for event in lines.filter_map(|line| serde_json::from_str(&line).ok()) {
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            name: name.into(),
            orders: process.stdin.take(),
            process,
            events,
        })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The next event.
    ///
    /// # Errors
    /// None came within `limit`; or it failed, and says why.
    pub fn event(&mut self, limit: Duration) -> Result<Event> {
        match self.events.recv_timeout(limit) {
            Ok(Event::Failed(why)) => Err(format!("{} failed: {why}", self.name).into()),
            Ok(event) => Ok(event),
            Err(e) => Err(format!("no event of {} within {limit:?}: {e}", self.name).into()),
        }
    }

    /// Waits until it serves.
    ///
    /// # Errors
    /// It does not.
    pub fn serving(&mut self, limit: Duration) -> Result<Serving> {
        loop {
            match self.event(limit)? {
                Event::Resident | Event::Started => {}
                Event::Serving(serving) => return Ok(serving),
                other => return Err(format!("{} was to serve: {other:?}", self.name).into()),
            }
        }
    }

    /// Waits for exactly this event.
    ///
    /// # Errors
    /// Another comes first.
    pub fn expect(&mut self, expected: &Event) -> Result<()> {
        let event = self.event(LIMIT)?;
        if event == *expected {
            return Ok(());
        }
        Err(format!("{} told {event:?}, not {expected:?}", self.name).into())
    }

    /// Waits until it has handed over and drained.
    ///
    /// # Errors
    /// It ends otherwise.
    pub fn drained(&mut self) -> Result<()> {
        self.expect(&Event::HandedOver)?;
        self.expect(&Event::Drained)
    }

    /// Tells it something.
    ///
    /// # Errors
    /// It has ended.
    pub fn tell(&mut self, order: Order) -> Result<()> {
        let orders = self.orders.as_mut().ok_or("it has ended")?;
        writeln!(orders, "{}", order.word()).map_err(|e| format!("tell {}: {e}", self.name).into())
    }

    /// Waits for its end; gives when it was seen, ns.
    ///
    /// # Errors
    /// It does not end.
    pub fn exit(&mut self) -> Result<u64> {
        // Whoever reads no orders ends with its input at the latest.
        let name = format!("the end of {}", self.name);
        until(&name, LIMIT, || self.process.try_wait().ok().flatten())?;
        Ok(shmstate::monotonic_ns())
    }

    /// Its memory now.
    ///
    /// # Errors
    /// It is dead.
    pub fn memory(&self) -> Result<Memory> {
        let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid()))?;
        Ok(Memory {
            rss: field(&text, "Rss:"),
            pss: field(&text, "Pss:"),
        })
    }
}

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

impl Drop for Child {
    fn drop(&mut self) {
        // Dead already is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_the_rollup() {
        let text =
            "7f00-7fff ---p 00000000 00:00 0 [rollup]\nRss:        100 kB\nPss:         60 kB\nPss_Dirty: 1 kB\n";
        assert_eq!((field(text, "Rss:"), field(text, "Pss:")), (100 << 10, 60 << 10));
        assert_eq!(field("", "Rss:"), 0);
    }

    #[test]
    fn waits_end() {
        let waited = until::<()>("nothing", Duration::from_millis(3), || None);
        assert!(waited.is_err_and(|e| e.to_string().contains("nothing did not come")));
    }
}
