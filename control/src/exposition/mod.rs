//! The metrics endpoint: `GET /metrics` answered with Prometheus text, and whatever pages the daemon has besides.
//!
//! [`serve`] runs the endpoint over a listener the daemon bound and asks the daemon for each answer. The daemon writes its numbers to
//! [`Metrics`], and its servers with [`write_fleet`]. `?scope=` and `no-maint` select some, as in HAProxy's exporter. Numbers live
//! with their owners, not here.

mod fleet;
mod gzip;
mod selection;
mod text;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, VARY};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

pub use fleet::write_fleet;
pub use gzip::gzip;
pub use text::{Family, Kind, Metrics};

use crate::shutdown::Shutdown;
use selection::Selection;

/// What a daemon answers beside metrics.
#[derive(Debug)]
pub struct Page {
    content_type: &'static str,
    text: String,
}

impl Page {
    /// Returns a page for browsers.
    pub fn html(text: String) -> Self {
        Self { content_type: HTML, text }
    }

    /// Returns a text.
    pub fn plain(text: String) -> Self {
        Self { content_type: PLAIN, text }
    }
}

/// Answers scrapes until the drain begins, then lets the answers in progress finish.
///
/// `write` writes all metrics, of which those not asked for are left out; `pages` returns what else is at a path.
pub async fn serve(
    listener: TcpListener,
    write: impl Fn(&mut Metrics) + Send + Sync + 'static,
    pages: impl Fn(&str) -> Option<Page> + Send + Sync + 'static,
    mut shutdown: Shutdown,
) {
    let content = Arc::new(Content { write, pages });
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.begun() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(answer(stream, Arc::clone(&content)));
                }
                Err(error) => {
                    warn!("metrics endpoint: accept: {error}");
                    // Short of descriptors, accept fails again at once; the pause keeps the loop from spinning.
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Answers the one request of a connection.
async fn answer<W: Fn(&mut Metrics), P: Fn(&str) -> Option<Page>>(stream: TcpStream, content: Arc<Content<W, P>>) {
    let service = service_fn(|request: Request<Incoming>| std::future::ready(Ok::<_, Infallible>(respond(&request, &content))));
    let connection = http1::Builder::new().keep_alive(false).max_buf_size(MAX_HEAD).serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION_TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!("metrics endpoint: {error}"),
        Err(_) => debug!("metrics endpoint: client took longer than {CONNECTION_TIMEOUT:?}"),
    }
}

