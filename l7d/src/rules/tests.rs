//! The language as a whole: text in, decisions about messages out.

use std::net::SocketAddr;

use control::config::{Config, Located, Report};
use proptest::prelude::*;

use super::program::Rules;
use super::view::{Memory, Scene, Shared, View};
use super::{ProxyRules, Verdict};
use crate::h1::encode::{self, Connection};
use crate::h1::parse::{self, Parsed};
use crate::message::head::{RequestHead, ResponseHead};
use crate::reply::BodyOf;

/// Returns a rule that stands in no file.
pub(super) fn rule(text: &str) -> Located<String> {
    Located::elsewhere(text.to_owned(), "rule", text)
}

/// Returns an exchange of a client at 192.0.2.1 that connected to 198.51.100.1:80.
pub(super) fn scene(shared: &Shared) -> Scene<'_> {
    let source = Some(SocketAddr::from(([192, 0, 2, 1], 4000)));
    let destination = Some(SocketAddr::from(([198, 51, 100, 1], 80)));
    Scene { source, destination, is_first: true, frontend: "front", backend: Some("back"), ..Scene::nowhere(shared) }
}

fn request(text: &str) -> RequestHead {
    let Parsed::Complete { head, .. } = parse::request(text.as_bytes()).unwrap() else { panic!("incomplete") };
    head
}

fn response(text: &str) -> ResponseHead {
    let Parsed::Complete { head, .. } = parse::response(text.as_bytes()).unwrap() else { panic!("incomplete") };
    head
}

fn site(acls: &str, rules: &[&str]) -> String {
    let rules: String = rules.iter().map(|rule| format!("'''{rule}''',\n")).collect();
    format!(
        "[defaults]\nmode = \"http\"\ntimeout = {{ connect = \"1s\", client = \"1s\", server = \"1s\" }}\n\
         [frontend.front]\nbind = \"127.0.0.1:80\"\ndefault-backend = \"back\"\n{acls}\nrules = [\n{rules}]\n\
         [backend.back]\nserver = {{ s = \"127.0.0.1:81\" }}\n[backend.other]\nserver = {{ s = \"127.0.0.1:81\" }}\n\
         [backend.bytes]\nmode = \"tcp\"\nserver = {{ s = \"127.0.0.1:81\" }}\n"
    )
}

fn compile(acls: &str, rules: &[&str]) -> Result<(Config, Rules), Report> {
    let config = Config::parse("site.toml", &site(acls, rules))?;
    Rules::compile(&config, None).map(|rules| (config, rules))
}

fn errors(acls: &str, rules: &[&str]) -> Vec<String> {
    let Err(report) = compile(acls, rules) else { panic!("{rules:?} is valid") };
    let errors = report.diagnostics().iter().filter(|diagnostic| diagnostic.severity() == control::config::Severity::Error);
    errors.map(|diagnostic| diagnostic.message().to_owned()).collect()
}

/// Compiles rules of a frontend and hands them to `look`.
fn with<R>(acls: &str, rules: &[&str], look: impl FnOnce(&ProxyRules) -> R) -> R {
    let (config, rules) = compile(acls, rules).unwrap_or_else(|report| panic!("{report}"));
    look(&rules.of_frontend(&config.frontends()[0]))
}

fn judge(rules: &[&str], head: &mut RequestHead) -> Verdict {
    with("", rules, |rules| rules.on_request(&mut 0, head, &mut scene(rules.shared()), &mut Memory::default()))
}

/// Tells whether a condition holds for a request.
fn holds(condition: &str, text: &str) -> bool {
    match judge(&[&format!("http-request deny if {condition}")], &mut request(text)) {
        Verdict::Pass => false,
        Verdict::Deny(_) => true,
        other @ (Verdict::Answer(_)
        | Verdict::Wait(_)
        | Verdict::Challenge(_)
        | Verdict::Held(_)
        | Verdict::Close
        | Verdict::Cut
        | Verdict::Tarpit(_)
        | Verdict::Vanish
        | Verdict::Fail) => {
            panic!("{other:?}")
        }
    }
}

