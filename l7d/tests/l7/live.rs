//! Maps, lists and certificates that change by command, answered as HAProxy answers; one configuration for both programs.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::certs::Authority;
use crate::kit::{Daemon, Haproxy, HaproxyProcess, connect, directory, unused_address};
use crate::runtime::ask;
use crate::tls::s_client;

struct Side {
    socket: PathBuf,
    front: SocketAddr,
    secure: SocketAddr,
}

struct Sides {
    directory: PathBuf,
    ours: Side,
    theirs: Side,
    daemon: Daemon,
    _peer: HaproxyProcess,
    config: String,
}

impl Sides {
    /// Starts both; `tls` stands behind the address of the second frontend.
    fn start(directory: PathBuf, rules: &str, tls: &str) -> Self {
        let side = |name: &str| Side { socket: directory.join(name), front: unused_address(), secure: unused_address() };
        let config = |side: &Side| {
            format!(
                "global\n nbthread 2\n stats socket {} level admin\ndefaults\n mode http\n timeout connect 2s\n timeout client 30s\n\
                 timeout server 30s\nfrontend web\n bind {}\n{rules} http-request return status 200 hdr X %[req.hdr(x)]\n\
                 frontend secure\n bind {} {tls}\n http-request return status 200\n",
                side.socket.display(),
                side.front,
                side.secure
            )
        };
        let (ours, theirs) = (side("ours"), side("theirs"));
        let peer = Haproxy::find().start(&config(&theirs), theirs.front);
        let config = config(&ours);
        Self { daemon: Daemon::start_haproxy(&config), ours, theirs, _peer: peer, directory, config }
    }

    fn same(&self, command: &str) -> String {
        let [ours, theirs] = [&self.ours, &self.theirs].map(|side| plain(&ask(&side.socket, command)));
        assert_eq!(ours, theirs, "{command:?}");
        ours
    }
}

