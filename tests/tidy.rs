//! The architecture, as far as a machine can check it: who may import whom,
//! where each foreign system is known, and that every file says what it is.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The modules of `runtime/src`, lowest floor first.
const FLOORS: [&[&str]; 7] = [
    &["event", "explain", "subject", "telemetry"],
    &["manifest"],
    &["broker", "plugin"],
    &["dispatch"],
    &["host", "admin", "build", "dead_letters"],
    &["cases", "templates"],
    &["cli", "main"],
];

/// Crates that only some files may name: the crate, and how their paths begin.
const HOMES: [(&str, &[&str]); 13] = [
    ("async_nats", &["broker/nats"]),
    ("nkeys", &["broker/nats"]),
    ("wasmtime", &["plugin"]),
    ("wasmtime_wasi", &["plugin"]),
    ("wasmtime_wasi_http", &["plugin"]),
    ("hyper_util", &["plugin/outbound"]),
    ("tokio_rustls", &["plugin/outbound"]),
    ("axum", &["admin"]),
    ("toml", &["manifest", "cases/file"]),
    ("clap", &["cli"]),
    ("notify", &["cli/watch"]),
    ("ureq", &["cli/reload"]),
    ("metrics_exporter_prometheus", &["telemetry"]),
];

const MAX_LINES: usize = 600;
const MAX_TEST_LINES: usize = 900;

#[test]
fn modules_import_only_from_lower_floors() {
    for source in sources() {
        let importing = source.floor();
        for module in source.imported_modules() {
            let Some(imported) = floor(&module) else { continue };
            assert!(
                module == source.module || imported < importing,
                "{}: `{}` is on floor {importing} and imports `{module}` from floor {imported}",
                source.path.display(),
                source.module,
            );
        }
    }
}

#[test]
fn every_module_stands_on_a_floor() {
    for source in sources() {
        assert!(
            floor(&source.module).is_some(),
            "{}: `{}` is on no floor: add it to FLOORS and to ARCHITECTURE.md",
            source.path.display(),
            source.module
        );
    }
}

#[test]
fn every_foreign_system_has_one_home() {
    for source in sources() {
        for (name, homes) in HOMES {
            let at_home = homes.iter().any(|home| source.relative.starts_with(home));
            let spoken = source.code().any(|line| names_crate(line, name));
            assert!(!spoken || at_home, "{}: `{name}` belongs in {homes:?}", source.path.display());
        }
    }
}

#[test]
fn every_file_is_short_and_says_what_it_is() {
    for source in sources() {
        let is_test = source.relative.ends_with("tests.rs") || source.relative.contains("/tests/");
        assert!(
            is_test || source.text.starts_with("//! "),
            "{}: no `//!` that says what the file is",
            source.path.display()
        );
        let n_lines = source.text.lines().count();
        let max = if is_test { MAX_TEST_LINES } else { MAX_LINES };
        assert!(n_lines <= max, "{}: {n_lines} lines, more than {max}", source.path.display());
    }
}

struct Source {
    path: PathBuf,
    /// Below `runtime/src`, with `/`.
    relative: String,
    /// The top-level module: `plugin` for `plugin/engine.rs`.
    module: String,
    text: String,
}

impl Source {
    fn floor(&self) -> usize {
        floor(&self.module).unwrap_or(usize::MAX)
    }

    /// Lines that are not comments.
    fn code(&self) -> impl Iterator<Item = &str> {
        self.text.lines().filter(|line| !line.trim_start().starts_with("//"))
    }

    /// Top-level modules named after `crate::` or `pelton::`, also inside
    /// `use crate::{a, b::c}`.
    fn imported_modules(&self) -> Vec<String> {
        let code: String = self.code().collect::<Vec<_>>().join("\n");
        let mut modules = Vec::new();
        for prefix in ["crate::", "pelton::"] {
            for (at, _) in code.match_indices(prefix) {
                let starts_word =
                    !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
                if starts_word {
                    modules.extend(heads(&code[at + prefix.len()..]));
                }
            }
        }
        modules
    }
}

/// The first names of a path or of a braced list of paths.
fn heads(text: &str) -> Vec<String> {
    let Some(list) = text.strip_prefix('{') else { return vec![word(text)] };
    let mut depth = 0;
    let mut heads = vec![word(list.trim_start())];
    for (at, character) in list.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => heads.push(word(list[at + 1..].trim_start())),
            _ => {}
        }
    }
    heads
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// Whether a line names the crate, as `name::` that is not the end of a path.
fn names_crate(line: &str, name: &str) -> bool {
    line.match_indices(&format!("{name}::")).any(|(at, _)| {
        !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':' || c == '"')
    })
}

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|modules| modules.contains(&module))
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    let mut pending = vec![root.clone()];
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let relative = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let module = relative.split('/').next().unwrap().trim_end_matches(".rs").to_owned();
        if module != "lib" {
            sources.push(Source {
                text: fs::read_to_string(&path).unwrap(),
                relative,
                module,
                path,
            });
        }
    }
    assert!(sources.len() > 20, "the sources were not found below {}", root.display());
    sources
}

#[test]
fn the_check_itself_sees_braced_imports() {
    assert_eq!(heads("{a, b::{c, d}, e::f};"), ["a", "b", "e"]);
    assert_eq!(heads("dispatch::Plan;"), ["dispatch"]);
    assert!(names_crate("use toml::Spanned;", "toml"));
    assert!(!names_crate("crate::toml::x", "toml"));
}
