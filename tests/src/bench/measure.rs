//! The measuring: every run of a row is paired with a run of the `XDP_TX` floor under the same traffic, round after round.
//!
//! Neighbours on a shared machine come and go within seconds; what two runs side by side differ by stays. A run counts only if its frames really went where
//! they should: through the balancer for the right [`Reason`], and back to the sink.

use anyhow::{Context, Result};
use aya::sys::{Stats, enable_stats};
use xdp_common::reason::Reason;
use xdp_common::service::Forward;

use super::balancer::Balancer;
use super::case::{Case, Row};
use super::report::{Figures, Pair, Report};
use super::rig::{Cable, Floor, Rig, Run, Usage};
use super::traffic::{Origin, Segment, Traffic};

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Effort {
    /// How often everything is measured.
    pub(super) rounds: u32,
    /// Frames of one run, more where there are more flows.
    pub(super) frames: u32,
}

/// A stand with everything set up.
pub(super) struct Bench {
    effort: Effort,
    rig: Rig,
    drop: Cable,
    tx: Cable,
    stands: Vec<Stand>,
}

/// A balancer with the rows it is measured by.
struct Stand {
    case: &'static Case,
    rows: Vec<(&'static Row, Figures)>,
    balancer: Balancer,
    /// The next flow of a flood.
    next: u32,
}

/// What a measured run was and whether it counts.
struct Checked {
    run: Run,
    fault: Option<String>,
}

impl Bench {
    /// Sets up floors and balancers for the rows that `wanted` names, and opens their connections.
    pub(super) fn new(mut rig: Rig, effort: Effort, cases: &'static [Case], wanted: impl Fn(&str) -> bool) -> Result<Self> {
        let (drop, tx) = (rig.lay_floor(Floor::Drop)?, rig.lay_floor(Floor::Tx)?);
        let mut stands = Vec::new();
        for case in cases {
            let rows = case.rows.iter().map(|row| (row, Figures::new(row.name(case), row.target, row.katran)));
            let rows: Vec<_> = rows.filter(|(_, figures)| wanted(figures.name())).collect();
            if !rows.is_empty() {
                let balancer = Balancer::start(&mut rig, case).with_context(|| case.name)?;
                let mut stand = Stand { case, rows, balancer, next: 0 };
                stand.establish(&mut rig).with_context(|| case.name)?;
                stands.push(stand);
            }
        }
        anyhow::ensure!(!stands.is_empty(), "no case has such a name; `--list` shows them all");
        Ok(Self { effort, rig, drop, tx, stands })
    }

    /// Measures everything.
    pub(super) fn run(mut self, mut progress: impl FnMut(&str)) -> Result<Report> {
        let mut report = Report::default();
        for round in 1..=self.effort.rounds {
            progress(&format!("round {round} of {}", self.effort.rounds));
            report.floor_drop.push(self.floor(Floor::Drop, ONE_FLOW)?.nanoseconds());
            report.floor_tx.push(self.floor(Floor::Tx, ONE_FLOW)?.nanoseconds());
            self.round()?;
        }
        progress("once more with the kernel's clock of programs (bpf_stats)");
        self.clock()?;
        report.rows = self.stands.into_iter().flat_map(|stand| stand.rows.into_iter().map(|(_, figures)| figures)).collect();
        Ok(report)
    }

    fn round(&mut self) -> Result<()> {
        for stand in 0..self.stands.len() {
            for row in 0..self.stands[stand].rows.len() {
                let traffic = self.stands[stand].rows[row].0.traffic;
                let floor = self.floor(Floor::Tx, traffic)?;
                let stand = &mut self.stands[stand];
                stand.warm_up(&mut self.rig, traffic)?;
                let Checked { run, fault } = stand.measure(&mut self.rig, traffic, self.effort)?;
                stand.rows[row].1.push(Pair { row: run.nanoseconds(), floor: floor.nanoseconds() }, fault);
            }
        }
        Ok(())
    }

    /// Takes the figures that the kernel's clock gives, in runs of their own because it slows them.
    fn clock(&mut self) -> Result<()> {
        let _clock = enable_stats(Stats::RunTime).context("enable bpf_stats")?;
        let before = self.rig.usage(Floor::Drop)?;
        let run = self.floor(Floor::Drop, ONE_FLOW)?;
        let floor = between(before, self.rig.usage(Floor::Drop)?);
        anyhow::ensure!(floor.runs == run.sent, "of {} frames {} reached floor_drop", run.sent, floor.runs);
        for stand in &mut self.stands {
            for row in 0..stand.rows.len() {
                let traffic = stand.rows[row].0.traffic;
                stand.warm_up(&mut self.rig, traffic)?;
                let before = stand.balancer.usage()?;
                let Checked { fault, .. } = stand.measure(&mut self.rig, traffic, self.effort)?;
                let usage = between(before, stand.balancer.usage()?);
                stand.rows[row].1.set_clock(nanoseconds(usage) - nanoseconds(floor), fault);
            }
        }
        Ok(())
    }

