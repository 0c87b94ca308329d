//! Sockets of every kind, made, bound and looked at: TCP and UDP over IPv4 and IPv6, Unix stream, seqpacket and datagram.
//!
//! - **B1** Every socket is close-on-exec and non-blocking from the call that makes it.
//! - **B2** A socket file is replaced only if it is ours and nobody is behind it. Whoever makes sockets at one path holds a lock
//!   against others that do (the node's `start` lock); two nodes at one path are a mistake that this does not hide: the second
//!   finds the first one listening.
//! - **B3** A listener asked for port 0 is bound to the port it got as if that had been asked for: otherwise the kernel would take
//!   the port away from a listener that is silenced, see `os::silence`.
//!
//! This file does not know names of nodes, nor who owns them.

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrAny, SocketAddrUnix, SocketFlags, SocketType, bind, connect, getsockname, listen,
    socket_with, sockopt,
};
use rustix::process::geteuid;

use crate::error::{Error, Result};

/// Connections that may wait at a listener for which no number is given; the kernel lowers it to net.core.somaxconn.
pub const DEFAULT_BACKLOG: u32 = 1024;
/// B1.
const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);
/// How often a free port is looked for anew when another process was faster (B3).
const PORT_TRIES: usize = 16;

/// How a socket is made, and how many wait at it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenOptions {
    /// Connections that may wait to be accepted. Default 1024 for one that is made here; one that is inherited or comes from a
    /// service manager keeps its own unless a number is given. The kernel allows at most net.core.somaxconn.
    pub backlog: Option<u32>,
    /// For an IPv6 address: whether it serves IPv6 only, or IPv4 as well. Default as the system has it (net.ipv6.bindv6only).
    pub v6only: Option<bool>,
    /// SO_REUSEPORT: other sockets of the same user may be bound to the same address.
    pub reuseport: bool,
    /// Mode of a socket file. Default as the umask has it.
    pub mode: Option<u32>,
}

/// Where a Unix socket is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnixName {
    /// A socket file; the path is absolute.
    Path(PathBuf),
    /// A name without a file, which vanishes with the last descriptor.
    Abstract(Vec<u8>),
}

impl UnixName {
    /// From a path; one that begins with `@` is an abstract name, as in systemd's `ListenStream=`.
    ///
    /// # Errors
    /// [`Error::Io`] if the working directory is not known, which a relative path needs.
    pub fn of(path: &Path) -> Result<Self> {
        match path.as_os_str().as_bytes().split_first() {
            Some((b'@', name)) => Ok(Self::Abstract(name.to_vec())),
            _ => std::path::absolute(path)
                .map(Self::Path)
                .map_err(|e| Error::io("make absolute", path.display(), e)),
        }
    }

    fn address(&self) -> Result<SocketAddrUnix> {
        match self {
            Self::Path(path) => SocketAddrUnix::new(path.as_path()),
            Self::Abstract(name) => SocketAddrUnix::new_abstract_name(name),
        }
        .map_err(|e| {
            let what = match e {
                Errno::NAMETOOLONG => "use, with more than the 107 bytes that a socket's address has, the name",
                _ => "use the name",
            };
            Error::io(what, self, e)
        })
    }
}

impl fmt::Display for UnixName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Abstract(name) => write!(f, "@{}", String::from_utf8_lossy(name)),
        }
    }
}

/// A listening TCP socket.
///
/// # Errors
/// The address is in use, or not ours.
pub fn tcp_listener(address: SocketAddr, options: ListenOptions) -> Result<OwnedFd> {
    for _ in 0..PORT_TRIES {
        let socket = bound(address, SocketType::STREAM, options)?;
        let socket = if address.port() == 0 {
            let mut found = address;
            found.set_port(ip_name(&socket)?.port());
            // Both are bound and neither listens, so the second may have the same port; then it alone is kept (B3).
            match bound(found, SocketType::STREAM, options) {
                Err(Error::Io { source, .. }) if source.kind() == ErrorKind::AddrInUse => continue,
                other => other?,
            }
        } else {
            socket
        };
        return match start_listening(&socket, options.backlog) {
            Ok(()) => Ok(socket),
            Err(Errno::ADDRINUSE) if address.port() == 0 => continue,
            Err(e) => Err(Error::io("listen on", address, e)),
        };
    }
    Err(Error::io("listen on", address, Errno::ADDRINUSE))
}

