//! The right to be the only one: a lease in the host's bucket.
//!
//! Whoever holds it renews it every quarter of its life. Others watch its
//! revision, and take it over when it has not changed for a life, seen on their
//! own clock; so no two clocks are compared. The holder stops to believe in it a
//! life after it *asked* for the last renewal that was confirmed, which is
//! sooner than anybody can take it.
//!
//! It is not a lock on what happens elsewhere: a run that is under way when the
//! lease ends goes on, and what it publishes has the ids that its successor
//! uses, too.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use super::bucket::{Bucket, Entry, WriteError};

/// A time during which the lease is held without a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tenure {
    /// Counts the times that this process got the lease.
    pub(super) term: u64,
    /// When it was got.
    pub(super) since: Instant,
    /// It holds until then, if it is not renewed.
    pub(super) until: Instant,
    /// Whether the former holder gave it back, having answered all it had.
    pub(super) was_settled: bool,
}

impl Tenure {
    pub(super) fn holds(&self) -> bool {
        Instant::now() < self.until
    }
}

/// A lease that is sought, held and renewed in the background.
pub(super) struct Lease {
    tenure: watch::Receiver<Option<Tenure>>,
    /// How it is given back.
    give_back: watch::Sender<Option<GivenBack>>,
    task: JoinHandle<()>,
}

/// Whether all deliveries were answered before the lease was given back.
#[derive(Debug, Clone, Copy)]
struct GivenBack {
    is_settled: bool,
}

struct Keeper {
    bucket: Bucket,
    key: String,
    /// Tells holders apart.
    me: String,
    life: Duration,
    tenure: watch::Sender<Option<Tenure>>,
    term: u64,
}

impl Lease {
    /// Begins to seek the lease at `key`.
    pub(super) fn seek(bucket: Bucket, key: String, me: String, life: Duration) -> Lease {
        let (sender, tenure) = watch::channel(None);
        let (give_back, wish) = watch::channel(None);
        let keeper = Keeper { bucket, key, me, life, tenure: sender, term: 0 };
        let task = tokio::spawn(keeper.keep(wish));
        Lease { tenure, give_back, task }
    }

    /// The tenure, while it holds.
    pub(super) fn tenure(&self) -> Option<Tenure> {
        self.tenure.borrow().filter(Tenure::holds)
    }

    /// To look at the tenure from elsewhere.
    pub(super) fn watch(&self) -> watch::Receiver<Option<Tenure>> {
        self.tenure.clone()
    }

    /// Waits until the lease is held. Cancel-safe.
    pub(super) async fn held(&mut self) {
        let held = |tenure: &Option<Tenure>| tenure.is_some_and(|tenure| tenure.holds());
        if self.tenure.wait_for(held).await.is_err() {
            // The task has ended, and nothing can be held any more.
            std::future::pending::<()>().await;
        }
    }

