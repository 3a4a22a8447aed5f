//! Runs the steps of a check, one after the other, until one fails or all are done.
//!
//! What is read is bounded: at most [`MOST_SEEN`] bytes of an answer are looked at, as many as HAProxy looks at. The words about what
//! went wrong are HAProxy's.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::connect::{self, Failure, Plan, reason};
use super::connection::Connection;
use super::expect::{self, Extent, Judgement};
use super::format::Scope;
use super::grpc;
use super::http::{self, Exchange, Wire};
use super::http2;
use super::program::{self, Briefing};
use super::reply::{self, Reply};
use super::tls;
use crate::config::{Action, Check, Connect, Expect, Pattern, Port, Protocol, Request, Script, Step, Target};
use crate::fleet::{CheckOutcome, CheckResult};

/// What is checked.
pub(super) struct Subject {
    pub(super) check: Arc<Check>,
    pub(super) secured: Arc<tls::All>,
    pub(super) backend: String,
    pub(super) server: String,
    /// How the server is seen, where it is told.
    pub(super) state: Option<String>,
    /// Whether the server is in service, so that it can be asked out of it.
    pub(super) is_running: bool,
    /// What a program is told, where one checks.
    pub(super) briefing: Option<Briefing>,
}

/// Checks once.
pub(super) async fn probe(subject: &Subject) -> CheckOutcome {
    let started = Instant::now();
    let mut run = Run::new(subject);
    let (result, detail) = match run.steps().await {
        Ok(success) | Err(success) => success,
    };
    let code = result.has_code().then(|| run.code.or(run.scope.status).unwrap_or(0));
    CheckOutcome { result, code, duration: started.elapsed(), detail }
}

struct Run<'s> {
    subject: &'s Subject,
    scope: Scope<'s>,
    link: Link,
    /// When the step at hand has taken too long; each connection has its own time.
    deadline: Instant,
    /// What the last step made of the check.
    result: CheckResult,
    /// What it says besides.
    detail: String,
    /// What it says its code is.
    code: Option<u16>,
    /// Whether the other side has said all.
    is_over: bool,
    /// The version of HTTP that the step at hand asks for.
    version: Option<Protocol>,
}

enum Link {
    None,
    Bytes(Connection),
    Http(Exchange),
}

impl<'s> Run<'s> {
    fn new(subject: &'s Subject) -> Self {
        let scope = Scope { backend: &subject.backend, server: &subject.server, ..Scope::default() };
        Self {
            subject,
            scope,
            link: Link::None,
            deadline: Instant::now() + subject.check.timeout(),
            result: CheckResult::Connected,
            detail: String::new(),
            code: None,
            is_over: false,
            version: None,
        }
    }

    /// Returns what all steps together made of the check.
    async fn steps(&mut self) -> Result<Failure, Failure> {
        let sequence = Arc::clone(self.subject.check.sequence());
        for step in sequence.steps() {
            self.step(step).await?;
        }
        if self.detail.is_empty() && sequence.script() == Script::Tcp && sequence.steps().iter().any(|step| step.number() > 0) {
            "(tcp-check)".clone_into(&mut self.detail);
        }
        Ok((self.result, std::mem::take(&mut self.detail)))
    }

    async fn step(&mut self, step: &Step) -> Result<(), Failure> {
        match step.action() {
            Action::Connect(connect) => self.connect(step, connect).await,
            Action::Send(payload) => {
                let Some(bytes) = self.scope.payload(payload) else {
                    let text = format!("tcp-check send : failed to build log-format string at step {}", step.number());
                    return Err((CheckResult::BadResponse, text));
                };
                (self.result, self.detail) = (CheckResult::Passed, String::new());
                self.scope.payload.clear();
                let Link::Bytes(connection) = &mut self.link else { return Err(no_connection()) };
                let sent = connect::send(connection, &bytes, self.deadline).await;
                sent.map_err(|failure| self.placed(failure, step))
            }
            Action::Request(request) => self.request(request).await,
            Action::Expect(expect) if *expect.pattern() == Pattern::Grpc => self.expect_grpc(expect).await,
            Action::Expect(expect) => match self.link {
                Link::Http(_) => self.expect_response(step, expect).await,
                Link::Bytes(_) | Link::None => self.expect_bytes(step, expect).await,
            },
            Action::SetVariable(name, format) => {
                let value = self.scope.fill(format);
                self.scope.variables.insert(name.clone(), value);
                Ok(())
            }
            Action::UnsetVariable(name) => {
                self.scope.variables.remove(name);
                Ok(())
            }
            Action::Run(program) => {
                let Some(briefing) = &self.subject.briefing else { return Err((CheckResult::NotProbed, String::new())) };
                let (result, code, detail) = program::run(program, briefing, self.subject.check.timeout()).await;
                (self.code, self.result) = (Some(code), result);
                if result == CheckResult::ProgramPassed { Ok(()) } else { Err((result, detail)) }
            }
        }
    }

