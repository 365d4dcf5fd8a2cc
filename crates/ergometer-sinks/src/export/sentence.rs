//! [`Sentence`]: what a paper says of a training's energy.

mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

use ergometer::{Energy, Error, Result};
use ergometer_report::quantity::Co2e;
use ergometer_report::site::Site;
use ergometer_report::{Comparison, History};

use super::evidence::{Evidence, line, plus_minus, rounded};
use work::Work;

/// A paragraph for a paper: what a training used, how well that is known, what it emitted, what is not covered, and what to
/// cite.
///
/// Runs of one model by one framework become one sentence about their mean, as [`Comparison`] groups them; what holds for all of
/// several models is said once, below them. Energies are in
/// joules with a prefix, uncertainties expanded (k = 2), emissions in grams to tonnes of CO2 equivalent; these are left out
/// where no carbon intensity is known. The paragraph says measured or estimated, whichever it was.
#[derive(Clone, Debug)]
pub struct Sentence {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Words(String),
    Cite(Vec<&'static Work>),
}

fn words(text: impl Into<String>) -> Part {
    Part::Words(text.into())
}

impl Sentence {
    /// What runs used, at a place.
    ///
    /// # Errors
    /// No run, and one whose energy is not known.
    pub fn of(runs: &[History], site: &Site) -> Result<Sentence> {
        if runs.is_empty() {
            return Err(
                Error::invalid("there is no run to write of").cure("name a run's directory")
            );
        }
        let summaries: Vec<_> = runs.iter().map(|run| run.summary.clone()).collect();
        let mut models = Vec::new();
        for group in Comparison::of(&summaries).groups {
            let members =
                runs.iter().filter(|run| group.runs.contains(&run.summary.manifest.run_id));
            let members: Result<Vec<_>> = members.map(|run| Evidence::of(run, site)).collect();
            let members = members?;
            let [first, rest @ ..] = &members[..] else { continue };
            // Of a single run, its own record says all there is.
            let (energy, expanded) = match (group.energy.energy, rest) {
                (Some(mean), [_, ..]) => (mean, group.energy.expanded()),
                _ => (first.energy, first.expanded),
            };
            let said = Said { members: &members, site, energy, expanded, time: group.time };
            models.push((said.used(models.is_empty()), said.about()));
        }
        let same = models.windows(2).all(|two| two[0].1 == two[1].1);
        let paragraphs: Vec<Vec<Part>> = match &models[..] {
            [(_, about), _, ..] if same => {
                models.iter().map(|(used, _)| used).chain([about]).cloned().collect()
            }
            _ => models.iter().map(|(used, about)| [&used[..], about].join(&words(" "))).collect(),
        };
        Ok(Sentence { parts: paragraphs.join(&words("\n\n")) })
    }

    /// The paragraphs in Markdown, with what they cite as footnotes.
    pub fn markdown(&self) -> String {
        let cite = |works: &[&Work]| works.iter().map(|work| format!("[^{}]", work.key)).collect();
        let mut text = self.render(markdown, cite);
        text.push_str("\n\n");
        for work in self.works() {
            let _ = writeln!(text, "[^{}]: {}", work.key, work.text);
        }
        text
    }

    /// The paragraphs in LaTeX, with what they cite as BibTeX entries in comments. A name with letters that LaTeX has no
    /// font for asks for an engine that has, such as `lualatex`.
    pub fn latex(&self) -> String {
        let cite = |works: &[&Work]| {
            let keys: Vec<&str> = works.iter().map(|work| work.key).collect();
            format!("~\\cite{{{}}}", keys.join(","))
        };
        let mut text = self.render(latex, cite);
        text.push_str("\n\n% For the bibliography, without the `% `:\n");
        for line in self.works().into_iter().flat_map(|work| work.bibtex.lines()) {
            let _ = writeln!(text, "% {line}");
        }
        text
    }

