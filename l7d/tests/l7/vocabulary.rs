//! Every word that Debian's haproxy knows, as it lists them itself: each is carried out here, or refused by name with a reason.

use std::fmt::Write;
use std::fs;
use std::process::Command;

use crate::kit::directory;

/// The words of one kind, each on a line of a configuration of its own.
struct Class {
    name: &'static str,
    /// What stands before the lines.
    before: &'static str,
    /// The word, and the line that says it.
    lines: Vec<(String, String)>,
}

/// Returns what haproxy lists, by the headings; nothing if it is too old to list anything.
fn listed() -> Vec<(String, Vec<String>)> {
    let directory = directory();
    let file = directory.join("empty.cfg");
    fs::write(&file, "global\n").unwrap();
    let output = Command::new("/usr/sbin/haproxy").args(["-dKall", "-q", "-c", "-f"]).arg(&file).output().unwrap();
    fs::remove_dir_all(&directory).unwrap();
    let mut sections: Vec<(String, Vec<String>)> = Vec::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        if let Some(title) = line.strip_prefix("# List of registered ") {
            sections.push((title.trim_end_matches(':').to_owned(), Vec::new()));
        } else if let Some((_, lines)) = sections.last_mut().filter(|_| !line.starts_with('#')) {
            lines.push(line.to_owned());
        }
    }
    sections
}

fn of<'s>(sections: &'s [(String, Vec<String>)], title: &str) -> &'s [String] {
    sections.iter().find(|(known, _)| known == title).map(|(_, lines)| lines.as_slice()).unwrap_or_default()
}

/// Returns the words of the configuration that stand behind a prefix; those of a section are behind its name.
fn keywords(lines: &[String], section: &str, prefix: &str) -> Vec<String> {
    let mut here = "";
    let mut found = Vec::new();
    for line in lines {
        match line.strip_prefix('\t') {
            None => here = line,
            Some(rest) if here == section => found.extend(rest.strip_prefix(prefix).map(str::to_owned)),
            Some(_) => {}
        }
    }
    found
}

/// Returns a word, and as many values as it wants.
fn with_values(word: &str) -> (String, String) {
    let (name, count) = word.split_once(' ').unwrap_or((word, ""));
    (name.to_owned(), if count.starts_with('+') { format!("{name} 1") } else { name.to_owned() })
}

fn classes(sections: &[(String, Vec<String>)]) -> Vec<Class> {
    let config = of(sections, "configuration keywords");
    let called = |line: &String| line.rsplit("] ").next().and_then(|call| call.split([':', '(', ' ']).next()).map(str::to_owned);
    let mut classes = vec![
        Class {
            name: "sample fetch",
            before: "defaults\n mode http\nfrontend f\n bind 127.0.0.1:1\n",
            lines: of(sections, "sample fetch functions")
                .iter()
                .filter_map(called)
                .map(|name| (name.clone(), format!(" http-request set-var(txn.a) {name}")))
                .collect(),
        },
        Class {
            name: "converter",
            before: "defaults\n mode http\nfrontend f\n bind 127.0.0.1:1\n",
            lines: of(sections, "sample converter functions")
                .iter()
                .filter_map(called)
                .map(|name| (name.clone(), format!(" http-request set-var(txn.a) str(a),{name}")))
                .collect(),
        },
        Class { name: "filter", before: "listen l\n mode http\n", lines: Vec::new() },
        Class {
            name: "global",
            before: "global\n",
            lines: keywords(config, "global", "").into_iter().map(|word| (word.clone(), format!(" {word}"))).collect(),
        },
    ];
    classes[2].lines =
        of(sections, "filter names").iter().filter_map(called).map(|name| (name.clone(), format!(" filter {name}"))).collect();
    for (name, prefix, line) in [
        ("bind", "bind <addr> ssl ", " bind 127.0.0.1:1 ssl "),
        ("bind", "bind <addr> ", " bind 127.0.0.1:1 "),
        ("server", "server <name> <addr> ", " server s 127.0.0.1:1 "),
        ("option", "option ", " option "),
    ] {
        let words = keywords(config, "listen", prefix).into_iter().filter(|word| !word.starts_with("ssl "));
        let words = words.map(|word| if name == "option" { word.split(' ').next().unwrap().to_owned() } else { word });
        let lines = words.map(|word| with_values(&word)).enumerate();
        // No two servers have one name.
        let lines = lines.map(|(at, (word, said))| (word, format!("{}{said}", line.replace(" s ", &format!(" s{at} "))))).collect();
        classes.push(Class { name, before: "listen l\n mode http\n", lines });
    }
    for set in [
        "tcp-request connection ",
        "tcp-request session ",
        "tcp-request content ",
        "tcp-response content ",
        "http-request ",
        "http-response ",
        "http-after-response ",
    ] {
        let words =
            keywords(config, "listen", set).into_iter().map(|word| word.replace("track-sc*", "track-sc0").trim_end_matches('*').to_owned());
        let lines = words.map(|word| (format!("{set}{word}"), format!(" {set}{word}"))).collect();
        classes.push(Class { name: "action", before: "listen l\n mode http\n", lines });
    }
    let is_alone = |word: &String| !word.contains(' ');
    let lines = keywords(config, "listen", "").into_iter().filter(is_alone).map(|word| (word.clone(), format!(" {word}"))).collect();
    classes.push(Class { name: "proxy", before: "listen l\n mode http\n", lines });
    classes
}

/// How a message begins about a word that nobody knows.
const STRANGE: [&str; 4] = ["there is no ", "unknown keyword ", "is not an option", "no such "];

#[test]
fn every_word_of_haproxy_is_carried_out_or_refused_with_a_reason() {
    let sections = listed();
    let classes = classes(&sections);
    let count: usize = classes.iter().map(|class| class.lines.len()).sum();
    if sections.is_empty() {
        // Versions before 2.6 do not list their words.
        return;
    }
    assert!(count > 900, "haproxy lists {count} words");
    let directory = directory();
    let mut wrong = String::new();
    for class in &classes {
        let file = directory.join("words.cfg");
        let text: String = class.lines.iter().flat_map(|(_, line)| [line.as_str(), "\n"]).collect();
        fs::write(&file, format!("{}{text}", class.before)).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_l7d")).args(["check", "-f"]).arg(&file).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let prefix = format!("{}:", file.display());
        for message in said.lines().filter_map(|line| line.strip_prefix(&prefix)) {
            let Some((number, message)) = message.split_once(':') else { continue };
            let number = number.parse::<usize>().ok().and_then(|number| number.checked_sub(class.before.lines().count() + 1));
            let Some((word, _)) = number.and_then(|number| class.lines.get(number)) else { continue };
            let is_strange = STRANGE.iter().any(|strange| message.contains(strange)) && message.contains(word.rsplit(' ').next().unwrap());
            if is_strange || message.contains("not supported") && !message.contains("not supported: ") {
                writeln!(wrong, "{} {word}: {message}", class.name).unwrap();
            }
        }
    }
    fs::remove_dir_all(&directory).unwrap();
    assert!(wrong.is_empty(), "neither carried out nor refused with a reason:\n{wrong}");
}
