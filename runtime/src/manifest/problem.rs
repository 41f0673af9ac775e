//! What is wrong with a manifest, said to the person who wrote it.
//!
//! A [`Problem`] names keys; [`Problems`] finds them in the text and prints
//! them. Nothing here decides what is wrong.

use std::{fmt, ops::Range};

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan};

use super::{
    Manifest,
    source::{Source, Target},
};

/// The most problems that are printed; the rest is counted.
const MAX_PRINTED: usize = 100;
/// The most characters of a value that a message repeats.
const MAX_VALUE: usize = 60;
/// The width of the plain rendering, in columns.
const PLAIN_WIDTH: usize = 90;

/// One mistake: what, where, and the remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    code: &'static str,
    message: String,
    help: Option<String>,
    labels: Vec<(Target, String)>,
}

/// All mistakes of one manifest, in the order of the text. Never empty.
#[derive(Debug, Clone)]
pub struct Problems {
    source: Source,
    located: Vec<Located>,
}

/// How to print problems.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// ASCII without colours: for files, pipes and tests.
    Plain,
    /// For a terminal of that many columns.
    Terminal {
        /// Columns.
        width: usize,
        /// Whether colours are welcome.
        colour: bool,
    },
}

#[derive(Debug, Clone)]
struct Located {
    problem: Problem,
    spans: Vec<(Range<usize>, String)>,
    showable: bool,
}

impl Problem {
    /// A problem of the kind `code`; without a label it concerns the whole file.
    pub fn new(code: &'static str, message: impl Into<String>) -> Problem {
        Problem { code, message: message.into(), help: None, labels: Vec::new() }
    }

    /// Points at `target`, with a few words. The first label is where the
    /// problem is; others show what it has to do with.
    #[must_use]
    pub fn label(mut self, target: Target, text: impl Into<String>) -> Problem {
        self.labels.push((target, text.into()));
        self
    }

    /// Says what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Problem {
        self.help = Some(help.into());
        self
    }

    /// The kind: short, stable, kebab-case.
    pub fn kind(&self) -> &'static str {
        self.code
    }

    /// What is wrong, in a sentence.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do about it.
    pub fn remedy(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// Whether it concerns the value at `path` or a part of it.
    pub fn concerns(&self, path: &str) -> bool {
        match self.labels.first() {
            Some((Target::Value(at) | Target::Key(at), _)) => at
                .strip_prefix(path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '['])),
            _ => false,
        }
    }
}

impl Problems {
    /// Problems of `manifest` that were found later, with the server's help.
    pub fn new(manifest: &Manifest, problems: Vec<Problem>) -> Problems {
        Problems::of(&manifest.source, problems)
    }

    /// Finds `problems` in `source` and sorts them by place.
    pub(crate) fn of(source: &Source, problems: Vec<Problem>) -> Problems {
        let locate = |problem| Located::new(source, problem);
        let mut located: Vec<Located> = problems.into_iter().map(locate).collect();
        located.sort_by_key(|located| located.spans.first().map(|(span, _)| span.start));
        Problems { source: source.clone(), located }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.located.len()
    }

    /// The problems, in the order of the text.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.located.iter().map(|located| &located.problem)
    }

    /// Everything as text, with the source lines; ends with a line that counts.
    pub fn render(&self, look: Look) -> String {
        let (handler, width) = (look.handler(), look.width());
        let mut text = String::new();
        for located in self.located.iter().take(MAX_PRINTED) {
            let shown = Shown { source: &self.source, located, width };
            if handler.render_report(&mut text, &shown).is_err() {
                text.push_str(&located.problem.message);
            }
            text.push('\n');
        }
        text.push_str(&self.to_string());
        match self.count().saturating_sub(MAX_PRINTED) {
            0 => text.push('\n'),
            more => text.push_str(&format!(", of which {more} are not shown\n")),
        }
        text
    }
}

