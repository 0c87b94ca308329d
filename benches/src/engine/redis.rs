//! A Redis or Valkey server on a Unix socket, if one is installed: each player a hash of score, x, and the bytes of the rest.
//!
//! One command a change (`HINCRBY`, `HSET`, `DEL`), which the server runs atomically; lookups in pipelines of [`GROUP`] in
//! `batch_get` only. Nothing is saved to disk.

use super::{Answer, BATCH, Engine, GROUP};
use crate::Result;
use crate::players::{NAME, Player, encode, player, template};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What a server may be called.
const SERVERS: [&str; 2] = ["valkey-server", "redis-server"];
/// How long a server may take to listen, and how often it is asked.
const START: (Duration, Duration) = (Duration::from_secs(10), Duration::from_millis(5));
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(30);

/// A server of this process's own, and a connection to it.
pub(super) struct Redis {
    server: Child,
    connection: BufReader<UnixStream>,
    _directory: TempDir,
    request: Vec<u8>,
    line: Vec<u8>,
    bytes: Vec<u8>,
}

impl Redis {
    /// Starts a server, or gives `None` if there is none.
    pub(super) fn start() -> Result<Option<Self>> {
        let Some(program) = SERVERS.iter().find_map(|name| find(name)) else {
            return Ok(None);
        };
        let directory = tempfile::Builder::new().prefix("shmstate-bench-redis-").tempdir()?;
        let socket = directory.path().join("socket");
        let mut server = Command::new(program)
            .args([
                "--port",
                "0",
                "--save",
                "",
                "--appendonly",
                "no",
                "--daemonize",
                "no",
                "--unixsocket",
            ])
            .arg(&socket)
            .arg("--dir")
            .arg(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let connection = match connect(&mut server, &socket) {
            Ok(connection) => BufReader::new(connection),
            Err(e) => {
                // It may be gone already; the reason is in `e`.
                let _ = server.kill();
                let _ = server.wait();
                return Err(e);
            }
        };
        Ok(Some(Self {
            server,
            connection,
            _directory: directory,
            request: Vec::new(),
            line: Vec::new(),
            bytes: Vec::new(),
        }))
    }

    fn command(&mut self, parts: &[&[u8]]) {
        // Writing to a vector does not fail.
        let _ = write!(self.request, "*{}\r\n", parts.len());
        for part in parts {
            let _ = write!(self.request, "${}\r\n", part.len());
            self.request.extend_from_slice(part);
            self.request.extend_from_slice(b"\r\n");
        }
    }

    fn put(&mut self, key: u64, player: &Player) {
        let mut bytes = std::mem::take(&mut self.bytes);
        encode(player, &mut bytes);
        let (score, x) = (player.score.to_string(), player.position[0].to_string());
        let name = key.to_string();
        let parts: [&[u8]; 8] = [
            b"HSET",
            name.as_bytes(),
            b"s",
            score.as_bytes(),
            b"x",
            x.as_bytes(),
            b"r",
            &bytes[NAME - 8..],
        ];
        self.command(&parts);
        self.bytes = bytes;
    }

    fn send(&mut self) -> Result<()> {
        self.connection.get_mut().write_all(&self.request)?;
        self.request.clear();
        Ok(())
    }

    /// Reads one answer and adds up the numbers in it; other strings count nothing, nil neither.
    fn answer(&mut self) -> Result<i64> {
        self.line.clear();
        self.connection.read_until(b'\n', &mut self.line)?;
        let text = std::str::from_utf8(&self.line)?.trim_end();
        let (kind, rest) = text.split_at_checked(1).ok_or("redis: no answer")?;
        match kind {
            "+" => Ok(0),
            "-" => Err(format!("redis: {rest}").into()),
            ":" => Ok(rest.parse()?),
            "$" => {
                let Ok(length) = usize::try_from(rest.parse::<i64>()?) else {
                    return Ok(0);
                };
                self.line.resize(length + 2, 0);
                self.connection.read_exact(&mut self.line)?;
                let text = std::str::from_utf8(&self.line[..length]).unwrap_or("");
                Ok(text.parse().unwrap_or(0))
            }
            "*" => {
                let mut sum = 0;
                for _ in 0..rest.parse::<u64>()? {
                    sum += self.answer()?;
                }
                Ok(sum)
            }
            _ => Err(format!("redis: an answer of no known kind: {text}").into()),
        }
    }

    /// Sends what `each` asks for each key, so many at a time, and adds up the answers.
    fn each(&mut self, keys: &[u64], together: usize, each: impl Fn(&mut Self, u64)) -> Result<i64> {
        let mut sum = 0;
        for keys in keys.chunks(together.max(1)) {
            for key in keys {
                each(self, *key);
            }
            self.send()?;
            for _ in keys {
                sum += self.answer()?;
            }
        }
        Ok(sum)
    }

    /// The same in one transaction: queued answers first, then one with all.
    fn together(&mut self, keys: &[u64], each: impl Fn(&mut Self, u64)) -> Result<i64> {
        self.command(&[b"MULTI"]);
        for key in keys {
            each(self, *key);
        }
        self.command(&[b"EXEC"]);
        self.send()?;
        let mut sum = 0;
        for _ in 0..keys.len() + 2 {
            sum += self.answer()?;
        }
        Ok(sum)
    }

    fn add_one(&mut self, key: u64, field: &[u8]) {
        self.command(&[b"HINCRBY", key.to_string().as_bytes(), field, b"1"]);
    }

    fn two_fields(&mut self, key: u64) {
        self.command(&[b"HMGET", key.to_string().as_bytes(), b"s", b"x"]);
    }
}

fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
}

