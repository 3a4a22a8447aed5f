//! The page of statistics in a browser: whole on every screen, with and without its script, alive, and careful with what it changes.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::{io, thread};

use serde_json::json;

use crate::chromium::Browser;
use crate::http::{ask, hello};
use crate::kit::{Daemon, Server, connect, directory, unused_address};
use crate::tables::tell;

const MANY: usize = 2000;

struct Place {
    web: SocketAddr,
    directory: PathBuf,
    _server: Server,
    _daemon: Daemon,
}

impl Place {
    fn new(many: usize) -> Self {
        let (web, directory, (server, _)) = (unused_address(), directory(), hello());
        let mut text = format!(
            "global\n nbthread 1\n stats socket {} level admin\ndefaults\n mode http\n timeout connect 1s\n timeout client 30s\n timeout server 30s\n\
             frontend front\n bind {web}\n stats enable\n stats uri /st\n stats show-legends\n stats admin if TRUE\n default_backend app\n\
             backend app\n server s1 {1}\n server s2 127.0.0.1:1 check inter 1h fall 1\n server s3 127.0.0.1:1 disabled\n\
             backend a_backend_with_a_long_name\n server a_server_with_a_long_name_0001 127.0.0.1:1 weight 100 maxconn 10000\nbackend big\n",
            directory.join("s").display(),
            server.address(),
        );
        for number in 0..many {
            writeln!(text, " server srv{number:04} 127.0.{}.{}:80", number / 250, number % 250 + 1).expect("memory");
        }
        let daemon = Daemon::start_haproxy(&text);
        daemon.wait_for_log("app/s2 is DOWN");
        Self { web, directory, _server: server, _daemon: daemon }
    }

    fn page(&self) -> String {
        format!("http://{}/st", self.web)
    }

