//! A run beside published ones.

use std::fmt;

use ergometer::{Energy, Error, Result};
use serde::Serialize;

use crate::analysis::equivalents::two_digits;
use crate::footprint::{Implied, PLAUSIBLE, Plausibility, implied_intensity};
use crate::history::History;
use crate::quantity::{Co2e, Flop, Quantity};
use crate::site::Site;

/// A run's energy as a multiple of that of published trainings, each within the boundary that its authors drew.
///
/// Emissions are not compared: they say more of the grid than of the training. Boundaries differ all the same: some count
/// the GPUs only, some the server.
#[derive(Clone, Debug, Serialize)]
pub struct Published {
    /// The run's energy, of the equipment.
    #[serde(rename = "energy_j")]
    pub energy: Energy,
    /// The energy of its facility.
    #[serde(rename = "facility_energy_j")]
    pub facility: Energy,
    /// Whether a model stands for part of it.
    pub estimated: bool,
    /// What a token took, where the run counts them.
    #[serde(rename = "token_j")]
    pub token: Option<f64>,
    /// What an operation took, where their number was given.
    #[serde(rename = "flop_j")]
    pub flop: Option<f64>,
    /// The published trainings, the smallest first.
    pub ratios: Vec<Ratio>,
}

/// The run against one training.
#[derive(Clone, Debug, Serialize)]
pub struct Ratio {
    /// The training.
    pub reference: Reference,
    /// The run's energy over the training's, within the training's boundary.
    pub ratio: f64,
}

/// A published training.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reference {
    /// What was trained.
    pub name: &'static str,
    /// What it used.
    #[serde(rename = "energy_j")]
    pub energy: Energy,
    /// How that is known.
    pub basis: Basis,
    /// Whether the overhead of the facility is in it.
    pub boundary: Boundary,
    /// What its authors say that it emitted, where they do.
    #[serde(rename = "co2e_kg")]
    pub co2e: Option<Co2e>,
    /// The tokens that it was trained on, where they are known.
    pub tokens: Option<f64>,
    /// The floating-point operations that it took, where they are known.
    pub operations: Option<f64>,
    /// Who published it.
    pub source: &'static str,
}

/// How an energy is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// Measured over the whole training.
    Measured,
    /// Mean power measured for a while, times the time of the training.
    SampledPower,
    /// Thermal design power of the processors, times their time: from above.
    DesignPower,
    /// Estimated from outside, and withdrawn by later data. Only to be named, never a yardstick.
    Withdrawn,
}

/// What an energy covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Boundary {
    /// The IT equipment, or part of it.
    Equipment,
    /// The facility, by a PUE.
    Facility,
}

const STRUBELL: &str = "Strubell et al. 2019";
const DODGE: &str = "Dodge et al. 2022, table 2";
const PATTERSON: &str = "Patterson et al. 2021, table 4";
const TOUVRON: &str = "Touvron et al. 2023, table 15";

/// A row of the table: what was trained, its energy in kWh, how that is known and what it covers; what is known of its
/// emissions in tonnes, its tokens, its operations; and who says so.
type Row = (&'static str, f64, Basis, Boundary, [Option<f64>; 3], &'static str);

