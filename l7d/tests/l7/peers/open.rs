//! Open connections as the sum of living peers.

use super::*;

/// Opens a connection that is tracked, and returns it with what it was told of how many there are.
fn open(node: &Node) -> (UnixStream, String) {
    let mut stream = UnixStream::connect(node.socket.with_extension("web")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /open HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = [0; 4096];
    let count = stream.read(&mut answer).unwrap();
    (stream, String::from_utf8_lossy(&answer[..count]).rsplit("\r\n").next().unwrap().to_owned())
}

/// Opens a connection that is tracked and busy: its request never ends.
fn hold(node: &Node) -> UnixStream {
    let mut stream = UnixStream::connect(node.socket.with_extension("web")).unwrap();
    stream.write_all(b"GET /open HTTP/1.1\r\nHost: x\r\n").unwrap();
    stream
}

/// Writes nodes that count open connections in a table, those named in `summing` together.
fn write_open(place: &Place, names: &[&str], summing: &[&str]) {
    let peers: String = names.iter().map(|name| format!(" peer {name} {}\n", unused_address())).collect();
    for name in names {
        place.write(name, &peers);
        let file = place.directory.join(format!("{name}.cfg"));
        let own = if summing.contains(name) { " sum-conn-cur" } else { "" };
        let cfg = std::fs::read_to_string(&file).unwrap();
        let rules = " tcp-request connection track-sc2 str(all) table open\n \
                     http-request return status 200 content-type text/plain lf-string %[sc2_conn_cur] if { path /open }\n";
        let table =
            format!("backend open\n stick-table type string len 9 size 1k expire 10m peers cl store conn_cur,gpc0{own}\nbackend alone");
        let cfg = cfg.replacen(" mode http\n", &format!(" mode http\n{rules}"), 1).replace("backend alone", &table);
        std::fs::write(file, cfg).unwrap();
    }
}

/// Waits until a node knows of so many open connections.
fn wait_for_open(node: &Node, count: u32) {
    let end = Instant::now() + PATIENCE;
    loop {
        let told = node.values("open").get("all").cloned().unwrap_or_default();
        if told.split(' ').any(|word| word == format!("conn_cur={count}")) {
            return;
        }
        assert!(Instant::now() < end, "{count} connections are open, not {told}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn who_falls_silent_is_in_the_sum_for_five_seconds() {
    let place = Place::new();
    write_open(&place, &["a", "b", "c"], &["a", "b", "c"]);
    let (a, b, c) = (place.start(Kind::Ours, "a"), place.start(Kind::Ours, "b"), place.start(Kind::Ours, "c"));
    let (_of_a, _of_b, _of_c) = (open(&a), open(&b), open(&c));
    [&a, &b, &c].into_iter().for_each(|node| wait_for_open(node, 3));
    let since = Instant::now();
    b.signal("-STOP");
    wait_for_open(&a, 2);
    assert!(since.elapsed() < Duration::from_secs(8), "a host that is gone was counted for {:?}", since.elapsed());
    let since = Instant::now();
    drop(c);
    wait_for_open(&a, 1);
    assert!(since.elapsed() < Duration::from_millis(4800), "a process that is gone was counted for {:?}", since.elapsed());
}

#[test]
fn who_drains_is_in_the_sum_until_its_last_connection_ends() {
    let place = Place::new();
    write_open(&place, &["a", "b"], &["a", "b"]);
    let (a, b) = (place.start(Kind::Ours, "a"), place.start(Kind::Ours, "b"));
    let (_of_a, mut of_b) = (open(&a), vec![hold(&b), hold(&b)]);
    [&a, &b].into_iter().for_each(|node| wait_for_open(node, 3));
    b.signal("-USR1");
    let log = || std::fs::read_to_string(place.directory.join("b.log")).unwrap();
    wait_until("it drains", || log().contains("draining"));
    // Longer than anybody waits who has only lost a connection.
    thread::sleep(Duration::from_secs(6));
    wait_for_open(&a, 3);
    of_b.pop();
    wait_for_open(&a, 2);
    // Another process in its place speaks for both.
    let successor = place.start_after(Kind::Ours, "b", Some(&b));
    let _of_successor = hold(&successor);
    [&a, &successor].into_iter().for_each(|node| wait_for_open(node, 3));
    of_b.pop();
    [&a, &successor].into_iter().for_each(|node| wait_for_open(node, 2));
    // The same where the process before it is followed at once.
    let third = place.start_after(Kind::Ours, "b", Some(&successor));
    thread::sleep(Duration::from_secs(6));
    [&a, &third].into_iter().for_each(|node| wait_for_open(node, 2));
}

#[test]
fn open_connections_are_the_sum_of_all_living_peers() {
    let place = Place::new();
    write_open(&place, &["a", "b", "c", "d"], &["a", "b", "c"]);
    let shows = wait_for_open;
    let (a, b, c) = (place.start(Kind::Ours, "a"), place.start(Kind::Ours, "b"), place.start(Kind::Ours, "c"));
    let d = place.start(Kind::Theirs, "d");
    let mut open_at_b = vec![open(&b).0, open(&b).0];
    let (_of_a, _of_c) = (open(&a), [open(&c), open(&c), open(&c)]);
    [&a, &b, &c].into_iter().for_each(|node| shows(node, 6));
    let (seventh, told) = open(&a);
    assert_eq!(told, "7", "rules see the sum");
    drop(seventh);
    open_at_b.pop();
    [&a, &b, &c].into_iter().for_each(|node| shows(node, 5));
    // HAProxy goes on as ever, and what it says of its own connections takes nothing away.
    d.set(&["num key 1 data.gpc0 1"]);
    wait_for_same(&d, &a, "num");
    a.set(&["open key all data.gpc0 5"]);
    wait_until("d knows what is no connection", || d.values("open").get("all").is_some_and(|values| values.contains("gpc0=5")));
    let of_d = open(&d);
    assert_eq!(of_d.1, "1");
    [&a, &b, &c].into_iter().for_each(|node| shows(node, 5));
    // Who is killed says no more, and is in the sum until nobody waits for it any longer.
    drop(c);
    [&a, &b].into_iter().for_each(|node| shows(node, 2));
    let c = place.start(Kind::Ours, "c");
    let _new = open(&c);
    [&a, &b, &c].into_iter().for_each(|node| shows(node, 3));
    assert!(d.ask("show peers").matches("last_status=ESTA").count() >= 3, "{}", d.ask("show peers"));
}
