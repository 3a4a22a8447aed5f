//! How connections of HTTP/3 live through the end of the process they began with.

use std::io::{Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::certs::Authority;
use crate::h3::{answer, request, site};
use crate::h3_client::*;
use crate::http::{ok, read_head};
use crate::kit::{Daemon, PATIENCE, Server, unused_address};

const PIECES: usize = 60;
const PIECE: usize = 20_000;

/// A server whose answer to `/long` takes a second.
fn slow_server() -> Server {
    Server::start(|mut stream| {
        loop {
            let head = read_head(&mut stream);
            if head.is_empty() {
                return;
            }
            if !head.contains("/long") {
                stream.write_all(ok("short").as_bytes()).unwrap();
                continue;
            }
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", PIECES * PIECE);
            stream.write_all(head.as_bytes()).unwrap();
            for number in 0..PIECES {
                std::thread::sleep(Duration::from_millis(20));
                let letter = b'a' + u8::try_from(number % 26).unwrap();
                if stream.write_all(&[letter; PIECE]).is_err() {
                    return;
                }
            }
        }
    })
}

fn is_whole(answer: &Answer) -> bool {
    let wanted = (0..PIECES).flat_map(|number| [b'a' + u8::try_from(number % 26).unwrap(); PIECE]);
    answer.status() == 200 && answer.body.len() == PIECES * PIECE && answer.body.iter().copied().eq(wanted)
}

/// Starts downloads by clients of their own, each in a thread of its own.
fn downloads(front: SocketAddr, authority: &Authority, count: usize) -> Vec<std::thread::JoinHandle<Answer>> {
    let start = |_| {
        let client = Client::connect(front, authority);
        let (mut send, mut recv) = client.begin(&headers(&request("GET", "/long")));
        client.runtime.block_on(async { send.finish() }).unwrap();
        std::thread::spawn(move || answer(client.runtime.block_on(client.hear(&mut recv))))
    };
    (0..count).map(start).collect()
}

fn site_of(front: SocketAddr, authority: &Authority, name: &str, server: &Server, more: &str) -> String {
    let config = site(front, authority, ("", &format!(" http-response set-header x-by {name}")), server.address());
    config.replacen("global\n", &format!("global\n{more}\n"), 1)
}

#[test]
fn downloads_outlive_the_process_whose_address_another_takes() {
    for exposes in [false, true] {
        let (authority, front, server) = (Authority::new(), unused_address(), slow_server());
        let cli = authority.path("cli");
        let more = if exposes { format!(" stats socket {} level admin expose-fd listeners", cli.display()) } else { String::new() };
        let mut first = Daemon::start_as_haproxy(&site_of(front, &authority, "first", &server, &more), &[]);
        let downloads = downloads(front, &authority, 8);
        let idle = Client::connect(front, &authority);
        assert_eq!(idle.get("/").field("x-by"), Some("first"));
        let pid = first.pid().to_string();
        let mut arguments = vec!["-sf", &*pid];
        if exposes {
            arguments.extend(["-x", cli.to_str().unwrap()]);
        }
        let second = Daemon::start_as_haproxy(&site_of(front, &authority, "second", &server, &more), &arguments);
        first.wait_for_log("draining ");
        // Whoever comes now is the second one's, on whichever of its threads.
        for _ in 0..12 {
            assert_eq!(Client::connect(front, &authority).get("/").field("x-by"), Some("second"));
        }
        // Nobody needed to be told that nothing more is taken there.
        assert_eq!(idle.runtime.block_on(idle.closed()), Heard::Closed(0x100));
        for (number, download) in downloads.into_iter().enumerate() {
            let answer = download.join().unwrap();
            assert!(is_whole(&answer), "{number}: {} of {}", answer.body.len(), PIECES * PIECE);
            assert_eq!(answer.field("x-by"), Some("first"));
        }
        assert!(first.wait().success());
        assert_eq!(first.count("the socket is kept"), 0);
        drop(second);
    }
}

/// Passes datagrams on between a client and an address; once the address has answered, holds those of the client back until it is told not to.
fn holding(front: SocketAddr) -> (SocketAddr, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let [near, far] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    far.connect(front).unwrap();
    [&near, &far].into_iter().for_each(|socket| socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap());
    let (address, (held, is_held), (release, released)) = (near.local_addr().unwrap(), mpsc::channel(), mpsc::channel());
    std::thread::spawn(move || {
        let (mut bytes, mut client, mut waiting, mut holds) = ([0; 65536], None, Vec::new(), false);
        let mut is_released = false;
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Ok((count, from)) = near.recv_from(&mut bytes) {
                client = Some(from);
                waiting.push(bytes[..count].to_vec());
            }
            match released.try_recv() {
                Ok(()) => is_released = true,
                Err(mpsc::TryRecvError::Disconnected) if is_released => {}
                Err(mpsc::TryRecvError::Disconnected) => return,
                Err(mpsc::TryRecvError::Empty) => {}
            }
            if holds && !is_released && !waiting.is_empty() {
                let _ = held.send(());
            } else {
                waiting.drain(..).for_each(|datagram| drop(far.send(&datagram)));
            }
            if let (Ok(count), Some(client)) = (far.recv(&mut bytes), client) {
                holds = true;
                near.send_to(&bytes[..count], client).unwrap();
            }
        }
    });
    (address, is_held, release)
}

