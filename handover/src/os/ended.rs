//! Whether a process has executed its last instruction. That is earlier than its death: to write a core takes as long as the process's
//! memory is large, to give up mappings in small pages takes tens of milliseconds a GiB, and nobody serves meanwhile.
//!
//! - **L1** The kernel marks a thread when it delivers a deadly signal to it (`PF_SIGNALED`), on the way back to user mode: no system
//!   call is under way any more, and it never gets back. One that ends by itself is marked when it begins to (`PF_EXITING`).
//!   Threads of the kernel that work for the process (io_uring) go on after the first mark, so for them only the second counts. What the kernel
//!   itself still does for a thread that has the first (requests of io_uring, or asynchronous reads, that it had put on their way into a region) is
//!   not looked at: nothing here makes such requests.
//! - **L2** A process has ended when each of its threads is marked. They are listed twice, and the second list must have nobody who was not
//!   marked in the first: a thread that was missed there was made by one that was not marked yet. It must also be as long as the
//!   kernel's count of threads, for a list is cut short by a thread that goes away meanwhile.
//! - **L3** Most that are killed are dead a moment later, and with the death come the locks that they held outside the node. So one that has ended gets
//!   [`GRACE`] for dying, from when that was first seen. One that writes a core gets none, for it would not be enough: a thread has the mark of a
//!   crash (`PF_DUMPCORE`), which it has without a core and after it too, and the process says that it does (`CoreDumping` in its status).
//! - **L4** [`Life::Unknown`] means that it is not known: what cannot be read or understood proves nothing.
//!
//! It does not know whose process it is: the caller holds a pidfd, so a pid that was given again means that the process is dead.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// How long one that has ended, and writes no core, may take to be dead before nobody waits for that (L3). With its memory in large pages, and a
/// processor for it, it takes less.
pub(super) const GRACE: Duration = Duration::from_millis(1);

/// What is known of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// Nothing that would prove an end (L4).
    Unknown,
    /// No instruction of it can run any more (L2), and it is giving up what it has.
    Ended,
    /// No instruction of it can run any more, and it writes its core.
    Dumps,
}

/// Of the field `flags` in /proc/PID/task/TID/stat, as the kernel's `sched.h` has had them since 2.6.
const PF_EXITING: u64 = 0x4;
const PF_DUMPCORE: u64 = 0x200;
const PF_SIGNALED: u64 = 0x400;
/// `PF_IO_WORKER`, and `PF_USER_WORKER` since 6.4; another meaning that the second had before costs certainty only.
const PF_WORKERS: u64 = 0x10 | 0x4000;

/// Positions behind the command's name: state is field 3.
const FLAGS: usize = 9 - 3;
const THREADS: usize = 20 - 3;

/// Looks whether any instruction of this process can run yet.
pub(super) fn look(pid: u32) -> Life {
    let tasks = format!("/proc/{pid}/task");
    // Nearly always the answer, for the price of one small file.
    let first = Path::new(&tasks).join(pid.to_string());
    if !read(&first).is_some_and(|thread| thread.is_marked()) {
        return Life::Unknown;
    }
    let Some(before) = marked(&tasks) else {
        return Life::Unknown;
    };
    let count = || Some(read(&first)?.threads);
    let counted = count();
    let Some(after) = marked(&tasks) else {
        return Life::Unknown;
    };
    let known = after.keys().all(|thread| before.contains_key(thread));
    if !known || counted != Some(after.len()) || count() != counted {
        return Life::Unknown;
    }
    match dumps(pid, after.values()) {
        true => Life::Dumps,
        false => Life::Ended,
    }
}

/// Whether a process whose threads have these marks is writing its core now.
fn dumps<'f>(pid: u32, mut marks: impl Iterator<Item = &'f u64>) -> bool {
    let crashed = marks.any(|flags| flags & PF_DUMPCORE != 0);
    let status = || fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    crashed && status().lines().any(|line| line == "CoreDumping:\t1")
}

/// Whether this process seems to be giving up what it has: to wait for that, not to rely on it.
pub(super) fn seems_dying(pid: u32) -> bool {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return false;
    };
    // Those that go away meanwhile say the same as those that are marked.
    let threads: Vec<_> = entries.flatten().filter_map(|entry| read(&entry.path())).collect();
    let marks = threads.iter().map(|thread| &thread.flags);
    !threads.is_empty() && threads.iter().all(Thread::is_marked) && !dumps(pid, marks)
}

