//! What a builder declares: a name, and how its descriptor is made by a first process.
//!
//! A declaration has a *mark*, a word that travels with the descriptor: a successor that declares the same mark under the same name
//! keeps it, one that declares another makes its own. The mark is of what was declared, not of what was bound: a listener that came
//! from a service manager, or that asked for port 0, is kept by the next version all the same.

use crate::error::{Error, Result};
use crate::os::sockets::{self, ListenOptions, Looks, UnixName};
use rustix::net::SocketType;
use std::fmt;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Mark of a descriptor that a server kept at run time.
pub(crate) const KEPT: u64 = 1;
/// Mark of a descriptor that was declared with a way to make it.
pub(crate) const MADE: u64 = 2;
/// Mark of a descriptor of which nothing is known: an owner of protocol version 1.
pub(crate) const UNKNOWN: u64 = 0;

/// Makes a descriptor by name.
#[derive(Clone)]
pub(crate) struct Maker(pub(crate) Arc<dyn Fn() -> std::io::Result<OwnedFd> + Send + Sync>);

impl fmt::Debug for Maker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Maker")
    }
}

/// What a descriptor is, and where it is to be found.
#[derive(Clone, Debug)]
pub(crate) enum What {
    Tcp(SocketAddr),
    Unix(Result<UnixName, String>),
    Seqpacket(Result<UnixName, String>),
    Udp(SocketAddr, Option<SocketAddr>),
    Datagram(Result<UnixName, String>),
    Made(Maker),
}

/// A declared descriptor.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) name: String,
    pub(crate) what: What,
    pub(crate) options: ListenOptions,
}

impl Spec {
    /// What it is, for people.
    pub(crate) fn noun(&self) -> &'static str {
        match self.what {
            What::Tcp(_) => "listener",
            What::Unix(_) => "Unix listener",
            What::Seqpacket(_) => "seqpacket listener",
            What::Udp(..) => "UDP socket",
            What::Datagram(_) => "Unix datagram socket",
            What::Made(_) => "descriptor",
        }
    }

    /// Where it is to be found; `None` if it has no address.
    pub(crate) fn address(&self) -> Option<String> {
        Some(match &self.what {
            What::Tcp(address) | What::Udp(address, None) => address.to_string(),
            What::Udp(address, Some(peer)) => format!("{address}, connected to {peer}"),
            What::Unix(name) | What::Seqpacket(name) | What::Datagram(name) => shown(name),
            What::Made(_) => return None,
        })
    }

    /// What the kernel says about such a socket; `None` if it may be anything.
    fn looks(&self) -> Option<(bool, SocketType, bool)> {
        match self.what {
            What::Tcp(_) => Some((true, SocketType::STREAM, true)),
            What::Unix(_) => Some((false, SocketType::STREAM, true)),
            What::Seqpacket(_) => Some((false, SocketType::SEQPACKET, true)),
            What::Udp(..) => Some((true, SocketType::DGRAM, false)),
            What::Datagram(_) => Some((false, SocketType::DGRAM, false)),
            What::Made(_) => None,
        }
    }

    /// Whether `fd` is of the declared kind.
    pub(crate) fn fits(&self, fd: &OwnedFd) -> bool {
        let Some((ip, kind, listens)) = self.looks() else {
            return true;
        };
        Looks::of(fd).is_some_and(|looks| (looks.is_ip(), looks.kind, looks.listens) == (ip, kind, listens))
    }

    /// Whether what an owner has under this name, with this mark, is what is declared here.
    pub(crate) fn accepts(&self, mark: u64, fd: &OwnedFd) -> bool {
        match (&self.what, mark) {
            (What::Made(_), _) => true,
            (_, mark) if !self.fits(fd) || mark == KEPT => self.fits(fd),
            (_, UNKNOWN) => self.is_bound_here(fd),
            (_, mark) => mark == self.mark(),
        }
    }

    /// Whether `fd` is of the declared kind and bound to the very address: what would be in the way of making it.
    pub(crate) fn is_there(&self, fd: &OwnedFd) -> bool {
        let any_port = match &self.what {
            What::Tcp(address) | What::Udp(address, _) => address.port() == 0,
            What::Made(_) => true,
            _ => false,
        };
        !any_port && self.fits(fd) && self.is_bound_here(fd)
    }

    fn is_bound_here(&self, fd: &OwnedFd) -> bool {
        match &self.what {
            What::Tcp(address) | What::Udp(address, _) => sockets::ip_name(fd).is_ok_and(|found| {
                found.ip() == address.ip() && (address.port() == 0 || found.port() == address.port())
            }),
            What::Unix(name) | What::Seqpacket(name) | What::Datagram(name) => {
                sockets::unix_name(fd).as_ref() == name.as_ref().ok()
            }
            What::Made(_) => true,
        }
    }

    /// The word for what is declared: FNV-1a of it in a fixed form, never one of the marks that mean something else.
    pub(crate) fn mark(&self) -> u64 {
        let place = match &self.what {
            What::Tcp(address) => format!("tcp {address} {:?}", self.options.v6only),
            What::Udp(address, peer) => format!("udp {address} {peer:?} {:?}", self.options.v6only),
            What::Unix(name) => format!("unix {}", shown(name)),
            What::Seqpacket(name) => format!("seqpacket {}", shown(name)),
            What::Datagram(name) => format!("datagram {}", shown(name)),
            What::Made(_) => return MADE,
        };
        let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        place.bytes().fold(0xcbf2_9ce4_8422_2325, step).max(MADE + 1)
    }

    /// Makes it.
    pub(crate) fn make(&self) -> Result<OwnedFd> {
        let named = |name: &Result<UnixName, String>| {
            name.clone().map_err(|problem| Error::SocketFile {
                path: self.name.clone().into(),
                problem,
            })
        };
        match &self.what {
            What::Tcp(address) => sockets::tcp_listener(*address, self.options),
            What::Udp(address, peer) => sockets::udp(*address, *peer, self.options),
            What::Unix(name) => sockets::unix(&named(name)?, SocketType::STREAM, self.options),
            What::Seqpacket(name) => sockets::unix(&named(name)?, SocketType::SEQPACKET, self.options),
            What::Datagram(name) => sockets::unix(&named(name)?, SocketType::DGRAM, self.options),
            What::Made(maker) => (maker.0)().map_err(|e| Error::io("make descriptor", &self.name, e)),
        }
    }
}

