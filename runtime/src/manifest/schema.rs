//! The JSON Schema of a manifest: for editors, and to tell where a misplaced
//! key belongs.

use schemars::{
    Schema,
    transform::{RecursiveTransform, Transform as _},
};
use serde_json::Value;

use super::raw::Document;

/// The JSON Schema, draft 2020-12.
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(Document);
    RecursiveTransform(without_null).transform(&mut schema);
    schema.to_value()
}

/// What may be absent is `null` in JSON; TOML has no such thing.
fn without_null(schema: &mut Schema) {
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            schema.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(choices)) = schema.get_mut("anyOf") {
        choices.retain(|choice| choice.get("type").is_none_or(|name| name != "null"));
        if let [Value::Object(only)] = choices.as_slice() {
            let only = only.clone();
            schema.remove("anyOf");
            for (key, value) in only {
                schema.insert(key, value);
            }
        }
    }
    if let Some(Value::Array(words)) = schema.get_mut("enum") {
        words.retain(|word| !word.is_null());
    }
}

/// The tables that have a key `key`, as they are written: `plugins.NAME.retry`.
pub fn tables_with(key: &str) -> Vec<String> {
    let mut found = Vec::new();
    let root = schema();
    search(&root, &root, "", &mut |table, properties| {
        if properties.contains_key(key) && !table.is_empty() {
            found.push(table.to_owned());
        }
    });
    found
}

/// Calls `visit` with the path and the keys of `schema` and of all tables in it.
fn search(
    root: &Value,
    schema: &Value,
    path: &str,
    visit: &mut impl FnMut(&str, &serde_json::Map<String, Value>),
) {
    let schema = resolve(root, schema);
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        visit(path, properties);
        for (key, schema) in properties {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            search(root, schema, &path, visit);
        }
    }
    let named = schema.get("patternProperties").and_then(Value::as_object);
    for schema in named.into_iter().flat_map(|named| named.values()) {
        search(root, schema, &format!("{path}.NAME"), visit);
    }
}

/// What `schema` refers to, or itself.
pub(super) fn resolve<'s>(root: &'s Value, schema: &'s Value) -> &'s Value {
    schema
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|reference| root.pointer(reference.trim_start_matches('#')))
        .unwrap_or(schema)
}
