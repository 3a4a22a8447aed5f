//! Tests of probes and of the checking task against real sockets on the loopback interface.

use std::future::Future;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::config::Config;
use crate::fleet::{CheckResult, Transition};
use crate::server_state::{Admin, Status};
use crate::shutdown::Trigger;

/// Longer than anything here takes, unless it hangs.
const DEADLINE: Duration = Duration::from_secs(10);

fn config(check: &str, servers: &str) -> Arc<Config> {
    let text = format!("[backend.app]\nmode = \"tcp\"\ncheck = {{ {check} }}\n[backend.app.server]\n{servers}\n");
    Arc::new(Config::parse("test.toml", &text).expect("the test's configuration is right"))
}

/// Probes once, as a check written so would.
async fn probe_once(check: &str, address: SocketAddr) -> CheckOutcome {
    let config = config(check, &format!("web1 = \"{address}\""));
    let check = Arc::new(config.servers()[0].check().expect("the server is checked").clone());
    let (secured, backend, server) = (Arc::default(), "app".to_owned(), "web1".to_owned());
    let subject = Subject { check, secured, backend, server, state: None, is_running: true, briefing: None };
    timeout(DEADLINE, sequence::probe(&subject)).await.expect("a probe ends by itself")
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Returns an address at which nothing listens, for as long as the socket is held.
fn refusing() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// Answers one connection with `answer`, keeps it open until the client leaves, and returns the request.
async fn answer_once(answer: &'static [u8]) -> (SocketAddr, JoinHandle<String>) {
    let (listener, address) = listen().await;
    let server = tokio::spawn(async move {
        let mut stream = listener.accept().await.unwrap().0;
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        // A client that has seen enough may reset the connection while this is being written.
        let _ = stream.write_all(answer).await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
        String::from_utf8(request).unwrap()
    });
    (address, server)
}

#[tokio::test]
async fn tcp_probe_tells_open_from_refused() {
    let (listener, open) = listen().await;
    let outcome = probe_once("tcp = {}", open).await;
    assert_eq!((outcome.result, outcome.detail.as_str()), (CheckResult::Connected, ""));
    let (mut stream, _) = listener.accept().await.unwrap();
    let end = stream.read(&mut [0]).await.unwrap_err();
    assert_eq!(end.kind(), std::io::ErrorKind::ConnectionReset, "the probe leaves no connection in TIME-WAIT");
    let (_socket, closed) = refusing();
    let outcome = probe_once("tcp = {}", closed).await;
    assert_eq!((outcome.result, outcome.detail.as_str()), (CheckResult::ConnectFailed, "Connection refused"));
}

#[tokio::test]
async fn connecting_to_a_silent_address_times_out() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    // A full accept queue makes Linux drop the SYN, as a dead machine would.
    let mut queue = Vec::new();
    while let Ok(stream) = timeout(Duration::from_millis(100), TcpStream::connect(address)).await {
        queue.push(stream.unwrap());
        assert!(queue.len() < 64, "the queue never fills");
    }
    for check in ["tcp = {}, inter = \"100ms\"", "http = { path = \"/\" }, inter = \"100ms\""] {
        let outcome = probe_once(check, address).await;
        assert_eq!(outcome.result, CheckResult::ConnectTimeout, "{check}");
        assert!(outcome.duration >= Duration::from_millis(100));
    }
}

