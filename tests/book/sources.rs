//! Blocks that are files of the repository: `<!-- from examples/x/y.rs -->` on
//! the line before keeps them equal. Those files are built by their own tests.

use std::fs;

use super::pages;
use crate::harness::root;

#[test]
fn included_files_are_current() {
    for page in pages() {
        let current = included(&page.path, &page.text);
        super::agree(&page.path, &current);
    }
}

#[test]
fn every_block_from_a_file_names_it() {
    for page in pages() {
        let blocks = page.blocks().iter().filter(|block| block.words == ["from"]).count();
        let comments = page.text.lines().filter(|line| named(line).is_some()).count();
        assert_eq!(blocks, comments, "{}: a block and a comment for each", page.path);
    }
}

/// The page with the files that it names in their blocks.
fn included(path: &str, text: &str) -> String {
    let (mut page, mut lines) = (String::new(), text.lines());
    while let Some(line) = lines.next() {
        page.push_str(&format!("{line}\n"));
        let Some(file) = named(line) else { continue };
        let fence = lines.next().unwrap_or_default();
        assert!(fence.starts_with("```"), "{path}: no block after {line}");
        let source = fs::read_to_string(root().join(file)).unwrap_or_else(|error| {
            panic!("{path}: {file}: {error}");
        });
        page.push_str(&format!("{fence}\n{}\n```\n", source.trim_end()));
        for line in lines.by_ref() {
            if line == "```" {
                break;
            }
        }
    }
    page
}

fn named(line: &str) -> Option<&str> {
    line.strip_prefix("<!-- from ")?.strip_suffix(" -->")
}
