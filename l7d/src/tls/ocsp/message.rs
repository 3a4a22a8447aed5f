//! Questions about the revocation of a certificate and the answers to them (RFC 6960); pure, and no answer is believed that the issuer
//! of the certificate, or whom it has named for that, has not signed.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA384_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, UnparsedPublicKey, VerificationAlgorithm,
};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::der::{BYTES, Der, ENUMERATED, INTEGER, NULL, OBJECT, SEQUENCE, TIME, Value, place, value};

/// Names a certificate in questions and answers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CertId(Vec<u8>);

/// What an answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) is_revoked: bool,
    /// When there will be another answer, in seconds since 1970.
    pub(super) next: Option<i64>,
}

impl CertId {
    /// Returns the name of a certificate.
    pub(super) fn new(certificate: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> Self {
        let hash = |bytes: &[u8]| value(BYTES, &[digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref()]);
        let algorithm = value(SEQUENCE, &[&value(OBJECT, &[SHA1]), &value(NULL, &[])]);
        let (name, key) = (hash(certificate.issuer().as_raw()), hash(&issuer.public_key().subject_public_key.data));
        Self(value(SEQUENCE, &[&algorithm, &name, &key, &value(INTEGER, &[certificate.raw_serial()])]))
    }

    /// Returns a question about it.
    pub(super) fn question(&self) -> Vec<u8> {
        (0..4).fold(self.0.clone(), |inner, _| value(SEQUENCE, &[&inner]))
    }

    /// Writes it as HAProxy does.
    pub(super) fn shown(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Writes what it is made of, as HAProxy does.
    pub(super) fn parts(&self) -> String {
        let mut id = Der(&self.0).expect(SEQUENCE).unwrap_or(Der(&[]));
        id.next();
        let mut next = || id.next().map_or(&[][..], |value| value.content.0);
        let [name, key, number] = [next(), next(), next()].map(|part| part.iter().map(|byte| format!("{byte:02X}")).collect::<String>());
        let number = number.strip_prefix("00").unwrap_or(&number);
        format!("   Issuer Name Hash: {name}\n   Issuer Key Hash: {key}\n   Serial Number: {number}\n")
    }

    /// Tells whether an answer is about it; parameters of the hash may be left out.
    fn is(&self, other: Value<'_>) -> bool {
        let parts = |mut id: Der<'_>| {
            let hash = id.expect(SEQUENCE)?.expect(OBJECT)?.0.to_vec();
            Some((hash, id.0.to_vec()))
        };
        let own = Der(&self.0).expect(SEQUENCE).and_then(parts);
        own.is_some() && own == parts(other.content)
    }
}

/// Looks at an answer about a certificate.
///
/// # Errors
/// Says why it is not to be believed, or does not help.
pub(super) fn judge(answer: &[u8], id: &CertId, issuer: &X509Certificate<'_>, now: i64) -> Result<Said, &'static str> {
    let mut answer = Der(answer).expect(SEQUENCE).ok_or(BROKEN)?;
    match answer.expect(ENUMERATED).ok_or(BROKEN)?.0 {
        [0] => {}
        [1] => return Err("the responder finds our question malformed"),
        [2] => return Err("the responder has an internal error"),
        [3] => return Err("the responder asks to try later"),
        [6] => return Err("the responder does not answer us"),
        _ => return Err("the responder has no answer"),
    }
    let mut bytes = answer.expect(place(0)).and_then(|mut bytes| bytes.expect(SEQUENCE)).ok_or(BROKEN)?;
    if bytes.expect(OBJECT).ok_or(BROKEN)?.0 != BASIC {
        return Err("the answer is of a kind that is not known");
    }
    let mut basic = bytes.expect(BYTES).and_then(|mut bytes| bytes.expect(SEQUENCE)).ok_or(BROKEN)?;
    let data = basic.next().filter(|value| value.tag == SEQUENCE).ok_or(BROKEN)?;
    let algorithm = basic.expect(SEQUENCE).and_then(|mut algorithm| algorithm.expect(OBJECT)).ok_or(BROKEN)?.0;
    let signature = basic.bits().ok_or(BROKEN)?;
    let certificates = basic.optional(place(0)).and_then(|mut certificates| certificates.expect(SEQUENCE)).unwrap_or(Der(&[]));
    let signed = Signed { algorithm, message: data.whole, signature };
    if !signed.is_by(issuer) && !is_by_delegate(&signed, certificates, issuer, now) {
        return Err(UNSIGNED);
    }
    status(data.content, id, now)
}

/// Finds what an answer says of a certificate.
fn status(mut data: Der<'_>, id: &CertId, now: i64) -> Result<Said, &'static str> {
    data.optional(place(0));
    // Who answers, and when that was.
    data.next().ok_or(BROKEN)?;
    data.expect(TIME).ok_or(BROKEN)?;
    let mut all = data.expect(SEQUENCE).ok_or(BROKEN)?;
    while let Some(mut single) = all.expect(SEQUENCE) {
        if !single.next().is_some_and(|named| id.is(named)) {
            continue;
        }
        let status = single.next().ok_or(BROKEN)?.tag;
        let from = single.expect(TIME).and_then(seconds).ok_or(BROKEN)?;
        let next = match single.optional(place(0)) {
            Some(mut next) => Some(next.expect(TIME).and_then(seconds).ok_or(BROKEN)?),
            None => None,
        };
        if from > now + SKEW {
            return Err("the answer is of the future");
        }
        if next.is_some_and(|next| next < now) {
            return Err(LATE);
        }
        return match status {
            0x80 => Ok(Said { is_revoked: false, next }),
            0xa1 => Ok(Said { is_revoked: true, next }),
            _ => Err(UNKNOWN),
        };
    }
    Err(ANOTHER)
}

/// Something that is signed.
struct Signed<'d> {
    algorithm: &'d [u8],
    message: &'d [u8],
    signature: &'d [u8],
}

impl Signed<'_> {
    fn is_by(&self, signer: &X509Certificate<'_>) -> bool {
        let key: &[u8] = &signer.public_key().subject_public_key.data;
        let algorithm: &'static dyn VerificationAlgorithm = match (self.algorithm, key.len()) {
            (RSA_SHA256, _) => &RSA_PKCS1_2048_8192_SHA256,
            (RSA_SHA384, _) => &RSA_PKCS1_2048_8192_SHA384,
            (RSA_SHA512, _) => &RSA_PKCS1_2048_8192_SHA512,
            // The point of a curve tells which that is by its length.
            (ECDSA_SHA256, 65) => &ECDSA_P256_SHA256_ASN1,
            (ECDSA_SHA384, 65) => &ECDSA_P256_SHA384_ASN1,
            (ECDSA_SHA256, 97) => &ECDSA_P384_SHA256_ASN1,
            (ECDSA_SHA384, 97) => &ECDSA_P384_SHA384_ASN1,
            (EDDSA_25519, _) => &ED25519,
            _ => return false,
        };
        UnparsedPublicKey::new(algorithm, key).verify(self.message, self.signature).is_ok()
    }
}

