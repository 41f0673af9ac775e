//! New projects: a handler with its manifest, test cases and contract, made of
//! templates that are part of the binary. Nothing is compiled here.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use include_dir::{Dir, include_dir};
use tokio_util::sync::CancellationToken;

use self::site::Site;
use crate::{build, manifest::Language, plugin::CONTRACT};

mod site;

/// The most characters of a name that a message repeats.
const MOST_SHOWN: usize = 50;

/// `<language>/<template>/…` with `<language>/all` and `shared/…` beside it; and
/// `wasi/…`, what a template with a world of its own is given of WASI.
static TEMPLATES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/templates");

/// What a new project begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Template {
    /// Its name on the command line.
    pub name: &'static str,
    /// What the handler does, in a few words.
    pub about: &'static str,
}

/// All templates, in every language; the first is the default.
pub const ALL: [Template; 4] = [
    Template { name: "transform", about: "reads an event, changes it, puts out another" },
    Template { name: "router", about: "sends an event on to a subject by what is in it" },
    Template { name: "aggregate", about: "makes a summary of a batch, one sensor in order" },
    Template { name: "webhook", about: "posts each event to an HTTP endpoint" },
];

/// A project that is to be made.
#[derive(Debug, Clone)]
pub struct Project {
    /// The name of the plugin and of its package.
    pub name: String,
    /// What the handler is written in.
    pub language: Language,
    /// What it begins with.
    pub template: Template,
    /// The folder that is made.
    pub folder: PathBuf,
}

/// Why no project was made. Nothing is left of it.
#[derive(Debug, thiserror::Error)]
pub enum NewError {
    /// The name will not do.
    #[error("`{name}` cannot be the name: {reason}")]
    Name {
        /// The name.
        name: String,
        /// Why, and what would do.
        reason: String,
    },
    /// There is something already.
    #[error("`{p}` is there already and no empty folder: choose another name, or another folder with --path", p = .0.display())]
    Exists(PathBuf),
    /// A file could not be written.
    #[error("cannot {what} `{p}`: {error}{remedy}", p = path.display(), remedy = remedy(error))]
    File {
        /// What was to be done.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// It was asked to stop.
    #[error("stopped before it was done; nothing was made")]
    Stopped,
    /// The bindings could not be written.
    #[error(transparent)]
    Bindings(#[from] build::BuildError),
}

impl NewError {
    /// What kind of mistake: a code of [`crate::explain`].
    pub fn code(&self) -> &'static str {
        match self {
            NewError::Name { .. } => "project-name",
            NewError::Exists(_) => "project-exists",
            NewError::File { .. } => "project-file",
            NewError::Stopped => "project-stopped",
            NewError::Bindings(error) => error.code(),
        }
    }
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "; choose a folder that you may write to, with --path, or change its permissions"
        }
        _ => "",
    }
}

/// The template with this name.
pub fn find(name: &str) -> Option<Template> {
    ALL.into_iter().find(|template| template.name == name)
}

impl Project {
    /// Checks the name and makes the project: all of it, or nothing.
    ///
    /// # Errors
    /// If the name will not do, if there is something in the folder already, if a
    /// file cannot be written, or if `stop` is cancelled before it is done.
    pub fn make(&self, stop: &CancellationToken) -> Result<(), NewError> {
        check_name(&self.name, self.language)?;
        let site = Site::prepare(&self.folder)?;
        self.write(site.path())?;
        if stop.is_cancelled() {
            return Err(NewError::Stopped);
        }
        site.settle()
    }

