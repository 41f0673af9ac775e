//! Bindings for languages that have no generator of their own at hand, made from
//! the project's WIT by wit-bindgen as a library.

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use walkdir::WalkDir;
use wit_bindgen_core::{Files, WorldGenerator};
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, WorldId};

use super::{BuildError, Context, Job, place};
use crate::plugin::CONTRACT;

/// The world of the contract.
const WORLD: &str = "plugin";

/// The package behind the imports of Go's generated code; ours takes its place.
const GO_SUPPORT: &str = "go.bytecodealliance.org/pkg/wit/";
const GO_RUNTIME: &str = include_str!("../../support/go/runtime.go");
const GO_TYPES: &str = include_str!("../../support/go/types.go");
const GO_EXPORT: &str = include_str!("../../support/go/export.go");
const GO_FACADE: &str = include_str!("../../support/go/pelton.go");
/// For handlers that send requests: `net/http` by what the generator makes of
/// `wasi:http`.
const GO_HTTP: &str = include_str!("../../support/go/wasihttp.go");
const GO_HTTP_BINDINGS: &str = "wasi_http_outgoing_handler/";

/// The interface that a handler implements.
pub struct Wit {
    /// The folder with the package; its dependencies are in `deps` below it.
    pub folder: PathBuf,
    /// The name of its world.
    pub world: String,
}

impl Wit {
    /// `wit/` beside the sources or beside the manifest; else the contract itself.
    pub fn of(context: &Context<'_>, job: &Job) -> Result<Wit, BuildError> {
        let theirs = [&job.build.source, context.base].map(|folder| folder.join("wit"));
        let folder = match theirs.into_iter().find(|folder| folder.is_dir()) {
            Some(folder) => folder,
            None => {
                let folder = job.work_folder().join("wit");
                place::write_if_other(&folder.join("events.wit"), CONTRACT.as_bytes())?;
                folder
            }
        };
        Wit::in_folder(&folder)
    }

    /// The package in `folder`.
    pub fn in_folder(folder: &Path) -> Result<Wit, BuildError> {
        let folder = std::path::absolute(folder).unwrap_or(folder.to_owned());
        let (resolve, world) = read(&folder)?;
        let world = resolve.worlds.get(world).map(|world| world.name.clone());
        Ok(Wit { folder, world: world.unwrap_or_else(|| WORLD.to_owned()) })
    }

    /// A digest of the package: it may be outside of the sources.
    pub fn digest(&self) -> String {
        let mut digest = Sha256::new_with_prefix(&self.world);
        let files = WalkDir::new(&self.folder).sort_by_file_name().into_iter().flatten();
        for file in files.filter(|file| file.file_type().is_file()) {
            digest.update(file.path().as_os_str().as_encoded_bytes());
            digest.update(std::fs::read(file.path()).unwrap_or_default());
        }
        format!("{:x}", digest.finalize())
    }

    /// Writes C bindings: `plugin.h`, `plugin.c` and the object file with the
    /// component's type.
    pub fn write_c(&self, folder: &Path) -> Result<(), BuildError> {
        let options = wit_bindgen_c::Opts {
            rename_world: Some(WORLD.to_owned()),
            ..wit_bindgen_c::Opts::default()
        };
        for (name, content) in self.generate(options.build())?.iter() {
            place::write_if_other(&folder.join(name), content)?;
        }
        Ok(())
    }

    /// Writes the Go package `<module>/pelton` below the module in `folder`; and
    /// `<module>/pelton/wasihttp`, if the world imports `wasi:http`.
    pub fn write_go(&self, folder: &Path, module: &str) -> Result<(), BuildError> {
        let ours = format!("{module}/pelton/internal");
        let options = wit_bindgen_go::Opts {
            format: wit_bindgen_go::Format::False,
            pkg_name: Some(ours.clone()),
            ..wit_bindgen_go::Opts::default()
        };
        let internal = folder.join("pelton/internal");
        let files = self.generate(options.build())?;
        for (name, content) in files.iter() {
            let text = String::from_utf8_lossy(content);
            let text = text.replace(GO_SUPPORT, &format!("{ours}/wit/"));
            place::write_if_other(&internal.join(name), text.as_bytes())?;
        }
        let fixed = [
            ("wit/runtime/runtime.go", GO_RUNTIME),
            ("wit/types/types.go", GO_TYPES),
            ("export_pelton_events_handler/handle.go", GO_EXPORT),
            ("../pelton.go", GO_FACADE),
        ];
        let is_http = files.iter().any(|(name, _)| name.starts_with(GO_HTTP_BINDINGS));
        let http = is_http.then_some(("../wasihttp/transport.go", GO_HTTP));
        for (name, text) in fixed.into_iter().chain(http) {
            let text = text.replace("MODULE", module);
            place::write_if_other(&internal.join(name), text.as_bytes())?;
        }
        // Functions without a body need a file in assembly beside them.
        place::write_if_other(&internal.join("wit/runtime/empty.s"), b"// No code.\n")
    }

    /// Writes into a core module which world it is for.
    pub fn embed(&self, core: &mut Vec<u8>) -> Result<(), BuildError> {
        let (resolve, world) = read(&self.folder)?;
        embed_component_metadata(core, &resolve, world, StringEncoding::UTF8)
            .map_err(|error| BuildError::Contract(format!("{error:#}")))
    }

    fn generate(&self, mut generator: Box<dyn WorldGenerator>) -> Result<Files, BuildError> {
        let (mut resolve, world) = read(&self.folder)?;
        let mut files = Files::default();
        generator
            .generate(&mut resolve, world, &mut files)
            .map_err(|error| unusable(&self.folder, &error))?;
        Ok(files)
    }
}

/// The package in `folder`, and its world: `plugin`, or the only one.
fn read(folder: &Path) -> Result<(Resolve, WorldId), BuildError> {
    let mut resolve = Resolve::default();
    let (package, _files) = resolve.push_path(folder).map_err(|error| unusable(folder, &error))?;
    let world = resolve
        .select_world(&[package], Some(WORLD))
        .or_else(|_| resolve.select_world(&[package], None))
        .map_err(|error| unusable(folder, &error))?;
    Ok((resolve, world))
}

fn unusable(folder: &Path, error: &anyhow::Error) -> BuildError {
    BuildError::Sources(format!("the WIT in `{}` cannot be used: {error:#}", folder.display()))
}
