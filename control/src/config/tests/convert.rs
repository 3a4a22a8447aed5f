//! HAProxy's language in the native format: the same model, whatever is said.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use crate::config::{Config, Fate, convert};

/// Returns the configurations of the corpus, without the lines that are not supported yet.
fn corpus() -> Vec<(String, String)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/corpus");
    let mut files: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap().replace("@DIR@", "/etc/site");
        let lines: String = text.lines().filter(|line| !line.ends_with("# refused")).flat_map(|line| [line, "\n"]).collect();
        (path.file_stem().unwrap().to_string_lossy().into_owned(), lines)
    };
    files.into_iter().map(read).collect()
}

/// Shows a model without where its values were written, and without what was said about it.
fn shown(config: &Config) -> String {
    let text = format!(
        "{:#?}\n{:#?}\n{:#?}\n{:#?}\n{:#?}\n{:#?}\n{:#?}\n{:#?}\n{:#?}\n{:#?}\n{:#?}\n{:#?}",
        config.global(),
        config.xdp(),
        config.frontends(),
        config.backends(),
        config.servers(),
        config.tables(),
        config.peers(),
        config.resolvers(),
        config.http_errors(),
        config.userlists(),
        config.caches(),
        config.mailers(),
    );
    let is_place = |line: &str| {
        let mut parts = line.trim().trim_end_matches(',').rsplitn(3, ':');
        let is_number = |part: Option<&str>| part.is_some_and(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
        is_number(parts.next()) && is_number(parts.next()) && parts.next().is_some_and(|rest| rest.contains("site."))
    };
    // What is said of the kernel tier is said in the words of the language.
    let mut said = None;
    let mut is_said = |line: &str| {
        let indent = line.len() - line.trim_start().len();
        if said.is_none() && line.trim_start().starts_with("kernel_obstacles: [") && !line.ends_with("],") {
            said = Some(indent);
        }
        let is_said = said.is_some();
        said = said.filter(|first| *first != indent || !line.trim_start().starts_with(']'));
        is_said
    };
    text.lines().filter(|line| !is_place(line) && !is_said(line)).flat_map(|line| [line, "\n"]).collect()
}

/// Says where two texts differ first.
fn difference(one: &str, other: &str) -> Option<String> {
    let at = one.lines().zip(other.lines()).position(|(one, other)| one != other);
    let at = at.or((one.lines().count() != other.lines().count()).then_some(one.lines().count().min(other.lines().count())))?;
    let around = |text: &str| text.lines().skip(at.saturating_sub(6)).take(12).collect::<Vec<_>>().join("\n");
    Some(format!("{}\n--- converted\n{}", around(one), around(other)))
}

/// Tells what is wrong with what a text is converted to; nothing where it makes the same model.
fn fault(text: &str) -> Option<String> {
    let original = match Config::parse("site.cfg", text) {
        Ok(config) => config,
        Err(report) => return Some(format!("not valid itself: {report}")),
    };
    let conversion = convert::text("site.cfg", text);
    let converted = match Config::parse("site.toml", conversion.text()) {
        Ok(config) => config,
        Err(report) => return Some(format!("{report}\n{}", conversion.text())),
    };
    difference(&shown(&original), &shown(&converted)).map(|difference| format!("{difference}\n--- of\n{}", conversion.text()))
}

#[test]
fn every_configuration_of_the_corpus_makes_the_same_model() {
    let faults: Vec<_> = corpus().iter().filter_map(|(name, text)| Some(format!("=== {name}\n{}", fault(text)?))).collect();
    assert!(faults.is_empty(), "{}\n{}", faults.len(), faults.join("\n"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_lines_are_missing_the_model_is_the_same(
        file in any::<prop::sample::Index>(),
        kept in prop::collection::vec(prop::bool::weighted(0.9), 200),
    ) {
        let corpus = corpus();
        let (name, text) = file.get(&corpus);
        let some: String = text.lines().zip(kept.iter().cycle()).filter(|(_, kept)| **kept).flat_map(|(line, _)| [line, "\n"]).collect();
        // What is not valid is converted as far as it is.
        let _ = convert::text("site.cfg", &some);
        if Config::parse("site.cfg", &some).is_ok() {
            prop_assert_eq!(fault(&some).map(|fault| format!("{name}: {fault}\n--- of\n{some}")), None);
        }
    }
}

#[test]
fn the_report_says_what_became_of_each_line() {
    let text = "\
global
    setenv NAME x
    nosplice
    ulimit-n 100
.if defined(NO_SUCH_VARIABLE)
    maxconn 1
.endif
defaults
    timeout client 1s
    timeout connect 1s
    timeout server 1s
    acl unnamed always_true
frontend f
    bind \"127.0.0.1:${PORT-80}\"
    balance source
    default_backend b
backend b
    no such keyword
    server \"broken
    server s 10.0.0.1:80 \\
        check
";
    let conversion = convert::text("site.cfg", text);
    let said: Vec<String> = conversion.lines().iter().map(ToString::to_string).collect();
    let expected = [
        "1: exact",
        "2: approximated (variables stand where they are used)",
        "3: approximated (`nosplice` means nothing here and is left out)",
        "4: approximated (`ulimit-n` means nothing here and is left out)",
        "5: approximated (what it decides is decided now)",
        "6: approximated (left out: the condition before it does not hold)",
        "7: approximated (what it decides is decided now)",
        "8: exact",
        "9: exact",
        "10: exact",
        "11: exact",
        "12: refused (`acl` has no place in section `defaults` without a name)",
        "13: exact",
        "14: approximated (the environment is that of now)",
        "15: exact (`balance` has no effect in section `frontend`)",
        "16: exact",
        "17: exact",
        "18: refused (unknown keyword `such` in section `backend`)",
        "20: approximated (the environment is that of now)",
        "19: refused (this quote is not closed in its line)",
    ];
    let expected: Vec<String> = expected.iter().map(|line| format!("site.cfg:{line}")).collect();
    assert_eq!(said, expected);
    assert!(conversion.lines().iter().any(|line| matches!(line.fate(), Fate::Refused(_))));
    let converted = Config::parse("site.toml", conversion.text()).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(converted.servers().len(), 1, "what was read is there");
}

#[test]
fn comments_stay_where_they_stood() {
    let text = "\
# The site.

# Written by hand.
global
    maxconn 10 # not this one

# Clients arrive here.
frontend f
    bind 127.0.0.1:80
    # Those who
    # are in the office.
    acl office src 10.0.0.0/8
    # Keep out.
    http-request deny if !office
    default_backend b

backend b
    # The only one.
    server s 10.0.0.1:80
";
    let expected = "\
# The site.

# Written by hand.
[global]
maxconn = 10

# Clients arrive here.
[frontend.f]
bind = \"127.0.0.1:80\"
default-backend = \"b\"
# Those who
# are in the office.
acl.office = \"src 10.0.0.0/8\"
rules = [
  # Keep out.
  \"http-request deny if !office\",
]

[backend.b]

[backend.b.server]
# The only one.
s = \"10.0.0.1:80\"
";
    assert_eq!(convert::text("site.cfg", text).text(), expected);
}
