//! Answers of our own: error files, redirections, whatever a rule says; the same bytes that Debian's haproxy sends.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;

use crate::http::{ask, ok, server, status};
use crate::kit::{Daemon, Haproxy, PATIENCE, Server, connect, directory, refusal, unused_address};

/// Files that answers come from.
const FILES: [(&str, &str); 8] = [
    ("plain", "HTTP/1.1 503 Busy\r\nCache-Control: no-cache\r\nContent-Type: text/html\r\nContent-Length: 9\r\n\r\n<b>x</b>\n"),
    ("other", "HTTP/1.1 200 Fine\r\nX-B: 1\r\nX-B: 2\r\n\r\nhello"),
    ("lines", "HTTP/1.0 503 Service Unavailable\nX-A: b\n\nhello\n"),
    ("closing", "HTTP/1.1 403 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"),
    ("nothing", "HTTP/1.1 204 Nothing\r\nX-A: b\r\n\r\n"),
    ("bare", "HTTP/1.1 503\r\nA: b\r\n\r\nx"),
    ("empty", ""),
    ("text", "text %[path] %HM\n"),
];

/// Rules of the frontend, each for a path of its own.
const RULES: [(&str, &str); 24] = [
    ("/deny", "deny"),
    ("/deny418", "deny status 418"),
    ("/denyfield", "deny status 418 hdr A b"),
    ("/deny400", "deny deny_status 400"),
    ("/deny504", "deny deny_status 504"),
    ("/denyfile", "deny errorfile closing"),
    ("/denyempty", "deny errorfile empty"),
    ("/return", "return"),
    ("/return404", "return status 404"),
    ("/fields", "return status 503 hdr A b hdr B %[path]"),
    ("/file", "return errorfile plain"),
    ("/other", "return status 500 errorfile other"),
    ("/lines", "return errorfile lines"),
    ("/nothing", "return errorfile nothing"),
    ("/bare", "return errorfile bare"),
    ("/silence", "return errorfile empty"),
    ("/section", "return status 503 errorfiles e1"),
    ("/missing", "return status 500 errorfiles e1"),
    ("/default", "return status 403 default-errorfiles"),
    ("/text", "return status 429 content-type a/b string x hdr A b hdr Content-Type c hdr Connection close"),
    ("/format", "return content-type a/b lf-string \"%[path] %HM\" hdr X-P %[query]"),
    ("/textfile", "return content-type a/b file text"),
    ("/formatfile", "return content-type a/b lf-file text"),
    ("/nothingfile", "return content-type a/b file empty"),
];

/// Backends without a server, each with its answers, as haproxy writes them.
const BACKENDS: [(&str, &[&str]); 7] = [
    ("plain", &[]),
    ("elsewhere", &["errorloc 503 http://o.example/x?y"]),
    ("elsewhere303", &["errorloc303 503 /sorry"]),
    ("section", &["errorfiles e1 503"]),
    ("whole", &["errorfiles e1"]),
    ("format", &["http-error status 503 content-type text/plain lf-string \"%[path] %b %ST\" hdr X-H %[req.hdr(host)]"]),
    ("own", &["http-error status 503 default-errorfiles hdr X-A b", "errorfile 403 other"]),
];

const FRONTEND: [&str; 4] = [
    "errorfile 503 plain",
    "errorfile 408 empty",
    "errorfile 403 closing",
    "http-error status 400 content-type a/b lf-string \"bad %[path] %ST\" hdr A %[src]",
];

/// What our configuration is written in.
#[derive(Clone, Copy)]
enum Language {
    Toml,
    Haproxy,
}

/// Both proxies with the same answers.
struct Pair {
    ours: SocketAddr,
    theirs: SocketAddr,
    our_log: UdpSocket,
    their_log: UdpSocket,
    _processes: (Daemon, crate::kit::HaproxyProcess),
}

