//! The text of a manifest as it may be shown, and where each key stands in it.
//!
//! Not the text that is parsed: secrets and control characters are covered, at
//! unchanged offsets, so that nothing printed from here can give a secret away.

use std::{borrow::Cow, collections::BTreeMap, ops::Range};

use miette::{MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// Lines longer than this are not shown: nobody could read them.
const MAX_SHOWN_LINE: usize = 200;
/// Keys whose values are secrets.
const SECRET_KEYS: [&str; 3] = ["password", "token", "nkey"];

/// A manifest's text and the places of its keys.
#[derive(Clone, Default)]
pub struct Source {
    name: String,
    covered: String,
    places: BTreeMap<String, Place>,
}

#[derive(Clone)]
struct Place {
    key: Range<usize>,
    value: Range<usize>,
}

/// What a label points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The value of a key such as `plugins.price.timeout` or `nats.url[1]`; of
    /// a table: its name. What is not in the text: the closest thing around it.
    Value(String),
    /// The key itself.
    Key(String),
    /// Bytes of the text.
    Bytes(Range<usize>),
}

impl Source {
    /// The source `text` of the file `name`, without places.
    pub fn new(name: &str, text: &str) -> Source {
        Source { name: name.to_owned(), covered: cover(text), places: BTreeMap::new() }
    }

    /// Notes where everything in `document` stands.
    pub fn index(&mut self, document: &DeTable<'_>) {
        self.index_table("", document);
    }

    /// The file's name as the user gave it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the manifest sets `path`.
    pub fn has(&self, path: &str) -> bool {
        self.places.contains_key(path)
    }

    /// The path of the element of the list at `list` that reads `text`, or
    /// `list` itself if it is written in another way (escapes).
    pub fn element(&self, list: &str, text: &str) -> String {
        (0..)
            .map(|index| format!("{list}[{index}]"))
            .map_while(|path| self.places.get(&path).map(|place| (path, place)))
            .find(|(_, place)| self.slice(&place.value).trim_matches(['"', '\'']) == text)
            .map_or_else(|| list.to_owned(), |(path, _)| path)
    }

    /// The bytes to underline for `target`, within one line.
    pub fn locate(&self, target: &Target) -> Option<Range<usize>> {
        let span = match target {
            Target::Bytes(span) => span.clone(),
            Target::Key(path) => self.places.get(path)?.key.clone(),
            Target::Value(path) => self.nearest(path)?,
        };
        Some(self.within_line(span))
    }

    /// The line and column of a byte, both counted from 1, columns in characters.
    pub fn line_and_column(&self, offset: usize) -> (usize, usize) {
        let before = self.slice(&(0..offset));
        let line = before.rsplit('\n').next().unwrap_or(before);
        (before.matches('\n').count() + 1, line.chars().count() + 1)
    }

    /// Whether the lines around `span` are short enough to be read.
    pub fn is_showable(&self, span: &Range<usize>) -> bool {
        let before = self.slice(&(0..span.start)).rsplit('\n').take(2).map(str::len);
        let after = self.slice(&(span.start..self.covered.len())).split('\n').take(2);
        before.chain(after.map(str::len)).all(|length| length <= MAX_SHOWN_LINE)
    }

    fn nearest(&self, path: &str) -> Option<Range<usize>> {
        if let Some(place) = self.places.get(path) {
            return Some(place.value.clone());
        }
        let mut rest = path;
        while let Some(end) = rest.rfind(['.', '[']) {
            rest = rest.get(..end)?;
            if let Some(place) = self.places.get(rest) {
                return Some(place.key.clone());
            }
        }
        None
    }

    fn within_line(&self, span: Range<usize>) -> Range<usize> {
        let start = floor_boundary(&self.covered, span.start);
        let end = floor_boundary(&self.covered, span.end.max(start));
        let first_line = self.slice(&(start..end)).split(['\r', '\n']).next().unwrap_or_default();
        start..start + first_line.trim_end().len()
    }

    fn slice(&self, span: &Range<usize>) -> &str {
        self.covered.get(span.clone()).unwrap_or_default()
    }

