//! Checks over HTTP/2: requests, beside Debian's haproxy, and gRPC's health service, by the library of its makers.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::certs::Authority;
use crate::checks::{Talker, Then, Trial, settled};
use crate::kit::{Daemon, Haproxy, PATIENCE, directory, unused_address};

#[test]
fn requests_over_http2_end_as_haproxys() {
    let authority = Authority::new();
    let pem = authority.pem(&["a.test"]);
    let [clear, old, secure, both] = [(); 4].map(|()| unused_address());
    let served = format!(
        "defaults\n mode http\n timeout connect 5s\n timeout client 5s\n timeout server 5s\nfrontend f\n option http-buffer-request\n bind {clear} proto h2\n bind {old}\n \
         bind {secure} ssl crt {pem} alpn h2\n bind {both} ssl crt {pem} alpn h2,http/1.1\n \
         http-request return status 503 if {{ path /busy }}\n \
         http-request return status 404 if {{ path /none }}\n \
         http-request return status 200 content-type text/plain lf-string \"%[req.ver] %[method] %[path] %[req.hdr(x-a)] %[req.body_len]\"\n",
        pem = pem.display()
    );
    let _server = Haproxy::find().start(&served, clear);
    let get = " option httpchk GET /x\n http-check expect string \"2.0 GET /x\"";
    let cases: Vec<(&str, SocketAddr, &str, String)> = vec![
        ("proto", clear, "check-proto h2", get.to_owned()),
        ("of-the-server", clear, "proto h2", get.to_owned()),
        ("busy", clear, "check-proto h2", " option httpchk GET /busy".to_owned()),
        ("none", clear, "check-proto h2", " option httpchk GET /none\n http-check disable-on-404".to_owned()),
        (
            "body",
            clear,
            "check-proto h2",
            " option httpchk\n http-check send meth POST uri /y ver HTTP/1.1 hdr Host h hdr X-A b body 12345\n \
             http-check expect string \"2.0 POST /y b 5\""
                .to_owned(),
        ),
        (
            "connect",
            clear,
            "",
            " option httpchk\n http-check connect proto h2\n http-check send meth GET uri /x\n http-check expect string 2.0".to_owned(),
        ),
        (
            "default",
            clear,
            "check-proto h2",
            " option httpchk\n http-check connect default\n http-check send uri /x\n http-check expect string 2.0".to_owned(),
        ),
        (
            "not-default",
            old,
            "check-proto h2",
            " option httpchk\n http-check connect\n http-check send uri /x\n http-check expect string 1.1".to_owned(),
        ),
        ("alpn", secure, "check-ssl verify none check-alpn h2", get.to_owned()),
        (
            "connect-alpn",
            secure,
            "verify none",
            " option httpchk\n http-check connect ssl alpn h2\n http-check send uri /x\n http-check expect string 2.0".to_owned(),
        ),
        ("no-alpn", both, "check-ssl verify none", " option httpchk GET /x\n http-check expect string 1.".to_owned()),
    ];
    let backend = |(name, address, words, lines): &(&str, SocketAddr, &str, String)| {
        (format!("b-{name}"), lines.clone(), format!("{address} {words}"))
    };
    Trial { defaults: " mode http\n timeout check 2s\n".to_owned(), backends: cases.iter().map(backend).collect() }.compare();
}

/// A health service whose answers are in a file, one line per service: its name, and its status or a word.
const HEALTH: &str = r#"
import grpc, sys, time
from concurrent import futures
def check(request, context):
    service = request[2:].decode() if request else "-"
    for line in open(sys.argv[2]):
        name, said = line.split()
        if name != service:
            continue
        if said == "hang":
            time.sleep(3)
        return b"junk" if said == "junk" else bytes([8, int(said)]) if said.isdigit() else b""
    context.abort(grpc.StatusCode.NOT_FOUND, "no such service: \u00e4")
server = grpc.server(futures.ThreadPoolExecutor(16))
service = "t.T" if sys.argv[2] == "none" else "grpc.health.v1.Health"
calls = {"Check": grpc.unary_unary_rpc_method_handler(check)}
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, calls),))
if len(sys.argv) > 3:
    read = lambda path: open(path, "rb").read()
    server.add_secure_port(sys.argv[1], grpc.ssl_server_credentials([(read(sys.argv[3]), read(sys.argv[4]))]))
else:
    server.add_insecure_port(sys.argv[1])
server.start()
server.wait_for_termination()
"#;

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn start(arguments: &[String]) -> Self {
        let mut command = Command::new("/usr/bin/python3");
        Self(command.arg("-c").arg(HEALTH).args(arguments).stderr(Stdio::null()).spawn().unwrap())
    }
}

