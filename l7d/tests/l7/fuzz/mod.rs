//! Deterministic fuzzing of everything that reads foreign bytes: mutations of good input from a fixed seed, the same in every run.
//!
//! A failure names the round; the input is rebuilt from it. Each target checks what must hold whatever the bytes are.

mod chunks;
mod heads;
mod peers;
mod prefaces;

/// A small generator of numbers that look random (xorshift*), the same on every machine.
struct Seed(u64);

impl Seed {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Returns a number below `end`, which is not zero.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[0]
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}

/// Changes good input a little: bytes and words put in, taken out, doubled, exchanged, or the whole cut off.
fn mutate(seed: &mut Seed, corpus: &[&[u8]], words: &[&[u8]], out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(seed.pick(corpus));
    for _ in 0..=seed.below(4) {
        let at = seed.below(out.len() + 1);
        let end = at + seed.below(out.len() - at + 1).min(12);
        match seed.below(8) {
            0 => drop(out.drain(at..end)),
            1 => out.insert(at, seed.byte()),
            2 | 3 => drop(out.splice(at..at, seed.pick(words).iter().copied())),
            4 if at < out.len() => out[at] ^= 1 << seed.below(8),
            5 => {
                let piece = out[at..end].to_vec();
                drop(out.splice(at..at, piece));
            }
            6 => {
                let other = seed.pick(corpus);
                let from = seed.below(other.len() + 1);
                out.truncate(at);
                out.extend_from_slice(&other[from..]);
            }
            _ => out.truncate(at),
        }
        out.truncate(LONGEST);
    }
}

/// Runs `check` on so many mutations.
fn fuzz(rounds: u64, corpus: &[&[u8]], words: &[&[u8]], check: impl Fn(&[u8], &mut Seed)) {
    let mut input = Vec::new();
    for round in 0..rounds {
        let mut seed = Seed((round + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        mutate(&mut seed, corpus, words, &mut input);
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&input, &mut seed)));
        assert!(checked.is_ok(), "round {round}: {:?}", String::from_utf8_lossy(&input));
    }
}

/// Returns the places at which to divide `length` bytes, at most six.
fn cuts(seed: &mut Seed, length: usize) -> Vec<usize> {
    let mut cuts: Vec<usize> = (0..seed.below(6)).map(|_| seed.below(length + 1)).collect();
    cuts.extend([0, length]);
    cuts.sort_unstable();
    cuts
}

const LONGEST: usize = 4096;

const WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b",",
    b";",
    b"\r\n\r\n",
    b"\r\n ",
    b"0\r\n\r\n",
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"\xff",
    b"\x7f",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Host: h\r\n",
    b"Connection: close\r\n",
    b"chunked",
    b"+5",
    b"0x5",
    b"ffffffffffffffff",
    b"a",
];
