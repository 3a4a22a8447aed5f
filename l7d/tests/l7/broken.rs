//! Configurations as operators break them: each with all that `l7d check` has to say about it at once, in `broken.txt`.

use std::fs;
use std::process::Command;

use crate::kit::directory;

#[test]
fn every_mistake_of_a_file_is_told_at_once_where_it_stands() {
    let directory = directory();
    for case in include_str!("broken.txt").split("#### ").skip(1) {
        let (title, rest) = case.split_once('\n').expect("a title is a line");
        let (config, expected) = rest.split_once("----\n").expect("what is said follows");
        fs::write(directory.join("haproxy.cfg"), config).expect("there is room for it");
        let mut command = Command::new(env!("CARGO_BIN_EXE_l7d"));
        let output = command.args(["check", "-f", "haproxy.cfg"]).current_dir(&directory).output().expect("l7d runs");
        let said = essence(&String::from_utf8(output.stdout).expect("it says text"));
        assert_eq!((output.status.code(), said.trim_end()), (Some(1), expected.trim_end()), "{title}: now it says\n{said}");
    }
    fs::remove_dir_all(directory).expect("it is ours");
}

/// Leaves out warnings of what is missing, which no file below is about, and what is known besides, which grows with every feature.
fn essence(said: &str) -> String {
    let mut is_wanted = true;
    let mut text = String::new();
    for line in said.lines() {
        if line.starts_with("haproxy.cfg:") {
            is_wanted = !line.contains(": warning: ");
        }
        if is_wanted {
            let line = line.split_once("known: ").map_or(line.to_owned(), |(before, _)| format!("{before}known: …"));
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
    text
}
