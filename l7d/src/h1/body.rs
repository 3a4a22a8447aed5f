//! The part of a body that is still to come.

use super::SyntaxError;
use super::chunked::Decoder;
use crate::message::body::Framing;

/// How much of a body is outstanding.
#[derive(Debug, Clone)]
pub enum Body {
    /// Nothing.
    Done,
    /// So many bytes.
    Length(u64),
    /// What the chunks say.
    Chunked(Decoder),
    /// Everything up to the end of the stream.
    UntilClose,
}

impl Body {
    /// Returns a body of which nothing has been seen.
    pub fn new(framing: Framing) -> Self {
        match framing {
            Framing::None | Framing::Length(0) => Self::Done,
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Decoder::new()),
            Framing::UntilClose => Self::UntilClose,
        }
    }

    /// Tells whether all of it has been seen.
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// Returns how many of `bytes` belong to the body, and counts them as seen.
    ///
    /// # Errors
    /// Names the byte that makes the body invalid.
    pub fn take(&mut self, bytes: &[u8]) -> Result<usize, SyntaxError> {
        let taken = match self {
            Self::Done => 0,
            Self::UntilClose => bytes.len(),
            Self::Length(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= taken as u64;
                taken
            }
            Self::Chunked(decoder) => decoder.pass(bytes)?,
        };
        let is_done = match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(decoder) => decoder.is_finished(),
            Self::Done | Self::UntilClose => false,
        };
        if is_done {
            *self = Self::Done;
        }
        Ok(taken)
    }

    /// Counts so many bytes as seen that were not looked at; only bodies of known length allow that.
    pub fn skip(&mut self, count: u64) {
        if let Self::Length(left) = self {
            *left = left.saturating_sub(count);
            if *left == 0 {
                *self = Self::Done;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_the_next_message_are_not_taken() {
        let mut body = Body::new(Framing::Length(5));
        assert_eq!(body.take(b"abc").unwrap(), 3);
        assert_eq!(body.take(b"deGET").unwrap(), 2);
        assert!(body.is_done());
        let mut body = Body::new(Framing::Chunked);
        assert_eq!(body.take(b"1\r\na\r\n0\r\n\r\nGET").unwrap(), 11);
        assert!(body.is_done());
        assert_eq!(body.take(b"GET").unwrap(), 0);
    }

    #[test]
    fn body_until_close_takes_everything_and_never_ends_by_itself() {
        let mut body = Body::new(Framing::UntilClose);
        assert_eq!(body.take(b"abc").unwrap(), 3);
        assert!(!body.is_done());
    }

    #[test]
    fn skipped_bytes_count() {
        let mut body = Body::new(Framing::Length(9));
        body.skip(4);
        assert_eq!(body.take(b"0123456789").unwrap(), 5);
        assert!(body.is_done());
    }
}
