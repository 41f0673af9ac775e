//! `[plugins.<name>]`, one at a time: what concerns several is in `wiring`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Surroundings, Unusable, bytes, check_file, flow, number, patterns, time};
use crate::manifest::{
    Ack, Build, Isolation, Limits, OnFailure, Plugin, Retry, Start, defaults,
    problem::Problem,
    raw,
    reader::Report,
    source::{Target, join},
    value::{Name, spoken},
};

/// Components that were looked at, and what is wrong with them: plugins may share one.
type Components = BTreeMap<PathBuf, Result<(), Unusable>>;

/// Checks all plugins.
pub fn plugins(
    raw: Option<BTreeMap<Name, raw::Plugin>>,
    builds: &BTreeMap<String, Build>,
    surroundings: &Surroundings<'_>,
    report: &mut Report,
) -> BTreeMap<String, Plugin> {
    let mut components = Components::new();
    raw.unwrap_or_default()
        .into_iter()
        .map(|(name, raw)| {
            let path = join("plugins", &name.0);
            check_kind(&path, &raw, report);
            let plugin = plugin(raw, surroundings);
            flow::check(&path, &plugin, report);
            let file = (&*plugin.component, builds.get(&name.0));
            check_component(&path, file, surroundings, (&mut components, report));
            check_times(&path, &plugin, report);
            (name.0, plugin)
        })
        .collect()
}

fn plugin(raw: raw::Plugin, surroundings: &Surroundings<'_>) -> Plugin {
    let timeout = time(raw.timeout, defaults::TIMEOUT);
    let component = raw.component.map(|file| surroundings.resolve(&file.0));
    Plugin {
        component: component.unwrap_or_default(),
        stream: raw.stream.map(|name| name.0),
        subscribe: patterns(raw.subscribe),
        publish: patterns(raw.publish),
        publish_core: patterns(raw.publish_core),
        request: patterns(raw.request),
        concurrency: number(raw.concurrency, defaults::CONCURRENCY),
        on_failure: raw.on_failure.unwrap_or(OnFailure::DeadLetter),
        rate: raw.rate,
        breaker: flow::breaker(raw.breaker),
        timeout,
        memory: bytes(raw.memory, defaults::MEMORY),
        isolation: raw.isolation.unwrap_or(Isolation::Event),
        retry: retry(raw.retry.unwrap_or_default()),
        ack_wait: time(raw.ack_wait, default_ack_wait(timeout, raw.order_by.is_some())),
        ack: raw.ack.unwrap_or(match raw.order_by {
            Some(_) => Ack::Confirmed,
            None => Ack::Plain,
        }),
        order_by: raw.order_by,
        start: raw.start.unwrap_or(Start::All),
        queue: number(raw.queue, defaults::QUEUE),
        allow_loop: raw.allow_loop.unwrap_or(false),
        deterministic: raw.deterministic,
        limits: limits(raw.limits.unwrap_or_default(), timeout),
        config: raw.config.unwrap_or_default(),
    }
}

/// For an ordered plugin it is short, since whoever takes over from a host that
/// crashed has to wait for so long.
fn default_ack_wait(timeout: Duration, is_ordered: bool) -> Duration {
    match is_ordered {
        true => timeout + defaults::ORDERED_ACK_WAIT_BEYOND_TIMEOUT,
        false => defaults::ACK_WAIT.max(timeout * 2),
    }
}

fn retry(raw: raw::Retry) -> Retry {
    let backoff = raw.backoff.unwrap_or_default();
    let first = time(backoff.first, defaults::BACKOFF_FIRST);
    Retry {
        attempts: number(raw.attempts, defaults::ATTEMPTS),
        first,
        max: time(backoff.max, defaults::BACKOFF_MAX.max(first)),
        budget: raw.budget.unwrap_or(defaults::RETRY_BUDGET),
    }
}

fn limits(raw: raw::Limits, timeout: Duration) -> Limits {
    Limits {
        cpu: time(raw.cpu, timeout),
        outputs: number(raw.outputs, defaults::OUTPUTS),
        output_bytes: bytes(raw.output_bytes, defaults::OUTPUT_BYTES),
        requests: number(raw.requests, defaults::REQUESTS),
        log_lines: number(raw.log_lines, defaults::LOG_LINES),
        log_bytes: bytes(raw.log_bytes, defaults::LOG_BYTES),
    }
}

