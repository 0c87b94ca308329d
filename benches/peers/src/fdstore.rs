//! systemd's descriptor store: the service's manager keeps its listener, its connections and its memory between two processes.
//!
//! Counts of connections lie in the memory too, a slot each; a connection's name in the store says which.

use crate::frames::{REQUEST, Reply, asked};
use crate::state::BALLAST;
use crate::{Options, Result, store};
use memmap2::MmapMut;
use rustix::fs::{MemfdFlags, memfd_create};
use std::cell::RefCell;
use std::fs::File;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::rc::Rc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

/// Slots for the counts of connections.
const SLOTS: usize = 16 * 1024;
/// Where records begin.
const RECORDS: usize = SLOTS * 8;

type Memory = Rc<RefCell<MmapMut>>;

pub(crate) async fn run(options: &Options) -> Result<()> {
    let manager = Manager::find()?;
    let (mut listener, mut state, mut connections) = (None, None, Vec::new());
    for (name, fd) in store::inherited() {
        match name.as_str() {
            "listen" => listener = Some(std::net::TcpListener::from(fd)),
            "state" => state = Some(File::from(fd)),
            other => match other.strip_prefix('c').and_then(|slot| slot.parse::<usize>().ok()) {
                Some(slot) => connections.push((slot, std::net::TcpStream::from(fd))),
                None => return Err(format!("an unknown descriptor {other:?}").into()),
            },
        }
    }
    let state = match state {
        Some(state) => state,
        None => {
            let state = File::from(memfd_create("state", MemfdFlags::CLOEXEC)?);
            state.set_len(RECORDS as u64 + options.bytes)?;
            manager.keep("state", state.as_fd())?;
            let mut memory = store::map(&state)?;
            memory[RECORDS..].fill(1);
            state
        }
    };
    let memory: Memory = Rc::new(RefCell::new(store::map(&state)?));
    let listener = match listener {
        Some(listener) => listener,
        None => {
            let listener = std::net::TcpListener::bind(options.listen)?;
            manager.keep("listen", listener.as_fd())?;
            listener
        }
    };
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let mut next = connections.iter().map(|(slot, _)| slot + 1).max().unwrap_or(0);
    let mut end = signal(SignalKind::terminate())?;
    let tasks = LocalSet::new();
    tasks
        .run_until(async {
            for (slot, stream) in connections {
                stream.set_nonblocking(true)?;
                let stream = TcpStream::from_std(stream)?;
                tokio::task::spawn_local(talk(stream, slot, Rc::clone(&memory)));
            }
            manager.say("READY=1", None)?;
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        if let Ok((stream, _)) = accepted {
                            manager.keep(&format!("c{next}"), stream.as_fd())?;
                            memory.borrow_mut()[next * 8..next * 8 + 8].fill(0);
                            tokio::task::spawn_local(talk(stream, next, Rc::clone(&memory)));
                            next = (next + 1) % SLOTS;
                        }
                    }
                    // Every task stands between two requests, or has not sent the whole of an answer, which small ones do not do.
                    _ = end.recv() => std::process::exit(0),
                }
            }
        })
        .await
}

async fn talk(mut stream: TcpStream, slot: usize, memory: Memory) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let who = std::process::id();
    let mut bytes = [0; REQUEST];
    loop {
        stream.read_exact(&mut bytes).await?;
        let Some(number) = asked(&bytes) else {
            return Ok(());
        };
        let answered = {
            let mut memory = memory.borrow_mut();
            let records = ((memory.len() - RECORDS) / BALLAST).max(1) as u64;
            let record = RECORDS + (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % records) as usize * BALLAST;
            add(&mut memory, record);
            add(&mut memory, slot * 8)
        };
        let reply = Reply { who, number, answered };
        stream.write_all(&reply.bytes()).await?;
    }
}

/// Adds one to the number at `at`.
fn add(memory: &mut MmapMut, at: usize) -> u64 {
    let Some(bytes) = memory.get_mut(at..at + 8) else {
        return 0;
    };
    let mut number = [0; 8];
    number.copy_from_slice(bytes);
    let number = u64::from_le_bytes(number) + 1;
    bytes.copy_from_slice(&number.to_le_bytes());
    number
}

/// The service manager, as a service reaches it.
struct Manager(UnixDatagram);

impl Manager {
    fn find() -> Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(std::env::var("NOTIFY_SOCKET").map_err(|_| "no service manager: NOTIFY_SOCKET is not set")?)?;
        Ok(Self(socket))
    }

    fn keep(&self, name: &str, fd: BorrowedFd<'_>) -> Result<()> {
        self.say(&format!("FDSTORE=1\nFDNAME={name}\nFDPOLL=0"), Some(fd))
    }

    fn say(&self, text: &str, fd: Option<BorrowedFd<'_>>) -> Result<()> {
        use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds: Vec<BorrowedFd<'_>> = fd.into_iter().collect();
        if !fds.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(&fds));
        }
        sendmsg(&self.0, &[IoSlice::new(text.as_bytes())], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

