//! The configuration, and what it makes of one event.
//!
//! Free of bindings: the configuration comes through a function.

use jaq_json::{Map, Num, Val};

use crate::{
    json,
    program::{Expressions, Program},
};

#[cfg(test)]
mod tests;

/// A checked configuration.
pub struct Pipeline {
    program: Program,
    maps: bool,
    on_error: OnError,
}

/// What becomes of an event that the expressions cannot handle.
#[derive(Clone, Copy)]
enum OnError {
    Reject,
    Drop,
}

/// An event.
pub struct Message<'a> {
    pub id: &'a str,
    pub subject: &'a str,
    pub headers: Vec<(&'a str, &'a str)>,
    /// In milliseconds since 1970-01-01T00:00:00Z.
    pub time: u64,
    pub attempt: u32,
    pub payload: &'a [u8],
}

/// What is to be published, with the headers of the event.
#[derive(Debug, PartialEq)]
pub struct Publication {
    pub subject: String,
    /// None: the event's own, byte for byte.
    pub payload: Option<Vec<u8>>,
}

impl Pipeline {
    /// Reads the configuration; an error names the key.
    pub fn parse(config: impl Fn(&str) -> Option<String>) -> Result<Pipeline, String> {
        let subject = config("subject")
            .ok_or("`subject` is missing: where results go, such as \"alerts.\\(.country)\"")?;
        let (filter, map) = (config("filter"), config("map"));
        if filter.is_none() && map.is_none() {
            return Err("`filter` and `map` are both missing: there is nothing to do".to_owned());
        }
        let on_error = match config("on-error").as_deref() {
            None | Some("reject") => OnError::Reject,
            Some("drop") => OnError::Drop,
            Some(other) => {
                return Err(format!("`on-error` is `{other}`, and may be `reject` or `drop`"));
            }
        };
        let maps = map.is_some();
        let program = Program::compile(&Expressions { filter, map, subject })?;
        Ok(Pipeline { program, maps, on_error })
    }

    /// What to publish; an error is the reason to reject the event.
    pub fn run(&self, message: &Message) -> Result<Vec<Publication>, String> {
        match (self.results(message), self.on_error) {
            (Err(_), OnError::Drop) => Ok(Vec::new()),
            (results, _) => results,
        }
    }

    fn results(&self, message: &Message) -> Result<Vec<Publication>, String> {
        let results = self.program.run(json::read(message.payload)?, message.to_value())?;
        results.iter().map(|result| self.publication(result)).collect()
    }

    fn publication(&self, result: &Val) -> Result<Publication, String> {
        let Val::Arr(pair) = result else { return Err("the program gave no pair".to_owned()) };
        let [value, Val::TStr(subject)] = pair.as_slice() else {
            return Err("`subject` is no text".to_owned());
        };
        let subject =
            String::from_utf8(subject.to_vec()).map_err(|error| format!("`subject`: {error}"))?;
        let payload = self.maps.then(|| json::write(value)).transpose()?;
        Ok(Publication { subject, payload })
    }
}

impl Message<'_> {
    /// `$event`: names of headers in lower case, the first of each name.
    fn to_value(&self) -> Val {
        let mut headers = Map::default();
        for (name, value) in &self.headers {
            headers.entry(text(&name.to_lowercase())).or_insert_with(|| text(value));
        }
        let number = |number: u64| Val::Num(Num::from_integral(number));
        let entries = [
            ("id", text(self.id)),
            ("subject", text(self.subject)),
            ("headers", Val::obj(headers)),
            ("time", number(self.time)),
            ("attempt", number(self.attempt.into())),
        ];
        Val::obj(entries.into_iter().map(|(key, value)| (text(key), value)).collect())
    }
}

fn text(text: &str) -> Val {
    Val::from(text.to_owned())
}
