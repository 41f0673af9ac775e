//! Requests over core NATS: sent once, answered in time or not at all.

use std::{num::NonZero, time::Instant};

use async_nats::{Client, Message, RequestErrorKind, StatusCode, client};
use futures::StreamExt as _;
use tokio::time::timeout;

use super::{Broker, delivery::read_headers, publish::headers};
use crate::event::{Reply, Request, RequestError};

impl Broker {
    pub(super) async fn await_answers(
        &self,
        request: &Request,
    ) -> Result<Vec<Reply>, RequestError> {
        if !self.is_connected() {
            // The client would keep it, and send it when nobody waits any more.
            let detail = "nothing was asked".to_owned();
            return Err(RequestError::Connection(detail));
        }
        let since = Instant::now();
        let client = self.inner.client();
        let answers = async {
            match NonZero::new(request.replies.saturating_sub(1)) {
                None => one(&client, request).await,
                Some(_) => self.several(&client, request).await,
            }
        };
        tokio::select! {
            answers = answers => answers,
            denial = self.inner.connection.denied(&request.subject, since) => {
                Err(RequestError::Refused(denial))
            }
        }
    }

    /// Those that come in time, if any does.
    async fn several(
        &self,
        client: &Client,
        request: &Request,
    ) -> Result<Vec<Reply>, RequestError> {
        let inbox = client.new_inbox();
        let listening = self.listen(inbox.clone(), None).await;
        let mut answers = listening.map_err(|error| RequestError::Connection(error.problem))?;
        let (subject, payload) = (request.subject.clone(), request.payload.clone());
        let headers = headers(&request.headers).map_err(RequestError::Refused)?;
        let sent = client.publish_with_reply_and_headers(subject, inbox, headers, payload).await;
        sent.map_err(|error| RequestError::Refused(error.to_string()))?;
        let (mut replies, mut bytes) = (Vec::new(), 0);
        let gathered = timeout(request.timeout, async {
            while let Some(answer) = answers.next().await {
                if answer.status == Some(StatusCode::NO_RESPONDERS) {
                    return Err(RequestError::NoResponders);
                }
                let reply = reply(answer);
                bytes += reply.size();
                replies.push(within(reply, bytes, request)?);
                if replies.len() >= request.replies {
                    return Ok(());
                }
            }
            Err(RequestError::Connection("the client broke down".to_owned()))
        });
        match gathered.await {
            Ok(Ok(())) => Ok(replies),
            Ok(Err(error)) => Err(error),
            Err(_) if replies.is_empty() => Err(RequestError::TimedOut(request.timeout)),
            Err(_) => Ok(replies),
        }
    }
}

async fn one(client: &Client, request: &Request) -> Result<Vec<Reply>, RequestError> {
    let mut wish = client::Request::new().payload(request.payload.clone()).timeout(None);
    if !request.headers.is_empty() {
        wish = wish.headers(headers(&request.headers).map_err(RequestError::Refused)?);
    }
    let answer = client.send_request(request.subject.clone(), wish);
    match timeout(request.timeout, answer).await {
        Ok(Ok(answer)) => {
            let reply = reply(answer);
            let size = reply.size();
            Ok(vec![within(reply, size, request)?])
        }
        Ok(Err(error)) => Err(match error.kind() {
            RequestErrorKind::NoResponders => RequestError::NoResponders,
            RequestErrorKind::TimedOut => RequestError::TimedOut(request.timeout),
            RequestErrorKind::InvalidSubject | RequestErrorKind::MaxPayloadExceeded => {
                RequestError::Refused(error.to_string())
            }
            RequestErrorKind::Other => RequestError::Connection(error.to_string()),
        }),
        Err(_) => Err(RequestError::TimedOut(request.timeout)),
    }
}

/// The answer, if all so far are not larger than they may be.
fn within(reply: Reply, bytes: usize, request: &Request) -> Result<Reply, RequestError> {
    match bytes > request.reply_bytes {
        true => Err(RequestError::Refused(format!(
            "the answers are larger than the plugin's memory limit of {}",
            bytesize::ByteSize(request.reply_bytes as u64)
        ))),
        false => Ok(reply),
    }
}

fn reply(message: Message) -> Reply {
    Reply {
        subject: message.subject.to_string(),
        headers: message.headers.as_ref().map(read_headers).unwrap_or_default(),
        payload: message.payload,
        reply_to: message.reply.map(|reply| reply.to_string()),
    }
}
