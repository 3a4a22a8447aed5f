//! Packets as a pcapng file: what wireshark, tshark and tcpdump read.
//!
//! Each packet that was sent on is there twice, as it arrived and as it left, the others once. The first block has the program's verdict and says the reason.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    time::Duration,
};

use super::packet::{Frame, Packet};

/// Kinds of blocks.
const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const PACKET: u32 = 6;
/// Tells the byte order.
const MAGIC: u32 = 0x1a2b_3c4d;
/// The length of a section that is not known.
const UNKNOWN: u64 = u64::MAX;
/// Frames of Ethernet.
const ETHERNET: u16 = 1;
/// Options of blocks.
const END: u16 = 0;
const COMMENT: u16 = 1;
const NAME: u16 = 2;
const FLAGS: u16 = 2;
const RESOLUTION: u16 = 9;
const VERDICT: u16 = 7;
const APPLICATION: u16 = 4;
/// A verdict of an XDP program.
const OF_XDP: u8 = 2;
/// Directions.
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

/// Writes a file.
pub(super) struct Writer<W> {
    out: W,
    snap: u32,
    /// Numbers of interfaces in the file, by index.
    interfaces: BTreeMap<u32, u32>,
}

impl<W: Write> Writer<W> {
    /// Begins a file.
    pub(super) fn new(mut out: W, snap: u32) -> io::Result<Self> {
        let mut body = Vec::new();
        body.extend(MAGIC.to_le_bytes());
        body.extend([1, 0, 0, 0]);
        body.extend(UNKNOWN.to_le_bytes());
        option(&mut body, APPLICATION, concat!("l4d ", env!("CARGO_PKG_VERSION")).as_bytes());
        option(&mut body, END, &[]);
        block(&mut out, SECTION, &body)?;
        Ok(Self { out, snap, interfaces: BTreeMap::new() })
    }

    /// Writes a packet.
    pub(super) fn write(&mut self, packet: &Packet) -> io::Result<()> {
        let said = format!("{}: {}", packet.verdict, packet.reason.name());
        let mut verdict = vec![OF_XDP];
        verdict.extend(u64::from(packet.code).to_le_bytes());
        self.frame(&packet.arrived, packet.time, INBOUND, &[(COMMENT, said.as_bytes()), (VERDICT, &verdict)])?;
        if packet.is_sent() {
            self.frame(&packet.left, packet.ended, OUTBOUND, &[(COMMENT, packet.reason.name().as_bytes())])?;
        }
        Ok(())
    }

    /// Hands on what is buffered.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn frame(&mut self, frame: &Frame, time: Duration, direction: u32, options: &[(u16, &[u8])]) -> io::Result<()> {
        let interface = self.interface(frame)?;
        let time = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let mut body = Vec::new();
        for word in [interface, (time >> 32) as u32, time as u32, length(&frame.bytes), frame.length] {
            body.extend(word.to_le_bytes());
        }
        padded(&mut body, &frame.bytes);
        option(&mut body, FLAGS, &direction.to_le_bytes());
        options.iter().for_each(|(code, value)| option(&mut body, *code, value));
        option(&mut body, END, &[]);
        block(&mut self.out, PACKET, &body)
    }

    /// Returns the number of a frame's interface, which is described before its first frame.
    fn interface(&mut self, frame: &Frame) -> io::Result<u32> {
        if let Some(number) = self.interfaces.get(&frame.interface) {
            return Ok(*number);
        }
        let mut body = Vec::new();
        body.extend(ETHERNET.to_le_bytes());
        body.extend([0, 0]);
        body.extend(self.snap.to_le_bytes());
        option(&mut body, NAME, frame.name.as_bytes());
        // Times are nanoseconds.
        option(&mut body, RESOLUTION, &[9]);
        option(&mut body, END, &[]);
        block(&mut self.out, INTERFACE, &body)?;
        let number = u32::try_from(self.interfaces.len()).unwrap_or(u32::MAX);
        self.interfaces.insert(frame.interface, number);
        Ok(number)
    }
}

/// Writes a block around its body.
fn block(out: &mut impl Write, kind: u32, body: &[u8]) -> io::Result<()> {
    let whole = length(body) + 12;
    out.write_all(&kind.to_le_bytes())?;
    out.write_all(&whole.to_le_bytes())?;
    out.write_all(body)?;
    out.write_all(&whole.to_le_bytes())
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    body.extend(code.to_le_bytes());
    body.extend(u16::try_from(value.len()).unwrap_or(u16::MAX).to_le_bytes());
    padded(body, value);
}

/// Adds bytes and fills up to a whole word.
fn padded(body: &mut Vec<u8>, bytes: &[u8]) {
    body.extend(bytes);
    body.resize(body.len().next_multiple_of(4), 0);
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}
