//! Guards: what may warn a training or ask it to end, because of what it costs or no longer brings.
//!
//! A guard is an [`Observer`] of a run. It is told of the run's energy as it goes, on a thread of the meter, and asks the loop
//! to end as an energy budget does: `steps` and `epochs` yield no more, and the log says why.
//!
//! ```no_run
//! use ergometer::{Energy, Meter};
//! use ergometer_report::analysis::returns::Watch;
//! use ergometer_report::guard::DiminishingReturns;
//! use ergometer_report::metric::Direction;
//! use ergometer_report::quantity::Co2e;
//! use ergometer_report::site::Site;
//!
//! let site = Site::default().country("FR")?;
//! // A percentage point of accuracy is worth 500 J, and five epochs are waited for it.
//! let watch = Watch::new("accuracy", Direction::Higher, Energy::from_joules(50e3), 5)?;
//! let run = Meter::detect()?
//!     .run("mlp-128")
//!     .budget(site.carbon_budget(Co2e::from_grams(50.0))?)
//!     .observe(DiminishingReturns::new(watch))
//!     .start()?;
//! # Ok::<(), ergometer::Error>(())
//! ```

use std::collections::BTreeMap;
use std::fmt;

use ergometer::record::{Event, Status};
use ergometer::{
    Budget, Earlier, Energy, Error, Kind, Observer, Record, Result, Timestamp, Verdict,
};

use crate::analysis::projection::Projection;
use crate::analysis::returns::Watch;
use crate::quantity::{Co2e, Money};
use crate::site::Site;

impl Site {
    /// A budget of emissions here: the energy of the equipment that emits as much, with the building's overhead and the
    /// place's carbon intensity, taken as constant.
    ///
    /// # Errors
    /// A place whose carbon intensity is not known.
    pub fn carbon_budget(&self, limit: Co2e) -> Result<Budget> {
        above_zero(limit.as_kilograms(), limit)?;
        let some = any();
        let (Some(unit), Some(intensity)) = (self.carbon(some), &self.intensity) else {
            return Err(Error::absent("the carbon intensity of the place is not known")
                .cure("give a country or an intensity, or a budget of energy"));
        };
        let energy = some.scaled(limit.as_kilograms() / unit.as_kilograms());
        let (value, pue) = (intensity.value, self.pue.value.ratio());
        let terms = format!("{value} ({}), PUE {pue}", intensity.source);
        Ok(Budget::new(energy).named(format!("carbon budget of {limit}, {energy} at {terms},")))
    }

    /// A budget of money here: the energy of the equipment that costs as much, with the building's overhead.
    ///
    /// # Errors
    /// A place whose price is not known, or is in another currency, or is 0.
    pub fn money_budget(&self, limit: Money) -> Result<Budget> {
        above_zero(limit.amount, limit)?;
        let some = any();
        let Some(unit) = self.cost(some) else {
            return Err(Error::absent("the price of electricity is not known")
                .cure("give a price, or a budget of energy"));
        };
        if unit.currency != limit.currency || unit.amount <= 0.0 {
            return Err(Error::invalid(format!("{unit} for {some} says nothing about {limit}"))
                .cure("give the price in the budget's currency"));
        }
        let energy = some.scaled(limit.amount / unit.amount);
        let pue = self.pue.value.ratio();
        Ok(Budget::new(energy).named(format!("budget of {limit}, {energy} at PUE {pue},")))
    }
}

/// A limit of nothing, or of no number, would end a training before it began.
fn above_zero(size: f64, limit: impl fmt::Display) -> Result<()> {
    if size.is_finite() && size > 0.0 {
        return Ok(());
    }
    Err(Error::invalid(format!("a budget of {limit} is none")).cure("give a limit above 0"))
}

/// Any energy; emissions and cost are in proportion to it.
fn any() -> Energy {
    Energy::from_kilowatt_hours(1.0)
}

/// Warns, or ends the loop, once it is clear that a run will not end within its budget.
///
/// That is when even the lower end of the projection's 95 % interval is above the limit. Projected is after each epoch, from
/// the third on; the energy of sessions before a resume counts.
#[derive(Clone, Debug)]
pub struct Forecast {
    limit: Energy,
    planned: u64,
    epochs: Vec<Record>,
    stops: bool,
    said: bool,
}

impl Forecast {
    /// Warns when a run of `planned` epochs will use more than `limit`.
    pub fn new(limit: Energy, planned: u64) -> Forecast {
        Forecast { limit, planned, epochs: Vec::new(), stops: false, said: false }
    }

    /// Ends the loop instead.
    pub fn stop(self) -> Forecast {
        Forecast { stops: true, ..self }
    }