    async fn connect(&mut self, step: &Step, connect: &Connect) -> Result<(), Failure> {
        let check = &*self.subject.check;
        let port = match connect.port() {
            None => None,
            Some(Port::Number(port)) => Some(*port),
            Some(Port::Expression(expression)) => match self.scope.number(expression).filter(|port| *port > 0) {
                Some(port) => Some(port),
                None => return Err((CheckResult::NotProbed, format!("no port to connect to at step {}", step.number()))),
            },
        };
        // The connection before ends here, its server may wait for that.
        self.link = Link::None;
        self.deadline = Instant::now() + check.timeout();
        self.scope.payload.clear();
        (self.is_over, self.scope.status) = (false, None);
        self.version = connect.version().or_else(|| check.version().filter(|_| connect.defaults()));
        let plan = Plan::new(check, connect, port, &self.subject.secured);
        let connection = plan.connect(self.deadline).await.map_err(|failure| self.placed(failure, step))?;
        self.result = if matches!(connection, Connection::Tls(_)) { CheckResult::TlsAgreed } else { CheckResult::Connected };
        self.detail.clear();
        self.link = Link::Bytes(connection);
        Ok(())
    }

    async fn request(&mut self, request: &Request) -> Result<(), Failure> {
        let Link::Bytes(connection) = std::mem::replace(&mut self.link, Link::None) else { return Err(no_connection()) };
        let host = match self.subject.check.target() {
            Target::Inet(address) => address.to_string(),
            Target::Unix(_) => "localhost".to_owned(),
        };
        let state = self.subject.state.as_deref();
        let wire = match self.version {
            Some(Protocol::H2) => Wire::H2,
            None if connection.protocol() == Some(b"h2") => Wire::H2,
            Some(Protocol::H1) | None => Wire::H1,
        };
        let made = http::request(request, &self.scope, state, (wire, &host)).map_err(|reason| (CheckResult::NotProbed, reason))?;
        self.scope.payload.clear();
        (self.result, self.detail) = (CheckResult::Passed, String::new());
        self.link = Link::Http(Exchange::begin(connection, wire, made, self.deadline).await?);
        Ok(())
    }

    async fn expect_response(&mut self, step: &Step, expect: &Expect) -> Result<(), Failure> {
        let deadline = self.deadline;
        let late = |_| (expect::late(expect), String::new());
        let Link::Http(exchange) = &mut self.link else { return Err(no_connection()) };
        let answer = timeout_at(deadline, exchange.answer()).await.map_err(late)?.map_err(|(result, text)| match &*text {
            http2::EMPTY => (result, format!("{text} at step {}", step.number().max(2))),
            _ => (result, text),
        })?;
        self.scope.status = Some(answer.status);
        if answer.status == 404 && self.subject.check.sequence().disable_on_404() && self.subject.is_running {
            return Err((CheckResult::PassedConditionally, String::new()));
        }
        let of_head = expect::has_status(expect, answer.status).or_else(|| expect::has_header(expect, &answer.headers, &self.scope));
        match of_head {
            Some(true) => return self.succeed(expect),
            Some(false) => {
                self.code = expect.status_code().and_then(|code| self.scope.number(code));
                return Err(expect::unwanted_response(expect, step, &self.scope, (CheckResult::WrongStatus, &answer.reason)));
            }
            None => {}
        }
        loop {
            let is_over = timeout_at(deadline, exchange.answer()).await.map_err(late)??.is_over;
            let extent = if is_over { Extent::All } else { Extent::Part };
            if is_over && self.scope.payload.is_empty() {
                let usual = (CheckResult::BadResponse, "HTTP content check could not find a response body");
                return Err(expect::unwanted_response(expect, step, &self.scope, usual));
            }
            match expect::judge(expect, &self.scope, extent) {
                Judgement::Good => return self.succeed(expect),
                Judgement::Bad => {
                    let found = if expect.negated() { "HTTP check matched unwanted content" } else { "HTTP content check did not match" };
                    self.code = expect.status_code().and_then(|code| self.scope.number(code));
                    return Err(expect::unwanted_response(expect, step, &self.scope, (CheckResult::BadResponse, found)));
                }
                Judgement::Wait => timeout_at(deadline, exchange.more(&mut self.scope.payload, MOST_SEEN)).await.map_err(late)??,
            }
        }
    }

