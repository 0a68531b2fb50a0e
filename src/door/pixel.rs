//! Owns the short way of nearly every hit: a pixel's request read where it lies, and answered with one
//! write from bytes made beforehand.
//!
//! Knows httparse, hyper's own parser. Promises: it answers only a request that it understands wholly (one
//! `GET /p.gif`, HTTP/1.1, all of its head there, nothing behind it, no body, no header that changes how
//! the connection goes on); whatever else comes goes to hyper, with every byte that was read, and the
//! connection with it. Its answers are made of hyper's own, so that nobody can tell which way was taken.
//! Never keeps a request: all connections of a worker read into one space. Limits: a head of 8 KiB and 32
//! headers; over TLS, a connection that says nothing for 10 to 20 s is closed (of those without, `connections` tells).

use super::respond;
use super::public::{Peer, Public};
use crate::hit::clock::Moment;
use crate::hit::outcome::Outcome;
use crate::line::collect::Verdict;
use crate::rules::cookies::{self, Change};
use chrono::DateTime;
use mio::net::TcpStream;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::{Notify, watch};

/// One worker's short way.
pub struct Pixels {
    public: Rc<Public>,
    /// Where every request is read.
    space: RefCell<Box<[u8; HEAD_MAX]>>,
    /// Where every answer is put together.
    reply: RefCell<Vec<u8>>,
    answers: Answers,
    /// When the newest request came: what an answer's date is made of.
    newest: Cell<Moment>,
    date: RefCell<Date>,
    stop: watch::Receiver<bool>,
    /// Counts up every 10 s (`listen`), and when it is time to stop; `beaten` wakes the connections then. One
    /// for all: a timer for each would be set and taken back for every connection that asks once.
    beats: Cell<u64>,
    beaten: Notify,
}

const HEAD_MAX: usize = 8 << 10;
const HEADERS_MAX: usize = 32;

/// What a connection said.
pub enum Step {
    /// A pixel, to be answered when the end of its hit is known. `closes`: the connection is to end with the answer.
    Hit { verdict: Verdict, closes: bool },
    /// Something else than a pixel: what was read so far.
    Other(Vec<u8>),
    Ended,
}

impl Pixels {
    pub fn new(public: Rc<Public>, stop: watch::Receiver<bool>) -> Self {
        Self {
            public,
            space: RefCell::new(Box::new([0; HEAD_MAX])),
            reply: RefCell::default(),
            answers: Answers::new(),
            newest: Cell::default(),
            date: RefCell::new(Date { second: i64::MIN, line: String::new() }),
            stop,
            beats: Cell::new(0),
            beaten: Notify::new(),
        }
    }

    /// To be called every 10 s, and after it was said to stop: connections that said nothing
    /// since the last time end now, and all do where it is time to stop.
    pub fn beat(&self) {
        self.beats.set(self.beats.get() + 1);
        self.beaten.notify_waiters();
    }

    pub fn stop(&self) -> watch::Receiver<bool> {
        self.stop.clone()
    }

    pub const fn public(&self) -> &Rc<Public> {
        &self.public
    }

    /// Answers pixels until the connection ends, or asks for something else: then what was read of that.
    pub async fn serve(&self, stream: &mut (impl AsyncRead + AsyncWrite + Unpin), peer: Peer) -> Option<Vec<u8>> {
        let mut beaten = pin!(self.beaten.notified());
        // The first beat may come right after the connection did.
        let (mut has_spoken, mut is_watched, mut seen) = (true, false, self.beats.get());
        loop {
            let step = poll_fn(|context| {
                if let Poll::Ready(step) = self.poll_step(stream, peer, context) {
                    return Poll::Ready(step);
                }
                // It wakes this task for as long as it has not come: to ask again at every hit would cost a lock.
                if is_watched && seen == self.beats.get() {
                    return Poll::Pending;
                }
                is_watched = true;
                // Who comes when it was said already is woken by no beat.
                if *self.stop.borrow() {
                    return Poll::Ready(Step::Ended);
                }
                while beaten.as_mut().poll(context).is_ready() {
                    beaten.set(self.beaten.notified());
                    seen = self.beats.get();
                    if !std::mem::take(&mut has_spoken) {
                        return Poll::Ready(Step::Ended);
                    }
                }
                Poll::Pending
            });
            match step.await {
                Step::Ended => return None,
                Step::Other(read) => return Some(read),
                Step::Hit { verdict, closes } => {
                    has_spoken = true;
                    let outcome = self.public.collector.settle(verdict.end).await;
                    // How a client breaks off is its own affair.
                    self.answer(stream, outcome, &verdict.changes, closes).await.ok()?;
                    if closes {
                        // With TLS it says that it ends (RFC 8446 §6.1).
                        let _ = stream.shutdown().await;
                        return None;
                    }
                }
            }
        }
    }

    /// What a request that is heard now is dated by.
    pub fn now(&self) -> Moment {
        self.public.clock.now()
    }

