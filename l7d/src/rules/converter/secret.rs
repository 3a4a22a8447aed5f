//! Converters that need a key: signatures of tokens (RFC 7515), and what AES-GCM has encrypted.

use std::path::Path;

use aws_lc_rs::aead::{AES_128_GCM, AES_192_GCM, AES_256_GCM, Aad, Algorithm, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use control::config::Diagnostic;
use control::file;
use rustls::pki_types::pem::{PemObject, SectionKind};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::text::decoded_url_base64;
use crate::base64;
use crate::rules::argument::{Argument, Call};
use crate::rules::names::Names;
use crate::rules::sample::{Kind, Sample};
use crate::rules::view::{VariableId, View};

/// A converter that needs a key.
#[derive(Debug)]
pub(in crate::rules) enum Secret {
    /// Whether a token is signed with a key.
    Token { algorithm: Text, key: Key },
    /// What was encrypted with a key.
    Decrypted(Box<Decryption>),
}

/// What AES-GCM is told beside the bytes.
#[derive(Debug)]
pub(in crate::rules) struct Decryption {
    algorithm: &'static Algorithm,
    nonce: Text,
    key: Text,
    tag: Text,
}

/// A text that is written or in a variable.
#[derive(Debug)]
pub(in crate::rules) enum Text {
    Written(Box<[u8]>),
    Variable(VariableId),
}

/// The key of a signature.
#[derive(Debug)]
pub(in crate::rules) enum Key {
    /// A secret that both sides know.
    Shared(Text),
    /// The public key of whoever signs, and the secret that the argument would be.
    Public { key: Box<[u8]>, name: Box<[u8]> },
}

/// Every name.
pub(super) const NAMES: [&str; 2] = ["aes_gcm_dec", "jwt_verify"];

impl Secret {
    /// Makes the converter of that name; none if it is no name of one.
    ///
    /// # Errors
    /// Names arguments that do not fit.
    pub(super) fn build(call: &Call<'_, '_>, names: &mut Names) -> Option<Result<Self, Diagnostic>> {
        Some(match call.name {
            "aes_gcm_dec" => decryption(call, names).map(|decryption| Self::Decrypted(Box::new(decryption))),
            "jwt_verify" => token(call, names),
            _ => return None,
        })
    }

    pub(super) fn makes(&self) -> Kind {
        match self {
            Self::Token { .. } => Kind::Int,
            Self::Decrypted(_) => Kind::Binary,
        }
    }

    pub(super) fn of(&self, sample: &Sample<'_>, view: &View<'_>) -> Option<Sample<'static>> {
        match self {
            Self::Token { algorithm, key } => Some(Sample::Int(verify(&sample.to_bytes(), &algorithm.value(view)?, key, view))),
            Self::Decrypted(decryption) => decryption.of(&sample.to_binary(), view).map(|plain| Sample::Binary(plain.into())),
        }
    }
}

impl Text {
    fn read(argument: &Argument, names: &mut Names) -> Self {
        // What cannot be the name of a variable is a text.
        match names.variable(&argument.text) {
            Ok(id) => Self::Variable(id),
            Err(_) => Self::Written(argument.text.as_bytes().into()),
        }
    }

    fn value(&self, view: &View<'_>) -> Option<Vec<u8>> {
        match self {
            Self::Written(text) => Some(text.to_vec()),
            Self::Variable(id) => view.variable(*id).map(|sample| sample.to_bytes().into_owned()),
        }
    }

    fn decoded(&self, view: &View<'_>) -> Option<Vec<u8>> {
        base64::decode(&self.value(view)?)
    }
}

fn decryption(call: &Call<'_, '_>, names: &mut Names) -> Result<Decryption, Diagnostic> {
    call.at_most(4)?;
    let what = "bits, a nonce, a key and a tag";
    let bits = call.required(0, what)?;
    let algorithm = match bits.text.as_str() {
        "128" => &AES_128_GCM,
        "192" => &AES_192_GCM,
        "256" => &AES_256_GCM,
        other => return Err(call.error_in(bits, format!("`{other}` is not 128, 192 or 256"))),
    };
    let mut text = |index| call.required(index, what).map(|argument| Text::read(argument, names));
    Ok(Decryption { algorithm, nonce: text(1)?, key: text(2)?, tag: text(3)? })
}

impl Decryption {
    fn of(&self, bytes: &[u8], view: &View<'_>) -> Option<Vec<u8>> {
        let key = LessSafeKey::new(UnboundKey::new(self.algorithm, &self.key.decoded(view)?).ok()?);
        let nonce = Nonce::try_assume_unique_for_key(&self.nonce.decoded(view)?).ok()?;
        let mut sealed = [bytes, &self.tag.decoded(view)?].concat();
        let length = key.open_in_place(nonce, Aad::empty(), &mut sealed).ok()?.len();
        sealed.truncate(length);
        Some(sealed)
    }
}

