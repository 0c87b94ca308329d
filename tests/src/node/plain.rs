//! Connections that the server keeps itself, each with a thread: what moves only when it is idle.
//!
//! A client sends lines; each is answered by `build number line`. After `busy` the connection is busy until `idle`. An idle one moves to the
//! new owner as soon as there is one, with its number.

use handover::{Moved, Mover};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;

/// Between two looks at whether there is a new owner.
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 2_000_000,
};

/// Accepts what waits, without waiting.
pub fn accept(listener: &TcpListener, build: &str, mover: &Mover) {
    while let Ok((stream, _)) = listener.accept() {
        serve(stream, 0, build, mover);
    }
}

/// Goes on with one that moved here.
pub fn go_on(moved: Moved, build: &str, mover: &Mover) {
    let number = moved.bytes.try_into().map_or(0, u64::from_le_bytes);
    serve(TcpStream::from(moved.fd), number, build, mover);
}

fn serve(stream: TcpStream, number: u64, build: &str, mover: &Mover) {
    let (build, mover) = (build.to_owned(), mover.clone());
    std::thread::spawn(move || {
        // Its end is the client's, who sees it.
        let _ = run(stream, number, &build, &mover);
    });
}

fn run(stream: TcpStream, mut number: u64, build: &str, mover: &Mover) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    let mut stream = Some(stream);
    let mut busy = false;
    while let Some(own) = stream.take() {
        if !busy && mover.is_open() {
            let moved = Moved {
                name: "plain".into(),
                bytes: number.to_le_bytes().to_vec(),
                fd: OwnedFd::from(own),
            };
            match mover.send(moved) {
                Ok(()) => return Ok(()),
                Err(back) => stream = Some(back.0.fd.into()),
            }
            continue;
        }
        let mut fds = [PollFd::new(&own, PollFlags::IN)];
        if poll(&mut fds, Some(&LOOK))? > 0 {
            let mut line = String::new();
            // One line at a time, and the client waits for its answer: nothing is left in the buffer.
            if BufReader::new(&own).read_line(&mut line)? == 0 {
                return Ok(());
            }
            number += 1;
            busy = (busy || line.trim() == "busy") && line.trim() != "idle";
            write!(&own, "{build} {number} {line}")?;
        }
        stream = Some(own);
    }
    Ok(())
}
