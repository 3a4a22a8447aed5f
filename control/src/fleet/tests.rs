//! Tests of the fleet as its users see it, on a paused clock.

use tokio::time::{advance, timeout};

use super::*;
use crate::server_state::WEIGHT_SCALE;

const APP: &str = r#"
    [backend.app]
    mode = "tcp"
    check = { tcp = {}, inter = "1s", rise = 2, fall = 3 }
    default-server = { weight = 10 }
    [backend.app.server]
    web1 = "127.0.0.1:8001"
    web2 = "127.0.0.1:8002"
    web3 = "127.0.0.1:8003"
"#;

fn config(text: &str) -> Arc<Config> {
    Arc::new(Config::parse("test.toml", text).expect("the test's configuration is right"))
}

fn id(view: &View, server: &str) -> ServerId {
    view.config().server_named("app", server).expect("the server is configured").id()
}

fn failure() -> CheckOutcome {
    CheckOutcome {
        result: CheckResult::ConnectFailed,
        code: None,
        duration: Duration::from_millis(2),
        detail: "connection refused".to_owned(),
    }
}

fn success() -> CheckOutcome {
    CheckOutcome { result: CheckResult::Connected, code: None, duration: Duration::from_millis(1), detail: String::new() }
}

/// Reports outcomes for a server of the configuration in force: `+` for a success, `-` for a failure.
fn check(fleet: &Fleet, server: &str, outcomes: &str) {
    let view = fleet.view();
    for outcome in outcomes.chars() {
        fleet.report(&view, id(&view, server), if outcome == '+' { success() } else { failure() });
    }
}

fn state(fleet: &Fleet, server: &str) -> (Status, u32) {
    let id = id(&fleet.view(), server);
    (fleet.status(id), fleet.effective_weight(id))
}

/// Returns what a listener that is woken now is told; fails the test if it is not woken.
async fn told(changes: &mut Changes) -> Vec<String> {
    let batch = timeout(Duration::from_millis(1), changes.next()).await.expect("the listener is woken");
    assert_eq!(batch.missed, 0);
    batch.transitions.iter().map(|transition| format!("{} {}→{}", transition.server, transition.from, transition.to)).collect()
}

#[tokio::test(start_paused = true)]
async fn failed_check_is_told_with_its_reason() {
    let fleet = Fleet::new(config(APP));
    let mut changes = fleet.subscribe();
    assert_eq!(state(&fleet, "web1"), (Status::Up, 10 * WEIGHT_SCALE));
    check(&fleet, "web1", "-");
    assert_eq!(state(&fleet, "web1"), (Status::Down, 0));
    let batch = changes.next().await;
    assert_eq!(batch.transitions.len(), 1);
    assert_eq!(batch.transitions[0].to_string(), "server app/web1 is DOWN: L4CON connection refused after 2ms");
    assert_eq!(batch.transitions[0].reason, Reason::Check(failure()));
}

#[tokio::test(start_paused = true)]
async fn log_lines_say_how_many_are_left() {
    let fleet = Fleet::new(config(APP));
    check(&fleet, "web1", "-");
    let view = fleet.view();
    let mut core = fleet.shared.core();
    let mut line = |server, from, to, reason| {
        let now = now();
        let change = Change { from, to };
        core.note(id(&view, server), change, reason, now).expect("the server is configured").to_string()
    };
    assert_eq!(
        line("web1", Status::Up, Status::Down, Reason::Check(failure())),
        "server app/web1 is DOWN: L4CON connection refused after 2ms, 2 of 3 up left in backend app"
    );
    assert_eq!(
        line("web2", Status::Down, Status::Up, Reason::Check(success())),
        "server app/web2 is UP: L4OK after 1ms, 2 of 3 up in backend app"
    );
    assert_eq!(
        line("web3", Status::Up, Status::Drain, Reason::Admin(Admin::Drain)),
        "server app/web3 is DRAIN: drained by an administrator, 2 of 3 up left in backend app"
    );
}

