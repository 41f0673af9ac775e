//! A command of the user's own, which writes the component itself.

use std::{fs, path::Path};

use super::{
    BuildError, Built, Context, Freshness, Job, command::Command, file, fingerprint, place,
};
use crate::manifest;

/// Runs the command. Without `watch` it decides by itself what there is to do;
/// with it, it is run only if one of those files has changed.
pub async fn build(
    context: Context<'_>,
    job: &Job,
    command: &manifest::Command,
) -> Result<Built, BuildError> {
    let how = format!("{command:?}");
    let inputs = match job.build.watch.is_empty() {
        true => None,
        false => Some(fingerprint::of(job, &how).await?),
    };
    if inputs.as_ref().is_some_and(|inputs| inputs.is_that_of(job)) {
        return place::checked(&job.component, Freshness::UpToDate, String::new()).await;
    }
    let before = Before::of(job)?;
    match run(context, job, command).await {
        Ok(built) => {
            let freshness = before.give_way();
            if let Some(inputs) = inputs {
                inputs.remember(job, &built.inspection.digest)?;
            }
            Ok(Built { freshness, ..built })
        }
        Err(error) => {
            before.restore()?;
            Err(error)
        }
    }
}

async fn run(
    context: Context<'_>,
    job: &Job,
    command: &manifest::Command,
) -> Result<Built, BuildError> {
    let source = &job.build.source;
    let command = match command {
        manifest::Command::Shell(line) => Command::new("sh", source).arg("-c").arg(line),
        manifest::Command::Program(words) => match words.as_slice() {
            // Relative to the sources, as a shell there would have it.
            [program, arguments @ ..] => Command::new(program, source).args(arguments),
            [] => return Err(BuildError::Sources("`command` is an empty list".to_owned())),
        },
    };
    let words = context.run(job, command).await?;
    if !job.component.exists() {
        return Err(BuildError::Sources(format!(
            "the command ended well, but did not write `{}`: let it write the file that `component` names",
            job.component.display()
        )));
    }
    place::checked(&job.component, Freshness::Built, super::warnings(words)).await
}

/// The component as it was before the command: it comes back unless it gives way,
/// also when nobody waits for the command any more.
struct Before<'j> {
    component: &'j Path,
    bytes: Option<Vec<u8>>,
    is_done: bool,
}

impl Before<'_> {
    fn of(job: &Job) -> Result<Before<'_>, BuildError> {
        let component = &job.component;
        let bytes = match fs::read(component) {
            Ok(bytes) => Some(bytes),
            Err(_) if !component.exists() => None,
            Err(error) => return Err(file("read", component, error)),
        };
        Ok(Before { component, bytes, is_done: false })
    }

    /// Leaves what the command has made.
    fn give_way(mut self) -> Freshness {
        self.is_done = true;
        match fs::read(self.component).ok() == self.bytes {
            true => Freshness::UpToDate,
            false => Freshness::Built,
        }
    }

    /// Brings it back after a command that broke off, which may have left half of one.
    fn restore(mut self) -> Result<(), BuildError> {
        self.is_done = true;
        self.bring_back()
    }

    fn bring_back(&self) -> Result<(), BuildError> {
        let Some(bytes) = &self.bytes else {
            fs::remove_file(self.component).ok();
            return Ok(());
        };
        if fs::read(self.component).is_ok_and(|there| there == *bytes) {
            return Ok(());
        }
        let cannot = |error| file("write", self.component, error);
        let beside = place::write_beside(self.component, bytes).map_err(cannot)?;
        beside.persist(self.component).map(drop).map_err(|error| cannot(error.error))
    }
}

impl Drop for Before<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            // Nobody is left to be told.
            self.bring_back().ok();
        }
    }
}
