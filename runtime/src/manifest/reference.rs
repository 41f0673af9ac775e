//! The reference of a manifest for people: the JSON Schema as Markdown.
//!
//! Says nothing that the schema does not say.

use serde_json::{Map, Value};

use super::schema::{resolve, schema};

/// Every table and every key, with defaults and examples, in Markdown.
pub fn reference() -> String {
    let root = schema();
    let mut pages = Pages { root: &root, text: String::new() };
    pages.tables("", &root);
    pages.text
}

struct Pages<'s> {
    root: &'s Value,
    text: String,
}

impl<'s> Pages<'s> {
    /// Describes the table `path` and all tables in it.
    fn tables(&mut self, path: &str, schema: &'s Value) {
        let Some(properties) = self.properties(schema) else { return };
        if !path.is_empty() {
            self.table(path, schema, properties);
        }
        for (key, property) in properties {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            if let Some(named) = named(property) {
                self.tables(&format!("{path}.NAME"), named);
            } else if let Some(table) = self.inner_table(property) {
                self.tables(&path, table);
            }
        }
    }

    fn table(&mut self, path: &str, schema: &'s Value, properties: &'s Map<String, Value>) {
        self.text.push_str(&format!("\n## `[{path}]`\n\n"));
        let description = one_line(resolve(self.root, schema));
        let description =
            description.strip_prefix(&format!("`[{}]`", path.replace("NAME", "<name>")));
        let description = description.map(|rest| rest.trim_start_matches([':', ';', ' ']));
        if let Some(description) = description.filter(|text| !text.is_empty()) {
            self.text.push_str(&format!("{}\n\n", capitalised(description)));
        }
        self.text.push_str("| key | default | |\n|---|---|---|\n");
        let needed = resolve(self.root, schema).get("required").and_then(Value::as_array);
        for (key, property) in properties {
            let is_needed = needed.is_some_and(|keys| keys.iter().any(|needed| needed == key));
            let link = self.inner_table(property).is_some();
            self.row(&format!("{path}.{key}"), property, is_needed, link);
        }
    }

    fn row(&mut self, path: &str, property: &'s Value, is_needed: bool, is_table: bool) {
        let key = path.rsplit('.').next().unwrap_or(path);
        let default = match property.get("default") {
            _ if is_needed => "needed".to_owned(),
            Some(Value::Object(map)) if map.is_empty() => String::new(),
            Some(default) => format!("`{default}`"),
            None => String::new(),
        };
        let mut text = one_line(property);
        text.push_str(&self.words(property));
        if let (Some(least), Some(most)) =
            (number(property, "minimum"), number(property, "maximum"))
        {
            text.push_str(&format!(" {least} to {most}."));
        }
        if is_table {
            text.push_str(&format!(" See [`[{path}]`](#{}).", anchor(path)));
        }
        self.text
            .push_str(&format!("| `{key}` | {default} | {} |\n", text.trim().replace('|', "\\|")));
    }

    /// The words that a value can be, each with its meaning.
    fn words(&self, property: &'s Value) -> String {
        let choices = resolve(self.root, property).get("oneOf").and_then(Value::as_array);
        let words = choices.into_iter().flatten().filter_map(|choice| {
            let word = choice.get("const")?;
            Some(format!(" `{word}`: {}", one_line(choice)))
        });
        words.collect()
    }

    /// The table that `property` may be: its schema, if it has keys of its own.
    fn inner_table(&self, property: &'s Value) -> Option<&'s Value> {
        let schema = resolve(self.root, property);
        if self.properties(schema).is_some() {
            return Some(schema);
        }
        let choices = schema.get("anyOf").and_then(Value::as_array)?;
        choices.iter().find(|choice| self.properties(choice).is_some())
    }

    fn properties(&self, schema: &'s Value) -> Option<&'s Map<String, Value>> {
        resolve(self.root, schema).get("properties").and_then(Value::as_object)
    }
}

/// The schema of tables with names of the user's choice.
fn named(property: &Value) -> Option<&Value> {
    property.get("patternProperties").and_then(Value::as_object)?.values().next()
}

/// A description without its block of TOML, on one line.
fn one_line(schema: &Value) -> String {
    let text = schema.get("description").and_then(Value::as_str).unwrap_or_default();
    let prose = text.split("\n\n```").next().unwrap_or_default();
    prose.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn number(property: &Value, bound: &str) -> Option<String> {
    let number = property.get(bound)?;
    match number.as_f64().filter(|number| number.fract() == 0.0) {
        Some(whole) => Some(format!("{whole:.0}")),
        None => Some(number.to_string()),
    }
}

fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_uppercase().collect::<String>());
    format!("{}{}", first.unwrap_or_default(), characters.as_str())
}

/// How GitHub and mdBook call the heading of the table `path`.
fn anchor(path: &str) -> String {
    path.chars().filter(|c| c.is_alphanumeric() || *c == '-').collect::<String>().to_lowercase()
}
