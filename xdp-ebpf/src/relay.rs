//! ICMP: answers echo requests to service addresses, and sends errors on to whom they concern, found by the packet they quote.
//!
//! An error about what a server sent straight to a client goes to that server as its packets do; one about a translated packet is translated itself,
//! quoted headers and all. The checksum of the quoted transport header stays as it was: nobody checks it, and errors need not even quote it.

use core::hint::black_box;

use crate::{
    choose::{self, Chosen},
    forward::{Sent, Step, direct, dnat, nat, neighbor},
    maps,
    packet::{Frame, Head, Packet},
    parse, service,
};
use xdp_common::{
    addr::{Addr, Port},
    checksum::Change,
    flow::{FlowKey, TCP, UDP},
    reason::Reason,
    server::Hop,
    service::Forward,
    settings::Settings,
    wire::{self, ICMP, ICMPV6, Icmp, Ipv4, Ipv6, Ports},
};

/// Hops an answer may take.
const HOPS: u8 = 64;

/// An error and what it quotes of a packet.
#[repr(C)]
pub(crate) struct Quoting<Network> {
    icmp: Icmp,
    network: Network,
    ports: Ports,
}

/// An ICMP message of interest.
enum Message {
    Echo,
    /// The tuple of the packet it is about, as the other side would send it.
    About(FlowKey),
}

/// A network header, as ICMP messages are read and rewritten in it.
trait Network: Sized {
    const ICMP: u8;
    const ECHO: u8;
    const REPLY: u8;
    /// Tells whether a message of this type is an error about a packet.
    fn is_error(kind: u8) -> bool;
    fn source(&self) -> Addr;
    fn destination(&self) -> Addr;
    fn protocol(&self) -> u8;
    /// Tells whether ports follow at once.
    fn is_plain(&self) -> bool;
    /// Bytes that follow this header.
    fn payload(&self) -> u16;
    fn readdress(&mut self, source: Addr, destination: Addr);
    fn renew_hops(&mut self);
    /// The change that other addresses of this header make to the checksum of an ICMP message that it heads or that quotes it.
    fn change(&self, source: Addr, destination: Addr) -> Change;
}

impl Network for Ipv4 {
    const ICMP: u8 = ICMP;
    const ECHO: u8 = 8;
    const REPLY: u8 = 0;

    #[inline(always)]
    fn is_error(kind: u8) -> bool {
        matches!(kind, 3 | 11 | 12)
    }

    #[inline(always)]
    fn source(&self) -> Addr {
        wire::v4_addr(&self.source)
    }

    #[inline(always)]
    fn destination(&self) -> Addr {
        wire::v4_addr(&self.destination)
    }

    #[inline(always)]
    fn protocol(&self) -> u8 {
        self.protocol
    }

    #[inline(always)]
    fn is_plain(&self) -> bool {
        self.version_length == 0x45 && !self.is_fragment()
    }

    #[inline(always)]
    fn payload(&self) -> u16 {
        u16::from_be_bytes(self.length).wrapping_sub(size_of::<Self>() as u16)
    }

    #[inline(always)]
    fn readdress(&mut self, source: Addr, destination: Addr) {
        let change = Change::none()
            .word(u32::from_ne_bytes(self.source), source.v4_word())
            .word(u32::from_ne_bytes(self.destination), destination.v4_word());
        self.checksum = change.apply(u16::from_ne_bytes(self.checksum)).to_ne_bytes();
        self.source = source.v4_word().to_ne_bytes();
        self.destination = destination.v4_word().to_ne_bytes();
    }

    #[inline(always)]
    fn renew_hops(&mut self) {
        let old = u32::from_ne_bytes([self.ttl, 0, 0, 0]);
        let change = Change::none().word(old, u32::from_ne_bytes([HOPS, 0, 0, 0]));
        self.checksum = change.apply(u16::from_ne_bytes(self.checksum)).to_ne_bytes();
        self.ttl = HOPS;
    }

    #[inline(always)]
    fn change(&self, _source: Addr, _destination: Addr) -> Change {
        // The header's own checksum changes by the opposite, and there is no pseudo header.
        Change::none()
    }
}

impl Network for Ipv6 {
    const ICMP: u8 = ICMPV6;
    const ECHO: u8 = 128;
    const REPLY: u8 = 129;

    #[inline(always)]
    fn is_error(kind: u8) -> bool {
        (1..=4).contains(&kind)
    }

    #[inline(always)]
    fn source(&self) -> Addr {
        wire::v6_addr(&self.source)
    }

