//! Maps and lists from files, read and changed by rules; beside Debian's haproxy.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::http::{ask, ok, server, status};
use crate::kit::{Daemon, Haproxy, connect, directory, is_at_end, refusal, unused_address};
use crate::rules::{Site, converse, mirror};

fn write(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn files_are_looked_up_and_changed_as_haproxy_does() {
    let haproxy = Haproxy::find();
    let directory = directory();
    let hosts = write(&directory, "hosts.map", "# hosts\none.example back\n\ttwo.example other \nthree.example  other\nTWO.example back\n");
    let paths = write(&directory, "paths.map", "/api 1\n/api/v2 2\n/images 3\n");
    let ends = write(&directory, "ends.map", ".css static\n.min.css small\nexample dom\n");
    let regs = write(&directory, "regs.map", "^/u/([a-z]+)/([0-9]+) user=\\1&id=\\2\n^/u/ all\n");
    let nets = write(&directory, "nets.map", "127.0.0.0/8 loop\n127.0.0.1 me\n10.0.0.0/8 inside\n");
    let nums = write(&directory, "nums.map", "1:3 few\n4 four\n5:100 many\n");
    let bad = write(&directory, "bad.lst", "evil\nworse\n");
    let (hosts, paths, ends, regs, nets, nums, bad) =
        (hosts.display(), paths.display(), ends.display(), regs.display(), nets.display(), nums.display(), bad.display());
    let rules = [
        format!("http-request set-map({hosts}) %[req.hdr(x-key)] %[req.hdr(x-value)] if {{ path /set }}"),
        format!("http-request del-map({hosts}) %[req.hdr(x-key)] if {{ path /del }}"),
        format!("http-request add-acl({bad}) %[req.hdr(x-key)] if {{ path /ban }}"),
        format!("http-request del-acl({bad}) %[req.hdr(x-key)] if {{ path /pardon }}"),
        format!("http-request deny if {{ req.hdr(x-who) -f {bad} }}"),
        format!("http-request deny deny_status 429 if {{ req.hdr(x-who) -m end -i -f {bad} suffix }}"),
        format!("http-request set-header X-Host %[req.hdr(host),lower,map({hosts},none)]"),
        format!(
            "http-request set-header X-Path \"%[path,map_beg({paths})]|%[path,map_beg_int({paths},9),add(1)]|%[path,map_dir({paths},-)]\""
        ),
        format!("http-request set-header X-Str \"%[path,map_str({paths},no)]|%[path,map_sub({paths},no)]\""),
        format!("http-request set-header X-Ends \"%[path,map_end({ends},no)]|%[req.hdr(host),map_dom({ends},no)]\""),
        format!("http-request set-header X-Reg \"%[path,map_reg({regs},no)]|%[path,map_regm({regs},no)]\""),
        format!("http-request set-header X-Net \"%[src,map_ip({nets})]|%[req.hdr_ip(x-ip),map_ip({nets},outside)]\""),
        format!("http-request set-header X-Num \"%[path,length,map_int({nums},0)]\""),
        format!("use_backend %[req.hdr(host),lower,map({hosts},back)]"),
    ];
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    let site = Site { rules: &rules, ..Site::default() };
    let servers = [mirror("one"), mirror("two")];
    let addresses = [servers[0].address(), servers[1].address()];
    let (ours, theirs) = (unused_address(), unused_address());
    let _daemon = Daemon::start(&site.toml(ours, addresses));
    let _peer = haproxy.start(&site.cfg(theirs, addresses), theirs);
    let cases = [
        ("/", "Host: one.example\r\nX-Ip: 10.1.2.3\r\n"),
        ("/", "Host: TWO.example\r\nX-Ip: 1.1.1.1\r\n"),
        ("/", "Host: three.example\r\n"),
        ("/api/v2/x", "Host: a.example\r\n"),
        ("/api/x", "Host: example.org\r\n"),
        ("/apiary", "Host: h\r\n"),
        ("/x/images/y", "Host: h\r\n"),
        ("/x.min.css", "Host: h\r\n"),
        ("/x.css", "Host: h\r\n"),
        ("/u/joe/12", "Host: h\r\n"),
        ("/u/joe/x", "Host: h\r\n"),
        ("/x", "Host: h\r\nX-Who: evil\r\n"),
        ("/x", "Host: h\r\nX-Who: good\r\n"),
        ("/x", "Host: h\r\nX-Who: very EVIL\r\n"),
        ("/x", "Host: h\r\nX-Who: my suffix\r\n"),
        ("/set", "Host: new.example\r\nX-Key: new.example\r\nX-Value: other\r\n"),
        ("/x", "Host: new.example\r\n"),
        ("/set", "Host: h\r\nX-Key: two.example\r\nX-Value: back\r\n"),
        ("/x", "Host: two.example\r\n"),
        ("/del", "Host: h\r\nX-Key: one.example\r\n"),
        ("/x", "Host: one.example\r\n"),
        ("/ban", "Host: h\r\nX-Key: good\r\n"),
        ("/x", "Host: h\r\nX-Who: good\r\n"),
        ("/pardon", "Host: h\r\nX-Key: evil\r\n"),
        ("/x", "Host: h\r\nX-Who: evil\r\n"),
    ];
    for (path, fields) in cases {
        let request = format!("GET {path} HTTP/1.1\r\n{fields}\r\n");
        assert_eq!(converse(ours, &request), converse(theirs, &request), "{request}");
    }
}

#[test]
fn a_map_that_does_not_fit_is_refused_with_its_line() {
    let directory = directory();
    let map = write(&directory, "m.map", "# numbers\n1 one\n(x two\n");
    let site = |rule: &str| Site { rules: &[rule], ..Site::default() }.toml(unused_address(), [unused_address(); 2]);
    let name = map.display();
    assert!(refusal(&site(&format!("use_backend %[path,map_reg({name})]"))).contains("line 3 of the file: "));
    assert!(refusal(&site(&format!("use_backend %[path,length,map_int({name})]"))).contains("line 3 of the file: `(x` is neither"));
    assert!(refusal(&site(&format!("http-request set-header A %[path,map_str_int({name})]"))).contains("line 2 of the file: `one`"));
    assert!(refusal(&site("use_backend %[path,map(/no/such/file)]")).contains("/no/such/file: No such file"));
}

#[test]
fn a_map_of_a_hundred_thousand_lines_routes() {
    let directory = directory();
    let text: String =
        (0..100_000).map(|number| format!("host{number}.example {}\n", if number % 2 == 0 { "back" } else { "other" })).collect();
    let map = write(&directory, "hosts.map", &text);
    let (one, _) = server(|_, _| ok("one"));
    let (two, _) = server(|_, _| ok("two"));
    let front = unused_address();
    let rule = format!("use_backend %[req.hdr(host),lower,map({})]", map.display());
    let _daemon = Daemon::start(&Site { rules: &[&rule], ..Site::default() }.toml(front, [one.address(), two.address()]));
    let mut client = connect(front);
    for (host, expected) in [("host0", "one"), ("HOST99999", "two"), ("host50000", "one"), ("host100001", "one")] {
        assert_eq!(ask(&mut client, &format!("GET / HTTP/1.1\r\nHost: {host}.example\r\n\r\n")).1, expected, "{host}");
    }
}

#[test]
fn those_in_the_tarpit_wait_and_those_dropped_hear_nothing() {
    let haproxy = Haproxy::find();
    let (one, _) = server(|_, _| ok("one"));
    let rules = [
        "http-request tarpit if { path /tar }",
        "http-request tarpit deny_status 429 if { path /tar429 }",
        "http-request silent-drop if { path /drop }",
        "tcp-request session silent-drop if { src 127.0.0.2 }",
    ];
    let site = Site { rules: &rules, ..Site::default() };
    let (ours, theirs) = (unused_address(), unused_address());
    let servers = [one.address(), one.address()];
    let _daemon = Daemon::start(&site.toml(ours, servers).replace("client = \"30s\"", "client = \"30s\", tarpit = \"300ms\""));
    let _peer =
        haproxy.start(&site.cfg(theirs, servers).replace(" timeout client 30s", " timeout client 30s\n timeout tarpit 300ms"), theirs);
    for path in ["/tar", "/tar429"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
        let start = Instant::now();
        let answer = converse(ours, &request);
        assert!(start.elapsed() >= Duration::from_millis(300));
        assert_eq!(answer, converse(theirs, &request), "{path}");
    }
    for address in [ours, theirs] {
        let mut client = connect(address);
        client.write_all(b"GET /drop HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        client.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        // Whoever may repair sockets says nothing; others send a reset that comes no further than the next host.
        let heard = client.read(&mut [0]);
        let said = heard.as_ref().map_err(std::io::Error::kind);
        let silent = [std::io::ErrorKind::WouldBlock, std::io::ErrorKind::TimedOut, std::io::ErrorKind::ConnectionReset];
        assert!(said.is_err_and(|kind| silent.contains(&kind)), "{address}: {heard:?}");
    }
    let mut client = connect(ours);
    let (head, _) = ask(&mut client, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    assert_eq!(status(&head), "200");
    assert!(is_at_end(&mut client));
}
