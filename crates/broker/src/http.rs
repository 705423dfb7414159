//! The node's HTTP face: metrics for Prometheus, health for whoever starts and stops it, its version.
//!
//! | path | answers |
//! |---|---|
//! | `/metrics` | Prometheus text format 0.0.4 (`scrape`) |
//! | `/health/live` | 200 as long as the process can answer at all |
//! | `/health/ready` | 200 once clients can connect, 503 before that and from the moment a stop begins |
//! | `/version` | the version, as JSON |
//! | `/debug/bundle` | all that helps to find a fault, as one JSON document (`bundle`) |
//!
//! Lives on: the control thread. At most [`HTTP_CONNECTIONS_MAX`] connections are open, and one page that asks the shards
//! is made at a time; whoever comes then waits.

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use types::limits::HTTP_CONNECTIONS_MAX;

use crate::node::NodeShared;
use crate::{bundle, scrape};

/// The version of Kafka whose behaviour is served.
pub const KAFKA_VERSION: &str = "4.3.1";

const STARTING: u8 = 0;
const READY: u8 = 1;
const STOPPING: u8 = 2;

/// What the HTTP face knows of the node: nothing at first, so that it can answer while the node recovers.
#[derive(Default)]
pub(crate) struct Http {
    stage: AtomicU8,
    node: OnceLock<Weak<NodeShared>>,
    /// Held while a page is made that asks the shards, so that no number of scrapers is more work for them than one.
    asks_shards: Mutex<()>,
}

impl Http {
    /// Binds the listener's address, `host:port`.
    ///
    /// # Errors
    /// What the system says, with the setting to change.
    pub(crate) fn bind(address: &str) -> io::Result<TcpListener> {
        let reword = |error: io::Error| {
            let cure = "set ringlog.http.listener to another host:port, or to nothing to go without";
            io::Error::new(error.kind(), format!("the HTTP listener cannot have {address}: {error}; {cure}"))
        };
        let address = address.to_socket_addrs().map_err(reword)?.next();
        let address = address.ok_or_else(|| reword(io::ErrorKind::AddrNotAvailable.into()))?;
        let listener = TcpListener::bind(address).map_err(reword)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    }

    /// Answers requests until its task is dropped.
    ///
    /// # Errors
    /// When the listener cannot be used by this thread's runtime.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener) -> io::Result<()> {
        let listener = Bounded {
            listener: tokio::net::TcpListener::from_std(listener)?,
            places: Arc::new(Semaphore::new(HTTP_CONNECTIONS_MAX)),
        };
        let router = Router::new()
            .route("/metrics", get(metrics))
            .route("/health/live", get(|| async { (StatusCode::OK, "live\n") }))
            .route("/health/ready", get(ready))
            .route("/version", get(|| async { as_json(StatusCode::OK, version()) }))
            .route("/debug/bundle", get(bundle))
            .with_state(self);
        axum::serve(listener, router).await
    }

    /// In a word, as `/health/ready` says it.
    fn stage(&self) -> &'static str {
        match self.stage.load(Ordering::Acquire) {
            STARTING => "starting",
            READY => "ready",
            _ => "stopping",
        }
    }

    /// Clients can connect from now on.
    pub(crate) fn set_ready(&self, node: &Arc<NodeShared>) {
        // A node becomes ready once; a second call would say nothing new.
        let _ = self.node.set(Arc::downgrade(node));
        self.stage.store(READY, Ordering::Release);
    }

    /// The node begins to stop: whoever sends it traffic should stop doing so.
    pub(crate) fn set_stopping(&self) {
        self.stage.store(STOPPING, Ordering::Release);
    }
}

/// A listener with a bounded number of connections: the next one is accepted when another has ended.
struct Bounded {
    listener: tokio::net::TcpListener,
    places: Arc<Semaphore>,
}

/// How long the listener waits when the system gives no connection, for want of descriptors say.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

impl axum::serve::Listener for Bounded {
    type Io = Placed;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Placed, SocketAddr) {
        let place = Arc::clone(&self.places).acquire_owned().await.expect("the semaphore is never closed");
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => return (Placed { stream, _place: place }, peer),
                Err(error) => {
                    tracing::warn!(%error, "HTTP: no connection can be accepted; trying again");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection with its place among those that may be open.
struct Placed {
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
}

impl AsyncRead for Placed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Placed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

async fn metrics(State(http): State<Arc<Http>>) -> Response {
    let node = http.node.get().and_then(Weak::upgrade);
    let Some(node) = node else { return (StatusCode::SERVICE_UNAVAILABLE, "starting\n").into_response() };
    let _alone = http.asks_shards.lock().await;
    let text = scrape::page(&node, http.stage()).await;
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

async fn bundle(State(http): State<Arc<Http>>) -> Response {
    let node = http.node.get().and_then(Weak::upgrade);
    let Some(node) = node else { return (StatusCode::SERVICE_UNAVAILABLE, "starting\n").into_response() };
    let _alone = http.asks_shards.lock().await;
    let document = bundle::document(&node, http.stage()).await;
    as_json(StatusCode::OK, format!("{document}\n"))
}

async fn ready(State(http): State<Arc<Http>>) -> Response {
    let stage = http.stage();
    if stage != "ready" {
        return as_json(StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", json!({ "status": stage })));
    }
    let node = http.node.get().and_then(Weak::upgrade);
    let refusals: Vec<String> =
        node.iter().flat_map(|node| node.log_dirs.iter()).filter_map(|dir| dir.refusal()).collect();
    // Fetch, deletion and retention go on when produce is refused, so the node stays ready, and says so.
    as_json(StatusCode::OK, format!("{}\n", json!({ "status": stage, "produce_refused": refusals })))
}

fn version() -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!("{}\n", json!({ "name": "ringlog", "version": version, "kafka_version": KAFKA_VERSION }))
}

fn as_json(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write as _};
    use std::net::TcpStream;

    use super::*;

    fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).expect("connected");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        answer
    }

    #[test]
    fn health_follows_the_node_and_unknown_paths_are_404() {
        let http = Arc::new(Http::default());
        let listener = Http::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let serving = Arc::clone(&http);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(serving.serve(listener))
        });
        assert!(get(address, "/health/live").starts_with("HTTP/1.1 200"));
        assert!(get(address, "/health/ready").starts_with("HTTP/1.1 503"));
        assert!(get(address, "/metrics").starts_with("HTTP/1.1 503"), "nothing to show before the node is there");
        assert!(get(address, "/version").ends_with(&version()));
        assert!(get(address, "/nothing").starts_with("HTTP/1.1 404"));
        http.stage.store(READY, Ordering::Release);
        let answer = get(address, "/health/ready");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"produce_refused\":[]"), "{answer}");
        http.set_stopping();
        assert!(get(address, "/health/ready").ends_with("{\"status\":\"stopping\"}\n"));
    }

    #[test]
    fn a_taken_port_names_the_setting() {
        let taken = Http::bind("127.0.0.1:0").expect("a free port");
        let address = taken.local_addr().expect("bound").to_string();
        let error = Http::bind(&address).expect_err("taken").to_string();
        assert!(error.contains("ringlog.http.listener") && error.contains(&address), "{error}");
    }
}
