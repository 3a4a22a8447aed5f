//! Which service a flow is for: our own two-bucket table.

use crate::maps;
use xdp_common::{
    flow::FlowKey,
    limits::BUCKET_SERVICES,
    service::{Service, buckets},
    settings::Settings,
};

/// Returns the service that takes a flow.
#[inline(always)]
pub(crate) fn find(key: &FlowKey, settings: &Settings) -> Option<&'static Service> {
    for index in buckets(&key.destination, key.destination_port, key.protocol, &settings.key) {
        let bucket = maps::service_bucket(index)?;
        for way in 0..BUCKET_SERVICES {
            let service = &bucket.0[way];
            if service.takes(key) {
                return Some(service);
            }
        }
    }
    None
}
