//! Socket activation: descriptors that systemd, or whoever speaks its protocol, opened for this process (`sd_listen_fds(3)`).
//!
//! - **A1** `LISTEN_PID` must be this process, and `LISTEN_PIDFDID`, where set, its pidfd's inode; otherwise they are meant for another,
//!   which is no error. `LISTEN_FDS` descriptors begin at [`FIRST`]; `LISTEN_FDNAMES` names them, `:` between names.
//! - **A2** What does not make sense is a typed error, found before any descriptor is touched.
//! - **A3** They are taken once in the life of a process, close-on-exec. The environment is left as it is: to change it is undefined
//!   behaviour while another thread reads it. `LISTEN_PID` keeps children from taking it for theirs.
//!
//! It does not know what a node declares.

use crate::error::{ActivationProblem, Error, Result};
use crate::os::inherited::adopt;
use std::ffi::OsString;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Number of the first descriptor.
const FIRST: RawFd = 3;
/// Most descriptors: what a process may have open at most, unless fs.nr_open was raised.
const MOST: u64 = 1 << 20;
/// Longest name, in bytes.
const MAX_NAME: usize = 255;
/// Name of each where none are given, as systemd's own library has it.
const UNNAMED: &str = "unknown";
/// How much of a variable is shown in an error.
const SHOWN: usize = 32;
/// Magic of the file system in which pidfds have inodes of their own.
const PIDFS: u64 = 0x5049_4446;

/// What a node does with the descriptors that a service manager opened for this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// A first process takes those that have the names of its listeners and sockets, and closes the others.
    #[default]
    All,
    /// It takes those, and leaves the others for another node of this process.
    Named,
    /// It does not look at them.
    Off,
}

/// The variables.
#[derive(Clone, Debug, Default)]
pub(crate) struct Variables {
    pub(crate) pid: Option<OsString>,
    pub(crate) pidfd: Option<OsString>,
    pub(crate) count: Option<OsString>,
    pub(crate) names: Option<OsString>,
}

impl Variables {
    fn of_this_process() -> Self {
        Self {
            pid: std::env::var_os("LISTEN_PID"),
            pidfd: std::env::var_os("LISTEN_PIDFDID"),
            count: std::env::var_os("LISTEN_FDS"),
            names: std::env::var_os("LISTEN_FDNAMES"),
        }
    }
}

/// Who is asked for: pid, and the inode of the pidfd where the kernel has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Me {
    pub(crate) pid: u32,
    pub(crate) pidfd: Option<u64>,
}

impl Me {
    fn now() -> Self {
        use rustix::process::{PidfdFlags, getpid, pidfd_open};
        let pidfd = pidfd_open(getpid(), PidfdFlags::empty()).ok().and_then(|fd| {
            let place = rustix::fs::fstatfs(&fd).ok()?;
            let inode = rustix::fs::fstat(&fd).ok()?.st_ino;
            (place.f_type as u64 == PIDFS).then_some(inode)
        });
        Self {
            pid: std::process::id(),
            pidfd,
        }
    }
}

/// Numbers and names of what was announced to `me`: A1, A2.
pub(crate) fn announced(variables: &Variables, me: Me) -> Result<Vec<(RawFd, String)>, ActivationProblem> {
    let Some(pid) = &variables.pid else {
        return Ok(Vec::new());
    };
    if number("LISTEN_PID", pid, 1, u32::MAX.into())? != u64::from(me.pid) {
        return Ok(Vec::new());
    }
    if let (Some(theirs), Some(ours)) = (&variables.pidfd, me.pidfd)
        && number("LISTEN_PIDFDID", theirs, 1, u64::MAX)? != ours
    {
        return Ok(Vec::new());
    }
    let Some(count) = &variables.count else {
        return Ok(Vec::new());
    };
    let count = number("LISTEN_FDS", count, 1, MOST)?;
    let names = match &variables.names {
        None => None,
        Some(names) => Some(split(names)?),
    };
    if let Some(names) = &names
        && names.len() as u64 != count
    {
        return Err(ActivationProblem::Names {
            names: names.len(),
            descriptors: count as usize,
        });
    }
    let name = |i: usize| names.as_ref().map_or(UNNAMED, |names| &names[i]).to_owned();
    Ok((0..count as usize).map(|i| (FIRST + i as RawFd, name(i))).collect())
}

