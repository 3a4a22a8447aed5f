//! Programs that others wrote: a WebSocket client and server, and nginx.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::site;
use crate::kit::{Daemon, PATIENCE, directory, unused_address};

/// A child process that is killed when dropped.
pub(super) struct Running(pub(super) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(super) fn wait_until_served(address: SocketAddr) {
    let end = Instant::now() + PATIENCE;
    while std::net::TcpStream::connect(address).is_err() {
        assert!(Instant::now() < end, "nobody listens on {address}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Debian's interpreter, for which `cargo xtask setup` installs the modules.
pub(super) const PYTHON: &str = "/usr/bin/python3";

const SERVER: &str = r#"
import asyncio, sys, websockets
async def echo(socket):
    async for message in socket:
        await socket.send(message)
async def main():
    async with websockets.serve(echo, sys.argv[1], int(sys.argv[2]), max_size=None):
        await asyncio.Future()
asyncio.run(main())
"#;

const CLIENT: &str = r#"
import asyncio, os, sys, websockets
async def main():
    async with websockets.connect(sys.argv[1], max_size=None, compression=None) as socket:
        for size in (0, 1, 125, 126, 65535, 65536, 3000000):
            message = os.urandom(size)
            await socket.send(message)
            assert await socket.recv() == message, size
        await (await socket.ping())
        sent = [str(number) for number in range(500)]
        await asyncio.gather(*(socket.send(text) for text in sent))
        assert [await socket.recv() for _ in sent] == sent
        await socket.close(code=4000, reason="enough")
        assert socket.close_code == 4000, socket.close_code
    print("content")
asyncio.run(main())
"#;

#[test]
fn websocket_library_is_content() {
    let (back, front) = (unused_address(), unused_address());
    let command = [SERVER.to_owned(), back.ip().to_string(), back.port().to_string()];
    let _server = Running(Command::new(PYTHON).arg("-c").args(command).stderr(Stdio::null()).spawn().unwrap());
    wait_until_served(back);
    let _daemon = Daemon::start(&site(front, "", &[back]));
    let output = Command::new("timeout").args(["60", PYTHON, "-c", CLIENT]).arg(format!("ws://{front}/chat")).output().unwrap();
    assert!(output.stdout == b"content\n", "{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
}

#[test]
fn nginx_is_content_and_so_is_curl() {
    let (back, front) = (unused_address(), unused_address());
    let directory = directory();
    let path = directory.display();
    let body: Vec<u8> = (0..5_000_000u32).map(|number| number.to_le_bytes()[1] ^ number.to_le_bytes()[0]).collect();
    std::fs::write(directory.join("large"), &body).unwrap();
    let config = format!(
        "daemon off; master_process off; pid {path}/pid; error_log stderr; events {{ }}\nhttp {{ access_log off; client_body_temp_path {path}/b; \
         proxy_temp_path {path}/p; fastcgi_temp_path {path}/f; uwsgi_temp_path {path}/u; scgi_temp_path {path}/s; client_max_body_size 0;\n\
         server {{ listen {back}; root {path}; location /old {{ return 200 'old'; }} location /gone {{ return 410; }}\n\
         location /none {{ return 204; }} }} }}\n"
    );
    std::fs::write(directory.join("nginx.conf"), config).unwrap();
    let mut nginx = Command::new("/usr/sbin/nginx");
    nginx.arg("-c").arg(directory.join("nginx.conf")).arg("-p").arg(&directory).stderr(Stdio::null());
    let _nginx = Running(nginx.spawn().unwrap());
    wait_until_served(back);
    let _daemon = Daemon::start(&site(front, "", &[back]));
    let curl = |arguments: &[&str], paths: &[&str]| {
        let urls: Vec<String> = paths.iter().map(|path| format!("http://{front}{path}")).collect();
        let output = Command::new("curl").args(["-sS", "--max-time", "60"]).args(arguments).args(&urls).output().unwrap();
        assert!(output.status.success(), "{arguments:?} {paths:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    assert!(curl(&[], &["/large"]) == body);
    assert!(curl(&["-r", "1000-4000999"], &["/large"]) == body[1000..=4_000_999]);
    assert_eq!(curl(&["-0", "-H", "Host:"], &["/old"]), b"old", "no server of HTTP/1.1 would take this without a host");
    assert_eq!(curl(&["-0"], &["/old", "/old"]), b"oldold");
    assert_eq!(curl(&["-w", "%{http_code} ", "-o", "/dev/null"], &["/gone"]), b"410 ");
    assert_eq!(curl(&["-w", "%{http_code}", "-I", "-o", "/dev/null"], &["/large"]), b"200");
    assert_eq!(curl(&["-w", "%{http_code}"], &["/none"]), b"204");
    let upload = format!("@{path}/large");
    assert_eq!(curl(&["-w", "%{http_code}", "-o", "/dev/null", "-T", upload.trim_start_matches('@')], &["/upload"]), b"405");
    assert_eq!(curl(&["-w", "%{http_code}", "-o", "/dev/null", "--data-binary", &upload], &["/old"]), b"200");
    std::fs::remove_dir_all(&directory).unwrap();
}
