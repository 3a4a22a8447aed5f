//! The configuration of a site, as something tests can change a part of.

use std::fmt::{self, Write as _};

use tests::topology::{Family, Lab};

use crate::site::{PORT, Plan, SERVER_PORT};

/// A server of both backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    /// Which machine of the lab.
    pub(crate) index: usize,
    pub(crate) weight: u16,
    pub(crate) backup: bool,
}

/// One frontend and backend for each family, over TCP and UDP, with the same servers.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) plan: Plan,
    pub(crate) servers: Vec<Server>,
    /// More lines of `[xdp]`.
    pub(crate) xdp: String,
    /// Settings of every check.
    pub(crate) check: &'static str,
    /// Ports the frontends serve besides the usual one.
    pub(crate) more_ports: Vec<u16>,
    /// Whether servers are reached by the other family than clients use.
    pub(crate) crossed: bool,
    /// More keys of `xdp` of every frontend, each after a comma.
    pub(crate) frontend_xdp: &'static str,
}

impl File {
    /// Describes a plan with all servers of the lab at the same weight.
    pub(crate) fn new(plan: Plan) -> Self {
        let servers = (0..usize::from(plan.servers)).map(|index| Server { index, weight: 1, backup: false }).collect();
        Self { plan, servers, xdp: String::new(), check: PATIENT, more_ports: Vec::new(), crossed: false, frontend_xdp: "" }
    }

    /// Takes chance out of the hashes: which addresses go where is the same in every run.
    pub(crate) fn with_fixed_key(mut self) -> Self {
        self.xdp += "hash-key = \"000102030405060708090a0b0c0d0e0f\"\n";
        self
    }

    /// Gives the server on a machine a weight.
    pub(crate) fn weigh(&mut self, index: usize, weight: u16) {
        self.servers.iter_mut().filter(|server| server.index == index).for_each(|server| server.weight = weight);
    }

    /// Returns the port servers listen on.
    pub(crate) fn server_port(&self) -> u16 {
        if self.plan.is_translated() { SERVER_PORT } else { PORT }
    }

    /// Returns the text of the file.
    pub(crate) fn text(&self, lab: &Lab) -> String {
        self.write(lab).expect("a string takes all text")
    }

    fn write(&self, lab: &Lab) -> Result<String, fmt::Error> {
        let devices = quoted(lab.balancer_devices());
        let sources = quoted(Family::BOTH.map(|family| lab.balancer_source(family)));
        let mut text = String::new();
        writeln!(text, "[xdp]\ninterfaces = [{devices}]\nsource-addresses = [{sources}]")?;
        writeln!(text, "pin = \"/sys/fs/bpf/{}\"\nmetrics = \"{METRICS}\"\n{}", lab.balancer().namespace().name(), self.xdp)?;
        writeln!(text, "[defaults]\ntimeout = {{ connect = \"1s\", client = \"30s\", server = \"30s\" }}")?;
        for (name, family) in [("v4", Family::V4), ("v6", Family::V6)] {
            self.write_pool(&mut text, lab, name, family)?;
        }
        Ok(text)
    }

    fn write_pool(&self, text: &mut String, lab: &Lab, name: &str, family: Family) -> fmt::Result {
        let Plan { forward, balance, .. } = self.plan;
        // The kernel tier names a hash that HAProxy has no balance for with a key of its own.
        let (balance, hash) = if balance == "tuple" { ("source", ", hash = \"tuple\"") } else { (balance, "") };
        let ports = [PORT].iter().chain(&self.more_ports);
        let binds = ports.flat_map(|&port| {
            let vip = lab.vip(family, port);
            [vip.to_string(), format!("udp@{vip}")]
        });
        writeln!(text, "\n[frontend.{name}]\nmode = \"tcp\"\nbind = [{}]", quoted(binds))?;
        writeln!(text, "xdp = {{ forward = \"{forward}\"{hash}{} }}\ndefault-backend = \"{name}\"", self.frontend_xdp)?;
        writeln!(text, "\n[backend.{name}]\nmode = \"tcp\"\nbalance = \"{balance}\"\ncheck = {{ tcp = {{}}, {} }}", self.check)?;
        writeln!(text, "\n[backend.{name}.server]")?;
        for Server { index, weight, backup } in &self.servers {
            let address = lab.backends()[*index].at(if self.crossed { other(family) } else { family }, self.server_port());
            writeln!(text, "backend{} = {{ address = \"{address}\", weight = {weight}, backup = {backup} }}", index + 1)?;
        }
        Ok(())
    }
}

fn other(family: Family) -> Family {
    match family {
        Family::V4 => Family::V6,
        Family::V6 => Family::V4,
    }
}

fn quoted(items: impl IntoIterator<Item = impl fmt::Display>) -> String {
    items.into_iter().map(|item| format!("\"{item}\"")).collect::<Vec<_>>().join(", ")
}

/// Where l4d answers Prometheus, within the balancer's namespace.
pub(crate) const METRICS: &str = "127.0.0.1:9100";

/// Notices a refused connection at once, and a busy machine never.
const PATIENT: &str = "inter = \"100ms\", fall = 2, rise = 1, timeout = \"2s\"";

/// Notices silence soon.
pub(crate) const STRICT: &str = "inter = \"100ms\", fall = 2, rise = 1, timeout = \"300ms\"";
