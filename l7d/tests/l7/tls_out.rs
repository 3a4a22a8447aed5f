//! TLS with servers: whom they are asked for, what they must show, what we show them, and what is spoken inside.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::certs::{Authority, Issued};
use crate::kit::{Daemon, Haproxy, PATIENCE, Server, connect, directory, read, refusal, unused_address};

/// A program that serves; killed when dropped.
struct Program {
    child: Child,
    directory: PathBuf,
}

impl Program {
    /// Starts nginx with servers of TLS, and waits until the first of them accepts.
    fn nginx(servers: &[(SocketAddr, &Issued, &str)]) -> Self {
        let directory = directory();
        let mut config = format!(
            "daemon off; master_process off; error_log {0}/error.log; pid {0}/pid; events {{}}\nhttp {{ access_log off; client_body_temp_path {0};\n\
             proxy_temp_path {0}; fastcgi_temp_path {0}; uwsgi_temp_path {0}; scgi_temp_path {0};\n",
            directory.display()
        );
        for (address, issued, settings) in servers {
            let (certificate, key) = (issued.certificate.display(), issued.key.display());
            writeln!(
                config,
                "server {{ listen {address} ssl http2; ssl_certificate {certificate}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3; {settings}\n\
                 return 200 \"$ssl_server_name $server_protocol $ssl_protocol $ssl_session_reused $ssl_client_verify $connection\"; }}"
            )
            .unwrap();
        }
        config.push_str("}\n");
        fs::write(directory.join("nginx.conf"), config).unwrap();
        let mut command = Command::new("nginx");
        command.arg("-c").arg(directory.join("nginx.conf")).arg("-p").arg(&directory);
        Self { child: command.stderr(Stdio::null()).spawn().unwrap(), directory }.once_accepting(servers[0].0)
    }

    /// Starts `openssl s_server` and waits until it accepts.
    fn s_server(address: SocketAddr, issued: &Issued, arguments: &[&str]) -> Self {
        let mut command = Command::new("openssl");
        command.args(["s_server", "-quiet", "-accept", &address.to_string(), "-cert"]).arg(&issued.certificate);
        command.arg("-key").arg(&issued.key).args(arguments);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Self { child, directory: directory() }.once_accepting(address)
    }

