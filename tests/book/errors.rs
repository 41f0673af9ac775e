//! The codes: each has a page, each page a code, and each is used.

use std::{collections::BTreeSet, fs, path::Path};

use pelton::explain::{self, PAGES};

use super::{after_mark, agree, pages};
use crate::harness::{Project, free_port, root, verb};

/// Where a code may stand in the sources, just before its quotes.
const PLACES: [&str; 6] = ["Problem::new(", ".problem(", "code: ", "code = ", "failed(", "refuse("];

#[test]
fn every_page_has_a_code() {
    // The other way round it would not compile.
    for page in pages() {
        let Some(code) = page.code() else { continue };
        assert!(explain::page(code).is_some(), "{}: `{code}` is not in explain.rs", page.path);
    }
}

#[test]
fn every_code_is_used() {
    let used: BTreeSet<String> = sources().iter().flat_map(|source| literals(source)).collect();
    for page in PAGES {
        assert!(used.contains(page.code), "nothing says `{}`: remove it and its page", page.code);
    }
}

#[test]
fn every_code_that_is_used_has_a_page() {
    for source in sources() {
        for code in codes(&source) {
            let known = explain::page(&code).is_some();
            assert!(known, "`{code}` needs a line in explain.rs and a page in docs/src/errors");
        }
    }
}

#[test]
fn the_list_of_codes_is_complete() {
    let (mut list, mut contents, mut area) = (String::new(), String::new(), None);
    for page in PAGES {
        if area.replace(page.area) != Some(page.area) {
            list.push_str(&format!("\n## {}\n\n| code | |\n|---|---|\n", page.area.title()));
        }
        list.push_str(&format!("| [`{0}`](errors/{0}.md) | {1} |\n", page.code, page.title()));
        contents.push_str(&format!("  - [{0}](errors/{0}.md)\n", page.code));
    }
    let path = "docs/src/errors.md";
    agree(path, &after_mark(path, "<!-- generated from explain.rs -->", &list));
    let path = "docs/src/SUMMARY.md";
    agree(path, &after_mark(path, "- [Error codes](errors.md)", &contents));
}

#[test]
fn a_code_is_explained_offline() {
    let finished = verb(Path::new("/"), &["explain", "timeout", "ACK-WAIT"]);
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    assert!(finished.stdout.starts_with("timeout: "), "{}", finished.stdout);
    assert!(finished.stdout.contains("\n\nack-wait: "), "{}", finished.stdout);
    assert!(!finished.stdout.contains("```"), "{}", finished.stdout);

    let finished = verb(Path::new("/"), &["explain"]);
    for page in PAGES {
        assert!(finished.stdout.contains(page.code), "{}", finished.stdout);
    }

    let finished = verb(Path::new("/"), &["explain", "tiemout"]);
    assert_eq!(finished.status.code(), Some(2));
    assert!(finished.stderr.contains("did you mean `timeout`?"), "{}", finished.stderr);
}

#[test]
fn mistakes_name_their_codes() {
    let project = Project::new("[plugins.p]\ncomponent = \"p.wasm\"\nsubscribe = [\"a..b\"]\n");
    let finished = verb(project.path(), &["check"]);
    let more = "more about each: pelton explain bad-subject file\n";
    assert!(finished.stderr.ends_with(more), "{}", finished.stderr);

    fs::write(project.path().join("p.wasm"), "\0asm\x01\0\0\0").unwrap();
    let finished = verb(project.path(), &["inspect", "p.wasm"]);
    assert!(finished.stderr.starts_with("error[core-module]: "), "{}", finished.stderr);
    assert!(finished.stderr.contains("pelton explain core-module"), "{}", finished.stderr);

    let url = format!("nats://127.0.0.1:{}", free_port());
    let project = Project::with_guest("echo", "");
    let finished = verb(project.path(), &["check", "--connect", "--nats-url", &url]);
    assert!(finished.stderr.contains("error[nats-unreachable]: "), "{}", finished.stderr);
}

/// The sources of the host, without tests and without the list itself.
fn sources() -> Vec<String> {
    let (mut texts, mut pending) = (Vec::new(), vec![root().join("runtime/src")]);
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if !is_left_out(&path) {
            texts.push(fs::read_to_string(&path).unwrap());
        }
    }
    texts
}

fn is_left_out(path: &Path) -> bool {
    let parts: Vec<_> = path.iter().filter_map(|part| part.to_str()).collect();
    parts.iter().any(|part| ["tests", "tests.rs", "explain", "explain.rs"].contains(part))
}

/// All texts in quotes that could be codes.
fn literals(source: &str) -> Vec<String> {
    source.split('"').filter(|text| is_code(text)).map(str::to_owned).collect()
}

/// The texts in quotes that stand where codes stand.
fn codes(source: &str) -> Vec<String> {
    let mut codes = Vec::new();
    for place in PLACES {
        let rests = source.split(place).skip(1).map(str::trim_start);
        codes.extend(rests.filter_map(quoted));
    }
    // Functions that answer with codes.
    for name in ["fn code(", "fn class("] {
        for rest in source.split(name).skip(1) {
            let body = rest.split("\n    }\n").next().unwrap();
            codes.extend(body.split("=> ").skip(1).filter_map(quoted));
        }
    }
    codes
}

fn quoted(text: &str) -> Option<String> {
    let (code, _) = text.strip_prefix('"')?.split_once('"')?;
    Some(code.to_owned()).filter(|code| is_code(code))
}

fn is_code(text: &str) -> bool {
    !text.is_empty()
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

#[test]
fn the_check_itself_sees_codes() {
    let source = "Problem::new(\n    \"a-b\", x) .problem(\"c\", y) code: \"d\", fn code(&self) {\n X => \"e\",\n    }\n => \"f\"";
    assert_eq!(codes(source), ["a-b", "c", "d", "e"]);
    assert_eq!(literals("x(\"a-b\") \"No\" y"), ["a-b"]);
}
