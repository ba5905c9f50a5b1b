//! A receiver that does as little as can be done.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::Result;

/// Requests for which permits are given back together: waking a thread of the other side for each would be measured.
const LOT: usize = 16;
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// Answers every request with 200, on a thread of its own called `sink`.
#[derive(Clone, Debug)]
pub(crate) struct Sink {
    pub(crate) url: String,
    seen: Arc<AtomicUsize>,
    /// Has a permit for every request that was answered; producers take them so that the queue stays short.
    window: Arc<Semaphore>,
}

impl Sink {
    pub(crate) fn start() -> Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let url = format!("http://{}", listener.local_addr()?);
        let sink = Self { url, seen: Arc::default(), window: Arc::new(Semaphore::new(0)) };
        let shared = sink.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name("sink".to_owned()).spawn(move || runtime.block_on(serve(listener, shared)))?;
        Ok(sink)
    }

    /// Requests answered so far.
    pub(crate) fn seen(&self) -> usize {
        self.seen.load(Ordering::Relaxed)
    }

    /// Makes room for so many requests on their way, and none more.
    pub(crate) fn open(&self, window: usize) {
        let left = self.window.available_permits();
        self.window.forget_permits(left);
        self.window.add_permits(window);
    }

    /// Waits for room for so many more requests.
    pub(crate) async fn room(&self, requests: usize) -> Result<()> {
        self.window.acquire_many(u32::try_from(requests)?).await?.forget();
        Ok(())
    }

    /// Waits until so many requests were answered in all.
    pub(crate) async fn wait_for(&self, count: usize) {
        while self.seen() < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn count(&self) {
        if (self.seen.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(LOT) {
            self.window.add_permits(LOT);
        }
    }
}

async fn serve(listener: std::net::TcpListener, sink: Sink) -> std::io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        // A client that goes away ends its connection's task, and nothing else.
        tokio::spawn(answer(stream, sink.clone()));
    }
}

async fn answer(mut stream: TcpStream, sink: Sink) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(16 * 1024);
    loop {
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        while let Some(length) = request(&buffer) {
            buffer.drain(..length);
            sink.count();
            stream.write_all(ANSWER).await?;
        }
    }
}

/// The length of the first request, if all of it is there.
fn request(buffer: &[u8]) -> Option<usize> {
    let head = buffer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&buffer[..head]).ok()?;
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: "))?;
    let end = head + length.parse::<usize>().ok()?;
    (buffer.len() >= end).then_some(end)
}
