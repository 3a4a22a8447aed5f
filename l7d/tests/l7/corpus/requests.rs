//! What the configurations of the corpus are asked, and what they log of it.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// Requests without the line that ends their head.
pub(crate) const REQUESTS: [&str; 22] = [
    "GET / HTTP/1.1\r\nHost: www.example.org\r\n",
    "GET / HTTP/1.1\r\nHost: example.org\r\n",
    "GET /v1/users HTTP/1.1\r\nHost: a\r\n",
    "GET /v2/users HTTP/1.1\r\nHost: a\r\nX-Channel: BETA\r\n",
    "POST /v2/users HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 2\r\n",
    "POST /v2/users HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n",
    "OPTIONS /v1/ HTTP/1.1\r\nHost: a\r\nOrigin: http://b\r\n",
    "GET /v3 HTTP/1.1\r\nHost: a\r\nOrigin: http://b\r\n",
    "GET /home HTTP/1.1\r\nHost: a\r\n",
    "POST /home HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n",
    "GET /login?next=/x HTTP/1.1\r\nHost: a.example.org\r\n",
    "GET /in HTTP/1.1\r\nHost: a\r\n",
    "GET /in HTTP/1.1\r\nHost: a\r\nCookie: x=y; SEEN=1\r\n",
    "GET /some/where?q=1 HTTP/1.1\r\nHost: a\r\n",
    "GET /private/x HTTP/1.1\r\nHost: a\r\n",
    "GET /a/b/c HTTP/1.1\r\nHost: a\r\nUser-Agent: bad bot/1\r\n",
    "GET /a/b/c HTTP/1.1\r\nHost: a\r\nUser-Agent: good/1\r\n",
    "GET /x/../y HTTP/1.1\r\nHost: a\r\n",
    "GET /images/a HTTP/1.1\r\nHost: www.other.org\r\n",
    "GET /x HTTP/1.1\r\nHost: a\r\nCookie: canary=yes\r\nAccept-Encoding: gzip\r\n",
    "GET /IN/file HTTP/1.1\r\nHost: a\r\nX-Bin: ABC\r\n",
    "GET /ws HTTP/1.1\r\nHost: a\r\n",
];

