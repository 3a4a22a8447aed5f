//! What is measured: each case is a balancer with one service, each of its rows one kind of traffic.

use l4d::pool::Ports;
use xdp_common::limits;
use xdp_common::service::{Choice, Forward};

use super::traffic::{Origin, Traffic};

/// A balancer to be set up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) forward: Forward,
    pub(super) choice: Choice,
    pub(super) ring: Ring,
    pub(super) rows: &'static [Row],
}

impl Case {
    /// Returns how many flows the balancer can remember, none where it has no need to.
    pub(super) fn remembers(&self) -> u32 {
        match (self.forward, self.choice, self.ring) {
            (Forward::Nat, _, _) => limits::POOL_ADDRESSES << Ports::DEDICATED.shift,
            (_, Choice::RoundRobin | Choice::LeastConn, _) | (_, _, Ring::Changed) => limits::FLOWS,
            (_, Choice::Source | Choice::Tuple, Ring::Settled) => 0,
        }
    }
}

/// What the ring has been through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ring {
    /// Never changed.
    Settled,
    /// Every slot has another server than before, so every flow is looked up.
    Changed,
}

/// One kind of traffic through a case.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) traffic: Traffic,
    /// The project's target in nanoseconds over the floor.
    pub(super) target: Option<u32>,
    /// What Katran took for traffic of this kind.
    pub(super) katran: Option<&'static str>,
}

impl Row {
    /// Returns the name that `--cases` and the table use.
    pub(super) fn name(&self, case: &Case) -> String {
        format!("{} {}", case.name, self.traffic)
    }
}

/// All cases; those with a flood stand alone, because it fills their tables.
pub(super) const CASES: [Case; 11] = [
    dsr("dsr-source", Choice::Source, Ring::Settled, &SETTLED),
    dsr("dsr-tuple", Choice::Tuple, Ring::Settled, &SETTLED),
    dsr("dsr-source-changed", Choice::Source, Ring::Changed, &CHANGED),
    dsr("dsr-tuple-changed", Choice::Tuple, Ring::Changed, &CHANGED),
    dsr("dsr-roundrobin", Choice::RoundRobin, Ring::Settled, &ROUND_ROBIN),
    nat("nat", &NAT),
    dsr("dsr-source", Choice::Source, Ring::Settled, &[flood(45)]),
    dsr("dsr-tuple", Choice::Tuple, Ring::Settled, &[flood(45)]),
    dsr("dsr-tuple-changed", Choice::Tuple, Ring::Changed, &[flood(200)]),
    dsr("dsr-roundrobin", Choice::RoundRobin, Ring::Settled, &[flood(200)]),
    nat("nat", &[flood(280)]),
];

const SETTLED: [Row; 4] =
    [established(1, Some(35)), established(10_000, Some(40)), established(100_000, None), established(1_000_000, Some(45))];
const CHANGED: [Row; 4] = [established(1, None), established(10_000, None), established(100_000, None), established(1_000_000, Some(200))];
const ROUND_ROBIN: [Row; 3] = [established(1, Some(40)), established(10_000, None), established(1_000_000, Some(200))];
const NAT: [Row; 6] = [
    translated(Origin::Clients, 1, 45),
    translated(Origin::Clients, 10_000, 60),
    translated(Origin::Clients, 1_000_000, 220),
    translated(Origin::Servers, 1, 35),
    translated(Origin::Servers, 10_000, 50),
    translated(Origin::Servers, 1_000_000, 190),
];

const fn dsr(name: &'static str, choice: Choice, ring: Ring, rows: &'static [Row]) -> Case {
    Case { name, forward: Forward::Dsr, choice, ring, rows }
}

const fn nat(name: &'static str, rows: &'static [Row]) -> Case {
    Case { name, forward: Forward::Nat, choice: Choice::Source, ring: Ring::Settled, rows }
}

const fn established(flows: u32, target: Option<u32>) -> Row {
    let katran = match flows {
        1 => Some("104"),
        10_000 => Some("124"),
        1_000_000 => Some("362"),
        _ => None,
    };
    Row { traffic: Traffic::established(Origin::Clients, flows), target, katran }
}

/// A flow through full NAT, which Katran does not do.
const fn translated(origin: Origin, flows: u32, target: u32) -> Row {
    Row { traffic: Traffic::established(origin, flows), target: Some(target), katran: None }
}

const fn flood(target: u32) -> Row {
    Row { traffic: Traffic::FLOOD, target: Some(target), katran: Some("174-833") }
}
