//! The book (`docs/`) says what is true: every block in it is parsed, checked,
//! built or run, and what can be generated is. `PELTON_UPDATE=1` writes the
//! generated parts anew.
//!
//! The word after the language of a block says how it is tested: see `Treatment`.

mod console;
mod errors;
mod generated;
mod handlers;
mod manifests;
mod page;
mod permissions;
mod sources;

use page::{Block, Page, pages};

/// What is generated, beside what is on disk; `PELTON_UPDATE=1` writes it.
fn agree(path: &str, generated: &str) {
    let file = crate::harness::root().join(path);
    if std::env::var_os("PELTON_UPDATE").is_some() {
        std::fs::write(&file, generated).unwrap();
    }
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(found == generated, "{path} is stale: PELTON_UPDATE=1 cargo test book");
}

/// `text` up to the line `mark`, that line, and `generated` after it.
fn after_mark(path: &str, mark: &str, generated: &str) -> String {
    let text = std::fs::read_to_string(crate::harness::root().join(path)).unwrap();
    let (written, _) = text.split_once(mark).unwrap_or_else(|| panic!("{path}: no {mark:?}"));
    format!("{written}{mark}\n{generated}")
}

/// How blocks are tested, by their language and the word after it.
const TREATMENTS: [(&str, &str); 11] = [
    // Read by the real reader: accepted, or refused with the code of the page.
    ("toml", "manifest"),
    ("toml", "bad"),
    ("toml", "test"),
    ("toml", "bad-test"),
    // Built for Wasm.
    ("rust", "handler"),
    // The same as in the file that the comment above it names.
    ("", "from"),
    // Parsed.
    ("json", ""),
    ("toml", "cargo"),
    // Its commands exist.
    ("console", ""),
    // What programs print.
    ("text", ""),
    ("wit", "contract"),
];

#[test]
fn every_block_says_how_it_is_tested() {
    for block in pages().iter().flat_map(Page::blocks) {
        let is_known = TREATMENTS.iter().any(|(language, word)| {
            (language.is_empty() || block.language == *language)
                && block.words.first().map_or("", String::as_str) == *word
        });
        assert!(is_known, "{}: ```{} {:?}", block.place, block.language, block.words);
        match (block.language.as_str(), block.words.first().map(String::as_str)) {
            ("json", _) => drop(block.text.parse::<serde_json::Value>().expect(&block.place)),
            ("toml", Some("cargo")) => drop(block.text.parse::<toml::Table>().expect(&block.place)),
            ("wit", _) => {
                let contract = include_str!("../wit/events.wit");
                assert!(contract.contains(block.text.trim()), "{}: not in wit/", block.place);
            }
            _ => {}
        }
    }
}

#[test]
fn every_link_leads_somewhere() {
    for page in pages() {
        for link in page.links().iter().filter(|link| !link.contains("://")) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let file = crate::harness::root().join(&page.path);
            let file = if path.is_empty() { file } else { file.parent().unwrap().join(path) };
            assert!(file.exists(), "{}: there is no {link}", page.path);
            if !anchor.is_empty() {
                let text = std::fs::read_to_string(&file).unwrap();
                assert!(anchors(&text).any(|it| it == anchor), "{}: there is no {link}", page.path);
            }
        }
    }
}

/// What headings are called in links.
fn anchors(text: &str) -> impl Iterator<Item = String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| {
        let heading = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        heading.chars().filter(|c| c.is_alphanumeric() || *c == '-' || *c == '_').collect()
    })
}

#[test]
fn every_page_is_in_the_table_of_contents() {
    let summary =
        std::fs::read_to_string(crate::harness::root().join("docs/src/SUMMARY.md")).unwrap();
    for page in pages() {
        let Some(path) = page.path.strip_prefix("docs/src/") else { continue };
        let is_listed = path == "SUMMARY.md" || summary.contains(&format!("]({path})"));
        assert!(is_listed, "{path} is not in SUMMARY.md");
    }
}