    /// The files with the handler, seen from the project's folder.
    pub fn handler(&self) -> &'static str {
        match self.language {
            Language::Rust => "src/lib.rs",
            Language::Go => "handler.go",
            Language::JavaScript => "handler.js",
            Language::TypeScript => "handler.ts",
            Language::Python => "app.py",
            Language::C => "handler.c",
        }
    }

    /// The rows for the sources of a webhook beside its handler, for the README.
    fn beside_handler(&self) -> &'static str {
        match self.language {
            Language::Rust => "\n| `src/endpoint.rs` | one request, by `wasi:http` |",
            Language::Python => "\n| `endpoint.py` | one request, by `wasi:http` |",
            Language::C => {
                "\n| `http.c`, `http.h` | one request, by `wasi:http` |\n\
                 | `json.c`, `json.h` | what is JSON, and texts as JSON |\n\
                 | `utf8.c`, `utf8.h` | what is UTF-8, for both |"
            }
            Language::Go | Language::JavaScript | Language::TypeScript => "",
        }
    }

    /// A command that shows the handler at work, without a server, on the event of
    /// the first test case. A webhook needs its endpoint for that.
    pub fn sample(&self) -> String {
        let is_c = self.language == Language::C;
        let event = match self.template.name {
            "router" if is_c => r#"{"subject":"readings.raw","payload-text":"cellar/boiler;21.5"}"#,
            "router" => r#"{"subject":"orders.paid","payload":{"id":"A-1","country":"DE"}}"#,
            "aggregate" if is_c => {
                r#"{"subject":"readings.batch.boiler","payload-text":"20;22;27"}"#
            }
            "aggregate" => r#"{"subject":"readings.batch.boiler","payload":{"values":[20,22,27]}}"#,
            "webhook" => r#"{"subject":"orders.created","payload":{"id":"A-1"}}"#,
            _ if is_c => r#"{"subject":"readings.raw","payload-text":"boiler;21.5"}"#,
            _ => r#"{"subject":"orders.created","payload":{"id":"A-1","quantity":3,"price":4.5}}"#,
        };
        format!("echo '{event}' | pelton pipe")
    }

    fn write(&self, folder: &Path) -> Result<(), NewError> {
        let (language, template) = (self.language.key(), self.template.name);
        // The more special, the later: it takes the place of the more general.
        let layers = [
            "shared/all".to_owned(),
            format!("shared/{template}"),
            format!("{language}/all"),
            format!("{language}/{template}"),
        ];
        for layer in layers.iter().filter_map(|layer| TEMPLATES.get_dir(layer)) {
            self.write_layer(layer, layer.path(), folder)?;
        }
        write_wit(folder)?;
        if self.language == Language::Go {
            build::write_go_package(folder)?;
        }
        Ok(())
    }

    fn write_layer(&self, layer: &Dir<'_>, root: &Path, folder: &Path) -> Result<(), NewError> {
        for file in layer.files() {
            let below = file.path().strip_prefix(root).unwrap_or(file.path());
            let path = folder.join(self.file_name(below));
            match file.contents_utf8() {
                Some(text) => put(&path, self.fill(text).as_bytes())?,
                None => put(&path, file.contents())?,
            }
        }
        layer.dirs().try_for_each(|layer| self.write_layer(layer, root, folder))
    }

    /// Names that mean something to git, or hold the project's own name.
    fn file_name(&self, below: &Path) -> PathBuf {
        let name = below.file_name().unwrap_or_default().to_string_lossy();
        let name = match &*name {
            "gitignore" => ".gitignore".to_owned(),
            name => name.replace("NAME", &self.name),
        };
        below.with_file_name(name)
    }

    fn fill(&self, text: &str) -> String {
        let language = self.language.to_string();
        let component = format!("build/{}.wasm", self.name);
        let sample = self.sample();
        let words = [
            ("{{name}}", self.name.as_str()),
            ("{{language}}", &language),
            ("{{component}}", &component),
            ("{{handler}}", self.handler()),
            ("{{beside}}", self.beside_handler()),
            ("{{what}}", self.template.about),
            ("{{setup}}", setup(self.language)),
            ("{{sample}}", &sample),
        ];
        words.iter().fold(text.to_owned(), |text, (mark, word)| text.replace(mark, word))
    }
}

/// The contract; and what a world of the project's own needs beside it.
fn write_wit(folder: &Path) -> Result<(), NewError> {
    if !folder.join("wit/world.wit").exists() {
        return put(&folder.join("wit/events.wit"), CONTRACT.as_bytes());
    }
    let packages = TEMPLATES.get_dir("wasi").into_iter().flat_map(Dir::files);
    let packages = packages.map(|file| (file.path().file_name(), file.contents()));
    let contract = (Some("events.wit".as_ref()), CONTRACT.as_bytes());
    packages.chain([contract]).try_for_each(|(name, text)| {
        put(&folder.join("wit/deps").join(name.unwrap_or_default()), text)
    })
}

