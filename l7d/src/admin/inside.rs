//! Commands about the process as the system sees it: its descriptors, threads and libraries, and what it said at its start.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::PoisonError;
use std::time::SystemTime;

use control::admin::{Call, Command, Reply};
use control::config::SocketLevel;

use super::{Engine, now};

/// Returns the commands.
pub(super) fn commands() -> Vec<Command<Engine>> {
    use SocketLevel::{Admin, Operator, User};
    vec![
        now("show fd", "[<number>]", "list the open descriptors, or tell of one", Operator, descriptors),
        now("show libs", "", "list the libraries and where they lie in memory", Operator, |_, _| output(libraries())),
        now("show activity", "", "tell what each thread has done", User, |_, _| output(activity())),
        now("show threads", "", "tell what each thread is doing", User, |_, _| output(threads())),
        now("show startup-logs", "", "tell what the configuration in force was warned of", Operator, |engine, _| {
            let said = engine.said.lock().unwrap_or_else(PoisonError::into_inner).clone();
            Reply::Output(if said.is_empty() { "\n".to_owned() } else { said })
        }),
        now("show ssl providers", "", "tell whose cryptography is used", User, |_, _| {
            Reply::Output("Loaded providers : \n\t- aws-lc\n".to_owned())
        }),
        now("show tls-keys", "[<id>]", "list the files with keys of tickets, of which there are none", User, |_, call| {
            match call.word(0) {
                "" | "*" => Reply::Output("# id (file)\n".to_owned()),
                _ => Reply::error("'show tls-keys' unable to locate referenced filename"),
            }
        }),
        // HAProxy's commands about its own inside: refused with the reason, rather than as words that nobody knows.
        now("show pools", "", "(not here)", User, |_, _| refuse("show pools", "memory is the system's; see PoolUsed_MB in 'show info'")),
        now("show tasks", "", "(not here)", User, |_, _| refuse("show tasks", SCHEDULER)),
        now("show profiling", "", "(not here)", Operator, |_, _| refuse("show profiling", SCHEDULER)),
        now("set profiling", "", "(not here)", Admin, |_, _| refuse("set profiling", SCHEDULER)),
        now("set ssl tls-key", "", "(not here)", Admin, |_, _| {
            refuse("set ssl tls-key", "keys of tickets are made by the TLS library, and never leave the process")
        }),
    ]
}

const SCHEDULER: &str = "the scheduler keeps no such counts; 'perf top' tells where the time goes";

fn refuse(words: &str, why: &str) -> Reply {
    Reply::error(format!("'{words}' is not supported: {why}."))
}

/// Answers with what the system says, if it can be asked.
fn output(text: Option<String>) -> Reply {
    text.map_or_else(|| Reply::error("This process does not see /proc, which its root directory lacks."), Reply::Output)
}

impl Engine {
    /// Notes what the configuration in force was warned of.
    pub(crate) fn note_warnings(&self, warnings: &[String]) {
        let pid = std::process::id();
        let lines = warnings.iter().map(|warning| format!("{:<10} ({pid}) : config : {warning}\n", "[WARNING]"));
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = lines.collect();
    }
}

/// A socket, as the system lists it.
struct Listed {
    family: &'static str,
    state: &'static str,
    local: String,
    peer: String,
}

fn descriptors(engine: &Engine, call: &Call) -> Reply {
    let wanted = match call.word(0) {
        "" => None,
        word => match word.parse::<u32>() {
            Ok(number) => Some(number),
            Err(_) => return Reply::error("'show fd' takes the number of a descriptor, or nothing."),
        },
    };
    let Ok(entries) = fs::read_dir("/proc/self/fd") else { return output(None) };
    let number = |entry: fs::DirEntry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, fs::read_link(entry.path()).ok()?));
    let mut all: Vec<_> = entries.filter_map(|entry| number(entry.ok()?)).collect();
    all.retain(|(number, _)| wanted.is_none_or(|wanted| wanted == *number));
    all.sort_unstable();
    let (sockets, site) = (sockets(), engine.site());
    // An address has the name of its family before it.
    let is_at = |address: &str, local: &str| address == local || address.split_once('@').is_some_and(|(_, place)| place == local);
    let door = |local: &str| site.doors().iter().find(|door| is_at(&door.spec().address(), local)).map(|door| door.frontend().name());
    let mut text = String::new();
    for (number, target) in all {
        let target = target.to_string_lossy();
        let inode = target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']'));
        let _ = match inode.and_then(|inode| sockets.get(inode)) {
            Some(Listed { family, state, local, peer }) => {
                let _ = write!(text, "{number:>7} : st={state} fam={family} src={local} dst={peer}");
                match door(local).filter(|_| *state != "EST") {
                    Some(frontend) => writeln!(text, " fe={frontend}"),
                    None => writeln!(text),
                }
            }
            None => writeln!(text, "{number:>7} : {target}"),
        };
    }
    Reply::Output(text)
}

