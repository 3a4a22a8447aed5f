//! Passwords: lists of users, what rules ask of them, and who may see the statistics.

use std::time::{Duration, Instant};

use crate::http::{ask, status};
use crate::kit::{Daemon, connect, refusal, unused_address};
use crate::twins::Twins;

/// `secret`, hashed in three ways.
const MD5: &str = "$1$saltsalt$9xy1btjgzLYfb7hivXtC//";
const SHA256: &str = "$5$saltsalt$0IyaXrmV7.sGNS6tirgqHLqX/G.FBvgkYA.lpPdS5sA";
const SHA512: &str = "$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq.H91p5hVO1";

fn config() -> String {
    format!(
        "global\n log @LOG@ local0\n nbthread 1\nuserlist L\n group ops users ann,bob\n group dev\n user ann insecure-password se:cret\n \
         user bob password {MD5} groups dev\n user cid password {SHA256}\n user dan password {SHA512} groups dev\n\
         defaults\n mode http\n log global\n log-format \"%ft %b/%s %ST %tsc %{{+Q}}r\"\n timeout client 30s\n timeout server 30s\n timeout connect 2s\n\
         frontend front\n bind @DOOR@\n acl dev http_auth_group(L) dev\n \
         http-request auth realm \"Of fice\" if {{ path /realm }}\n http-request auth if {{ path /plain }} !{{ http_auth(L) }}\n \
         http-request auth if {{ path /group }} !dev\n http-request auth if {{ path /any }} !{{ http_auth_group(L) ops dev }}\n \
         http-request set-header X-Auth \"%[http_auth_user]|%[http_auth_pass]|%[http_auth_type]|%[http_auth_bearer]|%[http_auth_bearer(x-tok)]|%[http_auth_group(L)]|%[http_auth(L)]\"\n \
         http-request return status 200 content-type text/plain lf-string \"%[req.hdr(x-auth)]\" unless {{ path_beg /stats }}\n \
         stats uri /stats\n stats http-request allow if {{ http_auth_group(L) ops }}\n stats http-request deny if {{ http_auth(L) }}\n \
         stats http-request auth realm Numbers\n"
    )
}

fn request(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\n{fields}Connection: close\r\n\r\n")
}

fn basic(account: &str) -> String {
    let coded = std::process::Command::new("sh").args(["-c", "printf %s \"$1\" | base64 -w0", "-", account]).output().unwrap();
    format!("Authorization: Basic {}\r\n", String::from_utf8(coded.stdout).unwrap())
}

#[test]
fn users_are_admitted_as_by_haproxy() {
    let twins = Twins::start(&config());
    let accounts =
        ["ann:se:cret", "ann:se", "bob:secret", "bob:Secret", "cid:secret", "cid:", "dan:secret", "dan:secrets", "eve:secret", ":"];
    let mut admitted = 0;
    for account in accounts {
        for path in ["/", "/plain", "/group", "/any"] {
            let (answer, _) = twins.compare(&request(path, &basic(account)));
            admitted += usize::from(path == "/plain" && answer[0].ends_with("200"));
        }
    }
    assert_eq!(admitted, 4);
    let fields = [
        "",
        "X-Tok: Bearer abc def\r\n",
        "X-Tok: abc\r\n",
        "Authorization: bearer tok en\r\n",
        "Authorization: Basic\r\n",
        "Authorization: Basic !!!!\r\n",
        "Authorization: Basic YW5u\r\n",
        "Authorization: Digest x\r\n",
        "Authorization: BASIC   YW5uOnNlOmNyZXQ=\r\n",
    ];
    for field in fields {
        for path in ["/", "/plain", "/realm", "/group"] {
            twins.compare(&request(path, field));
        }
    }
    for (account, expected) in [("ann:se:cret", "200"), ("dan:secret", "403"), ("eve:x", "401"), ("bob:secret", "200")] {
        let lines = [&twins.ours, &twins.theirs].map(|twin| {
            let (answer, line) = twin.ask(&request("/stats;csv", &basic(account)));
            // Of pages that are refused haproxy logs another status than the one it sends.
            let line = line.replace(" 400 ", &format!(" {expected} "));
            (answer[0].clone(), answer.iter().find(|field| field.starts_with("www-auth")).cloned(), line)
        });
        assert_eq!(lines[0], lines[1], "{account}");
        assert!(lines[0].0.ends_with(expected), "{account}: {}", lines[0].0);
    }
}

#[test]
fn a_hash_that_takes_long_holds_up_nobody_else() {
    let door = unused_address();
    // Right would be `secret`, but computing that takes about a second.
    let hash = SHA512.replace("$6$", "$6$rounds=1000000$");
    let _daemon = Daemon::start(&format!(
        "[global]\nnbthread = 1\n[userlist.staff]\nuser.ann = {{ password = \"{hash}\" }}\nuser.bob = {{ insecure-password = \"b\", groups = [\"dev\"] }}\n\
         group.dev = []\ngroup.ops = [\"bob\"]\n[defaults]\ntimeout = {{ connect = \"2s\", client = \"30s\", server = \"30s\" }}\n[frontend.f]\nbind = \"{door}\"\n\
         rules = [\"http-request auth unless {{ http_auth_group(staff) ops }}\", \"http-request return status 200\"]\n"
    ));
    let slow = std::thread::spawn(move || {
        let (head, _) = ask(&mut connect(door), &request("/", &basic("ann:x")));
        (status(&head).to_owned(), Instant::now())
    });
    let mut quick = Vec::new();
    let end = Instant::now() + Duration::from_secs(10);
    while !slow.is_finished() && Instant::now() < end {
        let (head, _) = ask(&mut connect(door), &request("/", &basic("bob:b")));
        quick.push(Instant::now());
        assert_eq!(status(&head), "200");
    }
    let (found, ended) = slow.join().unwrap();
    assert_eq!(found, "401");
    assert!(quick.iter().filter(|at| **at < ended).count() > 5, "{} others meanwhile", quick.len());
}

#[test]
fn what_nobody_gets_in_by_is_told_at_start() {
    let site = |user: &str, rule: &str| {
        format!(
            "[userlist.staff]\nuser.ann = {user}\n[frontend.f]\nbind = \"127.0.0.1:1\"\ntimeout = {{ client = \"1s\" }}\nrules = ['{rule}']\n"
        )
    };
    let asks = "http-request auth unless { http_auth(staff) }";
    let cases = [
        (site("{ password = \"xxj31ZMTZzkVA\" }", asks), "hashed with DES are not supported"),
        (site("{ password = \"$2y$05$abc\" }", asks), "bcrypt"),
        (site("{ insecure-password = \"x\", groups = [\"none\"] }", asks), "no group `none`"),
        (site("{ insecure-password = \"x\" }", "http-request auth unless { http_auth(stuff) }"), "no userlist `stuff`"),
        (site("{ insecure-password = \"x\" }", "stats http-request auth"), "which this proxy does not show"),
        (site("{ insecure-password = \"x\" }", "http-response auth"), "cannot stand in these rules"),
    ];
    for (config, expected) in cases {
        let said = refusal(&config);
        assert!(said.contains(expected), "{expected}: {said}");
    }
}