    /// Gives the lease back, so that another may have it at once.
    pub(super) async fn close(mut self, is_settled: bool) {
        self.give_back.send_replace(Some(GivenBack { is_settled }));
        drop((&mut self.task).await);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Keeper {
    async fn keep(mut self, mut wish: watch::Receiver<Option<GivenBack>>) {
        loop {
            let revision = tokio::select! {
                revision = self.acquire() => revision,
                _ = wish.changed() => return,
            };
            tracing::info!(lease = self.key, "this host has the plugin now");
            tokio::select! {
                () = self.renew(revision) => {}
                _ = wish.changed() => {
                    let given_back = *wish.borrow();
                    return self.release(given_back).await;
                }
            }
            self.tenure.send_replace(None);
            tracing::warn!(lease = self.key, "the plugin's lease is lost; standing by");
        }
    }

    /// Waits until the lease is ours. Its revision.
    async fn acquire(&mut self) -> u64 {
        let mut seen: Option<(u64, Instant)> = None;
        let mut has_told = false;
        loop {
            let asked = Instant::now();
            match self.bucket.read(&self.key).await {
                Ok(entry) => {
                    if let Some(revision) = self.try_take(entry, &mut seen, asked).await {
                        return revision;
                    }
                    if !std::mem::replace(&mut has_told, true) && seen.is_some() {
                        tracing::info!(
                            lease = self.key,
                            "another host has the plugin; standing by"
                        );
                    }
                }
                Err(error) => tracing::debug!(lease = self.key, error, "the lease cannot be read"),
            }
            sleep(self.life / 5).await;
        }
    }

    /// Takes the lease if it is free, or if nobody has renewed it for its life.
    async fn try_take(
        &mut self,
        entry: Option<Entry>,
        seen: &mut Option<(u64, Instant)>,
        asked: Instant,
    ) -> Option<u64> {
        let (revision, was_settled) = match entry {
            None => (0, false),
            Some(entry) => {
                let value: Value = serde_json::from_slice(&entry.value).unwrap_or_default();
                let says = |name: &str| value.get(name).and_then(Value::as_bool) == Some(true);
                let life = value.get("life-ms").and_then(Value::as_u64);
                let life = life.map_or(self.life, Duration::from_millis);
                let since = match seen {
                    Some((revision, since)) if *revision == entry.revision => *since,
                    _ => seen.insert((entry.revision, Instant::now())).1,
                };
                if !says("given-back") && since.elapsed() < life {
                    return None;
                }
                (entry.revision, says("settled"))
            }
        };
        match self.bucket.write(&self.key, self.value(None), revision).await {
            Ok(revision) => {
                self.term += 1;
                self.tenure.send_replace(Some(Tenure {
                    term: self.term,
                    since: Instant::now(),
                    until: asked + self.life,
                    was_settled,
                }));
                Some(revision)
            }
            Err(WriteError::Overtaken) => None,
            Err(WriteError::Unknown(error)) => {
                tracing::warn!(lease = self.key, error, "the lease cannot be written");
                None
            }
        }
    }

    /// Renews the lease until it is lost.
    async fn renew(&self, mut revision: u64) {
        loop {
            sleep(self.life / 4).await;
            let asked = Instant::now();
            let write = self.bucket.write(&self.key, self.value(None), revision);
            match timeout(self.life / 2, write).await {
                Ok(Ok(next)) => {
                    revision = next;
                    self.extend(asked);
                }
                Ok(Err(WriteError::Overtaken)) => match self.own_revision().await {
                    // A renewal whose answer was lost.
                    Some(own) => revision = own,
                    None => return,
                },
                Ok(Err(WriteError::Unknown(_))) | Err(_) => {}
            }
            if self.tenure.borrow().is_none_or(|tenure| !tenure.holds()) {
                return;
            }
        }
    }

    fn extend(&self, asked: Instant) {
        self.tenure.send_if_modified(|tenure| {
            if let Some(tenure) = tenure {
                tenure.until = asked + self.life;
            }
            // Nobody has to wake up for that.
            false
        });
    }

    async fn own_revision(&self) -> Option<u64> {
        let entry = self.bucket.read(&self.key).await.ok()??;
        let value: Value = serde_json::from_slice(&entry.value).ok()?;
        (value.get("holder")?.as_str()? == self.me).then_some(entry.revision)
    }

    async fn release(&self, given_back: Option<GivenBack>) {
        self.tenure.send_replace(None);
        let Some(revision) = self.own_revision().await else { return };
        if let Err(WriteError::Unknown(error)) =
            self.bucket.write(&self.key, self.value(given_back), revision).await
        {
            tracing::debug!(lease = self.key, error, "the lease was not given back; it runs out");
        }
    }

    fn value(&self, given_back: Option<GivenBack>) -> Bytes {
        let life = u64::try_from(self.life.as_millis()).unwrap_or(u64::MAX);
        let value = json!({
            "holder": self.me,
            "life-ms": life,
            "given-back": given_back.is_some(),
            "settled": given_back.is_some_and(|given_back| given_back.is_settled),
        });
        value.to_string().into()
    }
}