    /// Keeps what a projection needs of an epoch.
    fn take(&mut self, epoch: &Record) {
        let (domains, metrics) = (BTreeMap::new(), BTreeMap::new());
        self.epochs.push(Record { domains, metrics, ..epoch.clone() });
    }
}

impl Observer for Forecast {
    fn name(&self) -> &'static str {
        "projection"
    }

    fn resumed(&mut self, earlier: &Earlier) {
        earlier.epochs.recent.iter().for_each(|epoch| self.take(epoch));
    }

    fn settled(&mut self, window: &Record) -> Verdict {
        if window.kind != Kind::Epoch || self.said {
            return Verdict::GoOn;
        }
        self.take(window);
        let Ok(projection) = Projection::of_epochs(&self.epochs, self.planned) else {
            return Verdict::GoOn;
        };
        // As the meter will show it, which is what a budget goes by: the sensors' gain is in what is spent already.
        let low = projection.energy - projection.margin;
        if projection.done < FEWEST || low <= self.limit {
            return Verdict::GoOn;
        }
        self.said = true;
        let text = format!(
            "after {} of {} epochs, {} is projected for the run (95 %), and its budget is {}",
            projection.done,
            projection.planned,
            projection.energy.plus_minus(projection.margin),
            self.limit
        );
        if self.stops { Verdict::Stop(text) } else { Verdict::Warn(text) }
    }
}

/// Epochs before a forecast says anything: with the first left out, two show a scatter.
const FEWEST: u64 = 3;

/// Epochs whose metric may still come; burn is less than one behind.
const MOST_OPEN: usize = 64;

/// Ends the loop once a metric no longer gets better at the price that its user is ready to pay.
///
/// The metric is that of the epoch, also where it becomes known when the epoch is over (burn's `valid/Accuracy`), or else of a
/// phase within it, an evaluation.
#[derive(Clone, Debug)]
pub struct DiminishingReturns {
    watch: Watch,
    /// The metric in a phase of the epoch under way, and in which lane that was.
    evaluated: Option<(u32, f64)>,
    /// What the last epochs used, as far as their metric is not known, by their numbers.
    open: BTreeMap<u64, Energy>,
    /// Why to end, until it is asked for.
    reason: Option<String>,
    warns: bool,
    said: bool,
}

impl DiminishingReturns {
    /// Ends the loop when `watch` says so.
    pub fn new(watch: Watch) -> DiminishingReturns {
        DiminishingReturns {
            watch,
            evaluated: None,
            open: BTreeMap::new(),
            reason: None,
            warns: false,
            said: false,
        }
    }

    /// Has the log warned once, and the training go on.
    pub fn warn(self) -> DiminishingReturns {
        DiminishingReturns { warns: true, ..self }
    }

    fn weigh(&mut self, value: f64, energy: Energy) {
        if !self.said {
            self.reason = self.watch.epoch(value, energy);
            self.said = self.reason.is_some();
        }
    }

    fn verdict(&mut self) -> Verdict {
        match self.reason.take() {
            None => Verdict::GoOn,
            Some(reason) if self.warns => Verdict::Warn(reason),
            Some(reason) => Verdict::Stop(reason),
        }
    }
}

impl Observer for DiminishingReturns {
    fn name(&self) -> &'static str {
        "diminishing-returns"
    }

    fn settled(&mut self, window: &Record) -> Verdict {
        let value = window.metrics.get(self.watch.metric()).copied();
        if window.kind == Kind::Phase {
            self.evaluated = value.map(|value| (window.lane, value)).or(self.evaluated);
        }
        if window.kind != Kind::Epoch {
            return self.verdict();
        }
        // What was measured in another epoch says nothing about this one.
        let evaluated = self.evaluated.take().filter(|(lane, _)| *lane == window.lane);
        let value = value.or(evaluated.map(|(_, value)| value));
        if let (Some(energy), Status::Complete) = (window.energy, window.status) {
            match value {
                Some(value) => self.weigh(value, energy),
                None => self.open.extend(window.epoch.map(|epoch| (epoch, energy))),
            }
            if self.open.len() > MOST_OPEN {
                self.open.pop_first();
            }
        }
        self.verdict()
    }

    fn used(&mut self, _energy: Energy, _now: Timestamp) -> Verdict {
        self.verdict()
    }

    fn happened(&mut self, event: &Event) {
        if let Some(&value) = event.metrics.get(self.watch.metric())
            && let Some(energy) = event.epoch.and_then(|epoch| self.open.remove(&epoch))
        {
            self.weigh(value, energy);
        }
    }
}
