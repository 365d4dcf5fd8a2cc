//! Everything that can be read on this machine, each part of it once.

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::sensor::{
    Absence, Found, Hardware, Selection, Sensor, Specification, amdgpu, battery, hsmp, hwmon,
    intel_gpu, model, nvml, rapl,
};
use crate::units::Power;

/// Where this machine's sensors are looked for, and which GPUs are wanted.
#[derive(Clone, Debug)]
pub struct Search {
    /// The root of sysfs: `/sys`, a bind mount of the host's in a container, or a written tree.
    pub sysfs: PathBuf,
    /// The root of procfs.
    pub procfs: PathBuf,
    /// The root of device files.
    pub devices: PathBuf,
    /// Another NVML library than the driver's `libnvidia-ml.so.1`.
    pub nvml_library: Option<PathBuf>,
    /// The GPUs to measure.
    pub gpus: Selection,
    /// The processor's thermal design power, for the model; better than what a table says.
    pub thermal_design_power: Option<Power>,
}

impl Default for Search {
    fn default() -> Self {
        Search {
            sysfs: PathBuf::from("/sys"),
            procfs: PathBuf::from("/proc"),
            devices: PathBuf::from("/dev"),
            nvml_library: None,
            gpus: Selection::default(),
            thermal_design_power: None,
        }
    }
}

impl Search {
    /// Opens every sensor, in the order in which sources are preferred.
    ///
    /// A domain that a preferred source covers is not opened twice: what is left over is in [`Found::spare`]. A model
    /// stands in for a kind of hardware that no sensor covers, and for nothing else.
    pub fn run(&self) -> Found {
        let mut found = nvml::open(self.nvml_library.as_deref(), &self.gpus);
        self.name_idle_cards(&mut found);
        found.prefer(rapl::open(&self.sysfs));
        found.prefer(hwmon::open(&self.sysfs));
        found.prefer(hsmp::open(&self.devices, &self.sysfs));
        found.prefer(amdgpu::open(&self.sysfs, &self.gpus));
        found.prefer(intel_gpu::open(&self.sysfs, &self.gpus));
        found.prefer(battery::open(&self.sysfs));
        found.stand_in(
            Hardware::Cpu,
            "cpu model",
            model::cpu(&self.procfs, &self.sysfs, self.thermal_design_power),
        );
        found.stand_in(Hardware::Dram, "dram model", model::memory(&self.procfs));
        found
    }

    /// Cards that stand idle beside the training draw power too. Their driver lists them without being asked to wake.
    fn name_idle_cards(&self, found: &mut Found) {
        let selected = match &self.gpus {
            // None is visible, so NVML was not asked; of those that are not among others, it says so itself.
            Selection::Visible if nvml::Visibility::of_process().is_none() => 0,
            Selection::Visible | Selection::All => usize::MAX,
            Selection::Pci(addresses) => addresses.len(),
        };
        let cards = self.procfs.join("driver/nvidia/gpus").read_dir().map_or(0, Iterator::count);
        if cards > selected {
            let error =
                Error::unsupported("the training does not use them, so they are not measured")
                    .cure("measure all: `.gpus(Selection::All)`");
            found
                .absent
                .push(Absence { source: format!("{} other GPUs", cards - selected), error });
        }
    }
}

impl Found {
    /// Takes in a source that is less preferred than those before: what they cover already is spare.
    fn prefer(&mut self, other: Found) {
        // Sensors of one source do not overlap each other.
        let before = self.sensors.len();
        for sensor in other.sensors {
            let covered = self.sensors[..before]
                .iter()
                .any(|found| overlap(found.specification(), sensor.specification()));
            if covered { self.spare.push(sensor) } else { self.sensors.push(sensor) }
        }
        self.spare.extend(other.spare);
        self.absent.extend(other.absent);
    }

    /// Takes in a model, if no sensor of the total covers that kind of hardware.
    fn stand_in(&mut self, hardware: Hardware, source: &str, model: Result<Box<dyn Sensor>>) {
        let covered = self.sensors.iter().any(|found| {
            let specification = found.specification();
            specification.in_total && specification.contains(hardware)
        });
        match model {
            Ok(model) if covered => self.spare.push(model),
            Ok(model) => self.sensors.push(model),
            Err(_) if covered => {}
            Err(error) => {
                let error = error.cure("say where procfs is: `.procfs(…)`, `doctor --procfs DIR`");
                self.absent.push(Absence { source: source.to_owned(), error });
            }
        }
    }
}

/// True if adding both up would count something twice: a package that another source gives, or gives by its dies; a
/// superchip's processor within its module; an integrated GPU's processor within its package.
fn overlap(found: &Specification, other: &Specification) -> bool {
    let same = found.domain.id == other.domain.id
        || found
            .domain
            .id
            .strip_prefix(&other.domain.id)
            .is_some_and(|rest| rest.starts_with("-die-"));
    let contains = |whole: &Specification, part: &Specification| {
        whole.includes.contains(&part.domain.hardware)
    };
    let both = found.in_total && other.in_total;
    same || both && (contains(found, other) || contains(other, found))
}