/// There is no primary source on GPT-4, so it is not here. Dense transformers are taken to have 6·N·D operations.
#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("U-Net on LIDC", 1.334, Basis::Measured, Boundary::Facility, [None, None, None],
        "Anthony et al. 2020"),
    ("ViT Tiny on ImageNet", 1.7, Basis::Measured, Boundary::Equipment, [None, None, None],
        DODGE),
    ("BERT small, fine-tuning", 3.1, Basis::Measured, Boundary::Equipment, [None, None, None],
        DODGE),
    ("ViT Base on ImageNet", 4.7, Basis::Measured, Boundary::Equipment, [None, None, None],
        DODGE),
    ("Transformer base", 27.0, Basis::SampledPower, Boundary::Facility, [Some(0.011_793), None, None],
        STRUBELL),
    ("BERT small, pre-training", 37.3, Basis::Measured, Boundary::Equipment, [None, None, None],
        DODGE),
    ("Transformer big", 201.0, Basis::SampledPower, Boundary::Facility, [Some(0.087_090), None, None],
        STRUBELL),
    ("ViT Huge on ImageNet", 237.6, Basis::Measured, Boundary::Equipment, [None, None, None],
        DODGE),
    ("ELMo", 275.0, Basis::SampledPower, Boundary::Facility, [Some(0.118_841), None, None],
        STRUBELL),
    ("BERT base", 1_507.0, Basis::SampledPower, Boundary::Facility, [Some(0.652_266), None, None],
        STRUBELL),
    ("transformer of 6 billion parameters, 13 % of its training", 13_812.4, Basis::Measured, Boundary::Equipment, [None, None, None],
        DODGE),
    ("GShard 600B", 24_100.0, Basis::SampledPower, Boundary::Facility, [Some(4.8), None, None],
        PATTERSON),
    ("LLaMA 7B", 36_000.0, Basis::DesignPower, Boundary::Facility, [Some(14.0), Some(1.0e12), Some(6.0 * 6.7e9 * 1.0e12)],
        TOUVRON),
    ("T5 11B", 85_700.0, Basis::SampledPower, Boundary::Facility, [Some(46.7), None, None],
        PATTERSON),
    ("Switch Transformer 1500B", 179_000.0, Basis::SampledPower, Boundary::Facility, [Some(72.2), None, None],
        PATTERSON),
    ("Meena", 232_000.0, Basis::SampledPower, Boundary::Facility, [Some(96.4), None, None],
        PATTERSON),
    ("BLOOM 176B", 433_196.0, Basis::DesignPower, Boundary::Equipment, [Some(24.69), None, None],
        "Luccioni et al. 2023, table 5"),
    ("LLaMA 65B", 449_000.0, Basis::DesignPower, Boundary::Facility, [Some(173.0), Some(1.4e12), Some(6.0 * 65.2e9 * 1.4e12)],
        TOUVRON),
    ("Llama 2 70B", 688_128.0, Basis::DesignPower, Boundary::Equipment, [Some(291.42), Some(2.0e12), Some(6.0 * 70e9 * 2.0e12)],
        "Llama 2 model card, 2023"),
    ("GPT-3 175B", 1_287_000.0, Basis::SampledPower, Boundary::Facility, [Some(552.1), Some(300e9), Some(3.14e23)],
        PATTERSON),
    ("Llama 3.1 405B", 21_588_000.0, Basis::DesignPower, Boundary::Equipment, [Some(8_930.0), Some(15.6e12), Some(6.0 * 405e9 * 15.6e12)],
        "Llama 3.1 model card, 2024"),
    ("architecture search, 2019 estimate", 656_347.0, Basis::Withdrawn, Boundary::Facility, [Some(284.0), None, None],
        "Strubell et al. 2019; withdrawn by later data: 3.2 t reported where 284 t were estimated (Patterson et al. 2021)"),
];

impl Reference {
    /// The published trainings.
    pub fn all() -> impl Iterator<Item = Reference> {
        ROWS.iter().map(|row| {
            let (name, energy, basis, boundary, [tonnes, tokens, operations], source) = *row;
            Reference {
                name,
                energy: Energy::from_kilowatt_hours(energy),
                basis,
                boundary,
                co2e: tonnes.map(Co2e::from_tonnes),
                tokens,
                operations,
                source,
            }
        })
    }

    /// What a token took, in joules.
    pub fn energy_per_token(&self) -> Option<f64> {
        self.tokens.map(|tokens| self.energy.as_joules() / tokens)
    }

    /// What a floating-point operation took, in joules.
    pub fn energy_per_operation(&self) -> Option<f64> {
        self.operations.map(|operations| self.energy.as_joules() / operations)
    }

    /// The carbon intensity behind the published pair of energy and emissions, flagged outside of what electricity has.
    pub fn implied(&self) -> Option<Implied> {
        implied_intensity(self.co2e?, self.energy, PLAUSIBLE).ok()
    }
}

/// Trainings that a run is set against.
const SHOWN: usize = 3;

