//! [`CodeCarbon`]: runs as lines of CodeCarbon's `emissions.csv`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use ergometer::sensor::Hardware;
use ergometer::{Energy, Error, Result};
use ergometer_report::History;
use ergometer_report::quantity::Co2e;
use ergometer_report::site::Site;

use super::csv::{Field, records};
use super::evidence::{Evidence, written};

/// Runs as CodeCarbon 3.3.2 writes them into `emissions.csv`: energies in **kWh**, emissions in **kg** of CO2 equivalent, times
/// in seconds, powers in watts. `timestamp` is when the run ended, in UTC; CodeCarbon's own is in local time.
///
/// As CodeCarbon's own, energies and powers have the facility's overhead in them. What is not known stays empty: emissions
/// without a carbon intensity, the energy of parts that no sensor tells apart, water, a cloud, the version of a Python that did
/// not run. The format has no place to say that an energy is estimated, nor for its uncertainty; [`unsaid`](CodeCarbon::unsaid)
/// is what has to be said beside the file.
#[derive(Clone, Debug)]
pub struct CodeCarbon {
    unsaid: BTreeMap<&'static str, Vec<String>>,
    /// Values by run, in the order of the columns.
    rows: Vec<Vec<String>>,
}

/// The columns of `EmissionsData` of CodeCarbon 3.3.2, in its order.
const COLUMNS: [&str; 38] = [
    "timestamp",
    "project_name",
    "run_id",
    "experiment_id",
    "duration",
    "emissions",
    "emissions_rate",
    "cpu_power",
    "gpu_power",
    "ram_power",
    "cpu_energy",
    "gpu_energy",
    "ram_energy",
    "energy_consumed",
    "water_consumed",
    "country_name",
    "country_iso_code",
    "region",
    "cloud_provider",
    "cloud_region",
    "os",
    "python_version",
    "codecarbon_version",
    "cpu_count",
    "cpu_model",
    "gpu_count",
    "gpu_model",
    "longitude",
    "latitude",
    "ram_total_size",
    "tracking_mode",
    "cpu_utilization_percent",
    "gpu_utilization_percent",
    "ram_utilization_percent",
    "ram_used_gb",
    "on_cloud",
    "pue",
    "wue",
];

const RUN: usize = 2;

impl CodeCarbon {
    /// Runs at a place, a line for each.
    ///
    /// # Errors
    /// A run whose energy is not known.
    pub fn of(runs: &[History], site: &Site) -> Result<CodeCarbon> {
        let (mut rows, mut unsaid) = (Vec::new(), BTreeMap::<_, Vec<_>>::new());
        for run in runs {
            let run = Evidence::of(run, site)?;
            rows.push(row(&run)?);
            let how = run.history.is_estimated().then(|| run.how());
            for what in run.caveats().into_iter().chain(how) {
                unsaid.entry(what).or_default().push(run.history.summary.manifest.run_id.clone());
            }
        }
        Ok(CodeCarbon { unsaid, rows })
    }

    /// What the columns have no place for, and the ids of the runs that it holds of: that an energy is estimated, that a run did
    /// not end as it was meant to, that others used the machine.
    pub fn unsaid(&self) -> &BTreeMap<&'static str, Vec<String>> {
        &self.unsaid
    }

    /// The text of a file with these runs, in the order that its columns have; `path` is where it is from, for errors.
    ///
    /// The line of a run that is there is replaced, as a run that was exported before may have gone on since, or be told for
    /// another place; the others stand at the end. All other bytes are as before.
    ///
    /// # Errors
    /// A file that is not one of CodeCarbon 3.3.2, or ends within quotes.
    pub fn written_into(&self, file: &str, path: &Path) -> Result<String> {
        if file.trim().is_empty() {
            return Ok(self.to_string());
        }
        let Some(there) = records(file) else {
            return Err(Error::invalid(format!("`{}` ends within quotes", path.display()))
                .cure("nothing was changed; close the quotes, or write to another file"));
        };
        let head = there.first().map_or(&[][..], |(_, head)| head.as_slice());
        let order: Option<Vec<usize>> =
            head.iter().map(|name| COLUMNS.iter().position(|column| column == name)).collect();
        let order = order.filter(|order| {
            order.len() == COLUMNS.len() && BTreeSet::from_iter(order).len() == COLUMNS.len()
        });
        let Some(order) = order else {
            return Err(Error::invalid(format!(
                "`{}`, line 1: these are not the columns of CodeCarbon 3.3.2",
                path.display()
            ))
            .cure("nothing was changed; write to another file"));
        };
        let place = order.iter().position(|column| *column == RUN).unwrap_or(RUN);
        let mut rows: BTreeMap<&str, String> = BTreeMap::new();
        for row in &self.rows {
            let values: Vec<&str> = order.iter().map(|column| row[*column].as_str()).collect();
            rows.insert(&row[RUN], Line(&values).to_string());
        }
        let (mut text, mut done) = (String::new(), 0);
        for (range, old) in there.iter().skip(1) {
            if let Some(row) = old.get(place).and_then(|run| rows.remove(run.as_str())) {
                text.push_str(&file[done..range.start]);
                text.push_str(&row);
                done = range.end;
            }
        }
        text.push_str(&file[done..]);
        let end = if file.contains("\r\n") { "\r\n" } else { "\n" };
        if !text.ends_with('\n') {
            text.push_str(end);
        }
        let new = self.rows.iter().filter_map(|row| rows.remove(row[RUN].as_str()));
        new.for_each(|row| text.extend([row.as_str(), end]));
        Ok(text)
    }
}

