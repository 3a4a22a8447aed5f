//! `l7d convert`: what it writes serves as what it was written from, and what it says of each line.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::corpus::{REQUESTS, RUN, answer, corpus, furnished, local, mirror};
use crate::kit::{Daemon, directory};

fn l7d(arguments: &[&str], directory: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_l7d")).args(arguments).current_dir(directory).output().expect("l7d runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Returns the lines of a text that have words, without those that go on on the next one.
fn words(text: &str) -> usize {
    let mut begins = true;
    let mut count = 0;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        count += usize::from(begins);
        begins = !line.ends_with('\\');
    }
    count
}

#[test]
fn whatever_is_converted_is_as_valid_as_it_was() {
    let directory = furnished();
    let mut failures = Vec::new();
    for (name, written) in corpus() {
        let written = written.replace("@DIR@", &directory.display().to_string());
        let lines = written.lines().filter(|line| !line.ends_with("# refused")).flat_map(|line| [line, "\n"]).collect::<String>();
        let (file, converted) = (format!("{name}.cfg"), format!("{name}.toml"));
        fs::write(directory.join(&file), &lines).unwrap();
        let output = l7d(&["convert", &file, "-o", &converted, "--report", "lines.txt"], &directory);
        let report = fs::read_to_string(directory.join("lines.txt")).unwrap_or_default();
        let check = l7d(&["check", "-f", &converted], &directory);
        let good = output.status.success() && check.status.success() && output.stdout.is_empty() && output.stderr.is_empty();
        if !good || report.lines().count() != words(&lines) || report.contains(": refused") {
            let said = [output.stdout, output.stderr, check.stdout].map(|said| text(&said)).concat();
            failures.push(format!("=== {name}: {} lines\n{said}\n{report}", words(&lines)));
        }
    }
    fs::remove_dir_all(&directory).unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn what_is_converted_answers_as_it_did() {
    let (directory, server) = (furnished(), mirror());
    let mut failures = Vec::new();
    for (name, written) in corpus().iter().filter(|(name, _)| RUN.contains(&name.as_str())) {
        let (original, first) = local(written, &directory, server.address());
        let (other, second) = local(written, &directory, server.address());
        fs::write(directory.join("other.cfg"), other).unwrap();
        let converted = l7d(&["convert", "other.cfg"], &directory);
        assert!(converted.status.success(), "{name}: {}", text(&converted.stderr));
        let _original = Daemon::start_haproxy(&original);
        let _converted = Daemon::start(&text(&converted.stdout));
        for request in REQUESTS {
            let ask = || (answer(first, request), answer(second, request));
            // Between two answers the date in a cookie may turn, as it does every four seconds.
            let (ours, theirs) = Some(ask()).filter(|(ours, theirs)| ours == theirs).unwrap_or_else(ask);
            if ours != theirs {
                failures.push(format!("=== {name}: {request}--- before\n{}\n--- converted\n{}", ours.join("\n"), theirs.join("\n")));
            }
        }
    }
    fs::remove_dir_all(&directory).unwrap();
    assert!(failures.is_empty(), "{}\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn each_line_is_exact_approximated_or_refused() {
    let directory = directory();
    let written = "global\n    nosplice\nfrontend f\n    bind 127.0.0.1:8000\n    http-request lua.check\n    no-such-word\n    use_backend c\n    \
                   default_backend b\nbackend b\n    server s 127.0.0.1:8001\n";
    fs::write(directory.join("site.cfg"), written).unwrap();
    let output = l7d(&["convert", "site.cfg"], &directory);
    let (toml, report) = (text(&output.stdout), text(&output.stderr));
    fs::remove_dir_all(&directory).unwrap();
    assert_eq!(output.status.code(), Some(1), "a line was refused");
    assert!(toml.contains("bind = \"127.0.0.1:8000\"") && toml.contains("s = \"127.0.0.1:8001\""), "{toml}");
    let expected = [
        "site.cfg:1: exact",
        "site.cfg:2: approximated (`nosplice` means nothing here and is left out)",
        "site.cfg:3: exact",
        "site.cfg:4: exact",
        "site.cfg:5: refused (",
        "site.cfg:6: refused (unknown keyword `no-such-word`",
        "site.cfg:7: refused (no backend `c`",
        "site.cfg:8: exact",
        "site.cfg:9: exact",
        "site.cfg:10: exact",
    ];
    let lines: Vec<&str> = report.lines().collect();
    assert_eq!(lines.len(), expected.len(), "{report}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(expected), "{line}\n{expected}");
    }
}

#[test]
fn nothing_is_lost_where_nothing_can_be_converted() {
    let directory = directory();
    fs::write(directory.join("site.cfg"), "backend b\n    server s 127.0.0.1:8001\n").unwrap();
    fs::write(directory.join("site.toml"), "[backend.b]\n").unwrap();
    let cases: [(&[&str], &str); 5] = [
        (&["convert", "site.toml"], "this is the native format already"),
        (&["convert", "none.cfg"], "none.cfg"),
        (&["convert", "site.cfg", "-o", "site.cfg"], "site.cfg is what is converted"),
        (&["convert", "site.cfg", "--report", "./site.cfg"], "site.cfg is what is converted"),
        (&["convert", "site.cfg", "-o", "no/such/directory"], "no/such/directory"),
    ];
    for (arguments, said) in cases {
        let output = l7d(arguments, &directory);
        let error = text(&output.stderr);
        assert!(output.status.code() == Some(1) && error.contains(said) && output.stdout.is_empty(), "{arguments:?}: {error}");
    }
    assert!(fs::read_to_string(directory.join("site.cfg")).unwrap().contains("127.0.0.1:8001"), "the file is as it was");
    fs::remove_dir_all(&directory).unwrap();
}
