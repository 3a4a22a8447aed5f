//! What a text means: the example of the manual, and everything that is filled in.

use std::time::Duration;

use super::{EXAMPLE, config, said};
use crate::config::convert;
use crate::config::{
    Action, AttachMode, Balance, Capability, Config, CookieMode, Format, Forward, HttpVersion, Mode, OnStop, Pattern, ProxyOption, Server,
    SocketLevel, StoredKind, TableKey, Target, Timeout, TlsVersion, Transport, XdpBalance,
};

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

fn server_check(text: &str) -> crate::config::Check {
    let config = config(&format!("[frontend.f]\nbind = \"*:80\"\ndefault-backend = \"b\"\n[backend.b]\n{text}"));
    config.servers()[0].check().cloned().expect("checked")
}

#[test]
fn example_has_nothing_to_complain_about() {
    let config = config(EXAMPLE);
    assert_eq!(config.warnings().to_string(), "");
    let names: Vec<&str> = config.frontends().iter().map(|frontend| frontend.name()).collect();
    assert_eq!(names, ["web", "postgres"]);
    let names: Vec<&str> = config.servers().iter().map(Server::name).collect();
    assert_eq!(names, ["web1", "web2", "spare", "api1", "db1", "db2"]);
}

#[test]
fn example_process_is_read() {
    let config = config(EXAMPLE);
    let global = config.global();
    assert_eq!((global.maxconn(), global.threads(), global.log().len(), global.spread_checks()), (Some(50_000), None, 2, 0));
    let socket = &global.stats_sockets()[0];
    let address = socket.address().to_string();
    assert_eq!((address.as_str(), socket.file().mode(), socket.level()), ("unix@/run/l7d/admin.sock", Some(0o660), SocketLevel::Admin));
    let xdp = config.xdp().unwrap();
    assert_eq!((xdp.interfaces()[0].as_str(), xdp.source_addresses()[0].to_string().as_str()), ("eth0", "10.0.0.5"));
    assert_eq!((xdp.mode(), xdp.on_stop(), xdp.flows(), xdp.hash_key()), (AttachMode::Auto, OnStop::Detach, 2_097_152, None));
    assert_eq!((xdp.pin().to_str(), xdp.source_ports(), xdp.metrics()), (Some("/sys/fs/bpf/l4d"), None, None));
}

#[test]
fn example_frontends_are_read() {
    let config = config(EXAMPLE);
    let web = config.frontend_named("web").unwrap();
    assert_eq!((web.mode(), web.xdp().is_none(), web.location().line()), (Mode::Http, true, 15));
    let [clear, tls] = web.binds() else { panic!("two binds") };
    assert_eq!((clear.address().to_string().as_str(), clear.tls().is_none()), ("*:80", true));
    let tls = tls.tls().unwrap();
    assert_eq!(
        (tls.alpn(), tls.protocol().min(), tls.protocol().max()),
        (&["h2".to_owned(), "http/1.1".to_owned()][..], TlsVersion::V1_2, TlsVersion::V1_3)
    );
    let acls: Vec<_> = web.acls().iter().map(|acl| (acl.name().as_str(), acl.expressions().len())).collect();
    assert_eq!(acls, [("is_api", 1), ("internal", 2)]);
    let rules: Vec<_> = web.rules().iter().map(|rule| (rule.location().line(), rule.location().column())).collect();
    assert_eq!(rules, [(20, 4), (21, 4), (22, 4), (23, 4)]);
    assert_eq!(config.backend(web.default_backend().unwrap()).name(), "app");
    assert_eq!((web.timeouts().of(Timeout::Client), web.timeouts().of(Timeout::Queue)), (Some(seconds(30)), None));
    let postgres = config.frontend_named("postgres").unwrap();
    let xdp = postgres.xdp().unwrap();
    assert_eq!((xdp.forward(), xdp.balance(), xdp.track()), (Forward::Nat, XdpBalance::Source, true));
    assert_eq!(config.backend(xdp.backend()).name(), "db");
    assert!(postgres.options().iter().all(|option| matches!(option.value(), ProxyOption::Redispatch(None))), "the others read requests");
}

