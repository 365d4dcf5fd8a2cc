//! Student's t.

use ergometer::{Error, Result};
use statrs::distribution::{ContinuousCDF, StudentsT};

/// The factor that expands a standard error to an interval of `confidence` about its estimate.
///
/// # Errors
/// A confidence that is not between 0 and 1, or degrees of freedom that are not above 0.
pub(crate) fn two_sided(confidence: f64, degrees: f64) -> Result<f64> {
    if !(confidence > 0.0 && confidence < 1.0) {
        return Err(Error::invalid(format!("{confidence} is no confidence")).cure("give 0.95"));
    }
    let student = StudentsT::new(0.0, 1.0, degrees).map_err(|cause| {
        Error::invalid(format!("there is no Student's t of {degrees} degrees of freedom"))
            .caused_by(cause)
    })?;
    Ok(student.inverse_cdf(0.5 + confidence / 2.0))
}