    fn once_accepting(self, address: SocketAddr) -> Self {
        let end = Instant::now() + PATIENCE;
        while TcpListener::bind(address).is_ok() {
            assert!(Instant::now() < end, "nobody listens on {address}");
            thread::sleep(Duration::from_millis(20));
        }
        self
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Returns a configuration with a backend for each server, chosen by the path.
fn site(mode: &str, front: SocketAddr, servers: &[(&str, SocketAddr, String)]) -> String {
    let mut site = format!(
        "[global]\nnbthread = 1\nlog = \"stderr format raw local0\"\n[defaults]\nmode = \"{mode}\"\nretries = 0\n\
         timeout = {{ connect = \"5s\", client = \"30s\", server = \"30s\" }}\noption = [\"{mode}log\"]\n[frontend.front]\nbind = [\"{front}\"]\n"
    );
    if mode == "http" {
        site.push_str("rules = [\"use_backend %[path,field(2,/)]\"]\n");
    }
    writeln!(site, "default-backend = \"{}\"", servers[0].0).unwrap();
    for (name, address, settings) in servers {
        writeln!(site, "[backend.{name}]\nserver.s = {{ address = \"{address}\", {settings} }}").unwrap();
    }
    site
}

/// Sends a request over a connection of its own and returns the answer's status and body.
fn ask(front: SocketAddr, path: &str, host: &str) -> (u16, String) {
    let mut client = connect(front);
    write!(client, "GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap_or_else(|| panic!("{answer:?}")).parse().unwrap();
    (status, answer.split("\r\n\r\n").nth(1).unwrap().to_owned())
}

fn trusting(authority: &Authority, more: &str) -> String {
    format!("tls = {{ ca = \"{}\", {more} }}", authority.root().display())
}

#[test]
fn server_is_asked_for_a_host_and_the_best_protocol_both_speak() {
    let (authority, front, nginx) = (Authority::new(), unused_address(), unused_address());
    let issued = authority.issue(&["a.test", "*.w.test"]);
    let _nginx = Program::nginx(&[(nginx, &issued, "")]);
    let by_host = "sni = \"req.hdr(host)\"";
    let daemon = Daemon::start(&site(
        "http",
        front,
        &[
            ("plain", nginx, trusting(&authority, by_host)),
            ("best", nginx, trusting(&authority, &format!("{by_host}, alpn = [\"h2\", \"http/1.1\"]"))),
            ("old", nginx, trusting(&authority, "sni = \"str(a.test)\", alpn = \"http/1.1\", max = \"1.2\"")),
            ("two", nginx, format!("proto = \"h2\", {}", trusting(&authority, "verify-host = \"a.test\", curves = \"P-384\""))),
            ("suite", nginx, trusting(&authority, "max = \"1.2\", ciphers = \"ECDHE-ECDSA-AES256-GCM-SHA384\"")),
        ],
    ));
    for (path, host, said) in [
        ("plain", "a.test", "a.test HTTP/1.1 TLSv1.3"),
        ("plain", "A.test:8443", "a.test HTTP/1.1 TLSv1.3"),
        ("plain", "x.w.test", "x.w.test HTTP/1.1 TLSv1.3"),
        ("best", "a.test", "a.test HTTP/2.0 TLSv1.3"),
        ("old", "other.test", "a.test HTTP/1.1 TLSv1.2"),
        ("two", "other.test", " HTTP/2.0 TLSv1.3"),
        ("suite", "other.test", " HTTP/1.1 TLSv1.2"),
    ] {
        let (status, body) = ask(front, path, host);
        assert!(status == 200 && body.starts_with(said), "{path} {host}: {status} {body}");
    }
    // The name goes into the check of the certificate, and a connection for one host serves no other.
    assert_eq!(ask(front, "best", "b.test").0, 503);
    assert_eq!(ask(front, "plain", "a..b").0, 503);
    daemon.wait_for_log("TLS: `a..b` is not the name of a host");
}

#[test]
fn what_global_says_of_all_servers_is_what_they_are_asked_for() {
    let authority = Authority::new();
    let issued = authority.issue(&["s.example"]);
    let address = unused_address();
    let _nginx = Program::nginx(&[(address, &issued, "add_header X-Cipher $ssl_cipher;")]);
    let head = "defaults\n mode http\n timeout connect 5s\n timeout client 5s\n timeout server 5s\n";
    let cases = [
        (
            "ssl-default-server-options ssl-max-ver TLSv1.2\n ssl-default-server-ciphers ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384",
            "",
            "AES256-GCM-SHA384",
        ),
        (
            "ssl-default-server-options no-tlsv13 no-tls-tickets",
            "ciphers ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256",
            "AES128-GCM-SHA256",
        ),
        ("ssl-default-server-ciphersuites TLS_CHACHA20_POLY1305_SHA256", "", "TLS_CHACHA20_POLY1305_SHA256"),
        ("ssl-default-server-options force-tlsv12", "force-tlsv13", "TLSv1.3"),
    ];
    for (global, own, expected) in cases {
        // Whether there are defaults or not.
        for (head, proxy) in [(head, ""), ("", &head["defaults\n".len()..])] {
            let site = |front: SocketAddr| {
                format!(
                    "global\n {global}\n{head}listen l\n{proxy} bind {front}\n server s {address} ssl verify none {own}\n server plain {address} backup\n"
                )
            };
            let (ours, theirs) = (unused_address(), unused_address());
            let _daemon = Daemon::start_haproxy(&site(ours));
            let _haproxy = Haproxy::find().start(&site(theirs), theirs);
            let [ours, theirs] = [ours, theirs].map(|front| {
                let answer = answer(front);
                assert!(answer.contains(expected), "{global} {own}: {answer}");
                answer.lines().find(|line| line.to_ascii_lowercase().starts_with("x-cipher")).map(str::to_ascii_lowercase)
            });
            assert_eq!(ours, theirs, "{global} {own}");
        }
    }
}

#[test]
fn servers_go_unverified_where_global_says_so() {
    let authority = Authority::new();
    let address = unused_address();
    let _nginx = Program::nginx(&[(address, &authority.issue(&["s.example"]), "")]);
    let other = Authority::new();
    let strict = format!("verify required ca-file {}", other.root().display());
    for (own, expected) in [("", "200"), (strict.as_str(), "503")] {
        let site = |front: SocketAddr| {
            format!(
                "global\n ssl-server-verify none\ndefaults\n mode http\n timeout connect 20s\n timeout client 20s\n timeout server 20s\n \
                 retries 0\nlisten l\n bind {front}\n server s {address} ssl {own}\n"
            )
        };
        let (ours, theirs) = (unused_address(), unused_address());
        let _daemon = Daemon::start_haproxy(&site(ours));
        let _haproxy = Haproxy::find().start(&site(theirs), theirs);
        assert_eq!([ours, theirs].map(|front| answer(front)[9..12].to_owned()), [expected; 2], "{own}");
    }
}

/// Asks for something and returns all that is answered.
fn answer(front: SocketAddr) -> String {
    let mut client = connect(front);
    client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn sessions_are_resumed_unless_they_must_not() {
    let (authority, front, nginx) = (Authority::new(), unused_address(), unused_address());
    let issued = authority.issue(&["a.test"]);
    let _nginx = Program::nginx(&[(nginx, &issued, "keepalive_timeout 0; ssl_session_cache shared:s:1m;")]);
    let servers = [
        ("new", nginx, trusting(&authority, "sni = \"str(a.test)\"")),
        ("old", nginx, trusting(&authority, "sni = \"str(a.test)\", max = \"1.2\"")),
        ("number", nginx, trusting(&authority, "sni = \"str(a.test)\", max = \"1.2\", tickets = false")),
        ("never", nginx, trusting(&authority, "sni = \"str(a.test)\", resumption = false")),
    ];
    let daemon = Daemon::start(&site("http", front, &servers));
    let is_reused = |path| ask(front, path, "a.test").1.split(' ').nth(3) == Some("r");
    for (path, resumes) in [("new", true), ("old", true), ("number", true), ("never", false)] {
        assert!(!is_reused(path), "{path}");
        assert_eq!(is_reused(path), resumes, "{path}");
    }
    // What has not changed goes on after a reload.
    daemon.reload(&site("http", front, &servers).replace("retries = 0", "retries = 1"));
    assert!(is_reused("new"));
    daemon.reload(&site("http", front, &servers).replace("sni = \"str(a.test)\"", "sni = \"str(a.test)\", verify = \"none\""));
    assert!(!is_reused("new"), "trust has changed");
}

#[test]
fn who_is_not_who_it_should_be_gets_no_request() {
    let (authority, other, front) = (Authority::new(), Authority::named("other"), unused_address());
    let good = authority.issue(&["a.test"]);
    let (expired, revoked) = (authority.issue_with(&["expired.test"], "rsa:2048", -1), authority.issue(&["revoked.test"]));
    let crl = authority.revoke(&revoked);
    let [a, late, gone] = [unused_address(), unused_address(), unused_address()];
    let _nginx = Program::nginx(&[(a, &good, ""), (late, &expired, ""), (gone, &revoked, "")]);
    let ca = authority.root().display().to_string();
    let crl = crl.display().to_string();
    // Name, server, TOML settings, haproxy's settings, whether it is served.
    let cases = [
        ("good", a, "sni = 'str(a.test)'".to_owned(), "verify required ca-file CA sni str(a.test)".to_owned(), true),
        ("nameless", a, String::new(), "verify required ca-file CA".to_owned(), true),
        ("misnamed", a, "sni = 'str(b.test)'".to_owned(), "verify required ca-file CA sni str(b.test)".to_owned(), false),
        ("host", a, "verify-host = 'a.test'".to_owned(), "verify required ca-file CA verifyhost a.test".to_owned(), true),
        ("wronghost", a, "verify-host = 'b.test'".to_owned(), "verify required ca-file CA verifyhost b.test".to_owned(), false),
        ("late", late, String::new(), "verify required ca-file CA".to_owned(), false),
        ("lateanyway", late, "verify = 'none'".to_owned(), "verify none".to_owned(), true),
        ("unrevoked", gone, String::new(), "verify required ca-file CA".to_owned(), true),
        ("revoked", gone, format!("crl = '{crl}'"), format!("verify required ca-file CA crl-file {crl}"), false),
        ("notrevoked", a, format!("crl = '{crl}'"), format!("verify required ca-file CA crl-file {crl}"), true),
    ];
    let mut servers: Vec<_> =
        cases.iter().map(|(name, server, settings, ..)| (*name, *server, format!("tls = {{ ca = '{ca}', {settings} }}"))).collect();
    servers.push(("stranger", a, trusting(&other, "")));
    let daemon = Daemon::start(&site("http", front, &servers));
    let beside = unused_address();
    let mut config = format!(
        "defaults\nmode http\nretries 0\ntimeout connect 5s\ntimeout client 30s\ntimeout server 30s\n\
         frontend f\nbind {beside}\nuse_backend %[path,field(2,/)]\n"
    );
    for (name, server, _, settings, _) in &cases {
        writeln!(config, "backend {name}\nserver s {server} ssl {}", settings.replace("CA", &ca)).unwrap();
    }
    writeln!(config, "backend stranger\nserver s {a} ssl verify required ca-file {}", other.root().display()).unwrap();
    let _haproxy = Haproxy::find().start(&config, beside);
    let stranger = ("stranger", false);
    for (name, is_served) in cases.iter().map(|(name, .., is_served)| (*name, *is_served)).chain([stranger]) {
        let (ours, theirs) = (ask(front, name, "x.test").0, ask(beside, name, "x.test").0);
        assert_eq!((ours, theirs), if is_served { (200, 200) } else { (503, 503) }, "{name}");
    }
    let line = daemon.wait_for_log("front stranger/s ");
    assert!(line.contains(" 0/0/-1/-1/") && line.contains(" 503 ") && line.contains(" SC-- "), "{line}");
    for reason in ["invalid peer certificate: UnknownIssuer", "Expired", "Revoked", "not valid for name"] {
        daemon.wait_for_log(reason);
    }
}

#[test]
fn certificates_that_name_no_alternative_or_vouch_for_themselves_are_good_enough() {
    let (authority, front) = (Authority::new(), unused_address());
    let [common, own] = [unused_address(), unused_address()];
    authority.openssl("req -new -newkey rsa:2048 -nodes -keyout c.key -out c.csr -subj /CN=c.test");
    fs::write(authority.path("basic"), "basicConstraints = CA:FALSE\n").unwrap();
    authority.openssl("x509 -req -in c.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 3 -extfile basic -out c.crt");
    authority.openssl("req -x509 -newkey rsa:2048 -nodes -days 3 -subj /CN=own.test -keyout own.key -out own.crt");
    let issued = |name: &str| Issued { certificate: authority.path(&format!("{name}.crt")), key: authority.path(&format!("{name}.key")) };
    let _nginx = Program::nginx(&[(common, &issued("c"), ""), (own, &issued("own"), "")]);
    let own_ca = authority.path("own.crt").display().to_string();
    let _daemon = Daemon::start(&site(
        "http",
        front,
        &[
            ("common", common, trusting(&authority, "sni = \"str(c.test)\"")),
            ("own", own, format!("tls = {{ ca = \"{own_ca}\", verify-host = \"own.test\" }}")),
            ("other", own, format!("tls = {{ ca = \"{own_ca}\", verify-host = \"other.test\" }}")),
        ],
    ));
    let statuses = ["common", "own", "other"].map(|path| ask(front, path, "a.test").0);
    assert_eq!(statuses, [200, 200, 503]);
}

#[test]
fn we_show_a_certificate_to_who_asks_for_one() {
    let (authority, front, nginx) = (Authority::new(), unused_address(), unused_address());
    let issued = authority.issue(&["a.test"]);
    let pem = authority.pem(&["client"]);
    let settings = format!("ssl_client_certificate {}; ssl_verify_client optional;", authority.root().display());
    let _nginx = Program::nginx(&[(nginx, &issued, &settings)]);
    let _daemon = Daemon::start(&site(
        "http",
        front,
        &[
            ("with", nginx, trusting(&authority, &format!("certificate = \"{}\"", pem.display()))),
            ("without", nginx, trusting(&authority, "")),
            ("old", nginx, trusting(&authority, &format!("max = \"1.2\", certificate = \"{}\"", pem.display()))),
        ],
    ));
    for (path, verified) in [("with", "SUCCESS"), ("without", "NONE"), ("old", "SUCCESS")] {
        assert_eq!(ask(front, path, "a.test").1.split(' ').nth(4), Some(verified), "{path}");
    }
}

#[test]
fn idle_connections_are_used_again_for_the_same_host_only() {
    let (authority, front, nginx) = (Authority::new(), unused_address(), unused_address());
    let issued = authority.issue(&["*.w.test"]);
    let _nginx = Program::nginx(&[(nginx, &issued, "")]);
    let _daemon = Daemon::start(&site("http", front, &[("b", nginx, trusting(&authority, "sni = \"req.hdr(host)\""))]));
    // A client's first request may not take a risk unless it can be repeated, and these can.
    let number = |host| ask(front, "b", host).1.split(' ').next_back().unwrap().to_owned();
    let (a, b) = (number("a.w.test"), number("b.w.test"));
    assert_ne!(a, b);
    assert_eq!((number("a.w.test"), number("b.w.test")), (a, b));
}

#[test]
fn checks_speak_tls_as_traffic_does_unless_told_otherwise() {
    let (authority, front, nginx, clear) = (Authority::new(), unused_address(), unused_address(), unused_address());
    let issued = authority.issue(&["a.test"]);
    let http = "check = { http = {}, inter = \"100ms\", fall = 1, rise = 1";
    let tcp = "check = { tcp = {}, inter = \"100ms\", fall = 1, rise = 1";
    let by_name = trusting(&authority, "verify-host = \"a.test\"");
    let servers = [
        ("http", nginx, format!("{by_name}, {http} }}")),
        ("tcp", nginx, format!("{by_name}, {tcp} }}")),
        ("named", nginx, format!("{}, {http}, sni = \"a.test\", alpn = \"http/1.1\" }}", trusting(&authority, ""))),
        ("misnamed", nginx, format!("{}, {http}, sni = \"b.test\" }}", trusting(&authority, ""))),
        ("stranger", nginx, format!("{}, {tcp} }}", trusting(&authority, "verify-host = \"b.test\""))),
        ("without", nginx, format!("{by_name}, {http}, tls = false }}")),
        ("clear", clear, format!("{by_name}, {http} }}")),
        ("elsewhere", nginx, format!("{by_name}, {tcp}, address = \"{}\", port = {} }}", clear.ip(), clear.port())),
    ];
    let daemon = Daemon::start(&site("http", front, &servers));
    for (name, ..) in &servers {
        daemon.wait_for_log(&format!("server {name}/s is DOWN: L4CON"));
    }
    let _nginx = Program::nginx(&[(nginx, &issued, "")]);
    let _clear = Server::at(clear, |mut stream| stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap());
    for (name, found) in [("http", "L7OK/200"), ("tcp", "L6OK"), ("named", "L7OK/200"), ("elsewhere", "L4OK")] {
        let line = daemon.wait_for_log(&format!("server {name}/s is UP"));
        assert!(line.contains(found), "{line}");
    }
    // The others have been probed as often by now, and stay down.
    for name in ["misnamed", "stranger", "without", "clear"] {
        assert_eq!((daemon.count(&format!("server {name}/s is UP")), ask(front, name, "a.test").0), (0, 503), "{name}");
    }
}

/// A certificate and key for a server of this test's own.
fn server_config(issued: &Issued) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let certificate = CertificateDer::from_pem_file(&issued.certificate).unwrap();
    let key = PrivateKeyDer::from_pem_file(&issued.key).unwrap();
    Arc::new(builder.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap())
}

#[test]
fn proxy_header_goes_before_the_handshake() {
    let (authority, front) = (Authority::new(), unused_address());
    let config = server_config(&authority.issue(&["a.test"]));
    let server = Server::start(move |mut stream| {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            line.push(byte[0]);
        }
        let mut tls = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream);
        // It speaks first, as a mail server does.
        tls.write_all(&line).unwrap();
        tls.flush().unwrap();
        let mut question = [0; 5];
        tls.read_exact(&mut question).unwrap();
        tls.write_all(&question).unwrap();
        tls.conn.send_close_notify();
        let _ = tls.flush();
    });
    let settings = format!("send-proxy = \"v1\", {}", trusting(&authority, "sni = \"str(a.test)\""));
    let _daemon = Daemon::start(&site("tcp", front, &[("back", server.address(), settings)]));
    let mut client = connect(front);
    let expected = format!("PROXY TCP4 {} {} {} {}\r\n", "127.0.0.1", front.ip(), client.local_addr().unwrap().port(), front.port());
    assert_eq!(read(&mut client, expected.len()), expected);
    client.write_all(b"hello").unwrap();
    let mut rest = String::new();
    client.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "hello");
}

