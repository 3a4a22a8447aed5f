//! Test packets: said in a line, built whole with correct lengths and checksums, and shown so that a difference is seen at a glance.
//!
//! Built with `etherparse`, not with the balancer's own types, so that both sides of a comparison do not share a mistake. Whether a
//! packet that comes back is still sound is for [`checksum`](crate::checksum) to say.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use etherparse::icmpv6::DestUnreachableCode;
use etherparse::{
    IcmpEchoHeader, Icmpv4Type, Icmpv6Type, IpFragOffset, IpHeaders, IpNumber, Ipv4Extensions, Ipv4Header, Ipv6Extensions,
    Ipv6FragmentHeader, Ipv6Header, Ipv6RawExtHeader, PacketBuilder, PacketHeaders, TcpHeader, VlanId, icmpv4,
};

use crate::link::Mac;

/// From whom to whom a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The sender.
    pub from: SocketAddr,
    /// The receiver, of the same address family.
    pub to: SocketAddr,
}

impl Flow {
    /// Returns the direction of the answer.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self { from: self.to, to: self.from }
    }
}

/// Reads a flow written as `10.77.0.100:4000 > 10.77.0.10:80`.
///
/// # Panics
/// Panics on anything else, because only tests write flows.
#[must_use]
pub fn flow(text: &str) -> Flow {
    let ends = text.split_once(" > ").and_then(|(from, to)| Some(Flow { from: from.parse().ok()?, to: to.parse().ok()? }));
    ends.filter(|flow| flow.from.is_ipv4() == flow.to.is_ipv4()).unwrap_or_else(|| panic!("not a flow: `{text}`"))
}

/// Describes a TCP segment, whose flags are written as `S`, `S.`, `.`, `P.`, `F.`, `R`, as tcpdump does.
///
/// # Panics
/// [`Packet::build`] panics on a flag it does not know.
#[must_use]
pub fn tcp(flow: Flow, flags: &'static str) -> Packet {
    Packet::new(flow, Content::Tcp(flags))
}

/// Describes a UDP datagram.
#[must_use]
pub fn udp(flow: Flow) -> Packet {
    Packet::new(flow, Content::Udp)
}

/// Describes an echo request (ping); the port of the sender is its identifier, that of the receiver its sequence number.
#[must_use]
pub fn echo_request(flow: Flow) -> Packet {
    Packet::new(flow, Content::EchoRequest)
}

/// Describes the answer to an echo request that went the other way.
#[must_use]
pub fn echo_reply(flow: Flow) -> Packet {
    Packet::new(flow, Content::EchoReply)
}

/// Describes the error a router or host reports about a packet, quoting it from its IP header on as far as RFC 1812 and 4443 allow.
///
/// # Panics
/// Panics if the quoted frame is no IP packet.
#[must_use]
pub fn error_about(quoted: &[u8], reporter: IpAddr, problem: Problem) -> Packet {
    let headers = PacketHeaders::from_ethernet_slice(quoted).expect("a test quotes whole packets");
    let (sender, longest): (IpAddr, _) = match headers.net {
        Some(etherparse::NetHeaders::Ipv4(ip, _)) => (ip.source.into(), 548),
        Some(etherparse::NetHeaders::Ipv6(ip, _)) => (ip.source.into(), 1232),
        Some(etherparse::NetHeaders::Arp(_)) | None => panic!("a test quotes IP packets"),
    };
    let start = 14 + 4 * headers.link_exts.len();
    let end = quoted.len().min(start + longest);
    let flow = Flow { from: SocketAddr::new(reporter, 0), to: SocketAddr::new(sender, 0) };
    Packet::new(flow, Content::Error(problem)).payload(&quoted[start..end])
}

/// What an ICMP error reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The packet does not fit the next link, which takes this many bytes.
    TooBig(u16),
    /// Nobody listens on the port.
    PortUnreachable,
    /// The packet has passed too many routers.
    TimeExceeded,
}

/// Which piece of a datagram, for packets cut up on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// The one with the transport header, more to follow.
    First,
    /// One from the middle: payload only.
    Middle,
    /// The end: payload only.
    Last,
}

