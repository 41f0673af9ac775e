//! The router plugin: reads its rules from the configuration and sends each
//! event, unchanged, where they say.
//!
//! Only the joint between the bindings and [`router`], which knows nothing of
//! them and is tested natively.

mod message;
mod reference;
mod router;
mod rule;
mod target;

use std::{iter::repeat_n, sync::OnceLock};

use exports::pelton::events::handler::{Event, Failure, Guest, Output};
use message::Message;
use pelton::events::config;
use router::{Route, Router};

wit_bindgen::generate!({ path: "../../wit", world: "plugin" });

/// The rules are read once for each instance.
static ROUTER: OnceLock<Result<Router, String>> = OnceLock::new();

struct Plugin;

impl Guest for Plugin {
    fn handle(event: Event) -> Result<Vec<Output>, Failure> {
        // The event is not to blame for the configuration: it may wait for a better one.
        let router = ROUTER.get_or_init(|| Router::parse(config::get)).as_ref();
        let router = router.map_err(|error| Failure::Retry(format!("configuration: {error}")))?;

        let headers = event.headers.iter().map(|header| (&*header.name, &*header.value)).collect();
        let message = Message::new(&event.subject, headers, &event.payload);
        match router.route(&message).map_err(Failure::Reject)? {
            Route::Drop => Ok(Vec::new()),
            Route::Publish(subjects) => Ok(outputs(subjects, event)),
        }
    }
}

fn outputs(subjects: Vec<String>, event: Event) -> Vec<Output> {
    let copies = repeat_n((event.headers, event.payload), subjects.len());
    let output = |(subject, (headers, payload))| Output { subject, headers, payload };
    subjects.into_iter().zip(copies).map(output).collect()
}

export!(Plugin);
