//! What a socket is, and the two calls that every kind of stream needs beside reading and writing.

use rustix::net::sockopt::{set_socket_oobinline, socket_cookie, socket_domain, socket_protocol, socket_type};
use rustix::net::{AddressFamily, SocketType, getpeername, ipproto};
use std::io;
use std::os::fd::BorrowedFd;

/// The kinds of socket that can be a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SocketKind {
    /// TCP over IPv4 or IPv6.
    Tcp,
    /// A connected Unix stream socket.
    Unix,
}

/// What kind of socket it is; an error if it can be no stream.
pub(crate) fn kind(fd: BorrowedFd<'_>) -> io::Result<SocketKind> {
    let (domain, form) = (socket_domain(fd)?, socket_type(fd)?);
    match domain {
        _ if form != SocketType::STREAM => {}
        // MPTCP speaks of its first path when it is asked for TCP_INFO: those are not the connection's counts.
        AddressFamily::INET | AddressFamily::INET6 if socket_protocol(fd)? == Some(ipproto::TCP) => {
            return Ok(SocketKind::Tcp);
        }
        AddressFamily::UNIX => {
            getpeername(fd)?;
            return Ok(SocketKind::Unix);
        }
        _ => {}
    }
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        format!("a stream is a TCP or a Unix stream socket, not one of family {domain:?} and type {form:?}"),
    ))
}

/// Puts urgent bytes among the others, where every count and every `recv` has them (K3).
pub(crate) fn in_line(fd: BorrowedFd<'_>) -> io::Result<()> {
    set_socket_oobinline(fd, true).map_err(io::Error::from)
}

/// The kernel's own number for this socket, the same in every process that holds it.
pub(crate) fn cookie(fd: BorrowedFd<'_>) -> io::Result<u64> {
    socket_cookie(fd).map_err(io::Error::from)
}
