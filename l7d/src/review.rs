//! What the rules make of one exchange: the frontend's and the backend's, in the order a request and its response meet them.

use std::borrow::Cow;
use std::sync::Arc;

use crate::downstream::Downstream;
use crate::error::ExchangeError;
use crate::exchange::Turn;
use crate::message::head::{RequestHead, ResponseHead};
use crate::reply::Reply;
use crate::rules::{Memory, Scene, Verdict, View};
use crate::site::{Backend, Frontend, Server};
use crate::stream::Privacy;

/// One exchange as the rules see it.
#[derive(Debug)]
pub(crate) struct Review<'a> {
    frontend: &'a Frontend,
    backend: Option<&'a Backend>,
    scene: Scene<'a>,
    memory: &'a mut Memory,
}

/// How a rule ended an exchange.
#[derive(Debug)]
pub(crate) struct Ruling {
    /// The answer the client gets; none if it gets none.
    pub(crate) reply: Option<Reply>,
    /// Who ended the exchange and in which phase, in HAProxy's letters.
    pub(crate) termination: &'static str,
}

/// Which message a rule was about.
#[derive(Debug, Clone, Copy)]
enum Phase {
    Request,
    Response,
}

impl<'a> Review<'a> {
    /// Begins the review of a client's request.
    pub(crate) fn new(client: &Downstream<'_>, frontend: &'a Frontend, turn: Turn, memory: &'a mut Memory) -> Self {
        let rules = frontend.rules();
        let scene = Scene {
            source: client.source.inet(),
            destination: if rules.asks_destination() { client.find_destination() } else { None },
            is_tls: client.privacy() == Privacy::Tls,
            is_first: turn == Turn::First,
            frontend: frontend.name(),
            backend: None,
            shared: rules.shared(),
        };
        Self { frontend, backend: None, scene, memory }
    }

    /// Takes the request through the frontend's rules.
    ///
    /// # Errors
    /// A rule ended the exchange.
    pub(crate) fn enter(&mut self, head: &mut RequestHead) -> Result<(), Ruling> {
        let verdict = self.frontend.rules().on_request(head, &self.scene, self.memory);
        self.judge(verdict, Phase::Request, head)
    }

    /// Chooses the backend.
    ///
    /// # Errors
    /// No rule names one, and there is none for what is left.
    pub(crate) fn route(&mut self, head: &RequestHead) -> Result<&'a Arc<Backend>, ExchangeError> {
        let view = View { scene: &self.scene, request: Some(head), response: None, memory: self.memory };
        let backend = self.frontend.route(&view).ok_or(ExchangeError::NoBackend)?;
        self.backend = Some(backend);
        self.scene.backend = Some(backend.name());
        Ok(backend)
    }

    /// Returns the host that a server is asked for in the handshake of TLS.
    pub(crate) fn host_for<'s>(&self, server: &'s Server, head: &RequestHead) -> Option<Cow<'s, [u8]>> {
        if !server.wants_host() {
            return None;
        }
        server.host(&View { scene: &self.scene, request: Some(head), response: None, memory: self.memory })
    }

    /// Takes the request through the backend's rules.
    ///
    /// # Errors
    /// A rule ended the exchange.
    pub(crate) fn leave(&mut self, head: &mut RequestHead) -> Result<(), Ruling> {
        let Some(backend) = self.other_half() else { return Ok(()) };
        let verdict = backend.rules().on_request(head, &self.scene, self.memory);
        self.judge(verdict, Phase::Request, head)
    }

    /// Returns the backend, if its rules are others than the frontend's.
    fn other_half(&self) -> Option<&'a Backend> {
        self.backend.filter(|backend| !backend.is_twin_of(self.frontend))
    }

    /// Takes the response through the backend's rules and then the frontend's.
    ///
    /// # Errors
    /// A rule ended the exchange.
    pub(crate) fn respond(&mut self, request: &RequestHead, head: &mut ResponseHead) -> Result<(), Ruling> {
        self.memory.end_request();
        if let Some(backend) = self.other_half() {
            let verdict = backend.rules().on_response(request, head, &self.scene, self.memory);
            self.judge(verdict, Phase::Response, request)?;
        }
        let verdict = self.frontend.rules().on_response(request, head, &self.scene, self.memory);
        self.judge(verdict, Phase::Response, request)
    }

    /// Returns what is answered with a status: what the backend has for it, else the frontend, else the usual page.
    pub(crate) fn page(&self, status: u16, request: Option<&RequestHead>) -> Reply {
        let view = View { scene: &self.scene, request, response: None, memory: self.memory };
        let of_backend = self.backend.and_then(|backend| backend.rules().page(status, view));
        of_backend.or_else(|| self.frontend.rules().page(status, view)).unwrap_or_else(|| Reply::page(status))
    }

    fn judge(&self, verdict: Verdict, phase: Phase, request: &RequestHead) -> Result<(), Ruling> {
        let (given, refused) = match phase {
            Phase::Request => ("LR", "PR"),
            Phase::Response => ("LH", "PH"),
        };
        let (reply, termination) = match verdict {
            Verdict::Pass => return Ok(()),
            Verdict::Answer(reply) => (Some(reply), given),
            Verdict::Deny(reply) => (Some(reply), refused),
            Verdict::Close => (None, refused),
            Verdict::Fail => (Some(Reply::page(500)), refused),
        };
        let own = |reply: Reply| if reply.is_usual() { self.page(reply.status(), Some(request)) } else { reply };
        Err(Ruling { reply: reply.map(own), termination })
    }
}

impl Drop for Review<'_> {
    fn drop(&mut self) {
        self.memory.end_exchange();
    }
}
