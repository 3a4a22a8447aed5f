//! The words of HAProxy's manual, each in a line of its own in `judged.txt`: `haproxy -c` and `l7d check` take the same ones, but for those
//! of which the table says otherwise, and why.
//!
//! A line with a mark behind `##` is judged differently: `-` is what haproxy alone takes, `+` what l7d alone does. What is refused says why
//! itself, or the table does; of the rest the table does always.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use crate::kit::directory;

/// A line of the table.
struct Sample {
    /// Where the line stands in a configuration.
    place: &'static str,
    line: &'static str,
    /// What the two are known to disagree about.
    mark: Option<Mark>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mark {
    HaproxyAlone { says_why: bool },
    L7dAlone,
}

const TABLE: &str = include_str!("judged.txt");
const DEFAULTS: &str = "defaults\n mode http\n timeout connect 1s\n timeout client 1s\n timeout server 1s\n";
/// What samples name.
const REST: &str = "userlist u\n user a insecure-password b\nresolvers r\n nameserver n 127.0.0.1:53\nmailers m\n mailer a 127.0.0.1:25\n\
    http-errors e\ncache c\n total-max-size 4\nbackend t\n stick-table type ip size 1k expire 1m store \
    gpc0,gpt0,conn_cnt,conn_cur,http_req_rate(1m),bytes_in_rate(1m),server_id\nbackend ts\n stick-table type string size 1k\n\
    backend b2\n server s 127.0.0.1:1 check\n";

fn samples() -> Vec<Sample> {
    let mut place = "";
    let mut samples = Vec::new();
    for line in TABLE.lines().filter(|line| !line.is_empty() && !line.starts_with("//")) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            place = name;
            continue;
        }
        let (line, mark) = line.split_once(" ## ").unwrap_or((line, ""));
        let mark = match mark.split_at_checked(1) {
            Some(("-", reason)) => Some(Mark::HaproxyAlone { says_why: !reason.trim().is_empty() }),
            Some(("+", reason)) if !reason.trim().is_empty() => Some(Mark::L7dAlone),
            None => None,
            Some(_) => panic!("{line}: a mark is - or +, and a reason follows the second"),
        };
        samples.push(Sample { place, line: line.trim_end(), mark });
    }
    samples
}

impl Sample {
    /// Returns a configuration that is right but for the line.
    fn config(&self) -> String {
        let Self { place, line, .. } = *self;
        let slots = " declare capture request len 9\n declare capture response len 9\n";
        let (mut global, mut bind, mut front, mut back, mut server) = (String::new(), "", String::new(), String::new(), "");
        match place {
            "global" => global = format!("global\n {line}\n"),
            "frontend" => front = format!(" {line}\n"),
            "backend" => back = format!(" {line}\n"),
            "bind" => bind = line,
            "server" => server = line,
            "converter" => front = format!(" http-request set-var(txn.z) str(a),{line}\n"),
            "fetch" => front = format!("{slots} http-request set-var(txn.z) {line}\n"),
            "response fetch" => front = format!(" http-response set-var(txn.z) {line}\n"),
            "tcp-response content" => back = format!(" {place} {line}\n"),
            rules => front = format!(" tcp-request inspect-delay 1s\n{slots} {rules} {line}\n"),
        }
        format!(
            "{global}{DEFAULTS}frontend f\n bind 127.0.0.1:1 {bind}\n default_backend b\n{front}backend b\n{back} server s 127.0.0.1:1 {server}\n{REST}"
        )
    }

    /// Has both judge the line, and returns what the table should say about it and does not.
    fn judge(&self, directory: &Path, number: usize) -> Option<String> {
        let file = directory.join(number.to_string());
        fs::write(&file, self.config()).expect("there is room for it");
        let theirs = Command::new("/usr/sbin/haproxy").arg("-c").arg("-f").arg(&file).output().expect("haproxy runs");
        let ours = Command::new(env!("CARGO_BIN_EXE_l7d")).arg("check").arg("-f").arg(&file).output().expect("l7d runs");
        let text = [ours.stdout, ours.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        let verdict = match (theirs.status.success(), ours.status.success()) {
            (true, false) => "-",
            (false, true) => "+",
            (true, true) | (false, false) => "",
        };
        let is_told = match (self.mark, verdict) {
            (Some(Mark::HaproxyAlone { says_why }), "-") => says_why || text.contains(" is not supported: "),
            (Some(Mark::L7dAlone), "+") | (None, "") => true,
            _ => false,
        };
        let errors = String::from_utf8_lossy(&theirs.stderr);
        let first = errors.lines().find(|line| line.contains("ALERT")).unwrap_or_default();
        let said = if verdict == "-" { text.lines().next().unwrap_or_default() } else { first };
        (!is_told).then(|| format!("[{}] {} ## {verdict}\n    {said}", self.place, self.line))
    }
}

#[test]
fn words_are_taken_that_haproxy_takes_but_for_those_in_the_table() {
    let (samples, directory) = (samples(), directory());
    let (samples, directory) = (samples.as_slice(), directory.as_path());
    let wrong: Vec<String> = thread::scope(|scope| {
        let half = |first: usize| {
            scope.spawn(move || {
                let mine = samples.iter().enumerate().skip(first).step_by(2);
                mine.filter_map(|(number, sample)| sample.judge(directory, number)).collect::<Vec<_>>()
            })
        };
        [0, 1].map(half).into_iter().flat_map(|half| half.join().expect("it judges")).collect()
    });
    fs::remove_dir_all(directory).expect("it is ours");
    assert!(wrong.is_empty(), "judged.txt says otherwise of {} lines:\n{}", wrong.len(), wrong.join("\n"));
}
