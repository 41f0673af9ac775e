//! Where a new project goes: a folder that is not there yet, or an empty one. All
//! of the project is put there, or nothing. Knows no templates.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::NewError;

/// How the folder begins that the project is written to first.
const UNFINISHED: &str = ".pelton-new-";

/// A folder that is to be made or filled. Until it [is](Site::settle), nothing is
/// there; if it never is, nothing is left.
pub(super) struct Site {
    /// As it was named, for messages.
    named: PathBuf,
    folder: PathBuf,
    /// Whether the folder was there: then it stays the same folder, which may be the
    /// one that a shell is in.
    was_there: bool,
    /// Folders that were made above it, the outermost first.
    above: Vec<PathBuf>,
    /// The project, until it is whole.
    unfinished: Option<TempDir>,
}

impl Site {
    /// Makes room for a project in `named`.
    ///
    /// # Errors
    /// If something is there already, or nothing can be made there.
    pub(super) fn prepare(named: &Path) -> Result<Site, NewError> {
        let was_there = named.is_dir();
        if (was_there && !is_empty(named)) || (!was_there && named.symlink_metadata().is_ok()) {
            return Err(NewError::Exists(named.to_owned()));
        }
        let mut site = Site {
            named: named.to_owned(),
            folder: named.to_owned(),
            was_there,
            above: Vec::new(),
            unfinished: None,
        };
        site.begin().map_err(|error| site.cannot("make the folder", error))?;
        Ok(site)
    }

    fn begin(&mut self) -> io::Result<()> {
        self.folder = std::path::absolute(&self.named)?;
        let outer = match self.was_there {
            true => self.folder.clone(),
            false => self.folder.parent().unwrap_or(Path::new("/")).to_owned(),
        };
        let missing = outer.ancestors().take_while(|folder| folder.symlink_metadata().is_err());
        self.above = missing.map(Path::to_owned).collect();
        self.above.reverse();
        if outer.exists() && !outer.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        fs::create_dir_all(&outer)?;
        let unfinished = tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(&outer);
        // The path is in the message already.
        self.unfinished = Some(unfinished.map_err(|error| io::Error::from(error.kind()))?);
        Ok(())
    }

    /// Where the project is written.
    pub(super) fn path(&self) -> &Path {
        self.unfinished.as_ref().map_or(self.folder.as_path(), TempDir::path)
    }

    /// Puts what was written in its place.
    ///
    /// # Errors
    /// If it cannot be put there, or something has come there meanwhile; then nothing
    /// of it is left.
    pub(super) fn settle(mut self) -> Result<(), NewError> {
        let Some(unfinished) = self.unfinished.take() else { return Ok(()) };
        match self.was_there {
            true => self.fill(unfinished.path())?,
            false => {
                let moved = share(unfinished.path())
                    .and_then(|()| fs::rename(unfinished.path(), &self.folder));
                moved.map_err(|error| self.cannot("make the folder", error))?;
                // It is not where it was, so there is nothing to remove.
                drop(unfinished.keep());
            }
        }
        self.above.clear();
        Ok(())
    }

    /// Moves all that is in `unfinished` one folder up.
    fn fill(&self, unfinished: &Path) -> Result<(), NewError> {
        let own = unfinished.file_name();
        if names(&self.folder)
            .map_err(|error| self.cannot("read", error))?
            .iter()
            .any(|name| Some(name.as_os_str()) != own)
        {
            return Err(NewError::Exists(self.named.clone()));
        }
        let mut moved: Vec<PathBuf> = Vec::new();
        let mut move_all = || -> io::Result<()> {
            for name in names(unfinished)? {
                fs::rename(unfinished.join(&name), self.folder.join(&name))?;
                moved.push(self.folder.join(name));
            }
            Ok(())
        };
        let outcome = move_all();
        outcome.map_err(|error| {
            moved.iter().for_each(|path| remove(path));
            self.cannot("fill the folder", error)
        })
    }

    fn cannot(&self, what: &'static str, error: io::Error) -> NewError {
        NewError::File { what, path: self.named.clone(), error }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        drop(self.unfinished.take());
        for folder in self.above.iter().rev() {
            // One that somebody else uses by now is not empty, and stays.
            fs::remove_dir(folder).ok();
        }
    }
}

fn names(folder: &Path) -> io::Result<Vec<OsString>> {
    fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.file_name())).collect()
}

fn is_empty(folder: &Path) -> bool {
    names(folder).is_ok_and(|names| names.is_empty())
}

fn remove(path: &Path) {
    if path.is_dir() {
        fs::remove_dir_all(path).ok()
    } else {
        fs::remove_file(path).ok()
    };
}

/// A temporary folder is its owner's alone; a project is as any other folder.
fn share(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let like = folder.join("wit").metadata()?.permissions().mode();
    fs::set_permissions(folder, fs::Permissions::from_mode(like))
}
