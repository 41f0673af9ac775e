//! What a guest says: the `log` import, stdout and stderr, as lines of the host's
//! log. Bounded for each run, made harmless for terminals, and without the
//! secrets that the guest was given.

use std::{
    borrow::Cow,
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tracing::Level;
use wasmtime_wasi::{
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamResult},
};

use super::grants::Grants;
use crate::manifest::Limits;

/// How much of the end of stderr is kept to explain a trap, in bytes.
const TAIL: usize = 4 << 10;

/// A line without an end is cut here, in bytes.
const LONGEST_LINE: usize = 8 << 10;

/// What a stream takes at a time, in bytes.
const CHUNK: usize = 64 << 10;

/// The log of one store, shared with its standard streams.
#[derive(Clone)]
pub(super) struct Journal(Arc<Mutex<Inner>>);

/// One line of a guest, as it goes to the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// The plugin's name in the manifest.
    pub plugin: Arc<str>,
    /// The event's id.
    pub event: String,
    /// How much it matters.
    pub level: Level,
    /// What it says, without what a terminal would act on.
    pub text: String,
}

/// Where the lines of guests go in place of the host's log. It is called while
/// the guest runs: it must not wait.
pub type LogSink = Arc<dyn Fn(LogLine) + Send + Sync>;

struct Inner {
    plugin: Arc<str>,
    sink: Option<LogSink>,
    grants: Arc<Grants>,
    event: String,
    most_lines: u32,
    most_bytes: u64,
    lines: u32,
    bytes: u64,
    dropped: u64,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    /// The last lines of stderr, each with its end.
    tail: VecDeque<u8>,
}

/// One of the two streams a guest can print to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    /// Becomes lines of level info.
    Stdout,
    /// Becomes lines of level warn.
    Stderr,
}

impl Journal {
    /// A journal that takes as many lines and bytes in each run as `limits` say,
    /// for the host's log or for `sink`.
    pub(super) fn new(
        plugin: Arc<str>,
        grants: Arc<Grants>,
        limits: &Limits,
        sink: Option<LogSink>,
    ) -> Journal {
        Journal(Arc::new(Mutex::new(Inner {
            plugin,
            grants,
            sink,
            event: String::new(),
            most_lines: limits.log_lines,
            most_bytes: limits.log_bytes,
            lines: 0,
            bytes: 0,
            dropped: 0,
            stdout: Vec::new(),
            stderr: Vec::new(),
            tail: VecDeque::new(),
        })))
    }

    /// Begins a run: what follows is about the event with this id.
    pub(super) fn begin(&self, event: &str) {
        let mut inner = self.inner();
        inner.finish();
        inner.event.clear();
        inner.event.push_str(event);
        inner.tail.clear();
    }

    /// The id of the event that the run is about.
    pub(super) fn event(&self) -> String {
        self.inner().event.clone()
    }

    /// One line through the `log` import.
    pub(super) fn line(&self, level: Level, text: &str) {
        self.inner().line(level, text);
    }

    /// Ends a run: lines without an end, and how many were dropped.
    pub(super) fn finish(&self) {
        self.inner().finish();
    }

    /// The end of what the run wrote to stderr, on one line; `None` if nothing.
    pub(super) fn tail(&self) -> Option<String> {
        let mut inner = self.inner();
        inner.end_open_line(Stream::Stderr);
        let text = String::from_utf8_lossy(inner.tail.make_contiguous());
        let lines: Vec<_> =
            text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
        (!lines.is_empty()).then(|| printable(&lines.join(" | ")).into_owned())
    }

    /// The output stream for WASI.
    pub(super) fn stream(&self, stream: Stream) -> impl StdoutStream + use<> {
        Pipe { journal: self.clone(), stream }
    }