    #[inline(always)]
    fn destination(&self) -> Addr {
        wire::v6_addr(&self.destination)
    }

    #[inline(always)]
    fn protocol(&self) -> u8 {
        self.next_header
    }

    #[inline(always)]
    fn is_plain(&self) -> bool {
        self.version_class_label[0] >> 4 == 6
    }

    #[inline(always)]
    fn payload(&self) -> u16 {
        u16::from_be_bytes(self.payload_length)
    }

    #[inline(always)]
    fn readdress(&mut self, source: Addr, destination: Addr) {
        self.source = bytes(source);
        self.destination = bytes(destination);
    }

    #[inline(always)]
    fn renew_hops(&mut self) {
        self.hop_limit = HOPS;
    }

    #[inline(always)]
    fn change(&self, source: Addr, destination: Addr) -> Change {
        Change::none().words(self.source().words(), source.words()).words(self.destination().words(), destination.words())
    }
}

/// Answers an ICMP message or sends it on; whatever is not for us is the host's.
#[inline(always)]
pub(crate) fn handle(packet: &mut Packet<'_>) -> Result<Step, Reason> {
    let settings = maps::settings().ok_or(Reason::Internal)?;
    if parse::is_v4(packet).ok_or(Reason::NotIp)? { message::<Ipv4>(packet, settings) } else { message::<Ipv6>(packet, settings) }
}

