//! Every kind of check against every way to fail: result, code, words and the line of the log are those of Debian's haproxy.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::checks::fields;
use crate::kit::{Daemon, Haproxy, PATIENCE, Server, directory, unused_address};
use crate::runtime::ask;

/// A kind of check, and what its server says.
struct Kind {
    name: &'static str,
    lines: &'static str,
    words: &'static str,
    /// Who speaks first.
    first: First,
    /// All that a server says that works, one piece for each it is told; none where another test has such a server.
    good: &'static [&'static [u8]],
    wrong: &'static [u8],
    /// A part of a good answer.
    part: &'static [u8],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum First {
    Client,
    Server,
}

/// How a server ends a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// Not before the client does.
    Wait,
    Close,
    Reset,
}

const KINDS: &[Kind] = &[
    Kind {
        name: "http",
        lines: " option httpchk GET /x\n",
        words: "",
        first: First::Client,
        good: &[b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"],
        wrong: b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
        part: b"HTTP/1.1 200 OK\r\nContent-Le",
    },
    Kind {
        name: "http-foreign",
        lines: " option httpchk GET /x\n",
        words: "",
        first: First::Client,
        good: &[],
        wrong: b"SSH-2.0-x\r\n",
        part: b"HTT",
    },
    Kind {
        name: "http-body",
        lines: " option httpchk GET /x\n http-check expect string wanted\n",
        words: "",
        first: First::Client,
        good: &[b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nwanted"],
        wrong: b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nothers",
        part: b"HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\nwan",
    },
    Kind {
        name: "http-bodiless",
        lines: " option httpchk GET /x\n http-check expect ! string unwanted\n",
        words: "",
        first: First::Client,
        good: &[b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nwanted"],
        wrong: b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        part: b"HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n",
    },
    Kind {
        name: "http-chunks",
        lines: " option httpchk GET /x\n http-check expect string wanted\n",
        words: "",
        first: First::Client,
        good: &[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nwan\r\n3\r\nted\r\n0\r\n\r\n"],
        wrong: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        part: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nwan",
    },
    Kind {
        name: "h2",
        lines: " option httpchk GET /x\n",
        words: "check-proto h2",
        first: First::Client,
        good: &[b"\0\0\x01\x01\x05\0\0\0\x01\x88"],
        wrong: b"\0\0\x01\x01\x05\0\0\0\x01\x8e",
        part: b"\0\0\x01\x01\x05\0\0",
    },
    Kind {
        name: "tls",
        lines: "",
        words: "check-ssl verify none",
        first: First::Client,
        good: &[],
        wrong: b"HTTP/1.0 400 Bad Request\r\n\r\n",
        part: b"\x16\x03\x03\0\x7a\x02",
    },
    Kind {
        name: "tls-alert",
        lines: " option httpchk GET /x\n",
        words: "check-ssl verify none",
        first: First::Client,
        good: &[],
        wrong: b"\x15\x03\x03\0\x02\x02\x28",
        part: b"\x15\x03",
    },
    Kind {
        name: "script",
        lines: " option tcp-check\n tcp-check send PING\\r\\n\n tcp-check expect string +PONG\n tcp-check send QUIT\\r\\n\n \
                tcp-check expect string +OK comment bye\n",
        words: "",
        first: First::Client,
        good: &[b"+PONG\r\n", b"+OK\r\n"],
        wrong: b"-ERR unknown command\r\n",
        part: b"+PO",
    },
    Kind {
        name: "banner",
        lines: " option tcp-check\n tcp-check expect rstring ^.OK.*ready\n",
        words: "",
        first: First::Server,
        good: &[b"+OK POP3 ready\r\n"],
        wrong: b"-ERR busy\r\n",
        part: b"+OK PO",
    },
    Kind {
        name: "mysql",
        lines: " option mysql-check user bob\n",
        words: "",
        first: First::Server,
        good: &[b"\x14\0\0\0\x0a5.5.5-10.11-mysql\0\0", b"\x07\0\0\x02\0\0\0\x02\0\0\0"],
        wrong: b"\x0a\0\0\0\xff\x6a\x04Blocked",
        part: b"\x14\0\0\0\x0a5.5",
    },
    Kind {
        name: "mysql-plain",
        lines: " option mysql-check\n",
        words: "",
        first: First::Server,
        good: &[b"\x14\0\0\0\x0a5.5.5-10.11-mysql\0\0"],
        wrong: b"220 mx ESMTP\r\n",
        part: b"\x14\0",
    },
    Kind {
        name: "pgsql",
        lines: " option pgsql-check user bob\n",
        words: "",
        first: First::Client,
        good: &[b"R\0\0\0\x08\0\0\0\0"],
        wrong: b"E\0\0\0\x50SFATAL\0C28000\0Mno entry\0\0",
        part: b"R\0\0",
    },
    Kind {
        name: "redis",
        lines: " option redis-check\n",
        words: "",
        first: First::Client,
        good: &[b"+PONG\r\n"],
        wrong: b"-LOADING Redis is loading the dataset in memory\r\n",
        part: b"+PO",
    },
    Kind {
        name: "smtp",
        lines: " option smtpchk EHLO me\n",
        words: "",
        first: First::Server,
        good: &[b"220 mx ESMTP\r\n", b"250 mx\r\n", b"221 bye\r\n"],
        wrong: b"554 no service\r\n",
        part: b"22",
    },
    Kind {
        name: "ldap",
        lines: " option ldap-check\n",
        words: "",
        first: First::Client,
        good: &[b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00"],
        wrong: b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x33\x04\x00\x04\x00",
        part: b"\x30\x0c\x02",
    },
    Kind {
        name: "ssl-hello",
        lines: " option ssl-hello-chk\n",
        words: "",
        first: First::Client,
        good: &[b"\x16\x03\x01\0\x02ab"],
        wrong: b"HTTP/1.0 400 Bad Request\r\n",
        part: b"\x16",
    },
];

impl Kind {
    /// Starts a server for each way to answer, and returns what they are called.
    fn servers(&self) -> Vec<(String, Server)> {
        let works = (!self.good.is_empty()).then(|| ("healthy", self.server(self.good.to_vec(), End::Wait)));
        let fails = [
            ("hanging", self.server(Vec::new(), End::Wait)),
            ("closing", self.server(vec![b""], End::Close)),
            ("resetting", self.server(vec![b""], End::Reset)),
            ("wrong", self.server(vec![self.wrong], End::Wait)),
            ("wrong-end", self.server(vec![self.wrong], End::Close)),
            ("stalling", self.server(vec![self.part], End::Wait)),
            ("cut", self.server(vec![self.part], End::Close)),
            ("broken", self.server(vec![self.part], End::Reset)),
        ];
        works.into_iter().chain(fails).map(|(column, server)| (format!("{}-{column}", self.name), server)).collect()
    }

    fn server(&self, says: Vec<&'static [u8]>, end: End) -> Server {
        let (first, is_h2) = (self.first, self.words.contains("h2"));
        Server::start(move |stream| {
            // Whatever is not told to the end is of no interest.
            let _ = talk(stream, &says, first, is_h2, end);
        })
    }
}

fn talk(mut stream: TcpStream, says: &[&[u8]], first: First, is_h2: bool, end: End) -> std::io::Result<()> {
    let (mut buffer, mut told) = ([0; 4096], Vec::new());
    if is_h2 {
        // An empty frame of SETTINGS, for which haproxy waits.
        stream.write_all(b"\0\0\0\x04\0\0\0\0\0")?;
    }
    for (turn, piece) in says.iter().enumerate() {
        if turn > 0 || first == First::Client {
            loop {
                let count = stream.read(&mut buffer)?;
                told.extend_from_slice(&buffer[..count]);
                if count == 0 || !is_h2 || has_request(&told) {
                    break;
                }
            }
        }
        stream.write_all(piece)?;
    }
    match end {
        End::Wait => while stream.read(&mut buffer)? > 0 {},
        End::Close => {
            stream.shutdown(Shutdown::Write)?;
            // What is not read would reset the connection.
            while stream.read(&mut buffer)? > 0 {}
        }
        End::Reset => {
            // What was said is to be seen before.
            thread::sleep(Duration::from_millis(100));
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        }
    }
    Ok(())
}

/// Tells whether a frame of HEADERS is among those behind the preface.
fn has_request(told: &[u8]) -> bool {
    let mut rest = told.get(24..).unwrap_or_default();
    while let Some((head, _)) = rest.split_first_chunk::<9>() {
        if head[3] == 1 {
            return true;
        }
        let length = usize::from(head[1]) << 8 | usize::from(head[2]);
        rest = rest.get(9 + length..).unwrap_or_default();
    }
    false
}

/// A place nobody gets into: its queue is full, and nobody takes anything out of it.
struct Full {
    _listener: TcpListener,
    _first: TcpStream,
    address: SocketAddr,
}

impl Full {
    fn start() -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&unused_address().into()).unwrap();
        socket.listen(0).unwrap();
        let listener = TcpListener::from(socket);
        let address = listener.local_addr().unwrap();
        Self { _first: TcpStream::connect(address).unwrap(), address, _listener: listener }
    }
}

/// A daemon as it is seen from outside.
struct Side {
    socket: PathBuf,
    log: UdpSocket,
    /// The last that was said of each server.
    said: BTreeMap<String, Said>,
}

/// What is said of a server.
#[derive(Default, Debug, Clone, PartialEq, Eq)]
struct Said {
    /// In the statistics of its check or its agent.
    row: Vec<String>,
    /// In the log.
    line: String,
}

const COLUMNS: [&str; 5] = ["status", "check_status", "check_code", "last_chk", "check_desc"];
const AGENT_COLUMNS: [&str; 5] = ["status", "agent_status", "agent_code", "last_agt", "agent_desc"];

impl Side {
    fn new(directory: &Path, name: &str) -> Self {
        let log = UdpSocket::bind("127.0.0.1:0").unwrap();
        log.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        socket2::SockRef::from(&log).set_recv_buffer_size(1 << 20).unwrap();
        Self { socket: directory.join(name), log, said: BTreeMap::new() }
    }

    fn config(&self, front: SocketAddr, backends: &str) -> String {
        format!(
            "global\n stats socket {} level admin\n log {} local0\n external-check\n insecure-fork-wanted\ndefaults\n mode http\n log global\n \
             option log-health-checks\n timeout connect 250ms\n timeout client 5s\n timeout server 5s\n timeout check 400ms\n\
             frontend f\n bind {front}\n{backends}",
            self.socket.display(),
            self.log.local_addr().unwrap()
        )
    }

    /// Takes in what is said by now.
    fn look(&mut self) {
        let mut buffer = [0; 4096];
        while let Ok(count) = self.log.recv(&mut buffer) {
            let line = String::from_utf8_lossy(&buffer[..count]).trim().to_owned();
            let Some((_, text)) = line.split_once("]: ").filter(|(_, text)| text.contains(" check for ")) else { continue };
            let name = text.split_once("server ").unwrap().1.split_once('/').unwrap().0.to_owned();
            let (before, after) = text.split_once("duration: ").unwrap_or((text, ""));
            let after = after.split_once("ms").map_or("", |(_, after)| after);
            self.said.entry(name).or_default().line = format!("{before}{after}");
        }
        let stat = ask(&self.socket, "show stat\n");
        let mut rows = stat.lines();
        let names: Vec<&str> = rows.next().unwrap().trim_start_matches("# ").split(',').collect();
        for fields in rows.map(fields).filter(|fields| fields.get(1).is_some_and(|name| name == "s")) {
            let field = |name: &str| fields[names.iter().position(|other| *other == name).unwrap()].clone();
            let name = field("pxname");
            let columns = if name.starts_with("agent") { AGENT_COLUMNS } else { COLUMNS };
            let row = columns.map(field).to_vec();
            // A star marks a check under way, whose words are not there yet.
            if row[1] != "INI" && !row[1].starts_with('*') && !row[0].contains('/') {
                self.said.entry(name).or_default().row = row;
            }
        }
    }
}

/// The name of a backend, its server, its lines, and the words of that server.
type Checked = (String, SocketAddr, String, String);

/// Adds a backend for each server.
fn backends(servers: &[Checked]) -> String {
    let mut text = String::new();
    for (name, address, lines, words) in servers {
        writeln!(text, "backend {name}\n{lines} server s {address} {words}").unwrap();
    }
    text
}

const PACE: &str = "check inter 500ms fastinter 500ms downinter 1s";

/// Returns all that is checked, and what has to stay alive for it.
fn grid(directory: &Path) -> (Vec<Checked>, Box<dyn Any>) {
    let (full, quiet) = (Full::start(), Server::start(|mut stream| drop(stream.read(&mut [0]))));
    let (mut all, mut alive) = (Vec::new(), Vec::new());
    let plain = Kind { name: "tcp", lines: "", words: "", first: First::Client, good: &[], wrong: b"", part: b"" };
    all.push(("tcp-healthy".to_owned(), quiet.address(), String::new(), PACE.to_owned()));
    for kind in KINDS.iter().chain([&plain]) {
        let nobody = [(format!("{}-refusing", kind.name), unused_address()), (format!("{}-full", kind.name), full.address)];
        let servers = if kind.name == "tcp" { Vec::new() } else { kind.servers() };
        let places = servers.iter().map(|(name, server)| (name.clone(), server.address())).chain(nobody);
        all.extend(places.map(|(name, address)| (name, address, kind.lines.to_owned(), format!("{PACE} {}", kind.words))));
        alive.extend(servers);
    }
    let agent = Kind { name: "agent", lines: "", words: "", first: First::Server, good: &[b"up\n"], wrong: b"what is this\n", part: b"up" };
    let servers = agent.servers();
    let nobody = [("agent-refusing".to_owned(), unused_address()), ("agent-full".to_owned(), full.address)];
    for (name, address) in servers.iter().map(|(name, server)| (name.clone(), server.address())).chain(nobody) {
        let words = format!("agent-check agent-inter 500ms agent-addr {} agent-port {}", address.ip(), address.port());
        all.push((name, quiet.address(), String::new(), words));
    }
    for (name, text) in [("healthy", "exit 0"), ("wrong", "exit 7"), ("hanging", "sleep 20")] {
        use std::os::unix::fs::PermissionsExt;
        let path = directory.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let lines = format!(" option external-check\n external-check command {}\n external-check path /usr/bin:/bin\n", path.display());
        all.push((format!("external-{name}"), quiet.address(), lines, "check inter 1s fastinter 1s".to_owned()));
    }
    (all, Box::new((full, quiet, alive, servers)))
}

/// Tells whether two say the same, but for what is different on purpose.
fn are_alike(name: &str, mine: &Said, other: &Said) -> bool {
    match name {
        // Of words without the end of their line, haproxy takes notice or not, as its packets come.
        "agent-cut" | "agent-broken" => !mine.row.is_empty() && mine.row[1..4] == ["L7TOUT", "", "Ignoring incomplete line from agent"],
        // The log of haproxy says what the server called itself, its statistics do not.
        "mysql-healthy" | "mysql-plain-healthy" | "ldap-healthy" => mine.row == other.row && !mine.line.is_empty(),
        // All that haproxy says of TLS is that it failed.
        _ if name.starts_with("tls") && mine.row.get(1).is_some_and(|result| result == "L6RSP") => {
            let info = |said: &Said| format!(", info: \"{}\"", said.row[3]);
            !other.row.is_empty()
                && mine.row[..3] == other.row[..3]
                && mine.line.replace(&info(mine), "") == other.line.replace(&info(other), "")
        }
        _ => mine == other && !mine.row.is_empty(),
    }
}

#[test]
fn every_kind_of_check_fails_as_haproxys() {
    let directory = directory();
    let (checked, _alive) = grid(&directory);
    let mut sides = ["ours", "theirs"].map(|name| Side::new(&directory, name));
    let (front, backends) = (unused_address(), backends(&checked));
    let ours = Daemon::start_haproxy(&sides[0].config(unused_address(), &backends));
    let theirs = Haproxy::find().start(&sides[1].config(front, &backends), front);
    let end = Instant::now() + PATIENCE;
    loop {
        sides.iter_mut().for_each(Side::look);
        let [mine, other] = [&sides[0].said, &sides[1].said];
        let agree = |name: &String| mine.get(name).zip(other.get(name)).is_some_and(|(mine, other)| are_alike(name, mine, other));
        let differ: Vec<_> = checked.iter().map(|(name, ..)| name).filter(|name| !agree(name)).collect();
        if differ.is_empty() {
            break;
        }
        if Instant::now() > end {
            let shown = |name: &String| format!("{name}:\n  ours   {:?}\n  theirs {:?}\n", mine.get(name), other.get(name));
            panic!("{} of {} differ:\n{}", differ.len(), checked.len(), differ.into_iter().map(shown).collect::<String>());
        }
        thread::sleep(Duration::from_millis(100));
    }
    drop((ours, theirs));
    std::fs::remove_dir_all(&directory).unwrap();
}
