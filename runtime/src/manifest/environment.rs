//! Environment variables, for the secrets that a manifest takes from them.
//!
//! Read are only those that the manifest names.

use std::{collections::BTreeMap, ffi::OsString};

/// Where environment variables come from.
#[derive(Debug, Clone)]
pub struct Environment {
    variables: Variables,
    has_server: bool,
    grants: Lookup,
}

/// How much is looked up of what plugins are granted of the host: secrets, folders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lookup {
    /// All; what is not there is a mistake.
    Needed,
    /// The same, but a secret that is not there is noted in the grants.
    WithGaps,
    /// Nothing.
    Unused,
}

#[derive(Debug, Clone)]
enum Variables {
    Process,
    Fixed(BTreeMap<String, String>),
}

/// Why a variable has no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no such variable.
    #[error("is not set")]
    Missing,
    /// It is set to nothing.
    #[error("is empty")]
    Empty,
    /// Its value is not text.
    #[error("is not UTF-8")]
    NotText,
}

impl Environment {
    /// The environment of this process.
    pub fn process() -> Environment {
        Environment { variables: Variables::Process, has_server: true, grants: Lookup::Needed }
    }

    /// These variables and no others.
    pub fn fixed<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Environment {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let variables = Variables::Fixed(variables.into_iter().map(owned).collect());
        Environment { variables, has_server: true, grants: Lookup::Needed }
    }

    /// The same for a host that connects to no server: what `[nats]` says is not
    /// looked up, and may be missing here.
    pub fn without_server(self) -> Environment {
        Environment { has_server: false, ..self }
    }

    /// The same for whoever runs no handlers: secrets and folders that plugins are
    /// granted are not looked up, and may be missing here. The manifest's plugins
    /// then have none.
    pub fn without_handlers(self) -> Environment {
        Environment { grants: Lookup::Unused, ..self }
    }

    /// The same for whoever may give handlers something in place of a secret: those
    /// that are missing are no mistakes, but noted in [`super::Grants::missing`].
    pub fn with_gaps(self) -> Environment {
        Environment { grants: Lookup::WithGaps, ..self }
    }

    /// How much of the plugins' grants is looked up.
    pub(super) fn grants(&self) -> Lookup {
        self.grants
    }

    /// Whether there is a server to connect to.
    pub(super) fn has_server(&self) -> bool {
        self.has_server
    }

    /// The text of the variable `name`.
    pub fn get(&self, name: &str) -> Result<String, Error> {
        let value = match &self.variables {
            Variables::Process => std::env::var_os(name),
            Variables::Fixed(variables) => variables.get(name).map(OsString::from),
        };
        let text = value.ok_or(Error::Missing)?.into_string().map_err(|_| Error::NotText)?;
        if text.is_empty() { Err(Error::Empty) } else { Ok(text) }
    }
}
