//! One bot's socket: opened once, non-blocking, known by its local port and its kernel cookie.
//!
//! - **L1** There is no way to open a second socket for a bot: a link is made from an address once and has no "again".
//! - **L2** The kernel's SO_COOKIE never repeats while the system runs; with the local port it proves at the end that the
//!   connection is the one that was opened.
//!
//! Not known here: what the bytes mean.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    os::fd::{AsFd, BorrowedFd},
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};

/// What makes a connection this one and no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    port: u16,
    cookie: u64,
}

/// A connection, or one on its way.
#[derive(Debug)]
pub(super) struct Link {
    stream: TcpStream,
    /// Set when the connection stands.
    identity: Option<Identity>,
    /// Whether epoll is asked to say when there is room to write.
    pub(super) waits_to_write: bool,
}

impl Link {
    /// Begins to connect; epoll's "writable" says when that is done.
    pub(super) fn begin(address: SocketAddr) -> io::Result<Self> {
        let family = if address.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let socket = socket_with(
            family,
            SocketType::STREAM,
            SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
            None,
        )?;
        match connect(&socket, &address) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            identity: None,
            waits_to_write: true,
        })
    }

    /// Whether [`Link::finish_connect`] has succeeded.
    pub(super) fn is_connected(&self) -> bool {
        self.identity.is_some()
    }

    /// The connection stands, or the error that it ended with.
    pub(super) fn finish_connect(&mut self) -> io::Result<()> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error);
        }
        self.stream.peer_addr()?;
        self.identity = Some(self.identify()?);
        Ok(())
    }

    fn identify(&self) -> io::Result<Identity> {
        let port = self.stream.local_addr()?.port();
        Ok(Identity {
            port,
            cookie: sockopt::socket_cookie(&self.stream)?,
        })
    }

    /// Sends from `bytes` and returns how many went; 0 if there is no room now.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.stream.write(bytes) {
                Ok(0) if !bytes.is_empty() => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => return Ok(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads once; `None` if there is nothing now. An ended connection is an error.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => {
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the server closed the connection",
                    ));
                }
                Ok(count) => return Ok(Some(count)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// The last check: the same socket as at connect (L2), without an error, and not closed by the server.
    pub(super) fn still_the_same(&self) -> io::Result<()> {
        let now = self.identify()?;
        if self.identity != Some(now) {
            return Err(io::Error::other(format!(
                "the connection was {:?} and is {now:?}",
                self.identity
            )));
        }
        if let Some(error) = self.stream.take_error()? {
            return Err(error);
        }
        match self.stream.peek(&mut [0]) {
            Ok(0) => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the server closed the connection",
            )),
            Ok(_) => Ok(()),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    /// A link that stands, and the server's end of it.
    fn pair() -> (Link, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let mut link = Link::begin(listener.local_addr().expect("bound")).expect("it listens");
        wait(&link, PollFlags::OUT);
        assert!(!link.is_connected());
        link.finish_connect().expect("it listens");
        (link, listener.accept().expect("one came").0)
    }

    fn wait(link: &Link, what: PollFlags) {
        let limit = Timespec { tv_sec: 10, tv_nsec: 0 };
        let ready = poll(&mut [PollFd::new(link, what)], Some(&limit)).expect("an open socket");
        assert_eq!(ready, 1, "nothing within {} s", limit.tv_sec);
    }

    #[test]
    fn another_socket_or_port_is_found_out() {
        let (mut link, _server) = pair();
        link.still_the_same().expect("untouched");
        let identity = link.identity.expect("it stands");
        for other in [
            Identity {
                port: identity.port ^ 1,
                ..identity
            },
            Identity {
                cookie: identity.cookie + 1,
                ..identity
            },
        ] {
            link.identity = Some(other);
            assert!(link.still_the_same().is_err());
        }
        // A second connection differs from the first, whatever its port.
        let (second, _server) = pair();
        assert_ne!(second.identity.map(|it| it.cookie), Some(identity.cookie));
    }

    #[test]
    fn a_connection_closed_by_the_server_is_found_out() {
        let (mut link, server) = pair();
        drop(server);
        wait(&link, PollFlags::IN);
        assert!(link.still_the_same().is_err());
        let ended = link.receive(&mut [0; 8]).expect_err("closed");
        assert_eq!(ended.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn writing_stops_when_there_is_no_room_and_goes_on_where_it_stopped() {
        let (mut link, mut server) = pair();
        let bytes: Vec<u8> = (0..32_000_000_u32).map(|at| (at % 251) as u8).collect();
        let mut sent = 0;
        while let count @ 1.. = link.send(&bytes[sent..]).expect("open") {
            sent += count;
        }
        assert!(sent < bytes.len(), "32 MB fit a socket nobody reads");
        let mut got = vec![0; sent];
        server.read_exact(&mut got).expect("sent");
        assert_eq!(got, bytes[..sent]);
        wait(&link, PollFlags::OUT);
        assert!(link.send(&bytes[sent..]).expect("open") > 0);
    }
}
