//! The benchmark of the user-space tier, end to end in its shortest form: what it measures is right answers, and what it does not measure it names.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use tests::process::{Process, bin};
use tests::scratch::Scratch;

/// Runs the benchmark to its end and returns what it wrote.
fn run(arguments: &[&str]) -> Result<(Option<i32>, String)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench-l7"));
    command.args(arguments).arg("--l7d").arg(bin("l7d")?);
    let mut process = Process::spawn(command)?;
    let status = process.wait(Duration::from_secs(120))?;
    Ok((status.code(), process.whole_output(Duration::from_secs(20))?))
}

#[test]
fn shortest_run_measures_l7d_and_names_what_it_leaves_out() {
    let scratch = Scratch::new("bench").unwrap();
    let [json, svg] = ["out.json", "out.svg"].map(|name| scratch.path().join(name));
    let files = [json.to_str().unwrap(), svg.to_str().unwrap()];
    let (code, text) =
        run(&["--cases=keep-alive", "--rounds=1", "--seconds=0.3", "--proxy-cpu=0", "--load-cpu=0", "--json", files[0], "--svg", files[1]])
            .unwrap();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("share a CPU"), "{text}");
    let json = fs::read_to_string(json).unwrap();
    assert!(json.contains("\"proxy\": \"l7d\", \"status\": \"measured\""), "{json}");
    assert!(!json.contains("\"void\""), "{json}");
    for peer in ["haproxy", "nginx"] {
        let measured = json.contains(&format!("\"proxy\": \"{peer}\", \"status\": \"measured\""));
        let missing = text.contains(&format!("keep-alive: {peer} not run: {peer} is not installed"));
        assert!(measured || missing, "{peer} is neither measured nor missed\n{text}");
    }
    assert!(fs::read_to_string(svg).unwrap().contains("keep-alive"));
}

#[test]
fn unknown_case_is_refused_with_the_known_ones() {
    let (code, text) = run(&["--cases=keep-alive,no-such"]).unwrap();
    assert_eq!(code, Some(1));
    assert!(text.contains("no case `no-such`; there are keep-alive,"), "{text}");
}
