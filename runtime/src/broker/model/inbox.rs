//! Requests in the model: who asks waits on an inbox of its own.

use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout_at},
};

use super::{Broker, server::Server, wire::Deed};
use crate::{
    broker::{Keep, Message},
    event::{Reply, Request, RequestError},
};

/// What comes into an inbox: an answer, or that there will be none.
pub(super) type Answer = Option<Reply>;

/// Closed when nobody waits any more.
struct Inbox<'a> {
    broker: &'a Broker,
    name: String,
    answers: mpsc::Receiver<Answer>,
}

impl Broker {
    pub(super) async fn await_answers(
        &self,
        request: &Request,
    ) -> Result<Vec<Reply>, RequestError> {
        let deadline = Instant::now() + request.timeout;
        let (sender, answers) = mpsc::channel(request.replies.max(1));
        let name = self.lock().open_inbox(sender);
        let mut inbox = Inbox { broker: self, name, answers };
        let message = Message {
            subject: request.subject.clone(),
            headers: request.headers.clone(),
            payload: request.payload.clone(),
            keep: Keep::Fleeting,
        };
        let is_sent = self.lock().send_request(self.connection, message, &inbox.name);
        if !is_sent {
            return Err(RequestError::Connection("nothing was asked".to_owned()));
        }
        let (mut replies, mut bytes) = (Vec::new(), 0);
        while replies.len() < request.replies {
            match timeout_at(deadline, inbox.next()).await {
                Ok(Some(reply)) => {
                    bytes += reply.size();
                    replies.push(reply);
                }
                Ok(None) => return Err(RequestError::NoResponders),
                Err(_) if replies.is_empty() => {
                    return Err(RequestError::TimedOut(request.timeout));
                }
                Err(_) => break,
            }
            if bytes > request.reply_bytes {
                let most = bytesize::ByteSize(request.reply_bytes as u64);
                let detail =
                    format!("the answers are larger than the plugin's memory limit of {most}");
                return Err(RequestError::Refused(detail));
            }
        }
        Ok(replies)
    }
}

impl Inbox<'_> {
    /// The next answer; meanwhile it lets happen what is due.
    async fn next(&mut self) -> Answer {
        loop {
            let changed = self.broker.changes.notified();
            let next = self.broker.lock().next_change();
            let due = async {
                match next {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                answer = self.answers.recv() => return answer.flatten(),
                () = changed => {}
                () = due => {
                    drop(self.broker.lock());
                    self.broker.changed();
                }
            }
        }
    }
}

impl Drop for Inbox<'_> {
    fn drop(&mut self) {
        self.broker.lock().inboxes.remove(&self.name);
    }
}

impl Server {
    fn open_inbox(&mut self, sender: mpsc::Sender<Answer>) -> String {
        let name = format!("_INBOX.{}", self.number());
        self.inboxes.insert(name.clone(), sender);
        name
    }

    /// A message whose subject may be an inbox.
    pub(super) fn answer_request(&mut self, message: &Message) {
        if self.inboxes.contains_key(&message.subject) {
            let reply = Reply {
                subject: message.subject.clone(),
                headers: message.headers.clone(),
                payload: message.payload.clone(),
                reply_to: None,
            };
            self.answer_inbox(&message.subject, Some(reply));
        }
    }

    /// An answer beyond those that are wanted is read by nobody.
    fn answer_inbox(&mut self, name: &str, answer: Answer) {
        if let Some(inbox) = self.inboxes.get(name) {
            inbox.try_send(answer).ok();
        }
    }

    /// What happens when a request arrives.
    pub(super) fn take_request(&mut self, message: &Message, inbox: &str) {
        if self.storing(&message.subject).is_none() && !self.is_heard(&message.subject) {
            return self.answer_inbox(inbox, None);
        }
        // Whether it was stored is told below.
        drop(self.route(message, Some(inbox)));
        // A stream that stores it answers, as it does any publish with a reply-to.
        let kept = self.storing(&message.subject);
        let payload = kept.map(|(stream, sequence)| {
            serde_json::json!({ "stream": stream, "seq": sequence }).to_string()
        });
        if let Some(payload) = payload {
            let reply = Reply {
                subject: inbox.to_owned(),
                headers: Vec::new(),
                payload: payload.into(),
                reply_to: None,
            };
            self.answer_inbox(inbox, Some(reply));
        }
    }

    /// The stream that answers for a subject, and its last sequence.
    fn storing(&self, subject: &str) -> Option<(&str, u64)> {
        let now = Instant::now();
        let mut streams = self.streams.iter();
        let (name, stream) =
            streams.find(|(_, stream)| stream.takes(subject) && !stream.is_away(now))?;
        Some((name, stream.next_sequence().saturating_sub(1)))
    }

    /// Sends a request; whether there is a connection to send it by.
    fn send_request(&mut self, id: u64, message: Message, inbox: &str) -> bool {
        let now = Instant::now();
        let connection = self.connections.entry(id).or_default();
        if connection.down_until(now).is_some() {
            return false;
        }
        if let Some(arrives) = connection.send(&mut self.troubles, now) {
            self.add_deed(id, arrives, Deed::Ask { message, inbox: inbox.to_owned() });
        }
        true
    }
}
