//! Tables by themselves, under times of their own.

use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use super::*;

fn table(settings: &str) -> Arc<Table> {
    let config = Config::parse("site.toml", &format!("[table.t]\n{settings}\n")).unwrap();
    let model = &config.tables()[0];
    Arc::new(Table::new(model, Layout::new(model.store(), Learns::Nothing)))
}

fn ip(number: u32) -> Key {
    Key::of_address(TableKey::Ip, IpAddr::V4(Ipv4Addr::from(number))).unwrap()
}

fn keys(table: &Table, now: u32) -> Vec<String> {
    let mut keys = Vec::new();
    let mut cursor = Cursor::default();
    while table.page(&mut cursor, 3, now, |entry| keys.push(entry.key)) {}
    keys.sort();
    keys
}

#[test]
fn full_table_forgets_who_was_used_longest_ago() {
    let table = table("type = \"integer\"\nsize = 3\nstore = [\"gpc0\"]");
    for number in [1, 2, 3, 1, 4] {
        table.update(&Key::of_number(number), 0, |record| record.count(Event::Counted(0))).unwrap();
    }
    assert_eq!(keys(&table, 0), ["1", "3", "4"]);
    assert_eq!(table.read(&Key::of_number(1), 0, |record| record.value(StoredKind::Gpc0, 0)), Some(Some(2)));
    assert_eq!(table.used(), 3);
}

#[test]
fn full_table_that_purges_nothing_takes_no_more() {
    let table = table("type = \"integer\"\nsize = 2\nnopurge = true\nexpire = \"1s\"");
    let enter = |number, now| table.update(&Key::of_number(number), now, |_| ()).is_some();
    assert!(enter(1, 1000) && enter(2, 1000) && enter(1, 1500) && !enter(3, 1500));
    assert!(enter(3, 2100), "2 has expired");
    assert_eq!(keys(&table, 2100), ["1", "3"]);
}

#[test]
fn entries_live_from_their_last_use_and_while_they_are_used() {
    let table = table("type = \"ip\"\nsize = 10\nexpire = \"1s\"\nstore = [\"conn_cur\", \"gpc0\"]");
    let start = now();
    let held = Table::track(&table, &ip(1), start).unwrap();
    table.update(&ip(2), start, |record| record.count(Event::Counted(0)));
    table.update(&ip(2), start + 900, |record| record.count(Event::Counted(0)));
    assert_eq!(keys(&table, start + 1800), ["0.0.0.1", "0.0.0.2"]);
    assert_eq!(keys(&table, start + 1901), ["0.0.0.1"]);
    assert_eq!(table.remove(&ip(1)), Removal::InUse);
    drop(held);
    assert_eq!(table.remove(&ip(1)), Removal::Removed);
    assert_eq!(table.remove(&ip(1)), Removal::Absent);
    assert_eq!(table.used(), 0);
}

#[test]
fn an_entry_that_comes_back_after_its_end_begins_anew() {
    let table = table("type = \"ip\"\nsize = 10\nexpire = \"1s\"\nstore = [\"gpc0\"]");
    table.update(&ip(1), 5000, |record| record.count(Event::Counted(0)));
    assert_eq!(table.read(&ip(1), 6001, |record| record.value(StoredKind::Gpc0, 0)), None);
    assert_eq!(table.update(&ip(1), 6001, |record| record.value(StoredKind::Gpc0, 0)), Some(Some(0)));
}

#[test]
fn everything_that_can_be_stored_is_kept_apart() {
    let table = table(
        "type = \"string(8)\"\nsize = 10\nstore = [\"bytes_out_cnt\", \"gpc(3)\", \"gpc_rate(3,10s)\", \"gpt(2)\", \"server_id\", \"http_req_rate(10s)\"]",
    );
    let key = Key::of_bytes(b"longer than eight", 8);
    table.update(&key, 1 << 30, |record| {
        record.count(Event::BytesOut(5_000_000_000));
        (0..3).for_each(|index| record.count(Event::Counted(index)));
        record.count(Event::Counted(2));
        record.set(StoredKind::Gpt, 1, 7);
        record.set(StoredKind::ServerId, 0, 1 << 40);
        record.count(Event::Error);
    });
    let entry = table.find(&key, 1 << 30).unwrap();
    assert_eq!(entry.key, r"longer\ t", "one word, as HAProxy shows it");
    let values: Vec<u64> = entry.values.iter().map(|(_, _, value)| *value).collect();
    assert_eq!(values, [1 << 40, 0, 5_000_000_000, 0, 7, 1, 1, 2, 1, 1, 2]);
    assert_eq!(table.read(&key, 1 << 30, |record| record.value(StoredKind::Gpc1, 0)), Some(Some(1)), "an element by its old name");
}

