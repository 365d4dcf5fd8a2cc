//! What stands between a program and the machine's sensors: a container, a virtual machine, the kernel's settings.

use std::fmt;
use std::fs;
use std::path::Path;

use serde::Serialize;

/// What this system runs in, as far as it decides what can be measured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Environment {
    /// The operating system, `linux`.
    system: &'static str,
    /// The kernel's release.
    kernel: Option<String>,
    /// What made the container that this is, if it is one.
    container: Option<&'static str>,
    /// Who made the virtual machine that this is, if it is one and its firmware says so, else `unknown`.
    virtual_machine: Option<String>,
    /// True in the Windows Subsystem for Linux.
    wsl: bool,
    /// `kernel.perf_event_paranoid`, which closes the perf events of processors if it is above 0.
    perf_event_paranoid: Option<i32>,
    /// True if the kernel has perf events that count energy.
    #[serde(skip)]
    has_energy_events: bool,
}

impl Environment {
    /// Looks at the marks that container runtimes, hypervisors and the kernel leave in sysfs and procfs.
    pub(super) fn of(sysfs: &Path, procfs: &Path) -> Environment {
        let kernel = line(&procfs.join("sys/kernel/osrelease"));
        let wsl = kernel.as_ref().is_some_and(|kernel| kernel.to_lowercase().contains("microsoft"));
        let paranoid = line(&procfs.join("sys/kernel/perf_event_paranoid"));
        Environment {
            system: std::env::consts::OS,
            kernel,
            container: container(procfs),
            virtual_machine: is_virtual(procfs).then(|| {
                line(&sysfs.join("class/dmi/id/sys_vendor")).unwrap_or_else(|| "unknown".to_owned())
            }),
            wsl,
            perf_event_paranoid: paranoid.and_then(|number| number.parse().ok()),
            has_energy_events: sysfs.join("bus/event_source/devices/power").exists(),
        }
    }

    /// What keeps a program here from the processor's counters, where none is read.
    pub(super) fn obstacles(&self) -> Vec<String> {
        let mut obstacles = Vec::new();
        if self.wsl {
            obstacles.push(
                "Windows keeps the processor's counters; of the GPUs its driver shows what it shows on Windows"
                    .to_owned(),
            );
        } else if self.virtual_machine.is_some() {
            obstacles.push(
                "in a virtual machine there is no CPU energy counter unless its host passes one on"
                    .to_owned(),
            );
        }
        if self.container.is_some() {
            obstacles.push(
                "a container hides some of the host's sensors; what is missing below has its cure beside it".to_owned(),
            );
        }
        if let Some(paranoid) =
            self.perf_event_paranoid.filter(|level| *level > 0 && self.has_energy_events)
        {
            obstacles.push(format!(
                "kernel.perf_event_paranoid is {paranoid}: the energy events of perf are for programs with \
                 CAP_PERFMON, and for everybody from 0 down"
            ));
        }
        obstacles
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.system {
            "linux" => "Linux",
            "macos" => "macOS",
            "windows" => "Windows",
            other => other,
        })?;
        if let Some(kernel) = &self.kernel {
            write!(f, " {kernel}")?;
        }
        if let Some(container) = self.container {
            write!(f, ", in a container ({container})")?;
        }
        match (&self.virtual_machine, self.wsl) {
            (_, true) => f.write_str(", in the Windows Subsystem for Linux"),
            (Some(vendor), false) if vendor == "unknown" => f.write_str(", in a virtual machine"),
            (Some(vendor), false) => write!(f, ", in a virtual machine ({vendor})"),
            (None, false) => Ok(()),
        }
    }
}

/// Files that runtimes put into their containers.
const FILES: [(&str, &str); 4] = [
    (".dockerenv", "Docker"),
    ("run/.containerenv", "Podman"),
    (".singularity.d", "Apptainer"),
    ("var/run/secrets/kubernetes.io", "Kubernetes"),
];

/// Parts of the names of control groups that runtimes make.
const GROUPS: [(&str, &str); 6] = [
    ("kubepods", "Kubernetes"),
    ("docker", "Docker"),
    ("libpod", "Podman"),
    ("containerd", "containerd"),
    ("lxc", "LXC"),
    ("machine.slice", "systemd-nspawn"),
];

/// The runtime of the container that this process is in. Some leave no mark; then none is found.
fn container(procfs: &Path) -> Option<&'static str> {
    // The process's own root, so that a test can write one.
    let root = procfs.join("self/root");
    let marked = FILES.iter().find(|(file, _)| root.join(file).exists());
    let groups = fs::read_to_string(procfs.join("self/cgroup")).unwrap_or_default();
    let grouped = GROUPS.iter().find(|(group, _)| groups.contains(group));
    marked.or(grouped).map(|(_, runtime)| *runtime)
}

/// True if the processors say that there is a hypervisor below; those of Arm do not tell.
fn is_virtual(procfs: &Path) -> bool {
    let processors = fs::read_to_string(procfs.join("cpuinfo")).unwrap_or_default();
    let flags = processors.lines().find(|line| line.starts_with("flags"));
    flags.is_some_and(|flags| flags.split_whitespace().any(|flag| flag == "hypervisor"))
}

/// The text of a file of one line, unless there is none.
fn line(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}
