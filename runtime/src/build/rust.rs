//! Rust, by cargo: plugins of one workspace in one call. With the target
//! wasm32-wasip2 cargo makes components by itself; without it, Debian's rustc,
//! which comes with the sources of the standard library, is used.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use futures::future::join_all;
use serde::Deserialize;
use tokio::sync::Semaphore;

use super::{
    BuildError, Built, Context, Freshness, Job, Made, Progress, Report, command::Command,
    componentize, file, place, tool, tool::MissingTool, warnings,
};
use crate::manifest::Language;

/// What makes components by itself.
const COMPONENT_TARGET: &str = "wasm32-wasip2";
/// Older ones lack the target or the edition of new projects.
const OLDEST: [u32; 2] = [1, 85];
/// What makes core modules.
const CORE_TARGET: &str = "wasm32-wasip1";
/// Set by cargo, or by users for their own builds; wrong for Wasm.
const FOREIGN: [&str; 4] =
    ["CARGO_BUILD_TARGET", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS", "RUSTFLAGS"];
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_WASI_LIBC: &str = "/usr/lib/wasm32-wasi";
/// Older ones lack a target of this name.
const DEBIAN_OLDEST: [u32; 2] = [1, 85];

/// Whether a plugin is built by cargo.
pub fn concerns(job: &Job) -> bool {
    job.build.command.is_none() && job.build.language == Some(Language::Rust)
}

/// What `cargo metadata` says of a workspace.
#[derive(Debug, Clone, Deserialize)]
struct Workspace {
    workspace_root: PathBuf,
    target_directory: PathBuf,
    packages: Vec<Package>,
}

#[derive(Debug, Clone, Deserialize)]
struct Package {
    name: String,
    version: String,
    manifest_path: PathBuf,
    targets: Vec<Target>,
}

#[derive(Debug, Clone, Deserialize)]
struct Target {
    name: String,
    crate_types: Vec<String>,
}

/// A plugin, and the package that it is made of.
struct Member {
    job: Job,
    /// Its name and version, as cargo takes them.
    package: String,
    /// The file that cargo makes, without its folder.
    artifact: String,
}

/// Builds all, each workspace by itself.
pub async fn build_all(
    context: Context<'_>,
    jobs: Vec<Job>,
    permits: &Arc<Semaphore>,
) -> Vec<Report> {
    let started = Instant::now();
    let found = join_all(jobs.iter().map(|job| locate(context, job))).await;
    let mut reports = Vec::new();
    let mut workspaces: BTreeMap<PathBuf, (Workspace, Vec<Member>)> = BTreeMap::new();
    for (job, found) in jobs.into_iter().zip(found) {
        match found {
            Ok(Some((workspace, package, artifact))) => {
                let key = workspace.workspace_root.clone();
                let (_, members) = workspaces.entry(key).or_insert((workspace, Vec::new()));
                members.push(Member { job, package, artifact });
            }
            Ok(None) => {
                let outcome = super::prebuilt(&job.component).await;
                reports.push(Report { language: None, ..job.report(started, outcome) });
            }
            Err(error) => reports.push(job.report(started, Err(error))),
        }
    }
    let built = workspaces.into_values().map(|(workspace, members)| async move {
        let _permit = permits.acquire().await;
        workspace.build(context, members).await
    });
    reports.extend(join_all(built).await.into_iter().flatten());
    reports
}

/// The workspace of a plugin, its package with the version, and what cargo will call the result;
/// `None`: the workspace is about something else, and the component is there.
async fn locate(
    context: Context<'_>,
    job: &Job,
) -> Result<Option<(Workspace, String, String)>, BuildError> {
    let source = &job.build.source;
    if !source.join("Cargo.toml").is_file() {
        return Err(BuildError::Sources(format!(
            "there is no `Cargo.toml` in `{}`: correct `source` in `[plugins.{}.build]`",
            source.display(),
            job.plugin
        )));
    }
    let command = Command::new(cargo()?, source).args([
        "metadata",
        "--no-deps",
        "--offline",
        "--format-version",
        "1",
    ]);
    context.step(job, "cargo metadata");
    // Its words go to standard error, the answer to standard output.
    let workspace: Workspace = match command.ask().await.map(|text| serde_json::from_str(&text)) {
        Some(Ok(workspace)) => workspace,
        Some(Err(error)) => return Err(BuildError::Sources(format!("cargo metadata: {error}"))),
        // Once more, for what it says about the reason.
        None => {
            if let Some(old) = too_old(source).await {
                return Err(old.into());
            }
            context.run(job, command).await?;
            return Err(BuildError::Sources("cargo metadata gave no answer".to_owned()));
        }
    };
    match workspace.package_of(job) {
        Some((package, artifact)) => Ok(Some((workspace, package, artifact))),
        None if job.component.exists() && *source == context.base => Ok(None),
        None => Err(workspace.lacks(job)),
    }
}

fn cargo() -> Result<PathBuf, MissingTool> {
    tool::on_path("cargo").ok_or_else(|| MissingTool {
        wanted: "Rust with cargo".to_owned(),
        found: None,
        remedy: "install it from https://rustup.rs".to_owned(),
    })
}

impl Workspace {
    fn handlers(&self) -> impl Iterator<Item = (&Package, &Target)> {
        let is_handler = |target: &&Target| target.crate_types.iter().any(|kind| kind == "cdylib");
        self.packages.iter().flat_map(move |package| {
            package.targets.iter().filter(is_handler).map(move |target| (package, target))
        })
    }

    /// The package in the source folder; else that with the component's or the
    /// plugin's name; else the only one.
    fn package_of(&self, job: &Job) -> Option<(String, String)> {
        let plain = |name: &str| name.replace('-', "_");
        let stem = job.component.file_stem().unwrap_or_default().to_string_lossy();
        let names = [plain(&stem), plain(&job.plugin)];
        let source = std::fs::canonicalize(&job.build.source).ok()?;
        let is_here = |package: &Package| {
            let folder = package.manifest_path.parent().unwrap_or(Path::new("/"));
            std::fs::canonicalize(folder).is_ok_and(|folder| folder == source)
        };
        let is_named = |(package, target): &(&Package, &Target)| {
            names.contains(&plain(&package.name)) || names.contains(&plain(&target.name))
        };
        let only = || {
            let mut all = self.handlers();
            let first = all.next();
            first.filter(|_| all.next().is_none() && source != Path::new(""))
        };
        let here = self.handlers().find(|(package, _)| is_here(package));
        let (package, target) = here.or_else(|| self.handlers().find(is_named)).or_else(only)?;
        // With its version: a dependency may have the same name.
        let id = format!("{}@{}", package.name, package.version);
        Some((id, format!("{}.wasm", plain(&target.name))))
    }

    fn lacks(&self, job: &Job) -> BuildError {
        let handlers: Vec<_> =
            self.handlers().map(|(package, _)| format!("`{}`", package.name)).collect();
        BuildError::Sources(match handlers.is_empty() {
            true => format!(
                "no package in `{}` makes a component: add `[lib] crate-type = [\"cdylib\"]` to its Cargo.toml",
                job.build.source.display()
            ),
            false => format!(
                "which package in `{}` is it? There are {}: name its folder with `source` in `[plugins.{}.build]`",
                job.build.source.display(),
                handlers.join(", "),
                job.plugin
            ),
        })
    }

    /// One call of cargo for all; if it fails, one for each, to tell them apart.
    async fn build(&self, context: Context<'_>, members: Vec<Member>) -> Vec<Report> {
        let started = Instant::now();
        // Held until everything is collected: another cargo would write to it.
        let (compiled, _lock) = match self.lock(context, &members).await {
            Ok(lock) => (self.compile(context, &members).await, Some(lock)),
            Err(error) => (Err(error), None),
        };
        let several = members.len() > 1;
        let mut reports = Vec::new();
        for member in members {
            let outcome = match &compiled {
                Ok((toolchain, words)) => self.collect(&member, toolchain, words).await,
                Err(BuildError::Refused(_)) if several => self.build_one(context, &member).await,
                Err(error) => Err(error.again()),
            };
            (context.listener)(&member.job.plugin, Progress::Done);
            reports.push(member.job.report(started, outcome));
        }
        reports
    }

    async fn lock(
        &self,
        context: Context<'_>,
        members: &[Member],
    ) -> Result<std::fs::File, BuildError> {
        let folder = self.target_directory.join(".pelton");
        place::make_work_folder(&folder)?;
        let say = |text: &str| members.iter().for_each(|member| context.step(&member.job, text));
        place::lock(&folder, &context.options.stop, say).await
    }

    async fn build_one(&self, context: Context<'_>, member: &Member) -> Result<Built, BuildError> {
        let (toolchain, words) = self.compile(context, std::slice::from_ref(member)).await?;
        self.collect(member, &toolchain, &words).await
    }

    async fn compile(
        &self,
        context: Context<'_>,
        members: &[Member],
    ) -> Result<(Toolchain, String), BuildError> {
        let Some(first) = members.first() else {
            return Err(BuildError::Sources("nothing to build".to_owned()));
        };
        let toolchain = Toolchain::choose(&self.workspace_root).await?;
        let packages = members.iter().flat_map(|member| ["-p", &member.package]);
        let command = Command::new(cargo()?, &self.workspace_root)
            .without(&FOREIGN)
            .args(["build", "--release", "--target", toolchain.target])
            .args(packages)
            .args(&toolchain.options)
            .args(context.options.offline.then_some("--offline"));
        let command = toolchain
            .variables
            .iter()
            .fold(command, |command, (name, value)| command.set(name, value));
        let colour = if context.options.colour { "always" } else { "never" };
        let words = context.run(&first.job, command.set("CARGO_TERM_COLOR", colour)).await?;
        Ok((toolchain, words))
    }

    /// Takes what cargo has made to its place.
    async fn collect(
        &self,
        member: &Member,
        toolchain: &Toolchain,
        words: &str,
    ) -> Result<Built, BuildError> {
        let folder = self.target_directory.join(toolchain.target).join("release");
        let artifact = folder.join(&member.artifact);
        let bytes = std::fs::read(&artifact).map_err(|error| file("read", &artifact, error))?;
        let bytes = match toolchain.target {
            COMPONENT_TARGET => bytes,
            _ => componentize(bytes).await?,
        };
        let made = Made { bytes, warnings: warnings(words.to_owned()) };
        let built = place::put(&member.job, made, Freshness::Built).await?;
        // The component may be the very file that cargo has just written.
        let is_in_place = std::fs::canonicalize(&member.job.component).ok()
            == std::fs::canonicalize(&artifact).ok();
        let freshness = match built.freshness {
            Freshness::UpToDate if is_in_place && words.contains("Compiling") => Freshness::Built,
            other => other,
        };
        Ok(Built { freshness, ..built })
    }
}

/// How cargo is called.
struct Toolchain {
    target: &'static str,
    options: Vec<String>,
    variables: Vec<(&'static str, String)>,
}

impl Toolchain {
    async fn choose(folder: &Path) -> Result<Toolchain, MissingTool> {
        if has_component_target(folder).await {
            let (options, variables) = (Vec::new(), Vec::new());
            return Ok(Toolchain { target: COMPONENT_TARGET, options, variables });
        }
        match debian(folder).await {
            Some(toolchain) => Ok(toolchain),
            None => Err(too_old(folder).await.unwrap_or(MissingTool {
                wanted: format!("the Rust target {COMPONENT_TARGET}"),
                found: None,
                remedy: format!("rustup target add {COMPONENT_TARGET}"),
            })),
        }
    }
}

/// A Rust that does not know the target, whatever rustup is asked for.
async fn too_old(folder: &Path) -> Option<MissingTool> {
    let version = tool::version(&tool::on_path("rustc")?, "--version", folder).await?;
    (!tool::is_at_least(&version, &OLDEST)).then(|| MissingTool {
        wanted: "Rust 1.85 or newer".to_owned(),
        found: Some(format!("Rust {version}")),
        remedy: format!("rustup update && rustup target add {COMPONENT_TARGET}"),
    })
}

/// What is missing for building Rust in `folder`.
pub async fn missing(folder: &Path) -> Option<MissingTool> {
    match cargo() {
        Ok(_) => Toolchain::choose(folder).await.err(),
        Err(missing) => Some(missing),
    }
}

/// Whether the standard library is there: rustc knows the name of every target.
pub async fn has_component_target(folder: &Path) -> bool {
    let Some(rustc) = tool::on_path("rustc") else { return false };
    let question = Command::new(rustc, folder).args([
        "--print",
        "target-libdir",
        "--target",
        COMPONENT_TARGET,
    ]);
    let Some(answer) = question.ask().await else { return false };
    let files = std::fs::read_dir(answer.trim()).into_iter().flatten().flatten();
    files.into_iter().any(|file| file.file_name().as_encoded_bytes().starts_with(b"libstd-"))
}

/// Debian's rustc with the sources of the standard library, if it is installed.
async fn debian(folder: &Path) -> Option<Toolchain> {
    let rustc = Path::new(DEBIAN_RUSTC);
    let version = tool::version(rustc, "--version", folder).await?;
    let sysroot = Command::new(rustc, folder).args(["--print", "sysroot"]).ask().await?;
    let sources = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/std/Cargo.toml");
    let libc = Path::new(DEBIAN_WASI_LIBC).join("libc.a");
    if !tool::is_at_least(&version, &DEBIAN_OLDEST) || !sources.exists() || !libc.exists() {
        return None;
    }
    let flags = format!("-C link-self-contained=no -L native={DEBIAN_WASI_LIBC} -C link-arg=-lc");
    Some(Toolchain {
        target: CORE_TARGET,
        options: vec!["-Zbuild-std=std,panic_abort".to_owned()],
        variables: vec![
            ("RUSTC", DEBIAN_RUSTC.to_owned()),
            // -Zbuild-std is unstable; this is how a stable compiler takes it.
            ("RUSTC_BOOTSTRAP", "1".to_owned()),
            ("CARGO_TARGET_WASM32_WASIP1_LINKER", linker(folder).await?.display().to_string()),
            ("CARGO_TARGET_WASM32_WASIP1_RUSTFLAGS", flags),
            ("LD_LIBRARY_PATH", String::new()),
        ],
    })
}

/// The linker for Wasm: every toolchain of rustup has one, else LLVM's.
async fn linker(folder: &Path) -> Option<PathBuf> {
    if let Some(rustc) = tool::on_path("rustc") {
        let sysroot = Command::new(&rustc, folder).args(["--print", "sysroot"]).ask().await?;
        let about = Command::new(&rustc, folder).arg("-vV").ask().await?;
        let host = about.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
        let bundled = Path::new(sysroot.trim()).join("lib/rustlib").join(host).join("bin/rust-lld");
        if bundled.exists() {
            return Some(bundled);
        }
    }
    let numbered = (14..=22).rev().map(|n| format!("wasm-ld-{n}"));
    std::iter::once("wasm-ld".to_owned()).chain(numbered).find_map(|name| tool::on_path(&name))
}
