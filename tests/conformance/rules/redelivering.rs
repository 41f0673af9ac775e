//! What comes again, when, and in which order.

use super::*;

pub fn scripts() -> Vec<Script> {
    let groups = [timed_out(), retried()];
    groups.into_iter().flatten().collect()
}

fn timed_out() -> Vec<Script> {
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
    ]
}

fn retried() -> Vec<Script> {
    vec![
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
