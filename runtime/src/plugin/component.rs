//! A component's file: read, told apart from what it is often mistaken for, and
//! held against the contract. Nothing is compiled here.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};
use wasmparser::{BinaryReaderError, Validator, WasmFeatures};
use wit_component::DecodedWasm;
use wit_parser::{Resolve, WorldId};

use super::{CallError, contract::Contract};
use crate::manifest::Unusable;

/// The largest file that is read, in bytes.
const LARGEST: u64 = 256 << 20;

/// What the host serves of the contracts, and what components for other hosts
/// import besides.
const SERVED: [&str; 13] = [
    "pelton:events/types@0.1.0",
    "pelton:events/log@0.1.0",
    "pelton:events/config@0.1.0",
    "wasmcloud:messaging/types@0.2.0",
    "wasmcloud:messaging/consumer@0.2.0",
    "wasi:messaging/types@0.2.0-draft",
    "wasi:messaging/producer@0.2.0-draft",
    "wasi:messaging/request-reply@0.2.0-draft",
    "wasi:config/runtime@0.2.0-draft",
    "wasi:config/store@0.2.0-draft",
    "wasi:config/store@0.2.0-rc.1",
    "wasi:logging/logging@0.1.0-draft",
    "wasi:logging/logging",
];

/// Packages of WASI 0.2 that are served, as far as they need no grant.
const WASI: [&str; 4] = ["wasi:io/", "wasi:clocks/", "wasi:random/", "wasi:cli/"];

/// Packages of WASI 0.2 that work as far as a key of the manifest grants them.
const GRANTED: [(&str, &str); 2] = [("wasi:filesystem/", "dirs"), ("wasi:http/", "http")];

/// Packages of WASI 0.2 that a component may import although every use is refused.
const DENIED: [&str; 1] = ["wasi:sockets/"];

/// Why a component cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// There is no such file.
    #[error("{p}: no such file; build the plugin first, or correct `component`", p = path.display())]
    Missing {
        /// The component's file, as in all variants.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error("{p}: cannot be read: {source}; check its permissions", p = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A folder, a device or the like.
    #[error("{p}: not a file; name the .wasm file itself", p = path.display())]
    NotAFile {
        /// What is there.
        path: PathBuf,
    },
    /// The file is larger than 256 MiB.
    #[error("{p}: larger than 256 MiB; strip its debug information (wasm-tools strip)", p = path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file has no bytes.
    #[error("{p}: empty; the build that should write it has failed", p = path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The file is something else.
    #[error("{p}: not WebAssembly: it looks like {looks}; name the .wasm file that your build writes", p = path.display())]
    NotWasm {
        /// The file.
        path: PathBuf,
        /// What it looks like.
        looks: &'static str,
    },
    /// WebAssembly in its text format.
    #[error("{p}: WebAssembly text; translate it first: wasm-tools parse {p} -o component.wasm", p = path.display())]
    Text {
        /// The file.
        path: PathBuf,
    },
    /// WebAssembly that ends too early or breaks a rule.
    #[error("{p}: damaged or cut off at byte {offset}: {message}; build or copy it again", p = path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Where, in bytes from its beginning.
        offset: usize,
        /// What is wrong there.
        message: String,
    },
    /// A core module.
    #[error("{p}: a core module, not a component; build for wasm32-wasip2, or: pelton componentize {p} -o component.wasm", p = path.display())]
    CoreModule {
        /// The file.
        path: PathBuf,
    },
    /// A WIT package in binary form: types without code.
    #[error("{p}: an interface without code (a WIT package); name the component that implements it", p = path.display())]
    Interface {
        /// The file.
        path: PathBuf,
    },
    /// A component for something else.
    #[error("{p}: exports no handler that is served ({}); it exports {}; implement the world `plugin` of pelton:events", Contract::handlers(), list(exports), p = path.display())]
    NoHandler {
        /// The file.
        path: PathBuf,
        /// What it exports.
        exports: Vec<String>,
    },
    /// A component for another version of a contract.
    #[error("{p}: exports {found}, this host speaks {served}; {remedy}", p = path.display())]
    OtherVersion {
        /// The file.
        path: PathBuf,
        /// What it exports.
        found: String,
        /// What is served in its place.
        served: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// A component whose contract has the right name but other types: drafts
    /// change without a new version.
    #[error("{p}: speaks another draft of {contract} than this host: {message}; rebuild it with the published WIT of that name", p = path.display())]
    OtherDraft {
        /// The file.
        path: PathBuf,
        /// The contract.
        contract: &'static str,
        /// The engine's words.
        message: String,
    },
    /// A component that imports what the host does not have.
    #[error("{p}: imports what this host does not serve: {}; a plugin may import pelton:events@0.1.0 and WASI 0.2; of others wasmcloud:messaging@0.2.0, wasi:messaging@0.2.0-draft, wasi:config and wasi:logging", list(imports), p = path.display())]
    Imports {
        /// The file.
        path: PathBuf,
        /// What is not served.
        imports: Vec<String>,
    },
    /// The engine refuses the component.
    #[error("{p}: the engine refuses it: {message}", p = path.display())]
    Compile {
        /// The file.
        path: PathBuf,
        /// The engine's words.
        message: String,
    },
    /// A folder that the plugin is granted cannot be opened.
    #[error("{p}: the folder, granted by `dirs`, cannot be opened: {source}; make it readable, or remove the grant", p = path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// No instance could be made within the plugin's limits.
    #[error("{p}: no instance can be started: {source}; raise the plugin's limits (memory, timeout), or mend its initialisation", p = path.display())]
    Start {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: CallError,
    },
}

