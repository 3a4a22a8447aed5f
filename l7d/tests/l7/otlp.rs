//! Spans: a collector gets them by OTLP over HTTP, servers are told their part, and a trace of the client's goes on.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::Value;

use crate::http::{ask, hello, length_of, read_head, status};
use crate::kit::{Daemon, PATIENCE, Server, connect, read, refusal, unused_address};

/// A collector: keeps the spans it is sent, each with the name of its service.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<(String, Value)>>>);

impl Collector {
    fn start(&self) -> Server {
        let collector = self.clone();
        Server::start(move |mut stream| {
            let head = read_head(&mut stream);
            let body: Value = serde_json::from_str(&read(&mut stream, length_of(&head))).expect("JSON");
            assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n") && head.contains("Content-Type: application/json\r\n"), "{head}");
            for resource in body["resourceSpans"].as_array().expect("resources") {
                let service = attributes(&resource["resource"])["service.name"].clone();
                for span in resource["scopeSpans"][0]["spans"].as_array().expect("spans") {
                    collector.0.lock().expect("no panic").push((service.clone(), span.clone()));
                }
            }
            let _ =
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}");
            let _ = stream.read(&mut [0]);
        })
    }

    /// Waits for so many spans, the ones with clients first.
    fn spans(&self, count: usize) -> Vec<(String, Value)> {
        let end = Instant::now() + PATIENCE;
        loop {
            let mut spans = self.0.lock().expect("no panic").clone();
            if spans.len() >= count {
                spans.sort_by_key(|(_, span)| span["kind"].as_u64());
                return spans;
            }
            assert!(Instant::now() < end, "{count} spans: {spans:?}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

fn attributes(of: &Value) -> HashMap<String, String> {
    let value = |pair: &Value| {
        let value = &pair["value"];
        let text = value["stringValue"].as_str().or_else(|| value["intValue"].as_str()).map(str::to_owned);
        text.or_else(|| Some(value["doubleValue"].as_f64()?.to_string())).expect("a value")
    };
    let pairs = of["attributes"].as_array().expect("attributes");
    pairs.iter().map(|pair| (pair["key"].as_str().expect("a name").to_owned(), value(pair))).collect()
}

fn cfg(web: SocketAddr, collector: SocketAddr, sample: &str, server: SocketAddr) -> String {
    format!(
        "global\n nbthread 1\n setenv OTEL_EXPORTER_OTLP_ENDPOINT http://{collector}\n setenv OTEL_SERVICE_NAME edge\n \
         setenv OTEL_TRACES_SAMPLER_ARG {sample}\ndefaults\n mode http\n timeout connect 1s\n timeout client 30s\n timeout server 30s\n\
         frontend web\n bind {web}\n http-request deny deny_status 403 if {{ path /no }}\n http-request del-header traceparent if {{ path /public }}\n default_backend app\nbackend app\n server s1 {server}\n"
    )
}

fn get(web: SocketAddr, path: &str, fields: &str) -> String {
    ask(&mut connect(web), &format!("GET {path} HTTP/1.1\r\nHost: shop.test\r\n{fields}\r\n")).0
}

/// Returns the field of the last request that a server has seen.
fn parent(seen: &Mutex<Vec<String>>) -> Option<String> {
    let seen = seen.lock().expect("no panic");
    seen.last().expect("a request").lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("traceparent: ").map(str::to_owned))
}

#[test]
fn requests_become_spans_and_traces_go_on() {
    let (web, collector, (server, seen)) = (unused_address(), Collector::default(), hello());
    let place = collector.start();
    let _daemon = Daemon::start_haproxy(&cfg(web, place.address(), "1", server.address()));
    let before = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_nanos();
    assert_eq!(status(&get(web, "/a/b?c=d", "User-Agent: curl/8\r\n")), "200");
    let told = parent(&seen).expect("the server is told");
    let [(service, outer), (_, inner)] = &collector.spans(2)[..] else { panic!("two spans") };
    assert_eq!(service, "edge");
    let trace = outer["traceId"].as_str().expect("a trace");
    assert_eq!(told, format!("00-{trace}-{}-01", inner["spanId"].as_str().expect("a span")));
    assert_eq!((&inner["traceId"], &inner["parentSpanId"]), (&outer["traceId"], &outer["spanId"]));
    assert!(outer["parentSpanId"].is_null(), "the trace begins here");
    assert_eq!((outer["kind"].as_u64(), inner["kind"].as_u64()), (Some(2), Some(3)));
    let known = attributes(outer);
    for (name, value) in [
        ("http.request.method", "GET"),
        ("url.path", "/a/b"),
        ("url.query", "c=d"),
        ("server.address", "shop.test"),
        ("network.protocol.version", "1.1"),
        ("http.response.status_code", "200"),
        ("l7d.frontend", "web"),
        ("l7d.backend", "app"),
        ("l7d.server", "s1"),
        ("l7d.termination", "--"),
        ("l7d.retries", "0"),
        ("url.scheme", "http"),
        ("client.address", "127.0.0.1"),
        ("user_agent.original", "curl/8"),
    ] {
        assert_eq!(known.get(name).map(String::as_str), Some(value), "{name}: {known:?}");
    }
    for step in ["request", "queue", "connect", "response", "data"] {
        let took: f64 = known[&format!("l7d.time.{step}")].parse().expect("seconds");
        assert!((0.0..10.0).contains(&took), "{step}: {took}");
    }
    let asked = attributes(inner);
    assert_eq!((&*asked["server.address"], asked["server.port"].parse()), ("127.0.0.1", Ok(server.address().port())));
    let time = |span: &Value, name: &str| span[name].as_str().expect("a time").parse::<u128>().expect("a number");
    let [began, asked, over] = [time(outer, "startTimeUnixNano"), time(inner, "startTimeUnixNano"), time(outer, "endTimeUnixNano")];
    assert!(before <= began + 1_000_000 && began <= asked && asked <= over, "{before} {began} {asked} {over}");

    collector.0.lock().expect("no panic").clear();
    let theirs = "4bf92f3577b34da6a3ce929d0e0e4736";
    get(web, "/", &format!("traceparent: 00-{theirs}-00f067aa0ba902b7-01\r\ntracestate: a=b\r\n"));
    let [(_, outer), (_, inner)] = &collector.spans(2)[..] else { panic!("two spans") };
    assert_eq!((outer["traceId"].as_str(), outer["parentSpanId"].as_str()), (Some(theirs), Some("00f067aa0ba902b7")));
    assert_eq!(parent(&seen), Some(format!("00-{theirs}-{}-01", inner["spanId"].as_str().expect("a span"))));
    assert!(seen.lock().expect("no panic").last().expect("a request").contains("tracestate: a=b"), "the state stays");

    collector.0.lock().expect("no panic").clear();
    let unsampled = format!("00-{theirs}-00f067aa0ba902b7-00");
    get(web, "/", &format!("traceparent: {unsampled}\r\n"));
    assert_eq!(parent(&seen), Some(unsampled), "what the client wants no span of has none");
    get(web, "/public", &format!("traceparent: 00-{theirs}-00f067aa0ba902b7-01\r\n"));
    let [(_, outer), _] = &collector.spans(2)[..] else { panic!("two spans") };
    assert!(outer["traceId"] != theirs && outer["parentSpanId"].is_null(), "rules may begin a trace: {outer}");

    collector.0.lock().expect("no panic").clear();
    get(web, "/", "traceparent: 00-zz\r\ntracestate: a=b\r\n");
    let [(_, outer), _] = &collector.spans(2)[..] else { panic!("two spans") };
    assert!(
        outer["parentSpanId"].is_null() && !seen.lock().expect("no panic").last().expect("a request").contains("tracestate"),
        "{outer}"
    );

    collector.0.lock().expect("no panic").clear();
    assert_eq!(status(&get(web, "/no", "")), "403");
    let denied = collector.spans(1);
    assert_eq!(denied.len(), 1, "no server was asked: {denied:?}");
    assert_eq!(attributes(&denied[0].1)["l7d.termination"], "PR");
}

#[test]
fn without_a_sample_nothing_is_sent_and_a_lost_collector_holds_nobody_up() {
    let (web, metrics, nobody, (server, seen)) = (unused_address(), unused_address(), unused_address(), hello());
    let text = |sample: &str| {
        let mut text = format!(
            "[global]\nmetrics = \"{metrics}\"\notlp = {{ endpoint = \"http://{nobody}\", sample = \"{sample}\" }}\n\
             [defaults]\nmode = \"http\"\ntimeout = {{ connect = \"1s\", client = \"5s\", server = \"5s\" }}\n"
        );
        write!(
            text,
            "[frontend.web]\nbind = \"{web}\"\ndefault-backend = \"app\"\n[backend.app]\nserver = {{ s1 = \"{}\" }}\n",
            server.address()
        )
        .expect("memory");
        text
    };
    let daemon = Daemon::start(&text("0%"));
    get(web, "/", "");
    let told = parent(&seen).expect("the server is told");
    assert!(told.ends_with("-00"), "that nobody follows: {told}");
    get(web, "/", "");
    assert_ne!(parent(&seen), Some(told), "every request is one of its own");
    daemon.reload(&text("100%"));
    let end = Instant::now() + PATIENCE;
    while parent(&seen).is_none_or(|told| told.ends_with("-00")) {
        assert_eq!(status(&get(web, "/", "")), "200");
        assert!(Instant::now() < end, "a reload takes effect");
    }
    daemon.wait_for_log("spans are lost: ");
    let (_, told) = ask(&mut connect(metrics), "GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n");
    let lost = told.lines().find_map(|line| line.strip_prefix("l7d_spans_total{outcome=\"lost\"} ")).expect("a number");
    assert!(lost.parse::<u64>().expect("a number") >= 2 && told.contains("l7d_spans_total{outcome=\"sent\"} 0\n"), "{told}");
}

#[test]
fn the_last_spans_are_sent_before_the_process_ends() {
    let (web, collector, (server, _)) = (unused_address(), Collector::default(), hello());
    let place = collector.start();
    let mut daemon = Daemon::start_haproxy(&cfg(web, place.address(), "1", server.address()));
    assert_eq!(status(&get(web, "/", "Connection: close\r\n")), "200");
    daemon.signal("TERM");
    assert!(daemon.wait().success());
    assert_eq!(collector.spans(2).len(), 2);
}

#[test]
fn without_a_collector_servers_are_told_nothing() {
    let (web, (server, seen)) = (unused_address(), hello());
    let _daemon =
        Daemon::start_haproxy(&cfg(web, web, "1", server.address()).replace("setenv OTEL_EXPORTER_OTLP_ENDPOINT", "setenv OTHER"));
    assert_eq!(status(&get(web, "/", "")), "200");
    assert_eq!(parent(&seen), None);
}

#[test]
fn where_spans_cannot_go_is_refused() {
    for (otlp, message) in [
        ("{ endpoint = \"https://otel:4318\" }", "spans go over http:// only"),
        ("{ endpoint = \"otel\" }", "`otel` is not the address of a collector"),
        ("{ endpoint = \"http://otel\", sample = \"120%\" }", "`120%` is not a part of all requests"),
        ("{ sample = \"1\" }", "endpoint"),
    ] {
        let said = refusal(&format!("[global]\notlp = {otlp}\n"));
        assert!(said.contains("site.toml:2:") && said.contains(message), "{otlp}: {said}");
    }
}
