//! An event as the rules see it: read-only, its JSON parsed when first asked for.
//!
//! Free of bindings.

use std::cell::OnceCell;

use serde_json::Value;

/// What rules and targets look at.
pub struct Message<'a> {
    /// The subject it was published to.
    pub subject: &'a str,
    headers: Vec<(&'a str, &'a str)>,
    payload: &'a [u8],
    json: OnceCell<Result<Value, String>>,
}

impl<'a> Message<'a> {
    pub fn new(subject: &'a str, headers: Vec<(&'a str, &'a str)>, payload: &'a [u8]) -> Self {
        Message { subject, headers, payload, json: OnceCell::new() }
    }

    /// The first header of that name, in any spelling of upper and lower case.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        let found = self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map(|(_, value)| *value)
    }

    /// The payload as JSON; an error says why it is none.
    pub fn json(&self) -> Result<&Value, String> {
        let parse = || {
            serde_json::from_slice(self.payload)
                .map_err(|error| format!("the payload is no JSON: {error}"))
        };
        self.json.get_or_init(parse).as_ref().map_err(Clone::clone)
    }
}
