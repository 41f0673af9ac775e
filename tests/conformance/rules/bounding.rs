//! How much comes, and of what.

use super::*;

pub fn scripts() -> Vec<Script> {
    let groups = [by_number(), by_consumer()];
    groups.into_iter().flatten().collect()
}

fn by_number() -> Vec<Script> {
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
    ]
}

fn by_consumer() -> Vec<Script> {
    vec![
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
