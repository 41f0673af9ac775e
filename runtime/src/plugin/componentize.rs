//! From a core module to a component, for languages whose compilers stop at core
//! modules: what `wasm-tools component embed` and `component new` do.

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME as PREVIEW1,
    WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER as REACTOR,
};
use wasmparser::{Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The contract with handlers, as it is in `wit/`.
pub const CONTRACT: &str = include_str!("../../../wit/events.wit");

/// Why no component could be made.
#[derive(Debug, thiserror::Error)]
pub enum ComponentizeError {
    /// The bytes are not a core module.
    #[error("not a core module: {0}")]
    NotAModule(String),
    /// It is a component already.
    #[error("it is a component already: nothing to do")]
    AlreadyComponent,
    /// The module does not implement the world that it is for.
    #[error(
        "the module does not fit its world: {0}; export `pelton:events/handler@0.1.0#handle` as wit-bindgen does"
    )]
    World(String),
    /// The host's own WIT cannot be read: a mistake of ours.
    #[error("the host's own interface is broken: {0}; please report it")]
    Contract(String),
}

/// Makes a component of a core module. A module that says which world it is for
/// (as bindings of wit-bindgen make it) keeps it; another is taken to implement
/// the world `plugin` of `pelton:events`. WASI preview 1 is translated to 0.2.
pub fn componentize(module: &[u8]) -> Result<Vec<u8>, ComponentizeError> {
    let about = About::read(module)?;
    let mut module = module.to_vec();
    if !about.has_world {
        embed(&mut module).map_err(|error| ComponentizeError::Contract(format!("{error:#}")))?;
    }
    encode(&module, about.uses_preview1)
        .map_err(|error| ComponentizeError::World(format!("{error:#}")))
}

/// What has to be known of a module before.
struct About {
    has_world: bool,
    uses_preview1: bool,
}

impl About {
    fn read(module: &[u8]) -> Result<About, ComponentizeError> {
        let broken =
            |error: wasmparser::BinaryReaderError| ComponentizeError::NotAModule(error.to_string());
        if Parser::is_component(module) {
            return Err(ComponentizeError::AlreadyComponent);
        }
        let mut about = About { has_world: false, uses_preview1: false };
        for section in Parser::new(0).parse_all(module) {
            match section.map_err(broken)? {
                Payload::CustomSection(custom) if custom.name().starts_with("component-type") => {
                    about.has_world = true
                }
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        about.uses_preview1 |= import.map_err(broken)?.module == PREVIEW1;
                    }
                }
                _ => (),
            }
        }
        Ok(about)
    }
}

fn embed(module: &mut Vec<u8>) -> anyhow::Result<()> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("events.wit", CONTRACT)?;
    let world = resolve.select_world(&[package], Some("plugin"))?;
    embed_component_metadata(module, &resolve, world, StringEncoding::UTF8)
}

fn encode(module: &[u8], uses_preview1: bool) -> anyhow::Result<Vec<u8>> {
    let mut encoder = ComponentEncoder::default().validate(true).module(module)?;
    if uses_preview1 {
        encoder = encoder.adapter(PREVIEW1, REACTOR)?;
    }
    encoder.encode()
}
