//! Rings of other sizes than the usual one.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use tests::topology::Family;

use crate::{
    crowd::Crowd,
    file::File,
    site::{Plan, STARTED, Site},
};

#[test]
fn a_short_ring_balances_and_is_kept_while_it_is_in_use() -> Result<()> {
    for plan in [Plan::NAT.by("source"), Plan::DSR.by("tuple")] {
        let mut file = File::new(plan).with_fixed_key();
        file.frontend_xdp = ", ring = 509";
        let mut site = Site::start_on(file)?;
        // Four services: two families over two protocols.
        let said = site.l4d("plan")?;
        ensure!(said.contains("maps: 4 of 4095 services") && said.contains(&format!(" {} of ", 4 * 509)), "{said}");
        let mut crowd = Crowd::default();
        crowd.join(&site.lab, Family::V4, site.vip(Family::V4), 40)?;
        let servers: BTreeSet<_> = crowd.servers().into_iter().collect();
        ensure!(servers.len() == 3, "{plan:?}: only {servers:?}");
        // Slots change under established flows, and the ring's size does not.
        let mark = site.l4d.mark();
        site.reload(|file: &mut File| {
            file.frontend_xdp = ", ring = 1021";
            file.weigh(0, 3);
        })?;
        site.l4d.wait_for_line_after(mark, "its ring keeps the size it was made with", STARTED)?;
        crowd.talk()?;
        site.l4d.kill()?;
        site.restart()?;
        crowd.talk()?;
    }
    Ok(())
}
