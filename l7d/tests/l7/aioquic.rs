//! aioquic, a client of HTTP/3 that shares no code with our engine.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::certs::Authority;
use crate::h3::site;
use crate::http::read_head;
use crate::kit::{Daemon, Server, unused_address};

const SCRIPT: &str = include_str!("aioquic_client.py");
const LONG: usize = 20_000_000;

/// Says what it was asked, or as much as it was asked for.
fn server() -> Server {
    Server::start(|mut stream| {
        loop {
            let head = read_head(&mut stream);
            if head.is_empty() {
                return;
            }
            let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            let mut body = vec![0; length.unwrap_or(0)];
            stream.read_exact(&mut body).unwrap();
            let answer = if head.starts_with("GET /long") {
                vec![b'x'; LONG]
            } else {
                let sum: u64 = body.iter().map(|byte| u64::from(*byte)).sum();
                format!("{} {} {sum}", head.lines().next().unwrap(), body.len()).into_bytes()
            };
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", answer.len());
            if stream.write_all(head.as_bytes()).is_err() || stream.write_all(&answer).is_err() {
                return;
            }
        }
    })
}

/// Returns where aioquic is, if it is.
fn library() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/aioquic");
    if folder.join("installed").is_file() {
        return Some(folder);
    }
    eprintln!("aioquic is not there, and nothing was tested: `cargo xtask setup` installs it where there is pip and a network");
    None
}

fn run(library: &Path, front: SocketAddr, root: &Path, orders: &Value) -> Value {
    let mut command = Command::new("/usr/bin/python3");
    command
        .arg("-c")
        .arg(SCRIPT)
        .arg(front.ip().to_string())
        .arg(front.port().to_string())
        .arg(root)
        .arg(orders.to_string())
        .env("PYTHONPATH", library);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn aioquic_is_served() {
    let Some(library) = library() else { return };
    let (authority, server) = (Authority::new(), server());
    for (words, retries) in [("", 0), ("quic-force-retry", 2)] {
        let front = unused_address();
        let lines = " http-response set-header alt-svc 'h3=\":443\"'\n http-response set-header x-version %[req.ver]";
        let _daemon = Daemon::start_haproxy(&site(front, &authority, (words, lines), server.address()));
        let orders = json!([
            { "method": "GET", "path": "/a?b" },
            { "method": "POST", "path": "/p", "body": "z", "times": 300_000 },
            { "method": "GET", "path": "/many", "count": 60 },
            { "method": "GET", "path": "/long" },
        ]);
        let all = run(&library, front, &authority.root(), &orders);
        let said = all["said"].as_array().unwrap();
        let text = |order: usize, number: usize| said[order][number]["text"].as_str().unwrap();
        assert_eq!(text(0, 0), "GET /a?b HTTP/1.1 0 0");
        assert_eq!(text(1, 0), format!("POST /p HTTP/1.1 300000 {}", 300_000 * u64::from(b'z')));
        assert_eq!((0..60).filter(|number| text(2, *number) == "GET /many HTTP/1.1 0 0").count(), 60);
        assert_eq!(said[3][0]["length"], LONG);
        assert_eq!(said[3][0]["sum"], (LONG * usize::from(b'x')) % 1_000_000_007);
        for answer in said.iter().flat_map(|order| order.as_array().unwrap()) {
            assert_eq!((answer["head"]["alt-svc"].as_str(), answer["head"]["x-version"].as_str()), (Some("h3=\":443\""), Some("3.0")));
        }
        assert_eq!(text(4, 0), "GET /again HTTP/1.1 0 0");
        assert_eq!(all["retries"], retries, "{words}");
        // No ticket invites to send anything early.
        assert!(all["early"].as_array().unwrap().iter().all(|most| most.is_null() || *most == 0), "{}", all["early"]);
    }
}