/// A bound UDP socket; with `peer` connected to it.
///
/// # Errors
/// The address is in use, or not ours.
pub fn udp(address: SocketAddr, peer: Option<SocketAddr>, options: ListenOptions) -> Result<OwnedFd> {
    let socket = bound(address, SocketType::DGRAM, options)?;
    if let Some(peer) = peer {
        connect(&socket, &peer).map_err(|e| Error::io("connect to", peer, e))?;
    }
    Ok(socket)
}

fn bound(address: SocketAddr, kind: SocketType, options: ListenOptions) -> Result<OwnedFd> {
    let failed = |e: Errno| Error::io("bind", address, e);
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = socket_with(family, kind, FLAGS, None).map_err(failed)?;
    if kind == SocketType::STREAM {
        // Connections of an owner before that are in TIME_WAIT do not keep the address.
        sockopt::set_socket_reuseaddr(&socket, true).map_err(failed)?;
    }
    if options.reuseport {
        sockopt::set_socket_reuseport(&socket, true).map_err(failed)?;
    }
    if let (SocketAddr::V6(_), Some(only)) = (address, options.v6only) {
        sockopt::set_ipv6_v6only(&socket, only).map_err(failed)?;
    }
    bind(&socket, &address).map_err(failed)?;
    Ok(socket)
}

/// A Unix socket at `name`: stream and seqpacket ones listen. A file that a dead owner left is replaced (B2).
///
/// # Errors
/// Somebody is behind the name; something else than a socket of ours is there.
pub fn unix(name: &UnixName, kind: SocketType, options: ListenOptions) -> Result<OwnedFd> {
    let failed = |e: Errno| Error::io("bind", name, e);
    let address = name.address()?;
    let socket = socket_with(AddressFamily::UNIX, kind, FLAGS, None).map_err(failed)?;
    match (bind(&socket, &address), name) {
        (Err(Errno::ADDRINUSE), UnixName::Path(path)) => {
            if !remove_dead(path)? {
                return Err(failed(Errno::ADDRINUSE));
            }
            bind(&socket, &address).map_err(failed)?;
        }
        (bound, _) => bound.map_err(failed)?,
    }
    let finish = || -> Result<()> {
        if let (UnixName::Path(path), Some(mode)) = (name, options.mode) {
            let mode = fs::Permissions::from_mode(mode);
            fs::set_permissions(path, mode).map_err(|e| Error::io("chmod", path.display(), e))?;
        }
        if kind == SocketType::DGRAM {
            return Ok(());
        }
        start_listening(&socket, options.backlog).map_err(|e| Error::io("listen on", name, e))
    };
    match (finish(), name) {
        (Err(error), UnixName::Path(path)) => {
            // The reason for the failure is on its way to the caller.
            let _ = fs::remove_file(path);
            Err(error)
        }
        (finished, _) => finished.map(|()| socket),
    }
}

/// Lets `backlog` connections wait at a socket, and says to the kernel that it is this process that listens.
pub(crate) fn start_listening(socket: impl AsFd, backlog: Option<u32>) -> rustix::io::Result<()> {
    let backlog = backlog.unwrap_or(DEFAULT_BACKLOG);
    listen(socket, i32::try_from(backlog).unwrap_or(i32::MAX))
}

/// Removes the socket file at `path` if it is ours and nobody is behind it; `true` if none is left there.
///
/// # Errors
/// It is no socket, belongs to another user, or cannot be removed.
pub fn remove_dead(path: &Path) -> Result<bool> {
    let refused = |problem: String| Error::SocketFile {
        path: path.into(),
        problem,
    };
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(true),
        Err(e) => return Err(Error::io("inspect", path.display(), e)),
    };
    let uid = geteuid().as_raw();
    if !found.file_type().is_socket() {
        return Err(refused("it is no socket; remove it if nothing needs it".into()));
    }
    if found.uid() != uid {
        let problem = format!("it belongs to uid {}, not to {uid}, and is left alone", found.uid());
        return Err(refused(problem));
    }
    if somebody_behind(path)? {
        return Ok(false);
    }
    let same = |now: &fs::Metadata| (now.dev(), now.ino()) == (found.dev(), found.ino());
    match fs::symlink_metadata(path) {
        Ok(now) if same(&now) => match fs::remove_file(path) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::io("remove", path.display(), e)),
            _ => Ok(true),
        },
        // Another process made one just now.
        Ok(_) => Ok(false),
        Err(_) => Ok(true),
    }
}