#[test]
fn client_that_proves_its_address_to_the_next_process_is_known_there() {
    for shares in ["-x", "cluster-secret"] {
        let (authority, front, server) = (Authority::new(), unused_address(), slow_server());
        let cli = authority.path("cli");
        let more = match shares {
            "-x" => format!(" stats socket {} level admin expose-fd listeners", cli.display()),
            _ => " cluster-secret \"what all of us know\"".to_owned(),
        };
        let config = |name| site_of(front, &authority, name, &server, &more).replacen(" ssl crt ", " quic-force-retry ssl crt ", 1);
        let mut first = Daemon::start_as_haproxy(&config("first"), &[]);
        let (relay, held, release) = holding(front);
        let tls = credentials(&authority, None);
        let client = std::thread::spawn(move || Client::with(relay, &tls).map(|client| client.connection.close_reason()));
        // What it says next is its answer to who asked it for a proof.
        held.recv_timeout(PATIENCE).unwrap();
        let pid = first.pid().to_string();
        let mut arguments = vec!["-sf", &*pid];
        if shares == "-x" {
            arguments.extend(["-x", cli.to_str().unwrap()]);
        }
        let second = Daemon::start_as_haproxy(&config("second"), &arguments);
        assert!(first.wait().success());
        release.send(()).unwrap();
        assert_eq!(client.join().unwrap().expect(shares), None);
        assert_eq!(Client::connect(front, &authority).get("/").field("x-by"), Some("second"));
        drop((release, second));
    }
}

#[test]
fn downloads_outlive_a_reload_that_takes_their_address_away() {
    let (authority, front, server) = (Authority::new(), unused_address(), slow_server());
    let daemon = Daemon::start_haproxy(&site_of(front, &authority, "first", &server, ""));
    let downloads = downloads(front, &authority, 4);
    let elsewhere = unused_address();
    daemon.reload(&site_of(elsewhere, &authority, "second", &server, ""));
    assert_eq!(Client::connect(elsewhere, &authority).get("/").field("x-by"), Some("second"));
    // The address comes back while they are under way.
    daemon.reload(&site_of(front, &authority, "third", &server, ""));
    for _ in 0..6 {
        assert_eq!(Client::connect(front, &authority).get("/").field("x-by"), Some("third"));
    }
    for download in downloads {
        assert!(is_whole(&download.join().unwrap()));
    }
}

/// A server that answers to `/later` after more time than a client may be silent at the end, and to others never.
fn late_server() -> Server {
    Server::start(|mut stream| {
        if read_head(&mut stream).contains("/later") {
            std::thread::sleep(Duration::from_secs(7));
            stream.write_all(ok("at last").as_bytes()).unwrap();
        } else {
            let _ = stream.read(&mut [0]);
        }
    })
}

#[test]
fn client_that_has_vanished_does_not_hold_up_the_end() {
    let (authority, front, server) = (Authority::new(), unused_address(), late_server());
    let mut daemon = Daemon::start_haproxy(&site_of(front, &authority, "it", &server, ""));
    let begin = |path| {
        let client = Client::connect(front, &authority);
        let (mut send, recv) = client.begin(&headers(&request("GET", path)));
        client.runtime.block_on(async { send.finish() }).unwrap();
        client.rest(Duration::from_millis(200));
        (client, recv)
    };
    let (patient, mut later) = begin("/later");
    // It is not heard again, since nothing lets its engine run.
    let (_vanished, _never) = begin("/never");
    let began = Instant::now();
    daemon.signal("USR1");
    assert_eq!(answer(patient.runtime.block_on(patient.hear(&mut later))).text(), "at last");
    drop(patient);
    assert!(daemon.wait().success());
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

#[test]
fn client_is_told_when_the_process_ends_without_waiting() {
    for (more, signals) in [(" hard-stop-after 1s", &["USR1"][..]), ("", &["TERM", "TERM"])] {
        let (authority, front, server) = (Authority::new(), unused_address(), late_server());
        let mut daemon = Daemon::start_haproxy(&site_of(front, &authority, "it", &server, more));
        let client = Client::connect(front, &authority);
        let (mut send, mut recv) = client.begin(&headers(&request("GET", "/never")));
        client.runtime.block_on(async { send.finish() }).unwrap();
        client.rest(Duration::from_millis(200));
        for signal in signals {
            daemon.signal(signal);
            client.rest(Duration::from_millis(300));
        }
        assert_eq!(client.runtime.block_on(client.hear(&mut recv)), Heard::Closed(0x100), "{signals:?}");
        assert!(daemon.wait().success());
    }
}
