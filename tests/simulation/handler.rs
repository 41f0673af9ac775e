//! A handler that does what its event says.

use std::{
    panic::resume_unwind,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use pelton::{
    event::{Event, Output},
    plugin::{CallError, Handler},
};
use tokio::time::{Instant, sleep};

/// Counts its runs. Clones count together.
#[derive(Clone, Default)]
pub struct Obedient {
    runs: Arc<AtomicUsize>,
}

impl Obedient {
    pub fn runs(&self) -> usize {
        self.runs.load(Ordering::Relaxed)
    }
}

impl Handler for Obedient {
    async fn handle(&self, event: &Event) -> Result<Vec<Output>, CallError> {
        self.runs.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(subject = event.subject, id = event.id, attempt = event.attempt, at = ?Instant::now(), "run");
        let text = String::from_utf8_lossy(&event.payload).into_owned();
        let mut words = text.split(' ');
        match (words.next(), words.next().and_then(|word| word.parse::<u64>().ok())) {
            (Some("panic"), _) if event.attempt == 1 => resume_unwind(Box::new("asked to")),
            (Some("sleep"), Some(seconds)) => sleep(Duration::from_secs(seconds)).await,
            (Some("fail"), Some(n)) if u64::from(event.attempt) <= n => {
                return Err(CallError::Retry { reason: text, after: None });
            }
            (Some("reject"), _) => return Err(CallError::Reject { reason: text }),
            _ => {}
        }
        Ok((0..2).map(|index| output(index, event)).collect())
    }
}

/// `out.<index>.<key>`, with the event's place in the stream.
fn output(index: usize, event: &Event) -> Output {
    let sequence = event.position.as_ref().map_or(0, |position| position.sequence);
    let key = event.subject.rsplit('.').next().unwrap_or_default();
    Output {
        subject: format!("out.{index}.{key}"),
        headers: Vec::new(),
        payload: sequence.to_string().into(),
    }
}