#[inline(always)]
fn message<N: Network>(packet: &mut Packet<'_>, settings: &Settings) -> Result<Step, Reason>
where
    Frame<N, ()>: Head,
    Frame<N, Icmp>: Head,
    Frame<N, Quoting<N>>: Head,
{
    match read::<N>(packet)? {
        Message::Echo => echo::<N>(packet, settings).map(Step::Sent),
        Message::About(key) => about::<N>(packet, &key, settings),
    }
}

#[inline(always)]
fn read<N: Network>(packet: &Packet<'_>) -> Result<Message, Reason>
where
    Frame<N, Icmp>: Head,
    Frame<N, Quoting<N>>: Head,
{
    // Hidden from the compiler, which would take what is compared with it for proof of a view; the verifier does not.
    let length = black_box(packet.length());
    let frame = packet.head::<Frame<N, Icmp>>().ok_or(Reason::Truncated)?;
    let (payload, room) = (u64::from(frame.network.payload()), length - (size_of::<Frame<N, Icmp>>() - size_of::<Icmp>()) as u64);
    if payload < size_of::<Icmp>() as u64 || payload > room {
        return Err(Reason::Truncated);
    }
    if frame.transport.kind == N::ECHO {
        return Ok(Message::Echo);
    }
    if !N::is_error(frame.transport.kind) {
        return Err(Reason::NotTransport);
    }
    let frame = packet.head::<Frame<N, Quoting<N>>>().ok_or(Reason::NotTransport)?;
    if payload < size_of::<Quoting<N>>() as u64 {
        return Err(Reason::NotTransport);
    }
    let Quoting { network, ports, .. } = &frame.transport;
    let protocol = network.protocol();
    // An error goes to whoever sent what it quotes.
    let ours = network.is_plain() && (protocol == TCP || protocol == UDP) && network.source() == frame.network.destination();
    if !ours {
        return Err(Reason::NotTransport);
    }
    Ok(Message::About(FlowKey {
        source: network.destination(),
        destination: network.source(),
        source_port: ports.destination(),
        destination_port: ports.source(),
        protocol,
    }))
}

/// Answers an echo request to a service's address.
#[inline(always)]
fn echo<N: Network>(packet: &mut Packet<'_>, settings: &Settings) -> Result<Sent, Reason>
where
    Frame<N, ()>: Head,
    Frame<N, Icmp>: Head,
{
    let network = &packet.head::<Frame<N, ()>>().ok_or(Reason::Truncated)?.network;
    let (source, destination) = (network.source(), network.destination());
    let none = Port::new(0);
    let key = FlowKey { source, destination, source_port: none, destination_port: none, protocol: N::ICMP };
    service::find(&key, settings).ok_or(Reason::NotTransport)?;
    let back = neighbor::back(packet).ok_or(Reason::Truncated)?;
    let frame = packet.head_mut::<Frame<N, Icmp>>().ok_or(Reason::Truncated)?;
    // Addresses that change places leave every sum as it is.
    frame.network.readdress(destination, source);
    frame.network.renew_hops();
    let icmp = &mut frame.transport;
    let change = Change::none().word(u32::from_ne_bytes([N::ECHO, 0, 0, 0]), u32::from_ne_bytes([N::REPLY, 0, 0, 0]));
    icmp.checksum = change.apply(u16::from_ne_bytes(icmp.checksum)).to_ne_bytes();
    icmp.kind = N::REPLY;
    let interface = neighbor::address(packet, &back, &key)?;
    Ok(Sent { interface, reason: Reason::Echo })
}

/// Sends an error about a packet of a flow on to the flow's server or client.
#[inline(always)]
fn about<N: Network>(packet: &mut Packet<'_>, key: &FlowKey, settings: &Settings) -> Result<Step, Reason>
where
    Frame<N, ()>: Head,
    Frame<N, Quoting<N>>: Head,
{
    if let Some(reply) = nat::find_reply_of(key, settings) {
        let (to, hop) = reply.client()?;
        translate::<N>(packet, &to)?;
        let interface = neighbor::address(packet, hop, &to)?;
        return Ok(Step::Sent(Sent { interface, reason: Reason::Relayed }));
    }
    let Some(service) = service::find(key, settings) else { return about_server::<N>(packet, key, settings) };
    let head = service.parts();
    let place = choose::place(key, &head, settings);
    if head.forward == Forward::Dnat {
        let chosen = choose::known(service, &head, &place, settings).ok_or(Reason::NotTransport)?;
        return to_server::<N>(packet, key, &chosen);
    }
    if head.forward != Forward::Nat {
        let chosen = choose::known(service, &head, &place, settings).ok_or(Reason::NotTransport)?;
        let network = &packet.head::<Frame<N, ()>>().ok_or(Reason::Truncated)?.network;
        let outer = FlowKey { source: network.source(), destination: network.destination(), protocol: N::ICMP, ..*key };
        return direct::pass_on(packet, &outer, &head, &chosen, &place);
    }
    let (from, chosen) = nat::known(key, &place, &head, settings).ok_or(Reason::NotTransport)?;
    to_server::<N>(packet, &from, &chosen)
}

/// Sends an error about a translated flow to its server, with the server's own address in it.
#[inline(always)]
fn to_server<N: Network>(packet: &mut Packet<'_>, from: &FlowKey, chosen: &Chosen) -> Result<Step, Reason>
where
    Frame<N, Quoting<N>>: Head,
{
    let server = chosen.server;
    let to = FlowKey { destination: server.address, destination_port: server.port_for(from.destination_port), ..*from };
    translate::<N>(packet, &to)?;
    let interface = neighbor::address(packet, &server.hop, &to)?;
    Ok(Step::Sent(Sent { interface, reason: Reason::Relayed }))
}

/// Sends an error about a client's packet that was translated to its server on to the client, for whom the service sent it.
#[inline(always)]
fn about_server<N: Network>(packet: &mut Packet<'_>, key: &FlowKey, settings: &Settings) -> Result<Step, Reason>
where
    Frame<N, Quoting<N>>: Head,
{
    if settings.returns == 0 {
        return Err(Reason::NotTransport);
    }
    let to = dnat::service_of(key, settings).ok_or(Reason::NotTransport)?;
    translate::<N>(packet, &to)?;
    let interface = neighbor::address(packet, &Hop::default(), &to)?;
    Ok(Step::Sent(Sent { interface, reason: Reason::Relayed }))
}

/// Gives an error the addresses of `to`, and the packet it quotes those of the answer to that.
#[inline(always)]
fn translate<N: Network>(packet: &mut Packet<'_>, to: &FlowKey) -> Result<(), Reason>
where
    Frame<N, Quoting<N>>: Head,
{
    let frame = packet.head_mut::<Frame<N, Quoting<N>>>().ok_or(Reason::Truncated)?;
    let outer = frame.network.change(to.source, to.destination);
    let quoting = &mut frame.transport;
    let inner = quoting.network.change(to.destination, to.source);
    frame.network.readdress(to.source, to.destination);
    quoting.network.readdress(to.destination, to.source);
    let old = quoting.ports.word();
    quoting.ports = Ports { source: to.destination_port.word().to_ne_bytes(), destination: to.source_port.word().to_ne_bytes() };
    let change = outer.and(inner).word(old, quoting.ports.word());
    quoting.icmp.checksum = change.apply(u16::from_ne_bytes(quoting.icmp.checksum)).to_ne_bytes();
    Ok(())
}

#[inline(always)]
fn bytes(address: Addr) -> [u8; 16] {
    let [high, low] = address.words();
    (u128::from(high) | u128::from(low) << 64).to_ne_bytes()
}
