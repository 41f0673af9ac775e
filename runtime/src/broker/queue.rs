//! Where events of core NATS wait: bounded in number and in bytes. What does not
//! fit is refused; who counts it is the caller's business.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::mpsc;

/// How much may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// In events, at least one.
    pub events: usize,
    /// In bytes. An event alone always fits.
    pub bytes: usize,
}

/// The end that fills. Cheap to clone.
#[derive(Debug)]
pub(super) struct Sender<T> {
    channel: mpsc::Sender<(usize, T)>,
    bytes: Arc<AtomicUsize>,
    most_bytes: usize,
}

/// The end that empties.
#[derive(Debug)]
pub(super) struct Receiver<T> {
    channel: mpsc::Receiver<(usize, T)>,
    bytes: Arc<AtomicUsize>,
}

/// It did not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

pub(super) fn new<T>(capacity: Capacity) -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = mpsc::channel(capacity.events.max(1));
    let bytes = Arc::<AtomicUsize>::default();
    let sender = Sender { channel: sender, bytes: Arc::clone(&bytes), most_bytes: capacity.bytes };
    (sender, Receiver { channel: receiver, bytes })
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        let (channel, bytes) = (self.channel.clone(), Arc::clone(&self.bytes));
        Sender { channel, bytes, most_bytes: self.most_bytes }
    }
}

impl<T> Sender<T> {
    /// Puts `item`, which takes `size` bytes, into the queue if it fits.
    pub(super) fn put(&self, item: T, size: usize) -> Result<(), Full> {
        let before = self.bytes.fetch_add(size, Ordering::Relaxed);
        let fits = before == 0 || before.saturating_add(size) <= self.most_bytes;
        if fits && self.channel.try_send((size, item)).is_ok() {
            return Ok(());
        }
        self.bytes.fetch_sub(size, Ordering::Relaxed);
        Err(Full)
    }

    /// Whether an event fits that has no bytes.
    pub(super) fn has_room(&self) -> bool {
        self.channel.capacity() > 0 && self.bytes.load(Ordering::Relaxed) <= self.most_bytes
    }

    /// Whether nobody empties it any more.
    pub(super) fn is_closed(&self) -> bool {
        self.channel.is_closed()
    }
}

impl<T> Receiver<T> {
    /// Lets nothing more in.
    pub(super) fn close(&mut self) {
        self.channel.close();
    }

    /// Whether nothing more can come in.
    pub(super) fn is_closed(&self) -> bool {
        self.channel.is_closed()
    }

    /// The oldest; `None` when all senders are gone and nothing waits.
    pub(super) async fn take(&mut self) -> Option<T> {
        let (size, item) = self.channel.recv().await?;
        self.bytes.fetch_sub(size, Ordering::Relaxed);
        Some(item)
    }

    /// Empties it without waiting for more, and says how many there were.
    pub(super) fn clear(&mut self) -> u64 {
        let mut n = 0;
        while let Ok((size, _)) = self.channel.try_recv() {
            self.bytes.fetch_sub(size, Ordering::Relaxed);
            n += 1;
        }
        n
    }

    pub(super) fn is_empty(&self) -> bool {
        self.channel.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_bounded_in_events_and_in_bytes() {
        let (sender, mut receiver) = new(Capacity { events: 3, bytes: 10 });
        assert_eq!(sender.put("alone, and too large", 20), Ok(()));
        assert_eq!(sender.put("no room", 1), Err(Full));
        assert_eq!(receiver.take().await, Some("alone, and too large"));

        for n in 0..2 {
            assert_eq!(sender.put("fits", 5), Ok(()), "{n}");
        }
        assert_eq!(sender.put("too many bytes", 1), Err(Full));
        assert_eq!(sender.put("empty", 0), Ok(()));
        assert_eq!(sender.put("too many events", 0), Err(Full));
        assert_eq!((receiver.clear(), receiver.is_empty()), (3, true));
        assert_eq!(sender.put("fits again", 10), Ok(()));
        drop(sender);
        assert_eq!((receiver.take().await, receiver.take().await), (Some("fits again"), None));
    }
}
