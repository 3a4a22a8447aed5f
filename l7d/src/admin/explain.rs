//! The command that tells why traffic would go where it would go.

use clap::Parser;
use control::admin::{Answering, Call, Command, Reply, Run};
use control::config::SocketLevel;

use super::Engine;
use crate::explain::{self, Question};

/// Returns the commands.
pub(super) fn commands() -> Vec<Command<Engine>> {
    vec![Command {
        words: "explain",
        arguments: "[--frontend <name>] [--method <m>] [--host <h>] [--path <p>] [--src <addr>] [--header <h>]* [--json]",
        help: "tell every rule that a request would meet, and the server it would get",
        level: SocketLevel::Operator,
        run: Run::Later(answer),
    }]
}

/// The options, as on the command line.
#[derive(Debug, Parser)]
#[command(name = "explain", disable_help_flag = true)]
struct Line {
    #[command(flatten)]
    question: Question,
}

fn answer(engine: Engine, call: Call) -> Answering {
    Box::pin(async move {
        let words = ["explain"].into_iter().chain(call.arguments.iter().map(String::as_str));
        let question = match Line::try_parse_from(words) {
            Ok(line) => line.question,
            Err(error) => return Reply::error(error.render().to_string().trim_end()),
        };
        if question.cert.is_some() {
            return Reply::error("no file is read for this: send the certificate behind <<.");
        }
        let certificate = call.payload.as_deref().map(str::as_bytes);
        let site = engine.site();
        match explain::explain(&site, &question, certificate).await {
            Ok(explanation) => Reply::Output(if question.json { explanation.json() } else { explanation.text() }),
            Err(message) => Reply::error(message),
        }
    })
}
