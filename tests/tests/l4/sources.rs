//! Clients with many addresses: a network of its own behind the client's machine.

use std::{
    collections::BTreeMap,
    io::{self, ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use socket2::{Domain, Protocol, Socket, Type};
use tests::{
    link,
    topology::{Family, Lab},
    wait::{eventually, uninterrupted},
};

/// Makes every address of two networks the client's, and tells everyone where they are.
pub(crate) fn add(lab: &Lab) -> Result<()> {
    link::batch(lab.client_host().namespace(), &format!("route add local {NETWORK_V4} dev lo\nroute add local {NETWORK_V6} dev lo\n"))?;
    let [v4, v6] = Family::BOTH.map(|family| lab.client_host().address(family));
    let routes = format!("route add {NETWORK_V4} via {v4}\nroute add {NETWORK_V6} via {v6}\n");
    link::batch(lab.balancer().namespace(), &routes)?;
    let same_subnet = lab.balancer_devices().len() == 1;
    // Behind two arms the backends have a default route.
    lab.backends().iter().filter(|_| same_subnet).try_for_each(|backend| link::batch(backend.namespace(), &routes))
}

/// Returns one of the client's addresses.
pub(crate) fn address(family: Family, number: u16) -> IpAddr {
    let [high, low] = number.to_be_bytes();
    match family {
        Family::V4 => Ipv4Addr::new(10, 99, high, low).into(),
        Family::V6 => Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, number).into(),
    }
}

/// Opens a connection from an address, and a port unless that is 0; all it does has a deadline.
pub(crate) fn connect(lab: &Lab, from: SocketAddr, to: SocketAddr) -> Result<TcpStream> {
    lab.client_host().namespace().run(|| connect_from_here(from, to))
}

/// Asks once over TCP who serves an address.
pub(crate) fn who(lab: &Lab, from: SocketAddr, to: SocketAddr) -> Result<String> {
    lab.client_host().namespace().run(|| who_from_here(from, to))
}

/// Asks from many addresses who serves them, one after the other, and counts who answered.
pub(crate) fn distribution(
    lab: &Lab,
    from: impl IntoIterator<Item = SocketAddr> + Send,
    to: SocketAddr,
) -> Result<BTreeMap<String, usize>> {
    lab.client_host().namespace().run(|| {
        let mut answers = BTreeMap::new();
        for from in from {
            *answers.entry(who_from_here(from, to)?).or_default() += 1;
        }
        Ok(answers)
    })
}

/// Opens a UDP socket from an address.
pub(crate) fn udp(lab: &Lab, from: SocketAddr, to: SocketAddr) -> Result<UdpSocket> {
    lab.client_host().namespace().run(|| {
        let socket: UdpSocket = bound(Type::DGRAM, Protocol::UDP, from)?.into();
        socket.set_read_timeout(Some(DEADLINE))?;
        socket.connect(to)?;
        Ok(socket)
    })
}

/// Sends a datagram and returns which server echoed it.
pub(crate) fn ask(socket: &UdpSocket, payload: &str) -> Result<String> {
    socket.send(payload.as_bytes()).context("send a datagram")?;
    let mut reply = [0; 1500];
    let length = uninterrupted(|| socket.recv(&mut reply)).context("wait for a datagram")?;
    let reply = String::from_utf8_lossy(&reply[..length]).into_owned();
    ensure!(reply.ends_with(payload), "`{payload}` came back as `{reply}`");
    Ok(reply.split(' ').next().unwrap_or_default().to_owned())
}

/// Asks as [`who`] does, on a thread that is in a namespace already.
pub(crate) fn who_from_here(from: SocketAddr, to: SocketAddr) -> Result<String> {
    let mut stream = connect_from_here(from, to)?;
    stream.write_all(b"who\n")?;
    // To the end: whoever closes first holds the pair of ports for a while, and that shall be the server.
    let mut line = String::new();
    stream.read_to_string(&mut line).with_context(|| format!("ask {to} from {from}"))?;
    let (server, client) = line.trim_end().split_once(' ').with_context(|| format!("not an answer: `{line}`"))?;
    client.parse::<SocketAddr>().with_context(|| format!("not an answer: `{line}`"))?;
    Ok(server.to_owned())
}

fn connect_from_here(from: SocketAddr, to: SocketAddr) -> Result<TcpStream> {
    // A former connection over the same ports may need a moment to hear that its end was heard.
    let attempt = || match open(from, to) {
        Err(error) if error.kind() == ErrorKind::AddrNotAvailable => None,
        outcome => Some(outcome),
    };
    let what = format!("a connection from {from} to {to}");
    let stream = eventually(DEADLINE, &what, attempt)?.context(what)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn open(from: SocketAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = bound(Type::STREAM, Protocol::TCP, from)?;
    socket.connect_timeout(&to.into(), DEADLINE)?;
    Ok(socket.into())
}

fn bound(kind: Type, protocol: Protocol, from: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(from), kind, Some(protocol))?;
    socket.set_reuse_address(kind == Type::STREAM)?;
    match from {
        SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
        SocketAddr::V6(_) => socket.set_freebind_v6(true)?,
    }
    socket.bind(&from.into())?;
    Ok(socket)
}

const NETWORK_V4: &str = "10.99.0.0/16";
const NETWORK_V6: &str = "fd99::/64";

const DEADLINE: Duration = Duration::from_secs(5);
