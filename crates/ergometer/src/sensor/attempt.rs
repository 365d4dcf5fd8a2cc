//! Work that may hang in a driver, on a thread of its own.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::error::{Error, Result};

/// Work that goes on by itself, and is given up if it takes too long.
///
/// Firmware that does not answer holds up its reader for minutes or for ever. The thread that waits for it is left behind;
/// whatever it still finds is dropped.
pub(super) struct Attempt<T> {
    name: &'static str,
    cure: &'static str,
    result: Result<Receiver<T>>,
}

impl<T: Send + 'static> Attempt<T> {
    /// Begins the work; `cure` is what to do about a driver that does not answer.
    pub(super) fn begin(
        name: &'static str,
        cure: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Self {
        let (sender, receiver) = mpsc::channel();
        let begun = thread::Builder::new().name(format!("ergometer-{name}"));
        let result = begun.spawn(move || sender.send(work())).map(|_| receiver).map_err(|cause| {
            Error::lost(format!("{name}: no thread to open it on: {cause}")).caused_by(cause)
        });
        Attempt { name, cure, result }
    }

    /// What came of it within `patience` from now.
    ///
    /// # Errors
    /// If it did not end in that time, or panicked.
    pub(super) fn within(self, patience: Duration) -> Result<T> {
        let (name, cure) = (self.name, self.cure);
        self.result?.recv_timeout(patience).map_err(|cause| match cause {
            RecvTimeoutError::Timeout => {
                Error::lost(format!("{name}: the driver has not answered within {patience:?}"))
                    .cure(cure)
            }
            RecvTimeoutError::Disconnected => Error::lost(format!("{name}: opening it panicked")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_hangs_is_given_up() {
        let (release, gate) = mpsc::channel::<()>();
        let attempt = Attempt::begin("meter", "restart it", move || gate.recv());
        let error = attempt.within(Duration::from_millis(20)).unwrap_err();
        assert!(error.is_lost() && error.what().contains("within 20ms"), "{error}");
        assert_eq!(error.remedy(), Some("restart it"));
        drop(release);
        assert_eq!(Attempt::begin("meter", "", || 7).within(Duration::from_secs(60)).unwrap(), 7);
    }

    #[test]
    fn work_that_panics_is_an_error() {
        let attempt = Attempt::begin("meter", "", || -> u8 { panic!("as expected by this test") });
        let error = attempt.within(Duration::from_secs(60)).unwrap_err();
        assert!(error.what().contains("panicked"), "{error}");
    }
}
