//! The handshake of WebSocket over HTTP/1 (RFC 6455 section 4), which HTTP/2 does without (RFC 8441) and the other side insists on.

use aws_lc_rs::digest;

use crate::base64;

/// Returns a fresh value for `Sec-WebSocket-Key`.
pub(crate) fn key() -> String {
    base64::encode(&fastrand::u128(..).to_le_bytes())
}

/// Returns the value of `Sec-WebSocket-Accept` that answers a key.
pub(crate) fn accept(key: &[u8]) -> String {
    let text = [key, b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"].concat();
    base64::encode(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &text).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_is_that_of_the_rfc() {
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn key_is_sixteen_bytes() {
        assert_eq!(key().len(), 24);
        assert!(key().ends_with("==") && key() != key());
    }
}
