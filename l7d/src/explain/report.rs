//! An explanation as text and as JSON.

use std::fmt::Write as _;

use control::config::Located;
use serde_json::{Value, json};

use super::{Answer, End, Explanation, Kept, Pool};
use crate::balance::{Choice, Room};
use crate::rules::{Considered, Note, Noted};
use crate::site::Standing;
use crate::stick::Hold;

impl Explanation {
    /// Prints it for people.
    pub(crate) fn text(&self) -> String {
        let mut out = format!("{}\n", self.title);
        write_steps(&mut out, &self.steps);
        out.push('\n');
        match &self.end {
            End::Ruled { status: Some(status), termination } => {
                writeln!(out, "answered with status {status} by a rule (termination state {termination})").expect("memory");
            }
            End::Ruled { status: None, termination } => {
                writeln!(out, "closed by a rule without an answer (termination state {termination})").expect("memory");
            }
            End::Shown(what) => writeln!(out, "answered with {what}").expect("memory"),
            End::NoBackend => out.push_str("answered with status 503: no rule names a backend, and there is no default_backend\n"),
            End::Pool(pool) => write_pool(&mut out, pool),
        }
        out
    }

    /// Prints it for programs.
    pub(crate) fn json(&self) -> String {
        let mut proxy = "";
        let mut rules = Vec::new();
        for step in &self.steps {
            match step {
                Noted::Enter(name) => proxy = name,
                Noted::Remark(remark) => rules.push(json!({ "in": proxy, "remark": remark })),
                Noted::Rule(considered) => rules.push(rule_json(proxy, considered)),
            }
        }
        let outcome = match &self.end {
            End::Ruled { status, termination } => json!({ "decided_by": "rule", "status": status, "termination": termination }),
            End::Shown(what) => json!({ "decided_by": "frontend", "answer": what }),
            End::NoBackend => json!({ "decided_by": "nobody", "status": 503 }),
            End::Pool(pool) => pool_json(pool),
        };
        format!("{:#}\n", json!({ "request": self.title, "rules": rules, "outcome": outcome }))
    }
}

/// Writes what rules were asked, and what they found.
pub(crate) fn write_steps(out: &mut String, steps: &[Noted]) {
    for step in steps {
        match step {
            Noted::Enter(proxy) => writeln!(out, "\n{proxy}").expect("memory"),
            Noted::Remark(remark) => writeln!(out, "  {remark}").expect("memory"),
            Noted::Rule(considered) => write_rule(out, considered),
        }
    }
}

fn place(source: &Located<String>) -> String {
    format!("{}:{}", source.location().file(), source.location().line())
}

fn write_rule(out: &mut String, considered: &Considered) {
    writeln!(out, "  {}: {}", place(&considered.source), considered.source.value()).expect("memory");
    for note in &considered.notes {
        match note {
            Note::Value { expression, value: Some(value) } => writeln!(out, "      {expression} is {value:?}"),
            Note::Value { expression, value: None } => writeln!(out, "      {expression} has no value"),
            Note::Test { test, passed } => writeln!(out, "      {}: {test}", if *passed { "yes" } else { "no" }),
            Note::Acl { name, passed } => writeln!(out, "      {}: acl {name}", if *passed { "yes" } else { "no" }),
            Note::Entry { table, key, values: Some(values) } => writeln!(out, "      table {table} has {key}: {values}"),
            Note::Entry { table, key, values: None } => writeln!(out, "      table {table} does not have {key}"),
        }
        .expect("memory");
    }
    let verdict = match (considered.applied, &considered.effect) {
        (Some(true), Some(effect)) => format!("applies: {effect}"),
        (Some(true), None) => "applies".to_owned(),
        (Some(false), _) => "does not apply".to_owned(),
        (None, _) => "cannot be told yet".to_owned(),
    };
    writeln!(out, "      -> {verdict}").expect("memory");
}

fn rule_json(proxy: &str, considered: &Considered) -> Value {
    let note = |note: &Note| match note {
        Note::Value { expression, value } => json!({ "fetch": expression, "value": value }),
        Note::Test { test, passed } => json!({ "test": test, "passed": passed }),
        Note::Acl { name, passed } => json!({ "acl": name, "passed": passed }),
        Note::Entry { table, key, values } => json!({ "table": table, "key": key, "entry": values }),
    };
    let location = considered.source.location();
    json!({
        "in": proxy,
        "file": location.file(),
        "line": location.line(),
        "rule": considered.source.value(),
        "notes": considered.notes.iter().map(note).collect::<Vec<_>>(),
        "applied": considered.applied,
        "effect": considered.effect,
    })
}

