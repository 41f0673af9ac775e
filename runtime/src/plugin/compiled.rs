//! Components as machine code: fetched from the cache, or compiled and kept there.
//!
//! Large core modules are compiled by themselves and shared by all components that
//! have them: see [`Parts`].

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, Once, PoisonError, Weak},
};

use wasmtime::{Module, component::Component};

use super::{
    LoadError,
    compiling::Compilation,
    component::Examined,
    engine::Shared,
    parts::{self, Code, Parts},
    trim,
};

/// A component, and the modules that it imports by their code.
pub(super) struct Compiled {
    pub(super) component: Component,
    pub(super) modules: SharedModules,
}

/// Modules that live as long as a plugin uses them.
pub(super) type SharedModules = Arc<[Arc<SharedModule>]>;

/// A module that several components may have.
pub(super) struct SharedModule {
    pub(super) name: String,
    pub(super) module: Module,
}

/// The modules that plugins use now, by name.
#[derive(Default)]
pub(super) struct Modules(Mutex<HashMap<String, Weak<SharedModule>>>);

impl Modules {
    fn get(&self, name: &str) -> Option<Arc<SharedModule>> {
        let modules = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        modules.get(name).and_then(Weak::upgrade)
    }

    fn add(&self, name: &str, module: Module) -> Arc<SharedModule> {
        let module = Arc::new(SharedModule { name: name.to_owned(), module });
        let mut modules = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        modules.retain(|_, module| module.strong_count() > 0);
        modules.insert(name.to_owned(), Arc::downgrade(&module));
        module
    }
}

impl Shared {
    /// The component, compiled if it has to be.
    pub(super) fn compiled(&self, found: &Examined, path: &Path) -> Result<Compiled, LoadError> {
        if let Some(compiled) = self.kept(&found.digest) {
            if let Some(functions) = &self.functions {
                functions.learn(self.wasm.clone(), found.bytes.clone());
            }
            return Ok(compiled);
        }
        let before = self.functions.as_ref().map(|functions| functions.counts());
        let compiled = self.compile(found, path);
        if let (Some(functions), Some(before)) = (&self.functions, before) {
            let now = functions.counts();
            let (kept, compiled) = (now.0 - before.0, now.1 - before.1);
            tracing::debug!(kept, compiled, "functions of {}", path.display());
        }
        trim::give_back();
        compiled
    }

    /// What the cache has of it, if that is all of it.
    fn kept(&self, digest: &str) -> Option<Compiled> {
        let component = self.kept_component(digest)?;
        let ty = component.component_type();
        let names =
            ty.imports(&self.wasm).map(|(name, _)| name).filter(|name| parts::is_code(name));
        let modules = names.map(|name| self.kept_module(name)).collect::<Option<_>>()?;
        Some(Compiled { component, modules })
    }

    fn compile(&self, found: &Examined, path: &Path) -> Result<Compiled, LoadError> {
        let once = Once::new();
        let tell = || {
            once.call_once(|| {
                self.compilations.tell(&Compilation {
                    component: path,
                    size: found.bytes.len() as u64,
                    is_kept: self.cache.is_some(),
                });
            });
        };
        if let Some(parts) = Parts::of(&found.bytes) {
            match self.compile_parts(&parts, &found.digest, &tell) {
                Ok(compiled) => return Ok(compiled),
                // What is wrong is said of the whole.
                Err(error) => tracing::debug!(error = format!("{error:#}"), "not apart"),
            }
        }
        tell();
        let component = self.compile_component(&found.bytes, &found.digest).map_err(|error| {
            // It validates too, but does not say where it found something.
            found.validate(path).err().unwrap_or_else(|| refused(path, &error))
        })?;
        Ok(Compiled { component, modules: Arc::default() })
    }

    fn compile_parts(
        &self,
        parts: &Parts,
        digest: &str,
        tell: &dyn Fn(),
    ) -> wasmtime::Result<Compiled> {
        let mut modules = Vec::with_capacity(parts.modules.len());
        for code in &parts.modules {
            modules.push(match self.kept_module(&code.name) {
                Some(module) => module,
                None => {
                    tell();
                    self.compile_module(code)?
                }
            });
        }
        let component = self.compile_component(&parts.component, digest)?;
        Ok(Compiled { component, modules: modules.into() })
    }

    fn compile_component(&self, bytes: &[u8], digest: &str) -> wasmtime::Result<Component> {
        let code = self.wasm.precompile_component(bytes)?;
        if let Some(cache) = &self.cache {
            cache.put(digest, &code);
        }
        self.deserialize(&code)
    }

    fn compile_module(&self, code: &Code) -> wasmtime::Result<Arc<SharedModule>> {
        let compiled = self.wasm.precompile_module(&code.module)?;
        if let Some(cache) = &self.cache {
            cache.put(&code.name, &compiled);
        }
        let module = self.deserialize_module(&compiled)?;
        Ok(self.modules.add(&code.name, module))
    }

    fn kept_component(&self, digest: &str) -> Option<Component> {
        let code = self.cache.as_ref()?.get(digest)?;
        usable(digest, self.deserialize(&code))
    }

    fn kept_module(&self, name: &str) -> Option<Arc<SharedModule>> {
        if let Some(module) = self.modules.get(name) {
            return Some(module);
        }
        let code = self.cache.as_ref()?.get(name)?;
        let module = usable(name, self.deserialize_module(&code))?;
        Some(self.modules.add(name, module))
    }

    #[expect(unsafe_code, reason = "compiled components can only be loaded this way")]
    fn deserialize(&self, code: &[u8]) -> wasmtime::Result<Component> {
        // SAFETY: `code` must come from this engine's compiler, unchanged. It either
        // just did, or `Cache` read it from a file that only this user can write,
        // whose digest it has compared; wasmtime compares version and settings.
        unsafe { Component::deserialize(&self.wasm, code) }
    }

    #[expect(unsafe_code, reason = "compiled modules can only be loaded this way")]
    fn deserialize_module(&self, code: &[u8]) -> wasmtime::Result<Module> {
        // SAFETY: as for components.
        unsafe { Module::deserialize(&self.wasm, code) }
    }
}

fn usable<T>(key: &str, loaded: wasmtime::Result<T>) -> Option<T> {
    match loaded {
        Ok(loaded) => Some(loaded),
        Err(error) => {
            tracing::warn!(
                key,
                error = format!("{error:#}"),
                "cached component not used: compiling it anew"
            );
            None
        }
    }
}

pub(super) fn refused(path: &Path, error: &wasmtime::Error) -> LoadError {
    LoadError::Compile { path: path.to_owned(), message: format!("{error:#}") }
}
