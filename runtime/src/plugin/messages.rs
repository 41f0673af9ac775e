//! What a guest sends while it runs, and the messages it holds meanwhile.
//!
//! Nothing of it leaves before the run has ended well, but for requests, which
//! leave at once as far as they are granted. Everything has a limit, and is
//! counted while it grows.

use std::time::Duration;

use bytes::Bytes;
use tracing::Level;
use wasmtime::{
    Error, Result,
    component::{Resource, ResourceTable},
};

use super::{
    Requests,
    journal::excerpt,
    state::{HANDLES, State},
};
use crate::event::{
    Event, Header, Output,
    request::{MAX_REPLIES, Reply, Request, RequestError},
};

/// The most entries that a guest may add to a message's metadata.
const METADATA: usize = 1_024;

/// What an entry or a message costs the host beside its bytes.
const OVERHEAD: usize = 128;

/// Handles that a guest may hold after a run and be used again: guests with a
/// garbage collector give theirs back late.
const KEPT_HANDLES: usize = 64;

/// The name of the header that says what the bytes are.
const CONTENT_TYPE: &str = "Content-Type";

/// What one run may send.
#[derive(Debug, Clone)]
pub(super) struct SendLimits {
    pub(super) outputs: usize,
    pub(super) output_bytes: u64,
    pub(super) requests: u32,
    /// The longest wait for an answer: that of the whole run.
    pub(super) timeout: Duration,
    /// The most bytes of answers to one request.
    pub(super) reply_bytes: usize,
}

/// What the guest of one store sends and holds.
pub struct Messages {
    limits: SendLimits,
    outbox: Vec<Output>,
    outbox_bytes: u64,
    requests: Requests,
    n_requests: u32,
    table: ResourceTable,
    n_held: usize,
}

/// The run has sent more than it may.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct OverLimit(pub(super) String);

/// A connection, as `wasi:messaging` sees it. There is one broker, so its name
/// says nothing.
#[derive(Debug)]
pub struct Client {
    pub(super) is_connected: bool,
}

/// A message that a guest holds.
#[derive(Debug, Default)]
pub struct Message {
    /// Where it came in; none, if the guest made it.
    pub(super) topic: Option<String>,
    pub(super) data: Bytes,
    /// All headers, that of the content type among them.
    pub(super) headers: Vec<Header>,
    /// Where its sender waits for an answer.
    pub(super) reply_to: Option<String>,
}

/// How a guest wants to ask.
#[derive(Debug, Default)]
pub struct RequestOptions {
    pub(super) timeout: Option<Duration>,
    pub(super) replies: Option<u32>,
}

impl Messages {
    pub(super) fn new(limits: SendLimits) -> Messages {
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES);
        Messages {
            limits,
            outbox: Vec::new(),
            outbox_bytes: 0,
            requests: Requests::none(),
            n_requests: 0,
            table,
            n_held: 0,
        }
    }

    /// Begins a run that may ask by `requests`.
    pub(super) fn begin(&mut self, requests: Requests) {
        self.outbox.clear();
        self.outbox_bytes = 0;
        self.requests = requests;
        self.n_requests = 0;
    }

    /// What was sent, in order; afterwards nothing was.
    pub(super) fn take(&mut self) -> Vec<Output> {
        self.outbox_bytes = 0;
        self.requests = Requests::none();
        std::mem::take(&mut self.outbox)
    }

    /// Whether the guest has given back what it held.
    pub(super) fn is_tidy(&self) -> bool {
        self.n_held <= KEPT_HANDLES
    }

    /// Keeps an output until the run has ended.
    ///
    /// # Errors
    /// If the run sends more than it may: it has to end.
    pub(super) fn send(&mut self, output: Output) -> Result<()> {
        let SendLimits { outputs, output_bytes, .. } = self.limits;
        if self.outbox.len() >= outputs {
            return Err(over(format!("more than the {outputs} outputs that are allowed")));
        }
        let bytes = self.outbox_bytes.saturating_add(output.size());
        if bytes > output_bytes {
            let most = bytesize::ByteSize(output_bytes);
            return Err(over(format!("more than the {most} of outputs that are allowed")));
        }
        self.outbox_bytes = bytes;
        self.outbox.push(output);
        Ok(())
    }

    /// One more request of this run.
    fn count_request(&mut self) -> std::result::Result<(), RequestError> {
        if self.n_requests >= self.limits.requests {
            let most = self.limits.requests;
            return Err(RequestError::Refused(format!(
                "a run may ask {most} times; raise `limits.requests`"
            )));
        }
        self.n_requests += 1;
        Ok(())
    }
}