#[test]
fn keys_are_shown_as_they_are_read() {
    for (kind, text) in [
        (TableKey::Ip, "10.0.0.1"),
        (TableKey::Ipv6, "2001:db8::1"),
        (TableKey::Integer, "4294967295"),
        (TableKey::String(40), "a string of more than thirty-two bytes.."),
        (TableKey::String(5), "abc"),
        (TableKey::String(9), r#"~"<{}>"#),
        (TableKey::Binary(4), "00FF10A0"),
    ] {
        let key = Key::parse(kind, text).unwrap();
        assert_eq!(key::show(kind, key.words()), text.replace(' ', r"\ "));
        assert_eq!(key.words().len(), key::width(kind), "{text}");
    }
    assert_eq!(Key::parse(TableKey::Ip, "2001:db8::1"), None);
    assert_eq!(Key::parse(TableKey::Ip, "::ffff:10.0.0.1"), Key::parse(TableKey::Ip, "10.0.0.1"));
}

#[test]
fn a_million_entries_of_four_counters_are_small() {
    let table = table("type = \"ip\"\nsize = \"1m\"\nstore = [\"conn_cur\", \"conn_cnt\", \"http_req_cnt\", \"gpc0\"]");
    (0..100_000).for_each(|number| {
        table.update(&ip(number), 0, |record| record.count(Event::Request));
    });
    let words: usize = table.shards.iter().map(|shard| lock(shard).memory()).sum();
    assert!(words * 4 / 100_000 < 70, "{} bytes for an entry", words * 4 / 100_000);
}

proptest! {
    #[test]
    fn table_is_a_bounded_map(steps in prop::collection::vec((0_u32..40, 0_u8..4), 0..400), size in 1_u64..30) {
        let table = table(&format!("type = \"integer\"\nsize = {size}\nstore = [\"gpc0\"]"));
        // In the order of use, the newest last.
        let mut model: Vec<(u32, u64)> = Vec::new();
        for (number, action) in steps {
            let key = Key::of_number(number);
            let known = model.iter().position(|(other, _)| *other == number);
            if action == 0 {
                prop_assert_eq!(table.remove(&key) == Removal::Removed, known.is_some());
                known.map(|place| model.remove(place));
                continue;
            }
            let count = known.map_or(0, |place| model.remove(place).1) + 1;
            if model.len() as u64 == size {
                model.remove(0);
            }
            model.push((number, count));
            table.update(&key, 0, |record| record.count(Event::Counted(0)));
        }
        let mut expected: Vec<String> = model.iter().map(|(number, _)| number.to_string()).collect();
        expected.sort();
        prop_assert_eq!(keys(&table, 0), expected);
        prop_assert_eq!(table.used(), model.len() as u64);
        for (number, count) in model {
            prop_assert_eq!(table.read(&Key::of_number(number), 0, |record| record.value(StoredKind::Gpc0, 0)), Some(Some(count)));
        }
    }
}

#[test]
fn threads_lose_no_count() {
    let table = table("type = \"ip\"\nsize = 100000\nstore = [\"gpc0\", \"conn_cur\"]");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for number in 0..20_000 {
                    let tracked = Table::track(&table, &ip(number % 50), 1000).unwrap();
                    tracked.update(1000, |record| {
                        record.add(StoredKind::ConnCur, 0, 1);
                        record.count(Event::Counted(0));
                    });
                }
            });
        }
    });
    for number in 0..50 {
        let values = table.read(&ip(number), now(), |record| (record.value(StoredKind::Gpc0, 0), record.value(StoredKind::ConnCur, 0)));
        assert_eq!(values, Some((Some(1600), Some(0))));
    }
}

#[test]
fn the_highest_come_first_and_nobody_without_any() {
    let table = table("type = \"ip\"\nsize = \"100k\"\nstore = [\"gpt0\", \"gpc0\", \"conn_cnt\"]");
    for n in 0..5000 {
        table.update(&ip(n), 1, |record| record.set(StoredKind::Gpc0, 0, (n % 1000).into()));
    }
    assert_eq!(table.loudest(), Some((StoredKind::Gpc0, 0)));
    let top = table.top((StoredKind::Gpc0, 0), 7, 1);
    let values: Vec<u64> = top.iter().map(|entry| entry.values[1].2).collect();
    assert_eq!(values, [999, 999, 999, 999, 999, 998, 998]);
    assert!(table.top((StoredKind::ConnCnt, 0), 7, 1).is_empty());
    assert!(table.top((StoredKind::Gpc0, 0), 0, 1).is_empty());
}

