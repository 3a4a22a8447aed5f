//! What a process sets back while it is taught stays set back, here and with who has taught it.

use super::{Kind, Place, Wire, wait_until};
use crate::kit::unused_address;

fn set_back_while_taught(teacher: Kind) {
    let place = Place::new();
    let (a, b) = (unused_address(), unused_address());
    let wire = Wire::to(a);
    place.write("a", &format!(" peer a {a}\n peer b {}\n", unused_address()));
    place.write("b", &format!(" peer a {}\n peer b {b}\n", wire.address));
    let a = place.start(teacher, "a");
    // As long as it hopes to be taught itself it does not know everything.
    wait_until("it knows everything", || a.ask("show peers").contains("resync_timeout=<PAST>"));
    // A teacher that is not found within five seconds is not asked, which a slow machine may need again.
    for _ in 0..10 {
        a.set(&["ip key 10.0.0.1 data.gpt0 9 data.gpc0 9 data.gpc1 9", "ip key 10.0.0.2 data.gpt0 9 data.gpc0 9 data.gpc1 9"]);
        wire.cut();
        let b = place.start(Kind::Ours, "b");
        b.set(&["ip key 10.0.0.1 data.gpt0 0 data.gpc0 2"]);
        wire.mend();
        wait_until("it is taught", || b.values("ip").contains_key("10.0.0.2"));
        let log = std::fs::read_to_string(place.directory.join("b.log")).unwrap();
        if !log.contains("is asked for everything") {
            continue;
        }
        let has = |node: &super::Node, key: &str, values: [&str; 3]| {
            let known = node.values("ip").remove(key).unwrap_or_default();
            let known: Vec<_> = known.split(' ').collect();
            values.iter().all(|value| known.contains(value))
        };
        for (name, node) in [("the teacher", &a), ("the one that is taught", &b)] {
            wait_until(name, || {
                has(node, "10.0.0.1", ["gpt0=0", "gpc0=2", "gpc1=9"]) && has(node, "10.0.0.2", ["gpt0=9", "gpc0=9", "gpc1=9"])
            });
        }
        return;
    }
    panic!("nobody was ever taught in time");
}

#[test]
fn what_is_set_back_meanwhile_stays_where_haproxy_teaches() {
    set_back_while_taught(Kind::Theirs);
}

#[test]
fn what_is_set_back_meanwhile_stays_where_we_teach() {
    set_back_while_taught(Kind::Ours);
}
