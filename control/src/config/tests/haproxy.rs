//! HAProxy's language: what words mean, which lines are read, and that it ends in the same model as the native format.

use std::time::Duration;

use crate::config::{Balance, Config, ProxyOption, Timeout};

fn config(text: &str) -> Config {
    Config::parse("haproxy.cfg", text).unwrap_or_else(|report| panic!("{report}"))
}

/// Returns the rules of the first backend of a text, each with its place.
fn rules(lines: &str) -> Vec<(String, String)> {
    let config = config(&format!("backend b\n{lines}"));
    config.backends()[0].rules().iter().map(|rule| (rule.value().clone(), rule.location().to_string())).collect()
}

#[test]
fn rules_are_handed_on_as_they_are_written() {
    let lines = " http-request set-header X \"a b\" # comment\n\n\thttp-request set-header Y 'it''s' if { path -i /a }\n";
    let expected = [
        ("http-request set-header X \"a b\"", "haproxy.cfg:2:2"),
        ("http-request set-header Y 'it''s' if { path -i /a }", "haproxy.cfg:4:2"),
    ];
    assert_eq!(rules(lines), expected.map(|(rule, place)| (rule.to_owned(), place.to_owned())));
}

#[test]
fn words_are_put_together_anew_where_the_environment_has_a_part() {
    let lines =
        "global\n setenv A \"x y\"\n unsetenv NONE\n presetenv A other\nbackend c\n http-request set-header X \"${A}#\" \\\n if TRUE\n";
    let config = config(&format!("backend b\n{lines}"));
    let rule = &config.backends()[1].rules()[0];
    assert_eq!(rule.value(), r"http-request set-header X x\ y\# if TRUE");
    let place = |word: &str| {
        let at = rule.find(word).unwrap();
        rule.location().part(rule, at..at + word.len()).to_string()
    };
    assert_eq!(place("set-header"), "haproxy.cfg:7:15");
    assert_eq!(place("y"), "haproxy.cfg:7:29", "a value points at its variable");
    assert_eq!(place("TRUE"), "haproxy.cfg:8:5", "a continued line has a place of its own");
}

#[test]
fn variables_have_defaults_lists_and_what_the_file_knows() {
    let lines = " http-request set-header \"${NO_SUCH-a b}\" \"${NO_SUCH}\" \"${.LINE}.${.SECTION}\"\n";
    assert_eq!(rules(lines)[0].0, r"http-request set-header a\ b '' 2.b");
    let text = "global\n setenv L \"one two\"\nbackend b\n http-request \"${L[*]}\" '$L' \"\\$L\"\n";
    assert_eq!(config(text).backends()[0].rules()[0].value(), "http-request one two $L $L");
}

#[test]
fn only_the_blocks_whose_condition_holds_are_read() {
    let cases = [
        ("1", true),
        ("0", false),
        ("", false),
        ("!0", true),
        ("defined(PATH)", true),
        ("defined(NO_SUCH)", false),
        ("feature(OPENSSL) && !feature(LUA)", true),
        ("enabled(EPOLL)", true),
        ("streq(a,a) && strneq(a,b)", true),
        ("0 && 1 || 1", true),
        ("0 && (1 || 1)", false),
        ("version_atleast(2.4-dev19)", true),
        ("version_atleast(3.2)", true),
        ("version_atleast(3.3)", false),
        ("version_before(3.3) && version_before(4)", true),
        ("streq(\"$NO_SUCH\",)", true),
    ];
    for (condition, holds) in cases {
        let text = format!(".if {condition}\nbackend yes\n.else\nbackend no\n.endif\n");
        assert_eq!(config(&text).backends()[0].name() == "yes", holds, "{condition}");
    }
    let nested = ".if 0\n .if 1\n  nonsense 'open\n .elif nonsense\n .endif\n.elif 1\nbackend b\n.elif 1\n x\n.else\n x\n.endif\n";
    assert_eq!(config(nested).backends().len(), 1);
    for wrong in
        [".if 1\n", ".endif\n", ".else\n", ".if 1\n.else\n.else\n.endif\n", ".if what(1)\n.endif\n", ".alert no\n", ".if (1\n.endif\n"]
    {
        assert!(Config::parse("haproxy.cfg", wrong).is_err(), "{wrong}");
    }
}

