//! What the drivers start: a nats-server of their own and other programs, each
//! ended by its id when it is dropped. Nothing here measures or shows anything.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    time::{Instant, sleep},
};

/// How often something is looked at that is waited for.
const LOOK: Duration = Duration::from_millis(10);
/// How long a nats-server may take to start.
const SERVER_START: Duration = Duration::from_secs(20);
/// How long a program may take to end after it was asked to.
const END: Duration = Duration::from_secs(40);

/// The repository.
pub fn root() -> PathBuf {
    let runtime = Path::new(env!("CARGO_MANIFEST_DIR"));
    runtime.parent().unwrap_or(runtime).to_owned()
}

/// The `pelton` that was built together with this driver, which Cargo puts one
/// folder below it.
pub fn pelton() -> anyhow::Result<PathBuf> {
    let driver = std::env::current_exe().context("find this program's own file")?;
    let folder = driver.parent().and_then(Path::parent);
    let pelton = folder.map(|folder| folder.join("pelton")).unwrap_or_default();
    ensure!(
        pelton.exists(),
        "{}: not there; build it: cargo build --release --bin pelton",
        pelton.display()
    );
    Ok(pelton)
}

/// A program that was started, killed when this is dropped.
pub struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts `command`, with what it prints in `<name>.log` in `folder`.
    pub fn start(command: &mut Command, name: &str, folder: &Path) -> anyhow::Result<Process> {
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("write {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child =
            command.spawn().with_context(|| format!("start {:?}", command.get_program()))?;
        Ok(Process { child, name: name.to_owned(), log })
    }

    /// The id of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// An error with its last words if it has ended.
    pub fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended by itself: {status}\n{}", self.name, self.last_words()),
        }
    }

    /// The time on processors that all its threads have used; nothing where the
    /// system does not tell.
    pub fn processor_time(&self) -> Duration {
        let threads = fs::read_dir(format!("/proc/{}/task", self.id())).into_iter().flatten();
        let nanos = threads.flatten().filter_map(|thread| {
            let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(nanos.sum())
    }

    /// SIGTERM, and waits for the end.
    pub async fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        let pid = i32::try_from(self.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.context("its id is no id")?, Signal::TERM)?;
        let deadline = Instant::now() + END;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            sleep(LOOK).await;
        }
        bail!("{} does not end within {END:?} after SIGTERM\n{}", self.name, self.last_words())
    }

    /// The end of what it printed.
    pub fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().rev().take(20).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Either fails only if it has ended before.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A nats-server with JetStream on a free port, its files in a temporary folder.
pub struct NatsServer {
    _process: Process,
    _folder: TempDir,
    url: String,
}

impl NatsServer {
    /// Starts one and waits until it answers.
    pub async fn start() -> anyhow::Result<NatsServer> {
        let folder = TempDir::with_prefix("pelton-nats-")?;
        let path = folder.path();
        let config = path.join("nats.conf");
        let text = format!(
            "listen: \"127.0.0.1:-1\"\nports_file_dir: {path:?}\njetstream {{ store_dir: {:?} }}\n",
            path.join("store")
        );
        fs::write(&config, text)?;
        let mut command = Command::new(nats_server()?);
        command.arg("--config").arg(&config);
        let mut process = Process::start(&mut command, "nats-server", path)?;
        let ports = path.join(format!("nats-server_{}.ports", process.id()));
        let url = answering(&mut process, &ports).await?;
        Ok(NatsServer { _process: process, _folder: folder, url })
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// Found on `PATH`, or fetched once.
fn nats_server() -> anyhow::Result<PathBuf> {
    let script = root().join("scripts/setup-nats");
    let found = Command::new(&script).stderr(Stdio::inherit()).output();
    let found = found.with_context(|| format!("run {}", script.display()))?;
    ensure!(found.status.success(), "there is no nats-server: see the message above");
    Ok(PathBuf::from(String::from_utf8(found.stdout)?.trim()))
}

async fn answering(server: &mut Process, ports: &Path) -> anyhow::Result<String> {
    let deadline = Instant::now() + SERVER_START;
    loop {
        if let Some(address) = address(ports)
            && TcpStream::connect(&address).await.is_ok()
        {
            return Ok(format!("nats://{address}"));
        }
        server.check()?;
        ensure!(Instant::now() < deadline, "nats-server does not answer within {SERVER_START:?}");
        sleep(LOOK).await;
    }
}

/// The address in a file that nats-server has written when it is ready.
fn address(ports: &Path) -> Option<String> {
    let ports: serde_json::Value = serde_json::from_slice(&fs::read(ports).ok()?).ok()?;
    let url = ports.get("nats")?.get(0)?.as_str()?;
    Some(url.strip_prefix("nats://")?.to_owned())
}
