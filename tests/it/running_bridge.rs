//! The built example `registry_bridge` as a process, and a receiver of its webhooks.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// How long anything may take before the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// A running bridge; killed when dropped.
pub(crate) struct Bridge {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Bridge {
    /// Starts one in `dir`, which keeps its ready file, and waits until it accepts.
    pub(crate) fn start(dir: &Path, args: &[&str]) -> Self {
        Self::spawn(dir, command(dir, Command::new(example())), args)
    }

    /// Starts one that can write no file beyond so many blocks of 512 bytes.
    pub(crate) fn start_limited(dir: &Path, blocks: &str, args: &[&str]) -> Self {
        let mut shell = Command::new("sh");
        // Without the trap, the signal of the limit would end the program before it sees the error.
        shell.args(["-c", r#"trap "" XFSZ; ulimit -S -f "$0"; exec "$@""#, blocks]).arg(example());
        Self::spawn(dir, command(dir, shell), args)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    fn spawn(dir: &Path, mut command: Command, args: &[&str]) -> Self {
        let ready = dir.join("ready.json");
        let _ = std::fs::remove_file(&ready);
        command.args(["--listen", "127.0.0.1:0", "--ready-file"]).arg(&ready).args(args);
        let mut child = command.spawn().unwrap();
        let text = wait_for("the ready file", || {
            if let Some(ended) = child.try_wait().unwrap() {
                panic!("the bridge ended with {ended}: {}", stderr_of(dir));
            }
            std::fs::read_to_string(&ready).ok()
        });
        let ready: serde_json::Value = serde_json::from_str(&text).unwrap();
        let address = ready["listen"].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap();
        Self { child, address }
    }

    /// POSTs a body; the answer's status and body.
    pub(crate) fn post(&self, path: &str, headers: &str, body: &str) -> (u16, String) {
        split(&self.post_whole(path, headers, body))
    }

    /// POSTs a body; the whole answer.
    pub(crate) fn post_whole(&self, path: &str, headers: &str, body: &str) -> String {
        self.post_as("localhost", path, headers, body)
    }

    /// The same for a client that calls the bridge so.
    pub(crate) fn post_as(&self, host: &str, path: &str, headers: &str, body: &str) -> String {
        let length = body.len();
        let head = format!("POST {path} HTTP/1.1\r\nHost: {host}\r\n{headers}Content-Length: {length}\r\n");
        exchange(self.address, &format!("{head}Connection: close\r\n\r\n{body}"))
    }

    pub(crate) fn healthz(&self) -> serde_json::Value {
        serde_json::from_str(&self.get("/healthz")).unwrap()
    }

    /// The body of what is there.
    pub(crate) fn get(&self, path: &str) -> String {
        let answer =
            exchange(self.address, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
        let (status, body) = split(&answer);
        assert_eq!(status, 200, "{body}");
        body
    }

    /// The status and the body of whatever is answered.
    pub(crate) fn get_with(&self, path: &str, headers: &str) -> (u16, String) {
        self.get_as("localhost", path, headers)
    }

    /// The same for a client that calls the bridge so.
    pub(crate) fn get_as(&self, host: impl std::fmt::Display, path: &str, headers: &str) -> (u16, String) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}Connection: close\r\n\r\n");
        split(&exchange(self.address, &request))
    }

    /// POSTs a body, to a bridge that may be gone before it has answered.
    pub(crate) fn try_post(&self, path: &str, body: &str) -> Option<(u16, String)> {
        let length = body.len();
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
        try_exchange(self.address, &(head + body))
    }

    /// kill -9.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// kill -9, while others hold the bridge too.
    pub(crate) fn kill_9(&self) {
        self.signal("KILL");
        // It is gone when nobody listens any more.
        wait_for("the bridge to die", || TcpStream::connect(self.address).err());
    }

    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("sh").args(["-c", &format!("kill -{signal} {}", self.child.id())]).status().unwrap();
        assert!(sent.success());
    }

    /// SIGTERM, or another signal by name.
    pub(crate) fn stop(mut self, signal: &str) -> ExitStatus {
        self.signal(signal);
        wait_for("the bridge to end", || self.child.try_wait().unwrap())
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The bridge in `dir`, its words kept beside it.
fn command(dir: &Path, mut command: Command) -> Command {
    let log = std::fs::File::options().create(true).append(true).open(dir.join("stderr")).unwrap();
    command.current_dir(dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    command
}

/// Starts a bridge that must refuse to; its status and its words.
pub(crate) fn refused_start(dir: &Path, args: &[&str]) -> (Option<i32>, String) {
    let listen: &[&str] = if args.contains(&"--listen") { &[] } else { &["--listen", "127.0.0.1:0"] };
    let mut child = command(dir, Command::new(example())).args(listen).args(args).spawn().unwrap();
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("the bridge started with {args:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    (status.code(), stderr_of(dir))
}

pub(crate) fn stderr_of(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("stderr")).unwrap_or_default()
}

/// `cargo test` builds the examples into the folder beside that of the test.
fn example() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let example = test.parent().and_then(Path::parent).unwrap().join("examples/registry_bridge");
    assert!(example.exists(), "{} is missing: cargo build --example registry_bridge", example.display());
    example
}

/// A webhook as it arrived.
#[derive(Debug)]
pub(crate) struct Arrived {
    /// Names in lower case.
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Arrived {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| &**value)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// A server for webhooks, for the rest of the test run.
pub(crate) struct Catcher {
    pub(crate) address: SocketAddr,
    arrived: Receiver<Arrived>,
}

impl Catcher {
    /// Answers the first requests with these statuses and all others with 200.
    pub(crate) fn answering(statuses: &[u16]) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), statuses)
    }

    pub(crate) fn at(address: SocketAddr) -> Self {
        Self::on(wait_for("the port", || TcpListener::bind(address).ok()), &[])
    }

    fn on(listener: TcpListener, statuses: &[u16]) -> Self {
        let (sender, arrived) = channel();
        let address = listener.local_addr().unwrap();
        let mut statuses = VecDeque::from(statuses.to_vec());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let status = statuses.pop_front().unwrap_or(200);
                if stream.is_ok_and(|stream| !take(stream, status, &sender)) {
                    return;
                }
            }
        });
        Self { address, arrived }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub(crate) fn next(&self) -> Arrived {
        self.arrived.recv_timeout(PATIENCE).expect("no webhook arrived")
    }

