//! TLS with clients: what they are shown, what they must show, and what becomes of their bytes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::certs::Authority;
use crate::kit::{Daemon, PATIENCE, Server, connect, directory, unused_address};

/// Returns a configuration with one frontend that ends TLS as `tls` says.
pub(crate) fn site(mode: &str, front: SocketAddr, tls: &str, server: SocketAddr) -> String {
    format!(
        "[global]\nnbthread = 2\nlog = \"stderr format raw local0\"\n[defaults]\nmode = \"{mode}\"\n\
         timeout = {{ connect = \"5s\", client = \"30s\", server = \"30s\" }}\noption = [\"{mode}log\"]\n\
         [frontend.front]\nbind = [{{ address = \"{front}\", tls = {{ {tls} }} }}]\ndefault-backend = \"back\"\n\
         [backend.back]\nserver = {{ s = \"{server}\" }}\n"
    )
}

/// A server that answers every request with its body, or with its name if there is none.
pub(crate) fn http_echo() -> Server {
    Server::start(|mut stream| {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read(&mut byte) {
                Ok(1) => head.push(byte[0]),
                _ => return,
            }
            if head.ends_with(b"\r\n\r\n") {
                let text = String::from_utf8_lossy(&head).to_lowercase();
                let length = text.split("content-length: ").nth(1).map_or(0, |rest| rest.split("\r\n").next().unwrap().parse().unwrap());
                let mut body = vec![0; length];
                stream.read_exact(&mut body).unwrap();
                let body = if body.is_empty() { b"served".to_vec() } else { body };
                stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes()).unwrap();
                stream.write_all(&body).unwrap();
                head.clear();
            }
        }
    })
}

