//! How a guest is started and called, for each contract that it may speak.
//!
//! Which of them is decided once, when the component is loaded.

use wasmtime::{Result, Store, component::InstancePre};

use super::{
    CallError,
    bindings::{
        self,
        pelton::events::types::{self as wit, HeaderParam},
        wasi_messaging::WasiMessagingPre,
        wasmcloud::{WasmcloudPre, wasmcloud::messaging::types::BrokerMessageParam},
    },
    contract::Contract,
    failure,
    messages::Message,
    state::State,
};
use crate::event::{Event, Output};

/// A component that is linked.
#[derive(Clone)]
pub(super) enum GuestPre {
    Events(bindings::PluginPre<State>),
    Wasmcloud(WasmcloudPre<State>),
    WasiMessaging(WasiMessagingPre<State>),
}

/// An instance of it.
pub(super) enum Guest {
    Events(bindings::Plugin),
    Wasmcloud(bindings::wasmcloud::Wasmcloud),
    WasiMessaging(bindings::wasi_messaging::WasiMessaging),
}

/// What a guest answers. What it published while it ran is not in it.
pub(super) type Answer = std::result::Result<Vec<Output>, CallError>;

impl GuestPre {
    pub(super) fn new(contract: Contract, pre: InstancePre<State>) -> Result<GuestPre> {
        Ok(match contract {
            Contract::Events => GuestPre::Events(bindings::PluginPre::new(pre)?),
            Contract::Wasmcloud => GuestPre::Wasmcloud(WasmcloudPre::new(pre)?),
            Contract::WasiMessaging => GuestPre::WasiMessaging(WasiMessagingPre::new(pre)?),
        })
    }

    pub(super) async fn instantiate(&self, store: &mut Store<State>) -> Result<Guest> {
        Ok(match self {
            GuestPre::Events(pre) => Guest::Events(pre.instantiate_async(store).await?),
            GuestPre::Wasmcloud(pre) => Guest::Wasmcloud(pre.instantiate_async(store).await?),
            GuestPre::WasiMessaging(pre) => {
                Guest::WasiMessaging(pre.instantiate_async(store).await?)
            }
        })
    }
}

impl Guest {
    pub(super) async fn call(&self, store: &mut Store<State>, event: &Event) -> Result<Answer> {
        match self {
            Guest::Events(guest) => handle_event(guest, store, event).await,
            Guest::Wasmcloud(guest) => {
                let message = BrokerMessageParam {
                    subject: &event.subject,
                    body: &event.payload,
                    reply_to: event.reply_to.as_deref(),
                };
                let handler = guest.wasmcloud_messaging_handler();
                let answer = handler.call_handle_message(store, message).await?;
                Ok(answer.map(|()| Vec::new()).map_err(|reason| failure::failed(&reason)))
            }
            Guest::WasiMessaging(guest) => {
                let message = store.data_mut().hold_message(Message::of_event(event))?;
                let handler = guest.wasi_messaging_incoming_handler();
                let answer = handler.call_handle(store, message).await?;
                let failed = |error| failure::failed(&super::wasi_messaging::text(&error));
                Ok(answer.map(|()| Vec::new()).map_err(failed))
            }
        }
    }
}

async fn handle_event(
    guest: &bindings::Plugin,
    store: &mut Store<State>,
    event: &Event,
) -> Result<Answer> {
    let headers: Vec<HeaderParam<'_>> = event
        .headers
        .iter()
        .map(|header| HeaderParam { name: &header.name, value: &header.value })
        .collect();
    let position = event
        .position
        .as_ref()
        .map(|position| wit::Position { stream: &position.stream, sequence: position.sequence });
    let event = wit::Event {
        id: &event.id,
        subject: &event.subject,
        headers: &headers,
        payload: &event.payload,
        reply_to: event.reply_to.as_deref(),
        time: event.time_ms,
        attempt: event.attempt,
        position,
    };
    let answer = guest.pelton_events_handler().call_handle(store, event).await?;
    let outputs = |outputs: Vec<wit::Output>| outputs.into_iter().map(Output::from).collect();
    Ok(answer.map(outputs).map_err(failure::refused))
}
