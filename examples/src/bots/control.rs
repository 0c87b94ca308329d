//! The parent's lines on stdin: `upgrade begin`, `upgrade end`, the same with `give-back`, `report`, `finish`. The end of the input is a `finish`.
//!
//! Stdin is read only when epoll says that it has something, once each time, and is never made non-blocking: that flag belongs
//! to the open file, which the parent's terminal may share. A file or /dev/null cannot be polled; then no line is heard.

use std::{
    io::{self, Stdin},
    mem,
    os::fd::{AsFd, BorrowedFd},
};

use super::gaps::Window;
use rustix::io::Errno;

/// Longest line; what is longer is not one of ours.
const MAX_LINE: usize = 256;

/// One line from the parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Gaps from here belong to it.
    Begin(Window),
    /// They no longer do.
    End(Window),
    /// Print the counters.
    Report,
    /// Stop sending, settle and end.
    Finish,
}

/// The part of a line that has arrived.
#[derive(Debug)]
pub(super) struct Control {
    /// Only its descriptor is used; nothing goes through its buffer.
    stdin: Stdin,
    buffer: [u8; MAX_LINE],
    filled: usize,
    /// The rest of a line too long is passed over.
    overlong: bool,
}

impl Control {
    pub(super) fn new() -> Self {
        Self {
            stdin: io::stdin(),
            buffer: [0; MAX_LINE],
            filled: 0,
            overlong: false,
        }
    }

    /// Reads what is there and hands each order to `obey`; `false` at the end of the input.
    pub(super) fn read(&mut self, mut obey: impl FnMut(Order)) -> io::Result<bool> {
        match rustix::io::read(&self.stdin, &mut self.buffer[self.filled..]) {
            Ok(0) => Ok(false),
            Ok(count) => {
                self.filled += count;
                self.lines(&mut obey);
                Ok(true)
            }
            Err(Errno::INTR | Errno::AGAIN) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes the complete lines out of the buffer. An unknown one is named on stderr and does nothing.
    fn lines(&mut self, obey: &mut impl FnMut(Order)) {
        let mut start = 0;
        while let Some(length) = self.buffer[start..self.filled].iter().position(|byte| *byte == b'\n') {
            let line = &self.buffer[start..start + length];
            match parse(line) {
                _ if mem::take(&mut self.overlong) => {}
                Some(order) => obey(order),
                None if line.trim_ascii().is_empty() => {}
                None => unknown(line),
            }
            start += length + 1;
        }
        self.buffer.copy_within(start..self.filled, 0);
        self.filled -= start;
        if self.filled == MAX_LINE {
            if !self.overlong {
                unknown(&self.buffer);
            }
            self.overlong = true;
            self.filled = 0;
        }
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stdin.as_fd()
    }
}

fn parse(line: &[u8]) -> Option<Order> {
    match line.trim_ascii() {
        b"upgrade begin" => Some(Order::Begin(Window::Upgrade)),
        b"upgrade end" => Some(Order::End(Window::Upgrade)),
        b"give-back begin" => Some(Order::Begin(Window::GiveBack)),
        b"give-back end" => Some(Order::End(Window::GiveBack)),
        b"report" => Some(Order::Report),
        b"finish" => Some(Order::Finish),
        _ => None,
    }
}

fn unknown(line: &[u8]) {
    let line = String::from_utf8_lossy(line);
    eprintln!(
        "arena-bots: {line:?} on stdin is not understood; expected `upgrade begin`, `upgrade end`, the same with `give-back`, `report` or `finish`"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_put_together_from_pieces() {
        let mut control = Control::new();
        let mut orders = Vec::new();
        let long = "x".repeat(3 * MAX_LINE);
        let text = format!(
            "upgrade begin\r\n\nupgrade end\ngive-back begin\n give-back end\nnonsense\nreport\n{long}finish\nfinish\nrep"
        );
        for size in [1, 7, 1000] {
            let mut rest = text.as_bytes();
            while !rest.is_empty() {
                let room = &mut control.buffer[control.filled..];
                let count = size.min(room.len()).min(rest.len());
                room[..count].copy_from_slice(&rest[..count]);
                control.filled += count;
                rest = &rest[count..];
                control.lines(&mut |order| orders.push(order));
            }
            assert_eq!(&control.buffer[..control.filled], b"rep");
            control.filled = 0;
            let expected = [
                Order::Begin(Window::Upgrade),
                Order::End(Window::Upgrade),
                Order::Begin(Window::GiveBack),
                Order::End(Window::GiveBack),
                Order::Report,
                Order::Finish,
            ];
            assert_eq!(mem::take(&mut orders), expected, "pieces of {size}");
        }
    }
}
