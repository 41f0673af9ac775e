//! Every manifest in the book is read by the real reader.

use std::path::Path;

use pelton::{
    cases::file::File,
    explain::{self, Area},
    manifest::{Environment, Look, Manifest, Problem, Problems},
};

use super::{Block, Page, pages};

/// Reads a block as a manifest beside which all components lie that it names,
/// but for those below `build/`.
fn read(block: &Block) -> Result<Manifest, Problems> {
    let folder = tempfile::tempdir().unwrap();
    for (_, rest) in block
        .text
        .match_indices("component = \"")
        .map(|(at, key)| block.text[at..].split_at(key.len()))
    {
        let Some((file, _)) = rest.split_once('"') else { continue };
        if !file.starts_with("build/") && !file.contains(['\\', ':']) {
            let file = folder.path().join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, "").unwrap();
        }
    }
    let variables = [("NATS_PASSWORD", "x"), ("NATS_TOKEN", "x"), ("PRICE_API_TOKEN", "x")];
    let file = folder.path().join("pelton.toml");
    std::fs::write(&file, &block.text).unwrap();
    Manifest::load(&file, &Environment::fixed(variables), |_| Ok(()))
}

#[test]
fn every_manifest_in_the_book_is_accepted() {
    for block in pages().iter().flat_map(Page::blocks).filter(|block| block.is("toml", "manifest"))
    {
        if let Err(problems) = read(&block) {
            panic!("{}:\n{}", block.place, problems.render(Look::Plain));
        }
    }
}

#[test]
fn every_bad_manifest_is_refused_with_the_code_of_its_page() {
    for page in pages() {
        for block in page.blocks().into_iter().filter(|block| block.is("toml", "bad")) {
            let Err(problems) = read(&block) else { panic!("{}: it is accepted", block.place) };
            let mut kinds: Vec<_> = problems.iter().map(Problem::kind).collect();
            kinds.dedup();
            assert_eq!(kinds, page.code().as_slice(), "{}", block.place);
        }
    }
}

#[test]
fn every_test_file_in_the_book_is_accepted() {
    for block in pages().iter().flat_map(Page::blocks).filter(|block| block.is("toml", "test")) {
        if let Err(problems) = File::parse(Path::new("orders.test.toml"), &block.text) {
            panic!("{}:\n{}", block.place, problems.render(Look::Plain));
        }
    }
}

#[test]
fn every_bad_test_file_is_refused_with_the_code_of_its_page() {
    for page in pages() {
        for block in page.blocks().into_iter().filter(|block| block.is("toml", "bad-test")) {
            let Err(problems) = File::parse(Path::new("orders.test.toml"), &block.text) else {
                panic!("{}: it is accepted", block.place)
            };
            let kinds: Vec<_> = problems.iter().map(Problem::kind).collect();
            assert_eq!(kinds, page.code().as_slice(), "{}", block.place);
        }
    }
}

#[test]
fn every_mistake_in_a_manifest_has_an_example_that_is_read() {
    // What is no text, or too much of it, cannot stand in a page.
    let beyond = ["manifest", "not-utf8", "too-large", "too-many"];
    for page in pages() {
        let Some(code) = page.code().and_then(explain::page) else { continue };
        let has_example = page.blocks().iter().any(|block| block.is("toml", "bad"));
        let needs_one = code.area == Area::Manifest && !beyond.contains(&code.code);
        assert!(has_example || !needs_one, "{}: no ```toml bad", page.path);
    }
}
