//! Values with their tags, as HAProxy's `typed` and `json` outputs have them.

use std::fmt::{self, Write as _};

/// Where a value comes from, what it is and what it holds for: a letter each, in HAProxy's alphabet; and the type of its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tags {
    letters: &'static str,
    kind: &'static str,
}

/// A value as it is written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shown<'a> {
    /// A number, ready to be written.
    Number(&'a str),
    /// A text.
    Text(&'a str),
}

impl Tags {
    /// Makes tags of three letters and a type.
    pub(super) const fn new(letters: &'static str, kind: &'static str) -> Self {
        Self { letters, kind }
    }

    /// Tells whether the value is a text.
    pub(super) fn is_text(self) -> bool {
        self.kind == "str"
    }

    /// Returns the tags of a column of the statistics; `is_backend` is whether it stands in the row of one.
    pub(super) fn of_column(column: &str, is_backend: bool) -> Self {
        let (letters, kind) = match column {
            "pxname" | "svname" => ("KNS", "str"),
            "qcur" | "scur" | "srv_icur" | "idle_conn_cur" | "safe_conn_cur" | "used_conn_cur" | "need_conn_est" => ("MGP", "u32"),
            "agg_server_status" | "agg_server_check_status" | "agg_check_status" => ("MGP", "u32"),
            "act" | "bck" | "rate" | "rate_max" if is_backend => ("MGP", "u32"),
            "act" | "bck" => ("SGP", "u32"),
            "rate" | "req_rate" | "conn_rate" => ("MRP", "u32"),
            "qmax" | "smax" | "rate_max" | "req_rate_max" | "conn_rate_max" => ("MMP", "u32"),
            "qtime_max" | "ctime_max" | "rtime_max" | "ttime_max" => ("MMP", "u32"),
            "slim" | "rate_lim" => ("CLP", "u32"),
            "qlimit" | "src_ilim" => ("CLS", "u32"),
            "status" => ("SGP", "str"),
            "weight" | "uweight" | "qtime" | "ctime" | "rtime" | "ttime" => ("MaP", "u32"),
            "latency_p50" | "latency_p95" | "latency_p99" => ("MaP", "u64"),
            "lastchg" => ("MAP", "u32"),
            "lastsess" => ("MAP", "s32"),
            "downtime" => ("MCP", "u32"),
            "throttle" => ("MaP", "u32"),
            "pid" => ("KGP", "u32"),
            "iid" | "sid" => ("KGS", "u32"),
            "tracked" => ("CNS", "str"),
            "check_status" | "last_chk" | "last_agt" | "agent_status" | "check_desc" | "agent_desc" => ("MOP", "str"),
            "check_code" | "agent_code" => ("MOP", "u32"),
            "check_duration" | "agent_duration" => ("MDP", "u64"),
            "type" | "check_rise" | "check_fall" | "check_health" | "agent_rise" | "agent_fall" | "agent_health" => ("CGS", "u32"),
            "addr" | "mode" | "algo" => ("CGS", "str"),
            "cookie" => ("CNS", "str"),
            _ => ("MCP", "u64"),
        };
        Self::new(letters, kind)
    }

    /// Writes the JSON members that describe a value.
    pub(super) fn write_json(self, out: &mut String, value: Shown<'_>) {
        let mut letters = self.letters.chars();
        let mut next = || letters.next().unwrap_or(' ');
        let (origin, nature, scope) = (origin(next()), nature(next()), scope(next()));
        write!(
            out,
            r#""processNum":1,"tags":{{"origin":"{origin}","nature":"{nature}","scope":"{scope}"}},"value":{{"type":"{}","value":"#,
            self.kind
        )
        .expect("writing to a string cannot fail");
        match value {
            Shown::Number(number) => out.push_str(number),
            Shown::Text(text) => write_text(out, text),
        }
        out.push_str("}}");
    }
}

/// Writes `MGP:u32`.
impl fmt::Display for Tags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.letters, self.kind)
    }
}

/// Writes a text as JSON has it.
fn write_text(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            control if control.is_control() => write!(out, "\\u{:04x}", u32::from(control)).expect("writing to a string cannot fail"),
            other => out.push(other),
        }
    }
    out.push('"');
}

fn origin(letter: char) -> &'static str {
    match letter {
        'M' => "Metric",
        'S' => "Status",
        'K' => "Key",
        'C' => "Config",
        'P' => "Product",
        _ => "Unknown",
    }
}

fn nature(letter: char) -> &'static str {
    match letter {
        'G' => "Gauge",
        'L' => "Limit",
        'm' => "Min",
        'M' => "Max",
        'R' => "Rate",
        'C' => "Counter",
        'D' => "Duration",
        'A' => "Age",
        'T' => "Time",
        'N' => "Name",
        'O' => "Output",
        'a' => "Avg",
        _ => "Unknown",
    }
}

fn scope(letter: char) -> &'static str {
    match letter {
        'C' => "Cluster",
        'P' => "Process",
        'S' => "Service",
        's' => "System",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_texts_are_escaped() {
        let mut out = String::new();
        write_text(&mut out, "a\"b\\c\n");
        assert_eq!(out, r#""a\"b\\c\u000a""#);
    }
}
