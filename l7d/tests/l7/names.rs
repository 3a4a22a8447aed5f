//! Servers that have names: a real server of the DNS, and Debian's haproxy beside.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use crate::http::{ok, read_head};
use crate::kit::{Daemon, Haproxy, PATIENCE, Server, connect, directory, echo, read, unused_address};
use crate::runtime::ask;

/// A running dnsmasq; killed when dropped.
pub(crate) struct Dns {
    child: Child,
    directory: PathBuf,
    address: SocketAddr,
}

impl Dns {
    /// Starts it with these lines of its hosts file, and these of its configuration.
    pub(crate) fn start(hosts: &[String], more: &str) -> Self {
        Self::start_at(unused_address(), hosts, more)
    }

    fn start_at(address: SocketAddr, hosts: &[String], more: &str) -> Self {
        let directory = directory();
        let dns = |file: &str| directory.join(file).display().to_string();
        let config = format!(
            "no-resolv\nno-hosts\naddn-hosts={}\nlocal=/example/\nport={}\nlisten-address={}\nbind-interfaces\npid-file={}\n{more}\n",
            dns("hosts"),
            address.port(),
            address.ip(),
            dns("pid")
        );
        std::fs::write(directory.join("hosts"), hosts.join("\n") + "\n").expect("a file");
        std::fs::write(directory.join("conf"), config).expect("a file");
        let mut command = Command::new("dnsmasq");
        command.arg("-k").arg("-C").arg(directory.join("conf")).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("dnsmasq: `cargo xtask setup` installs it");
        let end = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < end, "dnsmasq does not start");
            thread::sleep(Duration::from_millis(10));
        }
        Self { child, directory, address }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has it say something else from now on.
    fn say(&self, hosts: &[String]) {
        std::fs::write(self.directory.join("hosts"), hosts.join("\n") + "\n").expect("a file");
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().expect("kill").success());
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn host(ip: IpAddr, name: &str) -> String {
    format!("{ip} {name}")
}

/// Returns what the server behind a frontend says first, if there is one.
fn greeting(front: SocketAddr) -> Option<String> {
    let mut bytes = [0; 3];
    connect(front).read_exact(&mut bytes).ok().map(|()| String::from_utf8_lossy(&bytes).into_owned())
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A configuration that asks `dns`.
fn config(socket: &Path, front: SocketAddr, dns: &str, backends: &str) -> String {
    format!(
        "global\n stats socket {} level admin\nresolvers dns\n{dns} timeout resolve 200ms\n timeout retry 300ms\ndefaults\n mode tcp\n \
         timeout connect 2s\n timeout client 20s\n timeout server 20s\n default-server init-addr none resolvers dns\n\
         frontend f\n bind {front}\n default_backend b\n{backends}",
        socket.display()
    )
}

/// Returns the rows of `show servers state` without what passes; where rows are of equal worth, in the order of the alphabet.
fn states(socket: &Path) -> Vec<String> {
    let text = ask(socket, "show servers state\n");
    let row = |line: &str| {
        let mut fields: Vec<&str> = line.split(' ').collect();
        if fields.len() > 9 && fields[0] != "#" {
            fields[9] = "-";
            // Theirs counts no health for servers without checks that began without an address.
            fields[12] = "-";
            if matches!(fields[1], "multi" | "srv") {
                (fields[2], fields[3]) = ("-", "-");
            }
        }
        fields.join(" ")
    };
    let mut rows: Vec<String> = text.lines().map(row).collect();
    rows.sort();
    rows
}

/// A place that takes lines about servers.
fn lines_until(target: &UdpSocket, last: &[&str]) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    while !last.iter().all(|last| lines.iter().any(|line: &String| line.contains(last))) {
        let mut buffer = [0; 4096];
        let count = target.recv(&mut buffer).unwrap_or_else(|_| panic!("no {last:?} after {lines:#?}"));
        let line = String::from_utf8_lossy(&buffer[..count]).trim().to_owned();
        let (head, text) = line.split_once("]: ").expect("a head");
        lines.insert(format!("{}> {text}", head.split_once('>').expect("a level").0));
    }
    lines
}

