//! What a component of `wasi:messaging` is given and sends with.
//!
//! Metadata are headers. There is one broker, so a client of any name is
//! connected to it.

use std::{result, time::Duration};

use wasmtime::{Result, component::Resource};

use super::{
    bindings::wasi_messaging::wasi::messaging::{producer, request_reply, types},
    messages::{Client, Message, RequestOptions},
    state::State,
};
use crate::event::RequestError;

type Answer<T> = Result<result::Result<T, types::Error>>;

/// The words of an error that a guest returned.
pub(super) fn text(error: &types::Error) -> String {
    match error {
        types::Error::Timeout => "timeout".to_owned(),
        types::Error::Connection(text) => format!("connection: {text}"),
        types::Error::PermissionDenied(text) => format!("permission denied: {text}"),
        types::Error::Other(text) => text.clone(),
    }
}

impl State {
    /// Whether the guest has not disconnected the client.
    fn connected(&mut self, client: &Resource<Client>) -> Answer<()> {
        let closed = || types::Error::Connection("the client was disconnected".to_owned());
        Ok(self.held(client)?.is_connected.then_some(()).ok_or_else(closed))
    }
}

impl types::Host for State {}

impl types::HostClient for State {
    fn connect(&mut self, _name: String) -> Answer<Resource<Client>> {
        Ok(Ok(self.hold(Client { is_connected: true })?))
    }

    fn disconnect(&mut self, client: Resource<Client>) -> Answer<()> {
        self.held(&client)?.is_connected = false;
        Ok(Ok(()))
    }

    fn drop(&mut self, client: Resource<Client>) -> Result<()> {
        self.release(client).map(drop)
    }
}

impl types::HostMessage for State {
    fn new(&mut self, data: Vec<u8>) -> Result<Resource<Message>> {
        self.hold_message(Message { data: data.into(), ..Message::default() })
    }

    fn topic(&mut self, message: Resource<Message>) -> Result<Option<String>> {
        Ok(self.held(&message)?.topic.clone())
    }

    fn content_type(&mut self, message: Resource<Message>) -> Result<Option<String>> {
        Ok(self.held(&message)?.content_type().map(str::to_owned))
    }

    fn set_content_type(&mut self, message: Resource<Message>, value: String) -> Result<()> {
        self.change_message(&message, |message| message.set_content_type(value))
    }

    fn data(&mut self, message: Resource<Message>) -> Result<Vec<u8>> {
        Ok(self.held(&message)?.data.to_vec())
    }

    fn set_data(&mut self, message: Resource<Message>, data: Vec<u8>) -> Result<()> {
        self.change_message(&message, |message| message.data = data.into())
    }

    fn metadata(&mut self, message: Resource<Message>) -> Result<Option<types::Metadata>> {
        let metadata = self.held(&message)?.metadata();
        Ok((!metadata.is_empty()).then_some(metadata))
    }

    fn add_metadata(
        &mut self,
        message: Resource<Message>,
        key: String,
        value: String,
    ) -> Result<()> {
        self.change_message(&message, |message| message.add_metadata(key, value))
    }

    fn set_metadata(&mut self, message: Resource<Message>, meta: types::Metadata) -> Result<()> {
        self.change_message(&message, |message| message.set_metadata(meta))
    }

    fn remove_metadata(&mut self, message: Resource<Message>, key: String) -> Result<()> {
        self.change_message(&message, |message| message.remove_metadata(&key))
    }

    fn drop(&mut self, message: Resource<Message>) -> Result<()> {
        self.release_message(message).map(drop)
    }
}

impl producer::Host for State {
    fn send(
        &mut self,
        client: Resource<Client>,
        topic: String,
        message: Resource<Message>,
    ) -> Answer<()> {
        let message = self.release_message(message)?;
        if let Err(error) = self.connected(&client)? {
            return Ok(Err(error));
        }
        self.messages.send(message.to(topic))?;
        Ok(Ok(()))
    }
}

impl request_reply::Host for State {
    async fn request(
        &mut self,
        client: Resource<Client>,
        topic: String,
        message: Resource<Message>,
        options: Option<Resource<RequestOptions>>,
    ) -> Answer<Vec<Resource<Message>>> {
        let options = options.map(|options| self.release(options)).transpose()?;
        if let Err(error) = self.connected(&client)? {
            return Ok(Err(error));
        }
        let message = self.held(&message)?;
        let sent = (topic, message.headers.clone(), message.data.clone());
        match self.ask(sent, options.unwrap_or_default()).await {
            Ok(replies) => {
                let replies = replies.into_iter().map(Message::of_reply);
                replies.map(|reply| self.hold_message(reply)).collect::<Result<_>>().map(Ok)
            }
            Err(error) => Ok(Err(error.into())),
        }
    }

    fn reply(&mut self, to: Resource<Message>, message: Resource<Message>) -> Answer<()> {
        let message = self.release_message(message)?;
        if let Some(subject) = self.held(&to)?.reply_to.clone() {
            self.messages.send(message.to(subject))?;
        }
        Ok(Ok(()))
    }
}

impl request_reply::HostRequestOptions for State {
    fn new(&mut self) -> Result<Resource<RequestOptions>> {
        self.hold(RequestOptions::default())
    }

    fn set_timeout_ms(&mut self, options: Resource<RequestOptions>, millis: u32) -> Result<()> {
        self.held(&options)?.timeout = Some(Duration::from_millis(millis.into()));
        Ok(())
    }

    fn set_expected_replies(&mut self, options: Resource<RequestOptions>, n: u32) -> Result<()> {
        self.held(&options)?.replies = Some(n);
        Ok(())
    }

    fn drop(&mut self, options: Resource<RequestOptions>) -> Result<()> {
        self.release(options).map(drop)
    }
}

impl From<RequestError> for types::Error {
    fn from(error: RequestError) -> types::Error {
        match &error {
            RequestError::TimedOut(_) => types::Error::Timeout,
            RequestError::Connection(_) => types::Error::Connection(error.to_string()),
            RequestError::NotGranted(_) => types::Error::PermissionDenied(error.to_string()),
            RequestError::Refused(_) | RequestError::NoResponders => {
                types::Error::Other(error.to_string())
            }
        }
    }
}
