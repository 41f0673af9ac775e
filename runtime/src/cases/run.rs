//! One case, run on a host of its own in this process: what came of it.
//!
//! To be called on a runtime with one thread whose time is paused, so that
//! waiting for a next attempt takes no time; it goes on while a handler talks to a
//! server. It compares nothing.

use std::{
    future::poll_fn,
    pin::pin,
    task::Poll,
    time::{Duration, Instant},
};

use super::{
    case::{Case, FailureKind, Given},
    clock,
    happened::{Buried, Failed, Happened, Put, Said},
    wiring,
};
use crate::{
    host::local::{DeadLetter, Emitted, Input, Loaded, Local, Options, Run},
    manifest::Manifest,
    plugin::{CallError, Determinism},
};

/// 2026-01-01T00:00:00Z, the time of the first event that has none.
const FIRST_MS: u64 = 1_767_225_600_000;
/// Between two events.
const STEP_MS: u64 = 1_000;
/// What a case may take beside the time-outs of its runs, on the wall's clock:
/// plugins that feed each other never come to an end.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs `case` with the components of `loaded`.
///
/// # Errors
/// If the host cannot be started, or breaks: what is wrong.
pub async fn run(loaded: &Loaded, case: &Case) -> Result<Happened, String> {
    let manifest = manifest(loaded.manifest(), case);
    let settings = &case.settings;
    let first = case.events.first().and_then(|event| event.time_ms).unwrap_or(FIRST_MS);
    let options = Options {
        manifest: Some(manifest.clone()),
        start_ms: Some(first),
        deterministic: true,
        determinism: Determinism { clock_ms: settings.clock_ms, seed: settings.seed },
        times_from_cause: true,
        ..Options::default()
    };
    let local = loaded.start(options).await.map_err(|error| error.to_string())?;
    let stuck = tokio::select! {
        biased;
        never = clock::goes_on_for(local.outside()) => match never {},
        stuck = feed_all(&local, &manifest, case) => stuck,
    };
    Ok(happened(&local, &manifest, case, stuck))
}

/// Hands the events in, one after the other; why that did not come to its end.
async fn feed_all(local: &Local, manifest: &Manifest, case: &Case) -> Option<String> {
    let deadline = Instant::now() + patience(manifest, case);
    for (index, given) in case.events.iter().enumerate() {
        let stuck = feed(local, manifest, (index, given), deadline).await;
        if stuck.is_some() {
            return stuck;
        }
    }
    None
}

/// The manifest as the case wants it: with the plugins that run, and its settings.
fn manifest(manifest: &Manifest, case: &Case) -> Manifest {
    let mut manifest = manifest.clone();
    let settings = &case.settings;
    let first_attempt = case.events.iter().map(|event| event.attempt).max().unwrap_or(1).max(1);
    let attempts = first_attempt.saturating_add(settings.attempts.unwrap_or(1) - 1);
    manifest.plugins.retain(|name, _| case.plugin.as_ref().is_none_or(|only| only == name));
    for (name, plugin) in &mut manifest.plugins {
        settings.all.apply(plugin);
        if let Some(own) = settings.plugins.get(name) {
            own.apply(plugin);
        }
        plugin.retry.attempts = attempts;
        // What is tested is what the handlers make of events, not when.
        plugin.breaker = None;
        plugin.rate = None;
        if settings.deterministic.is_some() {
            plugin.deterministic = settings.deterministic;
        }
    }
    manifest
}

fn patience(manifest: &Manifest, case: &Case) -> Duration {
    let attempts = case.settings.attempts.unwrap_or(1);
    let events = u32::try_from(case.events.len()).unwrap_or(u32::MAX);
    let longest: Duration = manifest.plugins.values().map(|plugin| plugin.timeout).sum();
    longest.saturating_mul(attempts).saturating_mul(events).saturating_add(PATIENCE)
}

/// Hands an event in and waits until nothing is left of it; why that did not
/// come to its end.
async fn feed(
    local: &Local,
    manifest: &Manifest,
    (index, given): (usize, &Given),
    deadline: Instant,
) -> Option<String> {
    let input = input(index, given);
    let subject = input.subject.clone();
    if let Some((stream, sequence)) = position(manifest, given, &subject) {
        local.skip_to(&stream, sequence);
    }
    match local.publish(&input) {
        Ok(taken) if taken.listeners == 0 => {
            return Some(format!("no plugin that runs takes event {}, to `{subject}`", index + 1));
        }
        Ok(taken) if taken.is_duplicate => {
            return Some(format!("event {} has the id of an earlier one", index + 1));
        }
        Ok(_) => {}
        Err(error) => return Some(format!("event {} cannot be published: {error}", index + 1)),
    }
    match until(deadline, local.idle()).await {
        true => None,
        false => Some(
            "it did not come to an end: plugins feed each other without end, or an event is tried for ever"
                .to_owned(),
        ),
    }
}

fn input(index: usize, given: &Given) -> Input {
    let step = u64::try_from(index).unwrap_or(u64::MAX).saturating_mul(STEP_MS);
    Input {
        subject: given.subject.clone().unwrap_or_default(),
        headers: given.headers.clone(),
        payload: given.payload.clone(),
        id: given.id.clone(),
        time_ms: Some(given.time_ms.unwrap_or(FIRST_MS.saturating_add(step))),
        attempt: given.attempt,
        reply_to: given.reply_to.clone(),
    }
}

