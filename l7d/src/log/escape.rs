//! Text from outside as log lines show it: what could confuse a terminal or a reader of logs is written as `#` and its code.

use std::fmt::{self, Write as _};

/// Bytes whose control characters, quotes, `#` and everything beyond ASCII are shown by their codes.
pub(super) struct Escaped<'a>(pub(super) &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            match byte {
                b'"' | b'#' | 0..b' ' | 0x7f.. => write!(f, "#{byte:02X}")?,
                plain => f.write_char(char::from(*plain))?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_characters_stay() {
        assert_eq!(Escaped(b"/a?b=c d~").to_string(), "/a?b=c d~");
        assert_eq!(Escaped(b"\"#\x1b[1m\x7f\xe4\n").to_string(), "#22#23#1B[1m#7F#E4#0A");
    }
}
