//! The JSON Schema and the reader are two descriptions of one shape: here they
//! are compared, key by key.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::*;

/// One key of the schema, with the way to it.
struct Key {
    table: Vec<String>,
    name: String,
    schema: Value,
}

/// A manifest in which every table that a user names is called `x`.
const EVERY_TABLE: &str = r#"
[streams.x]
subjects = ["x.>"]
[plugins.x]
component = "files/price"
subscribe = ["y"]
"#;

/// The schema without references.
fn resolve(root: &Value, schema: &Value) -> Value {
    let Some(reference) = schema["$ref"].as_str() else { return schema.clone() };
    let mut found = resolve(root, root.pointer(&reference[1..]).unwrap());
    let keys = schema.as_object().unwrap().clone();
    found.as_object_mut().unwrap().extend(keys.into_iter().filter(|(key, _)| key != "$ref"));
    found
}

/// All keys of all tables.
fn keys() -> Vec<Key> {
    let root = schema();
    let mut found = Vec::new();
    collect(&root, &root, &[], &mut found);
    found
}

fn collect(root: &Value, table: &Value, path: &[String], found: &mut Vec<Key>) {
    for (name, schema) in table["properties"].as_object().into_iter().flatten() {
        let schema = resolve(root, schema);
        let mut path = path.to_vec();
        found.push(Key { table: path.clone(), name: name.clone(), schema: schema.clone() });
        path.push(name.clone());
        let named = schema["patternProperties"].as_object().and_then(|map| map.values().next());
        match named {
            Some(table) => {
                path.push("x".to_owned());
                collect(root, &resolve(root, table), &path, found);
            }
            None => collect(root, &schema, &path, found),
        }
    }
}

/// The manifest with every table, and `value` at `key`.
fn with(key: &Key, value: &Value) -> String {
    let mut manifest: Value = toml::from_str(EVERY_TABLE).unwrap();
    let mut table = &mut manifest;
    for step in &key.table {
        table = table.as_object_mut().unwrap().entry(step).or_insert_with(|| json!({}));
    }
    table[&key.name] = value.clone();
    if key.name == "listen" || key.table.first().is_none_or(|table| table != "admin") {
        return toml::to_string(&manifest).unwrap();
    }
    manifest["admin"]["listen"] = json!("127.0.0.1:9464");
    toml::to_string(&manifest).unwrap()
}

fn is_table(schema: &Value) -> bool {
    schema["properties"].is_object() || schema["patternProperties"].is_object()
}

/// What the schema says against `value`; knows only what our schema uses.
fn complaint(root: &Value, schema: &Value, value: &Value) -> Option<String> {
    if schema == &json!(true) {
        return None;
    }
    if schema == &json!(false) {
        return Some(format!("{value} is not allowed"));
    }
    let schema = resolve(root, schema);
    let one_of = schema["anyOf"].as_array().or(schema["oneOf"].as_array());
    if let Some(choices) = one_of {
        let fits = choices.iter().any(|choice| complaint(root, choice, value).is_none());
        return (!fits).then(|| format!("{value} fits none of {choices:?}"));
    }
    wrong_value(&schema, value)
        .or_else(|| wrong_items(root, &schema, value))
        .or_else(|| wrong_keys(root, &schema, value))
}

fn wrong_value(schema: &Value, value: &Value) -> Option<String> {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let allowed = match &schema["type"] {
        Value::String(one) => one == kind,
        Value::Array(several) => several.contains(&json!(kind)),
        _ => true,
    };
    let number = value.as_f64().unwrap_or_default();
    let in_range = schema["minimum"].as_f64().is_none_or(|least| least <= number)
        && schema["maximum"].as_f64().is_none_or(|most| number <= most);
    let is_word = schema["enum"].as_array().is_none_or(|words| words.contains(value))
        && schema.get("const").is_none_or(|word| word == value);
    (!(allowed && in_range && is_word)).then(|| format!("{value} does not fit {schema}"))
}

fn wrong_items(root: &Value, schema: &Value, value: &Value) -> Option<String> {
    let items = value.as_array()?;
    if (items.len() as u64) < schema["minItems"].as_u64().unwrap_or_default() {
        return Some(format!("{value} is too short"));
    }
    items.iter().find_map(|item| complaint(root, schema.get("items")?, item))
}

fn wrong_keys(root: &Value, schema: &Value, value: &Value) -> Option<String> {
    let table: &Map<String, Value> = value.as_object()?;
    if (table.len() as u64) < schema["minProperties"].as_u64().unwrap_or_default() {
        return Some(format!("{value} is too small"));
    }
    if let Some(key) = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|key| !table.contains_key(key.as_str().unwrap()))
    {
        return Some(format!("{key} is missing in {value}"));
    }
    let named = schema["patternProperties"].as_object().and_then(|map| map.values().next());
    let other = named.or(schema.get("additionalProperties")).cloned().unwrap_or(json!(true));
    table.iter().find_map(|(key, value)| {
        let schema = schema["properties"].get(key).unwrap_or(&other);
        complaint(root, schema, value)
    })
}

fn verdict(text: &str) -> Option<String> {
    let root = schema();
    complaint(&root, &root, &toml::from_str(text).unwrap())
}

