//! Digests, and texts that are only compared: what tells whether somebody knows a secret.

use std::borrow::Cow;
use std::cmp::Ordering;

use aws_lc_rs::{constant_time, digest, hmac};
use control::config::{Diagnostic, HashFunction};
use twox_hash::{XxHash3_64, XxHash32, XxHash64};

use crate::balance::Hasher;
use crate::base64;
use crate::rules::argument::Call;
use crate::rules::names::Names;
use crate::rules::sample::{Kind, Sample};
use crate::rules::view::{VariableId, View};

/// A digest of bytes, or a comparison of two of them.
#[derive(Debug)]
pub(in crate::rules) enum Digest {
    Sha(&'static digest::Algorithm),
    Hmac(hmac::Algorithm, Key),
    /// A number of 32 bits.
    Number(Hasher),
    Crc32c {
        mixed: bool,
    },
    XxHash32(u32),
    XxHash64(u64),
    XxHash3(u64),
    /// Which of two texts comes first.
    Order(VariableId),
    /// Whether two texts are the same, found out in a time that tells nothing about them.
    Same(VariableId),
}

/// The key of an HMAC.
#[derive(Debug)]
pub(in crate::rules) enum Key {
    Written(Box<[u8]>),
    Variable(VariableId),
}

const ALGORITHMS: [(&str, &digest::Algorithm, hmac::Algorithm); 5] = [
    ("sha1", &digest::SHA1_FOR_LEGACY_USE_ONLY, hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY),
    ("sha224", &digest::SHA224, hmac::HMAC_SHA224),
    ("sha256", &digest::SHA256, hmac::HMAC_SHA256),
    ("sha384", &digest::SHA384, hmac::HMAC_SHA384),
    ("sha512", &digest::SHA512, hmac::HMAC_SHA512),
];

/// Every name.
pub(super) const NAMES: [&str; 13] =
    ["crc32", "crc32c", "digest", "djb2", "hmac", "sdbm", "secure_memcmp", "sha1", "sha2", "strcmp", "xxh3", "xxh32", "xxh64"];

impl Digest {
    /// Makes the digest of that name; none if it is no name of one.
    ///
    /// # Errors
    /// Names arguments that do not fit.
    pub(super) fn build(call: &Call<'_, '_>, names: &mut Names) -> Option<Result<Self, Diagnostic>> {
        Some(match call.name {
            "sha1" => call.at_most(0).map(|()| Self::Sha(&digest::SHA1_FOR_LEGACY_USE_ONLY)),
            "sha2" => sha2(call),
            "digest" => algorithm(call, 1).map(|(algorithm, _)| Self::Sha(algorithm)),
            "hmac" => hmac_with(call, names),
            "crc32" => number(call, HashFunction::Crc32),
            "djb2" => number(call, HashFunction::Djb2),
            "sdbm" => number(call, HashFunction::Sdbm),
            "crc32c" => mixed(call).map(|mixed| Self::Crc32c { mixed }),
            "xxh32" => seed(call).map(|seed| Self::XxHash32(u32::try_from(seed & u64::from(u32::MAX)).unwrap_or_default())),
            "xxh64" => seed(call).map(Self::XxHash64),
            "xxh3" => seed(call).map(Self::XxHash3),
            "strcmp" => variable(call, names).map(Self::Order),
            "secure_memcmp" => variable(call, names).map(Self::Same),
            _ => return None,
        })
    }

    pub(super) fn makes(&self) -> Kind {
        match self {
            Self::Sha(_) | Self::Hmac(..) => Kind::Binary,
            Self::Same(_) => Kind::Bool,
            Self::Number(_) | Self::Crc32c { .. } | Self::XxHash32(_) | Self::XxHash64(_) | Self::XxHash3(_) | Self::Order(_) => Kind::Int,
        }
    }

    pub(super) fn takes(&self) -> Kind {
        if matches!(self, Self::Order(_)) { Kind::Text } else { Kind::Binary }
    }

    pub(super) fn is_pure(&self) -> bool {
        !matches!(self, Self::Order(_) | Self::Same(_) | Self::Hmac(_, Key::Variable(_)))
    }

