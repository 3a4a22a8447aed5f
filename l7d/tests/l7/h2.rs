//! What a client of HTTP/2 may not say, and what it hears then (RFC 9113).

use std::io::Read;

use crate::frames::*;
use crate::http::{hello, site};
use crate::kit::{Daemon, connect, is_at_end, unused_address};

/// What a client hears.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    /// A response with this status.
    Status(u16),
    /// Its stream is reset with this code.
    Reset(u32),
    /// The connection ends with this code.
    GoAway(u32),
    /// A ping comes back.
    Pong,
    /// The connection ends without a word.
    End,
}

use Heard::{GoAway, Pong, Reset, Status};

const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
/// Sent for frames that are too long; the engine calls those that are too short, and broken header blocks, a protocol error, where
/// the RFC has codes of their own: the connection ends all the same, which is what matters (RFC 9113 section 5.4.1).
const FRAME_SIZE_ERROR: u32 = 6;
const COMPRESSION_ERROR: u32 = 9;

fn listen(peer: &mut Peer) -> Heard {
    while let Some(frame) = peer.next() {
        match frame.kind {
            HEADERS => return Status(first_status(&frame)),
            RST_STREAM => return Reset(code(&frame)),
            GOAWAY => return GoAway(code(&frame)),
            PING if frame.flags == ACK => return Pong,
            _ => {}
        }
    }
    Heard::End
}

