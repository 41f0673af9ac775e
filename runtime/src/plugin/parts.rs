//! What a component is compiled as: its large core modules each by itself, and the
//! rest. Nothing is compiled here.
//!
//! A component of an interpreted language is an interpreter, the same for all
//! plugins of that language, and a few megabytes of memory that differ from
//! one save to the next. A core module that is compiled by itself is found again by
//! its code: for the next save, for another plugin, at the next start.
//!
//! The rest imports such modules by names that say which code they have. Where such
//! a module has memory, the memory moves to a small module of its own, with what it
//! begins with, so that it can still be mapped for each instance.

mod component;
mod module;

use wasmparser::Parser;

/// A component without its large core modules, which it imports.
pub(super) struct Parts {
    pub(super) component: Vec<u8>,
    pub(super) modules: Vec<Code>,
}

/// A core module without memory of its own.
pub(super) struct Code {
    /// What it is imported as: it follows from the code.
    pub(super) name: String,
    pub(super) module: Vec<u8>,
}

impl Parts {
    /// Takes a component apart that was found to be complete. `None`: it is compiled as
    /// a whole, because it has no large module, or is made in a way that is not known
    /// here.
    pub(super) fn of(component: &[u8]) -> Option<Parts> {
        let mut taking = component::TakingApart::default();
        let mut rest = wasm_encoder::Component::new();
        let taken = wasm_encoder::reencode::ReencodeComponent::parse_component(
            &mut taking,
            &mut rest,
            Parser::new(0),
            component,
        );
        match taken {
            Ok(()) if taking.modules.is_empty() => None,
            Ok(()) => Some(Parts { component: rest.finish(), modules: taking.modules }),
            Err(error) => {
                tracing::debug!(%error, "a component that is not taken apart");
                None
            }
        }
    }
}

/// Whether an import is one of those that [`Parts`] makes.
pub(super) fn is_code(import: &str) -> bool {
    import.starts_with(module::PREFIX)
}
