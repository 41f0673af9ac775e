//! What goes in, and whether the right things came out.

use anyhow::{Context as _, ensure};
use async_nats::HeaderMap;
use bytes::Bytes;
use serde_json::{Value, json};

/// An event: a JSON object of three fields, about 200 bytes.
pub fn payload(id: usize) -> Bytes {
    let note = "a parcel for the neighbour on the second floor, who is at home from nine to \
                five, rings twice and signs for everything but never for himself";
    json!({ "id": id, "customer": format!("customer-{:06}", id % 9_973), "note": note })
        .to_string()
        .into()
}

/// The headers of every event.
pub fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("Content-Type", "application/json");
    headers.insert("Request-Id", "0199a2b4-6c1e-7d30-8f55-3b1c2d4e5f60");
    headers
}

/// The id of the event of which `output` was made.
pub fn id(output: &[u8]) -> anyhow::Result<usize> {
    let output: Value = serde_json::from_slice(output).context("an output is not JSON")?;
    let fields = output.as_object().context("an output is no object")?;
    let as_made = fields.len() == 4 && fields.get("enriched") == Some(&Value::Bool(true));
    ensure!(as_made, "an output is not an enriched event: {output}");
    let id = fields.get("id").and_then(Value::as_u64).context("an output has no id")?;
    Ok(usize::try_from(id)?)
}

/// Checks that there is one output for each of `n` events.
pub fn check_all(outputs: &[Bytes], n: usize) -> anyhow::Result<()> {
    let mut seen = vec![false; n];
    for output in outputs {
        let id = id(output)?;
        let seen = seen.get_mut(id).with_context(|| format!("no event has the id {id}"))?;
        ensure!(!std::mem::replace(seen, true), "two outputs for the event {id}");
    }
    let missing = seen.iter().filter(|seen| !**seen).count();
    ensure!(missing == 0, "{missing} of {n} events have no output");
    Ok(())
}
