//! How a run asks others while it is under way. Who answers is not known here.

use std::{fmt, sync::Arc};

use futures::future::BoxFuture;

use crate::event::{Reply, Request, RequestError};

type Send = dyn Fn(Request) -> BoxFuture<'static, Result<Vec<Reply>, RequestError>>
    + std::marker::Send
    + Sync;

/// Leave to ask others during one run. Cheap to clone.
#[derive(Clone)]
pub struct Requests(Option<Arc<Send>>);

impl Requests {
    /// No leave: every request is refused, with the remedy.
    pub fn none() -> Requests {
        Requests(None)
    }

    /// Leave to ask by `send`, which checks what is asked and waits for the
    /// answers, at most for the request's own time-out. Its future may be dropped
    /// at any time: the run has ended.
    pub fn new(
        send: impl Fn(Request) -> BoxFuture<'static, Result<Vec<Reply>, RequestError>>
        + std::marker::Send
        + Sync
        + 'static,
    ) -> Requests {
        Requests(Some(Arc::new(send)))
    }

    pub(super) async fn send(&self, request: Request) -> Result<Vec<Reply>, RequestError> {
        match &self.0 {
            Some(send) => send(request).await,
            None => Err(RequestError::NotGranted(
                "the manifest lets the plugin ask nobody; add `request = [\"…\"]` with this subject"
                    .to_owned(),
            )),
        }
    }
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Requests(granted)" } else { "Requests(none)" })
    }
}
