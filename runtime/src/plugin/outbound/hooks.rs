//! Where `wasi:http` hands a request over: what belongs to one store, and what to
//! the run that it is in.

use std::sync::Arc;

use http::{HeaderValue, Method, Request, header};
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpHooks};

use super::{
    Granted, Outbound, body, origin_of,
    refusal::Refusal,
    request::{Answer, Exchange},
};
use crate::manifest::Origin;

/// What a guest may hand over of a body at a time, in bytes.
const CHUNK: usize = 64 << 10;

/// The header that tells a server that it has seen a request before.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Who the host says it is, if the guest says nothing.
const AGENT: &str = concat!("pelton/", env!("CARGO_PKG_VERSION"));

/// The `wasi:http` of one store.
pub(in crate::plugin) struct Http {
    pub(in crate::plugin) ctx: WasiHttpCtx,
    pub(in crate::plugin) hooks: Hooks,
}

/// What is asked when a guest sends a request.
pub(in crate::plugin) struct Hooks {
    outbound: Arc<Outbound>,
    run: Run,
}

/// The requests of one run.
struct Run {
    event: String,
    /// Requests that were given a key.
    keyed: u32,
    places: Arc<Semaphore>,
    end: CancellationToken,
    /// When it goes, what is under way ends.
    _ends: DropGuard,
}

impl Http {
    /// For a run of the event with this id.
    pub(in crate::plugin) fn new(outbound: Arc<Outbound>, event: String) -> Http {
        let run = Run::new(&outbound, event);
        Http { ctx: WasiHttpCtx::new(), hooks: Hooks { outbound, run } }
    }

    /// Begins another run; what the last one left ends.
    pub(in crate::plugin) fn begin(&mut self, event: &str) {
        self.hooks.run = Run::new(&self.hooks.outbound, event.to_owned());
    }

    /// Ends the run.
    pub(in crate::plugin) fn end(&mut self) {
        self.hooks.run.end.cancel();
    }
}

impl Run {
    fn new(outbound: &Outbound, event: String) -> Run {
        let places = outbound.granted.as_ref().map_or(0, |granted| granted.settings.requests);
        let end = CancellationToken::new();
        Run {
            event,
            keyed: 0,
            places: Arc::new(Semaphore::new(places)),
            _ends: end.clone().drop_guard(),
            end,
        }
    }

    /// The next key: the same in every attempt that sends its requests in the same
    /// order.
    fn key(&mut self) -> Option<HeaderValue> {
        let key = HeaderValue::from_str(&format!("{}-{}", self.event, self.keyed)).ok();
        self.keyed += 1;
        key
    }

    /// A request with the headers that the host adds.
    fn exchange(
        &mut self,
        outbound: &Arc<Outbound>,
        (origin, granted): (Origin, &Granted),
        mut request: Request<WasiBody>,
        options: Option<RequestOptions>,
    ) -> Exchange {
        if takes_key(&request, granted)
            && let Some(key) = self.key()
        {
            request.headers_mut().insert(IDEMPOTENCY_KEY, key);
        }
        if !request.headers().contains_key(header::USER_AGENT) {
            request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static(AGENT));
        }
        Exchange {
            outbound: Arc::clone(outbound),
            origin,
            event: self.event.clone(),
            places: [Arc::clone(&self.places), Arc::clone(&granted.places)],
            end: self.end.clone(),
            options: options.unwrap_or_default(),
            request,
        }
    }
}

/// Where a request goes, if it may go.
fn admitted<'a>(
    outbound: &'a Outbound,
    request: &Request<WasiBody>,
) -> Result<(Origin, &'a Granted), (Refusal, Origin)> {
    let nowhere = || Origin::of_request(true, "(none)", None);
    let origin = origin_of(request.uri()).ok_or_else(|| (Refusal::Authority, nowhere()))?;
    match outbound.grant(&origin) {
        None => Err((Refusal::NotGranted, origin)),
        Some(_) if request.method() == Method::CONNECT => Err((Refusal::Tunnel, origin)),
        Some(granted) => Ok((origin, granted)),
    }
}

fn takes_key(request: &Request<WasiBody>, granted: &Granted) -> bool {
    granted.settings.idempotency_key
        && matches!(*request.method(), Method::POST | Method::PATCH)
        && !request.headers().contains_key(IDEMPOTENCY_KEY)
}

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _processed: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Answer> + Send> {
        match admitted(&self.outbound, &request) {
            Ok(admitted) => {
                let exchange = self.run.exchange(&self.outbound, admitted, request, options);
                Box::new(exchange.run())
            }
            Err((refusal, origin)) => {
                self.outbound.explain(&refusal, &origin, &self.run.event);
                body::leave(request.into_body());
                Box::new(std::future::ready(Err(refusal.code())))
            }
        }
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK
    }
}
