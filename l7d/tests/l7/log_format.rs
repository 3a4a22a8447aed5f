//! Formats and targets of log lines: what HAProxy writes for the same exchange, format by format.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::net::UnixDatagram;

use crate::kit::{Daemon, Haproxy, PATIENCE, connect, directory, refusal, unused_address};
use crate::log::{moody, receiver};

/// Formats that print the same for the same exchange, whoever its client is.
const EXACT: [&str; 14] = [
    "%ft %f %b/%s %ST %CC %CS %ts %tsc %rc %sq/%bq %hr %hs %{+Q}r",
    "%HM|%HP|%HPO|%HQ|%HU|%HV|%r",
    "%{+Q}HM|%{+Q}HP|%{+Q}HPO|%{+Q}HQ|%{+Q}HU|%{+Q}HV|%{+Q}ST|%{+Q}r",
    "%{+Q}b|%{+Q}s|%{+Q}f|%{+Q}ft|%{+Q}ts|%{+Q}ci|%{+Q}CC|%{+Q}CS|%{+Q}ID|%{+Q}sslc|%{+Q}sslv",
    "%CC|%CS|%ID|%sslc|%sslv|%Th|%lc",
    "%[var(txn.x)]|%{+Q}[var(txn.x)]|%{+E}[var(txn.x)]|%{+Q,+E}[var(txn.x)]",
    "%[var(txn.no)]|%{+Q}[var(txn.no)]|%[src]|%[int(7),add(1)]|%[str(a b)]",
    "a   b  %[var(txn.no)]   c %{+Q}o %HM %{-Q}HM %HM %{-Q}o %HM",
    "  leading, 100%% and trailing ",
    "%{+X}fp|%fp",
    "%hr x %hs  y %hrl",
    "%{+X}ci %{+X}si %ci %si",
    "%{+Q}o %{-Q}ci %b %s",
    "%[var(txn.x),upper] %[var(txn.x),length]",
];

/// Formats that print times, counts and ports, of which only the shape can be the same.
const SHAPES: [&str; 7] = [
    "%ci:%cp [%tr] %ft %b/%s %TR/%Tw/%Tc/%Tr/%Ta %ST %B %CC %CS %tsc %ac/%fc/%bc/%sc/%rc %sq/%bq %hr %hs %{+Q}r",
    "%T|%Tl|%t|%tr|%trg|%trl|%Ts|%ms|%pid",
    "%bi:%bp %si:%sp %fi:%fp",
    "%Th|%Ti|%TR|%Tq|%Tw|%Tc|%Tr|%Td|%Ta|%Tt|%Tu",
    "%ac|%fc|%bc|%sc|%rc|%sq|%bq",
    "%{+Q}t|%{+Q}Tr|%{+Q}cp|%{+Q}B",
    "%rt %U",
];

/// What clients send.
const REQUESTS: [&str; 5] = [
    "GET /p?q=1&z=\"x\" HTTP/1.1\r\nHost: h\r\nX-V: a\"b]c\\d\te\r\nConnection: close\r\n\r\n",
    "GET http://host/abs?q HTTP/1.1\r\nHost: host\r\nConnection: close\r\n\r\n",
    "POST /none HTTP/1.1\r\nHost: h\r\nX-V: z\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
    "GET /deny HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
    "GET / / HTTP/1.1\r\n\r\n",
];

/// One frontend for each format, and a target that all of them log to.
struct Proxies {
    doors: Vec<SocketAddr>,
    log: UdpSocket,
}

impl Proxies {
    fn new(count: usize) -> Self {
        Self { doors: (0..count).map(|_| unused_address()).collect(), log: receiver() }
    }

    fn target(&self) -> SocketAddr {
        self.log.local_addr().unwrap()
    }