/// Returns what a scrape with this query gets, and its type.
///
/// # Errors
/// Says that the query asks for a scope there is none of.
pub fn scrape(query: &str, write: impl Fn(&mut Metrics)) -> Result<(&'static str, String), &'static str> {
    let mut metrics = Metrics::of(Selection::parse(query)?);
    write(&mut metrics);
    Ok((PROMETHEUS, metrics.into_text()))
}

/// Where the answers come from.
struct Content<W, P> {
    write: W,
    pages: P,
}

impl<W: Fn(&mut Metrics), P: Fn(&str) -> Option<Page>> Content<W, P> {
    fn at(&self, uri: &Uri) -> Result<Page, (StatusCode, &'static str)> {
        if uri.path() != "/metrics" {
            return (self.pages)(uri.path()).ok_or((StatusCode::NOT_FOUND, "nothing is here\n"));
        }
        let scraped = scrape(uri.query().unwrap_or_default(), &self.write).map_err(|reason| (StatusCode::BAD_REQUEST, reason))?;
        Ok(Page { content_type: scraped.0, text: scraped.1 })
    }
}

fn respond<B, W: Fn(&mut Metrics), P: Fn(&str) -> Option<Page>>(request: &Request<B>, content: &Content<W, P>) -> Response<Full<Bytes>> {
    let answer = match *request.method() {
        Method::GET | Method::HEAD => content.at(request.uri()),
        _ => Err((StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n")),
    };
    let (status, page) = match answer {
        Ok(page) => (StatusCode::OK, page),
        Err((status, reason)) => (status, Page::plain(reason.to_owned())),
    };
    let accepted = request.headers().get_all(ACCEPT_ENCODING).iter().map(HeaderValue::as_bytes);
    let squeezed = gzip(accepted, page.text.as_bytes());
    let is_squeezed = squeezed.is_some();
    let mut response = Response::new(Full::new(squeezed.map_or_else(|| Bytes::from(page.text), Bytes::from)));
    *response.status_mut() = status;
    if is_squeezed {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    if status == StatusCode::OK {
        response.headers_mut().insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(page.content_type));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

const PLAIN: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Scrapers are few; more connections than this wait in the listen queue.
const MAX_CONNECTIONS: usize = 32;

/// From accept to the last byte of the answer.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The largest request head; hyper's least.
const MAX_HEAD: usize = 8192;

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::JoinHandle;

    use super::*;
    use crate::shutdown::Trigger;

    async fn endpoint() -> (SocketAddr, Trigger, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let trigger = Trigger::new();
        let write = |metrics: &mut Metrics| {
            metrics.family("up", Kind::Gauge, "It is.").whole(&[], 1);
            metrics.family("haproxy_server_weight", Kind::Gauge, "Weight.").whole(&[], 2);
        };
        let pages = |path: &str| (path == "/stats;csv").then(|| Page::plain("a,b\n".to_owned()));
        let server = tokio::spawn(serve(listener, write, pages, trigger.shutdown()));
        (address, trigger, server)
    }

    async fn exchange(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn endpoint_answers_metrics_and_nothing_else() {
        let (address, trigger, server) = endpoint().await;
        let cases = [
            (
                "GET /metrics",
                "HTTP/1.1 200 OK\r\n",
                "\nup 1\n# HELP haproxy_server_weight Weight.\n# TYPE haproxy_server_weight gauge\nhaproxy_server_weight 2\n",
            ),
            ("GET /metrics?scope=global", "HTTP/1.1 200 OK\r\n", "\r\n\r\n# HELP up It is.\n# TYPE up gauge\nup 1\n"),
            (
                "GET /metrics?scope=world",
                "HTTP/1.1 400 Bad Request\r\n",
                "\r\n\r\nscope must be one of global, frontend, backend, server, listener, sticktable, *\n",
            ),
            ("GET /stats;csv", "HTTP/1.1 200 OK\r\n", "\r\n\r\na,b\n"),
            ("HEAD /metrics", "HTTP/1.1 200 OK\r\n", "\r\n\r\n"),
            ("GET /", "HTTP/1.1 404 Not Found\r\n", "here\n"),
            ("POST /metrics", "HTTP/1.1 405 Method Not Allowed\r\n", "only GET and HEAD\n"),
        ];
        for (request, start, end) in cases {
            let answer = exchange(address, &format!("{request} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
            assert!(answer.starts_with(start) && answer.ends_with(end), "{request}: {answer:?}");
            assert_eq!(answer.contains("version=0.0.4"), start.contains("200") && request.contains("/metrics"), "{request}");
            assert_eq!(answer.contains("allow: GET, HEAD"), start.contains("405"), "{request}");
        }
        trigger.begin();
        server.await.unwrap();
    }

    #[tokio::test]
    async fn garbage_is_refused_and_the_endpoint_lives_on() {
        let (address, _trigger, _server) = endpoint().await;
        let answer = exchange(address, "\x16\x03\x01 hello\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer:?}");
        assert!(exchange(address, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.ends_with("weight 2\n"));
    }

    #[tokio::test]
    async fn drain_closes_the_listener_and_finishes_the_answers() {
        let (address, trigger, server) = endpoint().await;
        let mut early = TcpStream::connect(address).await.unwrap();
        early.write_all(b"GET /metrics HTTP/1.1\r\n").await.unwrap();
        // The second connection is answered after the first was accepted, so the drain finds the first in progress.
        exchange(address, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
        trigger.begin();
        early.write_all(b"Host: x\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        early.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("weight 2\n"), "{answer:?}");
        server.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn silent_clients_hold_up_to_the_limit_and_are_thrown_out() {
        let (address, _trigger, _server) = endpoint().await;
        // Before the first connection: its timeout runs from the moment it is accepted.
        let before = tokio::time::Instant::now();
        let mut silent = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        tokio::time::pause();
        // With the clock paused, this answer only comes once the timeout of the silent clients has passed.
        assert!(exchange(address, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.ends_with("weight 2\n"));
        assert!(before.elapsed() >= CONNECTION_TIMEOUT);
    }
}
