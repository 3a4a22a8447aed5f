//! The sequences of protocols that nobody writes down: what is asked, and what a healthy server answers.
//!
//! Questions and the words about answers are those of HAProxy, seen on the wire.

use std::sync::Arc;

use super::draft::Draft;
use super::line::Line;
use crate::config::error::Diagnostic;
use crate::config::model::{
    Action, Bad, Connect, Converter, DNS_CHECK_ID, Expect, Expression, Fetch, Format, Good, HttpVersion, Late, Pattern, Payload, Piece,
    Protocol, QUIC_CHECK_NAMES, Request, Script, Sequence, Step,
};
use crate::config::value::{Mistake, check as value};
use crate::config::written::CheckOption;
use crate::dns::query;

/// Reads the words behind `option`, if the first is the name of a protocol; returns whether it is.
pub(super) fn option(line: &mut Line, draft: &mut Draft) -> Result<bool, Diagnostic> {
    let Some(name) = line.peek().map(str::to_owned) else { return Ok(false) };
    let text = line.unread();
    let sequence = match name.as_str() {
        "dns-check" => read(line, dns_words),
        "grpc-check" => read(line, |line| {
            let service = line.accept("service").then(|| line.parse("the name of a service", value::service)).transpose()?;
            Ok(grpc(service.as_ref().map_or("", |service| service.value())))
        }),
        "ldap-check" => read(line, |_| Ok(ldap())),
        "mysql-check" => read(line, mysql_words),
        "pgsql-check" => read(line, |line| {
            if !line.accept("user") {
                return Err(line.error("`option pgsql-check` lacks `user NAME`"));
            }
            Ok(pgsql(line.parse("the name of a user", value::user)?.value()))
        }),
        "quic-check" => read(line, |_| Ok(quic())),
        "redis-check" => read(line, |_| Ok(redis())),
        "smtpchk" => read(line, smtp_words),
        "ssl-hello-chk" => read(line, |_| Ok(ssl_hello())),
        _ => return Ok(false),
    }?;
    draft.settings.checks.option = Some(CheckOption::Protocol(sequence, text));
    Ok(true)
}

fn read(line: &mut Line, words: impl FnOnce(&mut Line) -> Result<Arc<Sequence>, Diagnostic>) -> Result<Arc<Sequence>, Diagnostic> {
    line.expect("its name")?;
    let sequence = words(line)?;
    line.finish()?;
    Ok(sequence)
}

/// Reads `[name NAME] [type TYPE]`.
fn dns_words(line: &mut Line) -> Result<Arc<Sequence>, Diagnostic> {
    let name = line.accept("name").then(|| line.parse("a name", value::dns_name)).transpose()?;
    let kind = line.accept("type").then(|| line.parse("a type of records", value::dns_type)).transpose()?;
    Ok(dns(name.as_ref().map_or(".", |name| name.value()), kind.as_ref().map(|kind| *kind.value())))
}

/// Reads `[user NAME [post-41 | pre-41]]`.
fn mysql_words(line: &mut Line) -> Result<Arc<Sequence>, Diagnostic> {
    if !line.accept("user") {
        return Ok(mysql(None));
    }
    let user = line.parse("the name of a user", value::user)?.value().clone();
    let age = if line.accept("pre-41") { Age::Before41 } else { Age::Since41 };
    line.accept("post-41");
    Ok(mysql(Some((&user, age))))
}

/// Reads `[HELLO DOMAIN]`.
fn smtp_words(line: &mut Line) -> Result<Arc<Sequence>, Diagnostic> {
    let Some(hello) = line.next() else { return Ok(smtp("HELO", "localhost")) };
    let domain = line.parse("the name to greet by", value::host)?;
    // What it does not know haproxy says as if nothing were written.
    Ok(if matches!(hello.as_str(), "HELO" | "EHLO") { smtp(&hello, &domain) } else { smtp("HELO", "localhost") })
}

/// What a MySQL server is spoken to as.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum Age {
    /// The protocol of before 4.1.
    Before41,
    /// Today's.
    Since41,
}

/// Logs in to MySQL and leaves, or waits for its greeting where there is no user.
pub(in crate::config) fn mysql(user: Option<(&str, Age)>) -> Arc<Sequence> {
    let login = |(user, age): (&str, Age)| {
        let name = user.as_bytes();
        let body = match age {
            // Abilities, the largest packet, a character set, 23 bytes of nothing; a name, no password.
            Age::Since41 => [&[0x00, 0x82, 0, 0, 0x00, 0x80, 0, 1, 0x21][..], &[0; 23], name, &[0, 0]].concat(),
            Age::Before41 => [&[0x00, 0x80, 0, 0, 1][..], name, &[0, 0]].concat(),
        };
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes();
        [&length[..3], &[1], &body, &[1, 0, 0, 0, 1]].concat()
    };
    let send = user.map(|user| send(login(user)));
    let packets = if user.is_some() { 0..2 } else { 0..1 };
    let expects = packets.map(|packet| Action::Expect(Expect::new(Pattern::MySql { packet })));
    sequence(Connect { linger: true, ..Connect::implicit() }, send.into_iter().chain(expects))
}