/// Whether a process has a socket of any type bound to the file at `path`.
fn somebody_behind(path: &Path) -> Result<bool> {
    let failed = |e: Errno| Error::io("look who is behind", path.display(), e);
    let address = UnixName::Path(path.into()).address()?;
    // A socket of another type than the one behind the file is told so, whether that one listens or not.
    for kind in [SocketType::STREAM, SocketType::SEQPACKET] {
        let probe = socket_with(AddressFamily::UNIX, kind, FLAGS, None).map_err(failed)?;
        let answer = loop {
            match connect(&probe, &address) {
                Err(Errno::INTR) => {}
                answer => break answer,
            }
        };
        match answer {
            Err(Errno::PROTOTYPE) => {}
            // Also of one that was shut down, and one that does not listen yet (B2).
            Err(Errno::CONNREFUSED | Errno::NOENT) => return Ok(false),
            // The latter if its backlog is full.
            Ok(()) | Err(Errno::AGAIN) => return Ok(true),
            Err(e) => return Err(failed(e)),
        }
    }
    // A datagram socket.
    Ok(true)
}

/// What kind of socket a descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looks {
    /// IPv4, IPv6, Unix.
    pub family: AddressFamily,
    /// Stream, seqpacket, datagram.
    pub kind: SocketType,
    /// Whether it listens.
    pub listens: bool,
}

impl Looks {
    /// Looks at a descriptor; `None` if it is no socket.
    #[must_use]
    pub fn of(fd: impl AsFd) -> Option<Self> {
        let fd = fd.as_fd();
        Some(Self {
            family: sockopt::socket_domain(fd).ok()?,
            kind: sockopt::socket_type(fd).ok()?,
            listens: sockopt::socket_acceptconn(fd).ok()?,
        })
    }

    /// Whether it speaks IPv4 or IPv6.
    #[must_use]
    pub fn is_ip(self) -> bool {
        matches!(self.family, AddressFamily::INET | AddressFamily::INET6)
    }
}

/// Where an IPv4 or IPv6 socket is bound.
///
/// # Errors
/// It is none.
pub fn ip_name(fd: impl AsFd) -> Result<SocketAddr> {
    getsockname(fd)
        .and_then(SocketAddr::try_from)
        .map_err(|e| Error::io("ask for", "the address of a socket", e))
}

