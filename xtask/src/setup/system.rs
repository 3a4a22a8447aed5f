//! What the kernel and the caller's rights allow.

use std::fs;
use std::path::Path;

use anyhow::Result;

use crate::process;

/// Where pinned maps live.
pub(crate) const BPFFS: &str = "/sys/fs/bpf";

/// Capabilities that loading programs and making namespaces take: their numbers in `linux/capability.h`, and names.
const CAPABILITIES: [(u32, &str); 3] = [(12, "CAP_NET_ADMIN"), (21, "CAP_SYS_ADMIN"), (39, "CAP_BPF")];

/// Whether the caller may load programs and make namespaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Privilege {
    User,
    /// Root of a container that lacks the named capabilities.
    Confined(Vec<&'static str>),
    Root,
}

/// Facts about the running system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct System {
    pub(crate) privilege: Privilege,
    /// Whether bpffs is mounted where pins are kept.
    pub(crate) bpffs: bool,
    /// Whether the kernel describes its own types.
    pub(crate) btf: bool,
    /// Whether programs are compiled to machine code; unknown in a network namespace other than the first.
    pub(crate) jit: Option<bool>,
}

impl System {
    /// Asks the running system.
    pub(crate) fn probe() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let jit = read("/proc/sys/net/core/bpf_jit_enable");
        Self {
            privilege: privilege(&read("/proc/self/status")),
            bpffs: has_bpffs(&read("/proc/self/mounts")),
            btf: Path::new("/sys/kernel/btf/vmlinux").is_file(),
            jit: (!jit.is_empty()).then(|| jit.trim() != "0"),
        }
    }
}

/// Mounts bpffs.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn mount_bpffs() -> Result<()> {
    process::run(process::command("mount").args(["-t", "bpf", "bpf", BPFFS]))
}

/// Reads effective user and capabilities from the text of `/proc/self/status`.
fn privilege(status: &str) -> Privilege {
    let words = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default().split_whitespace();
    if words("Uid:").nth(1) != Some("0") {
        return Privilege::User;
    }
    let effective = words("CapEff:").next().and_then(|mask| u64::from_str_radix(mask, 16).ok()).unwrap_or_default();
    let lacking: Vec<_> = CAPABILITIES.iter().filter(|(bit, _)| effective >> bit & 1 == 0).map(|(_, name)| *name).collect();
    if lacking.is_empty() { Privilege::Root } else { Privilege::Confined(lacking) }
}

fn has_bpffs(mounts: &str) -> bool {
    mounts.lines().any(|line| {
        let mut words = line.split(' ').skip(1);
        words.next() == Some(BPFFS) && words.next() == Some("bpf")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(uid: u32, capabilities: &str) -> String {
        format!("Name:\txtask\nUid:\t1000\t{uid}\t0\t0\nCapInh:\t0\nCapEff:\t{capabilities}\n")
    }

    #[test]
    fn privilege_is_read_from_effective_user_and_capabilities() {
        assert_eq!(privilege(&status(0, "000001fffeffffff")), Privilege::Root);
        assert_eq!(privilege(&status(1000, "0000000000000000")), Privilege::User);
        assert_eq!(privilege(&status(0, "00000000a80425fb")), Privilege::Confined(vec!["CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_BPF"]));
        assert_eq!(privilege(""), Privilege::User);
    }

    #[test]
    fn bpffs_counts_only_at_its_place_and_of_its_type() {
        assert!(has_bpffs("proc /proc proc rw 0 0\nbpf /sys/fs/bpf bpf rw,relatime 0 0\n"));
        assert!(!has_bpffs("tmpfs /sys/fs/bpf tmpfs rw 0 0\n"));
        assert!(!has_bpffs("bpf /run/bpf bpf rw 0 0\n"));
    }
}
