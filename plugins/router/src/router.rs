//! All rules together, and what happens to an event that none of them wants.
//!
//! Free of bindings: the configuration comes through a function.

use crate::{
    message::Message,
    rule::{Rule, WrittenRule},
    target::{Target, fill},
};

#[cfg(test)]
mod tests;

/// A checked configuration.
#[derive(Debug)]
pub struct Router {
    rules: Vec<Rule>,
    mode: Mode,
    default: Target,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Mode {
    First,
    All,
}

/// What becomes of an event that is not rejected.
#[derive(Debug, PartialEq)]
pub enum Route {
    /// It is published nowhere.
    Drop,
    /// It is published to each of these, which are different from each other.
    Publish(Vec<String>),
}

impl Router {
    /// Reads the configuration; an error names the key or the rule.
    pub fn parse(config: impl Fn(&str) -> Option<String>) -> Result<Router, String> {
        let text = config("rules")
            .ok_or("`rules` is missing: a list of rules, such as [{ to = \"a.subject\" }]")?;
        let written: Vec<WrittenRule> =
            serde_json::from_str(&text).map_err(|error| explain(&text, &error))?;
        let rules =
            written.into_iter().zip(1..).map(|(rule, position)| Rule::check(rule, position));
        let mode = match config("match").as_deref() {
            None | Some("first") => Mode::First,
            Some("all") => Mode::All,
            Some(other) => {
                return Err(format!("`match` is `{other}`, and may be `first` or `all`"));
            }
        };
        let default = config("default").map_or(Ok(Target::Reject), |text| Target::parse(&text));
        let default = default.map_err(|error| format!("`default`: {error}"))?;
        Ok(Router { rules: rules.collect::<Result<_, _>>()?, mode, default })
    }

    /// Where an event goes; an error is the reason to reject it.
    pub fn route(&self, message: &Message) -> Result<Route, String> {
        let mut subjects = Vec::new();
        let mut matched = false;
        for rule in &self.rules {
            let in_rule = |error| format!("rule `{}`: {error}", rule.name);
            if !rule.holds(message).map_err(in_rule)? {
                continue;
            }
            matched = true;
            send(&rule.target, message, &mut subjects).map_err(in_rule)?;
            if self.mode == Mode::First {
                break;
            }
        }
        if !matched {
            send(&self.default, message, &mut subjects)
                .map_err(|error| format!("no rule matches: {error}"))?;
        }
        Ok(if subjects.is_empty() { Route::Drop } else { Route::Publish(subjects) })
    }
}

fn send(target: &Target, message: &Message, subjects: &mut Vec<String>) -> Result<(), String> {
    match target {
        Target::Drop => Ok(()),
        Target::Reject => Err("the configuration says to reject".to_owned()),
        Target::Subject(parts) => {
            let subject = fill(parts, message)?;
            if !subjects.contains(&subject) {
                subjects.push(subject);
            }
            Ok(())
        }
    }
}

/// A position in JSON that the user never wrote helps nobody: say which rule it is.
fn explain(text: &str, error: &serde_json::Error) -> String {
    let each: Vec<serde_json::Value> = match serde_json::from_str(text) {
        Ok(each) => each,
        Err(_) => return format!("`rules` is no list of rules: {error}"),
    };
    let faults = each.into_iter().zip(1..).filter_map(|(rule, position)| {
        let name = rule
            .get("name")
            .and_then(|name| name.as_str())
            .map_or(position.to_string(), str::to_owned);
        serde_json::from_value::<WrittenRule>(rule)
            .err()
            .map(|error| format!("rule `{name}`: {error}"))
    });
    faults.collect::<Vec<_>>().join("; ")
}
