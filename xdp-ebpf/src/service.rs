//! Which service a flow is for: our own two-bucket table.

use crate::{maps, parse::Flow};
use xdp_common::{
    limits::BUCKET_SERVICES,
    service::{Service, buckets},
    settings::Settings,
};

/// Returns the service that takes a flow.
#[inline(always)]
pub(crate) fn find(flow: &Flow, settings: &Settings) -> Option<&'static Service> {
    for index in buckets(&flow.key.destination, flow.key.destination_port, flow.key.protocol, &settings.key) {
        let bucket = maps::service_bucket(index)?;
        for way in 0..BUCKET_SERVICES {
            let service = &bucket.0[way];
            if service.takes(&flow.key) {
                return Some(service);
            }
        }
    }
    None
}
