//! Outputs as they are kept in files, to be compared with those of later runs.

use std::path::{Path, PathBuf};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{Complaint, Pending, Stored, Verdict, content};
use crate::{
    cases::{compare::differences::Difference, happened::Put},
    event::Header,
};

/// The most lines of a new snapshot that are shown.
const MOST_LINES: usize = 30;

/// What to do about a snapshot that is not as it should be.
pub(super) const HINT: &str = "if it is right now, `pelton test --update` writes it";

/// The same of a case with which more is wrong: nothing is written for it.
pub(super) const LATER: &str =
    "once the rest of the case is as it should be, `pelton test --update` writes it";

/// Compares all outputs that no other plugin takes up with those in `file`.
pub(super) fn outputs(file: &Path, came: &[Put], stored: Stored<'_>, verdict: &mut Verdict) {
    let bytes = of(came);
    let complaint = match stored(file) {
        Some(before) => match content::same(&before, &bytes) {
            differences if differences.is_empty() => return,
            differences => Complaint::new("the outputs are not as in the snapshot")
                .with(of_outputs(differences)),
        },
        None => {
            missing(file).with(vec![Difference { place: "outputs".to_owned(), ..shown(&bytes) }])
        }
    };
    let pending = Pending { file: file.to_owned(), bytes, complaint: complaint.hint(HINT) };
    verdict.snapshots.push(pending);
}

/// A snapshot of all outputs that no other plugin takes up.
pub fn of(came: &[Put]) -> Bytes {
    let leaving = came.iter().filter(|put| !put.taken_up).map(output);
    pretty(&Value::Array(leaving.collect()))
}

/// The complaint about a snapshot that is not there.
pub(super) fn missing(file: &Path) -> Complaint {
    Complaint::new(format!("there is no snapshot `{}` yet", file.display()))
}

/// The first lines of what would be written.
pub(super) fn shown(bytes: &[u8]) -> Difference {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().take(MOST_LINES).collect();
    let more = text.lines().count().saturating_sub(MOST_LINES);
    let dots = if more > 0 { format!("\n… {more} more lines") } else { String::new() };
    Difference::came("payload", &format!("{}{dots}", lines.join("\n")))
}

/// The list is one of outputs, not a payload.
fn of_outputs(mut differences: Vec<Difference>) -> Vec<Difference> {
    for difference in &mut differences {
        difference.place = difference.place.replacen("payload ", "", 1);
    }
    differences
}

/// A payload as a snapshot keeps it: JSON laid out, all else as it is.
pub(super) fn payload(payload: &[u8]) -> Bytes {
    match laid_out(payload) {
        Some(value) => pretty(&value),
        None => Bytes::copy_from_slice(payload),
    }
}

fn output(put: &Put) -> Value {
    let mut fields = Map::new();
    fields.insert("subject".to_owned(), json!(put.subject));
    if !put.headers.is_empty() {
        fields.insert("headers".to_owned(), pairs(&put.headers));
    }
    let (key, value) = match (laid_out(&put.payload), str::from_utf8(&put.payload)) {
        (Some(value), _) => ("payload", value),
        (None, Ok(text)) => ("payload_text", json!(text)),
        (None, Err(_)) => ("payload_base64", json!(BASE64_STANDARD.encode(&put.payload))),
    };
    fields.insert(key.to_owned(), value);
    Value::Object(fields)
}

/// Only what has parts is laid out: `1e3` and `"x"` are kept as they were sent.
fn laid_out(payload: &[u8]) -> Option<Value> {
    let value = serde_json::from_slice::<Value>(payload).ok()?;
    Some(value).filter(|value| value.is_object() || value.is_array())
}

fn pairs(headers: &[Header]) -> Value {
    headers.iter().map(|header| json!([header.name, header.value])).collect()
}

fn pretty(value: &Value) -> Bytes {
    Bytes::from(format!("{value:#}\n"))
}

/// Writes a snapshot, whole or not at all.
///
/// # Errors
/// If the folder or the file cannot be written.
pub fn write(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.map_or_else(|| PathBuf::from("."), Path::to_owned);
    std::fs::create_dir_all(&folder)?;
    let mut new = tempfile::NamedTempFile::new_in(folder)?;
    std::io::Write::write_all(&mut new, bytes)?;
    new.persist(file).map_err(|error| error.error)?;
    Ok(())
}