#[tokio::test(start_paused = true)]
async fn listener_loses_nothing_while_it_looks_away() {
    let fleet = Fleet::new(config(APP));
    check(&fleet, "web3", "-");
    let mut changes = fleet.subscribe();
    // Cancelled while it waits, as a `select!` does with the branches that lose.
    assert!(timeout(Duration::from_secs(1), changes.next()).await.is_err(), "what came before the subscription is no news");
    check(&fleet, "web1", "-");
    check(&fleet, "web2", "-");
    check(&fleet, "web1", "++");
    assert_eq!(told(&mut changes).await, ["web1 UP→DOWN", "web2 UP→DOWN", "web1 DOWN→UP"]);
    assert!(timeout(Duration::from_secs(1), changes.next()).await.is_err(), "told once");
}

#[tokio::test(start_paused = true)]
async fn administrators_and_weights_are_news_too() {
    let fleet = Fleet::new(config(APP));
    let mut changes = fleet.subscribe();
    let view = fleet.view();
    fleet.set_weight(&view, id(&view, "web1"), Some(20));
    assert_eq!(state(&fleet, "web1"), (Status::Up, 20 * WEIGHT_SCALE));
    assert!(told(&mut changes).await.is_empty(), "a weight is no transition");
    fleet.set_admin(&view, id(&view, "web1"), Admin::Drain);
    fleet.set_admin(&view, id(&view, "web2"), Admin::Maint);
    assert_eq!(told(&mut changes).await, ["web1 UP→DRAIN", "web2 UP→MAINT"]);
    fleet.set_admin(&view, id(&view, "web2"), Admin::Maint);
    assert!(timeout(Duration::from_secs(1), changes.next()).await.is_err(), "setting what is set is no news");
}

#[tokio::test(start_paused = true)]
async fn check_that_could_not_be_made_says_nothing() {
    let fleet = Fleet::new(config(APP));
    let view = fleet.view();
    let starved = CheckOutcome { result: CheckResult::NotProbed, ..failure() };
    fleet.report(&view, id(&view, "web1"), starved.clone());
    assert_eq!(state(&fleet, "web1").0, Status::Up);
    assert_eq!(fleet.snapshot().servers[0].last_check.as_ref().map(|last| &last.outcome), Some(&starved));
    assert_eq!(fleet.snapshot().servers[0].failed_checks, 0);
}

#[tokio::test(start_paused = true)]
async fn returning_server_ramps_and_every_step_wakes_the_listener() {
    let fleet = Fleet::new(config(&APP.replace("weight = 10", "weight = 1, slowstart = \"16s\"")));
    check(&fleet, "web1", "-++");
    let mut changes = fleet.subscribe();
    assert_eq!(state(&fleet, "web1"), (Status::Up, 1));
    for weight in 2..=WEIGHT_SCALE {
        let next = fleet.tick().expect("a ramp is under way");
        assert_eq!(state(&fleet, "web1").1, weight - 1, "not before its time");
        advance(next - now()).await;
        fleet.tick();
        assert_eq!(state(&fleet, "web1").1, weight);
        let view = fleet.view();
        assert_eq!(view.ramp(id(&view, "web1")), weight);
        assert!(told(&mut changes).await.is_empty());
    }
    assert_eq!(fleet.tick(), None);
}

#[tokio::test(start_paused = true)]
async fn snapshot_counts_failures_and_time_down() {
    let fleet = Fleet::new(config(APP));
    check(&fleet, "web1", "+---");
    advance(Duration::from_secs(5)).await;
    check(&fleet, "web1", "-++");
    advance(Duration::from_secs(10)).await;
    check(&fleet, "web1", "-+---");
    advance(Duration::from_secs(3)).await;
    let snapshot = fleet.snapshot();
    let web1 = &snapshot.servers[0];
    assert_eq!((web1.status, web1.failed_checks, web1.downs), (Status::Down, 7, 2));
    assert_eq!((web1.downtime, snapshot.at - web1.since), (Duration::from_secs(8), Duration::from_secs(3)));
    assert_eq!(web1.last_check.as_ref().map(|last| last.outcome.to_string()).as_deref(), Some("L4CON connection refused after 2ms"));
    assert_eq!(snapshot.servers_of(snapshot.config.backends()[0].id()).filter(|server| server.status == Status::Up).count(), 2);
}

