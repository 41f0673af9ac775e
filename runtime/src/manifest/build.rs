//! `[plugins.<name>.build]`, checked: where a plugin's sources are, in which
//! language, and what makes the component of them.
//!
//! Only looks at names of files. What is built, and how, is the business of the
//! module `build`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    path::{Path, PathBuf},
};

use super::{raw, value::Name};

/// How a plugin's component is made of its sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// The folder with the sources. It need not exist: a host that only runs
    /// components has no sources.
    pub source: PathBuf,
    /// What it is written in; `None`: it was not recognised.
    pub language: Option<Language>,
    /// What makes the component, instead of what the language would need.
    pub command: Option<Command>,
    /// Which files it is made of, as globs below `source`; empty: all that are
    /// not the work of a tool.
    pub watch: Vec<String>,
}

/// A language that needs no `command`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, schemars::JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub enum Language {
    /// A cargo package with a `cdylib`.
    Rust,
    /// A Go module.
    Go,
    /// `handler.js`, with a `package.json`.
    JavaScript,
    /// `handler.ts`, with a `package.json`.
    TypeScript,
    /// `app.py`.
    Python,
    /// All `*.c` of a folder.
    C,
}

/// A command of the user's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A program and its arguments, as they are.
    Program(Vec<String>),
    /// A line for `sh -c`.
    Shell(String),
}

impl Language {
    /// All, with their names in a manifest.
    pub const ALL: [(&'static str, Language); 6] = [
        ("rust", Language::Rust),
        ("python", Language::Python),
        ("javascript", Language::JavaScript),
        ("typescript", Language::TypeScript),
        ("go", Language::Go),
        ("c", Language::C),
    ];

    /// The name in a manifest and on the command line.
    pub fn key(self) -> &'static str {
        Language::ALL.iter().find(|(_, language)| *language == self).map_or("", |(key, _)| key)
    }

    /// The language of the handler in `folder`, by the names of the files in it:
    /// `Cargo.toml`, `go.mod`, `package.json` (TypeScript with `tsconfig.json`),
    /// `*.c`, `*.py`, `pyproject.toml` or `requirements.txt`, the first that is there.
    pub fn of(folder: &Path) -> Option<Language> {
        let has = |name: &str| folder.join(name).is_file();
        let has_any = |extension: &str| !files_with(folder, extension).is_empty();
        match () {
            () if has("Cargo.toml") => Some(Language::Rust),
            () if has("go.mod") => Some(Language::Go),
            () if has("package.json") && (has("tsconfig.json") || has("handler.ts")) => {
                Some(Language::TypeScript)
            }
            () if has("package.json") => Some(Language::JavaScript),
            () if has_any("c") => Some(Language::C),
            () if has("pyproject.toml") || has("requirements.txt") || has_any("py") => {
                Some(Language::Python)
            }
            () => None,
        }
    }

    /// Whether `folder` looks like the home of one handler of this language, and
    /// not like a project that merely has some file of it at its top.
    fn is_at_home_in(self, folder: &Path) -> bool {
        let has = |name: &str| folder.join(name).is_file();
        match self {
            Language::Rust | Language::Go | Language::C => true,
            Language::JavaScript => has("handler.js") || has("src/handler.js"),
            Language::TypeScript => has("handler.ts") || has("src/handler.ts"),
            Language::Python => has("app.py"),
        }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Language::Rust => "Rust",
            Language::Go => "Go",
            Language::JavaScript => "JavaScript",
            Language::TypeScript => "TypeScript",
            Language::Python => "Python",
            Language::C => "C",
        })
    }
}

/// The files directly in `folder` that end with `extension`, in order.
pub fn files_with(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|found| found == extension) && path.is_file())
        .collect();
    found.sort();
    found
}

/// How each plugin is built; plugins without sources are left out.
///
/// The sources of a plugin are in `source`, if it is set. Else they are looked
/// for, in this order, in the folder beside the manifest that is named like the
/// component's file, in that named like the plugin, in the component's own
/// folder and those above it, and at last in the manifest's own folder, but
/// there only for one plugin (a cargo workspace may have several).
pub(super) fn builds(
    base: &Path,
    plugins: Option<&BTreeMap<Name, raw::Plugin>>,
) -> BTreeMap<String, Build> {
    let mut builds = BTreeMap::new();
    let mut without: BTreeMap<&String, &raw::Plugin> = BTreeMap::new();
    for (Name(name), plugin) in plugins.into_iter().flatten() {
        match own_folder(base, name, plugin) {
            Some(source) => drop(builds.insert(name.clone(), build(source, plugin))),
            None => drop(without.insert(name, plugin)),
        }
    }
    let components: BTreeSet<_> = without.values().filter_map(|raw| component(raw)).collect();
    let shared = Language::of(base).filter(|language| {
        language.is_at_home_in(base) && (components.len() == 1 || *language == Language::Rust)
    });
    for (name, plugin) in without {
        if shared.is_some() || plugin.build.is_some() {
            builds.insert(name.clone(), build(base.to_owned(), plugin));
        }
    }
    builds
}

fn build(source: PathBuf, plugin: &raw::Plugin) -> Build {
    let written = plugin.build.as_ref();
    Build {
        language: written.and_then(|build| build.language).or_else(|| Language::of(&source)),
        source,
        command: written.and_then(|build| build.command.clone()),
        watch: written.and_then(|build| build.watch.clone()).unwrap_or_default(),
    }
}

/// The folder of one plugin's own sources: the one it names, or the first that
/// looks like one.
fn own_folder(base: &Path, name: &str, plugin: &raw::Plugin) -> Option<PathBuf> {
    let written = plugin.build.as_ref().and_then(|build| build.source.as_ref());
    if let Some(source) = written {
        return Some(base.join(&source.0));
    }
    let component = component(plugin)?;
    let stem = component.file_stem().unwrap_or_default().to_string_lossy();
    let named = [stem.to_string(), stem.replace('_', "-"), name.to_owned()];
    let named = named.iter().filter(|name| !name.is_empty()).map(PathBuf::from);
    let above = component.parent().into_iter().flat_map(Path::ancestors).map(Path::to_owned);
    named
        .chain(above.filter(|folder| folder.is_relative() && !folder.starts_with("..")))
        .filter(|folder| !folder.as_os_str().is_empty() && folder != Path::new("."))
        .map(|folder| base.join(folder))
        .find(|folder| Language::of(folder).is_some())
}

fn component(plugin: &raw::Plugin) -> Option<&Path> {
    plugin.component.as_ref().map(|file| file.0.as_path())
}
