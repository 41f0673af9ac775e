//! A component's sections, with its large core modules imported.

use wasm_encoder::{
    Alias, Component, ComponentImportSection, ComponentTypeRef, CoreTypeSection, InstanceSection,
    ModuleArg, ModuleSection, RawSection,
    reencode::{Error, Reencode, ReencodeComponent, component_utils},
};
use wasmparser::{
    ComponentAlias, ComponentExternalKind, CoreTypeSectionReader, CustomSectionReader, Instance,
    InstantiationArg, Parser,
};

use super::{
    Code,
    module::{MEMORY_FROM, Split},
};

/// Takes a component apart while it is copied. Modules and instances are added, so
/// that those behind them get other indices.
#[derive(Default)]
pub(super) struct TakingApart {
    /// What has been taken out, each once.
    pub(super) modules: Vec<Code>,
    /// How deep in components within components.
    depth: u32,
    /// The new index of each module, and whether it gets a memory.
    placed: Vec<Placed>,
    /// How many modules there are by now.
    modules_now: u32,
    /// The new index of each core instance.
    instances: Vec<u32>,
    instances_now: u32,
    /// How many core types there are by now.
    types: u32,
}

#[derive(Clone, Copy)]
struct Placed {
    index: u32,
    /// The module that its memory is an instance of.
    memory: Option<u32>,
}

/// Why a component is not taken apart.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unknown {
    #[error("it has core types of its own")]
    CoreTypes,
    #[error("it takes core modules from elsewhere")]
    Modules,
    #[error("it has more parts than can be counted")]
    TooMany,
    #[error("a module that is not there is made an instance of")]
    NoModule,
}

type Result<T> = std::result::Result<T, Error<Unknown>>;

impl TakingApart {
    fn next(count: &mut u32) -> Result<u32> {
        let index = *count;
        *count = index.checked_add(1).ok_or(Error::UserError(Unknown::TooMany))?;
        Ok(index)
    }

    fn keep(&mut self, component: &mut Component, module: &[u8]) -> Result<()> {
        component.section(&RawSection { id: 1, data: module });
        let index = TakingApart::next(&mut self.modules_now)?;
        self.placed.push(Placed { index, memory: None });
        Ok(())
    }

    fn take_out(&mut self, component: &mut Component, split: Split) -> Result<()> {
        let memory = split.memory.map(|memory| {
            component.section(&ModuleSection(&memory));
            TakingApart::next(&mut self.modules_now)
        });
        let memory = memory.transpose()?;
        let mut types = CoreTypeSection::new();
        types.ty().module(&split.ty);
        let ty = TakingApart::next(&mut self.types)?;
        let mut imports = ComponentImportSection::new();
        imports.import(&split.code.name, ComponentTypeRef::Module(ty));
        component.section(&types).section(&imports);
        let index = TakingApart::next(&mut self.modules_now)?;
        self.placed.push(Placed { index, memory });
        self.modules.push(split.code);
        Ok(())
    }

    fn instantiate(
        &mut self,
        instances: &mut InstanceSection,
        module: u32,
        args: &[InstantiationArg<'_>],
    ) -> Result<()> {
        let placed = usize::try_from(module).ok().and_then(|module| self.placed.get(module));
        let placed = *placed.ok_or(Error::UserError(Unknown::NoModule))?;
        let mut given: Vec<_> = args
            .iter()
            .map(|arg| (arg.name, ModuleArg::Instance(self.instance_index(arg.index))))
            .collect();
        if let Some(memory) = placed.memory {
            instances.instantiate::<_, &str>(memory, []);
            let memory = TakingApart::next(&mut self.instances_now)?;
            given.push((MEMORY_FROM, ModuleArg::Instance(memory)));
        }
        instances.instantiate(placed.index, given);
        let index = TakingApart::next(&mut self.instances_now)?;
        self.instances.push(index);
        Ok(())
    }
}

impl Reencode for TakingApart {
    type Error = Unknown;
}

impl ReencodeComponent for TakingApart {
    fn push_depth(&mut self) {
        self.depth += 1;
    }

