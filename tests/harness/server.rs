//! A nats-server with JetStream of the test's own.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicU16, Ordering},
    },
    time::{Duration, SystemTime},
};

use async_nats::jetstream::{self, consumer::pull, stream};
use futures::StreamExt as _;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    time::{Instant, sleep},
};

use super::{PATIENCE, eventually, root};

/// The binary, found or fetched once.
static BINARY: LazyLock<PathBuf> = LazyLock::new(|| set_up(&[]));

/// How long one request of a test may take: long for a busy machine; but some are
/// lost when a server is killed, and are to be made again.
const ANSWER: Duration = Duration::from_secs(60);

/// The oldest that we know of.
const OLDEST: &str = "2.10.26";

fn set_up(version: &[&str]) -> PathBuf {
    let found = Command::new(root().join("scripts/setup-nats"))
        .args(version)
        .stderr(Stdio::inherit())
        .output()
        .expect("run scripts/setup-nats");
    assert!(
        found.status.success(),
        "scripts/setup-nats found no nats-server: see its message above"
    );
    PathBuf::from(String::from_utf8(found.stdout).unwrap().trim())
}

/// A port on which nobody listens, and that nobody else is given: below those that
/// the system hands out, to tests that ask for any port and to their connections.
pub fn free_port() -> u16 {
    const FIRST: u16 = 12_000;
    const N: u16 = 20_000;
    // Two runs of the tests at a time do not begin with the same ones.
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new(rand::random()));
    loop {
        let port = FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % N;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

pub struct Server {
    process: Option<Child>,
    binary: PathBuf,
    folder: TempDir,
    port: u16,
    config: String,
}

/// A message as a stream stores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub subject: String,
    pub headers: BTreeMap<String, Vec<String>>,
    pub payload: Vec<u8>,
    pub sequence: u64,
    pub time: SystemTime,
}

impl Stored {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.first().map(String::as_str)
    }
}

impl Server {
    /// A server with JetStream.
    pub async fn start() -> Server {
        Server::with_config("jetstream {}").await
    }

    /// The oldest server that is supported: it cannot pause a consumer.
    pub async fn oldest() -> Server {
        Server::with_binary(&set_up(&[OLDEST]), "jetstream {}").await
    }

    /// A server with more configuration.
    pub async fn with_config(config: &str) -> Server {
        Server::with_binary(&BINARY, config).await
    }