/// Returns what a log format prints for a request.
fn printed(format: &str, text: &str) -> String {
    let mut head = request(text);
    let verdict = judge(&[&format!("http-request set-header X \"{format}\"")], &mut head);
    assert!(matches!(verdict, Verdict::Pass), "{verdict:?}");
    String::from_utf8_lossy(head.headers.all("x").next().unwrap()).into_owned()
}

fn wire(head: &RequestHead) -> String {
    let mut out = Vec::new();
    encode::request(head, Connection::Unstated, &mut out);
    String::from_utf8(out).unwrap()
}

const GET: &str = "GET /api/v2/users?id=7&sort=a HTTP/1.1\r\nHost: www.Example.com:8080\r\nAccept: a, b;q=1 , c\r\nAccept: d\r\n\
    Cookie: sid=abc; theme=dark\r\nCookie: sid=def\r\nX-Forwarded-For: 10.1.2.3, 192.0.2.9\r\nX-Num: 42\r\nUser-Agent: Mozilla/5.0 (X11)\r\n\r\n";

#[test]
fn conditions_hold_when_they_should() {
    let cases = [
        ("{ path /api/v2/users }", true),
        ("{ path /api }", false),
        ("{ path_beg /api/ /v2/ }", true),
        ("{ path_beg -i /API/ }", true),
        ("{ path_end .gif users }", true),
        ("{ path_sub v2 }", true),
        ("{ path_sub -i V2 }", true),
        ("{ path_dir v2 }", true),
        ("{ path_dir /api/v2 }", true),
        ("{ path_dir v }", false),
        ("{ path_reg ^/api/v[0-9]+/ }", true),
        ("{ path_reg ^/x /users$ }", true),
        ("{ path_len 13 }", true),
        ("{ path_len gt 13 }", false),
        ("{ path,lower -m beg /api }", true),
        ("{ path -m found }", true),
        ("{ hdr(host) -i www.example.com:8080 }", true),
        ("{ hdr(host) www.example.com:8080 }", false),
        ("{ hdr_beg(host) -i www. }", true),
        ("{ hdr_dom(host) -i example }", true),
        ("{ hdr_dom(host) -i example.com }", true),
        ("{ hdr_dom(host) -i exam }", false),
        ("{ hdr_end(host) :8080 }", true),
        ("{ hdr(accept) b;q=1 }", true),
        ("{ hdr(accept) d }", true),
        ("{ req.hdr(accept,2) c }", false),
        ("{ req.hdr(accept,3) c }", true),
        ("{ req.hdr(accept,-1) d }", true),
        ("{ req.fhdr(accept,1) \"a, b;q=1 , c\" }", true),
        ("{ req.hdr_cnt(accept) 4 }", true),
        ("{ req.fhdr_cnt(accept) 2 }", true),
        ("{ req.hdr_val(x-num) ge 42 }", true),
        ("{ req.hdr_val(x-num) lt 42 }", false),
        ("{ req.hdr_val(x-num) 1:41 43: }", false),
        ("{ req.hdr(x-none) -m found }", false),
        ("!{ req.hdr(x-none) -m found }", true),
        ("{ req.hdr_ip(x-forwarded-for) 10.0.0.0/8 }", true),
        ("{ req.hdr_ip(x-forwarded-for,-1) 10.0.0.0/8 }", false),
        ("{ req.cook(sid) abc }", true),
        ("{ req.cook(theme) -m found }", true),
        ("{ req.cook_cnt(sid) 2 }", true),
        ("{ url_param(id) 7 }", true),
        ("{ urlp_val(id) gt 6 }", true),
        ("{ query id=7&sort=a }", true),
        ("{ method GET }", true),
        ("{ method POST PUT }", false),
        ("METH_GET", true),
        ("METH_POST", false),
        ("HTTP_1.1", true),
        ("HTTP_1.0", false),
        ("HTTP", true),
        ("HTTP_CONTENT", false),
        ("HTTP_URL_SLASH !HTTP_URL_ABS !HTTP_URL_STAR", true),
        ("LOCALHOST", false),
        ("TRUE", true),
        ("FALSE", false),
        ("! FALSE", true),
        ("FALSE or TRUE", true),
        ("FALSE || FALSE", false),
        ("TRUE FALSE || TRUE !FALSE", true),
        ("{ src 192.0.2.0/24 }", true),
        ("{ src 192.0.2.0/24 10.0.0.0/8 } { src_port 4000 }", true),
        ("{ src ::ffff:192.0.2.1 }", true),
        ("{ dst_port 80 } { dst 198.51.100.1 }", true),
        ("{ ssl_fc }", false),
        ("{ http_first_req }", true),
        ("{ fe_name front }", true),
        ("{ base_beg www.Example.com:8080/api }", true),
        ("{ url_beg /api }", true),
        ("{ pathq,length gt 10 }", true),
        ("{ str(abc),upper -m str ABC }", true),
        ("{ int(5),add(3),mul(2) 16 }", true),
        ("{ src,ipmask(24) 192.0.2.0 }", true),
        ("{ req.hdr(user-agent) -m sub -i mozilla }", true),
        ("{ req.hdr(user-agent),field(1,/) Mozilla }", true),
        ("{ path -m str -- -i }", false),
        ("{ bin(48656c6c6f) -m bin 48656C6C6F }", true),
        ("{ req.hdr(x-num) -m int 40:44 }", true),
        ("{ req.hdr(x-num) -m len 2 }", true),
        ("{ rand(1) 0 }", true),
    ];
    for (condition, expected) in cases {
        assert_eq!(holds(condition, GET), expected, "{condition}");
    }
}

