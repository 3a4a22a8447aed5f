//! Several processes that share tables, under a scheduler that a seed decides for: bytes arrive in pieces and late, connections are cut with
//! whatever was on its way, processes begin anew with nothing.
//!
//! HAProxy's protocol has no time of a change in it: of two processes that change one value at the same moment each ends with the other's. So
//! each key belongs to one process here, and what that has said last is what all know in the end.

use std::collections::BTreeMap;
use std::time::Duration;

use control::config::{Config, StoredKind};
use fastrand::Rng;
use tokio::time::Instant;

use super::group::Group;
use super::resync::{SEARCH, Stage};
use super::session::{Ending, Side, Terms};
use super::talk::Talk;
use super::teach::Manner;
use crate::stick::{Key, Tables, now};

const NODES: usize = 4;
const KEYS: u32 = 24;

/// A process; what it was before it began anew is left to the end of the test.
struct Node {
    group: &'static Group,
    tables: Tables,
    /// How many connections it has open with each client.
    open: BTreeMap<u32, u64>,
}

/// What two processes say to each other.
struct Link {
    ends: [usize; 2],
    /// None while there is no connection.
    talks: Option<[Talk<'static>; 2]>,
    /// What was said and has not been heard.
    wires: [Vec<u8>; 2],
    /// What was heard of a message that is not whole.
    inboxes: [Vec<u8>; 2],
}

struct World {
    random: Rng,
    now: Instant,
    config: Config,
    nodes: Vec<Node>,
    links: Vec<Link>,
    /// What the owner of each key has said last.
    wanted: BTreeMap<u32, u64>,
    next: u64,
}

fn name(node: usize) -> String {
    format!("n{node}")
}

fn config() -> Config {
    let peers: Vec<_> = (0..NODES).map(|node| format!("{} = \"127.0.0.1:{}\"", name(node), node + 1)).collect();
    let text = format!(
        "[peers.cl]\npeer = {{ {} }}\n[table.values]\ntype = \"integer\"\nsize = 1000\nstore = [\"gpc0\"]\npeers = \"cl\"\n\
         [table.open]\ntype = \"integer\"\nsize = 1000\nstore = [\"conn_cur\", \"gpc1\"]\npeers = \"cl\"\nsum-conn-cur = true\n",
        peers.join(", ")
    );
    Config::parse("site.toml", &text).unwrap()
}

impl Node {
    fn new(config: &Config, number: usize, now: Instant) -> Self {
        let tables = Tables::new(config, &[], None);
        tables.settle(config);
        let group = Box::leak(Box::new(Group::of(config, &name(number), &tables, now)));
        group.begin_lessons();
        Self { group, tables, open: BTreeMap::new() }
    }

    fn set(&self, table: &str, kind: StoredKind, key: u32, value: u64) {
        let table = self.tables.named(table).unwrap();
        table.update(&Key::of_number(key), now(), |record| record.set(kind, 0, value)).unwrap();
    }

    fn value(&self, key: u32) -> Option<u64> {
        self.tables.named("values").unwrap().read(&Key::of_number(key), now(), |record| record.value(StoredKind::Gpc0, 0)).flatten()
    }

    /// Returns how many connections are open with a client, here and elsewhere.
    fn sum(&self, key: u32) -> u64 {
        let (table, key) = (self.tables.named("open").unwrap(), Key::of_number(key));
        table.read(&key, now(), |record| record.value(StoredKind::ConnCur, 0)).flatten().unwrap_or(0) + table.open_abroad(&key, now())
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let (config, now) = (config(), Instant::now());
        let nodes = (0..NODES).map(|number| Node::new(&config, number, now)).collect();
        let pairs = (0..NODES).flat_map(|one| (one + 1..NODES).map(move |other| [one, other]));
        let links = pairs.map(|ends| Link { ends, talks: None, wires: Default::default(), inboxes: Default::default() }).collect();
        let mut world = Self { random: Rng::with_seed(seed), now, config, nodes, links, wanted: BTreeMap::new(), next: 0 };
        // What is taught takes the place of what was there, as with HAProxy; so all begin with all there is to know.
        world.settle();
        world
    }

    fn step(&mut self) {
        self.now += Duration::from_millis(self.random.u64(0..50));
        let (link, forth) = (self.random.usize(0..self.links.len()), self.random.bool());
        match self.random.u32(0..100) {
            0..35 => self.write(),
            35..55 => self.speak(link),
            55..85 => self.deliver(link, forth),
            85..92 => self.connect(link),
            92..96 => self.open(),
            96..99 => self.cut(link),
            _ => self.restart(),
        }
    }

    /// The owner of a key changes its value. It only grows, but for one whose owner alone is being taught: that may be set back meanwhile.
    fn write(&mut self) {
        let key = self.random.u32(0..KEYS);
        let (owner, now) = (key as usize % NODES, self.now);
        self.next += 1;
        let learning: Vec<_> = (0..NODES).filter(|node| self.nodes[*node].group.resync().stage(now) != Stage::Done).collect();
        let value = if learning == [owner] && self.random.bool() { 0 } else { self.next };
        self.nodes[owner].set("values", StoredKind::Gpc0, key, value);
        self.wanted.insert(key, value);
    }

