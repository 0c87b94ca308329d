//! The two ends of the connection, over whatever a stream can be on.

use crate::echo::Failure;
use rustix::net::sockopt::{
    Timeout, set_socket_recv_buffer_size, set_socket_send_buffer_size, set_socket_timeout, set_tcp_nodelay,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, socketpair};
use std::fs::File;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Bytes of the socket's buffers where they are made small: less than one piece of the client's.
const SMALL_BUFFER: usize = 8 * 1024;

/// What the connection goes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// TCP, 127.0.0.1.
    Ipv4,
    /// TCP, ::1.
    Ipv6,
    /// A Unix stream socket.
    Unix,
}

impl Over {
    /// Makes both ends: the client's, which waits no longer than `patience`, and the server's.
    ///
    /// # Errors
    /// Those of sockets.
    pub fn pair(self, small_buffers: bool, patience: Duration) -> Result<(File, OwnedFd), Failure> {
        let small = |fd: &dyn std::os::fd::AsFd| -> rustix::io::Result<()> {
            if small_buffers {
                set_socket_recv_buffer_size(fd.as_fd(), SMALL_BUFFER)?;
                set_socket_send_buffer_size(fd.as_fd(), SMALL_BUFFER)?;
            }
            Ok(())
        };
        let (address, family) = match self {
            Self::Ipv4 => ("127.0.0.1:0", AddressFamily::INET),
            Self::Ipv6 => ("[::1]:0", AddressFamily::INET6),
            Self::Unix => ("", AddressFamily::UNIX),
        };
        let (client, server) = if self == Self::Unix {
            let (client, server) = socketpair(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
            small(&client)?;
            small(&server)?;
            (client, server)
        } else {
            let listener = TcpListener::bind(address)?;
            // Accepted sockets have them from the listener.
            small(&listener)?;
            let client = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
            small(&client)?;
            connect(&client, &listener.local_addr()?)?;
            set_tcp_nodelay(&client, true)?;
            (client, listener.accept()?.0.into())
        };
        set_socket_timeout(&client, Timeout::Recv, Some(patience))?;
        set_socket_timeout(&client, Timeout::Send, Some(patience))?;
        Ok((client.into(), server))
    }
}
