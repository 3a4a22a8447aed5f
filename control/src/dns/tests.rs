use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::assign;
use super::engine::{Ask, Engine, Key, Knowledge, Progress};
use super::message::{Answer, Fault, Kind, Service};
use crate::config::{Config, Lack, Resolvers};

/// A lab in which time passes and servers of the DNS answer as they are told.
struct Lab {
    config: Config,
    engine: Engine,
    now: Instant,
}

fn lab(servers: &str) -> Lab {
    let config = Config::parse(
        "site.toml",
        &format!(
            "[resolvers.dns]\nnameserver = {{ a = \"10.0.0.1\", b = \"10.0.0.2\" }}\nresolve-retries = 2\n\
             timeout = {{ resolve = \"10s\", retry = \"1s\" }}\nhold = {{ nx = \"30s\", timeout = \"5s\", obsolete = \"15s\" }}\n\
             [backend.b]\ndefault-server = {{ resolvers = \"dns\", init-addr = \"none\", resolve-prefer = \"ipv4\" }}\n{servers}\n"
        ),
    );
    let mut lab = Lab { config: config.unwrap(), engine: Engine::default(), now: Instant::now() };
    lab.follow();
    lab
}

impl Lab {
    fn section(&self) -> &Resolvers {
        &self.config.resolvers()[0]
    }

    fn follow(&mut self) {
        self.engine.follow(assign::wanted(&self.config), self.now);
    }

    fn due(&mut self) -> Vec<Ask> {
        self.engine.due(self.config.resolvers(), self.now)
    }

    fn reply(&mut self, ask: &Ask, by: &str, reply: Result<Answer, Fault>) -> Progress {
        let section = self.section().clone();
        self.engine.on_reply(ask, &section, reply, by, self.now)
    }

