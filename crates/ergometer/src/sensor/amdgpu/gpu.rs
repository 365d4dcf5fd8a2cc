//! One AMD GPU: what of it is read, and how far it can be trusted.

use std::path::Path;
use std::time::Duration;

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::sensor::attribute::{self, Attribute};
use crate::sensor::counter::Monotone;
use crate::sensor::gauge::Gauge;
use crate::sensor::{Domain, Hardware, Quantity, Reading, Sensor, Specification};
use crate::units::{Energy, Power, Timestamp};

use super::metrics::{self, Block, Metrics};
use super::{Card, SOURCE};

/// Opens the energy counter of a card, or else its power gauge, and reads it once. `second` is the address of the die
/// beside it, where its board has two.
///
/// # Errors
/// If the card is asleep, or has neither, or this process may not read them.
pub(super) fn open(card: &Card, second: Option<&str>) -> Result<Box<dyn Sensor>> {
    card.pci.awake()?;
    let block = card.metrics().read();
    let is_processor = card.is_processor() || block.as_ref().is_ok_and(|block| block.processor);
    let common = |specification: Specification| Specification {
        stack: SOURCE.to_owned(),
        family: specification.domain.name.clone(),
        scope: scope(card, is_processor, second),
        // The driver keeps what the firmware gave for one millisecond (`smu_cmn_get_metrics_table`).
        period: Duration::from_millis(1),
        // A judgement: AMD states no accuracy.
        gain: 0.05,
        most: most(card),
        includes: match (card.is_mi300a(), is_processor) {
            (true, _) => vec![Hardware::Cpu, Hardware::Dram],
            (_, true) => vec![Hardware::Cpu],
            _ => Vec::new(),
        },
        ..specification
    };
    let power = gauge(card, common);
    let (counts, revision) = match block {
        Ok(Block { energy: Some(counts), revision, .. }) => (counts, revision),
        block => {
            return match power {
                Ok(power) => Ok(Box::new(power)),
                Err(error) => Err(neither(card, block.err(), error)),
            };
        }
    };
    let specification = common(Specification {
        quantum: Energy::from_nanojoules(15_259),
        wrap: (!card.is_mi200()).then(|| wrap(&revision, counts)).flatten(),
        ..Specification::counter(domain(card), format!("{SOURCE} energy, metrics {revision}"))
    });
    let Specification { wrap, most, quantum, .. } = specification;
    Ok(Box::new(Gpu {
        specification,
        metrics: card.metrics(),
        counter: Monotone::new(wrap, most, quantum),
        last: None,
        power: power.ok(),
    }))
}

/// The energy counter of one GPU, with all of its dies.
struct Gpu {
    specification: Specification,
    metrics: Metrics,
    counter: Monotone,
    /// The last value, and when it was first seen.
    last: Option<(u64, Timestamp)>,
    /// The driver's gauge, to hold the counter against.
    power: Option<Gauge>,
}

/// A counter that shows one value for this long has stopped, as is known of some (issues 38 of `ROCm/amdsmi` and 180 of
/// `ROCm/rocm_smi_lib`): firmware updates it many times a second, and no card that answers is without power.
const STANDSTILL: Duration = Duration::from_secs(2);

impl Gpu {
    /// The counter's counts, if it moves.
    fn moving(&mut self, block: Result<Block>, before: Timestamp, after: Timestamp) -> Result<u64> {
        let counts = block?.energy.ok_or_else(|| Error::lost("its energy counter is empty"))?;
        let since = match self.last {
            Some((value, since)) if value == counts => since,
            _ => before,
        };
        self.last = Some((counts, since));
        if after.since(since) >= STANDSTILL {
            return Err(Error::lost("its energy counter stands still").cure(
                "restart the machine; where that does not help, update the driver (ROCm 6.3 or later)",
            ));
        }
        Ok(counts)
    }
}

impl Sensor for Gpu {
    fn specification(&self) -> &Specification {
        &self.specification
    }

