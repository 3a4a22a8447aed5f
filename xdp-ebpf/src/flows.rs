//! The flow table: which server a flow belongs to, where the ring alone cannot tell.
//!
//! A line of eight words is one cache line; every write exchanges one whole word, so there are no locks and a lost race only costs a repetition. New flows
//! make room before confirmed ones do, so a flood of first packets cannot push out real flows.

use crate::{
    choose::{self, Chosen},
    maps::{self, Line},
    parse::Flow,
    stats::Age,
};
use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_coarse_ns};
use xdp_common::{
    flow::{FlowWord, Place, ServerId, Stamp, State, UDP, scale},
    limits::{FLOW_IDLE, FLOW_WAYS},
    reason::Reason,
    service::Head,
    settings::Settings,
};

/// Returns the time in ticks of 2^30 ns.
///
/// The coarse clock moves with the jiffies, and those are a plain load where the clock is a call of some 14 ns: it is asked once per jiffy and CPU.
#[inline(always)]
pub(crate) fn now() -> u16 {
    // SAFETY: the helper takes nothing and returns an integer.
    let jiffies = unsafe { bpf_jiffies64() };
    maps::ticks_at(jiffies, || {
        // SAFETY: as above.
        unsafe { bpf_ktime_get_coarse_ns() >> 30 }
    }) as u16
}

/// Returns the remembered server of a flow, or asks for one and remembers it.
#[inline(always)]
pub(crate) fn follow(
    flow: &Flow,
    place: &Place,
    settings: &Settings,
    head: &Head,
    choose: impl FnOnce() -> Result<Chosen, Reason>,
) -> Result<(Chosen, Age), Reason> {
    let line = maps::flow_line(scale(place.line, settings.flow_lines)).ok_or(Reason::Internal)?;
    let now = now();
    let found = find(&line, place.fingerprint, settings);
    if let Some((way, word)) = found
        && continues(flow, word, now)
    {
        if let Some(chosen) = choose::usable(word.server(), head) {
            line.exchange_if_changed(way, word, touched(flow, word, now));
            return Ok((chosen, Age::Known));
        }
        if choose::ends_with_server(flow, head) {
            return Err(Reason::ServerGone);
        }
    }
    let chosen = choose()?;
    let word = FlowWord::new(place.fingerprint, chosen.id, Stamp::new(State::New, now));
    if let Some((way, old)) = found.or_else(|| victim(&line, now, settings)) {
        line.exchange(way, old, word);
    }
    Ok((chosen, if flow.opens() || flow.key.protocol == UDP { Age::New } else { Age::Known }))
}

/// Returns the remembered server of a flow.
#[inline(always)]
pub(crate) fn peek(place: &Place, settings: &Settings) -> Option<ServerId> {
    let line = maps::flow_line(scale(place.line, settings.flow_lines))?;
    find(&line, place.fingerprint, settings).map(|(_, word)| word.server())
}

/// Tells whether a packet belongs to the flow that was remembered, rather than to a new one with the same ports.
///
/// A SYN does unless that flow has ended or is long silent: a repeated one must meet the server of the first, and one that somebody forged must not move
/// an established flow.
#[inline(always)]
fn continues(flow: &Flow, word: FlowWord, now: u16) -> bool {
    !flow.opens() || word.stamp().state() != State::Closing && word.stamp().idle(now) < FLOW_IDLE
}

/// Returns the word after another packet of its flow; the time is renewed once a tick.
#[inline(always)]
fn touched(flow: &Flow, word: FlowWord, now: u16) -> FlowWord {
    let known = word.stamp().state();
    let state = if flow.finishes() || flow.resets() {
        State::Closing
    } else if known == State::New && !flow.opens() {
        State::Confirmed
    } else {
        known
    };
    FlowWord::new(word.fingerprint(), word.server(), Stamp::new(state, now))
}

#[inline(always)]
fn find(line: &Line, fingerprint: u32, settings: &Settings) -> Option<(usize, FlowWord)> {
    let found = (0..FLOW_WAYS).map(|way| (way, line.read(way))).find(|(_, word)| word.is(fingerprint));
    found.map(|(way, word)| (settings.blur(way as u32) as usize, word))
}

/// Returns the word that makes room, if one may.
#[inline(always)]
fn victim(line: &Line, now: u16, settings: &Settings) -> Option<(usize, FlowWord)> {
    let mut best = (0, FlowWord::default(), 0);
    for way in 0..FLOW_WAYS {
        let word = line.read(way);
        let expendable = settings.blur(word.expendable(now));
        if expendable > best.2 {
            best = (settings.blur(way as u32) as usize, word, expendable);
        }
    }
    (best.2 > 0).then_some((best.0, best.1))
}

impl Line {
    #[inline(always)]
    fn exchange_if_changed(&self, way: usize, old: FlowWord, new: FlowWord) {
        if new != old {
            self.exchange(way, old, new);
        }
    }
}
