//! Energy from power and time, of the equipment and of the facility around it.

use std::time::Duration;

use ergometer::{Energy, Error, Power, Result};
use serde::Serialize;

use crate::quantity::{CarbonIntensity, Co2e, Flop, FlopRate, Pue};

/// What a computation uses: energy of the IT equipment, and of the facility with its overhead.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Consumption {
    /// Energy of the IT equipment.
    #[serde(rename = "it_energy_j")]
    pub it: Energy,
    /// Energy of the facility: that of the equipment times the PUE.
    #[serde(rename = "facility_energy_j")]
    pub facility: Energy,
}

impl Consumption {
    /// What equipment uses in a facility of this PUE: facility = PUE·IT (ISO/IEC 30134-2).
    pub fn of(it: Energy, pue: Pue) -> Self {
        Consumption { it, facility: pue.facility(it) }
    }

    /// What the facility's energy emits at this carbon intensity: `CO2e = facility·intensity`.
    ///
    /// Gross and net intensities (Patterson et al. 2021, section 2.5) give gross and net emissions: call it with each.
    pub fn co2e(&self, intensity: CarbonIntensity) -> Co2e {
        self.facility * intensity
    }
}

/// Energy of equipment of mean power `power` over `time`: facility = PUE·t·P (Strubell et al. 2019, equation 1, whose P is
/// the sum over processors, memory and GPUs).
///
/// ```
/// use std::time::Duration;
/// use ergometer::Power;
/// use ergometer_report::footprint::power_time;
/// use ergometer_report::quantity::{CarbonIntensity, Pue};
///
/// // Transformer (base), eight P100 for 12 h; printed: 27 kWh and 26 lb (Strubell et al. 2019, table 3).
/// let time = Duration::from_secs(12 * 3600);
/// let used = power_time(Power::from_watts(1415.78), time, Pue::new(1.58)?);
/// assert_eq!(format!("{:.0}", used.facility.as_kilowatt_hours()), "27");
/// let us_mean = CarbonIntensity::from_pounds_per_kilowatt_hour(0.954);
/// assert_eq!(format!("{:.0}", used.co2e(us_mean).as_pounds()), "26");
/// # Ok::<(), ergometer::Error>(())
/// ```
pub fn power_time(power: Power, time: Duration, pue: Pue) -> Consumption {
    Consumption::of(work(power, time), pue)
}

/// Energy of `chips` processors of mean power `power` each over `time`: IT = P·n·t, facility = PUE·IT (Patterson et al.
/// 2021, section 2.5).
///
/// ```
/// use std::time::Duration;
/// use ergometer::Power;
/// use ergometer_report::footprint::chips_time;
/// use ergometer_report::quantity::{CarbonIntensity, Pue};
///
/// // T5 (11B), 512 TPU v3 for 20 days; printed: 85.7 MWh and 46.7 t (Patterson et al. 2021, table 4).
/// let time = Duration::from_secs(20 * 86_400);
/// let used = chips_time(Power::from_watts(310.0), 512, time, Pue::new(1.12)?);
/// assert!((used.facility.as_kilowatt_hours() / 85_700.0 - 1.0).abs() < 0.01);
/// let gross = CarbonIntensity::from_kilograms_per_kilowatt_hour(0.545);
/// assert!((used.co2e(gross).as_tonnes() / 46.7 - 1.0).abs() < 0.01);
/// # Ok::<(), ergometer::Error>(())
/// ```
#[expect(clippy::cast_precision_loss, reason = "nobody has 2^53 processors")]
pub fn chips_time(power: Power, chips: u64, time: Duration, pue: Pue) -> Consumption {
    Consumption::of(work(power, time).scaled(chips as f64), pue)
}

/// Energy of `time` summed over all devices, at power `power` each: facility = PUE·GPU hours·P (Touvron et al. 2023).
///
/// Model cards take the thermal design power for P, so this is an estimate from above.
///
/// ```
/// use std::time::Duration;
/// use ergometer::Power;
/// use ergometer_report::footprint::gpu_hours;
/// use ergometer_report::quantity::{CarbonIntensity, Pue};
///
/// // LLaMA-13B, 135,168 hours of A100; printed: 59 MWh and 23 t (Touvron et al. 2023, table 15).
/// let time = Duration::from_secs(135_168 * 3600);
/// let used = gpu_hours(time, Power::from_watts(400.0), Pue::new(1.1)?);
/// assert_eq!(format!("{:.0}", used.facility.as_kilowatt_hours() / 1e3), "59");
/// let us_mean = CarbonIntensity::from_kilograms_per_kilowatt_hour(0.385);
/// assert_eq!(format!("{:.0}", used.co2e(us_mean).as_tonnes()), "23");
/// # Ok::<(), ergometer::Error>(())
/// ```
pub fn gpu_hours(time: Duration, power: Power, pue: Pue) -> Consumption {
    Consumption::of(work(power, time), pue)
}

/// What a number of floating-point operations takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Computation {
    /// Time of one device that does them all; of n devices, the sum of their times.
    pub time: Duration,
    /// What it uses.
    pub used: Consumption,
}

impl Computation {
    /// The time it takes on `devices` that share the work evenly; `None` without devices.
    pub fn elapsed(&self, devices: u32) -> Option<Duration> {
        self.time.checked_div(devices)
    }
}

/// Energy of `operations` on devices that do `rate` of them each in practice at power `power`: t = FLOP/rate,
/// facility = PUE·t·P (Patterson et al. 2021, for GPT-3).
///
/// ```
/// use ergometer::Power;
/// use ergometer_report::footprint::flop_to_energy;
/// use ergometer_report::quantity::{Flop, FlopRate, Pue};
///
/// // GPT-3 on V100, 24.6 TFLOP/s and 330 W measured; printed: 1,287 MWh (Patterson et al. 2021, table 4).
/// let trained = flop_to_energy(
///     Flop::from_count(3.14e23),
///     FlopRate::from_teraflops(24.6),
///     Power::from_watts(330.0),
///     Pue::new(1.10)?,
/// )?;
/// assert_eq!(format!("{:.0}", trained.used.facility.as_kilowatt_hours() / 1e3), "1287");
/// # Ok::<(), ergometer::Error>(())
/// ```
///
/// # Errors
/// A rate that is not above 0, or a number of operations that is not a number.
pub fn flop_to_energy(
    operations: Flop,
    rate: FlopRate,
    power: Power,
    pue: Pue,
) -> Result<Computation> {
    let time = (operations / rate).ok_or_else(|| {
        Error::invalid("the operations take no time that can be told")
            .cure("give a number of operations, and a rate above 0")
    })?;
    Ok(Computation { time, used: power_time(power, time, pue) })
}

/// Power times time in floating point: the devices of a large training sum up to more centuries than integers hold.
fn work(power: Power, time: Duration) -> Energy {
    Energy::from_joules(power.as_watts() * time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn millennia_of_device_time_do_not_saturate() {
        // Llama 3.1 405B: 30.84 million hours of H100, 3,520 years, at 700 W.
        let time = Duration::from_secs(30_840_000 * 3_600);
        let used = gpu_hours(time, Power::from_watts(700.0), Pue::NO_OVERHEAD);
        assert!((used.facility.as_kilowatt_hours() - 21_588_000.0).abs() < 1e-3);
    }

    #[test]
    fn no_rate_is_no_time() {
        let power = Power::from_watts(1.0);
        for rate in [0.0, -1.0, f64::NAN] {
            let rate = FlopRate::from_teraflops(rate);
            assert!(flop_to_energy(Flop::from_count(1.0), rate, power, Pue::NO_OVERHEAD).is_err());
        }
    }
}
