//! What a mistake looks like, letter by letter. The texts and what is said about them stand in `messages.txt`.

use std::io::Write;

use super::{Config, said};
use crate::config::{Diagnostic, Severity};

#[test]
fn every_mistake_is_told_as_written_down() {
    for case in include_str!("messages.txt").split("#### ").skip(1) {
        let (title, rest) = case.split_once('\n').unwrap();
        let (input, expected) = rest.split_once("----\n").unwrap();
        let said = without_lists(&said(input));
        assert_eq!(said, expected.trim_end_matches('\n'), "{title}: now it is\n{said}\n");
    }
}

/// Leaves out what is known besides, which grows with every feature.
fn without_lists(said: &str) -> String {
    let lines = said.lines().map(|line| match line.split_once("known: ") {
        Some((before, _)) => format!("{before}known: …"),
        None => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn mistakes_are_ordered_and_carry_their_place() {
    let report = Config::parse("a.toml", "[frontend.f]\nbind = \"*:80\"\ndefault-backend = \"b\"\n[globl]\n").unwrap_err();
    let found: Vec<_> =
        report.diagnostics().iter().map(|found| (found.severity(), found.file(), found.location().unwrap().to_string())).collect();
    let error = Severity::Error;
    assert_eq!(found, [(error, "a.toml", "a.toml:3:20".to_owned()), (error, "a.toml", "a.toml:4:2".to_owned())]);
    assert!(report.has_errors() && !report.is_empty());
    assert_eq!(report.diagnostics()[0].message(), "no backend `b`");
}

#[test]
fn daemon_can_point_at_a_value_later() {
    let config = super::config("[xdp]\ninterfaces = [\"eth9\"]\n");
    let interface = &config.xdp().unwrap().interfaces()[0];
    let refusal = Diagnostic::error(interface.location(), format!("interface {interface}: no such device")).hint("known: lo, eth0");
    let expected =
        "site.toml:2:16: interface eth9: no such device\n    2 | interfaces = [\"eth9\"]\n      |                ^^^^ known: lo, eth0";
    assert_eq!(refusal.to_string(), expected);
}

#[test]
fn very_long_line_is_cut_around_the_mistake() {
    let text = format!("[global]\nlog = [{}\"\"]\n", "\"stdout format raw\", ".repeat(500));
    let shown = said(&text);
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines[0], "site.toml:2:10508: nothing is written here");
    let mark = lines[2].chars().position(|c| c == '^').unwrap();
    assert_eq!(lines[1].chars().skip(mark).take(2).collect::<String>(), "\"\"");
    assert!(lines[1].chars().count() < 300, "{}", lines[1]);
}

#[test]
fn file_that_cannot_be_read_is_named() {
    let report = Config::load("/nonexistent/site.toml".as_ref()).unwrap_err();
    assert_eq!(report.to_string(), "/nonexistent/site.toml: No such file or directory (os error 2)");
    let report = Config::load("/dev/zero".as_ref()).unwrap_err();
    assert_eq!(report.to_string(), "/dev/zero: larger than 256 MiB");
}

#[test]
fn file_that_is_not_utf8_is_told_where() {
    let path = std::env::temp_dir().join(format!("control-config-{}.toml", std::process::id()));
    std::fs::File::create(&path).unwrap().write_all(b"[global]\nlog = \"caf\xe9\"\n").unwrap();
    let said = Config::load(&path).unwrap_err().to_string();
    std::fs::remove_file(&path).unwrap();
    let expected = format!("{0}:2:11: the file is not UTF-8\n    2 | log = \"caf\u{fffd}\"\n      |           ^", path.display());
    assert_eq!(said, expected);
}
