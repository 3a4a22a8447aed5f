//! The probe that connects, and the connecting of the others.

use std::io;

use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::config::Check;
use crate::fleet::CheckResult;

/// What a probe found: the result and, where that does not say it all, what went wrong.
pub(super) type Finding = (CheckResult, String);

/// Connects and hangs up.
pub(super) async fn probe(check: &Check) -> Finding {
    match connect(check).await {
        Ok(_) => (CheckResult::Connected, String::new()),
        Err(finding) => finding,
    }
}

/// Connects to the target; dropping the stream sends a reset, which leaves nothing behind on either side.
pub(super) async fn connect(check: &Check) -> Result<TcpStream, Finding> {
    let target = check.target();
    let socket = if target.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let socket = socket.map_err(|error| not_probed(&error))?;
    socket.set_zero_linger().map_err(|error| not_probed(&error))?;
    match timeout(check.connect_timeout(), socket.connect(target)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) if is_ours(&error) => Err(not_probed(&error)),
        Ok(Err(error)) => Err((CheckResult::ConnectFailed, error.kind().to_string())),
        Err(_) => Err((CheckResult::ConnectTimeout, String::new())),
    }
}

/// Tells whether connecting failed for want of something on this host: a free port, memory.
fn is_ours(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::OutOfMemory | io::ErrorKind::WouldBlock)
}

fn not_probed(error: &io::Error) -> Finding {
    (CheckResult::NotProbed, error.to_string())
}
