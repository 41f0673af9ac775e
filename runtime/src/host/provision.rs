//! What the manifest needs on the server: streams made or compared, outputs
//! matched with the streams that store them. Finds everything that is wrong,
//! not only the first thing.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use crate::{
    broker::{SetupError, nats::Broker, nats::StreamFacts},
    dispatch::{Keeper, Publishing, Rule},
    host::plan,
    manifest::{Manifest, Plugin, Retention, Stream},
    subject::Pattern,
};

mod assumed;

pub(super) use assumed::ELSEWHERE;

/// Something on the server, or a component, that is not as the manifest needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind of mistake: a code of [`crate::explain`].
    pub code: &'static str,
    /// The key of the manifest that asks for it, such as `streams.ORDERS`.
    pub key: String,
    /// What it is about.
    pub what: String,
    /// What is wrong, and the remedy.
    pub problem: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.problem)
    }
}

impl Finding {
    pub(super) fn at(key: impl Into<String>, error: SetupError) -> Finding {
        let SetupError { code, what, problem } = error;
        Finding { code, key: key.into(), what, problem }
    }
}

/// Whether the server is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// What is missing is made.
    Make,
    /// Nothing is made; what is missing will be.
    Compare,
}

/// What is known of the server.
#[derive(Debug, Clone, Default)]
pub struct Provision {
    jetstream: bool,
    /// The server's `max_payload`.
    max_message: usize,
    streams: BTreeMap<String, StreamFacts>,
    findings: Vec<Finding>,
}

/// A walk through everything that a manifest needs.
struct Survey<'a> {
    broker: &'a Broker,
    manifest: &'a Manifest,
    mode: Mode,
    found: Provision,
}

impl Provision {
    /// Goes through everything that `manifest` needs on the server.
    ///
    /// # Errors
    /// If the manifest needs JetStream and there is none. All else becomes a finding.
    pub async fn survey(
        broker: &Broker,
        manifest: &Manifest,
        mode: Mode,
    ) -> anyhow::Result<Provision> {
        let max_message = broker.max_payload();
        match broker.jetstream_ready().await {
            Ok(()) => {}
            Err(error) if needs_jetstream(manifest) => return Err(error.into()),
            Err(error) => {
                tracing::warn!(%error, "no JetStream: no dead letters, failed events are dropped");
                return Ok(Provision { max_message, ..Provision::default() });
            }
        }
        let found = Provision { jetstream: true, max_message, ..Provision::default() };
        let survey = Survey { broker, manifest, mode, found };
        Ok(survey.run().await)
    }

    /// What the manifest needs, as a server without any limits would have it. Where
    /// it relies on streams that it does not describe, they are assumed. With it,
    /// the streams to make.
    pub(super) fn assumed(manifest: &Manifest) -> (Provision, BTreeMap<String, Stream>) {
        let mut streams = assumed::streams(manifest);
        let letters = &manifest.dead_letters;
        streams.insert(letters.stream.clone(), assumed::unlimited(letters.letters_settings()));
        let facts = streams.iter();
        let facts = facts.map(|(name, stream)| (name.clone(), StreamFacts::planned(stream)));
        let provision = Provision {
            jetstream: true,
            max_message: assumed::MAX_MESSAGE,
            streams: facts.collect(),
            findings: Vec::new(),
        };
        (provision, streams)
    }

    /// What is not as it should be.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Whether JetStream can be used.
    pub fn jetstream(&self) -> bool {
        self.jetstream
    }

    /// What `spec` may publish, and where it is stored.
    pub(super) fn publishing(&self, spec: &Plugin) -> Publishing {
        let rule = if spec.stream.is_some() { Rule::Stored } else { Rule::StoredIfTaken };
        let core = spec.publish_core.iter().map(|pattern| (pattern.clone(), Rule::Core));
        let allowed = core.chain(spec.publish.iter().map(|pattern| (pattern.clone(), rule)));
        let stored = self.streams.iter().flat_map(|(name, facts)| {
            let max_message = facts.max_message_size.and_then(|size| usize::try_from(size).ok());
            let keeper = Keeper { stream: name.as_str().into(), max_message };
            facts.patterns().into_iter().map(move |pattern| (pattern, keeper.clone()))
        });
        let max_message = self.max_message;
        Publishing { allowed: allowed.collect(), stored: stored.collect(), max_message }
    }

