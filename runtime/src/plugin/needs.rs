//! What a component imports, held against what its plugin is granted: not
//! mistakes, but worth a word to whoever checks a manifest.

use std::path::Path;

use super::component::{Examined, LoadError};
use crate::manifest::Grants;

/// What a component cannot do for want of a grant, and grants that it cannot use.
///
/// # Errors
/// If the file cannot be read or is no component.
pub fn notes(component: &Path, grants: &Grants) -> Result<Vec<String>, LoadError> {
    let imports = Examined::read(component)?.imports();
    let has = |name: &str| imports.iter().any(|import| import.starts_with(name));
    let mut notes = Vec::new();
    if has("wasi:http/outgoing-handler@") && grants.http.is_none() {
        notes.push(
            "imports wasi:http, but is granted no server: every request is refused; if it sends any, grant it `http = [\"https://…\"]`"
                .to_owned(),
        );
    }
    let unused = [
        ("http", grants.http.is_some(), "wasi:http/outgoing-handler@"),
        ("dirs", !grants.dirs.is_empty(), "wasi:filesystem/"),
        ("env", !grants.env.is_empty(), "wasi:cli/environment@"),
    ];
    for (key, _, import) in unused.iter().filter(|(_, granted, import)| *granted && !has(import)) {
        let import = import.trim_end_matches(['@', '/']);
        notes.push(format!("does not import {import}: its grant `{key}` has no effect"));
    }
    Ok(notes)
}