    fn read(&mut self, clock: &Clock) -> Result<Reading> {
        let (before, block, after) = clock.bracket(|| self.metrics.read());
        let counts = self.moving(block, before, after);
        let counts = counts.map_err(|cause| cause.loses(&self.specification.domain.id))?;
        let (energy, incident) =
            self.counter.accept(metrics::energy(counts), before.midpoint(after));
        Ok(Reading { incident, ..Reading::new(before, Quantity::Counter(energy), after) })
    }

    fn cross_check(&mut self) -> Option<Power> {
        self.power.as_mut()?.power().ok()
    }
}

fn domain(card: &Card) -> Domain {
    let name = attribute::text(&card.pci.directory.join("product_name"))
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "AMD GPU".to_owned());
    match &card.unique {
        Some(unique) => Domain::new(Hardware::Gpu, format!("AMD-{unique}"), name),
        None => Domain::new(Hardware::Gpu, &card.pci.address, name),
    }
}

fn scope(card: &Card, is_processor: bool, second: Option<&str>) -> String {
    let parts = match (card.is_mi300a(), is_processor) {
        (true, _) => "the whole package: GPU, processor cores and their memory",
        (_, true) => "the processor's whole package, cores and graphics together; not its memory",
        _ => {
            "the GPU as its firmware counts it: Instinct cards with their memory, Radeon cards possibly without memory, fans \
             and regulators; not the host"
        }
    };
    match second {
        Some(second) => {
            format!("both dies of the board, {} and {second}; {parts}", card.pci.address)
        }
        None => parts.to_owned(),
    }
}

/// The energy after which the counter starts over.
///
/// Before revision 1.4 the firmware of most cards counts in 32 bits (`EnergyAccumulator` in Linux's
/// `smu11_driver_if_*.h` and `smu13_driver_if_*.h`), which at 300 W is three and a half minutes. A value that needs
/// more bits comes from one that has them, as that of the MI200 series.
fn wrap(revision: &str, counts: u64) -> Option<Energy> {
    (matches!(revision, "v1.1" | "v1.2" | "v1.3") && counts < 1 << 32)
        .then(|| metrics::energy(1 << 32))
}

/// The highest power that is plausible: half above the limit that the driver keeps the card to on average. Where there
/// is none, what the largest card draws, a third of what errors are which old kernels print as a power (4295 W).
fn most(card: &Card) -> Power {
    let limit = |hwmon: &Path| attribute::number(&hwmon.join("power1_cap")).ok();
    match card.hwmon.as_deref().and_then(limit) {
        Some(limit) if limit > 0 => Power::from_microwatts(limit) * 1.5,
        _ => Power::from_watts(1_400.0),
    }
}

/// The driver's power gauge.
fn gauge(card: &Card, common: impl Fn(Specification) -> Specification) -> Result<Gauge> {
    let Some(hwmon) = &card.hwmon else {
        return Err(Error::absent("the driver shows no sensors of it"));
    };
    let open = |name: &str| {
        let mut power = Attribute::open(hwmon.join(name))?;
        let specification = Specification::gauge(domain(card), format!("{SOURCE} {name}"));
        Gauge::open(common(specification), move || above_zero(&mut power))
    };
    // A card may have the one, the other or both.
    open("power1_average").or_else(|error| match open("power1_input") {
        Err(other) if other.is_absent() => Err(error),
        result => result,
    })
}

/// The power of a gauge; nothing that answers draws none.
fn above_zero(power: &mut Attribute) -> Result<Power> {
    match power.power()? {
        value if value > Power::ZERO => Ok(value),
        _ => Err(Error::unsupported(format!("`{}` shows no power", power.path().display()))),
    }
}

/// Why a card has no sensor: its counter's reason, if any, and its gauge's.
fn neither(card: &Card, counter: Option<Error>, gauge: Error) -> Error {
    let counter = counter.map_or("it is empty".to_owned(), |error| error.what().to_owned());
    let what = format!(
        "the GPU at {} shows neither energy ({counter}) nor power ({})",
        card.pci.address,
        gauge.what()
    );
    if gauge.is_permission_denied() {
        Error::permission_denied(what).caused_by(gauge)
    } else {
        Error::unsupported(what).caused_by(gauge)
    }
}