    /// Whether the plugin's source stream keeps what was rejected.
    pub(super) fn source_keeps(&self, spec: &Plugin) -> bool {
        let facts = spec.stream.as_ref().and_then(|stream| self.streams.get(stream));
        facts.is_some_and(|facts| facts.retention == Retention::Limits)
    }

    /// The streams that store something of `pattern`, with what they store.
    fn storing(&self, pattern: &Pattern) -> impl Iterator<Item = (&str, Pattern)> {
        self.streams.iter().flat_map(move |(name, facts)| {
            let stored = facts.patterns().into_iter().filter(|stored| stored.overlaps(pattern));
            stored.map(move |stored| (name.as_str(), stored))
        })
    }

    /// Why `pattern` would not be stored as a whole, if `spec` needs that.
    fn unstored(&self, pattern: &Pattern, spec: &Plugin) -> Option<String> {
        let covered = self.storing(pattern).any(|(_, stored)| stored.contains(pattern));
        if covered || spec.stream.is_none() {
            return None;
        }
        let partly: Vec<_> = self.storing(pattern).map(|(_, stored)| stored).collect();
        let found = match partly.is_empty() {
            true => "no stream stores it".to_owned(),
            false => format!("no stream stores all of it, only {}", list(&partly)),
        };
        Some(format!(
            "{found}: add it to the subjects of a stream, or move it to `publish-core` to send it at most once"
        ))
    }
}

