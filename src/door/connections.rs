//! Owns a worker's plain connections: an entry of a list each, no task. Those who said something are heard together,
//! their hits are written together, and then each is answered (docs/decisions/0052).
//!
//! Knows epoll by mio, and that a connection which asks for more than a pixel belongs to `converse`. Promises: a
//! connection's requests are answered in their order, the next heard when the one before is answered; who says nothing
//! for 10 to 20 s is let go (one that never did was not seen for its first second: `listen`); a fault in one request
//! ends that connection and no other; at the stop, who has asked is answered. Never waits: what is not durable yet is
//! answered by a task, one for all that were heard together.

use super::converse::{self, Open, Opened};
use super::pixel::{Pixels, Step};
use super::public::Peer;
use crate::hit::clock::Moment;
use crate::hit::outcome::Outcome;
use crate::line::collect::{Collector, End, Verdict};
use crate::rules::cookies::Change;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Registry, Token};
use slab::Slab;
use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::AsRawFd;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::unix::AsyncFd;

/// One worker's.
pub struct Connections {
    pixels: Rc<Pixels>,
    entries: RefCell<Slab<Connection>>,
    /// Where the system is asked to tell who said something.
    registry: Registry,
    open: Rc<Open>,
    is_stopping: Cell<bool>,
}

struct Connection {
    stream: TcpStream,
    peer: Peer,
    open: Opened,
    /// The system tells when it says something; a new one that is answered and closed at once is never watched.
    is_watched: bool,
    /// Its hit's end is not known yet.
    is_awaiting: bool,
    /// It said something meanwhile, or ended.
    has_more: bool,
    /// Since the last beat.
    has_spoken: bool,
    /// Counted to two.
    answers: u8,
}

/// A hit that was heard, and who is to have its answer.
pub struct Heard {
    end: End,
    asker: Asker,
}

struct Asker {
    key: usize,
    /// Cookies to set with the answer.
    changes: Vec<Change>,
    /// The client wants the connection to end with the answer.
    closes: bool,
}

/// So many are heard before the first of them is answered, 5 µs each.
const HEARD_MAX: usize = 64;

impl Connections {
    /// Of connections that `poll` tells of.
    pub fn new(pixels: Rc<Pixels>, open: Rc<Open>, poll: &Poll) -> io::Result<Rc<Self>> {
        Ok(Rc::new(Self { pixels, entries: RefCell::default(), registry: poll.registry().try_clone()?, open, is_stopping: Cell::default() }))
    }

