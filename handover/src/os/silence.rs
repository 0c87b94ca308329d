//! Silencing a listener that other processes hold duplicates of, and waking it up again.
//!
//! Closing one's own descriptor of a listener does nothing while another process holds it. What works, by experiment (Linux 6.18; the
//! tests below are that experiment):
//!
//! - **Q1** *TCP.* `shutdown(SHUT_RD)` ends the listening for all who hold the socket: clients are refused, those that waited to be
//!   accepted are reset. `listen` revives it, with the same address. The port stays bound meanwhile, but a socket with
//!   SO_REUSEADDR could be bound to it and listen; so that option is off while the listener is silent.
//! - **Q2** Only a port that was asked for by its number stays. One that the kernel chose is given up by the shutdown, and `listen`
//!   chooses another; `os::sockets` makes no such listener (B3), a service manager has to name its port.
//! - **Q3** *Unix.* `shutdown` refuses clients too, but nothing revives: `listen` leaves the mark of the shutdown. A socket file is
//!   therefore moved out of the way and back again ([`PARKED`]); clients find no file. What was connected stays.
//! - **Q4** An abstract name, and a UDP socket, cannot be silenced: clients of the former wait in the queue until the last
//!   descriptor is closed, datagrams for the latter wait in its buffer for whoever reads next. Nothing is answered either way.
//!
//! This file does not know when a listener is to be silent, nor who owns it.

use std::fs;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use rustix::net::{Shutdown, SocketType, shutdown, sockopt};

use super::sockets::{Looks, UnixName, start_listening, unix_name};
use crate::error::{Error, Result};

/// What is put behind the name of a socket file that is out of the way.
pub const PARKED: &str = ".parked";

/// What came of silencing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Silenced {
    /// Clients are refused.
    Refusing,
    /// The socket file is out of the way, here.
    Moved(PathBuf),
    /// It was silent before, or the file is gone.
    Already,
    /// It cannot be silenced (Q4), or it is nothing that clients come to.
    Not,
}

/// Makes a listener turn clients away, whoever else holds it.
///
/// # Errors
/// The system refused.
pub fn silence(fd: impl AsFd) -> Result<Silenced> {
    let fd = fd.as_fd();
    let Some(looks) = Looks::of(fd) else {
        return Ok(Silenced::Not);
    };
    if looks.is_ip() {
        if !looks.listens {
            return Ok(Silenced::Not);
        }
        let failed = |e| Error::io("silence", "a listener", e);
        // Q1: before the shutdown, so that there is no moment in which another could listen.
        sockopt::set_socket_reuseaddr(fd, false).map_err(failed)?;
        return match shutdown(fd, Shutdown::Read) {
            Ok(()) => Ok(Silenced::Refusing),
            // Another holder was faster.
            Err(Errno::NOTCONN) => Ok(Silenced::Already),
            Err(e) => Err(failed(e)),
        };
    }
    match unix_name(fd) {
        // An accepted connection has the name of its listener.
        Some(UnixName::Path(path)) if looks.listens || looks.kind == SocketType::DGRAM => {
            let parked = parked(&path);
            match fs::rename(&path, &parked) {
                Ok(()) => Ok(Silenced::Moved(parked)),
                Err(e) if e.kind() == ErrorKind::NotFound => Ok(Silenced::Already),
                Err(e) => Err(Error::io("move out of the way", path.display(), e)),
            }
        }
        _ => Ok(Silenced::Not),
    }
}

/// Makes a listener take clients again, with room for `backlog` that wait. One that was not silent goes on. It has to be a listener, or a
/// datagram socket: a connection that has ended looks like a silent listener.
///
/// # Errors
/// The address was taken meanwhile, or the system refused.
pub fn revive(fd: impl AsFd, backlog: Option<u32>) -> Result<()> {
    let fd = fd.as_fd();
    let Some(looks) = Looks::of(fd) else {
        return Ok(());
    };
    if looks.is_ip() {
        if looks.kind != SocketType::STREAM {
            return Ok(());
        }
        // First: connections that were accepted before have the port too, and allow it to those who have this option alone.
        sockopt::set_socket_reuseaddr(fd, true).map_err(|e| Error::io("configure", "a listener", e))?;
        if looks.listens {
            return Ok(());
        }
        return start_listening(fd, backlog).map_err(|e| Error::io("listen again on", "a silenced listener", e));
    }
    let Some(UnixName::Path(path)) = unix_name(fd) else {
        return Ok(());
    };
    let parked = parked(&path);
    match renameat_with(CWD, &parked, CWD, &path, RenameFlags::NOREPLACE) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        // One who came meanwhile and went again.
        Err(Errno::EXIST) if super::sockets::remove_dead(&path)? => {
            fs::rename(&parked, &path).map_err(|e| Error::io("move back", parked.display(), e))
        }
        Err(e) => Err(Error::io("move back", parked.display(), e)),
    }
}