    /// Has all that is due answered by both servers, until nothing is, and servers moved.
    fn answer(&mut self, answer: impl Fn(&Ask) -> Result<Answer, Fault>) {
        for _ in 0..20 {
            for ask in self.due() {
                self.reply(&ask, "a", answer(&ask));
                self.reply(&ask, "b", answer(&ask));
            }
            let moves = assign::moves(&self.config, &self.engine, self.now);
            self.config = self.config.with_moves(&moves);
            self.follow();
        }
        assert_eq!(assign::moves(&self.config, &self.engine, self.now), [], "whoever has moved stays");
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    /// Where servers are, or why they are nowhere.
    fn places(&self) -> BTreeMap<&str, String> {
        let place = |server: &crate::config::Server| match (server.lack(), server.ip(), server.port()) {
            (Some(lack), _, _) => format!("{lack:?}"),
            (None, Some(ip), port) => format!("{ip}:{}", port.unwrap_or(0)),
            (None, None, _) => "?".to_owned(),
        };
        self.config.servers().iter().map(|server| (server.name(), place(server))).collect()
    }
}

fn addresses(last: &[u8]) -> Result<Answer, Fault> {
    Ok(Answer::Addresses(last.iter().map(|last| IpAddr::from([10, 1, 0, *last])).collect()))
}

fn machine(host: &str, port: u16) -> Service {
    Service { host: host.to_owned(), port, weight: 0, ip: None }
}

#[test]
fn the_first_good_answer_ends_a_question_and_the_last_bad_one() {
    let mut lab = lab("server = { s = \"app.example:80\" }");
    let asks = lab.due();
    assert_eq!((asks.len(), asks[0].kind, lab.due().len()), (1, Kind::A, 0));
    assert_eq!(lab.reply(&asks[0], "a", Err(Fault::NoName)), Progress::Open);
    assert_eq!(lab.reply(&asks[0], "b", addresses(&[1])), Progress::News);
    assert_eq!(lab.reply(&asks[0], "a", addresses(&[2])), Progress::Open, "too late");
    assert_eq!(lab.engine.answered_by(&asks[0].key), "dns/b");
    assert!(lab.due().is_empty());
    for (answer, progress) in [(&[1][..], Progress::Same), (&[1, 2], Progress::News), (&[2, 1], Progress::Same), (&[2], Progress::Same)] {
        lab.pass(10);
        let asks = lab.due();
        assert_eq!(asks.len(), 1);
        assert_eq!(lab.reply(&asks[0], "a", addresses(answer)), progress, "{answer:?}");
    }
    lab.pass(20);
    let asks = lab.due();
    assert_eq!(lab.reply(&asks[0], "a", addresses(&[2])), Progress::News, "one is obsolete");
}

#[test]
fn a_name_whose_section_was_gone_for_a_while_is_asked_for_anew() {
    let mut lab = lab("server = { s = \"app.example:80\" }");
    let asks = lab.due();
    lab.engine.forget(&Ask { round: asks[0].round + 1, ..asks[0].clone() });
    lab.follow();
    assert_eq!(lab.due(), [], "it is being asked for");
    lab.engine.forget(&asks[0]);
    lab.follow();
    assert_eq!(lab.due().len(), 1);
}

#[test]
fn a_question_goes_on_with_the_other_family_and_then_as_often_as_it_may() {
    let mut lab = lab("server = { s = \"app.example:80\" }");
    let mut asked = Vec::new();
    while let [ask] = &lab.due()[..] {
        asked.push(ask.kind);
        assert!(asked.len() < 9);
        lab.reply(ask, "a", Err(Fault::Failed));
        lab.reply(ask, "b", Err(Fault::Timeout));
        lab.pass(1);
    }
    assert_eq!(asked, [Kind::A, Kind::Aaaa, Kind::A, Kind::Aaaa]);
    let key = Key { resolvers: "dns".to_owned(), name: "app.example".to_owned(), kind: Kind::A };
    assert_eq!(lab.engine.knowledge(&key, lab.section().hold(), lab.now), Knowledge::Lack(Lack::Failed));
}

#[test]
fn the_last_good_answer_counts_as_long_as_hold_says() {
    let mut lab = lab("server = { s = \"app.example:80\" }");
    lab.answer(|_| addresses(&[1]));
    for (seconds, fault, expected) in [
        (10, Fault::NoName, "10.1.0.1:80"),
        (10, Fault::NoName, "10.1.0.1:80"),
        (10, Fault::NoName, "NoName"),
        (10, Fault::Refused, "NoName"),
    ] {
        lab.pass(seconds);
        lab.answer(|_| Err(fault));
        assert_eq!(lab.places()["s"], expected, "{fault:?}");
    }
    lab.pass(10);
    lab.answer(|_| addresses(&[2]));
    assert_eq!(lab.places()["s"], "10.1.0.2:80");
}

#[test]
fn servers_of_one_name_share_its_addresses() {
    let cases = [
        ("each its own", "", &[1, 2][..], ["10.1.0.1:80", "10.1.0.2:80", "NoAddress"]),
        ("or what there is", ", resolve-opts = \"allow-dup-ip\"", &[1, 2], ["10.1.0.1:80", "10.1.0.2:80", "10.1.0.1:80"]),
        ("near ones first", ", resolve-net = \"10.1.0.3/32\"", &[1, 2, 3], ["10.1.0.3:80", "10.1.0.1:80", "10.1.0.2:80"]),
    ];
    for (name, more, answer, expected) in cases {
        let mut lab = lab(&format!("server-template = {{ s = {{ count = 3, address = \"app.example:80\"{more} }} }}"));
        lab.answer(|_| addresses(answer));
        assert_eq!(lab.places().into_values().collect::<Vec<_>>(), expected, "{name}");
        // Who has an address keeps it, in whatever order they come; what is gone counts until it is obsolete.
        let before = lab.places().into_iter().map(|(name, place)| (name.to_owned(), place)).collect::<Vec<_>>();
        lab.pass(10);
        lab.answer(|_| addresses(&answer.iter().rev().copied().take(1).collect::<Vec<_>>()));
        assert_eq!(lab.places().into_iter().map(|(name, place)| (name.to_owned(), place)).collect::<Vec<_>>(), before, "{name}");
        lab.pass(10);
        lab.answer(|_| addresses(&[9]));
        lab.pass(20);
        lab.answer(|_| addresses(&[9]));
        assert_eq!(lab.places().values().filter(|place| *place == "10.1.0.9:80").count(), if name == "or what there is" { 3 } else { 1 });
    }
}

#[test]
fn servers_of_a_service_are_its_machines() {
    let mut lab = lab("server-template = { s = { count = 2, address = \"_a._tcp.example\" } }");
    let answer = |machines: Vec<Service>| {
        move |ask: &Ask| match ask.kind {
            Kind::Srv => Ok(Answer::Services(machines.clone())),
            Kind::A | Kind::Aaaa => addresses(&[ask.key.name.as_bytes()[1] - b'0']),
        }
    };
    lab.answer(answer(vec![machine("m1.example", 8001), machine("m2.example", 8002), machine("m3.example", 8003)]));
    assert_eq!(lab.places().into_values().collect::<Vec<_>>(), ["10.1.0.1:8001", "10.1.0.2:8002"]);
    lab.pass(10);
    lab.answer(answer(vec![machine("m3.example", 8003), machine("m2.example", 8002)]));
    assert_eq!(lab.places()["s1"], "10.1.0.1:8001", "not obsolete yet");
    lab.pass(10);
    lab.answer(answer(vec![machine("m3.example", 8003), machine("m2.example", 8002)]));
    assert_eq!(lab.places().into_values().collect::<Vec<_>>(), ["10.1.0.3:8003", "10.1.0.2:8002"]);
    lab.pass(20);
    lab.answer(answer(vec![machine("m2.example", 8002)]));
    lab.pass(20);
    lab.answer(answer(vec![machine("m2.example", 8002)]));
    assert_eq!(lab.places().into_values().collect::<Vec<_>>(), ["NoAddress", "10.1.0.2:8002"]);
}

#[tokio::test]
async fn a_reload_asks_the_system_again_for_what_nobody_else_is_asked_for() {
    for (server, expected) in [
        ("{ address = \"localhost:80\" }", "the system's"),
        ("{ address = \"localhost:80\", resolvers = \"dns\" }", "127.9.9.9"),
        ("{ address = \"localhost:80\", init-addr = \"none\" }", "127.9.9.9"),
        ("{ address = \"nobody.invalid:80\" }", "127.9.9.9"),
        ("{ address = \"nobody.invalid:80\", init-addr = [\"libc\", \"127.9.9.8\"] }", "127.9.9.8"),
    ] {
        let text = format!("[resolvers.dns]\nnameserver = {{ a = \"10.0.0.1\" }}\n[backend.b]\nserver = {{ s = {server} }}\n");
        let config = Config::parse("site.toml", &text).unwrap();
        let before = config.with_address(config.servers()[0].id(), [127, 9, 9, 9].into(), Some(80));
        let after = super::settle(config, Some(&before)).await.unwrap();
        let found = after.servers()[0].ip().unwrap();
        let shown = if found.to_string().starts_with("127.9.9.") { found.to_string() } else { "the system's".to_owned() };
        assert_eq!(shown, expected, "{server}");
    }
}

proptest! {
    #[test]
    fn whatever_is_answered_every_name_is_asked_for_again(replies in prop::collection::vec((0_u8..7, 0_u8..4, 0_u64..4), 1..60)) {
        let mut lab = lab("server-template = { s = { count = 3, address = \"app.example:80\" } }");
        let mut open: Vec<Ask> = Vec::new();
        for (kind, last, seconds) in replies {
            open.extend(lab.due());
            let Some(ask) = open.first().cloned() else {
                lab.pass(seconds + 1);
                prop_assert!(lab.engine.next_at().is_some(), "nothing is planned");
                continue;
            };
            let reply = match kind {
                0 => Err(Fault::NoName),
                1 => Err(Fault::Timeout),
                2 => Err(Fault::Refused),
                3 => Err(Fault::Failed),
                _ => addresses(&[last, last + 1]),
            };
            lab.reply(&ask, "a", reply.clone());
            lab.reply(&ask, "b", reply);
            open.remove(0);
            let moves = assign::moves(&lab.config, &lab.engine, lab.now);
            lab.config = lab.config.with_moves(&moves);
            let places: Vec<_> = lab.config.servers().iter().filter_map(|server| server.ip().filter(|_| server.lack().is_none())).collect();
            let mut apart = places.clone();
            apart.sort_unstable();
            apart.dedup();
            prop_assert_eq!(apart.len(), places.len(), "two servers of one name at one address");
        }
    }
}