impl Drop for Sides {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Leaves out what must differ: numbers, places in memory, the directory of the file, and lists without a file.
fn plain(answer: &str) -> String {
    let line = |line: &str| {
        if line.contains(" () ") {
            return None;
        }
        let line = match line.split_once(' ') {
            Some((first, rest)) if first.starts_with("0x") || (rest.starts_with('(') && rest.contains("curr_ver")) => rest,
            _ => line,
        };
        let mut parts = line.split("at file '");
        let mut out = parts.next().unwrap_or_default().to_owned();
        parts.for_each(|part| out.push_str(&format!("at file{}", part.split_once('\'').unwrap().1)));
        Some(out + "\n")
    };
    answer.split_terminator('\n').filter_map(line).collect()
}

fn get(front: SocketAddr, host: &str, path: &str) -> String {
    let mut client = connect(front);
    write!(client, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer.to_lowercase()
}

#[test]
fn maps_and_lists_change_with_haproxys_words() {
    let directory = directory();
    let (map, list) = (directory.join("hosts.map"), directory.join("paths.lst"));
    std::fs::write(&map, "h1 v1\nh2 v2\n").unwrap();
    std::fs::write(&list, "/a\n/b\n").unwrap();
    let (m, l) = (map.display().to_string(), list.display().to_string());
    let rules = format!(" acl bad path -f {l}\n http-request deny if bad\n http-request set-header x %[req.hdr(host),map({m},none)]\n");
    let sides = Sides::start(directory, &rules, "");
    let steps = [
        "show map;show acl",
        "show map M;show acl L",
        "show map #99;show map zz;show acl zz",
        "get map M h1",
        "get map M zz;get map M;get map",
        "get acl L /a;get acl L /zz;get acl L",
        "add map M h3 v3;show map M",
        "add map M h3;add map M;add map",
        "add map M <<\nh4 v4\nh5  v5 w\n",
        "show map M",
        "add acl L /c;add acl L;show acl L",
        "set map M h3 v33;set map M zz v;set map M h3;set map M",
        "set map M #0x1 v",
        "del map M h3;del map M h3;del map M;del map",
        "del map M #0x1",
        "del acl L /zz;del acl L /a;show acl L",
        "get map M h4x",
        "prepare map M;prepare map M",
        "add map @1 M n1 w1;add map @9 M n1 w1;add map @2 M h1 new",
        "show map @1 M;show map @0 M;show map @9 M",
        "show map",
        "commit map M;commit map @x M;commit map @9 M",
        "commit map @2 M;commit map @1 M;show map;show map M",
        "clear map @1 M;clear map;clear map zz",
        "prepare acl L;prepare acl zz;prepare acl",
        "add acl @1 L /n1;commit acl @1 L;commit acl @2 L;show acl;show acl L",
        "operator;add map M a b;show map M",
    ];
    for step in steps {
        let command = step.replace(" M", &format!(" {m}")).replace(" L", &format!(" {l}"));
        sides.same(&(command + "\n"));
    }
    // Who may only look changes nothing here.
    assert_eq!(ask(&sides.ours.socket, &format!("user;add map {m} c d\n")), "\nPermission denied\n\n");
    // Whoever asks meets what was put in force.
    for side in [&sides.ours, &sides.theirs] {
        assert!(get(side.front, "h1", "/").contains("x: new"), "{}", get(side.front, "h1", "/"));
        assert!(get(side.front, "h2", "/").contains("x: none"));
        assert!(get(side.front, "h2", "/n1").starts_with("http/1.1 403") && get(side.front, "h2", "/b").starts_with("http/1.1 200"));
    }
    let clear = format!("clear map {m};show map {m};add map {m} h2 again\n");
    sides.same(&clear);
    assert!(get(sides.ours.front, "h2", "/").contains("x: again"));
    // A change of another kind leaves it, a reload reads the file.
    assert_eq!(ask(&sides.ours.socket, "set maxconn frontend web 100\n"), "\n");
    assert!(get(sides.ours.front, "h2", "/").contains("x: again"));
    sides.daemon.reload(&sides.config);
    assert!(get(sides.ours.front, "h2", "/").contains("x: v2"));
}

/// Returns the host names of the certificate that whoever asks for a host is shown.
fn shown(front: SocketAddr, host: &str) -> String {
    let said = s_client(front, &["-servername", host], "");
    said.lines().find_map(|line| line.strip_prefix("subject=")).unwrap_or_else(|| panic!("{said}")).replace(' ', "")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn certificates_are_replaced_with_haproxys_words() {
    let (authority, directory) = (Authority::new(), directory());
    let [a, b] = ["a.test", "b.test"].map(|host| authority.pem(&[host]));
    let [c, d] = ["c.test", "d.test"].map(|host| read(&authority.pem(&[host])));
    let list = directory.join("crt.list");
    std::fs::write(&list, format!("{}\n{} b.test !www.b.test\n", a.display(), b.display())).unwrap();
    let sides = Sides::start(directory, "", &format!("ssl crt-list {}", list.display()));
    let (a, l) = (a.display().to_string(), list.display().to_string());
    let steps = [
        "show ssl cert",
        "show ssl cert A",
        "show ssl cert zz;show ssl cert *A",
        "set ssl cert;set ssl cert A",
        "set ssl cert zz <<\nC",
        "set ssl cert A <<\nfoo\n",
        "commit ssl cert A",
        "abort ssl cert A",
        "set ssl cert A <<\nC",
        "show ssl cert;show ssl cert *A",
        "set ssl cert A <<\nC",
        "commit ssl cert zz",
        "commit ssl cert;abort ssl cert;new ssl cert;del ssl cert",
        "commit ssl cert A",
        "show ssl cert A",
        "set ssl cert A <<\nD",
        "abort ssl cert A",
        "new ssl cert /n.pem",
        "new ssl cert /n.pem;new ssl cert A",
        "show ssl cert;show ssl cert /n.pem",
        "add ssl crt-list L /n.pem;add ssl crt-list L /zz.pem;add ssl crt-list /zz /n.pem;add ssl crt-list",
        "set ssl cert /n.pem <<\nD",
        "commit ssl cert /n.pem",
        "show ssl cert /n.pem",
        "add ssl crt-list L /n.pem",
        "show ssl crt-list;show ssl crt-list /zz;show ssl crt-list L;show ssl crt-list -n L",
        "del ssl cert /n.pem;del ssl cert /zz",
        "add ssl crt-list L <<\n/n.pem e.test\n",
        "show ssl crt-list -n L",
        "del ssl crt-list L /n.pem;del ssl crt-list L /zz;del ssl crt-list",
    ];
    for step in steps {
        let command = step.replace(" A", &format!(" {a}")).replace("*A", &format!("*{a}")).replace(" L", &format!(" {l}"));
        let command = command.replace("<<\nC", &format!("<<\n{c}")).replace("<<\nD", &format!("<<\n{d}"));
        sides.same(&(command + "\n"));
    }
    let list = ["a.test", "b.test", "c.test", "d.test", "e.test", "zz.test"];
    let seen = |side: &Side| list.map(|host| shown(side.secure, host));
    assert_eq!(seen(&sides.ours), seen(&sides.theirs));
    assert_eq!(seen(&sides.ours).join(" "), "CN=c.test CN=b.test CN=c.test CN=d.test CN=d.test CN=c.test");
    sides.same(&format!("del ssl crt-list {l} /n.pem:4\n"));
    sides.same(&format!("del ssl crt-list {l} /n.pem;del ssl cert /n.pem;show ssl cert;show ssl crt-list -n {l}\n"));
    assert_eq!(seen(&sides.ours).join(" "), "CN=c.test CN=b.test CN=c.test CN=c.test CN=c.test CN=c.test");
    // A reload reads the files.
    sides.daemon.reload(&sides.config);
    assert_eq!(shown(sides.ours.secure, "c.test"), "CN=a.test");
}

/// Has an authority answer about a certificate for so many days, and returns what it says in base64.
fn answered(authority: &Authority, name: &str, days: u32) -> (PathBuf, String) {
    let (request, response) = (authority.path("request.der"), authority.path(&format!("{name}.{days}.der")));
    authority.openssl(&format!("ocsp -issuer ca.crt -cert {name}.crt -no_nonce -reqout {}", request.display()));
    let signer = "-index responses -CA ca.crt -rsigner ca.crt -rkey ca.key -reqin";
    authority.openssl(&format!("ocsp {signer} {} -respout {} -ndays {days}", request.display(), response.display()));
    authority.openssl(&format!("base64 -in {} -out {}.txt", response.display(), response.display()));
    let text = read(&response.with_extension("der.txt"));
    (response, text.trim().to_owned())
}

#[test]
fn responses_about_revocation_are_replaced_with_haproxys_words() {
    let (authority, directory) = (Authority::new(), directory());
    let [issued, apart] = ["a.test", "b.test"].map(|host| authority.issue(&[host]));
    let known = |issued: &crate::certs::Issued| {
        let output = Command::new("openssl").args(["x509", "-noout", "-serial", "-in"]).arg(&issued.certificate).output().unwrap();
        let serial = String::from_utf8(output.stdout).unwrap().trim().replace("serial=", "");
        format!("V\t351231000000Z\t\t{serial}\tunknown\t/CN={serial}\n")
    };
    std::fs::write(authority.path("responses"), known(&issued) + &known(&apart)).unwrap();
    let pem = authority.join("a.pem", &[&issued.certificate, &issued.key, &authority.root()]);
    let ((first, _), (_, second), (_, other)) =
        (answered(&authority, "a.test", 7), answered(&authority, "a.test", 9), answered(&authority, "b.test", 9));
    std::fs::copy(first, authority.path("a.pem.ocsp")).unwrap();
    std::fs::write(authority.path("responses"), "").unwrap();
    let (_, unknown) = answered(&authority, "a.test", 11);
    let sides = Sides::start(directory, "", &format!("ssl crt {}", pem.display()));
    let until = |side: &Side| {
        let said = s_client(side.secure, &["-status", "-servername", "a.test"], "");
        said.lines().find_map(|line| line.trim().strip_prefix("Next Update: ")).unwrap_or_else(|| panic!("{said}")).to_owned()
    };
    let before = until(&sides.ours);
    assert_eq!(before, until(&sides.theirs));
    for command in [
        "show ssl ocsp-response".to_owned(),
        "set ssl ocsp-response".to_owned(),
        "set ssl ocsp-response !!!".to_owned(),
        "set ssl ocsp-response Zm9v".to_owned(),
        format!("set ssl ocsp-response {}", other.replace('\n', "")),
        format!("set ssl ocsp-response <<\n{unknown}\n"),
        format!("set ssl ocsp-response {}", second.replace('\n', "")),
        format!("set ssl ocsp-response <<\n{second}\n"),
        "show ssl ocsp-response".to_owned(),
    ] {
        sides.same(&format!("{command}\n"));
    }
    let after = until(&sides.ours);
    assert_eq!(after, until(&sides.theirs));
    assert_ne!(before, after);
    // A reload reads the file.
    sides.daemon.reload(&sides.config);
    assert_eq!(until(&sides.ours), before);
}
