//! Every word of the language stands in a test that drives a program, or in a configuration of the corpus, which such tests run.

use std::fs;
use std::path::Path;

use super::{
    backend, bind, cache, condition, global, log_forward, log_profile, mail, peers, proxy, ring, section, server, stats, steps, tls,
};
use crate::config::model::Timeout;
use crate::config::value::option;

/// Returns the tests of the daemon and the corpus, without the lines that are refused.
fn said() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut text = String::new();
    let mut left = vec![root.join("../l7d/tests"), root.join("../tests/corpus")];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            let lines = fs::read_to_string(&path).unwrap();
            text.extend(lines.lines().filter(|line| !line.ends_with("# refused")).flat_map(|line| [line, "\n"]));
        }
    }
    text
}

/// Tells whether a text has a word that is not a part of a longer one.
fn has(text: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    text.match_indices(word).any(|(at, _)| {
        let (before, behind) = (text[..at].chars().next_back(), text[at + word.len()..].chars().next());
        !before.is_some_and(is_part) && !behind.is_some_and(|c| is_part(c) && c != '.' && c != '/')
    })
}

/// Returns all words, by what they belong to.
fn vocabulary() -> Vec<(&'static str, Vec<&'static str>)> {
    let checks = [
        "dns-check",
        "external-check",
        "grpc-check",
        "quic-check",
        "udp-check",
        "httpchk",
        "ldap-check",
        "mysql-check",
        "pgsql-check",
        "redis-check",
        "smtpchk",
        "ssl-hello-chk",
        "tcp-check",
    ];
    // There has been nothing to switch off for long.
    let idle_options = proxy::IDLE_OPTIONS.into_iter().filter(|option| *option != "http-use-htx");
    vec![
        ("sections", section::names().collect()),
        ("proxies", proxy::KEYWORDS.iter().map(|(_, name, _)| *name).chain(proxy::IDLE).collect()),
        ("options", option::KNOWN.into_iter().chain(idle_options).chain(checks).collect()),
        ("timeouts", Timeout::ALL.into_iter().map(Timeout::name).collect()),
        ("global", global::KEYWORDS.iter().map(|(name, _)| *name).chain(global::IDLE.iter().copied()).collect()),
        ("bind", bind::WORDS.iter().map(|(name, _)| *name).chain(bind::IDLE.iter().map(|(name, _)| *name)).collect()),
        (
            "server",
            server::WORDS
                .iter()
                .chain(tls::SERVER_WORDS)
                .map(|(name, _)| *name)
                .chain(server::IDLE.iter().map(|(name, _)| *name))
                .collect(),
        ),
        ("old versions of TLS", tls::OLD_VERSIONS.to_vec()),
        ("caches", cache::KEYWORDS.to_vec()),
        ("cookie", backend::COOKIE.to_vec()),
        ("stats", stats::KNOWN.to_vec()),
        ("peers", peers::KEYWORDS.iter().map(|(name, _)| *name).collect()),
        ("ring", ring::KEYWORDS.to_vec()),
        ("mailers", [&mail::KEYWORDS[..], &mail::ALERT[..]].concat()),
        ("log-forward", log_forward::KEYWORDS.to_vec()),
        ("log-profile", log_profile::KEYWORDS.to_vec()),
        ("checks", [&steps::EXPECT[..], &steps::HTTP_PATTERNS[..7], &steps::TCP_PATTERNS[..6]].concat()),
        ("conditions", condition::PREDICATES.to_vec()),
    ]
}

#[test]
fn every_word_of_the_language_has_a_test() {
    let text = said();
    let untested = |words: Vec<&'static str>| words.into_iter().filter(|word| !has(&text, word)).collect::<Vec<_>>();
    let missing: Vec<_> =
        vocabulary().into_iter().map(|(what, words)| (what, untested(words))).filter(|(_, words)| !words.is_empty()).collect();
    assert!(missing.is_empty(), "no test and no configuration says these\n{missing:#?}");
}
