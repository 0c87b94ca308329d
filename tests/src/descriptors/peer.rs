//! A server process, and the place in which a node of a test lives.

use crate::node::wait::{LIMIT, until};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, channel};
use tempfile::TempDir;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A node that nobody serves yet: a directory of its own, and an address in 127/8 that no other test has.
#[derive(Debug)]
pub struct Place {
    program: PathBuf,
    directory: TempDir,
    node: String,
    /// An IPv4 address.
    pub ip: std::net::Ipv4Addr,
}

impl Place {
    /// `program` is the server.
    ///
    /// # Panics
    /// There is no room for a temporary directory.
    #[must_use]
    pub fn new(program: &str) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let [high, low] = (std::process::id() as u16).to_be_bytes();
        Self {
            program: program.into(),
            directory: tempfile::tempdir().expect("a temporary directory"),
            node: format!("fds-{}-{number}", std::process::id()),
            ip: std::net::Ipv4Addr::new(127, high, low, (number % 250 + 2) as u8),
        }
    }

    /// A file of this test.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Where the nodes' directories are.
    #[must_use]
    pub fn base(&self) -> PathBuf {
        self.file("nodes")
    }

    /// The node's control socket.
    #[must_use]
    pub fn control(&self) -> PathBuf {
        self.base().join(&self.node).join("control")
    }

    /// What the control block says.
    ///
    /// # Panics
    /// It cannot be read.
    #[must_use]
    pub fn status(&self) -> handover::Status {
        handover::status(&self.base(), &self.node).expect("status")
    }

    /// The command line of a server.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Vec<String> {
        let mut all = vec![self.program.display().to_string()];
        all.extend(["--dir".into(), self.base().display().to_string()]);
        all.extend(["--node".into(), self.node.clone()]);
        all.extend(arguments.iter().map(|a| (*a).to_owned()));
        all
    }

    /// Starts a server.
    #[must_use]
    pub fn spawn(&self, arguments: &[&str]) -> Server {
        let line = self.command(arguments);
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]).stdin(Stdio::piped());
        Server::of(&mut command)
    }

    /// Starts a server and waits until it serves.
    #[must_use]
    pub fn serving(&self, arguments: &[&str]) -> Server {
        let mut server = self.spawn(arguments);
        server.expect("started");
        server.expect("serving");
        server
    }

    /// Ends the node, and checks that nothing is left.
    ///
    /// # Panics
    /// Something is.
    pub fn close(self, mut owner: Server) {
        owner.tell("stop");
        owner.expect("stopped");
        owner.end();
        assert!(!self.base().join(&self.node).exists(), "the runtime directory is left");
    }
}

/// A running server. Dropped, it is killed.
#[derive(Debug)]
pub struct Server {
    child: Child,
    orders: Option<ChildStdin>,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Server {
    /// Starts it.
    ///
    /// # Panics
    /// It cannot be started.
    #[must_use]
    pub fn of(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("start a server");
        let output = child.stdout.take().expect("piped");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            orders: child.stdin.take(),
            child,
            lines,
            seen: Vec::new(),
        }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line, which begins with `word`; gives the rest.
    ///
    /// # Panics
    /// Another comes, or none.
    pub fn expect(&mut self, word: &str) -> String {
        let line = match self.lines.recv_timeout(LIMIT) {
            Ok(line) => line,
            Err(e) => panic!("{word:?} was due: {e}, after {:?}", self.seen),
        };
        self.seen.push(line.clone());
        let Some(rest) = line.strip_prefix(word) else {
            panic!("{word:?} was due, and not {line:?}, after {:?}", self.seen);
        };
        rest.trim().to_owned()
    }

    /// Says something.
    ///
    /// # Panics
    /// It has ended.
    pub fn tell(&mut self, order: &str) {
        let orders = self.orders.as_mut().expect("takes orders");
        writeln!(orders, "{order}").expect("tell");
    }

    /// Says something that is answered by a line with the same first word; gives the rest.
    ///
    /// # Panics
    /// It is not.
    pub fn ask(&mut self, order: &str) -> String {
        self.tell(order);
        self.expect(order.split(' ').next().unwrap_or_default())
    }

    /// How many entries its directory of this name in /proc has, or how many lines its file.
    ///
    /// # Panics
    /// It is dead.
    #[must_use]
    pub fn proc_count(&self, what: &str) -> usize {
        let path = Path::new("/proc").join(self.pid().to_string()).join(what);
        match std::fs::read_dir(&path) {
            Ok(entries) => entries.count(),
            Err(_) => std::fs::read_to_string(&path).expect("proc").lines().count(),
        }
    }

    /// Its resident memory, KiB.
    ///
    /// # Panics
    /// It is dead.
    #[must_use]
    pub fn resident_kib(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("proc");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .expect("VmRSS");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Kills it and waits until it is dead.
    ///
    /// # Panics
    /// It cannot be waited for.
    pub fn kill(&mut self) {
        // Dead already is as good.
        let _ = self.child.kill();
        self.child.wait().expect("wait");
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// It does not end well.
    pub fn end(&mut self) {
        let status = until("the end of a server", || self.child.try_wait().expect("wait"));
        assert!(status.success(), "{status} after {:?}", self.seen);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