/// Keys that mean something only for streams, or only for core NATS.
fn check_kind(path: &str, raw: &raw::Plugin, report: &mut Report) {
    if !report.is_sound(&[&format!("{path}.stream")]) {
        return;
    }
    let misplaced: &[(&str, bool)] = match raw.stream {
        Some(_) => &[("queue", raw.queue.is_some())],
        None => &[
            ("ack", raw.ack.is_some()),
            ("ack-wait", raw.ack_wait.is_some()),
            ("start", raw.start.is_some()),
            ("order-by", raw.order_by.is_some()),
        ],
    };
    for (key, _) in misplaced.iter().filter(|(_, is_set)| *is_set) {
        report.add(misplaced_key(path, key, raw.stream.as_ref()));
    }
}

fn misplaced_key(path: &str, key: &str, stream: Option<&Name>) -> Problem {
    let at = Target::Key(format!("{path}.{key}"));
    match stream {
        Some(stream) => {
            let message = format!("`{path}.{key}` has no effect on a plugin that reads a stream");
            Problem::new("no-effect", message)
                .label(at, "for core NATS only")
                .label(Target::Value(format!("{path}.stream")), "reads a stream")
                .help(format!(
                    "remove it: events wait in the stream `{}`, not in the host",
                    stream.0
                ))
        }
        None => {
            let message = format!("`{path}.{key}` has no effect on a plugin that reads core NATS");
            Problem::new("no-effect", message).label(at, "for streams only").help(format!(
                "add `stream = \"NAME\"` so that it reads a stream, or remove `{key}`"
            ))
        }
    }
}

fn check_component(
    path: &str,
    (file, build): (&Path, Option<&Build>),
    surroundings: &Surroundings<'_>,
    (components, report): (&mut Components, &mut Report),
) {
    let key = format!("{path}.component");
    if file.as_os_str().is_empty() || !report.is_sound(&[&key]) {
        return;
    }
    let is_there = file.symlink_metadata().is_ok();
    if !is_there && !surroundings.needs_components {
        return;
    }
    if let Err(problem) = check_file(&key, file) {
        return report.add(match build {
            Some(build) if !is_there => problem.help(how_to_make(build)),
            _ => problem,
        });
    }
    let verdict =
        components.entry(file.to_owned()).or_insert_with(|| (surroundings.check_component)(file));
    if let Err(Unusable { code, reason }) = verdict {
        let problem = Problem::new(code, format!("`{}` is not a handler: {reason}", file.display()))
            .label(Target::Value(key), "")
            .help("a component has to export `pelton:events/handler`; `pelton inspect` shows what is in it");
        report.add(problem);
    }
}

/// What to do about a component that is missing, but has sources.
fn how_to_make(build: &Build) -> String {
    let source = build.source.display();
    match (&build.command, build.language) {
        (None, Some(language)) => {
            format!("run `pelton build`: it makes it from the {language} sources in `{source}`")
        }
        _ => format!("run `pelton build`: it makes it from the sources in `{source}`"),
    }
}

/// Times of one plugin that do not go together.
fn check_times(path: &str, plugin: &Plugin, report: &mut Report) {
    let key = |key: &str| format!("{path}.{key}");
    let (timeout, cpu) = (spoken(plugin.timeout), spoken(plugin.limits.cpu));
    if plugin.stream.is_some() && plugin.ack_wait <= plugin.timeout {
        let message = format!(
            "`{path}` may run for {timeout}, but the server waits only {} for an answer",
            spoken(plugin.ack_wait)
        );
        let help = format!(
            "set `ack-wait` to more than `timeout`, for example to \"{}\": else the server \
             delivers an event again while it is being handled",
            spoken(plugin.timeout * 2)
        );
        add_if_sound(report, [key("ack-wait"), key("timeout")], ("ack-wait", message, help));
    }
    if plugin.limits.cpu > plugin.timeout {
        let message = format!("`{path}.limits.cpu` is {cpu}, more than the time-out of {timeout}");
        let help = "the time-out comes first: lower `cpu`, raise `timeout`, or remove `cpu`";
        add_if_sound(
            report,
            [key("limits.cpu"), key("timeout")],
            ("no-effect", message, help.to_owned()),
        );
    }
    if plugin.retry.first > plugin.retry.max {
        let (first, max) = (spoken(plugin.retry.first), spoken(plugin.retry.max));
        let message =
            format!("`{path}.retry.backoff` begins with {first}, above its own maximum of {max}");
        let keys = [key("retry.backoff.first"), key("retry.backoff.max")];
        add_if_sound(
            report,
            keys,
            ("backoff", message, "lower `first`, or raise `max`".to_owned()),
        );
    }
}

/// Adds a problem about two values, unless one of them is wrong by itself.
fn add_if_sound(
    report: &mut Report,
    [first, second]: [String; 2],
    (code, message, help): (&'static str, String, String),
) {
    if report.is_sound(&[&first, &second]) {
        let problem = Problem::new(code, message)
            .label(Target::Value(first), "")
            .label(Target::Value(second), "")
            .help(help);
        report.add(problem);
    }
}