impl Survey<'_> {
    async fn run(mut self) -> Provision {
        for (name, wanted) in &self.manifest.streams {
            self.declared(name, wanted, format!("streams.{name}")).await;
        }
        let letters = &self.manifest.dead_letters;
        let key = "dead-letters".to_owned();
        self.declared(&letters.stream, &letters.letters_settings(), key.clone()).await;
        self.declared(&letters.replays, &letters.replays_settings(), key).await;
        // No output goes there.
        self.found.streams.remove(&letters.replays);
        for (name, spec) in &self.manifest.plugins {
            self.source(name, spec).await;
            self.outputs(name, spec).await;
            if self.mode == Mode::Compare {
                self.consumer(name, spec).await;
            }
        }
        self.found
    }

    /// Makes or compares a stream that the manifest describes.
    async fn declared(&mut self, name: &str, wanted: &Stream, key: String) {
        let facts = match self.mode {
            Mode::Make => self.broker.ensure_stream(name, wanted).await.map(Some),
            Mode::Compare => self.broker.compare_stream(name, wanted).await,
        };
        match facts.map(|facts| facts.unwrap_or_else(|| StreamFacts::planned(wanted))) {
            Ok(facts) => _ = self.found.streams.insert(name.to_owned(), facts),
            Err(error) => self.note(key, error),
        }
    }

    /// The stream that a plugin reads has to exist and to store what it reads.
    async fn source(&mut self, plugin: &str, spec: &Plugin) {
        let Some(stream) = &spec.stream else { return };
        let declared = format!("streams.{stream}");
        if self.found.findings.iter().any(|finding| finding.key == declared) {
            return;
        }
        if let Err(error) = self.learn(stream).await {
            return self.note(format!("plugins.{plugin}.stream"), error);
        }
        let facts = self.found.streams.get(stream);
        let stored = facts.map(StreamFacts::patterns).unwrap_or_default();
        for pattern in &spec.subscribe {
            if !stored.iter().any(|stored| stored.overlaps(pattern)) {
                let what = format!("stream `{stream}`");
                let problem = match stored.as_slice() {
                    [] => "it has no subjects of its own, but copies other streams: read those"
                        .to_owned(),
                    _ => {
                        format!("it stores nothing that matches `{pattern}`, but {}", list(&stored))
                    }
                };
                let key = format!("plugins.{plugin}.subscribe");
                let code = "not-in-stream";
                self.found.findings.push(Finding { code, key, what, problem });
            }
        }
    }

    /// Every output pattern has to be stored by a stream that remembers ids for
    /// long enough, or to be declared as fleeting.
    async fn outputs(&mut self, plugin: &str, spec: &Plugin) {
        let key = format!("plugins.{plugin}.publish");
        for pattern in &spec.publish {
            let streams = match self.broker.streams_storing(pattern).await {
                Ok(streams) => streams,
                Err(error) => return self.note(key, error),
            };
            for stream in streams.iter().filter(|name| **name != self.manifest.dead_letters.replays)
            {
                if let Err(error) = self.learn(stream).await {
                    self.note(key.clone(), error);
                }
            }
            if let Some(problem) = self.found.unstored(pattern, spec) {
                let what = format!("output `{pattern}`");
                let (code, key) = ("not-stored", key.clone());
                self.found.findings.push(Finding { code, key, what, problem });
            }
            self.unfit(pattern, spec, &key);
        }
    }

    /// Streams that would not keep a second run's outputs from appearing twice.
    fn unfit(&mut self, pattern: &Pattern, spec: &Plugin, key: &str) {
        if spec.stream.is_none() {
            return;
        }
        let budget = spec.retry_budget();
        let names = self.found.storing(pattern).map(|(name, _)| name.to_owned());
        for name in names.collect::<BTreeSet<_>>() {
            let facts = self.found.streams.get(&name);
            let found = facts.and_then(|facts| unfit(facts, budget));
            let Some((code, problem)) = found else { continue };
            let what = format!("stream `{name}`, which stores `{pattern}`");
            let key = key.to_owned();
            self.found.findings.push(Finding { code, key, what, problem });
        }
    }

    async fn consumer(&mut self, name: &str, spec: &Plugin) {
        let subscription = plan::subscription(self.manifest, name, spec);
        if let Err(error) = self.broker.compare_consumer(&subscription).await {
            self.note(format!("plugins.{name}.subscribe"), error);
        }
    }

    async fn learn(&mut self, stream: &str) -> Result<(), SetupError> {
        if !self.found.streams.contains_key(stream) {
            let facts = self.broker.stream_facts(stream).await?;
            self.found.streams.insert(stream.to_owned(), facts);
        }
        Ok(())
    }

    fn note(&mut self, key: String, error: SetupError) {
        self.found.findings.push(Finding::at(key, error));
    }
}

/// Why a stream would not keep a second run's outputs from appearing twice: the
/// code, and the text.
fn unfit(facts: &StreamFacts, budget: Duration) -> Option<(&'static str, String)> {
    let spoken = |time| humantime::format_duration(time).to_string();
    if facts.sealed {
        return Some(("stream-unfit", "it is sealed: it takes nothing any more".to_owned()));
    }
    if facts.no_ack {
        return Some(("stream-unfit", "it does not confirm what it stores (`no_ack`)".to_owned()));
    }
    if facts.retention != Retention::Limits {
        return Some(("output-retention", "it forgets ids with its messages over a restart: outputs need a stream with retention by limits".to_owned()));
    }
    if facts.duplicate_window < budget {
        let problem = format!(
            "its duplicate window of {} is shorter than the {} that all attempts may take: raise the window, or lower attempts, backoff or ack-wait",
            spoken(facts.duplicate_window),
            spoken(budget)
        );
        return Some(("retry-budget", problem));
    }
    None
}

fn needs_jetstream(manifest: &Manifest) -> bool {
    !manifest.streams.is_empty() || manifest.plugins.values().any(|spec| spec.stream.is_some())
}

fn list(patterns: &[Pattern]) -> String {
    let quoted: Vec<_> = patterns.iter().map(|pattern| format!("`{pattern}`")).collect();
    quoted.join(", ")
}