    /// The binary of the servers of the tests.
    pub fn usual_binary() -> &'static Path {
        &BINARY
    }

    /// A server of another version than that of the other tests.
    pub async fn with_binary(binary: &Path, config: &str) -> Server {
        let folder = TempDir::with_prefix("pelton-test-").unwrap();
        let (binary, config) = (binary.to_owned(), config.to_owned());
        // Its own while it is down, too.
        let port = free_port();
        let mut server = Server { process: None, binary, folder, port, config };
        server.launch().await;
        server
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub async fn client(&self) -> async_nats::Client {
        let options = async_nats::ConnectOptions::new();
        let patient = options.connection_timeout(ANSWER).request_timeout(Some(ANSWER));
        patient.connect(self.url()).await.expect("connect to the test's nats-server")
    }

    pub async fn jetstream(&self) -> jetstream::Context {
        let mut jetstream = jetstream::new(self.client().await);
        jetstream.set_timeout(ANSWER);
        jetstream
    }

    /// Ends the server as a power cut would, without a word to anyone.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Starts it again on the same port with what it had stored.
    pub async fn restart(&mut self) {
        self.kill();
        self.launch().await;
    }

    /// The same with another configuration.
    pub async fn restart_with(&mut self, config: &str) {
        config.clone_into(&mut self.config);
        self.restart().await;
    }

    async fn launch(&mut self) {
        let folder = self.folder.path();
        let config = folder.join("nats.conf");
        let ports = folder.join("ports");
        std::fs::create_dir_all(&ports).unwrap();
        for old in std::fs::read_dir(&ports).unwrap() {
            std::fs::remove_file(old.unwrap().path()).unwrap();
        }
        let text = format!(
            "listen: \"127.0.0.1:{}\"\nports_file_dir: {ports:?}\nlog_file: {:?}\n{}\n",
            self.port,
            folder.join("nats.log"),
            self.config.replace(
                "jetstream {",
                &format!("jetstream {{ store_dir: {:?}\n", folder.join("store"))
            ),
        );
        std::fs::write(&config, text).unwrap();
        let process = Command::new(&self.binary)
            .arg("--config")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start nats-server");
        let id = process.id();
        self.process = Some(process);
        let file = ports.join(format!("nats-server_{id}.ports"));
        let url = eventually("nats-server writes its port", async || {
            let ports: serde_json::Value =
                serde_json::from_slice(&std::fs::read(&file).ok()?).ok()?;
            Some(ports["nats"][0].as_str()?.to_owned())
        })
        .await;
        self.port = url.rsplit(':').next().unwrap().parse().unwrap();
        let address = format!("127.0.0.1:{}", self.port);
        eventually("nats-server answers", async || TcpStream::connect(&address).await.ok()).await;
    }

    /// Makes a stream with these subjects.
    pub async fn stream(&self, name: &str, subjects: &[&str]) -> stream::Stream {
        let config = stream::Config {
            name: name.to_owned(),
            subjects: subjects.iter().map(|&subject| subject.to_owned()).collect(),
            duplicate_window: Duration::from_secs(600),
            ..Default::default()
        };
        self.jetstream().await.create_stream(config).await.unwrap()
    }

    /// Publishes to a stream and waits until it is stored.
    pub async fn publish(&self, subject: &str, payload: impl AsRef<[u8]>) {
        self.publish_all([(subject.to_owned(), payload.as_ref().to_vec())]).await;
    }

    /// Publishes many messages to streams, in order, and waits until all are stored.
    pub async fn publish_all(&self, messages: impl IntoIterator<Item = (String, Vec<u8>)>) {
        let jetstream = self.jetstream().await;
        let mut acks = Vec::new();
        for (subject, payload) in messages {
            acks.push(jetstream.publish(subject, payload.into()).await.unwrap());
            // The client waits for room when 5,000 are unanswered.
            if acks.len() == 1_000 {
                for ack in acks.drain(..) {
                    ack.await.unwrap();
                }
            }
        }
        for ack in acks {
            ack.await.unwrap();
        }
    }

    /// Publishes bytes as they are, which no client would do.
    pub async fn publish_raw(&self, subject: &str, headers: &[u8], payload: &str) {
        let socket = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let (read, mut write) = socket.into_split();
        let (n, total) = (headers.len(), headers.len() + payload.len());
        let before = format!(
            "CONNECT {{\"verbose\":false,\"headers\":true}}\r\nHPUB {subject} {n} {total}\r\n"
        );
        let bytes = [before.as_bytes(), headers, payload.as_bytes(), b"\r\nPING\r\n"].concat();
        write.write_all(&bytes).await.unwrap();
        let mut lines = BufReader::new(read).lines();
        while lines.next_line().await.unwrap().expect("the server answers") != "PONG" {}
    }

    /// Everything that a stream stores, oldest first; nothing if there is no such stream.
    pub async fn stored(&self, stream: &str) -> Vec<Stored> {
        let mut all = Vec::new();
        self.each_stored(stream, |stored| all.push(stored.clone())).await;
        all
    }

    /// Shows everything that a stream stores, oldest first, and keeps nothing.
    pub async fn each_stored(&self, stream: &str, mut see: impl FnMut(&Stored)) {
        let Ok(stream) = self.jetstream().await.get_stream(stream).await else { return };
        let n_messages = stream.cached_info().state.messages;
        let consumer = stream.create_consumer(pull::OrderedConfig::default()).await.unwrap();
        let messages = consumer.messages().await.unwrap();
        let mut messages = messages.take(n_messages as usize);
        while let Some(message) = messages.next().await {
            let message = message.unwrap();
            let info = message.info().unwrap();
            see(&Stored {
                sequence: info.stream_sequence,
                time: info.published.into(),
                subject: message.subject.to_string(),
                headers: headers(message.headers.as_ref()),
                payload: message.payload.to_vec(),
            });
        }
    }

    /// How many messages a stream stores; 0 if there is no such stream.
    pub async fn count(&self, stream: &str) -> u64 {
        match self.jetstream().await.get_stream(stream).await {
            Ok(stream) => stream.cached_info().state.messages,
            Err(_) => 0,
        }
    }

    /// What a durable consumer still has to do: waiting and unsettled events.
    pub async fn backlog(&self, stream: &str, durable: &str) -> Option<u64> {
        let stream = self.jetstream().await.get_stream(stream).await.ok()?;
        let info = stream.get_consumer::<pull::Config>(durable).await.ok()?.cached_info().clone();
        Some(info.num_pending + info.num_ack_pending as u64)
    }

    /// Waits until a durable consumer has nothing left to do: for as long as that
    /// grows less, since a slow machine may take long over many events.
    pub async fn settled(&self, stream: &str, durable: &str) {
        let (mut least, mut since) = (u64::MAX, Instant::now());
        loop {
            match self.backlog(stream, durable).await {
                Some(0) if self.has_heard_of_all(stream, durable).await => return,
                Some(left) if left < least => (least, since) = (left, Instant::now()),
                _ => {}
            }
            let waited = since.elapsed();
            assert!(waited < PATIENCE, "{durable}: {least} left, and none settled for {waited:?}");
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Whether a consumer was handed the last message that is for it. It hears of a
    /// message a little after the publisher has the answer of the stream: until
    /// then its backlog is 0.
    async fn has_heard_of_all(&self, stream: &str, durable: &str) -> bool {
        let jetstream = self.jetstream().await;
        let Ok(handle) = jetstream.get_stream(stream).await else { return false };
        let consumer = handle.get_consumer::<pull::Config>(durable).await;
        let Ok(info) = consumer.map(|consumer| consumer.cached_info().clone()) else {
            return false;
        };
        let mut filters = info.config.filter_subjects;
        if filters.is_empty() {
            let only = info.config.filter_subject;
            filters.push(if only.is_empty() { ">".to_owned() } else { only });
        }
        for filter in filters {
            // As JSON: the client cannot read every message that tests publish.
            let wish = serde_json::json!({ "last_by_subj": filter });
            let verb = format!("STREAM.MSG.GET.{stream}");
            let Ok::<serde_json::Value, _>(answer) = jetstream.request(verb, &wish).await else {
                return false;
            };
            let last = answer["message"]["seq"].as_u64().unwrap_or(0);
            if info.delivered.stream_sequence < last {
                return false;
            }
        }
        true
    }
}

pub fn headers(headers: Option<&async_nats::HeaderMap>) -> BTreeMap<String, Vec<String>> {
    let mut all = BTreeMap::new();
    for (name, values) in headers.iter().flat_map(|headers| headers.iter()) {
        all.insert(name.to_string(), values.iter().map(ToString::to_string).collect());
    }
    all
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
