//! The real `pelton`, as a process.

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{PATIENCE, eventually, eventually_within, root};

pub struct Daemon {
    process: Child,
    log: PathBuf,
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// The binary: Cargo names it to tests; drivers find it above their own.
pub fn binary() -> PathBuf {
    match option_env!("CARGO_BIN_EXE_pelton") {
        Some(path) => path.into(),
        None => std::env::current_exe().unwrap().parent().unwrap().with_file_name("pelton"),
    }
}

/// `pelton` with a compile cache that the tests share.
pub fn pelton() -> Command {
    with_cache(Command::new(binary()))
}

fn with_cache(mut command: Command) -> Command {
    command
        .env("XDG_CACHE_HOME", root().join("target/test-cache"))
        .env_remove("RUST_LOG")
        .env_remove("PELTON_NATS_URL")
        .env_remove("PELTON_ADMIN");
    command
}

/// Runs a verb to its end.
pub fn run(folder: &Path, arguments: &[&str]) -> Finished {
    let mut command = pelton();
    command.args(arguments);
    finish(command, folder)
}

/// Runs a line as it is typed, with this `pelton` first in the PATH.
pub fn shell(folder: &Path, line: &str) -> Finished {
    let mut command = with_cache(Command::new("bash"));
    let ours = binary().parent().unwrap().to_owned();
    let path = std::env::var_os("PATH").unwrap();
    let path = std::env::join_paths([ours].into_iter().chain(std::env::split_paths(&path)));
    command.args(["-c", line]).env("PATH", path.unwrap());
    finish(command, folder)
}

fn finish(mut command: Command, folder: &Path) -> Finished {
    let output = command.current_dir(folder).stdin(Stdio::null()).output().unwrap();
    Finished {
        status: output.status,
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// `pelton` on a terminal of its own, 100 columns wide, where Ctrl-C is what it
/// is to a user: who starts tests in the background has it ignored by all of them.
/// What it prints is piped.
pub fn on_terminal(folder: &Path, arguments: &[&str]) -> Child {
    const TERMINAL: &str = "import os, pty, signal, sys\n\
        signal.signal(signal.SIGINT, signal.SIG_DFL)\n\
        sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])) % 256)";
    let shell = ["sh", "-c", "stty cols 100 rows 30; exec \"$@\"", "sh"];
    with_cache(Command::new("python3"))
        .args(["-c", TERMINAL])
        .args(shell)
        .arg(binary())
        .args(arguments)
        .current_dir(folder)
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start python3")
}

impl Daemon {
    /// `pelton run` in `folder`, with its log in a file there.
    pub fn launch(folder: &Path, arguments: &[&str]) -> Daemon {
        Daemon::launch_with(folder, arguments, &[])
    }

    /// The same with these environment variables.
    pub fn launch_with(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Daemon {
        let log = tempfile::Builder::new().prefix("log-").tempfile_in(folder).unwrap();
        let (file, log) = log.keep().unwrap();
        let process = spawn(folder, arguments, variables, file);
        Daemon { process, log }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until the daemon says that it is ready.
    pub async fn ready(&mut self) {
        self.ready_within(PATIENCE).await;
    }

    /// The same for components that take minutes to compile, the first time.
    pub async fn compiled(&mut self) {
        self.ready_within(10 * PATIENCE).await;
    }

    async fn ready_within(&mut self, patience: Duration) {
        eventually_within(patience, "the daemon is ready", async || {
            assert!(self.is_running(), "the daemon ended by itself");
            self.get("/readyz").await.filter(|(status, _)| *status == 200)
        })
        .await;
    }

    /// Waits for a line in the log with this text.
    pub async fn says(&self, text: &str) {
        eventually(&format!("the daemon says {text:?}"), async || {
            self.log().contains(text).then_some(())
        })
        .await;
    }

    /// Status and body of a page of the admin server, if it answers.
    pub async fn get(&self, page: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(self.admin()?).await.ok()?;
        let request = format!("GET {page} HTTP/1.1\r\nHost: pelton\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let status = answer.split(' ').nth(1)?.parse().ok()?;
        Some((status, answer.split_once("\r\n\r\n")?.1.to_owned()))
    }

    /// Has the daemon take its manifest anew. The test goes on meanwhile, as the
    /// world does.
    pub async fn reload(&self, folder: &Path) -> Finished {
        let admin = self.admin().expect("the daemon has an admin server");
        let folder = folder.to_owned();
        let reload = move || run(&folder, &["reload", "--admin", &admin]);
        tokio::task::spawn_blocking(reload).await.unwrap()
    }

    /// All samples of `/metrics`, by name with labels.
    pub async fn metrics(&self) -> BTreeMap<String, f64> {
        let (_, text) = self.get("/metrics").await.expect("the admin server answers");
        let samples = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        samples
            .map(|line| line.rsplit_once(' ').unwrap())
            .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
            .collect()
    }

    /// One sample, 0 if it is missing.
    pub async fn metric(&self, name: &str) -> f64 {
        self.metrics().await.get(name).copied().unwrap_or(0.0)
    }

    /// Where its admin server listens.
    pub fn admin(&self) -> Option<String> {
        let log = self.log();
        let line = log.lines().find(|line| line.contains("serving /metrics"))?;
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(line["address"].as_str()?.to_owned())
    }

    /// The memory that it takes now, in bytes.
    pub fn resident(&self) -> u64 {
        let status = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(status).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Sends `TERM` or another signal.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args(["-s", name, &self.process.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Removes the log of a daemon that will not be asked about.
    pub fn forget_log(&self) {
        std::fs::remove_file(&self.log).unwrap();
    }

    /// SIGTERM, and waits for the end.
    pub async fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.end().await
    }

    /// Waits for the end.
    pub async fn end(&mut self) -> ExitStatus {
        let process = &mut self.process;
        eventually("the daemon ends", async || process.try_wait().unwrap()).await
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }
}

fn spawn(folder: &Path, arguments: &[&str], variables: &[(&str, &str)], log: File) -> Child {
    pelton()
        .args(["--log-format", "json", "run", "--admin", "127.0.0.1:0"])
        .args(arguments)
        .envs(variables.iter().copied())
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .expect("start pelton")
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.is_running() {
            self.process.kill().ok();
            self.process.wait().ok();
        }
        if std::thread::panicking() {
            eprintln!("--- log of the daemon\n{}", self.log());
        }
    }
}
