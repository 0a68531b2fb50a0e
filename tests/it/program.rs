//! Owns the real program as a test holds it: a home (settings and data in a temporary folder), a running
//! collector with its two ports, commands beside it, and a small HTTP/1.1 client that shows exact bytes.
//!
//! Promises: nothing is waited for by guessing a time; whatever is awaited is looked at again and again
//! until a deadline, and the deadline's message says what was last seen.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Addresses whose country the database inside the program knows.
pub const FRANCE: &str = "90.0.0.1";
pub const UNITED_STATES: &str = "8.8.8.8";
pub const UNITED_KINGDOM: &str = "81.2.69.142";

/// Longer than anything in these tests takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(180);

/// Looks until `look` finds something; says what was awaited where it never comes.
pub fn eventually<T>(awaited: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let started = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) => assert!(started.elapsed() < DEADLINE, "{awaited} never came; last seen: {seen}"),
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Settings and data of one collector, in a folder of its own.
pub struct Home {
    folder: TempDir,
}

/// What a test says of the settings; the rest is the same for all.
#[derive(Clone, Copy)]
pub struct Settings<'a> {
    /// More lines under `[door]`.
    pub door: &'a str,
    pub flush_after: &'a str,
    /// Whole sections: `[journal]`, `[geo]`.
    pub sections: &'a str,
    pub sites: &'a str,
}

impl Default for Settings<'_> {
    fn default() -> Self {
        Self { door: "", flush_after: "1s", sections: "", sites: "[[site]]\nkey = \"acme\"\n" }
    }
}

/// The peers of these tests are proxies that are believed.
pub const BEHIND_PROXY: &str = "trusted_proxies = [\"127.0.0.0/8\"]\n";

impl Home {
    pub fn new(settings: Settings<'_>) -> Self {
        let home = Self { folder: tempfile::tempdir().unwrap() };
        home.settle(settings);
        home
    }

    /// Writes the settings, anew where there are some.
    pub fn settle(&self, settings: Settings<'_>) {
        let Settings { door, flush_after, sections, sites } = settings;
        let data = self.data();
        let text = format!(
            "data_dir = \"{}\"\n[door]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n{door}\n[lake]\nflush_after = \"{flush_after}\"\n{sections}\n{sites}",
            data.display()
        );
        std::fs::write(self.settings(), text).unwrap();
    }

