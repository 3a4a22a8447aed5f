//! What decides about TLS with one server.

use std::borrow::Cow;
use std::net::Ipv4Addr;
use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{ResolvesClientCert, Resumption, Tls12Resumption};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{DnsName, ServerName};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, Error};

use super::identity::Identity;
use super::suites;
use super::trust::trusted;
use super::verifier::{Credulous, Strict};
use crate::config::{Diagnostic, Location, ServerAuth, ServerTls};

/// Decides about TLS with one server.
#[derive(Debug)]
pub struct Client {
    config: Arc<ClientConfig>,
    made_of: Ingredients,
}

/// What decides: the configuration, and the bytes of the files it names.
#[derive(Debug, PartialEq, Eq)]
struct Ingredients {
    model: ServerTls,
    files: Vec<Vec<u8>>,
}

/// The host a server is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host<'a> {
    /// The server is not told.
    Unstated,
    /// This one, perhaps with a port behind it.
    Named(&'a [u8]),
}

impl Client {
    /// Reads everything that `model` names and says all that is wrong with it; what is the same as `before` goes on with its sessions.
    pub fn load(model: &ServerTls, location: &Location, before: Option<&Arc<Self>>, findings: &mut Vec<Diagnostic>) -> Option<Arc<Self>> {
        let provider = Arc::new(suites::provider(model.protocol()));
        let mut made_of = Ingredients { model: model.clone(), files: Vec::new() };
        let identity = identity(model, &provider, &mut made_of.files, findings).map_err(|error| findings.push(error));
        let verifier = verifier(model, location, &provider, &mut made_of.files, findings);
        let (identity, verifier) = (identity.ok()?, verifier?);
        if let Some(before) = before.filter(|before| before.made_of == made_of) {
            return Some(Arc::clone(before));
        }
        match client_config(model, provider, verifier, identity) {
            Ok(config) => Some(Arc::new(Self { config: Arc::new(config), made_of })),
            Err(error) => {
                findings.push(Diagnostic::error(location, format!("TLS cannot be spoken like this: {error}")));
                None
            }
        }
    }

    /// Tells whether it was made of these settings.
    pub fn is_of(&self, model: &ServerTls) -> bool {
        self.made_of.model == *model
    }

    /// Returns what rustls goes by.
    pub fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }

    /// Returns the name under which rustls asks for a host.
    ///
    /// # Errors
    /// Fails if no host can be called like this.
    pub fn name(host: Host<'_>) -> Result<ServerName<'static>, String> {
        let Host::Named(host) = host else { return Ok(no_name()) };
        let bare = without_port(host);
        let name = ServerName::try_from(bare)
            .map_err(|_| format!("`{}` is not the name of a host", String::from_utf8_lossy(host).escape_debug()))?;
        Ok(match name {
            // Case makes no difference to anybody, but would to who looks for a session.
            ServerName::DnsName(name) => ServerName::DnsName(lower(&name)),
            name @ (ServerName::IpAddress(_) | _) => name.to_owned(),
        })
    }
}

fn lower(name: &DnsName<'_>) -> DnsName<'static> {
    let text = name.as_ref();
    let text = if text.bytes().any(|byte| byte.is_ascii_uppercase()) { Cow::Owned(text.to_ascii_lowercase()) } else { Cow::Borrowed(text) };
    DnsName::try_from(text.into_owned()).expect("case does not make a name invalid")
}

/// Returns a host without the port, the brackets and the last dot it may come with.
fn without_port(host: &[u8]) -> &[u8] {
    if let Some(bracketed) = host.strip_prefix(b"[") {
        return bracketed.iter().position(|byte| *byte == b']').map_or(host, |end| &bracketed[..end]);
    }
    let mut colons = host.iter().enumerate().filter(|(_, byte)| **byte == b':').map(|(at, _)| at);
    let host = match (colons.next(), colons.next()) {
        (Some(colon), None) => &host[..colon],
        _ => host,
    };
    host.strip_suffix(b".").unwrap_or(host)
}

fn client_config(
    model: &ServerTls,
    provider: Arc<CryptoProvider>,
    verifier: Arc<dyn ServerCertVerifier>,
    identity: Option<Arc<dyn ResolvesClientCert>>,
) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&suites::versions(model.protocol()))?;
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let mut config = match identity {
        Some(identity) => builder.with_client_cert_resolver(identity),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = model.alpn().iter().map(|protocol| protocol.clone().into_bytes()).collect();
    config.resumption = if model.resumption() { Resumption::in_memory_sessions(REMEMBERED) } else { Resumption::disabled() };
    if !model.tickets() {
        config.resumption = config.resumption.tls12_resumption(Tls12Resumption::SessionIdOnly);
    }
    Ok(config)
}

/// Reads what we show to the server, if it is to be shown anything.
fn identity(
    model: &ServerTls,
    provider: &CryptoProvider,
    files: &mut Vec<Vec<u8>>,
    findings: &mut Vec<Diagnostic>,
) -> Result<Option<Arc<dyn ResolvesClientCert>>, Diagnostic> {
    let Some(path) = model.certificate() else { return Ok(None) };
    let identity = Identity::load(path.value(), provider).map_err(|reason| Diagnostic::error(path.location(), reason))?;
    findings.extend(identity.doubt.map(|doubt| Diagnostic::warning(path.location(), doubt)));
    files.extend(identity.key.cert.iter().map(|certificate| certificate.to_vec()));
    Ok(Some(Arc::new(SingleCertAndKey::from(identity.key))))
}

fn verifier(
    model: &ServerTls,
    location: &Location,
    provider: &Arc<CryptoProvider>,
    files: &mut Vec<Vec<u8>>,
    findings: &mut Vec<Diagnostic>,
) -> Option<Arc<dyn ServerCertVerifier>> {
    let trust = match model.verify() {
        ServerAuth::None => return Some(Arc::new(Credulous(Arc::clone(provider)))),
        ServerAuth::Required(trust) => trust,
    };
    let host = model.verify_host().map(|host| Client::name(Host::Named(host.as_bytes())));
    let host = host.transpose().map_err(|error| findings.push(Diagnostic::error(location, error))).ok()?;
    let first = files.len();
    let trusted = trusted(trust, files, findings)?;
    match Strict::new(trusted, &files[first..], host, provider) {
        Ok(verifier) => Some(Arc::new(verifier)),
        Err(reason) => {
            findings.push(Diagnostic::error(location, reason));
            None
        }
    }
}

/// Returns what stands for the name of a server that is not told one: rustls tells nobody an address.
pub(super) fn no_name() -> ServerName<'static> {
    Ipv4Addr::UNSPECIFIED.into()
}

/// Sessions remembered of one server, one or a few for each name it was asked for by.
const REMEMBERED: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_is_known_by_its_bare_name() {
        let name = |host: &str| Client::name(Host::Named(host.as_bytes())).map(|name| name.to_str().into_owned());
        for (host, bare) in [
            ("www.example.org", "www.example.org"),
            ("WWW.Example.org:8443", "www.example.org"),
            ("example.org.", "example.org"),
            ("10.0.0.1:80", "10.0.0.1"),
            ("[::1]:80", "::1"),
            ("::1", "::1"),
        ] {
            assert_eq!(name(host).as_deref(), Ok(bare), "{host}");
        }
        for host in ["", "a b", "a:b:c.d", "é.example"] {
            assert!(name(host).is_err(), "{host}");
        }
    }
}
