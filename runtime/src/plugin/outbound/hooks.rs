//! Where `wasi:http` hands a request over: what belongs to one store, and what to
//! the run that it is in.

use std::sync::Arc;

use http::{HeaderValue, Method, Request, header};
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpHooks};

use super::{
    Granted, Outbound,
    body::Patient,
    origin_of,
    refusal::Refusal,
    request::{Answer, Exchange},
};
use crate::manifest::Origin;

/// What a guest may hand over of a body at a time, in bytes.
const CHUNK: usize = 64 << 10;

/// What is taken of the body of a request where none is granted, in bytes.
const UNGRANTED: u64 = 8 << 20;

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
}

impl Hooks {
    fn exchange(
        &mut self,
        mut request: Request<Patient>,
        options: Option<RequestOptions>,
    ) -> Result<Exchange, (Refusal, Origin)> {
        let nowhere = || Origin::of_request(true, "(none)", None);
        let origin = origin_of(request.uri()).ok_or_else(|| (Refusal::Authority, nowhere()))?;
        let Some(granted) = self.outbound.grant(&origin) else {
            return Err((Refusal::NotGranted, origin));
        };
        if request.method() == Method::CONNECT {
            return Err((Refusal::Tunnel, origin));
        }
        if takes_key(&request, granted)
            && let Some(key) = self.run.key()
        {
            request.headers_mut().insert(IDEMPOTENCY_KEY, key);
        }
        if !request.headers().contains_key(header::USER_AGENT) {
            request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static(AGENT));
        }
        Ok(Exchange {
            outbound: Arc::clone(&self.outbound),
            origin,
            event: self.run.event.clone(),
            places: [Arc::clone(&self.run.places), Arc::clone(&granted.places)],
            end: self.run.end.clone(),
            options: options.unwrap_or_default(),
            request,
        })
    }
}

fn takes_key(request: &Request<Patient>, granted: &Granted) -> bool {
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
        let granted = self.outbound.granted.as_ref();
        let most = granted.map_or(UNGRANTED, |granted| granted.settings.request_bytes);
        let request = request.map(|body| Patient::new(body, most, self.run.end.clone()));
        match self.exchange(request, options) {
            Ok(exchange) => Box::new(exchange.run()),
            Err((refusal, origin)) => {
                self.outbound.explain(&refusal, &origin, &self.run.event);
                Box::new(std::future::ready(Err(refusal.code())))
            }
        }
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK
    }
}
