//! Mails about servers: word for word those of Debian's haproxy, taken by a real server of mail, and never in the way of checks.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::health_log::{Target, server};
use crate::kit::{Daemon, Haproxy, PATIENCE, Server, directory, unused_address};
use crate::runtime::ask;

/// What was said in each connection, a line of a client after the other.
type Dialogs = Arc<Mutex<Vec<Vec<String>>>>;

/// Starts a server of mail that takes everything but what is for `nobody`.
fn sink() -> (Server, Dialogs) {
    let dialogs = Dialogs::default();
    let heard = Arc::clone(&dialogs);
    let server = Server::start(move |stream| drop(listen(stream, &heard)));
    (server, dialogs)
}

fn listen(mut stream: TcpStream, heard: &Dialogs) -> std::io::Result<()> {
    let (mut lines, mut reader, mut is_text) = (Vec::new(), BufReader::new(stream.try_clone()?), false);
    stream.write_all(b"220-one line\r\n220 and another\r\n")?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let reply = match line.trim_end() {
            "." if is_text => "250 taken",
            _ if is_text => "",
            "DATA" => "354 go on",
            "QUIT" => "221 bye",
            "RCPT TO:<nobody@x.test>" => "550 no such user",
            _ => "250 well",
        };
        is_text = (is_text || reply.starts_with("354")) && reply != "250 taken";
        lines.push(line.clone());
        if line.starts_with("QUIT") {
            heard.lock().unwrap().push(std::mem::take(&mut lines));
        }
        if !reply.is_empty() {
            stream.write_all(format!("{reply}\r\n").as_bytes())?;
        }
    }
}

/// Returns lines without what changes with time.
fn timeless(line: &str) -> String {
    if line.starts_with("Date: ") {
        // A day, a date, a time, a zone and its name.
        let words: Vec<&str> = line.trim().split(' ').collect();
        assert!(words.len() == 8 && words[1].ends_with(',') && words[5].len() == 8 && words[7].starts_with('('), "{line}");
        return format!("Date: {} {}\r\n", words[6], words[7]);
    }
    let Some((before, after)) = line.split_once("duration: ") else { return line.to_owned() };
    format!("{before}{}", after.split_once("ms").unwrap().1)
}

