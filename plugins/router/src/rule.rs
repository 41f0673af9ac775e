//! One rule: conditions that all have to hold, and a target.
//!
//! Free of bindings. A value that is missing (or null) fulfils `exists = false`
//! and nothing else.

use regex_lite::Regex;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    message::Message,
    reference::{Found, Reference},
    target::Target,
};

#[cfg(test)]
mod tests;

/// A rule as written; unknown keys are errors.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct WrittenRule {
    name: Option<String>,
    #[serde(default)]
    when: Vec<WrittenCondition>,
    to: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct WrittenCondition {
    value: String,
    exists: Option<bool>,
    equals: Option<Value>,
    one_of: Option<Vec<Value>>,
    none_of: Option<Vec<Value>>,
    prefix: Option<String>,
    matches: Option<String>,
    less_than: Option<f64>,
    at_most: Option<f64>,
    at_least: Option<f64>,
    more_than: Option<f64>,
}

/// A rule, checked.
#[derive(Debug)]
pub struct Rule {
    /// As given, or the position in the list, from 1.
    pub name: String,
    /// Where the event goes when all conditions hold.
    pub target: Target,
    conditions: Vec<Condition>,
}

#[derive(Debug)]
struct Condition {
    reference: Reference,
    tests: Vec<Test>,
}

#[derive(Debug)]
enum Test {
    Exists(bool),
    OneOf(Vec<Value>),
    NoneOf(Vec<Value>),
    Prefix(String),
    Matches(Regex),
    LessThan(f64),
    AtMost(f64),
    AtLeast(f64),
    MoreThan(f64),
}

impl Rule {
    /// Checks the rule at this position, counted from 1; errors name the rule.
    pub fn check(written: WrittenRule, position: usize) -> Result<Rule, String> {
        let name = written.name.unwrap_or_else(|| position.to_string());
        let in_rule = |error| format!("rule `{name}`: {error}");
        let target = Target::parse(&written.to).map_err(in_rule)?;
        let conditions: Result<_, _> = written.when.into_iter().map(Condition::check).collect();
        Ok(Rule { conditions: conditions.map_err(in_rule)?, target, name })
    }

    /// Whether all conditions hold; they are tried in order up to the first that does not.
    pub fn holds(&self, message: &Message) -> Result<bool, String> {
        for condition in &self.conditions {
            if !condition.holds(message)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Condition {
    fn check(written: WrittenCondition) -> Result<Condition, String> {
        let reference = Reference::parse(&written.value)?;
        let tests = written.tests()?;
        if tests.is_empty() {
            return Err(format!(
                "the condition on {reference} tests nothing; add for example `exists = true`"
            ));
        }
        Ok(Condition { reference, tests })
    }

    fn holds(&self, message: &Message) -> Result<bool, String> {
        let found = self.reference.find(message)?;
        Ok(self.tests.iter().all(|test| match (&found, test) {
            (found, Test::Exists(wanted)) => found.is_some() == *wanted,
            (Some(found), test) => test.holds(found),
            (None, _) => false,
        }))
    }
}

impl WrittenCondition {
    fn tests(self) -> Result<Vec<Test>, String> {
        let regex = |text: String| {
            Regex::new(&text).map_err(|error| format!("`matches = \"{text}\"`: {error}"))
        };
        let tests = [
            self.exists.map(Test::Exists),
            self.equals.map(|value| Test::OneOf(vec![value])),
            self.one_of.map(Test::OneOf),
            self.none_of.map(Test::NoneOf),
            self.prefix.map(Test::Prefix),
            self.matches.map(regex).transpose()?.map(Test::Matches),
            self.less_than.map(Test::LessThan),
            self.at_most.map(Test::AtMost),
            self.at_least.map(Test::AtLeast),
            self.more_than.map(Test::MoreThan),
        ];
        Ok(tests.into_iter().flatten().collect())
    }
}

impl Test {
    fn holds(&self, found: &Found) -> bool {
        let number = |test: &dyn Fn(f64) -> bool| found.number().is_some_and(test);
        let text = |test: &dyn Fn(&str) -> bool| found.text().is_some_and(|text| test(&text));
        match self {
            Test::Exists(wanted) => *wanted,
            Test::OneOf(values) => values.iter().any(|value| equal(found, value)),
            Test::NoneOf(values) => !values.iter().any(|value| equal(found, value)),
            Test::Prefix(prefix) => text(&|text| text.starts_with(prefix)),
            Test::Matches(regex) => text(&|text| regex.is_match(text)),
            Test::LessThan(limit) => number(&|number| number < *limit),
            Test::AtMost(limit) => number(&|number| number <= *limit),
            Test::AtLeast(limit) => number(&|number| number >= *limit),
            Test::MoreThan(limit) => number(&|number| number > *limit),
        }
    }
}

/// Text from outside of JSON equals a number or a boolean that is written the same.
fn equal(found: &Found, value: &Value) -> bool {
    match (found, value) {
        (Found::Json(found), value) if *found == value => true,
        (Found::Text(text), Value::String(value)) => text == value,
        (Found::Text(text), Value::Bool(value)) => *text == value.to_string(),
        // Long integers that differ may be the same as floating-point numbers.
        (Found::Json(Value::Number(found)), Value::Number(value))
            if !found.is_f64() && !value.is_f64() =>
        {
            false
        }
        // 5 equals 5.0, which are different for the JSON library.
        (found, Value::Number(value)) => {
            found.number().is_some() && found.number() == value.as_f64()
        }
        _ => false,
    }
}
