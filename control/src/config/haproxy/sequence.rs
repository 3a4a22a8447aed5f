//! Makes sequences of the lines about checks, also of those in the native format.

use std::sync::Arc;

use super::lexer;
use super::line::Line;
use super::reader::Reader;
use super::steps::{self, Rule};
use crate::config::error::Diagnostic;
use crate::config::location::{Located, Location};
use crate::config::model::{Action, Connect, Expect, Pattern, Program, Request, Script, Sequence, Step};
use crate::config::value::check as value;
use crate::config::written::{CheckOption, Checks, External, Recipe, Steps};

/// Reads what is expected of a response, without the word before it, and puts it behind the other steps.
///
/// # Errors
/// Says what is wrong with it.
pub(in crate::config) fn push_expect(text: &Located<String>, steps: &mut Steps) -> Result<(), Diagnostic> {
    let mut line = lexer::words(text)?;
    let (expect, comment) = steps::expectation(&mut line, Script::Http)?;
    steps.lines += 1;
    steps.location.get_or_insert_with(|| text.location().clone());
    steps.steps.push(Step { number: steps.lines, action: Action::Expect(expect), comment });
    Ok(())
}

/// Reads the words of a line of steps, whose keyword is read already, and puts it behind the others.
///
/// # Errors
/// Says what is wrong with it, or why it cannot follow the others.
pub(super) fn push(line: &mut Line, steps: &mut Steps, script: Script) -> Result<(), Diagnostic> {
    let location = line.location();
    let text = line.remainder();
    let rule = steps::rule(line, script)?;
    if steps.inherited {
        let (disable_on_404, send_state) = (steps.disable_on_404, steps.send_state);
        *steps = Steps { disable_on_404, send_state, ..Steps::default() };
    }
    steps.location.get_or_insert_with(|| location.clone());
    steps.texts.extend(text);
    match rule {
        Rule::DisableOn404 => steps.disable_on_404 = true,
        Rule::SendState => steps.send_state = true,
        Rule::Comment(comment) => {
            steps.lines += 1;
            steps.comment = Some(comment);
        }
        Rule::Step(mut step) => {
            follow(&steps.steps, &step, &location)?;
            steps.lines += 1;
            step.number = steps.lines;
            let comment = steps.comment.take_if(|_| !is_about_variables(&step));
            step.comment = step.comment.or(comment);
            steps.steps.push(*step);
        }
    }
    Ok(())
}

/// Reads a step that is written without its keyword, as [`push`] does.
///
/// # Errors
/// As [`push`].
pub(in crate::config) fn push_text(text: &Located<String>, steps: &mut Steps, script: Script) -> Result<(), Diagnostic> {
    let mut line = lexer::words(text)?;
    push(&mut line, steps, script)?;
    line.finish()
}

fn is_about_variables(step: &Step) -> bool {
    matches!(step.action, Action::SetVariable(..) | Action::UnsetVariable(_))
}

/// Checks that a step can follow the others.
fn follow(before: &[Step], step: &Step, location: &Location) -> Result<(), Diagnostic> {
    let acting = || before.iter().filter(|step| !is_about_variables(step));
    let since_connect = acting().rev().take_while(|step| !matches!(step.action, Action::Connect(_)));
    let connects = acting().next().is_some_and(|step| matches!(step.action, Action::Connect(_)));
    let mut asked = since_connect.filter(|step| matches!(step.action, Action::Request(_))).peekable();
    match &step.action {
        Action::Connect(_) if acting().next().is_some() && !connects => {
            let error = Diagnostic::error(location, "where one step is `connect`, the first has to be one, too");
            Err(error.hint("only variables and comments may stand before it"))
        }
        Action::Request(_) if asked.peek().is_some() => {
            Err(Diagnostic::error(location, "one connection carries one request").hint("put a `connect` before the second"))
        }
        Action::Expect(expect) if connects && asked.peek().is_none() && is_about_responses(expect) => {
            let error = Diagnostic::error(location, "nothing is asked for on this connection, so there is no status and no header field");
            Err(error.hint("put a `send` before it"))
        }
        Action::Connect(_)
        | Action::Send(_)
        | Action::Request(_)
        | Action::Expect(_)
        | Action::SetVariable(..)
        | Action::UnsetVariable(_)
        | Action::Run(_) => Ok(()),
    }
}

fn is_about_responses(expect: &Expect) -> bool {
    matches!(expect.pattern, Pattern::Status(_) | Pattern::StatusMatch(_) | Pattern::Header(_))
}

