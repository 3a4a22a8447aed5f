//! Settings of TLS binds that decide which handshakes succeed, and what may come before one.

use std::io::{Read, Write};

use crate::certs::Authority;
use crate::kit::{Daemon, Server, connect, refusal, unused_address};
use crate::tls::{REQUEST, client, http_echo, s_client, site};

#[test]
fn crt_list_tells_which_names_a_file_is_for() {
    let (authority, server, front) = (Authority::new(), http_echo(), unused_address());
    let [first, admin, wild] = [&["first.test"][..], &["admin.test"], &["*.w.test"]].map(|hosts| authority.pem(hosts));
    let list = authority.path("list.txt");
    let text = format!(
        "# the first is for all others\n{}\n{} admin.test other.test\n\n{} *.w.test !no.w.test\n",
        first.display(),
        admin.display(),
        wild.display()
    );
    std::fs::write(&list, text).unwrap();
    let _daemon = Daemon::start(&site("http", front, &format!("crt-list = \"{}\"", list.display()), server.address()));
    for (host, subject) in [
        ("x.w.test", "w.test"),
        ("no.w.test", "first.test"),
        ("unknown.test", "first.test"),
        ("other.test", "admin.test"),
        ("admin.test", "admin.test"),
    ] {
        let text = s_client(front, &["-servername", host, "-ign_eof"], REQUEST);
        assert!(text.replace(' ', "").contains(&format!("subject=CN={subject}")) && text.contains("served"), "{host}: {text}");
    }
}

#[test]
fn crt_list_sets_terms_for_those_who_ask_for_a_name() {
    let (authority, ca, server, front) = (Authority::new(), Authority::named("operators"), http_echo(), unused_address());
    let [public, admin, old] = [&["public.test"][..], &["admin.test"], &["old.test"]].map(|hosts| authority.pem(hosts));
    let list = authority.path("list.txt");
    let text = format!(
        "{}\n{} [verify required ca-file {}] admin.test\n{} [ssl-max-ver TLSv1.2 no-alpn]\n",
        public.display(),
        admin.display(),
        ca.root().display(),
        old.display()
    );
    std::fs::write(&list, text).unwrap();
    let tls = format!("crt-list = \"{}\", alpn = [\"h2\", \"http/1.1\"]", list.display());
    let daemon = Daemon::start(&site("http", front, &tls, server.address()).replace("{ address", "{ name = \"door\", address"));
    let operator = ca.issue(&["operator"]);
    let [certificate, key] = [&operator.certificate, &operator.key].map(|path| path.display().to_string());
    let session = authority.path("session").display().to_string();
    let ask = |host: &str, more: &[&str]| s_client(front, &[&["-servername", host, "-ign_eof"], more].concat(), REQUEST);
    let [alpn, shown] = [["-alpn", "http/1.1"], ["-sess_out", &session]];
    let said = ask("public.test", &[alpn, shown].concat());
    assert!(said.contains("served") && said.contains("ALPN protocol: http/1.1") && said.contains("TLSv1.3"), "{said}");
    let said = ask("admin.test", &[]);
    assert!(!said.contains("served") && said.contains("alert"), "{said}");
    daemon.wait_for_log("front/door: SSL handshake failure");
    // A session that began where nobody is asked must not let anyone in where somebody is.
    let said = ask("admin.test", &["-sess_in", &session]);
    assert!(!said.contains("served"), "{said}");
    assert!(ask("admin.test", &["-cert", &certificate, "-key", &key]).contains("served"));
    let said = ask("old.test", &alpn);
    assert!(said.contains("served") && said.contains("No ALPN negotiated") && said.contains("TLSv1.2"), "{said}");
    assert!(!ask("old.test", &["-tls1_3"]).contains("served"));
}

