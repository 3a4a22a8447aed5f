//! The patterns of a file, arranged for one way to compare.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use aho_corasick::AhoCorasick;
use bytes::Bytes;
use regex::bytes::Regex;

use super::{BadPattern, Chains, Entry};
use crate::rules::fetch::hexadecimal;
use crate::rules::pattern::{Case, Comparison, Network, Numbers, embedded, masked, regex};
use crate::rules::replace::Replacement;
use crate::rules::sample::Sample;

/// A way to compare what is looked up with the patterns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rules) enum Way {
    Str,
    Bin,
    Beg,
    End,
    Sub,
    Dir,
    Dom,
    Reg,
    /// As [`Reg`](Self::Reg), and groups of the match are put into the value.
    RegGroups,
    Int,
    Len,
    Ip,
}

/// The patterns of a file, arranged for one way to compare.
#[derive(Debug)]
pub(in crate::rules) struct Index {
    way: Way,
    case: Case,
    /// As the file was read.
    frozen: Data,
    changed: AtomicBool,
    /// As changes have left it, once there were any.
    live: RwLock<Option<Data>>,
}

#[derive(Debug, Clone)]
enum Data {
    /// Looked up as a whole, or part by part.
    Texts(Texts),
    /// Looked for one after the other.
    List(List),
    Networks(Networks),
}

#[derive(Debug, Clone)]
struct Texts {
    entries: Chains,
    /// How many texts there are of each length.
    lengths: BTreeMap<usize, usize>,
}

#[derive(Debug, Clone, Default)]
struct List {
    /// In the order of the file.
    items: Vec<Item>,
    /// Finds all texts at once, if it is texts that are looked for.
    finder: Option<AhoCorasick>,
}

#[derive(Debug, Clone)]
struct Item {
    key: Bytes,
    test: ItemTest,
    entry: Entry,
}

#[derive(Debug, Clone)]
enum ItemTest {
    Text,
    Regex(Regex),
    Range(i64, i64),
}

/// Networks by family, length and address; of each family the longest come first.
#[derive(Debug, Clone, Default)]
struct Networks(BTreeMap<(bool, Reverse<u32>), OfLength>);

/// The networks of one family and length, each with the patterns that name it.
type OfLength = HashMap<IpAddr, Vec<(Bytes, Entry)>>;

impl Way {
    /// Returns HAProxy's name of it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Str => "str",
            Self::Bin => "bin",
            Self::Beg => "beg",
            Self::End => "end",
            Self::Sub => "sub",
            Self::Dir => "dir",
            Self::Dom => "dom",
            Self::Reg => "reg",
            Self::RegGroups => "regm",
            Self::Int => "int",
            Self::Len => "len",
            Self::Ip => "ip",
        }
    }
}

impl Index {
    pub(super) fn new(way: Way, case: Case, entries: &[(&Bytes, &Entry)]) -> Result<Self, BadPattern> {
        let mut frozen = Data::with_capacity(way, entries.len());
        for (key, entry) in entries {
            let bad = |reason| BadPattern { line: entry.line, reason };
            frozen.insert(way, case, key, entry).map_err(bad)?;
        }
        frozen.arrange(way, case);
        Ok(Self { way, case, frozen, changed: AtomicBool::new(false), live: RwLock::new(None) })
    }

    /// Returns the value of the first pattern that matches; of networks and beginnings, of the longest.
    pub(in crate::rules) fn value<'v>(&'v self, sample: &Sample<'_>) -> Option<Cow<'v, [u8]>> {
        if !self.changed.load(Ordering::Acquire) {
            let found = self.frozen.find(self.way, self.case, sample)?;
            return Some(self.expanded(&found, sample).map_or(Cow::Borrowed(&*found.entry.value), Cow::Owned));
        }
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        let found = live.as_ref()?.find(self.way, self.case, sample)?;
        Some(Cow::Owned(self.expanded(&found, sample).unwrap_or_else(|| found.entry.value.to_vec())))
    }

    /// Tells whether a pattern matches.
    pub(in crate::rules) fn contains(&self, sample: &Sample<'_>) -> bool {
        if !self.changed.load(Ordering::Acquire) {
            return self.frozen.find(self.way, self.case, sample).is_some();
        }
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        live.as_ref().is_some_and(|data| data.find(self.way, self.case, sample).is_some())
    }

