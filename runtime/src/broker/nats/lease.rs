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

    /// Lets it go on until `until`. Not if it has ended before the answer to the
    /// renewal came: events were given up for it then, and later ones of their
    /// keys must not run before them in the same tenure.
    fn prolong(&mut self, until: Instant) -> bool {
        let holds = self.holds();
        if holds {
            self.until = until;
        }
        holds
    }
}

/// How it goes with a lease, seen from elsewhere.
#[derive(Clone)]
pub(super) struct Claim {
    tenure: watch::Receiver<Option<Tenure>>,
    problem: watch::Receiver<Option<String>>,
}

impl Claim {
    /// Whether the lease is held.
    pub(super) fn is_held(&self) -> bool {
        self.tenure.borrow().is_some_and(|tenure| tenure.holds())
    }

    /// Why it is neither held nor known to be another's.
    pub(super) fn problem(&self) -> Option<String> {
        self.problem.borrow().clone()
    }
}

/// A lease that is sought, held and renewed in the background.
pub(super) struct Lease {
    claim: Claim,
    /// How it is given back.
    give_back: watch::Sender<Option<GivenBack>>,
    task: JoinHandle<()>,
}

/// Whether all deliveries were answered before the lease was given back.
#[derive(Debug, Clone, Copy)]
struct GivenBack {
    is_settled: bool,
}

/// What a lease says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    /// `None`: it is no lease.
    holder: Option<String>,
    /// How long it lives without being renewed, if it says that.
    life: Option<Duration>,
    is_given_back: bool,
    is_settled: bool,
}

impl Said {
    /// Anything may stand there: whoever may write into the bucket may write that.
    fn read(value: &[u8]) -> Said {
        let value: Value = serde_json::from_slice(value).unwrap_or_default();
        let says = |name: &str| value.get(name).and_then(Value::as_bool) == Some(true);
        let life = value.get("life-ms").and_then(Value::as_u64).map(Duration::from_millis);
        Said {
            holder: value.get("holder").and_then(Value::as_str).map(str::to_owned),
            life: life.map(|life| life.min(LONGEST_LIFE)),
            is_given_back: says("given-back"),
            is_settled: says("settled"),
        }
    }
}

/// The longest life of a lease that is believed in.
const LONGEST_LIFE: Duration = Duration::from_secs(30);
/// How often it is tried to give a lease back. Else it runs out.
const RELEASE_ATTEMPTS: u32 = 3;
/// The revision of an entry that is not there.
const NO_ENTRY: u64 = 0;

struct Keeper {
    bucket: Bucket,
    key: String,
    /// Tells holders apart.
    me: String,
    life: Duration,
    tenure: watch::Sender<Option<Tenure>>,
    problem: watch::Sender<Option<String>>,
    term: u64,
    /// Whether the lease was asked for, and the answer is not known.
    is_taking: bool,
}

impl Lease {
    /// Begins to seek the lease at `key`.
    pub(super) fn seek(bucket: Bucket, key: String, me: String, life: Duration) -> Lease {
        let (tenure, seen_tenure) = watch::channel(None);
        let (problem, seen_problem) = watch::channel(None);
        let (give_back, wish) = watch::channel(None);
        let keeper = Keeper { bucket, key, me, life, tenure, problem, term: 0, is_taking: false };
        let task = tokio::spawn(keeper.keep(wish));
        let claim = Claim { tenure: seen_tenure, problem: seen_problem };
        Lease { claim, give_back, task }
    }

    /// The tenure, while it holds.
    pub(super) fn tenure(&self) -> Option<Tenure> {
        self.claim.tenure.borrow().filter(Tenure::holds)
    }

    /// To look at the tenure from elsewhere.
    pub(super) fn watch(&self) -> watch::Receiver<Option<Tenure>> {
        self.claim.tenure.clone()
    }

    /// To see from elsewhere how it goes.
    pub(super) fn claim(&self) -> Claim {
        self.claim.clone()
    }