#[test]
fn example_backends_are_read() {
    let config = config(EXAMPLE);
    let app = config.backend_named("app").unwrap();
    assert_eq!((app.balance(), app.retries(), app.servers().len()), (&Balance::LeastConn, 3, 3));
    let cookie = app.cookie().unwrap();
    assert_eq!((cookie.name(), cookie.mode(), cookie.indirect(), cookie.secure()), ("SERVERID", CookieMode::Insert, true, false));
    let web2 = config.server_named("app", "web2").unwrap();
    assert_eq!((web2.weight(), web2.backup(), web2.maxconn(), web2.slowstart()), (2, false, Some(200), Some(seconds(10))));
    assert_eq!((web2.cookie(), config.server(web2.id()).name(), web2.backend()), (Some("web2"), "web2", app.id()));
    let check = web2.check().unwrap();
    assert_eq!((check.interval(), check.rise(), check.fall(), check.target().to_string()), (seconds(2), 2, 3, "10.0.0.12:8080".to_owned()));
    let [connect, request, expect] = check.sequence().steps() else { panic!("three steps") };
    assert!(matches!(connect.action(), Action::Connect(connect) if connect.defaults()));
    let Action::Request(request) = request.action() else { panic!("a request") };
    assert_eq!((request.method(), request.version()), ("GET", HttpVersion::Http11));
    assert_eq!(request.target().and_then(Format::as_plain), Some(&b"/healthz"[..]));
    assert_eq!(
        request.headers().iter().map(|(name, value)| (name.as_str(), value.as_plain())).collect::<Vec<_>>(),
        [("host", Some(&b"app.internal"[..]))]
    );
    let Action::Expect(expect) = expect.action() else { panic!("an expectation") };
    assert!(matches!(expect.pattern(), Pattern::Status(set) if set.contains(200) && !set.contains(204)));
    assert!(config.server_named("app", "spare").unwrap().backup());
    let db: Vec<&str> = config.servers_of(config.backend_named("db").unwrap().id()).iter().map(Server::name).collect();
    assert_eq!(db, ["db1", "db2"]);
}

#[test]
fn example_table_is_read() {
    let config = config(EXAMPLE);
    let table = config.table_named("per_ip").unwrap();
    assert_eq!((table.key(), table.size(), table.expire()), (TableKey::Ip, 1_048_576, Some(seconds(600))));
    let stored: Vec<_> = table.store().iter().map(|stored| (stored.kind(), stored.period())).collect();
    assert_eq!(stored, [(StoredKind::HttpReqRate, Some(seconds(10))), (StoredKind::ConnCur, None)]);
}

#[test]
fn order_of_the_file_is_kept_not_of_the_alphabet() {
    let config = config("[backend.b]\nserver = { z = \"10.0.0.1:1\", a = \"10.0.0.2:1\" }\n[backend.a.server]\nm = \"10.0.0.3:1\"\n");
    let backends: Vec<&str> = config.backends().iter().map(|backend| backend.name()).collect();
    let servers: Vec<&str> = config.servers().iter().map(Server::name).collect();
    assert_eq!((backends, servers), (vec!["b", "a"], vec!["z", "a", "m"]));
    assert!(config.servers().iter().enumerate().all(|(index, server)| server.id().index() == index));
}

