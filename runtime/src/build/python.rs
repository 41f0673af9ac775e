//! Python, by componentize-py; and the project's `.venv`, where tools of other
//! languages may be, too.

use std::path::{Path, PathBuf};

use super::{
    BuildError, Built, Context, Job, Made,
    bindings::Wit,
    command::Command,
    file, tool,
    tool::{MissingTool, Toolbox},
};
use crate::manifest::files_with;

/// The module that is taken if there are several.
const ENTRY: &str = "app";

/// Builds `app.py`, or the only module of the folder.
pub async fn build(context: Context<'_>, job: &Job) -> Result<Built, BuildError> {
    let folder = std::path::absolute(&job.build.source).unwrap_or(job.build.source.clone());
    let module = module(&folder)?;
    let toolbox = Toolbox::new(&job.build.source, context.base);
    let tool = match toolbox.find("componentize-py") {
        Some(tool) => tool,
        None => install(context, job, &toolbox).await?,
    };
    let version = tool::version(&tool, "--version", &folder).await.unwrap_or_default();
    let wit = Wit::of(&context, job)?;
    let how = format!("componentize-py {version} {module}\n{}", wit.digest());
    context
        .unless_fresh(job, &how, || async {
            let made = job.work_folder().join("component.wasm");
            let made = std::path::absolute(&made).unwrap_or(made);
            let command = Command::new(&tool, &folder)
                .arg("-d")
                .arg(&wit.folder)
                .args(["-w", &wit.world, "componentize", &module, "-o"])
                .arg(&made);
            context.run(job, in_environment(command, &toolbox)).await?;
            let bytes = std::fs::read(&made).map_err(|error| file("read", &made, error))?;
            Ok(Made { bytes, warnings: String::new() })
        })
        .await
}

/// As after `source .venv/bin/activate`: the packages in it are found.
fn in_environment(command: Command, toolbox: &Toolbox) -> Command {
    match toolbox.virtual_environment() {
        Some(folder) => command.with_path(folder.join("bin")).set("VIRTUAL_ENV", folder),
        None => command,
    }
}

fn module(folder: &Path) -> Result<String, BuildError> {
    let modules = files_with(folder, "py");
    let names: Vec<_> =
        modules.iter().filter_map(|path| Some(path.file_stem()?.to_string_lossy())).collect();
    match names.as_slice() {
        [only] => Ok(only.to_string()),
        _ if names.iter().any(|name| name == ENTRY) => Ok(ENTRY.to_owned()),
        _ => Err(BuildError::Sources(format!(
            "there is no `app.py` with the handler in `{}`",
            folder.display()
        ))),
    }
}

/// Makes the project's `.venv` with what its `requirements.txt` names.
async fn install(
    context: Context<'_>,
    job: &Job,
    toolbox: &Toolbox,
) -> Result<PathBuf, BuildError> {
    let missing = |remedy: &str| MissingTool {
        wanted: "componentize-py".to_owned(),
        found: None,
        remedy: remedy.to_owned(),
    };
    let Some(requirements) = toolbox.nearest("requirements.txt") else {
        return Err(
            missing("python3 -m venv .venv && .venv/bin/pip install componentize-py").into()
        );
    };
    let folder = requirements.parent().unwrap_or(Path::new("."));
    if context.options.offline {
        return Err(missing("build once without --offline, which installs requirements.txt").into());
    }
    let environment = folder.join(".venv");
    context.note(
        job,
        &format!("installing {} into {}", requirements.display(), environment.display()),
    );
    let Some(python) = tool::on_path("python3") else {
        let remedy = "install Python 3.10 or newer (Debian: apt-get install python3-venv)";
        let wanted = "python3".to_owned();
        return Err(MissingTool { wanted, found: None, remedy: remedy.to_owned() }.into());
    };
    if !environment.join("bin/pip").exists() {
        let make = Command::new(python, folder).args(["-m", "venv"]).arg(&environment);
        context.run(job, make).await?;
    }
    let install = Command::new(environment.join("bin/pip"), folder)
        .args(["install", "--disable-pip-version-check", "-r"])
        .arg(&requirements);
    context.run(job, install).await?;
    let not_in_it = "requirements.txt does not bring it: add a line `componentize-py` to it";
    toolbox.in_environment("componentize-py").ok_or_else(|| missing(not_in_it).into())
}
