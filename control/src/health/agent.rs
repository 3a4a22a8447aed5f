//! What an agent on a server says about it: one line of words, read over a connection of its own.

use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout_at};

use super::connect::{self, Failure, Plan, reason};
use super::tls;
use crate::config::{Check, Connect};
use crate::fleet::{AgentReport, CheckResult, Weighting};
use crate::server_state::Admin;

/// Asks an agent once.
pub(super) async fn ask(check: &Check, question: &[u8]) -> AgentReport {
    let started = Instant::now();
    let line = line(check, question).await;
    let mut report = match line {
        Ok(line) => read(&line),
        Err((result, detail)) => AgentReport::of(result, detail),
    };
    report.outcome.duration = started.elapsed();
    report
}

async fn line(check: &Check, question: &[u8]) -> Result<String, Failure> {
    let deadline = Instant::now() + check.timeout();
    let mut connection = Plan::new(check, &Connect::implicit(), None, &tls::All::default()).connect(deadline).await?;
    if !question.is_empty() {
        connect::send(&mut connection, question, deadline).await?;
    }
    let mut seen = Vec::new();
    loop {
        if let Some(end) = seen.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
            return Ok(String::from_utf8_lossy(&seen[..end]).into_owned());
        }
        let room = MOST_SEEN.saturating_sub(seen.len()) as u64;
        let mut limited = (&mut connection).take(room);
        match timeout_at(deadline, limited.read_buf(&mut seen)).await {
            Ok(Ok(0)) if seen.is_empty() => {
                return Err((CheckResult::BadResponse, "TCPCHK got an empty response at step 2".to_owned()));
            }
            Ok(Err(error)) if seen.is_empty() => return Err((CheckResult::SocketError, reason(&error))),
            Ok(Ok(0) | Err(_)) => return Err((CheckResult::ResponseTimeout, "Ignoring incomplete line from agent".to_owned())),
            Ok(Ok(_)) => {}
            Err(_) => return Err((CheckResult::ResponseTimeout, String::new())),
        }
    }
}

/// Reads the words of an agent; of several about one thing the last counts.
fn read(line: &str) -> AgentReport {
    let mut report = AgentReport::of(CheckResult::Unchanged, String::new());
    let mut status: Option<(&str, CheckResult)> = None;
    let (mut foreign, mut warning) = (None, None);
    let mut words = line.split([' ', '\t', ',']).filter(|word| !word.is_empty());
    for word in words.by_ref() {
        match word.to_ascii_lowercase().as_str() {
            "up" => status = Some((word, CheckResult::Passed)),
            "down" | "stopped" | "fail" => status = Some((word, CheckResult::WrongStatus)),
            "ready" => report.admin = Some(Admin::Ready),
            "drain" => report.admin = Some(Admin::Drain),
            "maint" => report.admin = Some(Admin::Maint),
            lower if lower.ends_with('%') && lower.starts_with(|c: char| c.is_ascii_digit()) => match lower.trim_end_matches('%').parse() {
                Ok(percent) => report.weighting = Some(Weighting { percent }),
                Err(_) => foreign = Some(word),
            },
            lower if lower.starts_with("maxconn:") => match lower["maxconn:".len()..].parse() {
                Ok(maxconn) => report.maxconn = Some(maxconn),
                Err(_) => warning = Some("maxconn string empty or preceded by garbage"),
            },
            _ => {
                foreign = Some(word);
                break;
            }
        }
    }
    // What follows a sharp, or a word that is none of these, is a text about the status.
    let remark = foreign.map(|word| word.trim_start_matches('#')).filter(|word| !word.is_empty()).or_else(|| words.next());
    (report.outcome.result, report.outcome.detail) = match (status, remark, warning) {
        (Some((word, result)), None, _) => (result, format!("via agent : {word}")),
        (Some((word, result)), Some(remark), _) => (result, format!("via agent : {word} ({remark})")),
        (None, _, _) if foreign.is_some() => (CheckResult::Unchanged, format!("agent reports an error : {}", foreign.unwrap_or_default())),
        (None, _, Some(warning)) => (CheckResult::Unchanged, format!("agent warns : {warning}")),
        (None, ..) => (CheckResult::Unchanged, String::new()),
    };
    report.outcome.code = report.outcome.result.has_code().then_some(0);
    report
}

/// How much of what an agent says is looked at.
const MOST_SEEN: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_haproxy_reads_them() {
        let up = CheckResult::Passed;
        let (down, same) = (CheckResult::WrongStatus, CheckResult::Unchanged);
        let cases = [
            ("up", up, "via agent : up", None, None, None),
            ("DOWN", down, "via agent : DOWN", None, None, None),
            ("stopped # x", down, "via agent : stopped (x)", None, None, None),
            ("down#going home", same, "agent reports an error : down#going", None, None, None),
            ("up 50% maxconn:3", up, "via agent : up", None, Some(50), Some(3)),
            ("up,25%", up, "via agent : up", None, Some(25), None),
            ("drain up", up, "via agent : up", Some(Admin::Drain), None, None),
            ("maint", same, "", Some(Admin::Maint), None, None),
            ("ready down#x y z", same, "agent reports an error : down#x", Some(Admin::Ready), None, None),
            ("garbage", same, "agent reports an error : garbage", None, None, None),
            ("up garbage", up, "via agent : up (garbage)", None, None, None),
            ("5", same, "agent reports an error : 5", None, None, None),
            ("-5%", same, "agent reports an error : -5%", None, None, None),
            ("maxconn:x", same, "agent warns : maxconn string empty or preceded by garbage", None, None, None),
            ("down up", up, "via agent : up", None, None, None),
            ("", same, "", None, None, None),
        ];
        for (line, result, detail, admin, percent, maxconn) in cases {
            let report = read(line);
            assert_eq!((report.outcome.result, report.outcome.detail.as_str()), (result, detail), "{line}");
            assert_eq!(
                (report.admin, report.weighting.map(|weighting| weighting.percent), report.maxconn),
                (admin, percent, maxconn),
                "{line}"
            );
        }
    }
}
