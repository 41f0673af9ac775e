//! What `pelton dev` prints of a run: the event, and what the handler made of it.

use std::{borrow::Cow, time::Duration};

use anstyle::{AnsiColor, Style};
use pelton::{
    dispatch::OutputError,
    event::{Event, Output},
    host::Seen,
    plugin::CallError,
};

const PLUGIN: Style = AnsiColor::Cyan.on_default().bold();
const SUBJECT: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const FAILED: Style = AnsiColor::Red.on_default().bold();
const LATER: Style = AnsiColor::Yellow.on_default().bold();

/// As much of a payload as fits two lines, in characters.
const PREVIEW: usize = 160;
/// As much of an error, with its backtrace.
const ERROR: usize = 4_000;

/// One run, on some lines.
pub fn run(seen: &Seen<'_>) -> String {
    let Seen { plugin, event, outcome, refusal, took } = seen;
    let attempt = match event.attempt {
        1 => String::new(),
        n => format!(" {DIM}attempt {n}{DIM:#}"),
    };
    let took = duration(*took);
    let subject = plain(&event.subject);
    format!(
        "{SUBJECT}{subject}{SUBJECT:#} → {PLUGIN}{plugin}{PLUGIN:#}{attempt} {DIM}{took}{DIM:#}\n\
         {DIM}  in   {}{DIM:#}\n{}",
        payload(&event.payload),
        match (outcome, refusal) {
            (Ok(outputs), None) => made(event, outputs),
            (Ok(outputs), Some(refusal)) => refused(outputs, refusal),
            (Err(error), _) => failed(error),
        }
    )
}

fn made(event: &Event, outputs: &[Output]) -> String {
    if outputs.is_empty() {
        return format!("  {DIM}out  nothing{DIM:#}\n");
    }
    let line = |output: &Output| {
        let is_reply = event.reply_to.as_ref() == Some(&output.subject);
        let subject: Cow<'_, str> =
            if is_reply { "(reply)".into() } else { plain(&output.subject) };
        format!("  out  {SUBJECT}{subject}{SUBJECT:#} {}\n", payload(&output.payload))
    };
    outputs.iter().map(line).collect()
}

/// The output that breaks a rule, why, and those that are not published either.
fn refused(outputs: &[Output], refusal: &OutputError) -> String {
    let OutputError { index, subject, problem } = refusal;
    let mut text = format!(
        "  {FAILED}fail{FAILED:#} refused: {SUBJECT}{}{SUBJECT:#} {}\n       {}\n",
        plain(subject),
        outputs.get(*index).map(|output| payload(&output.payload)).unwrap_or_default(),
        plain(&problem.to_string()),
    );
    let others = outputs.iter().enumerate().filter(|(at, _)| at != index);
    for (_, output) in others {
        let (subject, payload) = (plain(&output.subject), payload(&output.payload));
        text += &format!("       not published with it: {subject} {payload}\n");
    }
    text
}

fn failed(error: &CallError) -> String {
    let style = match error {
        CallError::Retry { .. } => LATER,
        _ => FAILED,
    };
    let text = match error {
        CallError::Trap { reason, backtrace: Some(backtrace) } => {
            format!("the handler trapped: {reason}\n{backtrace}")
        }
        CallError::Stack { backtrace: Some(backtrace) } => format!("{error}\n{backtrace}"),
        error => error.to_string(),
    };
    let text: String = text.chars().take(ERROR).collect();
    let mut lines = text.lines();
    let first = plain(lines.next().unwrap_or_default()).into_owned();
    let rest = lines.map(|line| format!("       {}\n", plain(line))).collect::<String>();
    format!("  {style}fail{style:#} {first}\n{rest}")
}

/// A payload on one line: text as it is, anything else by its size.
fn payload(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "(empty)".to_owned();
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return format!("({} bytes that are no text)", bytes.len());
    };
    let mut preview: String = text.chars().take(PREVIEW).collect();
    if preview.len() < text.len() {
        preview.push_str(&format!("… ({} bytes)", text.len()));
    }
    plain(&preview).into_owned()
}