    /// Returns the place in the order of the file of what matches.
    pub(super) fn order_of(&self, sample: &Sample<'_>) -> Option<u64> {
        if !self.changed.load(Ordering::Acquire) {
            return self.frozen.find(self.way, self.case, sample).map(|found| found.entry.order);
        }
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        live.as_ref()?.find(self.way, self.case, sample).map(|found| found.entry.order)
    }

    /// Replaces all patterns by others, which were checked.
    pub(super) fn renew(&self, entries: &[(&Bytes, &Entry)]) {
        let mut data = Data::with_capacity(self.way, entries.len());
        for (key, entry) in entries {
            let inserted = data.insert(self.way, self.case, key, entry);
            debug_assert!(inserted.is_ok(), "it was checked");
        }
        data.arrange(self.way, self.case);
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = Some(data);
        self.changed.store(true, Ordering::Release);
    }

    /// Puts groups of the match into the value, if that is the way.
    fn expanded(&self, found: &Found<'_>, sample: &Sample<'_>) -> Option<Vec<u8>> {
        let regex = found.regex.filter(|_| self.way == Way::RegGroups)?;
        let bytes = sample.to_bytes();
        let groups = regex.captures(&bytes)?;
        let mut out = Vec::new();
        Replacement::parse(&found.entry.value).write(&groups, &mut out);
        Some(out)
    }

    /// Tells whether a pattern can be compared so.
    pub(super) fn check(&self, key: &[u8]) -> Result<(), BadPattern> {
        let entry = Entry { order: 0, line: None, value: Bytes::new() };
        let tried = Data::with_capacity(self.way, 0).insert(self.way, self.case, &Bytes::copy_from_slice(key), &entry);
        tried.map_err(|reason| BadPattern { line: None, reason })
    }

    /// Adds a pattern that was checked.
    pub(super) fn insert(&self, key: &Bytes, entry: &Entry) {
        self.change(|data| data.insert(self.way, self.case, key, entry).is_ok());
    }

    /// Gives an entry of a pattern another value.
    pub(super) fn set(&self, key: &[u8], entry: &Entry) {
        self.change(|data| {
            data.each(self.way, self.case, key, |found| {
                if found.order == entry.order {
                    found.value = entry.value.clone();
                }
                true
            });
            // What is looked for stays the same.
            false
        });
    }

    pub(super) fn remove(&self, key: &[u8]) {
        self.change(|data| {
            data.each(self.way, self.case, key, |_| false);
            true
        });
    }

    fn change(&self, change: impl FnOnce(&mut Data) -> bool) {
        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        let data = live.get_or_insert_with(|| self.frozen.clone());
        if change(data) {
            data.arrange(self.way, self.case);
        }
        self.changed.store(true, Ordering::Release);
    }
}

/// An entry that was found, and by which expression.
struct Found<'d> {
    entry: &'d Entry,
    regex: Option<&'d Regex>,
}

impl<'d> Found<'d> {
    fn plain(entry: &'d Entry) -> Self {
        Self { entry, regex: None }
    }
}

impl Data {
    fn with_capacity(way: Way, count: usize) -> Self {
        match way {
            Way::Str | Way::Bin | Way::Beg | Way::End | Way::Dir | Way::Dom => {
                Self::Texts(Texts { entries: Chains::with_capacity(count), lengths: BTreeMap::new() })
            }
            Way::Sub | Way::Reg | Way::RegGroups | Way::Int | Way::Len => Self::List(List::default()),
            Way::Ip => Self::Networks(Networks::default()),
        }
    }

    fn insert(&mut self, way: Way, case: Case, key: &Bytes, entry: &Entry) -> Result<(), String> {
        match self {
            Self::Texts(texts) => {
                let text = match text(way, case, key)? {
                    Cow::Borrowed(text) => key.slice_ref(text),
                    Cow::Owned(text) => text.into(),
                };
                texts.insert(text, entry.clone());
            }
            Self::List(list) => {
                let test = test(way, case, key)?;
                let place = list.items.partition_point(|item| item.entry.order < entry.order);
                list.items.insert(place, Item { key: key.clone(), test, entry: entry.clone() });
            }
            Self::Networks(networks) => {
                let network = network(key)?;
                let (address, length) = (network.address(), network.length());
                let of_length = networks.0.entry((address.is_ipv4(), Reverse(length))).or_default();
                of_length.entry(masked(address, length)).or_default().push((key.clone(), entry.clone()));
            }
        }
        Ok(())
    }

