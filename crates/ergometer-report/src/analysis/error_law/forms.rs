//! The power law against other forms that an error may take.

use serde::Serialize;

use crate::statistics::least_squares::{Minimum, least_squares};
use crate::statistics::{aicc, student};

/// Three forms, all fitted to ln error by least squares, so that Akaike's criterion compares them.
#[derive(Clone, Debug, Serialize)]
pub struct Forms {
    /// In the order power law, power law with a floor, exponential.
    pub compared: Vec<Form>,
    /// The form whose criterion is lower by more than 2 than each other's that has one; missing where none is, so that they
    /// cannot be told apart.
    pub best: Option<Shape>,
    /// The floor, where one was found; whether it is the better form, `best` says.
    pub floor: Option<Floor>,
}

/// A form, and how well it fits.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Form {
    /// Which one.
    pub shape: Shape,
    /// The sum of the squared residuals of ln error; missing where the form does not fit at all.
    pub squares: Option<f64>,
    /// Akaike's criterion for few points; missing where there are too few.
    pub aicc: Option<f64>,
}

impl Form {
    /// True of a form that goes through the points, of which there are too few to say whether it is the better one.
    pub(super) fn is_untold(&self) -> bool {
        self.squares.is_some() && self.aicc.is_none()
    }
}

/// The forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// error = a·E^−α.
    Power,
    /// error = a·E^−α + c.
    Floor,
    /// Energy that grows exponentially with 1/error: 1/error = p + q·ln E.
    Exponential,
}

/// error = a·E^−α + c, E in joules.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Floor {
    /// a.
    pub scale: f64,
    /// α, above the floor.
    pub alpha: f64,
    /// c, the error that no energy lowers.
    pub floor: f64,
    /// The 95 % interval of c, by the curvature at the best fit in ln c.
    pub interval: Option<(f64, f64)>,
}

/// A difference of the criterion that says something.
const TELLING: f64 = 2.0;

impl Forms {
    /// Of energies in joules with their errors.
    pub(super) fn of(points: &[[f64; 2]]) -> Forms {
        let curve = Curve::new(points);
        let floor = curve.floor();
        let exponential = curve.exponential();
        let form = |shape, parameters, squares: Option<f64>| Form {
            shape,
            squares,
            aicc: squares.and_then(|squares| aicc(squares, points.len(), parameters)),
        };
        let compared = vec![
            form(Shape::Power, 2, Some(curve.power())),
            form(Shape::Floor, 3, floor.as_ref().map(|(minimum, _)| minimum.squares)),
            form(Shape::Exponential, 2, exponential.map(|minimum| minimum.squares)),
        ];
        let best = compared.iter().find(|form| {
            let beats = |other: &Form| match (form.aicc, other.aicc) {
                (Some(own), Some(other)) => own + TELLING < other,
                (own, _) => own.is_some(),
            };
            compared.iter().all(|other| other.shape == form.shape || beats(other))
        });
        let best = best.map(|form| form.shape);
        Forms { compared, best, floor: floor.map(|(_, floor)| floor) }
    }

    /// How much lower a form's criterion is than the power law's.
    pub fn lower_than_power(&self, shape: Shape) -> Option<f64> {
        let criterion = |shape| self.compared.iter().find(|form| form.shape == shape)?.aicc;
        Some(criterion(Shape::Power)? - criterion(shape)?)
    }
}

/// ln E from its mean, and ln error.
struct Curve {
    x: Vec<f64>,
    y: Vec<f64>,
    centre: f64,
}

impl Curve {
    fn new(points: &[[f64; 2]]) -> Curve {
        let logs = |place: usize| points.iter().map(move |point| point[place].ln());
        let centre = mean(&logs(0).collect::<Vec<_>>());
        Curve { x: logs(0).map(|x| x - centre).collect(), y: logs(1).collect(), centre }
    }

    /// The residuals of ln error about a curve that is free in its height: each from the mean of all, which is the best
    /// height.
    fn about(&self, curve: impl Fn(f64) -> f64) -> Vec<f64> {
        let apart: Vec<f64> = self.x.iter().zip(&self.y).map(|(x, y)| y - curve(*x)).collect();
        let height = mean(&apart);
        apart.into_iter().map(|apart| apart - height).collect()
    }

    fn power(&self) -> f64 {
        let slope = self.slope();
        self.about(|x| slope * x).iter().map(|residual| residual.powi(2)).sum()
    }

    fn slope(&self) -> f64 {
        let products: f64 = self.x.iter().zip(&self.y).map(|(x, y)| x * y).sum();
        products / self.x.iter().map(|x| x.powi(2)).sum::<f64>()
    }

