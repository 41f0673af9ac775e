//! `[plugins.<name>.build]` as it is written.

use schemars::JsonSchema;
use toml::de::DeValue;

use crate::manifest::{
    build::{Command, Language},
    problem::quoted,
    reader::{Node, Report, Table},
    value::{self, File},
};

/// `[plugins.<name>.build]`: how `pelton build` makes the component. Known
/// languages need none of it.
#[derive(Debug, Default, JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Build {
    /// What the handler is written in; by default told from the files in
    /// `source`. `language = "rust"`
    #[schemars(extend("examples" = ["rust"]))]
    pub language: Option<Language>,
    /// The folder with the sources. By default the folder beside the manifest
    /// that is named like the component's file or like the plugin, else the
    /// component's own, else the manifest's. `source = "price"`
    #[schemars(extend("examples" = ["price"]))]
    pub source: Option<File>,
    /// What makes the component: a program with its arguments, or a line for
    /// the shell. It runs in `source` and writes the file that `component`
    /// names. `command = ["make", "price.wasm"]`
    #[schemars(with = "Option<CommandOrLine>", extend("examples" = [["make", "price.wasm"], "make price.wasm"]))]
    pub command: Option<Command>,
    /// Which files it is made of, relative to `source`; by default all that no
    /// tool has made. `watch = ["src/**/*.zig"]`
    #[schemars(extend("default" = [], "examples" = [["src/**/*.zig"]]))]
    pub watch: Option<Vec<String>>,
}

/// How a command may be written.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "describes `Command` in the JSON Schema")]
pub enum CommandOrLine {
    /// A program with its arguments.
    Program(#[schemars(length(min = 1))] Vec<String>),
    /// A line for the shell.
    Line(#[schemars(length(min = 1))] String),
}

impl Build {
    pub(super) fn read(table: &mut Table<'_, '_>) -> Build {
        Build {
            language: table.get("language", value::choice(&Language::ALL)),
            source: table.get("source", value::file),
            command: table.get("command", command),
            watch: table.get("watch", globs),
        }
    }
}

fn command(node: &Node<'_>, report: &mut Report) -> Option<Command> {
    let help = "write a list (`command = [\"make\", \"price.wasm\"]`) or a line for the shell \
        (`command = \"make price.wasm\"`)";
    match node.value {
        DeValue::String(_) => value::text(node, report).map(Command::Shell),
        DeValue::Array(items) if items.is_empty() => {
            report.add(value::empty_list(node, help));
            None
        }
        DeValue::Array(_) => {
            let words: Vec<_> = node.elements()?.map(|item| value::text(&item, report)).collect();
            words.into_iter().collect::<Option<_>>().map(Command::Program)
        }
        _ => {
            report.add(node.wrong_type("a list or a string", help));
            None
        }
    }
}

fn globs(node: &Node<'_>, report: &mut Report) -> Option<Vec<String>> {
    let Some(elements) = node.elements() else {
        report.add(node.wrong_type("a list of globs", "write it in brackets: [\"src/**/*.c\"]"));
        return None;
    };
    Some(elements.filter_map(|element| glob(&element, report)).collect())
}

fn glob(node: &Node<'_>, report: &mut Report) -> Option<String> {
    let text = value::text(node, report)?;
    match globset::Glob::new(&text) {
        Ok(_) => Some(text),
        Err(error) => {
            let message = format!("{} is not a glob: {}", quoted(&text), error.kind());
            let help = "`*` stands for a part of a name, `**` for any folders: \"src/**/*.c\"";
            report.add(node.problem("bad-glob", message).help(help));
            None
        }
    }
}
