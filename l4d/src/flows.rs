//! Remembered flows, read from the mapped tables: which servers still have some, and which tracked slots must stay. Pure.

use std::collections::{BTreeMap, BTreeSet};

use rustix::time::{ClockId, clock_gettime};
use xdp_common::{
    flow::{FlowWord, Slot, Stamp, State, ring_of_fingerprint, scale},
    limits::{CLOSING_IDLE, FLOW_IDLE},
    nat::{Control, Entry},
    service::Choice,
};

/// Returns the data plane's present tick.
pub fn now() -> u16 {
    let time = clock_gettime(ClockId::MonotonicCoarse);
    let nanoseconds = time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64;
    (nanoseconds >> 30) as u16
}

/// Counts the open flows of each server: neither closing nor long silent.
pub fn count(words: impl Iterator<Item = FlowWord>, entries: impl Iterator<Item = (u32, Entry)>, now: u16) -> BTreeMap<u16, u64> {
    let mut counts = BTreeMap::new();
    for (server, _) in stamps(words, entries).filter(|(_, stamp)| stamp.state() != State::Closing && lives(*stamp, now)) {
        *counts.entry(server).or_default() += 1;
    }
    counts
}

/// Returns the servers to which anything may still be sent, closing flows included.
pub fn busy(words: impl Iterator<Item = FlowWord>, entries: impl Iterator<Item = (u32, Entry)>, now: u16) -> BTreeSet<u16> {
    stamps(words, entries).filter(|(_, stamp)| lives(*stamp, now)).map(|(server, _)| server).collect()
}

fn stamps(words: impl Iterator<Item = FlowWord>, entries: impl Iterator<Item = (u32, Entry)>) -> impl Iterator<Item = (u16, Stamp)> {
    let remembered = words.map(|word| (word.server().0, word.stamp()));
    let translated = entries.map(|(_, entry)| Control(entry.control)).map(|control| (control.server().0, control.stamp()));
    remembered.chain(translated)
}

/// Returns the tracked slots that some live flow still needs: it belongs to another server than the ring says.
pub fn open_slots(
    slots: &[Slot],
    choice: Choice,
    servers: &BTreeSet<u16>,
    words: impl Iterator<Item = FlowWord>,
    now: u16,
) -> BTreeSet<u32> {
    let size = slots.len() as u32;
    let ours = words.filter(|word| servers.contains(&word.server().0) && lives(word.stamp(), now));
    let placed = ours.map(|word| (scale(ring_of_fingerprint(word.fingerprint(), choice == Choice::Source), size), word));
    let open = placed.filter(|(slot, word)| slots.get(*slot as usize).is_some_and(|slot| slot.current() != word.server()));
    open.map(|(slot, _)| slot).collect()
}

/// Tells whether a flow still counts: it is neither long silent nor closing for long.
pub(crate) fn lives(stamp: Stamp, now: u16) -> bool {
    let patience = if stamp.state() == State::Closing { CLOSING_IDLE } else { FLOW_IDLE };
    stamp.idle(now) < patience
}

#[cfg(test)]
mod tests {
    use super::*;
    use xdp_common::flow::ServerId;

    fn word(fingerprint: u32, server: u16, state: State, tick: u16) -> FlowWord {
        FlowWord::new(fingerprint, ServerId(server), Stamp::new(state, tick))
    }

    #[test]
    fn ended_and_silent_flows_do_not_count() {
        let words = [
            word(1, 7, State::Confirmed, 1000),
            word(2, 7, State::New, 999),
            word(3, 7, State::Closing, 999),
            word(4, 8, State::Confirmed, 100),
            word(5, 9, State::Closing, 999),
            word(6, 10, State::Closing, 900),
        ];
        assert_eq!(count(words.into_iter(), std::iter::empty(), 1000), BTreeMap::from([(7, 2)]));
        assert_eq!(busy(words.into_iter(), std::iter::empty(), 1000), BTreeSet::from([7, 9]));
    }

    #[test]
    fn servers_of_flows_renewed_during_the_look_are_busy() {
        let words = [word(1, 7, State::Confirmed, 1001), word(2, 8, State::Closing, 1001)];
        assert_eq!(busy(words.into_iter(), std::iter::empty(), 1000), BTreeSet::from([7, 8]));
        assert_eq!(count(words.into_iter(), std::iter::empty(), 1000), BTreeMap::from([(7, 1)]));
    }

    #[test]
    fn a_slot_stays_open_while_a_flow_disagrees() {
        let slots = [Slot::settled(ServerId(1)).changed_to(ServerId(2)); 4];
        let servers = BTreeSet::from([1, 2]);
        let quarter = 1u32 << 30;
        let words = [
            word(0, 1, State::Confirmed, 50),
            word(quarter, 2, State::Confirmed, 50),
            word(2 * quarter, 3, State::Confirmed, 50),
            word(3 * quarter, 1, State::Closing, 0),
        ];
        assert_eq!(open_slots(&slots, Choice::Tuple, &servers, words.into_iter(), 60), BTreeSet::from([0]));
    }
}
