//! The files that a component is made of: which they are, for fingerprints and
//! for whoever watches them. Reads no contents.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::{File, Metadata},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Component, Path, PathBuf},
    sync::LazyLock,
};

use globset::{GlobBuilder, GlobMatcher};
use walkdir::{DirEntry, WalkDir};

use super::BuildError;
use crate::manifest;

/// The most files that one component may be made of.
const MOST_FILES: usize = 20_000;
/// Folders that hold what tools make or fetch; hidden ones do, too.
const MADE: [&str; 7] =
    ["target", "node_modules", "venv", "__pycache__", "dist", "build", "zig-out"];

/// The files, by device and inode, that this process prints into: with
/// `pelton dev >dev.log` each line would call for a build, which prints the next.
static PRINTED: LazyLock<Vec<(u64, u64)>> = LazyLock::new(|| {
    let (stdout, stderr) = (std::io::stdout(), std::io::stderr());
    [stdout.as_fd(), stderr.as_fd()].into_iter().filter_map(file_behind).collect()
});

/// What one plugin is made of.
#[derive(Debug, Clone)]
pub struct Sources {
    parts: Vec<Part>,
    component: PathBuf,
}

/// What is below a folder: all of it, or what a glob matches.
#[derive(Debug, Clone)]
struct Part {
    folder: PathBuf,
    glob: Option<GlobMatcher>,
}

impl Sources {
    pub(super) fn of(build: &manifest::Build, component: &Path) -> Sources {
        let parts = match build.watch.as_slice() {
            [] => vec![Part { folder: absolute(&build.source), glob: None }],
            globs => globs.iter().filter_map(|glob| Part::of(&build.source, glob)).collect(),
        };
        Sources { parts, component: absolute(component) }
    }

    /// The folders that have to be watched, with all below them.
    pub fn folders(&self) -> impl Iterator<Item = &Path> {
        self.parts.iter().map(|part| part.folder.as_path())
    }

    /// Whether a change of the file at `path`, which is absolute, calls for a build.
    pub fn contains(&self, path: &Path) -> bool {
        path != self.component
            && self.parts.iter().any(|part| part.contains(path))
            && !is_printed_into(path)
    }

    /// All files that are there, in order.
    ///
    /// # Errors
    /// If a folder cannot be read, or there are too many files.
    pub fn files(&self) -> Result<BTreeSet<PathBuf>, BuildError> {
        let mut files = BTreeSet::new();
        for part in &self.parts {
            let walk = WalkDir::new(&part.folder).into_iter();
            for entry in walk.filter_entry(|entry| part.enters(entry)) {
                let entry =
                    entry.map_err(|error| super::file("read", &part.folder, error.into()))?;
                if !entry.file_type().is_dir() && self.contains(entry.path()) {
                    files.insert(entry.into_path());
                }
                if files.len() > MOST_FILES {
                    return Err(BuildError::Sources(format!(
                        "there are more than {MOST_FILES} files in `{}`: name those that matter with `watch` in the plugin's `build` table",
                        part.folder.display()
                    )));
                }
            }
        }
        Ok(files)
    }
}

impl Part {
    /// A glob below `source`, or, with `..` in front, beside it.
    fn of(source: &Path, glob: &str) -> Option<Part> {
        let is_plain = |part: &&str| !part.contains(['*', '?', '[', '{']);
        let pieces: Vec<_> = glob.split('/').collect();
        // The last piece names files, so it belongs to the glob in any case.
        let n_folders = pieces.len().saturating_sub(1);
        let folders: Vec<_> = pieces.iter().take(n_folders).take_while(|p| is_plain(p)).collect();
        let rest = pieces.get(folders.len()..)?.join("/");
        let folder = folders.iter().fold(source.to_owned(), |path, piece| path.join(piece));
        let glob = GlobBuilder::new(&rest).literal_separator(true).build().ok()?;
        Some(Part { folder: absolute(&folder), glob: Some(glob.compile_matcher()) })
    }

