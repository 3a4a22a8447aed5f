//! Ranges of ports that lie within each other, as segments that do not: each port is that of the narrowest service that has it. Pure.

use std::collections::BTreeSet;

use xdp_common::service::Segment;

use crate::plan::ServiceKey;

/// Returns the segments of one address, in the order of their ports.
pub(crate) fn flatten(services: &[(ServiceKey, u16)]) -> Vec<Segment> {
    let ports = |key: &ServiceKey| u32::from(key.socket.port())..u32::from(key.last) + 1;
    // Only there can it be another service's turn.
    let edges: BTreeSet<u32> = services.iter().flat_map(|(key, _)| [ports(key).start, ports(key).end]).collect();
    let edges: Vec<u32> = edges.into_iter().collect();
    let mut segments: Vec<(u32, u32, u16)> = Vec::new();
    for pair in edges.windows(2) {
        let [start, end] = *pair else { continue };
        let holders = services.iter().filter(|(key, _)| ports(key).contains(&start));
        let Some((_, id)) = holders.min_by_key(|(key, id)| (ports(key).len(), *id)) else { continue };
        match segments.last_mut() {
            Some((_, last, held)) if *last == start && held == id => *last = end,
            _ => segments.push((start, end, *id)),
        }
    }
    segments.into_iter().map(|(start, end, id)| Segment::new(start as u16, (end - 1) as u16, id)).collect()
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, SocketAddr};

    use proptest::prelude::*;

    use super::*;

    fn service(first: u16, last: u16, id: u16) -> (ServiceKey, u16) {
        (ServiceKey { socket: SocketAddr::new(IpAddr::from([10, 0, 0, 1]), first), last, protocol: 6 }, id)
    }

    fn parts(segments: &[Segment]) -> Vec<(u16, u16, u16)> {
        segments.iter().map(|segment| (segment.first(), segment.last(), segment.service())).collect()
    }

    #[test]
    fn narrower_ranges_come_first() {
        let all = [service(1, 65_535, 1), service(8000, 8999, 2), service(8500, 8509, 3)];
        let expected = [(1, 7999, 1), (8000, 8499, 2), (8500, 8509, 3), (8510, 8999, 2), (9000, 65_535, 1)];
        assert_eq!(parts(&flatten(&all)), expected);
        assert_eq!(parts(&flatten(&[service(5, 6, 1), service(9, 10, 2)])), [(5, 6, 1), (9, 10, 2)]);
        assert_eq!(parts(&flatten(&[service(5, 6, 1), service(7, 10, 1)])), [(5, 10, 1)]);
        assert_eq!(flatten(&[]), []);
    }

    proptest! {
        #[test]
        fn every_port_is_that_of_the_narrowest(ranges in prop::collection::vec((1u16..200, 0u16..100), 0..12)) {
            let services: Vec<_> = (1..).zip(&ranges).map(|(id, (first, more))| service(*first, first + more, id)).collect();
            let segments = flatten(&services);
            prop_assert!(segments.windows(2).all(|pair| pair[0].last() < pair[1].first()));
            for port in 0..310u16 {
                let found = segments.iter().find(|segment| (segment.first()..=segment.last()).contains(&port)).map(|segment| segment.service());
                let holders = services.iter().filter(|(key, _)| (key.socket.port()..=key.last).contains(&port));
                prop_assert_eq!(found, holders.min_by_key(|(key, id)| (key.last - key.socket.port(), *id)).map(|(_, id)| *id));
            }
        }
    }
}
