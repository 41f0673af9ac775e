//! A `*.test.toml` file as it is written: every key, and what may be wrong
//! with it. Read in the same way as a manifest, with the same diagnostics.
//!
//! Payload files and files of events are read here too, so that a case is
//! complete; nothing is run, and no component is looked at.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use toml::de::DeValue;

use super::case::{Case, Expected, Outputs, Run, Settings};
use crate::manifest::{
    Problem, Problems,
    problem::quoted,
    reader::{self, Dialect, Node, Report, Table},
    source::{Source, Target, join},
    value,
};

mod event;
mod expect;
mod lines;
mod settings;
pub mod write;

/// How the names of such files end.
pub const ENDING: &str = ".test.toml";
/// The largest test file, in bytes.
const MAX_BYTES: u64 = 16 << 20;
/// The largest file with payloads or events, in bytes.
const MAX_DATA: u64 = 256 << 20;
/// The most cases in a file.
const MAX_CASES: usize = 100_000;

/// A test file, read and checked by itself.
#[derive(Debug, Clone)]
pub struct File {
    /// The file, as it was named.
    pub path: PathBuf,
    /// The manifest that it is about.
    pub manifest: PathBuf,
    /// Its cases, in order.
    pub cases: Vec<Case>,
    /// Files beside it that were read, or are written with `--update`.
    pub beside: Vec<PathBuf>,
    source: Source,
}

/// What every reader needs to know.
struct Context<'a> {
    /// The folder in which paths begin.
    base: &'a Path,
    source: &'a Source,
    defaults: &'a Defaults,
}

/// `[defaults]`
#[derive(Debug, Default)]
struct Defaults {
    plugin: Option<String>,
    settings: Settings,
}

impl File {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// Everything that is wrong with it, as far as it can be known without the
    /// manifest.
    pub fn load(path: &Path) -> Result<File, Problems> {
        let name = path.display().to_string();
        let alone = |problem| Problems::of(&Source::new(&name, ""), vec![problem]);
        let bytes = read(path, MAX_BYTES).map_err(|problem| {
            alone(
                Problem::new("test-file", format!("the test file `{name}` {problem}"))
                    .help("name a file that ends in `.test.toml`, or a folder with such files"),
            )
        })?;
        let text = String::from_utf8(bytes).map_err(|_| {
            let message = format!("the test file `{name}` is not UTF-8");
            alone(Problem::new("not-utf8", message).help("save the file as UTF-8"))
        })?;
        File::parse(path, text.strip_prefix('\u{feff}').unwrap_or(&text))
    }

    /// Reads `text`, which is that of the file `path`.
    ///
    /// # Errors
    /// As [`File::load`].
    pub fn parse(path: &Path, text: &str) -> Result<File, Problems> {
        let mut source = Source::new(&path.display().to_string(), text);
        let document = reader::parse(text, &mut source);
        let document = document.map_err(|problem| Problems::of(&source, vec![problem]))?;
        let mut report = Report::of(Dialect { name: "a test file", tables_with: no_tables });
        let base = path.parent().unwrap_or(Path::new("")).to_owned();
        let (manifest, cases) = Table::read("", &document, &mut report, |table| {
            let manifest = table.get("manifest", value::file);
            let defaults = table.section("defaults", Defaults::read).unwrap_or_default();
            let context = Context { base: &base, source: &source, defaults: &defaults };
            let cases =
                table.need_or("case", no_cases(), |node, report| cases(node, &context, report));
            (manifest, cases)
        });
        match report.into_problems() {
            problems if problems.is_empty() => {
                let manifest = manifest.map_or(PathBuf::from("pelton.toml"), |file| file.0);
                let cases = cases.unwrap_or_default();
                let beside = cases.iter().flat_map(beside).collect();
                Ok(File {
                    path: path.to_owned(),
                    manifest: base.join(manifest),
                    cases,
                    beside,
                    source,
                })
            }
            problems => Err(Problems::of(&source, problems)),
        }
    }

    /// The problem that the manifest is not there.
    pub fn without_manifest(&self) -> Problems {
        let message = format!(
            "there is no manifest at `{}`, and the plugins that are tested are in it",
            self.manifest.display()
        );
        let problem = Problem::new("manifest", message)
            .label(Target::Key("manifest".to_owned()), "")
            .help("put the test file beside its `pelton.toml`, or name the manifest at the top of the test file: `manifest = \"../pelton.toml\"`");
        self.problems(vec![problem])
    }

    /// Problems of this file that were found with the help of its manifest.
    pub fn problems(&self, problems: Vec<Problem>) -> Problems {
        Problems::of(&self.source, problems)
    }
}

fn no_tables(_: &str) -> Vec<String> {
    Vec::new()
}

fn no_cases() -> Problem {
    Problem::new("no-cases", "the file has no cases: there is nothing to test").help(
        "add one, for example:\n\
         [[case]]\n\
         name = \"an order is priced\"\n\
         event = { subject = \"orders.created\", json = { total = 10 } }\n\
         expect = [{ subject = \"orders.priced\", json = { total = 12 } }]",
    )
}

/// Snapshots, which may be another's the next time.
fn beside(case: &Case) -> Vec<PathBuf> {
    use super::case::Whole;
    match &case.expected.outputs {
        Outputs::Snapshot(file) => vec![file.clone()],
        Outputs::Listed { list, .. } => list
            .iter()
            .filter_map(|wanted| match &wanted.payload.whole {
                Some(Whole::Snapshot(file)) => Some(file.clone()),
                _ => None,
            })
            .collect(),
    }
}

impl Defaults {
    fn read(table: &mut Table<'_, '_>) -> Defaults {
        Defaults { plugin: table.get("plugin", plugin_name), settings: settings::read(table) }
    }
}

