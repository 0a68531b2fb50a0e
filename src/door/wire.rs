//! Owns what a connection is to those who answer on it, with TLS and without.
//!
//! Promises: what the kernel is asked for beyond reading and writing is asked for only where it changes what the
//! client sees.

use std::future::Future;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// A connection's bytes.
pub trait Wire: AsyncRead + AsyncWrite + Unpin {
    /// More than one answer will be written: each shall leave at once, not wait for the one before to be received.
    fn goes_on(&self);
    /// The last answer was written, and the connection is about to be closed.
    fn end(&mut self) -> impl Future<Output = ()>;
}

impl Wire for TcpStream {
    fn goes_on(&self) {
        let _ = self.set_nodelay(true);
    }

    async fn end(&mut self) {
        // Closing it says so.
    }
}

impl Wire for TlsStream<TcpStream> {
    fn goes_on(&self) {
        // Said before the handshake.
    }

    async fn end(&mut self) {
        // `close_notify` (RFC 8446 §6.1).
        let _ = self.shutdown().await;
    }
}
