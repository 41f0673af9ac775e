//! C: clang with a wasi-libc, or zig, which has both in one.

use std::path::{Path, PathBuf};

use super::{
    BuildError, Built, Context, Job, Made,
    bindings::Wit,
    command::Command,
    componentize, file, tool,
    tool::{MissingTool, Toolbox},
    warnings,
};
use crate::manifest::files_with;

/// Newest first; `clang` itself comes before all of them.
const CLANGS: std::ops::RangeInclusive<u32> = 14..=22;
/// Where a wasi-libc is installed: by Debian, Fedora, Arch, Homebrew, wasi-sdk.
const SYSROOTS: [(&str, &str); 6] = [
    ("/usr", "lib/wasm32-wasi/libc.a"),
    ("/usr/wasm32-wasi", "lib/wasm32-wasi/libc.a"),
    ("/usr/share/wasi-sysroot", "lib/wasm32-wasi/libc.a"),
    ("/opt/homebrew/share/wasi-sysroot", "lib/wasm32-wasi/libc.a"),
    ("/usr/local/share/wasi-sysroot", "lib/wasm32-wasi/libc.a"),
    ("/opt/wasi-sdk/share/wasi-sysroot", "lib/wasm32-wasi/libc.a"),
];

/// A compiler with its libc.
pub struct Compiler {
    program: PathBuf,
    arguments: Vec<String>,
    /// What it is, for the fingerprint.
    version: String,
}

/// Compiles all `*.c` of the folder, and of `src` in it, with the bindings.
pub async fn build(context: Context<'_>, job: &Job) -> Result<Built, BuildError> {
    let folder = absolute(&job.build.source);
    let mut sources = files_with(&folder, "c");
    sources.extend(files_with(&folder.join("src"), "c"));
    if sources.is_empty() {
        return Err(BuildError::Sources(format!(
            "there is no `*.c` in `{}` or its folder `src`",
            job.build.source.display()
        )));
    }
    let toolbox = Toolbox::new(&job.build.source, context.base);
    let compiler = find(&toolbox, &folder).await?;
    let wit = Wit::of(&context, job)?;
    let bindings = absolute(&job.work_folder()).join("bindings");
    let how = format!("{} {:?}\n{}", compiler.version, compiler.arguments, wit.digest());
    context
        .unless_fresh(job, &how, || async {
            wit.write_c(&bindings)?;
            let core = absolute(&job.work_folder()).join("core.wasm");
            let command = compiler.command(&folder, &bindings, &core).args(&sources);
            let words = context.run(job, command).await?;
            let bytes = std::fs::read(&core).map_err(|error| file("read", &core, error))?;
            Ok(Made { bytes: componentize(bytes).await?, warnings: warnings(words) })
        })
        .await
}

impl Compiler {
    fn command(&self, folder: &Path, bindings: &Path, core: &Path) -> Command {
        let cache = bindings.join("../zig-cache");
        Command::new(&self.program, folder)
            .args(&self.arguments)
            .args(["-mexec-model=reactor", "-Os", "-Wall", "-Wl,--strip-all", "-I"])
            .arg(bindings)
            .arg("-o")
            .arg(core)
            .arg(bindings.join("plugin.c"))
            .arg(bindings.join("plugin_component_type.o"))
            .set("ZIG_LOCAL_CACHE_DIR", cache)
    }
}

/// The first compiler that is there with a libc for Wasm.
pub async fn find(toolbox: &Toolbox, folder: &Path) -> Result<Compiler, MissingTool> {
    for (program, arguments) in candidates(toolbox) {
        let question = match arguments.first().map(String::as_str) {
            Some("-m") => vec!["-m", "ziglang", "version"],
            Some("cc") => vec!["version"],
            _ => vec!["--version"],
        };
        let question = Command::new(&program, folder).args(question);
        if let Some(version) = question.ask().await {
            return Ok(Compiler { program, arguments, version });
        }
    }
    Err(MissingTool {
        wanted: "a C compiler for Wasm (clang with wasi-libc, or zig)".to_owned(),
        found: tool::on_path("clang").map(|_| "clang without wasi-libc".to_owned()),
        remedy: "python3 -m venv .venv && .venv/bin/pip install ziglang".to_owned(),
    })
}

fn candidates(toolbox: &Toolbox) -> Vec<(PathBuf, Vec<String>)> {
    let mut all = Vec::new();
    if let Some(sdk) = std::env::var_os("WASI_SDK_PATH").map(PathBuf::from) {
        all.push((sdk.join("bin/clang"), clang_arguments(&sdk.join("share/wasi-sysroot"))));
    }
    if let Some(python) = toolbox.in_environment("python") {
        all.push((python, zig_arguments(&["-m", "ziglang"])));
    }
    let sysroot = SYSROOTS.iter().find(|(root, libc)| Path::new(root).join(libc).is_file());
    let clangs =
        std::iter::once("clang".to_owned()).chain(CLANGS.rev().map(|n| format!("clang-{n}")));
    for clang in clangs.filter_map(|name| tool::on_path(&name)) {
        all.extend(sysroot.map(|(root, _)| (clang, clang_arguments(Path::new(root)))));
    }
    all.extend(tool::on_path("zig").map(|zig| (zig, zig_arguments(&[]))));
    all.extend(tool::on_path("python3").map(|python| (python, zig_arguments(&["-m", "ziglang"]))));
    all
}

fn clang_arguments(sysroot: &Path) -> Vec<String> {
    vec!["--target=wasm32-wasi".to_owned(), format!("--sysroot={}", sysroot.display())]
}

/// zig reserves 16 MiB for the stack unless it is told otherwise.
fn zig_arguments(before: &[&str]) -> Vec<String> {
    let words = ["cc", "-target", "wasm32-wasi", "-Wl,-z,stack-size=65536"];
    before.iter().chain(&words).map(|word| (*word).to_owned()).collect()
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or(path.to_owned())
}
