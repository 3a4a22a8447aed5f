//! What a probe does, step by step.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use regex::bytes::Regex;

use super::check::{HttpVersion, StatusSet};
use super::format::{Expression, Format};
use crate::config::location::Located;

/// Steps of a probe, one after the other; the first that fails ends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    pub(in crate::config) script: Script,
    pub(in crate::config) steps: Vec<Step>,
    pub(in crate::config) disable_on_404: bool,
    pub(in crate::config) send_state: bool,
}

impl Sequence {
    /// Returns what the sequence is written as.
    pub fn script(&self) -> Script {
        self.script
    }

    /// Returns the steps; a connection is made before the first that needs one.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Tells whether status 404 takes a server out of the choice without taking it down.
    pub fn disable_on_404(&self) -> bool {
        self.disable_on_404
    }

    /// Tells whether requests say how the server is seen.
    pub fn send_state(&self) -> bool {
        self.send_state
    }
}

/// What a sequence is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    /// Steps of `tcp-check`, or none.
    Tcp,
    /// Steps of `http-check`, or the request of `option httpchk`.
    Http,
    /// The steps of a protocol, which nobody wrote down.
    Protocol,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub(in crate::config) number: usize,
    pub(in crate::config) action: Action,
    pub(in crate::config) comment: Option<String>,
}

impl Step {
    /// Returns its place among what is written, counted from 1; 0 where it is not written.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Returns what is done.
    pub fn action(&self) -> &Action {
        &self.action
    }

    /// Returns what is said beside a failure.
    pub fn comment(&self) -> Option<&str> {
        self.comment.as_deref()
    }
}

/// What is done in a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Opens a connection in place of the one before.
    Connect(Connect),
    /// Sends bytes.
    Send(Payload),
    /// Sends a request.
    Request(Request),
    /// Waits for what the server says.
    Expect(Expect),
    /// Gives a variable a value.
    SetVariable(String, Format),
    /// Takes a variable away.
    UnsetVariable(String),
    /// Starts a program, whose exit status tells.
    Run(Program),
}

/// A program that finds out how a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    pub(in crate::config) command: Located<PathBuf>,
    pub(in crate::config) path: Option<String>,
}

impl Program {
    /// Returns the file of the program; sought along [`path`](Self::path) where it has no slash.
    pub fn command(&self) -> &Path {
        self.command.value()
    }

    /// Returns the directories in which the program finds others; none gives it none.
    pub fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }
}

/// How a step connects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connect {
    pub(in crate::config) defaults: bool,
    pub(in crate::config) port: Option<Port>,
    pub(in crate::config) address: Option<IpAddr>,
    pub(in crate::config) send_proxy: bool,
    pub(in crate::config) tls: bool,
    pub(in crate::config) sni: Option<String>,
    pub(in crate::config) alpn: Vec<String>,
    pub(in crate::config) linger: bool,
    pub(in crate::config) version: Option<super::Protocol>,
    pub(in crate::config) datagrams: bool,
    /// What is written.
    pub(in crate::config) text: String,
}

impl Connect {
    /// Connects as the server's own settings say.
    pub(crate) fn implicit() -> Self {
        Self { defaults: true, ..Self::default() }
    }

    /// Tells whether the server's own settings hold where the step has none.
    pub fn defaults(&self) -> bool {
        self.defaults
    }

    /// Returns the port; none goes where the check goes.
    pub fn port(&self) -> Option<&Port> {
        self.port.as_ref()
    }

    /// Returns the address; none goes where the check goes.
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Tells whether a PROXY header comes first.
    pub fn send_proxy(&self) -> bool {
        self.send_proxy
    }

    /// Tells whether TLS is spoken.
    pub fn tls(&self) -> bool {
        self.tls
    }

    /// Returns the host TLS asks for.
    pub fn sni(&self) -> Option<&str> {
        self.sni.as_deref()
    }

    /// Returns the names of protocols TLS offers.
    pub fn alpn(&self) -> &[String] {
        &self.alpn
    }

