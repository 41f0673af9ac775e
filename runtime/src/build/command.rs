//! One command of a compiler: run in a process group of its own, its words kept
//! as they are, stopped as a whole. Knows no language.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{io::AsyncReadExt as _, net::unix::pipe, process::Child, time::timeout};

use super::{BuildError, Context, Job, Progress};

/// The most that is kept of what a compiler prints, in bytes.
const MOST_OUTPUT: usize = 4 << 20;
/// How long a compiler may take to stop when it is asked to.
const STOP_GRACE: Duration = Duration::from_secs(3);
/// How long output is awaited that a process left behind may still write.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// How long a tool may take to say its version.
const QUERY: Duration = Duration::from_secs(60);

/// A compiler ended without doing its work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{command}` failed: {status}")]
pub struct Refusal {
    /// The command, as it could be typed.
    pub command: String,
    /// How it ended, such as `exit status: 1`.
    pub status: String,
    /// What it printed, unchanged.
    pub output: String,
}

/// A command that is to be run.
#[derive(Debug, Clone)]
pub struct Command {
    program: PathBuf,
    arguments: Vec<OsString>,
    folder: PathBuf,
    /// `None`: the variable is removed.
    variables: BTreeMap<String, Option<OsString>>,
    /// Folders that are searched before those of PATH.
    front: Vec<PathBuf>,
}

impl Command {
    /// `program`, to be run in `folder`.
    pub fn new(program: impl Into<PathBuf>, folder: &Path) -> Command {
        Command {
            program: program.into(),
            arguments: Vec::new(),
            folder: folder.to_owned(),
            variables: BTreeMap::new(),
            front: Vec::new(),
        }
    }

    /// With one more argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Command {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// With more arguments.
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        self.arguments.extend(arguments.into_iter().map(|word| word.as_ref().to_owned()));
        self
    }

    /// With a variable.
    pub fn set(mut self, name: &str, value: impl AsRef<OsStr>) -> Command {
        self.variables.insert(name.to_owned(), Some(value.as_ref().to_owned()));
        self
    }

    /// Without some variables.
    pub fn without(mut self, names: &[&str]) -> Command {
        self.variables.extend(names.iter().map(|name| ((*name).to_owned(), None)));
        self
    }

    /// With a folder at the front of PATH.
    pub fn with_path(mut self, folder: impl Into<PathBuf>) -> Command {
        self.front.push(folder.into());
        self
    }

    /// The command as one could type it.
    pub fn shown(&self) -> String {
        let words = std::iter::once(self.program.as_os_str())
            .chain(self.arguments.iter().map(OsString::as_os_str));
        words.map(|word| quoted(&word.to_string_lossy())).collect::<Vec<_>>().join(" ")
    }

    /// Runs it and returns what it printed; for questions that take a moment.
    pub async fn ask(&self) -> Option<String> {
        let mut command = self.prepared();
        command.kill_on_drop(true).stderr(Stdio::null());
        let output = timeout(QUERY, command.output()).await.ok()?.ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn prepared(&self) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.program);
        command.args(&self.arguments).current_dir(&self.folder).stdin(Stdio::null());
        for (name, value) in &self.variables {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if !self.front.is_empty() {
            let rest = std::env::var_os("PATH").unwrap_or_default();
            let rest = std::env::split_paths(&rest).collect::<Vec<_>>();
            // A folder with a colon in its name cannot be in PATH at all.
            if let Ok(path) = std::env::join_paths(self.front.iter().chain(&rest)) {
                command.env("PATH", path);
            }
        }
        command
    }
}

/// A word as a shell would need it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@+%".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

