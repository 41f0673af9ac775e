//! The tools of other languages: where they are, which version they have, and
//! what to do about one that is missing. Runs nothing but `--version`.

use std::{
    env, fmt,
    path::{Path, PathBuf},
};

use super::command::Command;

/// A tool that is missing, or of a version that will not do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct MissingTool {
    /// The tool, with what is needed of it: `Go 1.25 or newer`.
    pub wanted: String,
    /// What was found in its place, with its version.
    pub found: Option<String>,
    /// One command that gets it, or where to get it.
    pub remedy: String,
}

impl fmt::Display for MissingTool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MissingTool { wanted, found, remedy } = self;
        match found {
            Some(found) => write!(f, "{wanted} is needed, and {found} is here: {remedy}"),
            None => write!(f, "{wanted} is needed, and not here: {remedy}"),
        }
    }
}

/// Where tools of one project are looked for.
#[derive(Debug, Clone)]
pub struct Toolbox {
    /// The source folder and the manifest's, with `.venv` and `node_modules`.
    folders: Vec<PathBuf>,
}

impl Toolbox {
    /// That of the sources in `source`, with the manifest in `base`.
    pub fn new(source: &Path, base: &Path) -> Toolbox {
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or(path.to_owned());
        let (source, base) = (absolute(source), absolute(base));
        // From the sources up to the manifest, if they are below it.
        let mut folders: Vec<_> = match source.starts_with(&base) {
            true => source
                .ancestors()
                .take_while(|folder| folder.starts_with(&base))
                .map(Path::to_owned)
                .collect(),
            false => vec![source, base],
        };
        folders.dedup();
        Toolbox { folders }
    }

    /// The nearest folder with a `.venv`.
    pub fn virtual_environment(&self) -> Option<PathBuf> {
        let all = self.folders.iter().map(|folder| folder.join(".venv"));
        all.into_iter().find(|folder| folder.join("bin").is_dir())
    }

    /// A program of the project's `.venv`, else of PATH.
    pub fn find(&self, name: &str) -> Option<PathBuf> {
        self.in_environment(name).or_else(|| on_path(name))
    }

    /// A program of the project's `.venv`.
    pub fn in_environment(&self, name: &str) -> Option<PathBuf> {
        let all = self.folders.iter().map(|folder| folder.join(".venv/bin").join(name));
        all.into_iter().find(|path| path.is_file())
    }

    /// The nearest file or folder of this name.
    pub fn nearest(&self, name: &str) -> Option<PathBuf> {
        self.folders.iter().map(|folder| folder.join(name)).find(|path| path.exists())
    }
}

/// A program on PATH.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(name)).find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

/// What `program argument` prints first that looks like a version: `1.25.3`.
pub async fn version(program: &Path, argument: &str, folder: &Path) -> Option<String> {
    let text = Command::new(program, folder).arg(argument).ask().await?;
    find_version(&text)
}

fn find_version(text: &str) -> Option<String> {
    let words = text.split(|c: char| !(c.is_ascii_digit() || c == '.'));
    let is_version = |word: &&str| {
        word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.') && !word.ends_with('.')
    };
    words.into_iter().find(is_version).map(str::to_owned)
}

/// Whether `version` is at least `wanted`, compared as numbers.
pub fn is_at_least(version: &str, wanted: &[u32]) -> bool {
    let numbers = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    numbers.collect::<Vec<_>>().as_slice() >= wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_tools_print() {
        for (text, version) in [
            ("go version go1.27.3 linux/amd64\n", "1.27.3"),
            ("rustc 1.95.0 (59807616e 2026-04-14)", "1.95.0"),
            ("v20.20.2", "20.20.2"),
            ("Debian clang version 19.1.7 (3+b1)", "19.1.7"),
            ("componentize-py 0.25.1", "0.25.1"),
        ] {
            assert_eq!(find_version(text).as_deref(), Some(version));
        }
        assert_eq!(find_version("no version. at all"), None);
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(is_at_least("1.25", &[1, 25]));
        assert!(is_at_least("1.100.3", &[1, 25]));
        assert!(!is_at_least("1.19.8", &[1, 25]));
        assert!(is_at_least("2.0", &[1, 25]));
    }

    #[test]
    fn a_toolbox_reaches_from_the_sources_up_to_the_manifest() {
        let folder = tempfile::tempdir().unwrap();
        let (base, source) = (folder.path().join("p"), folder.path().join("p/a/b"));
        std::fs::create_dir_all(base.join(".venv/bin")).unwrap();
        std::fs::create_dir_all(&source).unwrap();
        std::fs::create_dir_all(folder.path().join(".venv/bin")).unwrap();
        let toolbox = Toolbox::new(&source, &base);
        assert_eq!(toolbox.virtual_environment(), Some(base.join(".venv")));
        std::fs::remove_dir_all(base.join(".venv")).unwrap();
        assert_eq!(toolbox.virtual_environment(), None);
    }
}
