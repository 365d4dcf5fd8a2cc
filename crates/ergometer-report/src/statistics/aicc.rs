//! Akaike's criterion for few points.

/// Akaike's information criterion with the correction for few points, of a least-squares fit with normal errors:
/// n·ln(RSS/n) + 2K + 2K(K + 1)/(n − K − 1) (Hurvich and Tsai 1989, Biometrika 76).
///
/// `parameters` are those of the curve; the variance of the errors counts as one more, K. The lower of two is the better
/// form; a difference below 2 says little (Burnham and Anderson 2002, Model Selection and Multimodel Inference, 2.6). Only
/// fits of one response to the same points compare. `None` where there are too few points for so many parameters, and of
/// a curve through every point.
///
/// ```
/// use ergometer_report::statistics::aicc;
///
/// // Ten points, a line with a residual sum of squares of 5: 10·ln 0.5 + 6 + 24/6.
/// assert!(aicc(5.0, 10, 2).is_some_and(|criterion| (criterion - 3.0685).abs() < 1e-4));
/// assert_eq!(aicc(5.0, 4, 2), None);
/// ```
pub fn aicc(squares: f64, points: usize, parameters: usize) -> Option<f64> {
    let all = parameters + 1;
    let left = points.checked_sub(all + 1).filter(|left| *left > 0)?;
    #[expect(clippy::cast_precision_loss, reason = "a fit has few points")]
    let [n, k, left] = [points, all, left].map(|number| number as f64);
    (squares > 0.0).then(|| n * (squares / n).ln() + 2.0 * k + 2.0 * k * (k + 1.0) / left)
}