    fn index_table(&mut self, path: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            self.index_value(&join(path, key.get_ref()), key.span(), value);
        }
    }

    fn index_value(&mut self, path: &str, key: Range<usize>, value: &Spanned<DeValue<'_>>) {
        let mut span = value.span();
        match value.get_ref() {
            DeValue::Table(table) => {
                self.index_table(path, table);
                // The text of a table with a header is elsewhere, or all of the file.
                if !self.slice(&span).starts_with('{') {
                    span = key.clone();
                }
            }
            DeValue::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.index_value(&format!("{path}[{index}]"), item.span(), item);
                }
            }
            _ => {}
        }
        if SECRET_KEYS.iter().any(|key| path.strip_prefix("nats.") == Some(key))
            && !value.get_ref().is_table()
        {
            // Whatever spelling of the key the text was searched for.
            hide(&mut self.covered, value.span());
        }
        self.places.insert(path.to_owned(), Place { key, value: span });
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Source").field(&self.name).finish()
    }
}

impl SourceCode for Source {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let found = self.covered.as_str().read_span(span, before, after)?;
        // What miette counts here is the lines from the start of the file, and
        // would show everything between two labels that are far apart.
        let line_count = found.data().iter().filter(|byte| **byte == b'\n').count();
        Ok(Box::new(MietteSpanContents::new_named(
            self.name.clone(),
            found.data(),
            *found.span(),
            found.line(),
            found.column(),
            line_count,
        )))
    }
}

/// The path of `key` in the table at `table`, as one would write it in TOML.
pub fn join(table: &str, key: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let key = match !key.is_empty() && key.chars().all(is_bare) {
        true => Cow::Borrowed(key),
        false => Cow::Owned(format!("\"{}\"", key.escape_debug())),
    };
    if table.is_empty() { key.into_owned() } else { format!("{table}.{key}") }
}

/// Covers secrets and control characters, byte for byte.
///
/// Works on the text, not on the parsed tree: a secret must not be shown
/// either when it is the very thing that makes the text unreadable.
fn cover(text: &str) -> String {
    let mut covered = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' | '\n' | '\r' => covered.push(c),
            c if c.is_control() => covered.push_str(&"?".repeat(c.len_utf8())),
            c => covered.push(c),
        }
    }
    let secrets = SECRET_KEYS.into_iter().flat_map(|key| {
        let ends = covered.match_indices(key).map(|(start, _)| start + key.len());
        ends.filter_map(|end| secret_after(&covered, end)).collect::<Vec<_>>()
    });
    for span in secrets.collect::<Vec<_>>().into_iter().chain(logins(&covered)) {
        hide(&mut covered, span);
    }
    covered
}

/// Puts stars in place of what stands at `span`, and leaves the lines as they are.
fn hide(text: &mut String, span: Range<usize>) {
    let hidden: Option<String> = text.get(span.clone()).map(|secret| {
        let star = |byte: u8| if byte.is_ascii_whitespace() { char::from(byte) } else { '*' };
        secret.bytes().map(star).collect()
    });
    if let Some(hidden) = hidden {
        text.replace_range(span, &hidden);
    }
}

/// What stands before the last `@` of a line: a user and a password, if it is a
/// URL. Rather too much than too little, for the URL may be a bad one.
fn logins(text: &str) -> Vec<Range<usize>> {
    let mut start = 0;
    let mut found = Vec::new();
    for line in text.split_inclusive('\n') {
        found.extend(login(line).map(|span| start + span.start..start + span.end));
        start += line.len();
    }
    found
}

fn login(line: &str) -> Option<Range<usize>> {
    let end = line.rfind('@')?;
    let before = line.get(..end)?;
    let quote = before.rfind(['"', '\'']).map(|quote| quote + 1);
    let start = before.find("://").map(|scheme| scheme + 3).or(quote).unwrap_or(0);
    // `component = "oci://registry/price@sha256:…"` has a digest after the `@`.
    let is_component = line.trim_start().starts_with("component");
    let has_password = before.get(start..)?.contains(':');
    (has_password || !is_component).then_some(start..end)
}

/// The value after a key that ends at `end`, if it is written in the text.
fn secret_after(text: &str, end: usize) -> Option<Range<usize>> {
    let rest = text.get(end..)?;
    let value = rest.trim_start_matches(['"', '\'']).trim_start_matches([' ', '\t']);
    let value = value.strip_prefix('=')?.trim_start_matches([' ', '\t']);
    if value.starts_with('{') {
        return None;
    }
    let start = end + (rest.len() - value.len());
    let length = match value.get(..3) {
        Some(fence @ ("\"\"\"" | "'''")) => {
            value.get(3..)?.find(fence).map_or(value.len(), |close| close + 6)
        }
        _ => value.find(['\r', '\n']).unwrap_or(value.len()),
    };
    Some(start..start + length)
}

fn floor_boundary(text: &str, offset: usize) -> usize {
    (0..=offset.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}
