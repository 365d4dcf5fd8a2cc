//! Everything that can be read on this machine, each part of it once.

use std::collections::BTreeSet;
use std::fs::DirEntry;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::sensor::attempt::Attempt;
use crate::sensor::selection::canonical;
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

/// How long a source may take to be opened before it is given up: firmware behind a slow bus needs some 100 ms.
const PATIENCE: Duration = Duration::from_secs(2);

/// What to do about one that did not answer by then.
const CURE: &str = "look at `dmesg`; a driver or firmware that hangs needs a restart";

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
        // All at once, each on a thread of its own: firmware behind a file may hang as well as a driver.
        let sources = self.begin();
        let mut found = nvml::open(self.nvml_library.as_deref(), &self.gpus);
        self.name_idle_cards(&mut found);
        for (name, source) in sources {
            let opened = source.within(PATIENCE);
            found.prefer(opened.unwrap_or_else(|error| Found::nothing(name, error)));
        }
        found.name_left_out();
        found.stand_in(
            Hardware::Cpu,
            "cpu model",
            model::cpu(&self.procfs, &self.sysfs, self.thermal_design_power),
        );
        found.stand_in(Hardware::Dram, "dram model", model::memory(&self.procfs));
        self.name_unknown_addresses(&mut found);
        found
    }

    /// Begins to open the sources that are files, the preferred first.
    fn begin(&self) -> Vec<(&'static str, Attempt<Found>)> {
        type Open = fn(&Search) -> Found;
        let sources: [(&'static str, Open); 6] = [
            ("rapl", |it| rapl::open(&it.sysfs)),
            ("hwmon", |it| hwmon::open(&it.sysfs)),
            ("hsmp", |it| hsmp::open(&it.devices, &it.sysfs)),
            ("amdgpu", |it| amdgpu::open(&it.sysfs, &it.gpus)),
            ("intel-gpu", |it| intel_gpu::open(&it.sysfs, &it.gpus)),
            ("battery", |it| battery::open(&it.sysfs)),
        ];
        let begin = |(name, open): (&'static str, Open)| {
            let search = self.clone();
            (name, Attempt::begin(name, CURE, move || open(&search)))
        };
        sources.into_iter().map(begin).collect()
    }

    /// Cards that stand idle beside the training draw power too. Their driver lists them without being asked to wake.
    fn name_idle_cards(&self, found: &mut Found) {
        let listed = self.listed();
        let selected = match &self.gpus {
            // None is visible, so NVML was not asked; of those that are not among others, it says so itself.
            Selection::Visible if nvml::Visibility::of_process().is_none() => 0,
            Selection::Visible | Selection::All => usize::MAX,
            Selection::Pci(addresses) => {
                let chosen = addresses.iter().filter_map(|text| canonical(text)).collect();
                listed.intersection(&chosen).count()
            }
        };
        let cards = listed.len();
        if cards > selected {
            let error =
                Error::unsupported("the training does not use them, so they are not measured")
                    .cure("measure all: `.gpus(Selection::All)`");
            found
                .absent
                .push(Absence { source: format!("{} other GPUs", cards - selected), error });
        }
    }

    /// Addresses at which no source knows a GPU were mistyped, or the GPU's driver is not loaded.
    fn name_unknown_addresses(&self, found: &mut Found) {
        let Selection::Pci(addresses) = &self.gpus else { return };
        found.gpus.extend(self.listed());
        for text in addresses {
            let error = match canonical(text) {
                Some(address) if found.gpus.contains(&address) => continue,
                Some(_) => Error::absent(format!("no driver shows a GPU at PCI address `{text}`"))
                    .cure("`lspci -D` lists the addresses; in a container, give it the GPU"),
                None => Error::invalid(format!("`{text}` is not a PCI address"))
                    .cure("write it as `0000:17:00.0`"),
            };
            found.absent.push(Absence { source: format!("GPU {text}"), error });
        }
    }

    /// The addresses of NVIDIA's cards, as far as the driver lists them.
    fn listed(&self) -> BTreeSet<String> {
        let entries = self.procfs.join("driver/nvidia/gpus").read_dir().into_iter().flatten();
        let name = |entry: DirEntry| canonical(&entry.file_name().to_string_lossy());
        entries.flatten().filter_map(name).collect()
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
        self.gpus.extend(other.gpus);
    }

    /// Names the packages that a module took out of the sum without containing them: of four sockets of which one is
    /// chosen, the other three.
    fn name_left_out(&mut self) {
        let wholes: Vec<_> = self
            .sensors
            .iter()
            .map(|sensor| sensor.specification())
            .filter(|it| it.in_total && it.includes.contains(&Hardware::Cpu))
            .filter(|it| it.domain.hardware != Hardware::Node)
            .collect();
        let mut parts: Vec<_> = self
            .spare
            .iter()
            .map(|sensor| sensor.specification())
            .filter(|it| it.in_total && it.domain.hardware == Hardware::Cpu)
            .filter(|it| wholes.iter().any(|whole| it.is_part_of(whole)))
            .map(|it| it.domain.id.as_str())
            .collect();
        parts.sort_unstable();
        parts.dedup();
        if wholes.is_empty() || parts.len() <= wholes.len() {
            return;
        }
        let within: Vec<_> = wholes.iter().map(|whole| whole.domain.id.as_str()).collect();
        let error = Error::unsupported(format!(
            "{} of them are in {}; which is not known, so all are left out of the sum",
            wholes.len(),
            within.join(", ")
        ))
        .cure("measure the GPUs of all sockets: `.gpus(Selection::All)`");
        self.absent.push(Absence { source: parts.join(", "), error });
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

    /// True if the other contains this one: a superchip's module its processor.
    fn is_part_of(&self, whole: &Specification) -> bool {
        // A GPU that has a sensor of its own is a card, fed by its slot and by cables and not by the module beside it: of a
        // Jetson's own GPU no driver gives the power.
        let is_card = self.domain.hardware == Hardware::Gpu;
        whole.includes.contains(&self.domain.hardware) && !is_card
    }

    /// True if two sources that name it differently show the same part.
    fn is_one_with(&self, other: &Specification) -> bool {
        match (self.domain.hardware, other.domain.hardware) {
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
}
