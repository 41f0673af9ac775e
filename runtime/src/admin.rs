//! The HTTP server for operators: metrics, health, reload. The only module that
//! knows axum. It shows what others know, passes on what others do, and decides
//! nothing.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
};
use tokio_util::sync::CancellationToken;

use crate::{
    explain::Coded,
    telemetry::{Metrics, Readiness},
};

/// The media type of Prometheus' text format, version 0.0.4.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

const INDEX: &str = "pelton\n\n\
    /metrics  metrics in Prometheus' text format\n\
    /livez    200 while the process works\n\
    /readyz   200 when it handles events, else 503 with what is missing\n\
    /plugins  what each plugin does, as JSON: its circuit breaker, whether it is active here\n\
    /reload   POST with the header `Pelton-Reload: yes`: take the manifest anew\n";

/// A web page can send a POST to any address, but not this header without asking
/// first, and it is not answered.
pub const GUARD: &str = "pelton-reload";

/// Where a request for a reload goes, with where its answer shall go.
pub type Reloads = mpsc::Sender<oneshot::Sender<ReloadAnswer>>;

/// The answer to `POST /reload`, as JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReloadAnswer {
    /// What came of it.
    pub outcome: Outcome,
    /// Plugins that run with new settings or a new component.
    #[serde(default)]
    pub swapped: Vec<String>,
    /// Plugins that are new.
    #[serde(default)]
    pub added: Vec<String>,
    /// Plugins that have ended.
    #[serde(default)]
    pub removed: Vec<String>,
    /// Plugins that were not touched.
    #[serde(default)]
    pub untouched: Vec<String>,
    /// Plugins that do not run as the manifest says, and why.
    #[serde(default)]
    pub unfinished: BTreeMap<String, String>,
    /// Why nothing was changed: diagnostics, some lines each. Else empty.
    #[serde(default)]
    pub problems: String,
}

/// What came of a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// 200: everything runs as the manifest says.
    Reloaded,
    /// 500: some plugins do not; see `unfinished`.
    Unfinished,
    /// 422: nothing was changed; see `problems`.
    Refused,
    /// 503: nobody can do it now; see `problems`.
    Unavailable,
}

/// A server that is bound but not yet answering.
pub struct Admin {
    listener: TcpListener,
    address: SocketAddr,
    shown: Arc<Shown>,
}

struct Shown {
    metrics: Metrics,
    readiness: Readiness,
    reloads: Reloads,
}

impl Admin {
    /// Binds to `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// If the address cannot be bound, with the address and the remedy.
    pub async fn bind(
        address: SocketAddr,
        metrics: Metrics,
        readiness: Readiness,
        reloads: Reloads,
    ) -> anyhow::Result<Admin> {
        let listener = TcpListener::bind(address).await.with_context(|| {
            let text = format!("listen on {address} for /metrics and health: choose another with --admin or [admin] listen");
            Coded { code: "admin-address", text }
        })?;
        let address = listener.local_addr().context("ask for the admin server's address")?;
        Ok(Admin { listener, address, shown: Arc::new(Shown { metrics, readiness, reloads }) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop`, then finishes the answers under way.
    ///
    /// # Errors
    /// If the listener fails for good.
    pub async fn serve(self, stop: CancellationToken) -> anyhow::Result<()> {
        let router = Router::new()
            .route("/", get(async || INDEX))
            .route("/metrics", get(metrics))
            .route("/livez", get(async || "ok\n"))
            .route("/readyz", get(readyz))
            .route("/plugins", get(plugins))
            .route("/reload", post(reload))
            .with_state(self.shown);
        let server = axum::serve(self.listener, router);
        server.with_graceful_shutdown(stop.cancelled_owned()).await.context("serve /metrics")
    }
}

async fn metrics(State(shown): State<Arc<Shown>>) -> Response {
    ([(header::CONTENT_TYPE, PROMETHEUS)], shown.metrics.render()).into_response()
}

async fn plugins(State(shown): State<Arc<Shown>>) -> Response {
    Json(shown.metrics.plugins()).into_response()
}

async fn readyz(State(shown): State<Arc<Shown>>) -> Response {
    let missing = shown.readiness.missing();
    if missing.is_empty() {
        return "ready\n".into_response();
    }
    let lines = missing.iter().map(|(part, why)| format!("{part}: {why}\n"));
    (StatusCode::SERVICE_UNAVAILABLE, lines.collect::<String>()).into_response()
}

/// Browsers send `Origin` with every POST of a page, those of a page that has
/// taken over our name (DNS rebinding) included.
async fn reload(State(shown): State<Arc<Shown>>, headers: HeaderMap) -> Response {
    if !headers.contains_key(GUARD) || headers.contains_key(header::ORIGIN) {
        let remedy = "send the header `Pelton-Reload: yes` and no `Origin`, \
            as `pelton reload` does: web pages may not ask for this\n";
        return (StatusCode::FORBIDDEN, remedy).into_response();
    }
    ask(&shown.reloads).await.into_response()
}

async fn ask(reloads: &Reloads) -> ReloadAnswer {
    let (answer, answered) = oneshot::channel();
    if reloads.try_send(answer).is_err() {
        return ReloadAnswer::unavailable("several reloads are waiting already, or the host stops");
    }
    answered.await.unwrap_or_else(|_| ReloadAnswer::unavailable("the host stops"))
}

impl ReloadAnswer {
    /// Nothing was changed, for this reason.
    pub fn refused(problems: impl Into<String>) -> ReloadAnswer {
        ReloadAnswer::failed(Outcome::Refused, problems.into())
    }

    /// Nobody can do it now, for this reason.
    pub fn unavailable(problem: impl Into<String>) -> ReloadAnswer {
        ReloadAnswer::failed(Outcome::Unavailable, problem.into())
    }

    fn failed(outcome: Outcome, problems: String) -> ReloadAnswer {
        ReloadAnswer {
            outcome,
            problems,
            swapped: Vec::new(),
            added: Vec::new(),
            removed: Vec::new(),
            untouched: Vec::new(),
            unfinished: BTreeMap::new(),
        }
    }
}

impl IntoResponse for ReloadAnswer {
    fn into_response(self) -> Response {
        let status = match self.outcome {
            Outcome::Reloaded => StatusCode::OK,
            Outcome::Unfinished => StatusCode::INTERNAL_SERVER_ERROR,
            Outcome::Refused => StatusCode::UNPROCESSABLE_ENTITY,
            Outcome::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        };
        (status, Json(self)).into_response()
    }
}
