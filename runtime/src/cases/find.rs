//! From paths to test files.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use super::file::ENDING;
use crate::manifest::FILE_NAME;

/// How deep folders are looked through.
const MAX_DEPTH: usize = 16;
/// Folders with what was built or fetched.
const PASSED_OVER: [&str; 4] = ["target", "node_modules", "build", "__pycache__"];

/// Why there are no files.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// A path is not there, or cannot be read.
    #[error("`{path}`: {error}")]
    Unreadable {
        /// The path.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A path is a file of another kind.
    #[error("`{0}` is not a test file: its name does not end in `{ENDING}`")]
    NotTests(PathBuf),
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Test files, in the order of their names, each once.
    pub files: Vec<PathBuf>,
    /// The folders that were looked through.
    pub folders: Vec<PathBuf>,
}

/// The test files at `paths`: files, folders with all folders in them, or the
/// manifest beside which they are.
///
/// # Errors
/// If a path is not there or is neither of these.
pub fn find(paths: &[PathBuf]) -> Result<Found, FindError> {
    let (mut files, mut folders) = (BTreeSet::new(), BTreeSet::new());
    for path in paths {
        let unreadable = |error| FindError::Unreadable { path: path.clone(), error };
        let metadata = fs::metadata(path).map_err(unreadable)?;
        if metadata.is_dir() {
            walk(path, MAX_DEPTH, &mut files, &mut folders).map_err(unreadable)?;
        } else if is_test_file(path) {
            files.insert(path.clone());
        } else if path.file_name().is_some_and(|name| name == FILE_NAME) {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new("."));
            walk(folder, 0, &mut files, &mut folders).map_err(unreadable)?;
        } else {
            return Err(FindError::NotTests(path.clone()));
        }
    }
    Ok(Found { files: files.into_iter().collect(), folders: folders.into_iter().collect() })
}

fn walk(
    folder: &Path,
    depth: usize,
    files: &mut BTreeSet<PathBuf>,
    folders: &mut BTreeSet<PathBuf>,
) -> io::Result<()> {
    folders.insert(folder.to_owned());
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let path = match folder == Path::new(".") {
            true => PathBuf::from(entry.file_name()),
            false => entry.path(),
        };
        // Links to folders are not followed: they may lead in a circle.
        let kind = entry.file_type()?;
        if kind.is_dir() {
            let is_ours = !name.starts_with('.') && !PASSED_OVER.contains(&&*name);
            if is_ours && depth > 0 {
                // What may not be looked into has no tests for this user.
                walk(&path, depth - 1, files, folders).ok();
            }
        } else if is_test_file(&path) {
            files.insert(path);
        }
    }
    Ok(())
}

fn is_test_file(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    name.is_some_and(|name| name.ends_with(ENDING) && name.len() > ENDING.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_files_are_found_by_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in
            ["a.test.toml", "pelton.toml", "in/b.test.toml", "target/c.test.toml", ".d/e.test.toml"]
        {
            fs::create_dir_all(at(name).parent().unwrap()).unwrap();
            fs::write(at(name), "").unwrap();
        }
        let all = [at("a.test.toml"), at("in/b.test.toml")];
        assert_eq!(find(&[folder.path().to_owned()]).unwrap().files, all);
        assert_eq!(find(&[at("pelton.toml"), at("a.test.toml")]).unwrap().files, all[..1]);
        assert!(matches!(find(&[at("none")]), Err(FindError::Unreadable { .. })));
        fs::write(at("x.toml"), "").unwrap();
        assert!(matches!(find(&[at("x.toml")]), Err(FindError::NotTests(_))));
    }
}