fn write_pool(out: &mut String, pool: &Pool) {
    writeln!(out, "backend {}, {}", pool.backend, way_of_choosing(pool)).expect("memory");
    for (place, machine) in pool.servers.iter().enumerate() {
        let mark = if pool.chosen() == Some(place) { "->" } else { "  " };
        writeln!(out, "  {mark} {} {}: {}", machine.name, machine.address, pool.reason(place)).expect("memory");
    }
    match pool.choice() {
        Choice::Place(_) => {}
        Choice::Wait(_) => out.push_str("it waits for that server, which is full\n"),
        Choice::WaitForAny => out.push_str("it waits for any server: all are full\n"),
        Choice::None => out.push_str("answered with status 503: no server is available\n"),
    }
    match &pool.answer {
        None => {}
        Some(Answer::Sent { status, fields }) => {
            writeln!(out, "\nthe client gets status {status}").expect("memory");
            fields.iter().for_each(|field| writeln!(out, "  {field}").expect("memory"));
        }
        Some(Answer::Ruled { status: Some(status), termination }) => {
            writeln!(out, "\nthe client gets status {status} by a rule instead (termination state {termination})").expect("memory");
        }
        Some(Answer::Ruled { status: None, termination }) => {
            writeln!(out, "\nclosed by a rule without an answer (termination state {termination})").expect("memory");
        }
    }
}

fn pool_json(pool: &Pool) -> Value {
    let server = |place: usize| {
        let machine = &pool.servers[place];
        json!({
            "name": machine.name,
            "address": machine.address,
            "connections": machine.active,
            "waiting": machine.waiting,
            "chosen": pool.chosen() == Some(place),
            "reason": pool.reason(place),
        })
    };
    let answer = pool.answer.as_ref().map(|answer| match answer {
        Answer::Sent { status, fields } => json!({ "status": status, "fields": fields }),
        Answer::Ruled { status, termination } => json!({ "decided_by": "rule", "status": status, "termination": termination }),
    });
    json!({
        "response": answer,
        "decided_by": "balance",
        "backend": pool.backend,
        "balance": pool.balance,
        "how": way_of_choosing(pool),
        "server": pool.chosen().map(|place| &pool.servers[place].name),
        "waits": matches!(pool.choice(), Choice::Wait(_) | Choice::WaitForAny),
        "servers": (0..pool.servers.len()).map(server).collect::<Vec<_>>(),
    })
}

fn way_of_choosing(pool: &Pool) -> String {
    match (&pool.pin, pool.key) {
        (Some((_, Kept::Yes)), _) => "which server is known from a cookie, a table or a rule".to_owned(),
        (_, Some(key)) => format!("balance {} by the key {key:08x}", pool.balance),
        (_, None) if pool.balance == "random" => "balance random: another time it may be another server".to_owned(),
        (_, None) => format!("balance {}", pool.balance),
    }
}

impl Pool {
    fn choice(&self) -> Choice {
        match self.pin {
            Some((pin, Kept::Yes)) => match self.outlook.standings.get(pin.place) {
                Some(Standing::Candidate(candidate)) if candidate.room != Room::Free => Choice::Wait(pin.place),
                _ => Choice::Place(pin.place),
            },
            Some((_, Kept::No)) | None => self.outlook.choice,
        }
    }

    pub(super) fn chosen(&self) -> Option<usize> {
        match self.choice() {
            Choice::Place(place) | Choice::Wait(place) => Some(place),
            Choice::WaitForAny | Choice::None => None,
        }
    }

    /// Says why a server is chosen or is not.
    fn reason(&self, place: usize) -> String {
        let (machine, is_chosen) = (&self.servers[place], self.chosen() == Some(place));
        let pinned = self.pin.filter(|(pin, _)| pin.place == place);
        let standing = self.outlook.standings[place];
        let state = match standing {
            Standing::Candidate(candidate) => {
                let most = machine.most.map(|most| format!(" of {most}")).unwrap_or_default();
                let waiting = if machine.waiting > 0 { format!(", {} waiting", machine.waiting) } else { String::new() };
                let weight = candidate.weight.div_ceil(control::server_state::WEIGHT_SCALE);
                format!("up, weight {weight}, {}{most} connections{waiting}", machine.active)
            }
            Standing::Down => "down: its checks fail".to_owned(),
            Standing::Maint => "taken out by an administrator".to_owned(),
            Standing::Drain => "drained: it takes nothing new".to_owned(),
            Standing::Weightless => "of weight 0".to_owned(),
            Standing::Backup => "a backup, and others are there".to_owned(),
            Standing::LaterBackup => "a backup behind another one".to_owned(),
        };
        let why = match (is_chosen, pinned, standing) {
            (true, Some((pin, _)), _) if pin.hold == Hold::Always => "chosen: the traffic belongs to it, come what may",
            (true, Some(_), _) => "chosen: the traffic belongs to it",
            (true, None, _) => "chosen",
            (false, Some(_), _) => "the traffic belongs to it, but it is out of reach",
            (false, None, Standing::Candidate(candidate)) if candidate.room == Room::Shut => "full, and so is its queue",
            (false, None, Standing::Candidate(candidate)) if candidate.room != Room::Free => "full",
            (false, None, Standing::Candidate(_)) => self.passed_over(),
            (false, None, _) => "",
        };
        if why.is_empty() { state } else { format!("{state}; {why}") }
    }

    /// Says why one that could have been chosen was not.
    fn passed_over(&self) -> &'static str {
        if matches!(self.pin, Some((_, Kept::Yes))) {
            return "the traffic belongs to another one";
        }
        match (self.balance, self.key) {
            (_, Some(_)) => "the key belongs to another one",
            ("leastconn", None) => "another one has no more connections for its weight",
            ("first", None) => "one before it has room",
            ("random", None) => "not drawn",
            (_, None) => "not its turn",
        }
    }
}
