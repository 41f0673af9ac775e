//! The streams of a host that has no server: those that the manifest describes,
//! and those that it relies on. Pure.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    manifest::{Discard, Manifest, Retention, Storage, Stream},
    subject::Pattern,
};

/// The largest message that any server takes, in bytes.
pub(super) const MAX_MESSAGE: usize = 64 << 20;

/// The stream for outputs that none of the described streams stores. No stream of
/// a server can have this name, and it comes after all others.
pub(in crate::host) const ELSEWHERE: &str = "~elsewhere";

/// All but the one of the dead letters.
pub(super) fn streams(manifest: &Manifest) -> BTreeMap<String, Stream> {
    let described = manifest.streams.iter();
    let described = described.map(|(name, stream)| (name.clone(), unlimited(stream.clone())));
    let mut streams: BTreeMap<_, _> = described.collect();
    let plugins = manifest.plugins.values();
    for (stream, spec) in plugins.filter_map(|spec| Some((spec.stream.as_ref()?, spec))) {
        if !manifest.streams.contains_key(stream) {
            let assumed = streams.entry(stream.clone()).or_insert_with(|| storing(Vec::new()));
            assumed.subjects.extend(spec.subscribe.iter().cloned());
        }
    }
    let is_stored = |pattern: &Pattern| {
        let mut stored = streams.values().flat_map(|stream| &stream.subjects);
        stored.any(|stored| stored.contains(pattern))
    };
    let plugins = manifest.plugins.values().filter(|spec| spec.stream.is_some());
    let published = plugins.flat_map(|spec| &spec.publish);
    let elsewhere: Vec<_> = published.filter(|pattern| !is_stored(pattern)).cloned().collect();
    if !elsewhere.is_empty() {
        streams.insert(ELSEWHERE.to_owned(), storing(elsewhere));
    }
    streams
}

/// The stream without limits that would remove what was not handled yet.
pub(super) fn unlimited(stream: Stream) -> Stream {
    Stream {
        storage: Storage::Memory,
        max_age: None,
        max_bytes: None,
        max_messages: None,
        ..stream
    }
}

fn storing(subjects: Vec<Pattern>) -> Stream {
    Stream {
        subjects,
        retention: Retention::Limits,
        storage: Storage::Memory,
        replicas: 1,
        max_age: None,
        max_bytes: None,
        max_messages: None,
        max_message_size: None,
        discard: Discard::Old,
        duplicate_window: Duration::from_secs(600),
    }
}