impl LoadError {
    /// What kind of mistake: a code of [`crate::explain`].
    pub fn code(&self) -> &'static str {
        match self {
            LoadError::Missing { .. }
            | LoadError::Unreadable { .. }
            | LoadError::NotAFile { .. }
            | LoadError::TooLarge { .. }
            | LoadError::Empty { .. } => "component-file",
            LoadError::NotWasm { .. } | LoadError::Text { .. } => "not-wasm",
            LoadError::Invalid { .. } => "component-damaged",
            LoadError::CoreModule { .. } => "core-module",
            LoadError::Interface { .. } => "interface-only",
            LoadError::NoHandler { .. } => "no-handler",
            LoadError::OtherVersion { .. } | LoadError::OtherDraft { .. } => "contract-version",
            LoadError::Imports { .. } => "unknown-import",
            LoadError::Compile { .. } => "component-refused",
            LoadError::Start { .. } => "component-start",
            LoadError::Folder { .. } => "file",
        }
    }
}

/// A component's file that was found to be one.
pub(super) struct Examined {
    pub(super) bytes: Vec<u8>,
    /// SHA-256, in 64 hexadecimal digits.
    pub(super) digest: String,
    pub(super) resolve: Resolve,
    pub(super) world: WorldId,
}

/// How far an import is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It works.
    Served,
    /// It works as far as this key of the manifest grants it.
    Granted(&'static str),
    /// It can be imported; every use of it is refused.
    Denied,
    /// The host does not know it: the component cannot be loaded.
    Unknown,
}

/// Checks everything that can be known of a component without compiling it. The
/// error is for people.
pub fn check_component(path: &Path) -> Result<(), Unusable> {
    let checked = Examined::read(path).and_then(|found| {
        found.validate(path)?;
        found.check_contract(path).map(drop)
    });
    checked.map_err(|error| Unusable { code: error.code(), reason: error.to_string() })
}

impl Examined {
    /// Reads a file and finds out whether it is a component.
    pub(super) fn read(path: &Path) -> Result<Examined, LoadError> {
        let bytes = read(path)?;
        recognize(path, &bytes)?;
        let decoded =
            wit_component::decode(&bytes).map_err(|error| invalid(path, &error, bytes.len()))?;
        let DecodedWasm::Component(resolve, world) = decoded else {
            return Err(LoadError::Interface { path: path.to_owned() });
        };
        let digest = format!("{:x}", Sha256::digest(&bytes));
        Ok(Examined { bytes, digest, resolve, world })
    }

    /// Checks every instruction.
    pub(super) fn validate(&self, path: &Path) -> Result<(), LoadError> {
        let mut validator = Validator::new_with_features(WasmFeatures::default());
        match validator.validate_all(&self.bytes) {
            Ok(_types) => Ok(()),
            Err(error) => Err(invalid(path, &error.into(), self.bytes.len())),
        }
    }

    /// Checks what it exports and imports, by name; which contract it speaks.
    pub(super) fn check_contract(&self, path: &Path) -> Result<Contract, LoadError> {
        let exports = self.exports();
        let spoken = Contract::spoken(&exports).next();
        let Some(contract) = spoken else { return Err(wrong_world(path, exports)) };
        let imports: Vec<_> =
            self.imports().into_iter().filter(|name| access(name) == Access::Unknown).collect();
        match imports.is_empty() {
            true => Ok(contract),
            false => Err(LoadError::Imports { path: path.to_owned(), imports }),
        }
    }

    pub(super) fn exports(&self) -> Vec<String> {
        let world = self.resolve.worlds.get(self.world);
        world
            .into_iter()
            .flat_map(|world| world.exports.keys())
            .map(|key| self.resolve.name_world_key(key))
            .collect()
    }