    /// What a connection said, where it said something.
    pub fn hear(&self, mut stream: &TcpStream, peer: Peer, now: Moment) -> Option<Step> {
        let mut space = self.space.borrow_mut();
        match stream.read(space.as_mut_slice()) {
            Ok(0) => Some(Step::Ended),
            Ok(length) => Some(self.take(&space[..length], peer, now)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(_) => Some(Step::Ended),
        }
    }

    /// Answers at once: what could not be sent without waiting.
    pub fn send(&self, mut stream: &TcpStream, outcome: Outcome, changes: &[Change], closes: bool) -> io::Result<Vec<u8>> {
        let mut reply = self.reply.borrow_mut();
        self.write_answer(&mut reply, outcome, changes, closes)?;
        match stream.write(&reply) {
            Ok(sent) => Ok(reply.get(sent..).unwrap_or_default().to_vec()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(reply.clone()),
            Err(error) => Err(error),
        }
    }

    fn poll_step(&self, stream: &mut (impl AsyncRead + Unpin), peer: Peer, context: &mut Context<'_>) -> Poll<Step> {
        let mut space = self.space.borrow_mut();
        let mut buffer = ReadBuf::new(space.as_mut_slice());
        match Pin::new(stream).poll_read(context, &mut buffer) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => Poll::Ready(self.take(buffer.filled(), peer, self.now())),
            Poll::Ready(Ok(()) | Err(_)) => Poll::Ready(Step::Ended),
        }
    }

    fn take(&self, bytes: &[u8], peer: Peer, now: Moment) -> Step {
        let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
        match plain_pixel(bytes, &mut headers) {
            None => Step::Other(bytes.to_vec()),
            Some(Plain { query, headers, closes }) => {
                let headers = headers.iter().map(|header| (header.name, header.value));
                self.newest.set(now);
                Step::Hit { verdict: self.public.collect_pixel(query, headers, peer, now), closes }
            }
        }
    }

    async fn answer(&self, stream: &mut (impl AsyncWrite + Unpin), outcome: Outcome, changes: &[Change], closes: bool) -> io::Result<()> {
        let mut reply = self.reply.take();
        self.write_answer(&mut reply, outcome, changes, closes)?;
        stream.write_all(&reply).await?;
        stream.flush().await?;
        self.reply.replace(reply);
        Ok(())
    }

    fn write_answer(&self, reply: &mut Vec<u8>, outcome: Outcome, changes: &[Change], closes: bool) -> io::Result<()> {
        reply.clear();
        let (head, body) = self.answers.of(outcome);
        reply.extend_from_slice(head);
        for cookie in changes.iter().flat_map(cookies::set) {
            write!(reply, "set-cookie: {cookie}\r\n")?;
        }
        if closes {
            reply.extend_from_slice(b"connection: close\r\n");
        }
        reply.extend_from_slice(self.date.borrow_mut().at(self.newest.get()).as_bytes());
        reply.extend_from_slice(body);
        Ok(())
    }
}

/// A pixel's request that holds no surprise.
struct Plain<'b, 'h> {
    query: &'b str,
    headers: &'h [httparse::Header<'b>],
    /// The client wants the connection to end with the answer.
    closes: bool,
}