    fn render(
        &self,
        escape: fn(&str) -> String,
        cite: impl Fn(&[&'static Work]) -> String,
    ) -> String {
        let part = |part: &Part| match part {
            Part::Words(words) => escape(words),
            Part::Cite(works) => cite(works),
        };
        self.parts.iter().map(part).collect()
    }

    /// What is cited, each once, in order.
    fn works(&self) -> Vec<&'static Work> {
        let mut works: Vec<&'static Work> = Vec::new();
        for part in &self.parts {
            let Part::Cite(cited) = part else { continue };
            for work in cited {
                if !works.contains(work) {
                    works.push(work);
                }
            }
        }
        works
    }
}

/// What is to be said of runs of one model: the energy and time of the one, or their means.
struct Said<'a> {
    members: &'a [Evidence<'a>],
    site: &'a Site,
    energy: Energy,
    expanded: Option<Energy>,
    time: Duration,
}

impl Said<'_> {
    /// What was used and emitted; of the first model with what stands behind the emissions.
    fn used(&self, first: bool) -> Vec<Part> {
        let mean = match self.members.len() {
            1 => String::new(),
            several => format!(" on average over {several} runs"),
        };
        let ways = self.each(|run| {
            let pause = if run.history.is_estimated() { "," } else { "" };
            Some(format!("{}{pause} with {}", run.how(), run.source()))
        });
        let mut works = vec![&work::ERGOMETER];
        for (stack, work) in [("nvml", &work::NVML), ("rapl", &work::RAPL)] {
            let mut sensors = self.members.iter().flat_map(Evidence::sensors);
            if sensors.any(|sensor| sensor.stack.starts_with(stack)) {
                works.push(work);
            }
        }
        let mut parts = vec![
            words(format!("Training {} used {}{mean}, {ways}", self.subject(), self.amount())),
            Part::Cite(works),
            words("."),
        ];
        parts.extend(self.emitted(first));
        parts
    }

    /// The model, and what trained it.
    fn subject(&self) -> String {
        let names = self.each(|run| Some(line(run.history.name())));
        let mut facts = Vec::new();
        let first = self.members.first().map(|run| &run.history.summary);
        if let Some(parameters) = first.and_then(|run| run.manifest.parameters) {
            facts.push(format!("{} parameters", thousands(parameters)));
        }
        let epochs = self.each(|run| run.history.summary.end.epochs.map(|count| count.to_string()));
        match epochs.as_str() {
            "" | "0" => {}
            "1" => facts.push("1 epoch".to_owned()),
            epochs => facts.push(format!("{epochs} epochs")),
        }
        facts.push(span(self.time));
        let hardware = self.each(|run| run.hardware());
        if !hardware.is_empty() {
            facts.push(hardware);
        }
        format!("{names} ({})", facts.join(", "))
    }

    fn amount(&self) -> String {
        let amount = match self.expanded {
            Some(expanded) => self.energy.plus_minus(expanded).to_string(),
            None => format!("{:.3} of unknown uncertainty", self.energy),
        };
        // Below, the unit that electricity is paid in has only zeros to show.
        match self.energy.as_kilowatt_hours() {
            size if size >= 0.01 => {
                let expanded = self.expanded.map(Energy::as_kilowatt_hours);
                format!("{amount} ({} kWh)", rounded(size, expanded))
            }
            _ => amount,
        }
    }

    fn emitted(&self, first: bool) -> Vec<Part> {
        let (Some(intensity), Some(run)) = (&self.site.intensity, self.members.first()) else {
            return Vec::new();
        };
        let Some(mass) = self.site.carbon(self.energy) else { return Vec::new() };
        let expanded = self.expanded.and_then(|expanded| self.site.carbon(expanded));
        let (scale, unit): (fn(Co2e) -> f64, _) = if mass.as_tonnes() >= 1.0 {
            (Co2e::as_tonnes, "t")
        } else if mass.as_kilograms() >= 1.0 {
            (Co2e::as_kilograms, "kg")
        } else {
            (Co2e::as_grams, "g")
        };
        let amount = plus_minus(scale(mass), expanded.map(scale), unit);
        if !first {
            return vec![words(format!(" At the same intensity and PUE, that is {amount} CO2e."))];
        }
        let mut works = vec![&work::STRUBELL];
        if run.grid().is_some_and(|country| country.source() == intensity.source) {
            works.push(&work::EMBER);
        }
        let of = expanded.map_or("", |_| "; the uncertainty is that of the energy alone");
        vec![
            words(format!(" At {}, that is {amount} CO2e", run.place(intensity))),
            Part::Cite(works),
            words(format!("{of}.")),
        ]
    }

    /// How to read the figures, and what is not in them.
    fn about(&self) -> Vec<Part> {
        let mut parts = Vec::new();
        if self.expanded.is_some() {
            parts.push(words("Uncertainties are expanded, k = 2"));
            parts.push(Part::Cite(vec![&work::GUM]));
            parts.push(words(". "));
        }
        parts.push(words(
            "The energy is that of the whole machine as far as it was covered, whoever used it. ",
        ));
        let mut caveats: BTreeMap<&str, usize> = BTreeMap::new();
        for caveat in self.members.iter().flat_map(Evidence::caveats) {
            *caveats.entry(caveat).or_default() += 1;
        }
        for (caveat, count) in caveats {
            parts.push(words(match self.members.len() {
                1 => format!("Note that {caveat}. "),
                all => format!("Of {count} of the {all} runs, note that {caveat}. "),
            }));
        }
        let unmeasured = self.each(|run| run.unmeasured());
        if !unmeasured.is_empty() {
            parts.push(words(format!("Not measured: {unmeasured}. ")));
        }
        parts.push(words("Other runs and the making of the hardware are not included."));
        parts
    }

    /// What the runs say, each thing once.
    fn each(&self, say: impl Fn(&Evidence<'_>) -> Option<String>) -> String {
        Vec::from_iter(self.members.iter().filter_map(say).collect::<BTreeSet<_>>()).join(" / ")
    }
}

