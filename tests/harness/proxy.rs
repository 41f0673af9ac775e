//! A TCP proxy between a daemon and its nats-server, on 127.0.0.1, that makes the
//! network as bad as a test asks for.
//!
//! It forwards whole protocol messages, so that what it withholds never damages
//! what follows. What a fault holds back goes on when the fault ends, unless the
//! connection was given up meanwhile.

use std::{
    collections::HashSet,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep, sleep_until},
};

/// What the network does to connections, those that stand and new ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// Forwards everything.
    Pass,
    /// Nothing arrives, in either direction, and nobody is told.
    Blackhole,
    /// Nothing arrives in one direction.
    HalfOpen(Direction),
    /// Everything arrives so much later.
    Delay(Duration),
    /// At most so many bytes a second in each direction.
    Slow(u32),
    /// In packets of so many bytes.
    Split(usize),
    /// One in so many publishes to streams is lost: as by a server that breaks
    /// down before it has stored what it took.
    DropPublishes(u64),
    /// One in so many answers of streams to publishes is lost.
    DropPublishAcks(u64),
    /// One in so many answers to deliveries is lost.
    DropAcks(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    ToServer,
    ToClient,
}

/// Messages that wait between reading and writing.
const QUEUE: usize = 256;

pub struct Proxy {
    port: u16,
    network: watch::Sender<Network>,
    /// Counts the cuts.
    cuts: watch::Sender<u64>,
    counts: Arc<Counts>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Counts {
    connections: AtomicU64,
    /// Of those that one in so many is dropped of.
    seen: AtomicU64,
    dropped: AtomicU64,
}

impl Proxy {
    /// A proxy to the server that listens on `port`.
    pub async fn start(port: u16) -> Proxy {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let (network, cuts) = (watch::Sender::new(Network::Pass), watch::Sender::new(0));
        let counts = Arc::<Counts>::default();
        let line = Line {
            network: network.subscribe(),
            cuts: cuts.subscribe(),
            counts: Arc::clone(&counts),
            awaited: Arc::default(),
        };
        let task = tokio::spawn(accept(listener, port, line));
        Proxy { port: own, network, cuts, counts, task }
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Changes the network from now on.
    pub fn set(&self, network: Network) {
        self.network.send_replace(network);
    }

    /// Resets every connection that stands.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// How many connections were made.
    pub fn connections(&self) -> u64 {
        self.counts.connections.load(Ordering::Relaxed)
    }

    /// How many messages were withheld for good.
    pub fn dropped(&self) -> u64 {
        self.counts.dropped.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What both directions of a connection share.
#[derive(Clone)]
struct Line {
    network: watch::Receiver<Network>,
    cuts: watch::Receiver<u64>,
    counts: Arc<Counts>,
    /// Where answers to publishes are waited for.
    awaited: Arc<Mutex<HashSet<Bytes>>>,
}

async fn accept(listener: TcpListener, port: u16, line: Line) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                let line = Line { awaited: Arc::default(), ..line.clone() };
                line.counts.connections.fetch_add(1, Ordering::Relaxed);
                connections.spawn(connect(client, port, line));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Forwards until one side ends, or the line is cut.
async fn connect(client: TcpStream, port: u16, mut line: Line) {
    line.cuts.mark_unchanged();
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    for socket in [&client, &server] {
        socket.set_nodelay(true).ok();
    }
    let ((from_client, to_client), (from_server, to_server)) =
        (client.into_split(), server.into_split());
    let mut cuts = line.cuts.clone();
    let mut halves = JoinSet::new();
    halves.spawn(forward(from_client, to_server, Direction::ToServer, line.clone()));
    halves.spawn(forward(from_server, to_client, Direction::ToClient, line));
    tokio::select! {
        // Cut: both halves reset their sockets; ended: the other half has nobody left.
        Ok(()) = cuts.changed() => while halves.join_next().await.is_some() {},
        _ = halves.join_next() => {}
    }
}

async fn forward(from: OwnedReadHalf, mut to: OwnedWriteHalf, direction: Direction, line: Line) {
    let mut cuts = line.cuts.clone();
    let (queue, mut queued) = mpsc::channel(QUEUE);
    let forwarding = async {
        let reading = read(from, queue);
        let writing = write(&mut queued, &mut to, direction, line);
        // Whatever was read is written before the end is passed on.
        let (_, written) = tokio::join!(reading, writing);
        written
    };
    let was_cut = tokio::select! {
        biased;
        Ok(()) = cuts.changed() => true,
        _ = forwarding => false,
    };
    if was_cut {
        // A reset in place of an orderly end.
        to.as_ref().set_zero_linger().ok();
    } else {
        to.shutdown().await.ok();
    }
}

async fn read(mut from: OwnedReadHalf, queue: mpsc::Sender<(Instant, Message)>) {
    let mut buffer = BytesMut::new();
    loop {
        while let Some(message) = Message::take(&mut buffer) {
            if queue.send((Instant::now(), message)).await.is_err() {
                return;
            }
        }
        match from.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

async fn write(
    queued: &mut mpsc::Receiver<(Instant, Message)>,
    to: &mut OwnedWriteHalf,
    direction: Direction,
    mut line: Line,
) -> io::Result<()> {
    while let Some((came, message)) = queued.recv().await {
        let network = line.open(direction).await;
        line.note_publish(direction, &message);
        if line.withholds(network, direction, &message) {
            continue;
        }
        match network {
            Network::Delay(delay) => {
                sleep_until(came + delay).await;
                to.write_all(&message.bytes).await?;
            }
            Network::Split(n) => in_packets(to, &message.bytes, n, Duration::ZERO).await?,
            Network::Slow(rate) => {
                let packet = 256;
                let pause = Duration::from_secs(1) * packet / rate;
                in_packets(to, &message.bytes, packet as usize, pause).await?;
            }
            _ => to.write_all(&message.bytes).await?,
        }
    }
    Ok(())
}

async fn in_packets(
    to: &mut OwnedWriteHalf,
    bytes: &[u8],
    n: usize,
    pause: Duration,
) -> io::Result<()> {
    for packet in bytes.chunks(n.max(1)) {
        to.write_all(packet).await?;
        to.flush().await?;
        if pause.is_zero() {
            tokio::task::yield_now().await;
        } else {
            sleep(pause.mul_f64(packet.len() as f64 / n as f64)).await;
        }
    }
    Ok(())
}

impl Line {
    /// The network, once something passes in this direction.
    async fn open(&mut self, direction: Direction) -> Network {
        let is_open = |network: &Network| {
            *network != Network::Blackhole && *network != Network::HalfOpen(direction)
        };
        let network = self.network.wait_for(is_open).await.map(|network| *network).ok();
        match network {
            Some(network) => network,
            // The proxy is gone.
            None => std::future::pending().await,
        }
    }

    fn note_publish(&self, direction: Direction, message: &Message) {
        if direction == Direction::ToServer
            && let Some(reply) = message.reply_of_publish()
        {
            self.awaited.lock().unwrap().insert(reply);
        }
    }

    fn withholds(&self, network: Network, direction: Direction, message: &Message) -> bool {
        let one_in = match (network, direction) {
            (Network::DropAcks(n), Direction::ToServer) if message.is_ack() => n,
            (Network::DropPublishes(n), Direction::ToServer) if message.is_publish() => n,
            (_, Direction::ToClient) if self.answers_publish(message) => match network {
                Network::DropPublishAcks(n) => n,
                _ => return false,
            },
            _ => return false,
        };
        let is_it = self.counts.seen.fetch_add(1, Ordering::Relaxed) % one_in == one_in - 1;
        self.counts.dropped.fetch_add(u64::from(is_it), Ordering::Relaxed);
        is_it
    }

    fn answers_publish(&self, message: &Message) -> bool {
        let subject = message.delivered_on();
        subject.is_some_and(|subject| self.awaited.lock().unwrap().remove(&subject))
    }
}

/// One message of the NATS protocol, as it was sent.
#[derive(Debug, PartialEq, Eq)]
struct Message {
    bytes: Bytes,
    /// The length of its first line, without the line break.
    line: usize,
}

impl Message {
    /// Takes a whole message out of `buffer`, if one is there.
    fn take(buffer: &mut BytesMut) -> Option<Message> {
        let line = buffer.windows(2).position(|two| two == b"\r\n")?;
        let payload = payload_size(&buffer[..line]);
        let total = line + 2 + payload.map_or(0, |size| size + 2);
        (buffer.len() >= total).then(|| Message { bytes: buffer.split_to(total).freeze(), line })
    }

    fn words(&self) -> Vec<&[u8]> {
        words(&self.bytes[..self.line])
    }

    /// The subject of the answer, if this is a publish that a stream answers.
    fn reply_of_publish(&self) -> Option<Bytes> {
        let words = self.words();
        let n_sizes = match verb(&words).as_str() {
            "PUB" => 1,
            "HPUB" => 2,
            _ => return None,
        };
        let has_reply = words.len() == 3 + n_sizes;
        (has_reply && !words[1].starts_with(b"$")).then(|| Bytes::copy_from_slice(words[2]))
    }

    /// Whether it may be for a stream, whether an answer is awaited or not.
    fn is_publish(&self) -> bool {
        let words = self.words();
        matches!(verb(&words).as_str(), "PUB" | "HPUB") && !words[1].starts_with(b"$")
    }

    /// Whether it answers a delivery. Signs of progress do not.
    fn is_ack(&self) -> bool {
        let words = self.words();
        let is_publish = matches!(verb(&words).as_str(), "PUB" | "HPUB");
        let is_progress = self.bytes[self.line..].starts_with(b"\r\n+WPI");
        is_publish && words[1].starts_with(b"$JS.ACK.") && !is_progress
    }

    fn delivered_on(&self) -> Option<Bytes> {
        let words = self.words();
        let is_delivery = matches!(verb(&words).as_str(), "MSG" | "HMSG");
        is_delivery.then(|| Bytes::copy_from_slice(words[1]))
    }
}

fn words(line: &[u8]) -> Vec<&[u8]> {
    let words = line.split(|byte| byte.is_ascii_whitespace());
    words.filter(|word| !word.is_empty()).collect()
}

fn verb(words: &[&[u8]]) -> String {
    String::from_utf8_lossy(words.first().copied().unwrap_or_default()).to_ascii_uppercase()
}

/// How many bytes follow the line, if a payload does: its last word says so.
fn payload_size(line: &[u8]) -> Option<usize> {
    let words = words(line);
    let has_payload = matches!(verb(&words).as_str(), "PUB" | "HPUB" | "MSG" | "HMSG");
    let size = std::str::from_utf8(words.last()?).ok()?;
    if has_payload { size.parse().ok() } else { None }
}

#[test]
fn messages_are_taken_whole_and_told_apart() {
    let sent = b"PING\r\nPUB $JS.ACK.S.c.1.2.3.4.0 4\r\n+ACK\r\nHPUB out.a _INBOX.x.1 4 8\r\n\r\n\r\nabcd\r\nPUB a";
    let mut buffer = BytesMut::from(&sent[..]);
    let mut taken = Vec::new();
    while let Some(message) = Message::take(&mut buffer) {
        taken.push(message);
    }
    assert_eq!(taken.len(), 3);
    assert_eq!(buffer, "PUB a");
    assert_eq!(taken.iter().map(Message::is_ack).collect::<Vec<_>>(), [false, true, false]);
    assert_eq!(taken.iter().map(Message::is_publish).collect::<Vec<_>>(), [false, false, true]);
    let replies: Vec<_> = taken.iter().filter_map(Message::reply_of_publish).collect();
    assert_eq!(replies, ["_INBOX.x.1"]);
    let mut answer = BytesMut::from(&b"MSG _INBOX.x.1 7 2\r\n{}\r\n"[..]);
    let answer = Message::take(&mut answer).unwrap();
    assert_eq!(answer.delivered_on().unwrap(), "_INBOX.x.1");
}
