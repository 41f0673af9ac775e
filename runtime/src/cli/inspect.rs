//! `pelton inspect`: what a component is, exports and needs.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use bytesize::ByteSize;
use clap::Args;
use pelton::plugin::{self, Access, Inspection, OtherVersion};

use super::{Exit, report};

/// Show what a component exports, imports and would have to be granted
///
/// Nothing of it is run.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pelton inspect price.wasm\n  \
    pelton inspect price.wasm --wit > price.wit\n  \
    pelton inspect price.wasm --json | jq .digest")]
pub struct Arguments {
    /// The component
    component: PathBuf,
    /// Print its world in WIT, and nothing else
    #[arg(long, conflicts_with = "json")]
    wit: bool,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

/// Reads the component and prints what it is.
pub fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let Arguments { component, wit, json } = arguments;
    let inspection =
        plugin::inspect(&component).with_context(|| format!("inspect {}", component.display()))?;
    let text = match (wit, json) {
        (true, _) => inspection.world,
        (_, true) => format!("{:#}\n", as_json(&inspection)),
        _ => as_text(&component, &inspection)?,
    };
    report::text(&text)?;
    Ok(Exit::Ok)
}

fn as_text(path: &Path, inspection: &Inspection) -> anyhow::Result<String> {
    let mut text = String::new();
    writeln!(text, "{}", path.display())?;
    writeln!(text, "  contract  {}", contract(inspection))?;
    for other in &inspection.other_contracts {
        writeln!(text, "            {other}, too, which does not count: the first does")?;
    }
    writeln!(text, "  size      {}", ByteSize(inspection.size))?;
    writeln!(text, "  digest    sha256:{}", inspection.digest)?;
    for producer in &inspection.producers {
        let line = format!("{} {} {}", producer.field, producer.name, producer.version);
        writeln!(text, "  made by   {}", line.trim_end())?;
    }
    for memory in &inspection.memories {
        let maximum = memory
            .maximum
            .map_or("the plugin's limit".to_owned(), |maximum| ByteSize(maximum).to_string());
        writeln!(text, "  memory    {} at the start, up to {maximum}", ByteSize(memory.initial))?;
    }
    section(&mut text, "exports", inspection.exports.iter().map(|name| (name.as_str(), "")))?;
    let imports = inspection.imports.iter().map(|import| (&*import.name, says(import.access)));
    section(&mut text, "imports", imports)?;
    writeln!(text, "\nin the manifest\n{}", grants(inspection))?;
    Ok(text)
}

fn contract(inspection: &Inspection) -> String {
    if let Some(OtherVersion { found, served, remedy }) = &inspection.other_version {
        return format!(
            "none that this host speaks: it exports {found}, which would have to be {served};\n            \
             {remedy}"
        );
    }
    inspection.contract.clone().unwrap_or_else(|| "none: it cannot be a plugin".to_owned())
}

fn section<'a>(
    text: &mut String,
    title: &str,
    lines: impl Iterator<Item = (&'a str, &'a str)>,
) -> anyhow::Result<()> {
    writeln!(text, "\n{title}")?;
    let mut n_lines = 0;
    for (name, remark) in lines {
        writeln!(text, "{}", format!("  {name:<44} {remark}").trim_end())?;
        n_lines += 1;
    }
    if n_lines == 0 {
        writeln!(text, "  nothing")?;
    }
    Ok(())
}

fn says(access: Access) -> &'static str {
    match access {
        Access::Served => "open to every plugin",
        Access::Granted("dirs") => "only the folders granted by `dirs`",
        Access::Granted("http") => "only the servers granted by `http`",
        Access::Granted(_) => "only what the manifest grants",
        Access::Denied => "answers that there is nothing: not granted in this version",
        Access::Unknown => "unknown: the component cannot be loaded",
    }
}

fn grants(inspection: &Inspection) -> String {
    let any = |access| inspection.imports.iter().any(|import| import.access == access);
    if inspection.other_version.is_some() {
        return "  it cannot be used: it is built for another version of the contract".to_owned();
    }
    if inspection.contract.is_none() {
        return "  it cannot be used: it exports no handler that is served".to_owned();
    }
    if any(Access::Unknown) {
        return "  it cannot be used: the host does not serve all that it imports".to_owned();
    }
    let imports = |names: &[&str]| {
        inspection.imports.iter().any(|import| names.iter().any(|it| import.name.starts_with(it)))
    };
    // Ours publishes what it returns: no import shows whether it does.
    let is_ours = inspection.contract.as_ref().is_some_and(|it| it.starts_with("pelton:events@"));
    let publishes = ["wasmcloud:messaging/consumer@", "wasi:messaging/producer@"];
    let asks = ["wasmcloud:messaging/consumer@", "wasi:messaging/request-reply@"];
    let examples = [
        (is_ours || imports(&publishes), "publish = [\"orders.priced\"]", "to publish"),
        (imports(&asks), "request = [\"rates.get\"]", "to ask and wait for the answer"),
        (any(Access::Granted("http")), "http = [\"https://api.example.com\"]", "to send requests"),
        (any(Access::Granted("dirs")), "dirs = { \"/data\" = \"./data\" }", "to read files"),
    ];
    let needed = examples.iter().filter(|(imported, ..)| *imported);
    let lines: Vec<_> =
        needed.map(|(_, line, purpose)| format!("  {line:<44} {purpose}, if it does")).collect();
    match lines.is_empty() {
        true => "  nothing to grant".to_owned(),
        false => lines.join("\n"),
    }
}

fn as_json(inspection: &Inspection) -> serde_json::Value {
    let imports = inspection
        .imports
        .iter()
        .map(|import| serde_json::json!({ "name": import.name, "access": says(import.access) }));
    let producers = inspection.producers.iter().map(|producer| {
        serde_json::json!({
            "field": producer.field, "name": producer.name, "version": producer.version,
        })
    });
    serde_json::json!({
        "contract": inspection.contract,
        "other-contracts": inspection.other_contracts,
        "other-version": inspection.other_version.as_ref().map(|other| serde_json::json!({
            "found": other.found, "served": other.served,
        })),
        "size": inspection.size,
        "digest": format!("sha256:{}", inspection.digest),
        "exports": inspection.exports,
        "imports": imports.collect::<Vec<_>>(),
        "producers": producers.collect::<Vec<_>>(),
        "memories": inspection.memories.iter().map(|memory| serde_json::json!({
            "initial": memory.initial, "maximum": memory.maximum,
        })).collect::<Vec<_>>(),
        "world": inspection.world,
    })
}