/// A packet to be built; what is not said is as a host on the lab's client would send it.
#[derive(Clone, Debug)]
pub struct Packet {
    macs: (Mac, Mac),
    vlan: Option<u16>,
    flow: Flow,
    hops: u8,
    traffic_class: u8,
    options: Vec<u8>,
    piece: Option<Piece>,
    content: Content,
    sequence: u32,
    payload: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
enum Content {
    Tcp(&'static str),
    Udp,
    EchoRequest,
    EchoReply,
    Error(Problem),
}

impl Packet {
    fn new(flow: Flow, content: Content) -> Self {
        Self {
            macs: (Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2])),
            vlan: None,
            flow,
            hops: 64,
            traffic_class: 0,
            options: Vec::new(),
            piece: None,
            content,
            sequence: 1000,
            payload: Vec::new(),
        }
    }

    /// Sets the hardware addresses.
    #[must_use]
    pub fn macs(mut self, from: Mac, to: Mac) -> Self {
        self.macs = (from, to);
        self
    }

    /// Adds a VLAN tag.
    ///
    /// # Panics
    /// [`Packet::build`] panics if the number has more than 12 bits.
    #[must_use]
    pub fn vlan(mut self, id: u16) -> Self {
        self.vlan = Some(id);
        self
    }

    /// Sets time to live or hop limit.
    #[must_use]
    pub fn hops(mut self, left: u8) -> Self {
        self.hops = left;
        self
    }

    /// Sets the byte that holds DSCP and ECN.
    #[must_use]
    pub fn traffic_class(mut self, byte: u8) -> Self {
        self.traffic_class = byte;
        self
    }

    /// Adds IPv4 options, a multiple of four bytes, or IPv6 destination options, six more than a multiple of eight.
    ///
    /// # Panics
    /// [`Packet::build`] panics on another length.
    #[must_use]
    pub fn options(mut self, options: &[u8]) -> Self {
        self.options = options.to_vec();
        self
    }

    /// Makes it a fragment; checksums above IP are those of the first piece alone.
    #[must_use]
    pub fn fragment(mut self, piece: Piece) -> Self {
        self.piece = Some(piece);
        self
    }

    /// Sets the TCP sequence number; an acknowledgement carries it plus one.
    #[must_use]
    pub fn sequence(mut self, number: u32) -> Self {
        self.sequence = number;
        self
    }

    /// Sets what follows the headers.
    #[must_use]
    pub fn payload(mut self, bytes: &[u8]) -> Self {
        self.payload = bytes.to_vec();
        self
    }

    /// Returns the frame.
    ///
    /// # Panics
    /// Panics if what was said cannot be written in a header.
    #[must_use]
    pub fn build(self) -> Vec<u8> {
        let link = PacketBuilder::ethernet2(self.macs.0.0, self.macs.1.0);
        let ip = match self.vlan {
            None => link.ip(self.ip()),
            Some(id) => link.single_vlan(VlanId::try_new(id).expect("a VLAN number has 12 bits")).ip(self.ip()),
        };
        let v6 = self.flow.from.is_ipv6();
        let echo = IcmpEchoHeader { id: self.flow.from.port(), seq: self.flow.to.port() };
        let mut frame = Vec::new();
        let out = &mut frame;
        if matches!(self.piece, Some(Piece::Middle | Piece::Last)) {
            ip.write_to_vec(out, self.protocol(), &self.payload).expect("a fragment fits a packet");
            return frame;
        }
        let written = match self.content {
            Content::Tcp(flags) => ip.tcp_header(self.tcp(flags)).write_to_vec(out, &self.payload),
            Content::Udp => ip.udp(self.flow.from.port(), self.flow.to.port()).write_to_vec(out, &self.payload),
            Content::EchoRequest if v6 => ip.icmpv6(Icmpv6Type::EchoRequest(echo)).write_to_vec(out, &self.payload),
            Content::EchoRequest => ip.icmpv4(Icmpv4Type::EchoRequest(echo)).write_to_vec(out, &self.payload),
            Content::EchoReply if v6 => ip.icmpv6(Icmpv6Type::EchoReply(echo)).write_to_vec(out, &self.payload),
            Content::EchoReply => ip.icmpv4(Icmpv4Type::EchoReply(echo)).write_to_vec(out, &self.payload),
            Content::Error(problem) if v6 => ip.icmpv6(problem.v6()).write_to_vec(out, &self.payload),
            Content::Error(problem) => ip.icmpv4(problem.v4()).write_to_vec(out, &self.payload),
        };
        written.expect("the payload fits a packet");
        frame
    }

