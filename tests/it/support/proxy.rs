//! The network between a program and its server.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Passes on what comes, until it is cut. Nobody is told of that: connections of before stay open and silent for ever, as
/// when the other machine or the path to it is gone; new ones wait until it is mended.
pub(crate) struct Network {
    pub(crate) address: SocketAddr,
    cut: watch::Sender<bool>,
}

impl Network {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (cut, is_cut) = watch::channel(false);
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, server, is_cut.clone()));
            }
        });
        Self { address, cut }
    }

    pub(crate) fn cut(&self) {
        self.cut.send_replace(true);
    }

    pub(crate) fn mend(&self) {
        self.cut.send_replace(false);
    }
}

async fn pass(mut client: TcpStream, server: SocketAddr, mut cut: watch::Receiver<bool>) {
    if cut.wait_for(|cut| !*cut).await.is_err() {
        return;
    }
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    let silence = async { cut.wait_for(|cut| *cut).await.is_ok() };
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => return,
        was_cut = silence => if !was_cut { return },
    }
    // Longer than any test: both ends stay open.
    tokio::time::sleep(Duration::from_secs(600)).await;
}
