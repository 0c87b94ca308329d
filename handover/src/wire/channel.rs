//! A channel that carries messages with their descriptors, and the socket on which a node waits for successors.
//!
//! - Messages are numbered from 0 in each direction; a gap is an error. So is a message whose descriptors are not
//!   those it lists. After an error on a channel the handover is off; a refusal can still be sent.
//! - Descriptors that come with a message that is refused are closed (H6).
//! - Only processes of our own uid are talked to, by SO_PEERCRED.
//!
//! This file does not know which message is due.

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen, socket_with,
};

use super::frame::{Header, LOWEST, MAX_FRAME};
use super::message::{self, Message};
use super::sabotage::{Left, left_out};
use crate::error::{Error, FrameProblem, Result};
use crate::os::clock::Deadline;
use crate::os::peer::Peer;
use crate::os::{poll, rights};

/// Successors that may wait to be accepted.
const BACKLOG: i32 = 16;
/// Pause between two attempts to connect to a socket that is not there yet, or whose backlog is full.
const RETRY: Duration = Duration::from_millis(2);
/// Mode of the socket file.
const SOCKET_MODE: u32 = 0o600;
/// Every socket here: not inherited by exec, never blocking.
const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

/// One end of a connection between predecessor and successor.
pub struct Channel {
    sender: Sender,
    peer: Peer,
    version: u16,
    received: u32,
    buffer: Box<[u8]>,
}

/// The sending half of a channel, for every thread that has something to say. The channel is closed when all of them are gone.
#[derive(Clone, Debug)]
pub struct Sender(Arc<Sending>);

#[derive(Debug)]
struct Sending {
    socket: OwnedFd,
    /// Version and number of the next message. Held while one is sent: numbers go out in order.
    next: Mutex<(u16, u32)>,
}

impl Sender {
    /// Sends a message with its descriptors.
    ///
    /// # Errors
    /// [`FrameProblem`] if it cannot be encoded or lists other descriptors than `fds`; what
    /// [`rights::send_with_fds`] fails with. A message that was not sent takes no number.
    pub fn send(&self, message: &Message, fds: &[BorrowedFd<'_>], deadline: Deadline) -> Result<()> {
        if fds.len() > rights::MAX_DESCRIPTORS {
            return Err(Error::TooManyDescriptors {
                given: fds.len(),
                limit: rights::MAX_DESCRIPTORS,
            });
        }
        check_descriptors(message, fds.len())?;
        let mut next = self.0.next.lock().unwrap_or_else(PoisonError::into_inner);
        let frame = message.encode(next.0, next.1)?;
        rights::send_with_fds(self.0.socket.as_fd(), &frame, fds, deadline)?;
        next.1 = next.1.wrapping_add(1);
        Ok(())
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("peer", &self.peer)
            .field("sender", &self.sender)
            .field("received", &self.received)
            .finish_non_exhaustive()
    }
}

impl Channel {
    /// A channel over a connected `SOCK_SEQPACKET` socket.
    ///
    /// # Errors
    /// [`Error::WrongUid`] if the other end belongs to another user.
    pub fn new(socket: OwnedFd) -> Result<Self> {
        let peer = Peer::of_same_user(&socket)?;
        Ok(Self {
            sender: Sender(Arc::new(Sending {
                socket,
                next: Mutex::new((LOWEST, 0)),
            })),
            peer,
            version: LOWEST,
            received: 0,
            buffer: vec![0; MAX_FRAME].into_boxed_slice(),
        })
    }

    /// Connects to the node whose socket is at `path`. Tries again while there is none, or nobody listens.
    ///
    /// # Errors
    /// [`Error::Deadline`] if that stayed so; [`Error::WrongUid`].
    pub fn connect(path: &Path, deadline: Deadline) -> Result<Self> {
        loop {
            let socket = seqpacket()?;
            let error = match with_address(path, |address| connect(&socket, address)) {
                Ok(()) => return Self::new(socket),
                Err(Error::Io { source, .. })
                    if [Errno::NOENT, Errno::CONNREFUSED, Errno::AGAIN, Errno::INTR]
                        .iter()
                        .any(|e| source.raw_os_error() == Some(e.raw_os_error())) =>
                {
                    deadline.error("a connection to the owner of the node")
                }
                Err(e) => return Err(e),
            };
            if !deadline.pause(RETRY) {
                return Err(error);
            }
        }
    }

