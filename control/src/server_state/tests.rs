use proptest::prelude::*;

use super::*;

const SETTINGS: Settings = Settings {
    weight: 10,
    slowstart: Duration::from_secs(16),
    thresholds: Some(Thresholds { rise: 2, fall: 3 }),
    admin: Admin::Ready,
    is_resolved: true,
    init: InitState::Up,
};

fn after(checks: &str) -> ServerState {
    let now = Instant::now();
    let mut state = ServerState::new(SETTINGS, now);
    for check in checks.chars() {
        state.on_check(verdict(check), now);
    }
    state
}

fn verdict(letter: char) -> Verdict {
    match letter {
        '+' => Verdict::Pass,
        '-' => Verdict::Fail,
        '~' => Verdict::PassConditionally,
        _ => Verdict::Unknown,
    }
}

#[test]
fn checks_move_a_server_as_rise_and_fall_say() {
    let cases = [
        ("starts up, on trial", "", Status::Up, Phase::Transition),
        ("first failure takes it down", "-", Status::Down, Phase::Down),
        ("first success ends the trial", "+", Status::Up, Phase::Up),
        ("fewer failures than fall", "+--", Status::Up, Phase::Transition),
        ("fall failures", "+---", Status::Down, Phase::Down),
        ("a success between failures starts the count anew", "+--+--", Status::Up, Phase::Transition),
        ("fewer successes than rise", "-+", Status::Down, Phase::Transition),
        ("rise successes", "-++", Status::Up, Phase::Up),
        ("a failure between successes starts the count anew", "-+-+", Status::Down, Phase::Transition),
        ("back up, it needs fall failures again", "-++--", Status::Up, Phase::Transition),
        ("unknown ends no trial", "?", Status::Up, Phase::Transition),
        ("a conditional success asks for nothing new", "+~", Status::Drain, Phase::Up),
        ("a plain one ends that", "+~+", Status::Up, Phase::Up),
        ("a failure does not", "+~-", Status::Drain, Phase::Transition),
        ("enough failures take it down", "+~---", Status::Down, Phase::Down),
        ("conditional successes bring a dead server back", "-~~", Status::Drain, Phase::Up),
        ("unknown breaks no row of failures", "+--?-", Status::Down, Phase::Down),
    ];
    for (name, checks, status, phase) in cases {
        let state = after(checks);
        assert_eq!((state.status(), state.phase()), (status, phase), "{name}");
    }
}

#[test]
fn servers_begin_as_their_settings_say() {
    let cases = [
        (InitState::FullyUp, "--", Status::Up),
        (InitState::FullyUp, "---", Status::Down),
        (InitState::Up, "-", Status::Down),
        (InitState::Down, "", Status::Down),
        (InitState::Down, "+", Status::Up),
        (InitState::Down, "-+", Status::Down),
        (InitState::FullyDown, "+", Status::Down),
        (InitState::FullyDown, "++", Status::Up),
    ];
    for (init, checks, status) in cases {
        let now = Instant::now();
        let mut state = ServerState::new(Settings { init, ..SETTINGS }, now);
        state.set_admin(Admin::Maint, now);
        state.set_admin(Admin::Ready, now);
        for check in checks.chars() {
            state.on_check(verdict(check), now);
        }
        assert_eq!(state.status(), status, "{init:?} {checks}");
    }
}

#[test]
fn errors_of_traffic_count_as_their_action_says() {
    let cases = [
        (OnError::FastInter, "+", Status::Up, 4),
        (OnError::FailCheck, "+", Status::Up, 3),
        (OnError::FailCheck, "+--", Status::Down, 0),
        (OnError::SuddenDeath, "+", Status::Up, 2),
        (OnError::SuddenDeath, "", Status::Down, 0),
        (OnError::MarkDown, "+", Status::Down, 0),
        (OnError::FailCheck, "-+", Status::Down, 0),
    ];
    for (action, checks, status, level) in cases {
        let mut state = after(checks);
        state.on_errors(action, Instant::now());
        assert_eq!((state.status(), state.level()), (status, level), "{action:?} after {checks:?}");
    }
}

