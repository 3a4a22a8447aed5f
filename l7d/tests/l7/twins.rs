//! Both programs on one configuration in HAProxy's language, which must answer and log alike.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, UdpSocket};

use crate::kit::{Daemon, Haproxy, HaproxyProcess, connect, unused_address};
use crate::log::receiver;
use crate::rules::comparable;

/// Both programs, each with a door and a log of its own.
pub(crate) struct Twins {
    pub(crate) ours: Twin,
    pub(crate) theirs: Twin,
    _daemon: Daemon,
    _peer: HaproxyProcess,
}

/// One of the programs.
pub(crate) struct Twin {
    pub(crate) door: SocketAddr,
    log: UdpSocket,
}

impl Twins {
    /// Starts both; in the configuration `@DOOR@` stands for where clients come in, and `@LOG@` for where lines go.
    pub(crate) fn start(config: &str) -> Self {
        let twin = || Twin { door: unused_address(), log: receiver() };
        let (ours, theirs) = (twin(), twin());
        let daemon = Daemon::start_haproxy(&ours.config(config));
        let peer = Haproxy::find().start(&theirs.config(config), theirs.door);
        Self { ours, theirs, _daemon: daemon, _peer: peer }
    }

    /// Sends both the same request and compares the answers and the lines; returns what both said.
    pub(crate) fn compare(&self, request: &str) -> (Vec<String>, String) {
        let [(our_answer, our_line), (answer, line)] = [&self.ours, &self.theirs].map(|twin| twin.ask(request));
        assert_eq!(our_answer, answer, "{request:?}");
        assert_eq!(our_line, line, "{request:?}");
        (answer, line)
    }
}

impl Twin {
    fn config(&self, config: &str) -> String {
        config.replace("@DOOR@", &self.door.to_string()).replace("@LOG@", &self.log.local_addr().unwrap().to_string())
    }

    /// Sends a request whose connection closes, and returns the answer and the line about it.
    pub(crate) fn ask(&self, request: &str) -> (Vec<String>, String) {
        let mut client = connect(self.door);
        client.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let answer = if answer.is_empty() { Vec::new() } else { comparable(&self.hidden(&answer), false) };
        (answer, self.hidden(&self.line()))
    }

    /// Returns a text without the address of the door, which is each program's own.
    fn hidden(&self, text: &str) -> String {
        let IpAddr::V4(address) = self.door.ip() else { return text.to_owned() };
        text.replace(&address.to_string(), "door").replace(&format!("{:08X}", u32::from(address)), "door")
    }

    /// Returns the next line about a client.
    pub(crate) fn line(&self) -> String {
        loop {
            let mut packet = [0; 4000];
            let count = self.log.recv(&mut packet).unwrap();
            let text = String::from_utf8_lossy(&packet[..count]).into_owned();
            // At start HAProxy says other things, too.
            if let Some((_, line)) = text.split_once("]: ").filter(|(_, line)| !line.to_lowercase().contains("proxy ")) {
                return line.to_owned();
            }
        }
    }
}