    fn ours(&self, formats: &[&str], server: SocketAddr) -> Daemon {
        let mut config = format!(
            "[global]\nlog = \"{} local0\"\nnbthread = 1\n[defaults]\nmode = \"http\"\n\
             timeout = {{ connect = \"2s\", client = \"30s\", server = \"30s\" }}\n",
            self.target()
        );
        for (number, (door, format)) in self.doors.iter().zip(formats).enumerate() {
            write!(
                config,
                "[frontend.f{number}]\nbind = \"{door}\"\ndefault-backend = \"b\"\nlog-format = '''{format} #%B'''\n\
                 rules = [\"http-request set-var(txn.x) req.hdr(x-v)\", \"http-request deny if {{ path /deny }}\"]\n"
            )
            .unwrap();
        }
        write!(config, "[backend.b]\nserver = {{ s1 = \"{server}\" }}\n").unwrap();
        Daemon::start(&config)
    }

    fn theirs(&self, formats: &[&str], server: SocketAddr) -> crate::kit::HaproxyProcess {
        let mut config = format!(
            "global\n log {} local0\n nbthread 1\ndefaults\n log global\n mode http\n timeout connect 2s\n timeout client 30s\n \
             timeout server 30s\n",
            self.target()
        );
        for (number, (door, format)) in self.doors.iter().zip(formats).enumerate() {
            write!(
                config,
                "frontend f{number}\n bind {door}\n default_backend b\n log-format '{format} #%B'\n \
                 http-request set-var(txn.x) req.hdr(x-v)\n http-request deny if {{ path /deny }}\n"
            )
            .unwrap();
        }
        write!(config, "backend b\n server s1 {server}\n").unwrap();
        Haproxy::find().start(&config, *self.doors.last().unwrap())
    }

    /// Sends a request to one of them and returns what is logged about it.
    fn packet(&self, number: usize, says: &str) -> String {
        let mut client = connect(self.doors[number]);
        client.write_all(says.as_bytes()).unwrap();
        let _ = client.read_to_end(&mut Vec::new());
        receive(&self.log)
    }

    /// Sends a request to one of them and returns the line about it.
    fn line(&self, number: usize, says: &str) -> String {
        let packet = self.packet(number, says);
        // Without a number of bytes HAProxy does not wait for the end; which it is differs with the length of heads.
        packet.split_once("]: ").unwrap().1.rsplit_once('#').unwrap().0.to_owned()
    }
}

/// Receives what a frontend says about a client; at start HAProxy says other things, too.
fn receive(log: &UdpSocket) -> String {
    loop {
        let mut packet = [0; 4000];
        let count = log.recv(&mut packet).unwrap();
        let text = String::from_utf8_lossy(&packet[..count]).into_owned();
        if !text.contains("Proxy ") && !text.contains("proxy ") {
            return text;
        }
    }
}

/// Puts `n` in place of every number, so that only the shape is left.
pub(crate) fn shape(line: &str) -> String {
    let mut out = String::new();
    for c in line.chars() {
        match c {
            '0'..='9' if out.ends_with('n') => {}
            '0'..='9' => out.push('n'),
            _ => out.push(c),
        }
    }
    out
}

