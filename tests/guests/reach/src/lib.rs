//! Does with its environment and its folders what the payload says, a list of
//! `[verb, argument, …]`, and publishes the list of what came of it.

use std::{env, fs};

use guest::{Event, Failure, Guest, Handled, Output, log};
use serde_json::{Value, json};

struct Reach;

impl Guest for Reach {
    fn handle(event: Event) -> Handled {
        let commands: Vec<Vec<String>> = serde_json::from_slice(&event.payload).unwrap();
        let mut results = Vec::new();
        for command in commands {
            let words: Vec<&str> = command.iter().map(String::as_str).collect();
            match *words {
                ["reject", name] => return Err(Failure::Reject(format!("with {}", variable(name)))),
                ["retry", name] => return Err(Failure::Retry(format!("with {}", variable(name)))),
                ["panic", name] => panic!("with {}", variable(name)),
                ["publish", name] => return publish(&variable(name)),
                _ => results.push(done(&words)),
            }
        }
        guest::answer(&event, Value::from(results).to_string())
    }
}

fn publish(subject: &str) -> Handled {
    Ok(vec![Output { subject: subject.to_owned(), headers: Vec::new(), payload: Vec::new() }])
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_default()
}

fn done(command: &[&str]) -> Value {
    match *command {
        ["env"] => env::vars().map(|(name, value)| json!([name, value])).collect(),
        ["print", name] => print(&variable(name)),
        ["read", path] => answer(fs::read_to_string(path)),
        ["write", path, text] => answer(fs::write(path, text).map(|()| "written".to_owned())),
        ["remove", path] => answer(fs::remove_file(path).map(|()| "removed".to_owned())),
        ["list", path] => answer(fs::read_dir(path).map(names)),
        _ => json!("unknown"),
    }
}

/// Wherever a guest can print; one line is longer than the host takes in one.
fn print(value: &str) -> Value {
    log::write(log::Level::Info, &format!("logged {value}"));
    println!("printed {value}");
    println!("{}{value}", "x".repeat(8185));
    eprint!("warned {value}");
    json!("printed")
}

fn names(folder: fs::ReadDir) -> String {
    let mut names: Vec<_> =
        folder.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names.join(" ")
}

fn answer(result: std::io::Result<String>) -> Value {
    match result {
        Ok(text) => json!(text),
        Err(_) => json!(null),
    }
}

guest::export!(Reach);
