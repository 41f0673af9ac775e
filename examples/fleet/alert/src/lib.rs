//! Tells people about reports that carry a high risk.

use exports::pelton::events::handler::{Event, Failure, Guest, Output};
use pelton::events::{config, log};
use serde::Deserialize;
use serde_json::json;

wit_bindgen::generate!({ path: "../../../wit", world: "plugin" });

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Report {
    tracker: String,
    number: u64,
    time: u64,
    lat: f64,
    lon: f64,
    speed: f64,
    risk: u8,
    reasons: Vec<String>,
    depot: String,
    km_to_depot: f64,
    vehicle: Vehicle,
}

#[derive(Deserialize)]
struct Vehicle {
    plate: String,
    driver: String,
}

struct Alert;

impl Guest for Alert {
    fn handle(event: Event) -> Result<Vec<Output>, Failure> {
        let report: Report = serde_json::from_slice(&event.payload)
            .map_err(|error| Failure::Reject(format!("not a scored report: {error}")))?;
        let (Some(kind), true) = (report.reasons.first(), report.risk >= least_risk()?) else {
            return Ok(Vec::new());
        };
        log::write(log::Level::Warn, &format!("{kind}: {}", report.vehicle.plate));
        let subject = format!("alerts.fleet.{kind}");
        let payload = alert(&event.id, kind, &report);
        Ok(vec![Output { subject, headers: event.headers, payload }])
    }
}

/// What the people on duty read. The id of the event makes a second delivery to
/// whatever is behind this recognisable.
fn alert(id: &str, kind: &str, report: &Report) -> Vec<u8> {
    let Vehicle { plate, driver } = &report.vehicle;
    let text = format!(
        "{plate} ({driver}): {} at {:.0} km/h, {:.1} km from {}",
        report.reasons.join(", "),
        report.speed,
        report.km_to_depot,
        report.depot
    );
    let map = format!("https://www.openstreetmap.org/?mlat={}&mlon={}", report.lat, report.lon);
    let alert = json!({
        "id": id, "kind": kind, "risk": report.risk, "text": text, "map": map,
        "tracker": report.tracker, "number": report.number, "time": report.time,
    });
    alert.to_string().into_bytes()
}

fn least_risk() -> Result<u8, Failure> {
    let risk = config::get("risk").and_then(|text| text.parse().ok());
    risk.ok_or_else(|| Failure::Retry("the config has no `risk` from 0 to 100".to_owned()))
}

export!(Alert);