    pub(super) fn of(&self, bytes: &[u8], view: &View<'_>) -> Option<Sample<'static>> {
        let binary = |bytes: &[u8]| Sample::Binary(Cow::Owned(bytes.to_vec()));
        Some(match self {
            Self::Sha(algorithm) => binary(digest::digest(algorithm, bytes).as_ref()),
            Self::Hmac(algorithm, key) => {
                let key = match key {
                    Key::Written(key) => hmac::Key::new(*algorithm, key),
                    Key::Variable(id) => {
                        let coded = view.variable(*id)?;
                        hmac::Key::new(*algorithm, &base64::decode(&coded.to_bytes())?)
                    }
                };
                binary(hmac::sign(&key, bytes).as_ref())
            }
            Self::Number(hasher) => Sample::Int(hasher.text(bytes).into()),
            Self::Crc32c { mixed } => {
                let crc = crc32c(bytes);
                Sample::Int(if *mixed { Hasher::mixed(crc) } else { crc }.into())
            }
            Self::XxHash32(seed) => Sample::Int(XxHash32::oneshot(*seed, bytes).into()),
            Self::XxHash64(seed) => Sample::Int(XxHash64::oneshot(*seed, bytes).cast_signed()),
            Self::XxHash3(seed) => Sample::Int(XxHash3_64::oneshot_with_seed(*seed, bytes).cast_signed()),
            Self::Order(id) => Sample::Int(order(bytes, &view.variable(*id)?.to_bytes())),
            Self::Same(id) => Sample::Bool(constant_time::verify_slices_are_equal(bytes, &view.variable(*id)?.to_bytes()).is_ok()),
        })
    }
}

/// Returns the difference of the first bytes that differ, as C does; where one text begins with the other, the shorter one comes first.
fn order(a: &[u8], b: &[u8]) -> i64 {
    let differing = a.iter().zip(b).find(|(a, b)| a != b);
    let lengths = match a.len().cmp(&b.len()) {
        Ordering::Less => -1,
        Ordering::Equal => 0,
        Ordering::Greater => 1,
    };
    differing.map_or(lengths, |(a, b)| i64::from(*a) - i64::from(*b))
}

/// The checksum of Castagnoli (RFC 9260 appendix A).
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes
        .iter()
        .fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 }))
}

fn sha2(call: &Call<'_, '_>) -> Result<Digest, Diagnostic> {
    call.at_most(1)?;
    match call.number(0, 256)? {
        224 => Ok(Digest::Sha(&digest::SHA224)),
        256 => Ok(Digest::Sha(&digest::SHA256)),
        384 => Ok(Digest::Sha(&digest::SHA384)),
        512 => Ok(Digest::Sha(&digest::SHA512)),
        other => Err(call.error(format!("there is no `sha2` of {other} bits")).hint("224, 256, 384 or 512")),
    }
}

fn algorithm(call: &Call<'_, '_>, most: usize) -> Result<(&'static digest::Algorithm, hmac::Algorithm), Diagnostic> {
    call.at_most(most)?;
    let name = call.required(0, "the name of a digest")?;
    // OpenSSL also calls them `SHA-256` and `SHA2-256`.
    let plain = name.text.to_ascii_lowercase().replacen("sha2-", "sha", 1).replacen("sha-", "sha", 1);
    let found = ALGORITHMS.iter().find(|(known, _, _)| plain == *known);
    let wrong = || call.error_in(name, format!("digest `{}` is not supported", name.text)).hint("sha1, sha224, sha256, sha384 or sha512");
    found.map(|(_, digest, hmac)| (*digest, *hmac)).ok_or_else(wrong)
}

fn hmac_with(call: &Call<'_, '_>, names: &mut Names) -> Result<Digest, Diagnostic> {
    let (_, algorithm) = algorithm(call, 2)?;
    let key = call.required(1, "a digest and a key in base64, or the variable that holds it,")?;
    let key = match names.variable(&key.text) {
        Ok(id) => Key::Variable(id),
        Err(_) => {
            let wrong = || call.error_in(key, "the key is neither base64 nor a variable");
            Key::Written(base64::decode(key.text.as_bytes()).ok_or_else(wrong)?.into())
        }
    };
    Ok(Digest::Hmac(algorithm, key))
}

fn mixed(call: &Call<'_, '_>) -> Result<bool, Diagnostic> {
    call.at_most(1)?;
    Ok(call.number(0, 0)? != 0)
}

fn number(call: &Call<'_, '_>, function: HashFunction) -> Result<Digest, Diagnostic> {
    Ok(Digest::Number(Hasher::of(function, mixed(call)?)))
}

fn seed(call: &Call<'_, '_>) -> Result<u64, Diagnostic> {
    call.at_most(1)?;
    call.number(0, 0).map(i64::cast_unsigned)
}

fn variable(call: &Call<'_, '_>, names: &mut Names) -> Result<VariableId, Diagnostic> {
    call.at_most(1)?;
    let name = call.required(0, "the name of a variable")?;
    names.variable(&name.text).map_err(|message| call.error_in(name, message))
}
