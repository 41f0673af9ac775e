//! JavaScript and TypeScript: tsc, a bundler if the project has one, and
//! componentize-js.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{
    BuildError, Built, Context, Job, Made,
    bindings::Wit,
    command::Command,
    file, tool,
    tool::{MissingTool, Toolbox},
};

/// Where a handler may be.
const ENTRIES: [&str; 4] = ["handler.ts", "src/handler.ts", "handler.js", "src/handler.js"];

/// What may be installed for all projects: the package and its program.
const TOOLS: [(&str, &str); 2] =
    [("@bytecodealliance/componentize-js", "componentize-js"), ("typescript", "tsc")];

/// Builds `handler.ts` or `handler.js`.
pub async fn build(context: Context<'_>, job: &Job) -> Result<Built, BuildError> {
    let project = Project::of(context, job).await?;
    let wit = Wit::of(&context, job)?;
    let how = format!("{}\n{}\n{}", project.node, job.uses_http, wit.digest());
    context.unless_fresh(job, &how, || project.compile(context, job, &wit)).await
}

/// A folder with `package.json` and what it needs.
struct Project {
    /// Absolute, as all paths here.
    folder: PathBuf,
    entry: PathBuf,
    /// The version of node.
    node: String,
    toolbox: Toolbox,
}

impl Project {
    async fn of(context: Context<'_>, job: &Job) -> Result<Project, BuildError> {
        let folder = std::path::absolute(&job.build.source).unwrap_or(job.build.source.clone());
        let entry = ENTRIES.iter().map(|name| folder.join(name)).find(|path| path.is_file());
        let entry = entry.ok_or_else(|| {
            let shown = job.build.source.display();
            BuildError::Sources(format!("there is no `handler.js` or `handler.ts` in `{shown}`"))
        })?;
        let (node, npm) = find(&folder).await?;
        let toolbox = Toolbox::new(&job.build.source, context.base);
        let project = Project { folder, entry, node, toolbox };
        if project.needs_install() {
            project.install(context, job, &npm).await?;
        }
        Ok(project)
    }

    /// Whether what `package.json` names is not all there: npm writes its own
    /// list last, so a break before leaves none.
    fn needs_install(&self) -> bool {
        let modified = |path: &Path| path.metadata().and_then(|about| about.modified()).ok();
        let wanted = self.toolbox.nearest("package.json").and_then(|path| modified(&path));
        match self.toolbox.nearest("node_modules/.package-lock.json") {
            Some(list) => modified(&list) < wanted,
            // Others than npm, or folders that were linked in.
            None if self.toolbox.nearest("node_modules").is_some() => {
                self.program("componentize-js").is_none()
            }
            None => !self.installed_for_all(),
        }
    }

    /// Whether PATH has what `package.json` names, because it names tools only.
    fn installed_for_all(&self) -> bool {
        let package = self.package();
        let named = ["dependencies", "devDependencies"].iter().filter_map(|key| package.get(key));
        let mut named = named.filter_map(Value::as_object).flat_map(serde_json::Map::keys);
        let is_typed = self.entry.extension().is_some_and(|extension| extension == "ts");
        named.all(|name| TOOLS.iter().any(|(package, _)| name == package))
            && TOOLS
                .iter()
                .filter(|(_, tool)| is_typed || *tool != "tsc")
                .all(|(_, tool)| tool::on_path(tool).is_some())
    }

