//! Toolchains of the languages that handlers are written in: `scripts/setup-languages`.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::LazyLock,
};

use tempfile::TempDir;

use crate::harness::{language_path, root};

/// The interpreter itself: what PATH has may be a script that needs others.
static PYTHON: LazyLock<String> = LazyLock::new(|| {
    let printed =
        Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output();
    stdout(&printed.unwrap())
});

/// A machine with nothing on PATH, and an empty tools folder.
struct Machine {
    folder: TempDir,
}

impl Machine {
    fn new() -> Machine {
        let machine = Machine { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(machine.programs()).unwrap();
        machine
    }

    fn programs(&self) -> PathBuf {
        self.folder.path().join("bin")
    }

    fn tools(&self) -> PathBuf {
        self.folder.path().join("tools")
    }

    /// Puts a program on PATH that prints `answer`.
    fn install(&self, program: &str, answer: &str) {
        let path = self.programs().join(program);
        fs::write(&path, format!("#!/bin/sh\necho '{answer}'\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn set_up(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(&*PYTHON);
        command.arg(root().join("scripts/setup-languages")).args(arguments);
        command.env("PATH", self.programs()).env("PELTON_TOOLS", self.tools());
        command.output().unwrap()
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn an_unknown_language_is_answered_with_the_known_ones() {
    let output = Machine::new().set_up(&["cobol"]);
    assert!(!output.status.success());
    assert!(stderr(&output).contains("python, javascript, typescript, go, c"), "{output:?}");
}

#[test]
fn a_toolchain_that_cannot_be_had_is_named_with_the_way_by_hand() {
    for (language, words) in [
        ("python", "pip install componentize-py=="),
        ("javascript", "npm install --global @bytecodealliance/componentize-js@"),
        ("typescript", "typescript@"),
        ("go", "https://go.dev/dl"),
        ("c", "https://ziglang.org/download"),
    ] {
        let output = Machine::new().set_up(&["--offline", language]);
        assert!(!output.status.success() && output.stdout.is_empty(), "{language}: {output:?}");
        assert!(stderr(&output).contains(words), "{language}: {output:?}");
    }
}

#[test]
fn a_missing_npm_is_named_and_nothing_half_stays_behind() {
    let machine = Machine::new();
    let output = machine.set_up(&["typescript"]);
    assert!(!output.status.success());
    assert!(stderr(&output).contains("`npm` is missing"), "{output:?}");
    let left = fs::read_dir(machine.tools().join("languages")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["node.lock"]);
}

#[test]
fn a_usable_program_on_the_path_is_taken_and_an_old_one_is_not() {
    let machine = Machine::new();
    machine.install("go", "go version go1.26.2 linux/amd64");
    let output = machine.set_up(&["--offline", "go"]);
    assert_eq!(stdout(&output), machine.programs().to_str().unwrap(), "{output:?}");

    machine.install("go", "go version go1.19.8 linux/amd64");
    let output = machine.set_up(&["--offline", "go"]);
    assert!(!output.status.success(), "{output:?}");
}

#[test]
fn what_was_fetched_is_found_again_without_the_network() {
    let path = language_path();
    for program in ["componentize-py", "componentize-js", "tsc", "go", "zig"] {
        let found = std::env::split_paths(path).any(|folder| folder.join(program).exists());
        assert!(found, "no {program} in {path}");
    }
    let again = Command::new(root().join("scripts/setup-languages")).arg("--offline").output();
    let again = stdout(&again.unwrap());
    assert!(std::env::split_paths(&again).all(|folder| Path::new(&folder).is_dir()), "{again}");
}