    async fn expect_grpc(&mut self, expect: &Expect) -> Result<(), Failure> {
        let deadline = self.deadline;
        let late = |_| (expect::late(expect), String::new());
        let Link::Http(exchange) = &mut self.link else { return Err(no_connection()) };
        loop {
            let answer = timeout_at(deadline, exchange.answer()).await.map_err(late)??;
            self.scope.status = Some(answer.status);
            if answer.status != 200 {
                return Err((CheckResult::WrongStatus, answer.reason.clone()));
            }
            if answer.is_over {
                (self.result, self.detail) = grpc::judge(&answer.headers, answer.trailers.as_ref(), &self.scope.payload);
                let failure = || (self.result, self.detail.clone());
                return if self.result == CheckResult::Passed { Ok(()) } else { Err(failure()) };
            }
            timeout_at(deadline, exchange.more(&mut self.scope.payload, MOST_SEEN)).await.map_err(late)??;
        }
    }

    async fn expect_bytes(&mut self, step: &Step, expect: &Expect) -> Result<(), Failure> {
        loop {
            let is_whole = !self.scope.payload.is_empty() && matches!(&self.link, Link::Bytes(link) if link.is_datagrams());
            let extent = if self.is_over || is_whole || self.scope.payload.len() >= MOST_SEEN { Extent::All } else { Extent::Part };
            let is_silent = self.is_over && self.scope.payload.is_empty();
            match reply::judge(expect.pattern(), &self.scope.payload).filter(|_| !is_silent) {
                None => {}
                Some(Reply::Good) => return self.succeed(expect),
                Some(Reply::Bad { result, code, text }) => {
                    self.code = code;
                    return Err((result, text));
                }
                Some(Reply::Wait) if extent == Extent::All => return Err((CheckResult::BadResponse, String::new())),
                Some(Reply::Wait) => {
                    self.read(step, expect).await?;
                    continue;
                }
            }
            match if is_silent { Judgement::Bad } else { expect::judge(expect, &self.scope, extent) } {
                Judgement::Good => return self.succeed(expect),
                Judgement::Bad => {
                    self.code = expect.status_code().and_then(|code| self.scope.number(code));
                    return Err(expect::unwanted_bytes(expect, step, &self.scope));
                }
                Judgement::Wait => self.read(step, expect).await?,
            }
        }
    }

    /// Waits for more of what the server says.
    async fn read(&mut self, step: &Step, expect: &Expect) -> Result<(), Failure> {
        let Link::Bytes(connection) = &mut self.link else { return Err(no_connection()) };
        let room = MOST_SEEN.saturating_sub(self.scope.payload.len());
        let is_datagrams = connection.is_datagrams();
        match timeout_at(self.deadline, connection.receive(&mut self.scope.payload, room)).await {
            Ok(Ok(0)) => self.is_over = true,
            Ok(Ok(_)) => {}
            // It came back that nobody is there.
            Ok(Err(error)) if is_datagrams => return Err(self.placed((CheckResult::ConnectFailed, reason(&error)), step)),
            // What it said before it broke is looked at.
            Ok(Err(_)) if !self.scope.payload.is_empty() => self.is_over = true,
            Ok(Err(error)) => return Err(self.placed((CheckResult::SocketError, reason(&error)), step)),
            Err(_) => return Err(self.placed((expect::late(expect), String::new()), step)),
        }
        Ok(())
    }

    fn succeed(&mut self, expect: &Expect) -> Result<(), Failure> {
        self.result = expect::good(expect);
        self.detail = expect.on_success().map(|text| self.scope.text(text)).unwrap_or_default();
        self.code = expect.status_code().and_then(|code| self.scope.number(code));
        Ok(())
    }

    /// Adds to what went wrong at which step it did, where steps are written.
    fn placed(&self, (result, text): Failure, step: &Step) -> Failure {
        let sequence = self.subject.check.sequence();
        if sequence.script() != Script::Tcp {
            return (result, text);
        }
        if step.number() == 0 {
            return (result, format!("{text} at initial connection step of tcp-check"));
        }
        let what = match step.action() {
            Action::Connect(connect) if connect.text().is_empty() => " (connect)".to_owned(),
            Action::Connect(connect) => format!(" (connect {})", connect.text()),
            Action::Expect(expect) => format!(" (expect {})", expect::wanted(expect.pattern())),
            Action::Send(_) => " (send)".to_owned(),
            Action::Request(_) | Action::SetVariable(..) | Action::UnsetVariable(_) | Action::Run(_) => String::new(),
        };
        let comment = step.comment().map(|comment| format!(" comment: '{comment}'")).unwrap_or_default();
        (result, format!("{text} at step {} of tcp-check{what}{comment}", step.number()))
    }
}

fn no_connection() -> Failure {
    (CheckResult::NotProbed, "there is no connection".to_owned())
}

/// How much of an answer is looked at.
const MOST_SEEN: usize = 16 * 1024;
