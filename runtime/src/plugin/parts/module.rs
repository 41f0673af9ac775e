//! A core module as the part that is compiled by itself: its code, what it imports
//! and exports, and its memory as a module that stands beside it.

use sha2::{Digest as _, Sha256};
use wasm_encoder::{
    EntityType, ExportKind, ExportSection, GlobalType, ImportSection, MemorySection, MemoryType,
    Module, ModuleType, RawSection, TableType,
    reencode::{self, Reencode as _, RoundtripReencoder},
};
use wasmparser::{
    BinaryReaderError, DataKind, DataSectionReader, ExportSectionReader, ExternalKind,
    GlobalSectionReader, ImportSectionReader, MemorySectionReader, Operator, Parser, Payload,
    TableSectionReader, TypeRef, TypeSectionReader,
};

use super::Code;

/// Begins the names of modules that are compiled by themselves.
pub(super) const PREFIX: &str = "code-x";

/// What a module imports its memory from.
pub(super) const MEMORY_FROM: &str = "pelton:memory";
const MEMORY: &str = "memory";

/// Code of a module with memory, in bytes. That of JavaScript has 9 MB; programs of
/// compiled languages stay below, and change their code with each save.
const LARGE: usize = 6 << 20;
/// Code of a module that borrows its memory, as the libraries of Python do.
const LARGE_LIBRARY: usize = 64 << 10;

/// What a module is taken apart into.
pub(super) struct Split {
    pub(super) code: Code,
    pub(super) ty: ModuleType,
    /// A module that exports the memory as it is at the start; `None`: it borrows one.
    pub(super) memory: Option<Module>,
}

type Error = reencode::Error;

/// What decides whether a module is taken apart.
#[derive(Default)]
struct Outline {
    code: usize,
    memory: Option<MemoryType>,
    /// Something in it is not known here.
    is_strange: bool,
}

/// What can be exported, by its index.
#[derive(Default)]
struct Items {
    functions: Vec<u32>,
    tables: Vec<TableType>,
    memories: Vec<MemoryType>,
    globals: Vec<GlobalType>,
}

/// A module while it is read.
#[derive(Default)]
struct Reading<'a> {
    outline: Outline,
    /// What will be compiled.
    code: Module,
    ty: ModuleType,
    items: Items,
    has_imports: bool,
    data: Option<&'a [u8]>,
}

impl Split {
    /// `None`: it is small, or made in a way that is not known here.
    pub(super) fn of(module: &[u8]) -> Result<Option<Split>, Error> {
        let outline = Outline::of(module)?;
        if !outline.is_worth_it() {
            return Ok(None);
        }
        let mut reading = Reading { outline, ..Reading::default() };
        for payload in Parser::new(0).parse_all(module) {
            reading.take(payload?, module)?;
        }
        Ok(reading.finish())
    }
}

impl Outline {
    fn of(module: &[u8]) -> Result<Outline, Error> {
        let mut outline = Outline::default();
        for payload in Parser::new(0).parse_all(module) {
            match payload? {
                Payload::MemorySection(section) => outline.take(section)?,
                Payload::CodeSectionStart { size, .. } => {
                    outline.code = usize::try_from(size).unwrap_or(usize::MAX);
                    break;
                }
                _ => {}
            }
        }
        Ok(outline)
    }

    fn take(&mut self, section: MemorySectionReader<'_>) -> Result<(), Error> {
        self.is_strange |= section.count() > 1;
        for memory in section {
            let memory = RoundtripReencoder.memory_type(memory?)?;
            self.is_strange |= memory.memory64 || memory.shared || memory.page_size_log2.is_some();
            self.memory = Some(memory);
        }
        Ok(())
    }

    fn is_worth_it(&self) -> bool {
        let large = if self.memory.is_some() { LARGE } else { LARGE_LIBRARY };
        self.code >= large && !self.is_strange
    }
}

impl<'a> Reading<'a> {
    fn take(&mut self, payload: Payload<'a>, module: &'a [u8]) -> Result<(), Error> {
        let section = payload.as_section();
        match payload {
            Payload::ImportSection(section) => self.take_imports(section)?,
            // The memory is imported; what it begins with is beside it.
            Payload::MemorySection(_) | Payload::DataCountSection { .. }
                if self.outline.memory.is_some() => {}
            Payload::DataSection(section) if self.outline.memory.is_some() => {
                self.data = module.get(section.range());
                self.outline.is_strange |= !is_plain(section)?;
            }
            payload => {
                self.read(payload)?;
                if let Some((id, range)) = section
                    && let Some(data) = module.get(range)
                {
                    self.code.section(&RawSection { id, data });
                }
            }
        }
        Ok(())
    }

