//! What the verbs print and how they exit.

use std::path::Path;

use crate::harness::{Project, build_example, guest, root, verb};

#[test]
fn a_good_manifest_passes_the_check() {
    let project = Project::with_guest("echo", "");
    let finished = verb(project.path(), &["check"]);
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    assert!(finished.stdout.contains("1 plugin"), "{}", finished.stdout);
}

#[test]
fn all_errors_of_a_manifest_are_shown_at_once_with_their_place() {
    let project = Project::new(
        "[host]\nnam = \"x\"\n[plugins.p]\ncomponent = \"missing.wasm\"\nsubscribe = [\"a..b\"]\n\
         timeout = \"2 parsecs\"\n",
    );
    let finished = verb(project.path(), &["check"]);
    assert_eq!(finished.status.code(), Some(2));
    for words in [
        "pelton.toml:2",
        "name",
        "pelton.toml:4",
        "missing.wasm",
        "pelton.toml:5",
        "pelton.toml:6",
        "parsecs",
    ] {
        assert!(finished.stderr.contains(words), "no {words:?} in:\n{}", finished.stderr);
    }
}

#[test]
fn a_missing_manifest_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for verb_name in ["check", "run"] {
        let finished = verb(folder.path(), &[verb_name]);
        assert_eq!(finished.status.code(), Some(2));
        assert!(finished.stderr.contains("pelton.toml"), "{}", finished.stderr);
    }
}

#[test]
fn a_folder_stands_for_the_manifest_in_it() {
    let project = Project::with_guest("echo", "");
    let finished = verb(Path::new("/"), &["check", project.path().to_str().unwrap()]);
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
}

#[test]
fn unknown_arguments_are_usage_errors() {
    let finished = verb(Path::new("."), &["run", "--bogus"]);
    assert_eq!(finished.status.code(), Some(2));
    let finished = verb(Path::new("."), &["--log", "a=b=c", "schema"]);
    assert_eq!(finished.status.code(), Some(2), "{}", finished.stderr);
}

#[test]
fn help_of_every_verb_has_an_example() {
    for name in ["new", "build", "run", "check", "inspect", "componentize", "schema", "completions"]
    {
        let finished = verb(Path::new("."), &[name, "--help"]);
        assert!(finished.status.success());
        assert!(finished.stdout.contains("Example"), "{name}:\n{}", finished.stdout);
    }
}

#[test]
fn completions_are_scripts() {
    for shell in ["bash", "zsh", "fish"] {
        let finished = verb(Path::new("."), &["completions", shell]);
        assert!(finished.status.success());
        assert!(finished.stdout.contains("pelton"), "{shell}");
    }
}

#[test]
fn schema_is_json_and_knows_the_manifest() {
    let finished = verb(Path::new("."), &["schema"]);
    let schema: serde_json::Value = serde_json::from_str(&finished.stdout).unwrap();
    assert!(schema["properties"]["plugins"].is_object(), "{schema:#}");
}

#[test]
fn a_closed_pipe_is_no_error() {
    let command = format!("{} schema | head -c 1 >/dev/null", env!("CARGO_BIN_EXE_pelton"));
    let script = format!("set -o pipefail; {command}");
    let status = std::process::Command::new("bash").args(["-c", &script]).status().unwrap();
    assert!(status.success());
}

#[test]
fn componentize_makes_a_component_that_inspect_reads() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("text.wasm"), "no module").unwrap();
    let finished = verb(folder.path(), &["componentize", "text.wasm", "-o", "out.wasm"]);
    assert_eq!(finished.status.code(), Some(1));
    assert!(finished.stderr.contains("text.wasm"), "{}", finished.stderr);
    assert!(!folder.path().join("out.wasm").exists(), "half of an output was left");
}

#[test]
fn every_example_passes_the_check() {
    for example in std::fs::read_dir(root().join("examples")).unwrap() {
        let folder = example.unwrap().path();
        if folder.join("pelton.toml").exists() {
            build_example(&folder);
            let finished = verb(&folder, &["check"]);
            assert_eq!(
                finished.status.code(),
                Some(0),
                "{}: {}",
                folder.display(),
                finished.stderr
            );
        }
    }
}

#[test]
fn a_guest_path_with_spaces_and_unicode_works() {
    let folder = tempfile::tempdir().unwrap();
    let odd = folder.path().join("mein Ordner ü");
    std::fs::create_dir(&odd).unwrap();
    std::fs::copy(guest("echo"), odd.join("echo.wasm")).unwrap();
    let manifest = "[plugins.p]\ncomponent = \"echo.wasm\"\nsubscribe = [\"in\"]\n";
    std::fs::write(odd.join("pelton.toml"), manifest).unwrap();
    let finished = verb(folder.path(), &["check", odd.to_str().unwrap()]);
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
}
