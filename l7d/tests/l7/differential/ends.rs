//! Ends at every phase: the server leaves, the client leaves, each by FIN and by RST.

use super::script::Step;
use super::{ANSWERED, Case, OK, Theatre, say};

const TOLD: &str = "RFC 9112 section 8: a request that is incomplete is answered with 400, where somebody may still listen";

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n";
const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";

#[test]
fn the_server_leaves() {
    let cases = vec![
        Case::new("before it answers", GET).turn([Step::Leave]),
        Case::new("before it answers, by RST", GET).turn([Step::Reset]),
        Case::new("before it answers a POST", format!("{POST}0123456789")).turn([Step::Body, Step::Leave]),
        Case::new("before the body came", POST).client([Step::Met(1)]).turn([Step::Leave]),
        Case::new("before the chunks came", CHUNKED).client([Step::Met(1)]).turn([Step::Leave]),
        Case::new("inside its status line", GET).turn([say("HTTP/1."), Step::Leave]),
        Case::new("inside its head", GET).turn([say("HTTP/1.1 200 OK\r\nA:"), Step::Leave]),
        Case::new("behind its head", GET).turn([say("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"), Step::Leave]),
        Case::new("inside its body", GET).turn([say("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"), Step::Leave]),
        Case::new("inside a chunk", GET).turn([say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf"), Step::Leave]),
        Case::new("between chunks", GET).turn([say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"), Step::Leave]),
        Case::new("before the last line", GET)
            .turn([say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n"), Step::Leave]),
        Case::new("inside a trailer", GET)
            .turn([say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\nA: b"), Step::Leave]),
        Case::new("after an interim response", GET).turn([say("HTTP/1.1 100 Continue\r\n\r\n"), Step::Leave]),
        Case::new("after its response", GET).turn([say(OK), Step::Leave]),
        Case::new("early answer, the body never comes", POST).client([say("01234")]).turn([say(OK), Step::Leave]),
        Case::new("early answer that closes", POST)
            .client([say("01234")])
            .turn([say("HTTP/1.1 413 Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"), Step::Leave])
            .differs(["413 ----"], ["413 CD--"], ANSWERED),
        Case::new("early answer, then the body comes", format!("{POST}01234"))
            .client([Step::Hear("ok"), say("56789")])
            .turn([say(OK), Step::Body]),
        Case::new("early answer until close", POST)
            .client([say("01234")])
            .turn([say("HTTP/1.1 200 OK\r\n\r\nall of it"), Step::Leave])
            // By the moment haproxy blames the client or the server.
            .differs(["200 ----"], ["D-- POST"], ANSWERED),
    ];
    Theatre::open(&[], &[], "").play(cases);
}

#[test]
fn the_client_leaves() {
    let cases = vec![
        Case::new("inside its head", "GET / HTTP/1.1\r\nHo").client([Step::Leave]),
        Case::new("inside its head, half", "GET / HTTP/1.1\r\nHo").client([Step::Shut]),
        Case::new("behind its head, half", GET).client([Step::Shut]).turn([say(OK)]),
        Case::new("inside its body, half", format!("{POST}half"))
            .client([Step::Met(1), Step::Shut])
            .turn([Step::Body, Step::Leave])
            .differs(["400 from the proxy", "400 CD--"], ["-1 CD--"], TOLD),
        Case::new("inside its body", format!("{POST}half")).client([Step::Met(1), Step::Leave]).turn([Step::Body, Step::Leave]).differs(
            ["400 CD--"],
            ["-1 CD--"],
            TOLD,
        ),
        Case::new("inside its body, by RST", format!("{POST}half"))
            .client([Step::Met(1), Step::Reset])
            .turn([Step::Body, Step::Leave])
            .differs(["400 CD--"], ["-1 CD--"], TOLD),
        Case::new("inside a chunk", format!("{CHUNKED}9\r\nhalf"))
            .client([Step::Met(1), Step::Leave])
            .turn([Step::Body, Step::Leave])
            .differs(["400 CD--"], ["-1 CD--"], TOLD),
        Case::new("inside a chunk, half", format!("{CHUNKED}9\r\nhalf"))
            .client([Step::Met(1), Step::Shut])
            .turn([Step::Body, Step::Leave])
            .differs(["400 from the proxy", "400 CD--"], ["-1 CD--"], TOLD),
        Case::new("between chunks, half", format!("{CHUNKED}4\r\nhalf\r\n"))
            .client([Step::Met(1), Step::Shut])
            .turn([Step::Body, Step::Leave])
            .differs(["400 from the proxy", "400 CD--"], ["-1 CD--"], TOLD),
        Case::new("before the answer", GET).client([Step::Met(1), Step::Leave]).turn([Step::Gone, say(OK)]),
        Case::new("before the answer, by RST", GET).client([Step::Met(1), Step::Reset]).turn([Step::Gone, say(OK)]),
        Case::new("inside the answer", GET).client([Step::Hear("half"), Step::Reset]).turn([
            say("HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\nhalf"),
            Step::Gone,
            say("x".repeat(8_999_996)),
        ]),
        Case::new("after the answer", GET).client([Step::Hear("ok"), Step::Reset]).answer(OK),
        // Last, because the lines that haproxy logs about them are nobody's.
        Case::new("without a word", "").client([Step::Leave]).lines(0),
        Case::new("without a word, by RST", "").client([Step::Reset]).lines(0),
        Case::new("without a word, half", "").client([Step::Shut]).lines(0),
    ];
    Theatre::open(&[], &[], "").play(cases);
}