impl Context<'_> {
    /// Runs a compiler to its end and returns what it printed.
    pub(super) async fn run(&self, job: &Job, command: Command) -> Result<String, BuildError> {
        self.step(job, &command.shown());
        let command = match self.options.colour {
            true => command.set("CLICOLOR_FORCE", "1").set("FORCE_COLOR", "1"),
            false => command,
        };
        let (status, output) = self.watch(job, &command).await?;
        match status.success() {
            true => Ok(output),
            false => {
                let status = status.to_string();
                Err(Refusal { command: command.shown(), status, output }.into())
            }
        }
    }

    async fn watch(
        &self,
        job: &Job,
        command: &Command,
    ) -> Result<(ExitStatus, String), BuildError> {
        let cannot = |source| super::file("run", &command.program, source);
        let (reading, writing) = io::pipe().map_err(cannot)?;
        let mut prepared = command.prepared();
        prepared.stdout(writing.try_clone().map_err(cannot)?).stderr(writing);
        // A group of its own: Ctrl-C of a terminal reaches only us, and we stop
        // the compiler with all that it has started.
        let child = prepared.process_group(0).spawn().map_err(cannot)?;
        drop(prepared);
        let mut reading = pipe::Receiver::from_owned_fd(OwnedFd::from(reading)).map_err(cannot)?;
        let mut group = Group::of(child);
        let mut output = Output::default();
        let finished = tokio::select! {
            status = output.follow(&mut reading, &mut group.child, |line| {
                (self.listener)(&job.plugin, Progress::Line(line));
            }) => Some(status.map_err(cannot)?),
            () = self.options.stop.cancelled() => None,
        };
        match finished {
            Some(status) => {
                group.is_done = true;
                Ok((status, output.text()))
            }
            None => {
                group.stop().await;
                Err(BuildError::Stopped)
            }
        }
    }
}

/// A child and all that it has started.
struct Group {
    child: Child,
    id: Option<Pid>,
    is_done: bool,
}

impl Group {
    fn of(child: Child) -> Group {
        let id = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        Group { child, id, is_done: false }
    }

    /// Asks for the end, and takes care of it after a while.
    async fn stop(mut self) {
        if let Some(id) = self.id {
            kill_process_group(id, Signal::TERM).ok();
        }
        // What is still there is killed when this is dropped.
        timeout(STOP_GRACE, self.child.wait()).await.ok();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(id) = self.id.filter(|_| !self.is_done) {
            kill_process_group(id, Signal::KILL).ok();
        }
    }
}

/// What a compiler prints, up to a limit.
#[derive(Default)]
struct Output {
    bytes: Vec<u8>,
    is_cut: bool,
}

impl Output {
    /// Reads until the child has ended and nothing more comes.
    async fn follow(
        &mut self,
        reading: &mut pipe::Receiver,
        child: &mut Child,
        tell: impl Fn(&str),
    ) -> io::Result<ExitStatus> {
        let mut buffer = vec![0; 16 << 10];
        let status = loop {
            tokio::select! {
                n_read = reading.read(&mut buffer) => match n_read? {
                    0 => break child.wait().await?,
                    n => self.take(buffer.get(..n).unwrap_or_default(), &tell),
                },
                status = child.wait() => break status?,
            }
        };
        // What it has started may live on with its output: not for long.
        while let Ok(Ok(n @ 1..)) = timeout(LAST_WORDS, reading.read(&mut buffer)).await {
            self.take(buffer.get(..n).unwrap_or_default(), &tell);
        }
        Ok(status)
    }

    fn take(&mut self, bytes: &[u8], tell: &impl Fn(&str)) {
        let room = MOST_OUTPUT.saturating_sub(self.bytes.len());
        self.is_cut |= bytes.len() > room;
        self.bytes.extend_from_slice(bytes.get(..bytes.len().min(room)).unwrap_or_default());
        let text = String::from_utf8_lossy(bytes);
        if let Some(line) = text.lines().rev().map(str::trim).find(|line| !line.is_empty()) {
            tell(line);
        }
    }

    fn text(&self) -> String {
        let mut text = String::from_utf8_lossy(&self.bytes).into_owned();
        if self.is_cut {
            text.push_str("\n(more than 4 MiB: the rest is left out)\n");
        }
        text
    }
}