    /// A panic elsewhere must not cost this store its log.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn line(&mut self, level: Level, text: &str) {
        let size = u64::try_from(text.len()).unwrap_or(u64::MAX);
        let bytes = self.bytes.saturating_add(size);
        if self.lines >= self.most_lines || bytes > self.most_bytes {
            self.dropped += 1;
            return;
        }
        self.lines += 1;
        self.bytes = bytes;
        let text = self.grants.redaction.text(text);
        self.emit(level, &printable(&text));
    }

    fn write(&mut self, stream: Stream, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            for piece in part.chunks(LONGEST_LINE) {
                self.append(stream, piece);
            }
        }
    }

    fn append(&mut self, stream: Stream, piece: &[u8]) {
        // A secret must not be cut in two where a line is cut.
        let longest = LONGEST_LINE + self.grants.redaction.longest();
        let line = self.open_line(stream);
        line.extend_from_slice(piece);
        if piece.ends_with(b"\n") {
            self.end_line(stream);
        } else if line.len() >= longest {
            self.cut_line(stream);
        }
    }

    fn end_line(&mut self, stream: Stream) {
        let line = std::mem::take(self.open_line(stream));
        self.say(stream, &String::from_utf8_lossy(&line));
    }

    /// Ends a line that is too long, but for what may be the beginning of a secret.
    fn cut_line(&mut self, stream: Stream) {
        let line = std::mem::take(self.open_line(stream));
        let text = String::from_utf8_lossy(&line);
        let text = self.grants.redaction.text(&text).into_owned();
        let kept = self.grants.redaction.longest().saturating_sub(1);
        let end = text.floor_char_boundary(text.len().saturating_sub(kept));
        let (said, kept) = text.split_at_checked(end).unwrap_or((&text, ""));
        *self.open_line(stream) = kept.as_bytes().to_vec();
        self.say(stream, said);
    }

    /// Lines that only keep others apart say nothing, and would be records of nothing.
    fn say(&mut self, stream: Stream, text: &str) {
        let text = text.trim_end_matches(['\r', '\n']);
        if text.trim().is_empty() {
            return;
        }
        match stream {
            Stream::Stdout => self.line(Level::INFO, text),
            Stream::Stderr => {
                self.line(Level::WARN, text);
                self.remember(text);
            }
        }
    }

    fn open_line(&mut self, stream: Stream) -> &mut Vec<u8> {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }

    fn remember(&mut self, text: &str) {
        let text = self.grants.redaction.text(text);
        self.tail.extend(text.as_bytes().iter().chain(b"\n"));
        let over = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..over);
    }

    fn end_open_line(&mut self, stream: Stream) {
        if !self.open_line(stream).is_empty() {
            self.end_line(stream);
        }
    }

    fn emit(&self, level: Level, text: &str) {
        let Some(sink) = &self.sink else {
            return emit(level, &self.plugin, &self.event, text);
        };
        let (plugin, event) = (Arc::clone(&self.plugin), self.event.clone());
        sink(LogLine { plugin, event, level, text: text.to_owned() });
    }

    fn finish(&mut self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            self.end_open_line(stream);
        }
        if self.dropped > 0 {
            let said = format!(
                "{} lines dropped: over the plugin's limit for one run (log-lines, log-bytes)",
                self.dropped
            );
            self.emit(Level::WARN, &said);
        }
        self.lines = 0;
        self.bytes = 0;
        self.dropped = 0;
    }
}

/// A run that was cancelled says what it had to say.
impl Drop for Inner {
    fn drop(&mut self) {
        self.finish();
    }
}

fn emit(level: Level, plugin: &str, event: &str, text: &str) {
    macro_rules! at {
        ($level:ident) => {
            tracing::event!(target: "pelton::guest", Level::$level, plugin, event, "{text}")
        };
    }
    match level {
        Level::TRACE => at!(TRACE),
        Level::DEBUG => at!(DEBUG),
        Level::INFO => at!(INFO),
        Level::WARN => at!(WARN),
        Level::ERROR => at!(ERROR),
    }
}

/// `text` without what a terminal would act on: control characters, escape
/// sequences, marks that reverse the direction of writing.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        if acts(char) {
            safe.extend(char.escape_default());
        } else {
            safe.push(char);
        }
    }
    Cow::Owned(safe)
}

/// Whether a terminal may act on this character. A tab is harmless.
fn acts(char: char) -> bool {
    match char {
        '\t' => false,
        '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        _ => char.is_control(),
    }
}

/// `text` made [`printable`] and cut to `most` bytes.
pub(super) fn excerpt(text: &str, most: usize) -> String {
    let cut = text.get(..text.floor_char_boundary(most)).unwrap_or(text);
    let safe = printable(cut);
    let mut safe = safe.get(..safe.floor_char_boundary(most)).unwrap_or(&safe).to_owned();
    if cut.len() < text.len() {
        safe.push('…');
    }
    safe
}

/// A standard stream of a guest. It never blocks: what is over the limit is dropped.
#[derive(Clone)]
struct Pipe {
    journal: Journal,
    stream: Stream,
}

impl IsTerminal for Pipe {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Pipe {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        // Only WASI 0.3 asks for this one, and it is not linked.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for Pipe {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.journal.inner().write(self.stream, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(CHUNK)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Pipe {
    async fn ready(&mut self) {}
}