#[test]
fn what_was_so_before_leaves_what_has_come_about_here() {
    let table = table("type = \"integer\"\nsize = 10\nstore = [\"gpt0\", \"gpc0\", \"gpc1\", \"http_req_rate(10s)\"]");
    let learn = |key: u32, weight: Weight| {
        let rate = Raw::Rate { since: 10, current: 5, before: 0 };
        let number = |kind: StoredKind, value: u64| (kind, 0, Raw::Number(value));
        let values = [number(StoredKind::Gpt0, 9), number(StoredKind::Gpc0, 9), number(StoredKind::Gpc1, 9)];
        let values = values.into_iter().chain([(StoredKind::HttpReqRate, 0, rate)]).collect();
        assert!(table.learn(&Learnt { key: Key::of_number(key), weight, left: None, values }, 1000));
    };
    let values = |key: u32| {
        let kinds = [StoredKind::Gpt0, StoredKind::Gpc0, StoredKind::Gpc1, StoredKind::HttpReqRate];
        table.read(&Key::of_number(key), 1000, |record| kinds.map(|kind| record.value(kind, 0).unwrap())).unwrap()
    };
    let told = || {
        let mut told = 0;
        table.take_changes(0, (0, By::Us), 1000, |_| told += 1);
        told
    };
    table.update(&Key::of_number(1), 1000, |record| {
        record.set(StoredKind::Gpt0, 0, 3);
        record.set(StoredKind::Gpc0, 0, 12);
        record.count(Event::Request);
    });
    learn(1, Weight::Memory);
    assert_eq!(values(1), [3, 12, 9, 5]);
    assert_eq!(told(), 1, "peers are told of it");
    learn(1, Weight::News);
    assert_eq!(values(1), [9, 9, 9, 5]);
    learn(2, Weight::Memory);
    assert_eq!(values(2), [9, 9, 9, 5]);
    assert_eq!(told(), 0, "what came from peers is told by them");
}

#[test]
fn what_is_set_back_while_a_process_is_taught_stays() {
    let table = table("type = \"integer\"\nsize = 2\nstore = [\"gpt0\", \"gpc(2)\"]");
    let key = |number: u32| Key::of_number(number);
    let learn = |number: u32, weight: Weight, tag: u64| {
        let value = |kind: StoredKind, index: u8, value: u64| (kind, index, Raw::Number(value));
        let values = vec![value(StoredKind::Gpt0, 0, tag), value(StoredKind::Gpc, 0, 9), value(StoredKind::Gpc, 1, 9)];
        assert!(table.learn(&Learnt { key: key(number), weight, left: None, values }, 1000));
    };
    let values = |number: u32| {
        let kinds = [(StoredKind::Gpt0, 0), (StoredKind::Gpc, 0), (StoredKind::Gpc, 1)];
        table.read(&key(number), 1000, |record| kinds.map(|(kind, index)| record.value(kind, index).unwrap())).unwrap()
    };
    let set_back = |number: u32| {
        table.update(&key(number), 1000, |record| {
            record.set(StoredKind::Gpt0, 0, 0);
            // The same by its older name.
            record.set(StoredKind::Gpc0, 0, 0);
            record.count(Event::Element(0));
        })
    };
    table.begin_lessons();
    set_back(1);
    learn(1, Weight::Memory, 9);
    assert_eq!(values(1), [0, 1, 9]);
    learn(1, Weight::Early, 9);
    assert_eq!(values(1), [0, 1, 9]);
    // What a peer says just now is newer than what another remembers, and as new as what is set here.
    learn(1, Weight::News, 0);
    learn(1, Weight::Memory, 5);
    assert_eq!(values(1), [0, 9, 9]);
    // Another entry takes the place of one that is forgotten.
    assert_eq!(table.remove(&key(1)), Removal::Removed);
    table.update(&key(2), 1000, |_| ());
    learn(2, Weight::Memory, 9);
    assert_eq!(values(2), [9, 9, 9]);
    table.end_lessons();
    set_back(2);
    learn(2, Weight::Memory, 9);
    assert_eq!(values(2), [9, 9, 9]);
}
