//! Receivers as nobody wants them.

use std::thread;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use super::Result;

/// How long the slow one takes for an answer.
const SLOW: Duration = Duration::from_secs(1);

/// The URLs of one that is dead, one that never answers, and one that is slow. The last two lie on a thread called `sink`.
pub(crate) fn start() -> Result<[String; 3]> {
    // Nobody listens there any more.
    let dead = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let hung = std::net::TcpListener::bind("127.0.0.1:0")?;
    let slow = std::net::TcpListener::bind("127.0.0.1:0")?;
    let urls = [dead, hung.local_addr()?, slow.local_addr()?].map(|at| format!("http://{at}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let both = async move { tokio::try_join!(serve(hung, None), serve(slow, Some(SLOW))) };
    thread::Builder::new().name("sink".to_owned()).spawn(move || runtime.block_on(both))?;
    Ok(urls)
}

async fn serve(listener: std::net::TcpListener, answers_in: Option<Duration>) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(answer(stream, answers_in));
    }
}

/// What comes at once is one request: there are no pipelines.
async fn answer(mut stream: TcpStream, answers_in: Option<Duration>) -> std::io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    while stream.read(&mut buffer).await? > 0 {
        if let Some(time) = answers_in {
            tokio::time::sleep(time).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await?;
        }
    }
    Ok(())
}
