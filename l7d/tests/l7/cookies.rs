//! Persistence by cookies: the same requests get the same servers, fields and letters of the log from us and from Debian's haproxy.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::http::{server, status};
use crate::kit::{Daemon, Haproxy, PATIENCE, Server, connect, unused_address};

/// One cookie in both formats, and what clients send.
struct Case {
    ours: &'static str,
    theirs: &'static str,
    /// Further lines of the backend, in both formats.
    more: [&'static str; 2],
    servers: Servers,
    steps: &'static [Step],
}

/// A method, and fields of the request; those called `Give` come back as fields of the response, `Status` is its status.
type Step = (&'static str, &'static [&'static str]);

/// The servers behind the cookie.
#[derive(Clone, Copy)]
enum Servers {
    /// `s1` and `s2`.
    Both,
    /// `s1`, and a dead `s2`.
    Dead,
    /// `s1`; `s2` in maintenance, `s3` without weight.
    Away,
    /// `s1` in maintenance, the backup of the same value, and another.
    Shared,
    /// Two whose values are made of their addresses.
    Nameless,
}

const fn case(ours: &'static str, theirs: &'static str, steps: &'static [Step]) -> Case {
    Case { ours, theirs, more: ["", ""], servers: Servers::Both, steps }
}

const PLAIN: &[Step] = &[
    ("GET", &[]),
    ("GET", &["Cookie: SRV=s2"]),
    ("GET", &["Cookie: a=1; SRV=s2; b=2"]),
    ("GET", &["Cookie: SRV=s2; b=2"]),
    ("GET", &["Cookie: a=1;SRV=s2"]),
    ("GET", &["Cookie: SRV=zz; b=2"]),
    ("GET", &["Cookie: SRV=; b=2"]),
    ("GET", &["Cookie: SRV=\"s2\"; b=2"]),
    ("GET", &["Cookie: SRV=s2; SRV=s1"]),
    ("GET", &["Cookie: SRV=zz; SRV=s1"]),
    ("GET", &["Cookie: x=1", "Cookie: SRV=s2"]),
    ("GET", &["Cookie: $Version=1; SRV=s2; $Path=/"]),
    ("GET", &["Cookie: srv=s2"]),
    ("GET", &["Cookie: a=1, SRV=s2, b=2"]),
    ("GET", &["Cookie: SRV"]),
    ("GET", &["Cookie: SRV =s2"]),
    ("GET", &["Cookie: SRV=s2|abc"]),
    ("HEAD", &[]),
    ("POST", &[]),
    ("GET", &["Status: 404", "Give: Cache-Control: max-age=5"]),
    ("GET", &["Status: 302", "Give: Cache-Control: max-age=5"]),
    ("GET", &["Give: Cache-Control: no-cache"]),
    ("GET", &["Give: Cache-Control: public"]),
    ("GET", &["Give: Cache-Control: max-age=5, private"]),
    ("GET", &["Give: Cache-Control: no-cache=\"set-cookie\", max-age=5"]),
    ("GET", &["Give: Cache-Control: public, s-maxage=5"]),
    ("GET", &["Give: ETag: \"x\""]),
    ("POST", &["Give: ETag: \"x\""]),
    ("PUT", &["Give: ETag: \"x\""]),
    ("GET", &["Give: Last-Modified: Sat, 28 Nov 2026 20:00:00 GMT", "Give: Pragma: no-cache"]),
    ("GET", &["Give: Expires: 0"]),
    ("GET", &["Give: Set-Cookie: SRV=own; path=/"]),
    ("GET", &["Give: Set-Cookie: SRV=own", "Give: Set-Cookie: b=2", "Cookie: SRV=s2"]),
];

const DATED: &[Step] = &[
    ("GET", &["Cookie: SRV=s2"]),
    ("GET", &["Cookie: SRV=s2|{+3000}"]),
    ("GET", &["Cookie: SRV=s2|{-40}"]),
    ("GET", &["Cookie: SRV=s2|{-100}"]),
    ("GET", &["Cookie: SRV=s2|{+3000}|{-100}"]),
    ("GET", &["Cookie: SRV=s2|{-40}|{-100}"]),
    ("GET", &["Cookie: SRV=s2|{-40}|{-400}"]),
    ("GET", &["Cookie: SRV=s2|{-100}|{-400}"]),
    ("GET", &["Cookie: SRV=s2|{+90000}|{-40}"]),
    ("GET", &["Cookie: SRV=s2|{-40}|{+90000}"]),
    ("GET", &["Cookie: SRV=s2|abc"]),
    ("GET", &["Cookie: SRV=s2||{-40}"]),
    ("GET", &["Cookie: SRV=s2|{-40}|"]),
    ("GET", &["Cookie: SRV=s2|{+3000}xx|{-40}"]),
    ("GET", &["Cookie: SRV=s2|!!!!!"]),
];

const STRAYS: &[Step] =
    &[("GET", &["Cookie: SRV=s2"]), ("GET", &["Cookie: SRV=s3"]), ("GET", &[]), ("GET", &["Give: Set-Cookie: SRV=own"])];

const CASES: &[Case] = &[
    case("mode = \"insert\", indirect = true, nocache = true", "insert indirect nocache", PLAIN),
    case(
        "mode = \"insert\"",
        "insert",
        &[
            ("GET", &[]),
            ("GET", &["Cookie: SRV=s2; a=1"]),
            ("GET", &["Cookie: SRV=zz; a=1"]),
            ("GET", &["Cookie: SRV=s2", "Give: Set-Cookie: SRV=own"]),
        ],
    ),
    case(
        "mode = \"insert\", indirect = true, preserve = true",
        "insert indirect preserve",
        &[("GET", &[]), ("GET", &["Give: Set-Cookie: SRV=own"]), ("GET", &["Cookie: SRV=s2", "Give: Set-Cookie: SRV=own"])],
    ),
    case(
        "mode = \"insert\", postonly = true, httponly = true, secure = true, domain = [\".a.example\", \".b.example\"], \
         attr = [\"SameSite=Lax\", \"Priority=High\"]",
        "insert postonly httponly secure domain .a.example domain .b.example attr SameSite=Lax attr Priority=High",
        &[("GET", &[]), ("POST", &[]), ("POST", &["Cookie: SRV=s2"]), ("GET", &["Cookie: SRV=s9"])],
    ),
    case(
        "mode = \"rewrite\"",
        "rewrite",
        &[
            ("GET", &[]),
            ("GET", &["Give: Set-Cookie: SRV=own; path=/"]),
            ("GET", &["Give: Set-Cookie: SRV=; path=/"]),
            ("GET", &["Give: Set-Cookie: SRV", "Cookie: SRV=s2; a=1"]),
            ("GET", &["Give: Set-Cookie: SRV = \"x y\"; path=/", "Cookie: SRV=s2"]),
        ],
    ),
    case(
        "mode = \"prefix\", indirect = true",
        "prefix indirect",
        &[("GET", &["Give: Set-Cookie: SRV=own; path=/"]), ("GET", &["Give: Set-Cookie: SRV=own; path=/", "Cookie: SRV=s2~x; a=1"])],
    ),
    case(
        "mode = \"passive\"",
        "",
        &[("GET", &["Give: Set-Cookie: SRV=s1; path=/"]), ("GET", &["Give: Set-Cookie: SRV=s2; path=/", "Cookie: SRV=s2; a=1"])],
    ),
    case(
        "mode = \"prefix\"",
        "prefix",
        &[
            ("GET", &[]),
            ("GET", &["Give: Set-Cookie: SRV=own; path=/"]),
            ("GET", &["Cookie: SRV=s2~own; a=1"]),
            ("GET", &["Cookie: a=1; SRV=own"]),
            ("GET", &["Cookie: SRV=zz~own"]),
            ("GET", &["Cookie: SRV=s2"]),
            ("GET", &["Cookie: SRV=~own"]),
            ("GET", &["Cookie: SRV=s2~", "Give: Set-Cookie: SRV=n~n"]),
            ("GET", &["Cookie: SRV=s2~a; SRV=s1~b"]),
        ],
    ),
    case("mode = \"insert\", indirect = true, maxidle = \"60s\", maxlife = \"5m\"", "insert indirect maxidle 60s maxlife 5m", DATED),
    case("mode = \"insert\", indirect = true, maxidle = \"60s\"", "insert indirect maxidle 60s", DATED),
    case("mode = \"insert\", indirect = true, maxlife = \"5m\"", "insert indirect maxlife 5m", DATED),
    Case {
        servers: Servers::Dead,
        more: ["retries = 1", "retries 1"],
        ..case("mode = \"insert\", indirect = true", "insert indirect", &[("GET", &["Cookie: SRV=s2"])])
    },
    Case {
        servers: Servers::Dead,
        more: ["retries = 1\noption = [\"redispatch\"]", "retries 1\n option redispatch"],
        ..case("mode = \"insert\", indirect = true", "insert indirect", &[("GET", &["Cookie: SRV=s2"])])
    },
    Case {
        servers: Servers::Dead,
        more: [
            "retries = 1\noption = [\"redispatch\"]\nrules = [\"force-persist if TRUE\"]",
            "retries 1\n option redispatch\n force-persist if TRUE",
        ],
        ..case("mode = \"insert\", indirect = true", "insert indirect", &[("GET", &["Cookie: SRV=s2"])])
    },
    Case { servers: Servers::Away, ..case("mode = \"insert\", indirect = true", "insert indirect", STRAYS) },
    Case {
        servers: Servers::Away,
        more: ["option = [\"persist\"]", "option persist"],
        ..case("mode = \"insert\", indirect = true", "insert indirect", STRAYS)
    },
    Case {
        servers: Servers::Away,
        more: ["rules = [\"force-persist if { hdr_cnt(give) eq 0 }\"]", "force-persist if { hdr_cnt(give) eq 0 }"],
        ..case("mode = \"insert\", indirect = true", "insert indirect", STRAYS)
    },
    Case {
        servers: Servers::Away,
        more: ["rules = [\"ignore-persist unless { path /p }\"]", "ignore-persist unless { path /p }"],
        ..case("mode = \"insert\", indirect = true", "insert indirect", STRAYS)
    },
    Case {
        servers: Servers::Shared,
        ..case("mode = \"insert\", indirect = true", "insert indirect", &[("GET", &["Cookie: SRV=s1"]), ("GET", &["Cookie: SRV=s3"])])
    },
    Case {
        servers: Servers::Nameless,
        more: ["dynamic-cookie-key = \"secret\"", "dynamic-cookie-key secret"],
        ..case(
            "mode = \"insert\", indirect = true, dynamic = true",
            "insert indirect dynamic",
            &[("GET", &[]), ("GET", &[]), ("GET", &["Cookie: SRV=a"]), ("GET", &["Cookie: SRV=0123456789abcdef"])],
        )
    },
    Case {
        more: ["rules = [\"http-response deny if { status 200 }\"]", "http-response deny if { status 200 }"],
        ..case("mode = \"insert\"", "insert", &[("GET", &["Cookie: SRV=s2"]), ("GET", &[])])
    },
];

/// Servers that say who they are and which cookies they saw.
struct Pool {
    a: Server,
    b: Server,
    /// Bound, and never listening.
    dead: SocketAddr,
}

impl Pool {
    fn start() -> Self {
        let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Self { a: speaker("a"), b: speaker("b"), dead }
    }

    /// Returns the servers in both formats.
    fn servers(&self, which: Servers) -> [String; 2] {
        let (a, b, dead) = (self.a.address(), self.b.address(), self.dead);
        let list: &[(&str, SocketAddr, &str, &str)] = match which {
            Servers::Both => &[("a", a, "s1", ""), ("b", b, "s2", "")],
            Servers::Dead => &[("a", a, "s1", ""), ("b", dead, "s2", "")],
            Servers::Away => &[("a", a, "s1", ""), ("b", b, "s2", "disabled"), ("c", b, "s3", "weight 0")],
            Servers::Shared => &[("a", a, "s1", "disabled"), ("b", b, "s1", "backup"), ("c", b, "s3", "")],
            Servers::Nameless => &[("a", a, "", ""), ("b", b, "", "")],
        };
        let mut both = [String::from("[backend.back.server]\n"), String::new()];
        for (name, address, cookie, more) in list {
            let settings = match *more {
                "" => String::new(),
                "weight 0" => ", weight = 0".to_owned(),
                flag => format!(", {flag} = true"),
            };
            let [ours, theirs] = match *cookie {
                "" => [String::new(), String::new()],
                cookie => [format!(", cookie = \"{cookie}\""), format!(" cookie {cookie}")],
            };
            writeln!(both[0], "{name} = {{ address = \"{address}\"{ours}{settings} }}").unwrap();
            writeln!(both[1], " server {name} {address}{theirs} {more}").unwrap();
        }
        both
    }
}

fn speaker(name: &'static str) -> Server {
    server(move |head, _| {
        let of = |field: &'static str| {
            head.lines().filter_map(move |line| line.split_once(": ").filter(|(name, _)| name.eq_ignore_ascii_case(field)))
        };
        let given: String = of("give").map(|(_, value)| format!("{value}\r\n")).collect();
        let status = of("status").next().map_or("200", |(_, value)| value);
        let cookies: Vec<&str> = of("cookie").map(|(_, value)| value).collect();
        let body = format!("{name} saw {cookies:?}");
        let body = if head.starts_with("HEAD") { "" } else { &body };
        format!("HTTP/1.1 {status} X\r\n{given}Content-Length: {}\r\n\r\n{body}", body.len())
    })
    .0
}

/// A proxy under test and where its log goes.
struct Subject {
    front: SocketAddr,
    log: UdpSocket,
}

impl Subject {
    fn new() -> Self {
        let log = UdpSocket::bind("127.0.0.1:0").unwrap();
        log.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { front: unused_address(), log }
    }

    /// Sends the requests and tells what came of each.
    fn play(&self, steps: &[Step]) -> Vec<String> {
        steps.iter().map(|step| self.outcome(step)).collect()
    }

    fn outcome(&self, (method, fields): &Step) -> String {
        let mut client = connect(self.front);
        let fields: String = fields.iter().map(|field| format!("{}\r\n", dated(field))).collect();
        let length = if *method == "GET" || *method == "HEAD" { "" } else { "Content-Length: 0\r\n" };
        client.write_all(format!("{method} / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{fields}{length}\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let interesting = |line: &&str| ["set-cookie:", "cache-control:"].iter().any(|name| line.to_ascii_lowercase().starts_with(name));
        let mut seen: Vec<String> = head
            .lines()
            .filter(interesting)
            .map(|line| undated(&line.replacen(line.split(':').next().unwrap(), &line.split(':').next().unwrap().to_ascii_lowercase(), 1)))
            .collect();
        // Pages of their own are not the point here.
        let body = if status(head).starts_with('5') { "" } else { body };
        if status(head).starts_with('5') {
            seen.clear();
        }
        format!("{} {seen:?} {} {}", status(head), undated(body), self.logged())
    }

    /// Returns what the next line of the log says about the server, the end and the retries.
    fn logged(&self) -> String {
        let mut line = [0; 4096];
        loop {
            let length = self.log.recv(&mut line).unwrap();
            let line = String::from_utf8_lossy(&line[..length]).into_owned();
            let words: Vec<&str> = line.split(' ').collect();
            if let Some(at) = words.iter().position(|word| word.starts_with("back/")) {
                return format!("{} {} {}", words[at], words[at + 6], words[at + 7].rsplit('/').next().unwrap());
            }
        }
    }
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

/// Puts dates in place of what stands in braces: so many seconds from now.
fn dated(text: &str) -> String {
    let mut out = String::new();
    for (index, part) in text.split(['{', '}']).enumerate() {
        if index % 2 == 0 {
            out.push_str(part);
            continue;
        }
        let units = (now() + part.parse::<i64>().unwrap() + 3) >> 2;
        out.extend((0..5).rev().map(|place| char::from(DIGITS[usize::try_from(units >> (6 * place) & 63).unwrap()])));
    }
    out
}

/// Puts a word in place of dates that are about now, and rounds others.
fn undated(text: &str) -> String {
    let mut parts = text.split('|');
    let mut out = parts.next().unwrap().to_owned();
    for part in parts {
        let digits = part.get(..5).and_then(|digits| {
            digits
                .bytes()
                .try_fold(0, |units, digit| Some(units * 64 + i64::try_from(DIGITS.iter().position(|known| *known == digit)?).unwrap()))
        });
        match digits.map(|units| (units * 4 - now() + 10_000_000) / 20 - 500_000) {
            Some(-1..=0) => write!(out, "|now{}", &part[5..]).unwrap(),
            Some(-3000..=3000) => write!(out, "|then{}", &part[5..]).unwrap(),
            _ => write!(out, "|{part}").unwrap(),
        }
    }
    out
}

#[test]
fn cookies_are_read_and_set_as_haproxy_does() {
    let pool = Pool::start();
    for case in CASES {
        let [our_servers, their_servers] = pool.servers(case.servers);
        let (us, them) = (Subject::new(), Subject::new());
        let site = format!(
            "[global]\nlog = \"{} local0\"\nnbthread = 1\n[defaults]\nmode = \"http\"\noption = [\"httplog\"]\n\
             timeout = {{ connect = \"200ms\", client = \"30s\", server = \"30s\" }}\n[frontend.front]\nbind = \"{}\"\n\
             default-backend = \"back\"\n[backend.back]\ncookie = {{ name = \"SRV\", {} }}\n{}\n{our_servers}",
            us.log.local_addr().unwrap(),
            us.front,
            case.ours,
            case.more[0]
        );
        let cfg = format!(
            "global\n log {} local0\n nbthread 1\ndefaults\n mode http\n log global\n option httplog\n timeout connect 200ms\n timeout client 30s\n \
             timeout server 30s\nfrontend front\n bind {}\n default_backend back\nbackend back\n cookie SRV {}\n {}\n{their_servers}",
            them.log.local_addr().unwrap(),
            them.front,
            case.theirs,
            case.more[1]
        );
        let _daemon = Daemon::start(&site);
        let _haproxy = Haproxy::find().start(&cfg, them.front);
        let (ours, theirs) = (us.play(case.steps), them.play(case.steps));
        for (step, (ours, theirs)) in case.steps.iter().zip(ours.iter().zip(&theirs)) {
            assert_eq!(ours, theirs, "cookie SRV {} / {}: {step:?}", case.theirs, case.more[1]);
        }
    }
}
