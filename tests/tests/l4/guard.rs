//! The guard under real traffic: prefixes and rates, changed while it runs and kept through a restart.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Result, ensure};
use tests::topology::Family;

use crate::{
    file::File,
    site::{Plan, Site},
    sources,
};

/// Asks from one of the client's addresses.
fn ask(site: &Site, family: Family, number: u16) -> Result<String> {
    sources::who(&site.lab, SocketAddr::new(sources::address(family, number), 0), site.vip(family))
}

/// Tells whether a connection from one of the client's addresses does not even begin.
pub(crate) fn is_shut_out(site: &Site, family: Family, number: u16) -> Result<bool> {
    let (from, to) = (SocketAddr::new(sources::address(family, number), 0), site.vip(family));
    site.lab.client_host().namespace().run(|| {
        let socket = socket2::Socket::new(socket2::Domain::for_address(to), socket2::Type::STREAM, None)?;
        match family {
            Family::V4 => socket.set_freebind_v4(true)?,
            Family::V6 => socket.set_freebind_v6(true)?,
        }
        socket.bind(&from.into())?;
        Ok(socket.connect_timeout(&to.into(), Duration::from_millis(400)).is_err())
    })
}

#[test]
fn denied_sources_are_shut_out_and_let_in_again_while_others_are_served() -> Result<()> {
    for plan in Plan::BOTH {
        let mut file = File::new(plan);
        file.xdp += "on-stop = \"keep\"\n";
        let mut site = Site::start_on(file)?;
        let allowed = site.file.xdp.clone();
        let denied = allowed.clone() + "deny = [\"10.99.0.0/24\", \"fd99::/120\"]\nallow = [\"10.99.0.9\", \"fd99::9\"]\n";
        for family in Family::BOTH {
            ask(&site, family, 1)?;
        }
        site.reload(|file| file.xdp = denied)?;
        for family in Family::BOTH {
            ensure!(is_shut_out(&site, family, 1)?, "{plan:?} {family:?}: denied and served");
            ask(&site, family, 9)?;
            ask(&site, family, 300)?;
        }
        ensure!(site.packets("denied")? > 0);
        site.l4d.kill()?;
        site.restart()?;
        for family in Family::BOTH {
            ensure!(is_shut_out(&site, family, 1)?, "{plan:?} {family:?}: forgotten by the restart");
            ask(&site, family, 9)?;
        }
        site.reload(|file| file.xdp = allowed)?;
        for family in Family::BOTH {
            ask(&site, family, 1)?;
        }
    }
    Ok(())
}

#[test]
fn a_source_that_opens_too_many_connections_is_slowed_down_alone() -> Result<()> {
    let mut file = File::new(Plan::NAT);
    file.xdp += "source-connections = 5\n";
    let site = Site::start_on(file)?;
    for family in Family::BOTH {
        // The lost ones are sent again by the client's own TCP, so that all are served in the end.
        for _ in 0..15 {
            ask(&site, family, 1)?;
        }
        ask(&site, family, 2)?;
    }
    ensure!(site.packets("too_many_connections")? > 0, "nobody was slowed down");
    Ok(())
}
