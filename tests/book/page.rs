//! The pages of the book, and the blocks in them.

use std::{fs, path::PathBuf};

use crate::harness::root;

/// A page.
pub struct Page {
    /// Below the repository, with `/`.
    pub path: String,
    pub text: String,
}

/// A fenced block.
pub struct Block {
    /// Where it is, for messages: the file and the line.
    pub place: String,
    /// The first word after the fence: `toml`.
    pub language: String,
    /// The words after the language: `manifest`.
    pub words: Vec<String>,
    pub text: String,
}

/// The README and all pages of the book.
pub fn pages() -> Vec<Page> {
    let mut pages = Vec::new();
    let mut pending = vec![root().join("README.md"), root().join("docs/src")];
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "md") {
            pages.push(Page::read(path));
        }
    }
    assert!(pages.len() > 80, "the book was not found");
    pages.sort_by(|left, right| left.path.cmp(&right.path));
    pages
}

impl Page {
    fn read(path: PathBuf) -> Page {
        let text = fs::read_to_string(&path).unwrap();
        let path = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        Page { path, text }
    }

    /// `timeout` for `docs/src/errors/timeout.md`.
    pub fn code(&self) -> Option<&str> {
        self.path.strip_prefix("docs/src/errors/")?.strip_suffix(".md")
    }

    /// Its blocks, in order.
    pub fn blocks(&self) -> Vec<Block> {
        let (mut blocks, mut open): (Vec<Block>, Option<Block>) = (Vec::new(), None);
        for (number, line) in self.text.lines().enumerate() {
            match (line.trim_start().strip_prefix("```"), &mut open) {
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (Some(words), None) => open = Some(self.open(number + 1, words)),
                (None, Some(block)) => block.text.push_str(&format!("{line}\n")),
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{}: a block does not end", self.path);
        blocks
    }

    fn open(&self, line: usize, words: &str) -> Block {
        let mut words = words.split([' ', ',']).filter(|word| !word.is_empty()).map(str::to_owned);
        Block {
            place: format!("{}:{line}", self.path),
            language: words.next().unwrap_or_default(),
            words: words.collect(),
            text: String::new(),
        }
    }

    /// Where its links lead: `(text, target)`, without those inside of blocks.
    pub fn links(&self) -> Vec<String> {
        let outside = self.text.split("```").step_by(2);
        let targets = outside.flat_map(|text| text.split("](").skip(1));
        targets.filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())).collect()
    }
}

impl Block {
    pub fn is(&self, language: &str, word: &str) -> bool {
        self.language == language && self.words.iter().any(|it| it == word)
    }
}