fn cases(node: &Node<'_>, context: &Context<'_>, report: &mut Report) -> Option<Vec<Case>> {
    let Some(elements) = node.elements() else {
        report.add(node.wrong_type("a list of tables", "write `[[case]]` on a line of its own"));
        return None;
    };
    let mut cases: Vec<Case> = Vec::new();
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for element in elements.take(MAX_CASES) {
        let case = element.table(report, |table| case(table, &element, context)).flatten();
        let Some(case) = case else { continue };
        let path = format!("{}.name", element.path);
        if let Some(first) = names.get(&case.name) {
            report.add(named_twice(&case.name, &path, first));
        }
        names.entry(case.name.clone()).or_insert(path);
        cases.push(case);
    }
    if node.value.as_array().is_some_and(|cases| cases.is_empty()) {
        report.add(no_cases().label(Target::Key(node.path.clone()), "there is none in here"));
    }
    Some(cases)
}

fn named_twice(name: &str, path: &str, first: &str) -> Problem {
    Problem::new("duplicate", format!("two cases are named {}", quoted(name)))
        .label(Target::Value(path.to_owned()), "again here")
        .label(Target::Value(first.to_owned()), "first here")
        .help("give each case a name of its own: `--filter` and reports go by it")
}

fn case<'t>(table: &mut Table<'t, '_>, node: &Node<'t>, context: &Context<'_>) -> Option<Case> {
    let name = table.need("name", "name = \"an order is priced\"", value::text);
    let plugin = table.get("plugin", plugin_name).or_else(|| context.defaults.plugin.clone());
    let skip = table.get("skip", skip);
    let only = table.get("only", value::flag).unwrap_or(false);
    let events = event::events(table, node, context);
    let own = settings::read(table);
    let expected = expected(table, node, context, plugin.is_some());
    let run = match (skip, only) {
        (Some(Some(reason)), _) => Run::Skip(reason),
        (_, true) => Run::Only,
        _ => Run::Yes,
    };
    Some(Case {
        name: name?,
        line: context.line(&node.path),
        plugin,
        run,
        events: events?,
        settings: settings::over(own, &context.defaults.settings),
        expected: expected?,
    })
}

fn expected<'t>(
    table: &mut Table<'t, '_>,
    node: &Node<'t>,
    context: &Context<'_>,
    is_single: bool,
) -> Option<Expected> {
    let list = table.get("expect", |node, report| expect::outputs(node, context, report));
    let snapshot = table.get("snapshot", value::file);
    let in_order = table.get("order", value::choice(&[("given", true), ("any", false)]));
    let others = table.get("others", value::choice(&[("refuse", false), ("allow", true)]));
    let failure = table.get("failure", expect::failure);
    let dead_letters =
        table.get("dead-letters", |node, report| expect::dead_letters(node, context, report));
    let log = table.get("log", expect::log);
    let outputs = match (list, snapshot) {
        (Some(_), Some(_)) => {
            let key = |key: &str| join(&node.path, key);
            table.report().add(
                Problem::new("two-ways", "a case has either `expect` or `snapshot`")
                    .label(Target::Key(key("snapshot")), "all outputs, as they were")
                    .label(Target::Key(key("expect")), "each output by itself")
                    .help("remove one of the two; a line of `expect` can have a `snapshot` of its own"),
            );
            return None;
        }
        (None, Some(file)) => Outputs::Snapshot(context.base.join(file.0)),
        (list, None) => Outputs::Listed {
            list: list.unwrap_or_default(),
            in_order: in_order.unwrap_or(is_single),
            others: others.unwrap_or(false),
        },
    };
    Some(Expected { outputs, failure, dead_letters, log })
}

fn plugin_name(node: &Node<'_>, report: &mut Report) -> Option<String> {
    value::name("the name of a plugin")(node, report).map(|name| name.0)
}

/// `true`, or why.
fn skip(node: &Node<'_>, report: &mut Report) -> Option<Option<Option<String>>> {
    match node.value {
        DeValue::Boolean(flag) => Some(flag.then_some(None)),
        DeValue::String(reason) => Some(Some(Some(reason.to_string()))),
        _ => {
            let help = "write `skip = true`, or why: `skip = \"waits for the price list\"`";
            report.add(node.wrong_type("true, false or a reason", help));
            None
        }
    }
}

impl Context<'_> {
    /// The line in which the value at `path` stands, counted from 1.
    fn line(&self, path: &str) -> usize {
        let span = self.source.locate(&Target::Value(path.to_owned()));
        span.map_or(1, |span| self.source.line_and_column(span.start).0)
    }

    /// The bytes of a file beside the test file.
    fn data(&self, node: &Node<'_>, file: &Path, report: &mut Report) -> Option<Vec<u8>> {
        let path = self.base.join(file);
        match read(&path, MAX_DATA) {
            Ok(bytes) => Some(bytes),
            Err(problem) => {
                let message = format!("`{}` {problem}", path.display());
                let help = "relative paths begin at the folder of the test file";
                report.add(node.problem("file", message).help(help));
                None
            }
        }
    }
}

/// The bytes of a file of a limited size, or what is wrong with it.
fn read(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    let wrong = |error: &io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => "is not there".to_owned(),
        io::ErrorKind::PermissionDenied => "may not be read".to_owned(),
        _ => format!("cannot be read: {error}"),
    };
    let metadata = fs::metadata(path).map_err(|error| wrong(&error))?;
    if !metadata.is_file() {
        return Err("is not a file".to_owned());
    }
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(|error| wrong(&error))?;
    file.take(most + 1).read_to_end(&mut bytes).map_err(|error| wrong(&error))?;
    match bytes.len() as u64 > most {
        true => Err(format!("is larger than {}", bytesize::ByteSize(most))),
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests;
