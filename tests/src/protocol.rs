//! What [`client`](crate::client) and [`serve`](crate::serve) say to each other over TCP.
//!
//! The client speaks first and its first line chooses what the connection is for, so one port serves all; anything else is read as
//! HTTP. Bulk data is a function of a seed and a position, so a wrong byte is noticed and located without keeping the data.

use std::str::FromStr;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// `who`: the server's name and the client's address as the server sees it.
    Who,
    /// `session`: every following line comes back behind the server's name.
    Session,
    /// `echo`: every following byte comes back.
    Echo,
    /// `send LENGTH SEED`: that much of a stream, then the end.
    Send(Bulk),
    /// `receive LENGTH`: the client sends that much; the server answers with its name and the checksum.
    Receive(u64),
}

/// A piece of bulk data from the start of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bulk {
    /// How many bytes.
    pub length: u64,
    /// Which stream.
    pub seed: u64,
}

impl FromStr for Request {
    type Err = ();

    fn from_str(line: &str) -> Result<Self, ()> {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words[..] {
            ["who"] => Ok(Self::Who),
            ["session"] => Ok(Self::Session),
            ["echo"] => Ok(Self::Echo),
            ["send", length, seed] => Ok(Self::Send(Bulk { length: number(length)?, seed: number(seed)? })),
            ["receive", length] => Ok(Self::Receive(number(length)?)),
            _ => Err(()),
        }
    }
}

impl std::fmt::Display for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Who => write!(f, "who"),
            Self::Session => write!(f, "session"),
            Self::Echo => write!(f, "echo"),
            Self::Send(Bulk { length, seed }) => write!(f, "send {length} {seed}"),
            Self::Receive(length) => write!(f, "receive {length}"),
        }
    }
}

/// Fills `buffer` with the stream of `seed` from `position` on.
pub fn fill(seed: u64, position: u64, buffer: &mut [u8]) {
    let mut rest = buffer;
    let mut position = position;
    while !rest.is_empty() {
        let word = word(seed, position / 8).to_le_bytes();
        let available = &word[(position % 8) as usize..];
        let (now, later) = rest.split_at_mut(available.len().min(rest.len()));
        now.copy_from_slice(&available[..now.len()]);
        position += now.len() as u64;
        rest = later;
    }
}

/// A running sum over bytes in their order (FNV-1a, 64 bits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksum(u64);

impl Checksum {
    /// Starts with no bytes.
    #[must_use]
    pub fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Adds bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |sum, &byte| (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    }
}

impl Default for Checksum {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Display for Checksum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Returns the 8 bytes at `index` of a stream: the output function of SplitMix64.
fn word(seed: u64, index: u64) -> u64 {
    let mut z = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn number(text: &str) -> Result<u64, ()> {
    text.parse().map_err(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_survive_the_wire() {
        let all = [Request::Who, Request::Session, Request::Echo, Request::Send(Bulk { length: 5, seed: 9 }), Request::Receive(77)];
        for request in all {
            assert_eq!(request.to_string().parse(), Ok(request));
        }
        assert_eq!("GET / HTTP/1.1".parse::<Request>(), Err(()));
    }

    #[test]
    fn stream_is_the_same_in_pieces_of_any_size() {
        let mut whole = [0; 100];
        fill(3, 0, &mut whole);
        for size in 1..30 {
            let mut pieces = [0; 100];
            let mut position = 0;
            for piece in pieces.chunks_mut(size) {
                fill(3, position, piece);
                position += piece.len() as u64;
            }
            assert_eq!(pieces, whole, "pieces of {size}");
        }
    }

    #[test]
    fn streams_of_different_seeds_differ() {
        let (mut one, mut other) = ([0; 64], [0; 64]);
        fill(1, 0, &mut one);
        fill(2, 0, &mut other);
        assert_ne!(one, other);
    }

    #[test]
    fn checksum_notices_a_swap() {
        let sum = |bytes: &[u8]| {
            let mut sum = Checksum::new();
            sum.add(bytes);
            sum
        };
        assert_ne!(sum(b"ab"), sum(b"ba"));
        assert_eq!(sum(b"a").to_string(), "af63dc4c8601ec8c", "the published FNV-1a value");
    }
}
