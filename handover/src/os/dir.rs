//! The runtime directory of a node: `<dir>/<node>/`.
//!
//! - It and its parent belong to this uid, are closed to all others (0700), and are no symbolic links. Anything
//!   else is refused, not repaired.
//! - Files in it are opened relative to the checked directory, so that nobody can swap it in between.
//! - The id is made once, whole, under its final name: two processes that start together agree on one.
//!
//! This file does not know what locks, sockets and ids are used for.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::fs::{DirBuilder, File};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, fstat, linkat, openat, unlinkat};
use rustix::io::Errno;
use rustix::process::geteuid;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::error::{Error, Result};

/// Longest name of a node, in bytes: what the control block has room for.
pub const MAX_NODE_NAME: usize = 64;
/// The listening socket.
pub const CONTROL: &str = "control";
/// The liveness lock.
pub const LOCK: &str = "lock";
/// The lock of starting processes.
pub const START: &str = "start";
/// The file with the node id.
pub const ID: &str = "id";

/// Mode of the directories.
const DIR_MODE: u32 = 0o700;
/// Mode of the files in them.
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);
/// Hex digits of an id.
const ID_DIGITS: usize = 32;
/// More than any id file holds.
const ID_FILE_LIMIT: u64 = 64;

/// 128 random bits that name a node on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NodeId(pub u128);

impl NodeId {
    /// Makes a new one.
    ///
    /// # Errors
    /// The kernel has no random bytes.
    pub fn random() -> Result<Self> {
        Ok(Self(u128::from_le_bytes(random_bytes()?)))
    }

    /// Name of the shared-memory object of this node's control block.
    #[must_use]
    pub fn shm_name(self) -> String {
        format!("/handover-{self}")
    }

    fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_suffix('\n').unwrap_or(text);
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        (digits.len() == ID_DIGITS && digits.bytes().all(hex))
            .then(|| u128::from_str_radix(digits, 16).ok().map(Self))
            .flatten()
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

fn random_bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        match getrandom(&mut bytes[filled..], GetRandomFlags::empty()) {
            Ok(n) => filled += n,
            Err(Errno::INTR) => {}
            Err(e) => return Err(Error::io("get", "random bytes", e)),
        }
    }
    Ok(bytes)
}

/// Checks the name of a node: 1 to [`MAX_NODE_NAME`] of `A–Z a–z 0–9 . _ -`, not beginning with a dot.
///
/// # Errors
/// [`Error::NodeName`].
pub fn check_node_name(name: &str) -> Result<()> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let problem = if name.is_empty() {
        "it is empty"
    } else if name.len() > MAX_NODE_NAME {
        "it is longer than 64 bytes"
    } else if name.starts_with('.') {
        "it begins with a dot"
    } else if !name.bytes().all(allowed) {
        "only letters, digits, '.', '_' and '-' are possible"
    } else {
        return Ok(());
    };
    Err(Error::NodeName {
        name: name.into(),
        problem,
    })
}

/// Where the directories of nodes are: `$HANDOVER_DIR`, else `$XDG_RUNTIME_DIR/handover`, else
/// `/tmp/handover-<uid>`. An empty variable counts as unset.
#[must_use]
pub fn base() -> PathBuf {
    base_from(
        env::var_os("HANDOVER_DIR"),
        env::var_os("XDG_RUNTIME_DIR"),
        geteuid().as_raw(),
    )
}

fn base_from(own: Option<OsString>, runtime: Option<OsString>, uid: u32) -> PathBuf {
    let set = |v: Option<OsString>| v.filter(|v| !v.is_empty()).map(PathBuf::from);
    set(own)
        .or_else(|| set(runtime).map(|dir| dir.join("handover")))
        .unwrap_or_else(|| PathBuf::from(format!("/tmp/handover-{uid}")))
}

/// The names of all nodes that have a directory under `base`, sorted. None if `base` does not exist.
///
/// # Errors
/// `base` is refused or cannot be read.
pub fn nodes(base: &Path) -> Result<Vec<String>> {
    if open_checked(base)?.is_none() {
        return Ok(Vec::new());
    }
    let entries = std::fs::read_dir(base).map_err(|e| Error::io("list", base.display(), e))?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| check_node_name(name).is_ok())
        .collect();
    names.sort();
    Ok(names)
}

/// The directory of one node, checked and held open.
#[derive(Debug)]
pub struct NodeDir {
    path: PathBuf,
    node: String,
    dir: OwnedFd,
}

impl NodeDir {
    /// Opens the directory of `node` under `base`, and makes both if they are missing.
    ///
    /// # Errors
    /// [`Error::NodeName`], [`Error::RuntimeDir`] if one of them is refused, [`Error::Io`].
    pub fn open(base: &Path, node: &str) -> Result<Self> {
        check_node_name(node)?;
        make(base)?;
        let path = base.join(node);
        make(&path)?;
        Self::find(base, node)?.ok_or_else(|| refused(&path, "it vanished while it was opened"))
    }

