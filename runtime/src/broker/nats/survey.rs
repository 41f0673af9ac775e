//! Looking without touching: what the server has, beside what would be asked
//! of it.

use super::{
    Broker, StreamFacts,
    consumer::{Durable, Terms},
    difference,
    stream::{self, facts},
};
use crate::{
    broker::{From, SetupError, Subscription},
    manifest,
    subject::Pattern,
};

impl Broker {
    /// Compares the stream `name`, if there is one, with `wanted`.
    ///
    /// # Errors
    /// Lists every field that differs; names the permission that is missing.
    pub async fn compare_stream(
        &self,
        name: &str,
        wanted: &manifest::Stream,
    ) -> Result<Option<StreamFacts>, SetupError> {
        let wanted =
            stream::config(name, wanted).map_err(|error| error.about(stream::what(name)))?;
        let info = match self.stream_info(name).await {
            Ok(info) => info,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.about(stream::what(name))),
        };
        match difference::of_streams(&wanted, &info.config) {
            differences if differences.is_empty() => Ok(Some(facts(&info))),
            differences => Err(stream::refuse(name, &differences)),
        }
    }

    /// Compares the durable consumer of `subscription`, if there is one, with
    /// what would be asked for. Differences that [`Broker::updating_consumers`]
    /// would remove are no errors with it.
    ///
    /// # Errors
    /// Lists every field that differs; names the permission that is missing.
    pub async fn compare_consumer(&self, subscription: &Subscription) -> Result<(), SetupError> {
        let From::Stream { stream, ack_wait, max_deliver, start, .. } = &subscription.from else {
            return Ok(());
        };
        let (ack_wait, max_deliver, start) = (*ack_wait, *max_deliver, *start);
        let durable = Durable::new(subscription, &Terms { stream, ack_wait, max_deliver, start });
        match self.consumer_info(stream, &durable.name).await {
            Ok(info) => durable.compare(&info, self.updates_consumers),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error.about(durable.what())),
        }
    }
}

impl StreamFacts {
    /// The subjects it stores. Those that we could not have written are left out.
    pub fn patterns(&self) -> Vec<Pattern> {
        self.subjects.iter().filter_map(|subject| Pattern::parse(subject).ok()).collect()
    }

    /// What would be known of a stream made as `wanted` says.
    pub fn planned(wanted: &manifest::Stream) -> StreamFacts {
        StreamFacts {
            created: 0,
            subjects: wanted.subjects.iter().map(ToString::to_string).collect(),
            retention: wanted.retention,
            duplicate_window: wanted.duplicate_window,
            max_age: wanted.max_age,
            max_message_size: wanted.max_message_size,
            max_bytes: wanted.max_bytes,
            max_messages: wanted.max_messages,
            discard: wanted.discard,
            sealed: false,
            no_ack: false,
            messages: 0,
        }
    }
}