/// The stream that stores the event, and the sequence it is to have there.
fn position(manifest: &Manifest, given: &Given, subject: &str) -> Option<(String, u64)> {
    let (stream, sequence) = given.position.clone()?;
    let reads = |stream: &&String| {
        let mut plugins = manifest.plugins.values();
        plugins.any(|plugin| plugin.stream.as_ref() == Some(*stream))
    };
    let takes = || {
        let mut plugins = manifest.plugins.values();
        plugins.find_map(|plugin| {
            let mut patterns = plugin.subscribe.iter();
            patterns.find(|pattern| pattern.matches(subject)).and(plugin.stream.clone())
        })
    };
    let stream = stream.filter(|stream| reads(&stream)).or_else(takes)?;
    Some((stream, sequence))
}

/// Whether `work` comes to its end before the wall's clock shows `deadline`. The
/// clock is looked at whenever something happens, since tokio's is paused.
async fn until(deadline: Instant, work: impl Future<Output = ()>) -> bool {
    let mut work = pin!(work);
    poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(()) => Poll::Ready(true),
        Poll::Pending if Instant::now() >= deadline => Poll::Ready(false),
        Poll::Pending => Poll::Pending,
    })
    .await
}

fn happened(local: &Local, manifest: &Manifest, case: &Case, stuck: Option<String>) -> Happened {
    let (runs, letters) = (local.runs(), local.dead_letters());
    let mut failures: Vec<Failed> = runs.iter().filter_map(failed).collect();
    failures.extend(letters.iter().filter(|letter| !has_run(letter, &runs)).map(refused));
    let dropped = local.dropped().into_iter().map(|(plugin, n)| {
        format!("{n} events were dropped because the queue of plugin `{plugin}` was full")
    });
    let stuck = stuck.or_else(|| dropped.into_iter().next());
    let is_end = case.settings.attempts.is_some_and(|attempts| attempts > 1);
    let letters = letters.into_iter().filter(|letter| is_end || !comes_again(&letter.reason));
    let outputs = local.outputs().into_iter().map(|output| put(output, manifest, case));
    Happened {
        outputs: outputs.collect(),
        failures,
        dead_letters: letters.map(buried).collect(),
        log: local.logs().into_iter().map(said).collect(),
        stuck,
    }
}

fn put(output: Emitted, manifest: &Manifest, case: &Case) -> Put {
    let taken_up = wiring::running(case, manifest).any(|(_, plugin)| {
        let wants = plugin.subscribe.iter().any(|pattern| pattern.matches(&output.subject));
        wants && plugin.stream.as_ref().is_none_or(|stream| output.streams.contains(stream))
    });
    Put {
        plugin: output.plugin,
        subject: output.subject,
        headers: output.headers,
        payload: output.payload,
        taken_up,
    }
}

fn failed(run: &Run) -> Option<Failed> {
    let error = run.outcome.as_ref().err()?;
    let (kind, after, backtrace) = match error {
        CallError::Retry { after: None, .. } => (FailureKind::Retry, None, None),
        CallError::Retry { after, .. } => (FailureKind::RetryAfter, *after, None),
        CallError::Reject { .. } => (FailureKind::Reject, None, None),
        CallError::Trap { backtrace, .. } => (FailureKind::Trap, None, backtrace.clone()),
        CallError::Unavailable(_) => (FailureKind::Trap, None, None),
        CallError::Timeout(_) | CallError::Cpu(_) => (FailureKind::Timeout, None, None),
        CallError::Memory(_) => (FailureKind::Memory, None, None),
        CallError::Stack { backtrace } => (FailureKind::Stack, None, backtrace.clone()),
        CallError::Outputs(_) => (FailureKind::Output, None, None),
    };
    Some(Failed {
        plugin: run.plugin.clone(),
        subject: run.subject.clone(),
        attempt: run.attempt,
        kind,
        text: error.to_string(),
        after,
        backtrace,
    })
}

/// Whether a run that failed explains the letter. Outputs are looked at after the
/// run, which then succeeded.
fn has_run(letter: &DeadLetter, runs: &[Run]) -> bool {
    let of_letter = |run: &&Run| run.plugin == letter.plugin && run.event == letter.event.id;
    let last = runs.iter().rev().find(of_letter);
    last.is_some_and(|run| run.outcome.is_err())
}

fn refused(letter: &DeadLetter) -> Failed {
    let kind = match letter.reason.as_str() {
        "output" | "publish" => FailureKind::Output,
        _ => FailureKind::Any,
    };
    Failed {
        plugin: letter.plugin.clone(),
        subject: letter.event.subject.clone(),
        attempt: letter.event.attempt,
        kind,
        text: letter.error.clone(),
        after: None,
        backtrace: None,
    }
}

/// Whether a failure of this class is one after which the event is tried again.
fn comes_again(class: &str) -> bool {
    let classes = ["retry", "trap", "timeout", "cpu", "memory", "stack", "unavailable"];
    classes.contains(&class)
}

fn buried(letter: DeadLetter) -> Buried {
    Buried {
        plugin: letter.plugin,
        subject: letter.event.subject,
        reason: letter.reason,
        error: letter.error,
        payload: letter.event.payload,
    }
}

fn said(line: crate::plugin::LogLine) -> Said {
    let level = match line.level {
        tracing::Level::TRACE => "trace",
        tracing::Level::DEBUG => "debug",
        tracing::Level::INFO => "info",
        tracing::Level::WARN => "warn",
        tracing::Level::ERROR => "error",
    };
    Said { plugin: line.plugin.to_string(), level, text: line.text }
}