    /// Somebody opens or closes connections; of the rest of the entry all may say something.
    fn open(&mut self) {
        let (node, key, count) = (self.random.usize(0..NODES), self.random.u32(0..4), self.random.u64(0..5));
        self.nodes[node].open.insert(key, count);
        self.nodes[node].set("open", StoredKind::ConnCur, key, count);
        self.nodes[node].set("open", StoredKind::Gpc1, key, self.next);
    }

    fn connect(&mut self, link: usize) {
        let Link { ends, talks, .. } = &mut self.links[link];
        if talks.is_some() {
            return;
        }
        let sides = if self.random.bool() { [Side::Connected, Side::Accepted] } else { [Side::Accepted, Side::Connected] };
        let talk = |place: usize| {
            let group = self.nodes[ends[place]].group;
            let peer = group.member(&name(ends[1 - place])).unwrap();
            Talk::new(group, peer, &Terms { side: sides[place], manner: Manner::Timed, early: Vec::new() })
        };
        *talks = Some([talk(0), talk(1)]);
    }

    fn speak(&mut self, link: usize) {
        let Link { talks: Some(talks), wires, .. } = &mut self.links[link] else { return };
        for (talk, wire) in talks.iter_mut().zip(wires) {
            talk.speak(self.now);
            wire.append(&mut talk.out);
        }
    }

    /// Some of what was said one way is heard.
    fn deliver(&mut self, link: usize, forth: bool) {
        let Link { talks: Some(talks), wires, inboxes, .. } = &mut self.links[link] else { return };
        let (from, to) = if forth { (0, 1) } else { (1, 0) };
        let count = self.random.usize(0..=wires[from].len());
        inboxes[to].extend(wires[from].drain(..count));
        talks[to].hear(&mut inboxes[to], self.now).unwrap();
        wires[to].append(&mut talks[to].out);
    }

    fn cut(&mut self, link: usize) {
        let link = &mut self.links[link];
        if let Some(talks) = link.talks.take() {
            talks.iter().for_each(|talk| talk.end(&Ending::Closed, self.now));
        }
        (link.wires, link.inboxes) = Default::default();
    }

    /// A process ends and begins with nothing, once all others know the same: one that was taught by who does not know everything yet is not
    /// told again by who does, with HAProxy neither.
    fn restart(&mut self) {
        let node = self.random.usize(0..NODES);
        let others: Vec<_> = (0..NODES).filter(|other| *other != node).collect();
        let known = |key: u32| self.nodes[others[0]].value(key);
        if (0..KEYS).any(|key| others.iter().any(|other| self.nodes[*other].value(key) != known(key))) {
            return;
        }
        // What it has told nobody is gone; what has arrived comes back.
        let told: BTreeMap<u32, u64> = (0..KEYS).filter_map(|key| Some((key, known(key)?))).collect();
        self.wanted.retain(|key, _| *key as usize % NODES != node || told.contains_key(key));
        for (key, value) in told.into_iter().filter(|(key, _)| *key as usize % NODES == node) {
            self.wanted.insert(key, value);
        }
        let links: Vec<_> = (0..self.links.len()).filter(|link| self.links[*link].ends.contains(&node)).collect();
        links.iter().for_each(|link| self.cut(*link));
        self.nodes[node] = Node::new(&self.config, node, self.now);
        // It is taught from now on, and meanwhile its owner goes on saying things, which stay.
        for link in links {
            self.connect(link);
            self.speak(link);
        }
    }

    /// Lets everybody say everything to everybody.
    fn settle(&mut self) {
        (0..self.links.len()).for_each(|link| self.connect(link));
        let mut quiet = 0;
        while quiet < 4 {
            self.now += SEARCH / 3;
            let mut said = 0;
            for link in 0..self.links.len() {
                self.speak(link);
                said += self.links[link].wires.iter().map(Vec::len).sum::<usize>();
                while self.links[link].wires.iter().any(|wire| !wire.is_empty()) {
                    self.deliver(link, true);
                    self.deliver(link, false);
                }
            }
            quiet = if said == 0 { quiet + 1 } else { 0 };
        }
    }

    fn check(&self, seed: u64) {
        for (number, node) in self.nodes.iter().enumerate() {
            let known: BTreeMap<u32, u64> = (0..KEYS).filter_map(|key| Some((key, node.value(key)?))).collect();
            assert_eq!(known, self.wanted, "seed {seed}, node {number}");
            for key in 0..4 {
                let sum: u64 = self.nodes.iter().filter_map(|node| node.open.get(&key)).sum();
                assert_eq!(node.sum(key), sum, "seed {seed}, node {number}, connections of {key}");
            }
        }
    }
}

#[test]
fn all_know_the_same_in_the_end_whatever_is_lost_on_the_way() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        for _ in 0..4 {
            (0..150).for_each(|_| world.step());
            world.settle();
            world.check(seed);
        }
    }
}

const SEEDS: u64 = 80;