#[test]
fn bytes_pass_to_openssl_both_ways() {
    let (authority, front, server) = (Authority::new(), unused_address(), unused_address());
    let _s_server = Program::s_server(server, &authority.issue(&["a.test"]), &["-rev"]);
    let _daemon = Daemon::start(&site("tcp", front, &[("back", server, trusting(&authority, "sni = \"str(a.test)\""))]));
    let mut client = connect(front);
    let mut answers = BufReader::new(client.try_clone().unwrap());
    for number in 0..50 {
        let line = format!("{number:x>200}");
        writeln!(client, "{line}").unwrap();
        let mut answer = String::new();
        answers.read_line(&mut answer).unwrap();
        assert_eq!(answer.trim_end(), line.chars().rev().collect::<String>());
    }
}

#[test]
fn bodies_arrive_whole_both_ways() {
    let (authority, front) = (Authority::new(), unused_address());
    let config = server_config(&authority.issue(&["a.test"]));
    let server = Server::start(move |stream: TcpStream| {
        let mut tls = BufReader::new(StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream));
        let mut line = String::new();
        while tls.read_line(&mut line).is_ok_and(|count| count > 2) {}
        let mut body = vec![0; LENGTH];
        tls.read_exact(&mut body).unwrap();
        let tls = tls.get_mut();
        write!(tls, "HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n").unwrap();
        tls.write_all(&body).unwrap();
    });
    let settings = trusting(&authority, "sni = \"str(a.test)\"");
    let _daemon = Daemon::start(&site("http", front, &[("back", server.address(), settings)]));
    let body: Vec<u8> = (0..LENGTH / 4).flat_map(|word| (word as u32).wrapping_mul(0x9e37_79b9).to_le_bytes()).collect();
    let mut client = connect(front);
    let (mut writer, sent) = (client.try_clone().unwrap(), body.clone());
    let uploading = thread::spawn(move || {
        write!(writer, "POST /back HTTP/1.1\r\nHost: a\r\nContent-Length: {LENGTH}\r\nConnection: close\r\n\r\n").unwrap();
        writer.write_all(&sent).unwrap();
    });
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    uploading.join().unwrap();
    assert!(answer.ends_with(&body), "{} bytes came back", answer.len());
}

