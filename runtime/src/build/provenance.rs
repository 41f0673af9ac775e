//! What a component was made of: digests of its sources, kept when it is built,
//! so that whoever uses it later can say that they have changed since.
//!
//! No more than a word of warning hangs on it. Whether something has to be built
//! is the business of `fingerprint`, and of compilers.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Job, Sources, blocking, place, work_folder};
use crate::manifest;

/// Larger sources are not looked at.
const LARGEST: u64 = 4 << 20;
/// What code is in; other files of a project are mostly about it.
const CODE: [&str; 12] =
    ["c", "cjs", "cts", "go", "h", "js", "mjs", "mts", "py", "rs", "ts", "wit"];
/// What else a compiler goes by.
const SETTINGS: [&str; 6] =
    ["Cargo.toml", "go.mod", "package.json", "pyproject.toml", "requirements.txt", "tsconfig.json"];

/// The sources of a component, as they were before it was made.
pub struct Provenance {
    /// By absolute path.
    digests: BTreeMap<PathBuf, String>,
}

/// What is kept of the last build.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// The component that was made.
    component: Like,
    /// Digests of its sources, by paths that begin at the source folder if they
    /// are below it.
    sources: BTreeMap<PathBuf, String>,
}

/// What tells a component from one that somebody else has put in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Like {
    size: u64,
    modified: (i64, i64),
}

impl Provenance {
    /// Looks at the sources of `job`; `None`: it is not known which they are.
    pub async fn of(job: &Job) -> Option<Provenance> {
        let (build, component) = (job.build.clone(), job.component.clone());
        let digests = blocking(move || Ok(digests(&build, &component))).await;
        digests.ok().flatten().map(|digests| Provenance { digests })
    }

    /// Notes that the component of `job`, which is in its place, was made of these.
    pub fn remember(&self, job: &Job) -> io::Result<()> {
        let below = |path: &Path| match path.strip_prefix(absolute(&job.build.source)) {
            Ok(below) => below.to_owned(),
            Err(_) => path.to_owned(),
        };
        let sources = self.digests.iter().map(|(path, digest)| (below(path), digest.clone()));
        let component = Like::of(&job.component)?;
        let kept = Kept { component, sources: sources.collect() };
        place::make_work_folder(&job.work_folder()).map_err(io::Error::other)?;
        let memory = memory(&job.build, &job.component);
        place::write_if_other(&memory, &serde_json::to_vec(&kept)?).map_err(io::Error::other)
    }
}

/// The first source that is another than when the component was built; `None`: all
/// are as they were, or the component is not the one that was built.
pub fn changed(build: &manifest::Build, component: &Path) -> Option<PathBuf> {
    let kept = fs::read(memory(build, component)).ok()?;
    let kept: Kept = serde_json::from_slice(&kept).ok()?;
    if Like::of(component).ok()? != kept.component {
        return None;
    }
    // One that is gone is nothing that the component could be made of now.
    let differs = |(path, before): &(PathBuf, String)| digest(path).is_ok_and(|now| now != *before);
    let sources = kept.sources.into_iter().map(|(path, digest)| (build.source.join(path), digest));
    sources.into_iter().find(differs).map(|(path, _)| path)
}

fn digests(build: &manifest::Build, component: &Path) -> Option<BTreeMap<PathBuf, String>> {
    // A command alone says nothing of what it reads.
    if build.command.is_some() && build.watch.is_empty() {
        return None;
    }
    let files = Sources::of(build, component).files().ok()?;
    let counts = |path: &PathBuf| !build.watch.is_empty() || is_code(path);
    let digests = files.into_iter().filter(counts).filter_map(|path| {
        let digest = digest(&path).ok()?;
        Some((path, digest))
    });
    Some(digests.collect())
}

fn is_code(path: &Path) -> bool {
    let extension = path.extension().map(|extension| extension.to_string_lossy());
    let name = path.file_name().map(|name| name.to_string_lossy());
    extension.is_some_and(|extension| CODE.contains(&&*extension))
        || name.is_some_and(|name| SETTINGS.contains(&&*name))
}

fn digest(path: &Path) -> io::Result<String> {
    let mut digest = Sha256::new();
    io::copy(&mut fs::File::open(path)?.take(LARGEST), &mut digest)?;
    Ok(format!("{:x}", digest.finalize()))
}

fn memory(build: &manifest::Build, component: &Path) -> PathBuf {
    let stem = component.file_stem().unwrap_or_default().to_string_lossy();
    work_folder(build).join(format!("{stem}.sources.json"))
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or(path.to_owned())
}

impl Like {
    fn of(file: &Path) -> io::Result<Like> {
        let about = fs::metadata(file)?;
        Ok(Like { size: about.size(), modified: (about.mtime(), about.mtime_nsec()) })
    }
}
