//! Notices when the manifest, one of its components or a file with a secret
//! changes on disk.
//!
//! A notification is only a hint to look: what counts is whether a file is
//! another than before. So editors that rename, links that are turned, other
//! files in the same folder, and file systems that tell nothing all work.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use pelton::manifest::Glimpse;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};

/// Files are looked at this often even if nothing is heard.
const TICK: Duration = Duration::from_secs(2);
/// So long nothing may change before a change is over.
const QUIET: Duration = Duration::from_millis(200);
/// A build that writes for longer than this, or a file that stays away for
/// longer, is not waited for: the reload says what is wrong.
const PATIENCE: Duration = Duration::from_secs(10);

/// The files of one manifest, and what they were like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot(Vec<(PathBuf, Option<Like>)>);

/// What makes a file another one: when it was written and changed, how large it
/// is, and which it is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Like {
    modified: (i64, i64),
    changed: (i64, i64),
    size: u64,
    node: (u64, u64),
}

/// Watches files.
pub struct Watch {
    seen: Snapshot,
    hints: mpsc::Receiver<()>,
    /// `None`: the system refuses; the files are looked at every [`TICK`].
    watcher: Option<RecommendedWatcher>,
    folders: BTreeSet<PathBuf>,
}

impl Snapshot {
    /// The files of the manifest at `path` as they are now. Of one that cannot
    /// be read, the manifest itself and the files of `before`.
    pub fn take(path: &Path, before: &Snapshot) -> Snapshot {
        let mut files: BTreeSet<PathBuf> = match Glimpse::of(path) {
            Ok(Glimpse { components, secrets, file, .. }) => {
                components.into_iter().chain(secrets).chain([file]).collect()
            }
            Err(_) => before.0.iter().map(|(file, _)| file.clone()).collect(),
        };
        if files.is_empty() {
            files.insert(path.to_owned());
        }
        Snapshot(files.into_iter().map(Snapshot::look).collect())
    }

    /// These files as they are now. Of a folder counts which files are in it.
    pub fn of(files: impl IntoIterator<Item = PathBuf>) -> Snapshot {
        let files: BTreeSet<PathBuf> = files.into_iter().collect();
        Snapshot(files.into_iter().map(Snapshot::look).collect())
    }

    /// The same, and those of `files` that are not among them, as they are now.
    pub fn with(mut self, files: impl IntoIterator<Item = PathBuf>) -> Snapshot {
        let known: BTreeSet<PathBuf> = self.0.iter().map(|(file, _)| file.clone()).collect();
        let more: BTreeSet<PathBuf> = files.into_iter().filter(|it| !known.contains(it)).collect();
        self.0.extend(more.into_iter().map(Snapshot::look));
        self
    }

    /// The same files as they are now.
    pub fn again(&self) -> Snapshot {
        Snapshot(self.0.iter().map(|(file, _)| Snapshot::look(file.clone())).collect())
    }

    fn look(file: PathBuf) -> (PathBuf, Option<Like>) {
        let like = fs::metadata(&file).ok().map(|about| Like {
            modified: (about.mtime(), about.mtime_nsec()),
            changed: (about.ctime(), about.ctime_nsec()),
            size: about.size(),
            node: (about.dev(), about.ino()),
        });
        (file, like)
    }

    /// Whether every file that was there in `before`, of the same files, still is. One
    /// that was not may never come.
    fn has_all_of(&self, before: &Snapshot) -> bool {
        let mut pairs = self.0.iter().zip(&before.0);
        pairs.all(|((_, now), (_, before))| now.is_some() || before.is_none())
    }
}

impl Watch {
    /// Begins to watch; what differs from `seen` by now is a change.
    pub fn start(seen: Snapshot) -> Watch {
        let (hint, hints) = mpsc::channel(1);
        // When a hint waits already, it stands for this one too.
        let watcher = notify::recommended_watcher(move |_| _ = hint.try_send(()));
        let watcher = watcher.inspect_err(|error| {
            tracing::warn!(%error, "the system does not tell of changes; looking every {TICK:?}");
        });
        let mut watch = Watch { seen, hints, watcher: watcher.ok(), folders: BTreeSet::new() };
        watch.listen();
        watch
    }

    /// Notes what the files are like, before they are loaded: what changes from
    /// here on is a change.
    pub fn about_to_load(&mut self, path: &Path) {
        self.seen = Snapshot::take(path, &self.seen);
        self.listen();
    }

    /// Watches the files of `seen` from now on; what differs from it is a change.
    pub fn follow(&mut self, seen: Snapshot) {
        self.seen = seen;
        self.listen();
    }

    /// Waits until a file has changed and all are quiet again. Cancel-safe.
    pub async fn changed(&mut self) {
        loop {
            let now = self.seen.again();
            if now != self.seen {
                quiet(now, &self.seen).await;
                return;
            }
            tokio::select! {
                Some(()) = self.hints.recv() => {}
                () = sleep(TICK) => self.listen(),
            }
        }
    }

    /// Folders are watched, not files: a file that is replaced is another one.
    fn listen(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        let files = self.seen.0.iter().map(|(file, _)| file.as_path());
        for folder in files.filter_map(Path::parent) {
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            if self.folders.contains(folder) {
                continue;
            }
            match watcher.watch(folder, RecursiveMode::NonRecursive) {
                Ok(()) => _ = self.folders.insert(folder.to_owned()),
                Err(error) => tracing::debug!(folder = %folder.display(), %error, "not watched"),
            }
        }
    }
}

/// Waits until the files have been the same for a while, and those of `seen` are
/// there.
async fn quiet(mut before: Snapshot, seen: &Snapshot) {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        sleep(QUIET).await;
        let now = before.again();
        if now == before && now.has_all_of(seen) {
            return;
        }
        before = now;
    }
}