    /// Serves whoever says something, for as long as it is polled.
    pub async fn serve(self: &Rc<Self>, poll: &mut AsyncFd<Poll>) -> io::Result<()> {
        let (mut events, mut heard) = (Events::with_capacity(HEARD_MAX), Vec::with_capacity(HEARD_MAX));
        loop {
            let mut readable = poll.readable_mut().await?;
            match readable.get_inner_mut().poll(&mut events, Some(Duration::ZERO)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            let are_all = events.iter().count() < HEARD_MAX;
            if are_all {
                readable.clear_ready();
            }
            // All of them have spoken by now.
            let now = self.pixels.now();
            heard.extend(events.iter().filter_map(|event| self.hear(event.token().0, event.is_read_closed(), now)));
            self.answer_all(&mut heard);
            if !are_all {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Takes a new connection, and hears what it said already.
    pub fn receive(&self, stream: TcpStream, peer: Peer) -> Option<Heard> {
        let open = Opened::of(&self.open);
        let new = Connection { stream, peer, open, is_watched: false, is_awaiting: false, has_more: false, has_spoken: true, answers: 0 };
        let key = self.entries.borrow_mut().insert(new);
        self.hear(key, false, self.pixels.now())
    }

    /// Hears a connection; `has_ended`: nothing follows what it said.
    fn hear(&self, key: usize, has_ended: bool, now: Moment) -> Option<Heard> {
        let mut entries = self.entries.borrow_mut();
        let connection = entries.get_mut(key)?;
        if connection.is_awaiting {
            connection.has_more = true;
            return None;
        }
        let heard = std::panic::catch_unwind(AssertUnwindSafe(|| self.pixels.hear(&connection.stream, connection.peer, now)));
        match heard.unwrap_or(Some(Step::Ended)) {
            Some(Step::Hit { verdict: Verdict { end, changes }, closes }) => {
                connection.has_spoken = true;
                connection.is_awaiting = true;
                connection.has_more = has_ended;
                return Some(Heard { end, asker: Asker { key, changes, closes } });
            }
            Some(Step::Ended) => drop(entries.remove(key)),
            Some(Step::Other(read)) => {
                if let Some((stream, peer, open)) = self.given_up(entries.remove(key)) {
                    converse::further(stream, peer, open, &self.pixels, read);
                }
            }
            None => self.watch(key, &mut entries),
        }
        None
    }

    /// Has what was heard written, and answers whatever is known by then; the rest when it is.
    pub fn answer_all(self: &Rc<Self>, heard: &mut Vec<Heard>) {
        if heard.is_empty() {
            return;
        }
        let written = self.pixels.public().collector.write();
        let mut waiting = Vec::new();
        for heard in heard.drain(..) {
            match Collector::known(&heard.end) {
                Some(outcome) => self.answer(heard.asker, outcome),
                None => waiting.push(heard),
            }
        }
        if waiting.is_empty() {
            return;
        }
        let connections = self.clone();
        converse::spawn(async move {
            if let Some(written) = written {
                written.await;
            }
            for heard in waiting {
                match Collector::known(&heard.end) {
                    Some(outcome) => connections.answer(heard.asker, outcome),
                    None => connections.answer_late(heard),
                }
            }
        });
    }

    /// Answers one that waits for something else than what it was heard with: the hit that it repeats, or a person.
    fn answer_late(self: &Rc<Self>, Heard { end, asker }: Heard) {
        let connections = self.clone();
        converse::spawn(async move {
            let outcome = connections.pixels.public().collector.settle(end).await;
            connections.answer(asker, outcome);
        });
    }

    fn answer(&self, Asker { key, changes, closes }: Asker, outcome: Outcome) {
        let mut entries = self.entries.borrow_mut();
        let Some(connection) = entries.get_mut(key) else { return };
        if connection.answers == 1 {
            // Each shall leave at once, not wait for the one before to be received.
            let _ = connection.stream.set_nodelay(true);
        }
        connection.answers = connection.answers.saturating_add(1);
        match self.pixels.send(&connection.stream, outcome, &changes, closes) {
            Ok(unsent) if !unsent.is_empty() => {
                if let Some((stream, peer, open)) = self.given_up(entries.remove(key)) {
                    converse::send(stream, peer, open, &self.pixels, unsent, closes);
                }
            }
            Ok(_) if !closes && !self.is_stopping.get() => {
                connection.is_awaiting = false;
                self.watch(key, &mut entries);
            }
            // How a client breaks off is its own affair.
            Ok(_) | Err(_) => drop(entries.remove(key)),
        }
    }

    /// Has the system tell when a connection says something; what it said meanwhile too.
    fn watch(&self, key: usize, entries: &mut Slab<Connection>) {
        let Some(connection) = entries.get_mut(key) else { return };
        let (stream, token, interest) = (&mut connection.stream, Token(key), Interest::READABLE);
        let asked = if !connection.is_watched {
            self.registry.register(stream, token, interest)
        } else if std::mem::take(&mut connection.has_more) {
            self.registry.reregister(stream, token, interest)
        } else {
            return;
        };
        connection.is_watched = true;
        if let Err(error) = asked {
            tracing::warn!(%error, "a connection could not be watched");
            entries.remove(key);
        }
    }

    /// A connection that is to have a task of its own.
    fn given_up(&self, connection: Connection) -> Option<(std::net::TcpStream, Peer, Opened)> {
        let Connection { mut stream, peer, open, is_watched, .. } = connection;
        if is_watched && let Err(error) = self.registry.deregister(&mut stream) {
            tracing::warn!(%error, "a connection could not be given up");
            return None;
        }
        Some((stream.into(), peer, open))
    }

    /// To be called every 10 s: who said nothing since the last time is let go.
    pub fn beat(&self) {
        self.entries.borrow_mut().retain(|_, connection| connection.is_awaiting || std::mem::take(&mut connection.has_spoken));
    }

    /// Hears everybody once more, and lets go who is not to be answered.
    pub fn stop(self: &Rc<Self>) {
        self.is_stopping.set(true);
        let keys: Vec<usize> = self.entries.borrow().iter().map(|(key, _)| key).collect();
        let now = self.pixels.now();
        self.answer_all(&mut keys.into_iter().filter_map(|key| self.hear(key, true, now)).collect());
        self.entries.borrow_mut().retain(|_, connection| connection.is_awaiting);
    }
}

/// What the system is to tell of when there is something to read.
#[expect(deprecated, reason = "what followed it is unsafe, for descriptors that do not stay the same: these do")]
pub fn watched<T: AsRawFd>(it: T) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(it, tokio::io::Interest::READABLE)
}

#[cfg(test)]
mod tests {
    use super::{Connection, Connections, watched};
    use crate::door::converse::Open;
    use crate::door::pixel::Pixels;
    use crate::door::sample::public;
    use std::rc::Rc;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpSocket, TcpStream};
    use tokio::sync::watch;
    use tokio::task::LocalSet;

    const PIXEL: &[u8] = b"GET /p.gif?s=acme HTTP/1.1\r\nHost: a\r\n\r\n";

    struct Door {
        connections: Rc<Connections>,
        open: Rc<Open>,
        listener: TcpListener,
        poll: Option<mio::Poll>,
        _kept: (tempfile::TempDir, watch::Sender<bool>),
    }

    impl Door {
        async fn new() -> Self {
            let (folder, poll, open) = (tempfile::tempdir().unwrap(), mio::Poll::new().unwrap(), Rc::<Open>::default());
            let (say, stop) = watch::channel(false);
            let pixels = Pixels::new(Rc::new(public(folder.path())), stop);
            let connections = Connections::new(Rc::new(pixels), open.clone(), &poll).unwrap();
            Self { connections, open, listener: TcpListener::bind("127.0.0.1:0").await.unwrap(), poll: Some(poll), _kept: (folder, say) }
        }

        async fn client(&self) -> TcpStream {
            let client = TcpSocket::new_v4().unwrap();
            // So that not many answers fit in between.
            client.set_recv_buffer_size(4_096).unwrap();
            let client = client.connect(self.listener.local_addr().unwrap()).await.unwrap();
            let (stream, peer) = self.listener.accept().await.unwrap();
            socket2::SockRef::from(&stream).set_send_buffer_size(4_096).unwrap();
            let stream = mio::net::TcpStream::from_std(stream.into_std().unwrap());
            self.connections.answer_all(&mut self.connections.receive(stream, peer.ip()).into_iter().collect());
            client
        }

        fn serve(&mut self) {
            let (connections, mut poll) = (self.connections.clone(), watched(self.poll.take().unwrap()).unwrap());
            crate::door::converse::spawn(async move { connections.serve(&mut poll).await.unwrap() });
        }
    }

    /// Asks, and reads the answer.
    async fn ask(client: &mut TcpStream) {
        client.write_all(PIXEL).await.unwrap();
        let mut answer = [0; 1_024];
        let length = client.read(&mut answer).await.unwrap();
        assert!(answer[..length].starts_with(b"HTTP/1.1 200 "), "{length} bytes");
    }

    #[tokio::test]
    async fn who_says_nothing_from_one_beat_to_the_next_is_let_go() {
        let mut door = Door::new().await;
        let test = async {
            door.serve();
            let (mut silent, mut speaking) = (door.client().await, door.client().await);
            ask(&mut speaking).await;
            door.connections.beat();
            assert_eq!(door.open.count(), 2, "both came since the beat before");
            ask(&mut speaking).await;
            door.connections.beat();
            assert_eq!((door.open.count(), silent.read(&mut [0]).await.unwrap()), (1, 0));
            door.connections.beat();
            assert_eq!((door.open.count(), speaking.read(&mut [0]).await.unwrap()), (0, 0));
        };
        LocalSet::new().run_until(test).await;
    }

    /// Its answers fill what the system keeps for it: it is given a task of its own, and has each of them all the same.
    #[tokio::test]
    async fn who_takes_its_answers_slowly_has_them_all() {
        const ASKED: usize = 400;
        let mut door = Door::new().await;
        let test = async {
            door.serve();
            let mut client = door.client().await;
            for _ in 0..ASKED {
                client.write_all(PIXEL).await.unwrap();
                tokio::time::sleep(Duration::from_micros(500)).await;
            }
            assert_eq!((door.connections.entries.borrow().len(), door.open.count()), (0, 1), "it has a task");
            let (mut answers, mut answered) = (Vec::new(), 0);
            while answered < ASKED {
                assert_ne!(client.read_buf(&mut answers).await.unwrap(), 0, "{answered} answers");
                answered = answers.windows(13).filter(|window| window == b"HTTP/1.1 200 ").count();
            }
        };
        LocalSet::new().run_until(test).await;
    }

    #[tokio::test]
    #[expect(clippy::await_holding_refcell_ref, reason = "that is the fault")]
    async fn a_fault_in_one_request_ends_that_connection_and_no_other() {
        let mut door = Door::new().await;
        let test = async {
            door.serve();
            let (mut first, mut other) = (door.client().await, door.client().await);
            ask(&mut first).await;
            let public = door.connections.pixels.public().clone();
            // Whoever wants room for what it decodes finds it taken.
            let taken = public.arena.borrow_mut();
            first.write_all(PIXEL).await.unwrap();
            assert_eq!(first.read(&mut [0]).await.unwrap(), 0, "no answer");
            drop(taken);
            ask(&mut other).await;
            assert_eq!(door.open.count(), 1);
        };
        LocalSet::new().run_until(test).await;
    }

    /// Nobody is served: what was said lies there when the stop comes.
    #[tokio::test]
    async fn at_the_stop_who_has_asked_is_answered_and_all_are_let_go() {
        let door = Door::new().await;
        let test = async {
            let (mut idle, mut asking) = (door.client().await, door.client().await);
            asking.write_all(PIXEL).await.unwrap();
            door.connections.stop();
            assert_eq!((door.open.count(), idle.read(&mut [0]).await.unwrap()), (0, 0));
            let mut answer = Vec::new();
            asking.read_to_end(&mut answer).await.unwrap();
            assert!(answer.starts_with(b"HTTP/1.1 200 "));
        };
        LocalSet::new().run_until(test).await;
    }

    #[test]
    fn a_connection_is_small() {
        // 10,000 are less than a megabyte.
        assert!(size_of::<Connection>() <= 64, "{}", size_of::<Connection>());
    }
}
