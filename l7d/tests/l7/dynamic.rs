//! Servers and limits that come, change and go by command, answered as HAProxy answers.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::kit::{Daemon, Haproxy, PATIENCE, Server, connect, directory, read, unused_address};
use crate::runtime::{Pair, answer, ask, get, without_ages};

#[test]
fn servers_come_move_and_go_with_haproxys_words() {
    let server = Server::echo("a");
    let pair = Pair::start(server.address());
    let commands = [
        "add server\n",
        "add server app\n",
        "add server app/\n",
        "add server zz/n 127.0.0.1:1\n",
        "add server app/s1 127.0.0.1:1\n",
        "add server app/n\n",
        "add server app/n 127.0.0.1:9 weight 3 maxconn 5 check inter 60s\n",
        "add server app/n 127.0.0.1:9\n",
        "add server app/b 127.0.0.2:9 backup\n",
        "add server app/d 127.0.0.3:9 disabled\n",
    ];
    let states = || {
        let command = "show servers state app\n";
        assert_eq!(without_ages(&ask(&pair.our_socket, command)), without_ages(&ask(&pair.their_socket, command)));
    };
    for command in commands {
        pair.same(command);
    }
    states();
    let commands = [
        "enable server app/n\n",
        "del server app/n\n",
        "disable server app/n;del server app/n\n",
        "del server app/n\n",
        "del server app/zz\n",
        "del server zz/n\n",
        "del server app\n",
        "set server app/s1 state maint;del server app/s1\n",
        "set server app/s2 addr\n",
        "set server app/s2 addr foo\n",
        "set server app/s2 addr 127.0.0.2\n",
        "set server app/s2 addr 127.0.0.2\n",
        "set server app/s2 addr 127.0.0.2 port 99\n",
        "set server app/s2 addr 127.0.0.3 port +10\n",
        "set server app/s2 addr 127.0.0.3 port abc\n",
        "set server app/s2 addr 127.0.0.3 port\n",
        "set server app/s2 addr ::1\n",
        "set server app/s2 check-addr 127.0.0.9\n",
        "set server app/s2 check-port 8\n",
        "set server app/s2 agent-addr 1.1.1.1\n",
        "set server app/s2 agent-port 7\n",
        "set server app/s2 agent-send x\n",
        "set server app/s2 fqdn\n",
        "set server app/s2 port 3\n",
        "set maxconn server app/s2\n",
        "set maxconn server app/s2 12\n",
        "set maxconn server app/s2 abc\n",
        "set maxconn server app/zz 3\n",
        "set maxconn frontend\n",
        "set maxconn frontend web\n",
        "set maxconn frontend zz 3\n",
        "set maxconn frontend web 33\n",
        "set maxconn global\n",
        "set maxconn global 200\n",
        "set maxconn global 200000000\n",
    ];
    for command in commands {
        pair.same(command);
    }
    states();
    let limits = |socket| {
        let limits = ask(socket, "show stat\n");
        let limit = |line: &str| line.split(',').take(7).map(str::to_owned).collect::<Vec<_>>();
        limits.lines().filter(|line| line.starts_with("web,") || line.starts_with("app,s2")).map(limit).collect::<Vec<_>>()
    };
    assert_eq!(limits(&pair.our_socket), limits(&pair.their_socket));
    assert!(ask(&pair.our_socket, "add server app/x 127.0.0.1:9 bogus\n").starts_with("unknown keyword `bogus`"));
    let secured = "add server app/x 127.0.0.1:9 ssl verify none sni str(h)\n";
    assert!(ask(&pair.our_socket, secured).starts_with("'sni' of a server takes a reload."));
    pair.ours.reload(&pair.config);
    let names = ask(&pair.our_socket, "show servers state app\n");
    assert!(names.contains(" s1 ") && !names.contains(" b "), "{names}");
}

