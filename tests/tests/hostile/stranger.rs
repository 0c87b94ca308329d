//! A process of another user at the control socket: it cannot get there, and where it can, because somebody opened the directory, it is
//! thrown out before a word of it is read.
//!
//! Credentials belong to a thread as far as the kernel is concerned, so a thread plays the stranger. Skipped, with the reason, without root.
//!
//! It does not know what is said once a peer is let in.

use crate::frames::hello;
use crate::{Before, assert_upgradable, scene, soon};
use actors::node::Swarm;
use handover::os::pidfd::ProcessId;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketType, connect, recv, send, socket};
use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// "nobody".
const STRANGER: u32 = 65534;
/// How often it tries.
const TIMES: usize = 50;

/// What became of a stranger's hello.
#[derive(Debug, PartialEq, Eq)]
enum Met {
    /// It did not get to the socket.
    NoWay,
    /// The other side closed with the hello unread.
    Unread,
    /// The other side closed after it was read.
    Read,
    /// It was answered.
    Answered,
}

/// Connects and says hello as another user.
fn as_stranger(control: &Path, frame: &[u8]) -> Met {
    std::thread::scope(|scope| {
        let stranger = scope.spawn(|| {
            let (user, group) = (Uid::from_raw(STRANGER), Gid::from_raw(STRANGER));
            set_thread_groups(&[]).expect("no groups");
            set_thread_res_gid(group, group, group).expect("another group");
            set_thread_res_uid(user, user, user).expect("another user");
            let socket = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).expect("socket");
            let address = SocketAddrUnix::new(control).expect("address");
            match connect(&socket, &address) {
                Ok(()) => {}
                Err(Errno::ACCESS) => return Met::NoWay,
                Err(e) => panic!("connect: {e}"),
            }
            match send(&socket, frame, SendFlags::NOSIGNAL) {
                Ok(_) => {}
                // Thrown out before it had said anything.
                Err(Errno::PIPE | Errno::CONNRESET) => return Met::Unread,
                Err(e) => panic!("send: {e}"),
            }
            assert!(handover::os::poll::readable(std::os::fd::AsFd::as_fd(&socket), soon()).expect("poll"));
            // The kernel tells who sent what nobody read.
            match recv(&socket, &mut [0_u8; 64], RecvFlags::empty()) {
                Err(Errno::CONNRESET) => Met::Unread,
                Ok((_, 0)) => Met::Read,
                Ok(_) => Met::Answered,
                Err(e) => panic!("recv: {e}"),
            }
        });
        stranger.join().expect("a stranger")
    })
}

/// Directories and files as they were, when it is dropped.
struct Opened(Vec<(PathBuf, Permissions)>);

impl Opened {
    fn new(paths: &[&Path]) -> Self {
        let mut before = Vec::new();
        for path in paths {
            before.push(((*path).into(), std::fs::metadata(path).expect("stat").permissions()));
            set_permissions(path, Permissions::from_mode(0o777)).expect("chmod");
        }
        Self(before)
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        for (path, before) in &self.0 {
            let _ = set_permissions(path, before.clone());
        }
    }
}

#[test]
fn another_user_is_thrown_out_before_a_word_is_read() {
    if !geteuid().is_root() {
        println!("skipped: only root can become another user");
        return;
    }
    let scene = scene();
    let owner = scene.first(&[]);
    let swarm = Swarm::new(scene.address(), 5);
    let mut before = Before::of(&scene, &owner);
    let control = scene.directory().join("control");
    let frame = hello(2, ProcessId::current().expect("proc"))
        .encode(1, 0)
        .expect("encode");
    assert_eq!(as_stranger(&control, &frame), Met::NoWay);
    let directory = scene.directory();
    let above = scene.base().parent().expect("a directory");
    let opened = Opened::new(&[above, scene.base(), &directory, &control]);
    for frame in [&frame[..], b"noise", &[0; 30_000]].iter().cycle().take(TIMES) {
        assert_eq!(as_stranger(&control, frame), Met::Unread);
    }
    drop(opened);
    assert!(scene.status().history.is_empty(), "no handover began");
    scene.wait_participants(&[owner.pid()]);
    before.assert_unchanged(&scene, &owner, &swarm, false);
    assert_upgradable(scene, owner, swarm);
}