/// Sends each case on a connection of its own, and compares what is heard.
fn check(cases: Vec<(&str, Vec<u8>, Heard)>) {
    let (server, _) = hello();
    let front = unused_address();
    let _daemon = Daemon::start(&site(front, "", &[server.address()]));
    let mut wrong = Vec::new();
    for (description, bytes, expected) in cases {
        let mut peer = Peer::connect(front);
        peer.send(&bytes);
        let heard = listen(&mut peer);
        if heard != expected {
            wrong.push(format!("{description}: {heard:?}, not {expected:?}"));
        }
    }
    // What is refused must not harm others.
    let mut peer = Peer::connect(front);
    peer.send(&get(1));
    assert_eq!(peer.status(), 200);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn post(stream: u32, more: &[(&str, &str)]) -> Vec<u8> {
    headers(stream, END_HEADERS, &[&request("POST"), more].concat())
}

fn whole(fields: &[(&str, &str)]) -> Vec<u8> {
    headers(1, WHOLE, fields)
}

fn with(more: &[(&str, &str)]) -> Vec<u8> {
    whole(&[&request("GET"), more].concat())
}

fn ping() -> Vec<u8> {
    frame(PING, 0, 0, &[7; 8])
}

#[test]
fn frames_out_of_place_end_the_stream_or_the_connection() {
    let no_flags = |kind, stream, payload: &[u8]| frame(kind, 0, stream, payload);
    check(vec![
        ("5.1: DATA on an idle stream", no_flags(DATA, 1, b"x"), GoAway(PROTOCOL_ERROR)),
        ("5.1: RST_STREAM on an idle stream", reset(1, 8), GoAway(PROTOCOL_ERROR)),
        ("5.1: WINDOW_UPDATE on an idle stream", room(1, 1), GoAway(PROTOCOL_ERROR)),
        ("5.1: CONTINUATION on an idle stream", frame(CONTINUATION, END_HEADERS, 1, &[]), GoAway(PROTOCOL_ERROR)),
        ("5.1: DATA behind the end of a stream", [get(1), frame(DATA, 0, 1, b"x")].concat(), GoAway(PROTOCOL_ERROR)),
        ("5.1: HEADERS behind the end of a stream", [get(1), get(1)].concat(), GoAway(PROTOCOL_ERROR)),
        ("5.1: DATA behind a reset", [post(1, &[]), reset(1, 8), frame(DATA, 0, 1, b"x")].concat(), Reset(STREAM_CLOSED)),
        ("5.1.1: even stream", get(2), GoAway(PROTOCOL_ERROR)),
        ("5.1.1: stream lower than the last", [post(5, &[]), get(3)].concat(), GoAway(PROTOCOL_ERROR)),
        ("5.5: unknown frame", [frame(99, 255, 0, b"?"), get(1)].concat(), Status(200)),
        ("5.5: unknown frame inside a head", [headers(1, 1, &request("GET")), frame(99, 0, 1, b"?")].concat(), GoAway(PROTOCOL_ERROR)),
        ("6.1: DATA on the connection", no_flags(DATA, 0, b"x"), GoAway(PROTOCOL_ERROR)),
        ("6.1: DATA with more padding than payload", [post(1, &[]), frame(DATA, PADDED, 1, &[9, 0])].concat(), GoAway(PROTOCOL_ERROR)),
        ("6.2: HEADERS on the connection", headers(0, WHOLE, &request("GET")), GoAway(PROTOCOL_ERROR)),
        ("6.2: HEADERS with more padding than payload", frame(HEADERS, WHOLE | PADDED, 1, &[9, 0]), GoAway(PROTOCOL_ERROR)),
        ("6.2: PING inside a head", [headers(1, END_STREAM, &request("GET")), ping()].concat(), GoAway(PROTOCOL_ERROR)),
        ("6.2: another stream's HEADERS inside a head", [headers(1, END_STREAM, &request("GET")), get(3)].concat(), GoAway(PROTOCOL_ERROR)),
        ("6.3: PRIORITY on the connection", no_flags(PRIORITY, 0, &[0; 5]), GoAway(PROTOCOL_ERROR)),
        ("6.3: PRIORITY is passed over", [no_flags(PRIORITY, 1, &[0, 0, 0, 3, 9]), get(1)].concat(), Status(200)),
        (
            "6.3: HEADERS with a priority",
            frame(HEADERS, WHOLE | WITH_PRIORITY, 1, &[&[0; 5], &block(&request("GET"))[..]].concat()),
            Status(200),
        ),
        ("6.4: RST_STREAM on the connection", reset(0, 8), GoAway(PROTOCOL_ERROR)),
        ("6.4: short RST_STREAM", [post(1, &[]), no_flags(RST_STREAM, 1, &[0; 3])].concat(), GoAway(PROTOCOL_ERROR)),
        ("6.5: SETTINGS on a stream", no_flags(SETTINGS, 1, &[]), GoAway(PROTOCOL_ERROR)),
        ("6.5: acknowledgement with a payload", frame(SETTINGS, ACK, 0, &[0; 6]), GoAway(PROTOCOL_ERROR)),
        ("6.5: SETTINGS of odd length", no_flags(SETTINGS, 0, &[0; 5]), GoAway(PROTOCOL_ERROR)),
        ("6.5.2: ENABLE_PUSH of 2", no_flags(SETTINGS, 0, &[0, 2, 0, 0, 0, 2]), GoAway(PROTOCOL_ERROR)),
        ("6.5.2: window of 2^31", no_flags(SETTINGS, 0, &[0, 4, 128, 0, 0, 0]), GoAway(PROTOCOL_ERROR)),
        ("6.5.2: frame size of 100", no_flags(SETTINGS, 0, &[0, 5, 0, 0, 0, 100]), GoAway(PROTOCOL_ERROR)),
        ("6.5.2: unknown setting", [no_flags(SETTINGS, 0, &[0, 99, 1, 2, 3, 4]), get(1)].concat(), Status(200)),
        ("6.6: PUSH_PROMISE from a client", frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2]), GoAway(PROTOCOL_ERROR)),
        ("6.7: PING", ping(), Pong),
        ("6.7: PING on a stream", no_flags(PING, 1, &[0; 8]), GoAway(PROTOCOL_ERROR)),
        ("6.7: short PING", no_flags(PING, 0, &[0; 7]), GoAway(PROTOCOL_ERROR)),
        ("6.8: GOAWAY on a stream", no_flags(GOAWAY, 1, &[0; 8]), GoAway(PROTOCOL_ERROR)),
        ("6.9: no room on the connection", room(0, 0), GoAway(PROTOCOL_ERROR)),
        ("6.9: no room on a stream", [post(1, &[]), room(1, 0)].concat(), GoAway(PROTOCOL_ERROR)),
        ("6.9: short WINDOW_UPDATE", no_flags(WINDOW_UPDATE, 0, &[0; 3]), GoAway(PROTOCOL_ERROR)),
        ("6.9.1: too much room on the connection", room(0, 0x7fff_ffff), GoAway(FLOW_CONTROL_ERROR)),
        ("6.9.1: too much room on a stream", [post(1, &[]), room(1, 0x7fff_ffff)].concat(), Reset(FLOW_CONTROL_ERROR)),
        ("6.10: CONTINUATION behind a whole head", [get(1), frame(CONTINUATION, END_HEADERS, 1, &[])].concat(), GoAway(PROTOCOL_ERROR)),
        ("4.2: DATA longer than allowed", [post(1, &[]), no_flags(DATA, 1, &[0; 16_385])].concat(), GoAway(FRAME_SIZE_ERROR)),
        ("4.2: HEADERS longer than allowed", frame(HEADERS, WHOLE, 1, &[0; 16_385]), GoAway(FRAME_SIZE_ERROR)),
        ("4.3: field with the index 0", frame(HEADERS, WHOLE, 1, &[0x80]), GoAway(PROTOCOL_ERROR)),
        ("4.3: field that no table holds", frame(HEADERS, WHOLE, 1, &[0xff, 0x00]), GoAway(PROTOCOL_ERROR)),
        ("4.3: literal cut off", frame(HEADERS, WHOLE, 1, &[0, 9, b'x']), GoAway(PROTOCOL_ERROR)),
    ]);
}

