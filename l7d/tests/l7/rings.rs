//! Rings and servers of logs: what is kept, what is sent on, and what a syslog daemon makes of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::kit::{Daemon, Haproxy, PATIENCE, connect, directory, refusal, unused_address};
use crate::runtime::ask;

/// A server of logs that keeps what it gets.
struct Collector {
    address: SocketAddr,
    got: Arc<Mutex<Vec<u8>>>,
}

impl Collector {
    fn start() -> Self {
        Self::at(unused_address())
    }

    fn at(address: SocketAddr) -> Self {
        let (listener, got) = (TcpListener::bind(address).expect("an address of its own"), Arc::default());
        let kept: Arc<Mutex<Vec<u8>>> = Arc::clone(&got);
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let kept = Arc::clone(&kept);
                thread::spawn(move || {
                    let mut bytes = [0; 4096];
                    while let Ok(count @ 1..) = stream.read(&mut bytes) {
                        kept.lock().expect("no panic").extend_from_slice(&bytes[..count]);
                    }
                });
            }
        });
        Self { address, got }
    }

    /// Waits for so many bytes of this text, and returns everything.
    fn wait_for(&self, text: &str, times: usize) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let got = String::from_utf8_lossy(&self.got.lock().expect("no panic")).into_owned();
            if got.matches(text).count() >= times {
                return got;
            }
            assert!(Instant::now() < end, "{times} of {text:?} in {got:?}");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

fn get(front: SocketAddr, path: &str) {
    let mut client = connect(front);
    client.write_all(format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").as_bytes()).expect("a client writes");
    // A reset is an end, too.
    let _ = client.read_to_end(&mut Vec::new());
}

/// Takes a text apart by the lengths before its lines.
fn counted(mut text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    while let Some((length, rest)) = text.split_once(' ') {
        let (line, behind) = rest.split_at(length.parse().expect("a length"));
        lines.push(line.to_owned());
        text = behind;
    }
    lines
}

/// Puts one digit in the place of each number, and one letter in the place of many.
fn masked(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }) {
        if !(out.ends_with(c) && matches!(c, '0' | 'x')) {
            out.push(c);
        }
    }
    out
}

fn cfg(front: SocketAddr, socket: &Path, [counted, lines, plain]: [SocketAddr; 3]) -> String {
    let socket = socket.display();
    format!(
        "global\n nbthread 1\n stats socket {socket} level admin\n log ring@r local0\n log ring@r2 local1 info\n log tcp@{plain} local2\n \
         log-tag lb\nring r\n description \"Mine and yours\"\n format rfc3164\n maxlen 1200\n size 32764\n timeout connect 5s\n \
         timeout server 10s\n server s {counted} log-proto octet-count\nring r2\n format rfc5424\n maxlen 200\n size 17000\n \
         timeout connect 5s\n timeout server 10s\n server s {lines} log-proto legacy\ndefaults\n log global\n mode http\n \
         timeout connect 1s\n timeout client 5s\n timeout server 1s\nfrontend f\n bind {front}\n log-format \"%HM %HU %ST\"\n \
         http-request deny deny_status 403\n"
    )
}

#[test]
fn rings_keep_and_send_on_what_haproxys_do() {
    let directory = directory();
    let played = |name: &str, start: &dyn Fn(&str, SocketAddr) -> Box<dyn std::any::Any>| {
        let (front, socket) = (unused_address(), directory.join(name));
        let collectors = [Collector::start(), Collector::start(), Collector::start()];
        let _process = start(&cfg(front, &socket, [0, 1, 2].map(|number| collectors[number].address)), front);
        let long = format!("/long{}", "x".repeat(400));
        ["/one", "/two", &long].iter().for_each(|path| get(front, path));
        let [first, second, third] = [0, 1, 2].map(|number| collectors[number].wait_for("GET /", 3));
        assert!(second.lines().all(|line| line.len() <= 200) && second.lines().any(|line| line.len() == 200), "{second}");
        let asked = ["show events r\n", "show events r2\n", "show events r2 -n\n", "show events nope\n", "show events r -x\n"];
        let said = asked.map(|command| masked(&ask(&socket, command)));
        let list = ask(&socket, "show events\n");
        let list: Vec<String> = list.lines().filter(|line| line.trim_start().starts_with('r')).map(str::to_owned).collect();
        (counted(&first).iter().map(|line| masked(line)).collect::<Vec<_>>(), masked(&second), masked(&third), said, list[..2].to_vec())
    };
    let ours = played("ours", &|config, _| Box::new(Daemon::start_haproxy(config)));
    let haproxy = Haproxy::find();
    let theirs = played("theirs", &|config, front| Box::new(haproxy.start(config, front)));
    std::fs::remove_dir_all(&directory).unwrap();
    assert_eq!(ours, theirs);
    assert!(ours.0.iter().any(|line| line.contains("lb[0]: GET /two 0")), "{ours:?}");
}

