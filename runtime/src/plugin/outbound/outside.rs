//! Whether requests of guests are under way: servers live in real time, and a host
//! whose clock stands still has to let it go on meanwhile.
//!
//! Counts only. Which clock that is, and who stops it, is not known here.

use std::sync::Arc;

use tokio::sync::watch;

/// The requests of all plugins that share it, between the guest's asking and the
/// end of the response. Clones are the same count.
#[derive(Debug, Clone, Default)]
pub struct Outside(Arc<watch::Sender<usize>>);

/// One request that is under way.
pub(super) struct UnderWay(Outside);

impl Outside {
    /// Waits until there is a request under way.
    pub async fn busy(&self) {
        self.until(|n| n > 0).await;
    }

    /// Waits until there is none.
    pub async fn quiet(&self) {
        self.until(|n| n == 0).await;
    }

    async fn until(&self, is_so: impl Fn(usize) -> bool) {
        // The sender is in our hands: it does not go while we wait.
        _ = self.0.subscribe().wait_for(|n| is_so(*n)).await;
    }

    pub(super) fn enter(&self) -> UnderWay {
        self.0.send_modify(|n| *n += 1);
        UnderWay(self.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.0.send_modify(|n| *n -= 1);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn it_is_busy_while_any_request_is_under_way() {
        let outside = Outside::default();
        let is = || {
            let (busy, quiet) = (outside.busy().now_or_never(), outside.quiet().now_or_never());
            (busy.is_some(), quiet.is_some())
        };
        assert_eq!(is(), (false, true));
        let (one, two) = (outside.enter(), outside.enter());
        drop(one);
        assert_eq!(is(), (true, false));
        drop(two);
        assert_eq!(is(), (false, true));
    }
}