/// Begins a session of PostgreSQL, and sees that it is not refused.
pub(in crate::config) fn pgsql(user: &str) -> Arc<Sequence> {
    let parameters = [b"user\0", user.as_bytes(), b"\0\0"].concat();
    let length = u32::try_from(parameters.len() + 8).unwrap_or(u32::MAX).to_be_bytes();
    let start = [&length[..], &[0, 3, 0, 0], &parameters].concat();
    let refused = Expect {
        negated: true,
        min_recv: Some(5),
        on_error: Some(sample(Fetch::Payload { offset: 6, length: 0 }, vec![Converter::Text])),
        ..Expect::new(matching("^E"))
    };
    let greeted = Expect {
        min_recv: Some(9),
        bad: Some(Bad::Status),
        on_error: Some(Format::plain("PostgreSQL unknown error")),
        on_success: Some(Format::plain("PostgreSQL server is ok")),
        ..Expect::new(hex_matching("^52000000[0-9A-F]{2}000000(0[0-9A-C])"))
    };
    let steps = [send(start), Action::Expect(refused), Action::Expect(greeted)];
    sequence(Connect { linger: true, ..Connect::implicit() }, steps)
}

/// Pings Redis.
pub(in crate::config) fn redis() -> Arc<Sequence> {
    let pong = Expect {
        bad: Some(Bad::Status),
        on_error: Some(sample(Fetch::Payload { offset: 0, length: 0 }, vec![Converter::CutCrLf])),
        on_success: Some(Format::plain("Redis server is ok")),
        ..Expect::new(Pattern::Text(Payload::Text(Format::plain("+PONG\r\n"))))
    };
    unnumbered([send(b"*1\r\n$4\r\nPING\r\n".to_vec()), Action::Expect(pong)])
}

/// Greets a mail server and says goodbye.
pub(in crate::config) fn smtp(hello: &str, domain: &str) -> Arc<Sequence> {
    let line = |offset| Some(sample(Fetch::Payload { offset, length: 0 }, vec![Converter::TrimStart, Converter::CutCrLf]));
    let code = Some(Expression { fetch: Fetch::Payload { offset: 0, length: 3 }, converters: Vec::new() });
    let answer = |pattern: &str, least| Expect {
        min_recv: least,
        bad: Some(Bad::Status),
        on_error: line(4),
        on_success: line(4),
        status_code: code.clone(),
        ..Expect::new(matching(pattern))
    };
    let spoken = Expect { min_recv: Some(4), bad: Some(Bad::Layer7), on_error: line(0), ..Expect::new(matching("^[0-9]{3}[ \r]")) };
    let steps = [
        Action::Expect(spoken),
        Action::Expect(answer("^2[0-9]{2}[ \r]", Some(4))),
        send(format!("{hello} {domain}\r\n").into_bytes()),
        Action::Expect(answer("^(2[0-9]{2}-[^\r]*\r\n)*2[0-9]{2}[ \r]", None)),
        send(b"QUIT\r\n".to_vec()),
        Action::Expect(answer("^2[0-9]{2}[- \r]", Some(4))),
    ];
    sequence(Connect { linger: true, ..Connect::implicit() }, steps)
}

/// Binds to an LDAP server as nobody.
pub(in crate::config) fn ldap() -> Arc<Sequence> {
    let bind = send(vec![0x30, 0x0c, 2, 1, 1, 0x60, 7, 2, 1, 3, 4, 0, 0x80, 0]);
    let message = Expect { min_recv: Some(14), on_error: Some(Format::plain("Not LDAPv3 protocol")), ..Expect::new(hex_matching("^30")) };
    unnumbered([bind, Action::Expect(message), Action::Expect(Expect::new(Pattern::Ldap))])
}

/// Asks gRPC's health service for a service, or for all of the server where that has no name.
pub(in crate::config) fn grpc(service: &str) -> Arc<Sequence> {
    // Field 1, a text; its length in groups of seven bits.
    let length = u8::try_from(service.len()).unwrap_or(u8::MAX);
    let length = if length < 0x80 { vec![length] } else { vec![length | 0x80, length >> 7] };
    let message = if service.is_empty() { Vec::new() } else { [&[0x0a], &*length, service.as_bytes()].concat() };
    let size = u32::try_from(message.len()).unwrap_or(0).to_be_bytes();
    let field = |name: &str, value: &str| (name.to_owned(), Format::plain(value));
    let request = Request {
        method: Some("POST".to_owned()),
        target: Some(Format::plain("/grpc.health.v1.Health/Check")),
        version: Some(HttpVersion::Http11),
        headers: vec![field("content-type", "application/grpc"), field("te", "trailers")],
        body: Some(Format::plain([&[0], &size[..], &message].concat())),
    };
    let connect = Connect { version: Some(Protocol::H2), alpn: vec!["h2".to_owned()], ..Connect::implicit() };
    let steps = [Action::Connect(connect), Action::Request(request), Action::Expect(Expect::new(Pattern::Grpc))];
    of((0..).zip(steps))
}

