//! Reads a parsed TOML tree into values and goes on after every mistake.
//!
//! Knows TOML and how to complain, not what a manifest contains: that is `raw`.

use std::collections::BTreeMap;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    problem::{Problem, quoted},
    schema,
    source::{Source, Target, join},
    suggest,
};

/// A value in the tree, with the path that leads to it.
pub struct Node<'t> {
    /// Such as `plugins.price.timeout`.
    pub path: String,
    /// The value as parsed.
    pub value: &'t DeValue<'t>,
}

/// The most mistakes that are kept: whoever made more has taken the wrong file.
const MAX_PROBLEMS: usize = 1_000;
/// The most subjects in a manifest: each is compared with all others.
const MAX_SUBJECTS: usize = 4_096;
/// The most plugins, and the most streams, in a manifest.
const MAX_NAMED: usize = 1_000;

/// The mistakes found so far.
#[derive(Debug)]
pub struct Report {
    problems: Vec<Problem>,
    n_subjects: usize,
    dialect: Dialect,
}

/// What kind of file is read, for what is said of its keys.
#[derive(Debug, Clone, Copy)]
pub struct Dialect {
    /// Such as `a manifest`.
    pub name: &'static str,
    /// The tables of such a file that have a key, as they are written.
    pub tables_with: fn(&str) -> Vec<String>,
}

impl Default for Report {
    fn default() -> Report {
        Report::of(Dialect { name: "a manifest", tables_with: schema::tables_with })
    }
}

/// A table that is being read, key by key.
pub struct Table<'t, 'r> {
    path: String,
    entries: &'t DeTable<'t>,
    known: Vec<&'static str>,
    missing: Vec<(&'static str, Problem)>,
    report: &'r mut Report,
}

impl Report {
    /// No mistakes yet in a file of this kind.
    pub fn of(dialect: Dialect) -> Report {
        Report { problems: Vec::new(), n_subjects: 0, dialect }
    }

    /// Adds a problem, unless there are too many already.
    pub fn add(&mut self, problem: Problem) {
        match self.problems.len() {
            n if n < MAX_PROBLEMS => self.problems.push(problem),
            n if n == MAX_PROBLEMS => self.problems.push(
                Problem::new("too-many", format!("there are more than {MAX_PROBLEMS} problems"))
                    .help("is it the right file? What follows was not looked at to its end"),
            ),
            _ => {}
        }
    }

    /// Whether no more problems are kept.
    fn is_full(&self) -> bool {
        self.problems.len() > MAX_PROBLEMS
    }

    /// Makes room for the subjects of a list; `false`: there are too many.
    pub fn admit_subjects(&mut self, n: usize) -> bool {
        let has_room = n <= MAX_SUBJECTS - self.n_subjects;
        if has_room {
            self.n_subjects += n;
        }
        has_room
    }

    /// Whether none of `paths` has a problem, so that it makes sense to compare them.
    pub fn is_sound(&self, paths: &[&str]) -> bool {
        !self.problems.iter().any(|problem| paths.iter().any(|path| problem.concerns(path)))
    }

    /// All problems, in the order in which they were found.
    pub fn into_problems(self) -> Vec<Problem> {
        self.problems
    }
}

impl<'t> Node<'t> {
    /// A problem with this value.
    pub fn problem(&self, code: &'static str, message: impl Into<String>) -> Problem {
        Problem::new(code, message).label(Target::Value(self.path.clone()), "")
    }

    /// The value has another type than `expected`, such as ``a string``.
    pub fn wrong_type(&self, expected: &str, help: &str) -> Problem {
        let found = kind(self.value);
        let message = format!("`{}` must be {expected}, not {found}", self.path);
        Problem::new("wrong-type", message)
            .label(Target::Value(self.path.clone()), format!("this is {found}"))
            .help(help)
    }

    /// The text of a string.
    pub fn text(&self, expected: &str, help: &str, report: &mut Report) -> Option<&'t str> {
        let text = self.value.as_str();
        if text.is_none() {
            report.add(self.wrong_type(expected, help));
        }
        text
    }

    /// The elements of an array, each with its path.
    pub fn elements(&self) -> Option<impl Iterator<Item = Node<'t>>> {
        let item = |(index, item): (usize, &'t Spanned<DeValue<'t>>)| Node {
            path: format!("{}[{index}]", self.path),
            value: item.get_ref(),
        };
        Some(self.value.as_array()?.iter().enumerate().map(item))
    }

    /// Reads a table with `read`; keys that `read` did not ask for are mistakes.
    pub fn table<T>(
        &self,
        report: &mut Report,
        read: impl FnOnce(&mut Table<'t, '_>) -> T,
    ) -> Option<T> {
        let Some(entries) = self.value.as_table() else {
            report.add(self.wrong_type(
                "a table",
                &format!("write `[{}]` on a line of its own, and its keys below", self.path),
            ));
            return None;
        };
        Some(Table::read(&self.path, entries, report, read))
    }

    /// Reads a table of tables with names of the user's choice.
    pub fn named<T>(
        &self,
        report: &mut Report,
        mut read: impl FnMut(&str, &Node<'t>, &mut Report) -> Option<T>,
    ) -> Option<BTreeMap<String, T>> {
        let Some(entries) = self.value.as_table() else {
            let help =
                format!("write `[{}.NAME]` on a line of its own, and its keys below", self.path);
            report.add(self.wrong_type("a table", &help));
            return None;
        };
        if entries.len() > MAX_NAMED {
            let message =
                format!("`{}` has {} entries, more than {MAX_NAMED}", self.path, entries.len());
            report.add(
                self.problem("too-many", message)
                    .help("take some out, or divide the manifest between several hosts"),
            );
            return None;
        }
        let mut named = BTreeMap::new();
        for (key, value) in entries {
            let node = Node { path: join(&self.path, key.get_ref()), value: value.get_ref() };
            if let Some(value) = read(key.get_ref(), &node, report) {
                named.insert(key.get_ref().to_string(), value);
            }
        }
        Some(named)
    }
}

