//! Pages in fewer bytes, for who takes them so.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

/// Returns a page compressed, if that is worth it and its reader says in `Accept-Encoding` that it takes gzip.
pub fn gzip<'a>(accepted: impl IntoIterator<Item = &'a [u8]>, page: &[u8]) -> Option<Vec<u8>> {
    if page.len() < LEAST || !accepts(accepted) {
        return None;
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(page.len() / 4), Compression::fast());
    encoder.write_all(page).ok()?;
    encoder.finish().ok()
}

/// Tells whether fields admit gzip: by its name, or else by `*` (RFC 9110 section 12.5.3).
fn accepts<'a>(fields: impl IntoIterator<Item = &'a [u8]>) -> bool {
    let mut by_star = false;
    for element in fields.into_iter().flat_map(|field| field.split(|byte| *byte == b',')) {
        let mut parts = element.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next().unwrap_or_default();
        let is_refused = parts.any(|part| {
            let weight = part.strip_prefix(b"q=").or_else(|| part.strip_prefix(b"Q="));
            weight.is_some_and(|weight| weight.iter().all(|byte| matches!(byte, b'0' | b'.')))
        });
        if name.eq_ignore_ascii_case(b"gzip") || name.eq_ignore_ascii_case(b"x-gzip") {
            return !is_refused;
        }
        by_star |= name == b"*" && !is_refused;
    }
    by_star
}

/// Shorter pages stay as they are.
const LEAST: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_gzip_says_so() {
        for (field, taken) in [
            ("gzip", true),
            ("deflate, GZIP;q=0.5", true),
            ("x-gzip", true),
            ("*", true),
            ("br, *;q=0.1", true),
            ("*, gzip;q=0", false),
            ("gzip; q=0.000", false),
            ("*;q=0", false),
            ("gzipped", false),
            ("identity", false),
            ("", false),
        ] {
            assert_eq!(accepts([field.as_bytes()]), taken, "{field}");
        }
    }
}