/// Text that does nothing to a terminal.
fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return text.into();
    }
    let escape = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    text.chars().map(escape).collect::<String>().into()
}

fn duration(took: Duration) -> String {
    match took.as_micros() {
        micros @ ..1_000 => format!("{micros} µs"),
        micros @ 1_000..10_000 => format!("{}.{} ms", micros / 1_000, micros % 1_000 / 100),
        micros @ 10_000..1_000_000 => format!("{} ms", micros / 1_000),
        _ => format!("{:.1} s", took.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use pelton::{
        dispatch::{Publishing, Rule},
        event::RunId,
        subject::Pattern,
    };

    use super::*;

    fn event(payload: &'static [u8]) -> Event {
        Event {
            id: "1".to_owned(),
            subject: "orders.created".to_owned(),
            headers: Vec::new(),
            payload: payload.into(),
            reply_to: None,
            time_ms: 0,
            attempt: 1,
            position: None,
            replay: None,
        }
    }

    fn shown(event: &Event, outcome: Result<&[Output], &CallError>) -> String {
        run_with(event, outcome, None)
    }

    fn run_with(
        event: &Event,
        outcome: Result<&[Output], &CallError>,
        refusal: Option<&OutputError>,
    ) -> String {
        let took = Duration::from_micros(1_340);
        let seen = Seen { plugin: "price", event, outcome, refusal, took };
        anstream::adapter::strip_str(&run(&seen)).to_string()
    }

    #[test]
    fn outputs_stand_below_their_event() {
        let outputs = [Output {
            subject: "orders.priced".to_owned(),
            headers: Vec::new(),
            payload: b"{\"total\":12}".as_slice().into(),
        }];
        assert_eq!(
            shown(&event(b"{\"id\":1}"), Ok(&outputs)),
            "orders.created → price 1.3 ms\n  in   {\"id\":1}\n  out  orders.priced {\"total\":12}\n"
        );
        assert!(shown(&event(b""), Ok(&[])).ends_with("  in   (empty)\n  out  nothing\n"));
    }

    #[test]
    fn refused_outputs_are_not_shown_as_outputs() {
        let (event, to) = (event(b""), Pattern::parse("orders.priced").unwrap());
        let output = |subject: &str| Output {
            subject: subject.to_owned(),
            headers: Vec::new(),
            payload: b"{}".as_slice().into(),
        };
        let outputs = [output("orders.priced"), output("elsewhere")];
        let allowed = vec![(to, Rule::Core)];
        let publishing = Publishing { allowed, stored: Vec::new(), max_message: 1 << 20 };
        let run = RunId::new("e", "h", "price", "");
        let refusal = publishing.messages(&event, outputs.to_vec(), &run, &str::to_owned);
        let shown = run_with(&event, Ok(&outputs), refusal.err().as_ref());
        assert!(
            shown.ends_with(
                "  in   (empty)\n  fail refused: elsewhere {}\n       the plugin may not publish there; \
                 the manifest's `publish` allows: orders.priced\n       \
                 not published with it: orders.priced {}\n"
            ),
            "{shown}"
        );
    }

    #[test]
    fn what_a_payload_says_does_nothing_to_the_terminal() {
        let shown = shown(&event(b"\x1b[2J\n"), Ok(&[]));
        assert!(shown.contains("  in   \\u{1b}[2J\\n\n"), "{shown}");
        assert_eq!(payload(&[0xff, 0xfe]), "(2 bytes that are no text)");
        assert!(payload("é".repeat(500).as_bytes()).ends_with("é… (1000 bytes)"));
    }

    #[test]
    fn a_trap_shows_where() {
        let error = CallError::Trap {
            reason: "unreachable".to_owned(),
            backtrace: Some("0: price::handle (src/lib.rs:12:5)\n1: other".to_owned()),
        };
        let shown = shown(&event(b"x"), Err(&error));
        assert!(
            shown.ends_with(
                "  fail the handler trapped: unreachable\n       0: price::handle (src/lib.rs:12:5)\n       1: other\n"
            ),
            "{shown}"
        );
    }
}
