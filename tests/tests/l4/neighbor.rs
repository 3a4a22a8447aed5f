//! A server's hardware changes under its address.

use std::time::Duration;

use anyhow::Result;
use tests::{link, topology::Family, wait::eventually};

use crate::{
    file::{File, STRICT},
    site::{Plan, Site},
};

#[test]
fn traffic_follows_a_server_that_announces_its_new_hardware_address() -> Result<()> {
    for plan in Plan::BOTH {
        let site = Site::start(plan)?;
        let server = site.lab.backends()[1].namespace();
        server.sysctl("net/ipv4/conf/eth0/arp_notify", "1")?;
        server.sysctl("net/ipv6/conf/eth0/ndisc_notify", "1")?;
        for family in Family::BOTH {
            site.lab.client().distribution(site.vip(family), 6)?;
        }
        link::batch(server, NEW_ADDRESS)?;
        let impatient = site.lab.client().with_deadline(Duration::from_millis(300));
        for family in Family::BOTH {
            let served = || impatient.distribution(site.vip(family), 9).ok().filter(|counts| counts.values().all(|&count| count == 3));
            eventually(Duration::from_secs(2), &format!("{plan:?} {family:?}: all servers to answer"), served)?;
        }
    }
    Ok(())
}

#[test]
fn traffic_goes_on_without_a_server_that_changed_its_hardware_address_silently() -> Result<()> {
    let mut file = File::new(Plan::NAT);
    file.check = STRICT;
    let site = Site::start_on(file)?;
    link::batch(site.lab.backends()[1].namespace(), NEW_ADDRESS)?;
    let impatient = site.lab.client().with_deadline(Duration::from_millis(300));
    for family in Family::BOTH {
        let served = || impatient.distribution(site.vip(family), 6).ok();
        eventually(Duration::from_secs(3), &format!("{family:?}: connections that all succeed"), served)?;
    }
    Ok(())
}

const NEW_ADDRESS: &str = "link set eth0 address 02:4c:41:42:99:01\n";
