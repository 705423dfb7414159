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
//! is made at a time; whoever comes then waits. A client that does not ask, or does not take its reply, loses its place
//! after [`HTTP_REQUEST_WAIT_MS_MAX`] or [`HTTP_REPLY_STALL_MS_MAX`].

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{Sleep, sleep};
use types::limits::{HTTP_CONNECTIONS_MAX, HTTP_REPLY_STALL_MS_MAX, HTTP_REQUEST_WAIT_MS_MAX};

use crate::node::NodeShared;
use crate::{bundle, scrape};

/// The version of Kafka whose behaviour is served.
pub const KAFKA_VERSION: &str = "4.3.1";

const STARTING: u8 = 0;
const READY: u8 = 1;
const STOPPING: u8 = 2;

/// How long a client is waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Until the head of its next request is there, from its connection or its last reply on.
    request: Duration,
    /// While it takes nothing of its reply.
    reply: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            request: Duration::from_millis(HTTP_REQUEST_WAIT_MS_MAX),
            reply: Duration::from_millis(HTTP_REPLY_STALL_MS_MAX),
        }
    }
}

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
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener, patience: Patience) -> io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let router = Router::new()
            .route("/metrics", get(metrics))
            .route("/health/live", get(|| async { (StatusCode::OK, "live\n") }))
            .route("/health/ready", get(ready))
            .route("/version", get(|| async { as_json(StatusCode::OK, version()) }))
            .route("/debug/bundle", get(bundle))
            .with_state(self);
        let service = TowerToHyperService::new(router);
        let mut http1 = http1::Builder::new();
        http1.timer(TokioTimer::new()).header_read_timeout(patience.request);
        let places = Arc::new(Semaphore::new(HTTP_CONNECTIONS_MAX));
        loop {
            // The next connection is accepted when one has ended.
            let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
            let (stream, peer) = accept(&listener).await;
            let stream = Patient { stream, wait: patience.reply, stalled: None };
            let serving = http1.serve_connection(TokioIo::new(stream), service.clone());
            tokio::spawn(async move {
                if let Err(error) = serving.await {
                    tracing::debug!(%peer, %error, "HTTP connection ended early");
                }
                drop(place);
            });
        }
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

/// How long the listener waits when the system gives no connection, for want of descriptors say.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

async fn accept(listener: &tokio::net::TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                tracing::warn!(%error, "HTTP: no connection can be accepted; trying again");
                sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

/// A connection whose writes fail when its client takes nothing for a while.
struct Patient {
    stream: TcpStream,
    wait: Duration,
    /// Runs while a write waits for the client.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl AsyncRead for Patient {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Poll::Ready(written) = Pin::new(&mut self.stream).poll_write(cx, bytes) {
            self.stalled = None;
            return Poll::Ready(written);
        }
        let wait = self.wait;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(wait)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
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

    fn serve(http: &Arc<Http>, patience: Patience) -> SocketAddr {
        let listener = Http::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let serving = Arc::clone(http);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(serving.serve(listener, patience))
        });
        address
    }

    #[test]
    fn clients_that_do_not_ask_lose_their_places() {
        let patience = Patience { request: Duration::from_millis(300), ..Patience::default() };
        let address = serve(&Arc::new(Http::default()), patience);
        let connect = || TcpStream::connect(address).expect("connected");
        // As many as there are places: silent, half way through a head, and idle after a reply.
        let mut idle: Vec<TcpStream> = (0..HTTP_CONNECTIONS_MAX).map(|_| connect()).collect();
        for stream in &mut idle[..20] {
            stream.write_all(b"GET /version HTTP/1.1\r\nHost:").expect("sent");
        }
        for stream in &mut idle[20..40] {
            stream.write_all(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
            assert!(stream.read(&mut [0; 1024]).expect("answered") > 0);
        }
        assert!(get(address, "/version").ends_with(&version()), "the next one gets a place");
        for mut stream in idle {
            let mut rest = Vec::new();
            // A reset says the same: what was sent in the meantime was not read.
            let _ = stream.read_to_end(&mut rest);
        }
    }

    #[test]
    fn a_client_that_takes_nothing_of_its_reply_loses_its_place() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
            let (stream, _) = accept(&listener).await;
            let mut patient = Patient { stream, wait: Duration::from_millis(100), stalled: None };
            let reply = vec![0; 1 << 20];
            let fault = loop {
                if let Err(error) = tokio::io::AsyncWriteExt::write_all(&mut patient, &reply).await {
                    break error;
                }
            };
            assert_eq!(fault.kind(), io::ErrorKind::TimedOut);
            drop(client);
        });
    }

    #[test]
    fn health_follows_the_node_and_unknown_paths_are_404() {
        let http = Arc::new(Http::default());
        let address = serve(&http, Patience::default());
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