/// Makes the sequence of a proxy: of its own lines, else of those of its defaults; none where nothing is said.
pub(super) fn of_proxy(own: &Checks, defaults: &Checks, reader: &mut Reader) -> Option<(Arc<Sequence>, Recipe)> {
    let option = own.option.as_ref().or(defaults.option.as_ref());
    let steps = |own: &Steps, wider: &Steps| {
        let mut steps = if own.steps.is_empty() { wider.clone() } else { own.clone() };
        steps.disable_on_404 |= own.disable_on_404 | wider.disable_on_404;
        steps.send_state |= own.send_state | wider.send_state;
        steps
    };
    let is_idle = |steps: &Steps, wanted: bool| steps.location.clone().filter(|_| !wanted && !steps.inherited);
    if let Some(location) = is_idle(&own.http, matches!(option, Some(CheckOption::Http(_)))) {
        reader.warn(&location, "`http-check` has no effect without `option httpchk`", "add option httpchk");
    }
    if let Some(location) = is_idle(&own.tcp, matches!(option, Some(CheckOption::Tcp | CheckOption::Udp(_)))) {
        reader.warn(&location, "`tcp-check` has no effect without `option tcp-check`", "add option tcp-check");
    }
    if let Some(command) = own.external.command.as_ref().filter(|_| !matches!(option, Some(CheckOption::External(..)))) {
        reader.warn(command.location(), "`external-check` has no effect without `option external-check`", "add option external-check");
    }
    let option = option?;
    if let CheckOption::External(location, _) = option {
        let command = own.external.command.clone().or_else(|| defaults.external.command.clone());
        let external = External { command, path: own.external.path.clone().or_else(|| defaults.external.path.clone()) };
        let Some(sequence) = self::external(&external) else {
            let error = Diagnostic::error(location, "`option external-check` lacks `external-check command`");
            reader.push(error.hint("for example external-check command /usr/local/bin/check"));
            return None;
        };
        let option = CheckOption::External(location.clone(), external);
        return Some((sequence, Recipe { option, steps: Vec::new(), disable_on_404: false, send_state: false }));
    }
    let steps = match option {
        CheckOption::Http(_) => steps(&own.http, &defaults.http),
        CheckOption::Tcp | CheckOption::Udp(_) => steps(&own.tcp, &defaults.tcp),
        CheckOption::Protocol(..) | CheckOption::External(..) => Steps::default(),
    };
    let (texts, disable_on_404, send_state) = (steps.texts.clone(), steps.disable_on_404, steps.send_state);
    let sequence = match option {
        CheckOption::Http(request) => http(request, steps, &mut |location| {
            reader.warn(location, "nothing is asked for before this is expected", "what the server says by itself is waited for");
        }),
        CheckOption::Tcp => tcp(steps),
        CheckOption::Udp(location) => match udp(steps, location) {
            Ok(sequence) => sequence,
            Err(error) => {
                reader.push(error);
                return None;
            }
        },
        CheckOption::Protocol(sequence, _) => Arc::clone(sequence),
        CheckOption::External(..) => plain(),
    };
    Some((sequence, Recipe { option: option.clone(), steps: texts, disable_on_404, send_state }))
}

/// Makes the sequence of a proxy that says nothing of its own.
pub(in crate::config) fn of_defaults(defaults: &Checks) -> Option<(Arc<Sequence>, Recipe)> {
    of_proxy(&Checks::default(), defaults, &mut Reader::default())
}

/// Makes the sequence that connects and does nothing else.
pub(in crate::config) fn plain() -> Arc<Sequence> {
    Arc::new(Sequence { script: Script::Protocol, steps: connected(Vec::new()), disable_on_404: false, send_state: false })
}

/// Makes the sequence that starts a program; none where no program is named.
pub(in crate::config) fn external(external: &External) -> Option<Arc<Sequence>> {
    let program = Program { command: external.command.clone()?, path: external.path.as_ref().map(|path| path.value().clone()) };
    let steps = vec![unwritten(Action::Run(program))];
    Some(Arc::new(Sequence { script: Script::Protocol, steps, disable_on_404: false, send_state: false }))
}

/// Makes the sequence of steps of bytes.
pub(in crate::config) fn tcp(steps: Steps) -> Arc<Sequence> {
    Arc::new(Sequence { script: Script::Tcp, steps: connected(steps.steps), disable_on_404: false, send_state: false })
}

