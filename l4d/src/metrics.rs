//! What Prometheus reads: the kernel tier's counters and the fleet's states.

use control::{
    config::{Config, Frontend, Server, XdpFrontend},
    exposition::{self, Kind, Metrics},
    fleet::Fleet,
};
use tracing::warn;
use xdp_common::flow::UDP;

use crate::{
    datapath::{self, ServerCounters},
    kernel::Kernel,
    plan::{self, ServiceKey, WantedService},
};

/// Writes all metrics.
pub(crate) fn write(metrics: &mut Metrics, kernel: &Kernel, fleet: &Fleet) {
    if let Err(error) = packets(metrics, kernel).and_then(|()| servers(metrics, kernel, &fleet.config())) {
        warn!("metrics are incomplete: {error}");
    }
    exposition::write_fleet(metrics, &fleet.snapshot());
}

fn packets(metrics: &mut Metrics, kernel: &Kernel) -> Result<(), datapath::Error> {
    let reasons = kernel.datapath.maps().reasons()?;
    let mut family = metrics.family("l4d_packets_total", Kind::Counter, "Packets seen by the XDP program, by what became of them.");
    for (reason, count) in reasons {
        family.whole(&[("reason", reason.name())], count);
    }
    Ok(())
}

fn servers(metrics: &mut Metrics, kernel: &Kernel, config: &Config) -> Result<(), datapath::Error> {
    let mut rows = Vec::new();
    for (key, service) in &kernel.wanted.services {
        let backend = config.frontend_named(&service.frontend).and_then(Frontend::xdp).map(XdpFrontend::backend);
        for held in kernel.tables.servers_of(key) {
            let server = backend.and_then(|backend| plan::server_at(config, backend, key, held.socket));
            rows.push((
                labels(key, service, server.map_or("", Server::name)),
                held.share,
                kernel.datapath.maps().server_counters(held.id)?,
            ));
        }
    }
    for (name, help, value) in FAMILIES {
        let mut family = metrics.family(name, Kind::Counter, help);
        for (labels, _, counters) in &rows {
            family.whole(&labels.each_ref().map(|(key, value)| (*key, value.as_str())), value(counters));
        }
    }
    let mut family = metrics.family("l4d_server_share_ratio", Kind::Gauge, "A server's share of its service's new flows.");
    for (labels, share, _) in &rows {
        family.fraction(&labels.each_ref().map(|(key, value)| (*key, value.as_str())), *share);
    }
    Ok(())
}

/// A counter of servers: name, help text and which number it shows.
type ServerFamily = (&'static str, &'static str, fn(&ServerCounters) -> u64);

const FAMILIES: [ServerFamily; 3] = [
    ("l4d_server_packets_total", "Packets from clients sent to a server.", |counters| counters.packets),
    ("l4d_server_bytes_total", "Bytes of those packets, Ethernet headers included.", |counters| counters.bytes),
    ("l4d_server_flows_total", "New flows given to a server.", |counters| counters.flows),
];

fn labels(key: &ServiceKey, service: &WantedService, server: &str) -> [(&'static str, String); 5] {
    [
        ("frontend", service.frontend.clone()),
        ("service", key.to_string()),
        ("protocol", if key.protocol == UDP { "udp" } else { "tcp" }.to_owned()),
        ("backend", service.backend.clone()),
        ("server", server.to_owned()),
    ]
}
