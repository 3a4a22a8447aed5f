//! Time-outs: the status each phase ends with, and who is blamed for it in the log.

use super::script::Step;
use super::{Case, Theatre, say};

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n";

#[test]
fn a_silent_client() {
    let cases = vec![Case::new("no request", ""), Case::new("half a head", "GET / HTTP/1.1\r\nHo")];
    Theatre::open(&[("client", "400ms")], &[], "").play(cases);
    let cases = vec![Case::new("no request", ""), Case::new("half a head", "GET / HTTP/1.1\r\nHo")];
    Theatre::open(&[("http-request", "400ms")], &[], "").play(cases);
    let cases = vec![Case::new("an idle connection", GET).client([Step::Hear("ok"), Step::HearEnd]).answer(super::OK)];
    Theatre::open(&[("http-keep-alive", "400ms")], &[], "").play(cases);
}

#[test]
fn a_silent_server() {
    let cases = vec![
        Case::new("no answer", GET).turn([Step::Gone]),
        Case::new("no answer to a POST", format!("{POST}0123456789")).turn([Step::Body, Step::Gone]),
        Case::new("half a head", GET).turn([say("HTTP/1.1 200 OK\r\nA:"), Step::Gone]),
        Case::new("half a body", GET).turn([say("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"), Step::Gone]),
        Case::new("half a chunk", GET).turn([say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf"), Step::Gone]),
        Case::new("an interim response and no more", GET).turn([say("HTTP/1.1 103 Early Hints\r\n\r\n"), Step::Gone]),
    ];
    Theatre::open(&[("server", "400ms")], &[], "").play(cases);
}

#[test]
fn a_silent_tunnel() {
    let ask = "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n";
    let switch = "HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n";
    let cases = vec![Case::new("nothing flows", ask).client([Step::Hear("\r\n\r\n"), Step::HearEnd]).turn([say(switch), Step::HearEnd])];
    Theatre::open(&[("tunnel", "400ms")], &[], "").play(cases);
}
