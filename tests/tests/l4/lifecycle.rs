//! Start, stop and the commands that look at a data plane or take it away.

use std::{io::ErrorKind, net::SocketAddr, process::Command};

use anyhow::{Context, Result};
use tests::{
    process::bin,
    topology::{Arms, Family},
    wait::eventually,
};

use crate::{
    file::{File, METRICS},
    site::{PORT, Plan, SOON, Site},
};

#[test]
fn a_second_start_is_refused_and_does_no_harm() -> Result<()> {
    let site = Site::start(Plan::NAT)?;
    // A twin in all would already find the address of the metrics taken.
    site.write_text(&site.file.text(&site.lab).replacen(METRICS, "127.0.0.1:9101", 1))?;
    let mut second = site.spawn_l4d()?;
    second.wait_for_line(&format!("{} is in use by another l4d", site.pin().display()), SOON)?;
    assert_eq!(second.wait(SOON)?.code(), Some(1));
    site.lab.client().distribution(site.vip(Family::V4), 6)?;
    Ok(())
}

#[test]
fn a_stopped_daemon_leaves_nothing_behind() -> Result<()> {
    let mut site = Site::start(Plan { arms: Arms::Two, ..Plan::NAT })?;
    for device in site.lab.balancer_devices() {
        let shown = link(&site, device)?;
        assert!(shown.contains(" xdp") && !shown.contains("xdpgeneric"), "{device}: {shown}");
    }
    assert!(site.pin().is_dir());
    let status = site.l4d.terminate(SOON)?;
    assert!(status.success(), "{status}: {}", site.l4d.output());
    for device in site.lab.balancer_devices() {
        wait_for_no_program(&site, device)?;
    }
    assert!(!site.pin().exists(), "{} is still there", site.pin().display());
    for family in Family::BOTH {
        assert_refused(&site, site.vip(family))?;
    }
    Ok(())
}

/// Succeeds if the host's own stack answers, with a reset.
fn assert_refused(site: &Site, address: SocketAddr) -> Result<()> {
    let error = site.lab.client().connect(address).err().with_context(|| format!("{address} accepted a connection"))?;
    let refused = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    assert!(refused.into_iter().any(|error| error.kind() == ErrorKind::ConnectionRefused), "{address}: {error:#}");
    Ok(())
}

/// The kernel lets go of a link soon after its last user did, not at once.
fn wait_for_no_program(site: &Site, device: &str) -> Result<()> {
    let gone = || link(site, device).ok().filter(|text| !text.contains("xdp")).map(drop);
    eventually(SOON, &format!("{device} to be free of programs"), gone)
}

fn link(site: &Site, device: &str) -> Result<String> {
    let output = site.lab.balancer().namespace().command("ip").args(["link", "show", "dev", device]).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn generic_mode_forwards_as_well() -> Result<()> {
    for plan in Plan::BOTH {
        let mut file = File::new(plan);
        file.xdp = "mode = \"generic\"\n".to_owned();
        let site = Site::start_on(file)?;
        assert!(link(&site, "eth0")?.contains("xdpgeneric"), "{}", link(&site, "eth0")?);
        for family in Family::BOTH {
            let counts = site.lab.client().distribution(site.vip(family), 9)?;
            assert_eq!(counts.into_values().collect::<Vec<_>>(), [3, 3, 3], "{plan:?} {family:?}");
        }
    }
    Ok(())
}

#[test]
fn detach_takes_away_what_a_daemon_left_and_only_that() -> Result<()> {
    let mut file = File::new(Plan::NAT);
    file.xdp = "on-stop = \"keep\"\n".to_owned();
    let mut site = Site::start_on(file)?;
    let refused = site.run_l4d("detach")?;
    assert_eq!(refused.status.code(), Some(1), "detached a running daemon");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("in use by another l4d"), "{refused:?}");
    site.lab.client().who(site.vip(Family::V4))?;

    site.l4d.terminate(SOON)?;
    site.lab.client().who(site.vip(Family::V4)).context("after a stop that keeps forwarding")?;
    let said = site.l4d("detach")?;
    assert!(said.contains("detached"), "{said}");
    assert!(!site.pin().exists(), "{} is still there", site.pin().display());
    wait_for_no_program(&site, "eth0")?;
    assert_refused(&site, site.vip(Family::V4))?;
    let said = site.l4d("detach")?;
    assert!(said.contains("nothing to detach"), "{said}");
    Ok(())
}

