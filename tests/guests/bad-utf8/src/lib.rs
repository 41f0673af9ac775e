//! Returns a subject that is no UTF-8 on the payload `bad-utf8`, against the
//! canonical ABI; echoes anything else.

use guest::{Event, Guest, Handled, Output, echo};

struct BadUtf8;

impl Guest for BadUtf8 {
    fn handle(event: Event) -> Handled {
        if event.payload != b"bad-utf8" {
            return echo(event);
        }
        // SAFETY: there is none, and that is the test: the host must not believe
        // a guest. Nothing here reads the string as text.
        let subject = unsafe { String::from_utf8_unchecked(b"out.\xff\xfe".to_vec()) };
        Ok(vec![Output { subject, headers: Vec::new(), payload: Vec::new() }])
    }
}

guest::export!(BadUtf8);
