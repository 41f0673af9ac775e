//! The clock of a case: it stands still, so that waiting takes no time, but for
//! the time that a handler talks to a server elsewhere, which has a clock of its own.

use std::convert::Infallible;

use crate::plugin::Outside;

/// A clock that goes on, until this is dropped.
struct GoingOn;

impl GoingOn {
    fn begin() -> GoingOn {
        tokio::time::resume();
        GoingOn
    }
}

impl Drop for GoingOn {
    fn drop(&mut self) {
        tokio::time::pause();
    }
}

/// Lets the paused clock of this runtime, which has one thread, go on whenever a
/// request is under way. It has no end; where it is dropped, the clock is paused.
pub(super) async fn goes_on_for(outside: &Outside) -> Infallible {
    loop {
        outside.busy().await;
        let _clock = GoingOn::begin();
        outside.quiet().await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_stands_still_again_where_it_is_dropped() {
        let outside = Outside::default();
        tokio::select! {
            biased;
            never = goes_on_for(&outside) => match never {},
            // An hour that takes none, since nothing is under way.
            () = tokio::time::sleep(Duration::from_secs(3600)) => {}
        }
        tokio::time::sleep(Duration::from_secs(3600)).await;
    }
}
