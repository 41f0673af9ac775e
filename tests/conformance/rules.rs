//! One script for each rule of the server that delivery depends on.

use pelton::manifest::{Ack, Discard, Retention, Start, Storage};

use super::script::{
    Answer::{Ack as Acked, Progress, Reject, Retry},
    Script,
    Step::{self, *},
    StreamTerms, Terms, plain, usual,
};

/// A source with credit for all of a script.
const MANY: usize = 200;
/// Nothing happens for a tick.
const NOTHING: Vec<Step> = Vec::new();

pub fn scripts() -> Vec<Script> {
    let groups = [publishing(), redelivering(), answering(), bounding(), keeping(), managing()];
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

fn publishing() -> Vec<Script> {
    let window = |window| StreamTerms { window, ..plain() };
    vec![
        script(
            "an id is stored once within the window",
            vec![
                vec![Stream(window(10)), put("a"), put("a"), put("b")],
                vec![put("a")],
                vec![put("a"), Stored],
                vec![put("a"), put("b"), Stored],
            ],
        ),
        script(
            "an id counts for the whole stream",
            vec![vec![
                Stream(plain()),
                put("a"),
                Publish { id: "a", token: "b", bytes: 99 },
                Stored,
            ]],
        ),
        script(
            "an id outlives its message and a purge",
            vec![
                vec![
                    Stream(plain()),
                    put("a"),
                    put("b"),
                    DeleteMessage(1),
                    put("a"),
                    DeleteMessage(1),
                ],
                vec![Purge, put("b"), put("c"), Stored],
            ],
        ),
        script(
            "an id does not outlive its stream",
            vec![vec![
                Stream(plain()),
                put("a"),
                Stream(plain()),
                put("a"),
                DeleteStream,
                put("a"),
            ]],
        ),
        script(
            "a message may be too large",
            vec![vec![
                Stream(StreamTerms { max_message_size: Some(500), ..plain() }),
                Publish { id: "a", token: "a", bytes: 400 },
                Publish { id: "b", token: "a", bytes: 501 },
                Stored,
            ]],
        ),
    ]
}

fn redelivering() -> Vec<Script> {
    vec![
        script(
            "what is not settled comes again until the limit",
            vec![
                filled(plain(), usual(), 1),
                NOTHING,
                NOTHING,
                NOTHING,
                NOTHING,
                NOTHING,
                vec![Backlog("p")],
                vec![Backlog("p"), Stored],
            ],
        ),
        script(
            "time-outs come by sequence and before what is new",
            vec![
                vec![Stream(plain()), Fill(6), Open("p", usual()), Allow("p", 4)],
                vec![Answer("p", (2, 1), Acked)],
                NOTHING,
                vec![Allow("p", MANY)],
                vec![Backlog("p")],
            ],
        ),
        script(
            "what is retried comes after later ones",
            vec![
                vec![Stream(plain()), Fill(6), Open("p", usual()), Allow("p", 2)],
                vec![Answer("p", (2, 1), Retry(1)), Answer("p", (1, 1), Acked)],
                vec![Allow("p", 1)],
                vec![Allow("p", MANY)],
            ],
        ),
        script(
            "with one pending a retry holds up the rest",
            vec![
                filled(plain(), Terms { max_in_flight: 1, ..usual() }, 3),
                vec![Answer("p", (1, 1), Acked)],
                vec![Answer("p", (2, 1), Retry(6))],
                NOTHING,
                vec![Answer("p", (2, 2), Acked)],
                vec![Backlog("p")],
            ],
        ),
        script(
            "what became due first comes first",
            vec![
                vec![Stream(plain()), Fill(4), Open("p", usual()), Allow("p", 3)],
                vec![
                    Answer("p", (1, 1), Retry(9)),
                    Answer("p", (2, 1), Retry(1)),
                    Answer("p", (3, 1), Retry(5)),
                ],
                NOTHING,
                NOTHING,
                NOTHING,
                vec![Allow("p", MANY)],
            ],
        ),
        script(
            "a retry without delay comes at once",
            vec![
                filled(plain(), usual(), 2),
                vec![Answer("p", (1, 1), Retry(0)), Answer("p", (2, 1), Acked)],
                vec![Answer("p", (1, 2), Retry(0))],
                vec![Answer("p", (1, 3), Retry(0))],
                vec![Backlog("p")],
            ],
        ),
        script(
            "a changed mind about a retry counts",
            vec![
                filled(plain(), usual(), 1),
                vec![Answer("p", (1, 1), Progress), Answer("p", (1, 1), Retry(13))],
                NOTHING,
                NOTHING,
                NOTHING,
                NOTHING,
                vec![Backlog("p")],
            ],
        ),
    ]
}

fn answering() -> Vec<Script> {
    let late = |name: &str, answer| {
        script(
            name,
            vec![
                filled(plain(), usual(), 1),
                NOTHING,
                NOTHING,
                vec![Answer("p", (1, 1), answer)],
                vec![Backlog("p")],
                NOTHING,
                vec![Backlog("p")],
            ],
        )
    };
    vec![
        late("a late acknowledgement of an earlier delivery counts", Acked),
        late("a late retry of an earlier delivery counts", Retry(2)),
        late("a late rejection of an earlier delivery counts", Reject),
        script(
            "progress starts the ack wait anew",
            vec![
                filled(plain(), usual(), 2),
                vec![Answer("p", (1, 1), Progress)],
                vec![Answer("p", (1, 1), Progress)],
                vec![Answer("p", (1, 1), Progress)],
                vec![Backlog("p")],
                NOTHING,
                NOTHING,
                vec![Backlog("p")],
            ],
        ),
        script(
            "progress does not call back what is due",
            vec![
                vec![Stream(plain()), Fill(1), Open("p", usual()), Allow("p", 1)],
                NOTHING,
                NOTHING,
                vec![Answer("p", (1, 1), Progress)],
                vec![Allow("p", 1)],
                vec![Backlog("p")],
            ],
        ),
        script(
            "an acknowledgement calls back what is due",
            vec![
                vec![Stream(plain()), Fill(1), Open("p", usual()), Allow("p", 1)],
                NOTHING,
                NOTHING,
                vec![Answer("p", (1, 1), Acked)],
                vec![Allow("p", 1), Backlog("p")],
            ],
        ),
        script(
            "a rejection is for ever",
            vec![
                filled(plain(), usual(), 2),
                vec![Answer("p", (1, 1), Reject)],
                NOTHING,
                NOTHING,
                vec![Backlog("p"), Stored],
            ],
        ),
        script(
            "an answer to what was given up changes nothing",
            vec![
                filled(plain(), Terms { max_deliver: 1, ..usual() }, 2),
                NOTHING,
                NOTHING,
                vec![Answer("p", (1, 1), Retry(0)), Answer("p", (2, 1), Progress)],
                vec![Backlog("p")],
                vec![Backlog("p")],
                NOTHING,
                vec![Backlog("p")],
            ],
        ),
        script(
            "what was never delivered cannot be acknowledged",
            vec![
                vec![Stream(plain()), Fill(3), Open("p", usual()), Allow("p", 1)],
                vec![AckUnseen("p", 3)],
                vec![Backlog("p")],
                vec![Allow("p", MANY)],
                vec![Backlog("p"), Stored],
            ],
        ),
        script(
            "a work queue keeps what was never delivered",
            vec![
                vec![
                    Stream(StreamTerms { retention: Retention::WorkQueue, ..plain() }),
                    Fill(3),
                    Open("p", usual()),
                    Allow("p", 1),
                ],
                vec![AckUnseen("p", 3)],
                vec![Backlog("p")],
                vec![Allow("p", MANY), Stored],
                vec![Backlog("p"), Stored],
            ],
        ),
        script(
            "a confirmed answer needs a consumer",
            vec![
                filled(plain(), Terms { ack: Ack::Confirmed, ..usual() }, 2),
                vec![Answer("p", (1, 1), Acked)],
                vec![Backlog("p")],
                vec![Close("p"), DeleteConsumer("p"), Answer("p", (2, 1), Acked)],
                NOTHING,
            ],
        ),
    ]
}

fn bounding() -> Vec<Script> {
    vec![
        script(
            "no more is pending than the consumer allows",
            vec![
                filled(plain(), Terms { max_in_flight: 2, ..usual() }, 5),
                vec![Backlog("p")],
                vec![Answer("p", (1, 1), Acked)],
                vec![Answer("p", (3, 1), Retry(5))],
                vec![Backlog("p")],
                NOTHING,
                vec![Backlog("p")],
            ],
        ),
        script(
            "no more comes than was allowed",
            vec![
                vec![Stream(plain()), Fill(5), Open("p", usual()), Allow("p", 2)],
                vec![Backlog("p"), Allow("p", 1)],
                vec![Backlog("p")],
            ],
        ),
        script(
            "what is given up makes room",
            vec![
                filled(plain(), Terms { max_in_flight: 1, max_deliver: 2, ..usual() }, 3),
                NOTHING,
                NOTHING,
                NOTHING,
                NOTHING,
                NOTHING,
                vec![Backlog("p")],
            ],
        ),
        script(
            "consumers know nothing of each other",
            vec![
                vec![
                    Stream(plain()),
                    Fill(3),
                    Open("p", usual()),
                    Allow("p", MANY),
                    Open("q", Terms { max_in_flight: 1, ..usual() }),
                    Allow("q", MANY),
                ],
                vec![
                    Answer("p", (1, 1), Acked),
                    Answer("p", (2, 1), Reject),
                    Answer("q", (1, 1), Retry(1)),
                ],
                vec![Backlog("p"), Backlog("q")],
            ],
        ),
        script(
            "a consumer reads its subjects only",
            vec![
                vec![
                    Stream(plain()),
                    Publish { id: "1", token: "a", bytes: 1 },
                    Publish { id: "2", token: "b", bytes: 1 },
                    Publish { id: "3", token: "c", bytes: 1 },
                    Open("p", Terms { tokens: &["a", "c"], ..usual() }),
                    Open("q", Terms { tokens: &["b"], ..usual() }),
                    Allow("p", MANY),
                    Allow("q", MANY),
                ],
                vec![Backlog("p"), Backlog("q")],
            ],
        ),
        script(
            "a consumer may begin with what is new",
            vec![
                vec![
                    Stream(plain()),
                    Fill(3),
                    Open("p", Terms { start: Start::New, ..usual() }),
                    Allow("p", MANY),
                    Backlog("p"),
                ],
                vec![Fill(2)],
                vec![Backlog("p")],
            ],
        ),
    ]
}

fn big(id: &'static str) -> Step {
    Publish { id, token: "a", bytes: 1_000 }
}

fn keeping() -> Vec<Script> {
    let full = |name: &str, terms: StreamTerms| {
        script(
            name,
            vec![
                vec![Stream(terms), big("a"), big("b"), big("c"), big("d"), big("b"), Stored],
                vec![Open("p", usual()), Allow("p", MANY)],
                vec![big("e")],
                vec![Backlog("p"), Stored],
            ],
        )
    };
    let by_number = || StreamTerms { max_messages: Some(3), ..plain() };
    let by_bytes = || StreamTerms { max_bytes: Some(3_500), ..plain() };
    let memory = |terms| StreamTerms { storage: Storage::Memory, ..terms };
    let new = |terms| StreamTerms { discard: Discard::New, ..terms };
    let mut scripts = vec![
        full("by number, the oldest go", by_number()),
        full("by number, the new are refused", new(by_number())),
        full("by bytes, the oldest go", by_bytes()),
        full("by bytes, the new are refused", new(by_bytes())),
        full("by bytes, in memory", memory(by_bytes())),
        full("by number, in memory, the new are refused", memory(new(by_number()))),
    ];
    scripts.extend(aging());
    scripts
}

fn aging() -> Vec<Script> {
    let kept = |retention| StreamTerms { retention, ..plain() };
    vec![
        script(
            "messages grow old",
            vec![
                vec![
                    Stream(StreamTerms { max_age: Some(14), window: 10, ..plain() }),
                    Fill(1),
                    Open("p", usual()),
                    Allow("p", 1),
                ],
                NOTHING,
                vec![Stored],
                NOTHING,
                NOTHING,
                NOTHING,
                // Servers look for old messages once a second or so.
                vec![Fill(1)],
                NOTHING,
                vec![Backlog("p"), Stored],
                vec![Allow("p", MANY)],
                NOTHING,
                NOTHING,
                NOTHING,
                NOTHING,
                NOTHING,
                vec![Backlog("p"), Stored],
            ],
        ),
        script(
            "a work queue loses what is settled and keeps what is given up",
            vec![
                filled(kept(Retention::WorkQueue), Terms { max_deliver: 2, ..usual() }, 4),
                vec![Answer("p", (1, 1), Acked), Answer("p", (2, 1), Reject)],
                vec![Stored],
                vec![Stored],
                NOTHING,
                NOTHING,
                vec![Backlog("p"), Stored],
                vec![Answer("p", (3, 1), Acked)],
                vec![Backlog("p"), Stored],
            ],
        ),
        script(
            "a message of a work queue has one consumer",
            vec![vec![
                Stream(kept(Retention::WorkQueue)),
                Open("p", Terms { tokens: &["a"], ..usual() }),
                Open("q", usual()),
                Open("r", Terms { tokens: &["b"], ..usual() }),
                Open("s", Terms { tokens: &["c"], start: Start::New, ..usual() }),
            ]],
        ),
        script(
            "interest keeps a message until all have settled it",
            vec![
                vec![Stream(kept(Retention::Interest)), put("nobody's"), Stored, put("nobody's")],
                vec![
                    Open("p", usual()),
                    Open("q", Terms { tokens: &["a"], ..usual() }),
                    put("a"),
                    Publish { id: "b", token: "b", bytes: 1 },
                    Allow("p", MANY),
                    Allow("q", MANY),
                ],
                vec![Answer("p", (2, 1), Acked)],
                vec![Stored],
                vec![Answer("p", (3, 1), Acked)],
                vec![Stored],
                vec![Answer("q", (2, 1), Reject)],
                vec![Stored, Backlog("p"), Backlog("q")],
            ],
        ),
    ]
}

fn managing() -> Vec<Script> {
    let mut scripts = vec![
        script(
            "what is purged is settled",
            vec![
                filled(plain(), Terms { max_in_flight: 2, ..usual() }, 3),
                vec![Purge, Backlog("p")],
                vec![Answer("p", (1, 1), Acked), Fill(3)],
                vec![Backlog("p"), Stored],
                NOTHING,
            ],
        ),
        script(
            "what is deleted is settled",
            vec![
                filled(plain(), Terms { max_in_flight: 2, ..usual() }, 4),
                vec![DeleteMessage(3)],
                vec![DeleteMessage(1)],
                vec![Backlog("p")],
                NOTHING,
                vec![Backlog("p"), Stored],
            ],
        ),
        script(
            "a stream made anew is read from its beginning",
            vec![
                filled(plain(), usual(), 3),
                vec![Answer("p", (1, 1), Acked), Close("p")],
                vec![Stream(plain()), Fill(2), Open("p", usual()), Allow("p", MANY)],
                vec![Backlog("p")],
            ],
        ),
        script(
            "a consumer made anew begins anew",
            vec![
                filled(plain(), usual(), 3),
                vec![Answer("p", (1, 1), Acked), Close("p"), DeleteConsumer("p")],
                vec![Backlog("p")],
                vec![Open("p", usual()), Allow("p", MANY)],
                vec![Backlog("p")],
            ],
        ),
        script(
            "another source goes on where the first was",
            vec![
                vec![Stream(plain()), Fill(4), Open("p", usual()), Allow("p", 2)],
                vec![Answer("p", (1, 1), Acked), Close("p")],
                vec![Open("p", usual()), Allow("p", MANY)],
                NOTHING,
                vec![Backlog("p")],
            ],
        ),
        script(
            "more may be pending after a change",
            vec![
                filled(plain(), Terms { max_in_flight: 1, ..usual() }, 4),
                vec![Backlog("p")],
                vec![Open("p", Terms { max_in_flight: 3, ..usual() }), Allow("p", MANY)],
                vec![Backlog("p")],
            ],
        ),
        script(
            "other subjects are read after a change",
            vec![
                vec![
                    Stream(plain()),
                    Publish { id: "1", token: "a", bytes: 1 },
                    Publish { id: "2", token: "b", bytes: 1 },
                    Open("p", Terms { tokens: &["a"], ..usual() }),
                    Allow("p", 1),
                ],
                vec![Backlog("p")],
                vec![Open("p", Terms { tokens: &["b"], ..usual() }), Allow("p", MANY)],
                vec![Publish { id: "3", token: "b", bytes: 1 }],
                vec![Backlog("p")],
            ],
        ),
        script(
            "a longer ack wait holds for what is pending",
            vec![
                vec![Stream(plain()), Fill(1), Open("p", usual()), Allow("p", 1)],
                vec![Open("p", Terms { ack_wait: 17, ..usual() }), Allow("p", MANY)],
                NOTHING,
                vec![Backlog("p")],
                NOTHING,
                vec![Backlog("p")],
            ],
        ),
    ];
    scripts.extend(pausing());
    scripts
}

fn pausing() -> Vec<Script> {
    let paused = |name: &str, groups| Script { since: (2, 11), ..script(name, groups) };
    vec![
        paused(
            "a paused consumer delivers nothing and takes answers",
            vec![
                vec![Stream(plain()), Fill(4), Open("p", usual()), Allow("p", 2)],
                vec![Pause("p", 100), Allow("p", MANY)],
                vec![Answer("p", (2, 1), Acked)],
                vec![Backlog("p")],
                NOTHING,
                vec![Backlog("p")],
                vec![Pause("p", 0), Fill(1)],
                vec![Backlog("p")],
            ],
        ),
        paused(
            "a resumed consumer goes on at once",
            vec![
                vec![
                    Stream(plain()),
                    Fill(1),
                    Open("p", usual()),
                    Pause("p", 100),
                    Allow("p", MANY),
                ],
                vec![Pause("p", 0)],
                vec![Backlog("p")],
            ],
        ),
        paused(
            "a pause ends by itself",
            vec![
                vec![Stream(plain()), Fill(2), Open("p", usual()), Pause("p", 6), Allow("p", MANY)],
                NOTHING,
                vec![Backlog("p")],
            ],
        ),
        paused(
            "a pause burns no attempts",
            vec![
                filled(plain(), usual(), 1),
                vec![Pause("p", 100)],
                NOTHING,
                NOTHING,
                NOTHING,
                NOTHING,
                NOTHING,
                NOTHING,
                vec![Pause("p", 0), Fill(1)],
                vec![Backlog("p")],
            ],
        ),
    ]
}
