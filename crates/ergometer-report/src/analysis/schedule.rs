//! When to start: what a run would emit if it began at another hour.

use std::fmt;
use std::time::Duration;

use ergometer::record::Estimate;
use ergometer::{Energy, Error, Result};
use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::analysis::equivalents::two_digits;
use crate::footprint::{Reference, StartTimes, start_time_what_if, start_totals};
use crate::grid::hourly::Hours;
use crate::history::History;
use crate::quantity::{Co2e, Pue};
use crate::site::Sourced;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: i64 = 86_400; // seconds

/// A run begun at each hour of a file of intensities: Σ E(h)·PUE·I(start + h), with the energy of each of its hours from
/// its log (Dodge et al. 2022, section 6, flexible start).
///
/// The run is taken to repeat itself without a pause. An energy that is uncertain is so at every start alike: that changes
/// the emissions, and not the savings.
#[derive(Clone, Debug, Serialize)]
pub struct Schedule {
    /// The run's name.
    pub name: String,
    /// The run's energy.
    pub energy: Estimate,
    /// How long it takes.
    #[serde(rename = "duration_s", serialize_with = "crate::analysis::seconds")]
    pub time: Duration,
    /// The overhead of the facility.
    pub pue: Sourced<Pue>,
    /// How much later than the first hour of the file it may start.
    #[serde(rename = "slack_s", serialize_with = "crate::analysis::seconds")]
    pub slack: Duration,
    /// The starts within the slack, by the hour.
    pub starts: Vec<Start>,
    /// The one that emits least.
    pub best: Start,
    /// The one that emits most.
    pub worst: Start,
    /// What a start at random comes to.
    #[serde(rename = "mean_co2e_kg")]
    pub mean: Co2e,
    /// The first one at midnight UTC, where there is one.
    pub midnight: Option<Start>,
    /// What the best start saves.
    pub saving: Saving,
    /// Where the intensities are from.
    pub source: String,
    /// True if the file ends before a run could that starts as late as was asked.
    pub cut_short: bool,
}

/// A start, and what the run emits from it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Start {
    /// When.
    #[serde(serialize_with = "in_words")]
    pub at: Timestamp,
    /// What the facility emits for the run.
    #[serde(rename = "co2e_kg")]
    pub co2e: Co2e,
}

/// The share that the best start saves, by what it is set against.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Saving {
    /// Of the worst start.
    pub of_worst: f64,
    /// Of the mean of all.
    pub of_mean: f64,
    /// Of the first one at midnight UTC.
    pub of_midnight: Option<f64>,
}

impl Schedule {
    /// The starts of a run from the first hour of `hours` to `slack` later.
    ///
    /// # Errors
    /// A run without a known energy or course of power, or intensities that leave it no choice of when to start.
    pub fn of(
        history: &History,
        hours: &Hours,
        slack: Duration,
        pue: &Sourced<Pue>,
    ) -> Result<Schedule> {
        let name = history.name().to_owned();
        let profile = profile(history)?;
        let facility: Vec<Energy> =
            profile.iter().map(|energy| pue.value.facility(*energy)).collect();
        let mut totals = start_totals(&facility, &hours.intensities)?;
        let asked = usize::try_from(slack.as_secs() / HOUR.as_secs()).unwrap_or(usize::MAX);
        let asked = asked.saturating_add(1);
        let cut_short = totals.len() < asked;
        totals.truncate(asked);
        if totals.len() < 2 {
            return Err(Error::invalid(format!(
                "`{name}` takes {} hours, of which {} and {} hours of intensities leave one start",
                facility.len(),
                in_hours(slack),
                hours.intensities.len()
            ))
            .cure("allow an hour of slack or more, and give intensities up to the end of the last run"));
        }
        let told = start_time_what_if(&totals)?;
        let starts = totals
            .iter()
            .enumerate()
            .map(|(place, co2e)| Ok(Start { at: at(hours.start, place)?, co2e: *co2e }))
            .collect::<Result<Vec<Start>>>()?;
        let midnight =
            starts.iter().position(|start| start.at.as_second().rem_euclid(DAY) < DAY / 24);
        Ok(Schedule {
            name,
            energy: history.energy(),
            time: history.summary.end.duration,
            pue: pue.clone(),
            slack: HOUR.saturating_mul(u32::try_from(starts.len() - 1).unwrap_or(u32::MAX)),
            best: starts[told.best],
            worst: starts[told.worst],
            mean: told.of(Reference::Mean).unwrap_or_default(),
            midnight: midnight.map(|place| starts[place]),
            saving: saving(&told, midnight),
            starts,
            source: hours.source.clone(),
            cut_short,
        })
    }
}

