//! What a plugin may reach outside its sandbox: secrets fetched, folders looked
//! at, origins compared.

use std::{collections::BTreeMap, fs, os::unix::fs::MetadataExt as _};

use super::{Surroundings, bytes, nats::find_secret, number, time, unreadable};
use crate::manifest::{
    Origin, Server, defaults,
    environment::Lookup,
    grants::{Folder, Grants, Http, Variable},
    problem::Problem,
    raw,
    reader::Report,
    source::{Target, join},
    suggest,
};

/// Checks the grants of the plugin at `path`.
pub fn grants(
    path: &str,
    raw: &raw::Plugin,
    surroundings: &Surroundings<'_>,
    report: &mut Report,
) -> Grants {
    let http = http(path, raw, report);
    let lookup = surroundings.environment.grants();
    if lookup == Lookup::Unused {
        return Grants { http, ..Grants::default() };
    }
    let (mut env, mut missing) = (BTreeMap::new(), BTreeMap::new());
    for (name, variable) in raw.env.iter().flatten() {
        let key = join(&join(path, "env"), name);
        match self::variable(&key, variable, surroundings) {
            Ok(variable) => drop(env.insert(name.clone(), variable)),
            Err(problem) if lookup == Lookup::WithGaps => {
                missing.insert(name.clone(), problem);
            }
            Err(problem) => report.add(problem),
        }
    }
    Grants { env, missing, dirs: dirs(path, raw, surroundings, report), http }
}

fn http(path: &str, raw: &raw::Plugin, report: &mut Report) -> Option<Http> {
    let options_path = join(path, "http-options");
    let origins = raw.http.clone().unwrap_or_default();
    let default = raw::HttpOptions::default();
    let options = raw.http_options.as_ref();
    if options.is_some() && raw.http.is_none() && report.is_sound(&[&join(path, "http")]) {
        let message = format!("`{options_path}` has no effect: the plugin may send no requests");
        let problem = Problem::new("no-effect", message)
            .label(Target::Key(options_path), "")
            .help("grant it servers, `http = [\"https://api.example.com\"]`, or remove the table");
        report.add(problem);
        return None;
    }
    let options = options.unwrap_or(&default);
    let private = options.private.clone().unwrap_or_default();
    if report.is_sound(&[&join(path, "http")]) {
        let useless = private.keys().filter_map(|name| useless(name, &options_path, &origins));
        useless.for_each(|problem| report.add(problem));
    }
    let http = Http {
        origins,
        private,
        connect_timeout: time(options.connect_timeout, defaults::HTTP_CONNECT_TIMEOUT),
        timeout: time(options.timeout, defaults::HTTP_TIMEOUT),
        header_bytes: bytes(options.header_bytes, defaults::HTTP_HEADER_BYTES),
        request_bytes: bytes(options.request_bytes, defaults::HTTP_BODY_BYTES),
        response_bytes: bytes(options.response_bytes, defaults::HTTP_BODY_BYTES),
        requests: number(options.requests, defaults::HTTP_REQUESTS),
        concurrency: number(options.concurrency, defaults::HTTP_CONCURRENCY),
        idempotency_key: options.idempotency_key.unwrap_or(true),
    };
    (!http.origins.is_empty()).then_some(http)
}

/// The problem of a name in `private` that leads nowhere.
fn useless(name: &str, options_path: &str, origins: &[Origin]) -> Option<Problem> {
    let named = |origin: &Origin| match &origin.host {
        Server::Name(name) => Some(name.clone()),
        Server::Address(_) => None,
    };
    let names: Vec<String> = origins.iter().filter_map(named).collect();
    if names.iter().any(|other| other == name) {
        return None;
    }
    let key = join(&join(options_path, "private"), name);
    let help = match suggest::nearest(name, names.iter().map(String::as_str)) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None if matches!(Server::of(name), Server::Address(_)) => {
            "an address that `http` names needs no network: remove it".to_owned()
        }
        None => "write a name as it is in `http`, without scheme and port".to_owned(),
    };
    let message = format!("`{key}` has no effect: `http` names no such server");
    Some(Problem::new("no-effect", message).label(Target::Key(key), "").help(help))
}

fn dirs(
    path: &str,
    raw: &raw::Plugin,
    surroundings: &Surroundings<'_>,
    report: &mut Report,
) -> Vec<Folder> {
    let path = join(path, "dirs");
    let mut found: Vec<Folder> = Vec::new();
    for (guest, raw) in raw.dirs.iter().flatten() {
        let outer = found.iter().find(|outer| contains(&outer.guest, guest));
        if let Some(outer) = outer.map(|outer| join(&path, &outer.guest)) {
            report.add(overlapping(&outer, &join(&path, guest)));
        } else if let Some(folder) = folder(&join(&path, guest), guest, raw, surroundings) {
            found.extend(folder.map_err(|problem| report.add(problem)).ok());
        }
    }
    found
}

/// Whether the guest sees `inner` inside `outer`. In the order of names what is
/// inside comes later.
fn contains(outer: &str, inner: &str) -> bool {
    let rest = inner.strip_prefix(outer.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn overlapping(outer: &str, inner: &str) -> Problem {
    Problem::new("bad-folder", format!("`{inner}` is inside `{outer}`"))
        .label(Target::Key(inner.to_owned()), "the guest sees this folder")
        .label(Target::Key(outer.to_owned()), "inside this one")
        .help("let the guest see the two side by side: which of them a path means must be plain")
}

/// `None`: what is written of it is wrong already.
fn folder(
    key: &str,
    guest: &str,
    raw: &raw::grants::Folder,
    surroundings: &Surroundings<'_>,
) -> Option<Result<Folder, Problem>> {
    let host = surroundings.resolve(&raw.host()?.0);
    let key = match raw {
        raw::grants::Folder::Host(_) => key.to_owned(),
        raw::grants::Folder::Table(_) => join(key, "host"),
    };
    let about = match fs::metadata(&host) {
        Ok(about) => about,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let message = format!("there is no folder `{}`", host.display());
            let help =
                "make it, or correct the path: relative paths begin at the manifest's folder";
            return Some(Err(Problem::new("file", message)
                .label(Target::Value(key), "")
                .help(help)));
        }
        Err(error) => return Some(Err(unreadable(&key, &host, &error))),
    };
    if !about.is_dir() {
        let problem = Problem::new("file", format!("`{}` is not a folder", host.display()))
            .label(Target::Value(key), "this is no folder")
            .help("name the folder that it is in: a plugin is granted folders, not files");
        return Some(Err(problem));
    }
    let identity = (about.dev(), about.ino());
    Some(Ok(Folder { guest: guest.to_owned(), host, read_only: raw.read_only(), identity }))
}

fn variable(
    key: &str,
    raw: &raw::grants::Variable,
    surroundings: &Surroundings<'_>,
) -> Result<Variable, Problem> {
    let place = match raw {
        raw::grants::Variable::Text(text) => return Ok(Variable::Plain(text.clone())),
        raw::grants::Variable::Secret(place) => place,
    };
    let secret = find_secret(key, place, surroundings)?;
    if secret.expose().contains('\0') {
        let problem =
            Problem::new("bad-variable", format!("the value for `{key}` contains a NUL character"))
                .label(Target::Value(key.to_owned()), "")
                .help("environment variables are text: encode it, or grant its folder by `dirs`");
        return Err(problem);
    }
    Ok(Variable::Secret(secret))
}
