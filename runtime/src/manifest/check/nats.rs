//! `[nats]`: servers, secrets, certificates.

use std::path::{Path, PathBuf};

use url::Url;

use super::{Surroundings, read_file, time};
use crate::manifest::{
    Auth, Nats, Secret, Tls, defaults,
    problem::{Problem, quoted},
    raw,
    reader::Report,
    source::Target,
    value::File,
};

/// An NKey seed of a user: `SU` and 56 more characters of base 32.
const SEED_LENGTH: usize = 58;

/// Checks `[nats]` and fetches its secrets.
pub fn nats(raw: raw::Nats, surroundings: &Surroundings<'_>, report: &mut Report) -> Nats {
    Nats {
        urls: urls(raw.url.as_ref(), report),
        request_timeout: time(raw.request_timeout, defaults::REQUEST_TIMEOUT),
        ping_interval: time(raw.ping_interval, defaults::PING_INTERVAL),
        tls: tls(raw.tls.as_ref(), surroundings, report),
        auth: auth(&raw, surroundings, report),
    }
}

/// Checks the URL of a server and completes it with scheme and port.
///
/// # Errors
/// What is wrong, and the remedy.
pub fn server_url(text: &str) -> Result<String, (String, &'static str)> {
    const EXAMPLE: &str = "write it like \"nats://127.0.0.1:4222\"";
    let full = if text.contains("://") { text.to_owned() } else { format!("nats://{text}") };
    // The text may contain a password: it is repeated only where it has no `@`.
    let named = if text.contains('@') { "it".to_owned() } else { quoted(text) };
    let url =
        Url::parse(&full).map_err(|error| (format!("{named} is not a URL: {error}"), EXAMPLE))?;
    if !url.username().is_empty() || url.password().is_some() || full.contains('@') {
        return Err((
            "the URL contains a user, a password or a token".to_owned(),
            "remove everything before the `@`; use `user` and `password = { from-env = \"NAME\" }`, \
             `token`, `nkey` or `credentials`",
        ));
    }
    match url.scheme() {
        "nats" | "tls" => {}
        "ws" | "wss" => {
            return Err((format!("{named} is a web socket"), "connect with nats:// or tls://"));
        }
        scheme => {
            return Err((
                format!("{named} has the unknown scheme `{scheme}`"),
                "use nats:// or tls://",
            ));
        }
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err((format!("{named} names no host"), EXAMPLE));
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err((format!("{named} goes on after the port"), EXAMPLE));
    }
    Ok(full.trim_end_matches('/').to_owned())
}

fn urls(raw: Option<&raw::Urls>, report: &mut Report) -> Vec<String> {
    let Some(raw) = raw else { return vec![defaults::URL.to_owned()] };
    let mut urls = Vec::new();
    for (path, text) in raw.with_paths() {
        match server_url(text) {
            _ if !report.is_sound(&[&path]) => {}
            Ok(url) => urls.push(url),
            Err((message, help)) => report.add(
                Problem::new("bad-url", format!("`{path}`: {message}"))
                    .label(Target::Value(path), "")
                    .help(help),
            ),
        }
    }
    urls
}

fn auth(raw: &raw::Nats, surroundings: &Surroundings<'_>, report: &mut Report) -> Auth {
    check_one_way(raw, report);
    check_pair(
        "nats",
        [("user", raw.user.is_some()), ("password", raw.password.is_some())],
        report,
    );
    let mut fetch = |key: &str, raw: &Option<raw::Secret>| {
        raw.as_ref().and_then(|raw| secret(key, raw, surroundings, report))
    };
    let (nkey, token) = (fetch("nats.nkey", &raw.nkey), fetch("nats.token", &raw.token));
    let password = fetch("nats.password", &raw.password);
    if let Some(file) = &raw.credentials {
        return Auth::Credentials(credentials(&surroundings.resolve(&file.0), report));
    }
    if let Some(seed) = nkey {
        check_seed(&seed, report);
        return Auth::NKey(seed);
    }
    match (raw.user.clone(), password, token) {
        (Some(user), Some(password), _) => Auth::Password { user, password },
        (_, _, Some(token)) => Auth::Token(token),
        _ => Auth::None,
    }
}

fn check_one_way(raw: &raw::Nats, report: &mut Report) {
    let ways = [
        ("credentials", raw.credentials.is_some()),
        ("nkey", raw.nkey.is_some()),
        ("token", raw.token.is_some()),
        ("password", raw.password.is_some()),
    ];
    let used: Vec<&str> = ways.iter().filter(|(_, used)| *used).map(|(key, _)| *key).collect();
    let [first, second, ..] = used.as_slice() else { return };
    let problem = Problem::new(
        "auth",
        format!("`[nats]` has {} ways to say who we are: `{}`", used.len(), used.join("`, `")),
    )
    .label(Target::Key(format!("nats.{second}")), "and another")
    .label(Target::Key(format!("nats.{first}")), "one way")
    .help("keep one of credentials, nkey, token, and user with password");
    report.add(problem);
}

