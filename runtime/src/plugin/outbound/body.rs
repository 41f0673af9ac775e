//! Bodies with limits: the request's is counted as it goes out; the response's is
//! brought by a task that ends with the run, however slowly the guest reads.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::{
    runtime::Handle,
    sync::mpsc::{self, Receiver, Sender},
    time::timeout,
};
use wasmtime_wasi_http::{Error, WasiBody};

use super::refusal::Refusal;

/// How long a guest may go on writing a body that nobody reads any more.
const COURTESY: Duration = Duration::from_millis(100);

/// A request's body that may not be larger than it may be.
pub(super) struct Limited {
    /// Nothing when all of it was read, or too much.
    body: Option<WasiBody>,
    left: u64,
    most: u64,
    over: Arc<AtomicBool>,
}

impl Limited {
    /// `over` is set when there is more than `most` bytes.
    pub(super) fn new(body: WasiBody, most: u64, over: Arc<AtomicBool>) -> Limited {
        Limited { body: Some(body), left: most, most, over }
    }
}

/// Reads the body of a request that came to nothing, for a short while: guests
/// there are (StarlingMonkey) that abort when what they write to is closed, and so
/// never hear why.
pub(super) fn leave(mut body: WasiBody) {
    let read = async move { while let Some(Ok(_)) = body.frame().await {} };
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(timeout(COURTESY, read));
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        if let Some(body) = self.body.take() {
            leave(body);
        }
    }
}

impl Body for Limited {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let Some(frame) = ready!(Pin::new(body).poll_frame(cx)) else {
            self.body = None;
            return Poll::Ready(None);
        };
        let frame = frame?;
        let size = frame.data_ref().map_or(0, |data| data.len() as u64);
        match self.left.checked_sub(size) {
            Some(left) => {
                self.left = left;
                Poll::Ready(Some(Ok(frame)))
            }
            None => {
                self.body = None;
                self.over.store(true, Ordering::Relaxed);
                Poll::Ready(Some(Err(Error::HttpRequestBodySize(Some(self.most)))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// What the guest reads of a response.
struct Brought(Receiver<Result<Frame<Bytes>, Error>>);

impl Body for Brought {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.0.poll_recv(cx)
    }
}

/// The two ends of a response's body: one for the guest, one for whoever brings it.
pub(super) fn pipe() -> (Sender<Result<Frame<Bytes>, Error>>, WasiBody) {
    let (sender, receiver) = mpsc::channel(1);
    (sender, Brought(receiver).boxed_unsync())
}

/// Brings `body` to the guest, at most `most` bytes of it, with no pause longer
/// than `pause`.
pub(super) async fn bring(
    mut body: Incoming,
    most: u64,
    pause: Option<Duration>,
    guest: &Sender<Result<Frame<Bytes>, Error>>,
) -> Result<(), Refusal> {
    let mut left = most;
    loop {
        let frame = match pause {
            Some(pause) => timeout(pause, body.frame()).await.map_err(|_| Refusal::GuestTimeout)?,
            None => body.frame().await,
        };
        let Some(frame) = frame else { return Ok(()) };
        let frame = frame.map_err(|error| Refusal::Protocol(error.to_string()))?;
        let size = frame.data_ref().map_or(0, |data| data.len() as u64);
        left = left.checked_sub(size).ok_or(Refusal::ResponseBody(most))?;
        if guest.send(Ok(frame)).await.is_err() {
            // The guest wants no more of it.
            return Err(Refusal::Ended);
        }
    }
}
