//! One inbox of a source: opened after stream and consumer were looked at, and
//! what is asked of the server through it.
//!
//! When to open one and what comes of it: `pull`.

use std::{sync::Arc, time::Duration};

use async_nats::Subscriber;
use serde_json::json;
use tokio::task::yield_now;

use super::{
    Broker,
    consumer::Durable,
    suspect::{Findings, Search},
};
use crate::{broker::SetupError, manifest::Retention};

/// How long the server keeps a request that it cannot fill. Short, because it also
/// fills those of a replica that is cut off without a word: each such delivery
/// costs the event an attempt and an `ack-wait`, and whoever takes over an ordered
/// plugin has to wait for the last of them.
const EXPIRES: Duration = Duration::from_secs(4);
/// How often the server shows that it is there. At most half of [`EXPIRES`].
pub(super) const HEARTBEAT: Duration = Duration::from_secs(2);

/// One inbox, and what was true when it was opened.
pub(super) struct Line {
    pub(super) inbox: String,
    pub(super) subscriber: Subscriber,
    /// When the stream was made, in nanoseconds since 1970.
    pub(super) created: i64,
    /// Up to this sequence all is settled.
    pub(super) floor: u64,
    /// The highest sequence that the consumer has handed out.
    pub(super) newest: u64,
    /// How many deliveries the consumer has made, to whomever.
    pub(super) handed_out: u64,
    /// How many deliveries were not settled.
    pub(super) unsettled: usize,
    /// The number of connections made until then: another number, another connection.
    pub(super) connects: u64,
}

impl Line {
    /// Checks stream and consumer and opens an inbox. `before`: when the stream was
    /// made and up to where all was settled, when they were last seen. `search`: for
    /// what broke the connection.
    pub(super) async fn open(
        broker: Broker,
        durable: Arc<Durable>,
        before: Option<(i64, u64)>,
        search: Option<Search>,
    ) -> Result<(Line, Findings), SetupError> {
        let connects = broker.inner.connects();
        let facts = broker.stream_facts(&durable.stream).await?;
        let created = facts.created;
        // A stream of the same name that was made anew is read from its beginning.
        let resume_after = before.map(|(before, floor)| if before == created { floor } else { 0 });
        // What a work queue has settled is gone; its consumers may begin nowhere
        // but at the beginning.
        let resume_after = resume_after.filter(|_| facts.retention != Retention::WorkQueue);
        let info = broker.ensure_consumer(&durable, resume_after).await?;
        let search = search.filter(|_| before.is_some_and(|(before, _)| before == created));
        let findings = match search {
            Some(search) => search.run(&broker, &durable, &info).await,
            None => Findings::default(),
        };
        let inbox = broker.inner.client().new_inbox();
        let subscriber = broker.listen(format!("{inbox}.*"), None).await?;
        let line = Line {
            inbox,
            subscriber,
            created,
            floor: info.ack_floor.stream_sequence,
            newest: info.delivered.stream_sequence,
            handed_out: info.delivered.consumer_sequence,
            unsettled: info.num_ack_pending,
            connects,
        };
        Ok((line, findings))
    }
}

/// Asks the server for `n` deliveries. The inbox says how many, so that a status
/// without a count can be read.
///
/// Not before what is ready has run: it may free more slots, and then this is
/// cancelled and begun again for more. A request costs the server as much as
/// several messages.
pub(super) async fn ask(
    broker: &Broker,
    durable: &Durable,
    inbox: &str,
    n: usize,
) -> Result<(), String> {
    yield_now().await;
    let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", durable.stream, durable.name);
    let request = json!({
        "batch": n,
        "expires": u64::try_from(EXPIRES.as_nanos()).unwrap_or(u64::MAX),
        "idle_heartbeat": u64::try_from(HEARTBEAT.as_nanos()).unwrap_or(u64::MAX),
    });
    let request = request.to_string().into();
    let client = broker.inner.client();
    let sent = client.publish_with_reply(subject, format!("{inbox}.{n}"), request);
    sent.await.map_err(|error| error.to_string())
}
