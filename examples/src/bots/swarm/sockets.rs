//! The bots' sockets in the loop: begun, read, written, lost.

use std::{cmp::Reverse, io};

use rustix::event::epoll;

use super::{Player, Swarm};
use crate::bots::{error::RunError, link::Link};

impl Swarm {
    /// Begins a bot's only connection (W1).
    pub(super) fn open(&mut self, index: usize) -> Result<(), RunError> {
        let progress = self.progress();
        let link = Link::begin(self.options.address).map_err(|error| RunError::Connect { progress, error })?;
        let flags = interest(link.waits_to_write);
        epoll::add(&self.epoll, &link, epoll::EventData::new_u64(index as u64), flags)
            .map_err(RunError::system("polling a socket"))?;
        self.players[index].link = Some(link);
        Ok(())
    }

    /// Epoll has something to say about a bot's socket.
    pub(super) fn ready(&mut self, index: usize, flags: epoll::EventFlags) -> Result<(), RunError> {
        // Gone since the wake-up.
        let Some(link) = &mut self.players[index].link else {
            return Ok(());
        };
        if !link.is_connected() {
            match link.finish_connect() {
                Ok(()) => self.connected += 1,
                Err(error) => {
                    self.players[index].link = None;
                    self.connect_error = Some(error);
                    return Ok(());
                }
            }
        }
        if flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR) {
            self.receive(index);
        }
        if flags.contains(epoll::EventFlags::OUT) {
            self.send(index)?;
        }
        Ok(())
    }

    fn receive(&mut self, index: usize) {
        let Self {
            players,
            buffer,
            tally,
            now,
            ..
        } = self;
        let Player { bot, link: Some(link) } = &mut players[index] else {
            return;
        };
        let count = match link.receive(buffer) {
            Ok(Some(count)) => count,
            Ok(None) => return,
            Err(error) => return self.disconnected(index, &error),
        };
        let was_playing = bot.is_playing();
        if let Err(error) = bot.receive(&buffer[..count], *now, tally) {
            tally.protocol_errors += 1;
            tally.describe(|| format!("player {}: {error}", bot.player_id()));
            players[index].link = None;
        } else if bot.is_playing() && !was_playing {
            self.joined += 1;
        }
    }

    /// Sends what a bot has to say, as far as there is room.
    fn send(&mut self, index: usize) -> Result<(), RunError> {
        let Player { bot, link: Some(link) } = &mut self.players[index] else {
            return Ok(());
        };
        if !bot.outgoing().is_empty() {
            match link.send(bot.outgoing()) {
                Ok(count) => bot.sent(count),
                Err(error) => {
                    self.disconnected(index, &error);
                    return Ok(());
                }
            }
        }
        let waits = !bot.outgoing().is_empty();
        if waits != link.waits_to_write {
            link.waits_to_write = waits;
            epoll::modify(
                &self.epoll,
                &*link,
                epoll::EventData::new_u64(index as u64),
                interest(waits),
            )
            .map_err(RunError::system("polling a socket"))?;
        }
        Ok(())
    }

    /// A bot's next command, and when the one after it is due.
    pub(super) fn command(&mut self, index: usize, mean: u64) -> Result<(), RunError> {
        let Player { bot, link: Some(link) } = &mut self.players[index] else {
            return Ok(());
        };
        bot.command(&mut self.tally)
            .map_err(io::Error::other)
            .map_err(RunError::system("making a command"))?;
        self.due
            .push(Reverse((self.now.saturating_add(bot.pause(mean)), index)));
        if link.waits_to_write { Ok(()) } else { self.send(index) }
    }

    /// The connection is over before the bots are; it stays over.
    pub(super) fn disconnected(&mut self, index: usize, error: &io::Error) {
        let Player { bot, link } = &mut self.players[index];
        *link = None;
        self.tally.disconnects += 1;
        self.tally
            .describe(|| format!("player {}: disconnected: {error}", bot.player_id()));
    }
}

/// What to hear of a socket.
fn interest(waits_to_write: bool) -> epoll::EventFlags {
    if waits_to_write {
        epoll::EventFlags::IN | epoll::EventFlags::OUT
    } else {
        epoll::EventFlags::IN
    }
}
