//! Curves that are not straight lines: least squares by the method of Levenberg and Marquardt.

/// Where the sum of the squares is least.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Minimum {
    /// The parameters there.
    pub(crate) parameters: Vec<f64>,
    /// The sum of the squared residuals.
    pub(crate) squares: f64,
    /// The inverse of `JᵀJ`: times the variance of the errors, it is the parameters' covariance. Missing where the points do
    /// not tell the parameters apart.
    pub(crate) inverse: Option<Vec<Vec<f64>>>,
}

/// The least of the minima that are found from several starts (Marquardt 1963, SIAM Journal 11).
///
/// `residuals` may give what is no number where a curve does not exist; such steps are not taken. `None` if it does so at
/// every start.
pub(crate) fn least_squares(
    residuals: &dyn Fn(&[f64]) -> Vec<f64>,
    starts: &[Vec<f64>],
) -> Option<Minimum> {
    starts
        .iter()
        .filter_map(|start| descend(residuals, start.clone()))
        .min_by(|a, b| a.squares.total_cmp(&b.squares))
}

const STEPS: usize = 100;

fn descend(residuals: &dyn Fn(&[f64]) -> Vec<f64>, mut at: Vec<f64>) -> Option<Minimum> {
    let squares = |at: &[f64]| {
        let sum: f64 = residuals(at).iter().map(|residual| residual.powi(2)).sum();
        sum.is_finite().then_some(sum)
    };
    let mut least = squares(&at)?;
    let mut damping = 1e-3;
    for _ in 0..STEPS {
        let (normal, gradient) = normal_equations(residuals, &at);
        let mut better = None;
        while better.is_none() && damping < 1e12 {
            let mut damped = normal.clone();
            for (place, row) in damped.iter_mut().enumerate() {
                row[place] += damping * row[place].max(f64::MIN_POSITIVE);
            }
            let step = solve(damped, gradient.clone()).unwrap_or_default();
            let there: Vec<f64> = at.iter().zip(&step).map(|(at, step)| at - step).collect();
            // An unsolved step is empty, and so is `there`.
            better = (there.len() == at.len())
                .then(|| squares(&there))
                .flatten()
                .filter(|sum| *sum < least)
                .map(|sum| (there, sum));
            damping = if better.is_some() { damping / 10.0 } else { damping * 10.0 };
        }
        let Some((there, sum)) = better else { break };
        let settled = least - sum <= 1e-12 * least;
        (at, least) = (there, sum);
        if settled {
            break;
        }
    }
    let (normal, _) = normal_equations(residuals, &at);
    let unit = |place| (0..at.len()).map(|other| f64::from(u8::from(other == place))).collect();
    let inverse = (0..at.len()).map(|place| solve(normal.clone(), unit(place))).collect();
    Some(Minimum { parameters: at, squares: least, inverse })
}

/// `JᵀJ` and `Jᵀr`, the derivatives by central differences.
fn normal_equations(
    residuals: &dyn Fn(&[f64]) -> Vec<f64>,
    at: &[f64],
) -> (Vec<Vec<f64>>, Vec<f64>) {
    let here = residuals(at);
    let columns: Vec<Vec<f64>> = (0..at.len())
        .map(|place| {
            let width = 1e-5 * at[place].abs().max(1e-2);
            let beside = |width: f64| {
                let mut beside = at.to_vec();
                beside[place] += width;
                residuals(&beside)
            };
            let slope = |(up, down): (f64, f64)| (up - down) / (2.0 * width);
            beside(width).into_iter().zip(beside(-width)).map(slope).collect()
        })
        .collect();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let normal = columns.iter().map(|a| columns.iter().map(|b| dot(a, b)).collect()).collect();
    (normal, columns.iter().map(|column| dot(column, &here)).collect())
}

/// Solves linear equations by Gauss's elimination with pivots; `None` where they have no one solution.
fn solve(mut matrix: Vec<Vec<f64>>, mut right: Vec<f64>) -> Option<Vec<f64>> {
    let size = right.len();
    for column in 0..size {
        let pivot = (column..size)
            .max_by(|a, b| matrix[*a][column].abs().total_cmp(&matrix[*b][column].abs()))?;
        matrix.swap(column, pivot);
        right.swap(column, pivot);
        let head = matrix[column].clone();
        if !(head[column].is_finite() && head[column].abs() > 1e-300) {
            return None;
        }
        for row in column + 1..size {
            let factor = matrix[row][column] / head[column];
            for (place, value) in head.iter().enumerate().skip(column) {
                matrix[row][place] -= factor * value;
            }
            right[row] -= factor * right[column];
        }
    }
    let mut solution = vec![0.0; size];
    for row in (0..size).rev() {
        let known: f64 = (row + 1..size).map(|place| matrix[row][place] * solution[place]).sum();
        solution[row] = (right[row] - known) / matrix[row][row];
    }
    solution.iter().all(|value| value.is_finite()).then_some(solution)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_published_curve_is_fitted_to_its_certified_values() {
        // NIST Statistical Reference Datasets, Misra1a: y = b1·(1 − e^(−b2·x)), from the first start given there.
        let y = [
            10.07, 14.73, 17.94, 23.93, 29.61, 35.18, 40.02, 44.82, 50.76, 55.05, 61.01, 66.40,
            75.47, 81.78,
        ];
        let x = [
            77.6, 114.9, 141.1, 190.8, 239.9, 289.0, 332.8, 378.4, 434.8, 477.3, 536.8, 593.1,
            689.1, 760.0,
        ];
        let residuals = |b: &[f64]| {
            x.iter().zip(y).map(|(x, y)| y - b[0] * (1.0 - (-b[1] * x).exp())).collect::<Vec<f64>>()
        };
        let found = least_squares(&residuals, &[vec![500.0, 0.0001]]).unwrap();
        assert!((found.squares / 1.245_513_889_4e-1 - 1.0).abs() < 1e-6, "{found:?}");
        assert!((found.parameters[0] / 238.942_129_18 - 1.0).abs() < 1e-4, "{found:?}");
        let error = (found.squares / 12.0 * found.inverse.unwrap()[0][0]).sqrt();
        assert!((error / 2.707_007_524_1 - 1.0).abs() < 1e-3, "{error}");
    }

    #[test]
    fn a_curve_that_exists_nowhere_is_not_fitted() {
        assert_eq!(least_squares(&|_| vec![f64::NAN], &[vec![1.0]]), None);
    }
}