    /// Asserts that nothing more comes for a while.
    pub(crate) fn nothing_more(&self) {
        if let Ok(more) = self.arrived.recv_timeout(Duration::from_millis(700)) {
            panic!("one webhook too many: {}", String::from_utf8_lossy(&more.body));
        }
    }
}

/// One request on a connection, then it is closed. Whether anybody listens still.
fn take(stream: TcpStream, status: u16, to: &Sender<Arrived>) -> bool {
    let mut reader = BufReader::new(stream);
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return true;
        }
        match line.trim_end() {
            "" => break,
            line => headers.extend(line.split_once(": ").map(|(n, v)| (n.to_ascii_lowercase(), v.to_owned()))),
        }
    }
    let arrived = Arrived { headers, body: Vec::new() };
    let length = arrived.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    if reader.read_exact(&mut body).is_err() {
        return true;
    }
    let heard = to.send(Arrived { body, ..arrived }).is_ok();
    let answer = format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let _ = reader.into_inner().write_all(answer.as_bytes());
    heard
}

fn exchange(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // A server that refuses a body may close before it has read all of it.
    let _ = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

/// The status and the body of an answer.
fn split(answer: &str) -> (u16, String) {
    parse(answer).unwrap_or_else(|| panic!("no answer: {answer:?}"))
}

fn try_exchange(address: SocketAddr, request: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    parse(&answer)
}

fn parse(answer: &str) -> Option<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// Asks again until there is an answer.
pub(crate) fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