/// What has to be there before the first build, for the README.
fn setup(language: Language) -> &'static str {
    match language {
        Language::Rust => {
            "Needs Rust from [rustup.rs](https://rustup.rs) with its target for Wasm: `rustup target add wasm32-wasip2`."
        }
        Language::Go => {
            "Needs [Go](https://go.dev/dl) 1.25 or newer. The package `pelton` is written by `pelton build`."
        }
        Language::JavaScript | Language::TypeScript => {
            "Needs [Node](https://nodejs.org) 20 or newer; `pelton build` runs `npm install` when it has to."
        }
        Language::Python => {
            "Needs Python 3.10 or newer; `pelton build` makes `.venv` and installs `requirements.txt` into it when it has to."
        }
        Language::C => {
            "Needs clang with wasi-libc (Debian: `apt-get install clang lld wasi-libc libclang-rt-dev-wasm32`), or zig: `python3 -m venv .venv && .venv/bin/pip install ziglang`. `plugin.h` is written to `.pelton/bindings` by `pelton build`."
        }
    }
}

fn put(path: &Path, content: &[u8]) -> Result<(), NewError> {
    let failed = |error| NewError::File { what: "write", path: path.to_owned(), error };
    fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).map_err(failed)?;
    fs::write(path, content).map_err(failed)
}

/// Names that a language would refuse, or take for something else.
fn check_name(name: &str, language: Language) -> Result<(), NewError> {
    let refuse =
        |reason: &str| Err(NewError::Name { name: shown(name), reason: reason.to_owned() });
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > 40 || !name.chars().all(is_allowed) {
        return refuse(
            "use 1 to 40 lower-case letters, digits and `-`: it becomes a part of names in NATS and of the package",
        );
    }
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || name.ends_with('-') {
        return refuse("begin it with a letter, and end it with a letter or a digit");
    }
    let reserved: &[&str] = match language {
        Language::Rust => &RUST,
        Language::Go => &GO,
        _ => &[],
    };
    if reserved.contains(&name) {
        return refuse(&format!(
            "{language} uses that word itself; add another, as in `{name}-handler`"
        ));
    }
    Ok(())
}

/// What a message repeats of a name.
fn shown(name: &str) -> String {
    let start: String = name.chars().take(MOST_SHOWN).collect();
    let dots = if start.len() < name.len() { "…" } else { "" };
    format!("{}{dots}", start.escape_debug())
}

/// Keywords, and crates that are always there or in every new project.
const RUST: [&str; 59] = [
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc-macro",
    "pub",
    "ref",
    "return",
    "self",
    "serde",
    "serde-json",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "union",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "wit-bindgen",
    "yield",
];

/// Keywords, the first parts of the names of the standard library's packages,
/// and the words that `go` takes for sets of packages.
const GO: [&str; 86] = [
    "all",
    "archive",
    "arena",
    "bufio",
    "builtin",
    "bytes",
    "break",
    "case",
    "chan",
    "cmd",
    "cmp",
    "compress",
    "const",
    "container",
    "context",
    "continue",
    "crypto",
    "database",
    "debug",
    "default",
    "defer",
    "else",
    "embed",
    "encoding",
    "errors",
    "expvar",
    "fallthrough",
    "flag",
    "fmt",
    "for",
    "func",
    "go",
    "goto",
    "hash",
    "html",
    "if",
    "image",
    "import",
    "index",
    "interface",
    "internal",
    "io",
    "iter",
    "log",
    "main",
    "map",
    "maps",
    "math",
    "mime",
    "net",
    "os",
    "package",
    "path",
    "plugin",
    "range",
    "reflect",
    "regexp",
    "return",
    "runtime",
    "select",
    "simd",
    "slices",
    "sort",
    "std",
    "strconv",
    "strings",
    "struct",
    "structs",
    "switch",
    "sync",
    "syscall",
    "test",
    "testdata",
    "testing",
    "text",
    "time",
    "tool",
    "type",
    "unicode",
    "unique",
    "unsafe",
    "uuid",
    "var",
    "vendor",
    "weak",
    "work",
];

#[cfg(test)]
mod tests;
