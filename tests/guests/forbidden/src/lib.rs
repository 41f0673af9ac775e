//! Publishes to the subject that the payload names, after a proper output: none
//! of the two may appear if the second is not allowed.

use guest::{Event, Guest, Handled, Output, answer};

struct Forbidden;

impl Guest for Forbidden {
    fn handle(event: Event) -> Handled {
        let mut outputs = answer(&event, "proper")?;
        let subject = String::from_utf8_lossy(&event.payload).into_owned();
        outputs.push(Output { subject, headers: Vec::new(), payload: b"forbidden".to_vec() });
        Ok(outputs)
    }
}

guest::export!(Forbidden);