    /// Shows `keep` every entry of a pattern and takes out those it does not want to keep.
    fn each(&mut self, way: Way, case: Case, key: &[u8], mut keep: impl FnMut(&mut Entry) -> bool) {
        match self {
            Self::Texts(texts) => {
                if let Ok(key) = text(way, case, key) {
                    texts.each(&key, keep);
                }
            }
            Self::List(list) => list.items.retain_mut(|item| *item.key != *key || keep(&mut item.entry)),
            Self::Networks(networks) => {
                let Ok(network) = network(key) else { return };
                let at = (network.address().is_ipv4(), Reverse(network.length()));
                let Some(of_length) = networks.0.get_mut(&at) else { return };
                let address = masked(network.address(), network.length());
                if let Some(entries) = of_length.get_mut(&address) {
                    entries.retain_mut(|(of, entry)| **of != *key || keep(entry));
                    if entries.is_empty() {
                        of_length.remove(&address);
                    }
                }
            }
        }
    }

    /// Prepares for being looked things up in.
    fn arrange(&mut self, way: Way, case: Case) {
        if let Self::List(list) = self
            && way == Way::Sub
        {
            let texts = list.items.iter().map(|item| &item.key);
            list.finder = AhoCorasick::builder().ascii_case_insensitive(case == Case::Ignored).build(texts).ok();
        }
    }

    fn find<'d>(&'d self, way: Way, case: Case, sample: &Sample<'_>) -> Option<Found<'d>> {
        match self {
            Self::Texts(texts) => texts.find(way, case, &sample.to_bytes()).map(Found::plain),
            Self::List(list) => list.find(way, sample),
            Self::Networks(networks) => networks.find(sample.to_address()?).map(Found::plain),
        }
    }
}

/// Returns a pattern as it is looked up.
fn text(way: Way, case: Case, key: &[u8]) -> Result<Cow<'_, [u8]>, String> {
    let inner = |delimiters: &[u8]| {
        let start = key.iter().position(|byte| !delimiters.contains(byte)).unwrap_or(key.len());
        let end = key.iter().rposition(|byte| !delimiters.contains(byte)).map_or(start, |last| last + 1);
        case.fold(&key[start..end])
    };
    Ok(match way {
        Way::Bin => {
            let digits = str::from_utf8(key).ok().and_then(hexadecimal);
            digits.map(Cow::Owned).ok_or_else(|| format!("`{}` is no even number of hexadecimal digits", key.escape_ascii()))?
        }
        Way::Dir => inner(DIRECTORIES),
        Way::Dom => inner(DOMAINS),
        Way::Str | Way::Beg | Way::End | Way::Sub | Way::Reg | Way::RegGroups | Way::Int | Way::Len | Way::Ip => case.fold(key),
    })
}

fn test(way: Way, case: Case, key: &[u8]) -> Result<ItemTest, String> {
    let shown = || key.escape_ascii();
    let text = str::from_utf8(key).map_err(|_| format!("`{}` is not UTF-8", shown()));
    match way {
        Way::Reg | Way::RegGroups => regex(text?, case).map(ItemTest::Regex),
        Way::Int | Way::Len => {
            let range = Numbers::parse(text?, Comparison::Equal).map(|(low, high)| ItemTest::Range(low, high));
            range.ok_or_else(|| format!("`{}` is neither a whole number nor a range", shown()))
        }
        Way::Str | Way::Bin | Way::Beg | Way::End | Way::Sub | Way::Dir | Way::Dom | Way::Ip => Ok(ItemTest::Text),
    }
}

fn network(key: &[u8]) -> Result<Network, String> {
    let network = str::from_utf8(key).ok().and_then(Network::parse);
    network.ok_or_else(|| format!("`{}` is neither an address nor a network", key.escape_ascii()))
}

