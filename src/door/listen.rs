//! Owns the sockets: binding them, accepting, and the life of a connection.
//!
//! Each worker has a listener of its own on the same port (`SO_REUSEPORT`); the kernel spreads
//! connections over them, and keeps each back until its client says something (docs/decisions/0051). Promises: a port
//! that cannot be had is told before anything starts; a connection that is slow with its headers is closed after 10 s;
//! a crowd of new connections holds nobody up who has asked already (docs/decisions/0050); on stop, connections finish
//! what they are at and no more. Limits: 10,000 connections a worker, each with at most 48 KiB of head (16 KiB
//! request line and 32 KiB headers): 480 MB a worker if all send their most at once.
#![expect(clippy::disallowed_types, reason = "binds and accepts: addresses of sockets")]

use super::pixel::{Pixels, Step};
use super::request::HEADER_DEADLINE;
use super::respond::{self, Reply};
use super::public::Public;
use super::wire::Wire;
use crate::hit::outcome::Outcome;
use crate::line::collect::{Collector, End, Verdict};
use crate::rules::cookies::Change;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::sys::socket::SetSockOpt;
use nix::sys::socket::sockopt::SetStruct;
use std::cell::Cell;
use std::convert::Infallible;
use std::future::Future;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::MissedTickBehavior;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Serves one worker's listener until `stop` says so; `true` where every connection had finished in time.
pub async fn serve(listener: TcpListener, public: Rc<Public>, tls: Option<TlsAcceptor>, mut stop: watch::Receiver<bool>) -> bool {
    let listener = match watched(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "a listener cannot be served");
            return false;
        }
    };
    let reception = Reception {
        pixels: Rc::new(Pixels::new(public, stop.clone())),
        tls: tls.map(|acceptor| Rc::new(Tls { acceptor, turns: Semaphore::new(1) })),
        open: Rc::default(),
    };
    let mut beat = tokio::time::interval(HEADER_DEADLINE);
    // Else a machine that slept would make up for it, and each connection would be taken for one that fell silent.
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stopped = pin!(stop.changed());
    loop {
        tokio::select! {
            // In this order: a crowd at the door is there at every turn.
            biased;
            _ = &mut stopped => break,
            _ = beat.tick() => reception.pixels.beat(),
            readable = listener.readable() => match readable.and_then(|mut readable| reception.let_in(&mut readable)) {
                // Who came before is answered before the next are let in.
                Ok(()) => tokio::task::yield_now().await,
                Err(error) => {
                    // Out of file descriptors, most likely: waiting frees some.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
    drop(listener);
    reception.pixels.beat();
    tokio::time::timeout(STOP_DEADLINE, reception.open.until_none_is()).await.is_ok()
}

/// A listener of which the system is to tell when somebody waits.
#[expect(deprecated, reason = "what followed it is unsafe, for descriptors that do not stay the same: this one does")]
fn watched(listener: TcpListener) -> io::Result<AsyncFd<mio::net::TcpListener>> {
    AsyncFd::with_interest(mio::net::TcpListener::from_std(listener), Interest::READABLE)
}

/// Where new connections are let in.
struct Reception {
    pixels: Rc<Pixels>,
    tls: Option<Rc<Tls>>,
    open: Rc<Open>,
}

/// A new connection that asked for a pixel with its first word, and was not answered yet.
struct Arrival {
    stream: std::net::TcpStream,
    peer: IpAddr,
    open: Opened,
    /// Cookies to set with the answer.
    changes: Vec<Change>,
    /// The client wants the connection to end with the answer.
    closes: bool,
}

/// So many are let in in one turn: their hits go to the journal in one write, and others wait a fifth of a
/// millisecond for them, 25 µs each.
const ARRIVALS_MAX: usize = 8;

impl Reception {
    /// Lets in those who wait. Who asked for a pixel, as nearly all have who were kept back until they spoke, is
    /// answered at once: the system is not asked to tell when there is something to read.
    fn let_in(&self, readable: &mut AsyncFdReadyGuard<'_, mio::net::TcpListener>) -> io::Result<()> {
        let mut arrivals = Vec::new();
        // A handshake is long: one for each turn.
        let most = if self.tls.is_some() { 1 } else { ARRIVALS_MAX };
        let mut last = Ok(());
        for _ in 0..most {
            match readable.try_io(|listener| listener.get_ref().accept()) {
                Err(_would_block) => break,
                Ok(Err(error)) => {
                    last = Err(error);
                    break;
                }
                Ok(Ok(_)) if self.open.connections.get() >= CONNECTIONS_MAX => {
                    tracing::warn!(connections = CONNECTIONS_MAX, "a connection was turned away: too many are open");
                }
                Ok(Ok((stream, peer))) => arrivals.extend(self.receive(stream.into(), peer.ip())),
            }
        }
        if !arrivals.is_empty() {
            self.pixels.public().collector.write_now();
        }
        for (arrival, end) in arrivals {
            match Collector::known(&end) {
                Some(outcome) => arrival.answer(&self.pixels, outcome),
                None => {
                    let pixels = self.pixels.clone();
                    spawn(async move {
                        let outcome = pixels.public().collector.settle(end).await;
                        arrival.answer(&pixels, outcome);
                    });
                }
            }
        }
        last
    }

    /// Hears what a new connection said; one that did not ask for a pixel yet has a task of its own.
    fn receive(&self, stream: std::net::TcpStream, peer: IpAddr) -> Option<(Arrival, End)> {
        let (pixels, open) = (self.pixels.clone(), Opened::of(&self.open));
        if let Some(tls) = self.tls.clone() {
            // In a box: else every connection carries the room for it, and is moved with it.
            go_on(stream, open, async move |stream| Box::pin(converse_over_tls(tls, stream, peer, pixels)).await);
            return None;
        }
        // As a task of its own would have it: a fault in one request ends that connection and no other.
        match std::panic::catch_unwind(AssertUnwindSafe(|| pixels.hear(&stream, peer))).unwrap_or(Some(Step::Ended)) {
            Some(Step::Hit { verdict: Verdict { end, changes }, closes }) => return Some((Arrival { stream, peer, open, changes, closes }, end)),
            Some(Step::Ended) => {}
            Some(Step::Other(read)) => go_on(stream, open, async move |stream| converse_further_from(read, stream, peer, &pixels).await),
            None => go_on(stream, open, async move |stream| converse(stream, peer, pixels, false).await),
        }
        None
    }
}

impl Arrival {
    /// Answers; if the connection goes on, it does so as any other.
    fn answer(self, pixels: &Rc<Pixels>, outcome: Outcome) {
        let Self { stream, peer, open, changes, closes } = self;
        // How a client breaks off is its own affair.
        let Ok(unsent) = pixels.send(&stream, outcome, &changes, closes) else { return };
        if closes && unsent.is_empty() {
            return;
        }
        let pixels = pixels.clone();
        go_on(stream, open, async move |mut stream| {
            if stream.write_all(&unsent).await.is_ok() && !closes {
                converse(stream, peer, pixels, true).await;
            }
        });
    }
}

/// Gives a connection a task of its own, which the system tells when there is something to read.
fn go_on(stream: std::net::TcpStream, open: Opened, live: impl AsyncFnOnce(TcpStream) + 'static) {
    spawn(async move {
        match TcpStream::from_std(stream) {
            Ok(stream) => live(stream).await,
            Err(error) => tracing::warn!(%error, "a connection could not be watched"),
        }
        drop(open);
    });
}

#[expect(clippy::disallowed_methods, reason = "a connection's own task: `serve` waits for each of them")]
fn spawn(connection: impl Future<Output = ()> + 'static) {
    tokio::task::spawn_local(connection);
}

/// How many connections a worker has.
#[derive(Default)]
struct Open {
    connections: Cell<usize>,
    one_ended: Notify,
}

impl Open {
    async fn until_none_is(&self) {
        while self.connections.get() > 0 {
            self.one_ended.notified().await;
        }
    }
}

/// One of them, for as long as it is there.
struct Opened(Rc<Open>);

impl Opened {
    fn of(open: &Rc<Open>) -> Self {
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

/// `TCP_DEFER_ACCEPT` (tcp(7)): a new connection is kept back until its client says something, for so many seconds at
/// the most. The standard library's own name for it is not stable yet.
#[derive(Clone)]
struct DeferAccept;

nix::setsockopt_impl!(DeferAccept, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, libc::c_int, SetStruct<libc::c_int>);

/// Who says nothing for longer has a connection like any other.
const DEFER_SECONDS: libc::c_int = 1;

/// Binds `workers` listeners on one address; port 0 takes a free one, the same for all.
pub fn bind(address: SocketAddr, workers: usize) -> io::Result<Vec<TcpListener>> {
    // Shared ports are shared by any process of this user: a listener for itself alone finds out first
    // whether another collector has it. A free port (0) is nobody's.
    if address.port() != 0 {
        drop(bind_one(address, false)?);
    }
    let first = bind_one(address, true)?;
    let address = first.local_addr()?;
    let mut listeners = vec![first];
    for _ in 1..workers {
        listeners.push(bind_one(address, true)?);
    }
    for listener in &listeners {
        // Where it cannot be had, connections come before there is something to answer, and cost more.
        let _ = DeferAccept.set(listener, &DEFER_SECONDS);
    }
    Ok(listeners)
}

/// Binds one listener for itself alone.
pub fn bind_one(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(4_096)?;
    Ok(socket.into())
}

pub const CONNECTIONS_MAX: usize = 10_000;
/// A reply waits for the disk at most; a connection that takes longer than this is cut.
pub const STOP_DEADLINE: Duration = Duration::from_secs(10);
const HEADERS_MAX: usize = 32 << 10;
pub const HEAD_MAX: usize = HEADERS_MAX + (16 << 10);

/// Answers a connection's pixels itself, for as long as nothing else is asked; hyper has it from there on.
async fn converse(mut stream: impl Wire, peer: IpAddr, pixels: Rc<Pixels>, has_answered: bool) {
    if let Some(read) = pixels.serve(&mut stream, peer, has_answered).await {
        converse_further_from(read, stream, peer, &pixels).await;
    }
}

/// In a box, so that a connection that never asks for more than pixels does not carry the room for it.
async fn converse_further_from(read: Vec<u8>, stream: impl Wire, peer: IpAddr, pixels: &Pixels) {
    stream.goes_on();
    Box::pin(converse_further(Begun { read, at: 0, stream }, peer, pixels.public().clone(), pixels.stop())).await;
}

/// The same over TLS.
async fn converse_over_tls(tls: Rc<Tls>, stream: TcpStream, peer: IpAddr, pixels: Rc<Pixels>) {
    // A handshake is many small writes.
    stream.goes_on();
    if let Ok(Ok(stream)) = tokio::time::timeout(HEADER_DEADLINE, tls.accept(stream)).await {
        converse(stream, peer, pixels, false).await;
    }
}

/// One worker's TLS.
struct Tls {
    acceptor: TlsAcceptor,
    turns: Semaphore,
}

impl Tls {
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

async fn converse_further(stream: impl AsyncRead + AsyncWrite + Unpin, peer: IpAddr, public: Rc<Public>, mut stop: watch::Receiver<bool>) {
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

#[cfg(test)]
mod tests {
    use super::{TcpStream, bind, converse, converse_over_tls};
    use std::io::{ErrorKind, Write};
    use std::time::Duration;

    fn size_of_future<A, B, C, F>(_: impl FnOnce(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_connection_carries_no_room_for_what_it_seldom_needs() {
        let plain = size_of_future(|stream: TcpStream, peer, pixels| converse(stream, peer, pixels, false));
        let over_tls = size_of_future(|(tls, stream), peer, pixels| converse_over_tls(tls, stream, peer, pixels));
        // It is moved a few times until it lies where it stays.
        assert!(plain <= 1_536, "{plain} bytes, where TLS takes {over_tls}");
    }

    #[test]
    fn a_connection_is_kept_back_until_its_client_speaks_but_not_for_ever() {
        let listener = bind("127.0.0.1:0".parse().unwrap(), 1).unwrap().remove(0);
        let address = listener.local_addr().unwrap();
        let accepted_within = |looks: u32| {
            (0..looks).any(|_| match listener.accept() {
                Ok(_) => true,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    std::thread::sleep(Duration::from_millis(10));
                    false
                }
            })
        };
        let mut speaking = std::net::TcpStream::connect(address).unwrap();
        assert!(!accepted_within(20), "it said nothing yet");
        speaking.write_all(b"G").unwrap();
        assert!(accepted_within(500));
        let silent = std::net::TcpStream::connect(address).unwrap();
        assert!(accepted_within(1_000), "it is to be told when its time is over");
        drop(silent);
    }
}