fn wait_until_served(address: SocketAddr) {
    let end = Instant::now() + PATIENCE;
    while std::net::TcpStream::connect(address).is_err() {
        assert!(Instant::now() < end, "nobody listens on {address}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_health_service_of_grpc_is_asked() {
    let directory = directory();
    let file = directory.join("services");
    std::fs::write(&file, "- 1\na.Up 1\na.Down 2\na.Unknown 3\na.Hanging hang\na.Junk junk\na.Empty empty\n").unwrap();
    let [real, other, secure] = [(); 3].map(|()| unused_address());
    let authority = Authority::new();
    let issued = authority.issue(&["a.test"]);
    let shown = |path: &std::path::Path| path.display().to_string();
    let _servers = [
        Running::start(&[real.to_string(), shown(&file)]),
        Running::start(&[other.to_string(), "none".to_owned()]),
        Running::start(&[secure.to_string(), shown(&file), shown(&issued.key), shown(&issued.certificate)]),
    ];
    let web = Talker::start(b"", &[b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"], Then::Close);
    [real, other, secure].into_iter().for_each(wait_until_served);
    let cases: [(&str, SocketAddr, &str, &str, [&str; 4]); 11] = [
        ("all", real, "", "", ["UP", "L7OK", "200", "gRPC service is serving"]),
        ("up", real, " service a.Up", "", ["UP", "L7OK", "200", "gRPC service is serving"]),
        ("down", real, " service a.Down", "", ["DOWN", "L7STS", "200", "gRPC service is not serving"]),
        ("unknown", real, " service a.Unknown", "", ["DOWN", "L7STS", "200", "gRPC service is not known"]),
        ("absent", real, " service a.Absent", "", ["DOWN", "L7STS", "200", "gRPC status 5 (NOT_FOUND): no such service: \u{e4}"]),
        ("hanging", real, " service a.Hanging", "", ["DOWN", "L7TOUT", "", ""]),
        ("junk", real, " service a.Junk", "", ["DOWN", "L7RSP", "", "Not an answer of gRPC's health service"]),
        ("other", other, "", "", ["DOWN", "L7STS", "200", "gRPC status 12 (UNIMPLEMENTED): Method not found!"]),
        ("secure", secure, " service a.Up", "ssl verify none", ["UP", "L7OK", "200", "gRPC service is serving"]),
        ("clear", secure, "", "", ["DOWN", "L7RSP", "", ""]),
        ("web", web.address(), "", "", ["DOWN", "L7RSP", "", ""]),
    ];
    let backend = |(name, address, option, words, _): &(&str, SocketAddr, &str, &str, _)| {
        (format!("b-{name}"), format!(" option grpc-check{option}"), format!("{address} {words}"))
    };
    let socket = directory.join("s");
    let trial = Trial { defaults: String::new(), backends: cases.iter().map(backend).collect() };
    // The library starts slowly, and a check that comes too early is only made again after long.
    let config =
        trial.config(unused_address(), &socket).replace("timeout check 400ms", "timeout check 1500ms").replace("downinter 10s", "");
    let daemon = Daemon::start_haproxy(&config);
    let end = Instant::now() + PATIENCE;
    loop {
        let rows = settled(&socket);
        let wrong = cases.iter().find(|(name, .., expected)| {
            let row = &rows[&format!("b-{name}")].0;
            // How a connection breaks off is not always told in the same way.
            let [status, result, ..] = expected;
            match *result {
                "L7RSP" if expected[3].is_empty() => row[0] != *status || !matches!(row[1].as_str(), "L7RSP" | "SOCKERR"),
                _ => row[..4] != expected[..],
            }
        });
        let Some((name, .., expected)) = wrong else { break };
        assert!(Instant::now() < end, "{name}: {:?}, not {expected:?}", rows[&format!("b-{name}")]);
        thread::sleep(Duration::from_millis(50));
    }
    std::fs::write(&file, "- 1\na.Up 2\na.Down 1\n").unwrap();
    daemon.wait_for_log("server b-up/s is DOWN");
    daemon.wait_for_log("server b-down/s is UP");
    drop(daemon);
    let toml = format!(
        "[defaults]\nmode = \"http\"\ntimeout = {{ connect = \"1s\", client = \"5s\", server = \"5s\" }}\n\
         [frontend.f]\nbind = \"{}\"\ndefault-backend = \"b\"\n\
         [backend.b]\ncheck = {{ inter = \"100ms\", timeout = \"2s\", grpc = {{ service = \"a.Up\" }} }}\n\
         server = {{ s = {{ address = \"{real}\", proto = \"h2\" }} }}\n",
        unused_address(),
    );
    let daemon = Daemon::start(&toml);
    let said = daemon.wait_for_log("server b/s is DOWN");
    assert!(said.contains("gRPC service is not serving"), "{said}");
    drop(daemon);
    std::fs::remove_dir_all(&directory).unwrap();
}
