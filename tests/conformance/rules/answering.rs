//! What an answer does, early, late or to nobody.

use super::*;

pub fn scripts() -> Vec<Script> {
    let groups = [late(), in_time(), in_vain()];
    groups.into_iter().flatten().collect()
}

fn late() -> Vec<Script> {
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
    ]
}

fn in_time() -> Vec<Script> {
    vec![
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
    ]
}

fn in_vain() -> Vec<Script> {
    vec![
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
