//! Short segments over a way that loses long packets and tells nobody, under real traffic.

use std::time::Duration;

use anyhow::{Result, ensure};
use tests::{protocol::Bulk, topology::Family};

use crate::{
    file::File,
    site::{Plan, Site},
};

/// What the way to the servers carries.
const NARROW: u16 = 1400;
const BULK: Bulk = Bulk { length: 2_000_000, seed: 11 };

#[test]
fn both_directions_flow_over_a_way_that_loses_long_packets() -> Result<()> {
    for plan in [Plan { servers: 1, ..Plan::NAT }, Plan { servers: 1, ..Plan::DNAT }] {
        let mut site = Site::start(plan)?;
        site.lab.narrow(0, NARROW)?;
        let impatient = site.lab.client().with_deadline(Duration::from_millis(700));
        ensure!(impatient.download(site.vip(Family::V4), BULK).is_err(), "{plan:?}: the way is not as narrow as it should be");
        ensure!(impatient.upload(site.vip(Family::V4), BULK).is_err(), "{plan:?}: the way is not as narrow as it should be");
        site.reload(|file: &mut File| file.frontend_xdp = ", mss = 1320")?;
        for family in Family::BOTH {
            site.lab.client().download(site.vip(family), BULK)?;
            site.lab.client().upload(site.vip(family), BULK)?;
        }
        ensure!(site.l4d("plan")?.contains("segments of at most 1320 bytes"));
    }
    Ok(())
}
