//! The little of WebSocket (RFC 6455) that an echo of short frames needs.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A request to upgrade, with the key of the RFC's example.
pub(super) const REQUEST: &str = "GET /websocket HTTP/1.1\r\nHost: bench.test\r\nUser-Agent: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
/// What proves that the other side has understood that key.
pub(super) const PROOF: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// The answer to it.
pub(super) const ACCEPTED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
     Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Appends a binary frame, masked as clients must.
pub(super) fn write_masked(frame: &mut Vec<u8>, payload: &[u8]) {
    write_header(frame, payload.len(), MASKED);
    frame.extend_from_slice(&MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

/// Sends every frame back, without the client's mask.
pub(super) async fn echo(mut stream: TcpStream, already: &[u8]) -> io::Result<()> {
    let (mut input, mut output) = (already.to_vec(), Vec::new());
    loop {
        while let Some((payload, end)) = masked(&input) {
            write_header(&mut output, payload.len(), 0);
            output.extend_from_slice(&payload);
            input.drain(..end);
        }
        if !output.is_empty() {
            stream.write_all(&output).await?;
            output.clear();
        }
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
    }
}

/// Appends the header of a final binary frame of less than 64 KiB, as of a server.
pub(super) fn write_header(frame: &mut Vec<u8>, length: usize, mask: u8) {
    frame.push(FINAL_BINARY);
    match u8::try_from(length) {
        Ok(short @ ..=125) => frame.push(mask | short),
        _ => {
            frame.push(mask | EXTENDED);
            frame.extend_from_slice(&u16::try_from(length).expect("frames of this benchmark are short").to_be_bytes());
        }
    }
}

/// Returns the payload of the first frame, which a client has masked, and where it ends; nothing while it is incomplete.
fn masked(input: &[u8]) -> Option<(Vec<u8>, usize)> {
    let second = *input.get(1)?;
    let (length, start) = match second & !MASKED {
        EXTENDED => (usize::from(u16::from_be_bytes([*input.get(2)?, *input.get(3)?])), 4),
        short => (usize::from(short), 2),
    };
    let mask = input.get(start..start + 4)?;
    let payload = input.get(start + 4..start + 4 + length)?;
    Some((payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect(), start + 4 + length))
}

const FINAL_BINARY: u8 = 0x82;
const MASKED: u8 = 0x80;
/// Says that a length of two bytes follows.
const EXTENDED: u8 = 126;
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masked_frame_is_read_as_it_was_written() {
        for length in [0, 1, 125, 126, 4000] {
            let payload: Vec<u8> = (0..length).map(|number| (number % 251) as u8).collect();
            let mut frame = Vec::new();
            write_masked(&mut frame, &payload);
            assert_eq!(masked(&frame), Some((payload, frame.len())), "{length}");
            assert_eq!(masked(&frame[..frame.len() - 1]), None, "incomplete: {length}");
        }
    }

    #[test]
    fn the_example_of_the_rfc_is_a_masked_hello() {
        let frame = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        assert_eq!(masked(&frame), Some((b"Hello".to_vec(), 11)));
    }
}
