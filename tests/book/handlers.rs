//! Handlers in the book are built, as a user would build them, and loaded.

use std::{fs, path::Path};

use super::{Block, Page, pages};
use crate::harness::{build, root, verb};

#[test]
fn every_handler_in_the_book_is_one() {
    let blocks: Vec<_> = pages().iter().flat_map(Page::blocks).collect();
    let handlers: Vec<_> = blocks.iter().filter(|block| block.is("rust", "handler")).collect();
    assert!(!handlers.is_empty());
    let folder = tempfile::tempdir().unwrap();
    write_workspace(folder.path(), &handlers);
    build(folder.path(), folder.path());
    for (number, block) in handlers.iter().enumerate() {
        let file = format!("book-{number}.wasm");
        let finished = verb(folder.path(), &["inspect", &file]);
        assert!(
            finished.stdout.contains("pelton:events@0.1.0"),
            "{}: {}",
            block.place,
            finished.stderr
        );
    }
}

/// One workspace for all, so that what they need is compiled once.
fn write_workspace(folder: &Path, handlers: &[&Block]) {
    let orders = root().join("examples/orders");
    let read = |path: &str| fs::read_to_string(orders.join(path)).unwrap();
    let members: Vec<_> = (0..handlers.len()).map(|number| format!("book-{number}")).collect();
    let workspace =
        read("Cargo.toml").replace("[\"price\", \"validate\"]", &format!("{members:?}"));
    assert!(workspace.contains("book-0"), "{workspace}");
    fs::write(folder.join("Cargo.toml"), workspace).unwrap();
    fs::write(folder.join("Cargo.lock"), read("Cargo.lock")).unwrap();
    let wit = root().join("wit");
    for (member, block) in members.iter().zip(handlers) {
        let package =
            read("price/Cargo.toml").replace("name = \"price\"", &format!("name = {member:?}"));
        fs::create_dir_all(folder.join(member).join("src")).unwrap();
        fs::write(folder.join(member).join("Cargo.toml"), package).unwrap();
        let handler = block.text.replace("path: \"wit\"", &format!("path: {wit:?}"));
        fs::write(folder.join(member).join("src/lib.rs"), handler).unwrap();
    }
}
