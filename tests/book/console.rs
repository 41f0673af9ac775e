//! Commands in the book exist, with the flags that are used.

use std::path::Path;

use super::{Block, Page, pages};
use crate::harness::{root, verb};

/// Programs that are not ours and need not be here.
const OTHERS: [&str; 16] = [
    "apt-get",
    "cargo",
    "cat",
    "cd",
    "curl",
    "docker",
    "echo",
    "git",
    "jq",
    "kill",
    "mdbook",
    "nats",
    "nats-server",
    "pip",
    "rustup",
    "npm",
];

/// The commands of a block: lines after `$ `, continued by a backslash.
fn commands(block: &Block) -> Vec<String> {
    let text = block.text.replace("\\\n", " ");
    text.lines().filter_map(|line| line.strip_prefix("$ ").map(str::to_owned)).collect()
}

/// The words of each program in a command line, without redirections and comments.
fn programs(command: &str) -> Vec<Vec<String>> {
    let command = command.split(" #").next().unwrap();
    let parts = command.split(['|', '&', ';']).map(|part| part.split(['<', '>']).next().unwrap());
    parts.map(words).filter(|words| !words.is_empty()).collect()
}

/// Splits at spaces that are not in quotes.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for character in text.trim().chars() {
        match (character, quote) {
            ('\'' | '"', None) => quote = Some(character),
            (_, Some(open)) if character == open => quote = None,
            (' ', None) if !word.is_empty() => words.push(std::mem::take(&mut word)),
            (' ', None) => {}
            _ => word.push(character),
        }
    }
    words.extend(Some(word).filter(|word| !word.is_empty()));
    words
}

#[test]
fn every_command_in_the_book_exists() {
    for block in pages().iter().flat_map(Page::blocks).filter(|block| block.language == "console") {
        for command in commands(&block) {
            for program in programs(&command) {
                check(&block.place, &program);
            }
        }
    }
}

fn check(place: &str, words: &[String]) {
    // `NAME=value program`
    let words = &words[words.iter().take_while(|word| word.contains('=')).count()..];
    let Some((program, arguments)) = words.split_first() else { return };
    match program.as_str() {
        "pelton" => check_ours(place, arguments),
        "make" => {
            let target = arguments.first().expect("a target");
            let makefile = std::fs::read_to_string(root().join("Makefile")).unwrap();
            assert!(makefile.contains(&format!("\n{target}:")), "{place}: no target {target}");
        }
        path if path.contains('/') => assert!(root().join(path).exists(), "{place}: no {path}"),
        other => assert!(OTHERS.contains(&other), "{place}: what is `{other}`?"),
    }
}

/// Help is printed only after all that stands before it has been understood.
fn check_ours(place: &str, arguments: &[String]) {
    let mut arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    arguments.push("--help");
    let finished = verb(Path::new("/"), &arguments);
    assert_eq!(finished.status.code(), Some(0), "{place}: {arguments:?}: {}", finished.stderr);
}

#[test]
fn the_check_itself_sees_mistakes() {
    assert_eq!(
        programs("A=1 pelton run 'a b' | jq . > x # why"),
        [vec!["A=1", "pelton", "run", "a b"], vec!["jq", "."]]
    );
    let finished = verb(Path::new("/"), &["run", "--bogus", "--help"]);
    assert_eq!(finished.status.code(), Some(2));
}
