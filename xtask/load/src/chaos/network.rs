//! The network between the service and those it tells: a relay that can be cut.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Result;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How the network is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// As it should be.
    Whole,
    /// Every connection breaks, and no new one comes about.
    Cut,
    /// Connections come about, and nothing ever arrives.
    Silent,
}

/// A relay.
#[derive(Debug)]
pub(crate) struct Network {
    address: SocketAddr,
    line: watch::Sender<Line>,
}

impl Network {
    /// Relays from a free port of this machine to an address.
    ///
    /// # Errors
    /// If no port is free.
    pub(crate) async fn to(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (line, state) = watch::channel(Line::Whole);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(relay(socket, target, state.clone()));
            }
        });
        Ok(Self { address, line })
    }

    /// Returns where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes it so; connections that there are break.
    pub(crate) fn set(&self, line: Line) {
        self.line.send_replace(line);
    }
}

/// Relays until either side ends, or the line changes.
async fn relay(mut near: TcpStream, target: SocketAddr, mut line: watch::Receiver<Line>) {
    let at_first = *line.borrow_and_update();
    let changes = async {
        // Also ends when there is nobody any more to change it.
        drop(line.changed().await);
    };
    let relayed = async {
        match at_first {
            Line::Whole => {
                if let Ok(mut far) = TcpStream::connect(target).await {
                    // However it ends, it ends.
                    drop(copy_bidirectional(&mut near, &mut far).await);
                }
            }
            Line::Cut => {}
            Line::Silent => std::future::pending().await,
        }
    };
    tokio::select! {
        () = relayed => {}
        () = changes => {}
    }
}