/// A time in the unit that leaves a readable number.
fn span(time: Duration) -> String {
    match time.as_secs_f64() {
        short if short < 120.0 => format!("{short:.1} s"),
        medium if medium < 7_200.0 => format!("{:.1} min", medium / 60.0),
        long => format!("{:.1} h", long / 3_600.0),
    }
}

/// A count with a comma before every three digits.
fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Words in Markdown: what it takes for markup is escaped.
fn markdown(words: &str) -> String {
    let mut text = String::new();
    for letter in words.chars() {
        if r"\`*_{}[]<>#|~&$^".contains(letter) {
            text.push('\\');
        }
        text.push(letter);
    }
    text
}

/// Words in LaTeX: what it takes for commands is escaped, and signs are written as commands.
fn latex(words: &str) -> String {
    let mut text = String::new();
    for letter in words.chars() {
        match letter {
            // Two of them would be set as a dash or a quotation mark.
            '-' | '\'' | ',' if text.ends_with(letter) => text.extend(['{', '}', letter]),
            '\\' => text.push_str("\\textbackslash{}"),
            '{' | '}' | '$' | '&' | '#' | '_' | '%' => text.extend(['\\', letter]),
            '~' => text.push_str("\\textasciitilde{}"),
            '^' => text.push_str("\\textasciicircum{}"),
            '<' => text.push_str("\\textless{}"),
            '>' => text.push_str("\\textgreater{}"),
            '`' => text.push_str("\\textasciigrave{}"),
            '|' => text.push_str("\\textbar{}"),
            '±' => text.push_str("$\\pm$"),
            '×' => text.push_str("$\\times$"),
            'µ' => text.push_str("$\\mu$"),
            letter => text.push(letter),
        }
    }
    text.replace("CO2e", "CO$_2$e")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_command_elsewhere_is_text_here() {
        assert_eq!(
            latex(r"a_b\input{x}%$&#^~"),
            r"a\_b\textbackslash{}input\{x\}\%\$\&\#\textasciicircum{}\textasciitilde{}"
        );
        assert_eq!(latex("3 µJ ± 1 µJ, 2 g CO2e"), r"3 $\mu$J $\pm$ 1 $\mu$J, 2 g CO$_2$e");
        assert_eq!(markdown("*a*_b_<script>[x](y)"), r"\*a\*\_b\_\<script\>\[x\](y)");
    }

    #[test]
    fn counts_and_times_are_readable() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [1, 600, 86_400].map(|time| span(Duration::from_secs(time))),
            ["1.0 s", "10.0 min", "24.0 h"]
        );
    }
}
