//! What a request says about the client it came from: `X-Forwarded-For`, `X-Original-To`, `Forwarded` (RFC 7239) and `Early-Data` (RFC 8470).

use std::io::Write;
use std::net::IpAddr;

use crate::downstream::Downstream;
use crate::message::head::RequestHead;
use crate::message::headers::Known;
use crate::site::{Backend, ForwardFor, Frontend};
use crate::stream::Privacy;

/// Adds to a request what the frontend or the backend wants said of its client.
pub(crate) fn add(head: &mut RequestHead, client: &Downstream<'_>, frontend: &Frontend, backend: &Backend) {
    if let Some(forward) = frontend.forward_for().or(backend.forward_for()) {
        // A client of a Unix socket has no address.
        address(head, forward, client.source.ip());
    }
    if let Some(forward) = backend.original_to().or(frontend.original_to()) {
        address(head, forward, client.find_destination().map(|destination| destination.ip()));
    }
    if client.is_early() && head.headers.all("Early-Data").next().is_none() {
        let _ = head.headers.append(b"Early-Data", b"1");
    }
    if let Some(wanted) = frontend.forwarded().or(backend.forwarded()) {
        let mut text = Vec::new();
        forwarded(&mut text, wanted, client, head);
        // A host that cannot stand in quotes leaves the whole field out.
        let _ = head.headers.append(b"Forwarded", &text);
    }
}

fn address(head: &mut RequestHead, forward: &ForwardFor, address: Option<IpAddr>) {
    let Some(address) = address.map(|ip| ip.to_canonical()) else { return };
    let is_there = |forward: &ForwardFor| head.headers.all(&forward.header).next().is_some();
    if forward.trusts(address) || (forward.if_none && is_there(forward)) {
        return;
    }
    let text = Text::of(address);
    head.headers.append(forward.header.as_bytes(), text.bytes()).expect("the configuration names valid fields, and addresses are plain");
}

/// An address in text, made without an allocation.
struct Text {
    bytes: [u8; LONGEST_ADDRESS],
    length: usize,
}

/// `ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255`.
const LONGEST_ADDRESS: usize = 45;

impl Text {
    fn of(address: IpAddr) -> Self {
        let mut text = Self { bytes: [0; LONGEST_ADDRESS], length: 0 };
        match address {
            IpAddr::V4(address) => text.put_v4(address.octets()),
            IpAddr::V6(address) => {
                let mut rest = &mut text.bytes[..];
                write!(rest, "{address}").expect("there is room for every address");
                text.length = LONGEST_ADDRESS - rest.len();
            }
        }
        text
    }

    /// Puts four numbers with dots between them.
    fn put_v4(&mut self, octets: [u8; 4]) {
        let mut number = itoa::Buffer::new();
        for (place, octet) in octets.into_iter().enumerate() {
            let digits = number.format(octet).as_bytes();
            let start = self.length + usize::from(place > 0);
            if place > 0 {
                self.bytes[self.length] = b'.';
            }
            self.bytes[start..start + digits.len()].copy_from_slice(digits);
            self.length = start + digits.len();
        }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

fn forwarded(out: &mut Vec<u8>, wanted: control::config::Forwarded, client: &Downstream<'_>, head: &RequestHead) {
    if wanted.proto {
        let is_tls = client.privacy() == Privacy::Tls;
        begin(out, if is_tls { "proto=https" } else { "proto=http" });
    }
    if let Some(host) = head.headers.known(Known::Host).next().filter(|_| wanted.host) {
        begin(out, "host=\"");
        out.extend(host.iter().flat_map(|byte| match byte {
            b'"' | b'\\' => vec![b'\\', *byte],
            byte => vec![*byte],
        }));
        out.push(b'"');
    }
    let by = client.find_destination();
    node(out, "by=", by.filter(|_| wanted.by).map(|address| address.ip()), by.filter(|_| wanted.by_port).map(|address| address.port()));
    let from = client.source.inet();
    let (ip, port) =
        (from.filter(|_| wanted.from).map(|address| address.ip()), from.filter(|_| wanted.from_port).map(|address| address.port()));
    node(out, "for=", ip, port);
}

/// Begins the next pair.
fn begin(out: &mut Vec<u8>, text: &str) {
    if !out.is_empty() {
        out.push(b';');
    }
    out.extend_from_slice(text.as_bytes());
}

/// Adds an address, a port, or both; nothing if there is neither.
fn node(out: &mut Vec<u8>, name: &str, ip: Option<IpAddr>, port: Option<u16>) {
    let text = match (ip.map(|ip| ip.to_canonical()), port) {
        (None, None) => return,
        (Some(IpAddr::V4(ip)), None) => ip.to_string(),
        (Some(IpAddr::V4(ip)), Some(port)) => format!("\"{ip}:{port}\""),
        (Some(IpAddr::V6(ip)), None) => format!("\"[{ip}]\""),
        (Some(IpAddr::V6(ip)), Some(port)) => format!("\"[{ip}]:{port}\""),
        (None, Some(port)) => format!("\"unknown:{port}\""),
    };
    begin(out, name);
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn addresses_are_written_as_everywhere(v4: u32, v6: u128) {
            for address in [IpAddr::V4(v4.into()), IpAddr::V6(v6.into()), IpAddr::V6((v6 >> 96 | 0xffff << 32).into())] {
                prop_assert!(Text::of(address).bytes() == address.to_string().as_bytes(), "{address}");
            }
        }
    }
}
