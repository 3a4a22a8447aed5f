//! Responses about the revocation of certificates, fetched from a responder that answers with OpenSSL's.

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::certs::Authority;
use crate::kit::{Daemon, PATIENCE, Server, directory, unused_address};
use crate::runtime::ask;

/// How a responder answers.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Manner {
    Well,
    WithAnotherKey,
    WithAnError,
}

/// A responder of an authority.
struct Responder {
    server: Server,
    manner: Arc<AtomicU8>,
    asked: Arc<AtomicUsize>,
}

impl Responder {
    fn start(authority: &Authority, other: &Authority) -> Self {
        let (manner, asked) = (Arc::new(AtomicU8::new(Manner::Well as u8)), Arc::new(AtomicUsize::new(0)));
        let (place, stranger) = (authority.path(""), other.path(""));
        let (how, count, alone) = (Arc::clone(&manner), Arc::clone(&asked), Mutex::new(()));
        let server = Server::start(move |mut stream| {
            let Some(question) = question(&mut stream) else { return };
            count.fetch_add(1, SeqCst);
            let _alone = alone.lock().unwrap();
            let signer = match how.load(SeqCst) {
                0 => &place,
                1 => &stranger,
                _ => {
                    let _ = stream.write_all(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
                    return;
                }
            };
            let answer = answer(&place, signer, &question);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/ocsp-response\r\nContent-Length: {}\r\n\r\n", answer.len());
            let _ = stream.write_all(&[head.as_bytes(), &answer].concat());
        });
        Self { server, manner, asked }
    }

    fn behave(&self, manner: Manner) {
        self.manner.store(manner as u8, SeqCst);
    }
}

/// Reads a whole request and returns its body.
fn question(stream: &mut impl Read) -> Option<Vec<u8>> {
    let (mut seen, mut more) = (Vec::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut more).ok().filter(|count| *count > 0)?;
        seen.extend_from_slice(&more[..count]);
        let Some(end) = seen.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&seen[..end]).to_ascii_lowercase();
        assert!(head.starts_with("post /ocsp http/1.") && head.contains("content-type: application/ocsp-request"), "{head}");
        let length: usize = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
        if seen.len() >= end + 4 + length {
            return Some(seen[end + 4..].to_vec());
        }
    }
}

