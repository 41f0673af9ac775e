//! `wasi:config` and `wasi:logging`, which components for other hosts import:
//! the plugin's own configuration and log under other names.

use tracing::Level;

use super::{
    bindings::services::wasi::{
        config0_2_0_draft::{runtime, store as draft},
        config0_2_0_rc_1::store as rc,
        logging::logging as unversioned,
        logging0_1_0_draft::logging,
    },
    state::State,
};

impl State {
    fn all_config(&self) -> Vec<(String, String)> {
        self.config.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// One line, with the context before it if there is one.
    fn log_line(&self, level: Level, context: &str, message: &str) {
        match context {
            "" => self.journal.line(level, message),
            context => self.journal.line(level, &format!("{context}: {message}")),
        }
    }
}

/// The same functions in packages that differ by name and version alone.
macro_rules! config {
    ($($interface:ident: $error:ident),*) => {$(
        impl $interface::Host for State {
            fn get(&mut self, key: String) -> Result<Option<String>, $interface::$error> {
                Ok(self.config.get(&key).cloned())
            }

            fn get_all(&mut self) -> Result<Vec<(String, String)>, $interface::$error> {
                Ok(self.all_config())
            }
        }
    )*};
}

macro_rules! logging {
    ($($interface:ident),*) => {$(
        impl $interface::Host for State {
            fn log(&mut self, level: $interface::Level, context: String, message: String) {
                let level = match level {
                    $interface::Level::Trace => Level::TRACE,
                    $interface::Level::Debug => Level::DEBUG,
                    $interface::Level::Info => Level::INFO,
                    $interface::Level::Warn => Level::WARN,
                    $interface::Level::Error | $interface::Level::Critical => Level::ERROR,
                };
                self.log_line(level, &context, &message);
            }
        }
    )*};
}

config!(runtime: ConfigError, draft: Error, rc: Error);
logging!(logging, unversioned);
