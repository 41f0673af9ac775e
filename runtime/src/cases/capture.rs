//! Test cases made of events that there are: of a stream, live ones, or those of
//! dead letters; with what comes of them, if they are run.
//!
//! It collects and writes text; files are written by whoever asks.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{
    compare::snapshot,
    file::{
        File,
        write::{self, quoted},
    },
    happened::Happened,
    run, wiring,
};
use crate::{
    broker::{
        Broker as _, Capacity, Delivery as _, From, Source as _, Subscription,
        nats::{Broker, Scope},
    },
    dead_letters::DeadLetters,
    event::{Event, Header, Position, letter::timestamp},
    host::local::Loaded,
    manifest::Manifest,
    subject::Pattern,
};

/// The most bytes of live events that wait to be written.
const MAX_WAITING_BYTES: usize = 256 << 20;
/// The longest text that stays on one line of the file, in characters.
const ONE_LINE: usize = 120;

/// Events to make cases of.
#[derive(Debug, Clone, Default)]
pub struct Captured {
    /// In order.
    pub events: Vec<Event>,
    /// The plugin that has them, if one has.
    pub plugin: Option<String>,
    /// What they are called together: `ORDERS-10`.
    pub name: String,
}

/// How a file is written.
#[derive(Debug, Clone)]
pub struct Style<'a> {
    /// The only plugin that is to run; `None`: all.
    pub plugin: Option<&'a str>,
    /// The manifest, as the test file names it; `None`: it is beside it.
    pub manifest: Option<&'a str>,
    /// The file's name without its ending: files beside it begin with it.
    pub stem: &'a str,
    /// Whether all events are in one case, with the events in a file beside.
    pub together: bool,
}

/// A test file and what is beside it.
#[derive(Debug, Clone, Default)]
pub struct Draft {
    /// The text of the test file.
    pub text: String,
    /// Files beside it, by name.
    pub beside: Vec<(String, Bytes)>,
}

impl Draft {
    /// What is to be written where, if the test file is `file`; that itself last.
    pub fn files(&self, file: &Path) -> Vec<(PathBuf, Bytes)> {
        let beside = self.beside.iter();
        let beside = beside.map(|(name, bytes)| (file.with_file_name(name), bytes.clone()));
        beside.chain([(file.to_owned(), Bytes::from(self.text.clone()))]).collect()
    }
}

/// The messages of `stream` from sequence `from` on, `count` at most.
///
/// # Errors
/// If there is no such stream, or the server does not hand them out.
pub async fn of_stream(
    broker: &Broker,
    (stream, subject): (&str, &str),
    (from, count): (u64, usize),
) -> anyhow::Result<Captured> {
    let state = broker.stream_state(stream).await?;
    let state = state.ok_or_else(|| anyhow!("there is no stream `{stream}`"))?;
    let scope = Scope {
        stream: stream.to_owned(),
        subject: subject.to_owned(),
        first: from.max(state.first),
        last: state.last,
        only_headers: false,
    };
    let (mut reading, mut events) = (broker.read(scope), Vec::new());
    while events.len() < count {
        let Some(stored) = reading.next().await? else { break };
        let position = Position {
            stream: stream.to_owned(),
            stream_created: state.created,
            sequence: stored.sequence,
        };
        events.push(Event {
            id: position.event_id(),
            subject: stored.subject,
            headers: stored.headers,
            payload: stored.payload,
            reply_to: None,
            time_ms: stored.time_ms,
            attempt: 1,
            position: Some(position),
            replay: None,
        });
    }
    if events.is_empty() {
        bail!(
            "stream `{stream}` has nothing from {from} on that matches `{subject}`: it holds {} to {}",
            state.first,
            state.last
        );
    }
    Ok(Captured { events, plugin: None, name: format!("{stream}-{from}") })
}

/// The next `count` events to `subject`, as they are published: within `patience`,
/// or until `stop`. What came by then is returned.
///
/// # Errors
/// If the server refuses, or an event cannot be read.
pub async fn live(
    broker: &Broker,
    subject: &Pattern,
    (count, patience): (usize, Duration),
    stop: impl Future<Output = ()>,
) -> anyhow::Result<Captured> {
    let subscription = Subscription {
        host: "pelton-capture".to_owned(),
        // A queue group of its own: nobody loses what is captured.
        plugin: format!("{:x}", rand::random::<u64>()),
        subjects: vec![subject.clone()],
        from: From::Core { capacity: Capacity { events: count.max(1), bytes: MAX_WAITING_BYTES } },
        max_in_flight: count,
        exclusive: false,
        replicas: 1,
    };
    let mut source = broker.subscribe(subscription).await?;
    source.allow(count);
    let mut events = Vec::new();
    let collect = async {
        while events.len() < count {
            let Some(delivery) = source.next().await else { break };
            events.push(delivery.event().context("read the event")?);
        }
        anyhow::Ok(())
    };
    tokio::select! {
        collected = timeout(patience, collect) => collected.unwrap_or(Ok(()))?,
        () = stop => {}
    }
    source.stop().await;
    source.close().await;
    if events.is_empty() {
        bail!("no event came to `{subject}` in this time");
    }
    let name = subject.as_str().replace(['*', '>'], "all");
    Ok(Captured { events, plugin: None, name })
}

