//! `pelton check`: what is wrong with a manifest, without and with a server.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, IsTerminal as _, stderr},
    path::{Path, PathBuf},
};

use clap::Args;
use pelton::{
    host::{self, Finding, Mode, Provision, Unreachable},
    manifest::{Environment, FILE_NAME, Look, Manifest, Problem, Problems},
    plugin,
};

use super::{Exit, build, report};

/// Find what is wrong with a manifest, all of it at once
///
/// Without --connect: everything that can be known without a server, the components included. With
/// it: also streams and consumers, compared with the manifest. Nothing is made or changed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pelton check\n  \
    pelton check deploy/orders.toml --connect --nats-url nats://nats:4222")]
pub struct Arguments {
    #[command(flatten)]
    manifest: Source,
    /// Compare streams and consumers on the server with the manifest
    #[arg(long)]
    connect: bool,
}

/// Which servers.
#[derive(Debug, Clone, Args)]
pub struct Servers {
    /// Servers to connect to, instead of those in the manifest; several are separated by commas
    #[arg(
        long,
        value_name = "URL",
        env = "PELTON_NATS_URL",
        hide_env_values = true,
        value_delimiter = ','
    )]
    nats_url: Vec<String>,
}

/// Which manifest, and which servers: the same flags for every verb that needs them.
#[derive(Debug, Clone, Args)]
pub struct Source {
    /// The manifest, or the folder it is in
    #[arg(default_value = "pelton.toml")]
    pub manifest: PathBuf,
    #[command(flatten)]
    servers: Servers,
}

/// Which manifest, and which servers, for a verb that runs no components and
/// whose words mean something else.
#[derive(Debug, Clone, Args)]
pub struct Place {
    /// The manifest, or the folder it is in
    #[arg(long, short, value_name = "PATH", default_value = "pelton.toml")]
    pub manifest: PathBuf,
    #[command(flatten)]
    servers: Servers,
}

impl Place {
    /// The manifest; `None` after its problems have been printed.
    pub fn load(self) -> Option<Manifest> {
        let source = Source { manifest: self.manifest, servers: self.servers };
        source.read_unbuilt(look()).inspect_err(|problems| report::note(problems)).ok()
    }

    /// The same with what the plugins are granted, for a verb that may run them.
    pub fn load_with_grants(self) -> Option<Manifest> {
        let source = Source { manifest: self.manifest, servers: self.servers };
        let loaded = Manifest::load_unbuilt(&source.manifest, &Environment::process());
        source.complete(look(), loaded).inspect_err(|problems| report::note(problems)).ok()
    }
}

/// Checks and says what was found.
pub fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let Some(manifest) = arguments.manifest.load() else {
        return Ok(Exit::Usage);
    };
    if arguments.connect {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let found = runtime.block_on(compare(&manifest))?;
        if !found.is_empty() {
            report::note(&findings(&manifest, found, look()));
            return Ok(Exit::Usage);
        }
    }
    build::warn_of_outdated(&arguments.manifest.manifest, &manifest);
    report::text(&(summary(&manifest, &arguments) + &notes(&manifest)))?;
    Ok(Exit::Ok)
}

/// The manifest's file, where its folder may be named in its place.
pub fn file(path: &Path) -> PathBuf {
    if path.is_dir() { path.join(FILE_NAME) } else { path.to_owned() }
}

impl Source {
    /// Whether there is no manifest at all.
    pub fn is_missing(&self) -> bool {
        fs::metadata(file(&self.manifest)).is_err_and(|error| {
            matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
        })
    }

    /// The manifest, complete and valid; `None` after its problems have been printed.
    pub fn load(&self) -> Option<Manifest> {
        self.read(look()).inspect_err(|problems| report::note(problems)).ok()
    }

    /// The manifest at `path`, for a verb that only looks at its sources: nothing
    /// that it names on servers, in the environment or in folders is needed.
    ///
    /// # Errors
    /// Its problems.
    pub fn read_sources(path: &Path) -> Result<Manifest, Problems> {
        let environment = Environment::process().without_server().without_handlers();
        Manifest::load_unbuilt(path, &environment)
    }

