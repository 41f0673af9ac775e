//! The book (`docs/`) says what is true: every block in it is parsed, checked,
//! built or run, and what can be generated is. `PELTON_UPDATE=1` writes the
//! generated parts anew.
//!
//! The word after the language of a block says how it is tested: see `Treatment`.

mod errors;
mod manifests;
mod page;

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