    /// Tells whether the connection is ended in due form, not by a reset.
    pub fn linger(&self) -> bool {
        self.linger
    }

    /// Returns the version of HTTP that is spoken; none leaves it to TLS.
    pub fn version(&self) -> Option<super::Protocol> {
        self.version
    }

    /// Tells whether it is UDP, which has no TLS and no PROXY header here.
    pub fn datagrams(&self) -> bool {
        self.datagrams
    }

    /// Returns the words of the step; empty for one that nobody wrote.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// The port of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Port {
    /// A number.
    Number(u16),
    /// What an expression says when the step is reached.
    Expression(Expression),
}

/// Bytes to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// As they are.
    Text(Format),
    /// As hexadecimal digits, turned to bytes when they are sent.
    Hex(Format),
}

/// A request to be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    pub(in crate::config) method: Option<String>,
    pub(in crate::config) target: Option<Format>,
    pub(in crate::config) version: Option<HttpVersion>,
    pub(in crate::config) headers: Vec<(String, Format)>,
    pub(in crate::config) body: Option<Format>,
}

impl Request {
    /// Returns the method; `OPTIONS` where none is written.
    pub fn method(&self) -> &str {
        self.method.as_deref().unwrap_or("OPTIONS")
    }

    /// Returns the target; none stands for `/`.
    pub fn target(&self) -> Option<&Format> {
        self.target.as_ref()
    }

    /// Returns the version.
    pub fn version(&self) -> HttpVersion {
        self.version.unwrap_or(HttpVersion::Http10)
    }

    /// Returns the header fields, names in small letters.
    pub fn headers(&self) -> &[(String, Format)] {
        &self.headers
    }

    /// Returns the body.
    pub fn body(&self) -> Option<&Format> {
        self.body.as_ref()
    }
}

/// What the server has to say, and what becomes of the check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expect {
    pub(in crate::config) pattern: Pattern,
    pub(in crate::config) negated: bool,
    pub(in crate::config) min_recv: Option<usize>,
    pub(in crate::config) on_success: Option<Format>,
    pub(in crate::config) on_error: Option<Format>,
    pub(in crate::config) status_code: Option<Expression>,
    pub(in crate::config) good: Good,
    pub(in crate::config) bad: Option<Bad>,
    pub(in crate::config) late: Late,
}

impl Expect {
    /// Expects a pattern and nothing else.
    pub(in crate::config) fn new(pattern: Pattern) -> Self {
        let (good, bad, late) = (Good::Layer7, None, Late::Layer7);
        Self { pattern, negated: false, min_recv: None, on_success: None, on_error: None, status_code: None, good, bad, late }
    }

    /// Returns what is looked for.
    pub fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// Tells whether finding it is the failure.
    pub fn negated(&self) -> bool {
        self.negated
    }

    /// Returns how much has to be there before anything is decided; 0 decides by what there is.
    pub fn min_recv(&self) -> Option<usize> {
        self.min_recv
    }

    /// Returns what is said of a success.
    pub fn on_success(&self) -> Option<&Format> {
        self.on_success.as_ref()
    }

    /// Returns what is said of a failure.
    pub fn on_error(&self) -> Option<&Format> {
        self.on_error.as_ref()
    }

    /// Returns the code that is reported.
    pub fn status_code(&self) -> Option<&Expression> {
        self.status_code.as_ref()
    }

    /// Returns what a success is, if it is the last step.
    pub fn good(&self) -> Good {
        self.good
    }

    /// Returns what a failure is; none leaves it to the pattern.
    pub fn bad(&self) -> Option<Bad> {
        self.bad
    }

    /// Returns what silence is.
    pub fn late(&self) -> Late {
        self.late
    }
}

