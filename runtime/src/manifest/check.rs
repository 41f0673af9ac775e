//! From what is written to what holds: defaults, files, secrets, and every
//! comparison of one value with another.
//!
//! Goes on after a problem with a default in place of the bad value; what
//! comes out is a valid manifest only if the report is empty.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use super::{
    Admin, DeadLetters, Host, Manifest, Stream, build, defaults,
    environment::Environment,
    problem::Problem,
    raw,
    reader::Report,
    source::{Source, Target, join},
    value::{Filter, Size, Time, spoken},
};

mod flow;
mod grants;
mod loops;
mod nats;
mod plugin;
mod wiring;

pub use nats::server_url;

/// The largest file that is read for a secret or a certificate, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// What a manifest is checked against, besides itself.
pub struct Surroundings<'a> {
    /// Where relative paths begin.
    pub base: &'a Path,
    /// Where secrets may be.
    pub environment: &'a Environment,
    /// Says what is wrong with a component.
    pub check_component: CheckComponent<'a>,
    /// Whether a component that is not there is a problem.
    pub needs_components: bool,
}

/// Says what is wrong with the component at a path.
pub type CheckComponent<'a> = &'a dyn Fn(&Path) -> Result<(), Unusable>;

/// Why a component cannot be a plugin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Unusable {
    /// What kind of mistake: a code of [`crate::explain`].
    pub code: &'static str,
    /// In words, with the remedy.
    pub reason: String,
}

impl Surroundings<'_> {
    /// Where `file` is, seen from the working folder.
    fn resolve(&self, file: &Path) -> PathBuf {
        self.base.join(file)
    }
}

/// Makes a manifest of `document`; it counts only if `report` stays empty.
pub fn manifest(
    document: raw::Document,
    source: &Source,
    surroundings: &Surroundings<'_>,
    report: &mut Report,
) -> Manifest {
    let host = host(document.host.unwrap_or_default(), surroundings);
    let nats = document.nats.filter(|_| surroundings.environment.has_server());
    let folder = surroundings.resolve(Path::new(".")).components().collect::<PathBuf>();
    let builds = build::builds(&folder, document.plugins.as_ref());
    let manifest = Manifest {
        folder,
        nats: nats::nats(nats.unwrap_or_default(), surroundings, report),
        admin: document.admin.and_then(|admin| Some(Admin { listen: admin.listen? })),
        dead_letters: dead_letters(document.dead_letters.unwrap_or_default(), &host),
        streams: streams(document.streams.unwrap_or_default(), report),
        plugins: plugin::plugins(document.plugins, &builds, surroundings, report),
        builds,
        host,
        source: source.clone(),
    };
    wiring::check(&manifest, report);
    manifest
}

fn host(raw: raw::Host, surroundings: &Surroundings<'_>) -> Host {
    Host {
        name: raw.name.map_or_else(|| defaults::HOST.to_owned(), |name| name.0),
        max_in_flight: number(raw.max_in_flight, defaults::MAX_IN_FLIGHT),
        max_in_flight_bytes: bytes(raw.max_in_flight_bytes, defaults::MAX_IN_FLIGHT_BYTES),
        drain: time(raw.drain, defaults::DRAIN),
        stack: bytes(raw.stack, defaults::STACK),
        cache: raw.cache.map(|cache| surroundings.resolve(&cache.0)),
    }
}

fn dead_letters(raw: raw::DeadLetters, host: &Host) -> DeadLetters {
    let stream = raw.stream.map(|name| name.0);
    DeadLetters {
        stream: stream.unwrap_or_else(|| format!("{}_DEAD_LETTERS", host.name)),
        prefix: raw.prefix.unwrap_or_else(|| format!("dead-letters.{}", host.name)),
        max_age: time(raw.max_age, defaults::DEAD_LETTERS_MAX_AGE),
        max_bytes: bytes(raw.max_bytes, defaults::DEAD_LETTERS_MAX_BYTES),
        replicas: number(raw.replicas, defaults::REPLICAS),
        replays: format!("{}_REPLAYS", host.name),
        replays_prefix: format!("replays.{}", host.name),
    }
}

fn streams(
    raw: BTreeMap<super::value::Name, raw::Stream>,
    report: &mut Report,
) -> BTreeMap<String, Stream> {
    raw.into_iter()
        .map(|(name, raw)| {
            let path = join("streams", &name.0);
            let stream = stream(raw);
            check_window(&path, &stream, report);
            check_sizes(&path, &stream, report);
            (name.0, stream)
        })
        .collect()
}