#[test]
fn server_follows_the_one_it_tracks() {
    let now = Instant::now();
    let (mut one, mut other) = (after("+"), ServerState::new(Settings { thresholds: None, ..SETTINGS }, now));
    let mut follow = |one: &ServerState| {
        other.follow(one.lead(), now);
        (other.status(), other.is_stopping())
    };
    one.set_health(Verdict::PassConditionally, now);
    assert_eq!(follow(&one), (Status::Drain, true));
    one.set_health(Verdict::Fail, now);
    assert_eq!(follow(&one), (Status::Down, false));
    one.set_health(Verdict::Pass, now);
    assert_eq!(follow(&one), (Status::Up, false));
    one.set_admin(Admin::Drain, now);
    assert_eq!(follow(&one), (Status::Drain, false));
    one.set_admin(Admin::Maint, now);
    assert_eq!(follow(&one), (Status::Maint, false));
    one.set_admin(Admin::Ready, now);
    assert_eq!(follow(&one), (Status::Up, false));
}

#[test]
fn unchecked_server_is_always_up() {
    let now = Instant::now();
    let mut state = ServerState::new(Settings { thresholds: None, ..SETTINGS }, now);
    assert_eq!(state.on_check(Verdict::Fail, now), None);
    assert_eq!(state.status(), Status::Up);
}

#[test]
fn maintenance_hides_health_and_ends_on_trial() {
    let now = Instant::now();
    let mut state = after("-");
    assert_eq!(state.set_admin(Admin::Drain, now), None, "down stays down when drained");
    assert_eq!(state.set_admin(Admin::Maint, now), Some(Change { from: Status::Down, to: Status::Maint }));
    assert_eq!(state.set_admin(Admin::Ready, now), Some(Change { from: Status::Maint, to: Status::Up }));
    assert_eq!(state.on_check(Verdict::Fail, now), Some(Change { from: Status::Up, to: Status::Down }));
}

#[test]
fn drained_server_takes_nothing_new_and_returns_at_full_weight() {
    let now = Instant::now();
    let mut state = after("+");
    assert_eq!(state.set_admin(Admin::Drain, now), Some(Change { from: Status::Up, to: Status::Drain }));
    assert_eq!(state.effective_weight(now), 0);
    state.set_admin(Admin::Ready, now);
    assert_eq!(state.effective_weight(now), 160);
}

#[test]
fn weight_zero_drains() {
    let now = Instant::now();
    let mut state = after("+");
    assert_eq!(state.set_weight(Some(0), now), Some(Change { from: Status::Up, to: Status::Drain }));
    assert_eq!(state.set_weight(None, now), Some(Change { from: Status::Drain, to: Status::Up }));
    state.set_weight(Some(u16::MAX), now);
    assert_eq!(state.weight(), MAX_WEIGHT);
}

#[test]
fn start_has_no_ramp_and_a_return_has_one() {
    let mut state = after("+");
    let now = Instant::now();
    assert_eq!((state.effective_weight(now), state.next_change_at(now)), (160, None));
    state = after("-");
    state.on_check(Verdict::Pass, now);
    state.on_check(Verdict::Pass, now);
    for second in 0..16 {
        let at = now + Duration::from_secs(second) + Duration::from_nanos(1);
        assert_eq!(state.effective_weight(at), 10 * (u32::try_from(second).unwrap() + 1));
    }
    assert_eq!(state.next_change_at(now + Duration::from_secs(14)), Some(now + Duration::from_secs(15) + Duration::from_nanos(1)));
    assert_eq!(state.next_change_at(now + Duration::from_secs(15)), None, "fifteen steps lead to full weight");
}

#[test]
fn reload_keeps_what_the_file_did_not_change() {
    let now = Instant::now();
    let mut state = after("-");
    state.set_admin(Admin::Drain, now);
    state.set_weight(Some(3), now);
    state.reconfigure(SETTINGS, now);
    assert_eq!((state.status(), state.admin(), state.weight()), (Status::Down, Admin::Drain, 3));
    state.reconfigure(Settings { weight: 20, ..SETTINGS }, now);
    assert_eq!((state.admin(), state.weight()), (Admin::Drain, 20));
    state.reconfigure(Settings { weight: 20, admin: Admin::Maint, ..SETTINGS }, now);
    assert_eq!(state.status(), Status::Maint);
    state.reconfigure(SETTINGS, now);
    assert_eq!((state.status(), state.admin()), (Status::Up, Admin::Ready));
}

