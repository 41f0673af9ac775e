//! What is not a plugin is refused with an error that says which it is.

use std::{fs, path::Path, process::Command};

use crate::harness::{Finished, Project, Server, guest, root, verb};

fn check(bytes: &[u8]) -> String {
    let project = Project::new("[plugins.p]\ncomponent = \"p.wasm\"\nsubscribe = [\"in\"]\n");
    fs::write(project.path().join("p.wasm"), bytes).unwrap();
    let Finished { status, stderr, .. } = verb(project.path(), &["check"]);
    assert_eq!(status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("pelton.toml:2"), "no place in: {stderr}");
    stderr
}

#[track_caller]
fn assert_says(message: &str, words: &[&str]) {
    let flat = message.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ");
    for word in words {
        assert!(flat.to_lowercase().contains(word), "no {word:?} in: {message}");
    }
}

#[test]
fn an_empty_file() {
    assert_says(&check(b""), &["empty"]);
}

#[test]
fn a_text_file() {
    assert_says(&check(b"hello, this is text\n"), &["not", "wasm"]);
}

#[test]
fn a_native_binary() {
    let elf = fs::read(env!("CARGO_BIN_EXE_pelton")).unwrap();
    assert_says(&check(&elf[..4096]), &["elf"]);
}

#[test]
fn a_truncated_component() {
    let whole = fs::read(guest("echo")).unwrap();
    for part in [9, 100, whole.len() / 2, whole.len() - 1] {
        assert_says(&check(&whole[..part]), &["cut off at byte"]);
    }
}

#[test]
fn a_core_module() {
    assert_says(&check(b"\0asm\x01\0\0\0"), &["core module", "componentize"]);
}

#[test]
fn a_component_without_the_handler() {
    assert_says(&check(b"\0asm\x0d\0\x01\0"), &["pelton:events/handler", "export"]);
}

#[test]
fn every_flipped_byte_is_survived() {
    let whole = fs::read(guest("echo")).unwrap();
    let project = Project::new("[plugins.p]\ncomponent = \"p.wasm\"\nsubscribe = [\"in\"]\n");
    let path = project.path().join("p.wasm");
    for at in (0..whole.len()).step_by(whole.len() / 40) {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x55;
        fs::write(&path, flipped).unwrap();
        let Finished { status, stderr, .. } = verb(project.path(), &["check"]);
        assert!(matches!(status.code(), Some(0 | 2)), "byte {at}: {status} {stderr}");
        assert!(!stderr.contains("panicked"), "byte {at}: {stderr}");
    }
}

#[test]
fn inspect_says_what_a_component_is() {
    let Finished { status, stdout, stderr } =
        verb(Path::new("."), &["inspect", guest("echo").to_str().unwrap()]);
    assert!(status.success(), "{stderr}");
    assert_says(&stdout, &["pelton:events", "0.1.0", "sha256", "export", "import"]);
    let (_, grants) = stdout.split_once("in the manifest\n").unwrap();
    assert!(grants.contains("  publish = [") && !grants.contains("request"), "{grants}");
}

#[test]
fn inspect_of_what_is_no_component_fails() {
    let project = Project::new("");
    let path = project.path().join("x.wasm");
    fs::write(&path, "text").unwrap();
    let finished = verb(project.path(), &["inspect", "x.wasm"]);
    assert_eq!(finished.status.code(), Some(1));
    assert_says(&finished.stderr, &["x.wasm", "not", "wasm"]);
    let finished = verb(project.path(), &["inspect", "missing.wasm"]);
    assert_eq!(finished.status.code(), Some(1));
    assert_says(&finished.stderr, &["missing.wasm"]);
}

/// Both would be the same file in the target folder that all workspaces share.
#[test]
fn guests_of_one_name_in_two_workspaces_are_not_built() {
    guest("echo");
    let folder = tempfile::tempdir().unwrap();
    let manifest = "[package]\nname = \"echo\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\
                    [lib]\ncrate-type = [\"cdylib\"]\n[workspace]\n";
    fs::write(folder.path().join("Cargo.toml"), manifest).unwrap();
    fs::create_dir(folder.path().join("src")).unwrap();
    fs::write(folder.path().join("src/lib.rs"), "").unwrap();

    let script = root().join("scripts/build-guests");
    let out = folder.path().join("out");
    let built = Command::new(script)
        .args([folder.path(), &out])
        .env("PELTON", env!("CARGO_BIN_EXE_pelton"))
        .output()
        .unwrap();

    let message = String::from_utf8(built.stderr).unwrap();
    assert!(!built.status.success() && !out.exists(), "{message}");
    assert_says(&message, &["`echo.wasm`", "tests/guests", "rename", "guests_target_dir"]);
}

#[test]
fn a_component_of_another_version_of_the_contract() {
    let bytes = fs::read(guest("echo")).unwrap();
    let (ours, other) = (b"pelton:events/handler@0.1.0", b"pelton:events/handler@0.2.0");
    let mut bytes = bytes;
    while let Some(at) = bytes.windows(ours.len()).position(|part| part == ours) {
        bytes[at..at + other.len()].copy_from_slice(other);
    }
    let said = check(&bytes);
    let words = ["exports pelton:events/handler@0.2.0", "speaks pelton:events/handler@0.1.0"];
    let remedy = "build it with the wit of that version, which `pelton new` writes";
    assert_says(&said, &[words[0], words[1], "build it with the wit of that version"]);

    let project = Project::new("");
    fs::write(project.path().join("other.wasm"), bytes).unwrap();
    let inspected = verb(project.path(), &["inspect", "other.wasm"]);
    assert!(inspected.status.success(), "{}", inspected.stderr);
    let line = inspected.stdout.lines().find(|line| line.contains("contract  ")).unwrap();
    assert_says(line, &[words[0], "would have to be pelton:events/handler@0.1.0"]);
    let last = "it cannot be used: it is built for another version of the contract";
    assert_says(&inspected.stdout, &[remedy, last]);
}

#[tokio::test]
async fn a_compilation_is_logged_when_it_begins_and_only_then() {
    let server = Server::start().await;
    let project = Project::with_guest("echo", "")
        .edited("[streams.IN]", "[host]\ncache = \"cache\"\n[streams.IN]");
    let mut first = project.run(&server).await;
    let log = first.log();
    let told = log.find("compiling /").expect("it is told");
    assert!(log.contains("echo.wasm (") && log.contains("once: it is kept in the cache"), "{log}");
    assert!(told < log.find("\"running\"").unwrap(), "{log}");
    assert!(first.stop().await.success());

    let second = project.run(&server).await;
    assert!(!second.log().contains("compiling"), "{}", second.log());
}
