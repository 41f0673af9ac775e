//! What a guest says: the `log` import, stdout and stderr, as lines of the host's
//! log. Bounded for each run, and made harmless for terminals.

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
    event: String,
    most_lines: u32,
    most_bytes: u64,
    lines: u32,
    bytes: u64,
    dropped: u64,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
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
    /// A journal that takes `lines` lines and `bytes` bytes in each run, for the
    /// host's log or for `sink`.
    pub(super) fn new(
        plugin: Arc<str>,
        (lines, bytes): (u32, u64),
        sink: Option<LogSink>,
    ) -> Journal {
        Journal(Arc::new(Mutex::new(Inner {
            plugin,
            sink,
            event: String::new(),
            most_lines: lines,
            most_bytes: bytes,
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
        self.emit(level, &printable(text));
    }

    fn write(&mut self, stream: Stream, bytes: &[u8]) {
        if stream == Stream::Stderr {
            self.remember(bytes);
        }
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            for piece in part.chunks(LONGEST_LINE) {
                self.append(stream, piece);
            }
        }
    }

    fn append(&mut self, stream: Stream, piece: &[u8]) {
        let line = self.open_line(stream);
        line.extend_from_slice(piece);
        if piece.ends_with(b"\n") || line.len() >= LONGEST_LINE {
            self.end_line(stream);
        }
    }

    fn end_line(&mut self, stream: Stream) {
        let level = if stream == Stream::Stderr { Level::WARN } else { Level::INFO };
        let line = std::mem::take(self.open_line(stream));
        let text = String::from_utf8_lossy(&line);
        self.line(level, text.trim_end_matches(['\r', '\n']));
    }

    fn open_line(&mut self, stream: Stream) -> &mut Vec<u8> {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }

    fn remember(&mut self, bytes: &[u8]) {
        let bytes = bytes.get(bytes.len().saturating_sub(TAIL)..).unwrap_or(bytes);
        let over = (self.tail.len() + bytes.len()).saturating_sub(TAIL);
        self.tail.drain(..over.min(self.tail.len()));
        self.tail.extend(bytes);
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
            if !self.open_line(stream).is_empty() {
                self.end_line(stream);
            }
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
