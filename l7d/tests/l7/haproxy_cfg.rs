//! HAProxy's configuration language: one file on both programs, the same answers; and what is said of mistakes.

use std::net::SocketAddr;
use std::process::Command;

use crate::http::{ask, essence, server, status};
use crate::kit::{Daemon, Haproxy, Server, connect, directory, unused_address};

/// Sections, defaults by name, quotes, variables, and rules of all kinds.
const SITE: &str = r#"
# A comment
global
    nbthread 1
    setenv TEAM "blue team"

defaults base
    mode http
    timeout connect 5s
    timeout client  30s
    timeout server  30s

defaults quick from base
    timeout server 2s
    option forwardfor

frontend www from quick
    bind FRONT
    acl is_api path_beg /api/
    acl is_api path_beg "/v 2/" /v2/
    http-request set-header X-Team "${TEAM}"
    http-request set-header X-Else "${NOT_SET_ANYWHERE-plain default}"
    http-request set-header X-Quoted 'a "b" #c \1'
    http-request set-header X-Escaped a\ b\\c\#d
    http-request set-header X-Dollar "costs \$5"
    http-request deny deny_status 403 if { path -i /secret }
    http-response set-header X-Line "${.LINE}"
    redirect location /new code 301 if { path /old }
    use_backend api if is_api
    default_backend app

backend app
    balance roundrobin
    http-request add-header X-Back app
    server app1 APP

backend api from base
    server api1 API weight 10 maxconn 100

listen both from base
    bind LISTEN
    http-request add-header X-Once 1
    http-response add-header X-Once 1
    server app1 APP
"#;

/// A server that answers with its name and the fields it got, in the order of the alphabet.
fn mirror(name: &'static str) -> Server {
    let (server, _) = server(move |head, _| {
        let mut fields: Vec<String> = head.lines().skip(1).filter(|line| line.to_ascii_lowercase().starts_with("x-")).map(lower).collect();
        fields.sort();
        let body = format!("{name}\n{}", fields.join("\n"));
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    });
    server
}

/// Puts the name of a field into lower case, as haproxy does.
fn lower(line: &str) -> String {
    line.split_once(':').map_or_else(|| line.to_owned(), |(name, value)| format!("{}:{value}", name.to_ascii_lowercase()))
}

