//! A plain restart: the old process writes its state to a file and ends, the new one reads it.

use crate::serve::Connections;
use crate::state::State;
use crate::{Options, Result};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

pub(crate) async fn run(options: &Options) -> Result<()> {
    let file = options.file.as_deref().ok_or("--file is missing")?;
    let state = match std::fs::read(file) {
        Ok(bytes) => State::from_bytes(&bytes)?,
        Err(_) => State::filled(options.bytes),
    };
    let listener = TcpListener::bind(options.listen).await?;
    let mut end = signal(SignalKind::terminate())?;
    let connections = Connections::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.serve(stream, state.clone());
                }
            }
            _ = end.recv() => break,
        }
    }
    std::fs::write(file, state.to_bytes()?)?;
    // Connections end with the process.
    std::process::exit(0)
}
