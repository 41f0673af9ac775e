//! Builds guests on first use.
//!
//! Cargo has released its locks by the time tests run, and the guests have a
//! target folder of their own, so this neither blocks nor rebuilds the host.
//! Cargo decides what is stale: there is no list to keep.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::LazyLock,
};

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

/// Builds an example's handlers, and the ready-made plugins, to where its
/// manifest looks for them.
pub fn build_example(folder: &Path) {
    build(folder, &folder.join("build"));
    build(&root().join("plugins"), &folder.join("build"));
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