impl Pair {
    fn start(directory: &Path, broken: &Server, language: Language) -> Self {
        for (name, text) in FILES {
            std::fs::write(directory.join(name), text).unwrap();
        }
        let (ours, theirs) = (unused_address(), unused_address());
        let log = || {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket
        };
        let (our_log, their_log) = (log(), log());
        let at = our_log.local_addr().unwrap();
        let daemon = match language {
            Language::Toml => Daemon::start(&toml(directory, ours, at, broken.address())),
            Language::Haproxy => Daemon::start_haproxy(&cfg(directory, ours, at, broken.address())),
        };
        let haproxy = Haproxy::find().start(&cfg(directory, theirs, their_log.local_addr().unwrap(), broken.address()), theirs);
        Self { ours, theirs, our_log, their_log, _processes: (daemon, haproxy) }
    }

    /// Sends a request to both and compares what they say and log.
    fn compare(&self, request: &str) {
        let ours = (converse(self.ours, request), logged(&self.our_log));
        let theirs = (converse(self.theirs, request), logged(&self.their_log));
        assert_eq!(ours, theirs, "{request:?}");
    }
}

/// Writes the names of files with their directory.
fn with_directory(text: &str, directory: &Path) -> String {
    let mut out = text.to_owned();
    for word in
        ["errorfile ", "lf-file ", " file ", "errorfile 502 ", "errorfile 503 ", "errorfile 408 ", "errorfile 403 ", "errorfile 400 "]
    {
        for (name, _) in FILES {
            let with = format!("{word}{}/{name}", directory.display());
            out = out.replace(&format!("{word}{name}"), &with);
        }
    }
    out
}

fn cfg(directory: &Path, front: SocketAddr, log: SocketAddr, broken: SocketAddr) -> String {
    let mut text = format!(
        "global\n log {log} local0\nhttp-errors e1\n errorfile 503 lines\n errorfile 400 other\ndefaults\n mode http\n log global\n option httplog\n\
         timeout connect 2s\n timeout client 30s\n timeout server 30s\n timeout http-request 1s\n errorfile 502 other\n errorloc 504 /late\n\
         frontend front\n bind {front}\n"
    );
    for line in FRONTEND {
        writeln!(text, " {line}").unwrap();
    }
    for (path, action) in RULES {
        writeln!(text, " http-request {action} if {{ path {path} }}").unwrap();
    }
    text += " use_backend broken if { path /broken }\n use_backend %[path,field(3,/)] if { path_beg /to/ }\n default_backend plain\n";
    for (name, lines) in BACKENDS {
        writeln!(text, "backend {name}\n http-request deny if {{ path_end /denied }}").unwrap();
        lines.iter().for_each(|line| writeln!(text, " {line}").unwrap());
    }
    text += &format!("backend broken\n server s1 {broken}\n");
    with_directory(&text, directory)
}

fn toml(directory: &Path, front: SocketAddr, log: SocketAddr, broken: SocketAddr) -> String {
    let keys = |lines: &[&str]| {
        let mut text = String::new();
        for line in lines {
            let (key, rest) = line.split_once(' ').unwrap();
            match (key, rest.split_once(' ')) {
                ("errorfile" | "errorloc" | "errorloc303", Some((status, value))) => {
                    let value = if key == "errorfile" { format!("{}/{value}", directory.display()) } else { value.to_owned() };
                    writeln!(text, "{key}.{status} = '{value}'").unwrap();
                }
                _ => writeln!(text, "{key} = '{rest}'").unwrap(),
            }
        }
        text
    };
    let rules: String = RULES.iter().map(|(path, action)| format!("'http-request {action} if {{ path {path} }}',\n")).collect();
    let mut text = format!(
        "[global]\nnbthread = 2\nlog = ['{log} local0']\n[http-errors.e1]\n{}[defaults]\nmode = 'http'\noption = ['httplog']\n\
         timeout = {{ connect = '2s', client = '30s', server = '30s', http-request = '1s' }}\n{}[frontend.front]\nbind = ['{front}']\n{}\
         rules = [\n{}'use_backend broken if {{ path /broken }}', 'use_backend %[path,field(3,/)] if {{ path_beg /to/ }}']\n\
         default-backend = 'plain'\n",
        keys(&["errorfile 503 lines", "errorfile 400 other"]),
        keys(&["errorfile 502 other", "errorloc 504 /late"]),
        keys(&FRONTEND),
        with_directory(&rules, directory)
    );
    for (name, lines) in BACKENDS {
        write!(text, "[backend.{name}]\nrules = ['http-request deny if {{ path_end /denied }}']\n{}", keys(lines)).unwrap();
    }
    text + &format!("[backend.broken]\nserver.s1 = '{broken}'\n")
}