impl State {
    /// Asks others, and waits for the answer. What the manifest is in the way of
    /// is said in the log.
    pub(super) async fn ask(
        &mut self,
        (subject, headers, payload): (String, Vec<Header>, Bytes),
        options: RequestOptions,
    ) -> std::result::Result<Vec<Reply>, RequestError> {
        let SendLimits { timeout, reply_bytes, .. } = self.messages.limits;
        let wanted = usize::try_from(options.replies.unwrap_or(1)).unwrap_or(MAX_REPLIES);
        let request = Request {
            subject,
            headers,
            payload,
            timeout: options.timeout.unwrap_or(timeout).min(timeout),
            replies: wanted.clamp(1, MAX_REPLIES),
            reply_bytes,
        };
        let subject = excerpt(&request.subject, 100);
        let answer = match self.messages.count_request() {
            Ok(()) => self.messages.requests.send(request).await,
            Err(error) => Err(error),
        };
        if let Err(error @ (RequestError::NotGranted(_) | RequestError::Refused(_))) = &answer {
            self.journal.line(Level::WARN, &format!("request to `{subject}` {error}"));
        }
        answer
    }

    /// Gives the guest a message. Its bytes count as memory of the guest.
    pub(super) fn hold_message(&mut self, message: Message) -> Result<Resource<Message>> {
        self.memory.take(message.size())?;
        self.hold(message)
    }

    pub(super) fn hold<T: Send + 'static>(&mut self, held: T) -> Result<Resource<T>> {
        let handle = self.messages.table.push(held)?;
        self.messages.n_held += 1;
        Ok(handle)
    }

    pub(super) fn held<T: Send + 'static>(&mut self, handle: &Resource<T>) -> Result<&mut T> {
        Ok(self.messages.table.get_mut(handle)?)
    }

    /// Takes back what the guest held.
    pub(super) fn release<T: Send + 'static>(&mut self, handle: Resource<T>) -> Result<T> {
        let held = self.messages.table.delete(handle)?;
        self.messages.n_held = self.messages.n_held.saturating_sub(1);
        Ok(held)
    }

    /// Takes back a message, and its bytes.
    pub(super) fn release_message(&mut self, handle: Resource<Message>) -> Result<Message> {
        let message = self.release(handle)?;
        self.memory.give_back(message.size());
        Ok(message)
    }

    /// Changes a message that the guest holds.
    pub(super) fn change_message(
        &mut self,
        handle: &Resource<Message>,
        change: impl FnOnce(&mut Message),
    ) -> Result<()> {
        let message = self.held(handle)?;
        let before = message.size();
        change(message);
        let (after, n_headers) = (message.size(), message.headers.len());
        self.memory.give_back(before);
        self.memory.take(after)?;
        match n_headers {
            n if n > METADATA && after > before => {
                Err(over(format!("more than {METADATA} entries of metadata in one message")))
            }
            _ => Ok(()),
        }
    }
}

impl Message {
    /// The event as such a message: without id, time, attempt and position,
    /// which it has no place for.
    pub(super) fn of_event(event: &Event) -> Message {
        Message {
            topic: Some(event.subject.clone()),
            data: event.payload.clone(),
            headers: event.headers.clone(),
            reply_to: event.reply_to.clone(),
        }
    }

    pub(super) fn of_reply(reply: Reply) -> Message {
        Message {
            topic: Some(reply.subject),
            data: reply.payload,
            headers: reply.headers,
            reply_to: reply.reply_to,
        }
    }

    /// As an output to `subject`.
    pub(super) fn to(self, subject: String) -> Output {
        Output { subject, headers: self.headers, payload: self.data }
    }

    pub(super) fn content_type(&self) -> Option<&str> {
        self.headers.iter().find(|it| is_content_type(&it.name)).map(|it| it.value.as_str())
    }

    pub(super) fn set_content_type(&mut self, value: String) {
        self.headers.retain(|it| !is_content_type(&it.name));
        self.headers.insert(0, Header { name: CONTENT_TYPE.to_owned(), value });
    }

    /// All headers but the content type, which has functions of its own.
    pub(super) fn metadata(&self) -> Vec<(String, String)> {
        let others = self.headers.iter().filter(|it| !is_content_type(&it.name));
        others.map(|it| (it.name.clone(), it.value.clone())).collect()
    }

    /// In the place of all headers but the content type.
    pub(super) fn set_metadata(&mut self, metadata: Vec<(String, String)>) {
        self.headers.retain(|it| is_content_type(&it.name));
        self.headers.extend(metadata.into_iter().map(|(name, value)| Header { name, value }));
    }

    /// In the place of any value that the key has.
    pub(super) fn add_metadata(&mut self, name: String, value: String) {
        self.remove_metadata(&name);
        self.headers.push(Header { name, value });
    }

    pub(super) fn remove_metadata(&mut self, name: &str) {
        self.headers.retain(|it| it.name != name);
    }

    /// What it costs to hold, in bytes.
    fn size(&self) -> usize {
        let headers = self.headers.iter().map(|it| it.name.len() + it.value.len() + OVERHEAD);
        let topic = self.topic.as_ref().map_or(0, String::len);
        self.data.len() + topic + headers.sum::<usize>() + OVERHEAD
    }
}

fn is_content_type(name: &str) -> bool {
    name.eq_ignore_ascii_case(CONTENT_TYPE)
}

fn over(text: String) -> Error {
    Error::new(OverLimit(text))
}
