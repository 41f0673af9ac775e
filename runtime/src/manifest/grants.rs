//! What a plugin may reach outside its sandbox: environment variables, folders,
//! HTTP servers. What is not here is refused.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use super::{Origin, Private, Problem, Secret};

/// All grants of one plugin.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Grants {
    /// The guest's environment variables: these and no others.
    pub env: BTreeMap<String, Variable>,
    /// Variables whose secret is not to be had here, each with what is wrong: only
    /// where the manifest was read [with gaps](super::Environment::with_gaps).
    pub missing: BTreeMap<String, Problem>,
    /// The folders that the guest sees: these and no others.
    pub dirs: Vec<Folder>,
    /// Outbound HTTP; `None`: every request is refused.
    pub http: Option<Http>,
}

/// The value of an environment variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Variable {
    /// Written in the manifest.
    Plain(String),
    /// Taken from the host's environment or from a file.
    Secret(Secret),
}

/// A folder of the host that a guest sees, with all that is below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// Where the guest sees it: an absolute path.
    pub guest: String,
    /// Where it is.
    pub host: PathBuf,
    /// Whether the guest may not change anything in it. Default: it may not.
    pub read_only: bool,
    /// Device and number: another folder in the same place is another grant.
    pub identity: (u64, u64),
}

/// Outbound HTTP of one plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    /// The servers that requests may go to.
    pub origins: Vec<Origin>,
    /// Names among them that lead into private networks. Default: none.
    pub private: Private,
    /// How long a connection may take. Default 3 s.
    pub connect_timeout: Duration,
    /// How long one request may take, to the end of the response. Default 30 s.
    pub timeout: Duration,
    /// Bytes of a response before its body. Default 64 KiB.
    pub header_bytes: u64,
    /// Bytes of a request's body. Default 8 MiB.
    pub request_bytes: u64,
    /// Bytes of a response's body. Default 8 MiB.
    pub response_bytes: u64,
    /// Requests of one run at a time. Default 16.
    pub requests: usize,
    /// Requests of all runs at a time. Default 256.
    pub concurrency: usize,
    /// Whether the host adds `Idempotency-Key` where it is missing. Default: it does.
    pub idempotency_key: bool,
}

impl Variable {
    /// The value itself, for the guest and nobody else.
    pub fn expose(&self) -> &str {
        match self {
            Variable::Plain(text) => text,
            Variable::Secret(secret) => secret.expose(),
        }
    }
}

impl Grants {
    /// Gives the guest a text in place of what the manifest says, if it is granted
    /// the variable.
    pub fn give(&mut self, variable: &str, text: &str) {
        if self.has_variable(variable) {
            self.missing.remove(variable);
            self.env.insert(variable.to_owned(), Variable::Plain(text.to_owned()));
        }
    }

    /// Whether the guest is granted this variable, be its value to be had or not.
    pub fn has_variable(&self, name: &str) -> bool {
        self.env.contains_key(name) || self.missing.contains_key(name)
    }

    /// The values that must not be seen outside the guest.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        self.env.values().filter_map(|variable| match variable {
            Variable::Secret(secret) => Some(secret),
            Variable::Plain(_) => None,
        })
    }
}
