//! The sheet in Markdown, laid out so that it reads on a terminal too.

use std::fmt;

use ergometer::Energy;

use super::Sheet;
use crate::analysis::amortisation::Amortisation;
use crate::analysis::embodied::{count, rounded};
use crate::analysis::equivalents::two_digits;
use crate::analysis::schedule::rounded_time;

impl fmt::Display for Sheet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# What this project used\n")?;
        self.need(f)?;
        self.totals(f)?;
        self.life_cycle(f)?;
        self.shares(f)?;
        self.by_month(f)?;
        self.in_use(f)?;
        self.beside(f)?;
        self.not_counted(f)
    }
}

impl Sheet {
    fn need(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let need = self.statement.need.as_deref().unwrap_or("not stated");
        writeln!(f, "**Need:** {need}\n")?;
        match self.statement.alternatives.as_slice() {
            [] => writeln!(f, "**Alternatives tried** (a smaller model, no model): not stated\n"),
            tried => {
                writeln!(f, "**Alternatives tried:**\n")?;
                tried.iter().try_for_each(|tried| writeln!(f, "- {tried}"))?;
                writeln!(f)
            }
        }
    }

    fn totals(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = &self.total;
        let runs: usize = total.runs.values().sum();
        let ended: Vec<String> =
            total.runs.iter().map(|(state, count)| format!("{count} {state}")).collect();
        writeln!(f, "## Totals\n")?;
        writeln!(f, "| what | how much |\n|---|---|")?;
        writeln!(f, "| runs | {runs}: {} |", ended.join(", "))?;
        writeln!(f, "| time of the runs | {} |", rounded_time(total.time))?;
        let energy = |of: Energy| match total.uncertainty {
            Some(u) => {
                let u = of.scaled(2.0 * share(u, total.energy));
                format!("{} (k=2)", of.plus_minus(u))
            }
            None => of.to_string(),
        };
        let measured = 100.0 * share(total.measured, total.energy);
        writeln!(
            f,
            "| energy of the equipment | {}, {measured:.0} % measured, {:.0} % estimated |",
            energy(total.energy),
            100.0 - measured
        )?;
        if total.unknown > 0 {
            writeln!(f, "| runs of unknown energy | {}, not in the sum |", total.unknown)?;
        }
        let (pue, facility) = (&self.site.pue, energy(self.site.facility(total.energy)));
        writeln!(
            f,
            "| energy of the facility | {facility}, PUE {:?}: {} |",
            pue.value.ratio(),
            pue.source
        )?;
        if let Some(cost) = &self.cost {
            for (name, money) in cost.total.parts() {
                writeln!(f, "| cost: {name} | {money} |")?;
            }
            writeln!(f, "| prices | {} |", cost.sources.join(", "))?;
        }
        writeln!(f)
    }

    fn life_cycle(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "## Emissions over the life cycle\n")?;
        writeln!(f, "| what | how much | from |\n|---|---|---|")?;
        match self.co2e.zip(self.site.intensity.as_ref()) {
            Some((co2e, intensity)) => {
                let (value, source) = (intensity.value, &intensity.source);
                let co2e = rounded(co2e, 2);
                writeln!(f, "| electricity | {co2e} | {value}: {source} |")?;
            }
            None => writeln!(f, "| electricity | not known | no country or intensity was given |")?,
        }
        match &self.embodied {
            Some(embodied) => {
                let parts: Vec<String> = embodied
                    .parts
                    .iter()
                    .map(|part| format!("{} × {}", count(part.count), part.device.name))
                    .collect();
                writeln!(
                    f,
                    "| manufacture | {} | {}; {} |",
                    embodied.range,
                    parts.join(", "),
                    embodied.life
                )?;
                writeln!(
                    f,
                    "| the same, assumed otherwise | {} | 3 to 6 years of life, in use 30 to 85 % of it |",
                    embodied.widest
                )?;
                if let Some(co2e) = self.co2e {
                    writeln!(f, "| both | {} | |", embodied.range.with(co2e))?;
                }
            }
            None => writeln!(
                f,
                "| manufacture | not known | no device was given, and the logs name none that is known |"
            )?,
        }
        writeln!(f)
    }

    fn shares(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "## Energy by phase\n\n| phase | energy | share |\n|---|---:|---:|")?;
        let mut phases: Vec<_> = self.phases.iter().collect();
        phases.sort_by_key(|(_, energy)| -**energy);
        for (name, energy) in phases {
            let percent = 100.0 * share(*energy, self.total.energy);
            writeln!(f, "| {name} | {energy} | {percent:.1} % |")?;
        }
        if self.unresolved > 0 {
            writeln!(f, "\n{} phases too short to be resolved are in training.", self.unresolved)?;
        }
        writeln!(f)
    }

    fn by_month(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "## By month\n\n| month | runs | energy | a sample |\n|---|---:|---:|---:|")?;
        for (name, month) in &self.months {
            let sample =
                month.energy_per_sample().map_or("—".to_owned(), |energy| energy.to_string());
            writeln!(f, "| {name} | {} | {} | {sample} |", month.runs, month.energy)?;
        }
        writeln!(f)?;
        if let Some((first, last)) = self.rebound() {
            writeln!(
                f,
                "From {first} to {last} a sample came to use less, and the month more: a rebound.\n"
            )?;
        }
        Ok(())
    }

    fn in_use(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(amortisation) = &self.amortisation else { return Ok(()) };
        let Amortisation { inference, inferences, u, load, time, .. } = amortisation;
        writeln!(f, "## In use\n")?;
        write!(f, "An inference uses {inference} (mean of {}). ", amortisation.measured)?;
        write!(f, "After {}", two_digits(*inferences))?;
        if let Some(u) = u {
            write!(f, " ± {} (k=2)", two_digits(2.0 * u))?;
        }
        write!(f, " of them, use has taken as much as this project")?;
        match load.zip(*time) {
            Some((load, time)) => {
                let days = two_digits(time.as_secs_f64() / 86_400.0);
                writeln!(f, ": {days} days at {load} a day.")?;
            }
            None => writeln!(f, ".")?,
        }
        writeln!(f, "A service that waits uses energy too, which is not in here.\n")
    }

    fn beside(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.equivalents.is_none() && self.published.is_none() {
            return Ok(());
        }
        writeln!(f, "## As much as\n")?;
        for item in self.equivalents.iter().flat_map(|equivalents| &equivalents.items) {
            writeln!(f, "- {item}")?;
        }
        for ratio in self.published.iter().flat_map(|published| &published.ratios) {
            writeln!(f, "- {} × the training of {}", two_digits(ratio.ratio), ratio.reference)?;
        }
        writeln!(f, "\nThese factors err more than the measurement, and boundaries differ.\n")
    }

    fn not_counted(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "## Not counted\n")?;
        for (part, reason) in &self.unmeasured {
            writeln!(f, "- {part}: {reason}")?;
        }
        writeln!(f, "- building, network, end of life, water, metals")?;
        writeln!(f, "- data collection and storage, use of the model, runs that left no log\n")?;
        writeln!(
            f,
            "Questions after AFNOR SPEC 2314, *Référentiel général pour l'IA frugale* (2024)."
        )?;
        write!(
            f,
            "These are figures, not a label: whether the need was worth them is for people to judge."
        )
    }
}

/// A part as a share of a whole that is above 0.
fn share(part: Energy, whole: Energy) -> f64 {
    part.as_joules() / whole.as_joules()
}