    /// Opens the directory of `node` under `base` if it exists, for tools that must not make one.
    ///
    /// # Errors
    /// As for [`NodeDir::open`].
    pub fn find(base: &Path, node: &str) -> Result<Option<Self>> {
        check_node_name(node)?;
        if open_checked(base)?.is_none() {
            return Ok(None);
        }
        let path = base.join(node);
        Ok(open_checked(&path)?.map(|dir| Self {
            path,
            node: node.into(),
            dir,
        }))
    }

    /// The name of the node.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Path of the listening socket.
    #[must_use]
    pub fn control_path(&self) -> PathBuf {
        self.path.join(CONTROL)
    }

    /// Opens the file of the liveness lock, for reading and writing; makes it if it is missing.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn lock_file(&self) -> Result<File> {
        self.file(LOCK, OFlags::CREATE)
    }

    /// Opens the file of the start lock, for reading and writing; makes it if it is missing.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn start_file(&self) -> Result<File> {
        self.file(START, OFlags::CREATE)
    }

    /// The id of the node; makes it if there is none.
    ///
    /// # Errors
    /// [`Error::RuntimeDir`] if the file holds something else.
    pub fn id(&self) -> Result<NodeId> {
        match self.read_id()? {
            Some(id) => Ok(id),
            None => self.make_id(),
        }
    }

    /// Removes the node's files and its directory. The caller holds `start` and `lock`, so nobody else makes any meanwhile; who
    /// waits for `start` finds its file unlinked.
    ///
    /// # Errors
    /// A file cannot be removed. What is gone already is no error.
    pub fn remove(&self) -> Result<()> {
        let ignore = |e: std::io::Error| match e.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(e),
        };
        for file in [CONTROL, ID, LOCK, START] {
            let path = self.path().join(file);
            std::fs::remove_file(&path)
                .or_else(ignore)
                .map_err(|e| Error::io("remove", path.display(), e))?;
        }
        std::fs::remove_dir(self.path())
            .or_else(ignore)
            .map_err(|e| Error::io("remove", self.path().display(), e))
    }

    /// The id of the node, `None` if none was made yet.
    ///
    /// # Errors
    /// [`Error::RuntimeDir`] if the file holds something else.
    pub fn read_id(&self) -> Result<Option<NodeId>> {
        let file = match openat(&self.dir, ID, OFlags::RDONLY | ALWAYS, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(self.io("open", ID, e)),
        };
        let mut text = String::new();
        match file.take(ID_FILE_LIMIT).read_to_string(&mut text) {
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::InvalidData => text.clear(),
            Err(e) => return Err(self.io("read", ID, e)),
        }
        match NodeId::parse(&text) {
            Some(id) => Ok(Some(id)),
            None => Err(refused(
                &self.path.join(ID),
                "it does not hold 32 hex digits; if no process of the node runs, remove it",
            )),
        }
    }

    fn make_id(&self) -> Result<NodeId> {
        let id = NodeId::random()?;
        let new = format!("{ID}.{:016x}", u64::from_le_bytes(random_bytes()?));
        let mut file = self.file(&new, OFlags::CREATE | OFlags::EXCL)?;
        let linked = writeln!(file, "{id}")
            .map_err(|e| self.io("write", &new, e))
            .and_then(|()| {
                // A link, not a rename: it fails if another process was faster.
                match linkat(&self.dir, new.as_str(), &self.dir, ID, AtFlags::empty()) {
                    Ok(()) | Err(Errno::EXIST) => Ok(()),
                    Err(e) => Err(self.io("link", ID, e)),
                }
            });
        let removed = unlinkat(&self.dir, new.as_str(), AtFlags::empty()).map_err(|e| self.io("remove", &new, e));
        linked.and(removed)?;
        self.read_id()?
            .ok_or_else(|| refused(&self.path.join(ID), "it vanished while it was made"))
    }

    fn file(&self, name: &str, extra: OFlags) -> Result<File> {
        openat(&self.dir, name, OFlags::RDWR | ALWAYS | extra, FILE_MODE)
            .map(File::from)
            .map_err(|e| self.io("open", name, e))
    }

    fn io(&self, what: &'static str, name: &str, e: impl Into<std::io::Error>) -> Error {
        Error::io(what, self.path.join(name).display(), e)
    }
}

impl AsFd for NodeDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

/// Every file: not inherited by exec, never through a symbolic link.
const ALWAYS: OFlags = OFlags::CLOEXEC.union(OFlags::NOFOLLOW);

fn make(path: &Path) -> Result<()> {
    match DirBuilder::new().mode(DIR_MODE).create(path) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(Error::io("make the directory", path.display(), e)),
    }
}

