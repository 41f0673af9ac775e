//! The table at the end: what was built, how large it is and what it imports.

use bytesize::ByteSize;
use pelton::{
    build::{Built, Freshness, Report},
    plugin::{Access, Inspection},
};

/// One line for each plugin.
pub fn table(built: &[(&Report, &Built)]) -> String {
    let head = ["plugin", "language", "result", "size", "imports"].map(str::to_owned);
    let mut rows = vec![head];
    rows.extend(built.iter().map(|(report, built)| row(report, built)));
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<_> = (0..5).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &[String; 5]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

fn row(report: &Report, built: &Built) -> [String; 5] {
    let language = report.language.map_or("–".to_owned(), |language| language.to_string());
    let result = match built.freshness {
        Freshness::Built => format!("built in {:.1} s", report.elapsed.as_secs_f64()),
        Freshness::UpToDate => "up to date".to_owned(),
        Freshness::Prebuilt => "prebuilt, no sources".to_owned(),
    };
    let size = ByteSize(built.inspection.size).to_string();
    [report.plugin.clone(), language, result, size, imports(&built.inspection)]
}

/// Interfaces in short: those of the contract by name, of others the packages.
fn imports(inspection: &Inspection) -> String {
    let mut names: Vec<String> = Vec::new();
    for import in &inspection.imports {
        let name = import.name.split('@').next().unwrap_or_default();
        let name = match name.strip_prefix("pelton:events/") {
            Some("types") => continue,
            Some(own) => own.to_owned(),
            None => name.split('/').next().unwrap_or_default().to_owned(),
        };
        let name = match import.access {
            Access::Denied => format!("{name} (denied)"),
            _ => name,
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}