/// Lists the sockets of this network by their inodes.
fn sockets() -> HashMap<String, Listed> {
    let mut all = HashMap::new();
    for (name, family) in [("tcp", "ipv4"), ("tcp6", "ipv6"), ("udp", "ipv4"), ("udp6", "ipv6")] {
        let table = fs::read_to_string(format!("/proc/self/net/{name}")).unwrap_or_default();
        for line in table.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [_, local, peer, state, _, _, _, _, _, inode, ..] = fields.as_slice() else { continue };
            let state = match *state {
                "01" => "EST",
                "02" | "03" => "CON",
                "0A" => "RDY",
                "07" if name.starts_with("udp") => "RDY",
                _ => "CLO",
            };
            let address =
                |text: &str| endpoint(text).filter(|found| found.port() != 0).map_or_else(|| "-".to_owned(), |found| found.to_string());
            all.insert((*inode).to_owned(), Listed { family, state, local: address(local), peer: address(peer) });
        }
    }
    let table = fs::read_to_string("/proc/self/net/unix").unwrap_or_default();
    for line in table.lines().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, _, _, flags, _, _, inode, rest @ ..] = fields.as_slice() else { continue };
        // The flag is that of a socket that accepts.
        let state = if flags.ends_with("10000") { "RDY" } else { "EST" };
        let local = rest.first().map_or_else(|| "-".to_owned(), |path| format!("unix@{path}"));
        all.insert((*inode).to_owned(), Listed { family: "unix", state, local, peer: "-".to_owned() });
    }
    all
}

/// Reads an address as the system writes it: words of the host's order in hexadecimal digits, and a port.
fn endpoint(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let words = ip.as_bytes().chunks(8).map(|word| u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok());
    let words: Vec<[u8; 4]> = words.map(|word| word.map(u32::to_ne_bytes)).collect::<Option<_>>()?;
    let ip: IpAddr = match words.as_slice() {
        [word] => Ipv4Addr::from(*word).into(),
        words => Ipv6Addr::from(<[u8; 16]>::try_from(words.concat()).ok()?).to_canonical(),
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

/// Lists the files that are mapped into the process, each from its first byte to its last.
pub(crate) fn libraries() -> Option<String> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    let mut files: Vec<(u64, u64, &str)> = Vec::new();
    for line in maps.lines() {
        let Some(path) = line.find('/').map(|at| &line[at..]) else { continue };
        let Some((first, last)) = line.split(' ').next().and_then(|range| range.split_once('-')) else { continue };
        let (first, last) = (u64::from_str_radix(first, 16).ok()?, u64::from_str_radix(last, 16).ok()?);
        match files.iter_mut().find(|(.., known)| *known == path) {
            Some((_, end, _)) => *end = last,
            None => files.push((first, last, path)),
        }
    }
    let line = |(first, last, path): &(u64, u64, &str)| format!("{first:#012x}-{:#012x} ({:#09x}) {path}\n", last - 1, last - first);
    Some(files.iter().map(line).collect())
}

/// A thread, as the system sees it.
struct Thread {
    id: u32,
    name: String,
    state: char,
    switches: u64,
    /// On a processor, and waiting for one, in nanoseconds.
    ran: u64,
    waited: u64,
}

fn all_threads() -> Option<Vec<Thread>> {
    let entries = fs::read_dir("/proc/self/task").ok()?;
    let mut all: Vec<Thread> = entries.filter_map(|entry| thread(entry.ok()?.file_name().to_str()?.parse().ok()?)).collect();
    all.sort_unstable_by_key(|thread| thread.id);
    Some(all)
}

/// Looks at a thread; none if it has just ended.
fn thread(id: u32) -> Option<Thread> {
    let read = |name: &str| fs::read_to_string(format!("/proc/self/task/{id}/{name}")).ok();
    let status = read("status")?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).unwrap_or_default();
    let number = |name: &str| field(name).parse::<u64>().unwrap_or(0);
    let times = read("schedstat").unwrap_or_default();
    let mut times = times.split_whitespace().map(|word| word.parse().unwrap_or(0));
    Some(Thread {
        id,
        name: field("Name:").to_owned(),
        state: field("State:").chars().next().unwrap_or('?'),
        switches: number("voluntary_ctxt_switches:") + number("nonvoluntary_ctxt_switches:"),
        ran: times.next().unwrap_or(0),
        waited: times.next().unwrap_or(0),
    })
}

fn activity() -> Option<String> {
    let all = all_threads()?;
    let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut text = format!("thread_id: 1 (1..{})\ndate_now: {}.{:06}\n", all.len(), time.as_secs(), time.subsec_micros());
    let mut line = |name: &str, of: fn(&Thread) -> u64| {
        let each: Vec<String> = all.iter().map(|thread| of(thread).to_string()).collect();
        let _ = writeln!(text, "{name}: {} [ {} ]", all.iter().map(of).sum::<u64>(), each.join(" "));
    };
    line("ctxsw", |thread| thread.switches);
    line("cpu_ms_tot", |thread| thread.ran / 1_000_000);
    line("cpust_ms_tot", |thread| thread.waited / 1_000_000);
    Some(text)
}

fn threads() -> Option<String> {
    let own = rustix::thread::gettid().as_raw_nonzero().get();
    let line = |(number, thread): (usize, Thread)| {
        let mark = if i64::from(thread.id) == i64::from(own) { '*' } else { ' ' };
        let Thread { id, name, state, ran, waited, .. } = thread;
        let act = u8::from(state == 'R');
        format!("{mark} Thread {number} : id={id} name={name} act={act} state={state}\n             cpu_ns: now={ran} waited={waited}\n")
    };
    Some((1..).zip(all_threads()?).map(line).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_the_system_writes_them() {
        if cfg!(target_endian = "little") {
            assert_eq!(endpoint("0100007F:1F90"), "127.0.0.1:8080".parse().ok());
            assert_eq!(endpoint("00000000000000000000000001000000:0050"), "[::1]:80".parse().ok());
        }
        assert_eq!(endpoint("0100007F"), None);
        assert_eq!(endpoint("x:1"), None);
    }
}