fn plain_pixel<'b, 'h>(bytes: &'b [u8], headers: &'h mut [MaybeUninit<httparse::Header<'b>>; HEADERS_MAX]) -> Option<Plain<'b, 'h>> {
    let mut request = httparse::Request::new(&mut []);
    let is_whole = request.parse_with_uninit_headers(bytes, headers) == Ok(httparse::Status::Complete(bytes.len()));
    let query = match request.path?.strip_prefix("/p.gif")? {
        "" => "",
        rest => rest.strip_prefix('?')?,
    };
    // What hyper's URI does not hold, or holds otherwise. Without a way out in between, so that many bytes are looked at at once.
    let is_plain = query.bytes().fold(true, |all, byte| all & (byte < 0x80) & (byte != b'#') & (byte != b'"') & (byte != b'<') & (byte != b'>'));
    if !is_whole || !is_plain || request.method != Some("GET") || request.version != Some(1) {
        return None;
    }
    let mut closes = false;
    for header in request.headers.iter() {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        match header.name.len() {
            10 if is("connection") && header.value.eq_ignore_ascii_case(b"close") => closes = true,
            10 if is("connection") && !header.value.eq_ignore_ascii_case(b"keep-alive") => return None,
            6 if is("expect") => return None,
            7 if is("upgrade") => return None,
            14 if is("content-length") => return None,
            17 if is("transfer-encoding") => return None,
            _ => {}
        }
    }
    Some(Plain { query, headers: request.headers, closes })
}

/// The pixel's two answers as bytes, head (without `Set-Cookie` and `Date`) and what follows it.
struct Answers {
    kept: Vec<u8>,
    failed: Vec<u8>,
    end: Vec<u8>,
}

impl Answers {
    fn new() -> Self {
        let head = |outcome| {
            let reply = respond::pixel(outcome, &[]);
            let mut head = format!("HTTP/1.1 {}\r\n", reply.status()).into_bytes();
            for (name, value) in reply.headers() {
                head.extend_from_slice(name.as_str().as_bytes());
                head.extend_from_slice(b": ");
                head.extend_from_slice(value.as_bytes());
                head.extend_from_slice(b"\r\n");
            }
            head.extend_from_slice(format!("content-length: {}\r\n", respond::GIF.len()).as_bytes());
            head
        };
        Self { kept: head(Outcome::Stored), failed: head(Outcome::Failed), end: [b"\r\n", &respond::GIF[..]].concat() }
    }

    fn of(&self, outcome: Outcome) -> (&[u8], &[u8]) {
        match outcome {
            Outcome::Failed => (&self.failed, &self.end),
            Outcome::Stored | Outcome::Duplicate | Outcome::Refused(_) => (&self.kept, &self.end),
        }
    }
}

/// The `Date` line (RFC 9110 §6.6.1), written anew once a second.
struct Date {
    second: i64,
    line: String,
}

impl Date {
    fn at(&mut self, now: Moment) -> &str {
        if self.second != now.seconds() {
            self.second = now.seconds();
            let time = DateTime::from_timestamp_micros(now.micros()).unwrap_or_default();
            self.line = time.format("date: %a, %d %b %Y %H:%M:%S GMT\r\n").to_string();
        }
        &self.line
    }
}

#[cfg(test)]
mod tests {
    use super::{HEADERS_MAX, Pixels, plain_pixel};
    use crate::door::sample::public;
    use hyper::Uri;
    use proptest::prelude::*;
    use std::mem::MaybeUninit;
    use std::rc::Rc;
    use std::time::Duration;
    use tokio::sync::watch;

    /// The last beat was before it came: nothing would wake it.
    #[tokio::test]
    async fn who_comes_after_the_stop_was_said_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let (say, stop) = watch::channel(false);
        let pixels = Pixels::new(Rc::new(public(folder.path())), stop);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let silent = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut stream, peer) = listener.accept().await.unwrap();
        let mut serve = async || tokio::time::timeout(Duration::from_millis(200), pixels.serve(&mut stream, peer.ip())).await;
        assert!(serve().await.is_err(), "it may yet say something");
        say.send(true).unwrap();
        pixels.beat();
        assert_eq!(serve().await, Ok(None));
        drop(silent);
    }

    fn read(bytes: &[u8]) -> Option<(String, usize, bool)> {
        let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
        plain_pixel(bytes, &mut headers).map(|plain| (plain.query.to_owned(), plain.headers.len(), plain.closes))
    }

    #[test]
    fn only_a_plain_pixel_is_taken() {
        for (request, expected) in [
            ("GET /p.gif?s=acme HTTP/1.1\r\nHost: a\r\n\r\n", Some(("s=acme", 1, false))),
            ("GET /p.gif HTTP/1.1\r\n\r\n", Some(("", 0, false))),
            ("GET /p.gif?a HTTP/1.1\r\nConnection: Close\r\n\r\n", Some(("a", 1, true))),
            ("GET /p.gif?a HTTP/1.1\r\nConnection: keep-alive\r\n\r\n", Some(("a", 1, false))),
            ("GET /p.gif?a HTTP/1.1\r\nConnection: keep-alive, close\r\n\r\n", None),
            ("GET /p.gif?a HTTP/1.0\r\n\r\n", None),
            ("HEAD /p.gif?a HTTP/1.1\r\n\r\n", None),
            ("GET /p.gifx HTTP/1.1\r\n\r\n", None),
            ("GET /p.gif?a#b HTTP/1.1\r\n\r\n", None),
            ("GET http://a/p.gif?a HTTP/1.1\r\n\r\n", None),
            ("GET /p.gif?a HTTP/1.1\r\nContent-Length: 0\r\n\r\n", None),
            ("GET /p.gif?a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", None),
            ("GET /p.gif?a HTTP/1.1\r\nExpect: 100-continue\r\n\r\n", None),
            ("GET /p.gif?a HTTP/1.1\r\nUpgrade: h2c\r\n\r\n", None),
            ("GET /p.gif?a HTTP/1.1\r\nHost: a\r\n", None),
            ("GET /p.gif?a HTTP/1.1\r\nHost : a\r\n\r\n", None),
            ("GET /p.gif?a HTTP/1.1\r\n\r\nGET /p.gif?b HTTP/1.1\r\n\r\n", None),
        ] {
            let expected = expected.map(|(query, headers, closes): (&str, usize, bool)| (query.to_owned(), headers, closes));
            assert_eq!(read(request.as_bytes()), expected, "{request}");
        }
        assert_eq!(read(format!("GET /p.gif HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(33)).as_bytes()), None);
    }

    proptest! {
        #[test]
        fn a_query_is_what_hyper_s_uri_says(query in "[!-~\u{80}-\u{ff}]{0,40}") {
            if let Some((taken, ..)) = read(format!("GET /p.gif?{query} HTTP/1.1\r\n\r\n").as_bytes()) {
                let uri: Uri = format!("/p.gif?{query}").parse().unwrap();
                prop_assert_eq!(uri.query(), Some(taken.as_str()));
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            read(&bytes);
            read(&[b"GET /p.gif?", &bytes[..]].concat());
        }
    }
}