/// Asks for a path on a connection of its own and returns what of the answer is compared.
fn answer(address: SocketAddr, path: &str) -> Vec<String> {
    let (head, body) = ask(&mut connect(address), &format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n\r\n"));
    // The text of a proxy's own page is its own.
    let is_page = head.contains(" 403 ") || head.contains(" 301 ");
    let body = if is_page { "" } else { &body };
    let mut lines = essence(&format!("{head}{body}"));
    lines.retain(|line| !is_page || line.starts_with("HTTP/") || line.starts_with("location:"));
    lines
}

fn site(front: SocketAddr, listen: SocketAddr, servers: [&Server; 2]) -> String {
    let [app, api] = servers.map(|server| server.address().to_string());
    SITE.replace("FRONT", &front.to_string()).replace("LISTEN", &listen.to_string()).replace("APP", &app).replace("API", &api)
}

#[test]
fn one_file_means_the_same_to_both_programs() {
    let (app, api) = (mirror("app"), mirror("api"));
    let [our_front, our_listen, their_front, their_listen] = std::array::from_fn(|_| unused_address());
    let _daemon = Daemon::start_haproxy(&site(our_front, our_listen, [&app, &api]));
    let _haproxy = Haproxy::find().start(&site(their_front, their_listen, [&app, &api]), their_front);
    for (path, known) in [("/", "app"), ("/api/x", "api"), ("/v2/x", "api"), ("/SECRET", "403"), ("/old", "301")] {
        let (ours, theirs) = (answer(our_front, path), answer(their_front, path));
        assert_eq!(ours, theirs, "{path}");
        assert!(ours.concat().contains(known), "{path}: {ours:?}");
    }
    let (ours, theirs) = (answer(our_listen, "/"), answer(their_listen, "/"));
    assert_eq!(ours, theirs, "a rule of a `listen` section holds once");
    assert_eq!(ours.concat().matches("x-once:").count(), 2, "{ours:?}");
}

/// Returns what is said about a file, and whether it can be served.
fn check(config: &str) -> (bool, String) {
    let directory = directory();
    let file = directory.join("haproxy.cfg");
    std::fs::write(&file, config).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_l7d")).args(["check", "-f"]).arg(&file).output().unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    let text = String::from_utf8(output.stdout).unwrap().replace(&format!("{}/", directory.display()), "");
    (output.status.success(), text)
}

#[test]
fn mistakes_are_told_where_they_are() {
    let base = "defaults\n timeout connect 1s\n timeout client 1s\n timeout server 1s\n";
    let cases = [
        ("frontend f\n bind :80\n default_backend c\nbackend b\n server s 10.0.0.1:80\n", "haproxy.cfg:7:18: no backend `c`"),
        (
            "listen l\n bind :80\n blance roundrobin\n server s 10.0.0.1:80\n",
            "haproxy.cfg:7:2: unknown keyword `blance` in section `listen`",
        ),
        (
            "listen l\n bind :80\n dispatch 10.0.0.1:80\n server s 10.0.0.1:80\n",
            "haproxy.cfg:7:2: `dispatch` in section `listen` is not supported: write a `server`",
        ),
        ("listen l\n bind :80\n acl a path_bug /x\n server s 10.0.0.1:80\n", "haproxy.cfg:7:8: there is no sample fetch `path_bug`"),
        ("listen l\n bind :80\n acl a path \\\n  -m wrong \"${NOT_SET-x}\"\n server s 10.0.0.1:80\n", "haproxy.cfg:8:6: "),
        ("listen l\n bind :80\n http-request set-header \"a\n server s 10.0.0.1:80\n", "haproxy.cfg:7:26: this quote is not closed"),
        ("listen l\n bind :80 crt\n server s 10.0.0.1:80 chekc\n", "haproxy.cfg:7:23: unknown keyword `chekc` in `server`"),
        ("backend b\n bind :80\n server s 10.0.0.1:80\n", "haproxy.cfg:6:2: `bind` has no place in section `backend`"),
        ("backend b\nbackend b\n", "haproxy.cfg:6:9: `b` is the name of a backend already"),
        ("frontend f from other\n", "haproxy.cfg:5:17: no defaults `other` before this line"),
        ("userlist u\n user x password y groups z\n", "haproxy.cfg:6:27: no group `z` in userlist `u`"),
        ("resolvers r\n nameserver a example:53\n", "haproxy.cfg:6:15: `example:53` is not the address of a server"),
        ("resolvers r\n nameserver a 10.0.0.1\n nameserver a 10.0.0.2\n", "haproxy.cfg:7:13: there is a nameserver `a` already"),
        ("frontend f\n bind :80\n http-request do-resolve(txn.ip) hdr(host)\n", "haproxy.cfg:7:15: `do-resolve` wants a variable"),
        ("frontend f\n bind :80\n http-request do-resolve(txn.ip,r) hdr(host)\n", "haproxy.cfg:7:15: no section resolvers `r`"),
        ("resolvers r\n hold ever 1s\n", "haproxy.cfg:6:7: unknown keyword `ever` in `hold`"),
        ("resolvers r\n timeout resolve 0\n", "haproxy.cfg:6:18: must be longer than zero"),
        ("resolvers r\n accepted_payload_size 100\n", "haproxy.cfg:6:24: `100` is not a number from 512 to 65535"),
        ("resolvers r\nresolvers r\n", "haproxy.cfg:6:11: there is a section resolvers `r` already"),
        ("backend b\n server s a.b:80 resolvers r\n", "haproxy.cfg:6:28: no section resolvers `r`"),
        ("backend b\n server s a..b:80\n", "haproxy.cfg:6:11: `a..b` cannot be a name"),
        ("backend b\n server s _a._tcp.b\n", "haproxy.cfg:6:11: `_a._tcp.b` is a service, and nobody is asked for its records"),
        ("backend b\n server s a.b:80 init-addr last,never\n", "haproxy.cfg:6:33: `never` is no place to find an address in"),
        ("backend b\n server s a.b:80 resolve-opts allow-dup\n", "haproxy.cfg:6:31: `allow-dup` is no option of resolution"),
        ("backend b\n server s a.b:80 resolve-prefer ipv5\n", "haproxy.cfg:6:33: `ipv5` is not a family of addresses"),
        ("backend b\n server-template s 0 a.b:80\n", "haproxy.cfg:6:20: `0` is not a number of servers"),
        ("backend b\n server-template s 3-1 a.b:80\n", "haproxy.cfg:6:20: `3-1` is not a number of servers"),
        ("backend b\n server s2 10.0.0.1:80\n server-template s 3 a.b:80\n", "haproxy.cfg:7:18: there is a server `s2` already"),
    ];
    for (config, expected) in cases {
        let (is_valid, said) = check(&format!("{base}{config}"));
        assert!(!is_valid && said.contains(expected), "{config}\n{said}");
    }
}

#[test]
fn what_haproxy_would_not_take_is_taken_with_a_warning() {
    let config = "defaults\n timeout connect 1s\n timeout client 1s\n timeout server 1s\n\
                  listen l\n bind :80\n option httpchk GET /x HTTP/1.1\n server s \\\n  10.0.0.1:80 check\n";
    let (is_valid, said) = check(config);
    assert!(is_valid && said.contains("haproxy.cfg:8:11: warning: haproxy does not continue lines"), "{said}");
}

#[test]
fn what_has_no_effect_where_it_stands_is_warned_of_as_haproxy_does() {
    let config = "global\n cpu-map 1 0\ndefaults\n timeout connect 1s\n timeout client 1s\n timeout server 1s\n\
                  frontend f\n id 5\n bind :80 name web nice 5\n balance source\n option splice-auto\n timeout server 3s\n default_backend b\n\
                  backend b\n maxconn 5\n server s 10.0.0.1:80 id 7\n";
    let directory = directory();
    let file = directory.join("haproxy.cfg");
    std::fs::write(&file, config).unwrap();
    assert!(Command::new("/usr/sbin/haproxy").arg("-c").arg("-f").arg(&file).output().unwrap().status.success());
    let output = Command::new(env!("CARGO_BIN_EXE_l7d")).args(["check", "-v", "-f"]).arg(&file).output().unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    for expected in [
        ":10:2: warning: `balance` has no effect in section `frontend`",
        ":12:2: warning: timeout `server` has no effect in section `frontend`",
        ":15:2: warning: `maxconn` has no effect in section `backend`",
        ":2:2: `cpu-map` means nothing here",
        ":8:2: `id` means nothing here",
        ":9:20: `nice` means nothing here",
        ":11:9: `splice-auto` means nothing here",
        ":16:23: `id` means nothing here",
    ] {
        assert!(output.status.success() && said.contains(expected), "{expected}\n{said}");
    }
}

#[test]
fn all_mistakes_are_told_at_once_and_what_is_harmful_is_warned_of() {
    let base = "defaults\n timeout connect 1s\n timeout client 1s\n timeout server 1s\n";
    let config = "frontend f\n bind :80\n http-request set-headr a b\n use_backend c if { path_bgn /x }\n default_backend d\n";
    let (_, said) = check(&format!("{base}{config}"));
    for expected in
        ["haproxy.cfg:7:15: there is no action `set-headr`", "haproxy.cfg:8:14: no backend `c`", "haproxy.cfg:9:18: no backend `d`"]
    {
        assert_eq!(said.matches(expected).count(), 1, "{expected}\n{said}");
    }
    let config = "frontend f\n bind :80\n acl a path /x\n acl a src 10.0.0.0/8\n use_backend b\n use_backend b if a\nbackend b\n server s 10.0.0.1:80\n";
    let (is_valid, said) = check(&format!("{base}{config}"));
    for expected in ["haproxy.cfg:8:6: warning: acl `a` is declared again", "haproxy.cfg:10:2: warning: this rule is never reached"] {
        assert!(is_valid && said.contains(expected), "{expected}\n{said}");
    }
    let (_, said) = check("listen l\n bind :80\n server s 10.0.0.1:80\n");
    assert!(said.contains("for example timeout client 30s here or in defaults"), "{said}");
}

#[test]
fn words_that_are_gone_name_what_took_their_place() {
    let gone = [
        ("block", "http-request deny"),
        ("reqadd", "http-request add-header"),
        ("reqallow", "http-request allow"),
        ("reqdel", "http-request del-header"),
        ("reqdeny", "http-request deny"),
        ("reqiallow", "http-request allow"),
        ("reqidel", "http-request del-header"),
        ("reqideny", "http-request deny"),
        ("reqipass", "http-request allow"),
        ("reqirep", "http-request replace-header or replace-path"),
        ("reqitarpit", "http-request tarpit"),
        ("reqpass", "http-request allow"),
        ("reqrep", "http-request replace-header or replace-path"),
        ("reqtarpit", "http-request tarpit"),
        ("rspadd", "http-response add-header"),
        ("rspdel", "http-response del-header"),
        ("rspdeny", "http-response deny"),
        ("rspidel", "http-response del-header"),
        ("rspirep", "http-response replace-header"),
        ("rsprep", "http-response replace-header"),
    ];
    let lines: String = gone.iter().map(|(word, _)| format!(" {word} ^x y\n")).collect();
    let (is_valid, said) = check(&format!("backend b\n{lines}"));
    assert!(!is_valid);
    for (index, (word, instead)) in gone.iter().enumerate() {
        let line = said.split("haproxy.cfg:").find(|part| part.starts_with(&format!("{}:", index + 2))).unwrap_or_default();
        assert!(line.contains(&format!("`{word}` is gone from the language")) && line.contains(instead), "{word}\n{said}");
    }
}

#[test]
fn defaults_say_of_cookies_sources_and_monitors_what_proxies_do_not() {
    let (server, seen) = server(|_, _| "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_owned());
    let site = |front: SocketAddr, other: SocketAddr| {
        format!(
            "defaults\n mode http\n timeout connect 5s\n timeout client 5s\n timeout server 5s\n cookie SRV insert indirect\n monitor-uri /alive\n source 127.0.0.9\n \
             option redispatch -1\nlisten l\n bind {front}\n server a {0} cookie one\n\
             listen m\n bind {other}\n cookie OWN insert\n monitor-uri /own\n server a {0} cookie two\n",
            server.address()
        )
    };
    let ours = [unused_address(), unused_address()];
    let theirs = [unused_address(), unused_address()];
    let _daemon = Daemon::start_haproxy(&site(ours[0], ours[1]));
    let _haproxy = Haproxy::find().start(&site(theirs[0], theirs[1]), theirs[0]);
    for (place, expected) in [(0, "SRV=one"), (1, "OWN=two")] {
        for path in ["/", "/alive", "/own"] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
            let [ours, theirs] = [ours[place], theirs[place]].map(|front| {
                let (head, _) = ask(&mut connect(front), &request);
                let cookie = head.lines().find(|line| line.to_ascii_lowercase().starts_with("set-cookie")).map(str::to_ascii_lowercase);
                (status(&head).to_owned(), cookie)
            });
            assert_eq!(ours, theirs, "{path}");
            if path == "/" {
                assert!(ours.1.is_some_and(|cookie| cookie.contains(&expected.to_lowercase())), "{expected}");
            }
        }
    }
    drop(seen);
}

#[test]
fn what_was_probably_meant_is_said() {
    let directory = directory();
    let file = directory.join("haproxy.cfg");
    let proxy = "defaults\n mode http\nlisten l\n bind 127.0.0.1:1\n server s 127.0.0.1:1\n";
    for (line, expected) in [
        (" http-request deny if { path /a } AND { path /b }", "conditions side by side must all hold"),
        (" http-request deny { path /b }", "write `if` or `unless` before a condition"),
        (" server t app.internal:80 resolvers dns", "the file has no section resolvers\n"),
        (" transparent", "write a `server` at 0.0.0.0"),
    ] {
        std::fs::write(&file, format!("{proxy}{line}\n")).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_l7d")).args(["check", "-f"]).arg(&file).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains(expected), "{line}: {said}");
    }
    std::fs::remove_dir_all(&directory).unwrap();
}