    /// The other end, as the kernel saw it when the channel was made. For the one who connected it is the process
    /// that called `listen` last, not necessarily the one that accepted.
    #[must_use]
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// From here on messages are written in `version`, and only that one is accepted (but for `hello` and
    /// `refuse`).
    pub fn set_version(&mut self, version: u16) {
        self.version = version;
        let mut next = self.sender.0.next.lock().unwrap_or_else(PoisonError::into_inner);
        next.0 = version;
    }

    /// The sending half, for other threads.
    #[must_use]
    pub fn sender(&self) -> Sender {
        self.sender.clone()
    }

    /// Sends a message with its descriptors, as [`Sender::send`] does.
    ///
    /// # Errors
    /// Those of [`Sender::send`].
    pub fn send(&mut self, message: &Message, fds: &[BorrowedFd<'_>], deadline: Deadline) -> Result<()> {
        self.sender.send(message, fds, deadline)
    }

    /// Receives the next message with its descriptors, in the order in which the message lists them.
    ///
    /// # Errors
    /// [`Error::Closed`] at the end, [`Error::Deadline`], [`Error::Truncated`], [`FrameProblem`],
    /// [`Error::Unsupported`].
    pub fn recv(&mut self, deadline: Deadline) -> Result<(Message, Vec<OwnedFd>)> {
        let received = rights::recv_with_fds(self.sender.0.socket.as_fd(), &mut self.buffer, deadline);
        let (len, fds) = match received {
            Ok(received) => received,
            Err(Error::Truncated { received, limit, .. }) => {
                let needed = message::listed_descriptors(&self.buffer);
                return Err(Error::Truncated {
                    received,
                    needed,
                    limit,
                });
            }
            Err(e) => return Err(e),
        };
        let (header, body) = Header::decode(&self.buffer[..len])?;
        if header.number != self.received && !left_out(Left::Number) {
            return Err(FrameProblem::Number {
                expected: self.received,
                found: header.number,
            }
            .into());
        }
        let message = Message::decode(header.kind, body)?;
        let frozen = matches!(message, Message::Hello(_) | Message::Refuse { .. });
        let due = if frozen { LOWEST } else { self.version };
        if header.version != due && !left_out(Left::Version) {
            return Err(Error::Unsupported {
                ours: (due, due),
                theirs: (header.version, header.version),
            });
        }
        check_descriptors(&message, fds.len())?;
        self.received = self.received.wrapping_add(1);
        Ok((message, fds))
    }
}

impl AsFd for Channel {
    /// For an event loop that waits for more than one thing.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.sender.0.socket.as_fd()
    }
}

fn check_descriptors(message: &Message, received: usize) -> Result<(), FrameProblem> {
    let announced = message.descriptors();
    if announced == received || left_out(Left::Descriptors) {
        Ok(())
    } else {
        Err(FrameProblem::Descriptors { announced, received })
    }
}

/// The socket on which the owner of a node waits for successors.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
}

impl Listener {
    /// Makes the socket at `path` and listens. A socket file that is there already is removed: the caller holds
    /// `start` and `lock`, so that whoever made it is dead.
    ///
    /// # Errors
    /// [`Error::RuntimeDir`] if something else than a socket is there; [`Error::Io`].
    pub fn bind(path: &Path) -> Result<Self> {
        match fs::symlink_metadata(path) {
            Ok(found) if found.file_type().is_socket() => {
                fs::remove_file(path).map_err(|e| Error::io("remove", path.display(), e))?;
            }
            Ok(_) => {
                return Err(Error::RuntimeDir {
                    path: path.into(),
                    problem: "it is no socket; remove it if nothing needs it".into(),
                });
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(Error::io("inspect", path.display(), e)),
        }
        let socket = seqpacket()?;
        with_address(path, |address| bind(&socket, address))?;
        // The directory is closed to others, so nobody connects in between.
        let mode = fs::Permissions::from_mode(SOCKET_MODE);
        fs::set_permissions(path, mode).map_err(|e| Error::io("chmod", path.display(), e))?;
        Self::adopt(socket)
    }

    /// Goes on with a listening socket that another process handed over.
    ///
    /// Called by its owner only, after the take: from here on the kernel names this process to those who connect.
    ///
    /// # Errors
    /// It is no socket that can listen.
    pub fn adopt(socket: OwnedFd) -> Result<Self> {
        listen(&socket, BACKLOG).map_err(|e| Error::io("listen on", "the control socket", e))?;
        Ok(Self { socket })
    }

    /// Accepts the next connection. One from another user is closed and reported.
    ///
    /// # Errors
    /// [`Error::Deadline`] if nobody came, [`Error::WrongUid`].
    pub fn accept(&self, deadline: Deadline) -> Result<Channel> {
        loop {
            match accept_with(&self.socket, FLAGS) {
                Ok(socket) => return Channel::new(socket),
                // ECONNABORTED: who came is gone again.
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(Errno::AGAIN) => {
                    if !poll::readable(self.socket.as_fd(), deadline)? {
                        return Err(deadline.error("a successor"));
                    }
                }
                Err(e) => return Err(Error::io("accept on", "the control socket", e)),
            }
        }
    }
}

impl AsFd for Listener {
    /// Readable when somebody waits; the descriptor is what goes to the successor.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn seqpacket() -> Result<OwnedFd> {
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, FLAGS, None)
        .map_err(|e| Error::io("make", "a SOCK_SEQPACKET socket", e))
}