#[tokio::test]
async fn http_probe_judges_the_head_of_the_answer() {
    let expect_200 = "http = { path = \"/healthz\", expect = \"status 200\" }";
    let any = "http = { path = \"/healthz\" }";
    let (passed, wrong) = (CheckResult::Passed, CheckResult::WrongStatus);
    let cases: [(&str, &'static [u8], CheckResult, Option<u16>); 9] = [
        (expect_200, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", passed, Some(200)),
        (expect_200, b"HTTP/1.0 200 OK\r\n\r\n", passed, Some(200)),
        (expect_200, b"HTTP/1.1 204 No Content\r\n\r\n", wrong, Some(204)),
        (any, b"HTTP/1.1 302 Found\r\nlocation: /\r\n\r\n", passed, Some(302)),
        (any, b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 9\r\n\r\n", wrong, Some(503)),
        (any, b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\nstart", passed, Some(200)),
        (any, b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", passed, Some(200)),
        (any, b"SSH-2.0-OpenSSH_9.2\r\n", CheckResult::BadResponse, None),
        (any, &[b'x'; 64 * 1024], CheckResult::BadResponse, None),
    ];
    for (check, answer, result, code) in cases {
        let (address, _server) = answer_once(answer).await;
        let outcome = probe_once(check, address).await;
        let start = String::from_utf8_lossy(&answer[..answer.len().min(40)]);
        assert_eq!((outcome.result, outcome.code), (result, code), "{check}: {start:?}: {outcome}");
    }
}

#[tokio::test]
async fn http_probe_sends_what_the_file_says() {
    let (address, server) = answer_once(b"HTTP/1.1 200 OK\r\n\r\n").await;
    probe_once("http = { method = \"HEAD\", path = \"/a?b=%20c\", host = \"app.internal\" }", address).await;
    let request = server.await.unwrap();
    assert!(request.starts_with("HEAD /a?b=%20c HTTP/1.1\r\n"), "{request}");
    for header in ["host: app.internal\r\n", "connection: close\r\n"] {
        assert_eq!(request.matches(header).count(), 1, "{header} in {request}");
    }
    let (address, server) = answer_once(b"HTTP/1.1 200 OK\r\n\r\n").await;
    probe_once("http = { path = \"/\" }", address).await;
    let request = server.await.unwrap();
    assert!(request.contains(&format!("host: {address}\r\n")), "{request}");
}

#[tokio::test]
async fn silent_and_closing_servers_fail_http_probes() {
    let (_listener, silent) = listen().await;
    let outcome = probe_once("http = { path = \"/\" }, inter = \"100ms\"", silent).await;
    assert_eq!(outcome.result, CheckResult::ResponseTimeout);
    assert!((Duration::from_millis(100)..DEADLINE).contains(&outcome.duration));

    let (listener, closing) = listen().await;
    tokio::spawn(async move { drop(listener.accept().await) });
    let outcome = probe_once("http = { path = \"/\" }", closing).await;
    // Whether the request had come before the end decides how it looks.
    assert!(matches!(outcome.result, CheckResult::BadResponse | CheckResult::SocketError), "{outcome}");
}

/// A fleet under check, and the transitions it makes.
struct Lab {
    fleet: Fleet,
    transitions: tokio::sync::mpsc::UnboundedReceiver<Transition>,
    trigger: Trigger,
    task: JoinHandle<()>,
}

impl Lab {
    fn start(config: Arc<Config>) -> Self {
        let (fleet, trigger) = (Fleet::new(config), Trigger::new());
        let mut changes = fleet.subscribe();
        let (sender, transitions) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            loop {
                let batch = changes.next().await;
                assert_eq!(batch.missed, 0);
                for transition in batch.transitions {
                    if sender.send(transition).is_err() {
                        return;
                    }
                }
            }
        });
        let daemon = Daemon { load: Box::new(|_, _| None), prepare: |_| {} };
        let task = tokio::spawn(run(fleet.clone(), daemon, trigger.shutdown()));
        Self { fleet, transitions, trigger, task }
    }

    async fn next(&mut self) -> (String, Status) {
        let transition = within(self.transitions.recv()).await.expect("the sender lives as long as the test");
        (transition.server, transition.to)
    }

    fn id(&self, server: &str) -> ServerId {
        self.fleet.config().server_named("app", server).unwrap().id()
    }

    async fn stop(self) {
        self.trigger.begin();
        within(self.task).await.unwrap();
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.expect("it happens within the deadline")
}

const FAST: &str = "tcp = {}, inter = \"20ms\", rise = 2, fall = 3";

#[tokio::test]
async fn server_that_dies_goes_down_and_comes_back() {
    let (listener, address) = listen().await;
    let (_socket, closed) = refusing();
    let mut lab = Lab::start(config(FAST, &format!("web1 = \"{address}\"\nweb2 = \"{closed}\"")));
    assert_eq!(lab.next().await, ("web2".to_owned(), Status::Down));
    within(listener.accept()).await.unwrap();
    drop(listener);
    assert_eq!(lab.next().await, ("web1".to_owned(), Status::Down));
    let _listener = TcpListener::bind(address).await.unwrap();
    assert_eq!(lab.next().await, ("web1".to_owned(), Status::Up));
    lab.stop().await;
}

#[tokio::test]
async fn server_in_maintenance_is_left_alone_until_it_returns() {
    let (_socket, closed) = refusing();
    let mut lab = Lab::start(config(FAST, &format!("web1 = {{ address = \"{closed}\", disabled = true }}")));
    let view = lab.fleet.view();
    assert!(timeout(Duration::from_millis(100), lab.transitions.recv()).await.is_err());
    assert_eq!(lab.fleet.snapshot().servers[0].last_check, None);
    lab.fleet.set_admin(&view, lab.id("web1"), Admin::Ready);
    assert_eq!(lab.next().await, ("web1".to_owned(), Status::Up));
    assert_eq!(lab.next().await, ("web1".to_owned(), Status::Down));
    lab.stop().await;
}

#[tokio::test]
async fn reload_checks_new_servers_and_forgets_old_ones() {
    let (listener, address) = listen().await;
    let (_socket, closed) = refusing();
    let slow = "tcp = {}, inter = \"1h\"";
    let mut lab = Lab::start(config(slow, &format!("web1 = \"{address}\"")));
    within(listener.accept()).await.unwrap();
    lab.fleet.replace(config(slow, &format!("web2 = \"{closed}\"\nweb1 = \"{address}\"")));
    assert_eq!(lab.next().await, ("web2".to_owned(), Status::Down));
    assert!(timeout(Duration::from_millis(50), listener.accept()).await.is_err(), "a server that stays keeps its place in the schedule");
    lab.fleet.replace(config("tcp = {}, inter = \"1h\", fall = 7", &format!("web1 = \"{address}\"")));
    within(listener.accept()).await.expect("a changed check starts at once");
    lab.stop().await;
}

#[tokio::test]
async fn ramp_reaches_full_weight_by_itself() {
    let (_listener, address) = listen().await;
    let servers = format!("web1 = {{ address = \"{address}\", slowstart = \"80ms\" }}");
    let mut lab = Lab::start(config("tcp = {}, inter = \"1h\"", &servers));
    let view = lab.fleet.view();
    let mut changes = lab.fleet.subscribe();
    lab.fleet.set_admin(&view, lab.id("web1"), Admin::Maint);
    lab.fleet.set_admin(&view, lab.id("web1"), Admin::Ready);
    assert_eq!((lab.next().await.1, lab.next().await.1), (Status::Maint, Status::Up));
    let mut weight = 0;
    while weight < 16 {
        within(changes.next()).await;
        let now = lab.fleet.effective_weight(lab.id("web1"));
        assert!(now >= weight, "weights only grow");
        weight = now;
    }
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_dead_servers_are_known_within_seconds() {
    use std::fmt::Write;
    let (_socket, closed) = refusing();
    let mut servers = String::new();
    for number in 0..2000 {
        writeln!(servers, "web{number} = \"{closed}\"").unwrap();
    }
    let started = Instant::now();
    let mut lab = Lab::start(config("tcp = {}, inter = \"2s\"", &servers));
    for _ in 0..2000 {
        assert_eq!(lab.next().await.1, Status::Down);
    }
    assert!(started.elapsed() < Duration::from_secs(5), "first probes take a second: {:?}", started.elapsed());
    lab.stop().await;
}
