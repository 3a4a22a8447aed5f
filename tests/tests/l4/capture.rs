//! `l4d capture` and the packet log: what is said of packets is what became of them.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use tests::{
    process::{Process, bin},
    scratch::Scratch,
    topology::Family,
};

use crate::{
    file::File,
    site::{Plan, SOON, STARTED, Site},
};

/// An `l4d capture` in the balancer's namespace.
struct Capture(Process);

impl Capture {
    /// Starts it and waits until it captures.
    fn start(site: &Site, arguments: &[&str]) -> Result<Self> {
        let mut command = site.lab.balancer().namespace().command(bin("l4d")?);
        command.args(["capture", "--pin"]).arg(site.pin()).args(arguments);
        let capture = Process::spawn(command)?;
        capture.wait_for_line("capturing", SOON)?;
        Ok(Self(capture))
    }

    /// Waits for its end; returns what it has said of packets.
    fn end(mut self) -> Result<String> {
        let status = self.0.wait(SOON).with_context(|| self.0.output())?;
        let said = self.0.whole_output(SOON)?;
        ensure!(status.success() && said.contains("captured; 0 frames found no room"), "{said}");
        let packets = said.lines().filter(|line| !line.starts_with("capturing") && !line.contains(" captured; "));
        Ok(packets.map(|line| format!("{line}\n")).collect())
    }
}

/// Returns what tcpdump reads in a file.
fn tcpdump(file: &Path) -> Result<String> {
    let output = Command::new("tcpdump").args(["-n", "-e", "-r"]).arg(file).output().context("run tcpdump")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Waits until nobody is watched any more.
fn is_unwatched(site: &Site) -> Result<bool> {
    Ok(site.maps()?.settings().features >> 32 == 0)
}

#[test]
fn both_directions_of_a_connection_are_seen_with_what_became_of_them() -> Result<()> {
    let site = Site::start(Plan::NAT)?;
    let vip = site.vip(Family::V4);
    // A client's packets name the service, a server's replies are to the balancer's own address.
    let capture = Capture::start(&site, &["--protocol", "tcp", "--host", "10.77.0.100", "--count", "3"])?;
    let mut session = site.lab.client().session(vip)?;
    session.exchange()?;
    let text = capture.end()?;
    let first = text.lines().next().context("a first packet")?;
    ensure!(first.contains(" eth0 tcp 10.77.0.100:") && first.contains(" > 10.77.0.10:80 [S"), "{text}");
    let sent = first.split_once(": transmitted, forwarded > tcp ").with_context(|| text.clone())?.1;
    ensure!(sent.contains(":8080 [S") && !sent.contains("10.77.0.100"), "{text}");
    ensure!(text.lines().count() == 3 && is_unwatched(&site)?, "{text}");

    let capture = Capture::start(&site, &["--port", "8080", "--reason", "returned", "--json", "--count", "1"])?;
    session.exchange()?;
    let reply: serde_json::Value = serde_json::from_str(&capture.end()?)?;
    ensure!(reply["reason"] == "returned" && reply["arrived"]["source_port"] == 8080, "{reply}");
    ensure!(reply["left"]["source"] == "10.77.0.10" && reply["left"]["destination"] == "10.77.0.100", "{reply}");
    session.exchange()
}

#[test]
fn what_is_dropped_and_what_is_passed_is_seen_with_the_reason() -> Result<()> {
    let mut file = File::new(Plan::NAT);
    file.xdp = "deny = [\"10.77.0.0/16\"]\nallow = [\"10.77.0.11/32\", \"10.77.0.12/32\", \"10.77.0.13/32\"]\n".to_owned();
    let site = Site::start_on(file)?;
    let capture = Capture::start(&site, &["--reason", "denied", "--reason", "no_service", "--port", "80", "--port", "9", "--count", "2"])?;
    let impatient = site.lab.client().with_deadline(Duration::from_millis(300));
    ensure!(impatient.session(site.vip(Family::V4)).is_err(), "a denied client was served");
    let mut elsewhere = site.vip(Family::V4);
    elsewhere.set_port(9);
    ensure!(impatient.session(elsewhere).is_err(), "nobody serves port 9");
    let text = capture.end()?;
    ensure!(text.contains("> 10.77.0.10:80 [S") && text.contains("bytes: dropped, denied\n"), "{text}");
    ensure!(text.contains("> 10.77.0.10:9 [S") && text.contains("bytes: passed, no_service\n"), "{text}");
    Ok(())
}

#[test]
fn tcpdump_reads_what_is_written() -> Result<()> {
    for plan in [Plan::NAT, Plan::DSR] {
        let (site, scratch) = (Site::start(plan)?, Scratch::new("capture")?);
        let path = scratch.path().join("packets.pcapng");
        // Replies to checks come from that port, too.
        let chosen = ["--port", "80", "--host", "10.77.0.100", "--count", "4", "-w", path.to_str().context("a plain path")?];
        let capture = Capture::start(&site, &chosen)?;
        let mut session = site.lab.client().session(site.vip(Family::V4))?;
        for _ in 0..3 {
            session.exchange()?;
        }
        capture.end()?;
        let text = tcpdump(&path)?;
        let from_client = text.lines().filter(|line| line.contains("10.77.0.100.") && line.contains("> 10.77.0.10.80: Flags [S"));
        // As it arrived, and as it left where that still names both.
        let expected = if plan.is_translated() { 1 } else { 2 };
        ensure!(from_client.count() == expected && text.lines().count() == 8, "{plan:?}: {text}");
    }
    Ok(())
}

#[test]
fn two_do_not_capture_at_once_and_one_that_was_killed_leaves_no_trace() -> Result<()> {
    let site = Site::start(Plan::NAT)?;
    let mut first = Capture::start(&site, &[])?;
    let (fine, said) = second(&site)?;
    ensure!(!fine && said.contains("somebody else captures here"), "{said}");
    first.0.kill()?;
    // Packets go on, though the data plane shows them to nobody; the next one that captures mends it.
    site.lab.client().session(site.vip(Family::V4))?.exchange()?;
    let (fine, said) = second(&site)?;
    ensure!(fine && is_unwatched(&site)?, "{said}");
    Ok(())
}

fn second(site: &Site) -> Result<(bool, String)> {
    let mut command = site.lab.balancer().namespace().command(bin("l4d")?);
    let output = command.args(["capture", "--seconds", "1", "--pin"]).arg(site.pin()).output()?;
    Ok((output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned()))
}

#[test]
fn packets_are_logged_when_asked_for_and_no_longer_after_a_reload() -> Result<()> {
    let mut site = Site::start_on(File { xdp: "packet-log = 1\n".to_owned(), ..File::new(Plan::NAT) })?;
    let mut session = site.lab.client().session(site.vip(Family::V4))?;
    session.exchange()?;
    let from = site.l4d.wait_for_line(" tcp 10.77.0.100:", SOON)?;
    ensure!(
        from.contains("> 10.77.0.10:80, ") && from.contains(" bytes by interface ") && from.trim_end().ends_with(": forwarded"),
        "{from}"
    );
    site.l4d.wait_for_line(": returned", STARTED)?;
    site.reload(|file: &mut File| file.xdp = file.xdp.replace("packet-log = 1\n", ""))?;
    ensure!(site.maps()?.settings().features == 0, "still looks out");
    session.exchange()
}