fn stream(raw: raw::Stream) -> Stream {
    Stream {
        subjects: patterns(raw.subjects),
        retention: raw.retention.unwrap_or(super::Retention::Limits),
        storage: raw.storage.unwrap_or(super::Storage::File),
        replicas: number(raw.replicas, defaults::REPLICAS),
        max_age: raw.max_age.map(|age| age.0),
        max_bytes: raw.max_bytes.map(|size| size.0),
        max_messages: raw.max_messages,
        max_message_size: raw.max_message_size.map(|size| size.0),
        discard: raw.discard.unwrap_or(super::Discard::Old),
        duplicate_window: time(raw.duplicate_window, defaults::DUPLICATE_WINDOW),
    }
}

fn check_window(path: &str, stream: &Stream, report: &mut Report) {
    let (age_path, window_path) = (format!("{path}.max-age"), format!("{path}.duplicate-window"));
    let Some(age) = stream.max_age.filter(|age| *age < stream.duplicate_window) else { return };
    if !report.is_sound(&[&age_path, &window_path]) {
        return;
    }
    let (age, window) = (spoken(age), spoken(stream.duplicate_window));
    let message = format!("`{age_path}` is {age}, shorter than the duplicate window of {window}");
    let problem = Problem::new("max-age", message)
        .label(Target::Value(age_path), format!("messages are gone after {age}"))
        .help(format!("the server refuses this: let messages live for at least {window}, or set `duplicate-window = \"{age}\"`"));
    report.add(problem);
}

fn check_sizes(path: &str, stream: &Stream, report: &mut Report) {
    let (Some(one), Some(all)) = (stream.max_message_size, stream.max_bytes) else { return };
    if one > all {
        let message = format!("`{path}.max-message-size` is larger than `max-bytes`");
        let problem = Problem::new("out-of-range", message)
            .label(Target::Value(format!("{path}.max-message-size")), "one message")
            .label(Target::Value(format!("{path}.max-bytes")), "the whole stream")
            .help("a message of that size would not fit into the stream");
        report.add(problem);
    }
}

fn patterns(filters: Option<Vec<Filter>>) -> Vec<crate::subject::Pattern> {
    filters.unwrap_or_default().into_iter().map(|filter| filter.0).collect()
}

fn time(time: Option<Time>, default: std::time::Duration) -> std::time::Duration {
    time.map_or(default, |time| time.0)
}

fn bytes(size: Option<Size>, default: u64) -> u64 {
    size.map_or(default, |size| size.0)
}

/// A number whose bounds were checked when it was read.
fn number<T: TryFrom<u64> + Default>(number: Option<u64>, default: u64) -> T {
    T::try_from(number.unwrap_or(default)).unwrap_or_default()
}

/// Reads a small file, `path` in the manifest being the key that names it.
fn read_file(key: &str, file: &Path) -> Result<Vec<u8>, Problem> {
    check_file(key, file)?;
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        fs::File::open(file)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    match read() {
        Ok(bytes) if bytes.len() as u64 > MAX_FILE => {
            let message = format!("`{}` is larger than 1 MiB", file.display());
            Err(Problem::new("file", message)
                .label(Target::Value(key.to_owned()), "")
                .help("is it the right file?"))
        }
        Ok(bytes) => Ok(bytes),
        Err(error) => Err(unreadable(key, file, &error)),
    }
}

/// Checks that `file` is there, is a file, and may be read.
fn check_file(key: &str, file: &Path) -> Result<(), Problem> {
    let shown = file.display();
    let metadata = fs::metadata(file).map_err(|error| unreadable(key, file, &error))?;
    let what = match () {
        () if metadata.is_dir() => "a folder",
        () if !metadata.is_file() => "neither a file nor a folder",
        () => {
            return fs::File::open(file).map(drop).map_err(|error| unreadable(key, file, &error));
        }
    };
    Err(Problem::new("file", format!("`{shown}` is {what}, and a file is needed"))
        .label(Target::Value(key.to_owned()), format!("this is {what}"))
        .help("write the path of the file"))
}

fn unreadable(key: &str, file: &Path, error: &io::Error) -> Problem {
    let shown = file.display();
    let at = Target::Value(key.to_owned());
    let problem = |message: String| Problem::new("file", message).label(at, "");
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            let help = match file.components().any(|part| part.as_os_str() == "~") {
                true => "`~` is not replaced by your home folder here: write the whole path",
                false => {
                    "relative paths begin at the manifest's folder; build or copy the file, or correct the path"
                }
            };
            problem(format!("there is no file `{shown}`")).help(help)
        }
        io::ErrorKind::PermissionDenied => problem(format!("the file `{shown}` may not be read"))
            .help("give the user that runs pelton the right to read it"),
        _ => problem(format!("the file `{shown}` cannot be read: {error}"))
            .help("make it readable, or name another file"),
    }
}
