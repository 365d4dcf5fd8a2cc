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
    ///
    /// A sensor that contains more than all that it overlaps takes their place, since to leave it out would lose the
    /// rest: a package with processor, GPU and memory stands in for the processor's counter.
    fn prefer(&mut self, other: Found) {
        let mut sensors: Vec<Box<dyn Sensor>> = Vec::new();
        for sensor in other.sensors {
            let new = sensor.specification();
            // Sensors of one source do not overlap each other, unless two of its drivers show the same part.
            let again = sensors.iter().any(|it| it.specification().domain.id == new.domain.id);
            let overlapped = |found: &Specification| new.overlaps(found);
            let found = || self.sensors.iter().map(|found| found.specification());
            let covers =
                |kind: &Hardware| found().any(|found| overlapped(found) && found.contains(*kind));
            if again {
                self.spare.push(sensor);
            } else if !found().any(overlapped) {
                sensors.push(sensor);
            } else if new.includes.iter().all(covers) {
                self.spare.push(sensor);
            } else {
                let parts = self.sensors.extract_if(.., |found| overlapped(found.specification()));
                self.spare.extend(parts);
                sensors.push(sensor);
            }
        }
        self.sensors.extend(sensors);
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

impl Specification {
    /// True if adding up both would count something twice: one part by two sources, or a part and a whole with it.
    pub fn overlaps(&self, other: &Specification) -> bool {
        let both = self.in_total && other.in_total;
        self.domain.id == other.domain.id
            || both && (self.is_part_of(other) || other.is_part_of(self) || self.is_one_with(other))
    }

    /// True if the other contains this one: a superchip's module its processor, a Jetson's input its GPU.
    fn is_part_of(&self, whole: &Specification) -> bool {
        // A card in a slot is fed by the slot and by cables, not by the module beside it.
        let is_card = self.domain.hardware == Hardware::Gpu && !self.is_tegra();
        whole.includes.contains(&self.domain.hardware) && !is_card
    }

    /// True if two sources that name it differently show the same part.
    fn is_one_with(&self, other: &Specification) -> bool {
        match (self.domain.hardware, other.domain.hardware) {
            (Hardware::Gpu, Hardware::Gpu) => {
                self.is_tegra() && other.is_rail() || self.is_rail() && other.is_tegra()
            }
            (one @ (Hardware::Cpu | Hardware::Dram), another) if one == another => {
                match (self.package(), other.package()) {
                    (Some(package), Some(others)) => package == others,
                    // A zone or a rail of firmware, which may be any of the packages, or all of them.
                    _ => true,
                }
            }
            _ => false,
        }
    }

    /// The package's number, also for one of its dies.
    fn package(&self) -> Option<&str> {
        let (_, number) = self.domain.id.split_once(":package-")?;
        Some(number.split_once("-die-").map_or(number, |(package, _)| package))
    }

    /// True for the GPU of a Jetson as NVML shows it, which the module's rails feed.
    fn is_tegra(&self) -> bool {
        let model = &self.domain.name;
        self.stack == "nvml"
            && ["Tegra", "Xavier", "Orin", "Thor"].iter().any(|name| model.contains(name))
    }

    fn is_rail(&self) -> bool {
        self.stack == "ina3221"
    }
}