fn connect(server: &mut Child, socket: &Path) -> Result<UnixStream> {
    let (most, pause) = START;
    let start = Instant::now();
    loop {
        match UnixStream::connect(socket) {
            Ok(connection) => {
                connection.set_read_timeout(Some(ANSWER))?;
                return Ok(connection);
            }
            Err(e) if start.elapsed() > most => return Err(e.into()),
            Err(_) => {}
        }
        if let Some(status) = server.try_wait()? {
            return Err(format!("the redis server ended at its start: {status}").into());
        }
        std::thread::sleep(pause);
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Engine for Redis {
    fn fill(&mut self, keys: &[u64]) -> Result<()> {
        self.each(keys, BATCH, |redis, key| redis.put(key, &player(key)))?;
        Ok(())
    }

    fn get(&mut self, keys: &[u64]) -> Answer {
        self.each(keys, 1, Self::two_fields).map(Some)
    }

    fn update(&mut self, keys: &[u64]) -> Answer {
        self.each(keys, 1, |redis, key| redis.add_one(key, b"s")).map(Some)
    }

    fn update_batched(&mut self, keys: &[u64]) -> Answer {
        let mut sum = 0;
        for keys in keys.chunks(BATCH) {
            sum += self.together(keys, |redis, key| redis.add_one(key, b"s"))?;
        }
        Ok(Some(sum))
    }

    fn replace(&mut self, keys: &[u64], templates: &[Player], round: u64) -> Answer {
        // HSET says how many fields are new: none.
        let new = self.each(keys, 1, |redis, key| redis.put(key, template(templates, key, round)))?;
        Ok(Some(keys.len() as i64 - new / 3))
    }

    fn insert(&mut self, keys: &[u64], templates: &[Player]) -> Answer {
        let new = self.each(keys, 1, |redis, key| redis.put(key, template(templates, key, 0)))?;
        Ok(Some(new / 3))
    }

    fn remove(&mut self, keys: &[u64]) -> Answer {
        let delete = |redis: &mut Self, key: u64| redis.command(&[b"DEL", key.to_string().as_bytes()]);
        self.each(keys, 1, delete).map(Some)
    }

    /// By a script in the server: the players never leave it.
    fn iterate(&mut self) -> Answer {
        self.command(&[b"EVAL", SUM_OF_SCORES, b"0"]);
        self.send()?;
        self.answer().map(Some)
    }

    fn tick(&mut self, keys: &[u64]) -> Answer {
        self.together(keys, |redis, key| redis.add_one(key, b"x")).map(Some)
    }

    fn batch_get(&mut self, keys: &[u64]) -> Answer {
        self.each(keys, GROUP, Self::two_fields).map(Some)
    }

    fn memory(&self) -> Result<Option<u64>> {
        Ok(None)
    }
}

/// Adds up the scores of all players inside the server.
const SUM_OF_SCORES: &[u8] = b"local sum, cursor = 0, '0' repeat local found = redis.call('SCAN', cursor, 'COUNT', 1000) cursor = found[1] \
for _, key in ipairs(found[2]) do sum = sum + redis.call('HGET', key, 's') end until cursor == '0' return string.format('%d', sum)";
