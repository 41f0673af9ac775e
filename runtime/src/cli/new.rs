//! `pelton new`: makes a project to begin with.

use std::{
    io::{BufRead as _, IsTerminal as _, Write as _, stderr, stdin},
    path::{Path, PathBuf},
};

use clap::Args;
use pelton::{
    build,
    manifest::Language,
    templates::{self, Project, Template},
};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::{Exit, report, signals};

/// Make a project with a handler that builds at once
///
/// It has a handler, a manifest, test cases, a README and the contract in WIT. Nothing is
/// installed; tools that are missing are named, each with the command that gets it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pelton new hello --lang rust\n  \
    pelton new orders --lang typescript --template router --path handlers/orders\n  \
    pelton new --list")]
pub struct Arguments {
    /// The name of the plugin and of its package: lower-case letters, digits and `-`
    #[arg(required_unless_present = "list")]
    name: Option<String>,
    /// rust, python, javascript, typescript, go or c
    #[arg(long = "lang", visible_alias = "language", value_name = "LANGUAGE", value_parser = language)]
    language: Option<Language>,
    /// What to begin with; --list shows them
    #[arg(long, value_name = "TEMPLATE", default_value = "transform", value_parser = template)]
    template: Template,
    /// The folder to make, instead of one named like the plugin
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
    /// Show the languages and their templates
    #[arg(long)]
    list: bool,
}

/// Makes the project and says how to go on.
pub fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let Some(name) = arguments.name.filter(|_| !arguments.list) else {
        report::text(&list())?;
        return Ok(Exit::Ok);
    };
    let Some(language) = arguments.language.or_else(ask) else {
        let names = keys().join(", ");
        report::error(&anyhow::anyhow!("which language? Add --lang with one of {names}"));
        return Ok(Exit::Usage);
    };
    let folder = arguments.path.unwrap_or_else(|| PathBuf::from(&name));
    let project = Project { name, language, template: arguments.template, folder };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(make(project))
}

/// Makes it: a signal that comes before it is whole leaves nothing of it.
async fn make(project: Project) -> anyhow::Result<Exit> {
    let mut signals = signals::Stop::listen()?;
    let stop = CancellationToken::new();
    let making = spawn_blocking({
        let (project, stop) = (project.clone(), stop.clone());
        move || project.make(&stop)
    });
    tokio::pin!(making);
    let made = loop {
        tokio::select! {
            made = &mut making => break made?,
            _ = signals.next() => stop.cancel(),
        }
    };
    if let Err(error) = made {
        let exit = if stop.is_cancelled() { Exit::Failed } else { Exit::Usage };
        report::error(&error.into());
        return Ok(exit);
    }
    // Tools are asked for their versions, which may take a while.
    let missing = tokio::select! {
        missing = build::missing_tools(project.language, &project.folder) => missing,
        _ = signals.next() => Vec::new(),
    };
    report::text(&next(&project, &missing))?;
    Ok(Exit::Ok)
}

/// What was made, what is missing, and what comes next.
fn next(project: &Project, missing: &[build::MissingTool]) -> String {
    let folder = project.folder.display();
    let Project { language, template, .. } = project;
    let mut text = format!(
        "{folder}: a handler in {language} that {}; it is in {}\n",
        template.about,
        project.folder.join(project.handler()).display()
    );
    let is_elsewhere = project.folder != Path::new(".");
    if is_elsewhere {
        text += &format!("\n  cd {folder}\n");
    }
    // After `cd`: some commands that get a tool put it into the folder they run in.
    for missing in missing {
        text += &format!("\nstill missing: {missing}\n");
    }
    let gap = if is_elsewhere && missing.is_empty() { "" } else { "\n" };
    let sample = project.sample();
    text += &format!("{gap}  pelton build\n  pelton test\n  {sample}\n");
    if template.name == "webhook" {
        text += "\nThe last one needs something that listens at the endpoint: see `url` and `http` in pelton.toml.\n";
    }
    text
}

fn list() -> String {
    let mut text = format!("languages\n  {}\n\ntemplates\n", keys().join(", "));
    for template in templates::ALL {
        text += &format!("  {:<12}{}\n", template.name, template.about);
    }
    text
}

/// Asks for the language, where somebody can answer; three times at most.
fn ask() -> Option<Language> {
    if !stdin().is_terminal() || !stderr().is_terminal() {
        return None;
    }
    for _ in 0..3 {
        report::note(&format!("which language? ({}) ", keys().join(", ")));
        stderr().flush().ok()?;
        let mut line = String::new();
        if stdin().lock().read_line(&mut line).ok()? == 0 {
            return None;
        }
        match language(line.trim()) {
            Ok(language) => return Some(language),
            Err(error) => report::note(&format!("{error}\n")),
        }
    }
    None
}

fn keys() -> Vec<&'static str> {
    Language::ALL.iter().map(|(key, _)| *key).collect()
}

/// A language by its name, or by what people call it for short.
fn language(text: &str) -> Result<Language, String> {
    let lower = text.to_lowercase();
    let name = match lower.as_str() {
        "js" => "javascript",
        "ts" => "typescript",
        "py" | "python3" => "python",
        "rs" => "rust",
        "golang" => "go",
        other => other,
    };
    let found = Language::ALL.iter().find(|(key, _)| *key == name);
    found.map(|(_, language)| *language).ok_or_else(|| {
        format!("there is no template in that language; there are {}. Components in any other work as well: see `[plugins.NAME.build] command`", keys().join(", "))
    })
}

fn template(text: &str) -> Result<Template, String> {
    templates::find(text).ok_or_else(|| {
        let names: Vec<_> = templates::ALL.iter().map(|template| template.name).collect();
        format!("there are {}", names.join(", "))
    })
}
