//! Results as JUnit's XML, a suite for each file.

use std::{collections::BTreeMap, io, path::Path, time::Duration};

use pelton::cases::suite::{Done, Outcome, Status};
use quick_xml::{Writer, events::BytesText, writer::ElementWriter};

use super::text;

type Xml = Writer<Vec<u8>>;

/// Everything.
pub fn all(outcome: &Outcome) -> anyhow::Result<String> {
    let mut by_file: BTreeMap<&Path, Vec<&Done>> = BTreeMap::new();
    for done in &outcome.cases {
        by_file.entry(&done.file).or_default().push(done);
    }
    let all: Vec<&Done> = outcome.cases.iter().collect();
    let mut xml = Writer::new_with_indent(Vec::new(), b' ', 2);
    counted(xml.create_element("testsuites"), "pelton test", (&all, outcome.took))
        .write_inner_content(|xml| {
            by_file.iter().try_for_each(|(file, cases)| suite(xml, file, cases))
        })?;
    let body = String::from_utf8(xml.into_inner())?;
    Ok(format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{body}\n"))
}

fn suite(xml: &mut Xml, file: &Path, cases: &[&Done]) -> io::Result<()> {
    let took = cases.iter().map(|done| done.took).sum();
    counted(xml.create_element("testsuite"), &file.display().to_string(), (cases, took))
        .write_inner_content(|xml| cases.iter().try_for_each(|done| case(xml, done)))?;
    Ok(())
}

/// The attributes that `testsuites` and `testsuite` have in common.
fn counted<'a>(
    element: ElementWriter<'a, Vec<u8>>,
    name: &str,
    (cases, took): (&[&Done], Duration),
) -> ElementWriter<'a, Vec<u8>> {
    let count =
        |is: fn(&Status) -> bool| cases.iter().filter(|done| is(&done.status)).count().to_string();
    element
        .with_attribute(("name", legal(name).as_str()))
        .with_attribute(("tests", cases.len().to_string().as_str()))
        .with_attribute(("failures", count(|it| matches!(it, Status::Failed(_))).as_str()))
        .with_attribute(("skipped", count(|it| matches!(it, Status::Skipped(_))).as_str()))
        .with_attribute(("errors", "0"))
        .with_attribute(("time", seconds(took).as_str()))
}

fn case(xml: &mut Xml, done: &Done) -> io::Result<()> {
    let file = done.file.display().to_string();
    let element = xml
        .create_element("testcase")
        .with_attribute(("name", legal(&done.name).as_str()))
        .with_attribute(("classname", legal(&file).as_str()))
        .with_attribute(("file", legal(&file).as_str()))
        .with_attribute(("line", done.line.to_string().as_str()))
        .with_attribute(("time", seconds(done.took).as_str()));
    element.write_inner_content(|xml| {
        outcome(xml, done)?;
        if done.log.is_empty() {
            return Ok(());
        }
        let lines = done.log.iter();
        let lines = lines.map(|said| format!("{} {}: {}\n", said.level, said.plugin, said.text));
        let lines = legal(&lines.collect::<String>());
        xml.create_element("system-out").write_text_content(BytesText::new(&lines)).map(drop)
    })?;
    Ok(())
}

fn outcome(xml: &mut Xml, done: &Done) -> io::Result<()> {
    match &done.status {
        Status::Passed | Status::Updated(_) => Ok(()),
        Status::Skipped(reason) => {
            let element = xml.create_element("skipped");
            let element = match reason {
                Some(reason) => element.with_attribute(("message", legal(reason).as_str())),
                None => element,
            };
            element.write_empty().map(drop)
        }
        Status::Failed(complaints) => {
            let first = complaints.first().map(|complaint| complaint.what.as_str());
            let told = complaints.iter().map(|it| text::complaint_text(&done.file, it));
            let told: String = told.collect();
            let plain = anstream::adapter::strip_str(&told).to_string();
            let text = legal(&format!("{}:{}\n{plain}", done.file.display(), done.line));
            xml.create_element("failure")
                .with_attribute(("message", legal(first.unwrap_or("not as expected")).as_str()))
                .write_text_content(BytesText::new(&text))
                .map(drop)
        }
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.6}", time.as_secs_f64())
}

/// `text` without characters that XML cannot carry, not even escaped.
fn legal(text: &str) -> String {
    let is_legal = |c: &char| {
        matches!(c, '\t' | '\n' | '\r') || !(c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}'))
    };
    text.chars().filter(is_legal).collect()
}