impl Texts {
    fn insert(&mut self, key: Bytes, entry: Entry) {
        *self.lengths.entry(key.len()).or_default() += 1;
        self.entries.insert(key, entry);
    }

    fn each(&mut self, key: &[u8], keep: impl FnMut(&mut Entry) -> bool) {
        let (before, after) = self.entries.each(key, keep);
        let gone = before - after;
        if let Some(count) = self.lengths.get_mut(&key.len()) {
            *count -= gone;
            if *count == 0 {
                self.lengths.remove(&key.len());
            }
        }
    }

    fn first(&self, key: &[u8]) -> Option<&Entry> {
        self.entries.first(key)
    }

    fn find(&self, way: Way, case: Case, sample: &[u8]) -> Option<&Entry> {
        let sample = case.fold(sample);
        let lengths = || self.lengths.range(..=sample.len()).map(|(length, _)| *length);
        match way {
            Way::Beg => lengths().rev().find_map(|length| self.first(&sample[..length])),
            Way::End => lengths().filter_map(|length| self.first(&sample[sample.len() - length..])).min_by_key(|entry| entry.order),
            Way::Dir => self.between(&sample, DIRECTORIES),
            Way::Dom => self.between(&sample, DOMAINS),
            Way::Str | Way::Bin | Way::Sub | Way::Reg | Way::RegGroups | Way::Int | Way::Len | Way::Ip => self.first(&sample),
        }
    }

    /// Finds the first of the texts that stand between delimiters.
    fn between(&self, text: &[u8], delimiters: &[u8]) -> Option<&Entry> {
        let longest = self.lengths.last_key_value().map(|(length, _)| *length)?;
        let is_delimiter = |at: usize| text.get(at).is_none_or(|byte| delimiters.contains(byte));
        let starts = (0..text.len()).filter(|at| !is_delimiter(*at) && (*at == 0 || is_delimiter(*at - 1)));
        let found = starts.flat_map(|start| {
            let ends = (start + 1..=text.len().min(start + longest)).filter(|end| is_delimiter(*end));
            ends.filter_map(move |end| self.first(&text[start..end]))
        });
        found.min_by_key(|entry| entry.order)
    }
}

impl List {
    fn find(&self, way: Way, sample: &Sample<'_>) -> Option<Found<'_>> {
        if let Some(finder) = &self.finder {
            let bytes = sample.to_bytes();
            let first = finder.try_find_overlapping_iter(&*bytes).ok()?.map(|found| found.pattern().as_usize()).min()?;
            return self.items.get(first).map(|item| Found::plain(&item.entry));
        }
        let number = match way {
            Way::Int => Some(sample.to_int()?),
            Way::Len => Some(i64::try_from(sample.to_bytes().len()).ok()?),
            Way::Str | Way::Bin | Way::Beg | Way::End | Way::Sub | Way::Dir | Way::Dom | Way::Reg | Way::RegGroups | Way::Ip => None,
        };
        let bytes = if number.is_none() { sample.to_bytes() } else { Cow::Borrowed(&[][..]) };
        let item = self.items.iter().find(|item| match &item.test {
            ItemTest::Text => false,
            ItemTest::Regex(regex) => regex.is_match(&bytes),
            ItemTest::Range(low, high) => number.is_some_and(|number| (*low..=*high).contains(&number)),
        })?;
        let regex = if let ItemTest::Regex(regex) = &item.test { Some(regex) } else { None };
        Some(Found { entry: &item.entry, regex })
    }
}

impl Networks {
    fn find(&self, address: IpAddr) -> Option<&Entry> {
        let other = match address {
            IpAddr::V4(address) => Some(address.to_ipv6_mapped().into()),
            IpAddr::V6(address) => embedded(address).map(IpAddr::from),
        };
        self.longest(address).or_else(|| self.longest(other?))
    }

    fn longest(&self, address: IpAddr) -> Option<&Entry> {
        let of_family = self.0.iter().filter(|((is_v4, _), _)| *is_v4 == address.is_ipv4());
        let mut found = of_family.filter_map(|((_, length), networks)| networks.get(&masked(address, length.0))?.first());
        found.next().map(|(_, entry)| entry)
    }
}

const DIRECTORIES: &[u8] = b"/?";
const DOMAINS: &[u8] = b"/?.:";