#[test]
fn check_accepts_a_good_file_and_lists_every_mistake_of_a_bad_one() -> Result<()> {
    let mut site = Site::start(Plan::NAT)?;
    let said = site.l4d("check")?;
    assert!(said.contains("valid") && said.contains("services for the kernel tier: 4,"), "{said}");

    let good = site.file.text(&site.lab);
    let bad = good.replacen("forward = \"nat\"", "forward = \"nad\"", 1).replacen("inter = \"100ms\"", "inter = \"100mz\"", 1);
    site.reload_text(&bad, "reload refused")?;
    let output = site.run_l4d("check")?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    for mistake in ["nad", "100mz"] {
        let line = 1 + bad.lines().position(|line| line.contains(mistake)).context("the mistake is not in the file")?;
        assert!(said.contains(&format!("l4d.toml:{line}:")) && said.contains(mistake), "`{mistake}` of line {line} is not in\n{said}");
    }
    Ok(())
}

#[test]
fn status_shows_names_shares_and_counts() -> Result<()> {
    let mut file = File::new(Plan::NAT);
    file.weigh(2, 2);
    file.more_ports.push(PORT + 1);
    let mut site = Site::start_on(file)?;
    let _session = site.lab.client().session(site.vip(Family::V4))?;
    site.lab.client().distribution(site.vip(Family::V4), 7)?;

    let status = site.l4d("status")?;
    let service = status.split("\n\n").find(|part| part.starts_with("tcp 10.77.0.10:80 ")).context("no service in the status")?;
    assert!(service.contains("nat, round robin") && service.contains("frontend v4"), "{service}");
    let rows: Vec<Vec<&str>> = service.lines().skip(2).map(|line| line.split_whitespace().collect()).collect();
    let expected = [("backend1", "25.0%", "2"), ("backend2", "25.0%", "2"), ("backend3", "50.0%", "4")];
    for (row, (name, share, new)) in rows.iter().zip(expected) {
        assert_eq!([row[0], row[2], row[3], row[5]], [name, "serving", share, new], "{service}");
        assert!(row[6].parse::<u64>()? >= 8 && row[7].parse::<u64>()? > 500, "{service}");
    }
    let live: u64 = rows.iter().map(|row| row[4].parse::<u64>().unwrap_or(0)).sum();
    assert_eq!((rows.len(), live), (3, 1), "one session is open:\n{service}");
    assert!(status.contains("forwarded") && status.contains("returned"), "{status}");

    site.backends[0].kill()?;
    let down = || site.l4d("status").ok()?.lines().find(|line| line.contains("backend1") && line.contains(" down ")).map(drop);
    eventually(SOON, "a status that shows the killed server", down)?;
    site.l4d.terminate(SOON)?;
    let output = site.run_l4d("status")?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("nothing runs at"), "{said}");
    Ok(())
}

#[test]
fn a_service_manager_is_told_and_few_rights_suffice() -> Result<()> {
    let mut site = Site::start(Plan::NAT)?;
    site.l4d.terminate(SOON)?;
    let name = site.socket().with_file_name("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&name)?;
    manager.set_read_timeout(Some(SOON))?;
    let hears = |expected: &str| -> Result<()> {
        let mut bytes = [0; 256];
        let deadline = std::time::Instant::now() + SOON;
        while std::time::Instant::now() < deadline {
            let count = manager.recv(&mut bytes)?;
            if bytes[..count].starts_with(expected.as_bytes()) {
                return Ok(());
            }
        }
        anyhow::bail!("never heard {expected}")
    };
    let mut command = site.lab.balancer().namespace().command("setpriv");
    command.args(["--bounding-set=-all,+bpf,+net_admin,+perfmon", "--no-new-privs"]).arg(bin("l4d")?).arg("run").arg("-f").arg(site.path());
    command.env("NOTIFY_SOCKET", &name).env("WATCHDOG_USEC", "10000000");
    site.l4d = tests::process::Process::spawn(command)?;
    hears("READY=1")?;
    site.lab.client().who(site.vip(Family::V4))?;
    hears("WATCHDOG=1")?;
    site.l4d.signal(tests::process::Signal::HUP)?;
    hears("RELOADING=1\nMONOTONIC_USEC=")?;
    hears("READY=1")?;
    site.l4d.terminate(SOON)?;
    hears("STOPPING=1")
}

#[test]
fn a_missing_file_is_named() -> Result<()> {
    let output = Command::new(bin("l4d")?).args(["check", "-f", "/nowhere/l4d.toml"]).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("/nowhere/l4d.toml"), "{said}");
    Ok(())
}

#[test]
fn an_interface_that_is_not_there_is_named() -> Result<()> {
    let mut site = Site::start(Plan::NAT)?;
    site.l4d.terminate(SOON)?;
    let text = site.file.text(&site.lab).replacen("eth0", "eth7", 1);
    site.write_text(&text)?;
    let mut l4d = site.spawn_l4d()?;
    l4d.wait_for_line("eth7", SOON)?;
    assert_eq!(l4d.wait(SOON)?.code(), Some(1));
    assert!(!site.pin().exists(), "a failed start left pins behind");
    Ok(())
}
