//! Environment variables, for the secrets that a manifest takes from them.
//!
//! Read are only those that the manifest names.

use std::{collections::BTreeMap, ffi::OsString};

/// Where environment variables come from.
#[derive(Debug, Clone)]
pub struct Environment {
    variables: Variables,
    has_server: bool,
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
        Environment { variables: Variables::Process, has_server: true }
    }

    /// These variables and no others.
    pub fn fixed<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Environment {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let variables = Variables::Fixed(variables.into_iter().map(owned).collect());
        Environment { variables, has_server: true }
    }

    /// The same for a host that connects to no server: what `[nats]` says is not
    /// looked up, and may be missing here.
    pub fn without_server(self) -> Environment {
        Environment { has_server: false, ..self }
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
