//! Whether l7d is as cheap as it should be: its figures over those of whom it is compared with, round by round.

use super::super::report::Spread;
use super::case::{Against, Case};
use super::measure::Sample;
use super::peer::Proxy;
use super::report::{Outcome, Row};

/// How l7d does in a case.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Verdict {
    /// A ratio to a peer.
    Ratio { to: Proxy, spread: Spread, target: Option<Target> },
    /// A figure by itself.
    Figure { spread: Spread, target: Option<Target> },
    /// l7d was not measured, or nobody to compare it with.
    None,
}

/// A target, and whether it is met.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Target {
    pub(super) most: f64,
    pub(super) met: bool,
}

impl Verdict {
    /// Judges a row.
    pub(super) fn of(row: &Row) -> Self {
        Self::judge(row).unwrap_or(Self::None)
    }

    fn judge(row: &Row) -> Option<Self> {
        let own = figures(row, Proxy::L7d)?;
        let target = |spread: Spread| row.case.goal.most.map(|most| Target { most, met: spread.median <= most });
        let to = match row.case.goal.against {
            Against::Itself => {
                let spread = Spread::of(own)?;
                return Some(Self::Figure { spread, target: target(spread) });
            }
            Against::Peer(peer) => peer,
            Against::BestPeer => best_peer(row)?,
        };
        let peer = figures(row, to)?;
        let spread = Spread::of(own.iter().zip(&peer).map(|(own, peer)| own / peer))?;
        Some(Self::Ratio { to, spread, target: target(spread) })
    }

    /// Returns the target, where there is one.
    pub(super) fn target(&self) -> Option<Target> {
        match self {
            Self::Ratio { target, .. } | Self::Figure { target, .. } => *target,
            Self::None => None,
        }
    }
}

/// Returns the plain peer whose median is least.
pub(super) fn best_peer(row: &Row) -> Option<Proxy> {
    let medians = Proxy::ALL.into_iter().filter(|proxy| proxy.is_plain_peer());
    let medians = medians.filter_map(|proxy| Some((proxy, Spread::of(figures(row, proxy)?)?.median)));
    medians.min_by(|(_, one), (_, other)| one.total_cmp(other)).map(|(proxy, _)| proxy)
}

/// Returns what a proxy was measured to take, by round.
pub(super) fn figures(row: &Row, proxy: Proxy) -> Option<Vec<f64>> {
    let Outcome::Measured(samples) = row.outcome(proxy)? else { return None };
    let Case { measure, .. } = row.case;
    (!samples.is_empty()).then(|| samples.iter().map(|sample: &Sample| measure.of(sample)).collect())
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::super::case::CASES;
    use super::*;

    /// Returns samples that cost so many microseconds a request, millisecond a gibibyte, and kilobyte a connection.
    pub(in super::super) fn samples(costs: &[u64]) -> Outcome {
        let sample = |cost: &u64| Sample {
            requests: 1000,
            bytes: 1 << 30,
            cpu: Duration::from_millis(*cost),
            wall: Duration::from_secs(1),
            p50: Duration::from_micros(cost / 2),
            p99: Duration::from_micros(*cost),
            memory: cost * 10_240,
            connections: 10,
        };
        Outcome::Measured(costs.iter().map(sample).collect())
    }

    pub(in super::super) fn row(name: &str, outcomes: Vec<(Proxy, Outcome)>) -> Row {
        Row { case: CASES.iter().find(|case| case.name == name).unwrap(), outcomes }
    }

    #[test]
    fn the_better_peer_is_who_counts() {
        let outcomes =
            vec![(Proxy::L7d, samples(&[9, 18, 9])), (Proxy::Haproxy, samples(&[20, 20, 20])), (Proxy::Nginx, samples(&[10, 10, 10]))];
        let Verdict::Ratio { to, spread, target } = Verdict::of(&row("keep-alive", outcomes)) else { panic!("no ratio") };
        assert_eq!((to, spread.median, spread.most), (Proxy::Nginx, 0.9, 1.8));
        assert_eq!(target, Some(Target { most: 0.92, met: true }));
    }

    #[test]
    fn bulk_is_measured_against_splice_alone() {
        let outcomes = vec![
            (Proxy::L7d, samples(&[50])),
            (Proxy::Haproxy, samples(&[10])),
            (Proxy::HaproxySplice, samples(&[100])),
            (Proxy::Nginx, Outcome::NotRun("no module".to_owned())),
        ];
        let Verdict::Ratio { to, spread, target } = Verdict::of(&row("100m", outcomes)) else { panic!("no ratio") };
        assert_eq!((to, spread.median), (Proxy::HaproxySplice, 0.5));
        assert!(!target.unwrap().met);
    }

    #[test]
    fn memory_has_a_limit_of_its_own() {
        let verdict = Verdict::of(&row("tls-idle", vec![(Proxy::L7d, samples(&[11]))]));
        let Verdict::Figure { spread, target } = verdict else { panic!("no figure") };
        assert_eq!(spread.median, 11.0);
        assert!(target.unwrap().met);
    }

    #[test]
    fn without_l7d_or_a_peer_there_is_no_verdict() {
        let alone = row("keep-alive", vec![(Proxy::L7d, samples(&[9])), (Proxy::Nginx, Outcome::NotRun("absent".to_owned()))]);
        assert_eq!(Verdict::of(&alone), Verdict::None);
        let refused = row("h2", vec![(Proxy::L7d, Outcome::NotRun("no TLS".to_owned())), (Proxy::Nginx, samples(&[9]))]);
        assert_eq!(Verdict::of(&refused), Verdict::None);
        let void = row("h2", vec![(Proxy::L7d, Outcome::Void("503".to_owned())), (Proxy::Nginx, samples(&[9]))]);
        assert_eq!(Verdict::of(&void).target(), None);
    }
}
