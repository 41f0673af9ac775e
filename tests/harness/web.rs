//! An HTTP server that answers as it should, or as it should not.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinHandle,
    time::sleep,
};
use tokio_rustls::TlsAcceptor;

pub struct Web {
    pub address: SocketAddr,
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

/// What the server has seen.
#[derive(Default)]
struct Seen {
    requests: Mutex<Vec<Value>>,
    connections: AtomicUsize,
    open: AtomicUsize,
    under_way: AtomicUsize,
    most: AtomicUsize,
}

impl Web {
    pub async fn start() -> Web {
        Web::with(None).await
    }

    /// With this certificate.
    pub async fn with_tls(tls: TlsAcceptor) -> Web {
        Web::with(Some(tls)).await
    }

    async fn with(tls: Option<TlsAcceptor>) -> Web {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let shared = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, tls) = (Arc::clone(&shared), tls.clone());
                tokio::spawn(async move {
                    seen.connections.fetch_add(1, Ordering::SeqCst);
                    seen.open.fetch_add(1, Ordering::SeqCst);
                    match tls {
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => serve(stream, &seen).await,
                            Err(_) => None,
                        },
                        None => serve(stream, &seen).await,
                    };
                    seen.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Web { address, seen, task }
    }

    /// Address and port.
    pub fn authority(&self) -> String {
        self.address.to_string()
    }

    /// What was asked: method, path and headers of every request.
    pub fn requests(&self) -> Vec<Value> {
        self.seen.requests.lock().unwrap().clone()
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// Connections that are open.
    pub fn open(&self) -> usize {
        self.seen.open.load(Ordering::SeqCst)
    }

    /// The most requests that were under way at a time.
    pub fn most(&self) -> usize {
        self.seen.most.load(Ordering::SeqCst)
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves requests until the other side is gone.
async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, seen: &Seen) -> Option<()> {
    let mut buffer = Vec::new();
    loop {
        let request = read_request(&mut stream, &mut buffer).await?;
        seen.requests.lock().unwrap().push(request.clone());
        let under_way = seen.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        seen.most.fetch_max(under_way, Ordering::SeqCst);
        let answered = answer(&mut stream, &request).await;
        seen.under_way.fetch_sub(1, Ordering::SeqCst);
        answered?;
    }
}

async fn read_request(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
) -> Option<Value> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(buffer.drain(..end + 4).collect()).unwrap();
    let mut lines = head.lines();
    let mut words = lines.next()?.split(' ');
    let (method, path) = (words.next()?, words.next()?);
    let headers: serde_json::Map<String, Value> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), json!(value)))
        .collect();
    let length = match headers.get("transfer-encoding") {
        Some(_) => chunked(stream, buffer).await?,
        None => {
            let length = headers.get("content-length").and_then(Value::as_str);
            let length: usize = length.map_or(0, |length| length.parse().unwrap());
            fill(stream, buffer, length).await?;
            buffer.drain(..length);
            length
        }
    };
    Some(json!({ "method": method, "path": path, "headers": headers, "length": length }))
}

async fn fill(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>, n: usize) -> Option<()> {
    while buffer.len() < n {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    Some(())
}

/// Reads a chunked body; how long it was.
async fn chunked(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> Option<usize> {
    let mut length = 0;
    loop {
        let end = loop {
            if let Some(end) = buffer.windows(2).position(|window| window == b"\r\n") {
                break end;
            }
            fill(stream, buffer, buffer.len() + 1).await?;
        };
        let size = String::from_utf8(buffer.drain(..end + 2).collect()).unwrap();
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        fill(stream, buffer, size + 2).await?;
        buffer.drain(..size + 2);
        length += size;
        if size == 0 {
            return Some(length);
        }
    }
}

/// Answers as the path says: badly, unless it is none of those named here.
async fn answer(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &Value) -> Option<()> {
    let long_head = format!("HTTP/1.1 200 OK\r\nLong: {}\r\n", "x".repeat(200_000));
    let (begun, ends) = match request["path"].as_str().unwrap() {
        "/silent" => ("", End::Waits),
        "/stalled" => ("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun", End::Waits),
        "/endless" => ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", End::NeverStops),
        "/announced" => ("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\nx", End::Waits),
        "/head" => (&*long_head, End::Waits),
        "/redirect" => {
            ("HTTP/1.1 302 Found\r\nLocation: /echo\r\nContent-Length: 0\r\n\r\n", End::IsWhole)
        }
        "/busy" => (
            "HTTP/1.1 503 Busy\r\nRetry-After: Wed, 21 Oct 2026 07:28:00 GMT\r\nContent-Length: 0\r\n\r\n",
            End::IsWhole,
        ),
        "/limited" => (
            "HTTP/1.1 429 Slow\r\nRetry-After: 40\r\nContent-Length: 9\r\n\r\nslow down",
            End::IsWhole,
        ),
        "/gone" => ("HTTP/1.1 410 Gone\r\nContent-Length: 9\r\n\r\nmoved out", End::IsWhole),
        "/nonsense" => ("SSH-2.0-OpenSSH\r\n\r\n", End::Waits),
        "/cut" => ("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun", End::HangsUp),
        "/latin" => return latin(stream).await,
        path => return echo(stream, path, request).await,
    };
    send(stream, begun).await?;
    ends.follow(stream).await
}

/// What comes after the beginning of an answer.
enum End {
    IsWhole,
    Waits,
    HangsUp,
    NeverStops,
}

impl End {
    async fn follow(self, stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Option<()> {
        match self {
            End::IsWhole => Some(()),
            End::Waits => gone(stream).await,
            End::HangsUp => None,
            End::NeverStops => {
                let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
                loop {
                    send(stream, &chunk).await?;
                }
            }
        }
    }
}

/// A refusal in German, which is no UTF-8, and ends in the midst of a line.
async fn latin(stream: &mut (impl AsyncWrite + Unpin)) -> Option<()> {
    let words = b"zu gro\xdf ".repeat(50);
    let head = format!("HTTP/1.1 400 Bad\r\nContent-Length: {}\r\n\r\n", words.len());
    send(stream, [head.into_bytes(), words].concat()).await
}

/// The request as JSON.
async fn echo(stream: &mut (impl AsyncWrite + Unpin), path: &str, request: &Value) -> Option<()> {
    if path == "/slow" {
        // Long enough for requests to be seen beside each other.
        sleep(Duration::from_millis(30)).await;
    }
    let body = request.to_string();
    let length = body.len();
    send(stream, format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}")).await
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), bytes: impl AsRef<[u8]>) -> Option<()> {
    stream.write_all(bytes.as_ref()).await.ok()?;
    stream.flush().await.ok()
}

/// Says nothing more until the other side is gone.
async fn gone(stream: &mut (impl AsyncRead + Unpin)) -> Option<()> {
    let mut rest = [0; 64];
    while stream.read(&mut rest).await.ok()? > 0 {}
    None
}