#[test]
fn several_declarations_of_a_name_are_alternatives() {
    let acls = "acl.static = [\"path_beg /static\", \"path_end .css\"]\nacl.local = \"src 127.0.0.0/8\"";
    let denied = |path: &str| {
        with(acls, &["http-request deny if static !local"], |rules| {
            let mut head = request(&format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"));
            matches!(rules.on_request(&mut 0, &mut head, &mut scene(rules.shared()), &mut Memory::default()), Verdict::Deny(_))
        })
    };
    assert!(denied("/static/x") && denied("/a.css") && !denied("/a"));
}

#[test]
fn patterns_come_from_files_too() {
    let file = std::env::temp_dir().join(format!("l7d-rules-{}.lst", std::process::id()));
    std::fs::write(&file, "# networks\n\n  /map value\n/plain\r\n").unwrap();
    let name = file.display();
    let cases = [
        (format!("{{ path -m beg -f {name} }}"), "/plain", true),
        (format!("{{ path -m beg -f {name} }}"), "/map", false),
        (format!("{{ path -m beg -M -f {name} }}"), "/map", true),
        (format!("{{ path -m beg -i -f {name} /other }}"), "/OTHER", true),
    ];
    for (condition, path, expected) in cases {
        assert_eq!(holds(&condition, &format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")), expected, "{condition} {path}");
    }
    std::fs::remove_file(&file).unwrap();
    assert!(errors("", &[&format!("http-request deny if {{ path -f {name} }}")])[0].contains("No such file"));
}

#[test]
fn formats_print_samples_and_aliases() {
    let cases = [
        ("plain 100%%", "plain 100%"),
        ("%[path]", "/api/v2/users"),
        ("%[req.hdr(none)]", ""),
        ("%{+Q}[req.hdr(none)]", "\"\""),
        ("<%{+Q}[path]>", "<\"/api/v2/users\">"),
        ("%[req.hdr(accept)]", "d"),
        ("%[req.cook(sid)]", "def"),
        ("%[src]:%[src_port]", "192.0.2.1:4000"),
        ("%ci:%cp", "192.0.2.1:4000"),
        ("%fi:%fp", "198.51.100.1:80"),
        ("%{+X}ci:%{+X}cp", "C0000201:0FA0"),
        ("%{+X}o%ci %cp", "C0000201 0FA0"),
        ("%f %b", "front back"),
        ("%HM %HP%HQ %HV", "GET /api/v2/users?id=7&sort=a HTTP/1.1"),
        ("%r", "GET /api/v2/users?id=7&sort=a HTTP/1.1"),
        ("%[base]", "www.Example.com:8080/api/v2/users"),
        ("%[ssl_fc,iif(https,http)]", "http"),
        ("%[path,regsub(^/api,/x)]", "/x/v2/users"),
        ("%[path,regsub(u,U,g)]", "/api/v2/Users"),
        ("%[str(a)]%[str(b)]", "ab"),
        ("%[query,url_enc]", "id%3D7%26sort%3Da"),
        ("%[src,ipmask(8)]", "192.0.0.0"),
        ("%[int(0),http_date]", "Thu, 01 Jan 1970 00:00:00 GMT"),
        ("%[req.hdr_names]", "host,accept,accept,cookie,cookie,x-forwarded-for,x-num,user-agent"),
    ];
    for (format, expected) in cases {
        assert_eq!(printed(format, GET), expected, "{format}");
    }
    assert_eq!(printed("%[uuid]", GET).len(), 36);
    assert!(printed("%[date]", GET).parse::<u64>().unwrap() > 1_700_000_000);
}

#[test]
fn actions_change_the_request() {
    let cases = [
        ("set-header a new", "a: new"),
        ("add-header A 2", "A: 1\nA: 2"),
        ("del-header a", ""),
        ("del-header A -m beg", ""),
        ("replace-header A 1 x", "A: x"),
        ("replace-header A ^(.)$ <\\1>", "A: <1>"),
        ("replace-value A 2 x", "A: 1"),
    ];
    for (action, expected) in cases {
        let mut head = request("GET /a HTTP/1.1\r\nHost: h\r\nA: 1\r\n\r\n");
        judge(&[&format!("http-request {action}")], &mut head);
        let text = wire(&head);
        let fields = text.lines().filter(|line| line.to_ascii_lowercase().starts_with("a:")).collect::<Vec<_>>().join("\n");
        assert_eq!(fields, expected, "{action}");
    }
    let targets = [
        ("set-path /x%[path]", "/x/a/b?q=1"),
        ("set-query c=%[urlp(q)]", "/a/b?c=1"),
        ("set-pathq /x?y", "/x?y"),
        ("set-uri /z", "/z"),
        ("replace-path /a/(.*) /\\1/\\1", "/b/b?q=1"),
        ("replace-path ^/none /x", "/a/b?q=1"),
        ("replace-pathq (.*)[?]q=(.*) \\1/\\2", "/a/b/1"),
        ("replace-uri ^/a /", "/"),
    ];
    for (action, expected) in targets {
        let mut head = request("GET /a/b?q=1 HTTP/1.1\r\nHost: h\r\n\r\n");
        judge(&[&format!("http-request {action}")], &mut head);
        assert_eq!(String::from_utf8_lossy(head.target()), expected, "{action}");
    }
    let mut head = request(GET);
    judge(&["http-request set-method POST"], &mut head);
    assert!(wire(&head).starts_with("POST /api"));
}

#[test]
fn rules_see_what_rules_before_them_did() {
    let mut head = request("GET /a HTTP/1.1\r\nHost: h\r\n\r\n");
    let rules = [
        "http-request set-header X-One 1",
        "http-request set-header X-Two 2 if { req.hdr(x-one) 1 }",
        "http-request set-var(txn.p) path,upper",
        "http-request set-var-fmt(req.q) \"<%[var(txn.p)]>\"",
        "http-request set-header V \"%[var(txn.p)] %[var(req.q)] %[var(txn.none)] %[var(txn.none,some)]\"",
        "http-request unset-var(txn.p)",
        "http-request set-header X-Three 3 if !{ var(txn.p) -m found } { var(req.q) -m str </A> }",
        "http-request allow if TRUE",
        "http-request deny",
    ];
    assert!(matches!(judge(&rules, &mut head), Verdict::Pass));
    let fields: Vec<_> = head.headers.iter().skip(1).map(|field| String::from_utf8_lossy(field.value).into_owned()).collect();
    assert_eq!(fields, ["1", "2", "/A </A>  some", "3"]);
}

#[test]
fn final_actions_answer() {
    let answer = |rules: &[&str], text: &str| match judge(rules, &mut request(text)) {
        Verdict::Answer(reply) | Verdict::Deny(reply) => {
            let text = String::from_utf8(reply.print(BodyOf::Any, Connection::Unstated)).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            let mut lines: Vec<_> = head.lines().filter(|line| !line.starts_with("Content-Length")).map(str::to_owned).collect();
            lines[0].replace_range(..9, "");
            lines.push(if body.contains("<html>") { "page".to_owned() } else { body.to_owned() });
            lines.join("|")
        }
        other @ (Verdict::Pass
        | Verdict::Wait(_)
        | Verdict::Challenge(_)
        | Verdict::Held(_)
        | Verdict::Close
        | Verdict::Cut
        | Verdict::Tarpit(_)
        | Verdict::Vanish
        | Verdict::Fail) => {
            panic!("{other:?}")
        }
    };
    let get = "GET /a/b?q HTTP/1.1\r\nHost: h:80\r\n\r\n";
    let cases: [(&str, &str); 15] = [
        ("http-request deny", "403 Forbidden|Cache-Control: no-cache|Content-Type: text/html|page"),
        ("http-request deny deny_status 429", "429 Too Many Requests|Cache-Control: no-cache|Content-Type: text/html|page"),
        ("http-request deny status 418 content-type a/b lf-string %[path] hdr A b", "418 I'm a teapot|A: b|Content-Type: a/b|/a/b"),
        ("http-request return", "200 OK|"),
        ("http-request return status 404 content-type text/plain string 100%", "404 Not Found|Content-Type: text/plain|100%"),
        ("http-request redirect location /x", "302 Found|Location: /x|Cache-Control: no-cache|"),
        ("http-request redirect location /x code 301", "301 Moved Permanently|Location: /x|"),
        ("redirect prefix https://o code 308", "308 Permanent Redirect|Location: https://o/a/b?q|"),
        ("redirect prefix https://o drop-query append-slash", "302 Found|Location: https://o/a/b/|Cache-Control: no-cache|"),
        ("redirect prefix / code 307", "307 Temporary Redirect|Location: /a/b?q|Cache-Control: no-cache|"),
        ("redirect scheme https code 303", "303 See Other|Location: https://h:80/a/b?q|Cache-Control: no-cache|"),
        ("redirect scheme https code 301 if !{ ssl_fc }", "301 Moved Permanently|Location: https://h:80/a/b?q|"),
        ("redirect location /%[urlp(none)] code 301", "301 Moved Permanently|Location: /|"),
        ("redirect location / set-cookie A=1 code 301", "301 Moved Permanently|Location: /|Set-Cookie: A=1; path=/;|"),
        ("redirect location / clear-cookie A= code 301", "301 Moved Permanently|Location: /|Set-Cookie: A=; path=/; Max-Age=0;|"),
    ];
    for (rule, expected) in cases {
        assert_eq!(answer(&[rule], get), expected, "{rule}");
    }
    assert!(matches!(judge(&["http-request redirect location %[urlp(x)] ignore-empty"], &mut request(get)), Verdict::Pass));
    assert!(matches!(judge(&["http-request reject"], &mut request(get)), Verdict::Close));
    let allowed = ["http-request allow", "http-request deny", "redirect location /x code 301"];
    assert_eq!(answer(&allowed, get), "301 Moved Permanently|Location: /x|", "plain redirects come after all others");
}

#[test]
fn what_cannot_be_sent_is_not() {
    let encoded = "GET /a%0d%0aEvil:%201 HTTP/1.1\r\nHost: h\r\n\r\n";
    for rule in [
        "http-request set-header A %[path,url_dec]",
        "http-request set-path %[path,url_dec]",
        "http-request redirect location %[path,url_dec]",
        "http-request set-method %[path]",
        "http-request return hdr A %[path,url_dec]",
    ] {
        assert!(matches!(judge(&[rule], &mut request(encoded)), Verdict::Fail), "{rule}");
    }
}

#[test]
fn responses_are_changed_and_judged() {
    let request = request(GET);
    let judged = |rules: &[&str], head: &mut ResponseHead| {
        with("", rules, |rules| rules.on_response(&mut 0, &request, head, &mut scene(rules.shared()), &mut Memory::default()))
    };
    let mut head = response("HTTP/1.1 404 Gone Fishing\r\nServer: x\r\nX-A: 1\r\nX-B: 2\r\nSet-Cookie: s=1; path=/\r\n\r\n");
    let rules = [
        "http-response set-header S %[status]-%[res.ver]-%[res.cook(s)]",
        "http-response del-header x- -m beg",
        "http-response del-header Server if METH_GET",
        "http-response replace-header Set-Cookie (.*) \"\\1; secure\" if { status 400:499 }",
        "http-response set-status 410",
        "http-response add-header Path %[path]",
    ];
    assert!(matches!(judged(&rules, &mut head), Verdict::Pass));
    let mut out = Vec::new();
    encode::response(&head, Connection::Unstated, &mut out);
    let expected = "HTTP/1.1 410 Gone\r\nSet-Cookie: s=1; path=/; secure\r\nS: 404-1.1-1\r\nPath: /api/v2/users\r\n\r\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
    assert!(matches!(judged(&["http-response deny if { res.hdr(s) -m found }"], &mut head), Verdict::Deny(_)));
    assert!(matches!(judged(&["http-response return status 503"], &mut head), Verdict::Answer(_)));
}

#[test]
fn the_first_rule_that_applies_names_the_backend() {
    let rules =
        ["use_backend other if { path_beg /o }", "use_backend %[path,field(2,/)] if { path_beg /by/name /bytes }", "use_backend back"];
    with("", &rules, |rules| {
        let route = |path: &str| {
            let (head, memory) = (request(&format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")), Memory::default());
            let scene = scene(rules.shared());
            let view = View { scene: &scene, request: Some(&head), response: None, memory: &memory };
            let asked = std::cell::RefCell::new(None);
            let id = rules.route(&view, |name| {
                *asked.borrow_mut() = Some(String::from_utf8_lossy(name).into_owned());
                None
            });
            (id.map(|id| id.index()), asked.into_inner())
        };
        assert_eq!(route("/o"), (Some(1), None));
        assert_eq!(route("/x"), (Some(0), None));
        assert_eq!(route("/bytes"), (None, Some("bytes".to_owned())));
    });
}

#[test]
fn connections_are_admitted_by_the_first_rule_that_applies() {
    let rules = ["tcp-request connection accept if { src 192.0.2.1 }", "tcp-request connection reject if { src 192.0.2.0/24 }"];
    with("", &rules, |rules| {
        let admit = |last: u8| {
            let source = Some(SocketAddr::from(([192, 0, 2, last], 1)));
            let verdict = rules.on_connection(&mut Scene { source, ..scene(rules.shared()) }, &mut Memory::default());
            matches!(verdict, Verdict::Pass)
        };
        assert!(admit(1) && !admit(2));
    });
}

#[test]
fn every_mistake_of_every_rule_is_reported() {
    let cases = [
        ("http-request deni", "there is no action `deni`"),
        ("http-request do-log x", "action `do-log` is not supported: lines are written at the steps that `log-steps` names"),
        ("http-request do-resolve(x,y) src", "no section resolvers `y`"),
        ("htp-request deny", "there is no rule `htp-request`"),
        ("stick on src", "`stick` belongs in a backend"),
        ("reqadd X", "`reqadd` is gone from the language"),
        ("http-request deny if", "nothing follows `if`"),
        ("http-request deny iff x", "`iff` is not an option of this answer"),
        ("http-request allow when x", "`when` stands where the rule should end"),
        ("http-request deny if nothere", "there is no acl `nothere`"),
        ("http-request deny if { path_beg /x", "this brace is not closed"),
        ("http-request deny if { pathh /x }", "there is no sample fetch `pathh`"),
        (
            "http-request deny if { distcc_body -m found }",
            "sample fetch `distcc_body` is not supported: nobody reads the protocol of distcc",
        ),
        ("http-request deny if { path,lowr /x }", "there is no converter `lowr`"),
        (
            "http-request deny if { path,debug -m bin 00 }",
            "converter `debug` is not supported: `l7d explain` tells every sample and every rule of a request",
        ),
        ("http-request deny if { path -m begin /x }", "`begin` is not a matching method"),
        ("http-request deny if { path_reg (a }", "unclosed group"),
        ("http-request deny if { path_reg (?=a) }", "look-around, including look-ahead and look-behind, is not supported"),
        ("http-request deny if { src 10.0.0.0/33 }", "`10.0.0.0/33` is neither an address nor a network"),
        ("http-request deny if { src_port x }", "`x` is neither a whole number nor a range"),
        ("http-request deny if { var(txn.a) x }", "`var(txn.a)` yields a value of any type: say with -m how to compare it"),
        ("http-request deny if or TRUE", "`or` stands between two conditions"),
        ("http-request set-header A", "the rule ends where the value should follow"),
        ("http-request set-header A %[status]", "`status` is not known when this rule runs"),
        ("http-request set-header A %[path", "this expression is not closed by `]`"),
        ("http-request set-header A %zz", "there is no log-format variable `zz`"),
        ("http-request set-header A %Tq", "`%Tq` is not known when this rule runs"),
        ("http-request set-header Content-Length 1", "rules cannot change `Content-Length`"),
        ("http-request set-header \"A B\" 1", "`A B` cannot be the name of a header field"),
        ("http-request set-var(foo) path", "`foo` does not say where the variable lives: for example txn.foo"),
        ("http-request deny deny_status 999", "`999` is not a status from 200 to 599"),
        ("http-request deny deny_status 418", "there is no page for status 418"),
        ("http-request return string x", "a text needs its type: for example content-type text/plain"),
        ("http-request redirect to /x", "`to` is not a way to redirect"),
        ("http-request redirect location / code 200", "`200` is not a redirection"),
        ("http-response set-path /x", "action `set-path` cannot stand in these rules"),
        ("use_backend bytes", "backend `bytes` has another mode than this frontend"),
        ("use_backend \"nowhere\"", "no backend `nowhere`"),
        ("tcp-request contents reject", "there is no `tcp-request contents`"),
        ("http-request deny if { hdr() x }", "`hdr` wants the name of a header field in parentheses"),
        ("http-request deny if { path(x) /x }", "`path` takes no argument"),
        ("http-request set-header A 'b", "this quote is not closed"),
        ("acl x path /", "`acl` is not a rule"),
    ];
    let differs = |(rule, message): &(&str, &str)| {
        let found = errors("", &[rule]);
        (found != [*message]).then(|| format!("{rule}: {found:?}"))
    };
    let different: Vec<String> = cases.iter().filter_map(differs).collect();
    assert!(different.is_empty(), "{}", different.join("\n"));
    let all: Vec<&str> = cases.iter().map(|(rule, _)| *rule).collect();
    assert_eq!(errors("acl.a = \"pth /x\"", &all).len(), cases.len() + 1, "all at once, those of acls too");
}

#[test]
fn a_mistake_is_shown_where_it_stands() {
    let Err(report) = compile("", &["http-request deny if { path_beg /a } { hdr(host),lowr x }"]) else { panic!("it is valid") };
    let text = report.to_string();
    let mark = text.lines().last().unwrap();
    let line = text.lines().nth(1).unwrap();
    assert!(text.starts_with("site.toml:9:") && text.contains(": there is no converter `lowr`\n"), "{text}");
    assert_eq!(mark.find('^'), line.find("lowr"), "{text}");
    assert!(mark.ends_with("^^^^ did you mean `lower`?"), "{text}");
}

#[test]
fn what_will_surprise_is_warned_of() {
    let warnings = |acls: &str, rules: &[&str]| -> Vec<String> {
        let (_, rules) = compile(acls, rules).unwrap_or_else(|report| panic!("{report}"));
        rules.warnings().diagnostics().iter().map(|warning| warning.message().to_owned()).collect()
    };
    assert_eq!(warnings("", &["http-request deny if { path }"]), ["there is nothing to compare with, so this will never hold"]);
    assert_eq!(
        warnings("", &["use_backend back", "http-request deny if FALSE"]),
        ["this `http-request` rule runs before the `use_backend` rules above it"]
    );
    assert_eq!(
        warnings("acl.e = \"status 500\"", &["http-request deny if e"]),
        ["this condition reads responses, which this rule does not see, and will never hold"]
    );
}

proptest! {
    #[test]
    fn no_rule_text_is_too_strange(text in "(http-request|use_backend|acl|redirect|tcp-request connection) [ -&(-~]{0,40}( if \\{ [ -&(-~]{0,40} \\})?") {
        if let Ok(config) = Config::parse("site.toml", &site("", &[&text])) {
            let _ = Rules::compile(&config, None);
        }
    }

    #[test]
    fn no_expression_is_too_strange(text in "[a-z_.]{0,10}[(][ -&(-~]{0,30}[)]?(,[a-z0-9_]{0,8}([(][ -&(-~]{0,20}[)])?){0,3}") {
        let text = format!("http-request set-header X %[{text}]");
        if let Ok(config) = Config::parse("site.toml", &site("", &[&text])) {
            let _ = Rules::compile(&config, None);
        }
    }
}