#[test]
fn own_settings_win_over_defaults() {
    let text = r#"
[defaults]
mode = "tcp"
timeout = { client = "30s", connect = "5s", server = "30s" }
option = ["tcplog", "redispatch", "abortonclose"]
balance = "source"
retries = 5
maxconn = 10
default-backend = "b"
check = { inter = "3s" }
default-server = { weight = 5, maxconn = 7 }
[frontend.f]
bind = "*:80"
timeout = { client = 0 }
option = ["no tcplog", "redispatch 2"]
[frontend.g]
bind = "*:81"
maxconn = 20
[backend.b]
balance = "first"
retries = 0
default-server = { weight = 6 }
server.one = "10.0.0.1:80"
server.two = { address = "10.0.0.2:80", weight = 0, check = false }
server.three = { address = "10.0.0.3:80", check = { port = 81, address = "10.0.0.4" } }
"#;
    let config = config(text);
    let (f, g) = (config.frontend_named("f").unwrap(), config.frontend_named("g").unwrap());
    assert_eq!((f.mode(), f.maxconn(), g.maxconn()), (Mode::Tcp, Some(10), Some(20)));
    assert_eq!((f.timeouts().of(Timeout::Client), g.timeouts().of(Timeout::Client)), (None, Some(seconds(30))));
    let options: Vec<&ProxyOption> = f.options().iter().map(|option| option.value()).collect();
    assert_eq!(options, [&ProxyOption::AbortOnClose, &ProxyOption::Redispatch(Some(2))]);
    let b = config.backend(f.default_backend().unwrap());
    assert_eq!((b.balance(), b.retries()), (&Balance::First, 0));
    let weights: Vec<_> = config.servers().iter().map(|server| (server.weight(), server.maxconn())).collect();
    assert_eq!(weights, [(6, Some(7)), (0, Some(7)), (6, Some(7))]);
    let targets: Vec<_> = config.servers().iter().map(|server| server.check().map(|check| check.target().clone())).collect();
    let target = |text: &str| Some(Target::Inet(text.parse().unwrap()));
    assert_eq!(targets, [target("10.0.0.1:80"), None, target("10.0.0.4:81")]);
    assert_eq!(config.server_named("b", "three").unwrap().check().unwrap().interval(), seconds(3));
}

#[test]
fn nothing_set_means_the_documented_defaults() {
    let config = config("[frontend.f]\nbind = \"*:80\"\ndefault-backend = \"b\"\n[backend.b]\nserver.s = \"10.0.0.1:80\"\n");
    assert_eq!(config.frontends()[0].mode(), Mode::Http);
    let backend = &config.backends()[0];
    assert_eq!((backend.mode(), backend.balance(), backend.retries()), (Mode::Http, &Balance::RoundRobin, 3));
    let server = &config.servers()[0];
    assert_eq!((server.weight(), server.backup(), server.disabled(), server.maxconn()), (1, false, false, None));
    assert_eq!((server.slowstart(), server.check().is_none(), server.cookie()), (None, true, None));
    assert_eq!((config.global().spread_checks(), config.xdp().is_none(), config.tables().len()), (0, true, 0));
}

#[test]
fn check_without_settings_is_a_connect_every_two_seconds() {
    for check in ["check = true", "check = {}", "check = { tcp = {} }"] {
        let check = server_check(&format!("{check}\nserver.s = \"10.0.0.1:80\"\n"));
        assert_eq!(
            (check.sequence().steps().len(), check.interval(), check.fast_interval(), check.down_interval()),
            (1, seconds(2), seconds(2), seconds(2))
        );
        assert_eq!((check.timeout(), check.connect_timeout(), check.rise(), check.fall()), (seconds(2), seconds(2), 2, 3));
    }
}

#[test]
fn check_timeouts_follow_who_set_them() {
    let limits = |text: &str| {
        let check = server_check(&format!("{text}\nserver.s = \"10.0.0.1:80\"\n"));
        (check.connect_timeout().as_secs(), check.timeout().as_secs())
    };
    assert_eq!(limits("check = { inter = \"9s\" }\ntimeout = { connect = \"5s\" }"), (9, 9), "neither set");
    assert_eq!(
        limits("check = { inter = \"9s\", timeout = \"7s\" }\ntimeout = { connect = \"5s\" }"),
        (5, 7),
        "the check's own is the whole"
    );
    assert_eq!(
        limits("check = { inter = \"9s\", timeout = \"3s\" }\ntimeout = { connect = \"5s\" }"),
        (3, 3),
        "connecting is a part of it"
    );
    assert_eq!(
        limits("check = { inter = \"9s\" }\ntimeout = { connect = \"5s\", check = \"4s\" }"),
        (5, 9),
        "the proxy's begins once connected"
    );
    assert_eq!(
        limits("check = { inter = \"2s\" }\ntimeout = { connect = \"5s\", check = \"4s\" }"),
        (2, 6),
        "and connecting ends with the interval"
    );
}