#[test]
fn malformed_requests_are_refused() {
    let [method, scheme, authority, path] = request("GET");
    let bad = || Reset(PROTOCOL_ERROR);
    check(vec![
        ("8.2: upper case", with(&[("X-Upper", "1")]), GoAway(PROTOCOL_ERROR)),
        ("8.2: name with a space", with(&[("x y", "1")]), GoAway(PROTOCOL_ERROR)),
        ("8.2: name with a colon inside", with(&[("x:y", "1")]), GoAway(PROTOCOL_ERROR)),
        ("8.2: empty name", with(&[("", "1")]), GoAway(PROTOCOL_ERROR)),
        ("8.2: line end in a value", with(&[("x", "1\r\nevil: 2")]), GoAway(PROTOCOL_ERROR)),
        ("8.2: bare line feed in a value", with(&[("x", "1\nevil: 2")]), GoAway(PROTOCOL_ERROR)),
        ("8.2: NUL in a value", with(&[("x", "1\0x")]), GoAway(PROTOCOL_ERROR)),
        ("8.2.2: connection", with(&[("connection", "close")]), bad()),
        ("8.2.2: keep-alive", with(&[("keep-alive", "1")]), bad()),
        ("8.2.2: proxy-connection", with(&[("proxy-connection", "close")]), bad()),
        ("8.2.2: transfer-encoding", with(&[("transfer-encoding", "chunked")]), bad()),
        ("8.2.2: upgrade", with(&[("upgrade", "h2c")]), bad()),
        ("8.2.2: te other than trailers", with(&[("te", "gzip")]), bad()),
        ("8.2.2: te: trailers", with(&[("te", "trailers")]), Status(200)),
        ("8.3: unknown pseudo field", with(&[(":x", "1")]), GoAway(PROTOCOL_ERROR)),
        ("8.3: pseudo field behind others", whole(&[method, scheme, authority, ("x", "1"), path]), bad()),
        ("8.3: status in a request", with(&[(":status", "200")]), bad()),
        ("8.3.1: no method", whole(&[scheme, authority, path]), bad()),
        ("8.3.1: no scheme", whole(&[method, authority, path]), bad()),
        ("8.3.1: no path", whole(&[method, scheme, authority]), bad()),
        ("8.3.1: empty path", whole(&[method, scheme, authority, (":path", "")]), bad()),
        ("8.3.1: two methods", with(&[method]), bad()),
        ("8.3.1: two schemes", with(&[scheme]), bad()),
        ("8.3.1: two paths", with(&[path]), bad()),
        ("8.3.1: two authorities", with(&[authority]), bad()),
        ("8.3.1: path without a slash", whole(&[method, scheme, authority, (":path", "x")]), bad()),
        ("8.3.1: path with a space", whole(&[method, scheme, authority, (":path", "/ HTTP/1.1")]), bad()),
        ("8.3.1: path with a line end", whole(&[method, scheme, authority, (":path", "/\r\nx: y")]), bad()),
        ("8.3.1: asterisk without OPTIONS", whole(&[method, scheme, authority, (":path", "*")]), bad()),
        ("8.3.1: asterisk with OPTIONS", whole(&[(":method", "OPTIONS"), scheme, authority, (":path", "*")]), Status(200)),
        ("8.3.1: user in the authority", whole(&[method, scheme, (":authority", "user@h"), path]), bad()),
        ("8.3.1: host that differs", with(&[("host", "other")]), bad()),
        ("8.3.1: host that repeats", with(&[("host", "h")]), Status(200)),
        ("8.3.1: method with a space", whole(&[(":method", "GET /x"), scheme, authority, path]), GoAway(PROTOCOL_ERROR)),
        ("8.5: CONNECT with a path", whole(&[(":method", "CONNECT"), authority, path]), bad()),
        ("8.5: CONNECT without an authority", whole(&[(":method", "CONNECT")]), bad()),
        (
            "8.5: CONNECT with a length",
            headers(1, END_HEADERS, &[(":method", "CONNECT"), (":authority", "h:1"), ("content-length", "5")]),
            bad(),
        ),
        ("RFC 8441: protocol without CONNECT", with(&[(":protocol", "websocket")]), bad()),
        ("RFC 8441: unknown protocol", headers(1, END_HEADERS, &[&request("CONNECT"), &[(":protocol", "x")][..]].concat()), bad()),
        (
            "RFC 8441: length",
            headers(1, END_HEADERS, &[&request("CONNECT"), &[(":protocol", "websocket"), ("content-length", "5")][..]].concat()),
            bad(),
        ),
        ("8.1: body longer than declared", [post(1, &[("content-length", "1")]), frame(DATA, END_STREAM, 1, b"ab")].concat(), bad()),
        ("8.1: body shorter than declared", [post(1, &[("content-length", "3")]), frame(DATA, END_STREAM, 1, b"ab")].concat(), bad()),
        ("8.1: no body where one is declared", with(&[("content-length", "3")]), bad()),
        (
            "8.1: two lengths",
            [post(1, &[("content-length", "1"), ("content-length", "1")]), frame(DATA, END_STREAM, 1, b"a")].concat(),
            Status(400),
        ),
        ("8.1: signed length", [post(1, &[("content-length", "+1")]), frame(DATA, END_STREAM, 1, b"a")].concat(), bad()),
        ("8.1: trailers that do not end the stream", [post(1, &[]), headers(1, END_HEADERS, &[("x", "1")])].concat(), bad()),
        ("8.1: trailers", [post(1, &[]), frame(DATA, 0, 1, b"a"), whole(&[("x", "1")])].concat(), Status(200)),
    ]);
}

