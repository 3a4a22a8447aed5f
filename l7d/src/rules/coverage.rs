//! Every name of the rule language has a test that drives the daemon: the tests and the configurations they run are searched for each.

use std::fs;
use std::path::Path;

use super::{action, converter, directive, fetch, stick};

/// Returns all that the tests of the daemon say, and the configurations they run.
fn said() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut text = String::new();
    let mut left = vec![root.join("tests"), root.join("../tests/corpus")];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            // What is refused is no test of what is done.
            let lines = fs::read_to_string(&path).unwrap();
            text.extend(lines.lines().filter(|line| !line.ends_with("# refused")).flat_map(|line| [line, "\n"]));
        }
    }
    text
}

/// Tells whether a text has a name that is not a part of a longer one; behind a dot or an underscore it may be a derived one.
fn has(text: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    text.match_indices(name).any(|(at, _)| {
        let (before, behind) = (text[..at].chars().next_back(), text[at + name.len()..].chars().next());
        !before.is_some_and(is_part) && !behind.is_some_and(|c| is_part(c) && c != '.' && c != '/')
    })
}

/// Returns the names that no test says, in any of their spellings.
fn untested(text: &str, names: impl IntoIterator<Item = Vec<String>>) -> Vec<String> {
    names.into_iter().filter(|spellings| !spellings.iter().any(|name| has(text, name))).map(|spellings| spellings[0].clone()).collect()
}

fn single(names: impl IntoIterator<Item = &'static str>) -> Vec<Vec<String>> {
    names.into_iter().map(|name| vec![name.to_owned()]).collect()
}

#[test]
fn every_name_of_the_language_has_a_test() {
    let text = said();
    let derived = |name: &'static str| {
        let suffixes = ["", "_beg", "_dir", "_dom", "_end", "_len", "_reg", "_sub"];
        let fits = fetch::DERIVING.contains(&name);
        suffixes.iter().filter(|suffix| fits || suffix.is_empty()).map(|suffix| format!("{name}{suffix}")).collect::<Vec<_>>()
    };
    let of_tables = |(name, scopes): (&'static str, &[&str])| scopes.iter().map(|scope| format!("{scope}{name}")).collect::<Vec<_>>();
    let rows = [
        ("sample fetches", untested(&text, fetch::names().into_iter().map(derived))),
        (
            "sample fetches of tables",
            untested(&text, stick::questions().map(|name| of_tables((name, &["sc_", "sc0_", "sc1_", "sc2_", "src_"])))),
        ),
        ("converters", untested(&text, single(converter::names()))),
        ("converters of tables", untested(&text, stick::lookups().map(|name| of_tables((name, &["table_", "in_table"]))))),
        ("actions", untested(&text, single(action::names()))),
        ("rules", untested(&text, single(directive::RULES))),
    ];
    let missing: Vec<_> =
        rows.iter().filter(|(_, names)| !names.is_empty()).map(|(what, names)| format!("{what}: {}", names.join(" "))).collect();
    assert!(missing.is_empty(), "no test of the daemon says these\n{}", missing.join("\n"));
}

#[test]
fn a_name_is_found_as_a_word_only() {
    assert!(has("%[src,lower]", "src") && has("path_beg /x", "path_beg") && has("http-request auth\n", "auth"));
    assert!(!has("src_port", "src") && !has("x-auth", "auth") && !has("hdr.src", "src"));
}
