//! What the guests of other contracts share: a script in the payload says what
//! they do, so that each contract needs one guest.
//!
//! One command a line:
//! `publish SUBJECT TEXT`, `flood N SUBJECT TEXT` (N times), `reply TEXT`,
//! `request SUBJECT MS TEXT` (the answer, or why there is none, is published to
//! `out.answer`), `count` (how many events this instance has seen, to
//! `out.count`), `echo` (the payload, to `out.echo`), `fail TEXT`, `trap`,
//! `spin`. A payload that is JSON is an event of the guest `split`.

use std::sync::atomic::{AtomicU32, Ordering};

/// What a contract can do.
pub trait Port {
    fn publish(&mut self, subject: &str, body: &[u8]) -> Result<(), String>;
    fn reply(&mut self, body: &[u8]) -> Result<(), String>;
    fn request(&mut self, subject: &str, millis: u32, body: &[u8]) -> Result<String, String>;
    /// A command of this contract alone; none: there is no such one.
    fn own(&mut self, _command: &str, _rest: &str) -> Option<Result<(), String>> {
        None
    }
}

static SEEN: AtomicU32 = AtomicU32::new(0);

/// Does what the payload says.
pub fn run(payload: &[u8], port: &mut impl Port) -> Result<(), String> {
    SEEN.fetch_add(1, Ordering::Relaxed);
    let text = std::str::from_utf8(payload).map_err(|error| error.to_string())?;
    if text.starts_with('{') {
        return split(text, port);
    }
    text.lines().try_for_each(|line| step(line, payload, port))
}

fn step(line: &str, payload: &[u8], port: &mut impl Port) -> Result<(), String> {
    let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
    let (first, text) = rest.split_once(' ').unwrap_or((rest, ""));
    match command {
        "publish" => port.publish(first, text.as_bytes()),
        "reply" => port.reply(rest.as_bytes()),
        "flood" => {
            let (subject, text) = text.split_once(' ').unwrap_or((text, ""));
            (0..number(first)).try_for_each(|_| port.publish(subject, text.as_bytes()))
        }
        "request" => {
            let (millis, body) = text.split_once(' ').unwrap_or((text, ""));
            let answer = port.request(first, number(millis), body.as_bytes());
            let answer = answer.unwrap_or_else(|error| format!("error: {error}"));
            port.publish("out.answer", answer.as_bytes())
        }
        "count" => port.publish("out.count", SEEN.load(Ordering::Relaxed).to_string().as_bytes()),
        "echo" => port.publish("out.echo", payload),
        "fail" => Err(rest.to_owned()),
        "trap" => panic!("as asked"),
        "spin" => loop {
            std::hint::spin_loop();
        },
        _ => port.own(command, rest).unwrap_or_else(|| Err(format!("what is {command:?}?"))),
    }
}

/// An event of the guest `split`: as many outputs, with the same texts.
fn split(event: &str, port: &mut impl Port) -> Result<(), String> {
    let field = |name: &str| {
        let (_, rest) = event.split_once(&format!("\"{name}\":")).unwrap_or(("", "0"));
        number(rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or("0"))
    };
    let id = field("id");
    (0..field("outputs"))
        .try_for_each(|index| port.publish("out.x", format!("{id}.{index}").as_bytes()))
}

fn number(text: &str) -> u32 {
    text.parse().unwrap_or(0)
}
