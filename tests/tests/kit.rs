//! The lab kit itself: what other tests take for granted.

use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use tests::client::Client;
use tests::link::{self, End, Receive};
use tests::load::Pace;
use tests::netns::Netns;
use tests::process::{Process, Signal};
use tests::protocol::Bulk;
use tests::scratch::Scratch;
use tests::topology::{Arms, Family, Lab, Return};
use tests::wait::{eventually, uninterrupted};

const SOON: Duration = Duration::from_secs(10);
const PORT: u16 = 8080;

/// Set where a test runs itself as another process.
const AS_PARENT: &str = "LAB_KIT_AS_PARENT";

#[test]
fn namespaces_do_not_share_ports_and_vanish_with_their_guard() -> Result<()> {
    let (one, other) = (Netns::new("one")?, Netns::new("other")?);
    let first = one.run(|| TcpListener::bind("[::1]:7"))?;
    assert!(one.run(|| TcpListener::bind("[::1]:7")).is_err(), "the port is taken in this namespace");
    let second = other.run(|| TcpListener::bind("[::1]:7"))?;
    assert_eq!(first.local_addr()?, second.local_addr()?);

    let name = Path::new("/run/netns").join(one.name());
    assert!(name.exists());
    drop(one);
    assert!(!name.exists());
    Ok(())
}

#[test]
fn callers_thread_stays_in_its_own_namespace() -> Result<()> {
    let here = || std::fs::read_link("/proc/thread-self/ns/net");
    let before = here()?;
    let namespace = Netns::new("visited")?;
    let inside = namespace.run(here)?;
    assert_ne!(inside, before);
    let command = namespace.command("readlink").arg("/proc/self/ns/net").output()?;
    assert_eq!(String::from_utf8(command.stdout)?.trim(), inside.to_string_lossy());
    assert_eq!(here()?, before);
    Ok(())
}

#[test]
fn panic_inside_a_namespace_reaches_the_caller() -> Result<()> {
    let namespace = Netns::new("panic")?;
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| namespace.run(|| panic!("inside"))));
    assert_eq!(outcome.unwrap_err().downcast_ref(), Some(&"inside"));
    Ok(())
}

#[test]
fn namespace_of_a_dead_process_is_swept() -> Result<()> {
    // No process ever has this id; ours keeps runs side by side apart.
    let stale = format!("lab-4294967295-{}-stale", std::process::id());
    let add = Command::new("ip").args(["netns", "add", &stale]).output()?;
    // The first namespace of a process sweeps, and this process may have made one already.
    let sweeper = Command::new(std::env::current_exe()?).args(["--exact", "callers_thread_stays_in_its_own_namespace"]).output()?;
    assert!(sweeper.status.success(), "{sweeper:?}");
    assert!(!Path::new("/run/netns").join(&stale).exists(), "{add:?}");
    Ok(())
}