#[test]
fn it_accepts_what_the_reader_accepts() {
    let design = r#"
        [host]
        name = "orders"
        [nats]
        url = "nats://127.0.0.1:4222"
        [streams.ORDERS]
        subjects = ["orders.>"]
        [plugins.price]
        component = "files/price"
        stream = "ORDERS"
        subscribe = ["orders.created"]
        publish = ["orders.priced", "audit.>"]
        concurrency = 16
        timeout = "2s"
        memory = "64MiB"
        isolation = "event"
        [plugins.price.retry]
        attempts = 5
        backoff = { first = "500ms", max = "60s" }
        [plugins.price.config]
        currency = "EUR"
    "#;
    for text in [MINIMAL, FULL, design, EVERY_TABLE] {
        parse(text);
        assert_eq!(verdict(text), None);
    }
}

#[test]
fn it_refuses_what_the_reader_refuses() {
    let price = |line: &str| format!("{MINIMAL}{line}\n");
    let cases = [
        String::new(),
        "[plugins]".to_owned(),
        "[plugins.price]\ncomponent = \"files/price\"".to_owned(),
        price("concurency = 1"),
        price("concurrency = 0"),
        price("concurrency = 4097"),
        price("timeout = 5"),
        price("ack = \"maybe\""),
        price("isolation = \"pool\""),
        price("isolation = { reuse = 0 }"),
        price("isolation = { reuse = 1, event = true }"),
        price("[nats]\npassword = \"hunter2\""),
        price("[nats]\ntoken = { from-env = \"NATS_PASSWORD\", from-file = \"x\" }"),
        price("[admin]"),
        price("[streams.S]\nsubjects = []"),
    ];
    for text in cases {
        assert!(!kinds(&text).is_empty(), "the reader accepts {text}");
        assert!(verdict(&text).is_some(), "the schema accepts {text}");
    }
}

#[test]
fn it_has_the_keys_that_the_reader_asks_for() {
    let mut tables: BTreeMap<Vec<String>, BTreeSet<String>> = BTreeMap::new();
    for key in keys() {
        tables.entry(key.table).or_default().insert(key.name);
    }
    assert_eq!(tables.len(), 11, "{:?}", tables.keys());
    for (table, expected) in tables {
        let key = Key { table, name: "qqqqqqqqqq".to_owned(), schema: Value::Null };
        let problems = parse_bytes(with(&key, &json!(1)).as_bytes()).unwrap_err();
        let help = problems.iter().find(|p| p.kind() == "unknown-key").unwrap().remedy().unwrap();
        let (_, listed) = help.split_once("the keys here are: ").unwrap();
        let found: BTreeSet<_> = listed.split(", ").map(str::to_owned).collect();
        assert_eq!(found, expected, "{:?}", key.table);
    }
}

#[test]
fn it_has_no_null_because_toml_has_none() {
    assert!(!schema().to_string().contains("null"));
}

#[test]
fn it_knows_where_a_key_belongs() {
    let tables = super::super::schema::tables_with;
    assert_eq!(tables("attempts"), ["plugins.NAME.retry"]);
    assert_eq!(tables("max-age"), ["dead-letters", "streams.NAME"]);
    assert_eq!(tables("ca"), ["nats.tls"]);
    assert_eq!(tables("plugins"), [""; 0]);
}

#[test]
fn its_defaults_are_the_real_ones() {
    let mut n_defaults = 0;
    for key in keys() {
        let Some(default) = key.schema.get("default").filter(|default| !default.is_null()) else {
            continue;
        };
        n_defaults += 1;
        let mut base = EVERY_TABLE.to_owned();
        if key.table == ["plugins", "x"] && ["ack", "start"].contains(&key.name.as_str()) {
            // These need a stream.
            base.push_str("stream = \"ELSEWHERE\"\n");
        }
        if key.table == ["nats", "tls"] {
            // That the table is there says that TLS is wanted.
            base.push_str("[nats.tls]\n");
        }
        let line = format!("{} = {}\n", key.name, toml_text(default));
        let table = format!("[{}]\n", key.table.join("."));
        let text = match base.contains(&table) {
            true => base.replacen(&table, &format!("{table}{line}"), 1),
            false => format!("{base}{table}{line}"),
        };
        let (with, without) = (parse(&text), parse(&base));
        assert_eq!(everything(&with), everything(&without), "{line}");
    }
    assert!(n_defaults > 25, "{n_defaults}");
}

fn toml_text(value: &Value) -> String {
    toml::Value::try_from(value).unwrap().to_string()
}

fn everything(manifest: &Manifest) -> String {
    let Manifest { host, nats, admin, dead_letters, streams, plugins, .. } = manifest;
    format!("{host:?} {nats:?} {admin:?} {dead_letters:?} {streams:?} {plugins:?}")
}

#[test]
fn every_key_is_described_with_the_toml_that_sets_it() {
    for key in keys() {
        let description = key.schema["description"].as_str().unwrap_or_default();
        let path = [key.table.join("."), key.name.clone()].join(".");
        let line = format!("`{} = ", key.name);
        let table = format!("{}]\n", key.name);
        let named = format!("[{}.", key.name);
        let shown = [&line, &table, &named].iter().any(|text| description.contains(*text));
        assert!(shown, "{path}: {description}");
    }
}

#[test]
fn every_value_has_an_example_that_works() {
    // Files and variables of an example are not here, and a key may need another one.
    let beyond = ["file", "secret", "missing-key", "no-effect", "retry-budget"];
    for key in keys().iter().filter(|key| !is_table(&key.schema)) {
        let examples = key.schema["examples"].as_array().cloned().unwrap_or_default();
        assert!(!examples.is_empty() || key.name == "backoff", "{} has no example", key.name);
        for example in examples {
            if let Err(problems) = parse_bytes(with(key, &example).as_bytes()) {
                let other = problems.iter().find(|problem| !beyond.contains(&problem.kind()));
                assert!(other.is_none(), "{}", problems.render(Look::Plain));
            }
        }
    }
}
