//! Where results go: the folder for what is made on the way, its lock, and the
//! component, which is replaced as a whole and only by one that is a handler.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::Duration,
};

use tempfile::NamedTempFile;
use tokio_util::sync::CancellationToken;

use super::{BuildError, Built, Freshness, Job, Made, blocking, file};
use crate::plugin::{self, Inspection};

/// How often it is tried to get a lock that another build has.
const AGAIN: Duration = Duration::from_millis(100);

/// Makes the folder for intermediate results, which git does not see.
pub fn make_work_folder(folder: &Path) -> Result<(), BuildError> {
    fs::create_dir_all(folder).map_err(|error| file("make the folder", folder, error))?;
    write_if_other(&folder.join(".gitignore"), b"*\n")
}

/// Waits until no other build works in `folder`, and says so; the lock ends with the
/// file.
pub async fn lock(
    folder: &Path,
    stop: &CancellationToken,
    say: impl Fn(&str),
) -> Result<File, BuildError> {
    let path = folder.join("lock");
    let lock = File::create(&path).map_err(|error| file("write", &path, error))?;
    let mut is_said = false;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(file("lock", &path, error)),
        }
        if !std::mem::replace(&mut is_said, true) {
            say("waiting for another build of the same sources");
        }
        tokio::select! {
            () = tokio::time::sleep(AGAIN) => {}
            () = stop.cancelled() => return Err(BuildError::Stopped),
        }
    }
}

/// Writes a file, with the folders above it, unless it has this content already.
pub fn write_if_other(path: &Path, content: &[u8]) -> Result<(), BuildError> {
    if fs::read(path).is_ok_and(|there| there == content) {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(|error| file("make the folder", folder, error))?;
    fs::write(path, content).map_err(|error| file("write", path, error))
}

/// Puts a component in its place, if it is a handler; else what was there stays.
pub async fn put(job: &Job, made: Made, freshness: Freshness) -> Result<Built, BuildError> {
    let path = job.component.clone();
    blocking(move || {
        if fs::read(&path).is_ok_and(|there| there == made.bytes) {
            let inspection = examine(&path, &path)?;
            let freshness = Freshness::UpToDate;
            return Ok(Built { freshness, inspection, warnings: made.warnings });
        }
        let cannot = |error| file("write", &path, error);
        let beside = write_beside(&path, &made.bytes).map_err(cannot)?;
        let inspection = examine(beside.path(), &path)?;
        beside.persist(&path).map_err(|error| cannot(error.error))?;
        Ok(Built { freshness, inspection, warnings: made.warnings })
    })
    .await
}

/// Writes a file that is to take the place of `path`.
pub fn write_beside(path: &Path, bytes: &[u8]) -> io::Result<NamedTempFile> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut builder = tempfile::Builder::new();
    let builder = builder.prefix(".").suffix(".wasm");
    // As any new file: the user's mask takes away what is too much.
    let builder = builder.permissions(fs::Permissions::from_mode(0o666));
    let mut beside = builder.tempfile_in(folder)?;
    beside.write_all(bytes)?;
    Ok(beside)
}

/// Looks at a component that is in its place already.
pub async fn checked(
    path: &Path,
    freshness: Freshness,
    warnings: String,
) -> Result<Built, BuildError> {
    let path = path.to_owned();
    blocking(move || {
        let inspection = examine(&path, &path)?;
        Ok(Built { freshness, inspection, warnings })
    })
    .await
}

/// Holds a component against the contract; messages call it `name`.
fn examine(path: &Path, name: &Path) -> Result<Inspection, BuildError> {
    let called = |text: String| {
        let (found, meant) = (path.display().to_string(), name.display().to_string());
        BuildError::Contract(text.replace(&found, &meant))
    };
    plugin::check_component(path).map_err(|error| called(error.to_string()))?;
    plugin::inspect(path).map_err(|error| called(error.to_string()))
}
