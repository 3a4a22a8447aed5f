//! The guard before every service: denied and trusted prefixes, and how fast a single source may be.
//!
//! A program of its own: the way of packets that nobody guards stays as short as it was, for them and for the verifier. Who is admitted goes on with the first
//! program, which finds that noted.

use crate::{
    forward::Step,
    maps,
    notes::Notes,
    packet::Packet,
    parse::{self, Flow},
};
use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;
use xdp_common::{
    guard::{Counted, Pace, PacePlace, Ruling},
    maps::Stage,
    reason::Reason,
    settings::Settings,
};

/// Admits a client's packet, or says why not.
#[inline(always)]
pub(crate) fn admit(packet: &Packet<'_>) -> Result<Step, Reason> {
    let settings = maps::settings().ok_or(Reason::Internal)?;
    let flow = parse::flow(packet)?;
    judge(&flow, settings)?;
    Notes::add(Notes::ADMITTED);
    Ok(Step::Onward(Stage::Balance))
}

#[inline(always)]
fn judge(flow: &Flow, settings: &Settings) -> Result<(), Reason> {
    let guard = &settings.guard;
    if guard.prefixes != 0 {
        match maps::ruling(&flow.key.source) {
            Some(Ruling::Deny) => return Err(Reason::Denied),
            Some(Ruling::Allow) => return Ok(()),
            None => {}
        }
    }
    if guard.packets != 0 && !keeps_pace(&PacePlace::of(&flow.key.source, Counted::Packets, &settings.key), guard.packets) {
        return Err(Reason::TooManyPackets);
    }
    let place = PacePlace::of(&flow.key.source, Counted::Connections, &settings.key);
    if guard.connections != 0 && flow.opens() && !keeps_pace(&place, guard.connections) {
        return Err(Reason::TooManyConnections);
    }
    Ok(())
}

/// Counts one more of an address, and tells whether that is still within its rate.
#[inline(always)]
pub(crate) fn keeps_pace(place: &PacePlace, rate: u32) -> bool {
    let Some(line) = maps::pace_line(place.line) else { return true };
    // SAFETY: the helper takes nothing and returns an integer.
    let now = Pace::time(unsafe { bpf_ktime_get_coarse_ns() });
    let (mut best, mut way) = (line.read(0), 0);
    for other in 1..8 {
        let pace = line.read(other);
        // Its own, else the one that is least ahead: forgetting that one forgives least.
        let better = pace.is(place) || !best.is(place) && pace.ahead(now) < best.ahead(now);
        if better {
            (best, way) = (pace, other);
        }
    }
    match best.after(place, now, rate) {
        Some(pace) => {
            line.exchange(way, best, pace);
            true
        }
        None => false,
    }
}