    fn ip(&self) -> IpHeaders {
        let (offset, more_fragments) = match self.piece {
            None => (0, false),
            Some(Piece::First) => (0, true),
            Some(Piece::Middle) => (185, true),
            Some(Piece::Last) => (370, false),
        };
        let fragment_offset = IpFragOffset::try_new(offset).expect("the offsets above have 13 bits");
        match (self.flow.from.ip(), self.flow.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let mut ip = Ipv4Header::new(0, self.hops, self.protocol(), from.octets(), to.octets());
                let ip = ip.as_mut().expect("an empty payload fits");
                ip.dscp = (self.traffic_class >> 2).try_into().expect("six bits");
                ip.ecn = (self.traffic_class & 3).try_into().expect("two bits");
                (ip.identification, ip.fragment_offset, ip.more_fragments) = (0x4c41, fragment_offset, more_fragments);
                ip.dont_fragment = self.piece.is_none();
                ip.options = self.options.as_slice().try_into().expect("options are at most forty bytes, in fours");
                IpHeaders::Ipv4(ip.clone(), Ipv4Extensions::default())
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let options = (!self.options.is_empty()).then(|| Ipv6RawExtHeader::new_raw(self.protocol(), &self.options));
                let fragment = Ipv6FragmentHeader::new(self.protocol(), fragment_offset, more_fragments, 0x4c41);
                let extensions = Ipv6Extensions {
                    destination_options: options.map(|header| header.expect("options fill multiples of eight bytes")),
                    fragment: self.piece.map(|_| fragment),
                    ..Ipv6Extensions::default()
                };
                let ip = Ipv6Header {
                    traffic_class: self.traffic_class,
                    hop_limit: self.hops,
                    source: from.octets(),
                    destination: to.octets(),
                    ..Ipv6Header::default()
                };
                IpHeaders::Ipv6(ip, extensions)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => panic!("both ends of a flow are of one family"),
        }
    }

    fn tcp(&self, flags: &str) -> TcpHeader {
        let mut tcp = TcpHeader::new(self.flow.from.port(), self.flow.to.port(), self.sequence, 64240);
        for flag in flags.chars() {
            match flag {
                'S' => tcp.syn = true,
                'F' => tcp.fin = true,
                'R' => tcp.rst = true,
                'P' => tcp.psh = true,
                '.' => (tcp.ack, tcp.acknowledgment_number) = (true, self.sequence.wrapping_add(1)),
                _ => panic!("no TCP flag is written `{flag}`"),
            }
        }
        tcp
    }

    fn protocol(&self) -> IpNumber {
        match self.content {
            Content::Tcp(_) => IpNumber::TCP,
            Content::Udp => IpNumber::UDP,
            Content::EchoRequest | Content::EchoReply | Content::Error(_) if self.flow.from.is_ipv6() => IpNumber::IPV6_ICMP,
            Content::EchoRequest | Content::EchoReply | Content::Error(_) => IpNumber::ICMP,
        }
    }
}

impl Problem {
    fn v4(self) -> Icmpv4Type {
        use icmpv4::DestUnreachableHeader::{FragmentationNeeded, Port};
        match self {
            Self::TooBig(next_hop_mtu) => Icmpv4Type::DestinationUnreachable(FragmentationNeeded { next_hop_mtu }),
            Self::PortUnreachable => Icmpv4Type::DestinationUnreachable(Port),
            Self::TimeExceeded => Icmpv4Type::TimeExceeded(icmpv4::TimeExceededCode::TtlExceededInTransit),
        }
    }

    fn v6(self) -> Icmpv6Type {
        match self {
            Self::TooBig(mtu) => Icmpv6Type::PacketTooBig { mtu: mtu.into() },
            Self::PortUnreachable => Icmpv6Type::DestinationUnreachable(DestUnreachableCode::Port),
            Self::TimeExceeded => Icmpv6Type::TimeExceeded(etherparse::icmpv6::TimeExceededCode::HopLimitExceeded),
        }
    }
}

/// Returns a frame as text: its headers as far as they are understood, then all bytes, sixteen a line.
#[must_use]
pub fn describe(frame: &[u8]) -> String {
    let mut text = match PacketHeaders::from_ethernet_slice(frame) {
        Ok(headers) => {
            let parts = [
                headers.link.map(|part| format!("{part:?}")),
                (!headers.link_exts.is_empty()).then(|| format!("{:?}", headers.link_exts)),
                headers.net.map(|part| format!("{part:?}")),
                headers.transport.map(|part| format!("{part:?}")),
            ];
            parts.into_iter().flatten().collect::<Vec<_>>().join("\n")
        }
        Err(error) => format!("not understood: {error}"),
    };
    for (number, line) in frame.chunks(16).enumerate() {
        let bytes: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        write!(text, "\n{:04x}  {}", number * 16, bytes.join(" ")).expect("a string takes all text");
    }
    text
}