/// Returns requests put together at random, each time the same ones for a name.
pub(super) fn random(name: &str) -> Vec<String> {
    let mut state = name.bytes().fold(0x9e37_79b9_7f4a_7c15_u64, |state, byte| (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let mut draw = move |list: &[&'static str]| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        list[usize::try_from(state >> 33).unwrap() % list.len()]
    };
    let mut request = || {
        let method = draw(&METHODS);
        let mut head = format!("{method} {}{} HTTP/1.1\r\nHost: {}\r\n", draw(&PATHS), draw(&QUERIES), draw(&HOSTS));
        for _ in 0..3 {
            head.push_str(draw(&FIELDS));
        }
        if method == "POST" { format!("{head}Content-Length: 2\r\n") } else { head }
    };
    (0..40).map(|_| request()).collect()
}

const METHODS: [&str; 6] = ["GET", "GET", "GET", "POST", "OPTIONS", "DELETE"];
const PATHS: [&str; 32] = [
    "/",
    "/alive",
    "/health",
    "/login",
    "/stats",
    "/status.json",
    "/assets/app-0123abcd.js",
    "/assets/v12/a.css",
    "/old/path",
    "/put/x",
    "/run.cgi",
    "/trap/x",
    "/upload/file",
    "/urgent",
    "/batch",
    "/socket",
    "/chat/1",
    "/admin/x",
    "/internal/x",
    "/java/app",
    "/php/index.php",
    "/img/a.png",
    "/secret",
    "/in/file",
    "/also",
    "/v1/users",
    "/v2/users",
    "/users.Service/Get",
    "/grpc.health.v1.Health/Check",
    "/oops",
    "/in",
    "/private/x",
];
const QUERIES: [&str; 5] = ["", "", "?q=1", "?sid=abc&debug=1", "?next=%2fhome"];
const HOSTS: [&str; 8] =
    ["www", "a.example.org", "b.example.org", "www.example.org", "A.Example.org", "moved.example.org", "none", "www.example.org:8080"];
const FIELDS: [&str; 28] = [
    "",
    "",
    "",
    "X-Canary: 1\r\n",
    "Cookie: canary=yes; group=b\r\n",
    "Cookie: group=a; session=1\r\n",
    "Cookie: PHPSESSID=abc; SRV=none\r\n",
    "Cookie: JSESSIONID=j1~abc\r\n",
    "User-Agent: some bot/1\r\n",
    "User-Agent: Mozilla/5.0 (X11)\r\n",
    "X-Api-Key: paid-1\r\n",
    "X-Api-Key: other\r\n",
    "X-Real-IP: 198.51.100.7\r\n",
    "X-Real-IP: 203.0.113.7\r\n",
    "Accept-Language: fr;q=0.9, de\r\n",
    "Accept-Encoding: gzip\r\n",
    "Origin: https://www.example.org\r\n",
    "Range: bytes=0-1\r\n",
    "Content-Type: application/grpc\r\n",
    "Content-Type: text/html\r\n",
    "X-Later: 1\r\n",
    "Authorization: Basic YW5uOnNlY3JldA==\r\n",
    "Authorization: Basic YWRtaW46c2VjcmV0\r\n",
    // Right, too old, of somebody else, and not signed with the key.
    "Authorization: Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUub3JnIiwic3ViIjoiYW5uIiwiZXhwIjo0MDAwMDAwMDAwfQ.G1SpWut_Dw6__bqWZCK54-fhdrDMJVZ7v2MxxxItMe8\r\n",
    "Authorization: Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUub3JnIiwic3ViIjoiYW5uIiwiZXhwIjoxMDAwMDAwMDAwfQ.mZcu3utln0BeI0xO534aTeipiXy8Kbut59KsczvChSo\r\n",
    "Authorization: Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJodHRwczovL290aGVyLmV4YW1wbGUub3JnIiwic3ViIjoiYW5uIiwiZXhwIjo0MDAwMDAwMDAwfQ.LHt4ZWihj2DGLVK9kHUq47O3D1Mmt0U7RL88KyeErYw\r\n",
    "Authorization: Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUub3JnIiwic3ViIjoiYW5uIiwiZXhwIjo0MDAwMDAwMDAwfQ.xJxyohbrVlGdBMnLzeSeaV_h20rrpI5DPXwb5vUdC1Q\r\n",
    "X-Custom: a b, c\r\n",
];

/// Returns what is compared of a line about clients of an address; none of other lines.
pub(super) type Read = fn(&str, SocketAddr) -> Option<String>;

/// Where a program logs to.
pub(super) struct Log(UdpSocket);

impl Log {
    pub(super) fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        Self(socket)
    }

    /// Puts its address in the place of another one.
    pub(super) fn instead_of(&self, address: &str, text: &str) -> String {
        text.replace(address, &self.0.local_addr().unwrap().to_string())
    }

    /// Reads lines about requests to `address` until none comes for a while.
    fn read(&self, address: SocketAddr, read: Read, lines: &mut Vec<String>) {
        let mut buffer = [0; 4096];
        while let Ok(length) = self.0.recv(&mut buffer) {
            lines.extend(read(&String::from_utf8_lossy(&buffer[..length]), address));
        }
    }
}

/// Returns what two programs say of the same requests, each to its own address, once both have said as much; sorted, because threads
/// write when they come to it.
pub(super) fn said(logs: [(&Log, SocketAddr); 2], read: Read) -> [Vec<String>; 2] {
    let mut lines = [Vec::new(), Vec::new()];
    let end = Instant::now() + PATIENCE;
    loop {
        for ((log, address), lines) in logs.iter().zip(&mut lines) {
            log.read(*address, read, lines);
        }
        if lines[0].len() == lines[1].len() || Instant::now() > end {
            lines.iter_mut().for_each(|lines| lines.sort());
            return lines;
        }
    }
}

/// Returns what a line says, but for times, ports, bytes (which are counted in different ways), and how many connections there were.
pub(super) fn line(line: &str, address: SocketAddr) -> Option<String> {
    // Behind the header and the time in brackets.
    let (_, rest) = line.split_once("] ")?;
    let rest = rest.trim_end().replace(&address.to_string(), "ADDRESS");
    let words: Vec<&str> = rest.split(' ').collect();
    let [frontend, server, _times, status, _bytes, request_cookie, response_cookie, state, _counts, _queues, rest @ ..] = &words[..] else {
        return None;
    };
    Some(format!("{frontend} {server} {status} {request_cookie} {response_cookie} {state} {}", rest.join(" ")))
}

const PATIENCE: Duration = Duration::from_secs(10);
