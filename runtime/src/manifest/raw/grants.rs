//! What a plugin may reach outside its sandbox, as it is written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use toml::de::DeValue;

use super::{Secret, place, plugin::scalar_text};
use crate::manifest::{
    problem::quoted,
    reader::{Node, Report},
    value::{self, File},
};

/// The longest name of an environment variable, in bytes.
const MAX_NAME: usize = 256;

/// The value of an environment variable.
#[derive(Debug, Clone)]
pub enum Variable {
    /// Written here. Numbers and booleans are given as text.
    Text(String),
    /// Kept elsewhere.
    Secret(Secret),
}

/// How the value of a variable is written: text, or where it is kept.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "describes `Variable` in the JSON Schema")]
pub enum Value {
    /// The value. `KEY = "value"`
    Text(String),
    /// A number, given as text.
    Integer(i64),
    /// A number, given as text.
    Number(f64),
    /// `true` or `false`, given as text.
    Flag(bool),
    /// A secret: `TOKEN = { from-env = "TOKEN" }`, `{ from-file = "token.txt" }`
    Secret(Secret),
}

/// A folder, or where it is and whether it may be changed.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(untagged)]
pub enum Folder {
    /// Where it is; the guest may only read. `"/data" = "./data"`
    Host(File),
    /// `"/data" = { host = "./data", read-only = false }`
    Table(FolderTable),
}

/// Where a folder is, and whether it may be changed.
#[derive(Debug, Clone, Default, JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FolderTable {
    /// Where it is on the host. `host = "./data"`
    #[schemars(required)]
    pub host: Option<File>,
    /// Whether the guest may only read. `read-only = true`
    pub read_only: Option<bool>,
}

impl Folder {
    /// Where it is on the host.
    pub fn host(&self) -> Option<&File> {
        match self {
            Folder::Host(host) => Some(host),
            Folder::Table(table) => table.host.as_ref(),
        }
    }

    /// Whether the guest may only read.
    pub fn read_only(&self) -> bool {
        !matches!(self, Folder::Table(FolderTable { read_only: Some(false), .. }))
    }
}

/// Reads the table of folders.
pub fn dirs(node: &Node<'_>, report: &mut Report) -> Option<BTreeMap<String, Folder>> {
    if !node.value.is_table() {
        let help = "write `dirs = { \"/data\" = { host = \"./data\", read-only = true } }`";
        report.add(node.wrong_type("a table of folders", help));
        return None;
    }
    node.named(report, |guest, node, report| {
        is_guest_path(guest, node, report).then(|| folder(node, report))?
    })
}

fn folder(node: &Node<'_>, report: &mut Report) -> Option<Folder> {
    match node.value {
        DeValue::String(_) => value::file(node, report).map(Folder::Host),
        DeValue::Table(_) => node
            .table(report, |table| FolderTable {
                host: table.need("host", "host = \"./data\"", value::file),
                read_only: table.get("read-only", value::flag),
            })
            .map(Folder::Table),
        _ => {
            let help = "write the folder's path, or { host = \"./data\", read-only = false }";
            report.add(node.wrong_type("a path or a table", help));
            None
        }
    }
}

fn is_guest_path(guest: &str, node: &Node<'_>, report: &mut Report) -> bool {
    let wrong = match guest {
        "/" => return true,
        "" => "it is empty",
        path if !path.starts_with('/') => "it does not begin with `/`",
        path if path.contains('\0') => "it contains a NUL character",
        path if path.split('/').skip(1).any(|part| part == ".." || part == ".") => {
            "it has `.` or `..` in it"
        }
        path if path.ends_with('/') || path.contains("//") => "there is nothing after a `/` in it",
        _ => return true,
    };
    let message = format!("{} cannot be where a guest sees a folder: {wrong}", quoted(guest));
    report
        .add(node.problem("bad-folder", message).help("write an absolute path, such as \"/data\""));
    false
}

/// Reads the table of environment variables.
pub fn env(node: &Node<'_>, report: &mut Report) -> Option<BTreeMap<String, Variable>> {
    if !node.value.is_table() {
        let help = "write `env = { KEY = \"value\", TOKEN = { from-env = \"TOKEN\" } }`";
        report.add(node.wrong_type("a table of variables", help));
        return None;
    }
    node.named(report, |name, node, report| {
        is_name(name, node, report).then(|| variable(name, node, report))?
    })
}

fn variable(name: &str, node: &Node<'_>, report: &mut Report) -> Option<Variable> {
    let help = format!(
        "write `{name} = \"value\"`, or for a secret `{name} = {{ from-env = \"{name}\" }}` or `{name} = {{ from-file = \"{}.txt\" }}`",
        name.to_lowercase()
    );
    match node.value {
        DeValue::Table(_) => place(node, &help, report).map(Variable::Secret),
        DeValue::Array(_) => {
            report.add(node.wrong_type("text, or where a secret is", &help));
            None
        }
        scalar => {
            let text = scalar_text(scalar)?;
            if text.contains('\0') {
                let message = format!("`{}` contains a NUL character", node.path);
                report.add(node.problem("bad-variable", message).help(help));
                return None;
            }
            Some(Variable::Text(text))
        }
    }
}

fn is_name(name: &str, node: &Node<'_>, report: &mut Report) -> bool {
    let is_good = |c: char| !c.is_control() && !c.is_whitespace() && c != '=';
    let good = !name.is_empty() && name.len() <= MAX_NAME && name.chars().all(is_good);
    if !good {
        let message = format!("{} cannot be the name of an environment variable", quoted(name));
        let help = "use 1 to 256 letters, digits and `_`: no spaces, no `=`";
        report.add(node.problem("bad-variable", message).help(help));
    }
    good
}