#[test]
fn longest_head_is_answered_and_a_longer_one_refused() {
    let long = "x".repeat(17_000);
    let half = "x".repeat(7_000);
    let parts = |fields: &[(&str, &str)]| {
        let block = block(&[&request("GET"), fields].concat());
        let pieces: Vec<_> = block.chunks(16_000).collect();
        let last = pieces.len() - 1;
        let flags = |at| if at == last { END_HEADERS } else { 0 };
        let frames = pieces.iter().enumerate();
        let frames = frames.map(|(at, piece)| match at {
            0 => frame(HEADERS, END_STREAM | flags(at), 1, piece),
            _ => frame(CONTINUATION, flags(at), 1, piece),
        });
        frames.collect::<Vec<_>>().concat()
    };
    check(vec![
        ("two halves", parts(&[("a", &half), ("b", &half)]), Status(200)),
        ("too long", parts(&[("a", &long)]), Status(431)),
        ("far too long", parts(&[("a", &long), ("b", &long), ("c", &long)]), GoAway(COMPRESSION_ERROR)),
    ]);
}

#[test]
fn floods_end_the_connection_or_cost_nothing() {
    let (server, _) = hello();
    let front = unused_address();
    let _daemon = Daemon::start(&site(front, "", &[server.address()]));
    let resets = || (0..5000).flat_map(|number| [get(2 * number + 1), reset(2 * number + 1, 8)]).collect::<Vec<_>>().concat();
    let continuations = || [headers(1, END_STREAM, &request("GET")), frame(CONTINUATION, 0, 1, &[]).repeat(5000)].concat();
    let floods: [(&str, Vec<u8>); 5] = [
        ("rapid resets", resets()),
        ("continuations", continuations()),
        ("empty DATA", [post(1, &[]), frame(DATA, 0, 1, b"").repeat(100_000)].concat()),
        ("pings", ping().repeat(50_000)),
        ("settings", frame(SETTINGS, 0, 0, &[]).repeat(50_000)),
    ];
    for (description, flood) in floods {
        let mut peer = Peer::connect(front);
        // A flood that is answered is read by someone, so that it is the daemon that decides.
        let mut answers = peer.stream.try_clone().unwrap();
        let reading = std::thread::spawn(move || std::io::copy(&mut answers, &mut std::io::sink()));
        peer.send(&flood);
        let _ = peer.stream.shutdown(std::net::Shutdown::Write);
        let _ = reading.join().unwrap();
        let mut other = Peer::connect(front);
        other.send(&get(1));
        assert_eq!(other.status(), 200, "{description}");
    }
}

