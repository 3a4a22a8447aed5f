//! Serves a client in mode `tcp`: chooses a server, connects to it, and carries bytes.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use control::tls::Host;
use tracing::info;

use crate::balance::Seen;
use crate::error::ExchangeError;
use crate::inspect;
use crate::log::Record;
use crate::rules::{Scene, View};
use crate::session::Client;
use crate::site::{Backend, Frontend, Names, Server};
use crate::stream::Stream;
use crate::tunnel::{self, End, Ends, Quiet};
use crate::upstream::connect::{Inbound, connect};
use crate::upstream::pursuit::{Pursuit, Verdict};

/// Serves the client until either side is done.
pub(crate) async fn serve(client: &mut Client, frontend: &Frontend) {
    let mut record = Record::new(client.source, frontend, Instant::now());
    record.privacy(client.stream.privacy());
    if let Err(error) = carry(client, frontend, &mut record).await {
        info!("{} on frontend {}: {error}", client.source, frontend.name());
        record.fail(&error);
    }
    record.write_tcp(frontend);
}

async fn carry<'a>(client: &mut Client, frontend: &'a Frontend, record: &mut Record<'a>) -> Result<(), ExchangeError> {
    let named = match frontend.names() {
        Some(names) => Box::pin(by_name(client, names)).await,
        None => None,
    };
    let backend = named.or_else(|| route(client, frontend)).ok_or(ExchangeError::NoBackend)?;
    record.backend(backend);
    let (server, _pursuit) = dial(client, frontend, backend, record).await?;
    let ends = Ends { client: End::Bytes(&client.stream), server: End::Bytes(&server), early: client.early.take() };
    let carried = tunnel::run(ends, Quiet::of(frontend.timeouts(), backend.timeouts()), &mut client.deadline).await;
    record.tunnel(&carried);
    if carried.to_server == 0 && frontend.ignores_null() {
        record.silence();
    }
    Ok(())
}

/// Waits for the name a client asks for, and returns the backend that serves it.
async fn by_name<'a>(client: &mut Client, names: &'a Names) -> Option<&'a Arc<Backend>> {
    let hello = inspect::look(client, names.delay(), inspect::client_hello).await??;
    names.backend(&hello.server_name?)
}

/// Chooses the backend by what is known of the connection.
fn route<'a>(client: &Client, frontend: &'a Frontend) -> Option<&'a Arc<Backend>> {
    let scene = client.scene(frontend);
    frontend.route(&View { scene: &scene, request: None, response: None, memory: &client.memory })
}

/// Returns the host that a server is asked for in the handshake of TLS.
fn host_for<'s>(server: &'s Server, client: &Client, frontend: &Frontend, backend: &Backend) -> Option<Cow<'s, [u8]>> {
    if !server.wants_host() {
        return None;
    }
    let scene = Scene { backend: Some(backend.name()), ..client.scene(frontend) };
    server.host(&View { scene: &scene, request: None, response: None, memory: &client.memory })
}

/// Connects to a server, trying again and elsewhere as the backend allows.
async fn dial<'a>(
    client: &mut Client,
    frontend: &'a Frontend,
    backend: &'a Arc<Backend>,
    record: &mut Record<'a>,
) -> Result<(Stream, Pursuit<'a>), ExchangeError> {
    let mut pursuit = Pursuit::begin(backend, backend.key(Seen { client: client.source, request: None }), &mut client.deadline).await?;
    record.queued();
    loop {
        let server = pursuit.server();
        record.server(server, pursuit.failed());
        let host = host_for(server, client, frontend, backend);
        let host = host.as_deref().map_or(Host::Unstated, Host::Named);
        let inbound = Inbound { client: client.source, destination: client.destination, socket: Some(client.stream.socket()), host };
        record.connecting();
        let error = match connect(backend, server, inbound, &mut client.deadline).await {
            Ok(stream) => {
                record.connected();
                return Ok((stream, pursuit));
            }
            Err(error) => error,
        };
        info!("{} to server {}/{}: {error}", client.source, backend.name(), server.name());
        if pursuit.after_failure(&mut client.deadline).await? == Verdict::GiveUp {
            return Err(error.into());
        }
    }
}