fn curl(front: SocketAddr, host: &str, root: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new("curl");
    command.args(["-s", "-S", "--max-time", "60", "--cacert"]).arg(root);
    command.args(["--resolve", &format!("{host}:{}:{}", front.port(), front.ip())]).args(arguments);
    command.arg(format!("https://{host}:{}/", front.port())).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

/// Runs `openssl s_client`, sends it `input`, and returns all that it says.
pub(crate) fn s_client(front: SocketAddr, arguments: &[&str], input: &str) -> String {
    let mut command = Command::new("timeout");
    command.args(["20", "openssl", "s_client", "-connect", &front.to_string()]).args(arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    said(&child.wait_with_output().unwrap())
}

pub(crate) const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";

#[test]
fn requests_pass_in_every_version_and_the_log_says_that_they_were_secure() {
    let (authority, server, front) = (Authority::new(), http_echo(), unused_address());
    let pem = authority.pem(&["a.test"]);
    let tls = format!("certificates = \"{}\", alpn = [\"h2\", \"http/1.1\"]", pem.display());
    let daemon = Daemon::start(&site("http", front, &tls, server.address()));
    for (version, http, expected) in [
        ("--tls-max=1.2", "--http1.1", "served 1.1"),
        ("--tlsv1.3", "--http1.1", "served 1.1"),
        ("--tls-max=1.2", "--http2", "served 2"),
        ("--tlsv1.3", "--http2", "served 2"),
    ] {
        let arguments: Vec<&str> = version.split('=').chain([http, "-w", " %{http_version}"]).collect();
        let output = curl(front, "a.test", &authority.root(), &arguments);
        assert_eq!(said(&output), expected, "{version}");
    }
    assert!(s_client(front, &["-alpn", "http/1.1"], REQUEST).contains("ALPN protocol: http/1.1"));
    assert!(s_client(front, &["-alpn", "http/1.1,h2"], REQUEST).contains("ALPN protocol: h2"), "ours is the choice");
    let line = daemon.wait_for_log(" 200 ");
    assert!(line.contains("] front~ back/s "), "{line}");
}

#[test]
fn bodies_arrive_whole_both_ways() {
    let (authority, server, front) = (Authority::new(), http_echo(), unused_address());
    let tls = format!("certificates = \"{}\", alpn = [\"h2\", \"http/1.1\"]", authority.pem(&["a.test"]).display());
    let _daemon = Daemon::start(&site("http", front, &tls, server.address()));
    let directory = directory();
    let body: Vec<u8> = (0u32..16 << 20).flat_map(|word| word.wrapping_mul(0x9e37_79b9).to_le_bytes()).collect();
    std::fs::write(directory.join("body"), &body).unwrap();
    for version in [&["--tls-max", "1.2", "--http1.1"][..], &["--tlsv1.3", "--http1.1"], &["--tlsv1.3", "--http2"]] {
        let file = format!("@{}", directory.join("body").display());
        let output = curl(front, "a.test", &authority.root(), &[version, &["-H", "Expect:", "--data-binary", &file]].concat());
        assert!(output.status.success(), "{version:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stdout == body, "{version:?}: {} bytes came back", output.stdout.len());
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn tunnel_closes_one_way_at_a_time() {
    let (authority, front) = (Authority::new(), unused_address());
    let server = Server::start(|mut stream| {
        let mut question = String::new();
        stream.read_to_string(&mut question).unwrap();
        stream.write_all(format!("answer to {question}").as_bytes()).unwrap();
    });
    let tls = format!("certificates = \"{}\"", authority.pem(&["a.test"]).display());
    let daemon = Daemon::start(&site("tcp", front, &tls, server.address()));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut client = client(front, &authority, version);
        client.write_all(b"question").unwrap();
        client.conn.send_close_notify();
        client.flush().unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "answer to question", "{version:?}");
        client.sock.shutdown(std::net::Shutdown::Both).unwrap();
    }
    assert!(daemon.wait_for_log("front~ back/s").contains(" -- "));
}

/// Connects with a client that can close its sending half alone, as the programs cannot.
pub(crate) fn client(
    front: SocketAddr,
    authority: &Authority,
    version: &'static rustls::SupportedProtocolVersion,
) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority.root()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    StreamOwned::new(ClientConnection::new(Arc::new(config), "a.test".try_into().unwrap()).unwrap(), connect(front))
}

#[test]
fn host_name_decides_which_certificate_is_shown() {
    let (authority, server, front) = (Authority::new(), http_echo(), unused_address());
    let directory = authority.path("site");
    std::fs::create_dir(&directory).unwrap();
    for hosts in [&["a.test", "aa.test"][..], &["*.w.test"], &["www.w.test"]] {
        let issued = authority.issue(hosts);
        authority.join(&format!("site/{}.pem", hosts[0].trim_start_matches("*.")), &[&issued.key, &issued.certificate]);
    }
    let shown = |host: &str, front| {
        let text = s_client(front, &["-servername", host], REQUEST);
        text.lines().find(|line| line.starts_with("subject=")).map_or_else(|| text.clone(), str::to_owned).replace(' ', "")
    };
    let tls = format!("certificates = \"{}\"", directory.display());
    let strict = unused_address();
    let config = site("http", front, &tls, server.address())
        .replace("bind = [", &format!("bind = [{{ address = \"{strict}\", tls = {{ {tls}, strict-sni = true }} }}, "));
    let _daemon = Daemon::start(&config);
    for (host, subject) in [
        ("a.test", "a.test"),
        ("AA.test", "a.test"),
        ("x.w.test", "w.test"),
        ("www.w.test", "www.w.test"),
        ("x.y.w.test", "a.test"),
        ("unknown.test", "a.test"),
    ] {
        assert_eq!(shown(host, front), format!("subject=CN={subject}"), "{host}");
    }
    assert_eq!(shown("x.w.test", strict), "subject=CN=w.test");
    let refused = shown("unknown.test", strict);
    assert!(refused.contains("alert"), "{refused}");
}

#[test]
fn clients_must_show_what_is_asked_of_them() {
    let (authority, other, server) = (Authority::new(), Authority::named("other"), http_echo());
    let pem = authority.pem(&["a.test"]);
    let (good, revoked, stranger) = (authority.issue(&["good"]), authority.issue(&["revoked"]), other.issue(&["stranger"]));
    let crl = authority.revoke(&revoked);
    let [required, optional] = [unused_address(), unused_address()];
    let ca = format!("certificates = \"{}\", ca = \"{}\", crl = \"{}\"", pem.display(), authority.root().display(), crl.display());
    let config = site("http", required, &format!("{ca}, verify = \"required\""), server.address())
        .replace("bind = [", &format!("bind = [{{ address = \"{optional}\", tls = {{ {ca}, verify = \"optional\" }} }}, "));
    let daemon = Daemon::start(&config);
    let ask = |front, client: Option<&crate::certs::Issued>| {
        let files = client.map(|client| [client.certificate.display().to_string(), client.key.display().to_string()]);
        let arguments: Vec<&str> = files.iter().flat_map(|[certificate, key]| ["--cert", certificate, "--key", key]).collect();
        said(&curl(front, "a.test", &authority.root(), &arguments)) == "served"
    };
    for (client, by_required, by_optional) in
        [(Some(&good), true, true), (None, false, true), (Some(&revoked), false, false), (Some(&stranger), false, false)]
    {
        assert_eq!((ask(required, client), ask(optional, client)), (by_required, by_optional));
    }
    for reason in
        ["front/2: SSL handshake failure", "front/1: SSL client certificate not trusted", "front/2: SSL client CA chain cannot be verified"]
    {
        daemon.wait_for_log(reason);
    }
}

#[test]
fn sessions_are_resumed_on_any_thread() {
    let (authority, server) = (Authority::new(), http_echo());
    let pem = authority.pem(&["a.test"]);
    let [with, without] = [unused_address(), unused_address()];
    let tls = format!("certificates = \"{}\"", pem.display());
    let config = site("http", with, &tls, server.address())
        .replace("bind = [", &format!("bind = [{{ address = \"{without}\", tls = {{ {tls}, tickets = false }} }}, "));
    let _daemon = Daemon::start(&config);
    let session = authority.path("session");
    let file = session.display().to_string();
    for (front, version) in [(with, "-tls1_2"), (with, "-tls1_3"), (without, "-tls1_2")] {
        let first = s_client(front, &[version, "-ign_eof", "-sess_out", &file], REQUEST);
        assert!(first.contains("New, TLSv1") && first.contains("served"), "{first}");
        // With two threads, eight connections from different ports all but surely see both.
        for _ in 0..8 {
            let again = s_client(front, &[version, "-ign_eof", "-sess_in", &file], REQUEST);
            assert!(again.contains("Reused, TLSv1") && again.contains("served"), "{version}: {again}");
        }
    }
}

#[test]
fn response_about_revocation_is_stapled() {
    let (authority, server, front) = (Authority::new(), http_echo(), unused_address());
    let issued = authority.issue(&["a.test"]);
    let pem = authority.join("a.pem", &[&issued.certificate, &issued.key]);
    authority.openssl("ocsp -issuer ca.crt -cert a.test.crt -reqout request.der");
    authority.openssl("ocsp -index index -CA ca.crt -rsigner ca.crt -rkey ca.key -reqin request.der -respout a.pem.ocsp -ndays 7");
    let tls = format!("certificates = \"{}\"", pem.display());
    let _daemon = Daemon::start(&site("http", front, &tls, server.address()));
    let text = s_client(front, &["-status"], REQUEST);
    assert!(text.contains("OCSP Response Status: successful"), "{text}");
}

#[test]
fn who_does_not_shake_hands_is_shown_out() {
    let (authority, server, front) = (Authority::new(), http_echo(), unused_address());
    let tls = format!("certificates = \"{}\"", authority.pem(&["a.test"]).display());
    let config = site("http", front, &tls, server.address()).replace("client = \"30s\"", "client = \"500ms\"");
    let daemon = Daemon::start(&config);
    let closed_after = |bytes: &[u8]| {
        let mut stream = connect(front);
        stream.write_all(bytes).unwrap();
        let mut rest = Vec::new();
        // A reset is an end, too.
        let _ = stream.read_to_end(&mut rest);
        rest
    };
    let answer = closed_after(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    daemon.wait_for_log("front/1: SSL handshake failure");
    let before = std::time::Instant::now();
    closed_after(b"\x16\x03\x01\x02\x00");
    assert!(before.elapsed() >= std::time::Duration::from_millis(500) && before.elapsed() < PATIENCE);
    daemon.wait_for_log("front/1: Timeout during SSL handshake");
    drop(TcpStream::connect(front).unwrap());
    daemon.wait_for_log("front/1: Connection closed during SSL handshake");
    // Whoever comes after them is served.
    assert_eq!(said(&curl(front, "a.test", &authority.root(), &[])), "served");
}

#[test]
fn chain_and_key_may_lie_in_any_order() {
    let (authority, server) = (Authority::new(), http_echo());
    let issued = authority.issue(&["a.test"]);
    let (certificate, key, root) = (issued.certificate.as_path(), issued.key.as_path(), authority.root());
    let apart = authority.join("apart.pem", &[certificate]);
    authority.join("apart.pem.key", &[key]);
    let files = [
        authority.join("one.pem", &[key, certificate, &root]),
        authority.join("two.pem", &[&root, certificate, key]),
        authority.join("three.pem", &[certificate, key, &root]),
        apart,
        certificate.to_owned(),
    ];
    for file in files {
        let front = unused_address();
        let _daemon = Daemon::start(&site("http", front, &format!("certificates = \"{}\"", file.display()), server.address()));
        assert_eq!(said(&curl(front, "a.test", &root, &[])), "served", "{}", file.display());
    }
}

#[test]
fn unusable_files_are_refused_by_name_all_at_once() {
    let authority = Authority::new();
    let (one, two) = (authority.issue(&["one"]), authority.issue(&["two"]));
    let expired = authority.issue_with(&["expired"], "rsa:2048", -1);
    authority.join("mismatched.pem", &[&one.certificate, &two.key]);
    authority.join("keyless.pem", &[&one.certificate]);
    authority.join("certless.pem", &[&one.key]);
    authority.openssl("pkey -in one.key -aes256 -passout pass:secret -out encrypted.key");
    authority.join("encrypted.pem", &[&one.certificate, &authority.path("encrypted.key")]);
    authority.join("expired.pem", &[&expired.certificate, &expired.key]);
    std::fs::create_dir(authority.path("empty")).unwrap();
    let names = ["missing.pem", "mismatched.pem", "keyless.pem", "certless.pem", "encrypted.pem", "expired.pem", "empty"];
    let list: Vec<String> = names.iter().map(|name| format!("\"{}\"", authority.path(name).display())).collect();
    let tls = format!("certificates = [\n{}]", list.join(",\n"));
    let config = site("http", unused_address(), &tls, unused_address());
    let file = authority.path("site.toml");
    std::fs::write(&file, config).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_l7d")).arg("check").arg("-f").arg(&file).output().unwrap();
    let text = said(&output).replace(&format!("{}/", authority.path("").display()).replace("//", "/"), "");
    let found: Vec<&str> = text.lines().filter(|line| line.starts_with("site.toml:")).collect();
    let expected = [
        "missing.pem: No such file or directory",
        "mismatched.pem: the private key belongs to no certificate in it",
        "keyless.pem: no private key in it, and no file keyless.pem.key beside it",
        "certless.pem: no certificate in it",
        "encrypted.pem: the private key is encrypted, and nobody is there to type its passphrase",
        "warning: expired.pem: the certificate has expired on ",
        "empty: no certificate file in it",
    ];
    assert_eq!((output.status.code(), found.len()), (Some(1), expected.len()), "{text}");
    for (line, (number, expected)) in found.iter().zip((10..).zip(expected)) {
        assert!(line.starts_with(&format!("site.toml:{number}:")) && line.contains(expected), "{line}\n{expected}");
    }
}

#[test]
fn reload_takes_all_new_certificates_or_none() {
    let (authority, server, front) = (Authority::new(), http_echo(), unused_address());
    let first = authority.issue(&["a.test"]);
    let pem = authority.join("site.pem", &[&first.certificate, &first.key]);
    let config = site("http", front, &format!("certificates = \"{}\"", pem.display()), server.address());
    let daemon = Daemon::start(&config);
    let serial = || {
        let text = s_client(front, &[], REQUEST);
        let start = text.find("-----BEGIN").unwrap();
        text[start..text.find("-----END").unwrap()].to_owned()
    };
    let first = serial();
    let issued = authority.issue(&["a.test"]);
    std::fs::copy(&issued.certificate, &pem).unwrap();
    daemon.reload(&config);
    daemon.wait_for_log("configuration unchanged");
    assert_eq!(serial(), first, "there is no key for the new one");
    authority.join("site.pem", &[&issued.certificate, &issued.key]);
    daemon.reload(&config);
    assert_ne!(serial(), first);
}