    /// Returns what an administrator wants of a server, in the letters of `show servers state`.
    fn state(&self, server: &str) -> String {
        let all = tell(&self.directory.join("s"), "show servers state");
        let line = all.lines().find(|line| line.split(' ').nth(3) == Some(server)).expect("the server");
        line.split(' ').nth(6).expect("a column").to_owned()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Cells that are wider than their column, by the texts in them.
const CUT: &str = "[...document.querySelectorAll('tr')].slice(0, 20).flatMap((row) => [...row.cells])
    .filter((cell) => cell.scrollWidth > cell.clientWidth + 1).map((cell) => cell.textContent)";

#[test]
fn the_page_is_whole_on_every_screen() {
    let place = Place::new(MANY);
    let mut browser = Browser::start();
    let screens = [(390, "light"), (390, "dark"), (1024, "light"), (1280, "dark"), (1920, "light")];
    for ((width, scheme), script) in screens.into_iter().flat_map(|screen| [true, false].map(|script| (screen, script))) {
        let shown = format!("{width} {scheme} script: {script}");
        let size = json!({ "width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 800 });
        browser.tell("Emulation.setDeviceMetricsOverride", &size);
        browser.tell("Emulation.setEmulatedMedia", &json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] }));
        browser.tell("Emulation.setScriptExecutionDisabled", &json!({ "value": !script }));
        browser.go(&place.page());
        let widths = browser.value("[document.documentElement.scrollWidth, document.body.scrollWidth, innerWidth]");
        assert_eq!(widths, json!([width, width, width]), "{shown}");
        assert_eq!(browser.value(CUT), json!([]), "{shown}");
        assert_eq!(browser.value("document.querySelectorAll('tr[data-k]').length"), json!(1 + 3 + 1 + 1 + 1 + MANY + 1), "{shown}");
        let words = browser.value("[...document.querySelectorAll('tr.server')].slice(0, 4).map((row) => row.cells[1].innerText)");
        assert_eq!(words, json!(["no check", "DOWN", "MAINT", "no check"]), "{shown}");
        let ink = if scheme == "dark" { "rgb(255, 255, 255)" } else { "rgb(0, 0, 0)" };
        assert_eq!(browser.value("getComputedStyle(document.body).color"), json!(ink), "{shown}");
        assert_eq!(browser.value("document.querySelectorAll('select').length"), json!(1), "one menu serves all: {shown}");
        // The first rows are in sight; those out of sight wait for somebody who looks.
        if script {
            browser.until("document.querySelector('tr[data-k] svg polyline') !== null");
            let charts = browser.value("document.querySelectorAll('svg').length").as_u64().expect("a number");
            assert!(charts < 200, "{shown}: {charts}");
        } else {
            assert_eq!(browser.value("document.querySelectorAll('svg').length"), json!(0), "{shown}");
        }
    }
}

#[test]
fn the_page_follows_what_happens_and_filters() {
    let place = Place::new(3);
    let mut browser = Browser::start();
    browser.go(&place.page());
    browser.value("window.mark = 'still here'; document.querySelector('[value=\"app/s1\"]').checked = true");
    for _ in 0..5 {
        ask(&mut connect(place.web), "GET /hello HTTP/1.1\r\nHost: h\r\n\r\n");
    }
    browser.until("document.querySelector('[value=\"app/s1\"]').closest('tr').cells[8].innerText === '5'");
    browser.until("document.querySelector('tr.frontend polyline').getAttribute('points').split(' ').length > 1");
    assert_eq!(browser.value("window.mark"), json!("still here"), "nothing was loaded anew");
    assert_eq!(browser.value("document.querySelector('[value=\"app/s1\"]').checked"), json!(true), "what is ticked stays so");
    let seen = "[...document.querySelectorAll('tr[data-k]')].filter((row) => row.checkVisibility()).map((row) => row.cells[0].textContent)";
    let mut filter = |text: &str| {
        browser.value(&format!("box.value = '{text}'; box.dispatchEvent(new Event('input'))"));
        browser.value(seen)
    };
    assert_eq!(filter("srv0001"), json!(["big/srv0001"]));
    assert_eq!(filter("APP"), json!(["app/s1", "app/s2", "app/s3", "app BACKEND"]));
    assert_eq!(filter("nobody"), json!([]));
}

#[test]
fn the_page_asks_before_it_changes_servers_and_heeds_no_other_site() {
    let place = Place::new(3);
    let mut browser = Browser::start();
    browser.go(&place.page());
    let choose = |browser: &mut Browser, servers: &[&str], action: &str| {
        for server in servers {
            browser.value(&format!("document.querySelector('[value=\"{server}\"]').click()"));
        }
        browser.value(&format!("form.elements.action.value = '{action}'; setTimeout(() => document.querySelector('.bar button').click())"));
        browser.wait("Page.javascriptDialogOpening")["message"].clone()
    };
    assert_eq!(choose(&mut browser, &["app/s1", "big/srv0001"], "drain"), json!("app/s1, big/srv0001: drain: nothing new?"));
    browser.tell("Page.handleJavaScriptDialog", &json!({ "accept": false }));
    assert_eq!([place.state("s1"), place.state("srv0001")], ["0", "0"], "who says no changes nothing");
    choose(&mut browser, &[], "drain");
    browser.tell("Page.handleJavaScriptDialog", &json!({ "accept": true }));
    browser.wait("Page.loadEventFired");
    browser.until("document.querySelector('#say').textContent === 'Done.' || location.href.endsWith(';st=DONE')");
    assert_eq!([place.state("s1"), place.state("srv0001"), place.state("srv0000")], ["8", "8", "0"]);
    let drained = "[...document.querySelectorAll('.rest')].map((row) => row.cells[1].textContent.split(' ')[0])";
    assert_eq!(browser.value(drained), json!(["DRAIN", "DRAIN"]));
    assert_eq!(choose(&mut browser, &["big/*"], "ready"), json!("all servers of big: ready: takes traffic?"));
    browser.tell("Page.handleJavaScriptDialog", &json!({ "accept": true }));
    browser.wait("Page.loadEventFired");
    assert_eq!([place.state("s1"), place.state("srv0001")], ["8", "0"]);

    let form = format!(
        "<form method=post action={}><input name=s value=srv0002><input name=b value=big><input name=action value=maint></form>\
         <script>document.forms[0].submit()</script>",
        place.page()
    );
    let site = Server::start(move |mut stream| {
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{form}", form.len());
        let _ = io::Write::write_all(&mut stream, head.as_bytes());
        let _ = io::Read::read(&mut stream, &mut [0; 4096]);
    });
    browser.go(&format!("http://{}/", site.address()));
    browser.until("location.href.endsWith(';st=DENY') && document.body.innerText.includes('another site sent this')");
    assert_eq!(place.state("srv0002"), "0");
}

/// Serves what l4d says of itself on a socket of its kind.
fn kernel(path: &Path) {
    let listener = UnixListener::bind(path).expect("a socket");
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut asked = [0; 100];
            let count = io::Read::read(&mut stream, &mut asked).unwrap_or(0);
            assert_eq!(&asked[..count], b"show stat\n");
            let table = "# pxname,svname,scur,smax,stot,bin,status,weight,\nedge,FRONTEND,7,,12345,5000000,OPEN,,\npool,k1,7,,12345,5000000,UP,3,\npool,BACKEND,7,,12345,5000000,UP,3,\n";
            let _ = io::Write::write_all(&mut stream, table.as_bytes());
        }
    });
}

#[test]
fn services_of_the_kernel_tier_stand_beside_the_others() {
    let (web, directory) = (unused_address(), directory());
    let socket = directory.join("l4d");
    let text = format!(
        "[defaults]\nmode = \"http\"\ntimeout = {{ connect = \"1s\", client = \"5s\", server = \"5s\" }}\n[xdp]\ninterfaces = [\"lo\"]\n\
         stats-socket = {{ path = \"{}\" }}\n[frontend.web]\nbind = \"{web}\"\nstats = {{ uri = \"/st\" }}\ndefault-backend = \"app\"\n\
         [backend.app]\nserver = {{ s1 = \"127.0.0.1:1\" }}\n",
        socket.display()
    );
    let _daemon = Daemon::start(&text);
    let shown = |wanted: &str| {
        let end = std::time::Instant::now() + crate::kit::PATIENCE;
        loop {
            let (_, page) = ask(&mut connect(web), "GET /st HTTP/1.1\r\nHost: h\r\n\r\n");
            if page.contains(wanted) {
                return page;
            }
            assert!(std::time::Instant::now() < end, "{wanted}\n{page}");
            thread::sleep(std::time::Duration::from_millis(50));
        }
    };
    shown("Kernel tier: l4d does not answer at ");
    kernel(&socket);
    let page = shown("edge FRONTEND (kernel)<td>OPEN<td>");
    assert!(page.contains("pool/k1 (kernel)<td>UP<td><td>3<td><td>7<td>12345<td>") && page.contains("<td>5.0 MB<td>"), "{page}");
    assert!(page.contains("app/s1<td>no check<td>"), "{page}");
    let _ = std::fs::remove_dir_all(directory);
}
