//! ecdysis: the listener is inherited, the old process drains its connections. For state the library has a chain of datagram
//! sockets between parent and child; a child asks, the parent sends pieces.

use crate::serve::Connections;
use crate::state::State;
use crate::{Options, Result};
use ecdysis::tokio_ecdysis::{SignalKind, StopOnShutdown, TokioEcdysisBuilder};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;
use tokio_stream::StreamExt;

/// What fits into a datagram of default buffers.
const PIECE: usize = 64 * 1024;
/// Longest wait for the next piece.
const WAIT: Duration = Duration::from_secs(30);
/// What a child asks with.
const GIVE: &[u8] = b"give";

pub(crate) async fn run(options: &Options) -> Result<()> {
    let builder = TokioEcdysisBuilder::new(SignalKind::hangup())?;
    let (parent, child) = builder.std_ecdysis().unix_datagram_pair("state".into());
    let state = match parent {
        Some(parent) => State::from_bytes(&ask(&parent)?)?,
        None => State::filled(options.bytes),
    };
    let mut listener = builder.build_listen_tcp(StopOnShutdown::Yes, options.listen, |socket, address| {
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(1024)?;
        Ok(socket.into())
    })?;
    let child = child?;
    let given = state.clone();
    std::thread::spawn(move || give(&child, &given));
    let (_ecdysis, exit) = builder.ready()?;
    tokio::pin!(exit);
    let connections = Connections::new();
    loop {
        tokio::select! {
            stream = listener.next() => match stream {
                Some(Ok(stream)) => connections.serve(stream, state.clone()),
                Some(Err(_)) => {}
                None => break,
            },
            exit = &mut exit => {
                exit?;
                break;
            }
        }
    }
    drop(listener);
    connections.drained(options.drain()).await;
    Ok(())
}

fn ask(parent: &UnixDatagram) -> Result<Vec<u8>> {
    parent.set_read_timeout(Some(WAIT))?;
    parent.send(GIVE)?;
    let mut all = Vec::new();
    let mut piece = vec![0; PIECE];
    loop {
        match parent.recv(&mut piece)? {
            0 => return Ok(all),
            n => all.extend_from_slice(&piece[..n]),
        }
    }
}

/// Gives the state to every child that asks.
fn give(child: &UnixDatagram, state: &State) {
    let mut asked = [0; 16];
    while child.recv(&mut asked).is_ok_and(|n| &asked[..n] == GIVE) {
        let sent = state.to_bytes().and_then(|all| {
            for piece in all.chunks(PIECE) {
                child.send(piece)?;
            }
            child.send(&[])?;
            Ok(())
        });
        if let Err(error) = sent {
            eprintln!("ecdysis: the state was not given: {error}");
        }
    }
}