const LENGTH: usize = 8 << 20;

#[test]
fn unusable_files_are_refused_by_name_and_a_reload_takes_none() {
    let (authority, front, nginx) = (Authority::new(), unused_address(), unused_address());
    let issued = authority.issue(&["a.test"]);
    let other = authority.issue(&["b.test"]);
    authority.join("mismatched.pem", &[&issued.certificate, &other.key]);
    let path = |name: &str| authority.path(name).display().to_string();
    let broken = [
        ("one", nginx, format!("tls = {{ ca = \"{}\" }}", path("missing.pem"))),
        ("two", nginx, trusting(&authority, &format!("certificate = \"{}\"", path("mismatched.pem")))),
        ("three", nginx, trusting(&authority, &format!("crl = \"{}\"", path("ca.crt")))),
        ("four", nginx, "tls = true".to_owned()),
        ("five", nginx, trusting(&authority, "sni = \"res.hdr(x)\"")),
    ];
    let config = site("http", front, &broken);
    let said = refusal(&site("http", front, &broken[..3]));
    for expected in ["missing.pem: No such file", "mismatched.pem: the private key belongs to no certificate", "ca.crt: no revocation list"]
    {
        assert!(said.contains(expected), "{said}");
    }
    assert!(refusal(&site("http", front, &broken[3..4])).contains("the certificate of server `s` cannot be verified without `ca`"));
    assert!(refusal(&site("http", front, &broken[4..])).contains("there is no response yet when a server is connected to"));
    let _nginx = Program::nginx(&[(nginx, &issued, "")]);
    let daemon = Daemon::start(&site("http", front, &[("one", nginx, trusting(&authority, ""))]));
    daemon.reload(&config);
    assert_eq!((daemon.count("configuration unchanged"), ask(front, "one", "a.test").0), (1, 200));
}

#[test]
fn handshake_counts_as_connecting() {
    let (front, silent) = (unused_address(), Server::start(|mut stream| while stream.read(&mut [0; 1024]).is_ok_and(|count| count > 0) {}));
    let config = site("http", front, &[("back", silent.address(), "tls = { verify = \"none\" }".to_owned())]);
    let daemon = Daemon::start(&config.replace("connect = \"5s\"", "connect = \"300ms\""));
    assert_eq!(ask(front, "back", "a.test").0, 503);
    assert!(daemon.wait_for_log("front back/s ").contains(" sC-- "));
    let clear = Server::start(|mut stream| stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap());
    daemon.reload(&site("http", front, &[("back", clear.address(), "tls = { verify = \"none\" }".to_owned())]));
    assert_eq!(ask(front, "back", "a.test").0, 503);
    daemon.wait_for_log("connecting: TLS: ");
}