#[test]
fn proxies_begin_from_the_defaults_before_them_or_from_the_named_ones() {
    let text = "defaults one\n timeout client 1s\n balance first\n option httplog\ndefaults two from one\n timeout client 2s\n no option httplog\n\
                backend b2\nbackend b1 from one\ndefaults\nfrontend f from two\n bind :80\n default_backend b1\nbackend b3\n";
    let config = config(text);
    let balance = |name: &str| config.backend_named(name).unwrap().balance().clone();
    assert_eq!([balance("b2"), balance("b1"), balance("b3")], [Balance::First, Balance::First, Balance::RoundRobin]);
    let logs = |name: &str| config.backend_named(name).unwrap().options().iter().any(|option| **option == ProxyOption::HttpLog);
    assert!(logs("b1") && !logs("b2") && !logs("b3"));
    assert_eq!(config.frontend_named("f").unwrap().timeouts().of(Timeout::Client), Some(Duration::from_secs(2)));
}

#[test]
fn both_languages_end_in_the_same_model() {
    let toml = r#"
[defaults]
timeout = { connect = "5s", client = "30s", server = "30s" }
option = ["forwardfor"]
[frontend.f]
bind = ["*:80", { address = "*:443", tls = { certificates = "/c.pem", alpn = ["h2"], min = "1.3" } }]
maxconn = 100
default-backend = "b"
acl.a = ["path /x", "path /y"]
rules = ["http-request deny if a"]
[backend.b]
balance = "leastconn"
check = { http = { method = "GET", path = "/h", host = "h", version = "1.1", expect = "status 200" } }
server = { s = { address = "10.0.0.1:80", weight = 2, check = { inter = "3s" } } }
"#;
    let cfg = "defaults\n timeout connect 5s\n timeout client 30000\n timeout server 30s\n option forwardfor\nfrontend f\n bind *:80\n \
               bind :443 ssl crt /c.pem alpn h2 ssl-min-ver TLSv1.3\n maxconn 100\n default_backend b\n acl a path /x\n acl a path /y\n \
               http-request deny if a\nbackend b\n balance leastconn\n option httpchk GET /h HTTP/1.1 h\n http-check expect status 200\n \
               server s 10.0.0.1:80 check inter 3s weight 2\n";
    let (ours, theirs) = (super::config(toml), config(cfg));
    let frontend = |config: &Config| {
        let frontend = &config.frontends()[0];
        (frontend.binds().to_vec(), frontend.maxconn(), frontend.acls().to_vec(), frontend.rules().to_vec(), frontend.options().to_vec())
    };
    assert_eq!(frontend(&ours), frontend(&theirs));
    let server = |config: &Config| (config.servers()[0].check().cloned(), config.servers()[0].weight(), *config.backends()[0].timeouts());
    assert_eq!(server(&ours), server(&theirs));
}

#[test]
fn what_means_nothing_here_is_accepted_and_kept() {
    let config = config("global\n tune.ssl.default-dh-param 2048\n master-worker\n ulimit-n 65536\n");
    let words: Vec<&str> = config.idle().iter().map(|word| word.as_str()).collect();
    assert_eq!(words, ["tune.ssl.default-dh-param", "master-worker", "ulimit-n"]);
}

#[test]
fn language_is_known_by_the_name_or_by_the_first_word() {
    for text in ["# c\n\nglobal\n maxconn 5\n", "defaults # c\n", "  frontend f\n bind :80\n", ".if 1\n.endif\nglobal\n"] {
        let report = Config::parse("site", text).err().map(|report| report.to_string()).unwrap_or_default();
        assert!(!report.contains("not TOML"), "{text}: {report}");
    }
    assert!(Config::parse("site", "[global]\nmaxconn = 5\n").is_ok());
    assert!(Config::parse("site", "global = { maxconn = 5 }\n").is_ok());
    assert!(Config::parse("site.cfg", "[global]\nmaxconn = 5\n").is_err());
}

#[test]
fn a_little_of_everything_is_understood() {
    let config = config(include_str!("example.cfg"));
    let said = config.warnings().to_string();
    assert!(said.is_empty(), "{said}");
    assert_eq!((config.frontends().len(), config.backends().len(), config.servers().len()), (3, 3, 5));
}