    fn floor(&mut self, floor: Floor, traffic: Traffic) -> Result<Run> {
        let cable = match floor {
            Floor::Drop => &self.drop,
            Floor::Tx => &self.tx,
        };
        let run = self.rig.send(cable, traffic, 0, self.effort.frames)?;
        let expected = if floor == Floor::Tx { run.sent } else { 0 };
        anyhow::ensure!(run.received.abs_diff(expected) <= stray(run.sent), "the floor lost frames: {run:?}");
        Ok(run)
    }
}

impl Stand {
    /// Opens the connections that the rows go on with, or fills the tables that a flood finds full.
    fn establish(&mut self, rig: &mut Rig) -> Result<()> {
        let Some(most) = self.rows.iter().map(|(row, _)| row.traffic.flows).max() else { return Ok(()) };
        let pass = |origin, segment| Traffic { origin, segment, flows: most };
        if most == Traffic::FLOOD.flows {
            self.next = self.case.remembers().max(1);
            rig.send(&self.balancer.cable, Traffic::FLOOD, 0, self.next)?;
        } else if self.case.forward == Forward::Nat {
            // A server must have answered before an entry is safe from those that come after it.
            rig.send(&self.balancer.cable, pass(Origin::Clients, Segment::Syn), 0, most)?;
            let replies = self.balancer.replies()?;
            let missing = u64::from(most).abs_diff(replies.len() as u64);
            anyhow::ensure!(missing <= stray(most.into()), "of {most} flows {} found an entry", replies.len());
            // The few that found none are stood in for by others.
            rig.set_replies(replies.iter().cycle().take(most as usize))?;
            rig.send(&self.balancer.cable, pass(Origin::Servers, Segment::Ack), 0, most)?;
            rig.send(&self.balancer.cable, pass(Origin::Clients, Segment::Ack), 0, most)?;
        } else if self.case.remembers() > 0 {
            // The first packet of a flow is remembered, the second confirms it.
            rig.send(&self.balancer.cable, pass(Origin::Clients, Segment::Ack), 0, most)?;
            rig.send(&self.balancer.cable, pass(Origin::Clients, Segment::Ack), 0, most)?;
        }
        Ok(())
    }

    /// Brings code and tables into the caches as far as they fit.
    fn warm_up(&mut self, rig: &mut Rig, traffic: Traffic) -> Result<()> {
        let frames = if traffic.is_flood() { WARM_UP } else { traffic.flows.max(WARM_UP) };
        let first = self.advance(traffic, frames);
        rig.send(&self.balancer.cable, traffic, first, frames).map(drop)
    }

    /// Sends frames through the balancer and finds out what became of them.
    fn measure(&mut self, rig: &mut Rig, traffic: Traffic, effort: Effort) -> Result<Checked> {
        let frames = if traffic.is_flood() { effort.frames } else { effort.frames.max(traffic.flows) };
        let first = self.advance(traffic, frames);
        let before = self.balancer.reasons()?;
        let run = rig.send(&self.balancer.cable, traffic, first, frames)?;
        let after = self.balancer.reasons()?;
        let counts: Vec<(Reason, u64)> =
            after.iter().zip(&before).map(|((reason, after), (_, before))| (*reason, after - before)).collect();
        Ok(Checked { fault: fault(&run, traffic, &counts), run })
    }

    /// Returns the number of the first flow of a run.
    fn advance(&mut self, traffic: Traffic, frames: u32) -> u32 {
        if !traffic.is_flood() {
            return 0;
        }
        let first = self.next;
        self.next = self.next.wrapping_add(frames);
        first
    }
}

const ONE_FLOW: Traffic = Traffic::established(Origin::Clients, 1);
/// Least frames of a warm-up.
const WARM_UP: u32 = 65_536;

/// Returns how many frames may be missing or extra before a run does not count.
const fn stray(sent: u64) -> u64 {
    sent / 1000
}

/// Returns why a run does not count.
fn fault(run: &Run, traffic: Traffic, counts: &[(Reason, u64)]) -> Option<String> {
    let expected = match traffic.origin {
        Origin::Clients => Reason::Forwarded,
        Origin::Servers => Reason::Returned,
    };
    let right = counts.iter().find(|(reason, _)| *reason == expected).map_or(0, |(_, count)| *count);
    if run.sent.abs_diff(right) > stray(run.sent) {
        let counts = counts.iter().filter(|(_, count)| *count > 0).map(|(reason, count)| format!("{} {count}", reason.name()));
        let counts: Vec<String> = counts.collect();
        return Some(format!("of {} frames: {}", run.sent, if counts.is_empty() { "none arrived".to_owned() } else { counts.join(", ") }));
    }
    (run.sent.abs_diff(run.received) > stray(run.sent)).then(|| format!("of {} frames {} came back", run.sent, run.received))
}

fn between(before: Usage, after: Usage) -> Usage {
    Usage { time: after.time - before.time, runs: after.runs - before.runs }
}

fn nanoseconds(usage: Usage) -> f64 {
    usage.time.as_nanos() as f64 / usage.runs.max(1) as f64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn run(sent: u64, received: u64) -> Run {
        Run { sent, received, time: Duration::from_millis(1) }
    }

    #[test]
    fn a_run_counts_only_if_its_frames_were_forwarded_and_came_back() {
        let all = [(Reason::Forwarded, 10_000), (Reason::NotIp, 3)];
        assert_eq!(fault(&run(10_000, 9_995), ONE_FLOW, &all), None);
        let cases = [
            ("lost behind the balancer", run(10_000, 9_000), all.to_vec(), "of 10000 frames 9000 came back"),
            (
                "refused",
                run(10_000, 9_000),
                vec![(Reason::Forwarded, 9_000), (Reason::NatFull, 1_000)],
                "of 10000 frames: forwarded 9000, nat_full 1000",
            ),
            ("never arrived", run(10_000, 10_000), vec![(Reason::Forwarded, 0)], "of 10000 frames: none arrived"),
        ];
        for (what, run, counts, expected) in cases {
            assert_eq!(fault(&run, ONE_FLOW, &counts).as_deref(), Some(expected), "{what}");
        }
    }

    #[test]
    fn replies_must_be_returned_not_forwarded() {
        let replies = Traffic::established(Origin::Servers, 1);
        assert!(fault(&run(100, 100), replies, &[(Reason::Forwarded, 100)]).is_some());
        assert_eq!(fault(&run(100, 100), replies, &[(Reason::Returned, 100)]), None);
    }
}
