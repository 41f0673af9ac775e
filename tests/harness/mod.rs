//! A server, a project and a daemon for each test, gone when dropped.

pub use daemon::{Daemon, Finished, on_terminal, pelton, run as verb, shell};
pub use guests::{build, build_example, guest, language_path};
pub use oracle::{Account, events};
pub use project::{Project, patient, plugin_table};
pub use proxy::{Direction, Network, Proxy};
pub use server::{Server, Stored, free_port};
pub use web::Web;

mod daemon;
mod guests;
mod oracle;
mod project;
mod proxy;
mod server;
mod web;

use std::{path::PathBuf, time::Duration};

use tokio::time::{Instant, sleep};

/// How long anything may take before a test fails. Generous: two cores run
/// several servers, daemons and compilers at once.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// The repository.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Polls `condition` until it gives a value; a test never sleeps for luck.
pub async fn eventually<T>(what: &str, condition: impl AsyncFnMut() -> Option<T>) -> T {
    eventually_within(PATIENCE, what, condition).await
}

/// The same with another patience.
pub async fn eventually_within<T>(
    patience: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(Instant::now() < deadline, "{what}: not within {patience:?}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// The seed from `PELTON_TEST_SEED`, or a new one; it is in every message.
pub fn seed() -> u64 {
    let given = std::env::var("PELTON_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(rand::random);
    println!("PELTON_TEST_SEED={seed}");
    seed
}
