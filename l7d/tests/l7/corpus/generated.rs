//! Requests as odd as they may be, put together at random from a seed.

use std::env;
use std::fmt::Write;

/// The seed of a run: `L7D_SEED`, or always the same one.
pub(super) fn seed() -> u64 {
    number("L7D_SEED").unwrap_or(1)
}

/// How many requests each configuration is asked: `L7D_REQUESTS`, or a few.
pub(super) fn count() -> usize {
    number("L7D_REQUESTS").and_then(|count| usize::try_from(count).ok()).unwrap_or(15)
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

/// Returns so many requests without the line that ends their head, the same ones for a seed and a name.
pub(super) fn requests(seed: u64, name: &str, count: usize) -> Vec<String> {
    let mix = |state: u64, byte: u8| (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let state = seed.to_le_bytes().into_iter().chain(name.bytes()).fold(0x9e37_79b9_7f4a_7c15, mix);
    let mut draw = Draw(state);
    (0..count).map(|_| draw.request()).collect()
}

/// A source of numbers.
struct Draw(u64);

impl Draw {
    /// Draws a number below another one.
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % most
    }

    fn of<'t>(&mut self, list: &[&'t str]) -> &'t str {
        list[self.below(list.len())]
    }

    fn request(&mut self) -> String {
        let method = self.of(&METHODS);
        let (host, mut head) = {
            let host = if self.below(20) == 0 { "a.b.c.example.org:81" } else { self.of(&HOSTS) };
            (host, format!("{method} {} HTTP/1.1\r\n", self.target(host)))
        };
        write!(head, "{}: {host}\r\n", self.cased("Host")).unwrap();
        for _ in 0..self.below(7) {
            let field = self.field();
            head.push_str(&field);
        }
        if matches!(method, "POST" | "PUT" | "PATCH") {
            head.push_str("Content-Length: 2\r\n");
        }
        head
    }

    fn target(&mut self, host: &str) -> String {
        let mut target = String::new();
        for _ in 0..=self.below(4) {
            target.push('/');
            for _ in 0..self.below(3) {
                target.push_str(self.of(&PIECES));
            }
        }
        if self.below(3) == 0 {
            target.push('?');
            for number in 0..self.below(4) {
                let joint = if number == 0 { "" } else { self.of(&["&", "&", "&&", ";"]) };
                write!(target, "{joint}{}{}{}", self.of(&KEYS), self.of(&["=", "=", "", "=="]), self.of(&PIECES)).unwrap();
            }
        }
        if self.below(12) == 0 { format!("http://{host}{target}") } else { target }
    }

    fn field(&mut self) -> String {
        let name = self.of(&NAMES);
        if name == "Accept-Encoding" {
            return format!("{name}: {}\r\n", self.of(&CODINGS));
        }
        if name == "Cookie" {
            return format!("{}: {}\r\n", self.cased(name), self.of(&COOKIES));
        }
        let name = self.cased(name);
        let value = match self.below(8) {
            0 => String::new(),
            1 => self.of(&PIECES).repeat(self.below(200)),
            2 => format!("{}, {},{}", self.of(&VALUES), self.of(&VALUES), self.of(&VALUES)),
            _ => self.of(&VALUES).to_owned(),
        };
        let blank = self.of(&["", " ", " ", " ", "  ", "\t"]);
        format!("{name}:{blank}{value}{}\r\n", self.of(&["", "", "", " ", "\t "]))
    }

    /// Writes a name in letters of any case.
    fn cased(&mut self, name: &str) -> String {
        match self.below(4) {
            0 => name.to_ascii_lowercase(),
            1 => name.to_ascii_uppercase(),
            2 => name.chars().map(|c| if self.below(2) == 0 { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() }).collect(),
            _ => name.to_owned(),
        }
    }
}

const METHODS: [&str; 9] = ["GET", "GET", "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"];
const HOSTS: [&str; 7] = ["www", "a.example.org", "b.EXAMPLE.org", "www.example.org", "moved.example.org", "none", "www.example.org:8080"];
const PIECES: [&str; 30] = [
    "a",
    "b",
    "api",
    "v1",
    "v2",
    "admin",
    "static",
    "img",
    "x.png",
    ".",
    "..",
    "%2e",
    "%2F",
    "%41",
    "%zz",
    "%",
    "%00",
    "+",
    "~",
    "-_",
    "*",
    "'",
    "(x)",
    ":",
    "@",
    "=",
    ",",
    "IN",
    "login",
    "index.php",
];
const KEYS: [&str; 8] = ["q", "sid", "debug", "next", "Q", "a%20b", "", "x[]"];
const NAMES: [&str; 16] = [
    "X-Canary",
    "X-Api-Key",
    "X-Real-IP",
    "X-Forwarded-For",
    "Accept",
    "Accept-Language",
    "Accept-Encoding",
    "User-Agent",
    "Referer",
    "Origin",
    "X-Channel",
    "X-Custom",
    "Via",
    "Authorization",
    "X-Forwarded-Proto",
    "Cookie",
];
const COOKIES: [&str; 9] = [
    "canary=yes; group=b",
    "group=a, canary=1",
    "PHPSESSID=abc; SRV=none",
    "SRV=a; SRV=b",
    "seen",
    "a=\"x;group=b\"; group=c",
    "=; ;group=a",
    "group==b;;x=y",
    "JSESSIONID=a~b;Path=/",
];
const CODINGS: [&str; 6] = ["gzip", "*", "gzip;q=0.5, deflate", "identity", "br", "deflate;q=0,gzip"];
const VALUES: [&str; 18] = [
    "1",
    "yes",
    "beta",
    "\"quoted, \\\" text\"",
    "a b  c",
    "198.51.100.7",
    "2001:db8::1",
    "gzip",
    "de;q=0.8",
    "*/*",
    "Mozilla/5.0 (X11; y)",
    "some bot/1",
    "https://www.example.org",
    "Basic YW5uOnNlY3JldA==",
    "Basic ====",
    "Bearer x.y.z",
    "canary=yes; group=b",
    "PHPSESSID=abc; SRV=a",
];
