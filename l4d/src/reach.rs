//! Which servers the XDP program cannot send to, and why: what an operator must know even while health checks, which take the host's own way, succeed. Pure.

use std::{collections::BTreeMap, net::IpAddr};

use crate::neighbor::{Outcome, Outcomes};

/// What is known against each address.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Obstacles(BTreeMap<IpAddr, String>);

impl Obstacles {
    /// Judges the next hops; `attached` are the interfaces whose packets the program sees.
    pub(crate) fn of(outcomes: &Outcomes, attached: &[u32]) -> Self {
        let found = outcomes.iter().filter_map(|(address, outcome)| obstacle(outcome, attached).map(|text| (*address, text)));
        Self(found.collect())
    }

    /// Returns what is known against an address.
    pub(crate) fn text(&self, address: IpAddr) -> Option<&str> {
        self.0.get(&address).map(String::as_str)
    }

    /// Returns what is said here and was not before.
    pub(crate) fn news<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = (&'a IpAddr, &'a str)> {
        self.0.iter().filter(|(address, text)| before.0.get(*address) != Some(*text)).map(|(address, text)| (address, text.as_str()))
    }
}

fn obstacle(outcome: &Outcome, attached: &[u32]) -> Option<String> {
    match outcome {
        Outcome::Resolving => None,
        Outcome::Found(hop) if attached.contains(&hop.lane.interface()) => None,
        Outcome::Found(hop) => Some(format!(
            "it is reached by interface {}, which is not in `interfaces` of [xdp]: its replies would not be seen",
            hop.lane.interface()
        )),
        Outcome::Local => Some("it is this host's own address, to which the XDP program cannot send".to_owned()),
        Outcome::Unreachable(reason) => Some(format!("no way to it: {reason}")),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, sync::Arc};

    use xdp_common::lane::Lane;

    use super::*;
    use crate::neighbor::{NextHop, Unreachable};

    fn outcomes(list: [(u8, Outcome); 4]) -> Outcomes {
        Arc::new(list.into_iter().map(|(n, outcome)| (IpAddr::from([10, 0, 0, n]), outcome)).collect::<HashMap<_, _>>())
    }

    fn found(ifindex: u32) -> Outcome {
        Outcome::Found(NextHop { ifindex, lane: Lane(ifindex), source_mac: [0; 6], mac: [0; 6], gateway: None, prefsrc: None })
    }

    #[test]
    fn each_obstacle_is_said_once() {
        let outcomes = outcomes([(1, found(2)), (2, found(3)), (3, Outcome::Local), (4, Outcome::Unreachable(Unreachable::NoRoute))]);
        let obstacles = Obstacles::of(&outcomes, &[2]);
        let said: Vec<String> = obstacles.news(&Obstacles::default()).map(|(address, _)| address.to_string()).collect();
        assert_eq!(said, ["10.0.0.2", "10.0.0.3", "10.0.0.4"]);
        assert_eq!(obstacles.news(&Obstacles::of(&outcomes, &[2])).count(), 0);
    }
}