impl Published {
    /// A run against the three published trainings nearest in energy; `operations` are those that it took, where the user
    /// knows them.
    ///
    /// # Errors
    /// A run whose energy is not known.
    pub fn of(history: &History, site: &Site, operations: Option<Flop>) -> Result<Published> {
        let energy = history.energy().energy.filter(|energy| *energy > Energy::ZERO);
        let energy = energy.ok_or_else(|| {
            Error::invalid(format!("the energy of `{}` is not known", history.name()))
                .cure("give a run that has ended, with a sensor or a model")
        })?;
        let tokens = history.summary.end.tokens.filter(|tokens| *tokens > 0);
        #[expect(clippy::cast_precision_loss, reason = "exact to some 15 digits")]
        let token = tokens.map(|tokens| energy.as_joules() / tokens as f64);
        let mut told = Published::of_energy(energy, site)?;
        told.estimated = history.is_estimated();
        told.token = token;
        told.flop = operations.map(|operations| energy.as_joules() / operations.as_count());
        Ok(told)
    }

    /// An energy of IT equipment, that of a project for instance, against the three published trainings nearest.
    ///
    /// # Errors
    /// An energy that is not above 0.
    pub fn of_energy(energy: Energy, site: &Site) -> Result<Published> {
        if energy <= Energy::ZERO {
            return Err(Error::invalid(format!("{energy} cannot be set against a training")));
        }
        let facility = site.facility(energy);
        let own = |boundary| match boundary {
            Boundary::Equipment => energy,
            Boundary::Facility => facility,
        };
        let mut ratios = Reference::all()
            .filter(|reference| reference.basis != Basis::Withdrawn)
            .map(|reference| {
                let ratio = own(reference.boundary).ratio_to(reference.energy)?;
                Ok(Ratio { reference, ratio })
            })
            .collect::<Result<Vec<Ratio>>>()?;
        ratios.sort_by(|a, b| a.ratio.ln().abs().total_cmp(&b.ratio.ln().abs()));
        ratios.truncate(SHOWN);
        ratios.sort_by_key(|ratio| ratio.reference.energy);
        Ok(Published { energy, facility, estimated: false, token: None, flop: None, ratios })
    }
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Basis::Measured => "measured",
            Basis::SampledPower => "sampled power × time",
            Basis::DesignPower => "design power × time, from above",
            Basis::Withdrawn => "estimate, withdrawn by later data",
        })
    }
}

impl fmt::Display for Boundary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Boundary::Equipment => "without PUE",
            Boundary::Facility => "with PUE",
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, energy, basis) = (self.name, AsPublished(self.energy), self.basis);
        write!(f, "{name}, {energy} ({basis}, {}; {})", self.boundary, self.source)?;
        match self.implied().filter(|it| it.plausibility != Plausibility::Plausible) {
            Some(implied) => write!(f, " [published emissions imply {}]", implied.intensity),
            None => Ok(()),
        }
    }
}

/// An energy in the unit of the publications.
struct AsPublished(Energy);

impl fmt::Display for AsPublished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_kilowatt_hours() {
            size if size < 1e4 => write!(f, "{size} kWh"),
            size => write!(f, "{:.1} MWh", size / 1e3),
        }
    }
}

impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = if self.estimated { " (estimated)" } else { "" };
        writeln!(f, "{}{by} is", self.energy)?;
        for Ratio { reference, ratio } in &self.ratios {
            writeln!(f, "  {} × {reference}", two_digits(*ratio))?;
        }
        if let Some(token) = self.token {
            writeln!(
                f,
                "{} J/token; GPT-3 15 with PUE, LLaMA-65B 1.2 with PUE, Llama 3.1 405B 5.0 without",
                two_digits(token)
            )?;
        }
        if let Some(flop) = self.flop {
            writeln!(f, "{flop:.1e} J/FLOP; GPT-3 1.5e-11 with PUE")?;
        }
        write!(
            f,
            "* Boundaries differ: GPUs only, server, facility. Emissions are another grid's: not compared."
        )
    }
}