#[test]
fn what_comes_to_a_ring_is_shown_as_it_comes() {
    let (front, directory, collector) = (unused_address(), directory(), unused_address());
    let socket = directory.join("s");
    let config = format!(
        "[global]\nstats-socket = {{ path = \"{}\", level = \"admin\" }}\nlog = \"ring@mine local0\"\n[ring.mine]\nformat = \"raw\"\n\
         size = 2048\nmaxlen = 80\nserver = {{ s = \"{collector}\" }}\n[defaults]\nmode = \"http\"\n\
         timeout = {{ connect = \"1s\", client = \"5s\", server = \"1s\" }}\n[frontend.f]\nbind = \"{front}\"\nlog-format = \"%HU\"\n\
         rules = [\"http-request return status 200\"]\n",
        socket.display()
    );
    let daemon = Daemon::start(&config);
    get(front, "/before");
    let mut watching = UnixStream::connect(&socket).unwrap();
    watching.set_read_timeout(Some(PATIENCE)).unwrap();
    watching.write_all(b"show events mine -w\n").unwrap();
    let mut lines = BufReader::new(watching.try_clone().unwrap());
    let mut next = || {
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        line
    };
    assert_eq!(next(), "/before\n");
    get(front, "/after");
    assert_eq!(next(), "/after\n");
    watching.write_all(b"\n").unwrap();
    assert_eq!((next(), next()), ("\n".to_owned(), String::new()), "any key ends it");
    // A reload that leaves the ring as it is leaves it with what it has.
    daemon.reload(&format!("{config}# the same\n"));
    assert_eq!(ask(&socket, "show events mine\n"), "/before\n/after\n\n");
    (0..100).for_each(|number| get(front, &format!("/{number}{}", "x".repeat(100))));
    let kept = ask(&socket, "show events mine\n");
    assert!(kept.len() <= 2048 + 40 && kept.lines().all(|line| line.len() <= 80), "{kept}");
    assert!(kept.contains("/99x") && !kept.contains("/before"), "the newest are kept: {kept}");
    // Nobody took the lines yet; whoever comes late gets those that are left.
    let late = Collector::at(collector);
    assert!(late.wait_for("/99x", 1).ends_with(&format!("{}\n", kept.lines().nth_back(1).unwrap())));
    let mut follow = Command::new(env!("CARGO_BIN_EXE_l7d"));
    follow.args(["ctl", "-s"]).arg(&socket).args(["show", "events", "mine", "-wn"]);
    let mut follower = Killed(follow.stdout(Stdio::piped()).spawn().unwrap());
    let mut said = BufReader::new(follower.0.stdout.take().unwrap());
    // Until the daemon is gone; who follows may not yet be listening to the first of them.
    thread::spawn(move || {
        while let Ok(mut client) = TcpStream::connect(front) {
            let _ = client.write_all(b"GET /told HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
            let _ = client.read_to_end(&mut Vec::new());
            thread::sleep(Duration::from_millis(20));
        }
    });
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert_eq!(line, "/told\n");
    drop(daemon);
    std::fs::remove_dir_all(&directory).unwrap();
}

/// A process that is ended when it is no longer needed.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_no_ring_can_do_is_refused() {
    let site = |global: &str, ring: &str| format!("[global]\n{global}\n[ring.mine]\n{ring}\n");
    let cases = [
        (site("log = \"ring@mime local0\"", ""), "no ring `mime`"),
        (site("", "format = \"xml\""), "`xml` is not a format of logs"),
        (site("", "size = 10"), "`size` is out of range"),
        (site("", "server = { s = \"nowhere\" }"), "`nowhere` is not an address and port"),
        (site("", "server = { s = { address = \"127.0.0.1:1\", log-proto = \"morse\" } }"), "`morse` is not a protocol of logs"),
    ];
    for (config, wanted) in cases {
        let said = refusal(&config);
        assert!(said.contains(wanted), "{config}\n{said}");
    }
}

