//! What was agreed on with a client in the handshake of TLS, and the certificates that both sides have shown.

use aws_lc_rs::digest;
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;
use x509_parser::x509::X509Name;

use crate::rules::sample::{Kind, Sample};
use crate::tls::Session;

/// Something about the TLS of a connection.
#[derive(Debug)]
pub(in crate::rules) enum Tls {
    /// Whether there is any.
    IsThere,
    Protocol,
    Cipher,
    /// How long the key of the cipher is, in bits.
    KeySize,
    Alpn,
    Host,
    HasHost,
    IsResumed,
    /// Whether it began with early data, which is not taken here.
    HasEarlyData,
    /// Whether the client has shown a certificate in this handshake.
    HasCertificate,
    /// Whether it has ever shown one for this session.
    UsesCertificate,
    /// The number of what went wrong; where something did that is not overlooked, there is no connection.
    Error(Fault),
    Certificate(Owner, Part),
    /// What the peer has shown: of a server all, of a client what stands behind its own certificate.
    Chain(Owner),
}

/// What of a client's certificates was overlooked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rules) enum Fault {
    /// Nothing ever is.
    None,
    /// The first fault of its own.
    Own,
    /// The first of those above.
    Above,
    /// How far above.
    Depth,
    /// The last one.
    Last,
}

/// Who has shown a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rules) enum Owner {
    Client,
    Ourselves,
    Server,
}

/// Something of a certificate.
#[derive(Debug)]
pub(in crate::rules) enum Part {
    Der,
    Sha1,
    Serial,
    Version,
    NotBefore,
    NotAfter,
    KeyAlgorithm,
    SignatureAlgorithm,
    Subject(NamePart),
    Issuer(NamePart),
}

/// A part of a name, or all of it.
#[derive(Debug)]
pub(in crate::rules) enum NamePart {
    /// Each attribute behind a slash, as OpenSSL has always printed names.
    Whole,
    /// As RFC 2253 prints names.
    Rfc2253,
    /// The value of an attribute: which of several, counted from 1, or from -1 backwards.
    Attribute { name: Box<str>, occurrence: i64 },
}

impl Tls {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Protocol | Self::Cipher | Self::Alpn | Self::Host => Kind::Text,
            Self::KeySize | Self::Error(_) => Kind::Int,
            Self::IsThere | Self::HasHost | Self::IsResumed | Self::HasEarlyData | Self::HasCertificate | Self::UsesCertificate => {
                Kind::Bool
            }
            Self::Chain(_) => Kind::Binary,
            Self::Certificate(_, part) => part.kind(),
        }
    }

    pub(super) fn find<'v>(&self, session: Option<&'v Session>) -> Option<Sample<'v>> {
        let Some(session) = session else {
            // These are asked of every connection.
            return matches!(self, Self::IsThere | Self::HasHost | Self::IsResumed | Self::HasEarlyData).then_some(Sample::Bool(false));
        };
        Some(match self {
            Self::IsThere => Sample::Bool(true),
            Self::Protocol => Sample::text(session.secured.version.as_bytes()),
            Self::Cipher => Sample::text(session.secured.cipher.as_bytes()),
            Self::KeySize => Sample::Int(if session.secured.cipher.contains("128") { 128 } else { 256 }),
            Self::Alpn => Sample::text(session.alpn.as_ref()?),
            Self::Host => Sample::text(host(session)?.as_bytes()),
            Self::HasHost => Sample::Bool(host(session).is_some()),
            Self::IsResumed => Sample::Bool(session.is_resumed),
            Self::HasEarlyData => Sample::Bool(false),
            Self::HasCertificate => Sample::Bool(!session.peer.is_empty() && !session.is_resumed),
            Self::UsesCertificate => Sample::Bool(!session.peer.is_empty()),
            Self::Error(fault) => {
                let faults = &session.faults;
                Sample::Int(i64::from(match fault {
                    Fault::None => 0,
                    Fault::Own => faults.own,
                    Fault::Above => faults.above,
                    Fault::Depth => faults.depth,
                    Fault::Last => faults.last,
                }))
            }
            Self::Chain(owner) => {
                let chain = session.peer.get(usize::from(*owner == Owner::Client)..).filter(|chain| !chain.is_empty())?;
                Sample::Binary(chain.iter().flat_map(|der| der.iter().copied()).collect::<Vec<_>>().into())
            }
            Self::Certificate(owner, part) => part.of(owner.certificate(session)?)?,
        })
    }
}

fn host(session: &Session) -> Option<&str> {
    session.shown.as_ref()?.host.as_deref()
}

impl Owner {
    fn certificate(self, session: &Session) -> Option<&CertificateDer<'static>> {
        match self {
            Self::Client | Self::Server => session.peer.first(),
            Self::Ourselves => session.shown.as_ref()?.key.cert.first(),
        }
    }
}

impl Part {
    fn kind(&self) -> Kind {
        match self {
            Self::Der | Self::Sha1 | Self::Serial => Kind::Binary,
            Self::Version => Kind::Int,
            Self::NotBefore | Self::NotAfter | Self::KeyAlgorithm | Self::SignatureAlgorithm | Self::Subject(_) | Self::Issuer(_) => {
                Kind::Text
            }
        }
    }

