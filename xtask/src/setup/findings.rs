//! From facts to the report: what a machine has, what it lacks, and what to run for that. Pure.

use super::plan::{Machine, Quic};
use super::system::{BPFFS, Privilege};
use super::{aioquic, linker_command_text, packages};
use crate::toolchain::{Compiler, LEAST_LINKER, TARGET};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Ready,
    /// Worth knowing, nothing fails for it.
    Note,
    /// Something cannot be done without it.
    Missing,
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) level: Level,
    pub(crate) subject: &'static str,
    pub(crate) detail: String,
    /// What to run where this tool cannot act itself.
    pub(crate) remedy: Option<String>,
}

impl Machine {
    /// Returns the report, one finding for each subject.
    pub(crate) fn findings(&self) -> Vec<Finding> {
        vec![
            self.components(),
            self.compiler(),
            self.linker(),
            self.objcopy(),
            self.lab_programs(),
            self.aioquic(),
            self.privilege(),
            self.bpffs(),
            self.btf(),
            self.jit(),
        ]
    }

    /// Returns why the lab cannot run here, or nothing when it can.
    pub(crate) fn lab_obstacle(&self) -> Option<String> {
        let findings = [self.privilege(), self.lab_programs(), self.bpffs(), self.btf()];
        let faults = findings.iter().filter(|finding| finding.level != Level::Ready).map(|finding| {
            let remedy = finding.remedy.as_deref().unwrap_or_default();
            format!("{} ({remedy})", finding.detail)
        });
        let faults: Vec<_> = faults.collect();
        (!faults.is_empty()).then(|| faults.join("; "))
    }

    fn components(&self) -> Finding {
        let names = self.components.iter().map(|name| format!("cargo {name}")).collect::<Vec<_>>().join(", ");
        let remedy = if self.toolchain.rustup { "rustup component add rustfmt clippy" } else { "install rustfmt and clippy of your Rust" };
        Finding::about("rustfmt, clippy").unless(self.components.is_empty(), format!("not found: {names}"), remedy)
    }

    fn compiler(&self) -> Finding {
        let subject = Finding::about("eBPF compiler");
        let found = match self.toolchain.compiler() {
            Some(Compiler::Nightly) => return subject.with("rustup's nightly with rust-src"),
            Some(Compiler::System) => return subject.with("Debian's rustc with core for BPF"),
            None => format!("neither rustup's nightly with rust-src nor Debian's rustc can build for {TARGET}"),
        };
        let rustup = match (self.toolchain.rustup, self.toolchain.nightly) {
            (true, true) => "rustup component add rust-src --toolchain nightly",
            (true, false) => "rustup toolchain install nightly --profile minimal --component rust-src",
            (false, _) => "install rustup, then: rustup toolchain install nightly --profile minimal --component rust-src",
        };
        let remedy = if self.apt { format!("{}; or: {rustup}", apt_command(&packages::COMPILER)) } else { rustup.to_owned() };
        subject.lacking(found, remedy)
    }

    fn linker(&self) -> Finding {
        let subject = Finding::about("bpf-linker");
        let install = linker_command_text();
        let (fault, llvm) = match &self.toolchain.linker {
            Some((path, version)) if *version >= LEAST_LINKER => return subject.with(&format!("{version} at {}", path.display())),
            Some((path, version)) => (format!("{} is {version}, {LEAST_LINKER} is needed", path.display()), self.llvm),
            None => ("not found".to_owned(), self.llvm),
        };
        let remedy = match (llvm, self.apt) {
            (true, _) => install,
            (false, true) => format!("{}; then: {install}", apt_command(&packages::LLVM)),
            (false, false) => format!("install LLVM 22 with its headers, then, with its folder for /usr/lib/llvm-22: {install}"),
        };
        subject.lacking(fault, remedy)
    }

    fn objcopy(&self) -> Finding {
        let subject = Finding::about("llvm-objcopy");
        let remedy = if self.apt { apt_command(&["llvm-22"]) } else { "install LLVM's programs".to_owned() };
        match &self.toolchain.objcopy {
            Some(path) => subject.with(&path.display().to_string()),
            None => subject.lacking("not found".to_owned(), remedy),
        }
    }

    fn lab_programs(&self) -> Finding {
        let list = self.lab_packages.iter().map(|package| format!("{} ({})", package.proof, package.why)).collect::<Vec<_>>().join(", ");
        let names: Vec<_> = self.lab_packages.iter().map(|package| package.name).collect();
        let remedy = if self.apt { apt_command(&names) } else { format!("install what your system calls {}", names.join(" ")) };
        Finding::about("lab programs").unless(self.lab_packages.is_empty(), format!("not found: {list}"), remedy)
    }

    fn aioquic(&self) -> Finding {
        let subject = Finding::about("aioquic");
        let without = "a test of HTTP/3 has no client";
        match self.aioquic {
            Quic::There => subject.with("in target/aioquic"),
            Quic::Installable => {
                Finding { level: Level::Note, ..subject.lacking(format!("not there: {without}"), aioquic::command_text()) }
            }
            Quic::Absent => {
                let remedy = if self.apt { apt_command(&["python3-pip"]) } else { "install pip for /usr/bin/python3".to_owned() };
                Finding { level: Level::Note, ..subject.lacking(format!("not there, nor is pip: {without}"), remedy) }
            }
        }
    }