/// Starts Debian's syslog daemon on these places: it writes what it understood of each line into a file.
fn rsyslog(directory: &Path, address: SocketAddr) -> Killed {
    let place = directory.display();
    let (ip, port) = (address.ip(), address.port());
    let config = format!(
        "module(load=\"imudp\")\nmodule(load=\"imtcp\")\nmodule(load=\"imuxsock\" SysSock.Use=\"off\")\n\
         template(name=\"t\" type=\"string\" string=\"%inputname% %pri-text% %hostname% %programname% %procid% %structured-data% %msg%\\n\")\n\
         ruleset(name=\"all\") {{ action(type=\"omfile\" file=\"{place}/lines\" template=\"t\") }}\n\
         input(type=\"imudp\" address=\"{ip}\" port=\"{port}\" ruleset=\"all\")\n\
         input(type=\"imtcp\" address=\"{ip}\" port=\"{port}\" ruleset=\"all\")\n\
         input(type=\"imuxsock\" Socket=\"{place}/log\" ParseHostname=\"on\" UseSpecialParser=\"off\" ruleset=\"all\")\n"
    );
    std::fs::write(directory.join("rsyslog.conf"), config).expect("a directory of its own");
    let program = Path::new("/usr/sbin/rsyslogd");
    assert!(program.exists(), "rsyslogd is missing: `cargo xtask setup` installs it");
    let mut command = Command::new(program);
    command.args(["-n", "-iNONE", "-f"]).arg(directory.join("rsyslog.conf")).stderr(Stdio::null()).stdout(Stdio::null());
    Killed(command.spawn().expect("rsyslogd runs"))
}

#[test]
fn a_syslog_daemon_understands_every_way_and_format() {
    let (front, directory, address) = (unused_address(), directory(), unused_address());
    let _rsyslog = rsyslog(&directory, address);
    let config = format!(
        "global\n log-tag lb\n log-send-hostname edge1\n log {address} local0 info\n log {address} format rfc5424 local1\n \
         log {}/log local2\n log tcp@{address} format rfc5424 local3\n log tcp@{address} format rfc3164 local4\n log ring@r local5\nring r\n \
         format rfc5424\n server s {address} log-proto octet-count\ndefaults\n log global\n mode http\n timeout connect 1s\n \
         timeout client 5s\n timeout server 1s\nfrontend f\n bind {front}\n log-format \"%HM %HU %ST\"\n \
         log-format-sd '[web@32473 path=\"%HU\"]'\n http-request return status 200\n",
        directory.display()
    );
    let daemon = Daemon::start_haproxy(&config);
    let (end, pid) = (Instant::now() + PATIENCE, daemon.pid());
    let data = "[web@32473 path=\"/x\"]";
    let wanted = [
        format!("imudp local0.info edge1 lb {pid} -  GET /x 200"),
        format!("imudp local1.info edge1 lb {pid} {data} GET /x 200"),
        format!("imuxsock local2.info edge1 lb {pid} -  GET /x 200"),
        format!("imtcp local3.info edge1 lb {pid} {data} GET /x 200"),
        format!("imtcp local4.info edge1 lb {pid} -  GET /x 200"),
        format!("imtcp local5.info edge1 lb {pid} {data} GET /x 200"),
    ];
    loop {
        get(front, "/x");
        let lines = std::fs::read_to_string(directory.join("lines")).unwrap_or_default();
        let missing: Vec<_> = wanted.iter().filter(|wanted| !lines.lines().any(|line| line == *wanted)).collect();
        if missing.is_empty() {
            break;
        }
        assert!(Instant::now() < end, "{missing:#?}\n{}", lines.lines().take(20).collect::<Vec<_>>().join("\n"));
        thread::sleep(Duration::from_millis(50));
    }
    std::fs::remove_dir_all(&directory).unwrap();
}
