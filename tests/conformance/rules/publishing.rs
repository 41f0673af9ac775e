//! Ids, windows, sizes: what becomes of a publish.

use super::*;

pub fn scripts() -> Vec<Script> {
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