/// A file of its own, with the names of the columns.
impl fmt::Display for CodeCarbon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", Line(&COLUMNS))?;
        self.rows.iter().try_for_each(|row| {
            let values: Vec<&str> = row.iter().map(String::as_str).collect();
            writeln!(f, "{}", Line(&values))
        })
    }
}

/// A line, without its end.
struct Line<'a>(&'a [&'a str]);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, value) in self.0.iter().enumerate() {
            write!(f, "{}{}", if place > 0 { "," } else { "" }, Field(value))?;
        }
        Ok(())
    }
}

fn row(run: &Evidence<'_>) -> Result<Vec<String>> {
    let summary = &run.history.summary;
    let (manifest, time) = (&summary.manifest, summary.end.duration);
    let carbon = run.carbon().map(Co2e::as_kilograms);
    let seconds = time.as_secs_f64();
    let ended = run.wall().map(|(_, end)| written(end, "%Y-%m-%dT%H:%M:%S")).transpose()?;
    let part = |hardware| run.part(hardware).map(|energy| run.site.facility(energy));
    let energy = |hardware| number(part(hardware).map(Energy::as_kilowatt_hours));
    let power = |hardware| {
        number(part(hardware).and_then(|energy| energy.over(time)).map(|power| power.as_watts()))
    };
    let gpus: usize = run.devices(Hardware::Gpu).values().sum();
    let country = run.grid();
    let value = |column: &str| match column {
        "timestamp" => ended.clone().unwrap_or_default(),
        "project_name" => manifest.name.clone(),
        "run_id" => manifest.run_id.clone(),
        "duration" => number(Some(seconds)),
        "emissions" => number(carbon),
        "emissions_rate" => number(carbon.filter(|_| seconds > 0.0).map(|mass| mass / seconds)),
        "cpu_power" => power(Hardware::Cpu),
        "gpu_power" => power(Hardware::Gpu),
        "ram_power" => power(Hardware::Dram),
        "cpu_energy" => energy(Hardware::Cpu),
        "gpu_energy" => energy(Hardware::Gpu),
        "ram_energy" => energy(Hardware::Dram),
        "energy_consumed" => number(Some(run.facility().as_kilowatt_hours())),
        "country_name" => country.map(|country| country.name.to_owned()).unwrap_or_default(),
        "country_iso_code" => country.map(|country| country.alpha3.to_owned()).unwrap_or_default(),
        "os" => manifest.machine.os.clone(),
        "cpu_count" => manifest.machine.threads.map(|count| count.to_string()).unwrap_or_default(),
        "cpu_model" => manifest.machine.cpu.clone().unwrap_or_default(),
        "gpu_count" if gpus > 0 => gpus.to_string(),
        "gpu_model" => run.gpus().unwrap_or_default(),
        // Everything on the machine, whoever ran it.
        "tracking_mode" => "machine".to_owned(),
        "pue" => number(Some(run.site.pue.value.ratio())),
        _ => String::new(),
    };
    Ok(COLUMNS.into_iter().map(value).collect())
}

/// A number with all its digits; empty where it is not known.
fn number(value: Option<f64>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}