/// Everybody in the list of threads with their flags, if all are marked.
fn marked(tasks: &str) -> Option<BTreeMap<u32, u64>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(tasks).ok()? {
        let entry = entry.ok()?;
        let thread = entry.file_name().to_str()?.parse().ok()?;
        // One that is gone by now is missed by the count.
        let found = read(&entry.path())?;
        if !found.is_marked() {
            return None;
        }
        all.insert(thread, found.flags);
    }
    Some(all)
}

/// What is asked of a thread.
#[derive(Debug, PartialEq, Eq)]
struct Thread {
    flags: u64,
    /// Threads of its process.
    threads: usize,
}

impl Thread {
    /// L1.
    fn is_marked(&self) -> bool {
        self.flags & PF_EXITING != 0 || (self.flags & PF_SIGNALED != 0 && self.flags & PF_WORKERS == 0)
    }
}

fn read(task: &Path) -> Option<Thread> {
    parse(&fs::read(task.join("stat")).ok()?)
}

/// The name in field 2 may hold anything: it ends at the last parenthesis.
fn parse(stat: &[u8]) -> Option<Thread> {
    let end = stat.iter().rposition(|&b| b == b')')?;
    let rest = std::str::from_utf8(&stat[end + 1..]).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    Some(Thread {
        flags: fields.nth(FLAGS)?.parse().ok()?,
        threads: fields.nth(THREADS - FLAGS - 1)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::os::clock::{self, Deadline};
    use crate::os::pidfd::{Pidfd, ProcessId};
    use nix::sys::ptrace;
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
    use std::io::{BufRead, BufReader};
    use std::process::{Child, Command, Stdio};
    use std::time::Duration;

    const LIMIT: Duration = Duration::from_secs(60);
    const LOOK: Duration = Duration::from_micros(200);
    /// Bytes that a child writes into its core: long enough to be looked at meanwhile.
    const BALLAST: usize = 256 << 20;
    /// Says what the child process of a test does.
    const PART: &str = "HANDOVER_TEST_ENDED";

    /// Starts this test binary as a process that plays `part`, in a directory of its own; returns when it says that it does.
    fn child(part: &str, directory: &Path) -> Child {
        let mut child = Command::new(std::env::current_exe().expect("this binary"))
            .args(["--exact", "os::ended::tests::part", "--nocapture", "--test-threads=1"])
            .env(PART, part)
            .current_dir(directory)
            .stdout(Stdio::piped())
            .spawn()
            .expect("spawn");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        assert!(lines.map_while(Result::ok).any(|line| line.ends_with("here")), "{part}");
        child
    }

    /// The part of a child.
    #[test]
    fn part() {
        let Ok(part) = std::env::var(PART) else { return };
        let spin = || {
            loop {
                std::hint::black_box(0u64);
            }
        };
        match part.as_str() {
            "sleeps" => {}
            "spins" => drop(std::thread::spawn(spin)),
            "dumps" => {
                let most = getrlimit(Resource::Core).maximum;
                let limit = Rlimit {
                    current: most,
                    maximum: most,
                };
                setrlimit(Resource::Core, limit).expect("a core");
                // Each page another, and none empty.
                let ballast: Vec<u8> = (0..BALLAST).map(|at| (at >> 12) as u8 | 1).collect();
                std::mem::forget(ballast);
                for _ in 0..4 {
                    std::thread::spawn(spin);
                }
            }
            other => panic!("no part {other}"),
        }
        println!("here");
        std::thread::sleep(Duration::from_secs(600));
    }

    fn hold(child: &Child) -> Pidfd {
        let process = ProcessId::of(child.id()).expect("proc").expect("alive");
        Pidfd::open(process).expect("open").expect("alive")
    }

    fn signal(child: &Child, signal: Signal) {
        let pid = Pid::from_raw(child.id().cast_signed()).expect("a pid");
        kill_process(pid, signal).expect("kill");
    }

    #[test]
    fn one_that_lives_has_not_ended() {
        let directory = tempfile::tempdir().expect("tempdir");
        for part in ["sleeps", "spins"] {
            let mut child = child(part, directory.path());
            assert_eq!(look(child.id()), Life::Unknown, "{part}");
            signal(&child, Signal::STOP);
            assert_eq!(look(child.id()), Life::Unknown, "{part}, stopped");
            let pidfd = hold(&child);
            assert!(!pidfd.has_ended().expect("ask"));
            pidfd.kill().expect("kill");
            let end = Deadline::after(LIMIT);
            while !pidfd.has_ended().expect("ask") {
                assert!(end.pause(LOOK), "{part}: killed, and goes on");
            }
            pidfd.wait_dead(end).expect("dead");
            child.wait().expect("reap");
        }
        assert_eq!(look(std::process::id()), Life::Unknown);
        assert_eq!(look(u32::MAX), Life::Unknown, "nobody proves nothing");
    }

    #[test]
    fn one_that_is_killed_and_takes_long_to_die_has_after_a_while() {
        let directory = tempfile::tempdir().expect("tempdir");
        for part in ["sleeps", "spins"] {
            let mut child = child(part, directory.path());
            let [pidfd, other] = [hold(&child), hold(&child)];
            // It stops where it begins to end, and gets no further.
            let traced = nix::unistd::Pid::from_raw(child.id().cast_signed());
            ptrace::seize(traced, ptrace::Options::PTRACE_O_TRACEEXIT).expect("a child that may be traced");
            assert!(!pidfd.has_ended().expect("ask"), "{part}: it lives");
            assert!(!seems_dying(child.id()), "{part}");
            assert_eq!(pidfd.next_look(LIMIT), LIMIT);
            pidfd.kill().expect("kill");
            let stopped = waitpid(traced, Some(WaitPidFlag::__WALL)).expect("its end");
            assert!(matches!(stopped, WaitStatus::PtraceEvent(..)), "{part}: {stopped:?}");
            // Its other threads end by themselves; then what is looked at does not change any more.
            let end = Deadline::after(LIMIT);
            let others = || {
                fs::read_dir(format!("/proc/{}/task", child.id()))
                    .expect("threads")
                    .count()
                    - 1
            };
            while others() > 0 || look(child.id()) != Life::Ended {
                assert!(end.pause(LOOK), "{part}: killed, and goes on");
            }
            let began = clock::now();
            assert!(!pidfd.has_ended().expect("ask"), "{part}: it may be dead in a moment");
            assert_eq!(pidfd.next_look(LIMIT), GRACE);
            pidfd.wait_ended(LIMIT, end).expect("long enough");
            assert!(Duration::from_nanos(clock::now() - began) >= GRACE, "{part}: too early");
            assert!(!pidfd.is_dead().expect("ask"), "{part}: it was held");
            assert!(!other.has_ended().expect("ask"), "{part}: each hold has its own clock");
            assert!(seems_dying(child.id()), "{part}");
            assert!(matches!(
                hold(&child).wait_ended(LIMIT, Deadline::now()),
                Err(Error::Deadline { .. })
            ));
            ptrace::detach(traced, None).expect("let it go");
            other.wait_dead(end).expect("dead");
            child.wait().expect("reap");
        }
    }

    #[test]
    fn one_that_writes_its_core_has() {
        let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
        let directory = tempfile::tempdir().expect("tempdir");
        let mut child = child("dumps", directory.path());
        let pidfd = hold(&child);
        signal(&child, Signal::ABORT);
        let end = Deadline::after(LIMIT);
        while !pidfd.has_ended().expect("ask") {
            assert!(end.pause(LOOK), "it goes on");
        }
        let writes = || look(child.id()) == Life::Dumps;
        let (before, dying, after) = (writes(), seems_dying(child.id()), writes());
        // Writing before the question and after it, it was writing at it.
        assert!(
            !(before && dying && after),
            "one that writes its core is not waited for"
        );
        let early = !pidfd.is_dead().expect("ask");
        let seen = std::time::Instant::now();
        pidfd.wait_dead(end).expect("dead");
        let writing = seen.elapsed();
        child.wait().expect("reap");
        let core = fs::read_dir(directory.path()).expect("list").flatten().next();
        let written = core.and_then(|core| core.metadata().ok()).map_or(0, |core| core.len());
        eprintln!("ended {writing:?} before it was dead; a core of {written} bytes, pattern {pattern:?}");
        // Where cores are not written here, or not so many bytes of them, there is nothing to be earlier than.
        assert!(early || written < BALLAST as u64, "only when it was dead");
    }

    #[test]
    fn fields_are_where_they_are() {
        let fields = "S 1 2 3 4 5 1028 7 8 9 10 11 12 13 14 15 16 5 18 4242 20 21";
        for name in ["sleep", ") S 1 (", "(((", "x)\n) 9 9 9"] {
            let thread = parse(format!("17 ({name}) {fields}\n").as_bytes());
            let expected = Thread {
                flags: PF_SIGNALED | PF_EXITING,
                threads: 5,
            };
            assert_eq!(thread, Some(expected), "{name:?}");
        }
        assert_eq!(parse(b"17 (sleep) S 1 2"), None);
        let marked = |flags| Thread { flags, threads: 1 }.is_marked();
        assert!(marked(PF_SIGNALED) && marked(PF_EXITING) && !marked(0x0040_0140));
        assert!(!marked(PF_SIGNALED | 0x10) && !marked(PF_SIGNALED | 0x4000) && marked(PF_EXITING | 0x10));
    }
}
