//! `rate`, `breaker` and `order-by` of a plugin: defaults, and what does not go
//! together.

use super::{number, time};
use crate::manifest::{
    Ack, Breaker, OnFailure, Plugin, defaults,
    problem::Problem,
    raw::{self, BreakerOrNot},
    reader::Report,
    source::Target,
    value::spoken,
};

/// A breaker, unless there shall be none.
pub(super) fn breaker(raw: Option<BreakerOrNot>) -> Option<Breaker> {
    let raw = match raw {
        Some(BreakerOrNot::Not(_)) => return None,
        Some(BreakerOrNot::Breaker(raw)) => raw,
        None => raw::Breaker::default(),
    };
    let open = raw.open.unwrap_or_default();
    let first = time(open.first, defaults::BREAKER_OPEN_FIRST);
    let window = number(raw.window, defaults::BREAKER_WINDOW);
    Some(Breaker {
        window,
        minimum: match raw.minimum_calls {
            // Checked against the window below; the default gives way to it.
            None => number::<usize>(None, defaults::BREAKER_MINIMUM_CALLS).min(window),
            some => number(some, defaults::BREAKER_MINIMUM_CALLS),
        },
        failure_ratio: raw.failure_ratio.unwrap_or(defaults::BREAKER_FAILURE_RATIO),
        slow: raw.slow.map(|slow| slow.0),
        slow_ratio: raw.slow_ratio.unwrap_or(defaults::BREAKER_SLOW_RATIO),
        open: first,
        max_open: time(open.max, defaults::BREAKER_OPEN_MAX.max(first)),
        probes: number(raw.probes, defaults::BREAKER_PROBES),
    })
}

/// What of a plugin's flow does not go together.
pub(super) fn check(path: &str, plugin: &Plugin, report: &mut Report) {
    check_order(path, plugin, report);
    let Some(breaker) = &plugin.breaker else { return };
    let key = |key: &str| format!("{path}.breaker.{key}");
    if breaker.minimum > breaker.window && report.is_sound(&[&key("window"), &key("minimum-calls")])
    {
        let (minimum, window) = (breaker.minimum, breaker.window);
        let message = format!(
            "`{path}.breaker` waits for {minimum} runs and remembers only the last {window}"
        );
        let problem = Problem::new("no-effect", message)
            .label(Target::Value(key("minimum-calls")), "never reached")
            .help("raise `window`, or lower `minimum-calls`");
        report.add(problem);
    }
    if breaker.open > breaker.max_open && report.is_sound(&[&key("open.first"), &key("open.max")]) {
        let (first, max) = (spoken(breaker.open), spoken(breaker.max_open));
        let message =
            format!("`{path}.breaker.open` begins with {first}, above its own maximum of {max}");
        let problem = Problem::new("backoff", message)
            .label(Target::Value(key("open.first")), "")
            .label(Target::Value(key("open.max")), "")
            .help("lower `first`, or raise `max`");
        report.add(problem);
    }
}

fn check_order(path: &str, plugin: &Plugin, report: &mut Report) {
    let key = |key: &str| format!("{path}.{key}");
    if !report.is_sound(&[&key("order-by"), &key("on-failure"), &key("ack")]) {
        return;
    }
    match plugin.order_by {
        None if plugin.on_failure == OnFailure::Block => {
            let message = format!("`{path}.on-failure` has no effect without `order-by`");
            let problem = Problem::new("no-effect", message)
                .label(Target::Key(key("on-failure")), "for ordered plugins only")
                .help("add `order-by`, or remove it: an event that fails for good goes to the dead letters, and the others go on");
            report.add(problem);
        }
        Some(_) if plugin.ack == Ack::Plain && plugin.stream.is_some() => {
            let message =
                format!("`{path}` keeps an order, which plain acknowledgements may break");
            let problem = Problem::new("unsafe", message)
                .label(
                    Target::Value(key("ack")),
                    "lost with a connection, and the event runs again, after later ones",
                )
                .help("remove `ack`: with `order-by` acknowledgements are confirmed");
            report.add(problem);
        }
        _ => {}
    }
}