    /// error ∝ e^(−αx) + c′, by α and ln c′.
    fn floor(&self) -> Option<(Minimum, Floor)> {
        let curve = |at: &[f64], x: f64| ((-at[0] * x).exp() + at[1].exp()).ln();
        let alpha = (-self.slope()).max(0.05);
        let starts: Vec<Vec<f64>> = [1.0, 2.0]
            .iter()
            .flat_map(|steeper| [-3.0, -0.5].map(|floor| vec![alpha * steeper, floor]))
            .collect();
        let minimum = least_squares(&|at| self.about(|x| curve(at, x)), &starts)?;
        let [alpha, ln_floor] = minimum.parameters[..] else { return None };
        let apart: Vec<f64> =
            self.x.iter().zip(&self.y).map(|(x, y)| y - curve(&[alpha, ln_floor], *x)).collect();
        let height = mean(&apart).exp();
        let value = height * ln_floor.exp();
        // A curve that falls with energy, and whose floor is not rounding: below that the power law is the same curve.
        let least = self.y.iter().copied().fold(f64::INFINITY, f64::min).exp();
        if !(alpha > 0.0 && value > 1e-6 * least && value.is_finite()) {
            return None;
        }
        let interval = self.margin(&minimum).map(|factor| (value / factor, value * factor));
        let floor =
            Floor { scale: height * (alpha * self.centre).exp(), alpha, floor: value, interval };
        Some((minimum, floor))
    }

    /// The factor by which a floor may be off: by Student's t from the variance of ln c = ln c′ + ln height, of which the height
    /// follows from the two parameters, and so makes up for most of what ln c′ is off.
    fn margin(&self, minimum: &Minimum) -> Option<f64> {
        let left = self.x.len().checked_sub(3).filter(|left| *left > 0)?;
        #[expect(clippy::cast_precision_loss, reason = "a fit has few points")]
        let (n, left) = (self.x.len() as f64, left as f64);
        let [alpha, ln_floor] = minimum.parameters[..] else { return None };
        // The floor's part of the error at each point.
        let parts: Vec<f64> =
            self.x.iter().map(|x| 1.0 / (1.0 + (-alpha * x - ln_floor).exp())).collect();
        let by_alpha: Vec<f64> = self.x.iter().zip(&parts).map(|(x, it)| x * (1.0 - it)).collect();
        let gradient = [mean(&by_alpha), 1.0 - mean(&parts)];
        let inverse = minimum.inverse.as_ref()?;
        let of_parameters: f64 = (0..2)
            .flat_map(|row| (0..2).map(move |column| (row, column)))
            .map(|(row, column)| gradient[row] * inverse[row][column] * gradient[column])
            .sum();
        let variance = minimum.squares / left * (1.0 / n + of_parameters);
        let factor = (student::two_sided(0.95, left).ok()? * variance.sqrt()).exp();
        factor.is_finite().then_some(factor)
    }

    /// 1/error ∝ 1 + qx.
    fn exponential(&self) -> Option<Minimum> {
        let starts = [0.05, 0.3].map(|slope| vec![slope]);
        // Where 1 + qx is not above 0, the logarithm is no number, and the step is not taken.
        least_squares(&|at| self.about(|x| -(1.0 + at[0] * x).ln()), &starts)
    }
}

fn mean(values: &[f64]) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a fit has few points")]
    let n = values.len() as f64;
    values.iter().sum::<f64>() / n
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(law: impl Fn(f64) -> f64) -> Vec<[f64; 2]> {
        (0..12).map(|place| 10f64.powf(f64::from(place) / 4.0)).map(|e| [e, law(e)]).collect()
    }

    #[test]
    fn a_floor_without_noise_is_found_exactly() {
        let forms = Forms::of(&points(|energy| 0.4 * energy.powf(-0.5) + 0.03));
        let floor = forms.floor.unwrap();
        assert!((floor.floor / 0.03 - 1.0).abs() < 1e-4, "{floor:?}");
        assert!((floor.alpha / 0.5 - 1.0).abs() < 1e-4 && (floor.scale / 0.4 - 1.0).abs() < 1e-4);
        assert_eq!(forms.best, Some(Shape::Floor));
    }

    #[test]
    fn an_exponential_law_is_told_from_a_power_law() {
        let wave = |e: f64| 1.0 + 0.01 * (7.0 * e.ln()).sin();
        let forms = Forms::of(&points(|energy| wave(energy) / (3.0 + 4.0 * energy.ln())));
        assert_eq!(forms.best, Some(Shape::Exponential), "{forms:?}");
        let forms = Forms::of(&points(|energy| wave(energy) * 0.3 * energy.powf(-0.3)));
        assert_eq!(forms.best, Some(Shape::Power), "{forms:?}");
    }
}
