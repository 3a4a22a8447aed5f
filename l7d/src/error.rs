//! What can go wrong with a request: the status the client gets, and the two letters the log gets.

use std::io;

use control::config::RetryCause;

use crate::buffer;
use crate::h1::SyntaxError;
use crate::h2::convert::Malformed;
use crate::sessions::Cause;
use crate::upstream::NoServer;
use crate::upstream::connect::ConnectError;

/// Why an exchange failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    /// The request head or its framing is invalid.
    #[error("request is invalid: {0}")]
    Request(SyntaxError),
    /// The request head is longer than a buffer.
    #[error("request head is longer than {} bytes", buffer::SMALL)]
    RequestTooLong,
    /// The request head was not complete in time.
    #[error("request head took too long")]
    RequestTimeout,
    /// The client left before its request head was complete.
    #[error("client closed before its request was complete")]
    RequestCut,
    /// The request's body was not there in time for the rules.
    #[error("request body took too long")]
    BodyTimeout,
    /// The client left before the rules had seen its request's body.
    #[error("client closed before its request's body was complete")]
    BodyCut,
    /// The response's body was not there in time for the rules.
    #[error("response body took too long")]
    ResponseBodyTimeout,
    /// No backend is meant to serve the request.
    #[error("no backend")]
    NoBackend,
    /// No server took the request.
    #[error(transparent)]
    NoServer(#[from] NoServer),
    /// The servers tried could not be connected to.
    #[error("connecting: {0}")]
    Connect(#[from] ConnectError),
    /// The server failed before it answered.
    #[error("server failed before answering: {0}")]
    Server(io::Error),
    /// The server did not answer in time.
    #[error("server did not answer in time")]
    ServerTimeout,
    /// The response head or its framing is invalid.
    #[error("response is invalid: {0}")]
    Response(SyntaxError),
    /// The response has a status on which the request is sent again.
    #[error("server answered with status {0}")]
    Declined(u16),
    /// The response head is longer than a buffer.
    #[error("response head is longer than {} bytes", buffer::SMALL)]
    ResponseTooLong,
    /// One side speaks a version of HTTP that cannot say what the other said.
    #[error("message has no equal in the other version: {0}")]
    Untranslatable(Malformed),
    /// The request in frames is one that HTTP/1 could not carry without changing its meaning.
    #[error("request is invalid: {0}")]
    Malformed(Malformed),
    /// The client's request has no equal in the version that the server speaks.
    #[error("request has no equal in the server's version: {0}")]
    Unsendable(Malformed),
    /// The client took its request back while it waited for a server to have room.
    #[error("client gave up in the queue: {0}")]
    LeftQueue(io::Error),
    /// The client took its request back while a server was connected to.
    #[error("client gave up while a server was connected to: {0}")]
    LeftConnect(io::Error),
    /// The client took its request back while it waited for an answer.
    #[error("client gave up waiting: {0}")]
    TakenBack(io::Error),
    /// The request body is invalid.
    #[error("request body is invalid: {0}")]
    Upload(SyntaxError),
    /// The client left while sending its body.
    #[error("client closed while sending its body")]
    UploadCut,
    /// The client stopped sending its body.
    #[error("client stopped sending its body")]
    UploadTimeout,
    /// The client left while taking the response.
    #[error("client failed while taking the response: {0}")]
    Client(io::Error),
    /// The client stopped taking the response.
    #[error("client stopped taking the response")]
    ClientTimeout,
    /// The server left while sending the response.
    #[error("server failed while sending the response: {0}")]
    Download(io::Error),
    /// The server stopped sending the response.
    #[error("server stopped sending the response")]
    DownloadTimeout,
    /// The response body is invalid.
    #[error("response body is invalid: {0}")]
    DownloadInvalid(SyntaxError),
    /// It was ended from outside, having come so far.
    #[error("ended {}", .0.as_str())]
    Ended(Cause, Phase),
}

/// How far an exchange or a connection had come when it was ended from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It had no backend yet.
    Request,
    /// It waited for a server.
    Queue,
    /// A server was being connected to.
    Connect,
    /// The server had not answered yet.
    Headers,
    /// The answer was on its way.
    Data,
    /// Bytes flowed, of which nothing is known.
    Bytes,
}

impl ExchangeError {
    /// Tells whether someone sent what may have been meant to deceive, or is not who it should be, which an administrator wants to see.
    pub(crate) fn is_doubtful(&self) -> bool {
        matches!(
            self,
            Self::Request(_)
                | Self::Malformed(_)
                | Self::Unsendable(_)
                | Self::Upload(_)
                | Self::Response(_)
                | Self::DownloadInvalid(_)
                | Self::Connect(ConnectError::Tls(_))
        )
    }