/// What is looked for.
#[derive(Clone, Debug)]
pub enum Pattern {
    /// A status of a set.
    Status(StatusSet),
    /// A status whose digits a regular expression matches.
    StatusMatch(Regex),
    /// A header field.
    Header(HeaderPattern),
    /// Bytes, anywhere.
    Text(Payload),
    /// Bytes that a regular expression matches.
    Match(Regex),
    /// Bytes whose hexadecimal digits, in capitals, a regular expression matches.
    HexMatch(Regex),
    /// A packet of MySQL that is no error.
    MySql {
        /// How many packets come before it.
        packet: usize,
    },
    /// The answer of an LDAP server to our bind.
    Ldap,
    /// The answer of gRPC's health service that says that all is well.
    Grpc,
    /// The answer of a server of the DNS that has a record.
    Dns,
    /// The versions a QUIC server speaks, in answer to one that nobody does.
    Quic,
}

/// Regular expressions are equal when their texts are.
impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Status(one), Self::Status(other)) => one == other,
            (Self::Header(one), Self::Header(other)) => one == other,
            (Self::Text(one), Self::Text(other)) => one == other,
            (Self::MySql { packet }, Self::MySql { packet: other }) => packet == other,
            (Self::Ldap, Self::Ldap) | (Self::Grpc, Self::Grpc) | (Self::Dns, Self::Dns) | (Self::Quic, Self::Quic) => true,
            (Self::StatusMatch(one), Self::StatusMatch(other))
            | (Self::Match(one), Self::Match(other))
            | (Self::HexMatch(one), Self::HexMatch(other)) => one.as_str() == other.as_str(),
            _ => false,
        }
    }
}

impl Eq for Pattern {}

/// A header field that is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderPattern {
    pub(in crate::config) name: TextMatch,
    pub(in crate::config) value: Option<TextMatch>,
    pub(in crate::config) whole: bool,
}

impl HeaderPattern {
    /// Returns what the name has to be, in small letters.
    pub fn name(&self) -> &TextMatch {
        &self.name
    }

    /// Returns what the value has to be; none takes any.
    pub fn value(&self) -> Option<&TextMatch> {
        self.value.as_ref()
    }

    /// Tells whether the value is looked at as a whole, not as a list with commas.
    pub fn whole(&self) -> bool {
        self.whole
    }
}

/// A way to compare a text.
#[derive(Clone, Debug)]
pub enum TextMatch {
    /// Compares with a text in some way.
    Text(Place, Format),
    /// Compares with a regular expression.
    Match(Regex),
}

impl PartialEq for TextMatch {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Text(place, text), Self::Text(other, what)) => place == other && text == what,
            (Self::Match(one), Self::Match(other)) => one.as_str() == other.as_str(),
            (Self::Text(..), Self::Match(_)) | (Self::Match(_), Self::Text(..)) => false,
        }
    }
}

impl Eq for TextMatch {}

/// Where in a text another has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It is all of it.
    Whole,
    /// At its beginning.
    Start,
    /// At its end.
    End,
    /// Anywhere.
    Anywhere,
}

/// What a success is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Good {
    /// `L4OK`.
    Layer4,
    /// `L6OK`.
    Layer6,
    /// `L7OK`, the default.
    Layer7,
    /// `L7OKC`: the server takes nothing new.
    Conditional,
}

/// What a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// `L4CON`.
    Layer4,
    /// `L6RSP`.
    Layer6,
    /// `L7RSP`.
    Layer7,
    /// `L7STS`.
    Status,
    /// `L7OKC`: the server takes nothing new.
    Conditional,
}

/// What silence is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Late {
    /// `L4TOUT`.
    Layer4,
    /// `L6TOUT`.
    Layer6,
    /// `L7TOUT`, the default.
    Layer7,
}

/// The number of a question to a server of the DNS that is checked: another's answer never gets to the socket of a check.
pub(crate) const DNS_CHECK_ID: u16 = 0x6c64;

/// How a packet of QUIC that checks calls the server, and itself.
pub(crate) const QUIC_CHECK_NAMES: [&[u8; 8]; 2] = [b"l7dcheck", b"l7dasker"];
