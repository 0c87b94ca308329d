//! Who is at the other end of a Unix socket, by SO_PEERCRED.
//!
//! - The kernel recorded it when the connection was made; a process cannot lie about it.
//! - For the one who connected it names the process that called `listen` last, not the one that accepted: a
//!   process that adopts a listening socket calls `listen` again.

use std::os::fd::AsFd;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use rustix::process::geteuid;

use crate::error::{Error, Result};

/// The process at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its process id as this process sees it; 0 if it lives in a pid namespace that this one cannot see.
    pub pid: u32,
    /// Its effective uid.
    pub uid: u32,
}

impl Peer {
    /// Asks the kernel.
    ///
    /// # Errors
    /// `socket` is no connected Unix socket.
    pub fn of(socket: &impl AsFd) -> Result<Self> {
        let cred =
            getsockopt(socket, PeerCredentials).map_err(|e| Error::io("ask for the peer of", "a Unix socket", e))?;
        Ok(Self {
            pid: u32::try_from(cred.pid()).unwrap_or(0),
            uid: cred.uid(),
        })
    }

    /// Asks the kernel, and refuses everybody but our own uid.
    ///
    /// # Errors
    /// [`Error::WrongUid`] for another uid.
    pub fn of_same_user(socket: &impl AsFd) -> Result<Self> {
        Self::of(socket)?.expect_uid(geteuid().as_raw())
    }

    fn expect_uid(self, expected: u32) -> Result<Self> {
        if self.uid == expected {
            Ok(self)
        } else {
            Err(Error::WrongUid {
                place: "control socket".into(),
                pid: self.pid,
                expected,
                found: self.uid,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_own_user_passes_and_another_does_not() {
        let (a, _b) = UnixStream::pair().expect("socketpair");
        let peer = Peer::of_same_user(&a).expect("own uid");
        assert_eq!(peer.pid, std::process::id());
        let stranger = Peer {
            uid: peer.uid + 1,
            ..peer
        };
        assert!(matches!(
            stranger.expect_uid(peer.uid),
            Err(Error::WrongUid { found, expected, .. }) if found == expected + 1
        ));
    }
}