/// The event of the dead letter `number`.
///
/// # Errors
/// If there is no such letter, or its event is gone.
pub async fn of_dead_letter(desk: &DeadLetters, number: u64) -> anyhow::Result<Captured> {
    let entry = desk.entry(number).await?;
    let entry =
        entry.ok_or_else(|| anyhow!("there is no dead letter {number} in `{}`", desk.stream()))?;
    let event =
        desk.event(&entry).await?.map_err(|problem| anyhow!("dead letter {number}: {problem}"))?;
    let plugin = entry.letter.as_ref().map(|letter| letter.plugin.clone());
    let event = Event { attempt: 1, replay: None, ..event };
    Ok(Captured { events: vec![event], plugin, name: format!("dead-letter-{number}") })
}

/// The test file for `captured`, whose cases have yet to be told what to expect:
/// `pelton test --update` does.
pub fn draft(captured: &Captured, style: &Style<'_>) -> Draft {
    let mut draft = Draft { text: head(style), beside: Vec::new() };
    if style.together {
        together(captured, style, &mut draft);
        return draft;
    }
    for (index, event) in captured.events.iter().enumerate() {
        let number = index + 1;
        let stem = format!("{}.{number}", style.stem);
        draft.text += &case_head(&name(event, captured, number), style);
        draft.text += &format!("snapshot = {}\n", quoted(&format!("{stem}.snap.json")));
        draft.text += &event_table(event, &stem, &mut draft.beside);
    }
    draft
}

/// The same with what comes of the events now, by a run of each. To be called on a
/// runtime whose time is paused.
///
/// # Errors
/// If the cases cannot be run.
pub async fn draft_with_expectations(
    captured: &Captured,
    style: &Style<'_>,
    (loaded, manifest): (&Loaded, &Manifest),
) -> anyhow::Result<Draft> {
    let whole = draft(captured, style);
    let folder = tempfile::tempdir().context("make a folder for the run")?;
    for (name, bytes) in &whole.beside {
        std::fs::write(folder.path().join(name), bytes).context("write the events")?;
    }
    let path = folder.path().join("captured.test.toml");
    let mut file = parse(&path, &whole.text)?;
    wiring::fit(&mut file, manifest).map_err(rendered)?;
    let mut happened = Vec::new();
    for case in &file.cases {
        happened.push(run::run(loaded, case).await.map_err(|problem| anyhow!(problem))?);
    }
    let mut draft = Draft { text: head(style), beside: Vec::new() };
    if style.together {
        together(captured, style, &mut draft);
        if let Some(happened) = happened.first() {
            let bytes = snapshot::of(&happened.outputs);
            draft.text += &failure(happened);
            draft.beside.push((format!("{}.snap.json", style.stem), bytes));
        }
        return Ok(draft);
    }
    for (index, (event, happened)) in captured.events.iter().zip(&happened).enumerate() {
        let stem = format!("{}.{}", style.stem, index + 1);
        draft.text += &case_head(&name(event, captured, index + 1), style);
        draft.text += &failure(happened);
        draft.text += &event_table(event, &stem, &mut draft.beside);
        draft.text += &expectations(happened, &stem, &mut draft.beside);
    }
    Ok(draft)
}

fn parse(path: &Path, text: &str) -> anyhow::Result<File> {
    File::parse(path, text).map_err(rendered)
}

fn rendered(problems: crate::manifest::Problems) -> anyhow::Error {
    anyhow!("{}", problems.render(crate::manifest::Look::Plain))
}

fn head(style: &Style<'_>) -> String {
    let manifest = style.manifest.map(|it| format!("manifest = {}\n", quoted(it)));
    let about =
        "# Made by `pelton capture`. `pelton test --help` shows what else can be written here.\n";
    format!("{about}{}", manifest.unwrap_or_default())
}

fn case_head(name: &str, style: &Style<'_>) -> String {
    let plugin = style.plugin.map(|plugin| format!("plugin = {}\n", quoted(plugin)));
    format!("\n[[case]]\nname = {}\n{}", quoted(name), plugin.unwrap_or_default())
}

fn name(event: &Event, captured: &Captured, number: usize) -> String {
    match &event.position {
        Some(position) => {
            format!("{} from {} {}", event.subject, position.stream, position.sequence)
        }
        None => format!("{} {number} of {}", event.subject, captured.events.len()),
    }
}