#[test]
fn cable_carries_both_families_with_the_given_addresses() -> Result<()> {
    let (left, right) = (Netns::new("left")?, Netns::new("right")?);
    let mac = link::Mac([2, 0, 0, 0, 0, 9]);
    let left_end = End::new(&left, "eth0").address([10, 0, 0, 1], 24).address([0xfd00, 0, 0, 0, 0, 0, 0, 1], 64).mtu(1400);
    let right_end = End::new(&right, "eth0").address([10, 0, 0, 2], 24).address([0xfd00, 0, 0, 0, 0, 0, 0, 2], 64).mac(mac);
    link::connect(&left_end, &right_end)?;

    for address in ["10.0.0.2:9", "[fd00::2]:9"] {
        let receiver = right.run(|| UdpSocket::bind(address))?;
        receiver.set_read_timeout(Some(SOON))?;
        let sender = left.run(|| UdpSocket::bind(if address.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" }))?;
        sender.send_to(b"hello", address)?;
        let mut datagram = [0; 16];
        let length = uninterrupted(|| receiver.recv(&mut datagram))?;
        assert_eq!(&datagram[..length], b"hello");
    }
    let show = |namespace: &Netns| {
        Ok::<_, anyhow::Error>(String::from_utf8(namespace.command("ip").args(["link", "show", "eth0"]).output()?.stdout)?)
    };
    assert!(show(&right)?.contains(&mac.to_string()), "{}", show(&right)?);
    assert!(show(&left)?.contains("mtu 1400"), "{}", show(&left)?);
    Ok(())
}

#[test]
fn device_that_shall_take_frames_from_xdp_runs_a_native_program() -> Result<()> {
    let (left, right) = (Netns::new("left")?, Netns::new("right")?);
    link::connect(&End::new(&left, "eth0").receive(Receive::Xdp), &End::new(&right, "eth0"))?;
    for (namespace, expected) in [(&left, true), (&right, false)] {
        let show = namespace.command("ip").args(["-details", "link", "show", "eth0"]).output()?;
        let show = String::from_utf8(show.stdout)?;
        assert_eq!(show.contains("prog/xdp"), expected, "{show}");
    }
    Ok(())
}

#[test]
fn dropped_process_is_gone_even_if_it_ignores_the_request() -> Result<()> {
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' TERM; echo ready; while :; do sleep 1; done"]);
    let process = Process::spawn(command)?;
    process.wait_for_line("ready", SOON)?;
    let proc = Path::new("/proc").join(process.id().to_string());
    assert!(proc.exists());
    drop(process);
    assert!(!proc.exists());
    Ok(())
}

#[test]
fn children_die_with_the_process_that_started_them() -> Result<()> {
    if std::env::var_os(AS_PARENT).is_some() {
        let mut command = Command::new("sleep");
        command.arg("600");
        let child = Process::spawn(command)?;
        println!("\nchild {}", child.id());
        std::thread::park();
    }
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--exact", "children_die_with_the_process_that_started_them", "--nocapture"]).env(AS_PARENT, "1");
    let mut parent = Process::spawn(command)?;
    let line = parent.wait_for_line("child ", SOON)?;
    // A process that is dead but not reaped by whoever inherits it has an empty command line.
    let command_line = Path::new("/proc").join(line.trim_start_matches("child ")).join("cmdline");
    assert!(std::fs::read(&command_line)?.starts_with(b"sleep"));
    parent.kill()?;
    let is_dead = || std::fs::read(&command_line).map_or(true, |line| line.is_empty());
    eventually(SOON, "the child to die", || is_dead().then_some(()))
}

#[test]
fn process_output_is_awaited_and_explains_its_absence() -> Result<()> {
    let mut command = Command::new("sh");
    command.args(["-c", "trap 'echo reloaded >&2' HUP; echo ready; while :; do sleep 0.02; done"]);
    let mut process = Process::spawn(command)?;
    assert_eq!(process.wait_for_line("read", SOON)?, "ready");
    for _ in 0..2 {
        let mark = process.mark();
        process.signal(Signal::HUP)?;
        process.wait_for_line_after(mark, "reloaded", SOON)?;
    }
    let late = process.wait_for_line("finished", Duration::from_millis(10)).unwrap_err();
    assert!(late.to_string().contains("never wrote `finished` but\nready\nreloaded"), "{late}");
    process.kill()?;
    let gone = format!("{:#}", process.wait_for_line("finished", SOON).unwrap_err());
    assert!(gone.ends_with("closed its output"), "{gone}");
    Ok(())
}

#[test]
fn every_machine_reaches_every_other_in_both_families() -> Result<()> {
    for arms in [Arms::One, Arms::Two] {
        let lab = Lab::new(2, arms, Return::ThroughBalancer)?;
        let _backends = lab.start_backends(PORT)?;
        for family in Family::BOTH {
            for (index, host) in lab.backends().iter().enumerate() {
                let name = format!("backend{}", index + 1);
                let server = host.at(family, PORT);
                let answer = lab.client().who(server)?;
                assert_eq!((answer.server, answer.client.ip()), (name.clone(), lab.client_host().address(family)), "{arms:?}");
                assert_eq!(Client::new(lab.balancer().namespace()).who(server)?.server, name, "{arms:?}");
                assert_eq!(lab.client().datagram(server, b"one two")?.server, name, "{arms:?}");
            }
            // The balancer owns the virtual address and listens on nothing: a refusal is its answer.
            let refused = format!("{:#}", lab.client().who(lab.vip(family, PORT)).unwrap_err());
            assert!(refused.contains("refused"), "{arms:?} {family:?}: {refused}");
        }
    }
    Ok(())
}

#[test]
fn backends_that_reply_directly_do_not_announce_the_virtual_address() -> Result<()> {
    let lab = Lab::new(3, Arms::One, Return::Direct)?;
    let _backends = lab.start_backends(PORT)?;
    for family in Family::BOTH {
        let refused = format!("{:#}", lab.client().who(lab.vip(family, PORT)).unwrap_err());
        assert!(refused.contains("refused"), "the balancer must be found, not a backend: {refused}");
        let vip = lab.vip(family, PORT).ip().to_string();
        let neighbours = lab.client_host().namespace().command("ip").args(["neighbour", "show", &vip]).output()?;
        let neighbours = String::from_utf8(neighbours.stdout)?;
        assert!(neighbours.contains(&lab.balancer().mac().to_string()), "{family:?}: {neighbours}");

        // With the address taken from the balancer nobody may answer for it, though every backend has it.
        let prefix = if family == Family::V4 { 32 } else { 128 };
        link::batch(lab.balancer().namespace(), &format!("address del {vip}/{prefix} dev eth0\n"))?;
        link::batch(lab.client_host().namespace(), "neighbour flush all\n")?;
        let patient = lab.client().with_deadline(Duration::from_millis(1500));
        assert!(patient.who(lab.vip(family, PORT)).is_err(), "{family:?}");
        let to_backend = format!("neighbour replace {vip} lladdr {} dev eth0\n", lab.backends()[1].mac());
        link::batch(lab.client_host().namespace(), &to_backend)?;
        assert_eq!(lab.client().who(lab.vip(family, PORT))?.server, "backend2", "{family:?}");
        assert_eq!(lab.client().datagram(lab.vip(family, PORT), b"?")?.server, "backend2", "{family:?}");
    }
    Ok(())
}

#[test]
fn bulk_data_arrives_intact_both_ways() -> Result<()> {
    let lab = Lab::new(1, Arms::Two, Return::ThroughBalancer)?;
    let _backends = lab.start_backends(PORT)?;
    for family in Family::BOTH {
        let server = lab.backends()[0].at(family, PORT);
        let bulk = Bulk { length: 100_000_000, seed: 7 };
        lab.client().download(server, bulk)?;
        assert_eq!(lab.client().upload(server, bulk)?, "backend1");
    }
    Ok(())
}

#[test]
fn load_counts_failures_from_the_moment_a_server_is_killed() -> Result<()> {
    let lab = Lab::new(1, Arms::One, Return::ThroughBalancer)?;
    let mut backends = lab.start_backends(PORT)?;
    let server = lab.backends()[0].at(Family::V4, PORT);
    let load = lab.client().load(server, Pace::default());
    load.wait_for_answers(50, SOON)?;
    load.start_over().expect_no_failure()?;

    backends[0].kill()?;
    let failure = eventually(SOON, "a failed connection", || Some(load.report()).filter(|report| report.failures > 0))?;
    assert!(failure.expect_no_failure().is_err());
    // The one caught by the kill ends early; from then on there is nobody to connect to.
    let refused = || load.report().errors.iter().any(|error| error.contains("refused")).then_some(());
    eventually(SOON, "a refused connection", refused)?;

    backends[0].restart()?;
    load.start_over();
    load.wait_for_answers(50, SOON)?;
    assert!(load.stop().answers.contains_key("backend1"));
    Ok(())
}

#[test]
fn session_keeps_its_server_and_notices_its_death() -> Result<()> {
    let lab = Lab::new(1, Arms::One, Return::ThroughBalancer)?;
    let mut backends = lab.start_backends(PORT)?;
    let talk = lab.client().session(lab.backends()[0].at(Family::V6, PORT))?.keep_talking(Duration::from_millis(1));
    std::thread::sleep(Duration::from_millis(50));
    let mut session = talk.stop()?;
    assert_eq!(session.server(), "backend1");
    ensure!(session.exchanged() > 2, "only {} lines came back", session.exchanged());
    session.exchange()?;

    let talk = session.keep_talking(Duration::from_millis(1));
    backends[0].kill()?;
    eventually(SOON, "the session to break", || talk.is_broken().then_some(()))?;
    assert!(talk.stop().is_err());
    Ok(())
}

#[test]
fn unplugged_backend_is_silent_until_plugged_in_again() -> Result<()> {
    let lab = Lab::new(2, Arms::One, Return::ThroughBalancer)?;
    let _backends = lab.start_backends(PORT)?;
    let impatient = lab.client().with_deadline(Duration::from_millis(300));
    let [one, two] = [0, 1].map(|index| lab.backends()[index].at(Family::V4, PORT));
    lab.client().who(one)?;
    lab.unplug(0)?;
    let silence = format!("{:#}", impatient.who(one).unwrap_err());
    assert!(silence.contains("timed out"), "{silence}");
    assert_eq!(impatient.who(two)?.server, "backend2");
    lab.plug(0)?;
    assert_eq!(lab.client().who(one)?.server, "backend1");
    Ok(())
}

#[test]
fn http_connection_is_kept_and_health_can_be_switched() -> Result<()> {
    let lab = Lab::new(1, Arms::One, Return::ThroughBalancer)?;
    let backends = lab.start_backends(PORT)?;
    let mut connection = lab.client().http(lab.backends()[0].at(Family::V4, PORT))?;
    let answer = connection.get("/any")?;
    assert_eq!((answer.status, answer.server()), (200, Some("backend1")));
    assert!(String::from_utf8(answer.body)?.starts_with("backend1 10.77.0.100:"));
    assert_eq!(connection.post("/echo", b"some body")?.body, b"some body");

    assert_eq!(connection.get("/healthz")?.status, 200);
    backends[0].fall_sick()?;
    assert_eq!(connection.get("/healthz")?.status, 503);
    backends[0].get_well()?;
    assert_eq!(connection.get("/healthz")?.status, 200);
    Ok(())
}

#[test]
fn scratch_files_are_replaced_whole() -> Result<()> {
    let scratch = Scratch::new("config")?;
    let path = scratch.write("a.toml", "a long first version")?;
    assert_eq!(scratch.write("a.toml", "short")?, path);
    assert_eq!(std::fs::read_to_string(path)?, "short");
    Ok(())
}
