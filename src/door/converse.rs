//! Owns the connections that have a task of their own: those over TLS, and those that asked for more than a pixel.
//!
//! Knows hyper and TLS. Promises: a connection that is slow with its headers, or takes nothing of its answers, is closed
//! after 10 s; on stop, connections finish what they are at and no more. Limits: 48 KiB of head for each (16 KiB request
//! line and 32 KiB headers).
#![expect(clippy::disallowed_types, reason = "hands the address of a connection on")]

use super::pixel::Pixels;
use super::public::Public;
use super::request::HEADER_DEADLINE;
use super::respond::{self, Reply};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use std::cell::Cell;
use std::convert::Infallible;
use std::future::Future;
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Goes on with a connection that asked for something else than a pixel, with what was `read` of it.
pub fn further(stream: std::net::TcpStream, peer: IpAddr, open: Opened, pixels: &Rc<Pixels>, read: Vec<u8>) {
    let pixels = pixels.clone();
    go_on(stream, open, async move |stream| further_from(read, stream, peer, &pixels).await);
}

/// Sends what a client did not take at once, and goes on with the connection unless it ends with that.
pub fn send(stream: std::net::TcpStream, peer: IpAddr, open: Opened, pixels: &Rc<Pixels>, unsent: Vec<u8>, closes: bool) {
    let pixels = pixels.clone();
    go_on(stream, open, async move |mut stream| {
        if stream.write_all(&unsent).await.is_ok() && !closes {
            further_from(Vec::new(), stream, peer, &pixels).await;
        }
    });
}

/// Serves a connection over TLS: its pixels itself, for as long as nothing else is asked.
pub fn over_tls(tls: Rc<Tls>, stream: std::net::TcpStream, peer: IpAddr, open: Opened, pixels: Rc<Pixels>) {
    go_on(stream, open, async move |stream| {
        let accepted = tokio::time::timeout(HEADER_DEADLINE, tls.accept(stream)).await;
        if let Ok(Ok(mut stream)) = accepted
            && let Some(read) = pixels.serve(&mut stream, peer).await
        {
            further_from(read, stream, peer, &pixels).await;
        }
    });
}

/// A client that takes nothing of its answers for so long is let go.
const TAKING_DEADLINE: Duration = Duration::from_secs(10);

/// Gives a connection a task of its own.
fn go_on(stream: std::net::TcpStream, open: Opened, live: impl AsyncFnOnce(TcpStream) + 'static) {
    spawn(async move {
        // Answers and handshakes are many small writes: each shall leave at once.
        let _ = stream.set_nodelay(true);
        // The system sees whether they are taken (tcp(7), TCP_USER_TIMEOUT).
        let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(TAKING_DEADLINE));
        match TcpStream::from_std(stream) {
            Ok(stream) => live(stream).await,
            Err(error) => tracing::warn!(%error, "a connection could not be watched"),
        }
        drop(open);
    });
}

#[expect(clippy::disallowed_methods, reason = "of one connection, or of a few that were heard together: a stop waits for each of them")]
pub fn spawn(connection: impl Future<Output = ()> + 'static) {
    tokio::task::spawn_local(connection);
}

/// How many connections a worker has.
#[derive(Default)]
pub struct Open {
    connections: Rc<Cell<usize>>,
    one_ended: Notify,
}

impl Open {
    /// Counted where others can look.
    pub fn counted_in(connections: Rc<Cell<usize>>) -> Self {
        Self { connections, one_ended: Notify::new() }
    }

    pub fn count(&self) -> usize {
        self.connections.get()
    }

    pub async fn until_none_is(&self) {
        while self.connections.get() > 0 {
            self.one_ended.notified().await;
        }
    }
}

/// One of them, for as long as it is there.
pub struct Opened(Rc<Open>);

impl Opened {
    pub fn of(open: &Rc<Open>) -> Self {
        open.connections.set(open.connections.get() + 1);
        Self(open.clone())
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.connections.set(self.0.connections.get() - 1);
        self.0.one_ended.notify_one();
    }
}

/// One worker's TLS.
pub struct Tls {
    acceptor: TlsAcceptor,
    turns: Semaphore,
}

impl Tls {
    pub fn new(acceptor: TlsAcceptor) -> Self {
        Self { acceptor, turns: Semaphore::new(1) }
    }

    /// Shakes hands. The signature is 100 µs and more, the work of twenty hits: it is made when the client's first word
    /// is there, and one for each turn of the worker, so that a crowd of new connections does not hold up those who
    /// have asked already.
    async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        stream.readable().await?;
        let turn = self.turns.acquire().await;
        let mut accepting = pin!(self.acceptor.accept(stream));
        if let Poll::Ready(accepted) = futures::poll!(accepting.as_mut()) {
            return accepted;
        }
        tokio::task::yield_now().await;
        drop(turn);
        accepting.await
    }
}

const HEADERS_MAX: usize = 32 << 10;
pub const HEAD_MAX: usize = HEADERS_MAX + (16 << 10);

/// In a box, so that a connection that never asks for more than pixels does not carry the room for it.
async fn further_from(read: Vec<u8>, stream: impl AsyncRead + AsyncWrite + Unpin, peer: IpAddr, pixels: &Pixels) {
    Box::pin(converse(Begun { read, at: 0, stream }, peer, pixels.public().clone(), pixels.stop())).await;
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, peer: IpAddr, public: Rc<Public>, mut stop: watch::Receiver<bool>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let public = public.clone();
        async move { Ok::<Reply, Infallible>(answer(&public, request, peer).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_DEADLINE)
        .max_buf_size(HEAD_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // How a client breaks off is its own affair.
        _ = connection.as_mut() => return,
        _ = stop.changed() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// A connection of which the first bytes were read already.
struct Begun<S> {
    read: Vec<u8>,
    at: usize,
    stream: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for Begun<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { read, at, stream } = &mut *self;
        let left = read.get(*at..).unwrap_or_default();
        if left.is_empty() {
            return Pin::new(stream).poll_read(context, buffer);
        }
        let fits = left.len().min(buffer.remaining());
        buffer.put_slice(&left[..fits]);
        *at += fits;
        if *at == read.len() {
            *read = Vec::new();
            *at = 0;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Begun<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

async fn answer(public: &Public, request: Request<Incoming>, peer: IpAddr) -> Reply {
    let headers: usize = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if headers > HEADERS_MAX {
        return respond::text(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "The headers are longer than 32 KiB.\n");
    }
    public.answer(request, peer).await
}