    /// The manifest at `path`, for a verb that runs its components and needs no
    /// server; `None` after its problems have been printed.
    pub fn load_components(path: PathBuf) -> Option<Manifest> {
        let environment = Environment::process().without_server();
        let loaded = Manifest::load(&path, &environment, plugin::check_component);
        loaded.inspect_err(|problems| report::note(&explained(problems, look()))).ok()
    }

    /// The manifest, complete and valid, or its problems, for people.
    pub fn read(&self, look: Look) -> Result<Manifest, String> {
        let environment = Environment::process();
        let loaded = Manifest::load(&self.manifest, &environment, plugin::check_component);
        self.complete(look, loaded)
    }

    /// The manifest, of which neither the components need be there yet nor what
    /// they are granted.
    pub fn read_unbuilt(&self, look: Look) -> Result<Manifest, String> {
        let environment = Environment::process().without_handlers();
        self.complete(look, Manifest::load_unbuilt(&self.manifest, &environment))
    }

    fn complete(&self, look: Look, loaded: Result<Manifest, Problems>) -> Result<Manifest, String> {
        let mut manifest = loaded.map_err(|problems| explained(&problems, look))?;
        if !self.servers.nats_url.is_empty() {
            let replaced = manifest.override_url(&self.servers.nats_url.join(","));
            replaced.map_err(|problem| report::line(&anyhow::anyhow!("--nats-url: {problem}")))?;
        }
        Ok(manifest)
    }
}

/// What was found on the server, at the places of the manifest that ask for it.
pub fn findings(manifest: &Manifest, findings: Vec<Finding>, look: Look) -> String {
    let problem =
        |Finding { code, key, what, problem }: Finding| manifest.problem(code, &key, what, problem);
    let found = Problems::new(manifest, findings.into_iter().map(problem).collect());
    explained(&found, look)
}

/// The problems, and how to read more about them.
pub fn explained(problems: &Problems, look: Look) -> String {
    problems.render(look) + &more_about(problems.iter())
}

/// How to read more about problems.
pub fn more_about<'p>(problems: impl Iterator<Item = &'p Problem>) -> String {
    let codes: BTreeSet<_> = problems.map(Problem::kind).collect();
    let codes: Vec<_> = codes.into_iter().collect();
    format!("more about each: pelton explain {}\n", codes.join(" "))
}

async fn compare(manifest: &Manifest) -> anyhow::Result<Vec<Finding>> {
    let broker = host::connect(manifest, Unreachable::Fail).await?;
    let provision = Provision::survey(&broker, manifest, Mode::Compare).await?;
    Ok(provision.findings().to_vec())
}

fn summary(manifest: &Manifest, arguments: &Arguments) -> String {
    let n_plugins = manifest.plugins.len();
    let plugins = if n_plugins == 1 { "plugin" } else { "plugins" };
    let compared = if arguments.connect { "; the server agrees" } else { "" };
    let path = arguments.manifest.manifest.display();
    let mut text = format!("{path}: {n_plugins} {plugins}, no problems{compared}\n");
    for (name, plugin) in &manifest.plugins {
        if let Some(contract) = plugin::foreign_contract(&plugin.component) {
            text += &format!(
                "  {name} speaks {contract}: what it publishes leaves after it has returned\n"
            );
        }
    }
    text
}

/// Grants that are missing or idle, a line each.
fn notes(manifest: &Manifest) -> String {
    let mut text = String::new();
    for (name, spec) in &manifest.plugins {
        // A component that cannot be read was a problem before.
        for note in plugin::notes(&spec.component, &spec.grants).unwrap_or_default() {
            text.push_str(&format!("note: `plugins.{name}` {note}\n"));
        }
    }
    text
}

/// How problems are printed where this process was started.
pub fn look() -> Look {
    match (stderr().is_terminal(), terminal_size::terminal_size_of(stderr())) {
        (true, Some((width, _))) => {
            let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            Look::Terminal { width: width.0.into(), colour }
        }
        _ => Look::Plain,
    }
}
