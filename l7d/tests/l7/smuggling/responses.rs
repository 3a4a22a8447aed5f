//! Responses of servers that are broken, or not the server's own.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Mutex, mpsc};

use l7d::h1::Fault;

use super::{Attempt, attempt, find, site, unmark};
use crate::kit::{Daemon, PATIENCE, Server, answer, connect, unused_address};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";

fn attempts() -> Vec<Attempt> {
    let line = |name, line: &[u8], fault| attempt(name, [line, b"\r\nContent-Length: 0\r\n\r\n"].concat(), fault);
    let fields = |name, fields: &[u8], fault| attempt(name, [b"HTTP/1.1 200 OK\r\n", fields, b"\r\n\r\n0\r\n\r\n"].concat(), fault);
    vec![
        line("another protocol", b"^^SSH-2.0-x", Fault::Version),
        line("empty line first", b"^^\r\nHTTP/1.1 200 OK", Fault::Version),
        line("HTTP/2.0", b"HTTP/^^2.0 200 OK", Fault::Version),
        line("HTTP/1.2", b"HTTP/1.^^2 200 OK", Fault::Version),
        line("version in lower case", b"^^http/1.1 200 OK", Fault::Version),
        line("two spaces before the status", b"HTTP/1.1 ^^ 200 OK", Fault::Status),
        line("status of two digits", b"HTTP/1.1 20^^ OK", Fault::Status),
        line("status of four digits", b"HTTP/1.1 200^^0 OK", Fault::Status),
        line("status below 100", b"HTTP/1.1 ^^099 OK", Fault::Status),
        line("signed status", b"HTTP/1.1 ^^+20 OK", Fault::Status),
        line("control byte in the reason", b"HTTP/1.1 200 O^^\x01", Fault::ControlByte),
        line("bare line feed behind the status", b"HTTP/1.1 200 OK^^\nX: y", Fault::BareLineFeed),
        line("bare carriage return behind the status", b"HTTP/1.1 200 OK^^\rX: y", Fault::BareCarriageReturn),
        fields("CL.TE", b"Content-Length: 5\r\nTransfer-Encoding: ^^chunked", Fault::LengthWithCoding),
        fields("TE.CL", b"Transfer-Encoding: ^^chunked\r\nContent-Length: 5", Fault::LengthWithCoding),
        fields("CL.CL", b"Content-Length: 5\r\nContent-Length: ^^0", Fault::DuplicateLength),
        fields("CL.CL, equal", b"Content-Length: 5\r\nContent-Length: ^^5", Fault::DuplicateLength),
        fields("positive length", b"Content-Length: ^^+5", Fault::Length),
        fields("negative length", b"Content-Length: ^^-1", Fault::Length),
        fields("hexadecimal length", b"Content-Length: 0^^x5", Fault::Length),
        fields("length beyond 64 bits", b"Content-Length: ^^99999999999999999999", Fault::Length),
        fields("unknown coding", b"Transfer-Encoding: ^^xchunked", Fault::Coding),
        fields("gzip, chunked", b"Transfer-Encoding: ^^gzip, chunked", Fault::Coding),
        fields("two codings", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: ^^chunked", Fault::Coding),
        fields("space before the colon", b"Content-Length^^ : 5", Fault::SpaceBeforeColon),
        fields("folded value", b"A: b\r\n^^ Set-Cookie: evil", Fault::Folding),
        fields("field behind a bare carriage return", b"Location: /^^\rSet-Cookie: evil", Fault::BareCarriageReturn),
        fields("field behind a bare line feed", b"Location: /^^\nSet-Cookie: evil", Fault::BareLineFeed),
        fields("NUL in a value", b"A: ^^\0", Fault::ControlByte),
        fields("NUL in a name", b"A^^\0: b", Fault::FieldName),
        fields("no colon", b"A^^", Fault::FieldName),
        fields("bad chunk size", b"Transfer-Encoding: chunked\r\n\r\n^^xyz", Fault::ChunkSize),
        fields("chunk size that overflows", b"Transfer-Encoding: chunked\r\n\r\n1000000000000000^^0", Fault::ChunkSize),
        fields("bare line feed behind a size", b"Transfer-Encoding: chunked\r\n\r\n3^^\nabc", Fault::BareLineFeed),
        fields("length in a trailer", b"Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length^^: 5", Fault::Trailer),
        attempt("coding in HTTP/1.0", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: ^^chunked\r\n\r\n0\r\n\r\n", Fault::CodingInHttp10),
    ]
}

#[test]
fn doubtful_responses_are_answered_with_502() {
    let mut failures = Vec::new();
    for (name, message, fault) in attempts() {
        let (bytes, named) = unmark(&message, fault);
        let server = Server::start(move |mut stream| {
            let _ = stream.read(&mut [0; 1000]);
            let _ = stream.write_all(&bytes);
            let _ = stream.read(&mut [0; 1000]);
        });
        let front = unused_address();
        let daemon = Daemon::start(&site(front, &[server.address()]));
        let mut client = connect(front);
        let source = client.local_addr().unwrap();
        client.write_all(GET).unwrap();
        let answer = answer(&mut client);
        if !answer.starts_with("HTTP/1.1 502 ") || answer.contains("evil") || answer.matches("HTTP/1.1").count() != 1 {
            failures.push(format!("{name}: answered {answer:?}"));
        }
        let line = daemon.wait_for_log(&format!("{source} on frontend front: "));
        if !line.ends_with(&named) {
            failures.push(format!("{name}: {named:?} expected, logged {line:?}"));
        }
    }
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn fault_behind_the_head_cuts_the_response() {
    let server = Server::start(|mut stream| {
        let _ = stream.read(&mut [0; 1000]);
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").unwrap();
        // The client has that before the fault is sent.
        let _ = stream.read(&mut [0; 1]);
        let _ = stream.write_all(b"3\r\nabcd\r\n0\r\n\r\n");
        let _ = stream.read(&mut [0; 1]);
    });
    let front = unused_address();
    let daemon = Daemon::start(&site(front, &[server.address()]).replace("server = \"30s\"", "server = \"30s\", tunnel = \"30s\""));
    let mut client = connect(front);
    // The byte that tells the server to go on is part of a body that is longer than what is sent of it.
    client.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 1000];
    while find(&answer, b"abc\r\n").is_none() {
        let count = client.read(&mut buffer).unwrap();
        assert!(count > 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&buffer[..count]);
    }
    client.write_all(b"!").unwrap();
    let _ = client.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.ends_with("\r\n\r\n3\r\nabc\r\n"), "{answer:?}");
    daemon.wait_for_log("byte 14 (0x64): chunk data is longer than its size");
}

#[test]
fn bytes_behind_a_response_answer_no_request() {
    let server = Server::start(move |mut stream| {
        while let Ok(1..) = stream.read(&mut [0; 1000]) {
            let good = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood";
            if stream.write_all(format!("{good}{}", good.replace("good", "evil")).as_bytes()).is_err() {
                return;
            }
        }
    });
    let front = unused_address();
    let _daemon = Daemon::start(&site(front, &[server.address()]).replace("nbthread = 2", "nbthread = 1"));
    let mut kept = connect(front);
    for _ in 0..5 {
        for client in [&mut kept, &mut connect(front)] {
            assert_eq!(ask(client), "good");
        }
    }
    assert_eq!(server.accepted(), 10, "no connection serves again that has more to say than it was asked");
}

#[test]
fn bytes_on_an_idle_connection_answer_no_request() {
    let ((sent, wait), (ready, go)) = (mpsc::channel(), mpsc::channel::<()>());
    let go = Mutex::new(go);
    let server = Server::start(move |mut stream| {
        while let Ok(1..) = stream.read(&mut [0; 1000]) {
            let good = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood";
            stream.write_all(good.as_bytes()).unwrap();
            // The client has its answer; what follows comes when the connection waits for another request.
            let _ = go.lock().unwrap().recv();
            let _ = stream.write_all(good.replace("good", "evil").as_bytes());
            let _ = sent.send(());
        }
    });
    let front = unused_address();
    let _daemon = Daemon::start(&site(front, &[server.address()]).replace("nbthread = 2", "nbthread = 1"));
    for _ in 0..5 {
        assert_eq!(ask(&mut connect(front)), "good");
        ready.send(()).unwrap();
        wait.recv_timeout(PATIENCE).unwrap();
    }
}

/// Asks and returns the body of the answer, which has four bytes.
fn ask(client: &mut TcpStream) -> String {
    client.write_all(GET).unwrap();
    let mut answer = [0; 42];
    client.read_exact(&mut answer).unwrap();
    String::from_utf8_lossy(&answer[38..]).into_owned()
}

#[test]
fn upgrade_that_nobody_asked_for_is_refused() {
    let server = Server::start(|mut stream| {
        let _ = stream.read(&mut [0; 1000]);
        let _ =
            stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nHTTP/1.1 200 OK\r\n\r\nevil");
        let _ = stream.read(&mut [0; 1000]);
    });
    let front = unused_address();
    let daemon = Daemon::start(&site(front, &[server.address()]));
    for request in [
        "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: h\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
    ] {
        let mut client = connect(front);
        client.write_all(request.as_bytes()).unwrap();
        let answer = answer(&mut client);
        assert!(answer.starts_with("HTTP/1.1 502 ") && !answer.contains("evil"), "{request:?}: {answer:?}");
    }
    daemon.wait_for_log("response is invalid: byte 9 (0x31): status 101 without an upgrade that both sides named");
}
