//! What was set here, as opposed to counted, while this process is taught what others knew before it.
//!
//! Of two counts the larger one is the newer one, unless one of them was set back meanwhile; which only who has done it knows. Nothing is
//! noted by a process that knows everything.

use std::collections::BTreeSet;

/// Values that were set here, by the place of the entry and the first word of the value; none while nothing is noted.
#[derive(Debug, Default)]
pub(super) struct Marks(Option<BTreeSet<(u32, usize)>>);

impl Marks {
    pub(super) fn begin(&mut self) {
        self.0.get_or_insert_default();
    }

    pub(super) fn end(&mut self) {
        self.0 = None;
    }

    pub(super) fn add(&mut self, entry: u32, word: usize) {
        if let Some(marks) = self.0.as_mut().filter(|marks| marks.len() < MOST) {
            marks.insert((entry, word));
        }
    }

    pub(super) fn has(&self, entry: u32, word: usize) -> bool {
        self.0.as_ref().is_some_and(|marks| marks.contains(&(entry, word)))
    }

    /// Forgets an entry, whose place another may take.
    pub(super) fn forget(&mut self, entry: u32) {
        let Some(marks) = &mut self.0 else { return };
        while let Some(mark) = marks.range((entry, 0)..=(entry, usize::MAX)).next().copied() {
            marks.remove(&mark);
        }
    }
}

/// As many values of a part of a table are noted; of others the larger one stays.
const MOST: usize = 4096;