/// Where a socket file is while its listener is silent.
#[must_use]
pub fn parked(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(PARKED);
    name.into()
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use super::super::sockets::{self, ListenOptions, ip_name};
    use super::*;

    fn refused(address: SocketAddr) -> bool {
        matches!(TcpStream::connect(address), Err(e) if e.kind() == ErrorKind::ConnectionRefused)
    }

    fn accepts(listener: &OwnedFd, address: SocketAddr) {
        let client = TcpStream::connect(address).expect("connect");
        let accepted = rustix::net::accept(listener).expect("accept");
        let peer = TcpStream::from(accepted).peer_addr().expect("name");
        assert_eq!(peer, client.local_addr().expect("name"));
    }

    #[test]
    fn a_tcp_listener_is_silenced_for_all_who_hold_it_and_comes_back_where_it_was() {
        for ip in [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()] {
            let listener = sockets::tcp_listener(SocketAddr::new(ip, 0), ListenOptions::default()).expect("listen");
            let other = listener.try_clone().expect("duplicate");
            let address = ip_name(&listener).expect("name");
            accepts(&other, address);
            // Before it is silenced a second one is refused for that reason alone.
            assert!(TcpListener::bind(address).is_err());
            let mut waiting = TcpStream::connect(address).expect("connect");

            assert_eq!(silence(&other).expect("silence"), Silenced::Refusing);
            assert!(refused(address), "{address}");
            let end = waiting.read(&mut [0]).expect_err("it was never accepted");
            assert_eq!(end.kind(), ErrorKind::ConnectionReset);
            // Bound all the while, also against those who ask as most servers do, with SO_REUSEADDR.
            assert!(TcpListener::bind(address).is_err(), "the port was to stay taken");
            assert_eq!(silence(&listener).expect("twice"), Silenced::Not);

            revive(&listener, Some(16)).expect("revive");
            assert_eq!(ip_name(&other).expect("name"), address);
            accepts(&other, address);
            revive(&other, None).expect("one that is not silent");
            accepts(&listener, address);

            // Silenced and closed, it leaves the address to others at once.
            silence(&listener).expect("silence");
            drop((listener, other));
            drop(TcpListener::bind(address).expect("free"));
        }
    }

    /// Q2, and why B3 is there.
    #[test]
    fn a_port_that_the_kernel_chose_would_be_lost() {
        let listener: OwnedFd = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind").into();
        let address = ip_name(&listener).expect("name");
        silence(&listener).expect("silence");
        // Held by this one, or by whoever was quicker: the kernel cannot choose it again by chance.
        let _taken = TcpListener::bind(address);
        revive(&listener, None).expect("revive");
        assert_ne!(ip_name(&listener).expect("name"), address);
    }

    #[test]
    fn a_socket_file_is_moved_out_of_the_way_and_back() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("door");
        let name = UnixName::of(&path).expect("name");
        for kind in [SocketType::STREAM, SocketType::SEQPACKET, SocketType::DGRAM] {
            let socket = sockets::unix(&name, kind, ListenOptions::default()).expect("bind");
            let parked = parked(&path);
            assert_eq!(silence(&socket).expect("silence"), Silenced::Moved(parked.clone()));
            assert!(!path.exists() && parked.exists());
            assert_eq!(silence(&socket).expect("twice"), Silenced::Already);
            // A stale file that came meanwhile does not keep it away; a living one does.
            drop(sockets::unix(&name, kind, ListenOptions::default()).expect("another"));
            revive(&socket, None).expect("revive");
            assert!(path.exists() && !parked.exists());
            if kind == SocketType::STREAM {
                UnixStream::connect(&path).expect("it is the one that listens");
                rustix::net::accept(&socket).expect("accept");
                silence(&socket).expect("silence");
                let other = sockets::unix(&name, kind, ListenOptions::default()).expect("another");
                assert!(revive(&socket, None).is_err(), "somebody else is there now");
                drop(other);
                revive(&socket, None).expect("revive");
            }
            fs::remove_file(&path).expect("remove");
        }
    }

    /// Q3, Q4.
    #[test]
    fn what_cannot_be_silenced_is_left_as_it_is() {
        let name = UnixName::Abstract(format!("handover-silence-{}", std::process::id()).into_bytes());
        let listener = sockets::unix(&name, SocketType::STREAM, ListenOptions::default()).expect("bind");
        assert_eq!(silence(&listener).expect("silence"), Silenced::Not);
        revive(&listener, None).expect("nothing");
        let udp = sockets::udp((Ipv4Addr::LOCALHOST, 0).into(), None, ListenOptions::default()).expect("udp");
        assert_eq!(silence(&udp).expect("silence"), Silenced::Not);
        revive(&udp, None).expect("nothing");
        let file = fs::File::open("/dev/null").expect("open");
        assert_eq!(silence(&file).expect("silence"), Silenced::Not);
        revive(&file, None).expect("nothing");

        // A shutdown would refuse, and nothing would ever revive it.
        shutdown(&listener, Shutdown::Read).expect("shutdown");
        start_listening(&listener, None).expect("listen");
        let address = rustix::net::SocketAddrUnix::new_abstract_name(match &name {
            UnixName::Abstract(name) => name,
            UnixName::Path(_) => unreachable!("abstract"),
        })
        .expect("address");
        let client = rustix::net::socket(rustix::net::AddressFamily::UNIX, SocketType::STREAM, None).expect("socket");
        assert_eq!(rustix::net::connect(&client, &address), Err(Errno::CONNREFUSED));
    }
}
