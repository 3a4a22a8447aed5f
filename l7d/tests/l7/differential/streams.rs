//! Mode `tcp`: bytes, half-closed connections, ends of every kind. A client begins with an empty line, by which its server knows it.

use super::script::Step;
use super::{Case, Theatre, say};

const HELLO: &str = "hello\r\n\r\n";

#[test]
fn conversations_and_their_ends() {
    let bulk = "z".repeat(2_000_000);
    let cases = vec![
        Case::new("bytes both ways", HELLO)
            .client([Step::Met(1), say("ping"), Step::Hear("ping"), say("pong"), Step::Hear("pong"), Step::Shut])
            .turn([Step::Echo]),
        Case::new("the client closes its half", HELLO).client([say("question"), Step::Shut]).turn([Step::HearEnd, say("answer")]),
        Case::new("the server closes its half", HELLO).client([Step::HearEnd, say("afterwards"), Step::Shut]).turn([
            say("all of it"),
            Step::Shut,
            Step::HearEnd,
        ]),
        Case::new("a lot both ways", HELLO).client([say(&bulk), Step::Shut]).turn([Step::HearEnd, say(&bulk)]),
        Case::new("the server leaves at once", HELLO).turn([Step::Leave]),
        Case::new("the server leaves behind its answer", HELLO).turn([say("answer"), Step::Leave]),
        Case::new("the server resets", HELLO).turn([Step::Reset]),
        Case::new("the client leaves", HELLO).client([Step::Met(1), say("ping"), Step::Leave]).turn([Step::HearEnd]),
        Case::new("the client resets", HELLO).client([Step::Met(1), Step::Reset]).turn([Step::HearEnd]),
        Case::new("the client resets inside the answer", HELLO).client([Step::Hear("z"), Step::Reset]).turn([
            say("z"),
            Step::Gone,
            say(bulk.repeat(5)),
            Step::HearEnd,
        ]),
    ];
    Theatre::open_mode("tcp", &[], &[], "").play(cases);
}

#[test]
fn silence() {
    let quiet = || vec![Case::new("nothing flows", HELLO).client([Step::Hear("hi"), Step::HearEnd]).turn([say("hi"), Step::HearEnd])];
    Theatre::open_mode("tcp", &[("client", "400ms")], &[], "").play(quiet());
    Theatre::open_mode("tcp", &[("server", "400ms")], &[], "").play(quiet());
}
