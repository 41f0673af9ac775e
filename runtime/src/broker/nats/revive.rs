//! Another client in the place of one that broke down.
//!
//! The client reconnects by itself, for ever. But it panics over a message with a
//! carriage return in the value of a header, which anyone may publish, and is
//! never heard of again: every subscription ends, every request fails. Which
//! message it was is found by `suspect`, not here.

use std::sync::{Arc, PoisonError, Weak, atomic::Ordering};

use async_nats::Client;
use tokio::time::sleep;

use super::{
    Inner, WhenUnreachable,
    connect::{self, Life, delay},
};
use crate::manifest;

/// What a broker's client is made of.
pub(super) struct Origin {
    pub(super) inner: Weak<Inner>,
    pub(super) nats: manifest::Nats,
    pub(super) name: String,
}

impl Origin {
    /// Runs until the broker is closed or dropped. `life` is that of its client.
    pub(super) async fn keep_alive(self, mut life: Life) {
        loop {
            // Nothing is ever sent: the end of the sender is the news.
            drop(life.await);
            match self.revive().await {
                Some(next) => life = next,
                None => return,
            }
        }
    }

    /// Tries until there is another client; `None`: nobody needs one any more.
    async fn revive(&self) -> Option<Life> {
        for attempt in 1.. {
            let connection = Arc::clone(&self.inner.upgrade()?.connection);
            if connection.is_closed() {
                return None;
            }
            if !connection.is_down() {
                connection.broke_down();
                tracing::error!(
                    "the nats client broke down, over a message that it cannot read; connecting anew"
                );
            }
            sleep(delay(attempt)).await;
            let (nats, fail) = (&self.nats, WhenUnreachable::Fail);
            match connect::connect(nats, &self.name, fail, &connection).await {
                Ok((client, life)) => {
                    self.inner.upgrade()?.replace(client);
                    return Some(life);
                }
                Err(error) => tracing::warn!(%error, "no new connection; trying again"),
            }
        }
        None
    }
}

impl Inner {
    fn replace(&self, client: Client) {
        let mut place = self.client.write().unwrap_or_else(PoisonError::into_inner);
        let made = place.statistics().connects.load(Ordering::Relaxed);
        self.connects_before.fetch_add(made, Ordering::Relaxed);
        *place = Arc::new(client);
        drop(place);
        self.connection.replaced();
    }
}
