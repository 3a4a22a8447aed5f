//! Connections that become something else: `Upgrade` and `CONNECT`.

use super::script::Step;
use super::{Case, OK, Theatre, say};

const ASK: &str = "GET /chat HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const CONNECT: &str = "CONNECT h:9443 HTTP/1.1\r\nHost: h:9443\r\n\r\n";

#[test]
fn upgrades() {
    let cases = vec![
        Case::new("bytes both ways", ASK)
            .client([Step::Hear("\r\n\r\n"), say("ping"), Step::Hear("ping"), say("pong"), Step::Hear("pong"), Step::Shut])
            .turn([say(SWITCH), Step::Echo]),
        Case::new("bytes before the answer", format!("{ASK}early"))
            .client([Step::Hear("early"), Step::Shut])
            .turn([say(SWITCH), Step::Echo]),
        Case::new("bytes with the answer", ASK)
            .client([Step::Hear("hello"), Step::Shut])
            .turn([say(format!("{SWITCH}hello")), Step::HearEnd]),
        Case::new("the server closes first", ASK).turn([say(format!("{SWITCH}bye")), Step::Leave]),
        Case::new("the client half-closes", ASK).client([Step::Hear("\r\n\r\n"), say("last"), Step::Shut]).turn([
            say(SWITCH),
            Step::HearEnd,
            say("answer"),
        ]),
        Case::new("a megabyte", ASK).client([Step::Hear("\r\n\r\n"), say("z".repeat(1_000_000)), Step::Shut]).turn([
            say(SWITCH),
            Step::HearEnd,
            say("y".repeat(1_000_000)),
        ]),
        Case::new("refused", format!("{ASK}GET / HTTP/1.1\r\nHost: h\r\n\r\n"))
            .answer("HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno")
            .answer(OK),
        Case::new("with a body", ASK.replace("GET", "POST").replace("Host: h", "Host: h\r\nContent-Length: 4") + "body")
            .turn([Step::Body, say(SWITCH), Step::Echo])
            .differs(["101 Switching"], ["502 from the proxy"], "RFC 9110 section 7.8: a request with a body may ask for an upgrade"),
        Case::new("in HTTP/1.0", ASK.replace("HTTP/1.1", "HTTP/1.0")).answer(OK).differs(
            ["server saw GET /chat HTTP/1.1 (stays)\n  host: h\n  sec-"],
            ["upgrade: websocket"],
            "RFC 9110 section 7.8: Upgrade means nothing in HTTP/1.0",
        ),
        Case::new("h2c", ASK.replace("Upgrade: websocket", "Upgrade: h2c").replace("keep-alive, Upgrade", "Upgrade, HTTP2-Settings"))
            .answer(OK)
            .differs(
                ["200 OK", "saw GET /chat HTTP/1.1 (stays)"],
                ["upgrade: h2c"],
                "RFC 9113 section 3.1: no longer in use, except to get around a proxy",
            ),
        Case::new("interim response before", format!("{ASK}ping"))
            .turn([say(format!("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n{SWITCH}")), Step::Echo])
            .differs(
                ["103 Early Hints", "101 Switching", "tunnel \"ping\""],
                ["502 from the proxy"],
                "RFC 9110 section 15.2: interim responses come before any final one",
            ),
        Case::new("101 without Upgrade", ASK).turn([say("HTTP/1.1 101 X\r\n\r\n"), Step::Leave]),
        Case::new("101 for another protocol", ASK)
            .turn([say("HTTP/1.1 101 X\r\nUpgrade: other\r\nConnection: upgrade\r\n\r\n"), Step::Leave]),
    ];
    Theatre::open(&[], &[], "").play(cases);
}

#[test]
fn connects() {
    let cases =
        vec![
            Case::new("bytes both ways", CONNECT)
                .client([Step::Hear("\r\n\r\n"), say("ping"), Step::Hear("ping"), Step::Shut])
                .turn([say("HTTP/1.1 200 Connected\r\n\r\n"), Step::Echo]),
            Case::new("bytes before the answer", format!("{CONNECT}early"))
                .client([Step::Hear("early"), Step::Shut])
                .turn([say("HTTP/1.1 200 Connected\r\n\r\n"), Step::Echo]),
            Case::new("a length in the answer is ignored", CONNECT)
                .client([Step::Hear("\r\n\r\n"), say("ping"), Step::Hear("ping"), Step::Shut])
                .turn([say("HTTP/1.1 200 Connected\r\nContent-Length: 3\r\n\r\n"), Step::Echo]),
            Case::new("refused", CONNECT).answer("HTTP/1.1 405 No\r\nContent-Length: 2\r\n\r\nno"),
            Case::new("to the port of https", CONNECT.replace("9443", "443"))
                .answer("HTTP/1.1 405 No\r\nContent-Length: 2\r\n\r\nno")
                .differs(["host: h:443"], ["host: h\n"], "nothing is rewritten that nobody asked to rewrite"),
            Case::new("to a path", "CONNECT / HTTP/1.1\r\nHost: h\r\n\r\n").answer(OK),
            Case::new("without a port", "CONNECT h HTTP/1.1\r\nHost: h\r\n\r\n").answer(OK),
            Case::new("and another host", "CONNECT h:443 HTTP/1.1\r\nHost: i:443\r\n\r\n").answer(OK),
        ];
    Theatre::open(&[], &[], "").play(cases);
}
