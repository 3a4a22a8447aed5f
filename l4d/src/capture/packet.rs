//! A packet of which both ends of its way were seen.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use rustix::{
    net::{AddressFamily, SocketType, netdevice::index_to_name, socket},
    time::{ClockId, clock_gettime},
};
use xdp_common::{
    reason::Reason,
    watch::{ARRIVED, Event},
};

use crate::datapath::Verdict;

/// What became of a packet.
#[derive(Debug, Clone)]
pub(super) struct Packet {
    /// When it arrived, since 1970.
    pub(super) time: Duration,
    /// As it arrived.
    pub(super) arrived: Frame,
    /// As it was when its way ended.
    pub(super) left: Frame,
    /// When that was.
    pub(super) ended: Duration,
    /// Why it went where it went.
    pub(super) reason: Reason,
    /// The program's verdict.
    pub(super) verdict: Verdict,
    /// That as the kernel numbers it.
    pub(super) code: u32,
}

/// A frame at an interface.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    /// The interface's index; 0 of one that did not leave.
    pub(super) interface: u32,
    /// The interface's name.
    pub(super) name: String,
    /// Its first bytes.
    pub(super) bytes: Vec<u8>,
    /// How many it has in all.
    pub(super) length: u32,
}

impl Packet {
    /// Tells whether it was sent on.
    pub(super) fn is_sent(&self) -> bool {
        matches!(self.verdict, Verdict::Transmitted | Verdict::Redirected)
    }
}

/// Puts together what belongs together. A CPU has one packet under way at a time, so that an end belongs to the last arrival on its CPU, or that one is lost.
pub(super) struct Joined {
    /// What the monotonic clock showed in 1970.
    epoch: Duration,
    names: BTreeMap<u32, String>,
    under_way: BTreeMap<usize, (Event, Vec<u8>)>,
    packets: Vec<Packet>,
}

impl Joined {
    pub(super) fn new() -> Self {
        let monotonic = clock_gettime(ClockId::Monotonic);
        let since_boot = Duration::new(monotonic.tv_sec.unsigned_abs(), u32::try_from(monotonic.tv_nsec).unwrap_or_default());
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { epoch: now.saturating_sub(since_boot), names: BTreeMap::new(), under_way: BTreeMap::new(), packets: Vec::new() }
    }

    /// Adds what a CPU has shown.
    pub(super) fn add(&mut self, cpu: usize, event: &Event, frame: &[u8]) {
        if event.reason == ARRIVED {
            self.under_way.insert(cpu, (*event, frame.to_owned()));
            return;
        }
        let Some((first, bytes)) = self.under_way.remove(&cpu).filter(|(first, _)| first.number == event.number) else { return };
        // A program of another version may know more.
        let Some(reason) = Reason::ALL.get(event.reason as usize) else { return };
        let packet = Packet {
            time: self.epoch + Duration::from_nanos(first.nanos),
            arrived: self.frame(&first, bytes),
            left: self.frame(event, frame.to_owned()),
            ended: self.epoch + Duration::from_nanos(event.nanos),
            reason: *reason,
            verdict: Verdict::from_code(event.verdict),
            code: event.verdict,
        };
        self.packets.push(packet);
    }

    /// Takes the packets that are complete, in the order in which they arrived.
    pub(super) fn take(&mut self) -> Vec<Packet> {
        self.packets.sort_by_key(|packet| packet.time);
        std::mem::take(&mut self.packets)
    }

    fn frame(&mut self, event: &Event, bytes: Vec<u8>) -> Frame {
        let name = self.names.entry(event.interface).or_insert_with(|| name(event.interface)).clone();
        Frame { interface: event.interface, name, bytes, length: event.length }
    }
}

fn name(interface: u32) -> String {
    let named = socket(AddressFamily::INET, SocketType::DGRAM, None).and_then(|socket| index_to_name(socket, interface));
    named.unwrap_or_else(|_| format!("interface {interface}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: u64, reason: u32, nanos: u64) -> Event {
        Event { number, nanos, interface: 1, length: 60, reason, verdict: 3 }
    }

    #[test]
    fn an_end_joins_its_own_arrival() {
        let mut joined = Joined::new();
        joined.add(0, &event(1, ARRIVED, 100), b"one");
        joined.add(1, &event(1, ARRIVED, 50), b"other");
        joined.add(0, &event(1, 0, 110), b"one, sent");
        joined.add(1, &event(1, 1, 120), b"other, sent");
        let packets = joined.take();
        let seen: Vec<_> =
            packets.iter().map(|packet| (packet.arrived.bytes.as_slice(), packet.left.bytes.as_slice(), packet.reason)).collect();
        assert_eq!(
            seen,
            [(&b"other"[..], &b"other, sent"[..], Reason::Returned), (b"one", b"one, sent", Reason::Forwarded)],
            "in the order of arrival"
        );
        assert!(joined.take().is_empty());
    }

    #[test]
    fn half_a_packet_is_none() {
        let mut joined = Joined::new();
        joined.add(0, &event(1, ARRIVED, 100), b"one");
        joined.add(0, &event(2, 0, 110), b"two, sent");
        joined.add(0, &event(3, 0, 110), b"three, sent");
        joined.add(0, &event(4, ARRIVED, 120), b"four");
        joined.add(0, &event(4, 999, 120), b"of another version");
        assert!(joined.take().is_empty());
    }
}