impl Located {
    fn new(source: &Source, problem: Problem) -> Located {
        let mut spans: Vec<(Range<usize>, String)> = Vec::new();
        for (target, text) in &problem.labels {
            let Some(span) = source.locate(target) else { continue };
            let text = match target {
                Target::Value(path) if text.is_empty() && !source.has(path) => not_set(path),
                _ => text.clone(),
            };
            if !spans.iter().any(|(other, _)| *other == span) {
                spans.push((span, text));
            }
        }
        let showable = spans.iter().all(|(span, _)| source.is_showable(span));
        Located { problem, spans, showable }
    }
}

impl Look {
    fn handler(self) -> GraphicalReportHandler {
        let theme = match self {
            Look::Plain => GraphicalTheme::none(),
            Look::Terminal { colour: true, .. } => GraphicalTheme::unicode(),
            Look::Terminal { colour: false, .. } => GraphicalTheme::unicode_nocolor(),
        };
        GraphicalReportHandler::new_themed(theme)
            .with_width(self.width())
            .with_links(false)
            .with_context_lines(1)
            .with_wrap_lines(false)
    }
}

impl Look {
    fn width(self) -> usize {
        match self {
            Look::Plain => PLAIN_WIDTH,
            Look::Terminal { width, .. } => width.max(40),
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.count() == 1 { "" } else { "s" };
        write!(f, "{}: {} problem{plural}", self.source.name(), self.count())
    }
}

impl std::error::Error for Problems {}

impl Diagnostic for Problems {
    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        Some(&self.source)
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.located.iter().map(|located| located as &dyn Diagnostic)))
    }
}

impl fmt::Display for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem.message)
    }
}

impl std::error::Error for Located {}

impl Diagnostic for Located {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.problem.code))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.problem.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        if self.spans.is_empty() || !self.showable {
            return None;
        }
        let label = |(index, (span, text)): (usize, &(Range<usize>, String))| {
            let text = (!text.is_empty()).then(|| text.clone());
            match index {
                0 => LabeledSpan::new_primary_with_span(text, span.clone()),
                _ => LabeledSpan::new_with_span(text, span.clone()),
            }
        };
        Some(Box::new(self.spans.iter().enumerate().map(label)))
    }
}

/// A problem together with its source, as the printer wants it.
#[derive(Debug)]
struct Shown<'a> {
    source: &'a Source,
    located: &'a Located,
    width: usize,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&wrap(&self.located.problem.message, self.width.saturating_sub(6)))?;
        match self.located.spans.first() {
            Some((span, _)) if !self.located.showable => {
                let (line, column) = self.source.line_and_column(span.start);
                write!(f, " ({}:{line}:{column})", self.source.name())
            }
            _ => Ok(()),
        }
    }
}

impl std::error::Error for Shown<'_> {}

impl Diagnostic for Shown<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.located.code()
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let help = wrap(self.located.problem.remedy()?, self.width.saturating_sub(10));
        Some(Box::new(help))
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.located.labels()
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        Some(self.source)
    }
}

/// What a label says of a key that the manifest leaves to its default.
fn not_set(path: &str) -> String {
    let key = path.rsplit('.').next().unwrap_or(path);
    format!("`{key}` is not set, the default holds")
}

/// Breaks `text` at spaces into lines of `width` characters, but never inside
/// of backquotes: what stands there is to be copied.
fn wrap(text: &str, width: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        let mut is_code = false;
        for word in paragraph.split(' ') {
            let fits = line.chars().count() + 1 + word.chars().count() <= width;
            match line.is_empty() {
                true => line.push_str(word),
                false if fits || is_code => line = format!("{line} {word}"),
                false => lines.push(std::mem::replace(&mut line, word.to_owned())),
            }
            is_code ^= word.matches('`').count() % 2 == 1;
        }
        lines.push(line);
    }
    lines.join("\n")
}

/// A value as a message may repeat it, in backquotes.
pub fn quoted(value: &str) -> String {
    if value.is_empty() { "\"\"".to_owned() } else { format!("`{}`", shown(value)) }
}

/// A value on one line, and not too long.
fn shown(value: &str) -> String {
    let short: String = value.chars().take(MAX_VALUE).collect();
    let dots = if short.len() < value.len() { "..." } else { "" };
    format!("{}{dots}", short.escape_debug().to_string().replace("\\\"", "\"").replace("\\'", "'"))
}