#[test]
fn mistakes_between_brackets_are_told_by_their_line() {
    let authority = Authority::new();
    let (pem, list) = (authority.pem(&["a.test"]), authority.path("list.txt"));
    std::fs::write(&list, format!("{0} [alpn]\n{0} [verify required] x.test\n{0} [strict-sni]\n{0} [verify\n", pem.display())).unwrap();
    let said = refusal(&site("http", unused_address(), &format!("crt-list = \"{}\"", list.display()), unused_address()));
    for expected in
        ["list.txt:1: `alpn` lacks", "list.txt:2: certificates cannot be verified without", "list.txt:3: ", "list.txt:4: this `[`"]
    {
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

#[test]
fn haproxys_own_default_settings_decide_about_all_binds_behind_them() {
    let (authority, server, [first, second]) = (Authority::new(), http_echo(), [unused_address(), unused_address()]);
    let name = authority.pem(&["a.test"]).file_name().unwrap().to_string_lossy().into_owned();
    let config = format!(
        "global\n  crt-base {}\n  ssl-default-bind-ciphers ECDHE-ECDSA-AES256-GCM-SHA384:DHE-RSA-AES128-GCM-SHA256:!aNULL\n  \
         ssl-default-bind-ciphersuites TLS_AES_128_CCM_SHA256:TLS_CHACHA20_POLY1305_SHA256\n  \
         ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets no-sslv3\n\
         defaults\n  mode http\n  timeout client 30s\n  timeout server 30s\n  timeout connect 5s\n\
         frontend f\n  bind {first} ssl crt {name}\n  bind {second} name two ssl crt {name} ciphers HIGH:!MD5 ssl-max-ver TLSv1.2\n  default_backend b\n\
         backend b\n  server s {}\n",
        authority.path("").display(),
        server.address()
    );
    let daemon = Daemon::start_haproxy(&config);
    daemon.wait_for_log("not spoken here: DHE-RSA-AES128-GCM-SHA256");
    for (front, arguments, passes) in [
        (first, &["-tls1_2"][..], Some("ECDHE-ECDSA-AES256-GCM-SHA384")),
        (first, &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"], None),
        (first, &["-tls1_3"], Some("TLS_CHACHA20_POLY1305_SHA256")),
        (second, &["-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"], Some("ECDHE-ECDSA-AES128-GCM-SHA256")),
        (second, &["-tls1_3"], None),
    ] {
        let text = s_client(front, &[arguments, &["-ign_eof"]].concat(), REQUEST);
        assert_eq!(text.contains("served"), passes.is_some(), "{arguments:?}: {text}");
        assert!(passes.is_none_or(|cipher| text.contains(&format!("Cipher is {cipher}"))), "{arguments:?}: {text}");
    }
}

#[test]
fn ciphers_suites_curves_and_versions_are_limits() {
    let (authority, server) = (Authority::new(), http_echo());
    let pem = authority.pem(&["a.test"]);
    let [old, new] = [unused_address(), unused_address()];
    let certificate = format!("certificates = \"{}\"", pem.display());
    let only_new = format!("{certificate}, min = \"1.3\", ciphersuites = \"TLS_CHACHA20_POLY1305_SHA256\", curves = \"secp384r1\"");
    let only_old = format!("{certificate}, max = \"1.2\", ciphers = \"ECDHE-ECDSA-AES256-GCM-SHA384\"");
    let config = site("http", old, &only_old, server.address())
        .replace("bind = [", &format!("bind = [{{ address = \"{new}\", tls = {{ {only_new} }} }}, "));
    let _daemon = Daemon::start(&config);
    for (front, arguments, passes) in [
        (new, &["-tls1_3"][..], true),
        (new, &["-tls1_2"], false),
        (new, &["-ciphersuites", "TLS_AES_128_GCM_SHA256"], false),
        (new, &["-groups", "X25519"], false),
        (new, &["-groups", "X25519:secp384r1"], true),
        (old, &["-tls1_2"], true),
        (old, &["-tls1_3"], false),
        (old, &["-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"], false),
    ] {
        let text = s_client(front, &[arguments, &["-ign_eof"]].concat(), REQUEST);
        assert_eq!(text.contains("served"), passes, "{arguments:?}: {text}");
        let cipher = if front == new { "TLS_CHACHA20_POLY1305_SHA256" } else { "ECDHE-ECDSA-AES256-GCM-SHA384" };
        assert!(!passes || text.contains(&format!("Cipher is {cipher}")), "{arguments:?}: {text}");
    }
}

#[test]
fn two_certificates_of_one_name_serve_clients_of_either_kind() {
    let (authority, server, front) = (Authority::new(), http_echo(), unused_address());
    let of_kind = |file: &str, kind: &str| {
        let issued = authority.issue_with(&["a.test"], kind, 30);
        authority.join(file, &[&issued.certificate, &issued.key])
    };
    let (curve, rsa) = (of_kind("curve.pem", "ec -pkeyopt ec_paramgen_curve:P-256"), of_kind("rsa.pem", "rsa:2048"));
    let tls = format!("certificates = [\"{}\", \"{}\"]", rsa.display(), curve.display());
    let _daemon = Daemon::start(&site("http", front, &tls, server.address()));
    for (algorithms, key) in [("ECDSA+SHA256", "256 bit"), ("RSA-PSS+SHA256", "2048 bit")] {
        let text = s_client(front, &["-servername", "a.test", "-sigalgs", algorithms, "-ign_eof"], REQUEST);
        assert!(text.contains(&format!("Server public key is {key}")) && text.contains("served"), "{algorithms}: {text}");
    }
}

#[test]
fn proxy_header_comes_before_the_handshake() {
    let (authority, front) = (Authority::new(), unused_address());
    let server = Server::start(|mut stream| {
        let mut head = [0; 4096];
        let count = stream.read(&mut head).unwrap();
        let body = String::from_utf8_lossy(&head[..count]).lines().find(|line| line.starts_with("x-forwarded-for")).unwrap().to_owned();
        stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).unwrap();
    });
    let tls = format!("certificates = \"{}\"", authority.pem(&["a.test"]).display());
    let config = site("http", front, &tls, server.address())
        .replace("[{ address", "[{ accept-proxy = true, address")
        .replace("option = [", "option = [\"forwardfor header x-forwarded-for\", ");
    let daemon = Daemon::start(&config);
    let mut secure = client(front, &authority, &rustls::version::TLS13);
    secure.sock.write_all(b"PROXY TCP4 192.0.2.77 192.0.2.1 4711 443\r\n").unwrap();
    secure.write_all(REQUEST.as_bytes()).unwrap();
    let mut answer = String::new();
    // The connection ends after its one answer; how the socket ends is not the matter here.
    let _ = secure.read_to_string(&mut answer);
    assert!(answer.ends_with("x-forwarded-for: 192.0.2.77"), "{answer}");
    assert!(daemon.wait_for_log("] front~ back/s").starts_with("192.0.2.77:4711 "));
    // Without the header a handshake is no handshake.
    let mut rest = Vec::new();
    let mut stream = connect(front);
    stream.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc").unwrap();
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.is_empty(), "{rest:?}");
}

#[test]
fn nobody_agrees_with_us_on_what_is_broken() {
    let (authority, server, front) = (Authority::new(), http_echo(), unused_address());
    let tls = format!("certificates = \"{}\"", authority.pem(&["a.test"]).display());
    let _daemon = Daemon::start(&site("http", front, &tls, server.address()));
    for arguments in [
        ["-tls1", "-cipher", "ALL:@SECLEVEL=0"],
        ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
        ["-tls1_2", "-cipher", "AES128-SHA:@SECLEVEL=0"],
        ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"],
    ] {
        let text = s_client(front, &arguments, "");
        assert!(text.contains("Cipher is (NONE)"), "{arguments:?}: {text}");
    }
    assert!(s_client(front, &["-tls1_2", "-ign_eof"], REQUEST).contains("served"));
}