fn together(captured: &Captured, style: &Style<'_>, draft: &mut Draft) {
    let lines: String = captured.events.iter().map(|event| format!("{}\n", line(event))).collect();
    let events = format!("{}.jsonl", style.stem);
    draft.text += &case_head(&captured.name, style);
    draft.text += &format!("events = {}\n", quoted(&events));
    draft.text += &format!("snapshot = {}\n", quoted(&format!("{}.snap.json", style.stem)));
    draft.beside.push((events, lines.into()));
}

/// An event as a line of JSON, as `pelton pipe` reads it, too: without its position.
fn line(event: &Event) -> Value {
    let mut object = json!({
        "subject": event.subject,
        "id": event.id,
        "time": timestamp(event.time_ms),
        "headers": by_name(&event.headers),
    });
    let (key, value) = match str::from_utf8(&event.payload) {
        Ok(text) => ("payload-text", json!(text)),
        Err(_) => ("payload-base64", json!(BASE64_STANDARD.encode(&event.payload))),
    };
    let Value::Object(fields) = &mut object else { return object };
    fields.insert(key.to_owned(), value);
    if let Some(reply_to) = &event.reply_to {
        fields.insert("reply-to".to_owned(), json!(reply_to));
    }
    object
}

/// An object with a list of values for each name.
fn by_name(headers: &[Header]) -> BTreeMap<&str, Vec<&str>> {
    let mut named = BTreeMap::<&str, Vec<&str>>::new();
    for Header { name, value } in headers {
        named.entry(name).or_default().push(value);
    }
    named
}

fn event_table(event: &Event, stem: &str, beside: &mut Vec<(String, Bytes)>) -> String {
    let mut text = format!("\n[case.event]\nsubject = {}\n", quoted(&event.subject));
    text += &format!("id = {}\ntime = {}\n", quoted(&event.id), timestamp(event.time_ms));
    if let Some(Position { stream, sequence, .. }) = &event.position {
        text += &format!("position = {{ stream = {}, sequence = {sequence} }}\n", quoted(stream));
    }
    if let Some(reply_to) = &event.reply_to {
        text += &format!("reply-to = {}\n", quoted(reply_to));
    }
    text += &headers(&event.headers);
    text + &payload(&event.payload, stem, beside)
}

fn headers(headers: &[Header]) -> String {
    let mut by_name: Vec<(&str, Vec<String>)> = Vec::new();
    for Header { name, value } in headers {
        match by_name.iter_mut().find(|(known, _)| known == name) {
            Some((_, values)) => values.push(quoted(value)),
            None => by_name.push((name, vec![quoted(value)])),
        }
    }
    let pair = |(name, values): (&str, Vec<String>)| match values.as_slice() {
        [value] => format!("{} = {value}", quoted(name)),
        values => format!("{} = [{}]", quoted(name), values.join(", ")),
    };
    match by_name.is_empty() {
        true => String::new(),
        false => {
            let pairs: Vec<_> = by_name.into_iter().map(pair).collect();
            format!("headers = {{ {} }}\n", pairs.join(", "))
        }
    }
}

/// The key that gives a payload: JSON and text as they were, all else in a file.
fn payload(payload: &Bytes, stem: &str, beside: &mut Vec<(String, Bytes)>) -> String {
    let text = str::from_utf8(payload).ok();
    let is_json = serde_json::from_slice::<Value>(payload).is_ok();
    match text {
        Some("") => String::new(),
        Some(text) if is_json => format!("json = {}\n", laid_out(text)),
        Some(text) if !text.contains('\0') => format!("text = {}\n", laid_out(text)),
        _ => {
            let file = format!("{stem}.bin");
            beside.push((file.clone(), payload.clone()));
            format!("file = {}\n", quoted(&file))
        }
    }
}

/// A text in quotes: as it is between three of them, where it has several lines.
fn laid_out(text: &str) -> String {
    let is_plain = |c: char| c == '\n' || c == '\t' || !c.is_control();
    let is_long = text.contains('\n') || text.chars().count() > ONE_LINE;
    match is_long && text.chars().all(is_plain) && !text.contains("'''") && !text.ends_with('\'') {
        true => format!("'''\n{text}'''"),
        false => quoted(text),
    }
}

/// How it failed, if it did.
fn failure(happened: &Happened) -> String {
    write::failure(&happened.failures).map(|line| format!("{line}\n")).unwrap_or_default()
}

/// A table for each output that no plugin takes up.
fn expectations(happened: &Happened, stem: &str, beside: &mut Vec<(String, Bytes)>) -> String {
    let leaving = happened.outputs.iter().filter(|put| !put.taken_up);
    let table = |(index, put): (usize, &super::happened::Put)| {
        let stem = format!("{stem}.{}", index + 1);
        let mut text = format!("\n[[case.expect]]\nsubject = {}\n", quoted(&put.subject));
        text += &headers(&put.headers);
        match put.payload.is_empty() {
            true => text + "text = \"\"\n",
            false => text + &payload(&put.payload, &stem, beside),
        }
    };
    leaving.enumerate().map(table).collect()
}
