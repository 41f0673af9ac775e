//! A nats-server for one test: free port, folder of its own, killed at the end.

use std::{
    fs::File,
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

use crate::manifest::{Auth, Nats, Tls};

/// A running server.
pub(super) struct Server {
    port: u16,
    folder: TempDir,
    config: String,
    process: Option<Child>,
}

impl Server {
    /// With JetStream and no accounts.
    pub(super) async fn start() -> Server {
        Server::with("jetstream { store_dir: \"$FOLDER\" }").await
    }

    /// With `config`, in which `$FOLDER` is the server's folder.
    pub(super) async fn with(config: &str) -> Server {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("js").display().to_string();
        let config = config.replace("$FOLDER", &path);
        let mut server = Server { port: free_port(), folder, config, process: None };
        server.run().await;
        server
    }

    /// Starts the process and waits until it listens.
    pub(super) async fn run(&mut self) {
        let config = self.folder.path().join("server.conf");
        std::fs::write(&config, &self.config).unwrap();
        let log = self.folder.path().join("log");
        let log = File::options().create(true).append(true).open(log).unwrap();
        let process = Command::new(binary())
            .args(["-a", "127.0.0.1", "-p", &self.port.to_string(), "-c"])
            .arg(config)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("nats-server 2.10 or newer on PATH or named by PELTON_NATS_SERVER");
        self.process = Some(process);
        let address = (Ipv4Addr::LOCALHOST, self.port);
        super::eventually("the server listens", || async {
            tokio::net::TcpStream::connect(address).await.is_ok()
        })
        .await;
    }

    /// Kills the process: what it has not written is lost.
    pub(super) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Publishes a message as it is, which no client would.
    pub(super) async fn publish_raw(
        &self,
        subject: impl AsRef<[u8]>,
        headers: &[u8],
        payload: &str,
    ) {
        let address = (Ipv4Addr::LOCALHOST, self.port);
        let socket = tokio::net::TcpStream::connect(address).await.unwrap();
        let (read, mut write) = socket.into_split();
        let sizes = format!(" {} {}\r\n", headers.len(), headers.len() + payload.len());
        let bytes = [
            b"CONNECT {\"verbose\":false,\"headers\":true}\r\nHPUB ",
            subject.as_ref(),
            sizes.as_bytes(),
            headers,
            payload.as_bytes(),
            b"\r\nPING\r\n",
        ];
        write.write_all(&bytes.concat()).await.unwrap();
        let mut lines = BufReader::new(read).lines();
        while lines.next_line().await.unwrap().unwrap() != "PONG" {}
    }

    pub(super) fn settings(&self) -> Nats {
        Nats {
            urls: vec![format!("nats://127.0.0.1:{}", self.port)],
            auth: Auth::None,
            tls: Tls::default(),
            request_timeout: Duration::from_secs(2),
            ping_interval: Duration::from_secs(10),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn binary() -> PathBuf {
    std::env::var_os("PELTON_NATS_SERVER").map_or_else(|| "nats-server".into(), PathBuf::from)
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}
