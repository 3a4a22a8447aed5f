//! What the servers are called that the entries of a table are tied to: each name is kept once, and entries hold its number.
//!
//! Names are added and never taken away, so that looking for one takes no lock. There are as many as there are servers; who finds no more
//! room is known by the number of its server alone.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

/// The names of one table.
#[derive(Debug, Default)]
pub(super) struct Names {
    places: OnceLock<Box<[OnceLock<Box<str>>]>>,
    hasher: RandomState,
}

impl Names {
    /// Returns the number of a name, which is kept from now on; 0 where there is no room, or no name.
    pub(super) fn number(&self, name: &str) -> u32 {
        if name.is_empty() || name.len() > LONGEST {
            return 0;
        }
        let places = self.places.get_or_init(|| (0..PLACES).map(|_| OnceLock::new()).collect());
        let start = usize::try_from(self.hasher.hash_one(name) % PLACES).expect("small");
        for step in 0..places.len() {
            let place = (start + step) % places.len();
            if &**places[place].get_or_init(|| name.into()) == name {
                return u32::try_from(place + 1).expect("small");
            }
        }
        0
    }

    /// Returns the name of a number.
    pub(super) fn name(&self, number: u32) -> Option<&str> {
        let place = usize::try_from(number.checked_sub(1)?).ok()?;
        self.places.get()?.get(place)?.get().map(|name| &**name)
    }
}

/// As many names as a table knows.
const PLACES: u64 = 4096;
/// As long as the name of a host may be, and a port.
const LONGEST: usize = 262;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_has_one_number_until_there_is_no_room() {
        let names = Names::default();
        assert_eq!((names.name(0), names.name(1), names.number("")), (None, None, 0));
        let numbers: Vec<u32> = (0..PLACES).map(|n| names.number(&format!("s{n}"))).collect();
        for (n, number) in numbers.iter().enumerate() {
            assert_eq!(names.name(*number), Some(format!("s{n}").as_str()));
            assert_eq!(names.number(&format!("s{n}")), *number);
        }
        assert_eq!(names.number("one more"), 0);
        assert_eq!(names.number(&"x".repeat(LONGEST + 1)), 0);
    }
}
