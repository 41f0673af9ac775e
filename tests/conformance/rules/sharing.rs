//! Two clients of one consumer: who gets what, and what goes from one to the
//! other when it is not answered. `p'` is the second client of the consumer `p`.

use super::*;

pub fn scripts() -> Vec<Script> {
    let groups = [taken_over(), late(), in_common(), gone()];
    groups.into_iter().flatten().collect()
}

/// The first client has two messages; the second has come with credit.
fn handed_to_the_first(terms: Terms, stream: StreamTerms) -> Vec<Vec<Step>> {
    vec![
        vec![Stream(stream), Fill(2), Open("p", terms.clone()), Allow("p", 2)],
        vec![Open("p'", terms), Allow("p'", MANY)],
    ]
}

fn taken_over() -> Vec<Script> {
    let work_queue = StreamTerms { retention: Retention::WorkQueue, ..plain() };
    let taken_over = |name: &str, stream: StreamTerms, then: Vec<Vec<Step>>| {
        let mut groups = handed_to_the_first(usual(), stream);
        groups.extend(then);
        script(name, groups)
    };
    vec![
        taken_over(
            "what one client does not answer goes to another",
            plain(),
            vec![
                vec![Answer("p", (1, 1), Acked)],
                NOTHING,
                vec![Answer("p'", (2, 2), Acked)],
                vec![Backlog("p"), Stored],
                NOTHING,
                vec![Backlog("p")],
            ],
        ),
        taken_over(
            "what one client does not answer goes to another: a work queue",
            work_queue,
            vec![
                vec![Answer("p", (1, 1), Acked)],
                vec![Stored],
                vec![Answer("p'", (2, 2), Acked)],
                vec![Backlog("p"), Stored],
            ],
        ),
        taken_over(
            "what one client works on stays with it, and then goes to another",
            plain(),
            vec![
                vec![Answer("p", (1, 1), Progress), Answer("p", (2, 1), Acked)],
                vec![Answer("p", (1, 1), Progress)],
                vec![Answer("p", (1, 1), Progress)],
                NOTHING,
                NOTHING,
                vec![Backlog("p")],
                vec![Answer("p'", (1, 2), Acked)],
                vec![Backlog("p")],
            ],
        ),
        taken_over(
            "what one client gives back goes to another at once",
            plain(),
            vec![
                vec![Answer("p", (1, 1), Retry(0))],
                vec![Answer("p'", (1, 2), Acked), Answer("p", (2, 1), Retry(5))],
                NOTHING,
                vec![Answer("p'", (2, 2), Acked)],
                vec![Backlog("p")],
            ],
        ),
    ]
}

/// The first client answers when the second has the message.
fn late() -> Vec<Script> {
    let late = |name: &str, answer| {
        let then = vec![
            vec![Answer("p", (1, 1), Acked)],
            NOTHING,
            // The second client has had it for some time.
            vec![Answer("p", (2, 1), answer)],
            vec![Backlog("p"), Stored],
            NOTHING,
            vec![Answer("p'", (2, 2), Acked)],
            vec![Backlog("p"), Stored],
        ];
        let mut groups = handed_to_the_first(usual(), plain());
        groups.extend(then);
        script(name, groups)
    };
    vec![
        late("an acknowledgement counts after another client has the message", Acked),
        late("a retry counts after another client has the message", Retry(2)),
        late("a rejection counts after another client has the message", Reject),
        late("progress counts after another client has the message", Progress),
    ]
}

fn in_common() -> Vec<Script> {
    let one = Terms { max_in_flight: 1, ..usual() };
    vec![
        script(
            "what may be pending is counted over all clients",
            vec![
                vec![Stream(plain()), Fill(3), Open("p", one.clone()), Allow("p", 1)],
                vec![Open("p'", one), Allow("p'", MANY)],
                vec![Answer("p", (1, 1), Acked)],
                vec![Answer("p'", (2, 1), Acked)],
                vec![Backlog("p")],
            ],
        ),
        script(
            "who asked first gets first",
            vec![
                vec![Stream(plain()), Open("p", usual()), Allow("p", 1)],
                vec![Open("p'", usual()), Allow("p'", 1)],
                vec![put("a")],
                vec![put("b")],
                vec![put("c"), Backlog("p")],
                vec![Allow("p'", 1)],
                vec![Allow("p", 1), put("d")],
                vec![Backlog("p")],
            ],
        ),
        script(
            "deliveries are counted over all clients",
            vec![
                vec![
                    Stream(plain()),
                    Fill(1),
                    Open("p", Terms { max_deliver: 2, ..usual() }),
                    Allow("p", 1),
                ],
                vec![Open("p'", Terms { max_deliver: 2, ..usual() }), Allow("p'", MANY)],
                vec![Answer("p", (1, 1), Retry(0))],
                vec![Answer("p'", (1, 2), Retry(0))],
                vec![Backlog("p")],
                vec![Allow("p", MANY)],
                vec![Backlog("p")],
            ],
        ),
    ]
}

fn gone() -> Vec<Script> {
    vec![
        script(
            "what a client asked for is forgotten when it goes",
            vec![
                vec![Stream(plain()), Open("p", usual()), Allow("p", MANY)],
                vec![Close("p")],
                vec![Open("p'", usual()), Allow("p'", MANY)],
                vec![Fill(3)],
                vec![Backlog("p")],
            ],
        ),
        script(
            "what a client has when it goes, comes to another after the ack wait",
            vec![
                vec![Stream(plain()), Fill(3), Open("p", usual()), Allow("p", 2)],
                vec![Close("p")],
                vec![Open("p'", usual()), Allow("p'", MANY)],
                NOTHING,
                vec![Answer("p", (1, 1), Acked), Answer("p'", (2, 2), Acked)],
                vec![Backlog("p")],
            ],
        ),
    ]
}