/// Where a Unix socket is bound; `None` for any other, and for one without a name.
#[must_use]
pub fn unix_name(fd: impl AsFd) -> Option<UnixName> {
    let name: SocketAddrAny = getsockname(fd).ok()?;
    let name = SocketAddrUnix::try_from(name).ok()?;
    if let Some(path) = name.path_bytes() {
        return Some(UnixName::Path(Path::new(std::ffi::OsStr::from_bytes(path)).into()));
    }
    name.abstract_name().map(|name| UnixName::Abstract(name.to_vec()))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

    use super::*;

    const NO: ListenOptions = ListenOptions {
        backlog: None,
        v6only: None,
        reuseport: false,
        mode: None,
    };

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn every_family_and_both_of_ipv6() {
        for text in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
            let listener = tcp_listener(address(text), NO).expect(text);
            let flags = rustix::io::fcntl_getfd(&listener).expect("flags");
            assert!(flags.contains(rustix::io::FdFlags::CLOEXEC), "{text}");
            let looks = Looks::of(&listener).expect("a socket");
            assert!(looks.is_ip() && looks.listens && looks.kind == SocketType::STREAM);
        }
        for only in [false, true] {
            let options = ListenOptions {
                v6only: Some(only),
                ..NO
            };
            let listener: TcpListener = tcp_listener(address("[::]:0"), options).expect("listen").into();
            let port = listener.local_addr().expect("name").port();
            TcpStream::connect((std::net::Ipv6Addr::LOCALHOST, port)).expect("IPv6");
            let v4 = TcpStream::connect((std::net::Ipv4Addr::LOCALHOST, port));
            assert_eq!(v4.is_err(), only, "v6only {only}");
            // With IPv6 only, the same port of IPv4 is free for another listener.
            let other = tcp_listener(SocketAddr::new(std::net::Ipv4Addr::UNSPECIFIED.into(), port), NO);
            assert_eq!(other.is_ok(), only, "v6only {only}");
        }
        let udp: UdpSocket = udp(address("[::1]:0"), Some(address("[::1]:9")), NO)
            .expect("udp")
            .into();
        assert_eq!(udp.peer_addr().expect("connected"), address("[::1]:9"));
    }

    #[test]
    fn the_same_address_for_many_only_with_reuseport() {
        let many = ListenOptions { reuseport: true, ..NO };
        let first = tcp_listener(address("127.0.0.1:0"), many).expect("listen");
        let same = ip_name(&first).expect("name");
        assert!(tcp_listener(same, NO).is_err());
        drop(tcp_listener(same, many).expect("a second one"));
    }

    #[test]
    fn a_file_is_replaced_if_nobody_is_behind_it() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("s");
        let name = UnixName::of(&path).expect("name");
        for kind in [SocketType::STREAM, SocketType::SEQPACKET, SocketType::DGRAM] {
            let options = ListenOptions {
                mode: Some(0o640),
                ..NO
            };
            let one = unix(&name, kind, options).expect("made");
            let mode = fs::metadata(&path).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o640);
            assert_eq!(unix_name(&one).as_ref(), Some(&name));
            for other in [SocketType::STREAM, SocketType::SEQPACKET, SocketType::DGRAM] {
                let error = unix(&name, other, NO).expect_err("somebody is behind it");
                assert!(error.to_string().contains("in use"), "{error}");
            }
            assert!(!remove_dead(&path).expect("look"));
            drop(one);
            assert!(path.exists(), "as a dead owner leaves it");
            drop(unix(&name, kind, NO).expect("replaced"));
        }
        assert!(remove_dead(&path).expect("removed") && !path.exists());
        assert!(remove_dead(&path).expect("nothing there"));
        // A full backlog is somebody.
        let options = ListenOptions { backlog: Some(0), ..NO };
        let full: UnixListener = unix(&name, SocketType::STREAM, options).expect("made").into();
        let waiting = UnixStream::connect(&path).expect("one fits");
        assert!(unix(&name, SocketType::STREAM, NO).is_err());
        drop((full, waiting));
    }

    #[test]
    fn what_is_no_dead_socket_of_ours_stays() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("s");
        let name = UnixName::of(&path).expect("name");
        fs::write(&path, "precious").expect("write");
        let error = unix(&name, SocketType::STREAM, NO).expect_err("a file");
        assert!(matches!(error, Error::SocketFile { .. }), "{error}");
        assert_eq!(fs::read(&path).expect("read"), b"precious");
        fs::remove_file(&path).expect("remove");
        let target = dir.path().join("t");
        drop(UnixDatagram::bind(&target).expect("bind"));
        std::os::unix::fs::symlink(&target, &path).expect("link");
        assert!(unix(&name, SocketType::STREAM, NO).is_err(), "a link is not followed");
        assert!(target.exists());
        if geteuid().is_root() {
            fs::remove_file(&path).expect("remove");
            drop(UnixDatagram::bind(&path).expect("bind"));
            std::os::unix::fs::chown(&path, Some(65_534), None).expect("chown");
            let error = unix(&name, SocketType::STREAM, NO).expect_err("another's").to_string();
            assert!(error.contains("uid 65534"), "{error}");
            assert!(path.exists());
        }
    }

    #[test]
    fn abstract_names_and_names_that_are_too_long() {
        let name = UnixName::of(Path::new(&format!("@handover-sockets-{}", std::process::id()))).expect("name");
        let one = unix(&name, SocketType::STREAM, NO).expect("made");
        assert_eq!(unix_name(&one).as_ref(), Some(&name));
        assert!(unix(&name, SocketType::STREAM, NO).is_err());
        drop(one);
        drop(unix(&name, SocketType::STREAM, NO).expect("it goes with its socket"));
        let long = UnixName::of(Path::new(&format!("/tmp/{}", "x".repeat(108)))).expect("name");
        let error = unix(&long, SocketType::STREAM, NO).expect_err("too long").to_string();
        assert!(error.contains("107 bytes"), "{error}");
    }
}
