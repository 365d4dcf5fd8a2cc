//! A [`Total`] in words.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::{Part, Total};

/// Directories that are named one by one.
const NAMED: usize = 10;

/// Tables by purpose, end and month, and what is not in them.
impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let energy = match self.uncertainty {
            _ if !self.is_known() => "energy not known".to_owned(),
            Some(u) => format!("{} (k=2)", self.energy.plus_minus(u + u)),
            None => self.energy.to_string(),
        };
        writeln!(
            f,
            "{} · {} runs · {energy} · {}",
            self.directory.display(),
            self.runs.len(),
            Hours(self.time)
        )?;
        if self.is_known() {
            writeln!(
                f,
                "{} measured, {} estimated by models ({:.0} %)",
                self.measured,
                self.estimated,
                self.share(self.estimated)
            )?;
        }
        self.table(f, "purpose", &self.purposes)?;
        self.table(f, "ended", &self.states)?;
        self.table(f, "month", &self.months)?;
        match &self.final_runs {
            Some(last) => {
                let names: Vec<&str> = last.names.iter().map(String::as_str).collect();
                writeln!(
                    f,
                    "research and development: {:.1} times the final {} of {} ({})",
                    last.factor,
                    if last.runs == 1 { "run".to_owned() } else { format!("{} runs", last.runs) },
                    last.energy,
                    names.join(", ")
                )?;
                if last.unknown > 0 {
                    writeln!(f, "  but {} of these do not say what they used", last.unknown)?;
                }
            }
            None => writeln!(
                f,
                "no run is said to be the final one, so there is no factor of research and development"
            )?,
        }
        if let Some(unmeasured) = self.unmeasured {
            writeln!(
                f,
                "declared by hand and in none of the sums: {} not measured",
                Hours(unmeasured)
            )?;
        }
        let unknown: Vec<String> =
            self.unknown().map(|run| run.directory.display().to_string()).collect();
        if !unknown.is_empty() {
            writeln!(
                f,
                "ended before their logs said what they used, and are missing from the sums:"
            )?;
            named(f, &unknown)?;
        }
        if !self.left_out.is_empty() {
            writeln!(f, "not counted:")?;
            let faults: Vec<String> = self.left_out.iter().map(|it| it.reason.clone()).collect();
            named(f, &faults)?;
        }
        write!(f, "what was not logged here is not in it: other machines, lost logs, data, use")
    }
}

impl Total {
    fn share(&self, energy: ergometer::Energy) -> f64 {
        100.0 * energy.as_joules() / self.energy.as_joules().max(f64::MIN_POSITIVE)
    }

    fn table(
        &self,
        f: &mut fmt::Formatter<'_>,
        name: &str,
        parts: &BTreeMap<String, Part>,
    ) -> fmt::Result {
        writeln!(f, "\n{name:<22} {:>6} {:>12} {:>6} {:>12}", "runs", "energy", "share", "time")?;
        for (name, part) in parts {
            let (energy, time) = (part.energy.to_string(), Hours(part.time).to_string());
            let share = format!("{:.0} %", self.share(part.energy));
            write!(f, "{name:<22} {:>6} {energy:>12} {share:>6} {time:>12}", part.runs)?;
            match part.unknown {
                0 => writeln!(f)?,
                some => writeln!(f, "  and {some} not known")?,
            }
        }
        Ok(())
    }
}

fn named(f: &mut fmt::Formatter<'_>, lines: &[String]) -> fmt::Result {
    lines.iter().take(NAMED).try_for_each(|line| writeln!(f, "  {line}"))?;
    match lines.len().saturating_sub(NAMED) {
        0 => Ok(()),
        more => writeln!(f, "  … {more} more"),
    }
}

/// A time in hours, or in seconds where it is short.
struct Hours(Duration);

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.0.as_secs_f64();
        match time {
            short if short < 600.0 => write!(f, "{short:.1} s"),
            _ => write!(f, "{:.1} h", time / 3_600.0),
        }
    }
}