/// Asks a server of the DNS for records of a name: those of the root where nothing is said, which every server knows.
pub(in crate::config) fn dns(name: &str, kind: Option<u16>) -> Arc<Sequence> {
    let kind = kind.unwrap_or(if name == "." { DNS_NS } else { DNS_A });
    let question = send(query(DNS_CHECK_ID, name, kind, DNS_PAYLOAD));
    let records = Expect { on_success: Some(Format::plain("DNS server is ok")), ..Expect::new(Pattern::Dns) };
    of((0..).zip([Action::Connect(datagrams()), question, Action::Expect(records)]))
}

/// Offers a version of QUIC that nobody speaks, and waits for those that the server does (RFC 9000 section 6).
pub(in crate::config) fn quic() -> Arc<Sequence> {
    let mut packet = vec![0xc0, 0x1a, 0x2a, 0x3a, 0x4a];
    for name in QUIC_CHECK_NAMES {
        packet.push(8);
        packet.extend_from_slice(name);
    }
    // No server answers a smaller one.
    packet.resize(1200, 0);
    let versions = Expect { on_success: Some(Format::plain("QUIC server is ok")), ..Expect::new(Pattern::Quic) };
    of((0..).zip([Action::Connect(datagrams()), send(packet), Action::Expect(versions)]))
}

fn datagrams() -> Connect {
    Connect { datagrams: true, ..Connect::implicit() }
}

const DNS_A: u16 = 1;
const DNS_NS: u16 = 2;
const DNS_PAYLOAD: u16 = 1232;

/// Says hello in SSL version 3 and waits for an answer, be it an alert.
pub(in crate::config) fn ssl_hello() -> Arc<Sequence> {
    // What servers of the time could be asked to speak, in the order of their numbers.
    let suites: Vec<u8> = (0x01..=0x1b_u8).chain(0x2f..=0x3a).flat_map(|suite| [0, suite]).collect();
    let (hello, random) = (0x75_u8, b"HAPROXYSSLCHK\nHAPROXYSSLCHK\n");
    let head = [0x16, 3, 0, 0, hello + 4, 1, 0, 0, hello, 3, 0];
    let text = [&head[..], &[0; 4], random, &[0, 0, u8::try_from(suites.len()).unwrap_or(u8::MAX)], &suites, &[1, 0]].concat();
    let answer = Expect {
        min_recv: Some(5),
        good: Good::Layer6,
        bad: Some(Bad::Layer6),
        late: Late::Layer6,
        on_error: Some(Format::plain("")),
        ..Expect::new(hex_matching("^1[56]"))
    };
    unnumbered([send(text), Action::Expect(answer)])
}

fn send(bytes: Vec<u8>) -> Action {
    Action::Send(Payload::Text(Format::plain(bytes)))
}

fn sample(fetch: Fetch, converters: Vec<Converter>) -> Format {
    Format { pieces: vec![Piece::Sample(Expression { fetch, converters })] }
}

fn matching(pattern: &str) -> Pattern {
    Pattern::Match(regex(pattern))
}

fn hex_matching(pattern: &str) -> Pattern {
    Pattern::HexMatch(regex(pattern))
}

fn regex(pattern: &str) -> regex::bytes::Regex {
    value::regex(pattern).map_err(|mistake: Mistake| mistake.message().to_owned()).expect("these expressions are tested below")
}

/// Makes a sequence whose connection counts as its first step, as it does in the messages of HAProxy.
fn sequence(connect: Connect, steps: impl IntoIterator<Item = Action>) -> Arc<Sequence> {
    of((1..).zip(std::iter::once(Action::Connect(connect)).chain(steps)))
}

/// Makes a sequence whose connection does not count.
fn unnumbered(steps: impl IntoIterator<Item = Action>) -> Arc<Sequence> {
    of((0..).zip(std::iter::once(Action::Connect(Connect::implicit())).chain(steps)))
}

fn of(steps: impl Iterator<Item = (usize, Action)>) -> Arc<Sequence> {
    let steps = steps.map(|(number, action)| Step { number, action, comment: None }).collect();
    Arc::new(Sequence { script: Script::Protocol, steps, disable_on_404: false, send_state: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_protocol_can_be_made() {
        for sequence in [
            mysql(None),
            mysql(Some(("u", Age::Before41))),
            pgsql("u"),
            redis(),
            smtp("EHLO", "d"),
            ldap(),
            ssl_hello(),
            grpc("a.B"),
            dns(".", None),
            quic(),
        ] {
            assert!(sequence.steps().len() > 1 && sequence.script() == Script::Protocol);
        }
    }

    #[test]
    fn hello_is_as_long_as_it_says() {
        let sequence = ssl_hello();
        let Action::Send(Payload::Text(text)) = sequence.steps()[1].action() else { panic!("a hello") };
        let text = text.as_plain().unwrap();
        assert_eq!((text.len(), text[8], text.len() - 5), (0x75 + 9, 0x75, usize::from(text[4])));
    }
}
