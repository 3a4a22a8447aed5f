//! Commands that close the doors of frontends, and open them again.

use control::admin::{Call, Command, Reply};
use tokio::sync::oneshot;

use super::{Engine, later};
use crate::site::Gate;
use crate::worker::Order;

/// Returns the commands.
pub(super) fn commands() -> Vec<Command<Engine>> {
    vec![
        later("disable frontend", "<frontend>", "stop accepting connections for a while", |engine, call| {
            Box::pin(turn(engine, call, Gate::Held))
        }),
        later("enable frontend", "<frontend>", "accept connections again", |engine, call| Box::pin(turn(engine, call, Gate::Open))),
        later("shutdown frontend", "<frontend>", "close a frontend until the next reload", |engine, call| {
            Box::pin(turn(engine, call, Gate::Closed))
        }),
    ]
}

async fn turn(engine: Engine, call: Call, wanted: Gate) -> Reply {
    let site = engine.site();
    if call.word(0).is_empty() {
        return Reply::error("A frontend name is expected.");
    }
    let Some(frontend) = site.frontends().find(|frontend| frontend.name() == call.word(0)) else {
        return Reply::error("No such frontend.");
    };
    match (frontend.gate(), wanted) {
        (Gate::Closed, Gate::Closed) => return Reply::error("Frontend was already shut down."),
        (Gate::Closed, _) => return Reply::error("Frontend was previously shut down, cannot enable."),
        (Gate::Held, Gate::Held) => return Reply::error("All sockets are already disabled."),
        (Gate::Open, Gate::Open) => return Reply::error("All sockets are already enabled."),
        (Gate::Open | Gate::Held, _) => {}
    }
    frontend.turn(wanted);
    engine
        .tell_workers(|done| match wanted {
            Gate::Open => Order::Resume(call.word(0).to_owned(), done),
            Gate::Held => Order::Hold(call.word(0).to_owned(), done),
            Gate::Closed => Order::Close(call.word(0).to_owned(), done),
        })
        .await;
    Reply::Done
}

impl Engine {
    /// Tells every worker the same, and waits until all have done it.
    async fn tell_workers(&self, order: impl Fn(oneshot::Sender<()>) -> Order) {
        for worker in self.workers.iter().filter_map(tokio::sync::mpsc::WeakSender::upgrade) {
            let (done, finished) = oneshot::channel();
            if worker.send(order(done)).await.is_ok() {
                // A worker that drains accepts nothing anyway.
                let _ = finished.await;
            }
        }
    }
}
