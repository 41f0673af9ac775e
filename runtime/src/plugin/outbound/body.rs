//! Bodies with limits: the request's is counted as it goes out, and taken to its
//! end whatever becomes of the request; the response's is brought by a task that
//! ends with the run, however slowly the guest reads.

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
    sync::mpsc::{self, Receiver, Sender},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use wasmtime_wasi_http::{Error, WasiBody};

use super::refusal::Refusal;

/// A request's body that a guest can write to its end, although nobody wants it any
/// more: the request was refused, has failed, or was answered early. A guest that
/// finds its body closed while it writes has no error to tell from it, and some
/// runtimes (StarlingMonkey's `fetch`) then abort before they look at the answer.
pub(super) struct Patient {
    body: Option<WasiBody>,
    most: u64,
    end: CancellationToken,
}

impl Patient {
    /// What is left of `body` when nobody wants it is taken, up to `most` bytes, until
    /// `end`, which is that of the run.
    pub(super) fn new(body: WasiBody, most: u64, end: CancellationToken) -> Patient {
        Patient { body: Some(body), most, end }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_at_end(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }
}

impl Drop for Patient {
    fn drop(&mut self) {
        let is_over = self.is_at_end() || self.end.is_cancelled();
        let (Some(mut body), false) = (self.body.take(), is_over) else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (end, mut left) = (self.end.clone(), self.most);
        // The guest pays for it with its own time: each part is a call of it.
        runtime.spawn(end.run_until_cancelled_owned(async move {
            while let Some(Ok(frame)) = body.frame().await {
                let size = frame.data_ref().map_or(0, |data| data.len() as u64);
                let Some(rest) = left.checked_sub(size) else { return };
                left = rest;
            }
        }));
    }
}

/// A request's body that may not be larger than it may be.
pub(super) struct Limited {
    body: Patient,
    left: u64,
    most: u64,
    over: Arc<AtomicBool>,
}

impl Limited {
    /// `over` is set when there is more than `most` bytes.
    pub(super) fn new(body: Patient, most: u64, over: Arc<AtomicBool>) -> Limited {
        Limited { body, left: most, most, over }
    }
}

impl Body for Limited {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Some(frame) = ready!(self.body.poll_frame(cx)) else {
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
                self.over.store(true, Ordering::Relaxed);
                Poll::Ready(Some(Err(Error::HttpRequestBodySize(Some(self.most)))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_at_end()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
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