    fn of<'v>(&self, der: &'v CertificateDer<'static>) -> Option<Sample<'v>> {
        let certificate = || X509Certificate::from_der(der).ok().map(|(_, certificate)| certificate);
        let owned = |bytes: &[u8]| Sample::Binary(bytes.to_vec().into());
        Some(match self {
            Self::Der => Sample::Binary(der.as_ref().into()),
            Self::Sha1 => owned(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, der).as_ref()),
            Self::Serial => {
                let certificate = certificate()?;
                let digits = certificate.raw_serial();
                let zeros = digits.iter().take_while(|digit| **digit == 0).count().min(digits.len().saturating_sub(1));
                owned(&digits[zeros..])
            }
            Self::Version => Sample::Int(i64::from(certificate()?.version().0) + 1),
            Self::NotBefore => Sample::own(date(certificate()?.validity().not_before)),
            Self::NotAfter => Sample::own(date(certificate()?.validity().not_after)),
            Self::KeyAlgorithm => Sample::own(algorithm(&certificate()?.public_key().algorithm.algorithm.to_id_string())),
            Self::SignatureAlgorithm => Sample::own(algorithm(&certificate()?.signature_algorithm.algorithm.to_id_string())),
            Self::Subject(part) => Sample::own(part.of(certificate()?.subject())?),
            Self::Issuer(part) => Sample::own(part.of(certificate()?.issuer())?),
        })
    }
}

/// Prints a date as certificates of this century do.
fn date(time: ASN1Time) -> Vec<u8> {
    let at = time.to_datetime();
    let (year, month) = (at.year().rem_euclid(100), u8::from(at.month()));
    format!("{year:02}{month:02}{:02}{:02}{:02}{:02}Z", at.day(), at.hour(), at.minute(), at.second()).into_bytes()
}

/// Returns the name of an algorithm that OpenSSL has for it; one without a name is a number.
fn algorithm(id: &str) -> Vec<u8> {
    let found = ALGORITHMS.iter().find(|(known, _)| *known == id);
    found.map_or(id, |(_, name)| name).as_bytes().to_vec()
}

const ALGORITHMS: [(&str, &str); 15] = [
    ("1.2.840.10045.2.1", "id-ecPublicKey"),
    ("1.2.840.10045.4.1", "ecdsa-with-SHA1"),
    ("1.2.840.10045.4.3.1", "ecdsa-with-SHA224"),
    ("1.2.840.10045.4.3.2", "ecdsa-with-SHA256"),
    ("1.2.840.10045.4.3.3", "ecdsa-with-SHA384"),
    ("1.2.840.10045.4.3.4", "ecdsa-with-SHA512"),
    ("1.2.840.113549.1.1.1", "rsaEncryption"),
    ("1.2.840.113549.1.1.10", "RSASSA-PSS"),
    ("1.2.840.113549.1.1.11", "RSA-SHA256"),
    ("1.2.840.113549.1.1.12", "RSA-SHA384"),
    ("1.2.840.113549.1.1.13", "RSA-SHA512"),
    ("1.2.840.113549.1.1.14", "RSA-SHA224"),
    ("1.2.840.113549.1.1.5", "RSA-SHA1"),
    ("1.3.101.112", "ED25519"),
    ("1.3.101.113", "ED448"),
];

/// Short names of attributes, as OpenSSL has them.
const ATTRIBUTES: [(&str, &str); 22] = [
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "title"),
    ("2.5.4.13", "description"),
    ("2.5.4.15", "businessCategory"),
    ("2.5.4.17", "postalCode"),
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.41", "name"),
    ("2.5.4.42", "GN"),
    ("2.5.4.43", "initials"),
    ("2.5.4.44", "generationQualifier"),
    ("2.5.4.46", "dnQualifier"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.65", "pseudonym"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "street"),
];

impl NamePart {
    fn of(&self, name: &X509Name<'_>) -> Option<Vec<u8>> {
        let all: Vec<(String, &[u8])> =
            name.iter_attributes().map(|attribute| (short(&attribute.attr_type().to_id_string()), attribute.as_slice())).collect();
        match self {
            Self::Whole => {
                let part = |(name, value): &(String, &[u8])| [b"/", name.as_bytes(), b"=", value].concat();
                Some(all.iter().flat_map(part).collect()).filter(|text: &Vec<u8>| !text.is_empty())
            }
            Self::Rfc2253 => {
                let part = |(name, value): &(String, &[u8])| [name.as_bytes(), b"=", &escaped(value)].concat();
                Some(all.iter().rev().map(part).collect::<Vec<_>>().join(&b','))
            }
            Self::Attribute { name, occurrence } => {
                let mut values: Vec<&[u8]> =
                    all.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| *value).collect();
                if *occurrence < 0 {
                    values.reverse();
                }
                let place = usize::try_from(occurrence.unsigned_abs()).ok()?.max(1) - 1;
                values.get(place).map(|value| value.to_vec())
            }
        }
    }
}

fn short(id: &str) -> String {
    ATTRIBUTES.iter().find(|(known, _)| *known == id).map_or(id, |(_, name)| name).to_owned()
}

/// Escapes what has a meaning of its own between attributes (RFC 2253 section 2.4).
fn escaped(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    for (at, byte) in value.iter().enumerate() {
        let is_edge = at == 0 || at == value.len() - 1;
        let is_special =
            matches!(byte, b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';') || *byte == b' ' && is_edge || *byte == b'#' && at == 0;
        if is_special {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out
}
