//! The code of every mistake and failure that a user can meet, and the page
//! that explains it.
//!
//! The one list of them. A code is short, kebab-case and never changes its
//! meaning; it stands in the message, in the log (`code`) and, for failures of
//! runs, in dead letters and metrics. Who meets a mistake names its code there;
//! nothing here decides what is wrong.

/// A code with its page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Such as `ack-wait`.
    pub code: &'static str,
    /// Where one meets it.
    pub area: Area,
    /// The page, in Markdown: what it means, an example, what to do.
    pub text: &'static str,
}

/// Where one meets a mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Area {
    /// The manifest, as far as it can be read without a server.
    Manifest,
    /// A file of test cases, or events as JSON lines.
    Cases,
    /// The making of a component.
    Build,
    /// A component's file.
    Component,
    /// The server, when the host starts, reloads or compares.
    Server,
    /// The run of a handler: the reason of a retry or a dead letter.
    Run,
}

/// An error with a code, or the context of one, for those who only read it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Coded {
    /// One of [`PAGES`].
    pub code: &'static str,
    /// What is wrong, and the remedy.
    pub text: String,
}

macro_rules! pages {
    ($($area:ident: $($code:literal)*;)*) => {
        &[$($(Page {
            code: $code,
            area: Area::$area,
            text: include_str!(concat!("../../docs/src/errors/", $code, ".md")),
        }),*),*]
    };
}

/// All codes. Those of an area are in alphabetical order.
#[rustfmt::skip]
pub const PAGES: &[Page] = pages! {
    Manifest:
        "ack-wait"
        "auth"
        "backoff"
        "bad-address"
        "bad-choice"
        "bad-config"
        "bad-duration"
        "bad-folder"
        "bad-glob"
        "bad-name"
        "bad-network"
        "bad-origin"
        "bad-path"
        "bad-rate"
        "bad-size"
        "bad-subject"
        "bad-url"
        "bad-variable"
        "duplicate"
        "empty"
        "file"
        "inline-secret"
        "loop"
        "manifest"
        "max-age"
        "missing-key"
        "no-effect"
        "no-plugins"
        "not-in-stream"
        "not-utf8"
        "out-of-range"
        "output-retention"
        "overlapping-filters"
        "overlapping-publish"
        "overlapping-streams"
        "retry-budget"
        "secret"
        "self-request"
        "syntax"
        "too-large"
        "too-many"
        "unknown-key"
        "unknown-stream"
        "unsafe"
        "unsupported"
        "work-queue"
        "wrong-type"
    ;
    Cases:
        "bad-base64"
        "bad-expression"
        "bad-header"
        "bad-json"
        "bad-line"
        "bad-pointer"
        "bad-time"
        "input"
        "no-cases"
        "no-subject"
        "test-file"
        "two-ways"
        "unknown-plugin"
    ;
    Build:
        "build-contract"
        "build-file"
        "build-refused"
        "build-sources"
        "build-stopped"
        "build-tool"
        "project-exists"
        "project-file"
        "project-name"
        "project-stopped"
    ;
    Component:
        "component-damaged"
        "component-file"
        "component-refused"
        "component-start"
        "componentize"
        "contract-version"
        "core-module"
        "interface-only"
        "no-handler"
        "not-wasm"
        "unknown-import"
    ;
    Server:
        "admin-address"
        "consumer-differs"
        "nats-api"
        "nats-auth"
        "nats-permission"
        "nats-tls"
        "nats-unreachable"
        "nats-version"
        "needs-restart"
        "no-jetstream"
        "not-stored"
        "sandbox"
        "stream-differs"
        "stream-missing"
        "stream-unfit"
    ;
    Run:
        "cpu"
        "crash-loop"
        "dead-letter"
        "decode"
        "memory"
        "output"
        "panic"
        "publish"
        "reject"
        "retry"
        "stack"
        "stopped"
        "timeout"
        "trap"
        "unavailable"
    ;
};

/// The page of `code`, in any case and with or without brackets around it.
pub fn page(code: &str) -> Option<&'static Page> {
    let code = code.trim_matches(['[', ']', '`']).to_ascii_lowercase();
    PAGES.iter().find(|page| page.code == code)
}

/// The code that was probably meant by one that does not exist.
pub fn nearest(code: &str) -> Option<&'static str> {
    let distance = |page: &Page| strsim::osa_distance(&code.to_ascii_lowercase(), page.code);
    let near = PAGES.iter().map(|page| (distance(page), page.code));
    near.filter(|(distance, code)| *distance <= code.len() / 3).min().map(|(_, code)| code)
}

impl Page {
    /// What it means, in a line; without the code.
    pub fn title(&self) -> &'static str {
        let first = self.text.lines().next().unwrap_or_default();
        first.split_once(": ").map_or(first, |(_, title)| title)
    }

    /// The page as plain text: without the marks of Markdown, blocks indented.
    pub fn plain(&self) -> String {
        let (mut plain, mut is_block) = (String::new(), false);
        for line in self.text.lines() {
            if line.starts_with("```") {
                is_block = !is_block;
                continue;
            }
            let text = if is_block { format!("    {line}") } else { unmarked(line) };
            plain.push_str(text.trim_end());
            plain.push('\n');
        }
        plain
    }
}

impl Area {
    /// As a heading.
    pub fn title(self) -> &'static str {
        match self {
            Area::Manifest => "In the manifest",
            Area::Cases => "In test cases and lines of events",
            Area::Build => "When making and building projects",
            Area::Component => "In a component",
            Area::Server => "At the start, with the server",
            Area::Run => "In the run of a handler",
        }
    }
}

/// A line without the marks of headings and links.
fn unmarked(line: &str) -> String {
    let mut text = line.trim_start_matches('#').trim_start().to_owned();
    while let Some(middle) = text.find("](") {
        let start = text.get(..middle).and_then(|head| head.rfind('['));
        let end = text.get(middle..).and_then(|tail| tail.find(')'));
        let (Some(start), Some(end)) = (start, end) else { break };
        let name = text.get(start + 1..middle).unwrap_or_default().to_owned();
        text.replace_range(start..=middle + end, &name);
    }
    text
}

#[cfg(test)]
mod tests;