#[test]
fn servers_of_a_backend_share_their_http_check() {
    let config = config(EXAMPLE);
    let kinds: Vec<_> =
        config.servers_of(config.backend_named("app").unwrap().id()).iter().map(|server| server.check().unwrap().sequence()).collect();
    assert!(std::sync::Arc::ptr_eq(kinds[0], kinds[1]));
}

#[test]
fn kernel_frontend_keeps_what_the_planner_needs() {
    let text = r#"
[xdp]
interfaces = ["eth0", "eth1"]
source-ports = "49152-65535"
mode = "native"
flows = "1m"
hash-key = "000102030405060708090a0b0c0d0e0f"
pin = "/sys/fs/bpf/other"
on-stop = "keep"
metrics = "[::1]:9102"
packet-log = 1000
syn-cookies = 500
[frontend.dns]
mode = "tcp"
bind = ["udp@10.0.0.1:53", "10.0.0.1:53", "10.0.0.2:8000-8003"]
xdp = { forward = "dsr", hash = "tuple", track = false }
default-backend = "dns"
[frontend.plain]
mode = "tcp"
bind = "10.0.0.3:80"
xdp = true
default-backend = "web"
[backend.dns]
mode = "tcp"
balance = "leastconn"
check = { port = 53 }
server.a = "10.0.0.11"
[backend.web]
mode = "tcp"
balance = "static-rr"
check = false
server.a = "10.0.0.11:8080"
"#;
    let config = config(text);
    assert_eq!(config.warnings().to_string(), "", "the kernel needs no timeouts, and checks were declined");
    let xdp = config.xdp().unwrap();
    assert_eq!((xdp.mode(), xdp.on_stop(), xdp.flows(), xdp.interfaces().len()), (AttachMode::Native, OnStop::Keep, 1 << 20, 2));
    assert_eq!((xdp.source_ports().unwrap().first(), xdp.source_ports().unwrap().count()), (49_152, 16_384));
    assert_eq!((xdp.hash_key().unwrap()[15], xdp.metrics().unwrap().to_string().as_str()), (15, "[::1]:9102"));
    assert_eq!((xdp.packet_log(), xdp.syn_cookies()), (Some(1000), Some(500)));
    let dns = &config.frontends()[0];
    let binds: Vec<_> = dns.binds().iter().map(|bind| bind.address().inet().unwrap()).collect();
    assert_eq!((binds[0].transport(), binds[1].transport()), (Transport::Udp, Transport::Tcp));
    let ports: Vec<u16> = binds[2].sockets().map(|socket| socket.port()).collect();
    assert_eq!(ports, [8000, 8001, 8002, 8003]);
    let kernel = dns.xdp().unwrap();
    assert_eq!((kernel.forward(), kernel.balance(), kernel.track()), (Forward::Dsr, XdpBalance::Tuple, false));
    let plain = config.frontends()[1].xdp().unwrap();
    assert_eq!((plain.forward(), plain.balance(), plain.track()), (Forward::Nat, XdpBalance::RoundRobin, true));
    let servers = config.servers_of(kernel.backend());
    assert_eq!((servers[0].port(), servers[0].address_for(8001).map(|address| address.port())), (None, Some(8001)));
    assert_eq!(servers[0].address_location().line(), 27);
}

#[test]
fn capabilities_are_the_same_in_both_languages() {
    let wanted = [Capability::NetRaw, Capability::NetAdmin];
    assert_eq!(config("[global]\nsetcap = [\"cap_net_raw\", \"cap_net_admin\"]\n").global().capabilities(), wanted);
    let text = "global\n setcap cap_net_raw,cap_net_admin\n";
    assert_eq!(Config::parse("site.cfg", text).expect("a sound configuration").global().capabilities(), wanted);
    assert!(convert::text("site.cfg", text).text().contains("setcap = [\"cap_net_raw\", \"cap_net_admin\"]"));
    assert!(said("[global]\nsetcap = \"cap_kill\"\n").contains("`cap_kill`"));
}