    pub(super) fn imports(&self) -> Vec<String> {
        let world = self.resolve.worlds.get(self.world);
        world
            .into_iter()
            .flat_map(|world| world.imports.keys())
            .map(|key| self.resolve.name_world_key(key))
            .collect()
    }

    /// Whether it imports `wasi:http`, which is linked so that it can be loaded.
    pub(super) fn uses_http(&self) -> bool {
        self.imports().iter().any(|name| name.starts_with("wasi:http/"))
    }
}

/// How far an import with this name is served.
pub(super) fn access(import: &str) -> Access {
    let begins = |names: &[&str]| names.iter().any(|name| import.starts_with(name));
    let wasi = import.rsplit_once('@').is_some_and(|(_, version)| version.starts_with("0.2."));
    let granted = GRANTED.iter().find(|(name, _)| import.starts_with(name)).map(|(_, key)| *key);
    match import {
        _ if SERVED.contains(&import) => Access::Served,
        _ if wasi && begins(&WASI) => Access::Served,
        _ if wasi && begins(&DENIED) => Access::Denied,
        _ if wasi && granted.is_some() => Access::Granted(granted.unwrap_or_default()),
        _ => Access::Unknown,
    }
}

fn read(path: &Path) -> Result<Vec<u8>, LoadError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => LoadError::Missing { path: path.to_owned() },
        _ => LoadError::Unreadable { path: path.to_owned(), source },
    };
    let about = std::fs::metadata(path).map_err(failed)?;
    if !about.is_file() {
        return Err(LoadError::NotAFile { path: path.to_owned() });
    }
    let mut bytes = Vec::with_capacity(usize::try_from(about.len().min(LARGEST)).unwrap_or(0));
    let file = File::open(path).map_err(failed)?;
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > LARGEST {
        return Err(LoadError::TooLarge { path: path.to_owned() });
    }
    Ok(bytes)
}

/// Tells a component from what it may be mistaken for, by its first bytes.
fn recognize(path: &Path, bytes: &[u8]) -> Result<(), LoadError> {
    let path = path.to_owned();
    let other = |looks| LoadError::NotWasm { path: path.clone(), looks };
    match bytes {
        [] => Err(LoadError::Empty { path }),
        [b'\0', b'a', b's', b'm', 1, 0, 0, 0, ..] => Err(LoadError::CoreModule { path }),
        [b'\0', b'a', b's', b'm', ..] => Ok(()),
        [0x7f, b'E', b'L', b'F', ..] => {
            Err(other("a Linux program or library, or precompiled code (ELF)"))
        }
        [0xcf | 0xce, 0xfa, 0xed, 0xfe, ..] => Err(other("a macOS program or library (Mach-O)")),
        [b'M', b'Z', ..] => Err(other("a Windows program or library")),
        [0x1f, 0x8b, ..] => Err(other("a gzip archive")),
        [b'P', b'K', 3, 4, ..] => Err(other("a zip archive")),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Err(other("a zstd archive")),
        [b'!', b'<', b'a', b'r', ..] => Err(other("a library of object files (ar)")),
        _ => match std::str::from_utf8(bytes) {
            Ok(text) if is_wat(text) => Err(LoadError::Text { path }),
            Ok(_) => Err(other("text")),
            Err(_) => Err(other("binary data of an unknown kind")),
        },
    }
}

/// Whether the first thing beside comments is a component or module in text.
fn is_wat(text: &str) -> bool {
    let mut lines = text
        .lines()
        .map(str::trim_start)
        .filter(|line| !line.is_empty() && !line.starts_with(";;"));
    lines.next().is_some_and(|line| line.starts_with("(component") || line.starts_with("(module"))
}

fn invalid(path: &Path, error: &anyhow::Error, length: usize) -> LoadError {
    let place = error.chain().find_map(|cause| cause.downcast_ref::<BinaryReaderError>());
    let (offset, message) = match place {
        Some(place) => (place.offset(), place.message().to_owned()),
        None => (length, format!("{error:#}")),
    };
    LoadError::Invalid { path: path.to_owned(), offset, message }
}

fn wrong_world(path: &Path, exports: Vec<String>) -> LoadError {
    let path = path.to_owned();
    match Contract::other_version(&exports) {
        Some((contract, found)) => LoadError::OtherVersion {
            path,
            found: found.to_owned(),
            served: contract.handler(),
            remedy: contract.remedy(),
        },
        None => LoadError::NoHandler { path, exports },
    }
}

/// Names in a row, at most ten of them.
fn list(names: &[String]) -> String {
    match names {
        [] => "nothing".to_owned(),
        [..] if names.len() <= 10 => names.join(", "),
        [..] => {
            let first: Vec<_> = names.iter().take(10).map(String::as_str).collect();
            format!("{} and {} more", first.join(", "), names.len() - 10)
        }
    }
}