#[test]
fn streams_beyond_the_limit_are_refused() {
    let server = crate::kit::Server::start(|mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let front = unused_address();
    let _daemon = Daemon::start(&site(front, "", &[server.address()]));
    let mut peer = Peer::connect(front);
    for number in 0..101 {
        peer.send(&get(2 * number + 1));
    }
    let refused = peer.until(RST_STREAM);
    assert_eq!((refused.stream, code(&refused)), (201, 7));
}

#[test]
fn preface_is_recognised_in_pieces_and_anything_else_is_http_1() {
    let (server, _) = hello();
    let front = unused_address();
    let _daemon = Daemon::start(&site(front, "", &[server.address()]));
    let mut peer = Peer { stream: connect(front) };
    peer.stream.set_nodelay(true).unwrap();
    for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" {
        peer.send(&[*byte]);
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    peer.send(&[frame(SETTINGS, 0, 0, &[]), get(1)].concat());
    assert_eq!(peer.status(), 200);
    for wrong in ["PRI * HTTP/2.0\r\n\r\nSM\r\n\rx", "PRI * HTTP/2.0\r\nHost: h\r\n\r\n"] {
        let mut stream = connect(front);
        std::io::Write::write_all(&mut stream, wrong.as_bytes()).unwrap();
        assert!(crate::http::read_head(&mut stream).starts_with("HTTP/1.1 400 "), "{wrong:?}");
    }
    let mut peer = Peer { stream: connect(front) };
    peer.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    peer.send(b"not a frame at all, whatever follows");
    while peer.next().is_some() {}
    assert!(is_at_end(&mut peer.stream));
}

#[test]
fn generic_cases_of_h2spec_besides_these_end_as_they_should() {
    let no_flags = |kind, stream, payload: &[u8]| frame(kind, 0, stream, payload);
    let fields = || block(&request("GET"));
    let behind = |more: &[u8]| frame(HEADERS, WHOLE, 1, &[&fields(), more].concat());
    let coded = |value: &[u8]| behind(&[&[0, 1, b'x', 0x80 | u8::try_from(value.len()).unwrap()], value].concat());
    let continued = || {
        let block = fields();
        let (first, rest) = block.split_at(3);
        let (second, third) = rest.split_at(9);
        let whole = [frame(HEADERS, END_STREAM, 1, first), frame(CONTINUATION, 0, 1, second), frame(CONTINUATION, END_HEADERS, 1, third)];
        whole.concat()
    };
    let bad = || Reset(PROTOCOL_ERROR);
    check(vec![
        ("4.1: flags without a meaning", frame(PING, 0x16, 0, &[7; 8]), Pong),
        ("4.1: reserved bit of a stream", frame(PING, 0, 1 << 31, &[7; 8]), Pong),
        ("4.2: longest DATA", [post(1, &[]), frame(DATA, END_STREAM, 1, &[0; 16_384])].concat(), Status(200)),
        ("4.3: head in three frames", continued(), Status(200)),
        ("5.1: PRIORITY behind the end of a stream", [get(1), no_flags(PRIORITY, 1, &[0, 0, 0, 3, 9])].concat(), Status(200)),
        ("5.1: room behind the end of a stream", [get(1), room(1, 100)].concat(), Status(200)),
        (
            "5.1: CONTINUATION behind a reset",
            [post(1, &[]), reset(1, 8), frame(CONTINUATION, END_HEADERS, 1, &[])].concat(),
            GoAway(PROTOCOL_ERROR),
        ),
        ("6.1: DATA with padding", [post(1, &[]), frame(DATA, END_STREAM | PADDED, 1, &[3, b'a', 0, 0, 0])].concat(), Status(200)),
        ("6.2: HEADERS with padding", frame(HEADERS, WHOLE | PADDED, 1, &[&[2], &fields()[..], &[0; 2]].concat()), Status(200)),
        ("6.3: short PRIORITY", no_flags(PRIORITY, 1, &[0; 4]), GoAway(PROTOCOL_ERROR)),
        ("6.5.2: frame size of 2^24", no_flags(SETTINGS, 0, &[0, 5, 1, 0, 0, 0]), GoAway(PROTOCOL_ERROR)),
        ("6.7: acknowledgement of no PING", [frame(PING, ACK, 0, &[7; 8]), get(1)].concat(), Status(200)),
        ("6.10: CONTINUATION on the connection", frame(CONTINUATION, END_HEADERS, 0, &[]), GoAway(PROTOCOL_ERROR)),
        (
            "6.10: another stream's CONTINUATION",
            [headers(1, END_STREAM, &request("GET")), frame(CONTINUATION, END_HEADERS, 3, &[])].concat(),
            GoAway(PROTOCOL_ERROR),
        ),
        ("7: reset with an unknown code", [post(1, &[]), reset(1, 0xffff), get(3)].concat(), Status(200)),
        (
            "8.1.1: length of two frames that is another",
            [post(1, &[("content-length", "3")]), frame(DATA, 0, 1, b"a"), frame(DATA, END_STREAM, 1, b"b")].concat(),
            bad(),
        ),
        ("HPACK 4.2: table resized behind the fields", behind(&[0x20]), GoAway(PROTOCOL_ERROR)),
        ("HPACK 5.2: code with a byte of padding", coded(&[0x1f, 0xff]), GoAway(PROTOCOL_ERROR)),
        ("HPACK 5.2: code padded with zeros", coded(&[0x18]), GoAway(PROTOCOL_ERROR)),
        ("HPACK 5.2: code with its own end", coded(&[0xff, 0xff, 0xff, 0xfc]), GoAway(PROTOCOL_ERROR)),
        (
            "HPACK 6.3: table larger than allowed",
            frame(HEADERS, WHOLE, 1, &[&[0x3f, 0xe2, 0xff, 0x03], &fields()[..]].concat()),
            GoAway(PROTOCOL_ERROR),
        ),
    ]);
}

#[test]
fn windows_change_while_streams_are_open() {
    let (server, _) = hello();
    let front = unused_address();
    let _daemon = Daemon::start(&site(front, "", &[server.address()]));
    let window = |size: u32| [&[0, 4][..], &size.to_be_bytes()].concat();
    let mut peer = Peer::connect_with(front, &window(1));
    peer.send(&get(1));
    assert_eq!(peer.until(DATA).payload.len(), 1, "6.9.2: the first window");
    peer.send(&frame(SETTINGS, 0, 0, &window(3)));
    assert_eq!(peer.until(DATA).payload.len(), 2, "6.9.2: a larger one holds for open streams, too");
    // A smaller one leaves less than nothing, which is made up for first.
    peer.send(&[frame(SETTINGS, 0, 0, &window(0)), room(1, 3), ping()].concat());
    let next = std::iter::from_fn(|| peer.next()).find(|frame| frame.kind == DATA || (frame.kind == PING && frame.flags == ACK)).unwrap();
    assert_eq!(next.kind, PING);
    peer.send(&room(1, 1));
    let rest = peer.until(DATA);
    assert_eq!(rest.payload.len(), 1);
}