fn token(call: &Call<'_, '_>, names: &mut Names) -> Result<Secret, Diagnostic> {
    call.at_most(2)?;
    let (algorithm, key) = (call.required(0, "an algorithm and a key")?, call.required(1, "an algorithm and a key")?);
    let is_shared = ["HS256", "HS384", "HS512"].contains(&algorithm.text.as_str());
    let is_named = names.variable(&key.text).is_ok();
    if !is_shared && !is_named {
        match public_key(Path::new(&key.text)) {
            Ok(public) => {
                let key = Key::Public { key: public.into(), name: key.text.as_bytes().into() };
                return Ok(Secret::Token { algorithm: Text::read(algorithm, names), key });
            }
            // Whose algorithm is in a variable may have a secret.
            Err(_) if names.variable(&algorithm.text).is_ok() => {}
            Err(error) => return Err(call.error_in(key, format!("{}: {error}", key.text))),
        }
    }
    Ok(Secret::Token { algorithm: Text::read(algorithm, names), key: Key::Shared(Text::read(key, names)) })
}

/// Reads the public key in a file, which may be that of a certificate.
fn public_key(path: &Path) -> Result<Vec<u8>, String> {
    let bytes = file::read(path, LARGEST).map_err(|error| error.to_string())?;
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(&bytes) {
        let Ok((kind, der)) = section else { continue };
        let is_plain = kind == SectionKind::PublicKey;
        let found = if is_plain {
            SubjectPublicKeyInfo::from_der(&der).ok().map(|(_, key)| key.subject_public_key.data.into_owned())
        } else if kind == SectionKind::Certificate {
            X509Certificate::from_der(&der).ok().map(|(_, certificate)| certificate.public_key().subject_public_key.data.to_vec())
        } else {
            None
        };
        if let Some(key) = found {
            return Ok(key);
        }
    }
    Err("no public key in it".to_owned())
}

/// Larger files hold something else than a key.
const LARGEST: usize = 1 << 20;

/// Verifies a token, and returns what HAProxy has for the outcome.
fn verify(token: &[u8], algorithm: &[u8], key: &Key, view: &View<'_>) -> i64 {
    let shared = match algorithm {
        b"HS256" => Some(hmac::HMAC_SHA256),
        b"HS384" => Some(hmac::HMAC_SHA384),
        b"HS512" => Some(hmac::HMAC_SHA512),
        _ => None,
    };
    let public: Option<&'static dyn VerificationAlgorithm> = match algorithm {
        b"RS256" => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
        b"RS384" => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
        b"RS512" => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
        b"ES256" => Some(&signature::ECDSA_P256_SHA256_FIXED),
        b"ES384" => Some(&signature::ECDSA_P384_SHA384_FIXED),
        b"ES512" => Some(&signature::ECDSA_P521_SHA512_FIXED),
        _ => None,
    };
    if shared.is_none() && public.is_none() {
        return if matches!(algorithm, b"PS256" | b"PS384" | b"PS512") { UNMANAGED } else { UNKNOWN };
    }
    let Some((signed, signature)) = parts(token) else { return INVALID };
    let is_right = match (shared, public, key) {
        (Some(algorithm), _, Key::Shared(text)) => text.value(view).map(|secret| with_secret(algorithm, &secret, signed, &signature)),
        (Some(algorithm), _, Key::Public { name, .. }) => Some(with_secret(algorithm, name, signed, &signature)),
        (None, Some(algorithm), Key::Public { key, .. }) => Some(UnparsedPublicKey::new(algorithm, key).verify(signed, &signature).is_ok()),
        (None, _, _) => return NO_CERTIFICATE,
    };
    is_right.map_or(INVALID, i64::from)
}

fn with_secret(algorithm: hmac::Algorithm, secret: &[u8], signed: &[u8], signature: &[u8]) -> bool {
    hmac::verify(&hmac::Key::new(algorithm, secret), signed, signature).is_ok()
}

/// Returns what of a token is signed, and the signature.
fn parts(token: &[u8]) -> Option<(&[u8], Vec<u8>)> {
    let mut dots = token.iter().enumerate().filter(|(_, byte)| **byte == b'.').map(|(at, _)| at);
    let (_, second) = (dots.next()?, dots.next()?);
    let is_whole = dots.next().is_none();
    is_whole.then_some((&token[..second], decoded_url_base64(&token[second + 1..])?))
}

const UNKNOWN: i64 = -1;
const UNMANAGED: i64 = -2;
const INVALID: i64 = -3;
const NO_CERTIFICATE: i64 = -5;