/// Calls `f` with the address of `path`. One too long for an address (107 bytes) is reached through a descriptor of
/// its directory.
fn with_address(path: &Path, f: impl FnOnce(&SocketAddrUnix) -> rustix::io::Result<()>) -> Result<()> {
    let io = |e: Errno| Error::io("use the socket", path.display(), e);
    match SocketAddrUnix::new(path) {
        Ok(address) => f(&address).map_err(io),
        Err(Errno::NAMETOOLONG) => {
            let (Some(parent), Some(file)) = (path.parent(), path.file_name()) else {
                return Err(io(Errno::NAMETOOLONG));
            };
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let dir =
                rustix::fs::open(parent, flags, Mode::empty()).map_err(|e| Error::io("open", parent.display(), e))?;
            let near = format!("/proc/self/fd/{}", dir.as_raw_fd());
            let address = SocketAddrUnix::new(Path::new(&near).join(file)).map_err(io)?;
            f(&address).map_err(io)
        }
        Err(e) => Err(io(e)),
    }
}

#[cfg(test)]
mod tests {
    use rustix::net::socketpair;

    use super::super::message::{Descriptor, DescriptorKind};
    use super::*;
    use crate::os::alone::{alone, open_descriptors};

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(30))
    }

    fn pair() -> (Channel, Channel) {
        let (a, b) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, FLAGS, None).expect("socketpair");
        let channel = |fd| Channel::new(fd).expect("own uid");
        (channel(a), channel(b))
    }

    fn raw(channel: &Channel, frame: &[u8], fds: &[BorrowedFd<'_>]) {
        rights::send_with_fds(channel.as_fd(), frame, fds, soon()).expect("send");
    }

    fn batch(count: usize) -> Message {
        let entry = Descriptor {
            kind: DescriptorKind::Stream,
            token: 5,
            name: "players".into(),
        };
        Message::Descriptors {
            batch: 0,
            entries: vec![entry; count],
        }
    }

    #[test]
    fn messages_and_their_descriptors_arrive_in_order() {
        alone(
            "wire::channel::tests::messages_and_their_descriptors_arrive_in_order",
            || {
                let (mut a, mut b) = pair();
                let null = std::fs::File::open("/dev/null").expect("open");
                for count in [0, 1, 253] {
                    let message = batch(count);
                    let fds = vec![null.as_fd(); count];
                    a.send(&message, &fds, soon()).expect("send");
                    let (got, fds) = b.recv(soon()).expect("recv");
                    assert_eq!((got, fds.len()), (message, count));
                    b.send(&Message::Ack { batch: 0 }, &[], soon()).expect("send");
                    let (got, _) = a.recv(soon()).expect("recv");
                    assert_eq!(got, Message::Ack { batch: 0 });
                }
                drop(a);
                assert!(matches!(b.recv(soon()), Err(Error::Closed { .. })));
                assert!(matches!(
                    b.send(&Message::Ready, &[], soon()),
                    Err(Error::Closed { .. })
                ));
            },
        );
    }

    #[test]
    fn descriptors_must_be_those_listed() {
        let (mut a, mut b) = pair();
        let null = std::fs::File::open("/dev/null").expect("open");
        let one = [null.as_fd()];
        assert!(matches!(
            a.send(&Message::Ready, &one, soon()),
            Err(Error::Frame(FrameProblem::Descriptors { .. }))
        ));
        let too_many = vec![null.as_fd(); 254];
        assert!(matches!(
            a.send(&batch(254), &too_many, soon()),
            Err(Error::TooManyDescriptors { given: 254, limit: 253 })
        ));
        a.send(&Message::Ready, &[], soon())
            .expect("what failed took no number");
        b.recv(soon()).expect("recv");

        let frame = Message::Ready.encode(1, 1).expect("encode");
        raw(&a, &frame, &one);
        assert!(matches!(
            b.recv(soon()),
            Err(Error::Frame(FrameProblem::Descriptors {
                announced: 0,
                received: 1
            }))
        ));
        let frame = batch(2).encode(1, 1).expect("encode");
        raw(&a, &frame, &one);
        assert!(matches!(
            b.recv(soon()),
            Err(Error::Frame(FrameProblem::Descriptors {
                announced: 2,
                received: 1
            }))
        ));
    }

    #[test]
    fn what_is_refused_leaks_nothing() {
        alone("wire::channel::tests::what_is_refused_leaks_nothing", || {
            let (a, mut b) = pair();
            let before = open_descriptors();
            let fds = [a.as_fd(); 3];
            let good = batch(3).encode(1, 0).expect("encode");
            let mut bad = vec![good.clone(); 6];
            bad[0][0] ^= 1; // magic
            bad[1][4] = 9; // version
            bad[2][6] = 11; // kind
            bad[3][8] ^= 1; // length
            bad[4][12] = 1; // number
            bad[5].push(0);
            bad[5][8] += 1; // left over
            for frame in &bad {
                raw(&a, frame, &fds);
                let error = b.recv(soon()).expect_err("bad");
                assert!(matches!(error, Error::Frame(_) | Error::Unsupported { .. }), "{error}");
                assert_eq!(open_descriptors(), before, "leaked after {error}");
            }
            raw(&a, &good, &fds);
            let (_, got) = b.recv(soon()).expect("the good one is accepted");
            assert_eq!(got.len(), 3);
            drop(got);
            assert_eq!(open_descriptors(), before);
        });
    }

    #[test]
    fn truncation_says_how_many_were_needed() {
        alone("wire::channel::tests::truncation_says_how_many_were_needed", || {
            use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
            let (mut a, mut b) = pair();
            let before = open_descriptors();
            let null = std::fs::File::open("/dev/null").expect("open");
            a.send(&batch(9), &[null.as_fd(); 9], soon()).expect("send");
            let normal = getrlimit(Resource::Nofile);
            let low = u64::from(null.as_raw_fd().unsigned_abs()) + 3;
            let current = Some(low);
            setrlimit(Resource::Nofile, Rlimit { current, ..normal }).expect("lower");
            let result = b.recv(soon());
            setrlimit(Resource::Nofile, normal).expect("raise");
            assert!(
                matches!(
                    result,
                    Err(Error::Truncated {
                        received: 2,
                        needed: Some(9),
                        limit
                    }) if limit == low
                ),
                "{result:?}"
            );
            drop(null);
            assert_eq!(open_descriptors(), before);
        });
    }

    #[test]
    fn successors_connect_and_a_stale_socket_is_replaced() {
        alone(
            "wire::channel::tests::successors_connect_and_a_stale_socket_is_replaced",
            || {
                let tmp = tempfile::tempdir().expect("tempdir");
                let deep = tmp.path().join("d".repeat(120));
                fs::create_dir(&deep).expect("mkdir");
                for path in [tmp.path().join("control"), deep.join("control")] {
                    let early = Channel::connect(&path, Deadline::after(Duration::from_millis(3)));
                    assert!(matches!(early, Err(Error::Deadline { .. })), "{early:?}");
                    drop(Listener::bind(&path).expect("bind"));
                    let nobody = Channel::connect(&path, Deadline::after(Duration::from_millis(3)));
                    assert!(matches!(nobody, Err(Error::Deadline { .. })), "{nobody:?}");

                    let listener = Listener::bind(&path).expect("replace");
                    let mode = fs::metadata(&path).expect("stat").permissions().mode();
                    assert_eq!(mode & 0o777, 0o600);
                    assert!(matches!(listener.accept(Deadline::now()), Err(Error::Deadline { .. })));
                    let mut s = Channel::connect(&path, soon()).expect("connect");
                    let mut p = listener.accept(soon()).expect("accept");
                    assert_eq!(p.peer().pid, std::process::id());
                    s.send(&Message::Ready, &[], soon()).expect("send");
                    assert_eq!(p.recv(soon()).expect("recv").0, Message::Ready);
                }
                let file = tmp.path().join("file");
                fs::write(&file, "x").expect("write");
                assert!(matches!(Listener::bind(&file), Err(Error::RuntimeDir { .. })));
                assert!(file.exists());
            },
        );
    }

    #[test]
    fn a_connection_waits_for_its_listener() {
        let tmp = tempfile::tempdir().expect("tempdir");
        let path = tmp.path().join("control");
        std::thread::scope(|s| {
            let successor = s.spawn(|| Channel::connect(&path, soon()));
            let listener = Listener::bind(&path).expect("bind");
            listener.accept(soon()).expect("accept");
            successor.join().expect("no panic").expect("connect");
        });
    }
}
