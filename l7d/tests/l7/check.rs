//! `l7d check`: what it says and how it exits.

use std::process::{Command, Output};

use crate::kit::directory;

fn check(config: &str) -> (Output, String) {
    let directory = directory();
    let file = directory.join("site.toml");
    std::fs::write(&file, config).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_l7d")).arg("check").arg("-f").arg(&file).output().unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    let text = String::from_utf8(output.stdout.clone()).unwrap().replace(&file.display().to_string(), "site.toml");
    (output, text)
}

const VALID: &str = r#"
[defaults]
mode = "tcp"
timeout = { connect = "1s", client = "5s", server = "5s" }
[frontend.a]
bind = ["127.0.0.1:8000"]
default-backend = "b"
[backend.b]
server = { s1 = "127.0.0.1:9001" }
"#;

#[test]
fn valid_file_exits_with_0() {
    let (output, text) = check(VALID);
    assert_eq!((output.status.code(), text.as_str()), (Some(0), "site.toml: valid\n"));
}

#[test]
fn every_error_is_shown_and_the_exit_status_is_1() {
    let (output, text) = check(&VALID.replace("default-backend = \"b\"", "default-backend = \"c\"").replace("9001", "99999"));
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("site.toml:7:") && text.contains("site.toml:9:"), "{text}");
}

#[test]
fn a_retry_that_never_happens_is_warned_of() {
    let web = VALID.replace("mode = \"tcp\"", "mode = \"http\"");
    let (output, text) = check(&web.replace("[backend.b]", "[backend.b]\nretry-on = [\"conn-failure\", \"0rtt-rejected\"]"));
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("site.toml:9:") && text.contains("`0rtt-rejected` never happens: servers are sent no early data"), "{text}");
    let (_, text) = check(&web.replace("[backend.b]", "[backend.b]\nretry-on = [\"all-retryable-errors\"]"));
    assert_eq!(text, "site.toml: valid\n");
}

#[test]
fn missing_file_is_an_error() {
    let output = Command::new(env!("CARGO_BIN_EXE_l7d")).args(["check", "-f", "/nonexistent/site.toml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("/nonexistent/site.toml"));
}

#[test]
fn what_is_not_carried_out_yet_is_refused_where_it_stands() {
    let cases = [
        (
            "default-backend = \"b\"",
            "default-backend = \"b\"\nrules = [\"tcp-request content switch-mode http if { src 10.0.0.0/8 }\"]",
            8,
            "action `switch-mode` is not supported: a frontend is of one mode",
        ),
        ("[backend.b]", "[backend.b]\nbalance = \"hash var(txn.x)\"", 8, "cannot balance by `var(txn.x)`"),
        ("[backend.b]", "[backend.b]\nbalance = \"hash path\"", 8, "backend `b` has mode tcp"),
        ("[backend.b]", "[crt-store.p]\n[backend.b]", 8, "section `crt-store` is not supported yet"),
    ];
    for (from, to, line, reason) in cases {
        let (output, text) = check(&VALID.replacen(from, to, 1));
        assert_eq!(output.status.code(), Some(1), "{to}: {text}");
        assert!(text.contains(&format!("site.toml:{line}:")) && text.contains(reason), "{to}: {text}");
    }
}

#[test]
fn files_without_an_end_are_refused_wherever_one_is_named() {
    let endless = [
        ("bind = { address = \"127.0.0.1:8443\", tls = { certificates = [\"/dev/zero\"] } }", "/dev/zero: larger than 64 MiB"),
        ("bind = \"127.0.0.1:8443\"\nrules = [\"http-request deny if { path -f /dev/zero }\"]", "/dev/zero: larger than 256 MiB"),
        ("bind = \"127.0.0.1:8443\"\nrules = [\"http-request return file /dev/zero content-type a/b\"]", "/dev/zero: larger than 1 MiB"),
    ];
    for (settings, message) in endless {
        let timeouts = "timeout = { connect = \"1s\", client = \"1s\", server = \"1s\" }";
        let config =
            format!("[defaults]\n{timeouts}\n[frontend.f]\n{settings}\ndefault-backend = \"b\"\n[backend.b]\nserver.s = \"127.0.0.1:1\"\n");
        let (output, text) = check(&config);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(message), "{text}");
    }
}
