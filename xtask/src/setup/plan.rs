//! From facts to steps: what setup does on a machine. Pure; what it says is in [`findings`](super::findings).

use super::packages::{self, Package};
use super::system::{Privilege, System};
use crate::toolchain::{Facts, Gap};

/// Everything the plan is made from.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) toolchain: Facts,
    pub(crate) system: System,
    /// Whether this is Debian or a child of it.
    pub(crate) apt: bool,
    /// Whether LLVM 22 can be linked with.
    pub(crate) llvm: bool,
    /// Cargo subcommands of the checks that are not there: `fmt`, `clippy`.
    pub(crate) components: Vec<&'static str>,
    pub(crate) lab_packages: Vec<Package>,
    pub(crate) aioquic: Quic,
}

/// Whether there is a second client of HTTP/3, without which one test has nothing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quic {
    There,
    Installable,
    /// Nor is there pip to install it with.
    Absent,
}

/// What a command is about to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Needs {
    /// rustfmt and clippy.
    pub(crate) components: bool,
    /// What builds the XDP program.
    pub(crate) toolchain: bool,
    /// Programs and file systems of the lab.
    pub(crate) lab: bool,
}

impl Needs {
    /// Everything there is.
    pub(crate) const ALL: Self = Self { components: true, toolchain: true, lab: true };
}

/// One thing that setup does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    AddComponents(Vec<&'static str>),
    RefreshPackageLists,
    InstallPackages(Vec<&'static str>),
    InstallLinker,
    InstallAioquic,
    MountBpffs,
}

impl Machine {
    /// Whether packages can be installed.
    fn can_install(&self) -> bool {
        self.apt && self.system.privilege != Privilege::User
    }

    fn gaps(&self) -> Vec<Gap> {
        self.toolchain.choose().err().unwrap_or_default()
    }

