//! TLS with servers: a server's own settings over those of its backend and of the file.

use super::Resolver;
use super::backend::last;
use crate::config::model::{Held, Pardon, Protocol, ServerAuth, ServerTls, TlsProtocol, TlsVersion, Trust};
use crate::config::value::word::Ask;
use crate::config::written::{Server, ServerSettings, TlsProtocolSettings};

/// Makes the settings of a server; none where TLS is not spoken with it.
pub(super) fn tls(resolver: &mut Resolver, server: &Server, layers: &[&ServerSettings], protocol: Option<Protocol>) -> Option<ServerTls> {
    last(layers, |settings| settings.tls.on).filter(|on| *on).map(|_| settings(resolver, server, layers, protocol))
}

/// Makes the settings of a server as if TLS were spoken with it.
pub(super) fn settings(resolver: &mut Resolver, server: &Server, layers: &[&ServerSettings], protocol: Option<Protocol>) -> ServerTls {
    let alpn = last(layers, |settings| settings.tls.alpn.clone()).unwrap_or_else(|| match protocol {
        // Who is to speak HTTP/2 wants to hear of it.
        Some(Protocol::H2) => vec!["h2".to_owned()],
        Some(Protocol::H1) | None => Vec::new(),
    });
    ServerTls {
        verify: verify(resolver, server, layers),
        sni: last(layers, |settings| settings.tls.sni.clone()),
        verify_host: last(layers, |settings| settings.tls.verify_host.clone()),
        certificate: last(layers, |settings| settings.tls.certificate.clone()),
        alpn,
        resumption: last(layers, |settings| settings.tls.resumption).unwrap_or(true),
        tickets: last(layers, |settings| settings.tls.tickets).unwrap_or(true),
        protocol: versions(resolver, layers),
    }
}

fn verify(resolver: &mut Resolver, server: &Server, layers: &[&ServerSettings]) -> ServerAuth {
    let trust = Trust {
        ca: last(layers, |settings| settings.tls.ca.clone()).unwrap_or_default(),
        crl: last(layers, |settings| settings.tls.crl.clone()).unwrap_or_default(),
        own_pardon: Pardon::Nothing,
        pardon_above: Pardon::Nothing,
        held: Held::default(),
    };
    let asked = last(layers, |settings| settings.tls.verify.clone());
    let location = asked.as_ref().map_or(server.name.location(), |asked| asked.location());
    match asked.as_ref().map(|asked| *asked.value()) {
        Some(Ask::Never) => ServerAuth::None,
        Some(Ask::Optional | Ask::Required) | None if trust.ca.is_empty() => {
            let message = format!("the certificate of server `{}` cannot be verified without `ca`", server.name);
            resolver.error(location, message, "a file, or \"@system-ca\" for whom the system trusts; verify = \"none\" trusts everybody");
            ServerAuth::None
        }
        Some(Ask::Optional | Ask::Required) | None => ServerAuth::Required(trust),
    }
}

/// Puts versions, suites and curves together, of which two layers may not agree.
fn versions(resolver: &mut Resolver, layers: &[&ServerSettings]) -> TlsProtocol {
    let merged = TlsProtocolSettings {
        min: last(layers, |settings| settings.tls.protocol.min.clone()),
        max: last(layers, |settings| settings.tls.protocol.max.clone()),
        ciphers: last(layers, |settings| settings.tls.protocol.ciphers.clone()),
        ciphersuites: last(layers, |settings| settings.tls.protocol.ciphersuites.clone()),
        curves: last(layers, |settings| settings.tls.protocol.curves.clone()),
    };
    let is_own = layers.last().is_some_and(|own| own.tls.protocol.min.is_some() && own.tls.protocol.max.is_some());
    // Within one layer its parser has said so.
    if let (Some(min), Some(max)) = (&merged.min, &merged.max)
        && **min > **max
        && !is_own
    {
        resolver.error(max.location(), "the newest version of TLS is older than the oldest", "both count, wherever they stand");
    }
    merged.with_defaults()
}

impl TlsProtocolSettings {
    /// Fills in what was not written.
    pub(in crate::config) fn with_defaults(self) -> TlsProtocol {
        TlsProtocol {
            min: self.min.map_or(TlsVersion::V1_2, |min| *min),
            max: self.max.map_or(TlsVersion::V1_3, |max| *max),
            ciphers: self.ciphers,
            ciphersuites: self.ciphersuites,
            curves: self.curves,
        }
    }
}