/// Tells whether something is signed by one whom the issuer has certified to answer for it.
fn is_by_delegate(signed: &Signed<'_>, mut certificates: Der<'_>, issuer: &X509Certificate<'_>, now: i64) -> bool {
    for _ in 0..MOST_DELEGATES {
        let Some(value) = certificates.next() else { return false };
        let Ok((_, delegate)) = X509Certificate::from_der(value.whole) else { return false };
        let validity = delegate.validity();
        let is_valid = validity.not_before.timestamp() <= now && now <= validity.not_after.timestamp();
        let may_answer = || delegate.extended_key_usage().is_ok_and(|usage| usage.is_some_and(|usage| usage.value.ocsp_signing));
        let certified = || {
            let (algorithm, message) = (delegate.signature_algorithm.algorithm.as_bytes(), delegate.tbs_certificate.as_ref());
            Signed { algorithm, message, signature: &delegate.signature_value.data }.is_by(issuer)
        };
        if is_valid && may_answer() && delegate.issuer().as_raw() == issuer.subject().as_raw() && certified() && signed.is_by(&delegate) {
            return true;
        }
    }
    false
}

/// Reads a time such as 20301231235959Z.
fn seconds(time: Der<'_>) -> Option<i64> {
    let digits = time.0.strip_suffix(b"Z").filter(|digits| digits.len() == 14 && digits.iter().all(u8::is_ascii_digit))?;
    let number = |from: usize, to: usize| std::str::from_utf8(&digits[from..to]).ok()?.parse::<i16>().ok();
    let small = |from: usize| i8::try_from(number(from, from + 2)?).ok();
    let time = jiff::civil::DateTime::new(number(0, 4)?, small(4)?, small(6)?, small(8)?, small(10)?, small(12)?, 0).ok()?;
    Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second())
}

pub(super) const BROKEN: &str = "what came is no answer of OCSP";
pub(super) const UNSIGNED: &str = "the answer is not signed by the issuer of the certificate";
pub(super) const ANOTHER: &str = "the answer is about another certificate";
pub(super) const UNKNOWN: &str = "the responder does not know the certificate";
pub(super) const LATE: &str = "the answer is out of date";
/// How far the clock of a responder may be ahead of ours, in seconds.
const SKEW: i64 = 300;
/// How many certificates in an answer are looked at.
const MOST_DELEGATES: usize = 8;

const SHA1: &[u8] = &[0x2b, 0x0e, 0x03, 0x02, 0x1a];
const BASIC: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 0x30, 1, 1];
const RSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 0x0b];
const RSA_SHA384: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 0x0c];
const RSA_SHA512: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 0x0d];
const ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
const ECDSA_SHA384: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3];
const EDDSA_25519: &[u8] = &[0x2b, 0x65, 0x70];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_values_or_not(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut rest = Der(&bytes);
            while let Some(found) = rest.next() {
                prop_assert!(found.whole.ends_with(found.content.0));
            }
            let _ = status(Der(&bytes), &CertId(bytes.clone()), 0);
        }

        #[test]
        fn what_is_written_is_read(content in prop::collection::vec(any::<u8>(), 0..70_000)) {
            let bytes = value(BYTES, &[&content]);
            let mut read = Der(&bytes);
            prop_assert_eq!(read.expect(BYTES).map(|read| read.0), Some(&*content));
            prop_assert_eq!(read.0.len(), 0);
        }
    }

    #[test]
    fn times_are_counted_from_1970() {
        for (text, expected) in
            [("19700101000000Z", Some(0)), ("20301231235959Z", Some(1_924_991_999)), ("20301331235959Z", None), ("20300101000000", None)]
        {
            assert_eq!(seconds(Der(text.as_bytes())), expected, "{text}");
        }
    }
}
