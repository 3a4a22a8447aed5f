//! Bytes → compressed bytes, a piece at a time. The memory of a finished stream serves the next one of its thread.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;
use flate2::{Compress, Crc, FlushCompress, Status};

use super::Coding;

/// One body on its way.
#[derive(Debug)]
pub(crate) struct Coder {
    coding: Coding,
    /// None where bytes stay as they are, and once it is given back.
    stream: Option<Box<Compress>>,
    crc: Crc,
    /// Whether anything went in that has not come out.
    holds: bool,
    begun: bool,
    pressed: Rc<Pressed>,
}

/// How many bytes of a body have gone in, and how many have come out.
#[derive(Debug, Default)]
pub(crate) struct Pressed {
    pub(crate) taken: Cell<u64>,
    pub(crate) given: Cell<u64>,
}

impl Coder {
    /// Returns one into which nothing has gone.
    pub(super) fn new(coding: Coding) -> Self {
        let stream = match coding {
            Coding::Identity => None,
            Coding::Gzip | Coding::RawDeflate => Some(take(Wrapping::None)),
            Coding::Deflate => Some(take(Wrapping::Zlib)),
        };
        Self { coding, stream, crc: Crc::new(), holds: false, begun: false, pressed: Rc::default() }
    }

    /// Returns what is counted while it goes on.
    pub(crate) fn pressed(&self) -> Rc<Pressed> {
        Rc::clone(&self.pressed)
    }

    /// Takes a piece in and returns what comes out, which may be nothing yet; `last` is said with the last piece.
    pub(crate) fn press(&mut self, piece: Bytes, last: bool) -> Bytes {
        add(&self.pressed.taken, piece.len());
        if self.stream.is_none() {
            add(&self.pressed.given, piece.len());
            return piece;
        }
        let mut out = Vec::with_capacity(if self.begun { ROOM } else { ROOM + GZIP_HEAD.len() });
        if !self.begun && self.coding == Coding::Gzip {
            out.extend_from_slice(&GZIP_HEAD);
        }
        self.begun = true;
        self.holds |= !piece.is_empty();
        if self.coding == Coding::Gzip {
            self.crc.update(&piece);
        }
        self.deflate(&piece, if last { FlushCompress::Finish } else { FlushCompress::None }, &mut out);
        if last {
            self.holds = false;
            if self.coding == Coding::Gzip {
                out.extend_from_slice(&self.crc.sum().to_le_bytes());
                out.extend_from_slice(&self.crc.amount().to_le_bytes());
            }
        }
        add(&self.pressed.given, out.len());
        Bytes::from(out)
    }

    /// Returns what has gone in and not yet come out, if there is any: the sender has paused.
    pub(crate) fn flush(&mut self) -> Option<Bytes> {
        if !std::mem::take(&mut self.holds) || self.stream.is_none() {
            return None;
        }
        let mut out = Vec::with_capacity(ROOM);
        self.deflate(&[], FlushCompress::Sync, &mut out);
        add(&self.pressed.given, out.len());
        Some(Bytes::from(out)).filter(|out| !out.is_empty())
    }

    fn deflate(&mut self, mut input: &[u8], flush: FlushCompress, out: &mut Vec<u8>) {
        let Some(stream) = &mut self.stream else { return };
        loop {
            out.reserve(ROOM);
            let before = stream.total_in();
            let status = stream.compress_vec(input, out, flush).expect("a compressor takes any bytes");
            let taken = usize::try_from(stream.total_in() - before).expect("no more than it was given");
            input = &input[taken..];
            let is_over = if matches!(flush, FlushCompress::Finish) {
                status == Status::StreamEnd
            } else {
                input.is_empty() && out.len() < out.capacity()
            };
            if is_over {
                return;
            }
        }
    }
}

fn add(count: &Cell<u64>, more: usize) {
    count.set(count.get() + more as u64);
}

impl Drop for Coder {
    fn drop(&mut self) {
        let Some(mut stream) = self.stream.take() else { return };
        let wrapping = if self.coding == Coding::Deflate { Wrapping::Zlib } else { Wrapping::None };
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < MOST_SPARE {
                stream.reset();
                spare.push((wrapping, stream));
            }
        });
    }
}

/// What stands around a deflated stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrapping {
    None,
    Zlib,
}

fn take(wrapping: Wrapping) -> Box<Compress> {
    let spare = SPARE.try_with(|spare| {
        let mut spare = spare.borrow_mut();
        let index = spare.iter().position(|(known, _)| *known == wrapping)?;
        Some(spare.swap_remove(index).1)
    });
    let fresh = || Box::new(Compress::new(flate2::Compression::fast(), wrapping == Wrapping::Zlib));
    spare.ok().flatten().unwrap_or_else(fresh)
}

thread_local! {
    static SPARE: RefCell<Vec<(Wrapping, Box<Compress>)>> = const { RefCell::new(Vec::new()) };
}

/// How many streams a thread keeps when they are over, each of some 300 kB.
const MOST_SPARE: usize = 8;
/// How much room there is at least for what comes out.
const ROOM: usize = 1024;
/// The head of a gzip stream without a name or a date, from an unknown system (RFC 1952 section 2.3).
const GZIP_HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255];

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn every_coding_can_be_read_back() {
        let text: Vec<u8> =
            (0..200_000u32).flat_map(|number| (number.wrapping_mul(2_654_435_761) >> 20).to_string().into_bytes()).collect();
        for coding in [Coding::Gzip, Coding::Deflate, Coding::RawDeflate, Coding::Identity] {
            for size in [1, 999, 65_536, text.len()] {
                let text = &text[..text.len().min(size * 300)];
                let mut coder = Coder::new(coding);
                let mut out = Vec::new();
                let mut pieces = text.chunks(size).peekable();
                while let Some(piece) = pieces.next() {
                    out.extend(coder.press(Bytes::copy_from_slice(piece), pieces.peek().is_none()));
                    if piece.len() == 999 {
                        out.extend(coder.flush().unwrap_or_default());
                    }
                }
                let mut read = Vec::new();
                match coding {
                    Coding::Gzip => flate2::read::GzDecoder::new(&out[..]).read_to_end(&mut read),
                    Coding::Deflate => flate2::read::ZlibDecoder::new(&out[..]).read_to_end(&mut read),
                    Coding::RawDeflate => flate2::read::DeflateDecoder::new(&out[..]).read_to_end(&mut read),
                    Coding::Identity => (&out[..]).read_to_end(&mut read),
                }
                .unwrap();
                assert!(read == text, "{coding:?} in pieces of {size}");
            }
        }
    }
}
