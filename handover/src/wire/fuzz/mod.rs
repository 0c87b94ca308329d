//! Frames of every kind of wrongness, thousands a second: whatever comes is a message or a typed error.
//!
//! - **F1** No panic, no hang.
//! - **F2** What decodes, encodes to the same bytes again (but for the version of `hello` and `refuse`, which are written in the lowest).
//! - **F3** No frame makes the decoder ask for more than [`MOST`] bytes of memory.
//! - **F4** A channel accepts exactly what is due: the next number, the version that was agreed, as many descriptors as are listed.
//! - **F5** What is refused leaves no descriptor, and what comes after it is received as if it had not been.
//!
//! A case is a function of target, seed and number; the seed is printed. A target runs briefly with the other tests, and for long by hand:
//!
//! ```text
//! HANDOVER_FUZZ_SECONDS=600 HANDOVER_FUZZ_SEED=7 cargo test -p handover --lib wire::fuzz
//! HANDOVER_FUZZ_SEED=7 HANDOVER_FUZZ_CASE=1234 cargo test -p handover --lib wire::fuzz::channel
//! ```
//!
//! It does not know the phases: `tests/tests/hostile.rs` says such frames to nodes that live.

mod allocated;
mod frames;

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::channel::Channel;
use super::frame::{Header, LOWEST, MAX_FRAME};
use super::message::{Descriptor, Message, listed_descriptors};
use super::sabotage::{Left, leave_out};
use crate::error::{Error, Result};
use crate::os::alone::{alone, open_descriptors};
use crate::os::clock::Deadline;
use crate::os::rights::{MAX_DESCRIPTORS, send_with_fds};

/// A case that takes longer hangs.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long a target runs if nothing else is said.
const SECONDS: u64 = 2;
/// Most that one frame may make this process ask for: its strings, and a list of as many descriptors as there can be.
const MOST: usize = MAX_FRAME + MAX_DESCRIPTORS * (size_of::<Descriptor>() + size_of::<i32>()) * 3;
/// Cases in which a check that is left out must be noticed.
const ENOUGH: u64 = 200_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn random_of(seed: u64, case: u64) -> fastrand::Rng {
    fastrand::Rng::with_seed(seed << 32 ^ case)
}

/// Runs cases until the time is over. `case` gives whether something was accepted.
fn run(target: &str, mut case: impl FnMut(&mut fastrand::Rng) -> bool) {
    let seed = number("HANDOVER_FUZZ_SEED").unwrap_or(1);
    let (first, one) = number("HANDOVER_FUZZ_CASE").map_or((0, false), |case| (case, true));
    let seconds = number("HANDOVER_FUZZ_SECONDS").unwrap_or(SECONDS);
    println!("{target}: seed {seed}");
    let end = Instant::now() + Duration::from_secs(seconds);
    let doing = AtomicU64::new(first);
    let over = AtomicU64::new(0);
    let (mut n, mut accepted) = (first, 0_u64);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut since = (u64::MAX, Instant::now());
            while over.load(Ordering::Relaxed) == 0 {
                let now = doing.load(Ordering::Relaxed);
                if now != since.0 {
                    since = (now, Instant::now());
                } else if since.1.elapsed() > DEADLINE {
                    eprintln!("{target}: seed {seed}, case {now} hangs");
                    std::process::abort();
                }
                std::thread::park_timeout(Duration::from_millis(50));
            }
        });
        let mut failed = false;
        while !failed && (n == first || !one && Instant::now() < end) {
            let outcome = catch_unwind(AssertUnwindSafe(|| case(&mut random_of(seed, n))));
            accepted += u64::from(*outcome.as_ref().unwrap_or(&false));
            failed = outcome.is_err();
            n += 1;
            doing.store(n, Ordering::Relaxed);
        }
        over.store(1, Ordering::Relaxed);
        assert!(!failed, "{target}: seed {seed}, case {} panicked", n - 1);
    });
    println!("{target}: {} cases, {accepted} with something accepted", n - first);
    assert!(one || n - first > 20, "only {} cases", n - first);
    assert!(one || accepted > 0, "nothing was ever accepted: the cases test nothing");
}

/// With this check left out, the target must notice.
fn must_notice(left: Left, mut case: impl FnMut(&mut fastrand::Rng) -> bool) {
    leave_out(left);
    let noticed = (0..ENOUGH).find(|n| catch_unwind(AssertUnwindSafe(|| case(&mut random_of(1, *n)))).is_err());
    leave_out(Left::Nothing);
    let case = noticed.unwrap_or_else(|| panic!("{left:?} left out was not noticed"));
    println!("{left:?} left out: noticed by case {case}");
}

/// What this frame means, F1 to F3.
fn decode(frame: &[u8]) -> Result<(Header, Message)> {
    let (decoded, bytes) = allocated::during(|| {
        let (header, body) = Header::decode(frame)?;
        Ok((header, Message::decode(header.kind, body)?))
    });
    assert!(bytes <= MOST, "{bytes} bytes for a frame of {}", frame.len());
    match &decoded {
        Ok((header, message)) => {
            let again = message.encode(header.version, header.number).expect("encode");
            let mut frame = frame.to_vec();
            if is_frozen(message) {
                frame[4..6].copy_from_slice(&LOWEST.to_le_bytes());
            }
            assert_eq!(again, frame, "what is accepted is what would be written: {message:?}");
            let listed = listed_descriptors(&frame).unwrap_or(0);
            assert_eq!(listed, message.descriptors(), "{message:?}");
        }
        Err(error) => assert_refusal(error),
    }
    decoded
}

