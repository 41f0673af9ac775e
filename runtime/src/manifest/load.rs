//! From a path to a manifest: finding the file, and reading it as text.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use super::{
    Manifest, Problem, Problems,
    check::{self, CheckComponent, Surroundings, Unusable, server_url},
    environment::Environment,
    raw,
    reader::{self, Report},
    source::{Source, Target},
};

/// The name of a manifest in a folder.
pub const FILE_NAME: &str = "pelton.toml";
/// The largest manifest, in bytes.
const MAX_BYTES: u64 = 1 << 20;

impl Manifest {
    /// Reads and checks the manifest at `path`, or `pelton.toml` in it if it is
    /// a folder. Relative paths in it begin at its own folder.
    ///
    /// `check_component` is called once for each component file and says what
    /// is wrong with it.
    ///
    /// # Errors
    /// Everything that is wrong, as far as it can be known without a server.
    pub fn load(
        path: &Path,
        environment: &Environment,
        check_component: impl Fn(&Path) -> Result<(), Unusable>,
    ) -> Result<Manifest, Problems> {
        Manifest::load_with(path, environment, (&check_component, true))
    }

    /// As [`Manifest::load`], but the components need not be there yet, and are
    /// not looked at.
    ///
    /// # Errors
    /// As [`Manifest::load`].
    pub fn load_unbuilt(path: &Path, environment: &Environment) -> Result<Manifest, Problems> {
        Manifest::load_with(path, environment, (&|_| Ok(()), false))
    }

    fn load_with(
        path: &Path,
        environment: &Environment,
        (check_component, needs_components): (CheckComponent<'_>, bool),
    ) -> Result<Manifest, Problems> {
        let path = file(path);
        let name = path.display().to_string();
        let bytes = read(&path).map_err(|problem| alone(&name, problem))?;
        let base = path.parent().map(Path::to_owned).unwrap_or_default();
        Manifest::parse(
            &bytes,
            &name,
            &Surroundings { base: &base, environment, check_component, needs_components },
        )
    }

    /// Checks the manifest `bytes`; `name` is what messages call it.
    ///
    /// # Errors
    /// As [`Manifest::load`].
    pub fn parse(
        bytes: &[u8],
        name: &str,
        surroundings: &Surroundings<'_>,
    ) -> Result<Manifest, Problems> {
        let text = decode(bytes, name)?;
        let mut source = Source::new(name, text);
        let document = match reader::parse(text, &mut source) {
            Ok(document) => document,
            Err(problem) => return Err(Problems::of(&source, vec![problem])),
        };
        let mut report = Report::default();
        let document = raw::Document::read(&document, &mut report);
        let manifest = check::manifest(document, &source, surroundings, &mut report);
        match report.into_problems() {
            problems if problems.is_empty() => Ok(manifest),
            problems => Err(Problems::of(&source, problems)),
        }
    }

    /// Replaces the servers, for a flag or variable that names them; several
    /// are separated by commas.
    ///
    /// # Errors
    /// What is wrong with a URL, and the remedy. Nothing is replaced then.
    pub fn override_url(&mut self, urls: &str) -> Result<(), String> {
        let urls = urls.split(',').map(|url| server_url(url.trim()));
        let urls = urls.collect::<Result<Vec<_>, _>>();
        self.nats.urls = urls.map_err(|(message, help)| format!("{message}: {help}"))?;
        Ok(())
    }

    /// A problem of the kind `code` at `key` (such as `streams.ORDERS.subjects`), found with the
    /// server's help; print it with [`Problems::new`].
    pub fn problem(
        &self,
        code: &'static str,
        key: &str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Problem {
        Problem::new(code, message).label(Target::Value(key.to_owned()), "").help(help)
    }
}

/// Where a manifest is that is named by its file or by its folder.
pub(super) fn file(path: &Path) -> PathBuf {
    if path.is_dir() { path.join(FILE_NAME) } else { path.to_owned() }
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    let metadata = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    if !metadata.is_file() {
        let message = format!("`{}` is not a file", path.display());
        let help = "a manifest is a plain file, or a folder with `pelton.toml` in it";
        return Err(Problem::new("manifest", message).help(help));
    }
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(|error| unreadable(path, &error))?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| unreadable(path, &error))?;
    Ok(bytes)
}

fn unreadable(path: &Path, error: &io::Error) -> Problem {
    let shown = path.display();
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            Problem::new("manifest", format!("there is no manifest at `{shown}`"))
                .help("name the file (`pelton run path/to/manifest.toml`) or its folder; without a name, `pelton.toml` in the working folder is used. `pelton new` makes a project with one")
        }
        io::ErrorKind::PermissionDenied => {
            Problem::new("manifest", format!("the manifest `{shown}` may not be read"))
                .help("give the user that runs pelton the right to read it")
        }
        _ => Problem::new("manifest", format!("the manifest `{shown}` cannot be read: {error}"))
            .help("make it readable, or name another file"),
    }
}

/// The text of a file, without a byte order mark.
pub(super) fn decode<'b>(bytes: &'b [u8], name: &str) -> Result<&'b str, Problems> {
    if bytes.len() as u64 > MAX_BYTES {
        let message = format!("the manifest `{name}` is larger than 1 MiB");
        let help = "is it the right file? Data for handlers belongs into files or streams";
        return Err(alone(name, Problem::new("too-large", message).help(help)));
    }
    let text =
        std::str::from_utf8(bytes).map_err(|error| not_utf8(bytes, name, error.valid_up_to()))?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

fn not_utf8(bytes: &[u8], name: &str, offset: usize) -> Problems {
    let text = String::from_utf8_lossy(bytes.get(..offset).unwrap_or_default());
    let line = text.matches('\n').count() + 1;
    let byte = bytes.get(offset).copied().unwrap_or_default();
    let message =
        format!("the manifest `{name}` is not UTF-8: byte {offset} (0x{byte:02x}), in line {line}");
    alone(name, Problem::new("not-utf8", message).help("save the file as UTF-8"))
}

/// A problem with a file that has no text to show.
pub(super) fn alone(name: &str, problem: Problem) -> Problems {
    Problems::of(&Source::new(name, ""), vec![problem])
}

/// The path that is used when the user names none.
pub fn default_path() -> PathBuf {
    PathBuf::from(FILE_NAME)
}