    fn pop_depth(&mut self) {
        self.depth -= 1;
    }

    fn module_index(&mut self, module: u32) -> u32 {
        match self.depth {
            0 => self.outer_module_index(0, module),
            _ => module,
        }
    }

    fn outer_module_index(&mut self, count: u32, module: u32) -> u32 {
        let placed = usize::try_from(module).ok().and_then(|module| self.placed.get(module));
        match placed {
            Some(placed) if count == self.depth => placed.index,
            _ => module,
        }
    }

    fn instance_index(&mut self, instance: u32) -> u32 {
        let index = usize::try_from(instance).ok().and_then(|it| self.instances.get(it));
        match index {
            Some(index) if self.depth == 0 => *index,
            _ => instance,
        }
    }

    fn parse_component_submodule(
        &mut self,
        component: &mut Component,
        _: Parser,
        module: &[u8],
    ) -> Result<()> {
        if self.depth > 0 {
            component.section(&RawSection { id: 1, data: module });
            return Ok(());
        }
        match Split::of(module).map_err(known)? {
            // Imports have different names.
            Some(split) if self.modules.iter().all(|it| it.name != split.code.name) => {
                self.take_out(component, split)
            }
            _ => self.keep(component, module),
        }
    }

    fn parse_instance(
        &mut self,
        instances: &mut InstanceSection,
        instance: Instance<'_>,
    ) -> Result<()> {
        match instance {
            Instance::Instantiate { module_index, args } if self.depth == 0 => {
                self.instantiate(instances, module_index, &args)
            }
            instance => {
                component_utils::parse_instance(self, instances, instance)?;
                if self.depth == 0 {
                    let index = TakingApart::next(&mut self.instances_now)?;
                    self.instances.push(index);
                }
                Ok(())
            }
        }
    }

    /// Modules from elsewhere would have numbers, too.
    fn component_alias<'a>(&mut self, alias: ComponentAlias<'a>) -> Result<Alias<'a>> {
        match alias {
            ComponentAlias::InstanceExport { kind: ComponentExternalKind::Module, .. } => {
                Err(Error::UserError(Unknown::Modules))
            }
            alias => component_utils::component_alias(self, alias),
        }
    }

    fn component_type_ref(&mut self, ty: wasmparser::ComponentTypeRef) -> Result<ComponentTypeRef> {
        match ty {
            wasmparser::ComponentTypeRef::Module(_) => Err(Error::UserError(Unknown::Modules)),
            ty => component_utils::component_type_ref(self, ty),
        }
    }

    fn parse_core_type_section(
        &mut self,
        _: &mut CoreTypeSection,
        _: CoreTypeSectionReader<'_>,
    ) -> Result<()> {
        Err(Error::UserError(Unknown::CoreTypes))
    }

    /// Names of parts whose numbers are others now.
    fn parse_component_custom_section(
        &mut self,
        _: &mut Component,
        _: CustomSectionReader<'_>,
    ) -> Result<()> {
        Ok(())
    }
}

/// The same for a module, where nothing of ours goes wrong.
fn known(error: Error) -> Error<Unknown> {
    match error {
        Error::ParseError(error) => Error::ParseError(error),
        Error::CanonicalizedHeapTypeReference => Error::CanonicalizedHeapTypeReference,
        Error::UnexpectedNonCoreModuleSection => Error::UnexpectedNonCoreModuleSection,
        Error::UnexpectedNonComponentSection => Error::UnexpectedNonComponentSection,
        Error::UnsupportedCoreTypeInComponent => Error::UnsupportedCoreTypeInComponent,
        Error::InvalidConstExpr => Error::InvalidConstExpr,
        Error::InvalidCodeSectionSize => Error::InvalidCodeSectionSize,
    }
}