    fn contains(&self, path: &Path) -> bool {
        let Ok(below) = path.strip_prefix(&self.folder) else { return false };
        match &self.glob {
            Some(glob) => glob.is_match(below),
            None => {
                let folders = below.parent().into_iter().flat_map(Path::components);
                !folders.map(Component::as_os_str).any(is_made)
                    && below.extension() != Some(OsStr::new("wasm"))
                    && !is_hidden(below.file_name().unwrap_or_default())
                    && !is_about(below.file_name().unwrap_or_default())
            }
        }
    }

    /// Whether it is worth looking into a folder.
    fn enters(&self, entry: &DirEntry) -> bool {
        let is_wanted = self.glob.is_some() || entry.depth() == 0 || !is_made(entry.file_name());
        !entry.file_type().is_dir() || is_wanted
    }
}

fn is_made(name: &OsStr) -> bool {
    is_hidden(name) || MADE.iter().any(|made| name == OsStr::new(made))
}

/// Manifests and test cases say what is done with a component, not what it is.
fn is_about(name: &OsStr) -> bool {
    name == OsStr::new(manifest::FILE_NAME) || name.as_encoded_bytes().ends_with(b".test.toml")
}

fn is_printed_into(path: &Path) -> bool {
    let is_ours = |it: Metadata| PRINTED.contains(&(it.dev(), it.ino()));
    !PRINTED.is_empty() && path.metadata().is_ok_and(is_ours)
}

/// Which file a stream is, if it is neither a terminal nor a pipe.
fn file_behind(stream: BorrowedFd<'_>) -> Option<(u64, u64)> {
    let metadata = File::from(stream.try_clone_to_owned().ok()?).metadata().ok()?;
    metadata.is_file().then(|| (metadata.dev(), metadata.ino()))
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

/// The absolute path, with `.` and `..` taken out.
fn absolute(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or(path.to_owned());
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            part => plain.push(part),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(folder: &Path, watch: &[&str]) -> Sources {
        let build = manifest::Build {
            source: folder.to_owned(),
            language: None,
            command: None,
            watch: watch.iter().map(|glob| (*glob).to_owned()).collect(),
        };
        Sources::of(&build, &folder.join("out/x.bin"))
    }

    fn with_files(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, name).unwrap();
        }
        folder
    }

    fn found(folder: &Path, sources: &Sources) -> Vec<String> {
        let name = |path: PathBuf| path.strip_prefix(folder).unwrap().display().to_string();
        sources.files().unwrap().into_iter().map(name).collect()
    }

    #[test]
    fn what_tools_make_is_no_source() {
        let folder = with_files(&[
            "app.py",
            "lib/a.py",
            "lib/__pycache__/a.pyc",
            "target/x",
            ".venv/bin/y",
            "a.wasm",
            "node_modules/m/index.js",
            ".hidden",
            "out/x.bin",
            "pelton.toml",
            "app.test.toml",
            "wit/events.wit",
        ]);
        let sources = sources(folder.path(), &[]);
        assert_eq!(found(folder.path(), &sources), ["app.py", "lib/a.py", "wit/events.wit"]);
        assert!(!sources.contains(&folder.path().join("target/debug/x")));
        assert!(sources.contains(&folder.path().join("lib/new.py")));
    }

    #[test]
    fn globs_name_sources_also_beside_the_folder() {
        let folder =
            with_files(&["p/src/a.zig", "p/src/deep/b.zig", "p/README.md", "common/c.zig"]);
        let sources = sources(&folder.path().join("p"), &["src/**/*.zig", "../common/*.zig"]);
        assert_eq!(
            found(folder.path(), &sources),
            ["common/c.zig", "p/src/a.zig", "p/src/deep/b.zig"]
        );
        assert!(!sources.contains(&folder.path().join("p/README.md")));
    }
}