const RELOADED: &str = r#"
    [backend.new]
    mode = "tcp"
    [backend.new.server]
    web1 = "127.0.0.1:8001"
    [backend.app]
    mode = "tcp"
    check = { tcp = {}, inter = "1s", rise = 2, fall = 3 }
    default-server = { weight = 10 }
    [backend.app.server]
    web4 = "127.0.0.1:8004"
    web3 = "127.0.0.1:9003"
    web1 = "127.0.0.1:8001"
"#;

#[tokio::test(start_paused = true)]
async fn reload_keeps_a_server_and_forgets_one_that_moved() {
    let fleet = Fleet::new(config(APP));
    let old = fleet.view();
    check(&fleet, "web1", "-");
    check(&fleet, "web3", "-");
    fleet.set_weight(&old, id(&old, "web1"), Some(3));
    let mut changes = fleet.subscribe();
    fleet.replace(config(RELOADED));
    assert!(told(&mut changes).await.is_empty(), "no server that stays changed its status");
    assert_eq!(state(&fleet, "web1"), (Status::Down, 0));
    assert_eq!(state(&fleet, "web3"), (Status::Up, 10 * WEIGHT_SCALE), "another machine now");
    assert_eq!(state(&fleet, "web4"), (Status::Up, 10 * WEIGHT_SCALE));
    check(&fleet, "web1", "++");
    assert_eq!(state(&fleet, "web1"), (Status::Up, 3 * WEIGHT_SCALE), "the runtime weight is kept");
    let snapshot = fleet.snapshot();
    let downs: Vec<_> = snapshot.servers.iter().map(|server| (snapshot.config.server(server.id).name(), server.downs)).collect();
    assert_eq!(downs, [("web1", 0), ("web4", 0), ("web3", 0), ("web1", 1)], "counts stay with the machine of the same backend");
}

#[tokio::test(start_paused = true)]
async fn old_view_follows_those_who_stay_and_loses_those_who_left() {
    let fleet = Fleet::new(config(APP));
    let old = fleet.view();
    fleet.replace(config(RELOADED));
    check(&fleet, "web1", "-");
    assert_eq!(old.status(id(&old, "web1")), Status::Down, "shared with the new view");
    for gone in ["web2", "web3"] {
        assert_eq!((old.status(id(&old, gone)), old.effective_weight(id(&old, gone))), (Status::Maint, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn late_report_reaches_the_right_server_or_none() {
    let fleet = Fleet::new(config(APP));
    let old = fleet.view();
    fleet.replace(config(RELOADED));
    assert!(fleet.report(&old, id(&old, "web1"), failure()).is_some());
    assert_eq!(fleet.report(&old, id(&old, "web2"), failure()), None, "gone");
    assert_eq!(fleet.report(&old, id(&old, "web3"), failure()), None, "moved");
    let statuses: Vec<_> = fleet.snapshot().servers.iter().map(|server| server.status).collect();
    assert_eq!(statuses, [Status::Up, Status::Up, Status::Up, Status::Down]);
}

#[tokio::test(start_paused = true)]
async fn reload_that_disables_a_server_is_a_transition() {
    let fleet = Fleet::new(config(APP));
    let mut changes = fleet.subscribe();
    fleet.replace(config(&APP.replace("\"127.0.0.1:8002\"", "{ address = \"127.0.0.1:8002\", disabled = true }")));
    assert_eq!(told(&mut changes).await, ["web2 UP→MAINT"]);
    assert_eq!(state(&fleet, "web2"), (Status::Maint, 0));
}

#[tokio::test(start_paused = true)]
async fn ramp_goes_on_after_a_reload() {
    let text = APP.replace("weight = 10", "weight = 1, slowstart = \"16s\"");
    let fleet = Fleet::new(config(&text));
    check(&fleet, "web3", "-++");
    advance(Duration::from_secs(4)).await;
    // The reload shifts every id by one.
    fleet.replace(config(&text.replace("web1 =", "web0 = \"127.0.0.1:8000\"\n    web1 =")));
    assert_eq!(state(&fleet, "web3"), (Status::Up, 5));
    let next = fleet.tick().expect("the ramp goes on");
    advance(next - now()).await;
    fleet.tick();
    assert_eq!(state(&fleet, "web3"), (Status::Up, 6));
}