    /// Reads what stays as it is for what it says of imports and exports.
    fn read(&mut self, payload: Payload<'_>) -> Result<(), Error> {
        match payload {
            Payload::TypeSection(section) => self.read_types(section),
            Payload::FunctionSection(section) => {
                self.import_memory();
                let functions: Result<Vec<_>, BinaryReaderError> = section.into_iter().collect();
                self.items.functions.extend(functions?);
                Ok(())
            }
            Payload::TableSection(section) => self.read_tables(section),
            Payload::GlobalSection(section) => self.read_globals(section),
            Payload::ExportSection(section) => self.read_exports(section),
            Payload::TagSection(_) => {
                self.outline.is_strange = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn read_types(&mut self, section: TypeSectionReader<'_>) -> Result<(), Error> {
        for ty in section.into_iter_err_on_gc_types() {
            let ty = RoundtripReencoder.func_type(ty?)?;
            let encoder = self.ty.ty();
            encoder.function(ty.params().iter().copied(), ty.results().iter().copied());
        }
        Ok(())
    }

    fn take_imports(&mut self, section: ImportSectionReader<'_>) -> Result<(), Error> {
        let mut imports = ImportSection::new();
        for import in section.into_imports() {
            let import = import?;
            let ty = RoundtripReencoder.entity_type(import.ty)?;
            self.ty.import(import.module, import.name, ty);
            imports.import(import.module, import.name, ty);
            self.outline.is_strange |= import.module == MEMORY_FROM;
            match (import.ty, ty) {
                (TypeRef::Func(ty), _) => self.items.functions.push(ty),
                (_, EntityType::Table(ty)) => self.items.tables.push(ty),
                (_, EntityType::Memory(ty)) => self.items.memories.push(ty),
                (_, EntityType::Global(ty)) => self.items.globals.push(ty),
                _ => self.outline.is_strange = true,
            }
        }
        // With a memory of its own and another, the indices would change.
        self.outline.is_strange |= self.outline.memory.is_some() && !self.items.memories.is_empty();
        self.write_imports(imports);
        Ok(())
    }

    fn import_memory(&mut self) {
        if !self.has_imports {
            self.write_imports(ImportSection::new());
        }
    }

    fn write_imports(&mut self, mut imports: ImportSection) {
        if let Some(memory) = self.outline.memory {
            let memory = MemoryType { minimum: at_least(memory.minimum), ..memory };
            imports.import(MEMORY_FROM, MEMORY, memory);
            self.ty.import(MEMORY_FROM, MEMORY, memory.into());
            self.items.memories.push(memory);
        }
        self.code.section(&imports);
        self.has_imports = true;
    }

    fn read_tables(&mut self, section: TableSectionReader<'_>) -> Result<(), Error> {
        for table in section {
            self.items.tables.push(RoundtripReencoder.table_type(table?.ty)?);
        }
        Ok(())
    }

    fn read_globals(&mut self, section: GlobalSectionReader<'_>) -> Result<(), Error> {
        for global in section {
            self.items.globals.push(RoundtripReencoder.global_type(global?.ty)?);
        }
        Ok(())
    }

    fn read_exports(&mut self, section: ExportSectionReader<'_>) -> Result<(), Error> {
        for export in section {
            let export = export?;
            match self.items.get(export.kind, export.index) {
                Some(ty) => {
                    self.ty.export(export.name, ty);
                }
                None => self.outline.is_strange = true,
            }
        }
        Ok(())
    }

    fn finish(self) -> Option<Split> {
        if self.outline.is_strange {
            return None;
        }
        let module = self.code.finish();
        let name = format!("{PREFIX}{:x}", Sha256::digest(&module));
        let memory = self.outline.memory.map(|memory| memory_module(memory, self.data));
        Some(Split { code: Code { name, module }, ty: self.ty, memory })
    }
}

impl Items {
    fn get(&self, kind: ExternalKind, index: u32) -> Option<EntityType> {
        let index = usize::try_from(index).ok()?;
        match kind {
            ExternalKind::Func => self.functions.get(index).copied().map(EntityType::Function),
            ExternalKind::Table => self.tables.get(index).copied().map(EntityType::Table),
            ExternalKind::Memory => self.memories.get(index).copied().map(EntityType::Memory),
            ExternalKind::Global => self.globals.get(index).copied().map(EntityType::Global),
            ExternalKind::Tag | ExternalKind::FuncExact => None,
        }
    }
}

/// The pages that a module asks for: fewer than there are, so that a heap that has
/// grown a little at the next save leaves the module the same.
fn at_least(pages: u64) -> u64 {
    pages.checked_ilog2().map_or(0, |power| 1 << power)
}

/// Whether all data stands at fixed places from the start.
fn is_plain(section: DataSectionReader<'_>) -> Result<bool, Error> {
    for data in section {
        let DataKind::Active { memory_index: 0, offset_expr } = data?.kind else {
            return Ok(false);
        };
        let mut operators = offset_expr.get_operators_reader();
        if !matches!(operators.read()?, Operator::I32Const { .. }) {
            return Ok(false);
        }
        if !matches!(operators.read()?, Operator::End) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn memory_module(memory: MemoryType, data: Option<&[u8]>) -> Module {
    let mut module = Module::new();
    let mut memories = MemorySection::new();
    memories.memory(memory);
    let mut exports = ExportSection::new();
    exports.export(MEMORY, ExportKind::Memory, 0);
    module.section(&memories).section(&exports);
    if let Some(data) = data {
        module.section(&RawSection { id: wasm_encoder::SectionId::Data.into(), data });
    }
    module
}