/// Has OpenSSL answer in the name of an authority, signed by this or another.
fn answer(place: &Path, signer: &Path, question: &[u8]) -> Vec<u8> {
    fs::write(place.join("question"), question).unwrap();
    let signer = |name: &str| signer.join(name);
    let mut command = Command::new("openssl");
    command.args("ocsp -index index -CA ca.crt -nmin 10 -reqin question -respout answer".split(' ')).current_dir(place);
    let output = command.arg("-rsigner").arg(signer("ca.crt")).arg("-rkey").arg(signer("ca.key")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::read(place.join("answer")).unwrap()
}

/// Issues a certificate that is in the books of its authority and names a responder; returns a file with its key and chain.
fn pem(authority: &Authority, name: &str, responder: SocketAddr) -> PathBuf {
    let extensions = format!("subjectAltName = DNS:{name}\nauthorityInfoAccess = OCSP;URI:http://{responder}/ocsp\n");
    fs::write(authority.path("extensions"), extensions).unwrap();
    authority.openssl(&format!(
        "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}"
    ));
    let ca = "ca -batch -notext -config ca.cnf -cert ca.crt -keyfile ca.key -policy p -rand_serial -outdir . -days 30";
    authority.openssl(&format!("{ca} -extfile extensions -in {name}.csr -out {name}.crt"));
    let parts = ["crt", "key"].map(|ending| authority.path(&format!("{name}.{ending}")));
    authority.join(&format!("{name}.pem"), &[&parts[0], &parts[1], &authority.root()])
}

/// Returns what a client is told of the revocation of the certificate it is shown.
fn stapled(front: SocketAddr, name: &str, root: &Path) -> String {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-status", "-connect", &front.to_string(), "-servername", name, "-CAfile"]).arg(root);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let status =
        text.lines().map(str::trim).find(|line| line.starts_with("Cert Status:") || line.starts_with("OCSP response: no response"));
    status.unwrap_or(&text).to_owned()
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn responses_are_fetched_believed_and_shown() {
    let (authority, other, directory) = (Authority::new(), Authority::named("other"), directory());
    let responder = Responder::start(&authority, &other);
    let address = responder.server.address();
    let (first, second) = (pem(&authority, "a.test", address), pem(&authority, "b.test", address));
    let (socket, front) = (directory.join("s"), unused_address());
    let list = authority.path("list");
    fs::write(&list, format!("{} [ocsp-update on]\n{} [ocsp-update off]\n", first.display(), second.display())).unwrap();
    let config = |more: &str| {
        format!(
            "global\n stats socket {} level admin\n tune.ssl.ocsp-update.mindelay 1\n tune.ssl.ocsp-update.maxdelay 2\ndefaults\n mode http\n \
             timeout client 5s\n timeout connect 5s\n timeout server 5s\nfrontend f\n bind {front} ssl crt-list {}\n {more}\n \
             http-request return status 200\n",
            socket.display(),
            list.display()
        )
    };
    let daemon = Daemon::start_haproxy(&config(""));
    let root = authority.root();
    wait_until("a response", || stapled(front, "a.test", &root) == "Cert Status: good");
    assert_eq!(stapled(front, "b.test", &root), "OCSP response: no response sent");
    let updates = || {
        let said = ask(&socket, "show ssl ocsp-updates\n");
        let line = said.lines().find(|line| line.contains("a.test.pem")).unwrap_or_else(|| panic!("{said}")).to_owned();
        assert!(!said.contains("b.test.pem"), "{said}");
        line.split(" | ").map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(updates()[5..], ["0", "1", "Update successful"]);
    // One that is signed by anybody else changes nothing, nor does an error.
    for (manner, said) in [(Manner::WithAnotherKey, ["4", "OCSP response check failure"]), (Manner::WithAnError, ["2", "HTTP error"])] {
        responder.behave(manner);
        wait_until(said[1], || updates()[6..] == said);
        assert_eq!(stapled(front, "a.test", &root), "Cert Status: good");
    }
    // What was fetched outlives a reload, whoever answers then.
    daemon.reload(&config("maxconn 77"));
    wait_until("the same response", || stapled(front, "a.test", &root) == "Cert Status: good");
    responder.behave(Manner::Well);
    authority.openssl("ca -config ca.cnf -cert ca.crt -keyfile ca.key -revoke a.test.crt");
    let asked = responder.asked.load(SeqCst);
    assert_eq!(ask(&socket, &format!("update ssl ocsp-response {}\n", first.display())).trim(), "");
    wait_until("another question", || responder.asked.load(SeqCst) > asked);
    wait_until("a revocation", || stapled(front, "a.test", &root) == "Cert Status: revoked");
    let refused = ask(&socket, &format!("update ssl ocsp-response {}\n", second.display()));
    assert!(refused.contains("only works on certificates that have `ocsp-update on`"), "{refused}");
    drop(daemon);
    fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn the_native_format_has_responses_fetched() {
    let (authority, other) = (Authority::new(), Authority::named("other"));
    let responder = Responder::start(&authority, &other);
    let (pem, front) = (pem(&authority, "a.test", responder.server.address()), unused_address());
    let daemon = Daemon::start(&format!(
        "[global]\nocsp-update-mindelay = \"5m\"\nocsp-update-maxdelay = \"1h\"\n[defaults]\nmode = \"http\"\n\
         timeout = {{ connect = \"1s\", client = \"5s\", server = \"5s\" }}\n\
         [frontend.f]\nbind = [{{ address = \"{front}\", tls = {{ certificates = \"{}\", ocsp-update = true }} }}]\n\
         rules = [\"http-request return status 200\"]\n",
        pem.display()
    ));
    wait_until("a response", || stapled(front, "a.test", &authority.root()) == "Cert Status: good");
    // It is good for ten minutes, so nobody is asked again before five.
    assert_eq!((responder.asked.load(SeqCst), daemon.count("Update successful")), (1, 1));
}

#[test]
fn bind_words_ask_too_and_certificates_without_a_responder_are_named() {
    let (authority, other) = (Authority::new(), Authority::named("other"));
    let responder = Responder::start(&authority, &other);
    let (first, front) = (pem(&authority, "a.test", responder.server.address()), unused_address());
    let plain = authority.pem(&["c.test"]);
    let daemon = Daemon::start_haproxy(&format!(
        "defaults\n mode http\n timeout client 5s\n timeout connect 5s\n timeout server 5s\nfrontend f\n \
         bind {front} ssl crt {} crt {} ocsp-update on\n http-request return status 200\n",
        first.display(),
        plain.display()
    ));
    let said = daemon.wait_for_log("nobody is asked about its revocation");
    assert!(said.contains("c.test.pem") && said.contains("its issuer is neither in the file nor beside it"), "{said}");
    wait_until("a response", || stapled(front, "a.test", &authority.root()) == "Cert Status: good");
}