/// Sends a request and then another that ends the connection; returns all that comes, in one letter case where case means nothing.
///
/// haproxy writes the version that a file has; we write our own. The words of pages are each proxy's own.
fn converse(address: SocketAddr, request: &str) -> Vec<String> {
    let mut client = connect(address);
    client.write_all(request.as_bytes()).unwrap();
    // Not to be taken for a part of the first request where that is cut short.
    if request.ends_with("\r\n\r\n") {
        let _ = client.write_all(b"GET /nothingfile HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    }
    let mut bytes = Vec::new();
    let _ = client.read_to_end(&mut bytes);
    let text = String::from_utf8(bytes).unwrap().replace("HTTP/1.0", "HTTP/1.1");
    let mut seen: Vec<String> = text.split("HTTP/1.1 ").map(comparable).collect();
    seen.retain(|part| !part.is_empty());
    seen
}

fn comparable(answer: &str) -> String {
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { return answer.to_owned() };
    let mut lines: Vec<String> = head.split("\r\n").map(str::to_owned).collect();
    for line in &mut lines[1..] {
        if let Some((name, value)) = line.split_once(": ") {
            *line = format!("{}: {value}", name.to_lowercase());
        }
    }
    // HTTP/1.0 closes without saying so.
    lines.retain(|line| line != "connection: close");
    let is_page = body.starts_with("<html>");
    if is_page {
        lines.retain(|line| !line.starts_with("content-length: "));
        lines[0].truncate(3);
    }
    format!("{}\r\n\r\n{}", lines.join("\r\n"), if is_page { "<html>" } else { body })
}

/// Returns server, status and termination of the next line.
fn logged(log: &UdpSocket) -> String {
    let mut packet = [0; 8192];
    loop {
        let count = log.recv(&mut packet).expect("a line in the log");
        let line = String::from_utf8_lossy(&packet[..count]).into_owned();
        let (_, line) = line.split_once("]: ").unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        if !line.contains("/nothingfile") {
            return format!("{} {} {}", words[3], words[5], words[9]);
        }
    }
}

#[test]
fn answers_are_those_of_debian_haproxy() {
    let directory = directory();
    let broken = Server::start(|mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n");
    });
    for language in [Language::Toml, Language::Haproxy] {
        compare(&Pair::start(&directory, &broken, language));
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

fn compare(pair: &Pair) {
    let paths = RULES.iter().map(|(path, _)| (*path).to_owned()).filter(|path| path != "/nothingfile");
    let paths = paths.chain(BACKENDS.iter().flat_map(|(name, _)| [format!("/to/{name}"), format!("/to/{name}/denied")]));
    for path in paths.chain(["/broken".to_owned()]) {
        pair.compare(&format!("GET {path}?q=1 HTTP/1.1\r\nHost: h\r\n\r\n"));
    }
    for path in ["/file", "/other", "/format", "/nothing", "/to/elsewhere", "/to/format"] {
        pair.compare(&format!("HEAD {path} HTTP/1.1\r\nHost: h\r\n\r\n"));
    }
    pair.compare("GET /to/elsewhere HTTP/1.0\r\n\r\n");
    pair.compare("GET /late HTTP/1.1\r\n");
}

#[test]
fn an_answer_from_a_file_goes_over_http_2_too() {
    let directory = directory();
    let (one, _) = server(|_, _| ok("one"));
    let pair = Pair::start(&directory, &one, Language::Toml);
    for path in ["/file", "/other", "/to/elsewhere", "/to/format"] {
        let url = format!("http://{}{path}", pair.ours);
        let mut command = std::process::Command::new("curl");
        let output = command.args(["-s", "-i", "--http2-prior-knowledge", "--max-time", "20", &url]).output().unwrap();
        let over_frames = String::from_utf8(output.stdout).unwrap();
        let mut client = connect(pair.ours);
        client.write_all(format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", pair.ours).as_bytes()).unwrap();
        let mut plain = String::new();
        client.read_to_string(&mut plain).unwrap();
        let plain = comparable(plain.strip_prefix("HTTP/1.1 ").unwrap());
        let (first, rest) = plain.split_once("\r\n").unwrap();
        let expected = format!("HTTP/2 {} \r\n{rest}", &first[..3]);
        assert_eq!(over_frames, expected, "{path}");
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn a_client_goes_on_after_its_server_failed() {
    let broken = Server::start(|_| ());
    let (fine, _) = server(|_, _| ok("fine"));
    let front = unused_address();
    let site = format!(
        "[defaults]\nmode = \"http\"\ntimeout = {{ connect = \"2s\", client = \"30s\", server = \"30s\" }}\n[frontend.front]\nbind = [\"{front}\"]\n\
         rules = [\"use_backend broken if {{ path /broken }}\"]\ndefault-backend = \"fine\"\n[backend.broken]\nretries = 0\n\
         server.s1 = \"{}\"\n[backend.fine]\nserver.s1 = \"{}\"\n",
        broken.address(),
        fine.address()
    );
    let _daemon = Daemon::start(&site);
    let mut client = connect(front);
    assert_eq!(status(&ask(&mut client, "GET /broken HTTP/1.1\r\nHost: h\r\n\r\n").0), "502");
    assert_eq!(ask(&mut client, "GET / HTTP/1.1\r\nHost: h\r\n\r\n").1, "fine");
}

#[test]
fn what_cannot_be_an_answer_is_refused_with_its_place() {
    let directory = directory();
    for (name, text) in FILES.into_iter().chain([("long", "HTTP/1.1 503 x\r\nContent-Length: 9\r\n\r\nx")]) {
        std::fs::write(directory.join(name), text).unwrap();
    }
    let shown = directory.display().to_string();
    let cases = [
        (format!("errorfile = {{ 503 = '{shown}/text' }}"), "site.toml:4:22: ", "holds no whole response"),
        (format!("errorfile = {{ 503 = '{shown}/none' }}"), "site.toml:4:22: ", "No such file"),
        (format!("errorfile = {{ 503 = '{shown}/long' }}"), "site.toml:4:22: ", "its Content-Length is 9, and its body has 1 bytes"),
        ("errorfile = { 418 = '/x' }".to_owned(), "site.toml:4:15: ", "`418` is not a status that can have another answer"),
        ("errorfiles = 'e1'".to_owned(), "site.toml:4:15: ", "no section http-errors `e1`"),
        ("http-error = 'status 503 string x'".to_owned(), "site.toml:4:26: ", "a text needs its type"),
        ("http-error = 'content-type a/b string x'".to_owned(), "site.toml:4:", "`http-error` needs a status"),
        ("http-error = 'status 418'".to_owned(), "site.toml:4:15: ", "no answer of its own for status 418"),
        ("rules = 'http-request return status 204 content-type a/b string x'".to_owned(), "site.toml:4:", "status 204 has no text"),
        ("rules = 'http-request return errorfiles e1'".to_owned(), "site.toml:4:41: ", "no section http-errors `e1`"),
        ("rules = 'http-request deny deny_status 418'".to_owned(), "site.toml:4:28: ", "there is no page for status 418"),
        ("rules = 'http-request return content-type a/b string x file y'".to_owned(), "site.toml:4:", "are two answers"),
    ];
    for (line, place, message) in cases {
        let said = refusal(&format!("[frontend.front]\nbind = ['127.0.0.1:1']\ndefault-backend = 'b'\n{line}\n[backend.b]\n"));
        assert!(said.contains(place) && said.contains(message), "{line}: {said}");
    }
    std::fs::remove_dir_all(&directory).unwrap();
}
