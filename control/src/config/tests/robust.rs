//! Whatever is in a file, it is read or refused, and what is said about it can be shown.

use std::fmt::Write;

use proptest::prelude::*;

use super::{Config, EXAMPLE, said};

/// A configuration in HAProxy's language that has a little of everything.
const HAPROXY: &str = include_str!("example.cfg");

/// Pieces that make HAProxy's language interesting.
const WORDS: [&str; 40] = [
    " ",
    "\n",
    "\r\n",
    "\\\n",
    "\\",
    "\"",
    "'",
    "#",
    "$",
    "\"${",
    "}\"",
    "\"${X-",
    "[*]",
    "\"$X\"",
    "\t",
    "\u{0}",
    "ä",
    "\\x4",
    "\\x41",
    "no ",
    ".if ",
    ".elif ",
    ".else\n",
    ".endif\n",
    "(",
    ")",
    "!",
    "&&",
    "||",
    "defined(",
    "version_atleast(",
    "frontend f\n",
    "backend b\n",
    "listen l\n",
    "defaults d from d\n",
    "global\n",
    " bind ",
    " server s ",
    " acl a ",
    " http-request ",
];

fn said_haproxy(text: &str) {
    match Config::parse("haproxy.cfg", text) {
        Ok(config) => drop(config.warnings().to_string()),
        Err(report) => drop(report.to_string()),
    }
}

/// Pieces that make TOML interesting.
const PIECES: [&str; 20] =
    ["[", "]", "[[", "]]", "{", "}", "\"", "\"\"\"", "'", "=", ".", ",", "\n", "\r\n", "#", "\t", "\u{0}", "ä", "= 5", "[frontend.web]\n"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_in_haproxys_language_is_read_or_refused(text in any::<String>()) {
        said_haproxy(&text);
    }

    #[test]
    fn any_row_of_words_is_read_or_refused(pieces in prop::collection::vec(prop::sample::select(&WORDS[..]), 0..60)) {
        said_haproxy(&pieces.concat());
    }

    #[test]
    fn any_damage_to_a_haproxy_cfg_is_survived(
        damage in prop::collection::vec((0.0..1.0, 0..20usize, prop::sample::select(&WORDS[..])), 1..6),
    ) {
        let mut text: Vec<char> = HAPROXY.chars().collect();
        for (place, removed, piece) in damage {
            let start = (text.len() as f64 * place) as usize;
            let end = (start + removed).min(text.len());
            text.splice(start..end, piece.chars());
        }
        said_haproxy(&text.into_iter().collect::<String>());
    }

    #[test]
    fn any_word_in_the_place_of_another_is_survived(line in 0..80usize, word in 0..6usize, value in "[\"']?[ -~]{0,12}[\"']?") {
        let mut text = String::new();
        for (index, written) in HAPROXY.lines().enumerate() {
            let mut words: Vec<&str> = written.split(' ').collect();
            if index == line && word < words.len() {
                words[word] = &value;
            }
            writeln!(text, "{}", words.join(" ")).unwrap();
        }
        said_haproxy(&text);
    }

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        said(&text);
    }

    #[test]
    fn any_row_of_pieces_is_read_or_refused(pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..60)) {
        said(&pieces.concat());
    }

    #[test]
    fn any_damage_to_the_example_is_survived(
        damage in prop::collection::vec((0.0..1.0, 0..20usize, prop::sample::select(&PIECES[..])), 1..6),
    ) {
        let mut text: Vec<char> = EXAMPLE.chars().collect();
        for (place, removed, piece) in damage {
            let start = (text.len() as f64 * place) as usize;
            let end = (start + removed).min(text.len());
            text.splice(start..end, piece.chars());
        }
        said(&text.into_iter().collect::<String>());
    }

    #[test]
    fn any_value_in_the_place_of_another_is_survived(line in 0..60usize, value in "[\"'\\[{]?[ -~]{0,12}[\"'\\]}]?") {
        let mut text = String::new();
        for (index, written) in EXAMPLE.lines().enumerate() {
            match written.split_once('=') {
                Some((key, _)) if index == line => writeln!(text, "{key}= {value}").unwrap(),
                _ => writeln!(text, "{written}").unwrap(),
            }
        }
        said(&text);
    }
}

#[test]
fn endless_nesting_is_refused() {
    for text in
        ["a=[".to_owned() + &"[".repeat(100_000), "a=".to_owned() + &"{a=".repeat(100_000), format!("a{} = 1", ".a".repeat(100_000))]
    {
        assert!(Config::parse("deep.toml", &text).is_err());
    }
}

#[test]
fn what_could_grow_without_end_does_not() {
    let long = "x".repeat(60_000);
    let bomb = format!("global\n setenv A {long}\nbackend {}\n", "\"$A$A$A$A$A$A$A$A$A$A$A$A$A$A$A$A$A$A$A$A\"".repeat(50));
    for text in [bomb, format!(".if {}", "(".repeat(100_000)), ".if 1\n".repeat(5_000), format!(".if {}1", "!".repeat(100_000))] {
        assert!(Config::parse("deep.cfg", &text).is_err());
    }
}