#[test]
fn traffic_and_checks_follow_servers_that_come_and_move() {
    let (one, two) = (Server::start(|stream| answer(stream, "one")), Server::start(|stream| answer(stream, "two")));
    let (directory, front) = (directory(), unused_address());
    let socket = directory.join("s");
    let config = format!(
        "[global]\nstats-socket = {{ path = \"{}\", level = \"admin\" }}\n\
         [defaults]\ntimeout = {{ connect = \"2s\", client = \"30s\", server = \"30s\" }}\n\
         [frontend.web]\nbind = \"{front}\"\ndefault-backend = \"app\"\n\
         [backend.app]\ncheck = {{ tcp = {{}}, inter = \"20ms\", rise = 1, fall = 1 }}\n[backend.app.server]\na = \"{}\"\n",
        socket.display(),
        one.address()
    );
    let daemon = Daemon::start(&config);
    assert_eq!(get(front), "one");
    let add = format!("add server app/b {} check inter 20ms rise 1 fall 1\n", two.address());
    assert_eq!(ask(&socket, &add), "New server registered.\n\n");
    assert_eq!((0..4).map(|_| get(front)).collect::<Vec<_>>(), ["one"; 4]);
    assert_eq!(ask(&socket, "enable health app/b;enable server app/b;set server app/a state maint\n"), "\n\n\n");
    assert_eq!((0..4).map(|_| get(front)).collect::<Vec<_>>(), ["two"; 4]);
    // Its checks are made: it goes down with its machine, and comes back where that is now.
    drop(two);
    daemon.wait_for_log("server app/b is DOWN");
    let three = Server::start(|stream| answer(stream, "three"));
    let (ip, port) = (three.address().ip(), three.address().port());
    assert!(
        ask(&socket, &format!("set server app/b addr {ip} port {port}\n")).starts_with("no need to change the addr, port changed from")
    );
    // It was up before, so that the log says little.
    let end = Instant::now() + PATIENCE;
    while get(front) != "three" {
        assert!(Instant::now() < end, "it does not come back");
    }
    assert_eq!((0..4).map(|_| get(front)).collect::<Vec<_>>(), ["three"; 4]);
    assert_eq!(ask(&socket, "get weight app/a;get weight app/b\n"), "1 (initial 1)\n\n1 (initial 1)\n\n");
    // What is set for the first server holds, however often others come and go.
    assert!(ask(&socket, "show servers state\n").contains(" a 127.0.0.1 0 1 "));
    assert_eq!(ask(&socket, "set server app/b state maint;del server app/b;enable server app/a\n"), "\nServer deleted.\n\n");
    assert_eq!((0..4).map(|_| get(front)).collect::<Vec<_>>(), ["one"; 4]);
    drop(daemon);
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn limit_that_rises_lets_the_waiting_in() {
    let server = Server::echo("s1");
    let (directory, front) = (directory(), unused_address());
    let socket = directory.join("s");
    let config = format!(
        "global\n nbthread 2\n stats socket {} level admin\ndefaults\n mode tcp\n timeout connect 2s\n timeout client 30s\n\
         timeout server 30s\n timeout queue 30s\nlisten l\n bind {front}\n server s1 {} maxconn 1\n",
        socket.display(),
        server.address()
    );
    let _daemon = Daemon::start_haproxy(&config);
    let mut first = connect(front);
    assert_eq!(read(&mut first, 2), "s1");
    let mut second = connect(front);
    second.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert!(std::io::Read::read(&mut second, &mut [0]).is_err());
    assert_eq!(ask(&socket, "set maxconn server l/s1 2\n"), "\n");
    second.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(read(&mut second, 2), "s1");
    // A server with clients is not taken away under them.
    let busy = ask(&socket, "set server l/s1 state maint;del server l/s1\n");
    assert_eq!(busy, "\nServer still has connections attached to it, cannot remove it.\n");
    first.write_all(b"x").unwrap();
    assert_eq!(read(&mut first, 1), "x");
    drop((first, second));
    let end = Instant::now() + PATIENCE;
    while ask(&socket, "del server l/s1\n") != "Server deleted.\n" {
        assert!(Instant::now() < end, "still busy");
    }
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn states_that_were_written_down_are_taken_up_as_haproxy_does() {
    let directory = directory();
    let config = |name: &str, front: std::net::SocketAddr, file: &str| {
        format!(
            "global\n stats socket {} level admin\n server-state-base {}\n server-state-file {file}\ndefaults\n mode tcp\n\
             timeout connect 1s\n timeout client 30s\n timeout server 30s\n load-server-state-from-file global\nfrontend f\n bind {front}\n\
             default_backend app\nbackend app\n server a 127.0.0.1:9 weight 10\n server b 127.0.0.2:9\n server c 127.0.0.3:9\n\
             server d 127.0.0.4:9 disabled\n server e 127.0.0.5:9 weight 3\nbackend own\n load-server-state-from-file local\n\
             server-state-file-name own.state\n server a 127.0.0.1:9\nbackend none\n load-server-state-from-file none\n server a 127.0.0.1:9\n",
            directory.join(name).display(),
            directory.display()
        )
    };
    let states = |name: &str| ask(&directory.join(name), "show servers state\n");
    let first = Daemon::start_haproxy(&config("first", unused_address(), "missing"));
    first.wait_for_log("server state file");
    let commands = "set server app/a weight 7;set server app/b state maint;set server app/c state drain;set server app/d state ready;\
                    set server app/e addr 127.0.0.6 port 99;set server own/a state maint;set server none/a state maint\n";
    ask(&directory.join("first"), commands);
    let saved = states("first");
    std::fs::write(directory.join("all.state"), &saved).unwrap();
    std::fs::write(directory.join("own.state"), &saved).unwrap();
    let front = unused_address();
    let _theirs = Haproxy::find().start(&config("theirs", front, "all.state"), front);
    let _ours = Daemon::start_haproxy(&config("ours", unused_address(), "all.state"));
    let ours = without_ages(&states("ours"));
    assert_eq!(ours, without_ages(&states("theirs")));
    assert!(ours.contains(" - 99 - "), "{ours}");
    assert!(
        ours.contains(" a 127.0.0.1 2 0 7 10 ") && ours.contains(" b 127.0.0.2 0 1 ") && ours.contains(" e 127.0.0.5 2 0 3 3 "),
        "{ours}"
    );
    drop(first);
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn servers_that_are_added_track_others_and_may_have_names() {
    let server = Server::echo("a");
    let (directory, front, their_front) = (directory(), unused_address(), unused_address());
    let socket = |whose: &str| directory.join(whose);
    let config = |whose: &str, front: std::net::SocketAddr| {
        format!(
            "global\n stats socket {} level admin\ndefaults\n mode http\n timeout connect 2s\n timeout client 30s\n timeout server 30s\n\
             frontend web\n bind {front}\n default_backend app\nbackend app\n balance roundrobin\n server a {1} check inter 1h\n server b {1}\n",
            socket(whose).display(),
            server.address()
        )
    };
    let daemon = Daemon::start_haproxy(&config("ours", front));
    let theirs = Haproxy::find().start(&config("theirs", their_front), their_front);
    let same = |command: &str| {
        let said = ask(&socket("ours"), command);
        assert_eq!(said, ask(&socket("theirs"), command), "{command}");
        said
    };
    same("add server app/n localhost:81\n");
    let words = ["check track app/a", "track app/none", "track none/a", "track app/b", "track app/t", "track app/n", "track app/a"];
    for words in words {
        same(&format!("add server app/t {} {words}\n", server.address()));
    }
    same("set server app/a state maint;del server app/a;set server app/a state ready\n");
    // It is out of service with whom it tracks.
    same("enable server app/t;set server app/n state ready\n");
    let states = |whose: &str| {
        let text = ask(&socket(whose), "show stat app 4 -1\n");
        let state = |line: &str| line.split(',').nth(17).map(str::to_owned);
        text.lines().find(|line| line.starts_with("app,t,")).and_then(state).unwrap_or_default()
    };
    for state in ["maint", "ready"] {
        same(&format!("set server app/a state {state}\n"));
        let end = Instant::now() + PATIENCE;
        while states("ours") != states("theirs") {
            assert!(Instant::now() < end, "{:?} {:?}", states("ours"), states("theirs"));
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(states("ours").starts_with("MAINT"), state == "maint", "{:?}", states("ours"));
    }
    let unknown = ask(&socket("ours"), "add server app/x no-such-host.invalid:80\n");
    assert!(unknown.contains("no name"), "{unknown}");
    drop((daemon, theirs));
    std::fs::remove_dir_all(directory).expect("a directory");
}
