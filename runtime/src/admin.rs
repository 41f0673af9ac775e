//! The HTTP server for operators: metrics and health. The only module that
//! knows axum. It shows what others know and decides nothing.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::telemetry::{Metrics, Readiness};

/// The media type of Prometheus' text format, version 0.0.4.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

const INDEX: &str = "pelton\n\n\
    /metrics  metrics in Prometheus' text format\n\
    /livez    200 while the process works\n\
    /readyz   200 when it handles events, else 503 with what is missing\n";

/// A server that is bound but not yet answering.
pub struct Admin {
    listener: TcpListener,
    address: SocketAddr,
    shown: Arc<Shown>,
}

struct Shown {
    metrics: Metrics,
    readiness: Readiness,
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
    ) -> anyhow::Result<Admin> {
        let listener = TcpListener::bind(address).await.with_context(|| {
            format!("listen on {address} for /metrics and health: choose another with --admin or [admin] listen")
        })?;
        let address = listener.local_addr().context("ask for the admin server's address")?;
        Ok(Admin { listener, address, shown: Arc::new(Shown { metrics, readiness }) })
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
            .with_state(self.shown);
        let server = axum::serve(self.listener, router);
        server.with_graceful_shutdown(stop.cancelled_owned()).await.context("serve /metrics")
    }
}

async fn metrics(State(shown): State<Arc<Shown>>) -> Response {
    ([(header::CONTENT_TYPE, PROMETHEUS)], shown.metrics.render()).into_response()
}

async fn readyz(State(shown): State<Arc<Shown>>) -> Response {
    let missing = shown.readiness.missing();
    if missing.is_empty() {
        return "ready\n".into_response();
    }
    let lines = missing.iter().map(|(part, why)| format!("{part}: {why}\n"));
    (StatusCode::SERVICE_UNAVAILABLE, lines.collect::<String>()).into_response()
}
