//! Builds guests on first use.
//!
//! Cargo has released its locks by the time tests run, and the guests have a
//! target folder of their own, so this neither blocks nor rebuilds the host.
//! Cargo decides what is stale: there is no list to keep.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::LazyLock,
};

use pelton::manifest::{Environment, Language, Manifest};

use super::root;

static GUESTS: LazyLock<PathBuf> = LazyLock::new(|| {
    let output = root().join("target/components/tests/guests");
    build(&root().join("tests/guests"), &output);
    output
});

/// A guest from `tests/guests/`, which misbehaves on purpose.
pub fn guest(name: &str) -> PathBuf {
    let path = GUESTS.join(name).with_extension("wasm");
    assert!(path.exists(), "{} was not built", path.display());
    path
}

/// Builds an example, whatever it is written in, and the ready-made plugins it
/// uses, to where its manifest looks for them. What has not changed is not built.
pub fn build_example(folder: &Path) {
    let manifest = Manifest::load_unbuilt(&folder.join("pelton.toml"), &Environment::process());
    let manifest = manifest.expect("the manifest of an example has no mistakes");
    let language = |name: &str| manifest.builds.get(name).and_then(|build| build.language);
    let is_rust = |name: &String| matches!(language(name), Some(Language::Rust) | None);
    let (rust, others): (Vec<_>, Vec<_>) = manifest.plugins.keys().partition(|name| is_rust(name));
    build_rust(&manifest, &rust);
    if !others.is_empty() {
        build_others(folder, &others);
    }
}

/// By the script, which works where only Debian's compiler can make Wasm; all
/// examples share what cargo made of their dependencies.
fn build_rust(manifest: &Manifest, names: &[&String]) {
    let sources = names.iter().filter_map(|name| manifest.builds.get(*name));
    let workspaces: BTreeSet<_> = sources.filter_map(|build| workspace(&build.source)).collect();
    for workspace in &workspaces {
        build(workspace, &manifest.folder.join("build"));
    }
    let components = names.iter().map(|name| &manifest.plugins[*name].component);
    let mut stems = components.filter_map(|component| component.file_stem());
    if stems.any(|stem| root().join("plugins").join(stem).is_dir()) {
        build(&root().join("plugins"), &manifest.folder.join("build"));
    }
}

/// The cargo workspace that a package is in.
fn workspace(package: &Path) -> Option<PathBuf> {
    let is_root = |folder: &Path| {
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
        manifest.lines().any(|line| line == "[workspace]")
    };
    package.ancestors().find(|folder| is_root(folder)).map(Path::to_owned)
}

/// By `pelton build`, with the toolchains that `scripts/setup-languages` gets.
fn build_others(folder: &Path, names: &[&String]) {
    let path = std::env::var_os("PATH").expect("a PATH");
    let folders = std::env::split_paths(language_path()).chain(std::env::split_paths(&path));
    let status = super::daemon::pelton()
        // Where users have them: compilers keep a lot there.
        .env_remove("XDG_CACHE_HOME")
        .env("PATH", std::env::join_paths(folders).expect("a PATH"))
        .arg("build")
        .arg(folder)
        .args(names.iter().flat_map(|name| ["--plugin", name.as_str()]))
        .status()
        .expect("run pelton build");
    assert!(status.success(), "the example in {} does not build", folder.display());
}

static LANGUAGES: LazyLock<String> = LazyLock::new(|| {
    let output = Command::new(root().join("scripts/setup-languages"))
        .stderr(Stdio::inherit())
        .output()
        .expect("run scripts/setup-languages");
    assert!(output.status.success(), "the toolchains of the examples cannot be set up");
    String::from_utf8(output.stdout).expect("folders in UTF-8").trim().to_owned()
});

/// The folders with the toolchains of all languages, joined as in PATH; they
/// are fetched on first use.
pub fn language_path() -> &'static str {
    &LANGUAGES
}

/// Builds every member of a workspace of guests into `output`.
pub fn build(workspace: &Path, output: &Path) {
    let status = Command::new(root().join("scripts/build-guests"))
        .args([workspace, output])
        .env("PELTON", super::daemon::binary())
        .status()
        .expect("run scripts/build-guests");
    assert!(status.success(), "the guests in {} do not build", workspace.display());
}