fn saving(told: &StartTimes, midnight: Option<usize>) -> Saving {
    let of = |reference| told.saving(reference).unwrap_or_default();
    Saving {
        of_worst: of(Reference::Worst),
        of_mean: of(Reference::Mean),
        of_midnight: midnight.map(|place| of(Reference::Start(place))),
    }
}

/// A run's energy by hour from its start, in one piece; its last hour is as long as is left of it. Its course is that of the
/// power in the log, its sum that of the run.
fn profile(history: &History) -> Result<Vec<Energy>> {
    let total =
        history.energy().energy.filter(|energy| *energy > Energy::ZERO).ok_or_else(|| {
            Error::invalid(format!("the energy of `{}` is not known", history.name()))
                .cure("give a run that has ended, with a sensor or a model")
        })?;
    if history.summary.end.duration <= HOUR {
        return Ok(vec![total]);
    }
    let (mut profile, mut at) = (Vec::new(), Duration::ZERO);
    for (start, stop, power) in history.trace.powers() {
        let end = at + (stop - start);
        while at < end {
            let hour = at.as_secs() / HOUR.as_secs();
            let until = end.min(Duration::from_secs((hour + 1) * HOUR.as_secs()));
            let place = usize::try_from(hour).unwrap_or(usize::MAX);
            if profile.len() <= place {
                profile.resize(place + 1, Energy::ZERO);
            }
            profile[place] += power * (until - at);
            at = until;
        }
    }
    let seen: Energy = profile.iter().copied().sum();
    if seen <= Energy::ZERO {
        return Err(Error::invalid(format!(
            "the log of `{}` does not tell when it used how much",
            history.name()
        ))
        .cure("log its steps or epochs"));
    }
    let whole = total.as_joules() / seen.as_joules();
    Ok(profile.into_iter().map(|energy| energy.scaled(whole)).collect())
}

/// The beginning of the hour at this place.
fn at(start: Timestamp, place: usize) -> Result<Timestamp> {
    let after = HOUR.saturating_mul(u32::try_from(place).unwrap_or(u32::MAX));
    start
        .checked_add(after)
        .map_err(|cause| Error::invalid("the intensities end after the calendar").caused_by(cause))
}

fn in_hours(time: Duration) -> String {
    format!("{:.0} h", time.as_secs_f64() / HOUR.as_secs_f64())
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slack = in_hours(self.slack);
        writeln!(f, "{} · {} · {}", self.name, self.energy, rounded_time(self.time))?;
        writeln!(f, "started at each of {} hours, up to {slack} later:", self.starts.len())?;
        let row = |f: &mut fmt::Formatter<'_>, name: &str, start: &Start, saving: Option<f64>| {
            write!(f, "  {name:<9} {:<18} {:>16}", utc(start.at), start.co2e.to_string())?;
            match saving {
                Some(saving) => writeln!(f, "   the best saves {:.1} % of it", 100.0 * saving),
                None => writeln!(f),
            }
        };
        row(f, "best", &self.best, None)?;
        write!(f, "  {:<9} {:<18} {:>16}", "mean", "any hour", self.mean.to_string())?;
        writeln!(f, "   the best saves {:.1} % of it", 100.0 * self.saving.of_mean)?;
        if let Some(midnight) = &self.midnight {
            row(f, "midnight", midnight, self.saving.of_midnight)?;
        }
        row(f, "worst", &self.worst, Some(self.saving.of_worst))?;
        writeln!(f, "intensities: {}", self.source)?;
        writeln!(f, "PUE {:?}: {}", self.pue.value.ratio(), self.pue.source)?;
        if self.cut_short {
            writeln!(f, "the file has no hours for later starts; they were left out")?;
        }
        writeln!(
            f,
            "* Hours of the past say what could have been saved; a forecast is needed to save it."
        )?;
        writeln!(
            f,
            "* A run of less than half an hour saved 26 % with a day's slack, one of eight days 0.5 %"
        )?;
        writeln!(
            f,
            "  (means over a year and 16 regions, with hindsight; Dodge et al. 2022, table 4)."
        )?;
        writeln!(
            f,
            "* A mean intensity does not tell what one more load changes: that is the marginal one."
        )?;
        write!(
            f,
            "* One piece, no pauses: a pause costs idle and reload energy, which is not in here."
        )
    }
}

/// A moment to the minute.
fn utc(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%MZ").to_string()
}

/// A moment by RFC 3339.
fn in_words<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(at)
}

/// A time as people say it.
pub(crate) fn rounded_time(time: Duration) -> String {
    match time.as_secs_f64() {
        short if short < 120.0 => format!("{} s", two_digits(short)),
        medium if medium < 7_200.0 => format!("{} min", two_digits(medium / 60.0)),
        long => format!("{} h", two_digits(long / 3_600.0)),
    }
}
