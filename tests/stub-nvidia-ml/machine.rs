//! A machine with NVIDIA GPUs of known power: what the stub library answers from, and what a test expects.
//!
//! Times are seconds since the machine's origin, powers are watts, energies are joules.

use serde::{Deserialize, Serialize};

/// A machine, written beside each copy of the library as JSON.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Machine {
    /// `CLOCK_MONOTONIC` in nanoseconds at time 0.
    pub origin: u64,
    /// What `nvmlInit` returns, an `nvmlReturn_t`.
    pub init: u32,
    /// How long `nvmlInit` takes.
    pub init_takes: f64,
    /// How long every other call takes.
    pub call_takes: f64,
    /// When another part of the program shuts the library down; nothing answers until it is initialised again.
    pub shut_down: Option<f64>,
    /// The GPUs, in NVML's order.
    pub gpus: Vec<Gpu>,
    /// The power over time of superchips' modules, of all that is on each.
    pub modules: Vec<Profile>,
}

/// One GPU, and what befalls it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Gpu {
    /// Its UUID.
    pub uuid: String,
    /// Its PCI address.
    pub pci: String,
    /// Its PCI device id, without the vendor.
    pub pci_device: u16,
    /// Its model.
    pub name: String,
    /// Its `nvmlDeviceArchitecture_t`.
    pub architecture: u32,
    /// Its enforced power limit, if the driver tells.
    pub limit: Option<f64>,
    /// Its power over time.
    pub profile: Profile,
    /// The time between two updates of everything it publishes.
    pub period: f64,
    /// What the energy counter showed at time 0.
    pub counted: f64,
    /// Whether it has an energy counter.
    pub energy: bool,
    /// Whether it gives its instantaneous power (field 186).
    pub instant: bool,
    /// Whether it gives its power usage.
    pub usage: bool,
    /// The place of the module that it is on, if it reports one.
    pub module: Option<usize>,
    /// The part of its power that its memory draws, if it reports that.
    pub memory: Option<f64>,
    /// What asking for its handle returns, an `nvmlReturn_t`.
    pub handle: u32,
    /// What a call to a handle that was got before returns, an `nvmlReturn_t`.
    pub refuses: u32,
    /// How many further handles stand for its MIG instances.
    pub instances: u32,
    /// From when to when it is off the bus.
    pub lost: Option<(f64, f64)>,
    /// Whether handles from before it was lost are of no use after.
    pub renewed: bool,
    /// When its counter starts over.
    pub reset: Option<f64>,
    /// From when to when a call does not return.
    pub hangs: Option<(f64, f64)>,
    /// From when to when its powers are this high, and its counter is higher by as many joules.
    pub absurd: Option<(f64, f64, f64)>,
    /// The processes that compute on it, each with the percentage of its time; 0 is the process that asks.
    pub processes: Vec<(u32, u32)>,
}

/// Power over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Profile {
    /// Each power from its moment on, in order; the first also before.
    Steps(Vec<(f64, f64)>),
    /// `high` for the part `duty` of every `period`, then `low`.
    Square {
        /// The time of one high and one low.
        period: f64,
        /// The part of it that is high.
        duty: f64,
        /// The power at first.
        high: f64,
        /// The power after.
        low: f64,
    },
}

impl Default for Gpu {
    /// An H100 at a steady 200 W that updates every 20 ms and supports everything.
    fn default() -> Self {
        Gpu {
            uuid: "GPU-00000000-0000-0000-0000-000000000000".to_owned(),
            pci: "00000000:17:00.0".to_owned(),
            pci_device: 0x2331,
            name: "NVIDIA H100 PCIe".to_owned(),
            architecture: 9,
            limit: Some(350.0),
            profile: Profile::Steps(vec![(0.0, 200.0)]),
            period: 0.02,
            counted: 123_456.789,
            energy: true,
            instant: true,
            usage: true,
            module: None,
            memory: None,
            handle: 0,
            refuses: 0,
            instances: 0,
            lost: None,
            renewed: false,
            reset: None,
            hangs: None,
            absurd: None,
            processes: Vec::new(),
        }
    }
}

impl Gpu {
    /// What the energy counter shows at time `t`, in millijoules.
    pub fn counter(&self, t: f64) -> u64 {
        let t = self.updated(t);
        let joules = match self.reset {
            Some(reset) if t >= reset => self.profile.energy(t) - self.profile.energy(reset),
            _ => self.counted + self.profile.energy(t),
        };
        whole(joules + self.absurd(t).unwrap_or(0.0))
    }

