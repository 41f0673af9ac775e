//! What a component says about itself, as data. Whoever asks prints it.

use std::path::Path;

use wasmparser::{Parser, Payload};
use wit_component::WitPrinter;

use super::{
    component::{Access, Examined, LoadError, access},
    contract::Contract,
};

/// What is known of a component without running it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// The contract it speaks, as package and version; `None`: it cannot be a plugin.
    pub contract: Option<String>,
    /// Others that it speaks, too, and that do not count here.
    pub other_contracts: Vec<String>,
    /// Why it speaks none, if that is a matter of versions.
    pub other_version: Option<OtherVersion>,
    /// Everything it exports.
    pub exports: Vec<String>,
    /// Everything it imports, and how far that is served.
    pub imports: Vec<Import>,
    /// Its world in WIT.
    pub world: String,
    /// The size of its file, in bytes.
    pub size: u64,
    /// SHA-256 of its file, in 64 hexadecimal digits.
    pub digest: String,
    /// The linear memories of all its modules.
    pub memories: Vec<MemorySize>,
    /// The tables of all its modules.
    pub tables: Vec<TableSize>,
    /// Languages and tools that made it, without duplicates.
    pub producers: Vec<Producer>,
}

/// A handler of another version of a contract than the host's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherVersion {
    /// What it exports.
    pub found: String,
    /// What is served in its place.
    pub served: &'static str,
    /// What to do, for people.
    pub remedy: &'static str,
}

/// One import of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// The interface, with its version.
    pub name: String,
    /// How far it is served.
    pub access: Access,
}

/// One linear memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemorySize {
    /// At the start.
    pub initial: u64,
    /// At most; `None`: 4 GiB, or the plugin's limit.
    pub maximum: Option<u64>,
}

/// One table, in elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableSize {
    /// At the start.
    pub initial: u64,
    /// At most; `None`: the plugin's limit.
    pub maximum: Option<u64>,
}

/// One entry of a producers section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Producer {
    /// `language`, `processed-by` or `sdk`.
    pub field: String,
    /// The language or tool.
    pub name: String,
    /// Its version, which may be empty.
    pub version: String,
}

/// The contract that the component at `path` speaks, as package and version, if it
/// is not our own: it was made for another host. `None` also if it cannot be read.
pub fn foreign_contract(path: &Path) -> Option<&'static str> {
    let contract = Contract::spoken(&Examined::read(path).ok()?.exports()).next()?;
    (contract != Contract::Events).then(|| contract.name())
}

/// Reads and validates a component. One of the wrong world is no error here.
pub fn inspect(path: &Path) -> Result<Inspection, LoadError> {
    let found = Examined::read(path)?;
    found.validate(path)?;
    let exports = found.exports();
    let mut contracts = Contract::spoken(&exports).map(|it| it.name().to_owned());
    let (contract, other_contracts) = (contracts.next(), contracts.collect());
    let other = Contract::other_version(&exports).filter(|_| contract.is_none());
    let other_version = other.map(|(contract, found)| OtherVersion {
        found: found.to_owned(),
        served: contract.handler(),
        remedy: contract.remedy(),
    });
    let mut inspection = Inspection {
        contract,
        other_version,
        other_contracts,
        imports: found
            .imports()
            .into_iter()
            .map(|name| Import { access: access(&name), name })
            .collect(),
        exports,
        world: print(&found),
        size: found.bytes.len() as u64,
        digest: found.digest,
        memories: Vec::new(),
        tables: Vec::new(),
        producers: Vec::new(),
    };
    for payload in Parser::new(0).parse_all(&found.bytes).flatten() {
        inspection.add(&payload);
    }
    Ok(inspection)
}

impl Inspection {
    /// Adds what one section of one of its modules says. The whole was validated
    /// before, so what cannot be read is custom data, which may be anything.
    fn add(&mut self, section: &Payload<'_>) {
        match section {
            Payload::MemorySection(memories) => {
                let memories = memories.clone().into_iter().flatten();
                self.memories.extend(memories.map(|memory| MemorySize {
                    initial:
                        memory.initial.saturating_mul(1 << memory.page_size_log2.unwrap_or(16)),
                    maximum: memory.maximum.map(|pages| {
                        pages.saturating_mul(1 << memory.page_size_log2.unwrap_or(16))
                    }),
                }));
            }
            Payload::TableSection(tables) => {
                let tables = tables.clone().into_iter().flatten();
                self.tables.extend(tables.map(|table| TableSize {
                    initial: table.ty.initial,
                    maximum: table.ty.maximum,
                }));
            }
            Payload::CustomSection(custom) if custom.name() == "producers" => {
                self.add_producers(custom.data())
            }
            _ => (),
        }
    }

    fn add_producers(&mut self, section: &[u8]) {
        let Ok(producers) = wasm_metadata::Producers::from_bytes(section, 0) else {
            return;
        };
        for (field, entries) in producers.iter() {
            for (name, version) in entries.iter() {
                let producer =
                    Producer { field: field.clone(), name: name.clone(), version: version.clone() };
                if !self.producers.contains(&producer) {
                    self.producers.push(producer);
                }
            }
        }
    }
}

/// The world as text; the reason if it has a form that cannot be printed.
fn print(found: &Examined) -> String {
    let Some(package) = found.resolve.worlds.get(found.world).and_then(|world| world.package)
    else {
        return String::new();
    };
    let mut printer = WitPrinter::default();
    match printer.print(&found.resolve, package, &[]) {
        Ok(()) => printer.output.to_string(),
        Err(error) => format!("// {error:#}"),
    }
}