    fn privilege(&self) -> Finding {
        let subject = Finding::about("root");
        match &self.system.privilege {
            Privilege::Root => subject,
            Privilege::User => subject.noting(
                "lab and demo load programs and make namespaces, which takes root; the rest runs as it is",
                "sudo -E env \"PATH=$PATH\" cargo xtask …",
            ),
            Privilege::Confined(lacking) => {
                subject.lacking(format!("root without {}", lacking.join(", ")), "start the container with --privileged".to_owned())
            }
        }
    }

    fn bpffs(&self) -> Finding {
        Finding::about("bpffs").unless(self.system.bpffs, format!("not mounted at {BPFFS}"), format!("mount -t bpf bpf {BPFFS} (as root)"))
    }

    fn btf(&self) -> Finding {
        let fault = "the kernel has no /sys/kernel/btf/vmlinux".to_owned();
        Finding::about("kernel BTF").unless(self.system.btf, fault, "run a kernel built with CONFIG_DEBUG_INFO_BTF")
    }

    fn jit(&self) -> Finding {
        let subject = Finding::about("BPF JIT");
        match self.system.jit {
            Some(true) => subject,
            Some(false) => subject.noting("off, programs are interpreted and slow", "sysctl net.core.bpf_jit_enable=1 (as root)"),
            None => subject.noting("cannot be told from inside this network namespace", "look outside of the container"),
        }
    }
}

impl Finding {
    fn about(subject: &'static str) -> Self {
        Self { level: Level::Ready, subject, detail: String::new(), remedy: None }
    }

    fn with(self, detail: &str) -> Self {
        Self { detail: detail.to_owned(), ..self }
    }

    fn noting(self, detail: &str, remedy: &str) -> Self {
        Self { level: Level::Note, detail: detail.to_owned(), remedy: Some(remedy.to_owned()), ..self }
    }

    fn lacking(self, detail: String, remedy: impl Into<String>) -> Self {
        Self { level: Level::Missing, detail, remedy: Some(remedy.into()), ..self }
    }

    fn unless(self, ready: bool, fault: String, remedy: impl Into<String>) -> Self {
        if ready { self } else { self.lacking(fault, remedy) }
    }
}

fn apt_command(names: &[&str]) -> String {
    format!("apt-get install --no-install-recommends {} (as root)", names.join(" "))
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::{fresh, ready};
    use super::super::system::System;
    use super::*;

    fn missing(machine: &Machine) -> Vec<&'static str> {
        machine.findings().iter().filter(|finding| finding.level == Level::Missing).map(|finding| finding.subject).collect()
    }

    fn remedy(machine: &Machine, subject: &str) -> String {
        let finding = machine.findings().into_iter().find(|finding| finding.subject == subject);
        finding.and_then(|finding| finding.remedy).unwrap_or_default()
    }

    #[test]
    fn a_ready_machine_has_only_ready_findings() {
        assert!(ready().findings().iter().all(|finding| finding.level == Level::Ready && finding.remedy.is_none()));
    }

    #[test]
    fn everything_missing_is_named_with_its_remedy() {
        let machine = fresh();
        assert_eq!(missing(&machine), ["rustfmt, clippy", "eBPF compiler", "bpf-linker", "llvm-objcopy", "lab programs", "bpffs"]);
        assert!(machine.findings().iter().all(|finding| (finding.level == Level::Ready) == finding.remedy.is_none()));
    }

    #[test]
    fn remedies_fit_the_machine() {
        assert!(remedy(&fresh(), "eBPF compiler").starts_with("apt-get install --no-install-recommends rustc-web"));
        let elsewhere = Machine { apt: false, ..fresh() };
        assert_eq!(remedy(&elsewhere, "eBPF compiler"), "rustup toolchain install nightly --profile minimal --component rust-src");
        let mut without_sources = elsewhere.clone();
        without_sources.toolchain.nightly = true;
        assert_eq!(remedy(&without_sources, "eBPF compiler"), "rustup component add rust-src --toolchain nightly");
        assert!(remedy(&elsewhere, "bpf-linker").starts_with("install LLVM 22 with its headers"));
        assert!(remedy(&Machine { llvm: true, ..elsewhere }, "bpf-linker").starts_with("LLVM_PREFIX="));
    }

    #[test]
    fn the_lab_runs_where_its_own_needs_are_met() {
        assert_eq!(ready().lab_obstacle(), None);
        let mut without_compiler = ready();
        without_compiler.toolchain = crate::toolchain::Facts::default();
        assert_eq!(without_compiler.lab_obstacle(), None);
        let user = Machine { system: System { privilege: Privilege::User, ..ready().system }, ..ready() };
        assert!(user.lab_obstacle().is_some_and(|text| text.contains("root") && text.contains("sudo -E")));
        assert!(fresh().lab_obstacle().is_some_and(|text| text.contains("ethtool") && text.contains(BPFFS)));
    }

    #[test]
    fn a_missing_right_is_a_note_for_a_user_and_a_fault_for_a_confined_root() {
        let with = |privilege| Machine { system: System { privilege, ..ready().system }, ..ready() };
        assert!(missing(&with(Privilege::User)).is_empty());
        assert_eq!(missing(&with(Privilege::Confined(vec!["CAP_BPF"]))), ["root"]);
    }
}