fn is_frozen(message: &Message) -> bool {
    matches!(message, Message::Hello(_) | Message::Refuse { .. })
}

fn assert_refusal(error: &Error) {
    assert!(
        matches!(error, Error::Frame(_) | Error::Unsupported { .. }),
        "{error:?}"
    );
    assert!(!error.to_string().is_empty());
}

fn mutated(random: &mut fastrand::Rng) -> bool {
    let (message, version) = frames::message(random);
    let frame = message.encode(version, random.u32(..)).expect("encode");
    assert!(decode(&frame).is_ok(), "{message:?}");
    decode(&frames::mutate(frame, random)).is_ok()
}

#[test]
fn golden_frames_altered() {
    run("golden_frames_altered", mutated);
}

#[test]
fn noise() {
    run("noise", |random| decode(&frames::noise(random)).is_ok());
}

/// Both ends of a connection, one of which says what it should not.
struct Live {
    hostile: Channel,
    channel: Channel,
    null: File,
    version: u16,
    due: u32,
    descriptors: usize,
}

impl Live {
    fn new(null: &File, version: u16) -> Self {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (a, b) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("socketpair");
        let hostile = Channel::new(a).expect("own uid");
        let mut channel = Channel::new(b).expect("own uid");
        channel.set_version(version);
        Self {
            hostile,
            channel,
            null: null.try_clone().expect("a descriptor"),
            version,
            due: 0,
            descriptors: open_descriptors(),
        }
    }

    /// Sends one datagram and checks what becomes of it, F4 and F5.
    fn say(&mut self, frame: &[u8], count: usize, low_limit: bool) -> bool {
        let fds: Vec<BorrowedFd<'_>> = vec![self.null.as_fd(); count];
        send_with_fds(self.hostile.as_fd(), frame, &fds, Deadline::after(DEADLINE)).expect("send");
        drop(fds);
        let normal = getrlimit(Resource::Nofile);
        if low_limit {
            let current = Some(self.descriptors as u64 + 1);
            setrlimit(Resource::Nofile, Rlimit { current, ..normal }).expect("lower");
        }
        let (got, bytes) = allocated::during(|| self.channel.recv(Deadline::now()));
        setrlimit(Resource::Nofile, normal).expect("raise");
        assert!(bytes <= MOST, "{bytes} bytes for a frame of {}", frame.len());
        let accepted = match got {
            Ok((message, fds)) => {
                let (header, again) = decode(frame).expect("a frame that was accepted");
                let version = if is_frozen(&message) { LOWEST } else { self.version };
                assert_eq!(again, message);
                assert_eq!((header.number, header.version), (self.due, version), "{message:?}");
                assert_eq!((fds.len(), message.descriptors()), (count, count), "{message:?}");
                self.due += 1;
                true
            }
            Err(Error::Truncated { .. }) => {
                assert!(low_limit && count > 0);
                false
            }
            // What has no bytes is the end of a connection, as far as the kernel says.
            Err(Error::Closed { .. }) => {
                assert_eq!(frame.len(), 0);
                false
            }
            Err(error) => {
                assert_refusal(&error);
                let is_due = frame.len() <= MAX_FRAME
                    && decode(frame).is_ok_and(|(header, message)| {
                        let version = if is_frozen(&message) { LOWEST } else { self.version };
                        (header.number, header.version, count) == (self.due, version, message.descriptors())
                    });
                assert!(!is_due, "refused what was due: {error}");
                false
            }
        };
        assert_eq!(open_descriptors(), self.descriptors, "a descriptor is left");
        accepted
    }
}

/// Several datagrams to one channel.
fn conversation(null: &File, random: &mut fastrand::Rng) -> bool {
    let mut live = Live::new(null, random.u16(1..=2));
    let mut accepted = false;
    for _ in 0..random.u32(1..6) {
        let (message, version) = frames::message(random);
        let version = if random.u32(..8) == 0 { version } else { live.version };
        let number = match random.u32(..6) {
            0 => live.due.wrapping_add([1, u32::MAX, 2, 1 << 31][random.usize(..4)]),
            _ => live.due,
        };
        let mut frame = message.encode(version, number).expect("encode");
        let mut count = message.descriptors();
        match random.u32(..6) {
            0 | 1 => frame = frames::mutate(frame, random),
            2 => frame = frames::noise(random),
            3 => count = random.usize(..=MAX_DESCRIPTORS),
            _ => {}
        }
        // The kernel sends no descriptors without a byte.
        let count = if frame.is_empty() { 0 } else { count };
        let low_limit = random.u32(..16) == 0;
        accepted |= live.say(&frame, count, low_limit);
    }
    accepted
}

#[test]
fn channel() {
    alone("wire::fuzz::channel", || {
        let null = File::open("/dev/null").expect("open");
        run("channel", |random| conversation(&null, random));
    });
}

/// The checks can fail.
#[test]
fn a_check_that_is_left_out_is_noticed() {
    alone("wire::fuzz::a_check_that_is_left_out_is_noticed", || {
        must_notice(Left::Tail, mutated);
        must_notice(Left::Limit, mutated);
        let null = File::open("/dev/null").expect("open");
        for left in [Left::Number, Left::Version, Left::Descriptors] {
            must_notice(left, |random| conversation(&null, random));
        }
    });
}

#[test]
#[should_panic(expected = "case 3 panicked")]
fn a_panic_is_seen() {
    let mut cases = 0;
    run("panic", |_| {
        cases += 1;
        assert!(cases < 4, "on purpose");
        true
    });
}