fn compare(formats: &[&str], view: fn(&str) -> String) {
    let server = moody();
    let (ours, theirs) = (Proxies::new(formats.len()), Proxies::new(formats.len()));
    let _process = theirs.theirs(formats, server.address());
    let _daemon = ours.ours(formats, server.address());
    let mut differences = Vec::new();
    for (number, format) in formats.iter().enumerate() {
        for request in REQUESTS {
            let (our_line, their_line) = (ours.line(number, request), theirs.line(number, request));
            if view(&our_line) != view(&their_line) {
                differences.push(format!("{format}\n{request:?}\nours   {our_line:?}\ntheirs {their_line:?}"));
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
}

#[test]
fn formats_print_what_haproxy_prints() {
    compare(&EXACT, str::to_owned);
}

#[test]
fn times_counts_and_ports_have_haproxys_shape() {
    compare(&SHAPES, shape);
}

/// Targets of one receiver, with what stands before and behind their lines.
const TARGETS: [&str; 13] = [
    "ADDRESS local0",
    "ADDRESS format local local1",
    "ADDRESS format rfc3164 local1 info",
    "ADDRESS format rfc5424 user",
    "ADDRESS format priority auth",
    "ADDRESS format short local7",
    "ADDRESS format timed local7",
    "ADDRESS format iso local7",
    "ADDRESS format raw local7",
    "ADDRESS local0 debug debug",
    "ADDRESS local0 info err",
    "ADDRESS len 80 local0",
    "ADDRESS len 120 format rfc5424 local0",
];

#[test]
fn headers_are_those_of_haproxy() {
    let server = moody();
    for settings in [None, Some("edge1")] {
        let (ours, theirs) = (Proxies::new(TARGETS.len()), Proxies::new(TARGETS.len()));
        let mut our_config = "[defaults]\nmode = \"http\"\ntimeout = { connect = \"2s\", client = \"30s\", server = \"30s\" }\n".to_owned();
        let mut their_config = "defaults\n mode http\n timeout connect 2s\n timeout client 30s\n timeout server 30s\n".to_owned();
        let format = "%HM %ST xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
        let structured = "[site@1 status=\"%ST\"]";
        for (number, target) in TARGETS.iter().enumerate() {
            let (our_target, their_target) = (ours.target().to_string(), theirs.target().to_string());
            write!(
                our_config,
                "[frontend.f{number}]\nbind = \"{}\"\ndefault-backend = \"b\"\nlog = \"{}\"\nlog-tag = \"web{number}\"\n\
                 log-format = \"{format}\"\nlog-format-sd = '{structured}'\n",
                ours.doors[number],
                target.replace("ADDRESS", &our_target)
            )
            .unwrap();
            write!(
                their_config,
                "frontend f{number}\n bind {}\n default_backend b\n log {}\n log-tag web{number}\n log-format '{format}'\n \
                 log-format-sd '{structured}'\n",
                theirs.doors[number],
                target.replace("ADDRESS", &their_target)
            )
            .unwrap();
        }
        write!(our_config, "[backend.b]\nserver = {{ s1 = \"{}\" }}\n", server.address()).unwrap();
        write!(their_config, "backend b\n server s1 {}\n", server.address()).unwrap();
        if let Some(host) = settings {
            our_config = format!("[global]\nlog-send-hostname = \"{host}\"\n{our_config}");
            their_config = format!("global\n log-send-hostname {host}\n{their_config}");
        }
        let _daemon = Daemon::start(&our_config);
        let _process = Haproxy::find().start(&their_config, *theirs.doors.last().unwrap());
        for (number, target) in TARGETS.iter().enumerate() {
            let (our_line, their_line) = (ours.packet(number, REQUESTS[0]), theirs.packet(number, REQUESTS[0]));
            assert_eq!(shape(&our_line), shape(&their_line), "{target} {settings:?}\n{our_line}\n{their_line}");
            assert_eq!(our_line.split_once('>').map(|parts| parts.0), their_line.split_once('>').map(|parts| parts.0), "{target}");
        }
    }
}

#[test]
fn lines_are_left_out_and_changed_as_options_say() {
    let server = moody();
    let [quiet, apart, sampled] = std::array::from_fn(|_| unused_address());
    let (log, other) = (receiver(), receiver());
    let (address, others) = (log.local_addr().unwrap(), other.local_addr().unwrap());
    let _daemon = Daemon::start(&format!(
        "[global]\nnbthread = 1\n[defaults]\nmode = \"http\"\ntimeout = {{ connect = \"2s\", client = \"30s\", server = \"30s\" }}\ndefault-backend = \"b\"\n\
         log = [\"{address} format short local0\", \"{others} format raw local0 err\"]\nlog-format = \"%f %HU %ST\"\n\
         [frontend.quiet]\nbind = \"{quiet}\"\noption = [\"dontlog-normal\"]\n\
         [frontend.apart]\nbind = \"{apart}\"\noption = [\"log-separate-errors\"]\nerror-log-format = \"%f failed: %ts\"\n\
         [frontend.sampled]\nbind = \"{sampled}\"\nlog = [\"{address} format raw sample 2-3:3 local0\"]\n\
         [backend.b]\nserver = {{ s1 = \"{}\" }}\n",
        server.address()
    ));
    let request = |door: SocketAddr, path: &str| {
        let mut client = connect(door);
        write!(client, "GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
        let _ = client.read_to_end(&mut Vec::new());
    };
    ["/", "/reset"].iter().for_each(|path| request(quiet, path));
    assert_eq!(receive(&log), "<6>quiet /reset 502\n");
    ["/", "/garbage"].iter().for_each(|path| request(apart, path));
    assert_eq!([receive(&log), receive(&log)], ["<6>apart / 200\n", "<3>apart failed: PH\n"]);
    assert_eq!(receive(&other), "apart failed: PH\n");
    (1..=6).for_each(|number| request(sampled, &format!("/{number}")));
    let lines: Vec<String> = (0..4).map(|_| receive(&log)).collect();
    assert_eq!(lines, ["sampled /2 200\n", "sampled /3 200\n", "sampled /5 200\n", "sampled /6 200\n"]);
}

#[test]
fn lines_reach_unix_sockets_and_servers_that_come_back() {
    let server = moody();
    let (door, collector, directory) = (unused_address(), unused_address(), directory());
    let path = directory.join("log");
    let unix = UnixDatagram::bind(&path).unwrap();
    unix.set_read_timeout(Some(PATIENCE)).unwrap();
    let _daemon = Daemon::start(&format!(
        "[global]\nlog = [\"{} local0\", \"tcp@{collector} format raw local0\"]\n\
         [defaults]\nmode = \"http\"\ntimeout = {{ connect = \"2s\", client = \"30s\", server = \"30s\" }}\n\
         [frontend.web]\nbind = \"{door}\"\ndefault-backend = \"b\"\nlog-format = \"%HU\"\n\
         [backend.b]\nserver = {{ s1 = \"{}\" }}\n",
        path.display(),
        server.address()
    ));
    let request = |path: &str| {
        let mut client = connect(door);
        write!(client, "GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
        client.read_to_end(&mut Vec::new()).unwrap();
    };
    request("/before");
    let mut packet = [0; 200];
    let count = unix.recv(&mut packet).unwrap();
    assert!(packet.starts_with(b"<134>") && packet[..count].ends_with(b"]: /before\n"), "{:?}", String::from_utf8_lossy(&packet[..count]));
    // What was written before the server was there waits for it.
    let listener = TcpListener::bind(collector).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(crate::kit::read(&mut stream, 8), "/before\n");
    drop((stream, listener));
    request("/between");
    let listener = TcpListener::bind(collector).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(crate::kit::read(&mut stream, 9), "/between\n");
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn what_no_line_can_show_is_told_with_its_place() {
    let site = |extra: &str| {
        format!(
            "[frontend.web]\nbind = \"{}\"\ndefault-backend = \"b\"\n{extra}\n[backend.b]\nserver = {{ s1 = \"127.0.0.1:1\" }}\n",
            unused_address()
        )
    };
    let cases = [
        ("log-format = \"%ci %zz\"", ":4:19: there is no log-format variable `zz`"),
        ("log-format = \"%ci %[req.hdr(host)]\"", ":4:19: `req.hdr` is not known any more when lines are written"),
        ("log-format = \"%ci\"\nlog = \"127.0.0.1:514 format xml local0\"", ":5:29: `xml` is not a format of logs"),
        ("log-format = \"%ci\"\nlog = \"127.0.0.1:514 local9\"", ":5:22: `local9` is not a facility"),
    ];
    for (extra, message) in cases {
        let said = refusal(&site(extra));
        assert!(said.contains(message), "{extra}\n{said}");
    }
}