/// Waits until each of the dialogs has as many mails about deaths, and returns all of them.
fn told(sinks: &[(Server, Dialogs); 2], deaths: usize) -> Vec<Vec<Vec<String>>> {
    let end = Instant::now() + PATIENCE;
    let is_death = |mail: &Vec<String>| mail.iter().any(|line| line.starts_with("Subject:") && line.contains(" is DOWN"));
    loop {
        let all: Vec<_> = sinks.iter().map(|(_, heard)| heard.lock().unwrap().clone()).collect();
        if all.iter().all(|mails| mails.iter().filter(|mail| is_death(mail)).count() >= deaths) {
            let text = |mail: &Vec<String>| mail.iter().map(|line| timeless(line)).collect();
            return all.iter().map(|mails| mails.iter().map(text).collect()).collect();
        }
        assert!(Instant::now() < end, "{all:#?}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Lives a server's life and returns the mails about it.
fn mails(start: impl FnOnce(SocketAddr, &str) -> Box<dyn std::any::Any>, settings: &str, deaths: usize) -> Vec<Vec<Vec<String>>> {
    let status = Arc::new(AtomicU32::new(200));
    let (server, target, sinks, directory) = (server(&status), Target::open(), [sink(), sink()], directory());
    let (socket, front) = (directory.join("s"), unused_address());
    let config = format!(
        "global\n stats socket {} level admin\n log {} local0\nmailers m\n timeout mail 5s\n mailer one {}\n mailer two {}\n\
         defaults\n mode http\n log global\n timeout connect 2s\n timeout client 5s\n timeout server 5s\n timeout check 2s\n\
         email-alert mailers m\n email-alert from lb@x.test\n email-alert to nowhere@x.test\n\
         frontend f\n bind {front}\n default_backend b\n\
         backend b\n option httpchk\n http-check disable-on-404\n email-alert to ops@x.test\n {settings}\n \
         server s {} check inter 150ms fall 2 rise 2\n",
        socket.display(),
        target.address(),
        sinks[0].0.address(),
        sinks[1].0.address(),
        server.address()
    );
    let process = start(front, &config);
    let end = Instant::now() + PATIENCE;
    while !ask(&socket, "show stat\n").contains(",L7OK,") {
        assert!(Instant::now() < end);
        thread::sleep(Duration::from_millis(20));
    }
    let then = |status_now: u32, last: &str| {
        status.store(status_now, SeqCst);
        target.until(last);
    };
    let command = |text: &str, last: &str| {
        ask(&socket, text);
        target.until(last);
    };
    then(503, "no server available");
    then(200, "is UP");
    command("set server b/s state maint\n", "no server available");
    command("set server b/s state ready\n", "is UP/READY");
    command("set server b/s state drain\n", "no server available");
    command("set server b/s state ready\n", "is UP (leaving");
    then(404, "no server available");
    then(503, "is DOWN");
    then(200, "is UP");
    then(503, "no server available");
    let told = told(&sinks, deaths);
    drop(process);
    fs::remove_dir_all(&directory).unwrap();
    told
}

#[test]
fn mails_are_haproxys() {
    let cases = [
        ("email-alert myhostname lb1.x.test", 2),
        ("email-alert level notice\n email-alert myhostname lb1.x.test", 3),
        ("email-alert level info\n option log-health-checks", 3),
        ("email-alert level emerg", 0),
    ];
    for (settings, deaths) in cases {
        let ours = mails(|_, config| Box::new(Daemon::start_haproxy(config)), settings, deaths);
        let theirs = mails(|front, config| Box::new(Haproxy::find().start(config, front)), settings, deaths);
        assert_eq!(ours, theirs, "{settings}");
        let is_addressed = |mail: &Vec<String>| mail.contains(&"RCPT TO:<ops@x.test>\r\n".to_owned());
        assert!(ours.iter().flatten().all(is_addressed) && ours[0].is_empty() == (deaths == 0), "{ours:#?}");
    }
}

/// A server of mail that shows what it takes.
struct Mailbox(Child, SocketAddr);

impl Mailbox {
    fn start() -> Self {
        // It is to be found by the name of the host.
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-u", "-m", "aiosmtpd", "-n", "-c", "aiosmtpd.handlers.Debugging", "stdout", "-l", &address.to_string()]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("`cargo xtask setup` installs it");
        let mailbox = Self(child, address);
        let end = Instant::now() + 4 * PATIENCE;
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < end);
            thread::sleep(Duration::from_millis(50));
        }
        mailbox
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_real_server_takes_mails_of_the_native_format() {
    let mut mailbox = Mailbox::start();
    let port = mailbox.1.port();
    let config = format!(
        "[mailers.ops]\ntimeout = {{ mail = \"10s\" }}\nmailer = {{ one = \"localhost:{port}\" }}\n\
         [frontend.f]\nbind = \"{}\"\ndefault-backend = \"b\"\nmode = \"tcp\"\ntimeout = {{ client = \"5s\" }}\n\
         [backend.b]\nmode = \"tcp\"\ntimeout = {{ connect = \"1s\", server = \"5s\" }}\n\
         email-alert = {{ mailers = \"ops\", from = \"lb@x.test\", to = \"ops@x.test\", level = \"notice\", myhostname = \"lb1\" }}\n\
         check = {{ tcp = {{}}, inter = \"100ms\" }}\nserver = {{ s = \"{}\" }}\n",
        unused_address(),
        unused_address(),
    );
    let daemon = Daemon::start(&config);
    let output = BufReader::new(mailbox.0.stdout.take().unwrap());
    let (sender, lines) = std::sync::mpsc::channel();
    let reader = thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    let mut text: Vec<String> = Vec::new();
    while !text.iter().any(|line| line.contains("END MESSAGE")) {
        text.push(lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{text:#?}")));
    }
    let has = |line: &str| text.iter().any(|shown| shown.starts_with(line));
    let subject = "Subject: [HAProxy Alert] Server b/s is DOWN, reason: Layer4 connection problem, info: \"Connection refused\"";
    assert!(has("From: lb@x.test") && has("To: ops@x.test") && has(subject) && has("Server b/s is DOWN, reason"), "{text:#?}");
    drop((daemon, mailbox, lines));
    let _ = reader.join().unwrap();
}

#[test]
fn mails_that_are_not_taken_are_told_and_hold_up_nothing() {
    let (taker, heard) = sink();
    // One takes the connection and says nothing; one is not there; one knows nobody; names of servers have many places.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let servers: String = (0..70).map(|number| format!(" server s{number} 127.0.0.1:9 check inter 100ms fall 1\n")).collect();
    let gone = unused_address();
    let config = format!(
        "mailers m\n timeout mail 2s\n mailer silent {}\n mailer gone {gone}\n mailer good {}\n\
         mailers n\n mailer good {}\n\
         defaults\n mode tcp\n timeout connect 2s\n timeout client 5s\n timeout server 5s\n email-alert from lb@x.test\n\
         frontend f\n bind {}\n default_backend b\n\
         backend b\n email-alert mailers m\n email-alert to ops@x.test\n{servers}\
         backend c\n email-alert mailers n\n email-alert to nobody@x.test\n server t 127.0.0.1:9 check inter 100ms fall 1\n",
        silent.local_addr().unwrap(),
        taker.address(),
        taker.address(),
        unused_address(),
    );
    let daemon = Daemon::start_haproxy(&config);
    daemon.wait_for_log(", 0 of 70 up left in backend b");
    daemon.wait_for_log("64 mails wait, one is lost: Server b/s");
    daemon.wait_for_log(&format!("{gone}: Connection refused (os error 111): a mail is lost: Server b/s"));
    daemon.wait_for_log("\"550 no such user\" to RCPT: a mail is lost: Server c/t is DOWN");
    daemon.wait_for_log("not taken within 2s: a mail is lost: Server b/s");
    let end = Instant::now() + PATIENCE;
    // Who takes mails at once has had no more than wait for it at most.
    while heard.lock().unwrap().len() < 64 {
        assert!(Instant::now() < end);
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_cannot_be_mailed_is_refused() {
    let directory = directory();
    let file = directory.join("site.cfg");
    let check = |sections: &str, lines: &str| {
        let text = format!(
            "mailers m\n mailer a 127.0.0.1:25\n{sections}\ndefaults\n timeout connect 1s\n timeout server 1s\n timeout client 1s\n\
             listen l\n bind 127.0.0.1:8080\n server s 127.0.0.1:9 check\n{lines}\n"
        );
        fs::write(&file, text).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_l7d")).arg("check").arg("-f").arg(&file).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    let cases = [
        ("mailers m", "", "there is a section mailers `m` already"),
        (" mailer a 127.0.0.1:26", "", "there is a mailer `a` already"),
        (" mailer b 127.0.0.1", "", "`127.0.0.1` is no host with a port"),
        (" mailer b /run/smtp", "", "`/run/smtp` is no host with a port"),
        (" mailer b 127.0.0.1:25 x", "", "`x`"),
        (" timeout connect 1s", "", "`connect`"),
        (" nothing", "", "unknown keyword `nothing` in section `mailers`"),
        ("mailers e", "", "mailers `e` has no mailer"),
        ("", " email-alert from a@b", "sends no mail: `email-alert` lacks `mailers`, `from` or `to`"),
        ("", " email-alert level loud", "`loud` is not a level"),
        ("", " email-alert to a>b", "`a>b` cannot stand in a line of SMTP"),
        ("", " email-alert with a", "`with`"),
        ("", " email-alert from a\n email-alert to b\n email-alert mailers n", "no section mailers `n`"),
        ("", "frontend g\n bind 127.0.0.1:8081\n email-alert to b", "`email-alert` has no effect in section `frontend`"),
    ];
    for (sections, lines, expected) in cases {
        let said = check(sections, lines);
        assert!(said.contains(expected), "{sections:?} {lines:?}: {said}");
    }
    fs::remove_dir_all(&directory).unwrap();
}