fn shown(name: &Result<UnixName, String>) -> String {
    match name {
        Ok(UnixName::Path(path)) => path.as_os_str().as_encoded_bytes().escape_ascii().to_string(),
        Ok(UnixName::Abstract(name)) => format!("@{}", name.escape_ascii()),
        Err(problem) => problem.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn spec(what: What) -> Spec {
        Spec {
            name: "x".into(),
            what,
            options: ListenOptions::default(),
        }
    }

    #[test]
    fn each_declaration_has_a_mark_of_its_own_that_never_changes() {
        let v4 = "127.0.0.1:80".parse().expect("address");
        let v6: SocketAddr = "[::1]:80".parse().expect("address");
        let unix = |path: &str| UnixName::of(Path::new(path)).map_err(|e| e.to_string());
        let mut dual = spec(What::Tcp(v6));
        dual.options.v6only = Some(false);
        let all = [
            spec(What::Tcp(v4)),
            spec(What::Tcp(v6)),
            dual,
            spec(What::Udp(v4, None)),
            spec(What::Udp(v4, Some(v6))),
            spec(What::Unix(unix("/run/a"))),
            spec(What::Unix(unix("@/run/a"))),
            spec(What::Seqpacket(unix("/run/a"))),
            spec(What::Datagram(unix("/run/a"))),
        ];
        let marks: std::collections::BTreeSet<u64> = all.iter().map(Spec::mark).collect();
        assert_eq!(marks.len(), all.len());
        assert!(marks.iter().all(|mark| *mark > MADE));
        // Marks travel between versions: they are part of the protocol.
        assert_eq!(all[0].mark(), 0xee05_9ea5_2a17_1989);
        assert_eq!(all[5].mark(), 0x0860_e150_aeb0_b7ff);
    }

    #[test]
    fn a_socket_is_accepted_for_what_was_declared_or_for_where_it_is() {
        let any: SocketAddr = "127.0.0.1:0".parse().expect("address");
        let tcp = spec(What::Tcp(any));
        let fd = tcp.make().expect("listen");
        assert!(tcp.fits(&fd) && tcp.accepts(tcp.mark(), &fd));
        assert!(tcp.accepts(KEPT, &fd), "kept under a name that is declared now");
        assert!(!tcp.accepts(tcp.mark() + 1, &fd), "declared otherwise");
        assert!(tcp.accepts(UNKNOWN, &fd), "any port of this address");
        let other = spec(What::Tcp("127.0.0.2:0".parse().expect("address")));
        assert!(!other.accepts(UNKNOWN, &fd));
        let udp = spec(What::Udp(any, None));
        assert!(!udp.fits(&fd) && !udp.accepts(udp.mark(), &fd) && !udp.accepts(KEPT, &fd));
        let made = spec(What::Made(Maker(Arc::new(|| Err(std::io::ErrorKind::Other.into())))));
        assert!(made.accepts(UNKNOWN, &fd) && made.accepts(7, &fd));
        assert!(made.make().is_err());
    }
}
