//! Owns the sockets: binding them, and letting new connections in.
//!
//! Each worker has a listener of its own on the same port (`SO_REUSEPORT`); the kernel spreads
//! connections over them, and keeps each back until its client says something (docs/decisions/0051). Promises: a port
//! that cannot be had is told before anything starts; a crowd of new connections holds nobody up who has asked already
//! (docs/decisions/0050). Limits: 10,000 connections a worker, each with at most 48 KiB of head (`converse`): 480 MB a
//! worker if all send their most at once.
#![expect(clippy::disallowed_types, reason = "binds and accepts: addresses of sockets")]

use super::connections::{Connections, watched};
use super::converse::{self, Open, Opened, Tls};
use super::pixel::Pixels;
use super::public::Public;
use super::request::HEADER_DEADLINE;
use nix::sys::socket::SetSockOpt;
use nix::sys::socket::sockopt::SetStruct;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_rustls::TlsAcceptor;

/// Serves one worker's listener until `stop` says so; `true` where every connection had finished in time.
pub async fn serve(listener: TcpListener, public: Rc<Public>, tls: Option<TlsAcceptor>, stop: watch::Receiver<bool>) -> bool {
    serve_until(listener, public, tls, stop).await.unwrap_or_else(|error| {
        tracing::error!(%error, "a worker cannot serve");
        false
    })
}

async fn serve_until(listener: TcpListener, public: Rc<Public>, tls: Option<TlsAcceptor>, mut stop: watch::Receiver<bool>) -> io::Result<bool> {
    let listener = watched(mio::net::TcpListener::from_std(listener))?;
    let poll = mio::Poll::new()?;
    let open = Rc::new(Open::counted_in(public.collector.connected()));
    let pixels = Rc::new(Pixels::new(public, stop.clone()));
    let connections = Connections::new(pixels.clone(), open.clone(), &poll)?;
    let reception = Reception { pixels, connections, tls: tls.map(|acceptor| Rc::new(Tls::new(acceptor))), open };
    let mut poll = watched(poll)?;
    tokio::select! {
        // In this order: who came before is answered before the next are let in.
        biased;
        Err(error) = reception.connections.serve(&mut poll) => return Err(error),
        () = reception.receive(&listener, &mut stop) => {}
    }
    drop(listener);
    reception.pixels.beat();
    reception.connections.stop();
    Ok(tokio::time::timeout(STOP_DEADLINE, reception.open.until_none_is()).await.is_ok())
}

/// Where new connections are let in.
struct Reception {
    pixels: Rc<Pixels>,
    connections: Rc<Connections>,
    tls: Option<Rc<Tls>>,
    open: Rc<Open>,
}

/// So many are let in in one turn: their hits go to the journal in one write, and others wait a fifth of a
/// millisecond for them, 25 µs each.
const ARRIVALS_MAX: usize = 8;

impl Reception {
    /// Lets in whoever comes, and lets go who falls silent, until it is time to stop.
    async fn receive(&self, listener: &AsyncFd<mio::net::TcpListener>, stop: &mut watch::Receiver<bool>) {
        let mut beat = tokio::time::interval(HEADER_DEADLINE);
        // Else a machine that slept would make up for it, and each connection would be taken for one that fell silent.
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stopped = pin!(stop.changed());
        loop {
            tokio::select! {
                // In this order: a crowd at the door is there at every turn.
                biased;
                _ = &mut stopped => return,
                _ = beat.tick() => {
                    self.pixels.beat();
                    self.connections.beat();
                }
                readable = listener.readable() => match readable.and_then(|mut readable| self.let_in(&mut readable)) {
                    Ok(()) => tokio::task::yield_now().await,
                    Err(error) => {
                        // Out of file descriptors, most likely: waiting frees some.
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                },
            }
        }
    }

    /// Lets in those who wait. Who asked for a pixel, as nearly all have who were kept back until they spoke, is
    /// answered at once: the system is not asked to tell when there is something to read.
    fn let_in(&self, readable: &mut AsyncFdReadyGuard<'_, mio::net::TcpListener>) -> io::Result<()> {
        let mut heard = Vec::new();
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
                Ok(Ok(_)) if self.open.count() >= CONNECTIONS_MAX => {
                    tracing::warn!(connections = CONNECTIONS_MAX, "a connection was turned away: too many are open");
                }
                Ok(Ok((stream, peer))) => match &self.tls {
                    Some(tls) => converse::over_tls(tls.clone(), stream.into(), peer.ip(), Opened::of(&self.open), self.pixels.clone()),
                    None => heard.extend(self.connections.receive(stream, peer.ip())),
                },
            }
        }
        self.connections.answer_all(&mut heard);
        last
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

#[cfg(test)]
mod tests {
    use super::bind;
    use std::io::{ErrorKind, Write};
    use std::time::Duration;

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
