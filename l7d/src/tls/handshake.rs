//! The beginning of a client's connection with TLS.

use std::io;
use std::pin::pin;
use std::time::{Duration, Instant};

use control::config::{Mode, Timeout};
use rustls::CertificateError;
use tracing::{debug, info};

use super::acceptor::Acceptor;
use super::layer::Wanted;
use crate::deadline::Elapsed;
use crate::session::Client;
use crate::site::Frontend;
use crate::{inspect, log};

/// Why there is no TLS with a client.
#[derive(Debug, thiserror::Error)]
enum HandshakeError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Protocol(#[from] rustls::Error),
    #[error("timed out")]
    TimedOut(#[from] Elapsed),
}

/// Puts TLS between a client and everything that follows, and tells whether that worked; if not, it was logged.
pub(crate) async fn accept(client: &mut Client, acceptor: &Acceptor, frontend: &Frontend) -> bool {
    let began = Instant::now();
    let Err(error) = shake_hands(client, acceptor, frontend).await else {
        debug!("{} on frontend {}: {:?}", client.source, frontend.name(), client.stream.tls());
        return true;
    };
    info!("{} on frontend {}: TLS handshake: {error}", client.source, frontend.name());
    log::refused(frontend, client.source, began, acceptor.bind(), error.phrase());
    false
}

async fn shake_hands(client: &mut Client, acceptor: &Acceptor, frontend: &Frontend) -> Result<(), HandshakeError> {
    let (began, limit) = (Instant::now(), limit(frontend));
    let hello = match acceptor.is_particular() {
        // Whatever is no hello, or none in time, is refused by the handshake.
        true => inspect::look(client, limit.unwrap_or(LONGEST), inspect::client_hello).await.flatten(),
        false => None,
    };
    let limit = limit.map(|limit| limit.saturating_sub(began.elapsed()));
    let host = hello.and_then(|hello| hello.server_name);
    let early = client.early.take();
    let layer = acceptor.begin(host.as_deref(), early.as_ref().map_or(&[], |early| early.filled()))?;
    let Client { stream, deadline, .. } = client;
    stream.secure(layer);
    // Rules know how to hold back requests that may be somebody else's; nobody knows it of bytes.
    let wanted = if frontend.mode() == Mode::Http { Wanted::Request } else { Wanted::Whole };
    Ok(deadline.within(limit, pin!(stream.handshake(wanted))).await??)
}

/// How long a hello is waited for where there is no limit.
const LONGEST: Duration = Duration::from_secs(3600);

/// A client may take as long for the handshake as for its first request.
fn limit(frontend: &Frontend) -> Option<Duration> {
    let request = frontend.timeouts().of(Timeout::HttpRequest).filter(|_| frontend.mode() == Mode::Http);
    request.or(frontend.timeouts().of(Timeout::Client))
}

impl HandshakeError {
    /// Returns what HAProxy's log says.
    fn phrase(&self) -> &'static str {
        match self {
            Self::TimedOut(_) => "Timeout during SSL handshake",
            Self::Protocol(error) => refusal(error),
            Self::Io(error) => match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                Some(error) => refusal(error),
                None if error.kind() == io::ErrorKind::UnexpectedEof => "Connection closed during SSL handshake",
                None => "Connection error during SSL handshake",
            },
        }
    }
}

fn refusal(error: &rustls::Error) -> &'static str {
    if let rustls::Error::InvalidCertificate(reason) = error {
        return if *reason == CertificateError::UnknownIssuer {
            "SSL client CA chain cannot be verified"
        } else {
            "SSL client certificate not trusted"
        };
    }
    "SSL handshake failure"
}