#[test]
fn reload_with_fewer_falls_counts_the_failures_so_far() {
    let now = Instant::now();
    let mut state = after("+--");
    state.reconfigure(Settings { thresholds: Some(Thresholds { rise: 1, fall: 1 }), ..SETTINGS }, now);
    assert_eq!(state.status(), Status::Up);
    assert_eq!(state.on_check(Verdict::Fail, now), Some(Change { from: Status::Up, to: Status::Down }));
}

#[test]
fn reload_without_checks_brings_a_dead_server_up() {
    let now = Instant::now();
    let mut state = after("-");
    let change = state.reconfigure(Settings { thresholds: None, ..SETTINGS }, now);
    assert_eq!(change, Some(Change { from: Status::Down, to: Status::Up }));
}

#[derive(Debug, Clone, Copy)]
enum Event {
    Check(Verdict),
    Admin(Admin),
    Weight(Option<u16>),
    Wait(Duration),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        5 => prop_oneof![Just(Verdict::Pass), Just(Verdict::Fail), Just(Verdict::Unknown)].prop_map(Event::Check),
        1 => prop_oneof![Just(Admin::Ready), Just(Admin::Drain), Just(Admin::Maint)].prop_map(Event::Admin),
        1 => proptest::option::of(0_u16..300).prop_map(Event::Weight),
        3 => (0_u64..20_000).prop_map(|ms| Event::Wait(Duration::from_millis(ms))),
    ]
}

fn settings() -> impl Strategy<Value = Settings> {
    (0_u16..=MAX_WEIGHT, 0_u64..40_000, 1_u32..5, 1_u32..5).prop_map(|(weight, slowstart, rise, fall)| Settings {
        is_resolved: true,
        weight,
        slowstart: Duration::from_millis(slowstart),
        thresholds: Some(Thresholds { rise, fall }),
        admin: Admin::Ready,
        init: InitState::Up,
    })
}

fn check_weight(state: &ServerState, now: Instant) {
    let weight = state.effective_weight(now);
    assert_eq!(weight > 0, state.status() == Status::Up, "exactly an up server takes new traffic");
    assert!(weight <= u32::from(state.weight()) * WEIGHT_SCALE);
    if let Some(next) = state.next_change_at(now) {
        assert!(next > now);
        assert_eq!(state.effective_weight(next - Duration::from_nanos(2)).max(weight), weight, "no step before the announced one");
        assert!(state.effective_weight(next) > weight, "the announced step is one");
    } else {
        assert_eq!(state.effective_weight(now + Duration::from_secs(3600)), weight);
    }
}

proptest! {
    #[test]
    fn any_history_keeps_the_rules(settings in settings(), events in proptest::collection::vec(event(), 1..60)) {
        let mut now = Instant::now();
        let mut state = ServerState::new(settings, now);
        for event in events {
            let before = state.status();
            let change = match event {
                Event::Check(verdict) => state.on_check(verdict, now),
                Event::Admin(admin) => state.set_admin(admin, now),
                Event::Weight(weight) => state.set_weight(weight, now),
                Event::Wait(time) => {
                    now += time;
                    None
                }
            };
            let expected = (before != state.status()).then_some(Change { from: before, to: state.status() });
            prop_assert_eq!(change, expected);
            prop_assert!(change.is_none() || state.since() == now);
            prop_assert_eq!(state.status() == Status::Maint, state.admin() == Admin::Maint);
            check_weight(&state, now);
        }
    }

    #[test]
    fn enough_equal_checks_decide_whatever_came_before(settings in settings(), events in proptest::collection::vec(event(), 0..30)) {
        let now = Instant::now();
        let mut state = ServerState::new(Settings { weight: 1, ..settings }, now);
        for event in events {
            if let Event::Check(verdict) = event {
                state.on_check(verdict, now);
            }
        }
        let Thresholds { rise, fall } = settings.thresholds.unwrap();
        let mut failing = state.clone();
        for _ in 0..fall {
            failing.on_check(Verdict::Fail, now);
        }
        prop_assert_eq!((failing.status(), failing.phase()), (Status::Down, Phase::Down));
        for _ in 0..rise {
            state.on_check(Verdict::Pass, now);
        }
        prop_assert_eq!((state.status(), state.phase()), (Status::Up, Phase::Up));
    }
}