/// Makes the sequence of steps of datagrams.
///
/// # Errors
/// Says what datagrams cannot do, or that no answer is waited for: nothing else tells that a server is there.
pub(in crate::config) fn udp(steps: Steps, location: &Location) -> Result<Arc<Sequence>, Diagnostic> {
    if !steps.steps.iter().any(|step| matches!(step.action, Action::Expect(_))) {
        let error = Diagnostic::error(location, "a check by UDP expects no answer, so it would never fail");
        return Err(error.hint("for example the steps send ping and expect string pong"));
    }
    let mut steps = connected(steps.steps);
    for step in &mut steps {
        if let Action::Connect(connect) = &mut step.action {
            if connect.tls || connect.send_proxy {
                return Err(Diagnostic::error(location, "a check by UDP speaks no TLS and has no PROXY header"));
            }
            connect.datagrams = true;
        }
    }
    Ok(Arc::new(Sequence { script: Script::Tcp, steps, disable_on_404: false, send_state: false }))
}

/// Makes the sequence of steps of requests: the first of them takes from `request` what it does not say itself. Where the server has to
/// speak first, `banner` is told.
pub(in crate::config) fn http(request: &Request, written: Steps, banner: &mut impl FnMut(&Location)) -> Arc<Sequence> {
    let Steps { mut steps, disable_on_404, send_state, location, .. } = written;
    let connects = |step: &Step| matches!(step.action, Action::Connect(_));
    let has_connect = steps.iter().any(connects);
    let own = steps.iter_mut().find_map(|step| match &mut step.action {
        Action::Request(request) => Some(request),
        Action::Connect(_) | Action::Send(_) | Action::Expect(_) | Action::SetVariable(..) | Action::UnsetVariable(_) | Action::Run(_) => {
            None
        }
    });
    match own {
        Some(own) => complete(own, request),
        None if has_connect => {}
        None => {
            let first = steps.iter().position(|step| !is_about_variables(step)).unwrap_or(steps.len());
            steps.insert(first, unwritten(Action::Request(request.clone())));
        }
    }
    let mut steps = connected(steps);
    for step in &mut steps {
        if let Action::Request(request) = &mut step.action {
            spell_out(request);
        }
    }
    let mut asked = false;
    for step in &steps {
        match step.action {
            Action::Connect(_) => asked = false,
            Action::Request(_) => asked = true,
            Action::Expect(_) if !asked => location.iter().for_each(&mut *banner),
            Action::Expect(_) | Action::Send(_) | Action::SetVariable(..) | Action::UnsetVariable(_) | Action::Run(_) => {}
        }
    }
    let is_open = steps.iter().rev().find_map(|step| match step.action {
        Action::Request(_) => Some(true),
        Action::Expect(_) => Some(false),
        Action::Connect(_) | Action::Send(_) | Action::SetVariable(..) | Action::UnsetVariable(_) | Action::Run(_) => None,
    });
    if is_open == Some(true) {
        let good = Expect::new(Pattern::Status(value::default_expect()));
        let after = steps.iter().rposition(|step| matches!(step.action, Action::Request(_))).map_or(steps.len(), |at| at + 1);
        steps.insert(after, unwritten(Action::Expect(good)));
    }
    Arc::new(Sequence { script: Script::Http, steps, disable_on_404, send_state })
}

/// Gives a request what it is sent with where nothing is said.
fn spell_out(request: &mut Request) {
    let (method, version) = (request.method().to_owned(), request.version());
    (request.method, request.version) = (Some(method), Some(version));
}

fn complete(own: &mut Request, option: &Request) {
    own.method = own.method.take().or_else(|| option.method.clone());
    own.target = own.target.take().or_else(|| option.target.clone());
    own.version = own.version.or(option.version);
    let extra = option.headers.iter().filter(|(name, _)| own.headers.iter().all(|(other, _)| other != name));
    own.headers = extra.chain(&own.headers).cloned().collect();
    own.body = own.body.take().or_else(|| option.body.clone());
}

/// Puts a connection before steps that have none of their own.
fn connected(mut steps: Vec<Step>) -> Vec<Step> {
    let first = steps.iter().find(|step| !is_about_variables(step));
    if !first.is_some_and(|step| matches!(step.action, Action::Connect(_))) {
        steps.insert(0, unwritten(Action::Connect(Connect::implicit())));
    }
    steps
}

/// Makes a step that nobody wrote.
pub(in crate::config) fn unwritten(action: Action) -> Step {
    Step { number: 0, action, comment: None }
}
