//! shellflip: state goes through the library's pipe. It inherits no listener, so old and new bind the address together
//! (`SO_REUSEPORT`).

use crate::serve::Connections;
use crate::state::State;
use crate::{Options, Result};
use async_trait::async_trait;
use shellflip::RestartConfig;
use shellflip::lifecycle::{LifecycleHandler, PipeWriter, receive_from_old_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

struct Giver(State);

#[async_trait]
impl LifecycleHandler for Giver {
    async fn send_to_new_process(&mut self, mut pipe: PipeWriter) -> std::io::Result<()> {
        let bytes = self.0.to_bytes().map_err(std::io::Error::other)?;
        pipe.write_all(&bytes).await?;
        pipe.shutdown().await
    }
}

pub(crate) async fn run(options: &Options) -> Result<()> {
    let state = match receive_from_old_process() {
        Some(mut pipe) => {
            let mut bytes = Vec::new();
            pipe.read_to_end(&mut bytes).await?;
            State::from_bytes(&bytes)?
        }
        None => State::filled(options.bytes),
    };
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(options.listen)?;
    let listener = socket.listen(1024)?;
    let config = RestartConfig {
        lifecycle_handler: Box::new(Giver(state.clone())),
        exit_on_error: false,
        ..RestartConfig::default()
    };
    let restart = config.try_into_restart_task()?;
    tokio::pin!(restart);
    let connections = Connections::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.serve(stream, state.clone());
                }
            }
            restarted = &mut restart => {
                restarted?;
                break;
            }
        }
    }
    drop(listener);
    connections.drained(options.drain()).await;
    Ok(())
}
