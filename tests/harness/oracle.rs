//! What must hold when all is quiet, counted from the streams: nothing lost,
//! nothing twice, nothing that nobody asked for, everybody at rest.
//!
//! Events are those of the guest `split`: each has a number, and what it becomes
//! is a function of that number.

use std::{collections::BTreeSet, fmt, ops::Range};

use super::{Server, Stored};

/// What became of the events, in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    pub events: u64,
    /// Events all of whose outputs are there.
    pub done: u64,
    pub dead: u64,
    /// Outputs that should be there, and events in neither place.
    pub lost: u64,
    /// Messages beyond the first of one output or dead letter, and events that
    /// are in both places.
    pub duplicated: u64,
    /// Outputs and dead letters that no event explains.
    pub unexplained: u64,
    /// The first few of what is wrong.
    pub examples: Vec<String>,
}

/// Events with these numbers, each with so many outputs; some of them may end in
/// the dead letters.
pub struct Oracle {
    events: u64,
    fan: u64,
    /// How often each output was seen, by `event * fan + index`. One byte each,
    /// so that millions fit.
    outputs: Vec<u8>,
    dead: Vec<u8>,
    account: Account,
}

const EXAMPLES: usize = 10;

/// An event for the guest `split`.
fn event(number: u64, fan: u64, sleep_ms: u64) -> Vec<u8> {
    format!(r#"{{"id":{number},"outputs":{fan},"sleep-ms":{sleep_ms}}}"#).into_bytes()
}

/// Events for the guest `split`, on `in.x`.
pub fn events(numbers: Range<u64>, fan: u64) -> impl Iterator<Item = (String, Vec<u8>)> {
    numbers.map(move |number| ("in.x".to_owned(), event(number, fan, 2)))
}

impl Oracle {
    pub fn new(events: u64, fan: u64) -> Oracle {
        let size = |n: u64| usize::try_from(n).unwrap();
        Oracle {
            events,
            fan,
            outputs: vec![0; size(events * fan)],
            dead: vec![0; size(events)],
            account: Account { events, ..Account::default() },
        }
    }

    /// Sees one message of the output stream: `<event>.<index>`.
    pub fn output(&mut self, text: &str) {
        let parts = text.split_once('.');
        let place = parts.and_then(|(event, index)| {
            let (event, index) = (event.parse::<u64>().ok()?, index.parse::<u64>().ok()?);
            (event < self.events && index < self.fan).then_some(event * self.fan + index)
        });
        let place = place.and_then(|place| self.outputs.get_mut(usize::try_from(place).ok()?));
        match place {
            Some(count) => *count = count.saturating_add(1),
            None => self.unexplained(format!("output {text:?}")),
        }
    }

    /// Sees one dead letter, whose payload is the event.
    pub fn dead_letter(&mut self, payload: &[u8]) {
        let event: serde_json::Value = serde_json::from_slice(payload).unwrap_or_default();
        let place = event["id"].as_u64().and_then(|id| usize::try_from(id).ok());
        match place.and_then(|place| self.dead.get_mut(place)) {
            Some(count) => *count = count.saturating_add(1),
            None => {
                let text = String::from_utf8_lossy(payload).into_owned();
                self.unexplained(format!("dead letter {text:?}"));
            }
        }
    }

    /// The account, when everything was seen. `is_poison`: whether an event has to
    /// end in the dead letters, and no other may.
    pub fn account(mut self, is_poison: impl Fn(u64) -> bool) -> Account {
        let fan = usize::try_from(self.fan).unwrap();
        let (outputs, dead) = (std::mem::take(&mut self.outputs), std::mem::take(&mut self.dead));
        for (number, dead) in (0..self.events).zip(dead) {
            let start = usize::try_from(number).unwrap() * fan;
            let of_event = &outputs[start..start + fan];
            self.judge(number, of_event, dead, is_poison(number));
        }
        self.account
    }

    fn judge(&mut self, number: u64, outputs: &[u8], dead: u8, is_poison: bool) {
        let missing = outputs.iter().filter(|count| **count == 0).count() as u64;
        let beyond = outputs.iter().map(|count| u64::from(count.saturating_sub(1))).sum::<u64>();
        let is_done = missing == 0;
        self.account.done += u64::from(is_done && dead == 0);
        self.account.dead += u64::from(dead > 0);
        let has_any = outputs.iter().any(|count| *count > 0);
        let lost = match (dead > 0, is_poison) {
            (true, true) => 0,
            // In the dead letters without a reason: not handled, so lost.
            (true, false) => 1,
            (false, true) => 1,
            (false, false) => missing,
        };
        let duplicated =
            beyond + u64::from(dead.saturating_sub(1)) + u64::from(dead > 0 && has_any);
        self.account.lost += lost;
        self.account.duplicated += duplicated;
        if lost + duplicated > 0 {
            self.example(format!("event {number}: outputs {outputs:?}, dead letters {dead}"));
        }
    }

    fn unexplained(&mut self, what: String) {
        self.account.unexplained += 1;
        self.example(what);
    }

    fn example(&mut self, what: String) {
        if self.account.examples.len() < EXAMPLES {
            self.account.examples.push(what);
        }
    }
}

impl Account {
    /// Of `events` events with `fan` outputs each, from the streams `OUT` and
    /// `<host>_DEAD_LETTERS`, once the consumer is at rest.
    pub async fn of(server: &Server, events: u64, fan: u64) -> Account {
        server.settled("IN", "pelton-subject").await;
        Account::with_poison(server, (events, fan), |_| false).await
    }

    /// The same, where some events have to end in the dead letters.
    pub async fn with_poison(
        server: &Server,
        (events, fan): (u64, u64),
        is_poison: impl Fn(u64) -> bool,
    ) -> Account {
        let mut oracle = Oracle::new(events, fan);
        server.each_stored("OUT", |stored| oracle.output(&stored.text())).await;
        let dead = |stored: &Stored| oracle.dead_letter(&stored.payload);
        server.each_stored("pelton_DEAD_LETTERS", dead).await;
        oracle.account(is_poison)
    }

    /// Whether nothing is lost, twice or unexplained.
    pub fn is_right(&self) -> bool {
        self.lost == 0 && self.duplicated == 0 && self.unexplained == 0
    }

    /// Fails unless every event is done, once.
    pub fn assert_all_done(&self) {
        assert!(self.is_right() && self.done == self.events, "{self}");
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Account { events, done, dead, lost, duplicated, unexplained, examples } = self;
        write!(f, "in={events} done={done} dead-lettered={dead} lost={lost} ")?;
        write!(f, "duplicated={duplicated} unexplained={unexplained}")?;
        examples.iter().try_for_each(|example| write!(f, "\n  {example}"))
    }
}

#[test]
fn the_oracle_sees_what_is_wrong() {
    let right = |oracle: &mut Oracle| {
        for output in ["0.0", "0.1", "1.0", "1.1"] {
            oracle.output(output);
        }
    };
    let account = |change: &dyn Fn(&mut Oracle)| {
        let mut oracle = Oracle::new(3, 2);
        right(&mut oracle);
        oracle.dead_letter(br#"{"id":2}"#);
        change(&mut oracle);
        oracle.account(|number| number == 2)
    };
    assert!(account(&|_| {}).is_right());
    let wrongs: [&dyn Fn(&mut Oracle); 6] = [
        &|oracle| oracle.output("0.0"),
        &|oracle| oracle.output("2.0"),
        &|oracle| oracle.output("7.0"),
        &|oracle| oracle.output("nonsense"),
        &|oracle| oracle.dead_letter(br#"{"id":1}"#),
        &|oracle| oracle.outputs[1] = 0,
    ];
    let found: BTreeSet<usize> =
        (0..wrongs.len()).filter(|n| !account(wrongs[*n]).is_right()).collect();
    assert_eq!(found.len(), wrongs.len(), "{found:?}");
}
