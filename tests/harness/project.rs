//! A folder with a manifest.

use std::path::Path;

use tempfile::TempDir;

use super::{Daemon, Server, guest};

/// Streams for what goes in and what comes out, and a short ack wait, so that
/// tests of redelivery do not wait for long.
const STREAMS: &str = r#"
[streams.IN]
subjects = ["in.>"]
[streams.OUT]
subjects = ["out.>"]
"#;

pub struct Project {
    folder: TempDir,
}

impl Project {
    /// A project with this manifest, as it is.
    pub fn new(manifest: &str) -> Project {
        let folder = TempDir::with_prefix("pelton-project-").unwrap();
        std::fs::write(folder.path().join("pelton.toml"), manifest).unwrap();
        Project { folder }
    }

    /// A project with streams `IN` (`in.>`) and `OUT` (`out.>`) and these plugins.
    pub fn with_plugins(plugins: &str) -> Project {
        Project::new(&format!("{STREAMS}\n{plugins}"))
    }

    /// A project with one plugin, `subject`, that reads `in.>` and may publish
    /// `out.>`; `more` are further keys of it.
    pub fn with_guest(name: &str, more: &str) -> Project {
        Project::with_plugins(&plugin_table("subject", name, "in.>", more))
    }

    /// The same with `to` in place of `from` in its manifest.
    pub fn edited(self, from: &str, to: &str) -> Project {
        let file = self.path().join("pelton.toml");
        let manifest = std::fs::read_to_string(&file).unwrap();
        assert!(manifest.contains(from), "no {from:?} in\n{manifest}");
        std::fs::write(&file, manifest.replace(from, to)).unwrap();
        self
    }

    /// With time for its runs and their answers that even a machine that has much
    /// else to do does not take: where runs and deliveries are counted.
    pub fn patient(self) -> Project {
        let file = self.path().join("pelton.toml");
        let manifest = std::fs::read_to_string(&file).unwrap();
        // Many attempts that may take long want a long memory.
        let manifest = manifest.replace(STREAMS, &format!("{STREAMS}duplicate-window = \"3h\"\n"));
        std::fs::write(&file, patient(&manifest)).unwrap();
        self
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Starts a daemon on it and waits until it is ready.
    pub async fn run(&self, server: &Server) -> Daemon {
        let mut daemon = self.launch(server);
        daemon.ready().await;
        daemon
    }

    /// Starts a daemon with these environment variables and waits until it is ready.
    pub async fn run_with(&self, server: &Server, variables: &[(&str, &str)]) -> Daemon {
        let url = server.url();
        let mut daemon = Daemon::launch_with(self.folder.path(), &["--nats-url", &url], variables);
        daemon.ready().await;
        daemon
    }

    /// Starts a daemon that reaches its server at `url`, and waits until it is ready.
    pub async fn run_at(&self, url: &str) -> Daemon {
        let mut daemon = Daemon::launch(self.folder.path(), &["--nats-url", url]);
        daemon.ready().await;
        daemon
    }

    /// Starts a daemon on it.
    pub fn launch(&self, server: &Server) -> Daemon {
        self.launch_with(server, &[])
    }

    /// Starts a daemon on it with these further flags.
    pub fn launch_with(&self, server: &Server, flags: &[&str]) -> Daemon {
        let url = server.url();
        Daemon::launch(self.folder.path(), &[&["--nats-url", &url], flags].concat())
    }

    /// Puts another manifest in the place of the one before, as an editor does.
    pub fn rewrite(&self, manifest: &str) {
        let (new, path) = (self.path().join("new.toml"), self.path().join("pelton.toml"));
        std::fs::write(&new, manifest).unwrap();
        std::fs::rename(new, path).unwrap();
    }

    /// The same with streams `IN` and `OUT` and these plugins.
    pub fn rewrite_plugins(&self, plugins: &str) {
        self.rewrite(&format!("{STREAMS}\n{plugins}"));
    }
}

/// The same tables with a long time-out and a longer ack wait.
pub fn patient(tables: &str) -> String {
    assert!(tables.contains(BRISK), "no plugin with the usual times in\n{tables}");
    tables.replace(BRISK, "ack-wait = \"55s\"\ntimeout = \"50s\"\n")
}

/// The times of [`plugin_table`].
const BRISK: &str = "ack-wait = \"3s\"\ntimeout = \"1s\"\n";

/// A table for a plugin that reads `subscribe` from the stream IN.
pub fn plugin_table(plugin: &str, guest_name: &str, subscribe: &str, more: &str) -> String {
    format!(
        "[plugins.{plugin}]\ncomponent = {:?}\nstream = \"IN\"\nsubscribe = [\"{subscribe}\"]\n\
         publish = [\"out.>\"]\n{BRISK}{more}\n",
        guest(guest_name)
    )
}
