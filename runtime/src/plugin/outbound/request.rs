//! One request, from the guest's hands to the end of its response.

use std::{
    error::Error as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{Request, Response, header};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use super::{
    Granted, Outbound,
    body::{self, Limited, Patient},
    outside::UnderWay,
    refusal::Refusal,
};
use crate::manifest::{Http, Origin};

/// What goes on beside the guest until a response is read.
type Rest = Box<dyn Future<Output = Result<(), Error>> + Send>;

/// A response and what brings its body, or an error for the guest.
pub(super) type Answer = Result<(Response<WasiBody>, Rest), Error>;

/// A request that may be sent.
pub(super) struct Exchange {
    pub(super) outbound: Arc<Outbound>,
    pub(super) origin: Origin,
    pub(super) event: String,
    /// Those of the run, and those of the plugin.
    pub(super) places: [Arc<Semaphore>; 2],
    pub(super) end: CancellationToken,
    pub(super) options: RequestOptions,
    pub(super) request: Request<Patient>,
}

/// What is left of an exchange when the response has begun.
struct Body {
    outbound: Arc<Outbound>,
    origin: Origin,
    event: String,
    end: CancellationToken,
    deadline: Instant,
    pause: Option<Duration>,
    most: u64,
    limit: Duration,
    incoming: Incoming,
    /// Given back when the body has ended.
    places: [OwnedSemaphorePermit; 2],
    under_way: UnderWay,
}

impl Exchange {
    pub(super) async fn run(self) -> Answer {
        let (outbound, origin) = (Arc::clone(&self.outbound), self.origin.clone());
        let event = self.event.clone();
        let answer = self.answer().await;
        answer.map_err(|refusal| {
            outbound.explain(&refusal, &origin, &event);
            refusal.code()
        })
    }

    async fn answer(self) -> Result<(Response<WasiBody>, Rest), Refusal> {
        let outbound = Arc::clone(&self.outbound);
        let granted = outbound.granted.as_ref().ok_or(Refusal::NotGranted)?;
        let limit = granted.settings.timeout;
        let deadline = Instant::now() + limit;
        let end = self.end.clone();
        let under_way = outbound.outside.enter();
        tokio::select! {
            biased;
            () = end.cancelled() => Err(Refusal::Ended),
            () = sleep_until(deadline) => Err(Refusal::Timeout(limit)),
            answer = self.exchange(granted, deadline, under_way) => answer,
        }
    }

    async fn exchange(
        self,
        granted: &Granted,
        deadline: Instant,
        under_way: UnderWay,
    ) -> Result<(Response<WasiBody>, Rest), Refusal> {
        let settings = &granted.settings;
        let places = places(&self.places, settings).await?;
        let over = Arc::new(AtomicBool::new(false));
        let most = settings.request_bytes;
        if length(self.request.headers()).is_some_and(|length| length > most) {
            return Err(Refusal::RequestBody(most));
        }
        let request = self.request.map(|body| Limited::new(body, most, Arc::clone(&over)));
        let response = granted.client.request(request);
        let response = match self.options.first_byte_timeout {
            Some(patience) => {
                let connect = self.options.connect_timeout.unwrap_or(settings.connect_timeout);
                let patience = patience.saturating_add(connect.min(settings.connect_timeout));
                timeout(patience, response).await.map_err(|_| Refusal::GuestTimeout)?
            }
            None => response.await,
        };
        let response = response.map_err(|error| refusal(&error, &over, settings))?;
        let most = settings.response_bytes;
        if length(response.headers()).is_some_and(|length| length > most) {
            return Err(Refusal::ResponseBody(most));
        }
        let (head, incoming) = response.into_parts();
        let (guest, body) = body::pipe();
        let rest = Body {
            outbound: self.outbound,
            origin: self.origin,
            event: self.event,
            end: self.end,
            deadline,
            pause: self.options.between_bytes_timeout,
            most,
            limit: settings.timeout,
            incoming,
            places,
            under_way,
        };
        let rest = async move {
            rest.bring(guest).await;
            Ok(())
        };
        Ok((Response::from_parts(head, body), Box::new(rest)))
    }
}

/// A place among the requests of the run, and one among those of the plugin.
async fn places(
    [run, plugin]: &[Arc<Semaphore>; 2],
    settings: &Http,
) -> Result<[OwnedSemaphorePermit; 2], Refusal> {
    let patience = settings.connect_timeout;
    let run = place(run, patience, ("requests", settings.requests)).await?;
    let plugin = place(plugin, patience, ("concurrency", settings.concurrency)).await?;
    Ok([run, plugin])
}

async fn place(
    places: &Arc<Semaphore>,
    patience: Duration,
    (key, most): (&'static str, usize),
) -> Result<OwnedSemaphorePermit, Refusal> {
    match timeout(patience, Arc::clone(places).acquire_owned()).await {
        Ok(Ok(place)) => Ok(place),
        _ => Err(Refusal::Busy { key, most }),
    }
}

impl Body {
    /// Brings the body to the guest, or the reason why there is no more of it.
    async fn bring(
        self,
        guest: tokio::sync::mpsc::Sender<Result<http_body::Frame<bytes::Bytes>, Error>>,
    ) {
        let brought = tokio::select! {
            biased;
            () = self.end.cancelled() => Err(Refusal::Ended),
            () = sleep_until(self.deadline) => Err(Refusal::Timeout(self.limit)),
            brought = body::bring(self.incoming, self.most, self.pause, &guest) => brought,
        };
        // The connection is closed or free again: so is the place.
        drop((self.places, self.under_way));
        let Err(refusal) = brought else { return };
        self.outbound.explain(&refusal, &self.origin, &self.event);
        tokio::select! {
            () = self.end.cancelled() => {}
            _told = guest.send(Err(refusal.code())) => {}
        }
    }
}

/// How long the body says that it is.
fn length(headers: &http::HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Why the client gave no response.
fn refusal(error: &legacy::Error, over: &AtomicBool, settings: &Http) -> Refusal {
    if over.load(Ordering::Relaxed) {
        return Refusal::RequestBody(settings.request_bytes);
    }
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(refusal) = error.downcast_ref::<Refusal>() {
            return refusal.clone();
        }
        if let Some(error) = error.downcast_ref::<hyper::Error>() {
            return match error.is_parse_too_large() {
                true => Refusal::Head(settings.header_bytes),
                false => Refusal::Protocol(error.to_string()),
            };
        }
        cause = error.source();
    }
    Refusal::Protocol(error.to_string())
}
