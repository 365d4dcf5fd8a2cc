//! Points that no other point beats in everything.

use ergometer::{Error, Result};
use serde::Serialize;

/// The Pareto front of some points, by their places in the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Front {
    /// The points that none dominates, in their order.
    pub on: Vec<usize>,
    /// The others, in their order.
    pub dominated: Vec<Dominated>,
}

/// A point off the front.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Dominated {
    /// Which one.
    pub point: usize,
    /// The first point on the front that dominates it: no worse in any criterion, and better in one.
    pub by: usize,
}

/// The points that are not dominated, with every criterion to be minimised; equal points do not dominate each other (Deb
/// 2001, Multi-Objective Optimization Using Evolutionary Algorithms).
///
/// A quality that should be high goes in as its negative. The points are taken as exact: of measured ones, first see
/// whether their intervals part them.
///
/// ```
/// use ergometer_report::footprint::pareto;
///
/// // Energy in MWh and number of processors (Patterson et al. 2021, table 4).
/// let trainings = [
///     [85.7, 512.0],     // T5
///     [232.0, 1024.0],   // Meena
///     [24.1, 1024.0],    // GShard
///     [179.0, 1024.0],   // Switch Transformer
///     [1287.0, 10_000.0] // GPT-3
/// ];
/// assert_eq!(pareto(&trainings)?.on, [0, 2]);
/// # Ok::<(), ergometer::Error>(())
/// ```
///
/// # Errors
/// Points without criteria or with different numbers of them, or a criterion that is not a number.
pub fn pareto<P: AsRef<[f64]>>(points: &[P]) -> Result<Front> {
    let criteria = points.first().map_or(1, |point| point.as_ref().len());
    for (place, point) in points.iter().enumerate() {
        let point = point.as_ref();
        if criteria == 0 || point.len() != criteria || point.iter().any(|value| value.is_nan()) {
            return Err(Error::invalid(format!("point {place} cannot be set against the others"))
                .cure("give every point the same criteria, as numbers"));
        }
    }
    let beats = |a: usize, b: usize| {
        let mut pairs = points[a].as_ref().iter().zip(points[b].as_ref());
        let no_worse = pairs.clone().all(|(a, b)| a <= b);
        no_worse && pairs.any(|(a, b)| a < b)
    };
    let places = 0..points.len();
    let (on, off): (Vec<usize>, Vec<usize>) =
        places.clone().partition(|place| !places.clone().any(|other| beats(other, *place)));
    let dominated = off
        .into_iter()
        .filter_map(|point| {
            let by = *on.iter().find(|other| beats(**other, point))?;
            Some(Dominated { point, by })
        })
        .collect();
    Ok(Front { on, dominated })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_points_are_both_on_the_front() {
        let front = pareto(&[[1.0, 2.0], [1.0, 2.0], [1.0, 3.0]]).unwrap();
        assert_eq!(front.on, [0, 1]);
        assert_eq!(front.dominated, [Dominated { point: 2, by: 0 }]);
    }

    #[test]
    fn a_missing_criterion_is_refused() {
        assert!(pareto(&[[1.0, f64::NAN]]).is_err());
        assert!(pareto(&[vec![1.0, 2.0], vec![1.0]]).is_err());
        assert!(pareto::<Vec<f64>>(&[]).unwrap().on.is_empty());
    }
}
