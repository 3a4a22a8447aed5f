//! What commands switch and tell of backends and of the process, beside haproxy.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::certs::Authority;
use crate::http::{hello, read_head};
use crate::kit::{Daemon, Haproxy, HaproxyProcess, PATIENCE, Server, connect, directory, unused_address};
use crate::tables::tell;

/// Both programs with the same configuration.
struct Both {
    fronts: [SocketAddr; 2],
    sockets: [PathBuf; 2],
    directory: PathBuf,
    _daemon: Daemon,
    _haproxy: HaproxyProcess,
    _server: Server,
}

impl Both {
    /// Starts them; `proxies` stands behind a frontend `web`, in which SERVER is the address of a server.
    fn start(proxies: &str) -> Self {
        let ((server, _), directory) = (hello(), directory());
        let (fronts, sockets) = ([(); 2].map(|()| unused_address()), ["ours", "theirs"].map(|name| directory.join(name)));
        let cfg = |place: usize| {
            format!(
                "global\n stats socket {} level admin\ndefaults\n mode http\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n\
                 frontend web\n bind {}\n{}",
                sockets[place].display(),
                fronts[place],
                proxies.replace("SERVER", &server.address().to_string())
            )
        };
        let daemon = Daemon::start_haproxy(&cfg(0));
        let haproxy = Haproxy::find().start(&cfg(1), fronts[1]);
        Self { fronts, sockets, directory, _daemon: daemon, _haproxy: haproxy, _server: server }
    }

    /// Lets both answer a command, which must be the same, and returns that.
    fn same(&self, command: &str) -> String {
        let [ours, theirs] = [0, 1].map(|place| tell(&self.sockets[place], command));
        assert_eq!(ours, theirs, "{command}");
        ours
    }

    /// Asks both for a path, and returns the fields of a name of the answers, which must be the same.
    fn fields(&self, path: &str, name: &str) -> Vec<String> {
        let [ours, theirs] = self.fronts.map(|front| {
            let mut client = connect(front);
            client.write_all(format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
            let head = read_head(&mut client);
            let field =
                |line: &str| line.split_once(": ").filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned());
            head.lines().filter_map(field).collect::<Vec<_>>()
        });
        assert_eq!(ours, theirs, "{path}");
        ours
    }
}

impl Drop for Both {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

#[test]
fn dynamic_cookies_are_switched_and_get_other_keys_as_with_haproxy() {
    let both = Both::start(
        " default_backend app\n use_backend still if { path /still }\nbackend app\n cookie S insert dynamic\n dynamic-cookie-key one\n \
         server s1 SERVER\nbackend still\n cookie S insert\n dynamic-cookie-key one\n server s1 SERVER\nbackend bare\n server s1 SERVER\n",
    );
    let cookie = |path: &str| both.fields(path, "set-cookie");
    let first = cookie("/");
    assert!(first.len() == 1 && first[0].len() > 10, "{first:?}");
    // A server without a value takes the cookie away.
    let is_none = |cookies: &[String]| cookies.iter().all(|cookie| cookie.starts_with("S=;"));
    assert!(is_none(&cookie("/still")));
    both.same("set dynamic-cookie-key backend app two");
    let second = cookie("/");
    assert!(second.len() == 1 && second != first, "{second:?}");
    both.same("disable dynamic-cookie backend app");
    assert!(is_none(&cookie("/")));
    both.same("enable dynamic-cookie backend app");
    assert_eq!(cookie("/"), second);
    both.same("enable dynamic-cookie backend still");
    assert_eq!(cookie("/still"), first);
    for command in [
        "enable dynamic-cookie backend bare",
        "enable dynamic-cookie backend none",
        "disable dynamic-cookie backend none",
        "enable dynamic-cookie backend",
        "set dynamic-cookie-key backend none x",
        "set dynamic-cookie-key backend app",
        "set dynamic-cookie-key backend",
    ] {
        both.same(command);
    }
}

#[test]
fn connections_with_tls_are_counted_as_by_haproxy() {
    let authority = Authority::new();
    let fronts = [(); 2].map(|()| unused_address());
    let (plain, directory) = (hello().0, directory());
    let cfg = |place: usize| {
        format!(
            "global\n stats socket {} level admin\ndefaults\n mode http\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n\
             listen web\n bind {} ssl crt {}\n server s1 {}\n",
            directory.join(place.to_string()).display(),
            fronts[place],
            authority.pem(&["a.test"]).display(),
            plain.address()
        )
    };
    let _daemon = Daemon::start_haproxy(&cfg(0));
    let _haproxy = Haproxy::find().start(&cfg(1), fronts[1]);
    let told = |place: usize| {
        let info = tell(&directory.join(place.to_string()), "show info");
        let value = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap().parse::<u64>().unwrap();
        ["CumSslConns", "CurrSslConns", "SslRate", "SslFrontendKeyRate", "SslFrontendSessionReuse_pct"].map(value)
    };
    for place in [0, 1] {
        let url = format!("https://{}/", fronts[place]);
        let end = Instant::now() + PATIENCE;
        // The address is taken before anybody listens there.
        while !Command::new("curl").args(["-sk", "-o", "/dev/null", &url]).status().unwrap().success() {
            assert!(Instant::now() < end, "nobody answers");
        }
        let visited = Command::new("curl").args(["-sk", "-o", "/dev/null", &url]).status().unwrap();
        assert!(visited.success());
        while told(place)[1] > 0 {
            assert!(Instant::now() < end, "{:?}", told(place));
        }
        assert_eq!(told(place)[0], 2);
        let mut held = connect(fronts[place]);
        held.write_all(b"\x16\x03\x01").unwrap();
        while told(place)[..2] != [3, 1] {
            assert!(Instant::now() < end, "{:?}", told(place));
        }
    }
    let rate = |name: &str| {
        let info = tell(&directory.join("0"), "show info");
        info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap().parse::<u64>().unwrap()
    };
    let end = Instant::now() + PATIENCE;
    while rate("MaxSslRate") == 0 || rate("SslFrontendMaxKeyRate") == 0 {
        assert!(Instant::now() < end, "rates stay");
    }
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn variables_of_the_process_are_told_as_by_haproxy() {
    let both = Both::start(
        " http-request set-var(proc.number) int(-3)\n http-request set-var(proc.path) path\n http-request set-var(proc.yes) bool(true)\n \
         http-request set-var(proc.v4) ipv4(192.0.2.1)\n http-request set-var(proc.v6) ipv6(2001:db8::1)\n \
         http-request set-var(txn.own) int(1)\n http-request return status 200\n",
    );
    let is_set = |socket: &Path| tell(socket, "get var proc.path").contains("/somewhere");
    both.fields("/somewhere", "x");
    assert!(both.sockets.iter().all(|socket| is_set(socket)));
    for name in ["proc.number", "proc.path", "proc.yes", "proc.v4", "proc.v6", "txn.own", "proc.none", "none", ""] {
        both.same(&format!("get var {name}"));
    }
}
