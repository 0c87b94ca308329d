//! One connection, and how many of them a process still has.

use crate::frames::{REQUEST, Reply, asked};
use crate::state::State;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// Counts connections: each holds a clone.
#[derive(Clone)]
pub(crate) struct Connections(Arc<()>, Arc<Semaphore>);

impl Connections {
    pub(crate) fn new() -> Self {
        Self(Arc::new(()), Arc::new(Semaphore::new(0)))
    }

    /// Answers a connection until its end.
    pub(crate) fn serve(&self, stream: TcpStream, state: State) {
        let own = self.clone();
        tokio::spawn(async move {
            // A client that goes is no error.
            let _ = talk(stream, state).await;
            own.1.add_permits(1);
        });
    }

    /// Waits until none is left, or the time is over.
    pub(crate) async fn drained(&self, longest: Duration) {
        let left = async {
            while Arc::strong_count(&self.0) > 1 {
                match self.1.acquire().await {
                    Ok(permit) => permit.forget(),
                    Err(_) => return,
                }
            }
        };
        // What is left then is cut by the end of the process.
        let _ = tokio::time::timeout(longest, left).await;
    }
}

async fn talk(mut stream: TcpStream, state: State) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let who = std::process::id();
    let mut bytes = [0; REQUEST];
    let mut answered = 0;
    loop {
        stream.read_exact(&mut bytes).await?;
        let Some(number) = asked(&bytes) else {
            return Ok(());
        };
        state.change(number);
        answered += 1;
        let reply = Reply { who, number, answered };
        stream.write_all(&reply.bytes()).await?;
    }
}
