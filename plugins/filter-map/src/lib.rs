//! The filter-and-map plugin: keeps the events that an expression wants, and
//! publishes what another one makes of them.
//!
//! Only the joint between the bindings and [`pipeline`], which knows nothing of
//! them and is tested natively.

mod json;
mod pipeline;
mod program;

use std::cell::OnceCell;

use exports::pelton::events::handler::{Event, Failure, Guest, Output};
use pelton::events::config;
use pipeline::{Message, Pipeline, Publication};

wit_bindgen::generate!({ path: "../../wit", world: "plugin" });

thread_local! {
    /// The expressions are compiled once for each instance.
    static PIPELINE: OnceCell<Result<Pipeline, String>> = const { OnceCell::new() };
}

struct Plugin;

impl Guest for Plugin {
    fn handle(event: Event) -> Result<Vec<Output>, Failure> {
        let publications = PIPELINE.with(|pipeline| {
            // The event is not to blame for the configuration: it may wait for a better one.
            let pipeline = pipeline.get_or_init(|| Pipeline::parse(config::get)).as_ref();
            let pipeline =
                pipeline.map_err(|error| Failure::Retry(format!("configuration: {error}")))?;
            pipeline.run(&message(&event)).map_err(Failure::Reject)
        })?;
        let output = |Publication { subject, payload }| Output {
            subject,
            headers: event.headers.clone(),
            payload: payload.unwrap_or_else(|| event.payload.clone()),
        };
        Ok(publications.into_iter().map(output).collect())
    }
}

fn message(event: &Event) -> Message<'_> {
    Message {
        id: &event.id,
        subject: &event.subject,
        headers: event.headers.iter().map(|header| (&*header.name, &*header.value)).collect(),
        time: event.time,
        attempt: event.attempt,
        payload: &event.payload,
    }
}

export!(Plugin);
