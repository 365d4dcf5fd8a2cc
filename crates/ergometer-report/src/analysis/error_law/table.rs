//! An error law in at most 100 columns.

use std::fmt;

use super::super::size_law::{plural, trust};
use super::{ErrorLaw, Form, Shape, Slope};

impl fmt::Display for ErrorLaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<28}  {:>12}  {:>9}  runs  front", "model", "energy", "error")?;
        for model in &self.models {
            let label: String = model.label.chars().take(28).collect();
            writeln!(
                f,
                "{label:<28}  {:>12}  {:>9.4}  {:>4}  {}",
                model.energy.to_string(),
                model.error,
                model.runs,
                if model.on_front { "yes" } else { "" }
            )?;
        }
        writeln!(f, "{}; error = a·energy^−α", self.measure.words())?;
        write!(f, "all {}: ", plural(self.models.len(), "model"))?;
        slope(f, &self.all)?;
        match (&self.front, &self.no_front) {
            (Some(front), _) if front.fit.n == self.models.len() => {
                writeln!(f, "Pareto front: all of them.")?;
            }
            (Some(front), _) => {
                write!(f, "Pareto front, {}: ", plural(front.fit.n, "model"))?;
                slope(f, front)?;
                writeln!(
                    f,
                    "  The front is chosen by its errors: its interval holds less than 95 %."
                )?;
            }
            (None, reason) => {
                writeln!(f, "Pareto front: {}", reason.as_deref().unwrap_or("none"))?;
            }
        }
        self.half_in_words(f)?;
        self.forms_in_words(f)?;
        writeln!(
            f,
            "Intervals of 95 % by Student's t of {} of freedom, over the means of {}.",
            plural(self.all.fit.degrees_of_freedom(), "degree"),
            plural(self.runs(), "run")
        )?;
        trust(f, self.uncertainty, self.estimated)?;
        for run in &self.left_out {
            writeln!(f, "left out: {run}")?;
        }
        writeln!(
            f,
            "This is the slope of these models, not of a field; α depends on where the error is counted from:"
        )?;
        write!(f, "near its floor, or with a level of chance, an error from 0 bends it.")
    }
}

impl ErrorLaw {
    fn half_in_words(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.half() {
            Err(error) => writeln!(f, "Half of the best error: {error}"),
            Ok(half) => {
                let low = half.low.map_or("not bounded".to_owned(), |low| low.to_string());
                let high = match (half.high, half.low) {
                    (Some(high), _) => high.to_string(),
                    (None, Some(_)) => "more than a decade beyond the data".to_owned(),
                    (None, None) => "not bounded".to_owned(),
                };
                writeln!(
                    f,
                    "Half of the best error, {:.4}, would take {},",
                    half.error, half.energy
                )?;
                writeln!(f, "  and one more model 95 % between {low} and {high}, at present cost.")
            }
        }
    }

    fn forms_in_words(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |shape| match shape {
            Shape::Power => "power law",
            Shape::Floor => "power law with a floor",
            Shape::Exponential => "exponential",
        };
        let criterion = |form: &Form| match (form.aicc, form.squares) {
            (Some(aicc), _) => format!("{} {aicc:.1}", name(form.shape)),
            (None, Some(_)) => format!("{} too few models", name(form.shape)),
            (None, None) => format!("{} does not fit", name(form.shape)),
        };
        let compared: Vec<String> = self.forms.compared.iter().map(criterion).collect();
        writeln!(f, "AICc (lower is better): {}", compared.join(", "))?;
        match (self.forms.best, self.forms.floor) {
            (None, _) => writeln!(f, "These models do not tell the forms apart."),
            (Some(Shape::Floor), Some(floor)) => {
                let interval = floor.interval.map_or("not bounded".to_owned(), |(low, high)| {
                    format!("{low:.4} to {high:.4}")
                });
                writeln!(
                    f,
                    "The error has a floor of {:.4} ({interval}), with α = {:.2} above it: the price of",
                    floor.floor, floor.alpha
                )?;
                writeln!(
                    f,
                    "halving above is too low near the floor, and without bound at twice the floor."
                )
            }
            (Some(Shape::Exponential), _) => writeln!(
                f,
                "The exponential form fits better: each halving costs more than the one before."
            ),
            (Some(shape), _) => {
                let untold = self.forms.compared.iter().find(|it| it.is_untold());
                match untold {
                    Some(form) => writeln!(
                        f,
                        "The {} fits best of those compared; {} do not tell of a {}.",
                        name(shape),
                        plural(self.models.len(), "model"),
                        name(form.shape)
                    ),
                    None => writeln!(f, "The {} fits better than the others.", name(shape)),
                }
            }
        }
    }
}

fn slope(f: &mut fmt::Formatter<'_>, slope: &Slope) -> fmt::Result {
    let (low, high) = slope.fit.interval;
    write!(f, "α = {:.3} ({low:.3} to {high:.3})", slope.fit.exponent)?;
    if let Some(halving) = slope.halving {
        write!(f, ", k = 1/α = {:.2}", halving.k)?;
    }
    writeln!(f, ", R² = {:.3}, {:.2} decades", slope.fit.r_squared, slope.decades)?;
    match (slope.halving, slope.factor_low) {
        (Some(halving), Some(low)) => {
            let high =
                slope.factor_high.map_or("not bounded".to_owned(), |high| format!("{high:.3}"));
            writeln!(
                f,
                "  Halving the error multiplies the energy by {:.3} ({low:.3} to {high}).",
                halving.factor
            )
        }
        _ => writeln!(f, "  More energy does not lower the error here: halving it has no price."),
    }
}
