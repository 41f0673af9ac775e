//! What is purged, deleted, made anew, changed or paused under a source.

use super::*;

pub fn scripts() -> Vec<Script> {
    let groups = [removed(), made_anew(), changed(), pausing()];
    groups.into_iter().flatten().collect()
}

fn removed() -> Vec<Script> {
    vec![
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
    ]
}

fn made_anew() -> Vec<Script> {
    vec![
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
    ]
}

fn changed() -> Vec<Script> {
    vec![
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
    ]
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
