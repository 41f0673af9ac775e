//! What a component for wasmCloud sends with: `wasmcloud:messaging/consumer`.
//!
//! A message there has no headers, and one that is published into a stream has
//! no `reply-to`: what is lost is in the README.

use std::time::Duration;

use tracing::Level;
use wasmtime::Result;

use super::{
    bindings::wasmcloud::wasmcloud::messaging::{consumer, types},
    messages::RequestOptions,
    state::State,
};
use crate::event::{Output, Reply, RequestError};

impl types::Host for State {}

impl consumer::Host for State {
    async fn request(
        &mut self,
        subject: String,
        body: Vec<u8>,
        timeout_ms: u32,
    ) -> Result<std::result::Result<types::BrokerMessageResult, String>> {
        let timeout = Some(Duration::from_millis(timeout_ms.into()));
        let options = RequestOptions { timeout, replies: Some(1) };
        let answer = self.ask((subject, Vec::new(), body.into()), options).await;
        Ok(answer.and_then(first).map_err(|error| error.to_string()))
    }

    fn publish(
        &mut self,
        message: types::BrokerMessageResult,
    ) -> Result<std::result::Result<(), String>> {
        let types::BrokerMessageResult { subject, body, reply_to } = message;
        if reply_to.is_some() {
            let text = format!("published to `{subject}` without its reply-to: an output has none");
            self.journal.line(Level::WARN, &text);
        }
        self.messages.send(Output { subject, headers: Vec::new(), payload: body.into() })?;
        Ok(Ok(()))
    }
}

fn first(replies: Vec<Reply>) -> std::result::Result<types::BrokerMessageResult, RequestError> {
    let reply = replies.into_iter().next().ok_or(RequestError::NoResponders)?;
    Ok(types::BrokerMessageResult {
        subject: reply.subject,
        body: reply.payload.into(),
        reply_to: reply.reply_to,
    })
}