/// Two keys that make sense only together.
fn check_pair(table: &str, keys: [(&str, bool); 2], report: &mut Report) {
    let ((present, missing), paths) = match keys {
        [(a, true), (b, false)] => ((a, b), format!("{table}.{b}")),
        [(a, false), (b, true)] => ((b, a), format!("{table}.{a}")),
        _ => return,
    };
    if report.is_sound(&[&paths]) {
        let problem =
            Problem::new("missing-key", format!("`{table}.{present}` needs `{missing}` beside it"))
                .label(Target::Key(format!("{table}.{present}")), format!("without `{missing}`"))
                .help(format!("add `{missing}`, or remove `{present}`"));
        report.add(problem);
    }
}

/// The secret that `raw` says where to find; `key` names it in messages.
fn secret(
    key: &str,
    raw: &raw::Secret,
    surroundings: &Surroundings<'_>,
    report: &mut Report,
) -> Option<Secret> {
    find_secret(key, raw, surroundings).map_err(|problem| report.add(problem)).ok()
}

/// The same, with what is wrong.
pub(super) fn find_secret(
    key: &str,
    raw: &raw::Secret,
    surroundings: &Surroundings<'_>,
) -> Result<Secret, Problem> {
    let found = match raw {
        raw::Secret::FromEnv(name) => from_env(key, name, surroundings),
        raw::Secret::FromFile(file) => from_file(key, &surroundings.resolve(&file.0)),
    };
    found.map(Secret::new)
}

fn from_env(key: &str, name: &str, surroundings: &Surroundings<'_>) -> Result<String, Problem> {
    surroundings.environment.get(name).map_err(|error| {
        let message = format!("the environment variable {}, for `{key}`, {error}", quoted(name));
        Problem::new("secret", message)
            .label(Target::Value(format!("{key}.from-env")), "")
            .help("set it in the environment that pelton is started in")
    })
}

fn from_file(key: &str, file: &Path) -> Result<String, Problem> {
    let key = format!("{key}.from-file");
    let bytes = read_file(&key, file)?;
    let problem = |what: &str| {
        Problem::new("secret", format!("the file `{}` {what}", file.display()))
            .label(Target::Value(key.clone()), "")
            .help("the file has to contain the secret and nothing else")
    };
    let text = String::from_utf8(bytes).map_err(|_| problem("is not UTF-8"))?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() { Err(problem("is empty")) } else { Ok(text.to_owned()) }
}

fn check_seed(seed: &Secret, report: &mut Report) {
    let seed = seed.expose();
    let is_base32 = seed.bytes().all(|byte| matches!(byte, b'A'..=b'Z' | b'2'..=b'7'));
    if !(seed.starts_with("SU") && seed.len() == SEED_LENGTH && is_base32) {
        let problem = Problem::new(
            "secret",
            "what `nats.nkey` names is not the seed of a user's NKey",
        )
        .label(Target::Value("nats.nkey".to_owned()), "")
        .help("a seed has 58 characters and begins with SU; `nk -gen user` or `nsc` makes one");
        report.add(problem);
    }
}

fn credentials(file: &Path, report: &mut Report) -> PathBuf {
    let marks = ["NATS USER JWT", "NKEY SEED"];
    require_marks("nats.credentials", file, ("a credentials file", &marks), report);
    file.to_owned()
}

fn tls(raw: Option<&raw::Tls>, surroundings: &Surroundings<'_>, report: &mut Report) -> Tls {
    let Some(raw) = raw else { return Tls::default() };
    check_pair("nats.tls", [("cert", raw.cert.is_some()), ("key", raw.key.is_some())], report);
    let mut pem = |key: &str, mark: &str, file: &Option<File>| {
        let file = surroundings.resolve(&file.as_ref()?.0);
        require_marks(&format!("nats.tls.{key}"), &file, ("in PEM form", &[mark]), report);
        Some(file)
    };
    Tls {
        required: raw.required.unwrap_or(true),
        first: raw.first.unwrap_or(false),
        ca: pem("ca", "BEGIN CERTIFICATE", &raw.ca),
        identity: pem("cert", "BEGIN CERTIFICATE", &raw.cert).zip(pem(
            "key",
            "PRIVATE KEY",
            &raw.key,
        )),
    }
}

/// Checks that `file` contains what a file of its kind contains: enough to tell
/// the right one from a mistaken one.
fn require_marks(key: &str, file: &Path, (kind, marks): (&str, &[&str]), report: &mut Report) {
    let bytes = match read_file(key, file) {
        Ok(bytes) => bytes,
        Err(problem) => return report.add(problem),
    };
    let text = String::from_utf8_lossy(&bytes);
    if let Some(mark) = marks.iter().find(|mark| !text.contains(**mark)) {
        let message = format!("`{}` is not {kind}: it has no line with `{mark}`", file.display());
        let problem = Problem::new("file", message)
            .label(Target::Value(key.to_owned()), "")
            .help("is it the right file?");
        report.add(problem);
    }
}
