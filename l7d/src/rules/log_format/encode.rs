//! Text from outside as log lines show it: what could confuse a terminal or a reader of logs is written as `#` and its code.

/// Appends text whose control characters, quotes, `#` and everything beyond ASCII are shown by their codes.
pub(super) fn plain(text: &[u8], out: &mut Vec<u8>) {
    coded(text, out, |byte| matches!(byte, b'"' | b'#' | 0..b' ' | 0x7f..));
}

/// Appends text that stands in braces, with bars between it and others: these are shown by their codes, too.
pub(super) fn captured(text: &[u8], out: &mut Vec<u8>) {
    coded(text, out, |byte| matches!(byte, b'"' | b'#' | b'{' | b'|' | b'}' | 0..b' ' | 0x7f..));
}

/// Appends the text of a sample; only what would end the line, or steer a terminal, is shown by its code.
pub(super) fn sample(text: &[u8], out: &mut Vec<u8>) {
    coded(text, out, |byte| byte != b'\t' && byte.is_ascii_control());
}

/// Puts a backslash before quotes, backslashes and closing brackets of what stands behind `start`.
pub(super) fn escape(out: &mut Vec<u8>, start: usize) {
    let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | b']');
    let mut at = start;
    while let Some(found) = out[at..].iter().position(is_special) {
        out.insert(at + found, b'\\');
        at += found + 2;
    }
}

fn coded(text: &[u8], out: &mut Vec<u8>, is_special: impl Fn(u8) -> bool) {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| is_special(*byte)) {
        out.extend_from_slice(&rest[..at]);
        let byte = rest[at];
        out.extend_from_slice(&[b'#', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

const DIGITS: &[u8; 16] = b"0123456789ABCDEF";

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(print: impl Fn(&[u8], &mut Vec<u8>), text: &[u8]) -> String {
        let mut out = Vec::new();
        print(text, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn only_plain_characters_stay() {
        assert_eq!(printed(plain, b"/a?b=c d~"), "/a?b=c d~");
        assert_eq!(printed(plain, b"\"#\x1b[1m\x7f\xe4\n"), "#22#23#1B[1m#7F#E4#0A");
        assert_eq!(printed(sample, b"a\tb\"\r\n"), "a\tb\"#0D#0A");
    }

    #[test]
    fn what_ends_a_quoted_text_is_escaped() {
        let mut out = b"\"]".to_vec();
        out.extend_from_slice(b"a\"b\\]");
        escape(&mut out, 2);
        assert_eq!(out, b"\"]a\\\"b\\\\\\]");
    }
}