    /// Tells whether there was no request yet that rules could have been asked about.
    pub(crate) fn is_before_rules(&self) -> bool {
        matches!(self, Self::Request(_) | Self::RequestTooLong | Self::RequestTimeout | Self::RequestCut | Self::Malformed(_))
    }

    /// Returns what HAProxy calls such a failure of the server where it may make the request go again: a response of which only a part
    /// came is an empty one there, whatever its manual says.
    pub(crate) fn retry_cause(&self) -> Option<RetryCause> {
        if let Self::Declined(status) = self {
            return Some(RetryCause::Status(*status));
        }
        if matches!(self, Self::Server(_)) {
            return Some(RetryCause::EmptyResponse);
        }
        if matches!(self, Self::ServerTimeout) {
            return Some(RetryCause::ResponseTimeout);
        }
        matches!(self, Self::Response(_) | Self::ResponseTooLong | Self::Untranslatable(_)).then_some(RetryCause::JunkResponse)
    }

    /// Returns the status to answer with, unless the client is gone or has an answer already.
    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            Self::Request(_)
            | Self::RequestTooLong
            | Self::RequestCut
            | Self::Upload(_)
            | Self::UploadCut
            | Self::Malformed(_)
            | Self::Unsendable(_)
            | Self::TakenBack(_) => Some(400),
            Self::RequestTimeout | Self::UploadTimeout | Self::BodyTimeout => Some(408),
            Self::NoBackend | Self::NoServer(_) | Self::Connect(_) => Some(503),
            Self::Server(_) | Self::Response(_) | Self::ResponseTooLong | Self::Untranslatable(_) | Self::Declined(_) => Some(502),
            Self::Ended(_, Phase::Queue | Phase::Connect) => Some(503),
            Self::Ended(_, Phase::Headers) => Some(502),
            Self::ServerTimeout | Self::ResponseBodyTimeout => Some(504),
            Self::BodyCut
            | Self::LeftQueue(_)
            | Self::LeftConnect(_)
            | Self::Client(_)
            | Self::ClientTimeout
            | Self::Download(_)
            | Self::DownloadTimeout
            | Self::DownloadInvalid(_)
            | Self::Ended(_, Phase::Request | Phase::Data | Phase::Bytes) => None,
        }
    }

    /// Returns who ended the exchange and in which phase, in HAProxy's letters.
    pub(crate) fn termination(&self) -> &'static str {
        match self {
            Self::Request(_) | Self::RequestTooLong | Self::Malformed(_) | Self::Unsendable(_) => "PR",
            Self::RequestTimeout | Self::BodyTimeout => "cR",
            Self::RequestCut | Self::BodyCut => "CR",
            Self::ResponseBodyTimeout => "sR",
            Self::NoBackend | Self::NoServer(NoServer::NoneUp) | Self::Connect(ConnectError::Failed(_) | ConnectError::Tls(_)) => "SC",
            Self::NoServer(NoServer::QueueTimeout) => "sQ",
            Self::Connect(ConnectError::TimedOut) => "sC",
            Self::Server(_) | Self::Declined(_) => "SH",
            Self::ServerTimeout => "sH",
            Self::Upload(_) | Self::Response(_) | Self::ResponseTooLong | Self::Untranslatable(_) => "PH",
            Self::LeftQueue(_) => "CQ",
            Self::LeftConnect(_) => "CC",
            Self::TakenBack(_) => "CH",
            Self::DownloadInvalid(_) => "PD",
            Self::UploadCut | Self::Client(_) => "CD",
            Self::UploadTimeout | Self::ClientTimeout => "cD",
            Self::Download(_) => "SD",
            Self::DownloadTimeout => "sD",
            Self::Ended(cause, phase) => ended(*cause, *phase),
        }
    }
}

/// Returns the letters of who ended an exchange from outside, and in which phase.
fn ended(cause: Cause, phase: Phase) -> &'static str {
    let of_cause = match cause {
        Cause::Killed => ["KR", "KQ", "KC", "KH", "KD", "K-"],
        Cause::Down => ["DR", "DQ", "DC", "DH", "DD", "D-"],
        Cause::Up => ["UR", "UQ", "UC", "UH", "UD", "U-"],
    };
    let number = match phase {
        Phase::Request => 0,
        Phase::Queue => 1,
        Phase::Connect => 2,
        Phase::Headers => 3,
        Phase::Data => 4,
        Phase::Bytes => 5,
    };
    of_cause[number]
}