impl<'t> Table<'t, '_> {
    /// Reads `entries` with `read`, then reports the keys it did not ask for.
    pub fn read<T>(
        path: &str,
        entries: &'t DeTable<'t>,
        report: &mut Report,
        read: impl FnOnce(&mut Table<'t, '_>) -> T,
    ) -> T {
        let path = path.to_owned();
        let mut table = Table { path, entries, known: Vec::new(), missing: Vec::new(), report };
        let value = read(&mut table);
        table.report_keys();
        value
    }

    /// The value of `key`, if it is there and `read` finds nothing wrong.
    pub fn get<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Node<'t>, &mut Report) -> Option<T>,
    ) -> Option<T> {
        self.known.push(key);
        let value = self.entries.get(key)?.get_ref();
        read(&Node { path: join(&self.path, key), value }, self.report)
    }

    /// Like [`Table::get`]; without the key there is a problem. `example` is a
    /// line that sets it.
    pub fn need<T>(
        &mut self,
        key: &'static str,
        example: &str,
        read: impl FnOnce(&Node<'t>, &mut Report) -> Option<T>,
    ) -> Option<T> {
        let missing = Problem::new("missing-key", format!("`{}` has no `{key}`", self.path))
            .label(Target::Value(self.path.clone()), format!("`{key}` is missing here"))
            .help(format!("add, for example:\n`{example}`"));
        self.need_or(key, missing, read)
    }

    /// Like [`Table::get`]; without the key, `missing` is the problem, unless
    /// the key is there in another spelling.
    pub fn need_or<T>(
        &mut self,
        key: &'static str,
        missing: Problem,
        read: impl FnOnce(&Node<'t>, &mut Report) -> Option<T>,
    ) -> Option<T> {
        if !self.entries.contains_key(key) {
            self.missing.push((key, missing));
        }
        self.get(key, read)
    }

    /// Whether `key` is there.
    pub fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// The path that leads to this table.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// For what is wrong with several keys together.
    pub fn report(&mut self) -> &mut Report {
        self.report
    }

    /// A table inside this one.
    pub fn section<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Table<'t, '_>) -> T,
    ) -> Option<T> {
        self.get(key, |node, report| node.table(report, read))
    }

    fn report_keys(mut self) {
        for key in self.entries.keys().map(|key| key.get_ref().as_ref()) {
            if self.known.contains(&key) {
                continue;
            }
            // To look for what each of a million keys could mean takes minutes.
            if self.report.is_full() {
                break;
            }
            let meant = suggest::nearest(key, self.known.iter().copied());
            self.missing.retain(|(missing, _)| Some(*missing) != meant);
            let problem = self.unknown_key(key, meant);
            self.report.add(problem);
        }
        for (_, problem) in self.missing {
            self.report.add(problem);
        }
    }

    fn unknown_key(&self, key: &str, meant: Option<&str>) -> Problem {
        let place = match self.path.as_str() {
            "" => format!("at the top of {}", self.report.dialect.name),
            path => format!("in `[{path}]`"),
        };
        let problem = Problem::new("unknown-key", format!("unknown key {} {place}", quoted(key)))
            .label(Target::Key(join(&self.path, key)), "not known here");
        if let Some(meant) = meant {
            return problem.help(format!("did you mean `{meant}`?"));
        }
        match (self.report.dialect.tables_with)(key).as_slice() {
            [] => problem.help(format!("the keys here are: {}", self.known.join(", "))),
            tables => problem.help(format!("it is a key of `[{}]`", tables.join("]`, `["))),
        }
    }
}

/// What a value is, as a message says it.
pub fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// Parses `text` and notes in `source` where everything stands.
pub fn parse<'t>(text: &'t str, source: &mut Source) -> Result<DeTable<'t>, Problem> {
    match DeTable::parse(text) {
        Ok(document) => {
            let document = document.into_inner();
            source.index(&document);
            Ok(document)
        }
        Err(error) => Err(syntax(text, &error)),
    }
}

fn syntax(text: &str, error: &toml::de::Error) -> Problem {
    let span = error.span().unwrap_or(text.len()..text.len());
    let at = Target::Bytes(span.clone());
    if error.message().contains("duplicate key") {
        let name = text.get(span).unwrap_or_default();
        let message = format!("{} is there twice in the same table", quoted(name));
        let help = "names of plugins, of streams and of keys are unique: rename one, or put the two together";
        return Problem::new("syntax", message).label(at, "the second one").help(help);
    }
    let help = "texts need quotes (\"2s\"), names of tables brackets (`[host]`); \
        what follows was not looked at";
    Problem::new("syntax", format!("this is not TOML: {}", error.message()))
        .label(at, "")
        .help(help)
}
