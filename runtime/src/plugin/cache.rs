//! Compiled components on disk, so that a start takes milliseconds.
//!
//! A compiled component is machine code that we run unchecked: only files that
//! this user wrote, in a folder that only this user can write to, and that are
//! complete and unchanged, are ever loaded. Anything else is compiled anew.

use std::{
    fs::{self, DirBuilder, File, Metadata},
    hash::{Hash, Hasher},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use sha2::{Digest as _, Sha256};

/// All files together; those not used for longest go first.
const MOST_BYTES: u64 = 2 << 30;

/// Ends each file: the digest of what stands before it.
const TRAILER: usize = 32;

/// A folder of compiled components.
pub(super) struct Cache {
    folder: PathBuf,
    /// What the engine's version and settings come to.
    engine: Vec<u8>,
}

impl Cache {
    /// Opens or makes the folder. `None`, with a warning, when it cannot be
    /// trusted or made: everything works without it, only starts are slower.
    pub(super) fn open(folder: Option<PathBuf>, engine: &wasmtime::Engine) -> Option<Cache> {
        let Some(folder) = folder.or_else(user_folder) else {
            tracing::warn!("no home folder: compiled components are not kept; set host.cache");
            return None;
        };
        match prepare(&folder) {
            Ok(()) => Some(Cache { folder, engine: fingerprint(engine) }),
            Err(reason) => {
                let folder = folder.display();
                tracing::warn!(%folder, reason, "cache not used: components are compiled at every start");
                None
            }
        }
    }

    /// The compiled form of the component with this digest, if it is here and sound.
    pub(super) fn get(&self, digest: &str) -> Option<Vec<u8>> {
        let path = self.path(digest);
        match read(&path) {
            Ok(code) => Some(code),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cached component not used: compiling it anew");
                None
            }
        }
    }

    /// Keeps the compiled form. What goes wrong is only logged.
    pub(super) fn put(&self, digest: &str, code: &[u8]) {
        let path = self.path(digest);
        if let Err(error) = self.write(&path, code).and_then(|()| self.prune()) {
            tracing::warn!(path = %path.display(), %error, "compiled component not kept");
        }
    }

    fn path(&self, digest: &str) -> PathBuf {
        let mut key = Sha256::new();
        key.update(b"pelton/cache/2\0");
        key.update(digest.as_bytes());
        key.update(b"\0");
        key.update(&self.engine);
        self.folder.join(format!("{:x}.cwasm", key.finalize()))
    }

    /// Writes beside and renames: a reader sees a whole file or none.
    fn write(&self, path: &Path, code: &[u8]) -> io::Result<()> {
        let mut file = tempfile::Builder::new().prefix("compiling-").tempfile_in(&self.folder)?;
        file.write_all(code)?;
        file.write_all(&Sha256::digest(code))?;
        file.persist(path).map(drop).map_err(|error| error.error)
    }

    fn prune(&self) -> io::Result<()> {
        let mut files: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.folder)?.flatten() {
            if let Ok(about) = entry.metadata() {
                files.push((about.modified()?, about.len(), entry.path()));
            }
        }
        files.sort_unstable_by(|a, b| b.cmp(a));
        let mut total = 0;
        for (_, size, path) in files {
            total += size;
            if total > MOST_BYTES {
                // Another host may have removed it.
                fs::remove_file(path).or_else(unless_gone)?;
            }
        }
        Ok(())
    }
}

fn unless_gone(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    }
}

fn user_folder() -> Option<PathBuf> {
    directories::ProjectDirs::from("", "", "pelton").map(|dirs| dirs.cache_dir().to_owned())
}

fn prepare(folder: &Path) -> Result<(), String> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| error.to_string())?;
    let about = fs::metadata(folder).map_err(|error| error.to_string())?;
    if !ours(&about) {
        return Err("it belongs to another user: choose another folder (host.cache)".to_owned());
    }
    match about.mode() & 0o077 {
        0 => Ok(()),
        _ => {
            Err("others have access to it: chmod 700, or choose another folder (host.cache)"
                .to_owned())
        }
    }
}

/// The code of a file that is ours, whole and unchanged.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let about = file.metadata()?;
    if !about.is_file() || !ours(&about) || about.mode() & 0o022 != 0 {
        return Err(io::Error::other("another user can write to it"));
    }
    let mut code = Vec::with_capacity(usize::try_from(about.len()).unwrap_or(0));
    file.read_to_end(&mut code)?;
    let trailer = code.split_off(code.len().saturating_sub(TRAILER));
    if Sha256::digest(&code).as_slice() != trailer {
        return Err(io::Error::other("it is damaged"));
    }
    // Says that it is in use; without that it is only removed earlier.
    file.set_modified(SystemTime::now())
        .unwrap_or_else(|error| tracing::debug!(%error, "not touched"));
    Ok(code)
}

fn ours(about: &Metadata) -> bool {
    about.uid() == rustix::process::geteuid().as_raw()
}

/// What of the engine decides whether compiled code fits it, as bytes.
fn fingerprint(engine: &wasmtime::Engine) -> Vec<u8> {
    struct Collect(Sha256);
    impl Hasher for Collect {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut collect = Collect(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut collect);
    collect.0.finalize().to_vec()
}