    /// What `package.json` says; nothing, if it cannot be read.
    fn package(&self) -> Value {
        let package = self.toolbox.nearest("package.json").and_then(|path| fs::read(path).ok());
        package.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    async fn install(&self, context: Context<'_>, job: &Job, npm: &Path) -> Result<(), BuildError> {
        let package = self.toolbox.nearest("package.json");
        let folder = package.as_deref().and_then(Path::parent).unwrap_or(&self.folder);
        if context.options.offline {
            return Err(MissingTool {
                wanted: format!("what `{}/package.json` names", folder.display()),
                found: None,
                remedy: "build once without --offline, or run `npm install`".to_owned(),
            }
            .into());
        }
        let verb = if folder.join("package-lock.json").exists() { "ci" } else { "install" };
        context.note(job, &format!("npm {verb} in {}", folder.display()));
        let command = Command::new(npm, folder).args([verb, "--no-audit", "--no-fund"]);
        context.run(job, command).await.map(drop)
    }

    async fn compile(
        &self,
        context: Context<'_>,
        job: &Job,
        wit: &Wit,
    ) -> Result<Made, BuildError> {
        let work = self.folder.join(".pelton");
        let mut words = String::new();
        let is_typed = self.entry.extension().is_some_and(|extension| extension == "ts");
        let entry = match self.program("esbuild") {
            Some(esbuild) => {
                if is_typed {
                    words += &self.tsc(context, job, &["--noEmit"]).await?;
                }
                self.bundle(context, job, &esbuild, &work.join("handler.js")).await?
            }
            None if is_typed => {
                let out = work.join("js");
                let root = self.entry.parent().unwrap_or(&self.folder);
                let out_text = out.to_string_lossy();
                let options = [
                    "--noEmit",
                    "false",
                    "--outDir",
                    &*out_text,
                    "--rootDir",
                    &*root.to_string_lossy(),
                ];
                words += &self.tsc(context, job, &options).await?;
                out.join("handler.js")
            }
            None => {
                self.check_syntax(context, job).await?;
                self.entry.clone()
            }
        };
        let made = work.join("component.wasm");
        self.componentize(context, job, (&entry, wit, &made)).await?;
        let bytes = fs::read(&made).map_err(|error| file("read", &made, error))?;
        Ok(Made { bytes, warnings: super::warnings(words) })
    }

    /// componentize-js says of a syntax error only that there is one: node says where.
    /// What is not said to be a module node would take for something else.
    async fn check_syntax(&self, context: Context<'_>, job: &Job) -> Result<(), BuildError> {
        if self.package().get("type").and_then(Value::as_str) != Some("module") {
            return Ok(());
        }
        let command = Command::new("node", &self.folder).arg("--check").arg(&self.entry);
        context.run(job, command).await.map(drop)
    }

    async fn tsc(
        &self,
        context: Context<'_>,
        job: &Job,
        options: &[&str],
    ) -> Result<String, BuildError> {
        let tsc = self.needed("tsc", "typescript")?;
        let pretty = if context.options.colour { "true" } else { "false" };
        let command = Command::new(tsc, &self.folder).args(["-p", ".", "--pretty", pretty]);
        context.run(job, command.args(options)).await
    }

    async fn bundle(
        &self,
        context: Context<'_>,
        job: &Job,
        esbuild: &Path,
        out: &Path,
    ) -> Result<PathBuf, BuildError> {
        let command = Command::new(esbuild, &self.folder)
            .arg(&self.entry)
            .args(["--bundle", "--format=esm", "--target=es2022", "--log-level=warning"])
            .args(["--external:pelton:*", "--external:wasi:*"])
            .arg(format!("--outfile={}", out.display()));
        context.run(job, command).await?;
        Ok(out.to_owned())
    }

    /// Without a grant for HTTP the engine's own `fetch` is left out, and with it
    /// the imports that the host would have to refuse.
    async fn componentize(
        &self,
        context: Context<'_>,
        job: &Job,
        (entry, wit, made): (&Path, &Wit, &Path),
    ) -> Result<(), BuildError> {
        let tool = self.needed("componentize-js", "@bytecodealliance/componentize-js@0.23.0")?;
        let command = Command::new(tool, &self.folder)
            .arg(entry)
            .arg("-w")
            .arg(&wit.folder)
            .args(["-n", &wit.world, "-o"])
            .arg(made);
        let command = match job.uses_http {
            true => command,
            false => command.args(["-d", "http", "-d", "fetch-event"]),
        };
        context.run(job, command).await.map(drop)
    }

    /// A program of the project, or one of the tools on PATH.
    fn program(&self, name: &str) -> Option<PathBuf> {
        let is_tool = TOOLS.iter().any(|(_, tool)| *tool == name);
        let own = self.toolbox.nearest(&format!("node_modules/.bin/{name}"));
        own.or_else(|| is_tool.then(|| tool::on_path(name)).flatten())
    }

    fn needed(&self, program: &str, package: &str) -> Result<PathBuf, MissingTool> {
        self.program(program).ok_or_else(|| MissingTool {
            wanted: format!("`{program}`"),
            found: None,
            remedy: format!("npm install --save-dev --save-exact {package}"),
        })
    }
}

/// The version of node, and npm.
pub async fn find(folder: &Path) -> Result<(String, PathBuf), MissingTool> {
    let missing = |found| MissingTool {
        wanted: "Node 20 or newer with npm".to_owned(),
        found,
        remedy: "install it from https://nodejs.org (Debian: apt-get install nodejs npm)"
            .to_owned(),
    };
    let (Some(node), Some(npm)) = (tool::on_path("node"), tool::on_path("npm")) else {
        return Err(missing(None));
    };
    match tool::version(&node, "--version", folder).await {
        Some(version) if tool::is_at_least(&version, &[20]) => Ok((version, npm)),
        version => Err(missing(version.map(|version| format!("Node {version}")))),
    }
}