fn number(variable: &'static str, value: &OsString, least: u64, most: u64) -> Result<u64, ActivationProblem> {
    let text = value.to_str();
    // Digits only: no sign, no blanks.
    let digits = text.filter(|t| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit()));
    match digits.and_then(|t| t.parse().ok()) {
        Some(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(ActivationProblem::Number {
            variable,
            found: value.to_string_lossy().chars().take(SHOWN).collect(),
            least,
            most,
        }),
    }
}

fn split(names: &OsString) -> Result<Vec<String>, ActivationProblem> {
    let bad = |index| ActivationProblem::Name { index, limit: MAX_NAME };
    let Some(text) = names.to_str() else {
        return Err(bad(0));
    };
    let check = |(index, name): (usize, &str)| {
        let fits = name.len() <= MAX_NAME && name.bytes().all(|b| b.is_ascii() && !b.is_ascii_control());
        if fits { Ok(name.to_owned()) } else { Err(bad(index)) }
    };
    text.split(':').enumerate().map(check).collect()
}

/// What was taken and not given out yet; `None` before the first look (A3).
static POOL: Mutex<Option<Vec<(String, OwnedFd)>>> = Mutex::new(None);

/// The pool of this process, locked: filled at the first look.
pub(crate) struct Pool(MutexGuard<'static, Option<Vec<(String, OwnedFd)>>>);

impl Pool {
    pub(crate) fn look() -> Result<Self> {
        let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
        if pool.is_none() {
            let mut taken = Vec::new();
            for (number, name) in announced(&Variables::of_this_process(), Me::now())? {
                match adopt(number)? {
                    Some(fd) => taken.push((name, fd)),
                    None => {
                        *pool = Some(taken);
                        return Err(Error::Activation(ActivationProblem::Closed { number, name }));
                    }
                }
            }
            *pool = Some(taken);
        }
        Ok(Self(pool))
    }

    /// Takes the first of this name that `fits`; `Err` if there are some of the name and none does.
    pub(crate) fn take(&mut self, name: &str, fits: impl Fn(&OwnedFd) -> bool) -> Result<Option<OwnedFd>, ()> {
        let Some(all) = self.0.as_mut() else {
            return Ok(None);
        };
        match all.iter().position(|(n, fd)| n == name && fits(fd)) {
            Some(index) => Ok(Some(all.remove(index).1)),
            None if all.iter().any(|(n, _)| n == name) => Err(()),
            None => Ok(None),
        }
    }

    /// Takes what is left; dropped, it is closed.
    pub(crate) fn rest(&mut self) -> Vec<(String, OwnedFd)> {
        self.0.as_mut().map(std::mem::take).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    const ME: Me = Me {
        pid: 77,
        pidfd: Some(4711),
    };

    fn variables(pid: &str, count: &str, names: Option<&str>) -> Variables {
        Variables {
            pid: Some(pid.into()),
            pidfd: None,
            count: Some(count.into()),
            names: names.map(Into::into),
        }
    }

    fn names(found: &[(RawFd, String)]) -> Vec<(RawFd, &str)> {
        found.iter().map(|(number, name)| (*number, name.as_str())).collect()
    }

    #[test]
    fn what_is_meant_for_us_is_found_by_its_names() {
        let found = announced(&variables("77", "2", Some("http:admin")), ME).expect("well formed");
        assert_eq!(names(&found), [(3, "http"), (4, "admin")]);
        let found = announced(&variables("77", "3", None), ME).expect("well formed");
        assert_eq!(names(&found), [(3, "unknown"), (4, "unknown"), (5, "unknown")]);
        let found = announced(&variables("77", "2", Some(":x")), ME).expect("well formed");
        assert_eq!(names(&found), [(3, ""), (4, "x")], "an empty name is one");
    }

    #[test]
    fn what_is_meant_for_others_is_left_alone() {
        let none = |variables: &Variables, me: Me| announced(variables, me).expect("no error").is_empty();
        assert!(none(&Variables::default(), ME));
        assert!(none(&variables("78", "2", None), ME));
        assert!(
            none(&variables("78", "nonsense", Some("::::")), ME),
            "it is not ours to judge"
        );
        let mut theirs = variables("77", "1", None);
        theirs.pidfd = Some("4712".into());
        assert!(none(&theirs, ME), "a pid that was used again");
        assert!(!none(&theirs, Me { pidfd: None, ..ME }), "a kernel without such inodes");
        theirs.pidfd = Some("4711".into());
        assert!(!none(&theirs, ME));
        let mut uncounted = variables("77", "1", None);
        uncounted.count = None;
        assert!(none(&uncounted, ME));
    }

    #[test]
    fn hostile_variables_are_typed_errors() {
        let long = "x".repeat(MAX_NAME + 1);
        let huge = "9".repeat(400);
        for pid in [
            "",
            "-77",
            "+77",
            " 77",
            "77 ",
            "0x4d",
            "0",
            "4294967296",
            "7\u{661}",
            &huge,
        ] {
            let error = announced(&variables(pid, "1", None), ME).expect_err(pid);
            assert!(
                matches!(
                    error,
                    ActivationProblem::Number {
                        variable: "LISTEN_PID",
                        ..
                    }
                ),
                "{pid:?}: {error}"
            );
            assert!(error.to_string().len() < 200, "{error}");
        }
        for count in [
            "",
            "0",
            "-1",
            "1.5",
            "1e3",
            "1048577",
            "4294967297",
            "18446744073709551616",
            "two",
            &huge,
        ] {
            let error = announced(&variables("77", count, None), ME).expect_err(count);
            assert!(
                matches!(
                    error,
                    ActivationProblem::Number {
                        variable: "LISTEN_FDS",
                        ..
                    }
                ),
                "{count:?}: {error}"
            );
        }
        for pidfd in ["", "-1", "x", "18446744073709551616"] {
            let mut bad = variables("77", "1", None);
            bad.pidfd = Some(pidfd.into());
            assert!(announced(&bad, ME).is_err(), "{pidfd:?}");
        }
        for (count, text, found) in [("1", "a:b", 2), ("2", "a", 1), ("3", "::::", 5), ("2", "", 1)] {
            let error = announced(&variables("77", count, Some(text)), ME).expect_err(text);
            let descriptors = count.parse().expect("a number");
            assert_eq!(
                error,
                ActivationProblem::Names {
                    names: found,
                    descriptors
                }
            );
        }
        for text in ["a\nb:c", "c:\u{7f}", "c:ä", &format!("c:{long}")] {
            let error = announced(&variables("77", "2", Some(text)), ME).expect_err(text);
            assert!(matches!(error, ActivationProblem::Name { .. }), "{text:?}: {error}");
        }
        for bytes in [vec![0xff, 0xfe], vec![b'a', 0x80]] {
            let mut bad = variables("77", "1", None);
            bad.names = Some(OsString::from_vec(bytes.clone()));
            assert!(announced(&bad, ME).is_err());
            bad = variables("77", "1", None);
            bad.pid = Some(OsString::from_vec(bytes.clone()));
            assert!(announced(&bad, ME).is_err());
            bad = variables("77", "1", None);
            bad.count = Some(OsString::from_vec(bytes));
            assert!(announced(&bad, ME).is_err());
        }
        let found = announced(&variables("77", &MOST.to_string(), None), ME).expect("a number");
        assert_eq!(found.len() as u64, MOST);
    }

    /// Every cut and every changed byte of good variables is an answer or a typed error, and never more names than announced.
    #[test]
    fn any_change_of_good_variables_is_an_answer_or_an_error() {
        let good = ["77", "2", "http:admin"];
        let mut looked = 0;
        for field in 0..3 {
            for at in 0..=good[field].len() {
                for byte in [None].into_iter().chain((1..=255).map(Some)) {
                    let mut fields = good.map(|text| text.as_bytes().to_vec());
                    match byte {
                        None => fields[field].truncate(at),
                        Some(byte) => fields[field].insert(at, byte),
                    }
                    let [pid, count, names] = fields.map(OsString::from_vec);
                    let changed = Variables {
                        pid: Some(pid),
                        pidfd: None,
                        count: Some(count.clone()),
                        names: Some(names),
                    };
                    if let Ok(found) = announced(&changed, ME)
                        && !found.is_empty()
                    {
                        let count: usize = count.to_str().and_then(|c| c.parse().ok()).expect("digits");
                        assert_eq!(found.len(), count);
                        assert!(found.iter().all(|(_, name)| name.is_ascii() && name.len() <= MAX_NAME));
                    }
                    looked += 1;
                }
            }
        }
        assert!(looked > 4_000, "{looked}");
    }

    #[test]
    fn the_inode_of_our_pidfd_is_ours() {
        let me = Me::now();
        assert_eq!(me.pid, std::process::id());
        assert_eq!(me, Me::now());
    }
}
