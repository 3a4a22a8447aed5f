//! How soon a server that dies is out: within as many intervals as it takes failures.

use std::io::Read;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::kit::{Daemon, Server, connect, unused_address};

const INTER: Duration = Duration::from_millis(300);
const FALL: u32 = 3;
/// What the last check and the news of it may take.
const GRACE: Duration = Duration::from_millis(100);

/// Returns the time at the beginning of a line.
fn time(line: &str) -> Duration {
    let stamp = line.split(' ').next().expect("a first word");
    let clock = stamp.split('T').nth(1).expect("a time").trim_end_matches('Z');
    let mut parts = clock.split(':').map(|part| part.parse::<f64>().expect("a number"));
    let [hours, minutes, seconds] = [(); 3].map(|()| parts.next().expect("three parts"));
    Duration::from_secs_f64(hours * 3600.0 + minutes * 60.0 + seconds)
}

#[test]
fn a_server_that_dies_is_out_within_its_intervals_and_a_tenth_of_a_second() {
    let mut servers: Vec<Option<Server>> = (0..9).map(|_| Some(Server::echo("s"))).collect();
    let lines: String = servers
        .iter()
        .flatten()
        .enumerate()
        .map(|(number, server)| format!(" server s{number} {} check inter {}ms fall {FALL}\n", server.address(), INTER.as_millis()))
        .collect();
    let front = unused_address();
    let daemon = Daemon::start_haproxy(&format!(
        "defaults\n mode tcp\n timeout connect 2s\n timeout client 5s\n timeout server 5s\nfrontend f\n bind {front}\n default_backend b\n\
         backend b\n option redispatch\n{lines}"
    ));
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = std::sync::Arc::clone(&stop);
    let load = thread::spawn(move || {
        while !stopped.load(std::sync::atomic::Ordering::SeqCst) {
            let mut name = [0; 1];
            let _ = connect(front).read(&mut name);
            thread::sleep(Duration::from_millis(5));
        }
    });
    // At the second check each has found its place in the interval.
    thread::sleep(2 * INTER);
    let mut late = Vec::new();
    for (number, server) in servers.iter_mut().enumerate() {
        drop(server.take());
        let died = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let of_day = Duration::from_secs(died.as_secs() % 86_400) + Duration::from_nanos(died.subsec_nanos().into());
        let line = daemon.wait_for_log(&format!("server b/s{number} is DOWN"));
        // Midnight may lie between.
        let took = time(&line).checked_sub(of_day).unwrap_or_default();
        late.push(took);
        // The next one dies at another point of its interval.
        thread::sleep(Duration::from_millis(37));
    }
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    load.join().expect("the load ends");
    late.sort_unstable();
    // Some may meet a machine that is busy with other tests.
    assert!(late[6] <= INTER * FALL + GRACE, "{late:?}");
    // It takes as many checks as it says: the first may come at once.
    assert!(late[2] >= INTER * (FALL - 1) - GRACE, "{late:?}");
}
