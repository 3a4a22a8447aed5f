//! `l4d decap`: the other end of tunnels, for servers whose kernel has none.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use clap::{ArgGroup, Args};

use crate::{
    datapath::{Interface, decap},
    neighbor::interface::{interface_addresses, interface_index, interface_link},
};

/// What the command is told.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("instead").multiple(false))]
pub(crate) struct DecapArgs {
    /// The interface by which tunnels arrive.
    interface: String,
    /// An address at which tunnels end; may be repeated. Without it, the addresses the interface has now.
    #[arg(short, long, value_name = "ADDRESS")]
    address: Vec<IpAddr>,
    /// The UDP port of tunnels by gue.
    #[arg(short, long, value_name = "PORT", default_value_t = 6080)]
    port: u16,
    /// Takes the program off.
    #[arg(long, group = "instead")]
    off: bool,
    /// Shows how many packets came by tunnels.
    #[arg(long, group = "instead")]
    show: bool,
    /// Where program and counts are pinned; /INTERFACE is added.
    #[arg(long, value_name = "DIR", default_value = "/sys/fs/bpf/l4d-decap")]
    pin: PathBuf,
}

/// Carries out the command and returns what to print.
///
/// # Errors
/// Why it could not be.
pub(crate) fn run(args: &DecapArgs) -> anyhow::Result<String> {
    let name = &args.interface;
    ensure!(!name.contains('/') && name != "..", "{name}: not the name of an interface");
    let pin = args.pin.join(name);
    if args.off {
        let found = decap::detach(&pin)?;
        return Ok(if found { format!("{name}: no longer decapsulates\n") } else { format!("{name}: nothing to take off\n") });
    }
    if args.show {
        return show(&pin).with_context(|| format!("{name}: nothing decapsulates here"));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    let (interface, own) = runtime.block_on(look(name)).with_context(|| format!("interface `{name}`"))?;
    let ends = if args.address.is_empty() { own } else { args.address.clone() };
    ensure!(!ends.is_empty(), "interface `{name}` has no address: name the one at which tunnels end with --address");
    let mode = decap::attach(&pin, &interface, &ends, args.port)?;
    let listed: Vec<String> = ends.iter().map(ToString::to_string).collect();
    Ok(format!("{name}: decapsulates ipip and gue (UDP port {}) for {}, {mode} mode\n", args.port, listed.join(" ")))
}

fn show(pin: &Path) -> anyhow::Result<String> {
    let counts = decap::counts(pin)?;
    Ok(counts.into_iter().map(|(fate, count)| format!("{:<10} {count:>12}\n", fate.name())).collect())
}

async fn look(name: &str) -> anyhow::Result<(Interface, Vec<IpAddr>)> {
    let index = interface_index(name).await?;
    let (address, mtu) = interface_link(index).await?;
    Ok((Interface { name: name.to_owned(), index, address, mtu }, interface_addresses(index).await?))
}
