//! What clients did wrong, byte by byte.

use std::fmt::Write as _;
use std::time::SystemTime;

use control::admin::{Call, Command, Reply};
use control::config::SocketLevel;

use super::{Engine, now};
use crate::captures::{self, Capture};
use crate::date;

/// Returns the commands.
pub(super) fn commands() -> Vec<Command<Engine>> {
    let help = "show the last invalid request of each frontend";
    vec![now("show errors", "[<px>] [request|response]", help, SocketLevel::Operator, show)]
}

fn show(engine: &Engine, call: &Call) -> Reply {
    let site = engine.site();
    let wanted = call.word(0);
    let number = wanted.parse::<i64>().ok();
    let is_meant = |place: usize, name: &str| match number {
        Some(number) => number < 0 || i64::try_from(place).is_ok_and(|place| place == number),
        None => wanted.is_empty() || name == wanted,
    };
    let is_backend = site.backends().iter().any(|backend| backend.name() == wanted);
    if number.is_none() && !wanted.is_empty() && !is_backend && !site.frontends().any(|frontend| frontend.name() == wanted) {
        return Reply::error("No such proxy.");
    }
    let mut text = format!("Total events captured on [{}] : {}\n", date::Common(SystemTime::now()), captures::count());
    let frontends = (2..).zip(site.frontends()).filter(|(place, frontend)| is_meant(*place, frontend.name()));
    for (place, frontend) in frontends.filter(|_| call.word(1) != "response") {
        if let Some(capture) = frontend.captures().last() {
            describe(&mut text, (place, frontend.name()), &capture);
        }
    }
    Reply::Output(text)
}

fn describe(text: &mut String, (place, frontend): (usize, &str), capture: &Capture) {
    let Capture { number, at, client, bytes, length, fault } = capture;
    let _ = write!(text, " \n[{}] frontend {frontend} (#{place}): invalid request\n", date::Common(*at));
    let _ = writeln!(text, "  backend <NONE> (#-1), server <NONE> (#-1), event #{number}, src {client}");
    let _ = write!(text, "  len {length}, error at position {}\n  {} :\n  \n", fault.offset, fault.fault);
    dump(text, bytes);
}

/// Writes bytes in lines of their own, those that are too long in several.
fn dump(text: &mut String, bytes: &[u8]) {
    let mut begins = true;
    let mut at = 0;
    while at < bytes.len() {
        let _ = write!(text, "  {at:05}{} ", if begins { ' ' } else { '+' });
        let mut used = 0;
        begins = false;
        while let Some(byte) = bytes.get(at).filter(|_| !begins) {
            let shown = escaped(*byte);
            if used + shown.len() > WIDTH {
                break;
            }
            text.push_str(&shown);
            used += shown.len();
            begins = *byte == b'\n';
            at += 1;
        }
        text.push('\n');
    }
}

fn escaped(byte: u8) -> String {
    match byte {
        b'\n' => "\\n".to_owned(),
        b'\r' => "\\r".to_owned(),
        b'\t' => "\\t".to_owned(),
        0x1b => "\\e".to_owned(),
        b'\\' => "\\\\".to_owned(),
        b' '..=b'~' => char::from(byte).to_string(),
        other => format!("\\x{other:02X}"),
    }
}

const WIDTH: usize = 70;
