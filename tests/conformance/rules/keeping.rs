//! What a stream keeps: limits, age, retention.

use super::*;

fn big(id: &'static str) -> Step {
    Publish { id, token: "a", bytes: 1_000 }
}

pub fn scripts() -> Vec<Script> {
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
    scripts.extend(by_interest());
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
    ]
}

fn by_interest() -> Vec<Script> {
    let kept = |retention| StreamTerms { retention, ..plain() };
    vec![
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