    /// What the energy counter of its `module` shows at time `t`, in millijoules.
    pub fn module_counter(&self, module: &Profile, t: f64) -> u64 {
        whole(module.energy(self.updated(t)))
    }

    /// The instantaneous power shown at time `t`.
    pub fn instant(&self, t: f64) -> f64 {
        self.absurd(t).unwrap_or(self.profile.power(self.updated(t)))
    }

    /// The power usage shown at time `t`: on Ampere and newer, except GA100, the mean over the second before.
    pub fn usage(&self, t: f64) -> f64 {
        if self.architecture >= 7 && self.pci_device >= 0x2200 {
            self.mean(t)
        } else {
            self.instant(t)
        }
    }

    /// The mean power over the last second shown at time `t`.
    pub fn mean(&self, t: f64) -> f64 {
        let t = self.updated(t);
        self.absurd(t).unwrap_or(self.profile.energy(t) - self.profile.energy(t - 1.0))
    }

    fn absurd(&self, t: f64) -> Option<f64> {
        self.absurd.filter(|(from, until, _)| (*from..*until).contains(&t)).map(|(.., high)| high)
    }

    fn updated(&self, t: f64) -> f64 {
        (t / self.period).floor() * self.period
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a counter is a whole number"
)]
fn whole(joules: f64) -> u64 {
    (joules * 1e3).floor() as u64
}

impl Profile {
    /// The power at time `t`.
    pub fn power(&self, t: f64) -> f64 {
        match self {
            Profile::Steps(steps) => steps
                .iter()
                .rev()
                .find(|(from, _)| *from <= t)
                .or(steps.first())
                .map_or(0.0, |(_, power)| *power),
            Profile::Square { period, duty, high, low } => {
                if t - (t / period).floor() * period < duty * period { *high } else { *low }
            }
        }
    }

    /// The integral of the power from time 0 to `t`, exactly.
    pub fn energy(&self, t: f64) -> f64 {
        match self {
            Profile::Steps(steps) => {
                let bounds = steps.iter().skip(1).map(|(from, _)| *from).chain([f64::INFINITY]);
                let mut from = 0.0_f64.min(t);
                let mut energy = from * self.power(from);
                for ((_, power), until) in steps.iter().zip(bounds) {
                    let until = until.min(t).max(from);
                    energy += (until - from) * power;
                    from = until;
                }
                energy
            }
            Profile::Square { period, duty, high, low } => {
                let whole = (t / period).floor();
                let rest = t - whole * period;
                let on = duty * period;
                whole * (on * high + (period - on) * low)
                    + rest.min(on) * high
                    + (rest - on).max(0.0) * low
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_near(value: f64, expected: f64) {
        assert!((value - expected).abs() < 1e-9, "{value} is not {expected}");
    }

    #[test]
    fn energy_is_the_integral_of_power() {
        let steps = Profile::Steps(vec![(0.0, 100.0), (2.0, 300.0), (3.0, 0.0)]);
        for (t, energy) in
            [(-1.0, -100.0), (0.0, 0.0), (1.0, 100.0), (2.5, 350.0), (3.0, 500.0), (9.0, 500.0)]
        {
            assert_near(steps.energy(t), energy);
        }
        let square = Profile::Square { period: 0.4, duty: 0.25, high: 400.0, low: 100.0 };
        for (t, energy) in
            [(0.0, 0.0), (0.1, 40.0), (0.4, 70.0), (0.6, 120.0), (40.0, 7_000.0), (-0.1, -10.0)]
        {
            assert_near(square.energy(t), energy);
        }
        assert_near(square.power(0.45), 400.0);
        assert_near(square.power(0.55), 100.0);
    }

    #[test]
    fn a_counter_moves_at_updates_only() {
        let gpu = Gpu { period: 0.5, counted: 10.0, ..Gpu::default() };
        assert_eq!(
            [0.0, 0.49, 0.5, 0.99, 1.2].map(|t| gpu.counter(t)),
            [10_000, 10_000, 110_000, 110_000, 210_000]
        );
    }

    #[test]
    fn a_reset_starts_over_from_zero() {
        let gpu = Gpu { period: 0.25, reset: Some(1.0), ..Gpu::default() };
        assert_eq!(gpu.counter(1.0), 0);
        assert_eq!(gpu.counter(1.5), 100_000);
    }
}