    /// Waits until the lease is held. Cancel-safe.
    pub(super) async fn held(&mut self) {
        let held = |tenure: &Option<Tenure>| tenure.is_some_and(|tenure| tenure.holds());
        if self.claim.tenure.wait_for(held).await.is_err() {
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
                _ = wish.changed() => {
                    if self.is_taking {
                        // It may be ours all the same.
                        let given_back = *wish.borrow();
                        self.release(given_back).await;
                    }
                    return;
                }
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
                Err(error) => self.troubled(error),
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
        // An entry that was there, and that somebody removed, may still be believed in.
        let was_never_there = entry.is_none() && seen.is_none();
        let revision = entry.as_ref().map_or(NO_ENTRY, |entry| entry.revision);
        let since = match seen {
            Some((before, since)) if *before == revision => *since,
            None if was_never_there => Instant::now(),
            _ => {
                self.look_at(entry.as_ref());
                seen.insert((revision, Instant::now())).1
            }
        };
        let said = entry.map(|entry| Said::read(&entry.value)).unwrap_or_default();
        let is_own = said.holder.as_deref() == Some(&*self.me);
        let is_free = was_never_there || said.is_given_back || is_own;
        if !is_free && since.elapsed() < said.life.unwrap_or(self.life) {
            self.problem.send_replace(None);
            return None;
        }
        let was_settled = said.is_settled;
        self.is_taking = true;
        let written = self.bucket.write(&self.key, self.value(None), revision).await;
        self.is_taking = false;
        match written {
            Ok(revision) => {
                self.problem.send_replace(None);
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
                self.troubled(error);
                None
            }
        }
    }

    /// Tells of what somebody else has put in the lease's place. It is taken over
    /// like the lease of a host that is not heard of.
    fn look_at(&self, entry: Option<&Entry>) {
        let is_lease = |entry: &Entry| Said::read(&entry.value).holder.is_some();
        if entry.is_some_and(|entry| !is_lease(entry)) {
            let (bucket, life) = (self.bucket.name(), humantime::format_duration(self.life));
            tracing::warn!(
                lease = self.key, bucket, %life,
                "what stands there is no lease: somebody else writes into the bucket; it is overwritten after the life of a lease"
            );
        }
    }

    /// The lease cannot be sought: without it nothing runs, so it is said aloud,
    /// once for each reason.
    fn troubled(&self, error: String) {
        let problem = format!("its lease in `{}` cannot be sought: {error}", self.bucket.name());
        self.problem.send_if_modified(|known| {
            let is_news = known.as_ref() != Some(&problem);
            if is_news {
                tracing::warn!(lease = self.key, problem, "the plugin takes no events");
            }
            *known = Some(problem);
            is_news
        });
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
                    if !self.extend(asked) {
                        return;
                    }
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

    /// Whether the tenure goes on.
    fn extend(&self, asked: Instant) -> bool {
        let mut goes_on = false;
        self.tenure.send_if_modified(|tenure| {
            let until = asked + self.life;
            goes_on = tenure.as_mut().is_some_and(|tenure| tenure.prolong(until));
            // Nobody has to wake up for that.
            false
        });
        goes_on
    }

    async fn own_revision(&self) -> Option<u64> {
        let entry = self.bucket.read(&self.key).await.ok()??;
        let is_own = Said::read(&entry.value).holder? == self.me;
        is_own.then_some(entry.revision)
    }

    async fn release(&self, given_back: Option<GivenBack>) {
        self.tenure.send_replace(None);
        for _ in 0..RELEASE_ATTEMPTS {
            let Some(revision) = self.own_revision().await else { return };
            match self.bucket.write(&self.key, self.value(given_back), revision).await {
                Ok(_) => return,
                // By our own last renewal, which was under way.
                Err(WriteError::Overtaken) => {}
                Err(WriteError::Unknown(error)) => {
                    tracing::debug!(lease = self.key, error, "the lease is not given back");
                    return;
                }
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_lease_says_nothing() {
        for text in ["", "x", "null", "[1]", "{\"holder\":7,\"life-ms\":-1,\"settled\":\"yes\"}"] {
            assert_eq!(Said::read(text.as_bytes()), Said::default(), "{text}");
        }
        let forged = json!({ "holder": "h", "life-ms": u64::MAX }).to_string();
        assert_eq!(Said::read(forged.as_bytes()).life, Some(LONGEST_LIFE), "it would never end");
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenure_that_has_ended_is_not_prolonged() {
        let life = Duration::from_secs(5);
        let (since, until) = (Instant::now(), Instant::now() + life);
        let mut tenure = Tenure { term: 1, since, until, was_settled: true };

        sleep(life - Duration::from_millis(1)).await;
        assert!(tenure.prolong(Instant::now() + life));
        sleep(life).await;
        let late = Instant::now() + life;
        assert!(!tenure.prolong(late), "the answer came too late");
        assert!(!tenure.holds());
    }
}
