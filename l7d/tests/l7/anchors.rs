//! Authorities, and what they have revoked, change by command: clients and servers are trusted by them from then on, as with haproxy.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::certs::{Authority, Issued};
use crate::http::ask as fetch;
use crate::kit::{Daemon, Haproxy, HaproxyProcess, PATIENCE, connect, directory, unused_address};
use crate::runtime::ask;
use crate::tls::s_client;

/// One of the two programs.
struct Side {
    socket: PathBuf,
    plain: SocketAddr,
    trusting: SocketAddr,
    revoking: SocketAddr,
    origin: SocketAddr,
    config: String,
}

/// Makes a configuration that trusts clients and a server by a file of authorities, and leaves out clients by one of what was revoked.
fn side(directory: &Path, name: &str, [pem, ca, crl]: [&Path; 3]) -> Side {
    let [plain, trusting, revoking, origin] = [(); 4].map(|()| unused_address());
    let (socket, pem, ca, crl) = (directory.join(name), pem.display(), ca.display(), crl.display());
    let config = format!(
        "global\n nbthread 2\n stats socket {} level admin\ndefaults\n mode http\n timeout connect 2s\n timeout client 30s\n timeout server 30s\n\
         frontend plain\n bind {plain}\n default_backend app\nbackend app\n retries 0\n http-reuse never\n server s1 {origin} ssl verify required ca-file {ca} crt {pem}\n\
         frontend trusting\n bind {trusting} ssl crt {pem} ca-file {ca} verify required\n http-request return status 200\n\
         frontend revoking\n bind {revoking} ssl crt {pem} ca-file {ca} crl-file {crl} verify required\n http-request return status 200\n\
         frontend origin\n bind {origin} ssl crt {pem}\n http-request return status 200\n",
        socket.display()
    );
    Side { socket, plain, trusting, revoking, origin, config }
}

struct Sides {
    sides: [Side; 2],
    daemon: Daemon,
    _haproxy: HaproxyProcess,
    /// What stands for a path or a text in commands.
    names: Vec<(&'static str, String)>,
}

impl Sides {
    /// Says the same to both, which answer the same.
    fn same(&self, command: &str) {
        let command = self.names.iter().fold(format!("{command}\n"), |command, (short, long)| command.replace(short, long));
        let answers = self.sides.each_ref().map(|side| {
            let command = command.replace("ORIGIN", &side.origin.to_string());
            // Haproxy has read the system's, which nobody has named.
            ask(&side.socket, &command).lines().filter(|line| !line.starts_with("@system-ca")).collect::<Vec<_>>().join("\n")
        });
        assert_eq!(answers[0], answers[1], "{command:?}");
    }

