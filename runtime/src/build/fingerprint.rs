//! Whether a component is still that of its sources: a digest of all that goes
//! into it, kept beside the sources. For languages whose compilers take long to
//! find out.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{BuildError, Job, Sources, blocking};

/// Of larger files only size and time count.
const LARGEST: u64 = 32 << 20;

/// What a component is made of, and how.
pub struct Inputs {
    digest: String,
}

/// What is kept of the last build.
#[derive(Serialize, Deserialize)]
struct Remembered {
    /// Digest of the inputs.
    inputs: String,
    /// Digest of the component that was made of them.
    component: String,
}

/// Reads all sources of `job`; `how` is what else decides about the result: the
/// command, the versions of tools.
pub async fn of(job: &Job, how: &str) -> Result<Inputs, BuildError> {
    let sources = Sources::of(&job.build, &job.component);
    let how = format!("pelton {}\n{how}\n", env!("CARGO_PKG_VERSION"));
    blocking(move || {
        let mut digest = Sha256::new_with_prefix(how.as_bytes());
        for path in sources.files()? {
            add(&mut digest, &path).map_err(|error| super::file("read", &path, error))?;
        }
        Ok(Inputs { digest: format!("{:x}", digest.finalize()) })
    })
    .await
}

fn add(digest: &mut Sha256, path: &Path) -> io::Result<()> {
    let about = fs::metadata(path)?;
    digest.update(path.as_os_str().as_encoded_bytes());
    digest.update([0]);
    digest.update(about.len().to_le_bytes());
    if about.len() > LARGEST {
        let time = about.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        digest.update(time.as_nanos().to_le_bytes());
    } else if about.is_file() {
        io::copy(&mut fs::File::open(path)?.take(LARGEST), digest)?;
    }
    Ok(())
}

impl Inputs {
    /// Whether the component that is there was made of them.
    pub fn is_that_of(&self, job: &Job) -> bool {
        let read =
            || -> Option<Remembered> { serde_json::from_slice(&fs::read(memory(job)).ok()?).ok() };
        let is_made_of = |last: &Remembered| {
            let component = fs::read(&job.component);
            last.inputs == self.digest
                && component
                    .is_ok_and(|bytes| last.component == format!("{:x}", Sha256::digest(bytes)))
        };
        read().as_ref().is_some_and(is_made_of)
    }

    /// Notes that the component with this digest was made of them.
    pub fn remember(&self, job: &Job, component: &str) -> Result<(), BuildError> {
        let last = Remembered { inputs: self.digest.clone(), component: component.to_owned() };
        let path = memory(job);
        let text = serde_json::to_vec(&last).unwrap_or_default();
        fs::write(&path, text).map_err(|error| super::file("write", &path, error))
    }
}

fn memory(job: &Job) -> PathBuf {
    let stem = job.component.file_stem().unwrap_or_default().to_string_lossy();
    job.work_folder().join(format!("{stem}.built.json"))
}
