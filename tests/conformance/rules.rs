//! One script for each rule of the server that delivery depends on.

use pelton::manifest::{Ack, Discard, Retention, Start, Storage};

use super::script::{
    Answer::{Ack as Acked, Progress, Reject, Retry},
    Script,
    Step::{self, *},
    StreamTerms, Terms, plain, usual,
};

mod answering;
mod bounding;
mod keeping;
mod managing;
mod publishing;
mod redelivering;
mod sharing;

/// A source with credit for all of a script.
const MANY: usize = 200;
/// Nothing happens for a tick.
const NOTHING: Vec<Step> = Vec::new();

pub fn scripts() -> Vec<Script> {
    let groups = [
        publishing::scripts(),
        redelivering::scripts(),
        answering::scripts(),
        bounding::scripts(),
        keeping::scripts(),
        managing::scripts(),
        sharing::scripts(),
    ];
    groups.into_iter().flatten().collect()
}

/// Scripts that kill the server, which has to be theirs alone.
pub fn violent() -> Vec<Script> {
    let restarted = |name, retention| {
        let terms = StreamTerms { retention, ..plain() };
        let first = vec![Stream(terms), Open("p", usual()), Allow("p", 2), put("a"), put("b")];
        script(
            name,
            vec![
                first,
                vec![Answer("p", (1, 1), Acked)],
                // Longer than it takes to write the consumer's state down.
                NOTHING,
                NOTHING,
                vec![Restart],
                NOTHING,
                vec![put("a"), put("b"), put("c"), Stored],
            ],
        )
    };
    vec![
        restarted("ids survive with their messages", Retention::Limits),
        restarted("ids of what a work queue has settled do not survive", Retention::WorkQueue),
    ]
}

fn script(name: &str, groups: Vec<Vec<Step>>) -> Script {
    Script { name: name.to_owned(), since: (2, 10), groups }
}

fn put(id: &'static str) -> Step {
    Publish { id, token: "a", bytes: 10 }
}

/// `n` messages, and a source with credit.
fn filled(stream: StreamTerms, terms: Terms, n: u32) -> Vec<Step> {
    vec![Stream(stream), Fill(n), Open("p", terms), Allow("p", MANY)]
}