#[test]
fn servers_follow_their_names_as_in_haproxy() {
    let [one, two, three] = [(); 3].map(|()| unused_address().ip());
    let [first, second] = [(); 2].map(|()| unused_address().ip());
    let all = |app: IpAddr| {
        let machines = [host(first, "m1.svc.example"), host(second, "m2.svc.example")];
        [vec![host(app, "app.example"), host(one, "multi.example"), host(two, "multi.example")], machines.to_vec()].concat()
    };
    let services = "srv-host=_http._tcp.svc.example,m1.svc.example,8081,0,10\nsrv-host=_http._tcp.svc.example,m2.svc.example,8082,0,1000\n";
    let dns = Dns::start(&all(one), services);
    let directory = directory();
    let sockets = [directory.join("ours"), directory.join("theirs")];
    let fronts = [unused_address(), unused_address()];
    let targets = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").expect("a socket"));
    targets.iter().for_each(|target| target.set_read_timeout(Some(PATIENCE)).expect("a timeout"));
    let written = |who: usize| {
        let section = format!(" nameserver n1 {}\n hold nx 1s\n hold obsolete 0s\n accepted_payload_size 4096\n", dns.address());
        let backends = format!(
            "backend b\n log {} local0\n server s1 app.example:7000\n server s2 nx.example:7000\n server s3 APP.example.:7000\n \
             server s4 127.0.0.1:7000\n\
             backend dup\n default-server resolve-opts allow-dup-ip\n server d1 app.example:7000\n server d2 app.example:7001\n\
             backend multi\n server-template t 3 multi.example:7000\n\
             backend srv\n server-template t 1-3 _http._tcp.svc.example\n\
             backend spare\n server-template q 5-6 _none._tcp.svc.example:99\n",
            targets[who].local_addr().expect("an address")
        );
        config(&sockets[who], fronts[who], &section, &backends)
    };
    let _theirs = Haproxy::find().start(&written(1), fronts[1]);
    let _ours = Daemon::start_haproxy(&written(0));
    let same = |step: &str| {
        let end = Instant::now() + PATIENCE;
        loop {
            let [ours, theirs] = [states(&sockets[0]), states(&sockets[1])];
            if ours == theirs {
                return ours;
            }
            let differ = |one: &[String], other: &[String]| one.iter().filter(|row| !other.contains(row)).cloned().collect::<Vec<_>>();
            assert!(Instant::now() < end, "{step}: ours {:#?}\ntheirs {:#?}", differ(&ours, &theirs), differ(&theirs, &ours));
            thread::sleep(Duration::from_millis(50));
        }
    };
    let ready = "b/s1 administratively READY";
    assert_eq!(lines_until(&targets[0], &[ready]), lines_until(&targets[1], &[ready]), "at the start");
    let row = |rows: &[String], part: &str| rows.iter().any(|row| row.contains(part));
    wait_until("settled", || row(&states(&sockets[0]), &format!("{second} 2 64")) && row(&states(&sockets[0]), &format!("{first} 2 64")));
    wait_until("settled", || row(&states(&sockets[1]), &format!("{second} 2 64")) && row(&states(&sockets[1]), &format!("{first} 2 64")));
    let rows = same("at the start");
    assert!(row(&rows, &format!("b 1 s1 {one} 2 0")) && row(&rows, "b 3 s3 - 0 32"), "{rows:#?}");
    for command in ["show stat\n", "show servers conn\n"] {
        let shown = |socket: &Path| {
            let text = ask(socket, command);
            let of_b = text.lines().filter(|line| line.starts_with("b,s") || line.starts_with("b/s"));
            let row = |line: &str| match line.contains(',') {
                true => [1, 17, 73].map(|place| line.split(',').nth(place).unwrap_or_default()).join(","),
                false => line.split(' ').take(4).collect::<Vec<_>>().join(" "),
            };
            of_b.map(row).collect::<Vec<_>>()
        };
        assert_eq!(shown(&sockets[0]), shown(&sockets[1]), "{command}");
    }

    dns.say(&all(three));
    let moved = &*format!("changed its IP from {one} to {three}");
    assert_eq!(lines_until(&targets[0], &[moved]), lines_until(&targets[1], &[moved]), "moved");
    wait_until("moved", || row(&states(&sockets[1]), &format!("d2 {three}")) && row(&states(&sockets[0]), &format!("d2 {three}")));
    same("after a move");

    dns.say(&all(three)[1..]);
    let lost = "is going DOWN for maintenance (DNS NX status)";
    assert_eq!(lines_until(&targets[0], &[lost]), lines_until(&targets[1], &[lost]), "lost");
    same("without an address");

    dns.say(&all(three));
    assert_eq!(lines_until(&targets[0], &[ready]), lines_until(&targets[1], &[ready]), "back");
    same("back");

    for command in [
        "set server b/s4 fqdn\n",
        "set server b/s4 fqdn a..b\n",
        "set server srv/t1 fqdn app.example\n",
        "set server b/s2 fqdn multi.example\n",
        "set server b/s2 fqdn multi.example\n",
        "show resolvers none\n",
    ] {
        assert_eq!(ask(&sockets[0], command), ask(&sockets[1], command), "{command}");
    }
    let resolved = "b/s2 administratively READY";
    targets.iter().for_each(|target| drop(lines_until(target, &[resolved])));
    let counters = |socket: &Path| {
        let text = ask(socket, "show resolvers dns\n");
        text.lines().map(|line| line.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(counters(&sockets[0]), counters(&sockets[1]));
    std::fs::remove_dir_all(&directory).expect("a directory");
}

#[test]
fn a_name_changes_its_address_under_traffic_and_nobody_notices() {
    let [one, two] = [unused_address(), unused_address()];
    let _servers = [("one", one), ("two", two)].map(|(name, at)| Server::at(at, move |stream| echo(name, stream)));
    let dns = Dns::start(&[host(one.ip(), "app.example")], "");
    let (directory, front) = (directory(), unused_address());
    let text = config(
        &directory.join("s"),
        front,
        &format!(" nameserver n1 {}\n", dns.address()),
        "backend b\n server s app.example:7000 check inter 100ms\n",
    );
    let daemon = Daemon::start_haproxy(&text);
    daemon.wait_for_log("resolves again");
    wait_until("in force", || greeting(front).is_some());
    let mut long = connect(front);
    assert_eq!(read(&mut long, 3), "one");
    dns.say(&[host(two.ip(), "app.example")]);
    // Every connection is served, by the one or by the other.
    wait_until("moved", || read(&mut connect(front), 3) == "two");
    (0..50).for_each(|_| assert_eq!(read(&mut connect(front), 3), "two"));
    long.write_all(b"still here").expect("the old connection");
    assert_eq!(read(&mut long, 10), "still here");
    // A reload begins where the servers are.
    daemon.reload(&text.replace("inter 100ms", "inter 150ms"));
    assert_eq!(read(&mut connect(front), 3), "two");
    // Nor does it forget to ask.
    for _ in 0..5 {
        daemon.reload(
            &text
                .replace(" server s app.example:7000", " server s 127.0.0.1:9")
                .replace("resolvers dns\n", "resolvers other\n")
                .replace(" default-server init-addr none resolvers other\n", ""),
        );
        daemon.reload(&text);
    }
    wait_until("asked again", || greeting(front).as_deref() == Some("two"));
    dns.say(&[host(one.ip(), "app.example")]);
    wait_until("moved back", || greeting(front).as_deref() == Some("one"));
    std::fs::remove_dir_all(&directory).expect("a directory");
}

/// The head of an answer to a question, with these flags and so many records.
fn answer_to(question: &[u8], flags: u16, records: u16) -> Vec<u8> {
    let mut answer = question[..question.len() - 11].to_vec();
    answer[2..4].copy_from_slice(&(0x8180 | flags).to_be_bytes());
    answer[6..8].copy_from_slice(&records.to_be_bytes());
    answer[10..12].copy_from_slice(&[0, 0]);
    answer
}

fn record(ip: IpAddr) -> Vec<u8> {
    let IpAddr::V4(ip) = ip else { panic!("an IPv4 address") };
    [&[192, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4][..], &ip.octets()].concat()
}

#[test]
fn answers_that_cannot_be_believed_are_passed_over() {
    let (good, bad) = (unused_address(), unused_address());
    let _server = Server::at(good, |stream| echo("yes", stream));
    let dns = UdpSocket::bind(unused_address()).expect("a socket");
    let stranger = UdpSocket::bind(unused_address()).expect("a socket");
    let at = dns.local_addr().expect("an address");
    thread::spawn(move || {
        let mut buffer = [0; 1500];
        while let Ok((length, from)) = dns.recv_from(&mut buffer) {
            let question = &buffer[..length];
            let lie = [answer_to(question, 0, 1), record(bad.ip())].concat();
            // From elsewhere; of another number; to another question; cut off; of nothing but noise; and at last the true one.
            let _ = stranger.send_to(&lie, from);
            let mut other = lie.clone();
            other[0] ^= 1;
            let mut name = lie.clone();
            name[13] ^= 1;
            for wrong in [&other[..], &name, &lie[..lie.len() - 1], &[0xff; 600], &[]] {
                let _ = dns.send_to(wrong, from);
            }
            let _ = dns.send_to(&[answer_to(question, 0, 1), record(good.ip())].concat(), from);
        }
    });
    let (directory, front) = (directory(), unused_address());
    let socket = directory.join("s");
    let section = format!(" nameserver n1 {at}\n");
    let text = config(&socket, front, &section, "backend b\n server s app.example:7000 resolve-prefer ipv4\n");
    let daemon = Daemon::start_haproxy(&text);
    daemon.wait_for_log("resolves again");
    wait_until("in force", || greeting(front).is_some());
    (0..20).for_each(|_| assert_eq!(greeting(front).as_deref(), Some("yes")));
    let shown = ask(&socket, "show resolvers dns\n");
    let count = |name: &str| shown.lines().find_map(|line| line.trim().strip_prefix(name)).map(|number| number.trim().parse::<u32>());
    assert!(count("invalid:").is_some_and(|count| count.is_ok_and(|count| count >= 5)), "{shown}");
    std::fs::remove_dir_all(&directory).expect("a directory");
}

#[test]
fn what_does_not_fit_is_asked_for_again_over_tcp() {
    let good = unused_address();
    let _server = Server::at(good, |stream| echo("ok", stream));
    let many: Vec<String> = (1..=60).map(|last| format!("127.200.200.{last} many.example")).collect();
    let dns = Dns::start(&[many, vec![host(good.ip(), "app.example")]].concat(), "");
    for (section, servers) in [
        (format!(" nameserver n1 {}\n", dns.address()), "backend b\n server-template s 50 many.example:7000 resolve-prefer ipv4\n"),
        (format!(" nameserver n1 tcp@{}\n", dns.address()), "backend b\n server s app.example:7000 resolve-prefer ipv4\n"),
    ] {
        let (directory, front) = (directory(), unused_address());
        let socket = directory.join("s");
        let _daemon = Daemon::start_haproxy(&config(&socket, front, &section, servers));
        wait_until("resolved", || {
            let states = ask(&socket, "show servers state\n");
            let addresses: BTreeSet<&str> = states.lines().skip(2).filter_map(|line| line.split(' ').nth(4)).collect();
            states.lines().count() > 2 && !addresses.contains("-")
        });
        let shown = ask(&socket, "show resolvers\n");
        assert_eq!(section.contains("tcp@"), shown.contains("truncated:   0"), "{shown}");
        std::fs::remove_dir_all(&directory).expect("a directory");
    }
}

#[test]
fn faults_take_a_server_out_once_the_last_good_answer_is_too_old() {
    let good = unused_address();
    for (fault, said) in [(2, "unspecified DNS error"), (5, "DNS refused status"), (16, "DNS timeout status")] {
        let dns = UdpSocket::bind(unused_address()).expect("a socket");
        let at = dns.local_addr().expect("an address");
        let is_well = Arc::new(AtomicBool::new(true));
        let well = Arc::clone(&is_well);
        thread::spawn(move || {
            let mut buffer = [0; 1500];
            while let Ok((length, from)) = dns.recv_from(&mut buffer) {
                let answer = match well.load(SeqCst) {
                    true => [answer_to(&buffer[..length], 0, 1), record(good.ip())].concat(),
                    false if fault > 15 => continue,
                    false => answer_to(&buffer[..length], fault, 0),
                };
                let _ = dns.send_to(&answer, from);
            }
        });
        let (directory, front) = (directory(), unused_address());
        let section = format!(" nameserver n1 {at}\n resolve_retries 2\n hold timeout 400ms\n hold other 400ms\n hold refused 400ms\n");
        let text = config(&directory.join("s"), front, &section, "backend b\n server s app.example:7000 resolve-prefer ipv4\n");
        let daemon = Daemon::start_haproxy(&text);
        daemon.wait_for_log("resolves again");
        is_well.store(false, SeqCst);
        let line = daemon.wait_for_log("is MAINT");
        assert!(line.contains(said), "{line}");
        std::fs::remove_dir_all(&directory).expect("a directory");
    }
}

#[test]
fn machines_of_a_service_come_and_go() {
    let [one, two, three] = [(); 3].map(|()| unused_address());
    let _servers = [("one", one), ("two", two), ("six", three)].map(|(name, at)| Server::at(at, move |stream| echo(name, stream)));
    let hosts = [host(one.ip(), "m1.example"), host(two.ip(), "m2.example"), host(three.ip(), "m3.example")];
    let services = |machines: &[(&str, u32)]| {
        machines.iter().map(|(name, weight)| format!("srv-host=_app._tcp.example,{name}.example,7000,0,{weight}\n")).collect::<String>()
    };
    let first = Dns::start(&hosts, &services(&[("m1", 0), ("m2", 65_535)]));
    let (directory, front) = (directory(), unused_address());
    let socket = directory.join("s");
    let section = format!(" nameserver n1 {}\n hold obsolete 300ms\n", first.address());
    let _daemon =
        Daemon::start_haproxy(&config(&socket, front, &section, "backend b\n balance static-rr\n server-template s 2 _app._tcp.example\n"));
    let shown = || ask(&socket, "show servers state b\n");
    let has = |ip: IpAddr, rest: &str| shown().contains(&format!("{ip} {rest}"));
    wait_until("resolved", || has(one.ip(), "2 64 1 1") && has(two.ip(), "2 64 256 1"));
    let seen: BTreeSet<String> = (0..6).map(|_| read(&mut connect(front), 3)).collect();
    assert_eq!(seen, BTreeSet::from(["one".to_owned(), "two".to_owned()]));
    let (at, mut long) = (first.address(), connect(front));
    let name = read(&mut long, 3);
    drop(first);
    let second = Dns::start_at(at, &hosts, &services(&[("m3", 255)]));
    wait_until("moved", || has(three.ip(), "2 64 1 1") && !has(one.ip(), "") && !has(two.ip(), "") && shown().contains(" - 0 32 "));
    (0..6).for_each(|_| assert_eq!(read(&mut connect(front), 3), "six"));
    long.write_all(b"still").expect("the old connection");
    assert_eq!(read(&mut long, 5), "still", "{name}");
    drop(second);
    std::fs::remove_dir_all(&directory).expect("a directory");
}

#[test]
fn the_first_address_is_where_init_addr_says() {
    let good = unused_address();
    let _server = Server::at(good, |stream| echo("ok", stream));
    let (directory, front) = (directory(), unused_address());
    let socket = directory.join("s");
    let saved = format!("1\n# x\n3 b 1 s {} 2 0 1 1 9 1 0 2 0 0 0 0 app.invalid 7000 - 0 0 - - 0\n", good.ip());
    std::fs::write(directory.join("state"), saved).expect("a file");
    for (host, init, expected) in [
        ("app.invalid", "init-addr none", "- 0 32"),
        ("app.invalid", "init-addr 127.7.7.7", "127.7.7.7 2 0"),
        ("app.invalid", "init-addr libc,none", "- 0 32"),
        ("localhost", "init-addr libc", " 2 0"),
        ("localhost", "", " 2 0"),
        ("app.invalid", "", &*format!("{} 2 0", good.ip())),
        ("app.invalid", "init-addr none,last", "- 0 32"),
    ] {
        let state = if init.contains("none") || init.contains("127.7") { "" } else { "load-server-state-from-file global" };
        let state = if init == "init-addr none,last" { "load-server-state-from-file global" } else { state };
        let text = format!(
            "global\n stats socket {} level admin\n server-state-file {}\ndefaults\n mode tcp\n {state}\n timeout connect 2s\n \
             timeout client 20s\n timeout server 20s\nfrontend f\n bind {front}\n default_backend b\nbackend b\n \
             server s {host}:7000 {init}\n",
            socket.display(),
            directory.join("state").display()
        );
        let _daemon = Daemon::start_haproxy(&text);
        let states = ask(&socket, "show servers state b\n");
        assert!(states.contains(expected), "{host} {init}: {states}");
    }
    std::fs::remove_dir_all(&directory).expect("a directory");
    let lost = "[backend.b]\nserver = { s = \"app.invalid:80\" }\n";
    let said = crate::kit::refusal(lost);
    assert!(said.contains("site.toml:2:17: `app.invalid` has no address now"), "{said}");
}

#[test]
fn the_systems_servers_of_names_are_asked() {
    let good = unused_address();
    let _server = Server::at(good, |stream| echo("sys", stream));
    // No other port stands in such a file.
    let dns = Dns::start_at(SocketAddr::new(unused_address().ip(), 53), &[host(good.ip(), "app.example")], "");
    let (directory, front) = (directory(), unused_address());
    let file = directory.join("resolv.conf");
    std::fs::write(&file, format!("# of the test\nsearch example\nnameserver {}\n", dns.address().ip())).expect("a file");
    let config = config(&directory.join("s"), front, " parse-resolv-conf\n", "backend b\n server s app.example:7000\n");
    let _daemon = Daemon::start_seeing(&file, "/etc/resolv.conf", &config);
    wait_until("resolved", || greeting(front).as_deref() == Some("sys"));
    let shown = ask(&directory.join("s"), "show resolvers\n");
    assert!(shown.contains(&dns.address().ip().to_string()), "{shown}");
    std::fs::remove_dir_all(&directory).expect("a directory");
}

#[test]
fn the_native_format_says_all_of_it() {
    let good = unused_address();
    let _server = Server::at(good, |stream| echo("yes", stream));
    let dns = Dns::start(&[host(good.ip(), "app.example")], "");
    let front = unused_address();
    let daemon = Daemon::start(&format!(
        "[resolvers.dns]\nnameserver = {{ n1 = \"{}\" }}\naccepted-payload-size = 4096\nresolve-retries = 2\n\
         timeout = {{ resolve = \"200ms\", retry = \"300ms\" }}\nhold = {{ nx = \"1s\", obsolete = \"0s\" }}\n\
         [defaults]\nmode = \"tcp\"\ntimeout = {{ connect = \"2s\", client = \"30s\", server = \"30s\" }}\n\
         [frontend.f]\nbind = \"{front}\"\ndefault-backend = \"b\"\n[backend.b]\n\
         default-server = {{ resolvers = \"dns\", init-addr = [\"last\", \"none\"], resolve-prefer = \"ipv4\", resolve-net = \"127.0.0.0/8\" }}\n\
         server = {{ s = {{ address = \"app.example:7000\", resolve-opts = [\"allow-dup-ip\"] }} }}\n\
         server-template = {{ t = {{ count = \"2-3\", address = \"app.example:7000\" }} }}\n",
        dns.address()
    ));
    daemon.wait_for_log("server b/s is UP: resolves again");
    wait_until("in force", || greeting(front).as_deref() == Some("yes"));
}

#[test]
fn rules_resolve_names_and_send_clients_there_as_in_haproxy() {
    let machines = [("one", unused_address()), ("two", unused_address())];
    let _servers = machines.map(|(name, at)| {
        Server::at(at, move |mut stream| while !read_head(&mut stream).is_empty() && stream.write_all(ok(name).as_bytes()).is_ok() {})
    });
    let dns = Dns::start(&machines.map(|(name, at)| host(at.ip(), &format!("{name}.example"))), "");
    let config = |front: SocketAddr| {
        format!(
            "resolvers dns\n nameserver n1 {}\n timeout retry 300ms\n hold valid 5s\ndefaults\n mode http\n timeout connect 2s\n \
             timeout client 20s\n timeout server 20s\nfrontend f\n bind {front}\n \
             http-request do-resolve(txn.ip,dns,ipv4) hdr(host),lower if {{ hdr(host) -m found }}\n \
             http-request return status 200 content-type text/plain lf-string \"none %[req.hdr(x)]\" unless {{ var(txn.ip) -m found }}\n \
             http-request set-dst var(txn.ip)\n http-request set-dst-port int(7000)\n \
             default_backend b\nbackend b\n http-request do-resolve(txn.other,dns) str(two.example)\n \
             http-request set-header x %[var(txn.other)]\n http-response set-header found %[var(txn.ip)],%[var(txn.other)]\n \
             server any 0.0.0.0:0\n",
            dns.address()
        )
    };
    let fronts = [unused_address(), unused_address()];
    let _ours = Daemon::start_haproxy(&config(fronts[0]));
    let _theirs = Haproxy::find().start(&config(fronts[1]), fronts[1]);
    let mut clients = fronts.map(connect);
    for (host, body) in [
        ("one.example", "one"),
        ("TWO.example", "two"),
        ("one.example", "one"),
        ("none.example", "none "),
        ("two.example", "two"),
        ("a..b", "none "),
        ("two.example", "two"),
    ] {
        let [ours, theirs] = [0, 1].map(|who| {
            let (head, body) = crate::http::ask(&mut clients[who], &format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
            let found = head.lines().find_map(|line| line.strip_prefix("found: ")).map(str::to_owned);
            (head.lines().next().unwrap_or_default().to_owned(), found, body)
        });
        assert_eq!(ours, theirs, "{host}");
        assert_eq!(ours.2, body, "{host}");
    }
}
