//! Clients that come, are welcomed, and go, over and over: so at each point there is one that has just come, and one that has just gone.

use actors::node::wait::LIMIT;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// So many at once that one comes at each point.
const VISITORS: usize = 2;
/// Between two visits of one.
const BREAK: Duration = Duration::from_millis(1);
/// Who they say they are.
const ID: u64 = 999_999;

/// Those who come and go.
pub(crate) struct Visitors {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    over: AtomicBool,
    /// Visits that ended without a welcome.
    cut: AtomicUsize,
}

impl Visitors {
    /// The first ones come.
    pub(crate) fn new(address: SocketAddr) -> Self {
        let shared = Arc::<Shared>::default();
        let start = |_| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || {
                while !shared.over.load(Ordering::Relaxed) {
                    if visit(address).is_err() {
                        shared.cut.fetch_add(1, Ordering::Relaxed);
                    }
                    std::thread::sleep(BREAK);
                }
            })
        };
        let threads = (0..VISITORS).map(start).collect();
        Self { shared, threads }
    }

    /// Nobody comes any more; gives how many were cut.
    pub(crate) fn finish(mut self) -> usize {
        self.end();
        self.shared.cut.load(Ordering::Relaxed)
    }

    fn end(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic in it has been printed.
            let _ = thread.join();
        }
    }
}

impl Drop for Visitors {
    fn drop(&mut self) {
        self.end();
    }
}

fn visit(address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(format!("hello {ID}\n").as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    match line.starts_with("welcome ") {
        true => Ok(()),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