    /// Returns the packages that are wanted for building the XDP program.
    fn toolchain_packages(&self) -> Vec<&'static str> {
        let gaps = self.gaps();
        let mut names = Vec::new();
        if gaps.contains(&Gap::Compiler) {
            names.extend(packages::COMPILER);
        }
        if gaps.contains(&Gap::Objcopy) || gaps.contains(&Gap::Linker) && !self.llvm {
            names.extend(packages::LLVM);
        }
        names
    }

    /// Returns what setup does here, in order; empty when nothing is missing or nothing can be done.
    ///
    /// The lab's packages are a step of their own: a Debian too old for the compiler can still run the lab.
    pub(crate) fn steps(&self, needs: Needs) -> Vec<Step> {
        let mut steps = Vec::new();
        if needs.components && !self.components.is_empty() && self.toolchain.rustup {
            steps.push(Step::AddComponents(self.components.clone()));
        }
        let toolchain = if needs.toolchain { self.toolchain_packages() } else { Vec::new() };
        let lab = if needs.lab { self.lab_packages.iter().map(|package| package.name).collect() } else { Vec::new() };
        let wanted: Vec<_> = [toolchain, lab].into_iter().filter(|names| !names.is_empty()).collect();
        if self.can_install() && !wanted.is_empty() {
            steps.push(Step::RefreshPackageLists);
            steps.extend(wanted.into_iter().map(Step::InstallPackages));
        }
        if needs.toolchain && self.gaps().contains(&Gap::Linker) && (self.llvm || self.can_install()) {
            steps.push(Step::InstallLinker);
        }
        // Where pip is a package that this installs, the next run finds it.
        if needs.lab && self.aioquic == Quic::Installable {
            steps.push(Step::InstallAioquic);
        }
        if needs.lab && !self.system.bpffs && self.system.privilege == Privilege::Root {
            steps.push(Step::MountBpffs);
        }
        steps
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::toolchain::Version;

    /// Debian as root with everything in place.
    pub(crate) fn ready() -> Machine {
        Machine {
            toolchain: Facts {
                rustup: true,
                nightly: false,
                rust_src: false,
                system_rust: Some(Version(1, 96)),
                system_core: true,
                linker: Some(("/bin/bpf-linker".into(), Version(0, 13))),
                objcopy: Some("/bin/llvm-objcopy".into()),
            },
            system: System { privilege: Privilege::Root, bpffs: true, btf: true, jit: Some(true) },
            apt: true,
            llvm: true,
            components: Vec::new(),
            lab_packages: Vec::new(),
            aioquic: Quic::There,
        }
    }

    /// Debian as root with nothing but rustup.
    pub(crate) fn fresh() -> Machine {
        Machine {
            toolchain: Facts { rustup: true, ..Facts::default() },
            system: System { bpffs: false, ..ready().system },
            llvm: false,
            components: vec!["fmt", "clippy"],
            lab_packages: packages::LAB.into(),
            aioquic: Quic::Installable,
            ..ready()
        }
    }

    fn user(machine: Machine) -> Machine {
        Machine { system: System { privilege: Privilege::User, ..machine.system.clone() }, ..machine }
    }

    #[test]
    fn a_ready_machine_is_left_alone() {
        assert_eq!(ready().steps(Needs::ALL), []);
    }

    #[test]
    fn a_fresh_debian_gets_everything_in_order() {
        let toolchain = packages::COMPILER.into_iter().chain(packages::LLVM).collect();
        let wanted = [
            Step::AddComponents(vec!["fmt", "clippy"]),
            Step::RefreshPackageLists,
            Step::InstallPackages(toolchain),
            Step::InstallPackages(packages::LAB.map(|package| package.name).into()),
            Step::InstallLinker,
            Step::InstallAioquic,
            Step::MountBpffs,
        ];
        assert_eq!(fresh().steps(Needs::ALL), wanted);
    }

    #[test]
    fn only_what_is_missing_is_installed() {
        let machine = Machine { lab_packages: vec![packages::LAB[1]], ..ready() };
        assert_eq!(machine.steps(Needs::ALL), [Step::RefreshPackageLists, Step::InstallPackages(vec!["ethtool"])]);
        let mut machine = ready();
        machine.toolchain.linker = Some(("/bin/bpf-linker".into(), Version(0, 12)));
        assert_eq!(machine.steps(Needs::ALL), [Step::InstallLinker]);
    }

    #[test]
    fn only_what_is_needed_is_installed() {
        let lab = Needs { components: false, toolchain: false, lab: true };
        let packages = packages::LAB.map(|package| package.name).into();
        assert_eq!(
            fresh().steps(lab),
            [Step::RefreshPackageLists, Step::InstallPackages(packages), Step::InstallAioquic, Step::MountBpffs]
        );
        let components = Needs { components: true, toolchain: false, lab: false };
        assert_eq!(fresh().steps(components), [Step::AddComponents(vec!["fmt", "clippy"])]);
    }

    #[test]
    fn a_user_gets_only_what_needs_no_root() {
        assert_eq!(user(fresh()).steps(Needs::ALL), [Step::AddComponents(vec!["fmt", "clippy"]), Step::InstallAioquic]);
        let with_llvm = user(Machine { llvm: true, ..fresh() });
        assert_eq!(with_llvm.steps(Needs::ALL), [Step::AddComponents(vec!["fmt", "clippy"]), Step::InstallLinker, Step::InstallAioquic]);
    }

    #[test]
    fn elsewhere_than_debian_no_package_is_installed() {
        let machine = Machine { apt: false, ..fresh() };
        assert_eq!(machine.steps(Needs::ALL), [Step::AddComponents(vec!["fmt", "clippy"]), Step::InstallAioquic, Step::MountBpffs]);
    }

    #[test]
    fn a_confined_root_installs_but_does_not_mount() {
        let system = System { privilege: Privilege::Confined(vec!["CAP_BPF"]), ..fresh().system };
        let machine = Machine { system, ..fresh() };
        assert!(machine.steps(Needs::ALL).contains(&Step::InstallLinker) && !machine.steps(Needs::ALL).contains(&Step::MountBpffs));
    }
}
