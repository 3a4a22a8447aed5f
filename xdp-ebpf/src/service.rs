//! Which service a flow is for: our own two-bucket table, and for services of many ports their segments.

use crate::maps;
use xdp_common::{
    addr::{Addr, Port},
    flow::{FlowKey, TCP},
    limits::{BUCKET_SERVICES, SEGMENT_STEPS},
    service::{Service, buckets, listened, ranged, returned},
    settings::Settings,
};

/// Returns the service that takes a flow: the one of its port, or else the narrowest of many ports.
#[inline(always)]
pub(crate) fn find(key: &FlowKey, settings: &Settings) -> Option<&'static Service> {
    let exact = entry(&key.destination, key.destination_port, key.protocol, settings);
    if exact.is_none() && settings.ranges != 0 { by_range(key, settings) } else { exact }
}

/// Returns the entry of a server whose replies are translated.
#[inline(always)]
pub(crate) fn of_server(address: &Addr, port: Port, protocol: u8, settings: &Settings) -> Option<&'static Service> {
    entry(address, port, returned(protocol), settings)
}

/// Returns the entry of a listener of the host that is kept from floods.
#[inline(always)]
pub(crate) fn of_listener(address: &Addr, port: Port, settings: &Settings) -> Option<&'static Service> {
    entry(address, port, listened(TCP), settings)
}

#[inline(always)]
fn entry(address: &Addr, port: Port, protocol: u8, settings: &Settings) -> Option<&'static Service> {
    for index in buckets(address, port, protocol, &settings.key) {
        let bucket = maps::service_bucket(index)?;
        let found = (0..BUCKET_SERVICES).find(|way| bucket.0[*way].is(address, port, protocol));
        if let Some(way) = found {
            return bucket.0.get(settings.blur(way as u32) as usize & (BUCKET_SERVICES - 1));
        }
    }
    None
}

/// Kept out of line: the way of packets for services of one port stays as short as it was.
#[inline(never)]
fn by_range(key: &FlowKey, settings: &Settings) -> Option<&'static Service> {
    let (first, count) = entry(&key.destination, Port::new(0), ranged(key.protocol), settings)?.ring();
    let port = key.destination_port.number();
    let (mut low, mut high) = (0, count);
    for _ in 0..SEGMENT_STEPS {
        if low >= high {
            break;
        }
        let middle = (low + high) / 2;
        if maps::segment(first + middle)?.last() < port {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    let segment = maps::segment(first + low)?;
    let service = &maps::range(segment.service())?.service;
    // What was found may have been changed meanwhile: it must still be of this address.
    let takes = low < count && segment.first() <= port && service.is_taken() && service.address == key.destination;
    (takes && service.parts().protocol == key.protocol).then_some(service)
}
