//! Checks by UDP: text, the DNS and QUIC; a port at which nobody is says so itself.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use crate::certs::Authority;
use crate::checks::{Trial, settled};
use crate::kit::{Daemon, directory, refusal, unused_address};
use crate::names::Dns;

/// Answers datagrams until it is dropped.
struct Answering {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Answering {
    fn start(answer: impl Fn(&[u8]) -> Vec<u8> + Send + 'static) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let (address, stop) = (socket.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut buffer = [0; 2048];
            while !stopped.load(SeqCst) {
                let Ok((count, from)) = socket.recv_from(&mut buffer) else { continue };
                let answer = answer(&buffer[..count]);
                if !answer.is_empty() {
                    socket.send_to(&answer, from).unwrap();
                }
            }
        });
        Self { address, stop, thread: Some(thread) }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        self.thread.take().unwrap().join().unwrap();
    }
}

#[test]
fn datagrams_tell_how_a_server_is() {
    let directory = directory();
    let socket = directory.join("s");
    let pong = Answering::start(|asked| if asked == b"ping\n" { b"pong\0ok".to_vec() } else { b"what?".to_vec() });
    let long = Answering::start(|_| [&[b'x'; 1400][..], b"END"].concat());
    let silent = Answering::start(|_| Vec::new());
    let dns = Dns::start(&["10.0.0.1 www.example".to_owned()], "");
    // A server of the DNS with a bit that says that it could not.
    let failing = Answering::start(|asked| [&asked[..2], &[0x81, 0x82], &asked[4..]].concat());
    let authority = Authority::new();
    let quic = unused_address();
    let web = Daemon::start_haproxy(&format!(
        "defaults\n mode http\n timeout connect 5s\n timeout client 5s\n timeout server 5s\nfrontend f\n bind quic4@{quic} ssl crt {}\n \
         http-request return status 200\n",
        authority.pem(&["a.test"]).display()
    ));
    let ping = " option udp-check\n tcp-check send ping\\n\n tcp-check expect ";
    let steps = |expect: &str| format!("{ping}{expect}");
    let name = " option dns-check name ";
    let tls = "ssl verify none check-send-proxy";
    let cases: Vec<(&str, SocketAddr, String, [&str; 4])> = vec![
        ("text", pong.address, steps("string pong"), ["UP", "L7OK", "0", "(tcp-check)"]),
        ("binary", pong.address, steps("binary 706f6e67006f6b"), ["UP", "L7OK", "0", "(tcp-check)"]),
        ("long", long.address, steps("rstring x{1400}END"), ["UP", "L7OK", "0", "(tcp-check)"]),
        (
            "hex",
            pong.address,
            " option udp-check\n tcp-check send-binary 70696e670a\n tcp-check expect string pong".into(),
            ["UP", "L7OK", "0", "(tcp-check)"],
        ),
        (
            "twice",
            pong.address,
            format!("{ping}string pong\n tcp-check send ding\n tcp-check expect string what")
                .replace("udp-check\n", "udp-check\n tcp-check connect\n"),
            ["UP", "L7OK", "0", "(tcp-check)"],
        ),
        ("wrong", pong.address, steps("string ping"), ["DOWN", "L7RSP", "", "TCPCHK did not match content 'ping' at step 2"]),
        ("silent", silent.address, steps("string pong"), ["DOWN", "L7TOUT", "", " at step 2 of tcp-check (expect string 'pong')"]),
        (
            "nobody",
            unused_address(),
            steps("string pong"),
            ["DOWN", "L4CON", "", "Connection refused at step 2 of tcp-check (expect string 'pong')"],
        ),
        ("dns", dns.address(), format!("{name}www.example"), ["UP", "L7OK", "0", "DNS server is ok"]),
        ("dns-type", dns.address(), format!("{name}www.example type AAAA"), ["DOWN", "L7STS", "0", "The answer has no record"]),
        ("dns-other", dns.address(), format!("{name}other.example type A"), ["DOWN", "L7STS", "3", "The answer is NXDOMAIN"]),
        ("dns-failing", failing.address, " option dns-check".into(), ["DOWN", "L7STS", "2", "The answer is SERVFAIL"]),
        ("dns-text", pong.address, " option dns-check".into(), ["DOWN", "L7RSP", "", "Not DNS"]),
        ("dns-nobody", unused_address(), " option dns-check".into(), ["DOWN", "L4CON", "", "Connection refused"]),
        ("quic", quic, " option quic-check".into(), ["UP", "L7OK", "0", "QUIC server is ok"]),
        ("quic-text", pong.address, " option quic-check".into(), ["DOWN", "L7RSP", "", "Not QUIC"]),
        ("quic-silent", silent.address, " option quic-check".into(), ["DOWN", "L7TOUT", "", ""]),
    ];
    // A server whose traffic has TLS and PROXY headers is checked without.
    let backend = |(name, address, lines, _): &(&str, SocketAddr, String, _)| {
        let words = if *name == "text" { tls } else { "" };
        (format!("b-{name}"), lines.clone(), format!("{address} {words}"))
    };
    let trial = Trial { defaults: String::new(), backends: cases.iter().map(backend).collect() };
    let daemon = Daemon::start_haproxy(&trial.config(unused_address(), &socket));
    let rows = settled(&socket);
    for (name, .., expected) in &cases {
        assert_eq!(rows[&format!("b-{name}")].0[..4], expected[..], "{name}");
    }
    drop((daemon, web));
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn the_native_format_checks_by_udp_and_follows() {
    let [pong, name, web] = [b"pong".to_vec(), Vec::new(), Vec::new()].map(|answer| Answering::start(move |_| answer.clone()));
    let dns = Dns::start(&["10.0.0.1 www.example".to_owned()], "");
    let config = |expect: &str| {
        format!(
            "[defaults]\nmode = \"tcp\"\ntimeout = {{ connect = \"1s\", client = \"5s\", server = \"5s\", check = \"1500ms\" }}\n\
             [frontend.f]\nbind = \"{}\"\ndefault-backend = \"text\"\n\
             [backend.text]\ncheck = {{ inter = \"100ms\", udp = {{ steps = [\"send ping\", \"expect string pong\"] }} }}\nserver.s = \"{}\"\n\
             [backend.name]\ncheck = {{ inter = \"100ms\", dns = {{ name = \"www.example\", type = \"A\" }} }}\nserver = {{ good = \"{}\", bad = \"{}\" }}\n\
             [backend.quic]\ncheck = {{ inter = \"100ms\", quic = {{}} }}\nserver.s = \"{}\"\n",
            unused_address(),
            pong.address,
            dns.address(),
            name.address,
            web.address,
        )
        .replace("expect string pong", expect)
    };
    let daemon = Daemon::start(&config("expect string pong"));
    daemon.wait_for_log("server name/bad is DOWN");
    daemon.wait_for_log("server quic/s is DOWN");
    assert_eq!((daemon.count("server text/s is"), daemon.count("server name/good is")), (0, 0));
    let refused = refusal(&config("send more"));
    assert!(refused.contains("a check by UDP expects no answer"), "{refused}");
    drop(pong);
    let said = daemon.wait_for_log("server text/s is DOWN");
    assert!(said.contains("Connection refused"), "{said}");
}