    /// Waits until both do as they should: a client is let in where it should be, and the server is trusted or not.
    fn expect(&self, what: &str, clients: &[(&Issued, [bool; 2])], server: bool) {
        for side in &self.sides {
            for (client, [trusted, unrevoked]) in clients {
                assert_eq!(is_let_in(side.trusting, client), *trusted, "{what}: {}", client.certificate.display());
                assert_eq!(is_let_in(side.revoking, client), *unrevoked, "{what}: {}", client.certificate.display());
            }
            let status = fetch(&mut connect(side.plain), "GET / HTTP/1.1\r\nHost: h\r\n\r\n").0[9..12].to_owned();
            assert_eq!(status, if server { "200" } else { "503" }, "{what}");
        }
    }
}

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";

fn is_let_in(front: SocketAddr, client: &Issued) -> bool {
    let files = [&client.certificate, &client.key].map(|file| file.display().to_string());
    s_client(front, &["-ign_eof", "-cert", &files[0], "-key", &files[1]], REQUEST).contains("HTTP/1.1 200")
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap().trim().to_owned()
}

#[test]
fn authorities_and_what_they_have_revoked_change_with_haproxys_words() {
    let (one, two, directory) = (Authority::new(), Authority::named("two"), directory());
    let (pem, ca, crl) = (one.pem(&["a.test"]), one.join("trusted.pem", &[&one.root()]), one.path("revoked.pem"));
    let (client, stranger) = (one.issue(&["client"]), two.issue(&["stranger"]));
    std::fs::copy(one.revoke(&one.issue(&["gone"])), &crl).unwrap();
    let sides = ["ours", "theirs"].map(|name| side(&directory, name, [&pem, &ca, &crl]));
    let _haproxy = Haproxy::find().start(&sides[1].config, sides[1].plain);
    let daemon = Daemon::start_haproxy(&sides[0].config);
    let (revoked, both) = (text(&one.revoke(&client)), one.join("both.pem", &[&one.root(), &two.root()]));
    let names = vec![
        ("PEM", pem.display().to_string()),
        ("CA", ca.display().to_string()),
        ("LIST", crl.display().to_string()),
        ("ONE", text(&one.root())),
        ("TWO", text(&two.root())),
        ("BOTH", text(&both)),
        ("REVOKED", revoked),
    ];
    let sides = Sides { sides, daemon, _haproxy, names };
    let session = directory.join("session").display().to_string();
    let files = [&client.certificate, &client.key].map(|file| file.display().to_string());
    let begun = s_client(sides.sides[0].trusting, &["-ign_eof", "-cert", &files[0], "-key", &files[1], "-sess_out", &session], REQUEST);
    assert!(begun.contains("HTTP/1.1 200"), "{begun}");
    sides.expect("at first", &[(&client, [true, true]), (&stranger, [false, false])], true);

    for kind in ["ca-file CA", "crl-file LIST"] {
        let (word, file) = kind.split_once(' ').unwrap();
        let good = if word == "ca-file" { "TWO" } else { "REVOKED" };
        for step in [
            "show ssl WORD;show ssl WORD FILE;show ssl WORD FILE:1;show ssl WORD FILE:2;show ssl WORD FILE:x;show ssl WORD zz;show ssl WORD *FILE",
            "commit ssl WORD FILE;abort ssl WORD FILE;set ssl WORD;set ssl WORD FILE;new ssl WORD;new ssl WORD FILE",
            "commit ssl WORD;abort ssl WORD;del ssl WORD;del ssl WORD zz;del ssl WORD FILE",
            "set ssl WORD zz <<\nGOOD\n",
            "set ssl WORD FILE <<\njunk\n",
            "new ssl WORD /n.pem;show ssl WORD;show ssl WORD /n.pem",
            "set ssl WORD /n.pem <<\nGOOD\n",
            "show ssl WORD;show ssl WORD *FILE;show ssl WORD */n.pem",
            "set ssl WORD FILE <<\nGOOD\n",
            "commit ssl WORD FILE;abort ssl WORD FILE",
            "abort ssl WORD /n.pem;commit ssl WORD /n.pem;del ssl WORD /n.pem;show ssl WORD",
            "set ssl WORD FILE <<\nGOOD\n",
            "set ssl WORD FILE <<\nGOOD\n",
            "show ssl WORD *FILE;operator;commit ssl WORD FILE",
        ] {
            sides.same(&step.replace("WORD", word).replace("FILE", file).replace("GOOD", good));
        }
    }
    sides.expect("nothing was committed", &[(&client, [true, true]), (&stranger, [false, false])], true);

    sides.same("commit ssl ca-file CA;show ssl ca-file;show ssl ca-file CA");
    // Nothing says what the other authority has revoked, which is as if it were all.
    sides.expect("others are trusted", &[(&client, [false, false]), (&stranger, [true, false])], false);
    // Who was trusted by another authority begins anew.
    let again = s_client(sides.sides[0].trusting, &["-ign_eof", "-cert", &files[0], "-key", &files[1], "-sess_in", &session], REQUEST);
    assert!(!again.contains("HTTP/1.1 200"), "{again}");

    sides.same("set ssl ca-file CA <<\nBOTH\n");
    sides.same("commit ssl ca-file CA;show ssl ca-file CA;show ssl ca-file CA:2");
    sides.expect("both are trusted", &[(&client, [true, true]), (&stranger, [true, false])], true);

    sides.same("commit ssl crl-file LIST;show ssl crl-file LIST");
    sides.expect("one is revoked", &[(&client, [true, false]), (&stranger, [true, false])], true);

    // What there is no file of serves servers that are added.
    sides.same("new ssl ca-file /n.pem");
    sides.same("set ssl ca-file /n.pem <<\nTWO\n");
    sides.same("commit ssl ca-file /n.pem;show ssl ca-file /n.pem");
    sides.same("add server app/s2 ORIGIN ssl verify required ca-file /n.pem crt PEM");
    sides.same("set server app/s2 state ready;set server app/s1 state maint;del ssl ca-file /n.pem");
    sides.expect("the added server is trusted by another", &[], false);
    sides.same("set ssl ca-file /n.pem <<\nONE\n");
    sides.same("commit ssl ca-file /n.pem");
    sides.expect("the added server is trusted", &[], true);

    // A reload reads the files.
    sides.daemon.reload(&sides.sides[0].config);
    let end = Instant::now() + PATIENCE;
    while is_let_in(sides.sides[0].trusting, &stranger) {
        assert!(Instant::now() < end, "a stranger is let in");
    }
    assert!(is_let_in(sides.sides[0].revoking, &client));
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn servers_that_are_shown_nothing_are_trusted_by_others_too() {
    let (one, two, directory) = (Authority::new(), Authority::named("two"), directory());
    let (pem, ca, socket) = (one.pem(&["a.test"]), one.root().display().to_string(), directory.join("ours"));
    let (front, origin) = (unused_address(), unused_address());
    let _daemon = Daemon::start_haproxy(&format!(
        "global\n stats socket {} level admin\ndefaults\n mode http\n timeout connect 2s\n timeout client 30s\n timeout server 30s\n\
         frontend front\n bind {front}\n default_backend app\nbackend app\n retries 0\n \
         server s {origin} ssl verify required ca-file {ca} check inter 100ms fall 1 rise 1\n\
         frontend origin\n bind {origin} ssl crt {}\n http-request return status 200\n",
        socket.display(),
        pem.display()
    ));
    let say = |command: &str| ask(&socket, &format!("{command}\n"));
    let is_up = || say("show servers state app").lines().any(|line| line.split(' ').nth(5) == Some("2"));
    let wait = |up: bool| {
        let end = Instant::now() + PATIENCE;
        while is_up() != up {
            assert!(Instant::now() < end, "{}", say("show servers state app"));
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    };
    let status = || fetch(&mut connect(front), "GET / HTTP/1.1\r\nHost: h\r\n\r\n").0[9..12].to_owned();
    wait(true);
    assert_eq!(status(), "200");
    for (authority, up) in [(&two, false), (&one, true)] {
        assert!(say(&format!("set ssl ca-file {ca} <<\n{}\n", text(&authority.root()))).contains("transaction created"));
        assert_eq!(say(&format!("commit ssl ca-file {ca}")), format!("Committing {ca}\nSuccess!\n\n"));
        // An idle connection belongs to who was trusted; checks trust as traffic does.
        wait(up);
        assert_eq!(status(), if up { "200" } else { "503" });
    }
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn authorities_of_peers_take_a_reload() {
    let (one, directory) = (Authority::new(), directory());
    let (pem, ca, socket) = (one.pem(&["a.test"]), one.root().display().to_string(), directory.join("ours"));
    let (front, peer) = (unused_address(), unused_address());
    let _daemon = Daemon::start_haproxy(&format!(
        "global\n stats socket {} level admin\n localpeer a\ndefaults\n mode http\n timeout connect 2s\n timeout client 30s\n timeout server 30s\n\
         peers p\n bind {peer} ssl crt {pem} ca-file {ca} verify required\n server a\n\
         frontend front\n bind {front} ssl crt {pem} ca-file {ca} verify required\n http-request return status 200\n",
        socket.display(),
        pem = pem.display()
    ));
    let say = |command: &str| ask(&socket, &format!("{command}\n"));
    assert!(say(&format!("set ssl ca-file {ca} <<\n{}\n", text(&one.root()))).contains("transaction created"));
    let refused = say(&format!("commit ssl ca-file {ca}"));
    assert!(refused.contains("Peers of section 'p' are trusted by it, which takes a reload!"), "{refused}");
    assert!(say("show ssl ca-file").contains(&format!("*{ca} - 1 certificate(s)")), "it stays ready");
    std::fs::remove_dir_all(directory).unwrap();
}
