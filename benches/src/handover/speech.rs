//! The two ways in which clients speak: our frames, and HTTP for peers that speak nothing else. Both carry the same.

use crate::handover::frames::{self, REPLY, Reply};
use std::io::Write;

/// Longest head of an answer in HTTP.
const MAX_HEAD: usize = 4096;

/// A way to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    /// See [`frames`](super::frames).
    Frames,
    /// `GET /number`; the body of the answer is `who /number`.
    Http,
}

/// What was heard in some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Not yet a whole answer.
    Part,
    /// An answer, and how many bytes it has.
    Reply(Reply, usize),
    /// No answer, and no beginning of one.
    Torn,
}

impl Speech {
    /// Puts a request behind `out`.
    pub fn ask(self, number: u64, out: &mut Vec<u8>) {
        match self {
            Self::Frames => out.extend(frames::request(number)),
            // Writing to a vector does not fail.
            Self::Http => {
                let _ = write!(out, "GET /{number} HTTP/1.1\r\nHost: bench\r\n\r\n");
            }
        }
    }

    /// Looks at the first bytes.
    #[must_use]
    pub fn hear(self, bytes: &[u8]) -> Heard {
        match self {
            Self::Frames if bytes.len() < REPLY => Heard::Part,
            Self::Frames => match Reply::from_bytes(&bytes[..REPLY]) {
                Some(reply) => Heard::Reply(reply, REPLY),
                None => Heard::Torn,
            },
            Self::Http => http(bytes),
        }
    }
}

fn http(bytes: &[u8]) -> Heard {
    const BREAK: &[u8] = b"\r\n\r\n";
    let Some(head) = bytes.windows(BREAK.len()).position(|window| window == BREAK) else {
        return if bytes.len() > MAX_HEAD {
            Heard::Torn
        } else {
            Heard::Part
        };
    };
    let body = head + BREAK.len();
    let answer = || {
        let text = std::str::from_utf8(&bytes[..head]).ok()?;
        if !text.starts_with("HTTP/1.1 200") {
            return None;
        }
        let lines = text.split("\r\n").filter_map(|line| line.split_once(':'));
        let mut lengths = lines.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let length: usize = lengths.next()?.1.trim().parse().ok()?;
        let Some(content) = bytes.get(body..body + length) else {
            return Some(Heard::Part);
        };
        let (who, number) = std::str::from_utf8(content).ok()?.trim().split_once(" /")?;
        let number = number.parse().ok()?;
        let reply = Reply {
            who: who.parse().ok()?,
            number,
            // These servers keep no count.
            answered: number,
        };
        Some(Heard::Reply(reply, body + length))
    };
    answer().unwrap_or(Heard::Torn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_in_http_is_heard_when_it_is_whole() {
        let text = b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 7\r\n\r\n412 /9\nHTTP";
        let reply = Reply {
            who: 412,
            number: 9,
            answered: 9,
        };
        assert_eq!(Speech::Http.hear(text), Heard::Reply(reply, text.len() - 4));
        for end in 0..text.len() - 4 {
            assert_eq!(Speech::Http.hear(&text[..end]), Heard::Part, "{end} bytes");
        }
        assert_eq!(
            Speech::Http.hear(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"),
            Heard::Torn
        );
    }

    #[test]
    fn requests_say_their_number() {
        let mut out = Vec::new();
        Speech::Http.ask(12, &mut out);
        assert!(out.starts_with(b"GET /12 HTTP/1.1\r\n") && out.ends_with(b"\r\n\r\n"));
        assert_eq!(Speech::Frames.hear(&frames::request(1)), Heard::Part);
        assert_eq!(
            Speech::Frames.hear(&[frames::request(1), frames::request(2)].concat()),
            Heard::Torn
        );
    }
}