/// Opens a directory and refuses it unless it is ours alone. `None` if it does not exist.
fn open_checked(path: &Path) -> Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | ALWAYS;
    let dir = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(dir) => dir,
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::LOOP | Errno::NOTDIR) => {
            return Err(refused(path, "it is a symbolic link, or no directory"));
        }
        Err(e) => return Err(Error::io("open", path.display(), e)),
    };
    let stat = fstat(&dir).map_err(|e| Error::io("inspect", path.display(), e))?;
    let uid = geteuid().as_raw();
    let mode = Mode::from_raw_mode(stat.st_mode);
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        Err(refused(path, "it is no directory"))
    } else if stat.st_uid != uid {
        let problem = format!("it belongs to uid {}, not to {uid}", stat.st_uid);
        Err(refused(path, problem))
    } else if mode.intersects(Mode::RWXG | Mode::RWXO) {
        let problem = format!(
            "it is open to others (mode {:04o}); `chmod 700` it",
            mode.as_raw_mode() & 0o7777
        );
        Err(refused(path, problem))
    } else {
        Ok(Some(dir))
    }
}

fn refused(path: &Path, problem: impl Into<String>) -> Error {
    Error::RuntimeDir {
        path: path.into(),
        problem: problem.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn names() {
        for good in ["a", "arena-1", "Room_7.eu", "-", &"x".repeat(64)] {
            check_node_name(good).expect(good);
        }
        for bad in ["", ".", "..", ".a", "a/b", "a b", "ä", "a\0", &"x".repeat(65)] {
            assert!(check_node_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_base_follows_the_environment() {
        let os = |s: &str| Some(OsString::from(s));
        assert_eq!(base_from(os("/a"), os("/b"), 7), Path::new("/a"));
        assert_eq!(base_from(os(""), os("/b"), 7), Path::new("/b/handover"));
        assert_eq!(base_from(None, None, 7), Path::new("/tmp/handover-7"));
    }

    #[test]
    fn directories_are_ours_alone_or_refused() {
        let tmp = tempfile::tempdir().expect("tempdir");
        let base = tmp.path().join("nodes");
        assert!(NodeDir::find(&base, "arena").expect("absent").is_none());
        assert!(nodes(&base).expect("absent").is_empty());
        let dir = NodeDir::open(&base, "arena").expect("make");
        let mode = |p: &Path| fs::metadata(p).expect("stat").permissions().mode() & 0o777;
        assert_eq!((mode(&base), mode(dir.path())), (0o700, 0o700));
        dir.lock_file().expect("lock");
        dir.start_file().expect("start");
        assert_eq!(mode(&dir.path().join(LOCK)), 0o600);
        assert_eq!(nodes(&base).expect("list"), ["arena"]);

        symlink(dir.path(), base.join("link")).expect("symlink");
        assert!(matches!(NodeDir::open(&base, "link"), Err(Error::RuntimeDir { .. })));
        for open in [0o701, 0o710, 0o777] {
            let permissions = fs::Permissions::from_mode(open);
            fs::set_permissions(dir.path(), permissions).expect("chmod");
            assert!(matches!(NodeDir::open(&base, "arena"), Err(Error::RuntimeDir { .. })));
        }
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).expect("chmod");
        NodeDir::open(&base, "arena").expect("closed again");
        fs::set_permissions(&base, fs::Permissions::from_mode(0o755)).expect("chmod");
        assert!(NodeDir::open(&base, "arena").is_err(), "the parent counts");
        assert!(NodeDir::open(tmp.path(), "../x").is_err());
    }

    #[test]
    fn processes_that_start_together_agree_on_the_id() {
        let tmp = tempfile::tempdir().expect("tempdir");
        let base = tmp.path().join("nodes");
        for round in 0..20 {
            let node = format!("n{round}");
            let barrier = Barrier::new(4);
            let start = || {
                barrier.wait();
                NodeDir::open(&base, &node).expect("open").id().expect("id")
            };
            let ids: Vec<NodeId> = std::thread::scope(|s| {
                let threads: Vec<_> = (0..4).map(|_| s.spawn(start)).collect();
                let join = |t: std::thread::ScopedJoinHandle<'_, _>| t.join().expect("no panic");
                threads.into_iter().map(join).collect()
            });
            assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
            let left = fs::read_dir(base.join(&node)).expect("list").count();
            assert_eq!(left, 1, "nothing but the id is left");
        }
    }

    #[test]
    fn a_damaged_id_is_refused() {
        let tmp = tempfile::tempdir().expect("tempdir");
        let dir = NodeDir::open(&tmp.path().join("nodes"), "a").expect("open");
        let id = dir.id().expect("made");
        assert_eq!(id.shm_name(), format!("/handover-{id}"));
        assert_eq!(dir.id().expect("read"), id);
        for bad in ["", "abc", &"g".repeat(32), &"A".repeat(32), "\u{ff}", &"1".repeat(33)] {
            fs::write(dir.path().join(ID), bad).expect("write");
            assert!(matches!(dir.id(), Err(Error::RuntimeDir { .. })), "{bad:?}");
        }
    }
}
