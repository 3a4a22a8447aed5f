//! Every byte arrives, in both directions, on one connection and on many.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr},
    thread,
};

use anyhow::{Context, Result, ensure};
use tests::{
    protocol::{Bulk, fill},
    topology::{Arms, Family, Lab},
};

use crate::{
    site::{Plan, Site},
    sources,
};

#[test]
fn a_hundred_megabytes_arrive_intact_by_nat() -> Result<()> {
    bulk_arrives_intact(Plan::NAT)
}

#[test]
fn a_hundred_megabytes_arrive_intact_by_dsr() -> Result<()> {
    bulk_arrives_intact(Plan::DSR)
}

fn bulk_arrives_intact(plan: Plan) -> Result<()> {
    let site = Site::start(plan)?;
    for (family, seed) in Family::BOTH.into_iter().zip([1, 2]) {
        let bulk = Bulk { length: 100_000_000, seed };
        site.lab.client().download(site.vip(family), bulk).with_context(|| format!("{family:?} download"))?;
        site.lab.client().upload(site.vip(family), bulk).with_context(|| format!("{family:?} upload"))?;
    }
    Ok(())
}

#[test]
fn many_parallel_transfers_arrive_intact() -> Result<()> {
    for plan in [Plan::DSR, Plan { arms: Arms::Two, ..Plan::NAT }] {
        let site = Site::start(plan)?;
        thread::scope(|scope| {
            let transfers: Vec<_> = (0..24)
                .map(|number| {
                    let (client, vip) = (site.lab.client(), site.vip(Family::BOTH[number % 2]));
                    let bulk = Bulk { length: 1_000_003, seed: number as u64 };
                    scope.spawn(move || if number % 3 == 0 { client.download(vip, bulk) } else { client.upload(vip, bulk).map(drop) })
                })
                .collect();
            transfers.into_iter().try_for_each(|transfer| transfer.join().expect("a transfer does not panic"))
        })
        .with_context(|| format!("{plan:?}"))?;
    }
    Ok(())
}

#[test]
fn a_half_closed_connection_carries_the_rest() -> Result<()> {
    for plan in Plan::BOTH {
        let site = Site::start(plan)?;
        for family in Family::BOTH {
            let from = SocketAddr::new(sources::address(family, 1), 0);
            half_close(&site.lab, from, site.vip(family)).with_context(|| format!("{plan:?} {family:?}"))?;
        }
    }
    Ok(())
}

/// Sends everything, says that it was all, and only then begins to read it back.
fn half_close(lab: &Lab, from: SocketAddr, vip: SocketAddr) -> Result<()> {
    // Small enough for the buffers on the way, so that the answer can wait.
    let mut sent = vec![0; 150_000];
    fill(7, 0, &mut sent);
    let mut stream = sources::connect(lab, from, vip)?;
    stream.write_all(b"echo\n")?;
    stream.write_all(&sent)?;
    stream.shutdown(Shutdown::Write)?;
    // Others come and go meanwhile, and must not take the place of one that is only half closed.
    lab.client().distribution(vip, 20)?;
    let mut received = Vec::new();
    stream.read_to_end(&mut received)?;
    ensure!(received == sent, "{} bytes came back of {}, or other ones", received.len(), sent.len());
    Ok(())
}