    pub fn settings(&self) -> PathBuf {
        self.folder.path().join("settings.toml")
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A file beside the data, not in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts the collector and waits until it says where it listens.
    pub fn start(&self) -> Program {
        self.spawn().listening()
    }

    /// Starts the collector and waits for nothing.
    pub fn spawn(&self) -> Starting {
        let settings = self.settings();
        Starting::new(self.command(&["serve", "--config", settings.to_str().unwrap()]))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_clearpixel"));
        command.args(arguments).current_dir(self.folder.path()).env("CLEARPIXEL_LOG", "debug").stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs a command to its end, its log at a level of one's own.
    pub fn run_logged(&self, level: &str, arguments: &[&str]) -> Output {
        self.command(arguments).env("CLEARPIXEL_LOG", level).output().unwrap()
    }

    /// Runs a command of the lake with this home's settings.
    pub fn run_here(&self, arguments: &[&str]) -> Output {
        let settings = self.settings();
        let mut all = arguments.to_vec();
        all.extend(["--config", settings.to_str().unwrap()]);
        self.run(&all)
    }

    /// Starts such a command and waits for nothing.
    pub fn spawn_here(&self, arguments: &[&str]) -> Child {
        let settings = self.settings();
        let mut all = arguments.to_vec();
        all.extend(["--config", settings.to_str().unwrap()]);
        self.command(&all).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// The rows of an SQL question over the lake.
    pub fn query(&self, sql: &str) -> Vec<Value> {
        let output = self.run_here(&["query", sql, "--format", "ndjson"]);
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The one number that an SQL question is answered with; 0 where the sum is of nothing.
    pub fn number(&self, sql: &str) -> u64 {
        let rows = self.query(sql);
        assert_eq!(rows.len(), 1, "{sql}: {rows:?}");
        rows[0].as_object().unwrap().values().next().map_or(0, |value| value.as_u64().unwrap())
    }

    pub fn rows(&self) -> u64 {
        self.number("select count(*) as n from interactions")
    }

    /// Waits until the lake has so many interactions.
    pub fn await_rows(&self, rows: u64) {
        eventually(&format!("{rows} rows in the lake"), || match self.rows() {
            seen if seen == rows => Ok(()),
            seen => Err(format!("{seen} rows")),
        });
    }
}

/// Every file below a folder, and its bytes.
pub fn files_below(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(bytes) = std::fs::read(&path) {
                files.push((path, bytes));
            }
        }
    }
    files
}

type Printed = Arc<Mutex<Vec<u8>>>;

/// A collector that was started and has not said yet that it listens.
pub struct Starting {
    child: Option<Child>,
    printed: Printed,
    lines: Receiver<String>,
    readers: Vec<JoinHandle<()>>,
}

impl Starting {
    fn new(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let printed = Printed::default();
        let (sender, lines) = channel();
        let mut readers = Vec::new();
        let outputs: [Box<dyn Read + Send>; 2] = [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for output in outputs {
            let (printed, sender) = (printed.clone(), sender.clone());
            readers.push(thread::spawn(move || {
                let mut output = BufReader::new(output);
                let mut line = Vec::new();
                while output.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                    printed.lock().unwrap().extend_from_slice(&line);
                    let _ = sender.send(String::from_utf8_lossy(&line).into_owned());
                    line.clear();
                }
            }));
        }
        Self { child: Some(child), printed, lines, readers }
    }

    /// Waits for both addresses.
    pub fn listening(mut self) -> Program {
        let (mut public, mut admin) = (None, None);
        let deadline = Instant::now() + DEADLINE;
        while public.is_none() || admin.is_none() {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("the program did not start: {}", String::from_utf8_lossy(&self.printed.lock().unwrap()));
            };
            let mut words = line.split_whitespace();
            let slot = match words.next() {
                Some("public") => &mut public,
                Some("admin") => &mut admin,
                _ => continue,
            };
            *slot = words.next().and_then(|url| url.split("://").nth(1)?.trim_end_matches('/').parse::<SocketAddr>().ok());
        }
        let (public, admin) = (public.unwrap(), admin.unwrap());
        let (child, readers) = (self.child.take(), std::mem::take(&mut self.readers));
        Program { child, printed: self.printed.clone(), readers, public, admin }
    }

    /// SIGKILL, at whatever it is.
    pub fn kill(mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Waits until it ends or listens; `None` where it listens.
    pub fn ended_or_listening(mut self) -> (Option<ExitStatus>, String) {
        let status = eventually("an end or a start", || {
            if let Some(status) = self.child.as_mut().unwrap().try_wait().unwrap() {
                return Ok(Some(status));
            }
            let printed = String::from_utf8_lossy(&self.printed.lock().unwrap()).into_owned();
            if printed.contains("  public  ") { Ok(None) } else { Err(printed) }
        });
        let printed = String::from_utf8_lossy(&self.printed.lock().unwrap()).into_owned();
        (status, printed)
    }

    /// Waits for its end: for a start that fails.
    pub fn ended(mut self) -> (ExitStatus, String) {
        let status = self.child.take().unwrap().wait().unwrap();
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        (status, String::from_utf8_lossy(&self.printed.lock().unwrap()).into_owned())
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A running collector. Killed when it is dropped.
pub struct Program {
    child: Option<Child>,
    printed: Printed,
    readers: Vec<JoinHandle<()>>,
    pub public: SocketAddr,
    pub admin: SocketAddr,
}

impl Program {
    /// A connection to the public port.
    pub fn connect(&self) -> Client {
        Client::connect(self.public).unwrap()
    }

    /// A connection to the admin port.
    pub fn connect_admin(&self) -> Client {
        Client::connect(self.admin).unwrap()
    }

    /// `GET` of a path of the admin port, as JSON.
    pub fn admin_json(&self, path: &str) -> Value {
        let answer = self.connect_admin().get(path, &[]);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        serde_json::from_slice(&answer.body).unwrap()
    }

    /// The sums of a site's ledger over the last day.
    pub fn ledger(&self, site: &str) -> Value {
        self.admin_json(&format!("/v1/sites/{site}/ledger"))["total"].clone()
    }

    /// Waits until a site's ledger says exactly this; of what was removed, where that is asked.
    pub fn await_ledger(&self, site: &str, expected: &Value) {
        eventually(&format!("the ledger of {site} as {expected}"), || {
            let mut seen = self.ledger(site);
            if expected.get("scrubbed").is_none() {
                seen.as_object_mut().map(|seen| seen.remove("scrubbed"));
            }
            if seen == *expected { Ok(()) } else { Err(seen.to_string()) }
        });
    }

    /// Waits until the program printed `text`.
    pub fn await_printed(&self, text: &str) {
        eventually(&format!("`{text}` in what the program prints"), || {
            let printed = self.printed();
            if printed.contains(text) { Ok(()) } else { Err(printed) }
        });
    }

    /// Everything the program wrote to standard output and standard error.
    pub fn printed(&self) -> String {
        String::from_utf8_lossy(&self.printed.lock().unwrap()).into_owned()
    }

    /// SIGTERM, and what it printed in all; its exit must be 0.
    pub fn stop(mut self) -> String {
        let status = self.terminate();
        assert_eq!(status.code(), Some(0), "{}", self.printed());
        self.printed()
    }

    fn terminate(&mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), Signal::TERM).unwrap();
        let status = child.wait().unwrap();
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        status
    }

    /// SIGKILL, at whatever it is.
    pub fn kill(mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// One connection that is kept alive.
pub struct Client<S = TcpStream> {
    stream: BufReader<S>,
}

/// An answer, byte for byte.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

type Headers<'a> = &'a [(&'a str, &'a str)];

impl Client {
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        Ok(Self::over(connected(address)?))
    }
}

/// A connection that is not waited for without end.
pub fn connected(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    Ok(stream)
}

impl<S: Read + Write> Client<S> {
    pub fn over(stream: S) -> Self {
        Self { stream: BufReader::new(stream) }
    }

    /// The connection itself, of which no byte of an answer is left to be read.
    pub fn into_stream(self) -> S {
        self.stream.into_inner()
    }

    pub fn get(&mut self, path: &str, headers: Headers<'_>) -> Answer {
        self.call("GET", path, headers, b"")
    }

    /// A pixel of a visitor at `address`.
    pub fn pixel_from(&mut self, address: &str, query: &str) -> Answer {
        self.get(&format!("/p.gif?{query}"), &[("X-Forwarded-For", address)])
    }

    pub fn call(&mut self, method: &str, path: &str, headers: Headers<'_>, body: &[u8]) -> Answer {
        self.try_call(method, path, headers, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    pub fn try_call(&mut self, method: &str, path: &str, headers: Headers<'_>, body: &[u8]) -> io::Result<Answer> {
        self.send(method, path, headers, body)?;
        self.read_answer(method == "HEAD")
    }

    /// Sends a request and reads nothing.
    pub fn send(&mut self, method: &str, path: &str, headers: Headers<'_>, body: &[u8]) -> io::Result<()> {
        let length = body.len().to_string();
        let mut headers = headers.to_vec();
        if !body.is_empty() || method == "POST" {
            headers.push(("Content-Length", &length));
        }
        let mut request = head(method, path, &headers);
        request.extend_from_slice(body);
        self.send_bytes(&request)
    }

    /// Sends all of a request but its body.
    pub fn send_head(&mut self, method: &str, path: &str, headers: Headers<'_>) -> io::Result<()> {
        self.send_bytes(&head(method, path, headers))
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    pub fn read_answer(&mut self, is_head: bool) -> io::Result<Answer> {
        let broken = || io::Error::new(io::ErrorKind::UnexpectedEof, "the answer broke off");
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(broken());
        }
        let status = line.split(' ').nth(1).and_then(|word| word.trim().parse().ok()).ok_or_else(broken)?;
        let mut headers = Vec::new();
        loop {
            line.clear();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(broken());
            }
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let length = headers.iter().find(|(name, _)| name == "content-length").map_or(0, |(_, value)| value.parse().unwrap());
        let mut body = vec![0; if is_head { 0 } else { length }];
        self.stream.read_exact(&mut body)?;
        Ok(Answer { status, headers, body })
    }

    /// The next line of an answer that does not end.
    pub fn read_line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        line
    }
}

fn head(method: &str, path: &str, headers: Headers<'_>) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        head.push_str("Host: localhost\r\n");
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    head.into_bytes()
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The `Set-Cookie` lines of a cookie.
    pub fn cookies(&self, name: &str) -> Vec<&str> {
        let start = format!("{name}=");
        self.headers.iter().filter(|(header, value)| header == "set-cookie" && value.starts_with(&start)).map(|(_, value)| value.as_str()).collect()
    }

    /// All of it but what may differ: `Set-Cookie` and `Date`.
    pub fn without_cookies_and_date(&self) -> (u16, Vec<(String, String)>, Vec<u8>) {
        let headers = self.headers.iter().filter(|(name, _)| name != "set-cookie" && name != "date").cloned().collect();
        (self.status, headers, self.body.clone())
    }
}

/// Random numbers of a seed (SplitMix64), so that a failure can be had again.
pub struct Dice(u64);

impl Dice {
    /// Of a seed that is printed; `CLEARPIXEL_TEST_SEED` sets it.
    pub fn thrown(test: &str) -> Self {
        let seed = std::env::var("CLEARPIXEL_TEST_SEED").ok().and_then(|text| text.parse().ok());
        let seed = seed.unwrap_or_else(|| std::time::UNIX_EPOCH.elapsed().map_or(1, |since| since.as_nanos() as u64));
        println!("{test}: CLEARPIXEL_TEST_SEED={seed}");
        Self(seed)
    }

    /// A number from `from` up to and without `to`.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        from + (mixed ^ (mixed >> 31)) % (to - from)
    }
}

/// The hexadecimal SHA-256 of a secret, as settings hold it.
pub fn sha256_hex(secret: &str) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(secret.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}
